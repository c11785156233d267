//! Stripe's side of the wire: signed deliveries at a steady pace over several connections, each sent again until it is
//! answered 200, and a ledger of every attempt.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use stripe_gateway::signature::sign;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::house::unix_now;

/// Stripe waits longer; what counts here is that it sends again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const TASKS: u32 = 16;

/// One event on its way.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: String,
    pub path: &'static str,
    pub secret: &'static str,
    pub body: Bytes,
    /// What it says about one of our clients.
    pub fact: Option<Fact>,
}

/// A client is in this state from this second on.
#[derive(Debug, Clone)]
pub struct Fact {
    pub client: String,
    pub created: i64,
    pub state: &'static str,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// The connection was refused or broke.
    Broken,
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub started: Instant,
    pub took: Duration,
    pub answer: Answer,
}

/// Everything that was sent and what came of it.
#[derive(Debug, Default)]
pub struct Ledger {
    pub attempts: Vec<Attempt>,
    pub accepted: BTreeMap<String, Delivery>,
    /// Ids that were answered 503 at least once: the broker may hold them all the same.
    pub refused: BTreeMap<String, usize>,
    /// Answers that are neither 200 nor 503.
    pub strange: Vec<String>,
    again: VecDeque<(Instant, Delivery)>,
}

impl Ledger {
    pub fn count(&self, answer: &Answer) -> usize {
        self.attempts.iter().filter(|attempt| attempt.answer == *answer).count()
    }

    /// The attempts that began in a span of time.
    pub fn between(&self, from: Instant, to: Instant) -> Vec<Attempt> {
        let within = |attempt: &&Attempt| (from..to).contains(&attempt.started);
        self.attempts.iter().filter(within).cloned().collect()
    }

    pub fn summary(&self) -> String {
        let longest = |answer: &Answer| {
            let took = self.attempts.iter().filter(|attempt| attempt.answer == *answer);
            took.map(|attempt| attempt.took).max().unwrap_or_default().as_millis()
        };
        let (ok, unavailable) = (Answer::Status(200), Answer::Status(503));
        format!(
            "{} events accepted in {} attempts: 200 x {} (longest {} ms), 503 x {} (longest {} ms), broken x {}",
            self.accepted.len(),
            self.attempts.len(),
            self.count(&ok),
            longest(&ok),
            self.count(&unavailable),
            longest(&unavailable),
            self.count(&Answer::Broken)
        )
    }
}

/// Makes event number `n`.
pub type Source = Arc<dyn Fn(usize) -> Delivery + Send + Sync>;

struct Shared {
    base: String,
    http: reqwest::Client,
    source: Source,
    next: AtomicUsize,
    ending: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// A running load; its tasks end with it.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Begins to send so many deliveries a second.
    pub fn start(base: String, per_second: u32, source: Source) -> Self {
        let shared = Arc::new(Shared {
            base,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()
                .unwrap(),
            source,
            next: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            ledger: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let pace = Duration::from_secs(1) * TASKS / per_second;
            tasks.spawn(send(Arc::clone(&shared), pace, pace * task / TASKS));
        }
        Self { shared, tasks }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap()
    }

    pub fn accepted(&self) -> usize {
        self.ledger().accepted.len()
    }

    /// Waits until so many more events were answered 200.
    pub async fn accepts(&self, more: usize) {
        let goal = self.accepted() + more;
        super::house::until("the load is accepted", super::house::PATIENCE, || async {
            self.accepted() >= goal
        })
        .await;
    }

    /// Sends nothing new, and what was refused again until all of it is accepted.
    pub async fn finish(mut self) -> Ledger {
        self.shared.ending.store(true, Ordering::Relaxed);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(60), ended)
            .await
            .expect("what was refused was not accepted within a minute");
        let ledger = std::mem::take(&mut *self.shared.ledger.lock().unwrap());
        assert!(ledger.strange.is_empty(), "{:#?}", ledger.strange);
        ledger
    }
}

async fn send(shared: Arc<Shared>, pace: Duration, offset: Duration) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ending = shared.ending.load(Ordering::Relaxed);
        let again = {
            let mut ledger = shared.ledger.lock().unwrap();
            let is_due = ledger.again.front().is_some_and(|(due, _)| *due <= Instant::now());
            let delivery = if is_due { ledger.again.pop_front() } else { None }.map(|(_, delivery)| delivery);
            if ending && delivery.is_none() && ledger.again.is_empty() {
                return;
            }
            delivery
        };
        let delivery = match again {
            Some(delivery) => delivery,
            None if ending => continue,
            None => (shared.source)(shared.next.fetch_add(1, Ordering::Relaxed)),
        };
        deliver(&shared, delivery).await;
    }
}

async fn deliver(shared: &Shared, delivery: Delivery) {
    let signature = sign(delivery.secret, &delivery.body, unix_now());
    let request = shared
        .http
        .post(format!("{}{}", shared.base, delivery.path))
        .header("content-type", "application/json; charset=utf-8")
        .header("stripe-signature", signature)
        .body(delivery.body.clone());
    let started = Instant::now();
    let outcome = async {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok::<_, reqwest::Error>((status, answer.text().await?))
    };
    let outcome = outcome.await;
    let took = started.elapsed();
    let mut ledger = shared.ledger.lock().unwrap();
    let answer = outcome
        .as_ref()
        .map_or(Answer::Broken, |(status, _)| Answer::Status(*status));
    ledger.attempts.push(Attempt { started, took, answer });
    match outcome {
        Ok((200, text)) => {
            if !text.contains(&format!("\"{}\"", delivery.id)) {
                ledger.strange.push(format!("{} was answered {text}", delivery.id));
            }
            ledger.accepted.insert(delivery.id.clone(), delivery);
            return;
        }
        Ok((503, _)) => *ledger.refused.entry(delivery.id.clone()).or_default() += 1,
        Ok((status, text)) => ledger.strange.push(format!("{}: {status} {text}", delivery.id)),
        Err(_) => {}
    }
    ledger.again.push_back((Instant::now() + RETRY_AFTER, delivery));
}
