//! What reading Stripe cannot settle either is asked for ever more rarely.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use service_kit::clock::Clock;
use stripe_gateway::client::{ApiBase, ClientConfig};
use support::events::{Payer, T0, merge};
use support::{Event, in_world_that_reads_from, unique};

/// What Stripe answers of any subscription, and when it was asked for the one that is watched.
#[derive(Clone)]
struct Stub {
    answer: Value,
    watched: String,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Stub {
    fn start(self) -> ClientConfig {
        let data = web::Data::new(self);
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(answer)))
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
        let base = ApiBase::parse(&format!("http://{}", server.addrs()[0])).unwrap();
        tokio::spawn(server.run());
        let key = "sk_test_0123456789abcdef01234567".to_owned();
        ClientConfig::new(base, key.into(), Duration::from_secs(5), 1)
    }
}

async fn answer(stub: web::Data<Stub>, request: HttpRequest) -> HttpResponse {
    let id = request.path().rsplit('/').next().unwrap().to_owned();
    if id == stub.watched {
        stub.asked.lock().unwrap().push(Instant::now());
    }
    let of = json!({"id": id, "customer": id.replacen("sub_", "cus_", 1)});
    HttpResponse::Ok().json(merge(stub.answer.clone(), of))
}

/// Two states of one second.
fn tie(payer: &Payer, at: i64) -> [Event; 2] {
    let active = payer.subscription("updated", at, "active");
    let paused = active
        .with(json!({"id": unique("evt_paused")}))
        .with_object(json!({"pause_collection": {"behavior": "void"}}));
    [active, paused]
}

/// Two states of one second at the agreed price, and by now another price: what is read says how things are, and takes nobody up (BIL-13).
#[test]
fn a_tie_is_settled_by_reading_also_where_the_price_has_changed() {
    let payer = Payer::new("unsettled");
    let [active, paused] = tie(&payer, T0);
    let mut now: Value = serde_json::from_str(&active.body).unwrap();
    let mut now = now["data"]["object"].take();
    now["items"]["data"][0]["price"]["id"] = json!("price_2");
    now["status"] = json!("past_due");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let stub = Stub {
        answer: now,
        watched: payer.subscription.clone(),
        asked: Arc::clone(&asked),
    };
    in_world_that_reads_from(
        || stub.start(),
        async |world| {
            let contract = json!({
                "org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": payer.customer,
                "contracted_price_id": "price_1"
            });
            assert_eq!(world.put(&payer.client, &contract).await.0, 201);
            world.send_all([&active, &paused]).await;
            testkit::eventually(testkit::PATIENCE, || async {
                world.state(&payer.client).await == "PAST_DUE"
            })
            .await;
            assert_eq!(world.count("billing_subscriptions", "undecided").await, 0);
            assert_eq!(asked.lock().unwrap().len(), 1);
        },
    );
}

/// What is read speaks for the second in which Stripe answered, and never for one that is still to come.
#[test]
fn a_tie_stamped_in_the_future_is_read_ever_more_rarely_while_others_are_settled() {
    let payer = Payer::new("ahead");
    let [active, paused] = tie(&payer, Clock::System.unix_seconds() + 86_400);
    let mut now: Value = serde_json::from_str(&paused.body).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let stub = Stub {
        answer: now["data"]["object"].take(),
        watched: payer.subscription.clone(),
        asked: Arc::clone(&asked),
    };
    in_world_that_reads_from(
        || stub.start(),
        async |world| {
            world.register(&payer.client, Some(&payer.customer)).await;
            world.send_all([&active, &paused]).await;
            // Each round settles another tie, so that the next one comes soon.
            while asked.lock().unwrap().len() < 4 {
                let other = Payer::new("settled");
                world.register(&other.client, Some(&other.customer)).await;
                world.send_all(&tie(&other, T0)).await;
                testkit::eventually(testkit::PATIENCE, || async {
                    world.state(&other.client).await == "PAUSED"
                })
                .await;
            }
            let asked = asked.lock().unwrap().clone();
            let pauses: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
            // Each is at least twice as long as the one before; rounds come when they come.
            let least = [3_800, 7_800, 15_800].map(Duration::from_millis);
            let is_patient = pauses.iter().zip(least).all(|(pause, least)| *pause >= least);
            assert!(is_patient, "it is asked in every round: {pauses:?}");
            assert_eq!(
                world.state(&payer.client).await,
                "ACTIVE",
                "nobody is cut off meanwhile"
            );
        },
    );
}
