-- Payments speak for the second in which their invoice was made, and no longer for the one in which they were tried. The version before has
-- written the latter: a payment of an invoice that had failed would come too early to count, and leave a client behind who has paid. So a
-- failure that counts is dated right after the last payment: as late as it must be for all to stand as it stood, and earlier than whatever
-- is billed next. One that a payment has followed, or that no payment went before, says nothing any more. What was billed at other prices is
-- dated beside the rest. Few rows: who is heard by payments alone and has ever failed.
--
-- Safe on a running system: no row of anybody else is locked, and the version before reads both alike. But a failure that it writes after
-- this is dated as before, until the next payment: where clients are heard by payments alone, stop its billing service first (events wait
-- in the queue).

WITH paid AS (
    SELECT stripe_subscription_id AS id, last_paid_at AS agreed,
        greatest(last_paid_at, (SELECT max((said ->> 'last_paid_at')::bigint)
                                FROM jsonb_array_elements(coalesce(billed_otherwise, '[]')) AS said)) AS any_price
    FROM billing_subscriptions
    WHERE snapshot_rank IS NULL AND (last_failed_at IS NOT NULL OR billed_otherwise IS NOT NULL)
)
UPDATE billing_subscriptions AS s
    SET last_failed_at = CASE
            WHEN last_failed_at > any_price THEN any_price + 1
            WHEN last_failed_at > agreed THEN agreed + 1
        END,
        billed_otherwise = (
            SELECT jsonb_agg(CASE
                WHEN (said ->> 'last_failed_at')::bigint > any_price
                    THEN jsonb_set(said, '{last_failed_at}', to_jsonb(any_price + 1))
                WHEN any_price IS NULL THEN jsonb_set(said, '{last_failed_at}', 'null')
                ELSE said
            END)
            FROM jsonb_array_elements(billed_otherwise) AS said)
    FROM paid
    WHERE s.stripe_subscription_id = paid.id;
