//! Transfers that were refused, and the retry service that has them made again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use retry::{RunConfig, run_retries};
use serde_json::json;
use support::{SOON, in_world, unique};

#[test]
fn of_eleven_transfers_that_failed_ten_are_made_in_one_run_and_the_last_in_the_next() {
    in_world(|world| async move {
        let mut escrows = Vec::new();
        for _ in 0..11 {
            escrows.push(world.captured().await.1);
        }
        let refusal = json!({"path": "/v1/transfers$", "method": "POST", "kind": "error", "code": "balance_insufficient", "times": 11});
        world.fault(refusal).await;
        for id in &escrows {
            world.command(id, "release", &json!({})).await;
        }
        for id in &escrows {
            world.until(id, "transfer_failed").await;
        }
        // Longer than the first wait after a refusal.
        world.clock.advance(Duration::from_secs(12 * 3_600));
        let config = RunConfig {
            database_url: world.db.service_url().into(),
            amqp_url: world.broker.amqp_url().into(),
        };
        let distributed = "SELECT count(*) FROM escrow_transactions WHERE status = 'distributed'";
        for (made, all) in [(10, 10), (1, 11)] {
            let report = run_retries(&config, world.clock.clone()).await.unwrap();
            assert_eq!((report.processed, report.left), (made, 11 - all), "{report:?}");
            testkit::eventually(SOON, || async { world.count(distributed).await == all }).await;
            let mut moved = 0;
            for id in &escrows {
                moved += world.moved(id, "transfers").await.len();
            }
            assert_eq!(i64::try_from(moved).unwrap(), all);
        }
        world.assert_book_holds().await;
    });
}

/// A key is rolled at Stripe while the service has the old one: what is due waits for the new one, and is not given up.
#[test]
fn while_our_key_is_not_accepted_calls_wait_and_are_made_under_their_keys_when_it_is() {
    in_world(|world| async move {
        let account = world.account().await;
        let expired = |path: &'static str, code: &'static str| json!({"path": path, "method": "POST", "kind": "error", "status": 401, "code": code, "times": 1_000});
        for (code, path, command, status, moved) in [
            (
                "api_key_expired",
                "/v1/transfers$",
                "release",
                "distributed",
                "transfers",
            ),
            (
                "platform_api_key_expired",
                "/v1/refunds$",
                "refund",
                "refunded",
                "refunds",
            ),
        ] {
            let (_, id) = world.captured().await;
            world.fault(expired(path, code)).await;
            world.command(&id, command, &json!({})).await;
            let kind = moved.trim_end_matches('s');
            world.until_unknown(kind).await;
            assert!(world.alerts("stripe_api_failure:escrow/key_not_accepted").await > 0);
            assert_eq!(world.alerts("gave_up").await, 0, "{code}");
            world.heal().await;
            world.until_later(&id, status).await;
            assert_eq!(world.moved(&id, moved).await.len(), 1, "{code}");
            let attempts =
                format!("SELECT attempt::bigint FROM stripe_operations WHERE escrow_id = '{id}' AND kind = '{kind}'");
            assert_eq!(world.count(&attempts).await, 1, "the same key was used: {code}");
        }

        world.fault(expired("/v1/payment_intents$", "api_key_expired")).await;
        let (terms, key) = (world.terms(&account), unique("key"));
        let (status, body) = world.post("/api/escrows", Some(&key), &terms).await;
        assert_eq!((status, &body["code"]), (503, &json!("stripe_unavailable")), "{body:#}");
        world.heal().await;
        world.clock.advance(Duration::from_secs(3_600));
        testkit::eventually(SOON, || async {
            world.post("/api/escrows", Some(&key), &terms).await.0 == 201
        })
        .await;
        world.assert_book_holds().await;
    });
}

/// The same status with a code that says what it is about is a refusal of the one call.
#[test]
fn an_account_that_is_not_connected_any_more_is_given_up_at_once() {
    in_world(|world| async move {
        let (account, id) = world.captured().await;
        let gone = json!({"path": "/v1/transfers$", "method": "POST", "kind": "error", "status": 403, "code": "account_invalid"});
        world.fault(gone).await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "transfer_failed").await;
        let gave_up = format!("escrow_gave_up:{id}/transfer/{account}");
        testkit::eventually(SOON, || async { world.alerts(&gave_up).await == 1 }).await;
        assert_eq!(world.alerts("key_not_accepted").await, 0);
    });
}
