//! Sends what the courier has planned. Each attempt renders the body anew (`pending_webhooks` may have changed) and signs it with the
//! machine's time, as Stripe does; a redirect or anything but 2xx is a failure.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Job, Outcome, signature};
use crate::lock;
use crate::state::World;

/// Runs until it is dropped.
pub(crate) async fn run(world: Arc<Mutex<World>>, client: reqwest::Client) {
    let notify = lock(&world).courier.notifier();
    loop {
        let next = lock(&world).courier.next_job(Instant::now());
        match next {
            Ok(job) => {
                let (world, client) = (Arc::clone(&world), client.clone());
                tokio::spawn(async move {
                    let id = job.delivery;
                    let outcome = attempt(&client, job).await;
                    lock(&world).courier.report(id, outcome);
                });
            }
            Err(None) => notify.notified().await,
            Err(Some(at)) => {
                tokio::select! {
                    () = notify.notified() => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                }
            }
        }
    }
}

async fn attempt(client: &reqwest::Client, job: Job) -> Outcome {
    let body = crate::render::event_body(&job.event, job.endpoint.effective_version(), job.pending);
    let at_ms = chrono::Utc::now().timestamp_millis();
    let signed = signature::header(&job.endpoint.secret, at_ms / 1_000, body.as_bytes());
    let started = Instant::now();
    let request = client
        .post(&job.endpoint.url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Accept", "*/*; q=0.5, application/xml")
        .header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("Stripe-Signature", signed)
        .timeout(job.timeout)
        .body(body);
    let (status, error) = match request.send().await {
        Ok(response) => (Some(response.status().as_u16()), None),
        Err(error) => (None, Some(describe(&error))),
    };
    Outcome {
        at_ms,
        took_ms: started.elapsed().as_millis(),
        status,
        error,
    }
}

fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "timed out".to_owned()
    } else if error.is_connect() {
        "could not connect".to_owned()
    } else {
        "no answer".to_owned()
    }
}
