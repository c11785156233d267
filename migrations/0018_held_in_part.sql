-- What went back of escrows that are held, for the gauge of what is: few, and found without looking at all that are.
CREATE INDEX escrow_transactions_held_in_part ON escrow_transactions (currency)
    WHERE status = 'held' AND (captured < amount OR refunded_told > 0 OR refunded_outside > 0 OR refunded_ours <> '{}');
CREATE INDEX escrow_disputes_lost ON escrow_disputes (escrow_id) WHERE stage = 'lost';
