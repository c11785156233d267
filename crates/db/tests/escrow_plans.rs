//! How Postgres finds what escrow asks for, however many escrows there are: by an index, and never by reading a table through.
//!
//! `UPDATE_DOCS=1` before the test writes `docs/ESCROW-PLANS.md` anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)] // UPDATE_DOCS is a word to this test, no configuration of Holdfast's

use std::fmt::Write as _;
use std::path::Path;

use chrono::Utc;
use db::escrow::accounts::{
    AccountRow, find_accounts_in_txn, list_escrows_with_news, take_news_in_txn, upsert_account_in_txn,
};
use db::escrow::breaker::{count_expired_escrows, list_escrows_to_secure, list_expired_escrows, sum_held};
use db::escrow::held::{Lock, lock_escrow_in_txn};
use db::escrow::inbox::{list_waiting_events, measure_long_waits};
use db::escrow::jobs::{count_refused_calls, list_refused_calls};
use db::escrow::operations::{find_operation_in_txn, list_due_operations, list_operations_in_txn};
use db::escrow::owners::{Names, find_owner_in_txn, is_recipient_anywhere};
use db::{Database, DatabaseConfig, DbError, Transaction};
use domain::escrow::facts::Readiness;
use domain::time::UnixSeconds;
use testkit::TestDb;
use tokio_postgres::Client;

/// Enough that reading all of it would never be cheaper than an index.
const ESCROWS: usize = 30_000;
/// The version that Debian has, and that the document is written with.
const VERSION: &str = "15";

struct Book {
    test: TestDb,
    database: Database,
    /// Looks at what the other connection has asked.
    onlooker: Client,
    /// Asks for plans.
    planner: Client,
    plans: Vec<(&'static str, String)>,
}

impl Book {
    async fn open() -> Self {
        let test = TestDb::create().await;
        let onlooker = test.superuser().await;
        testkit::fill_escrows(&onlooker, ESCROWS).await.unwrap();
        let config = DatabaseConfig {
            max_connections: 1,
            ..DatabaseConfig::new(test.service_url().into(), "plans")
        };
        let planner = test.service().await;
        planner
            .batch_execute("SET plan_cache_mode = force_generic_plan")
            .await
            .unwrap();
        Self {
            database: Database::open(&config).unwrap(),
            test,
            onlooker,
            planner,
            plans: Vec::new(),
        }
    }

    /// The plan of the last statement that `ask` has sent.
    async fn look(&mut self, name: &'static str, ask: impl AsyncFn(&Transaction<'_>) -> Result<(), DbError>) {
        let mut conn = self.database.conn().await.unwrap();
        let pid: i32 = conn.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        // Once to prepare its statements: those that go together are then sent in their order, so that the last is always the same.
        let txn = conn.transaction().await.unwrap();
        ask(&txn).await.unwrap();
        txn.rollback().await.unwrap();
        let txn = conn.transaction().await.unwrap();
        ask(&txn).await.unwrap();
        let sql = "SELECT query FROM pg_stat_activity WHERE pid = $1";
        let statement: String = self.onlooker.query_one(sql, &[&pid]).await.unwrap().get(0);
        txn.rollback().await.unwrap();
        assert!(
            statement.len() < 1_000,
            "{name} is cut off by track_activity_query_size"
        );
        self.plans.push((name, self.plan(&statement).await));
    }

    async fn plan(&self, statement: &str) -> String {
        let count = (1..=20)
            .rev()
            .find(|n| statement.contains(&format!("${n}")))
            .unwrap_or(0);
        let prepare = format!("DEALLOCATE ALL; PREPARE asked AS {statement}");
        self.planner.batch_execute(&prepare).await.expect(statement);
        let nulls = vec!["NULL"; count].join(", ");
        let explain = if count == 0 {
            "EXPLAIN (COSTS OFF) EXECUTE asked".to_owned()
        } else {
            format!("EXPLAIN (COSTS OFF) EXECUTE asked ({nulls})")
        };
        let rows = self.planner.simple_query(&explain).await.expect(statement);
        let mut plan = String::new();
        for row in rows {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = row {
                let _ = writeln!(plan, "{}", row.get(0).unwrap());
            }
        }
        plan
    }
}

#[tokio::test]
async fn nothing_that_escrow_asks_for_reads_a_table_through() {
    let mut book = Book::open().await;
    let (now, id) = (Utc::now(), "esc_old_1");
    book.look("list_due_operations", async |txn| {
        list_due_operations(txn, now, 256).await.map(drop)
    })
    .await;
    book.look("list_expired_escrows", async |txn| {
        list_expired_escrows(txn, now, 2_000).await.map(drop)
    })
    .await;
    book.look("count_expired_escrows", async |txn| {
        count_expired_escrows(txn, now, 2_000).await.map(drop)
    })
    .await;
    book.look("list_escrows_to_secure", async |txn| {
        list_escrows_to_secure(txn, now, 100).await.map(drop)
    })
    .await;
    book.look("sum_held", async |txn| sum_held(txn).await.map(drop)).await;
    book.look("list_refused_calls", async |txn| {
        list_refused_calls(txn, now, 10).await.map(drop)
    })
    .await;
    book.look("count_refused_calls", async |txn| {
        count_refused_calls(txn, now).await.map(drop)
    })
    .await;
    book.look("list_waiting_events", async |txn| {
        let behind = (now, "evt_1".to_owned());
        list_waiting_events(txn, Some(&behind), now, 20).await.map(drop)
    })
    .await;
    book.look("measure_long_waits", async |txn| {
        measure_long_waits(txn, now).await.map(drop)
    })
    .await;
    book.look("list_escrows_with_news", async |txn| {
        list_escrows_with_news(txn, "esc_old_1", 100).await.map(drop)
    })
    .await;
    book.look("upsert_account (whom it concerns)", async |txn| {
        let row = AccountRow {
            account: "acct_old_1".to_owned(),
            readiness: Readiness::Ready,
            requirements: serde_json::json!({}),
            seen_at: UnixSeconds(now.timestamp()),
        };
        upsert_account_in_txn(txn, &row).await.map(drop)
    })
    .await;
    book.look("take_news", async |txn| take_news_in_txn(txn, id).await.map(drop))
        .await;
    book.look("find_accounts", async |txn| {
        find_accounts_in_txn(txn, &["acct_old_1"]).await.map(drop)
    })
    .await;
    book.look("is_recipient_anywhere", async |txn| {
        is_recipient_anywhere(txn, "acct_old_1").await.map(drop)
    })
    .await;
    book.look("find_owner", async |txn| {
        let names = Names {
            payment_intent: Some("pi_old_1".to_owned()),
            ..Names::default()
        };
        find_owner_in_txn(txn, &names).await.map(drop)
    })
    .await;
    book.look("lock_escrow (its last part)", async |txn| {
        lock_escrow_in_txn(txn, id, Lock::Exclusive).await.map(drop)
    })
    .await;
    book.look("find_operation", async |txn| {
        find_operation_in_txn(txn, "esc_old_1_0").await.map(drop)
    })
    .await;
    book.look("list_operations", async |txn| {
        list_operations_in_txn(txn, id).await.map(drop)
    })
    .await;

    for (name, plan) in &book.plans {
        for table in [
            "escrow_transactions",
            "escrow_recipients",
            "escrow_transfers",
            "escrow_disputes",
            "stripe_operations",
            "billing_events",
        ] {
            let scan = format!("Seq Scan on {table}");
            assert!(!plan.contains(&scan), "{name} reads {table} through:\n{plan}");
        }
    }
    let version: String = book
        .onlooker
        .query_one("SHOW server_version", &[])
        .await
        .unwrap()
        .get(0);
    if version.starts_with(VERSION) {
        compare(&document(&book.plans));
    }
    drop(book.test);
}

fn document(plans: &[(&str, String)]) -> String {
    let mut text = format!(
        "# How escrow's questions are answered\n\n\
         Written by `cargo test -p db --test escrow_plans` from the statements that the functions of `crates/db/src/escrow` really send; \
         do not edit.\n`UPDATE_DOCS=1` before that command writes it anew. Plans are Postgres {VERSION}'s for any parameters, with \
         {ESCROWS} escrows in the\ntables, of which 2 % are not at their end. None may read a table through, so that a million escrows \
         cost what a thousand do.\n"
    );
    for (name, plan) in plans {
        let _ = write!(text, "\n## {name}\n\n```\n{plan}```\n");
    }
    text
}

fn compare(expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ESCROW-PLANS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/ESCROW-PLANS.md says something else. If that is meant: UPDATE_DOCS=1 cargo test -p db --test escrow_plans\n{expected}"
    );
}
