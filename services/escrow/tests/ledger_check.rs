//! `holdfast ledger check` sees each of its rules broken.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use db::escrow::ledger::{check_ledger, ledger_rules};
use serde_json::json;
use support::{SOON, in_world};

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

/// The payer has more back than the recipients have given: that is a loss, or on its way, and no broken book. More than its part is not.
#[test]
fn what_a_recipient_still_has_of_a_refund_breaks_no_rule_and_what_it_has_beyond_its_part_does() {
    in_world(|world| async move {
        let (account, id) = world.captured().await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        let refusal = json!({
            "path": "/v1/transfers/*/reversals", "method": "POST", "kind": "error", "code": "account_closed", "times": 2,
        });
        world.fault(refusal).await;
        let charge = world.book(&id).await["captures"][0]["charge"]
            .as_str()
            .unwrap()
            .to_owned();
        let form = [("charge", charge.as_str()), ("amount", "10000")];
        world.stripe(reqwest::Method::POST, "/v1/refunds", &form).await;
        world.carry().await;
        let gave_up = format!("escrow_gave_up:{id}/reverse");
        testkit::eventually(SOON, || async { world.alerts(&gave_up).await > 0 }).await;
        let out = "SELECT sum(amount)::bigint FROM ledger_entries WHERE account = 'clearing'";
        assert_eq!(world.count(out).await, 9_000);
        world.assert_book_holds().await;
        let path = format!("recipients/{account}/bear-loss");
        let (status, body) = world.command(&id, &path, &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        world.until(&id, "refunded").await;
        assert_eq!(world.count(out).await, 9_000);
        world.assert_book_holds().await;

        // So that the platform has enough to pay one twice.
        for _ in 0..3 {
            world.captured().await;
        }
        let (account, id) = world.captured().await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        let form = [
            ("amount", "9000"),
            ("currency", "eur"),
            ("destination", account.as_str()),
            ("transfer_group", id.as_str()),
            ("metadata[escrow_id]", id.as_str()),
        ];
        world.stripe(reqwest::Method::POST, "/v1/transfers", &form).await;
        world.carry().await;
        testkit::eventually(SOON, || async { world.alerts(&format!("{id}/overpaid")).await > 0 }).await;
        let config = db::DatabaseConfig::new(world.db.service_url().into(), "test");
        let database = db::Database::open(&config).unwrap();
        let problems = check_ledger(&database.conn().await.unwrap()).await.unwrap();
        let found: Vec<_> = problems
            .iter()
            .map(|problem| (problem.rule, problem.subject.as_str()))
            .collect();
        assert_eq!(
            found,
            [("no escrow gives out more than came in", id.as_str())],
            "{problems:?}"
        );
    });
}
