//! How a run ended, without what differs from run to run: what the API shows, what really moved, who acted, and who was told.

use std::collections::BTreeMap;
use std::fmt;

use db::escrow::ledger::check_ledger;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::Stage;

/// What a scenario is about.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    pub escrows: Vec<String>,
    pub accounts: Vec<String>,
    /// So much time goes by that a call which was never made is found not to be there, and made under a new key.
    pub keys_grow_old: bool,
}

impl Subject {
    pub fn of(escrow: impl Into<String>, accounts: &[&String]) -> Self {
        Self {
            escrows: vec![escrow.into()],
            accounts: accounts.iter().map(|account| (*account).clone()).collect(),
            keys_grow_old: false,
        }
    }

    /// Ids, by what they are called in an end.
    fn names(&self) -> Vec<(&String, String)> {
        let escrows = self
            .escrows
            .iter()
            .enumerate()
            .map(|(n, id)| (id, format!("escrow {n}")));
        let accounts = self
            .accounts
            .iter()
            .enumerate()
            .map(|(n, id)| (id, format!("account {n}")));
        escrows.chain(accounts).collect()
    }

    fn named(&self, text: &str) -> String {
        let names = self.names();
        names
            .iter()
            .fold(text.to_owned(), |text, (id, name)| text.replace(id.as_str(), name))
    }
}

/// An end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    escrows: Vec<Value>,
    /// How often each operation was begun under a new key; another key is right only after a definite answer.
    attempts: Vec<Value>,
    book: Vec<Value>,
    /// Payments at Stripe, made for each.
    payments: Vec<usize>,
    /// Everything but Stripe's own acts and what workers tell of calls, with how often.
    acts: BTreeMap<String, i64>,
    alerts: BTreeMap<String, i64>,
    ledger: Vec<String>,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = json!({
            "escrows": self.escrows, "attempts": self.attempts, "book": self.book, "payments": self.payments, "acts": self.acts, "alerts": self.alerts,
            "ledger": self.ledger,
        });
        write!(f, "{shown}")
    }
}

impl End {
    pub async fn of(stage: &mut Stage, subject: &Subject) -> Self {
        let mut end = Self {
            escrows: Vec::new(),
            attempts: Vec::new(),
            book: Vec::new(),
            payments: Vec::new(),
            acts: BTreeMap::new(),
            alerts: BTreeMap::new(),
            ledger: problems(stage).await,
        };
        let list = stage
            .world
            .stripe(Method::GET, "/v1/payment_intents?limit=100", &[])
            .await;
        for id in &subject.escrows {
            let made = list["data"].as_array().unwrap().iter();
            end.payments.push(
                made.filter(|payment| payment["metadata"]["escrow_id"] == id.as_str())
                    .count(),
            );
            let path = format!("/api/escrows/{id}");
            let shown = stage.request(Method::GET, &path, None, &Value::Null).await;
            end.attempts.push(sorted(&shown["operations"], |of| {
                json!([of["kind"], named(subject, &of["account"]), of["attempts"]])
            }));
            end.escrows.push(escrow(subject, &shown));
            end.book.push(book(subject, &stage.world.book(id).await));
        }
        if subject.keys_grow_old {
            end.attempts.clear();
        }
        let sql = "SELECT CASE WHEN action = 'alert' THEN reason END, concat_ws(' ', actor, action, escrow_id), count(*) \
                   FROM admin_actions WHERE escrow_id = ANY($1) \
                       AND (action = 'alert' OR actor NOT IN ('stripe', 'worker')) GROUP BY 1, 2";
        for row in stage.world.sql.query(sql, &[&subject.escrows]).await.unwrap() {
            match row.get::<_, Option<String>>(0) {
                // How often Stripe was away depends on when a process is stopped.
                Some(reason) if reason.starts_with("stripe_api_failure") => {}
                Some(reason) => {
                    *end.alerts.entry(subject.named(&reason)).or_default() += row.get::<_, i64>(2);
                }
                None => {
                    end.acts.insert(subject.named(row.get(1)), row.get(2));
                }
            }
        }
        end
    }

    /// As it must be after calls have gone wrong: those that Stripe keeps a 500 for are made under a new key.
    pub fn after_faults(mut self) -> Self {
        self.attempts.clear();
        self
    }
}

/// Every rule of the whole book that does not hold.
async fn problems(stage: &Stage) -> Vec<String> {
    let config = db::DatabaseConfig::new(stage.world.db.service_url().into(), "test");
    let database = db::Database::open(&config).unwrap();
    let problems = check_ledger(&database.conn().await.unwrap()).await.unwrap();
    problems.into_iter().map(|problem| format!("{problem:?}")).collect()
}

fn sorted(list: &Value, show: impl Fn(&Value) -> Value) -> Value {
    let mut shown: Vec<Value> = list.as_array().unwrap().iter().map(show).collect();
    shown.sort_by_key(Value::to_string);
    Value::Array(shown)
}

fn named(subject: &Subject, value: &Value) -> Value {
    value.as_str().map_or(Value::Null, |text| subject.named(text).into())
}

fn escrow(subject: &Subject, shown: &Value) -> Value {
    json!({
        "status": shown["status"],
        "captured": shown["captured"],
        "refunded": shown["refunded"],
        "set_aside": shown["set_aside"],
        "is_paid_by_a_payment": shown["payment_intent_id"].is_string(),
        "recipients": sorted(&shown["recipients"], |of| json!([
            named(subject, &of["account"]), of["amount"], of["status"], of["paid"], of["reason"], of["transfers"].as_array().unwrap().len(),
        ])),
        "operations": sorted(&shown["operations"], |of| json!([
            of["kind"], named(subject, &of["account"]), of["amount"], of["status"], of["object"].is_string(),
        ])),
        "ledger": sorted(&shown["ledger"], |of| json!([of["kind"], of["account"], named(subject, &of["recipient"]), of["amount"]])),
    })
}

fn book(subject: &Subject, book: &Value) -> Value {
    let lists = book.as_object().unwrap().iter();
    let entry = |of: &Value| {
        json!([
            named(subject, &of["destination"]),
            of["amount"],
            of["currency"],
            of["failed_at"].is_number()
        ])
    };
    lists
        .map(|(name, list)| (name.clone(), sorted(list, entry)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
