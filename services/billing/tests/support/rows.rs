//! What the tables and the API say.

use chrono::{DateTime, Utc};
use serde_json::Value;
use testkit::eventually_some;

use super::{SOON, World};

/// A row of `billing_events`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    pub status: String,
    pub outcome: String,
    pub guard: Option<String>,
    pub reason: String,
    pub client: Option<String>,
    pub payload: String,
    pub deliveries: i32,
    pub created: DateTime<Utc>,
}

/// An entry of the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub event: String,
    pub outcome: String,
    pub guard: Option<String>,
    pub reason: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub details: Value,
}

impl Decided {
    pub fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().map(ToOwned::to_owned);
        Self {
            event: text("event_id").unwrap(),
            outcome: text("outcome").unwrap(),
            guard: text("guard"),
            reason: text("reason").unwrap(),
            from: text("from"),
            to: text("to"),
            details: value["details"].clone(),
        }
    }

    /// `outcome/guard/reason from→to`, as far as there is any.
    pub fn short(&self) -> String {
        let guard = self
            .guard
            .as_deref()
            .map(|guard| format!("/{guard}"))
            .unwrap_or_default();
        let step = match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!(" {from}→{to}"),
            _ => String::new(),
        };
        format!("{}{guard}/{}{step}", self.outcome, self.reason)
    }
}

impl World {
    pub async fn find(&self, event: &str) -> Option<EventRow> {
        let sql = "SELECT status, outcome, guard, reason, client_id, payload, deliveries, created FROM billing_events \
                   WHERE stripe_event_id = $1 AND consumer = 'billing'";
        let rows = self.sql.query(sql, &[&event]).await.unwrap();
        assert!(rows.len() < 2, "{event} is archived {} times", rows.len());
        rows.first().map(|row| EventRow {
            status: row.get(0),
            outcome: row.get(1),
            guard: row.get(2),
            reason: row.get(3),
            client: row.get(4),
            payload: row.get(5),
            deliveries: row.get(6),
            created: row.get(7),
        })
    }

    /// The event's row, as soon as there is one.
    pub async fn row(&self, event: &str) -> EventRow {
        eventually_some(SOON, || self.find(event)).await
    }

    /// The event's row, as soon as it is decided for good.
    pub async fn decided(&self, event: &str) -> EventRow {
        eventually_some(SOON, || async {
            self.find(event).await.filter(|row| row.status == "decided")
        })
        .await
    }

    /// Waits until an event was delivered so often.
    pub async fn deliveries(&self, event: &str, times: i32) {
        eventually_some(SOON, || async {
            self.find(event).await.filter(|row| row.deliveries >= times)
        })
        .await;
    }

    /// Takes alerts until there are so many; more than that fail the test.
    pub async fn alerts(&self, expected: usize) -> Vec<Value> {
        let taken = std::sync::Mutex::new(Vec::new());
        testkit::eventually(SOON, || async {
            let new = self.drain("alerts.raise").await;
            let mut taken = taken.lock().unwrap();
            taken.extend(new.into_iter().map(|(_, alert)| alert));
            taken.len() >= expected
        })
        .await;
        let taken = taken.into_inner().unwrap();
        assert_eq!(taken.len(), expected, "{taken:?}");
        taken
    }

    /// How many rows match a condition.
    pub async fn count(&self, table: &str, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
        self.sql.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// A number that a query answers.
    pub async fn number(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[]).await.unwrap().get(0)
    }
}
