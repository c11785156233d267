-- Two columns without a constraint, one with a constant default: no row is read or rewritten. The previous version leaves them alone, and
-- decides without them what it always did.

-- What events said of the subscription at another price than was agreed, newest second: {rank, at, observations}. It may lower the client's
-- state and never raises it.
ALTER TABLE billing_subscriptions ADD COLUMN IF NOT EXISTS at_other_prices jsonb;

-- Whether it was paid for when a price came to be agreed, so that its payments, which do not show theirs, count on.
ALTER TABLE billing_subscriptions ADD COLUMN IF NOT EXISTS paid_before_price boolean NOT NULL DEFAULT false;
