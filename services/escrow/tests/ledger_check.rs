//! `holdfast ledger check` sees each of its rules broken.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use db::escrow::ledger::{check_ledger, ledger_rules};
use serde_json::json;
use support::in_world;

/// What breaks each rule, by the rule's name. `$id` is the escrow.
const DAMAGE: [(&str, &str); 11] = [
    (
        "every transaction balances",
        "UPDATE ledger_entries SET amount = amount + 1 WHERE account = 'platform_fee'",
    ),
    (
        "every transaction has lines",
        "INSERT INTO ledger_transactions (id, escrow_id, kind, currency, version, position, posted_at) \
         VALUES (gen_random_uuid(), '$id', 'refund', 'eur', 999, 0, now())",
    ),
    (
        "what was captured is posted",
        "UPDATE escrow_transactions SET captured = captured - 1",
    ),
    (
        "what recipients have is posted",
        "UPDATE escrow_transfers SET amount = amount + 1",
    ),
    (
        "what was taken back is posted",
        "UPDATE escrow_transfers SET reversed_told = 1",
    ),
    (
        "what was refunded is posted",
        "UPDATE escrow_transactions SET refunded_told = 1001",
    ),
    (
        "what banks hold of disputes is posted",
        "INSERT INTO escrow_disputes (dispute_id, escrow_id, stage, amount) VALUES ('dp_1', '$id', 'open', 5)",
    ),
    (
        "what was lost in disputes is borne",
        "INSERT INTO escrow_disputes (dispute_id, escrow_id, stage, amount) VALUES ('dp_1', '$id', 'lost', 5)",
    ),
    (
        "what was written off is posted",
        "UPDATE escrow_recipients SET written_off = 1",
    ),
    (
        "no escrow gives out more than came in",
        "UPDATE ledger_entries SET amount = 1000000 WHERE account = 'clearing'",
    ),
    (
        "an escrow that is at its end holds nothing",
        "UPDATE ledger_entries SET amount = amount + 1 WHERE account = 'escrow'",
    ),
];

#[test]
fn each_rule_is_seen_when_it_is_broken() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.command(&id, "refund", &json!({"amount": 1_000})).await;
        world.until(&id, "held").await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        world.carry().await;
        world.assert_book_holds().await;
        assert_eq!(DAMAGE.map(|(rule, _)| rule), ledger_rules());

        let config = db::DatabaseConfig::new(world.db.url().into(), "test");
        let database = db::Database::open(&config).unwrap();
        for (rule, damage) in DAMAGE {
            let mut conn = database.conn().await.unwrap();
            let txn = conn.transaction().await.unwrap();
            // Neither triggers nor foreign keys are in the way.
            txn.batch_execute("SET LOCAL session_replication_role = replica")
                .await
                .unwrap();
            txn.batch_execute(&damage.replace("$id", &id)).await.unwrap();
            let found = check_ledger(&txn).await.unwrap();
            assert!(found.iter().any(|problem| problem.rule == rule), "{rule}: {found:?}");
            txn.rollback().await.unwrap();
        }
        world.assert_book_holds().await;
    });
}
