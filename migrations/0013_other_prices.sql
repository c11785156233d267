-- Two columns without a constraint, one with a constant default: no row is rewritten for them. The previous version leaves them alone, and
-- decides without them what it always did. The update writes few rows: who is heard by payments alone and has a price agreed.

-- What events said of the subscription at another price than was agreed, newest second: {rank, at, observations}. It may lower the client's
-- state and never raises it.
ALTER TABLE billing_subscriptions ADD COLUMN IF NOT EXISTS at_other_prices jsonb;

-- Whether it was paid for when a price came to be agreed, so that its payments, which do not show theirs, count on.
ALTER TABLE billing_subscriptions ADD COLUMN IF NOT EXISTS paid_before_price boolean NOT NULL DEFAULT false;

-- Prices that were agreed by the previous version, for clients that it knew by payments alone.
UPDATE billing_subscriptions AS s SET paid_before_price = true FROM client_billing AS c
    WHERE c.contracted_price_id IS NOT NULL AND c.stripe_subscription_id = s.stripe_subscription_id AND c.client_id = s.client_id
        AND s.snapshot_rank IS NULL AND s.first_paid_at IS NOT NULL;
