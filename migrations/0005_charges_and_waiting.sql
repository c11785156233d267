-- Charges of clients with what was paid back and what is disputed; every checkout session that was registered; what an event waits
-- for, as names; which registers events alone cannot decide.
-- Safe on a running system: tables are new, new columns are nullable or have a constant default, which rewrites no row, and every lock is
-- held for a moment only; the indexes of the large table come in 0007. Beside the previous version nothing is lost: what an event waits
-- for is written for both, and sessions are looked for in both places.

-- Names of what a waiting event waits for, as 'customer:cus_1', 'client:acme', 'session:cs_1', 'charge:ch_1'. They are also the names
-- under which whoever sets an event aside and whoever brings what it waits for lock each other out.
ALTER TABLE billing_events ADD COLUMN waiting_for text[];

-- Several observations of one second differ, and none is known to be the last: the subscription is to be read from Stripe.
ALTER TABLE billing_subscriptions ADD COLUMN undecided boolean NOT NULL DEFAULT false;
CREATE INDEX billing_subscriptions_undecided ON billing_subscriptions (stripe_subscription_id) WHERE undecided;

-- Checkout sessions that our side opened for a client. A session never changes hands.
CREATE TABLE billing_checkout_sessions (
    checkout_session_id text PRIMARY KEY,
    client_id           text NOT NULL REFERENCES client_billing (client_id),
    org_id              text NOT NULL,
    registered_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX billing_checkout_sessions_by_client ON billing_checkout_sessions (client_id);
SELECT holdfast_protect('billing_checkout_sessions');
SELECT holdfast_share_with_tenant('billing_checkout_sessions');
GRANT SELECT, INSERT ON billing_checkout_sessions TO holdfast_service;
INSERT INTO billing_checkout_sessions (checkout_session_id, client_id, org_id)
    SELECT checkout_session_id, client_id, org_id FROM client_billing WHERE checkout_session_id IS NOT NULL;

-- Whose charge it is, and how much of it was paid back. Refunds and disputes name a charge and nobody else. A charge without a
-- customer belongs to no client, and is kept so that what is said of it is not waited for.
CREATE TABLE billing_charges (
    stripe_charge_id   text PRIMARY KEY,
    client_id          text REFERENCES client_billing (client_id),
    org_id             text,
    stripe_customer_id text,
    amount             bigint NOT NULL CHECK (amount >= 0),
    -- Cumulative: the greatest that was seen is the truth.
    amount_refunded    bigint NOT NULL CHECK (amount_refunded >= 0),
    currency           text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CHECK ((client_id IS NULL) = (org_id IS NULL)),
    CHECK ((client_id IS NULL) = (stripe_customer_id IS NULL))
);
CREATE INDEX billing_charges_by_client ON billing_charges (client_id) WHERE client_id IS NOT NULL;
SELECT holdfast_protect('billing_charges');
SELECT holdfast_share_with_tenant('billing_charges');
GRANT SELECT, INSERT, UPDATE ON billing_charges TO holdfast_service;

CREATE TABLE billing_refunds (
    stripe_refund_id text PRIMARY KEY,
    stripe_charge_id text NOT NULL,
    client_id        text NOT NULL REFERENCES client_billing (client_id),
    org_id           text NOT NULL,
    amount           bigint NOT NULL CHECK (amount >= 0),
    currency         text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    status           text NOT NULL CHECK (status IN ('pending', 'requires_action', 'succeeded', 'canceled', 'failed')),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX billing_refunds_by_client ON billing_refunds (client_id);
SELECT holdfast_protect('billing_refunds');
SELECT holdfast_share_with_tenant('billing_refunds');
GRANT SELECT, INSERT, UPDATE ON billing_refunds TO holdfast_service;

CREATE TABLE billing_disputes (
    stripe_dispute_id text PRIMARY KEY,
    stripe_charge_id  text NOT NULL,
    client_id         text NOT NULL REFERENCES client_billing (client_id),
    org_id            text NOT NULL,
    amount            bigint NOT NULL CHECK (amount >= 0),
    currency          text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    status            text NOT NULL CHECK (status IN
                          ('warning_needs_response', 'warning_under_review', 'warning_closed', 'needs_response', 'under_review',
                           'charge_refunded', 'prevented', 'lost', 'appeal_needs_response', 'appeal_under_review', 'won')),
    -- Whether only charge.dispute.created spoke so far, which never overrides, and the `created` of the event that counts.
    only_opened       boolean NOT NULL,
    said_at           bigint NOT NULL,
    due_by            bigint,
    updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX billing_disputes_by_client ON billing_disputes (client_id);
SELECT holdfast_protect('billing_disputes');
SELECT holdfast_share_with_tenant('billing_disputes');
GRANT SELECT, INSERT, UPDATE ON billing_disputes TO holdfast_service;

-- For people who ask what a client has paid.
CREATE INDEX billing_payments_by_client ON billing_payments (client_id);
