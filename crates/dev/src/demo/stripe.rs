//! Stripe as an outsider sees it: form-encoded calls to `/v1`, and the simulator's own `/_sim`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};

/// Any test key is as good as another.
const KEY: &str = "sk_test_demo";
const PAGE: &str = "100";

/// A client of the simulator.
#[derive(Debug, Clone)]
pub(super) struct Stripe {
    http: Client,
    base: String,
}

impl Stripe {
    pub(super) fn new(http: Client, base: &str) -> Self {
        Self {
            http,
            base: base.to_owned(),
        }
    }

    /// `POST /v1/..`, as Stripe's own clients do.
    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
        let (status, answer) = self.call(Method::POST, path, fields).await?;
        if status >= 400 {
            bail!("Stripe refused POST {path}: {}", reason(&answer));
        }
        Ok(answer)
    }

    /// The same for a call that may be refused with a card error.
    pub(super) async fn try_post(&self, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<Option<Value>> {
        let (status, answer) = self.call(Method::POST, path, fields).await?;
        match status {
            402 => Ok(None),
            400.. => bail!("Stripe refused POST {path}: {}", reason(&answer)),
            _ => Ok(Some(answer)),
        }
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, answer) = self.call(Method::GET, path, &[]).await?;
        if status >= 400 {
            bail!("Stripe refused GET {path}: {}", reason(&answer));
        }
        Ok(answer)
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        let (status, answer) = self.call(Method::DELETE, path, &[]).await?;
        if status >= 400 {
            bail!("Stripe refused DELETE {path}: {}", reason(&answer));
        }
        Ok(answer)
    }

    /// Every element of a list, page by page.
    pub(super) async fn list(&self, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().and_then(|one| one.get("id")?.as_str()).map(str::to_owned);
            let mut given = fields.to_vec();
            given.push(("limit", PAGE));
            given.extend(after.as_deref().map(|id| ("starting_after", id)));
            let (status, mut answer) = self.call(Method::GET, path, &given).await?;
            if status >= 400 {
                bail!("Stripe refused GET {path}: {}", reason(&answer));
            }
            let more = answer.get("has_more").and_then(Value::as_bool).unwrap_or_default();
            let Some(Value::Array(page)) = answer.get_mut("data").map(Value::take) else {
                bail!("Stripe answered GET {path} without a list");
            };
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
    }

    async fn call(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<(u16, Value)> {
        let mut url = Url::parse(&format!("{}{path}", self.base)).context("the simulator's URL")?;
        let mut encoded = Url::parse("form:").context("a form")?;
        encoded.query_pairs_mut().extend_pairs(fields);
        let encoded = encoded.query().unwrap_or_default().to_owned();
        let mut request = if method == Method::GET {
            url.set_query(Some(&encoded));
            self.http.request(method.clone(), url)
        } else {
            self.http
                .request(method.clone(), url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(encoded)
        };
        request = request.basic_auth(KEY, None::<&str>);
        read(request, &format!("{method} {path}")).await
    }

    /// `POST /_sim/..`.
    pub(super) async fn sim(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/_sim/{path}", self.base);
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        expect(read(request, path).await?, path)
    }

    /// `GET /_sim/..`.
    pub(super) async fn look(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}/_sim/{path}", self.base));
        expect(read(request, path).await?, path)
    }

    /// Lets so many days pass.
    pub(super) async fn days(&self, days: i64) -> anyhow::Result<()> {
        let seconds = days.saturating_mul(86_400);
        self.sim("clock", &json!({ "advance_seconds": seconds }))
            .await
            .map(drop)
    }

    /// Whether no delivery is left.
    pub(super) async fn is_quiet(&self) -> anyhow::Result<bool> {
        let answer = self.look("quiet").await?;
        Ok(answer.get("quiet").and_then(Value::as_bool).unwrap_or_default())
    }

    /// No reordering, repeats or delays from now on.
    pub(super) async fn behave(&self) -> anyhow::Result<()> {
        let faults = json!({"reorder": 0.0, "duplicate": 0.0, "delay": 0.0, "drop": 0.0, "twin": 0.0});
        self.sim("faults", &faults).await.map(drop)
    }

    /// Deliveries by state, and for each event that was acknowledged how often it was.
    pub(super) async fn deliveries(&self) -> anyhow::Result<Deliveries> {
        let answer = self.look("deliveries").await?;
        let mut all = Deliveries::default();
        for one in answer.get("deliveries").and_then(Value::as_array).into_iter().flatten() {
            *all.by_state.entry(text(one, "/state")?).or_default() += 1;
            let attempts = one.get("attempts").and_then(Value::as_array).into_iter().flatten();
            let good = attempts.filter(|attempt| attempt.get("status").and_then(Value::as_u64) == Some(200));
            let good = good.count();
            if good > 0 {
                *all.acknowledged.entry(text(one, "/event")?).or_default() += good;
            }
        }
        Ok(all)
    }
}

/// The simulator's own record.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    pub(super) by_state: BTreeMap<String, usize>,
    pub(super) acknowledged: BTreeMap<String, usize>,
}

async fn read(request: reqwest::RequestBuilder, what: &str) -> anyhow::Result<(u16, Value)> {
    let answer = request
        .send()
        .await
        .with_context(|| format!("calling the simulator: {what}"))?;
    let status = answer.status().as_u16();
    let body = answer
        .bytes()
        .await
        .with_context(|| format!("the simulator's answer to {what}"))?;
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| json!({"body": String::from_utf8_lossy(&body)}));
    Ok((status, value))
}

fn expect((status, answer): (u16, Value), what: &str) -> anyhow::Result<Value> {
    if status >= 400 {
        bail!("the simulator refused {what}: {}", reason(&answer));
    }
    Ok(answer)
}

fn reason(answer: &Value) -> String {
    let message = answer.pointer("/error/message").and_then(Value::as_str);
    message.map_or_else(|| answer.to_string(), str::to_owned)
}

/// A text in an answer.
pub(super) fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("an answer without {pointer}: {value}"))
}
