-- The contract of a client, and the facts that its billing state is derived from.
-- Safe on a running system: everything is new.

CREATE TABLE client_billing (
    client_id              text PRIMARY KEY CHECK (length(client_id) BETWEEN 1 AND 255),
    org_id                 text NOT NULL REFERENCES organizations (id),
    payment_source         text NOT NULL CHECK (payment_source IN ('NONE', 'STRIPE', 'MANUAL')),
    -- The state while no fact speaks; from our side's contract, never from Stripe.
    initial_state          text NOT NULL CHECK (initial_state IN ('TRIAL_PENDING', 'TRIAL_ACTIVE')),
    state                  text NOT NULL CHECK (state IN
                               ('TRIAL_PENDING', 'TRIAL_ACTIVE', 'ACTIVE', 'PAST_DUE', 'PAUSED', 'CANCELED')),
    -- The newest customer that was registered or bound; billing_customers has all.
    stripe_customer_id     text,
    -- The subscription that speaks for the client.
    stripe_subscription_id text,
    current_period_end     timestamptz,
    checkout_session_id    text UNIQUE,
    contracted_price_id    text,
    contracted_currency    text CHECK (contracted_currency ~ '^[a-z]{3}$'),
    last_event_id          text,
    last_event_type        text,
    last_event_created     timestamptz,
    -- One more with each change of state; announcements carry it.
    version                bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    -- Stripe may confirm a contract, it may never define one: without a Stripe contract no fact has ever moved the state.
    CHECK (payment_source <> 'NONE' OR version > 0 OR state = initial_state)
);
CREATE INDEX client_billing_by_org ON client_billing (org_id);
SELECT holdfast_protect('client_billing');
SELECT holdfast_share_with_tenant('client_billing');
GRANT SELECT, INSERT, UPDATE ON client_billing TO holdfast_service;

-- Which client a Stripe customer belongs to. A customer never changes hands.
CREATE TABLE billing_customers (
    stripe_customer_id text PRIMARY KEY,
    client_id          text NOT NULL REFERENCES client_billing (client_id),
    org_id             text NOT NULL,
    bound_by           text NOT NULL CHECK (bound_by IN ('registration', 'checkout_session', 'metadata')),
    bound_at           timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX billing_customers_by_client ON billing_customers (client_id);
SELECT holdfast_protect('billing_customers');
SELECT holdfast_share_with_tenant('billing_customers');
GRANT SELECT, INSERT ON billing_customers TO holdfast_service;

-- One register per subscription: the newest snapshot (with those of the same second that compete with it), and the evidence of
-- payment that counts while there is no snapshot. Merged by domain::billing::register.
CREATE TABLE billing_subscriptions (
    stripe_subscription_id text PRIMARY KEY,
    client_id              text NOT NULL REFERENCES client_billing (client_id),
    org_id                 text NOT NULL,
    stripe_customer_id     text NOT NULL,
    -- 0 created, 1 updated, 2 ended; NULL before the first snapshot.
    snapshot_rank          smallint CHECK (snapshot_rank BETWEEN 0 AND 2),
    snapshot_at            bigint,
    observations           jsonb,
    -- What the observations come to, for people and reports.
    status                 text,
    price_id               text,
    current_period_end     timestamptz,
    first_paid_at          bigint,
    last_paid_at           bigint,
    last_failed_at         bigint,
    updated_at             timestamptz NOT NULL DEFAULT now(),
    CHECK ((snapshot_rank IS NULL) = (snapshot_at IS NULL)),
    CHECK ((snapshot_rank IS NULL) = (observations IS NULL)),
    CHECK ((first_paid_at IS NULL) = (last_paid_at IS NULL)),
    CHECK (first_paid_at <= last_paid_at)
);
CREATE INDEX billing_subscriptions_by_client ON billing_subscriptions (client_id);
SELECT holdfast_protect('billing_subscriptions');
SELECT holdfast_share_with_tenant('billing_subscriptions');
GRANT SELECT, INSERT, UPDATE ON billing_subscriptions TO holdfast_service;

-- Payments of a client, one row per invoice or checkout session, so that one business act takes effect once.
CREATE TABLE billing_payments (
    object_id              text PRIMARY KEY,
    kind                   text NOT NULL CHECK (kind IN ('invoice', 'checkout')),
    client_id              text NOT NULL REFERENCES client_billing (client_id),
    org_id                 text NOT NULL,
    stripe_subscription_id text,
    -- The invoice that a checkout session paid, where it names one.
    invoice_id             text,
    billing_reason         text,
    amount                 bigint NOT NULL CHECK (amount >= 0),
    currency               text CHECK (currency ~ '^[a-z]{3}$'),
    paid_at                bigint,
    failed_at              bigint,
    updated_at             timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX billing_payments_by_subscription ON billing_payments (stripe_subscription_id, paid_at)
    WHERE stripe_subscription_id IS NOT NULL;
SELECT holdfast_protect('billing_payments');
SELECT holdfast_share_with_tenant('billing_payments');
GRANT SELECT, INSERT, UPDATE ON billing_payments TO holdfast_service;
