//! What has expired is given back, as far as the breaker lets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{World, in_world};
use tokio_util::sync::CancellationToken;

/// So many escrows that were paid and captured, in the database alone: what happens to them is asked before Stripe is.
async fn captured(world: &World, count: i32, amount: i64, currency: &str) {
    let sql = "INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
                   payment_intent_id, authorized, captured, created_by, created_at, updated_at) \
               SELECT 'esc_' || $5 || '_' || n, 'held', $3, $2, 0, 'automatic', 'refuse', $4, 'pi_' || $5 || '_' || n, true, $2, \
                   'test', $4, $4 FROM generate_series(1, $1) AS n";
    let expires_at = world.clock.now() + chrono::TimeDelta::hours(1);
    let name = format!("{currency}{amount}");
    world.sql.execute("BEGIN", &[]).await.unwrap();
    world
        .sql
        .execute(sql, &[&count, &amount, &currency, &expires_at, &name])
        .await
        .unwrap();
    let recipients = "INSERT INTO escrow_recipients (escrow_id, position, account, amount, status) \
                      SELECT id, 0, 'acct_1', amount, 'waiting' FROM escrow_transactions ON CONFLICT DO NOTHING";
    world.sql.execute(recipients, &[]).await.unwrap();
    world.sql.execute("COMMIT", &[]).await.unwrap();
}

async fn run(world: &World) -> Value {
    let (status, body) = world.post("/api/escrows/timeouts", None, &json!({})).await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn alerts(world: &World, key: &str) -> i64 {
    let sql = "SELECT count(*) FROM admin_actions WHERE action = 'alert' AND reason = $1";
    world.sql.query_one(sql, &[&key]).await.unwrap().get(0)
}

/// The same from the payer's card to the money that came back: nothing is written into the database by hand.
#[test]
fn a_hundred_payments_of_one_euro_come_back_in_two_runs_at_stripe() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        (terms["capture"], terms["amount"]) = (json!("automatic"), json!(100));
        let mut escrows = Vec::new();
        for _ in 0..100 {
            escrows.push(world.paid(&terms, "pm_card_bypassPending").await);
            world.carry().await;
        }
        for id in &escrows {
            world.until(id, "held").await;
        }
        world.clock.advance(Duration::from_secs(3 * 86_400 + 1));
        for (run_number, left) in [(1, 50), (2, 0)] {
            let report = run(&world).await;
            assert_eq!(
                (&report["succeeded"], &report["left"]),
                (&json!(50), &json!(left)),
                "{report}"
            );
            let refunded = "SELECT count(*) FROM escrow_transactions WHERE status = 'refunded'";
            testkit::eventually(support::SOON, || async {
                world.count(refunded).await == 50 * run_number
            })
            .await;
            let mut moved = 0;
            for id in &escrows {
                moved += world.moved(id, "refunds").await.iter().sum::<i64>();
            }
            assert_eq!(moved, 5_000 * run_number);
        }
        assert_eq!(alerts(&world, "refund_breaker:run_count").await, 1);
        world.assert_book_holds().await;
    });
}

#[test]
fn of_a_hundred_expired_escrows_fifty_go_back_an_alert_is_raised_and_the_rest_follows_in_the_next_run() {
    in_world(|world| async move {
        captured(&world, 100, 100, "eur").await;
        assert_eq!(run(&world).await["found"], 0, "nothing has expired");
        world.clock.advance(Duration::from_secs(3_601));
        let report = run(&world).await;
        assert_eq!(
            (
                &report["found"],
                &report["succeeded"],
                &report["left"],
                &report["breaker_tripped"]
            ),
            (&json!(100), &json!(50), &json!(50), &json!(true)),
            "{report}"
        );
        assert_eq!(alerts(&world, "refund_breaker:run_count").await, 1);
        let report = run(&world).await;
        assert_eq!(
            (&report["succeeded"], &report["left"], &report["breaker_tripped"]),
            (&json!(50), &json!(0), &json!(false))
        );
        assert_eq!(run(&world).await["found"], 0);
    });
}

#[test]
fn the_amount_of_a_run_and_of_a_day_are_limits_and_one_above_them_holds_up_nobody() {
    in_world(|world| async move {
        // EUR 100.00 a run: four of EUR 25.00, then the rest; one of EUR 100.01 can never pass.
        captured(&world, 6, 2_500, "eur").await;
        captured(&world, 1, 10_001, "eur").await;
        // There is no limit for this currency, so nothing of it goes back by itself.
        captured(&world, 1, 500, "usd").await;
        world.clock.advance(Duration::from_secs(3_601));
        let first = run(&world).await;
        assert_eq!(first["succeeded"], 4, "{first}");
        assert_eq!(first["breaker_tripped"], true);
        assert_eq!(alerts(&world, "refund_breaker:run_amount").await, 1);
        let second = run(&world).await;
        assert_eq!(
            (&second["succeeded"], &second["left"]),
            (&json!(2), &json!(0)),
            "{first} {second}"
        );
        let set_aside = first["set_aside"].as_i64().unwrap() + second["set_aside"].as_i64().unwrap();
        assert_eq!(set_aside, 2);
        assert_eq!(alerts(&world, "refund_set_aside:esc_eur10001_1").await, 1);
        // 60 of the 500 of a day's 1 000.00 are used.
        captured(&world, 40, 2_499, "eur").await;
        world.clock.advance(Duration::from_secs(3_601));
        let mut given_back = 0;
        for _ in 0..12 {
            given_back += run(&world).await["succeeded"].as_i64().unwrap();
        }
        let day = "SELECT (amounts->>'eur')::bigint FROM refund_breaker_days ORDER BY day DESC LIMIT 1";
        assert!(world.count(day).await <= 100_000, "{given_back}");
        assert!((33..=40).contains(&given_back), "{given_back}");
    });
}

#[test]
fn an_escrow_that_expires_is_canceled_or_refunded_at_stripe() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut captured = world.terms(&account);
        captured["capture"] = json!("automatic");
        captured["amount"] = json!(5_000);
        let (refunded, canceled) = (world.held(&captured).await, world.held(&world.terms(&account)).await);
        let unpaid = world.escrow(&world.terms(&account)).await["escrow_id"]
            .as_str()
            .unwrap()
            .to_owned();
        world.clock.advance(Duration::from_secs(3 * 86_400 + 1));
        let report = run(&world).await;
        assert_eq!(
            (&report["succeeded"], &report["failed"]),
            (&json!(3), &json!(0)),
            "{report}"
        );
        world.until(&refunded, "refunded").await;
        world.until(&canceled, "canceled").await;
        world.until(&unpaid, "canceled").await;
        assert_eq!(world.moved(&refunded, "refunds").await, [5_000]);
        assert_eq!(world.moved(&canceled, "captures").await, [0_i64; 0]);
        world.assert_book_holds().await;
    });
}

/// The payer pays at the moment at which the escrow is given up, and Stripe's webhook about it is lost.
#[test]
fn what_was_paid_as_it_expired_is_refunded_although_no_webhook_told_of_it() {
    in_world(|world| async move {
        let account = world.account().await;
        for is_told in [false, true] {
            let mut terms = world.terms(&account);
            (terms["capture"], terms["amount"]) = (json!("automatic"), json!(5_000));
            let id = world.paid(&terms, "pm_card_bypassPending").await;
            world.clock.advance(Duration::from_secs(3 * 86_400 + 1));
            assert_eq!(run(&world).await["succeeded"], 1);
            world.until_called(&id, "cancel").await;
            if is_told {
                world.carry().await;
                world.until(&id, "held").await;
            } else {
                // Soon enough for the run after that: nothing stays longer than 20 minutes (ESC-7).
                testkit::eventually(support::SOON, || async {
                    world.clock.advance(Duration::from_secs(30));
                    world.get(&id).await["status"] == "held"
                })
                .await;
            }
            let report = run(&world).await;
            assert_eq!(
                (&report["found"], &report["succeeded"]),
                (&json!(1), &json!(1)),
                "{is_told} {report}"
            );
            world.until(&id, "refunded").await;
            assert_eq!(world.moved(&id, "refunds").await, [5_000]);
            // The cancellation is settled in the end, and concerns nobody.
            let settled = format!(
                "SELECT count(*) FROM stripe_operations WHERE escrow_id = '{id}' AND kind = 'cancel' AND due_at IS NULL"
            );
            testkit::eventually(support::SOON, || async {
                world.clock.advance(Duration::from_secs(600));
                world.count(&settled).await == 1
            })
            .await;
            assert_eq!(world.get(&id).await["status"], "refunded");
            assert_eq!(world.alerts(&id).await, 0);
            world.carry().await;
        }
        world.assert_book_holds().await;
    });
}

/// An instance whose timer runs, beside the one of the world.
fn timer(world: &World) -> (escrow::Escrow, CancellationToken) {
    let stop = CancellationToken::new();
    let config = support::config(world.db.service_url(), world.broker.amqp_url(), &world.sim.base_url);
    let tuning = escrow::Tuning {
        pace: escrow::Pace {
            timer: Duration::from_millis(50),
            ..escrow::Pace::default()
        },
        ..escrow::Tuning::default()
    };
    let escrow = escrow::Escrow::start(&config, world.clock.clone(), tuning, stop.clone()).unwrap();
    (escrow, stop)
}

/// What nobody can hold, and no gauge can show.
#[test]
fn the_timer_gives_back_what_has_expired_although_the_gauge_fails() {
    in_world(|world| async move {
        captured(&world, 1, 500, "eur").await;
        world.clock.advance(Duration::from_secs(3_601));
        captured(&world, 2, i64::MAX - 1, "usd").await;
        let (escrow, stop) = timer(&world);
        let begun = "SELECT count(*) FROM stripe_operations WHERE kind = 'refund' AND escrow_id = 'esc_eur500_1'";
        testkit::eventually(support::SOON, || async { world.count(begun).await == 1 }).await;
        stop.cancel();
        escrow.wait().await;
    });
}

/// Ten minutes later is as late as it may be (ESC-7).
#[test]
fn a_run_that_could_not_begin_is_made_up_for_within_its_time() {
    in_world(|world| async move {
        captured(&world, 1, 500, "eur").await;
        world.clock.advance(Duration::from_secs(3_601));
        let rename = |from: &str, to: &str| format!("ALTER TABLE escrow_transactions RENAME COLUMN {from} TO {to}");
        world.sql.batch_execute(&rename("set_aside_at", "away")).await.unwrap();
        let (escrow, stop) = timer(&world);
        let taken = "SELECT count(*) FROM job_slots WHERE job = 'escrow_timeouts'";
        testkit::eventually(support::SOON, || async { world.count(taken).await == 1 }).await;
        world.sql.batch_execute(&rename("away", "set_aside_at")).await.unwrap();
        let begun = "SELECT count(*) FROM stripe_operations WHERE kind = 'refund' AND escrow_id = 'esc_eur500_1'";
        testkit::eventually(support::SOON, || async { world.count(begun).await == 1 }).await;
        assert_eq!(world.count(taken).await, 1, "it is the same run");
        stop.cancel();
        escrow.wait().await;
    });
}

#[test]
fn what_is_held_is_what_has_neither_gone_back_nor_was_lost() {
    in_world(|world| async move {
        captured(&world, 4, 10_000, "eur").await;
        captured(&world, 1, 700, "usd").await;
        world
            .sql
            .batch_execute(
                "UPDATE escrow_transactions SET refunded_ours = '{\"1\": 1000, \"2\": 500}', refunded_told = 1000 WHERE id = 'esc_eur10000_1'; \
                 UPDATE escrow_transactions SET captured = 6000, refunded_outside = 100, refunded_ours = '{\"1\": 50}' \
                     WHERE id = 'esc_eur10000_2'; \
                 INSERT INTO escrow_disputes (dispute_id, escrow_id, stage, amount) \
                     VALUES ('dp_1', 'esc_eur10000_3', 'lost', 300), ('dp_2', 'esc_eur10000_3', 'won', 400)",
            )
            .await
            .unwrap();
        let config = db::DatabaseConfig::new(world.db.service_url().into(), "test");
        let database = db::Database::open(&config).unwrap();
        let held = db::escrow::breaker::sum_held(&database.conn().await.unwrap()).await;
        let held: std::collections::BTreeMap<String, i64> = held.unwrap().into_iter().collect();
        let expected = [("eur", 8_500 + 5_850 + 9_700 + 10_000), ("usd", 700)];
        assert_eq!(held, expected.map(|(of, minor)| (of.to_owned(), minor)).into());
    });
}

#[test]
fn one_that_cannot_be_given_back_is_told_to_a_person_and_holds_up_no_other() {
    in_world(|world| async move {
        captured(&world, 3, 500, "eur").await;
        let broken = "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$; \
                      CREATE TRIGGER broken BEFORE UPDATE ON escrow_transactions FOR EACH ROW WHEN (OLD.id = 'esc_eur500_2') \
                      EXECUTE FUNCTION broken()";
        world.sql.batch_execute(broken).await.unwrap();
        world.clock.advance(Duration::from_secs(3_601));
        let report = run(&world).await;
        assert_eq!(
            (
                &report["success"],
                &report["succeeded"],
                &report["failed"],
                &report["left"]
            ),
            (&json!(false), &json!(2), &json!(1), &json!(1)),
            "{report}"
        );
        assert_eq!(alerts(&world, "escrow_attention:esc_eur500_2/not_given_back").await, 1);
        assert_eq!(alerts(&world, "escrow_attention:esc_eur500_1/not_given_back").await, 0);
        let by = "SELECT count(*) FROM admin_actions WHERE action = 'expire' AND actor = 'service:shop'";
        assert_eq!(world.count(by).await, 2, "who asked for it is in the audit trail");
    });
}

/// A key that may not read charges would have the authorisation end in silence.
#[test]
fn an_end_of_an_authorisation_that_cannot_be_read_is_told_and_not_guessed() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["expires_at"] = json!(world.in_days(300));
        terms["on_authorization_expiry"] = json!("capture");
        let id = world.paid(&terms, "pm_card_bypassPending").await;
        let may_not = json!({"path": "/v1/charges/*", "method": "GET", "kind": "error", "status": 403,
                             "code": "more_permissions_required", "times": 100_000});
        world.fault(may_not).await;
        let events = world.stripe(reqwest::Method::GET, "/v1/events?limit=100", &[]).await;
        let authorized = "payment_intent.amount_capturable_updated";
        let mut events = events["data"].as_array().unwrap().iter();
        let event = events.find(|event| event["type"] == authorized).unwrap();
        world.carry_one(event, "platform").await;
        world.until(&id, "held").await;
        let (escrow, stop) = timer(&world);
        let told = "stripe_api_failure:escrow/authorization_end";
        testkit::eventually(support::SOON, || async { world.alerts(told).await > 0 }).await;
        let ends = "SELECT count(*) FROM escrow_transactions WHERE capture_before IS NOT NULL";
        assert_eq!(world.count(ends).await, 0);
        world.heal().await;
        testkit::eventually(support::SOON, || async { world.count(ends).await == 1 }).await;
        stop.cancel();
        escrow.wait().await;
    });
}

/// The payer was paid another way, and is not paid again when Stripe would by now.
#[test]
fn a_refund_that_was_withdrawn_is_not_made_by_a_later_run() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        (terms["capture"], terms["amount"]) = (json!("automatic"), json!(100));
        let id = world.paid(&terms, "pm_card_bypassPending").await;
        world.carry().await;
        world.until(&id, "held").await;
        let refusal = json!({"path": "/v1/refunds", "method": "POST", "kind": "error", "code": "charge_not_refundable", "times": 100});
        world.fault(refusal).await;
        world.clock.advance(Duration::from_secs(3 * 86_400 + 1));
        assert_eq!(run(&world).await["succeeded"], 1);
        let refused = "SELECT count(*) FROM stripe_operations WHERE kind = 'refund' AND status = 'failed_permanent'";
        testkit::eventually(support::SOON, || async { world.count(refused).await == 1 }).await;
        let (status, body) = world.command(&id, "refund/withdraw", &json!({})).await;
        assert_eq!((status, &body["status"]), (202, &json!("held")), "{body:#}");
        world.heal().await;
        assert_eq!(run(&world).await["found"], 0);
        assert_eq!(world.get(&id).await["status"], "held");
        // A person still can.
        world.command(&id, "refund", &json!({})).await;
        world.until(&id, "refunded").await;
        assert_eq!(world.moved(&id, "refunds").await, [100]);
    });
}

/// The bank took longer than the escrow had: what was won is the seller's or the payer's by a person's word.
#[test]
fn a_dispute_that_is_won_after_the_time_is_over_leaves_the_escrow_to_a_person() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        let charge = world.book(&id).await["captures"][0]["charge"].clone();
        let dispute = world.act(json!({"act": "create_dispute", "charge": charge})).await;
        world.carry().await;
        world.until(&id, "disputed").await;
        world.clock.advance(Duration::from_secs(3 * 86_400 + 1));
        world
            .act(json!({"act": "close_dispute", "dispute": dispute["id"], "status": "won"}))
            .await;
        world.carry().await;
        let shown = world.until(&id, "held").await;
        assert_eq!(shown["set_aside"], true, "{shown:#}");
        assert_eq!(alerts(&world, &format!("escrow_attention:{id}/dispute_won")).await, 1);
        assert_eq!(run(&world).await["found"], 0);
        // As the version before has left it.
        let sql = "UPDATE escrow_transactions SET set_aside_at = NULL";
        world.sql.execute(sql, &[]).await.unwrap();
        let report = run(&world).await;
        assert_eq!(
            (&report["set_aside"], &report["left"]),
            (&json!(1), &json!(0)),
            "{report}"
        );
        assert_eq!(run(&world).await["found"], 0);
        let (status, body) = world.command(&id, "release", &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "transfers").await, [9_000]);
        assert_eq!(world.moved(&id, "refunds").await, [0_i64; 0]);
        world.assert_book_holds().await;
    });
}
