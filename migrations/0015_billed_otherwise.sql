-- A column without a constraint or a default: no row is rewritten for it. The previous version leaves it alone, and decides without it what
-- it always did.

-- What payments said whose invoices name another price or currency than was agreed: [{prices, currency, first_paid_at, last_paid_at,
-- last_failed_at}], one for each way in which they were billed. They may lower the client's state and never raise it.
ALTER TABLE billing_subscriptions ADD COLUMN IF NOT EXISTS billed_otherwise jsonb;

-- paid_before_price is true from now on as well where a payment named the agreed price. It keeps its name: the previous version reads it.
