//! What the migrations are meant to have made, written down a second time: an independent assertion, not derived from them.

/// A table, who may do what with it, and whose rows a tenant sees.
pub(super) struct ExpectedTable {
    pub(super) name: &'static str,
    /// What the service role may do, sorted. A privilege on one column is written `UPDATE (column)`.
    pub(super) service: &'static [&'static str],
    /// The column that names a row's organisation, where the tenant role may read the table.
    pub(super) tenant: Option<&'static str>,
    /// Partitioned by month.
    pub(super) partitioned: bool,
}

const APPEND_ONLY: &[&str] = &["INSERT", "SELECT"];
const CHANGING: &[&str] = &["INSERT", "SELECT", "UPDATE"];

pub(super) const TABLES: &[ExpectedTable] = &[
    shared("billing_charges", CHANGING),
    shared("billing_checkout_sessions", APPEND_ONLY),
    shared("billing_customers", APPEND_ONLY),
    by_month(shared("billing_decisions", APPEND_ONLY)),
    by_month(shared("billing_events", CHANGING)),
    shared("billing_disputes", CHANGING),
    shared("billing_payments", CHANGING),
    shared("billing_refunds", CHANGING),
    shared("billing_subscriptions", CHANGING),
    shared("client_billing", CHANGING),
    shared("org_members", &["DELETE", "INSERT", "SELECT", "UPDATE"]),
    ExpectedTable {
        tenant: Some("id"),
        ..internal("organizations", CHANGING)
    },
    by_month(internal("admin_actions", APPEND_ONLY)),
    internal("billing_alerts", CHANGING),
    internal("escrow_accounts", CHANGING),
    internal("escrow_disputes", CHANGING),
    internal("escrow_recipients", CHANGING),
    internal("escrow_transactions", CHANGING),
    internal("escrow_transfers", CHANGING),
    internal("idempotency_keys", &["DELETE", "INSERT", "SELECT", "UPDATE"]),
    internal("job_slots", APPEND_ONLY),
    internal("ledger_entries", APPEND_ONLY),
    internal("ledger_transactions", APPEND_ONLY),
    internal("outbox", &["DELETE", "INSERT", "SELECT", "UPDATE (retry_at)"]),
    internal("refund_breaker_days", CHANGING),
    internal("schema_migrations", &["SELECT"]),
    internal("stripe_operations", CHANGING),
];

/// The only function that runs with its owner's rights, and may be called by the service role alone.
pub(super) const DEFINER_FUNCTION: &str = "holdfast_ensure_partitions";

/// Triggers by which the database refuses what does not add up, by their tables.
pub(super) const TRIGGERS: &[(&str, &str)] = &[
    ("escrow_recipients", "escrow_recipients_split"),
    ("ledger_entries", "ledger_balanced"),
    ("ledger_transactions", "ledger_balanced"),
];

/// Indexes by which it refuses what may be there only once, by their tables: an event, a call, its effect, its posting, an alert.
pub(super) const UNIQUE_INDEXES: &[(&str, &str)] = &[
    ("billing_alerts", "billing_alerts_one_unresolved"),
    ("billing_events", "billing_events_pkey"),
    ("ledger_transactions", "ledger_transactions_once"),
    ("stripe_operations", "stripe_operations_one_effect"),
    ("stripe_operations", "stripe_operations_one_job"),
];

/// Months that must have a partition: this one and as many to come. Fewer than are made ahead, so that a job that failed for a
/// while is not an emergency at once.
pub(super) const MONTHS_NEEDED: i32 = 2;

const fn internal(name: &'static str, service: &'static [&'static str]) -> ExpectedTable {
    ExpectedTable {
        name,
        service,
        tenant: None,
        partitioned: false,
    }
}

const fn shared(name: &'static str, service: &'static [&'static str]) -> ExpectedTable {
    ExpectedTable {
        name,
        service,
        tenant: Some("org_id"),
        partitioned: false,
    }
}

const fn by_month(table: ExpectedTable) -> ExpectedTable {
    ExpectedTable {
        partitioned: true,
        ..table
    }
}
