-- What leaves the database for the broker, and what a person should know.
-- Safe on a running system: everything is new.

-- Messages that a transaction wrote beside its effect; the relay publishes them in the order of id and deletes them after the
-- broker's confirm. Operations data: no tenant reads it.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange    text NOT NULL,
    routing_key text NOT NULL CHECK (octet_length(routing_key) <= 255),
    message_id  text NOT NULL CHECK (octet_length(message_id) <= 255),
    kind        text NOT NULL CHECK (octet_length(kind) <= 255),
    headers     jsonb NOT NULL DEFAULT '{}',
    payload     text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- Set on a message that the broker can never take as it is; it is passed over until then, so that it holds up nobody.
    retry_at    timestamptz
);
SELECT holdfast_protect('outbox');
GRANT SELECT, INSERT, DELETE, UPDATE (retry_at) ON outbox TO holdfast_service;

-- One unresolved alert per key; repeats raise its count. Operations data is global by decision: admins of any organisation see
-- it over HTTP, the tenant role does not.
CREATE TABLE billing_alerts (
    id            uuid PRIMARY KEY,
    alert_key     text NOT NULL CHECK (length(alert_key) BETWEEN 1 AND 600),
    kind          text NOT NULL,
    severity      text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    subject       text NOT NULL,
    summary       text NOT NULL,
    details       jsonb NOT NULL DEFAULT '{}',
    occurrences   bigint NOT NULL DEFAULT 1 CHECK (occurrences >= 1),
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    resolved      boolean NOT NULL DEFAULT false,
    resolved_at   timestamptz,
    resolved_by   text,
    CHECK (resolved = (resolved_at IS NOT NULL)),
    CHECK (first_seen_at <= last_seen_at)
);
CREATE UNIQUE INDEX billing_alerts_one_unresolved ON billing_alerts (alert_key) WHERE NOT resolved;
CREATE INDEX billing_alerts_by_time ON billing_alerts (last_seen_at DESC);
SELECT holdfast_protect('billing_alerts');
GRANT SELECT, INSERT, UPDATE ON billing_alerts TO holdfast_service;
