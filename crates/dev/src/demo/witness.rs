//! The witness: stands between the simulator and the front door, hands every delivery on unchanged, and remembers what was
//! sent and what was answered. What is in the archive afterwards is compared with what went through here, byte for byte.
//!
//! An endpoint that is made by the API has a secret of its own. A real installation has both in `STRIPE_WEBHOOK_SECRET`; here
//! the system is not started again for it, so the witness signs what comes to [`SECOND`] with the secret that is known.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context;
use serde_json::Value;
use stripe_gateway::signature::sign;

use super::narrator::Narrator;
use crate::state::State;

/// The query of the URL of a second endpoint.
pub(super) const SECOND: &str = "second";

const SIGNATURE: &str = "stripe-signature";
const MAX_BODY: usize = 4 << 20;

/// What went through for one event.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Bodies that were answered 200, in the order of the answers.
    pub(super) taken: Vec<Bytes>,
    /// Attempts that were answered otherwise.
    pub(super) refused: usize,
}

/// By event id.
pub(super) type Record = BTreeMap<String, Seen>;

/// A running witness.
pub(super) struct Witness {
    handle: ServerHandle,
    port: u16,
    notes: Arc<Notes>,
}

struct Notes {
    client: reqwest::Client,
    base_url: String,
    secret: String,
    record: Mutex<Record>,
    narrator: Narrator,
}

impl Notes {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness {
    /// Stands before a system.
    pub(super) fn start(state: &State, narrator: Narrator) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .context("an HTTP client")?;
        let notes = Arc::new(Notes {
            client,
            base_url: state.base_url.clone(),
            secret: state.webhook_secret.clone(),
            record: Mutex::default(),
            narrator,
        });
        let data = Data::from(Arc::clone(&notes));
        let app = move || {
            App::new()
                .app_data(data.clone())
                .app_data(PayloadConfig::new(MAX_BODY))
                .default_service(web::to(hand_on))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .context("listening for the simulator's deliveries")?;
        let port = server.addrs().first().context("an address to listen on")?.port();
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { handle, port, notes })
    }

    /// Where the simulator has to post what is meant for `path`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What went through so far.
    pub(super) fn record(&self) -> Record {
        self.notes.record().clone()
    }

    /// Events that were answered 200, with how often.
    pub(super) fn taken(&self) -> BTreeMap<String, usize> {
        let record = self.notes.record();
        let taken = record.iter().filter(|(_, seen)| !seen.taken.is_empty());
        taken.map(|(id, seen)| (id.clone(), seen.taken.len())).collect()
    }

    pub(super) async fn stop(self) {
        self.handle.stop(true).await;
    }
}

async fn hand_on(request: HttpRequest, body: Bytes, notes: Data<Notes>) -> HttpResponse {
    let mut onward = notes.client.post(format!("{}{}", notes.base_url, request.path()));
    let is_second = request.query_string() == SECOND;
    if is_second {
        let now = chrono::Utc::now().timestamp();
        onward = onward.header(SIGNATURE, sign(&notes.secret, &body, now));
    }
    let copied = ["content-type", "user-agent", SIGNATURE];
    for name in copied.into_iter().filter(|name| !(is_second && *name == SIGNATURE)) {
        if let Some(value) = request.headers().get(name) {
            onward = onward.header(name, value.as_bytes());
        }
    }
    let Ok(answer) = onward.body(body.clone()).send().await else {
        return HttpResponse::BadGateway().finish();
    };
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let text = answer.bytes().await.unwrap_or_default();
    let event = serde_json::from_slice::<Value>(&body).ok();
    let id = event.as_ref().and_then(|event| event.get("id")?.as_str());
    let mut record = notes.record();
    let seen = record.entry(id.unwrap_or_default().to_owned()).or_default();
    if status == StatusCode::OK {
        seen.taken.push(body);
    } else {
        seen.refused += 1;
    }
    let number = record.values().map(|seen| seen.taken.len() + seen.refused).sum();
    drop(record);
    notes.narrator.events(number);
    HttpResponse::build(status).content_type("application/json").body(text)
}
