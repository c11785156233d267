//! Events that cannot be decided yet, and who waits for them: nobody else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{SOON, World, in_world, unique};

const CARD: &str = "pm_card_bypassPending";
/// No event whose object cannot be read is left alone for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(750);

#[test]
fn a_thin_event_waits_while_stripe_is_away_and_is_decided_by_itself_when_it_is_back() {
    in_world(|world| async move {
        let account = world.account().await;
        let body = world.escrow(&world.terms(&account)).await;
        let (id, payment) = (
            body["escrow_id"].as_str().unwrap(),
            body["payment_intent_id"].as_str().unwrap(),
        );
        world.confirm(&json!(payment), CARD).await;
        let away = json!({"path": "/v1/payment_intents/*", "method": "GET", "kind": "refuse", "times": 1_000});
        world.fault(away).await;
        let event_id = unique("evt_thin");
        let kind = "v1.payment_intent.amount_capturable_updated";
        let event = json!({
            "id": event_id, "object": "v2.core.event", "type": kind, "created": "2026-10-01T10:00:00.000Z",
            "livemode": false, "context": null,
            "related_object": {"id": payment, "type": "payment_intent", "url": format!("/v1/payment_intents/{payment}")},
        });
        world.deliver(&event, "platform").await;
        world.deliver(&event, "platform").await;
        let row = || async {
            let sql =
                "SELECT status, deliveries FROM billing_events WHERE stripe_event_id = $1 AND consumer = 'escrow'";
            let row = world.sql.query_opt(sql, &[&event_id]).await.unwrap();
            row.map(|row| (row.get::<_, String>(0), row.get::<_, i32>(1)))
        };
        testkit::eventually(SOON, || async { row().await == Some(("waiting".to_owned(), 2)) }).await;
        assert_eq!(world.get(id).await["status"], "awaiting_payment");
        world.heal().await;
        world.clock.advance(LONGEST_PAUSE);
        world.until(id, "held").await;
        assert_eq!(
            row().await,
            Some(("decided".to_owned(), 2)),
            "looking again is no delivery"
        );
    });
}

/// One that our key may never read is asked for ever more rarely, and a person is told.
#[test]
fn a_thin_event_that_cannot_be_read_is_left_alone_ever_longer_and_told_of() {
    in_world(|world| async move {
        let refused = json!({"path": "/v1/transfers/*", "method": "GET", "kind": "error", "status": 403, "code": "more_permissions_required", "times": 1_000});
        world.fault(refused).await;
        let event = thin("v1.transfer.created", "tr_1", "/v1/transfers/tr_1");
        world.deliver(&event, "platform").await;
        let id = event["id"].as_str().unwrap();
        let failures = async |at_least: i32| {
            let sql = "SELECT read_failures, (extract(epoch FROM read_again_at - $2))::bigint FROM billing_events \
                       WHERE stripe_event_id = $1 AND status = 'waiting' AND read_failures >= $3";
            let row = world
                .sql
                .query_opt(sql, &[&id, &world.clock.now(), &at_least])
                .await
                .unwrap();
            row.map(|row| (row.get::<_, i32>(0), row.get::<_, i64>(1)))
        };
        let mut last = 0;
        for times in 1..=5 {
            testkit::eventually(SOON, || async { failures(times).await.is_some() }).await;
            let (count, wait) = failures(times).await.unwrap();
            assert_eq!(count, times, "time stands still, and so does it");
            assert!(wait > last, "{wait} after {last}");
            last = wait;
            world
                .clock
                .advance(Duration::from_secs(u64::try_from(wait).unwrap() + 1));
        }
        assert_eq!(world.alerts("stripe_api_failure:escrow/long_wait").await, 0);
        world.clock.advance(Duration::from_secs(3_600));
        testkit::eventually(SOON, || async {
            world.alerts("stripe_api_failure:escrow/long_wait").await == 1
        })
        .await;
    });
}

/// What cannot be decided, for whatever is wrong with it alone, keeps nobody else waiting.
#[test]
fn one_event_or_escrow_that_cannot_be_decided_holds_up_no_other() {
    in_world(|world| async move {
        let account = world.account().await;
        let away = json!({"path": "/v1/payment_intents/*", "method": "GET", "kind": "refuse", "times": 1_000});
        world.fault(away).await;
        let mut escrows = Vec::new();
        for name in ["evt_thin_poison", "evt_thin_well"] {
            let body = world.escrow(&world.terms(&account)).await;
            let payment = body["payment_intent_id"].as_str().unwrap();
            world.confirm(&json!(payment), CARD).await;
            let event = json!({
                "id": name, "object": "v2.core.event", "type": "v1.payment_intent.amount_capturable_updated",
                "created": "2026-10-01T10:00:00.000Z", "livemode": false, "context": null,
                "related_object": {"id": payment, "type": "payment_intent", "url": format!("/v1/payment_intents/{payment}")},
            });
            world.deliver(&event, "platform").await;
            let waits =
                format!("SELECT count(*) FROM billing_events WHERE stripe_event_id = '{name}' AND status = 'waiting'");
            testkit::eventually(SOON, || async { world.count(&waits).await == 1 }).await;
            escrows.push(body["escrow_id"].as_str().unwrap().to_owned());
        }
        let poison = format!(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison'; END $$; \
             CREATE TRIGGER poison BEFORE UPDATE ON billing_events FOR EACH ROW \
                 WHEN (NEW.stripe_event_id = 'evt_thin_poison' AND NEW.status = 'decided') EXECUTE FUNCTION poison(); \
             CREATE TRIGGER poison BEFORE UPDATE OF account_news ON escrow_recipients FOR EACH ROW \
                 WHEN (NEW.escrow_id = '{}' AND NOT NEW.account_news) EXECUTE FUNCTION poison()",
            escrows[0]
        );
        world.sql.batch_execute(&poison).await.unwrap();
        world.heal().await;
        world.clock.advance(LONGEST_PAUSE);
        world.until(&escrows[1], "held").await;
        let put_off = "SELECT count(*) FROM billing_events WHERE stripe_event_id = 'evt_thin_poison' AND status = 'waiting' \
                       AND read_failures >= 2";
        testkit::eventually(SOON, || async { world.count(put_off).await == 1 }).await;
        // News of the account are for both; one cannot hear them.
        world.tell_account_at(&account, 5).await;
        let marked = format!(
            "SELECT count(*) FROM escrow_recipients WHERE escrow_id = '{}' AND account_news",
            escrows[0]
        );
        testkit::eventually(SOON, || async { world.count(&marked).await == 1 }).await;
        let heard = format!(
            "SELECT count(*) FROM escrow_recipients AS r JOIN escrow_accounts AS a USING (account) \
             WHERE escrow_id = '{}' AND NOT account_news AND r.seen_at = a.seen_at",
            escrows[1]
        );
        testkit::eventually(SOON, || async { world.count(&heard).await == 1 }).await;
        assert_eq!(world.count(&marked).await, 1);
    });
}

/// Each would wait for its answer, and everything behind it with it.
#[test]
fn a_stripe_that_does_not_answer_is_waited_for_once_and_not_for_each_event() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let world = World::bare(stripe_sim::SimConfig::default()).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = std::sync::Arc::clone(&asked);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                held.push(connection);
            }
        });
        let stop = tokio_util::sync::CancellationToken::new();
        let config = support::config(world.db.service_url(), world.broker.amqp_url(), &base);
        let tuning = escrow::Tuning {
            has_timer: false,
            // What waits is not looked at meanwhile.
            pace: escrow::Pace {
                waiting: Duration::from_secs(3_600),
                ..escrow::Pace::default()
            },
            ..escrow::Tuning::default()
        };
        let escrow = escrow::Escrow::start(&config, world.clock.clone(), tuning, stop.clone()).unwrap();
        for number in 0..12 {
            let event = json!({
                "id": format!("evt_thin_{number}"), "object": "v2.core.event", "type": "v1.payment_intent.succeeded",
                "created": "2026-10-01T10:00:00.000Z", "livemode": false, "context": null,
                "related_object": {"id": "pi_1", "type": "payment_intent", "url": "/v1/payment_intents/pi_1"},
            });
            world.deliver(&event, "platform").await;
        }
        let waiting = "SELECT count(*) FROM billing_events WHERE reason = 'object_not_read' AND status = 'waiting'";
        testkit::eventually(SOON, || async { world.count(waiting).await == 12 }).await;
        // Each of the two consumers may have asked once before it knew.
        let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
        assert!((1..=2).contains(&asked), "{asked}");
        stop.cancel();
        escrow.wait().await;
    });
}

#[test]
fn a_transfer_rests_while_stripe_does_not_say_what_its_charge_is() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        let body = world.escrow(&terms).await;
        let (id, payment) = (
            body["escrow_id"].as_str().unwrap(),
            body["payment_intent_id"].as_str().unwrap(),
        );
        let mut paid = world.confirm(&json!(payment), CARD).await;
        paid["latest_charge"] = Value::Null;
        let event = json!({
            "id": unique("evt_paid"), "object": "event", "type": "payment_intent.succeeded", "created": world.clock.unix_seconds(),
            "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": paid},
        });
        world.deliver(&event, "platform").await;
        world.until(id, "held").await;
        let may_not = json!({"path": "/v1/payment_intents/*", "method": "GET", "kind": "error", "status": 403,
                             "code": "more_permissions_required", "times": 1_000});
        world.fault(may_not).await;
        world.command(id, "release", &json!({})).await;
        let resting = "SELECT count(*) FROM stripe_operations WHERE kind = 'transfer' AND status = 'intended' \
                       AND due_at >= created_at + interval '1 minute'";
        testkit::eventually(SOON, || async { world.count(resting).await == 1 }).await;
        let told = "stripe_api_failure:escrow/charge";
        assert_eq!(world.alerts(told).await, 1);
        // Asked every minute, and told after one minute, two more, four more.
        let mut told_after = Vec::new();
        for minute in 1..=8 {
            world.clock.advance(Duration::from_secs(60));
            let again = world.clock.now() + chrono::TimeDelta::seconds(59);
            let rests = format!(
                "SELECT count(*) FROM stripe_operations WHERE kind = 'transfer' AND due_at > '{}'",
                again.to_rfc3339()
            );
            testkit::eventually(SOON, || async { world.count(&rests).await == 1 }).await;
            let count = usize::try_from(world.alerts(told).await).unwrap();
            if count > told_after.len() + 1 {
                told_after.push(minute);
            }
        }
        assert_eq!(told_after, [1, 3, 7]);
        world.heal().await;
        world.clock.advance(Duration::from_secs(60));
        world.until(id, "distributed").await;
    });
}

/// A thin notice about an object at Stripe.
fn thin(kind: &str, object: &str, url: &str) -> Value {
    json!({
        "id": unique("evt_thin"), "object": "v2.core.event", "type": kind, "created": "2026-10-01T10:00:00.000Z", "livemode": false,
        "context": null, "related_object": {"id": object, "type": "any", "url": url},
    })
}
