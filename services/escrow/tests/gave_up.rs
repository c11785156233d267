//! An event that could not be decided however often it was tried: parked, and known to whoever looks into the archive.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use bus::parked::{self, Which};
use bus::{BrokerConfig, Headers, Outgoing, headers, topology};
use reqwest::Method;
use serde_json::json;
use support::{SOON, World, in_world};
use testkit::eventually;

const PARKED: &str = "escrow.events.parked";

async fn row(world: &World, event: &str) -> Option<(String, String, String)> {
    let sql = "SELECT status, outcome, reason FROM billing_events WHERE stripe_event_id = $1 AND consumer = 'escrow'";
    let row = world.sql.query_opt(sql, &[&event]).await.unwrap()?;
    Some((row.get(0), row.get(1), row.get(2)))
}

#[test]
fn an_event_whose_attempts_are_used_up_is_in_the_archive_and_a_replay_replaces_that() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        let escrow = world.escrow(&terms).await;
        world.confirm(&escrow["payment_intent_id"], "pm_card_visa").await;
        let sql = "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a bug of ours'; END $$; \
                   CREATE TRIGGER broken BEFORE UPDATE ON escrow_transactions FOR EACH ROW EXECUTE FUNCTION broken()";
        world.sql.batch_execute(sql).await.unwrap();
        let events = world.stripe(Method::GET, "/v1/events?limit=100", &[]).await;
        let is_the_payment = |event: &&serde_json::Value| event["type"] == "payment_intent.succeeded";
        let event = events["data"].as_array().unwrap().iter().find(is_the_payment).unwrap();
        let id = event["id"].as_str().unwrap();
        let mut last_attempt = Outgoing {
            exchange: topology::STRIPE_EVENTS.into(),
            routing_key: "platform.payment_intent.succeeded".into(),
            message_id: id.to_owned(),
            kind: "payment_intent.succeeded".into(),
            timestamp: 0,
            headers: Headers::new().with_str(headers::ENDPOINT, "platform"),
            body: event.to_string().into(),
        };
        last_attempt.headers.set_int(headers::ATTEMPTS, 5);
        world.publisher.publish(last_attempt).await.unwrap();
        eventually(SOON, || async { world.broker.ready(PARKED).await == Some(1) }).await;
        let parked = ["parked", "parked", "attempts_used_up"].map(str::to_owned);
        assert_eq!(row(&world, id).await, Some(parked.into()));

        let mend = "DROP TRIGGER broken ON escrow_transactions";
        world.sql.batch_execute(mend).await.unwrap();
        let broker = BrokerConfig::new(world.broker.amqp_url(), "test");
        let replayed = parked::replay(&broker, &world.publisher, topology::ESCROW_EVENTS, &Which::All).await;
        assert_eq!(replayed.unwrap(), 1);
        let decided = ["decided", "applied", "applied"].map(str::to_owned);
        eventually(SOON, || async { row(&world, id).await == Some(decided.clone().into()) }).await;
    });
}
