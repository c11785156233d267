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

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use stripe_gateway::client::{ApiBase, ClientConfig};
use support::events::{Payer, T0};
use support::in_world_that_reads_from;

/// What Stripe answers, whatever it is asked, and when it was asked.
#[derive(Clone)]
struct Stub {
    answer: Value,
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

async fn answer(stub: web::Data<Stub>) -> HttpResponse {
    stub.asked.lock().unwrap().push(Instant::now());
    HttpResponse::Ok().json(&stub.answer)
}

/// Two states of one second at the agreed price, and by now another price: what is read may not speak for the client (BIL-13).
#[test]
fn a_tie_that_stays_open_because_the_price_has_changed_is_read_ever_more_rarely() {
    let payer = Payer::new("unsettled");
    let active = payer.subscription("updated", T0, "active");
    let paused = active
        .with(json!({"id": "evt_unsettled_paused"}))
        .with_object(json!({"pause_collection": {"behavior": "void"}}));
    let mut now: Value = serde_json::from_str(&active.body).unwrap();
    let mut now = now["data"]["object"].take();
    now["items"]["data"][0]["price"]["id"] = json!("price_2");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let stub = Stub {
        answer: now,
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
            testkit::eventually(testkit::PATIENCE, || async { asked.lock().unwrap().len() >= 4 }).await;
            let asked = asked.lock().unwrap().clone();
            let pauses: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(pauses[2] > 2 * pauses[0], "it is asked without end: {pauses:?}");
            assert_eq!(
                world.state(&payer.client).await,
                "ACTIVE",
                "nobody is cut off meanwhile"
            );
        },
    );
}
