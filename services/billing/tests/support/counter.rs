//! A Stripe that notes what it is asked for, and when.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use stripe_gateway::client::{ApiBase, Backoff, ClientConfig};

/// What it answers, by path; none for a Stripe that is away.
type Answer = fn(&str) -> Option<Value>;

/// What was asked for so far.
#[derive(Clone, Default)]
pub struct Counter {
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Counter {
    /// Starts one on a port of its own; it ends with the process.
    pub fn start(&self, answer: Answer) -> ClientConfig {
        let asked = self.clone();
        let server = HttpServer::new(move || {
            let asked = asked.clone();
            let note = move |request: HttpRequest| ready(asked.answer(request.path(), answer));
            App::new().default_service(web::to(note))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let base = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        let key = "sk_test_0123456789abcdef01234567".to_owned();
        ClientConfig {
            backoff: Backoff {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(2),
            },
            ..ClientConfig::new(ApiBase::parse(&base).unwrap(), key.into(), Duration::from_secs(5), 1)
        }
    }

    /// What was asked for, in order, and when.
    pub fn asked(&self) -> Vec<(String, Instant)> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, path: &str, answer: Answer) -> HttpResponse {
        self.asked.lock().unwrap().push((path.to_owned(), Instant::now()));
        match answer(path) {
            Some(object) => HttpResponse::Ok().json(object),
            None => HttpResponse::ServiceUnavailable().json(json!({"error": {"type": "api_error"}})),
        }
    }
}
