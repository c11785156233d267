-- A column without a default or a constraint: no row is read or rewritten. The previous version leaves it alone, and decides without it what it
-- always did.

-- What events said of the subscription at another price than was agreed, newest second: {rank, at, observations}. It may lower the client's
-- state and never raises it.
ALTER TABLE billing_subscriptions ADD COLUMN IF NOT EXISTS at_other_prices jsonb;
