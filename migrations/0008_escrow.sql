-- Escrow: money that is held for recipients, every call that moves it, the ledger, and the audit trail of acts on money.
-- Safe on a running system: everything is new but holdfast_ensure_partitions, which is replaced by one that also makes the months of
-- admin_actions. The previous version does not know these tables and leaves them alone.
--
-- Escrows belong to the platform and not to an organisation: no tenant reads them.

-- What an escrow was created with, what is known of its payment, and what was asked of it (domain::escrow::held).
CREATE TABLE escrow_transactions (
    id                      text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    -- One more with every change; a change is one UPDATE .. WHERE version = the one that was read.
    version                 bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    status                  text NOT NULL CHECK (status IN
                                ('awaiting_payment', 'held', 'processing', 'distributed', 'transfer_failed', 'pending_user_setup',
                                 'refunding', 'refunded', 'payment_failed', 'canceled', 'reversed', 'disputed')),
    currency                text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    amount                  bigint NOT NULL CHECK (amount > 0),
    -- What the platform keeps. Recipients' parts and this add up to the amount (trigger below).
    fee                     bigint NOT NULL CHECK (fee >= 0 AND fee <= amount),
    capture                 text NOT NULL CHECK (capture IN ('manual', 'automatic')),
    on_authorization_expiry text NOT NULL CHECK (on_authorization_expiry IN ('refuse', 'capture')),
    expires_at              timestamptz NOT NULL,
    metadata                jsonb NOT NULL DEFAULT '{}',
    payment_intent_id       text UNIQUE,
    charge_id               text UNIQUE,
    payment_failed          boolean NOT NULL DEFAULT false,
    authorized              boolean NOT NULL DEFAULT false,
    capture_before          timestamptz,
    captured                bigint CHECK (captured >= 0),
    canceled                boolean NOT NULL DEFAULT false,
    -- The largest total that Stripe told, and what each of our own jobs did, by its number.
    refunded_told           bigint NOT NULL DEFAULT 0 CHECK (refunded_told >= 0),
    refunded_ours           jsonb NOT NULL DEFAULT '{}',
    asked_release           boolean NOT NULL DEFAULT false,
    asked_refund            bigint NOT NULL DEFAULT 0 CHECK (asked_refund >= 0),
    asked_cancel            boolean NOT NULL DEFAULT false,
    asked_secure            boolean NOT NULL DEFAULT false,
    jobs_begun              integer NOT NULL DEFAULT 0 CHECK (jobs_begun >= 0),
    -- Above the breaker's limit by itself: a person decides, the sweeper passes it over.
    set_aside_at            timestamptz,
    created_by              text NOT NULL,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    CHECK (NOT (canceled AND captured IS NOT NULL)),
    CHECK ((status = 'canceled') = canceled),
    CHECK (capture_before IS NULL OR authorized),
    CHECK (status NOT IN ('held', 'processing') OR authorized OR captured IS NOT NULL),
    CHECK (status NOT IN ('distributed', 'transfer_failed', 'pending_user_setup') OR (captured IS NOT NULL AND asked_release)),
    CHECK (status <> 'refunded' OR captured IS NOT NULL)
);
-- The time-out run: what can expire, oldest first.
CREATE INDEX escrow_transactions_expiring ON escrow_transactions (expires_at)
    WHERE status IN ('awaiting_payment', 'payment_failed', 'held') AND set_aside_at IS NULL;
-- Authorisations that are captured before they end.
CREATE INDEX escrow_transactions_to_secure ON escrow_transactions (capture_before NULLS FIRST)
    WHERE status = 'held' AND captured IS NULL AND on_authorization_expiry = 'capture' AND NOT asked_secure;
-- What is held, for the gauge; and what is not at its end, for people.
CREATE INDEX escrow_transactions_held ON escrow_transactions (currency, amount) WHERE status = 'held';
CREATE INDEX escrow_transactions_by_status ON escrow_transactions (status, updated_at)
    WHERE status NOT IN ('distributed', 'refunded', 'canceled');
SELECT holdfast_protect('escrow_transactions');
GRANT SELECT, INSERT, UPDATE ON escrow_transactions TO holdfast_service;

CREATE TABLE escrow_recipients (
    escrow_id      text NOT NULL REFERENCES escrow_transactions (id),
    position       integer NOT NULL CHECK (position >= 0),
    account        text NOT NULL CHECK (length(account) BETWEEN 1 AND 255),
    amount         bigint NOT NULL CHECK (amount > 0),
    status         text NOT NULL CHECK (status IN
                       ('waiting', 'paying', 'paid', 'transfer_failed', 'pending_user_setup', 'reversing', 'reversal_failed',
                        'reversed', 'returned')),
    -- How many transfers it may have had; a release allows one more than it had.
    entitled       integer NOT NULL DEFAULT 0 CHECK (entitled >= 0),
    readiness      text NOT NULL DEFAULT 'unknown' CHECK (readiness IN ('unknown', 'ready', 'not_ready')),
    readiness_code text,
    seen_at        bigint,
    written_off    bigint NOT NULL DEFAULT 0 CHECK (written_off >= 0),
    -- Something new was said of the account that has not been told to the escrow yet.
    account_news   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (escrow_id, position),
    UNIQUE (escrow_id, account),
    CHECK ((readiness = 'not_ready') = (readiness_code IS NOT NULL))
);
CREATE INDEX escrow_recipients_by_account ON escrow_recipients (account);
CREATE INDEX escrow_recipients_with_news ON escrow_recipients (escrow_id) WHERE account_news;
SELECT holdfast_protect('escrow_recipients');
GRANT SELECT, INSERT, UPDATE ON escrow_recipients TO holdfast_service;

CREATE FUNCTION holdfast_check_split() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
    AS $$
DECLARE
    missing bigint;
BEGIN
    SELECT e.amount - e.fee - coalesce((SELECT sum(r.amount) FROM escrow_recipients AS r WHERE r.escrow_id = e.id), 0)
        INTO missing FROM escrow_transactions AS e WHERE e.id = NEW.escrow_id;
    IF missing <> 0 THEN
        RAISE EXCEPTION 'the parts of escrow % do not add up: % minor units are missing', NEW.escrow_id, missing
            USING ERRCODE = 'check_violation', CONSTRAINT = 'escrow_recipients_split';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER escrow_recipients_split AFTER INSERT OR UPDATE OF amount ON escrow_recipients
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION holdfast_check_split();

-- Transfers to recipients, by Stripe's id, with what was taken back of each.
CREATE TABLE escrow_transfers (
    transfer_id   text PRIMARY KEY,
    escrow_id     text NOT NULL,
    account       text NOT NULL,
    amount        bigint NOT NULL CHECK (amount >= 0),
    reversed_told bigint NOT NULL DEFAULT 0 CHECK (reversed_told >= 0),
    reversed_ours jsonb NOT NULL DEFAULT '{}',
    failed        boolean NOT NULL DEFAULT false,
    FOREIGN KEY (escrow_id, account) REFERENCES escrow_recipients (escrow_id, account)
);
CREATE INDEX escrow_transfers_by_escrow ON escrow_transfers (escrow_id);
SELECT holdfast_protect('escrow_transfers');
GRANT SELECT, INSERT, UPDATE ON escrow_transfers TO holdfast_service;

CREATE TABLE escrow_disputes (
    dispute_id text PRIMARY KEY,
    escrow_id  text NOT NULL REFERENCES escrow_transactions (id),
    stage      text NOT NULL CHECK (stage IN ('inquiry', 'closed', 'open', 'lost', 'won')),
    amount     bigint NOT NULL CHECK (amount >= 0)
);
CREATE INDEX escrow_disputes_by_escrow ON escrow_disputes (escrow_id);
SELECT holdfast_protect('escrow_disputes');
GRANT SELECT, INSERT, UPDATE ON escrow_disputes TO holdfast_service;

-- The newest snapshot of each connected account, whichever escrows it is in.
CREATE TABLE escrow_accounts (
    account        text PRIMARY KEY CHECK (length(account) BETWEEN 1 AND 255),
    readiness      text NOT NULL CHECK (readiness IN ('ready', 'not_ready')),
    readiness_code text,
    -- What its owner must do, in Stripe's words.
    requirements   jsonb NOT NULL DEFAULT '{}',
    seen_at        bigint NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((readiness = 'not_ready') = (readiness_code IS NOT NULL))
);
SELECT holdfast_protect('escrow_accounts');
GRANT SELECT, INSERT, UPDATE ON escrow_accounts TO holdfast_service;

-- One row per intended call to Stripe (domain::escrow::operation). Written down before the call, never deleted.
CREATE TABLE stripe_operations (
    id              text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 200),
    escrow_id       text NOT NULL REFERENCES escrow_transactions (id),
    -- The escrow's job; 0 makes the payment itself.
    number          integer NOT NULL CHECK (number >= 0),
    kind            text NOT NULL CHECK (kind IN ('create_payment', 'capture', 'cancel', 'transfer', 'reverse', 'refund')),
    account         text,
    transfer_id     text,
    amount          bigint NOT NULL CHECK (amount > 0),
    currency        text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    status          text NOT NULL CHECK (status IN
                        ('intended', 'in_flight', 'succeeded', 'failed_transient', 'failed_permanent', 'unknown')),
    -- Why it failed.
    cause           text CHECK (cause IN ('refused', 'never_happened', 'happened_twice', 'withdrawn')),
    -- How an unknown outcome is found out.
    resolve         text CHECK (resolve IN ('same_key', 'look')),
    -- The refusal of the cause, or the one that holds if a look finds nothing.
    failure_code    text,
    failure_class   text,
    next_at         timestamptz,
    lease_until     timestamptz,
    attempt         integer NOT NULL CHECK (attempt >= 0),
    calls           integer NOT NULL CHECK (calls >= 0),
    key_since       timestamptz NOT NULL,
    last_call       timestamptz NOT NULL,
    failures        integer NOT NULL CHECK (failures >= 0),
    -- The key of the attempt and what its call is made of; the same key never goes with other parameters.
    idempotency_key text,
    params          text,
    object_id       text,
    request_id      text,
    -- How the escrow's job stands; NULL once it is done or let go.
    job             text CHECK (job IN ('open', 'refused', 'given_up')),
    job_code        text,
    job_class       text,
    -- When a worker has something to do with it; NULL while nobody has.
    due_at          timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    UNIQUE (escrow_id, number),
    CHECK ((status = 'succeeded') = (object_id IS NOT NULL)),
    CHECK ((status = 'in_flight') = (lease_until IS NOT NULL)),
    CHECK ((status IN ('failed_transient', 'failed_permanent')) = (cause IS NOT NULL)),
    CHECK ((status = 'unknown') = (resolve IS NOT NULL)),
    CHECK ((status IN ('failed_transient', 'unknown')) = (next_at IS NOT NULL)),
    CHECK ((failure_code IS NULL) = (failure_class IS NULL)),
    CHECK ((kind IN ('transfer', 'reverse')) = (account IS NOT NULL)),
    CHECK ((kind = 'reverse') = (transfer_id IS NOT NULL)),
    CHECK (status IN ('intended', 'succeeded', 'failed_permanent') OR attempt > 0),
    CHECK (status NOT IN ('succeeded', 'failed_permanent') OR due_at IS NULL),
    CHECK (kind <> 'create_payment' OR (number = 0 AND job IS NULL))
);
-- At most one job works on each task: the database's own word against paying a share twice.
CREATE UNIQUE INDEX stripe_operations_one_job ON stripe_operations
    (escrow_id, kind, coalesce(account, ''), coalesce(transfer_id, '')) WHERE job IS NOT NULL;
-- One object is the effect of one operation.
CREATE UNIQUE INDEX stripe_operations_one_effect ON stripe_operations (object_id)
    WHERE object_id IS NOT NULL AND kind IN ('create_payment', 'transfer', 'reverse', 'refund');
CREATE INDEX stripe_operations_due ON stripe_operations (due_at) WHERE due_at IS NOT NULL;
-- The retry run: refused calls that may be made again, oldest first.
CREATE INDEX stripe_operations_to_retry ON stripe_operations (created_at, next_at)
    WHERE status = 'failed_transient' AND job = 'refused' AND failure_class <> 'recipient_not_ready';
SELECT holdfast_protect('stripe_operations');
GRANT SELECT, INSERT, UPDATE ON stripe_operations TO holdfast_service;

-- Double entry. Append-only: neither UPDATE nor DELETE is granted.
CREATE TABLE ledger_transactions (
    id           uuid PRIMARY KEY,
    escrow_id    text NOT NULL REFERENCES escrow_transactions (id),
    kind         text NOT NULL CHECK (kind IN
                     ('capture', 'release', 'transfer', 'reversal', 'refund', 'dispute_withdrawal', 'dispute_reinstatement',
                      'dispute_loss', 'dispute_recovery', 'write_off')),
    currency     text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    -- What it came from: an operation of ours, or a fact of Stripe's.
    operation_id text REFERENCES stripe_operations (id),
    -- The change of the escrow that it belongs to, and its place in it.
    version      bigint NOT NULL,
    position     integer NOT NULL CHECK (position >= 0),
    posted_at    timestamptz NOT NULL,
    UNIQUE (escrow_id, version, position)
);
CREATE UNIQUE INDEX ledger_transactions_once ON ledger_transactions (operation_id, kind) WHERE operation_id IS NOT NULL;
CREATE INDEX ledger_transactions_by_time ON ledger_transactions (posted_at);
SELECT holdfast_protect('ledger_transactions');
GRANT SELECT, INSERT ON ledger_transactions TO holdfast_service;

CREATE TABLE ledger_entries (
    transaction_id uuid NOT NULL REFERENCES ledger_transactions (id),
    line           integer NOT NULL CHECK (line >= 0),
    escrow_id      text NOT NULL,
    account        text NOT NULL CHECK (account IN ('clearing', 'escrow', 'recipient', 'platform_fee', 'disputes', 'losses')),
    recipient      text,
    amount         bigint NOT NULL CHECK (amount <> 0),
    currency       text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    PRIMARY KEY (transaction_id, line),
    CHECK ((account = 'recipient') = (recipient IS NOT NULL))
);
CREATE INDEX ledger_entries_by_escrow ON ledger_entries (escrow_id, account, recipient) INCLUDE (amount);
SELECT holdfast_protect('ledger_entries');
GRANT SELECT, INSERT ON ledger_entries TO holdfast_service;

-- Per entry row and deferred, so that a line that is added later to a transaction is caught as well.
CREATE FUNCTION holdfast_check_balance() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
    AS $$
DECLARE
    posted   uuid;
    lines    bigint;
    total    numeric;
    mixed    bigint;
BEGIN
    IF TG_TABLE_NAME = 'ledger_entries' THEN
        posted := NEW.transaction_id;
    ELSE
        posted := NEW.id;
    END IF;
    SELECT count(*), coalesce(sum(e.amount), 0), count(*) FILTER (WHERE e.currency <> t.currency OR e.escrow_id <> t.escrow_id)
        INTO lines, total, mixed
        FROM ledger_entries AS e JOIN ledger_transactions AS t ON t.id = e.transaction_id WHERE e.transaction_id = posted;
    IF lines < 2 OR total <> 0 OR mixed > 0 THEN
        RAISE EXCEPTION 'ledger transaction % has % lines that come to %, % of another currency or escrow', posted, lines, total, mixed
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balanced';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_balanced AFTER INSERT OR UPDATE ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION holdfast_check_balance();
CREATE CONSTRAINT TRIGGER ledger_balanced AFTER INSERT ON ledger_transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION holdfast_check_balance();

-- Who did what to money, and why: acts of people and of Holdfast itself, failures, alerts. Append-only, by month.
CREATE TABLE admin_actions (
    id           uuid NOT NULL,
    at           timestamptz NOT NULL,
    -- 'service:<who>', 'user:<who>', 'sweeper', 'worker', 'stripe'.
    actor        text NOT NULL,
    action       text NOT NULL,
    escrow_id    text,
    operation_id text,
    reason       text,
    before       jsonb,
    after        jsonb,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE INDEX admin_actions_by_escrow ON admin_actions (escrow_id, id) WHERE escrow_id IS NOT NULL;
SELECT holdfast_protect('admin_actions');
GRANT SELECT, INSERT ON admin_actions TO holdfast_service;
CREATE TABLE admin_actions_default PARTITION OF admin_actions DEFAULT;
SELECT holdfast_protect('admin_actions_default');
GRANT SELECT ON admin_actions_default TO holdfast_service;

-- The first answer to a request that carried a key.
CREATE TABLE idempotency_keys (
    scope        text NOT NULL,
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash text NOT NULL,
    subject      text,
    status       integer CHECK (status BETWEEN 100 AND 599),
    answer       jsonb,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (scope, key),
    CHECK ((status IS NULL) = (answer IS NULL))
);
CREATE INDEX idempotency_keys_expiring ON idempotency_keys (expires_at);
SELECT holdfast_protect('idempotency_keys');
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO holdfast_service;

-- What the refund breaker has let pass, per UTC day, so that a crash loop cannot get round it.
CREATE TABLE refund_breaker_days (
    day     date PRIMARY KEY,
    count   bigint NOT NULL DEFAULT 0 CHECK (count >= 0),
    -- Minor units by currency.
    amounts jsonb NOT NULL DEFAULT '{}'
);
SELECT holdfast_protect('refund_breaker_days');
GRANT SELECT, INSERT, UPDATE ON refund_breaker_days TO holdfast_service;

-- Runs by a timer: of all replicas, the first to take a slot runs.
CREATE TABLE job_slots (
    job        text NOT NULL,
    slot       bigint NOT NULL,
    started_at timestamptz NOT NULL,
    PRIMARY KEY (job, slot)
);
SELECT holdfast_protect('job_slots');
GRANT SELECT, INSERT ON job_slots TO holdfast_service;

-- As in 0002, with one table more.
CREATE OR REPLACE FUNCTION holdfast_ensure_partitions(months_back integer, months_ahead integer) RETURNS integer
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
    FOREACH parent IN ARRAY ARRAY['billing_events', 'billing_decisions', 'admin_actions'] LOOP
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
SELECT holdfast_ensure_partitions(0, 6);
