-- Payments speak for the second in which their invoice was made, and no longer for the one in which they were tried. The version before has
-- written the latter: a payment of an invoice that had failed would come too early to count, and leave a client behind who has paid. So a
-- failure that counts is dated right after the last payment: as late as it must be for all to stand as it stood, and earlier than whatever
-- is billed next. One that a payment has followed, or that no payment went before, says nothing any more. Few rows: who is heard by
-- payments alone and has ever failed. Rows with payments at other prices are left as they are, for these are dated beside them.
-- Safe on a running system: no row of anybody else is locked, and the version before reads both alike. But a failure that it writes after
-- this is dated as before, until the next payment: where clients are heard by payments alone, stop its billing service first (events wait
-- in the queue).

UPDATE billing_subscriptions
    SET last_failed_at = CASE WHEN last_failed_at > last_paid_at THEN last_paid_at + 1 END
    WHERE snapshot_rank IS NULL AND last_failed_at IS NOT NULL AND billed_otherwise IS NULL;
