//! Events that could not be decided however often it was tried: parked, and known to whoever looks into the archive or the timeline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use bus::parked::{self, Which};
use bus::{BrokerConfig, headers, topology};
use domain::billing::authority::Binding;
use support::events::{Payer, T0};
use support::{SOON, World, in_own_world};
use testkit::eventually;

const PARKED: &str = "billing.events.parked";

/// Nothing that an event changes about a client is stored any more.
async fn break_clients(world: &World) {
    let sql = "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a bug of ours'; END $$; \
               CREATE TRIGGER broken BEFORE UPDATE ON client_billing FOR EACH ROW EXECUTE FUNCTION broken()";
    world.sql.batch_execute(sql).await.unwrap();
}

#[test]
fn an_event_whose_attempts_are_used_up_is_on_record_once_and_a_replay_replaces_that() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("unlucky");
        world.register(&payer.client, Some(&payer.customer)).await;
        break_clients(&world).await;
        let event = payer.subscription("created", T0, "active");
        let mut last_attempt = event.direct();
        last_attempt.headers.set_int(headers::ATTEMPTS, 5);
        // Twice, as after a crash between the record and the parking.
        for parked in [1, 2] {
            world.publish(last_attempt.clone()).await;
            eventually(SOON, || async { world.broker.ready(PARKED).await == Some(parked) }).await;
        }
        let row = world.find(&event.id).await.expect("a row in the archive");
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str(), row.client.as_deref()),
            ("parked", "attempts_used_up", Some(payer.client.as_str()))
        );
        assert_eq!(row.payload, event.body);
        let timeline = world.timeline(&payer.client).await;
        assert_eq!(timeline.len(), 1, "{timeline:?}");
        assert_eq!(timeline[0].short(), "parked/attempts_used_up");
        let problem = timeline[0].details["problem"].as_str().unwrap().to_owned();
        assert!(
            problem.contains("no attempt left") && problem.contains("a bug of ours"),
            "{problem}"
        );

        world
            .sql
            .batch_execute("DROP TRIGGER broken ON client_billing")
            .await
            .unwrap();
        let broker = BrokerConfig::new(world.broker.amqp_url(), "test");
        let replayed = parked::replay(&broker, &world.publisher, topology::BILLING_EVENTS, &Which::All).await;
        assert_eq!(replayed.unwrap(), 2);
        let row = world.decided(&event.id).await;
        assert_eq!(
            (row.outcome.as_str(), row.deliveries),
            ("applied", 1),
            "a replay is no delivery"
        );
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        let timeline = world.timeline(&payer.client).await;
        let told: Vec<String> = timeline.iter().map(support::Decided::short).collect();
        assert_eq!(
            told,
            ["parked/attempts_used_up", "applied/state_changed TRIAL_PENDING→ACTIVE"]
        );
    });
}

#[test]
fn an_event_that_was_decided_stays_so_when_a_repeat_of_it_is_given_up() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("steady");
        world.register(&payer.client, Some(&payer.customer)).await;
        let event = payer.subscription("created", T0, "active");
        assert_eq!(world.decide(&event).await.outcome, "applied");
        // Counting the repeat fails, and so does recording that.
        let sql = "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a bug of ours'; END $$; \
                   CREATE TRIGGER broken BEFORE UPDATE ON billing_events FOR EACH ROW EXECUTE FUNCTION broken()";
        world.sql.batch_execute(sql).await.unwrap();
        let mut last_attempt = event.direct();
        last_attempt.headers.set_int(headers::ATTEMPTS, 5);
        world.publish(last_attempt).await;
        eventually(SOON, || async { world.broker.ready(PARKED).await == Some(1) }).await;
        assert_eq!(world.find(&event.id).await.unwrap().outcome, "applied");
        assert_eq!(world.timeline(&payer.client).await.len(), 1);
    });
}
