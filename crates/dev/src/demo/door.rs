//! Holdfast as an outsider sees it: its HTTP routes.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::cast::Player;
use crate::state::State;

/// A client of the running system.
#[derive(Debug, Clone)]
pub(super) struct Door {
    http: Client,
    base: String,
    service_token: String,
}

/// One line of a client's timeline.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Line {
    pub(super) r#type: String,
    pub(super) created: chrono::DateTime<chrono::Utc>,
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Timeline {
    decisions: Vec<Line>,
}

impl Door {
    pub(super) fn new(http: Client, state: &State) -> Self {
        Self {
            http,
            base: state.base_url.clone(),
            service_token: state.service_token.clone(),
        }
    }

    /// `PUT /api/clients/{id}`.
    pub(super) async fn register(&self, player: &Player) -> anyhow::Result<()> {
        let request = self
            .http
            .put(format!("{}/api/clients/{}", self.base, player.id))
            .header(CONTENT_TYPE, "application/json")
            .body(player.registration().to_string());
        let (status, answer) = self.call(request).await?;
        if !(200..300).contains(&status) {
            bail!("registering {} was answered {status}: {answer}", player.id);
        }
        Ok(())
    }

    /// `GET /api/clients/{id}`.
    pub(super) async fn client(&self, id: &str) -> anyhow::Result<Value> {
        let (status, answer) = self
            .call(self.http.get(format!("{}/api/clients/{id}", self.base)))
            .await?;
        if status != 200 {
            bail!("asking for {id} was answered {status}: {answer}");
        }
        serde_json::from_str(&answer).context("a client")
    }

    /// The newest decisions about a client, the oldest of them first.
    pub(super) async fn timeline(&self, id: &str) -> anyhow::Result<Vec<Line>> {
        let url = format!("{}/api/clients/{id}/timeline?limit=200", self.base);
        let (status, answer) = self.call(self.http.get(url)).await?;
        if status != 200 {
            bail!("asking for the timeline of {id} was answered {status}: {answer}");
        }
        let mut lines = serde_json::from_str::<Timeline>(&answer)
            .context("a timeline")?
            .decisions;
        lines.reverse();
        Ok(lines)
    }

    /// `POST /api/escrows`.
    pub(super) async fn create_escrow(&self, terms: &Value) -> anyhow::Result<Value> {
        let request = self
            .http
            .post(format!("{}/api/escrows", self.base))
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", uuid::Uuid::now_v7().to_string())
            .body(terms.to_string());
        let (status, answer) = self.call(request).await?;
        if status != 201 {
            bail!("creating an escrow was answered {status}: {answer}");
        }
        serde_json::from_str(&answer).context("an escrow")
    }

    /// `GET /api/escrows/{id}`.
    pub(super) async fn escrow(&self, id: &str) -> anyhow::Result<Value> {
        let (status, answer) = self
            .call(self.http.get(format!("{}/api/escrows/{id}", self.base)))
            .await?;
        if status != 200 {
            bail!("asking for escrow {id} was answered {status}: {answer}");
        }
        serde_json::from_str(&answer).context("an escrow")
    }

    /// `POST /api/escrows/{id}/release`.
    pub(super) async fn release(&self, id: &str) -> anyhow::Result<()> {
        self.order(&format!("/api/escrows/{id}/release"), 202).await.map(drop)
    }

    /// The same where it may be refused; the status of the answer.
    pub(super) async fn try_release(&self, id: &str) -> anyhow::Result<u16> {
        let request = self.http.post(format!("{}/api/escrows/{id}/release", self.base));
        self.call(request).await.map(|(status, _)| status)
    }

    /// `POST /api/escrows/{id}/operations/{number}/retry`.
    pub(super) async fn retry(&self, id: &str, number: u64) -> anyhow::Result<()> {
        let path = format!("/api/escrows/{id}/operations/{number}/retry");
        self.order(&path, 202).await.map(drop)
    }

    /// `POST /api/escrows/timeouts`; its report.
    pub(super) async fn run_timeouts(&self) -> anyhow::Result<Value> {
        self.order("/api/escrows/timeouts", 200).await
    }

    async fn order(&self, path: &str, expected: u16) -> anyhow::Result<Value> {
        let (status, answer) = self.call(self.http.post(format!("{}{path}", self.base))).await?;
        if status != expected {
            bail!("POST {path} was answered {status}: {answer}");
        }
        serde_json::from_str(&answer).with_context(|| format!("the answer to POST {path}"))
    }

    /// A delivery that does not come from Stripe; the status and the `code` of the answer.
    pub(super) async fn forge(&self, body: String, signature: Option<&str>) -> anyhow::Result<(u16, String)> {
        let mut request = self
            .http
            .post(format!("{}/webhooks/stripe", self.base))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(signature) = signature {
            request = request.header("stripe-signature", signature);
        }
        let answer = request.send().await.context("posting a forged delivery")?;
        let status = answer.status().as_u16();
        let problem: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        let code = problem.get("code").and_then(Value::as_str).unwrap_or_default();
        Ok((status, code.to_owned()))
    }

    /// `holdfast_webhooks_total` by outcome, over all endpoints.
    pub(super) async fn webhooks(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let answer = self.http.get(format!("{}/metrics", self.base)).send().await;
        let text = answer.context("asking for the metrics")?.text().await?;
        let mut counts = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("holdfast_webhooks_total{")) {
            let outcome = line.split_once("outcome=\"").and_then(|(_, rest)| rest.split_once('"'));
            let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<u64>().ok());
            if let (Some((outcome, _)), Some(value)) = (outcome, value) {
                *counts.entry(outcome.to_owned()).or_default() += value;
            }
        }
        Ok(counts)
    }

    async fn call(&self, request: RequestBuilder) -> anyhow::Result<(u16, String)> {
        let answer = request.bearer_auth(&self.service_token).send().await;
        let answer = answer.context("calling Holdfast")?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.context("Holdfast's answer")?))
    }
}
