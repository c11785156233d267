-- Payments speak for the second in which their invoice was made, and no longer for the one in which they were tried. What the previous
-- version has written is later than that by the weeks for which Stripe tries: the payment of such an invoice would come too early to count, and
-- leave a client behind who has paid. So where a failure is known it is dated back, and the payments beside it as far, so that all stands as it
-- stood. Few rows: who is heard by payments alone and has ever failed. Rows with payments at other prices are left as they are, for these are
-- dated beside them. Safe on a running system: no row of anybody else is locked, and the previous version reads both alike.

UPDATE billing_subscriptions
    SET last_failed_at = last_failed_at - 5184000,
        last_paid_at = last_paid_at - 5184000,
        first_paid_at = least(first_paid_at, last_paid_at - 5184000)
    WHERE snapshot_rank IS NULL AND last_failed_at IS NOT NULL AND billed_otherwise IS NULL;
