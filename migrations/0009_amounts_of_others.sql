-- What others refunded and took back (in Stripe's dashboard, for example), as far as it is certain: domain::escrow::facts::Cumulative.
-- It is not known for what came before, and the next total that Stripe tells says it.
ALTER TABLE escrow_transactions ADD COLUMN refunded_outside bigint NOT NULL DEFAULT 0 CHECK (refunded_outside >= 0);
ALTER TABLE escrow_transfers ADD COLUMN reversed_outside bigint NOT NULL DEFAULT 0 CHECK (reversed_outside >= 0);

-- asked_refund was a total of everybody's refunds, and is now what our own are to come to. What was asked to be canceled before its
-- capture was to be refunded in full after it. The owner of a table may be no superuser, and its rows are kept from it as well.
ALTER TABLE escrow_transactions NO FORCE ROW LEVEL SECURITY;
UPDATE escrow_transactions AS e
   SET asked_refund = CASE WHEN e.asked_cancel THEN e.amount
                           ELSE o.ours + greatest(0, e.asked_refund - greatest(e.refunded_told, o.ours)) END
  FROM (SELECT id, coalesce((SELECT sum(value::bigint) FROM jsonb_each_text(refunded_ours)), 0)::bigint AS ours
          FROM escrow_transactions) AS o
 WHERE o.id = e.id AND (e.asked_refund > 0 OR e.asked_cancel AND NOT e.canceled);
ALTER TABLE escrow_transactions FORCE ROW LEVEL SECURITY;

-- Frozen escrows, whose refused calls are not made again until the dispute is closed.
CREATE INDEX escrow_disputes_open ON escrow_disputes (escrow_id) WHERE stage = 'open';
