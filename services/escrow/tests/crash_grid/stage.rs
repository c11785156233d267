//! A world with processes in it, and a client and a Stripe that do not give up: what a scenario asks for is asked again until it is
//! there, whoever dies meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use stripe_sim::SimConfig;

use crate::child::Settings;
use crate::instance::Instance;
use crate::support::{World, service_token, unique};
use crate::watch::{Target, Watch};

/// Within this a cell has ended, also on a busy machine.
const LIMIT: Duration = testkit::PATIENCE;
/// Nobody has done anything for so long: what is left waits for its time.
const QUIET: Duration = Duration::from_millis(25);
/// Nobody has done anything for so long, and no operation waits: a timer does.
const STILL: Duration = Duration::from_millis(250);
/// More than the time between two runs of a timer.
const LATER: Duration = Duration::from_secs(700);
const PAUSE: Duration = Duration::from_millis(8);

pub struct Stage {
    pub world: World,
    pub watch: Arc<Watch>,
    has_timer: bool,
    instances: Vec<Instance>,
    turn: usize,
    began: Instant,
    /// Events that were delivered, or belong to the run before.
    seen: HashSet<String>,
    /// Types that are heard before any time goes by.
    early: &'static [&'static str],
    /// Processes that have died in this run.
    deaths: usize,
    http: reqwest::Client,
}

impl Stage {
    pub async fn new(has_timer: bool) -> Self {
        // In step with the children's clocks, which are moved by hand.
        let start_at = Some(service_kit::clock::Clock::System.unix_seconds());
        let world = World::bare(SimConfig {
            start_at,
            ..SimConfig::default()
        })
        .await;
        Self {
            world,
            watch: Arc::default(),
            has_timer,
            instances: Vec::new(),
            turn: 0,
            began: Instant::now(),
            seen: HashSet::new(),
            early: &[],
            deaths: 0,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub const fn has_timer(&self) -> bool {
        self.has_timer
    }

    /// Sees that so many processes are at work.
    pub async fn work_with(&mut self, count: usize) {
        self.instances.truncate(count);
        while self.instances.len() < count {
            let instance = self.start().await;
            self.instances.push(instance);
        }
    }

    /// Ends every process, whatever it does.
    pub fn clear(&mut self) {
        self.instances.clear();
    }

    async fn start(&self) -> Instance {
        let settings = Settings {
            database_url: self.world.db.service_url(),
            amqp_url: self.world.broker.amqp_url(),
            stripe: self.world.sim.base_url.clone(),
            clock_micros: self.world.clock.now().timestamp_micros(),
            has_timer: self.has_timer,
        };
        Instance::start(&settings, Arc::clone(&self.watch), self.http.clone()).await
    }

    /// What comes now belongs to another run.
    pub async fn begin(&mut self) {
        self.began = Instant::now();
        self.early = &[];
        self.deaths = 0;
        self.watch.begin(None);
        self.clear_faults().await;
        self.new_events().await;
    }

    /// From here on steps count, and `target` is where a process dies.
    pub async fn arm(&mut self, target: Option<Target>) {
        while !self.watch.is_quiet_for(QUIET) {
            tokio::time::sleep(PAUSE).await;
        }
        self.watch.begin(target);
    }

    pub async fn clear_faults(&self) {
        let url = format!("{}/_sim/faults", self.world.sim.base_url);
        self.http.delete(url).send().await.unwrap();
    }

    /// Moves every clock.
    pub async fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
        let url = format!("{}/_sim/clock", self.world.sim.base_url);
        let body = json!({"advance_seconds": by.as_secs()});
        self.http.post(url).json(&body).send().await.unwrap();
        for instance in &self.instances {
            instance.set_clock(self.world.clock.now().timestamp_micros()).await;
        }
    }

    /// Replaces whoever has died, and lets time go by when nobody has anything to do.
    async fn pulse(&mut self) {
        self.revive().await;
        let is_calling = self.instances.iter().any(Instance::is_calling);
        if !is_calling && self.watch.is_quiet_for(QUIET) && !self.hear_early().await {
            self.let_time_go_by().await;
        }
    }

    /// Replaces whoever has died.
    async fn revive(&mut self) {
        assert!(self.began.elapsed() < LIMIT, "it does not end: {}", self.state().await);
        for place in 0..self.instances.len() {
            if self.instances[place].has_ended() {
                let fresh = self.start().await;
                let dead = std::mem::replace(&mut self.instances[place], fresh);
                let status = dead.verdict().await;
                assert!(self.watch.is_struck(), "a process ended by itself: {status}");
                let signal = std::os::unix::process::ExitStatusExt::signal(&status);
                assert_eq!(signal, Some(6), "a process that is told to abort does so: {status}");
                self.deaths += 1;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// To the moment at which the next operation is due, which is picked up then; where there is none, to the next run of a timer.
    async fn let_time_go_by(&mut self) {
        let sql = "SELECT due_at, status = 'in_flight' FROM stripe_operations WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1";
        let next = self.world.sql.query_opt(sql, &[]).await.unwrap();
        let next = next.map(|row| (row.get::<_, chrono::DateTime<chrono::Utc>>(0), row.get(1)));
        let now = self.world.clock.now();
        match next {
            // Whoever has just picked it up may not have said so yet; only of one who died the lease runs out.
            Some((due, true)) if due > now && !self.watch.is_quiet_for(STILL) => {}
            Some((due, _)) if due > now => {
                let wait = u64::try_from((due - now).num_seconds()).unwrap() + 1;
                self.advance(Duration::from_secs(wait)).await;
            }
            Some(_) => {}
            None if self.watch.is_quiet_for(STILL) => {
                self.advance(LATER).await;
                // So long it takes until somebody is called still again.
                tokio::time::sleep(QUIET).await;
            }
            None => {}
        }
    }

    async fn state(&self) -> String {
        let sql = "SELECT coalesce(json_agg(json_build_object('id', id, 'escrow', escrow_id, 'kind', kind, 'status', status, 'due', due_at)), '[]') \
                   FROM stripe_operations WHERE status <> 'succeeded'";
        let operations: Value = self.world.sql.query_one(sql, &[]).await.unwrap().get(0);
        let sql = "SELECT coalesce(json_agg(t), '[]') FROM (SELECT id, status FROM escrow_transactions ORDER BY created_at DESC LIMIT 3) AS t";
        let escrows: Value = self.world.sql.query_one(sql, &[]).await.unwrap().get(0);
        let sql = "SELECT coalesce(json_agg(json_build_array(type, status, reason) ORDER BY received_at), '[]') FROM billing_events \
                   WHERE status <> 'decided' OR received_at > (SELECT max(created_at) FROM escrow_transactions)";
        let events: Value = self.world.sql.query_one(sql, &[]).await.unwrap().get(0);
        let steps: Vec<String> = self.watch.record().into_iter().map(|place| place.step).collect();
        format!("{operations} {escrows} {events} {}", steps.join(" "))
    }

    /// Waits for a number that a query counts.
    pub async fn until_count(&mut self, sql: &str, of: &str, wanted: i64) {
        loop {
            let count: i64 = self.world.sql.query_one(sql, &[&of]).await.unwrap().get(0);
            if count == wanted {
                return;
            }
            self.pulse().await;
        }
    }

    /// Until nobody makes a call or has done anything for a while, before any time goes by.
    pub async fn until_still(&mut self) {
        while self.instances.iter().any(Instance::is_calling) || !self.watch.is_quiet_for(STILL) {
            self.revive().await;
        }
    }

    /// As [`Self::until_count`], before any time goes by.
    pub async fn soon_count(&mut self, sql: &str, of: &str, wanted: i64) {
        while self.world.sql.query_one(sql, &[&of]).await.unwrap().get::<_, i64>(0) != wanted {
            self.revive().await;
        }
    }

    /// Waits for an escrow's status.
    pub async fn until(&mut self, escrow: &str, status: &str) {
        let sql = "SELECT status FROM escrow_transactions WHERE id = $1";
        while self
            .world
            .sql
            .query_one(sql, &[&escrow])
            .await
            .unwrap()
            .get::<_, String>(0)
            != status
        {
            self.pulse().await;
        }
    }

    /// Waits until nothing is left to be done, and whoever died is back.
    pub async fn rest(&mut self) {
        let sql = "SELECT (SELECT count(*) FROM stripe_operations WHERE due_at IS NOT NULL) \
                   + (SELECT count(*) FROM billing_events WHERE status = 'waiting') \
                   + (SELECT count(*) FROM escrow_recipients WHERE account_news) + (SELECT count(*) FROM outbox)";
        loop {
            let left: i64 = self.world.sql.query_one(sql, &[]).await.unwrap().get(0);
            let is_back = self.deaths == usize::from(self.watch.is_struck());
            if left == 0 && is_back && self.watch.is_quiet_for(QUIET) {
                self.watch.disarm();
                if self.deaths == usize::from(self.watch.is_struck()) {
                    return;
                }
            }
            self.pulse().await;
        }
    }

    /// A request that is made again, under its key, until it is answered for good.
    pub async fn request(&mut self, method: Method, path: &str, key: Option<&str>, body: &Value) -> Value {
        loop {
            self.turn += 1;
            let address = self.instances[self.turn % self.instances.len()].address;
            let request = self
                .http
                .request(method.clone(), format!("http://{address}{path}"))
                .json(body);
            let request = key
                .into_iter()
                .fold(request, |request, key| request.header("Idempotency-Key", key));
            let sent = request
                .bearer_auth(service_token())
                .timeout(Duration::from_secs(20))
                .send()
                .await;
            let answer = match sent {
                Ok(answer) => Some((answer.status().as_u16(), answer.bytes().await)),
                Err(_) => None,
            };
            match answer {
                Some((200..=299, Ok(bytes))) => return serde_json::from_slice(&bytes).unwrap(),
                // Lost, with the process.
                None | Some((_, Err(_))) => self.revive().await,
                // Nobody can say yet.
                Some((503, _)) => self.pulse().await,
                Some((status, Ok(bytes))) => panic!("{path}: {status} {}", String::from_utf8_lossy(&bytes)),
            }
        }
    }

    /// A command under a key of its own.
    pub async fn command(&mut self, escrow: &str, command: &str, body: &Value) {
        let path = format!("/api/escrows/{escrow}/{command}");
        self.request(Method::POST, &path, Some(&unique("command")), body).await;
    }

    /// Creates an escrow.
    pub async fn create(&mut self, terms: &Value) -> Value {
        self.request(Method::POST, "/api/escrows", Some(&unique("create")), terms)
            .await
    }

    /// Creates an escrow, and has it paid and heard of.
    pub async fn held(&mut self, terms: &Value) -> String {
        self.held_by(terms, "pm_card_bypassPending").await
    }

    /// As [`Self::held`], by this card.
    pub async fn held_by(&mut self, terms: &Value, card: &str) -> String {
        let body = self.create(terms).await;
        self.pay(&body, card).await;
        let id = body["escrow_id"].as_str().unwrap().to_owned();
        self.hear(&["payment_intent.amount_capturable_updated", "payment_intent.succeeded"])
            .await;
        self.until(&id, "held").await;
        id
    }

    /// The payer's part; a card may be declined.
    pub async fn pay(&self, escrow: &Value, card: &str) {
        let payment = escrow["payment_intent_id"].as_str().unwrap();
        let url = format!("{}/v1/payment_intents/{payment}/confirm", self.world.sim.base_url);
        let form = [("payment_method", card), ("return_url", "https://example.com")];
        let request = self.http.post(url).bearer_auth(crate::support::KEY).form(&form);
        request.send().await.unwrap();
    }

    /// Events that Stripe has made and that nobody has seen, the oldest first.
    pub async fn new_events(&mut self) -> Vec<Value> {
        let list = self.world.stripe(Method::GET, "/v1/events?limit=100", &[]).await;
        let mut events = list["data"].as_array().unwrap().clone();
        events.reverse();
        events.retain(|event| self.seen.insert(event["id"].as_str().unwrap().to_owned()));
        events
    }

    /// Delivers the new events of these types, and waits until they are decided.
    pub async fn hear(&mut self, kinds: &[&str]) {
        for event in self.new_events().await {
            if kinds.contains(&event["type"].as_str().unwrap()) {
                self.tell(&event, "platform").await;
            }
        }
    }

    /// Delivers all new events that escrow hears, and waits until they are decided.
    pub async fn hear_all(&mut self) {
        let heard = [
            "payment_intent.amount_capturable_updated",
            "payment_intent.succeeded",
            "payment_intent.payment_failed",
            "payment_intent.canceled",
            "charge.succeeded",
            "charge.captured",
            "charge.refunded",
            "charge.dispute.created",
            "charge.dispute.closed",
            "transfer.created",
            "transfer.updated",
            "transfer.reversed",
        ];
        self.hear(&heard).await;
    }

    /// Whatever is new of these types is delivered before any time goes by.
    pub const fn hears_early(&mut self, kinds: &'static [&'static str]) {
        self.early = kinds;
    }

    async fn hear_early(&mut self) -> bool {
        if self.early.is_empty() {
            return false;
        }
        let mut events = self.new_events().await;
        events.retain(|event| self.early.contains(&event["type"].as_str().unwrap()));
        for event in &events {
            self.world.deliver(event, "platform").await;
        }
        !events.is_empty()
    }

    /// Delivers an event, and waits until it is decided. For that no time has to go by, but where its object could not be read.
    pub async fn tell(&mut self, event: &Value, endpoint: &str) {
        self.world.deliver(event, endpoint).await;
        let sql = "SELECT status, read_again_at FROM billing_events WHERE stripe_event_id = $1";
        loop {
            let row = self.world.sql.query_opt(sql, &[&event["id"].as_str()]).await.unwrap();
            let row = row.map(|row| {
                (
                    row.get::<_, String>(0),
                    row.get::<_, Option<chrono::DateTime<chrono::Utc>>>(1),
                )
            });
            match row {
                Some((status, _)) if status == "decided" => return,
                Some((_, Some(again))) if again > self.world.clock.now() => {
                    let wait = u64::try_from((again - self.world.clock.now()).num_seconds()).unwrap() + 1;
                    self.advance(Duration::from_secs(wait)).await;
                }
                Some(_) | None => {}
            }
            self.revive().await;
        }
    }
}
