-- The inbox, which is the archive: every event of Stripe that was taken in, byte for byte, with what became of it.
-- Safe on a running system: everything is new.

-- One row per event and consumer. `created` is Stripe's and never changes for an event, so it can be the partition key and
-- still leave (event, consumer) unique. The row is inserted in the transaction that holds the event's effect: the mark of
-- idempotency cannot outlive a lost effect, nor the effect a lost mark.
CREATE TABLE billing_events (
    stripe_event_id  text NOT NULL,
    consumer         text NOT NULL CHECK (consumer IN ('billing', 'escrow', 'checkout', 'archive')),
    created          timestamptz NOT NULL,
    type             text NOT NULL,
    endpoint         text NOT NULL CHECK (endpoint IN ('platform', 'connect')),
    account          text,
    api_version      text,
    livemode         boolean,
    received_at      timestamptz NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    -- The body as it was received. NULL once its retention is over.
    payload          text COMPRESSION lz4,
    status           text NOT NULL CHECK (status IN ('decided', 'waiting', 'parked')),
    outcome          text NOT NULL CHECK (outcome IN
                         ('applied', 'semantic_duplicate', 'stale', 'ignored', 'rejected', 'waiting', 'parked')),
    guard            text CHECK (guard IN ('idempotency', 'authority', 'identity', 'order', 'intent', 'transition')),
    reason           text,
    client_id        text,
    org_id           text,
    -- What a waiting event waits for: its customer to be registered, or the client that its metadata names to be known.
    waiting_customer text,
    waiting_client   text,
    -- How often this event id was delivered to this consumer.
    deliveries       integer NOT NULL DEFAULT 1 CHECK (deliveries >= 1),
    PRIMARY KEY (stripe_event_id, consumer, created),
    CHECK ((status = 'waiting') = (outcome = 'waiting')),
    CHECK ((status = 'parked') = (outcome = 'parked'))
) PARTITION BY RANGE (created);

CREATE INDEX billing_events_by_client ON billing_events (client_id, created DESC) WHERE client_id IS NOT NULL;
CREATE INDEX billing_events_waiting_customer ON billing_events (waiting_customer) WHERE waiting_customer IS NOT NULL;
CREATE INDEX billing_events_waiting_client ON billing_events (waiting_client) WHERE waiting_client IS NOT NULL;
CREATE INDEX billing_events_recorded ON billing_events (recorded_at DESC);

SELECT holdfast_protect('billing_events');
SELECT holdfast_share_with_tenant('billing_events');
GRANT SELECT, INSERT, UPDATE ON billing_events TO holdfast_service;

-- What was decided about an event, and why: the client's timeline. Append-only.
CREATE TABLE billing_decisions (
    id          uuid NOT NULL,
    decided_at  timestamptz NOT NULL,
    event_id    text NOT NULL,
    event_type  text NOT NULL,
    created     timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    client_id   text,
    org_id      text,
    outcome     text NOT NULL CHECK (outcome IN
                    ('applied', 'semantic_duplicate', 'stale', 'ignored', 'rejected', 'waiting', 'parked')),
    guard       text CHECK (guard IN ('idempotency', 'authority', 'identity', 'order', 'intent', 'transition')),
    reason      text,
    from_state  text,
    to_state    text,
    -- What was expected and what was found, for whoever asks why.
    details     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (id, decided_at),
    CHECK ((from_state IS NULL) = (to_state IS NULL)),
    CHECK (from_state IS NOT DISTINCT FROM to_state OR outcome = 'applied')
) PARTITION BY RANGE (decided_at);

CREATE INDEX billing_decisions_timeline ON billing_decisions (client_id, id DESC) WHERE client_id IS NOT NULL;
CREATE INDEX billing_decisions_by_event ON billing_decisions (event_id);

SELECT holdfast_protect('billing_decisions');
SELECT holdfast_share_with_tenant('billing_decisions');
GRANT SELECT, INSERT ON billing_decisions TO holdfast_service;

-- Makes the monthly partitions of a table from `months_back` months ago to `months_ahead` months from now, and returns how many
-- were new. A month whose rows already lie in the DEFAULT partition cannot be made; it is skipped and counted as not new, and
-- the alert on the DEFAULT partition tells a person. SECURITY DEFINER, so that the service role can make months ahead without
-- owning anything; the list of tables it may touch is fixed here.
CREATE FUNCTION holdfast_ensure_partitions(months_back integer, months_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
DECLARE
    parent text;
    month  date;
    child  text;
    made   integer := 0;
BEGIN
    IF months_back NOT BETWEEN 0 AND 24 OR months_ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'months must lie between 0 and 24';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('holdfast_ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['billing_events', 'billing_decisions'] LOOP
        FOR step IN -months_back .. months_ahead LOOP
            month := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step))::date;
            child := parent || '_' || to_char(month, 'YYYY_MM');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
                    to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
                    to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
                PERFORM holdfast_protect(child::regclass);
                made := made + 1;
            EXCEPTION WHEN check_violation THEN
                RAISE WARNING 'rows of % already lie in the DEFAULT partition of %', month, parent;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
REVOKE EXECUTE ON FUNCTION holdfast_ensure_partitions(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION holdfast_ensure_partitions(integer, integer) TO holdfast_service;

CREATE TABLE billing_events_default PARTITION OF billing_events DEFAULT;
SELECT holdfast_protect('billing_events_default');
GRANT SELECT ON billing_events_default TO holdfast_service;
CREATE TABLE billing_decisions_default PARTITION OF billing_decisions DEFAULT;
SELECT holdfast_protect('billing_decisions_default');
GRANT SELECT ON billing_decisions_default TO holdfast_service;

SELECT holdfast_ensure_partitions(3, 6);
