//! Stripe, as far as billing asks it in these tests: every subscription and charge as the model has them in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use stripe_gateway::client::{ApiBase, ClientConfig};

use crate::history::History;

/// What is answered, by path.
pub struct StripeStub {
    answers: Arc<BTreeMap<String, Value>>,
}

impl StripeStub {
    pub fn open(histories: &[History]) -> Self {
        let mut answers = BTreeMap::new();
        for History { stripe, teller, .. } in histories {
            for (id, sub) in stripe.subs.iter().enumerate() {
                let path = format!("/v1/subscriptions/{}", teller.subscription(id));
                answers.insert(path, teller.answer(id, sub));
            }
            for (id, charge) in stripe.charges.iter().enumerate() {
                let customer = stripe.subs[charge.sub].customer;
                let path = format!("/v1/charges/{}", teller.charge(id));
                answers.insert(path, teller.charge_answer(id, customer, charge.refunded));
            }
        }
        let answers = Arc::new(answers);
        Self { answers }
    }

    /// Starts it on a port of its own; it ends with the process.
    pub fn start(self) -> ClientConfig {
        let answers = web::Data::from(self.answers);
        let server = HttpServer::new(move || App::new().app_data(answers.clone()).default_service(web::to(answer)))
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
        let base = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        let key = "sk_test_0123456789abcdef01234567".to_owned();
        ClientConfig::new(ApiBase::parse(&base).unwrap(), key.into(), Duration::from_secs(5), 1)
    }
}

async fn answer(request: HttpRequest, answers: web::Data<BTreeMap<String, Value>>) -> HttpResponse {
    match answers.get(request.path()) {
        Some(object) => HttpResponse::Ok().json(object),
        None => {
            let missing = json!({"error": {"type": "invalid_request_error", "code": "resource_missing"}});
            HttpResponse::NotFound().json(missing)
        }
    }
}
