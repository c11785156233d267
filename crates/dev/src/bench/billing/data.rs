//! Clients and archived events that billing is measured with.

use anyhow::Context;
use chrono::{DateTime, Utc};

use super::super::stage::Stage;

impl Stage {
    /// Registers clients, and lets all but those that will buy have an active subscription that was paid once.
    pub(super) async fn register(&self, first: usize, end: usize, begin: DateTime<Utc>) -> anyhow::Result<()> {
        let org = self.secrets.org_id.to_string();
        let begin = begin.timestamp();
        let rows = format!(
            "CREATE TEMP TABLE n ON COMMIT DROP AS
                 SELECT n, n % 10 = 9 AS buys, lpad(n::text, 8, '0') AS digits FROM generate_series({first}, {end} - 1) AS n;
             INSERT INTO client_billing (client_id, org_id, payment_source, initial_state, state, stripe_customer_id,
                     stripe_subscription_id, current_period_end, last_event_id, last_event_type, last_event_created, version)
                 SELECT 'client_' || digits, '{org}', 'STRIPE', 'TRIAL_PENDING',
                     CASE WHEN buys THEN 'TRIAL_PENDING' ELSE 'ACTIVE' END, 'cus_' || digits || 'BenHld',
                     CASE WHEN NOT buys THEN 'sub_1' || digits || 'QhBenchHoldfast' END,
                     CASE WHEN NOT buys THEN to_timestamp({begin}) END,
                     CASE WHEN NOT buys THEN 'evt_1' || digits || '00QhBenchHoldf' END,
                     CASE WHEN NOT buys THEN 'customer.subscription.updated' END,
                     CASE WHEN NOT buys THEN to_timestamp({begin} - 2592000) END, CASE WHEN buys THEN 0 ELSE 1 END
                 FROM n;
             INSERT INTO billing_customers (stripe_customer_id, client_id, org_id, bound_by)
                 SELECT 'cus_' || digits || 'BenHld', 'client_' || digits, '{org}', 'registration' FROM n;
             INSERT INTO billing_subscriptions (stripe_subscription_id, client_id, org_id, stripe_customer_id, snapshot_rank,
                     snapshot_at, observations, status, price_id, current_period_end, first_paid_at, last_paid_at)
                 SELECT 'sub_1' || digits || 'QhBenchHoldfast', 'client_' || digits, '{org}', 'cus_' || digits || 'BenHld', 1,
                     {begin} - 2592000, jsonb_build_array(jsonb_build_object('status', 'active', 'collection_paused', false,
                         'cancel_at_period_end', false, 'start', {begin} - 2592000, 'current_period_end', {begin},
                         'trial_end', NULL, 'price', '{price}', 'currency', 'eur', 'before', '{{}}'::jsonb)),
                     'active', '{price}', to_timestamp({begin}), {begin} - 2592000, {begin} - 2592000
                 FROM n WHERE NOT buys;
             INSERT INTO billing_payments (object_id, kind, client_id, org_id, stripe_subscription_id, billing_reason, amount,
                     currency, paid_at)
                 SELECT 'in_1' || digits || '00QhBenchHoldf', 'invoice', 'client_' || digits, '{org}',
                     'sub_1' || digits || 'QhBenchHoldfast', 'subscription_create', 4900, 'eur', {begin} - 2592000
                 FROM n WHERE NOT buys;",
            price = super::story::PRICE,
        );
        self.sql
            .batch_execute(&format!("BEGIN; {rows} COMMIT; ANALYZE client_billing, billing_customers, billing_subscriptions, billing_payments;"))
            .await
            .context("registering clients")
    }

    /// Brings the archive to so many events of the last 80 days, each with its decision. Their bodies are gone, as after
    /// retention; their rows and all entries of indexes are there.
    pub(super) async fn archive(
        &self,
        from: usize,
        to: usize,
        clients: usize,
        begin: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        const PIECE: usize = 250_000;
        let org = self.secrets.org_id.to_string();
        let begin = begin.timestamp();
        for first in (from..to).step_by(PIECE) {
            let end = (first + PIECE).min(to);
            let created = format!("to_timestamp({begin} - 86400 - 6912000.0 * (1 - n / {to}.0))");
            let client = format!("'client_' || lpad((n::bigint * 48271 % {clients})::text, 8, '0')");
            let rows = format!(
                "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, api_version, livemode,
                         received_at, recorded_at, status, outcome, reason, client_id, org_id)
                     SELECT 'evt_0' || lpad(n::text, 10, '0') || 'QhBenchHoldf', 'billing', {created}, 'invoice.paid',
                         'platform', '2026-09-30.endive', false, {created}, {created}, 'decided', 'applied',
                         'facts_recorded', {client}, '{org}'
                     FROM generate_series({first}, {end} - 1) AS n;
                 INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, org_id,
                         outcome, reason)
                     SELECT (lpad(to_hex(({begin}::bigint - 6998400 + n * 6912000 / {to}) * 1000), 12, '0') || '7'
                             || lpad(to_hex(n % 4096), 3, '0') || '8' || substr(md5(n::text), 1, 15))::uuid,
                         {created}, 'evt_0' || lpad(n::text, 10, '0') || 'QhBenchHoldf', 'invoice.paid', {created},
                         {created}, {client}, '{org}', 'applied', 'facts_recorded'
                     FROM generate_series({first}::bigint, {end} - 1) AS n;"
            );
            self.sql.batch_execute(&rows).await.context("filling the archive")?;
        }
        self.settle().await
    }

    /// Lets every side begin with the same: nothing to write out, fresh statistics.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        for settle in [
            "VACUUM (ANALYZE) billing_events",
            "VACUUM (ANALYZE) billing_decisions",
            "CHECKPOINT",
        ] {
            self.sql.batch_execute(settle).await.context("settling the database")?;
        }
        Ok(())
    }
}
