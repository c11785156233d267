//! What the story is played on: the system, the simulator, the witness, and moves that several chapters make.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::cast::{Cast, Player};
use super::door::Door;
use super::evidence::{self, Baseline};
use super::listener::Listener;
use super::narrator::Narrator;
use super::stripe::{Stripe, text};
use super::witness::{SECOND, Witness};
use crate::state::State;

/// Calls that are made at once where order does not matter.
const AT_ONCE: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What has not come after so long does not come: a busy machine may take its time.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) const VISA: &str = "pm_card_visa";
pub(super) const FAILS: &str = "pm_card_chargeCustomerFail";
pub(super) const DECLINED: &str = "pm_card_chargeDeclined";

/// Prices of the shop, by plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Prices {
    pub(super) starter: String,
    pub(super) team: String,
    pub(super) business: String,
}

/// What Stripe has to have moved for an escrow, in cents, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) captures: Vec<i64>,
    pub(super) transfers: Vec<i64>,
    pub(super) reversals: Vec<i64>,
    pub(super) refunds: Vec<i64>,
}

/// An escrow, and how it has to end.
#[derive(Debug, Clone)]
pub(super) struct Deal {
    pub(super) id: String,
    pub(super) ends: &'static str,
    pub(super) moved: Moved,
}

/// Runs of time-outs, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct BreakerRuns {
    /// How many each gave back.
    pub(super) given_back: Vec<i64>,
    /// Whether one was stopped by the breaker.
    pub(super) tripped: bool,
}

impl BreakerRuns {
    pub(super) fn one_after_the_other(&self) -> String {
        let numbers: Vec<String> = self.given_back.iter().map(ToString::to_string).collect();
        numbers.join(", ")
    }
}

/// What the chapters leave behind for the promises.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    /// Forged deliveries by the code of their refusal, and the event ids in them.
    pub(super) forged: BTreeMap<String, usize>,
    pub(super) forged_ids: Vec<String>,
    /// Alerts that have to be raised so often, by key; they come a while after their cause, because repeats are merged.
    pub(super) alerts: BTreeMap<String, i64>,
    /// Clients that a forgery named.
    pub(super) victims: Vec<String>,
    /// Clients that changed to another subscription while the old one was deleted.
    pub(super) upgraded: Vec<Player>,
    /// Refunds and disputes: whose, which, and how they ended.
    pub(super) money_back: Vec<(String, String, &'static str)>,
    /// Escrows.
    pub(super) deals: Vec<Deal>,
    /// What two who released the same escrow at once were answered, sorted.
    pub(super) simultaneous: Option<[u16; 2]>,
    pub(super) breaker: Option<BreakerRuns>,
    /// Customers that nobody registered.
    pub(super) strangers: Vec<String>,
    /// Events that must not touch billing: of connected accounts, of the other mode, thin.
    pub(super) outside: Vec<String>,
    /// For the three stories: a client and what happened to it.
    pub(super) stories: Vec<(Player, &'static str)>,
}

/// The stage.
pub(super) struct Stage {
    pub(super) narrator: Narrator,
    pub(super) state: State,
    pub(super) stripe: Stripe,
    pub(super) door: Door,
    pub(super) witness: Witness,
    pub(super) listener: Listener,
    pub(super) database: tokio_postgres::Client,
    pub(super) cast: Cast,
    pub(super) prices: Prices,
    pub(super) marks: Mutex<Marks>,
    /// How often each unresolved alert had been raised before the story.
    pub(super) before: Baseline,
}

impl Stage {
    /// Writes something down for the promises.
    pub(super) fn mark(&self, note: impl FnOnce(&mut Marks)) {
        note(&mut self.marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    pub(super) fn marks(&self) -> Marks {
        self.marks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Several people at once do the same; in the order given.
    pub(super) async fn each<T, F>(&self, people: Vec<T>, act: impl Fn(T) -> F) -> anyhow::Result<Vec<Player>>
    where
        F: Future<Output = anyhow::Result<Player>>,
    {
        let done: Vec<Player> = stream::iter(people).map(act).buffered(AT_ONCE).try_collect().await?;
        for player in &done {
            self.cast.keep(player.clone());
        }
        Ok(done)
    }

    /// Somebody new with a customer at Stripe who pays with this card; registered.
    pub(super) async fn newcomer(&self, card: Option<&str>) -> anyhow::Result<Player> {
        let mut player = self.cast.next();
        player.customers.push(self.customer(&player, card).await?);
        self.door.register(&player).await?;
        Ok(player)
    }

    /// A customer at Stripe.
    pub(super) async fn customer(&self, player: &Player, card: Option<&str>) -> anyhow::Result<String> {
        let mail = format!("{}@example.com", player.name);
        let name = player.called();
        let mut fields = vec![("email", mail.as_str()), ("name", name.as_str())];
        if let Some(card) = card {
            fields.extend([
                ("payment_method", card),
                ("invoice_settings[default_payment_method]", card),
            ]);
        }
        text(&self.stripe.post("/v1/customers", &fields).await?, "/id")
    }

    /// Subscribes to a price; `more` are further fields of Stripe's.
    pub(super) async fn subscribe(
        &self,
        player: &mut Player,
        price: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let customer = player
            .customers
            .last()
            .context("nobody subscribes without a customer")?;
        let mut fields = vec![("customer", customer.as_str()), ("items[0][price]", price)];
        fields.extend(more);
        player.subscription = text(&self.stripe.post("/v1/subscriptions", &fields).await?, "/id")?;
        Ok(())
    }

    /// A checkout session for a subscription, open until it is filled in.
    pub(super) async fn checkout(&self, price: &str, more: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut fields = vec![
            ("mode", "subscription"),
            ("line_items[0][price]", price),
            ("line_items[0][quantity]", "1"),
            ("success_url", "https://shop.example.com/thanks"),
        ];
        fields.extend(more);
        text(&self.stripe.post("/v1/checkout/sessions", &fields).await?, "/id")
    }

    /// The customer fills in the form; the customer and the subscription that it made.
    pub(super) async fn fill_in(&self, session: &str) -> anyhow::Result<(String, String)> {
        let act = json!({"act": "complete_checkout", "session": session, "payment_method": VISA});
        let done = self.stripe.sim("act", &act).await?;
        Ok((text(&done, "/customer")?, text(&done, "/subscription")?))
    }

    /// Changes a subscription.
    pub(super) async fn change(&self, player: &Player, fields: &[(&str, &str)]) -> anyhow::Result<()> {
        let path = format!("/v1/subscriptions/{}", player.subscription);
        self.stripe.post(&path, fields).await.map(drop)
    }

    /// Cancels a subscription at once.
    pub(super) async fn cancel(&self, subscription: &str) -> anyhow::Result<()> {
        self.stripe
            .delete(&format!("/v1/subscriptions/{subscription}"))
            .await
            .map(drop)
    }

    /// The card that the customer pays with from now on.
    pub(super) async fn card(&self, player: &Player, card: &str) -> anyhow::Result<()> {
        let customer = player
            .customers
            .last()
            .context("nobody has a card without a customer")?;
        let fields = [("customer", customer.as_str())];
        let attached = self
            .stripe
            .post(&format!("/v1/payment_methods/{card}/attach"), &fields)
            .await?;
        let method = text(&attached, "/id")?;
        let default = [("invoice_settings[default_payment_method]", method.as_str())];
        self.stripe
            .post(&format!("/v1/customers/{customer}"), &default)
            .await
            .map(drop)
    }

    /// Waits until everything that was sent has arrived and is decided: no delivery left, no message in a queue, nothing in
    /// the outbox, every event that was answered 200 in the archive, every change of state announced, every alert raised.
    ///
    /// Ends as soon as that holds, or with `false` when nothing moves any more; the promises will say what is missing.
    pub(super) async fn settle(&self) -> anyhow::Result<bool> {
        let mut best = usize::MAX;
        let mut since = Instant::now();
        loop {
            let left = self.left().await?;
            if left == 0 {
                return Ok(true);
            }
            if left < best {
                (best, since) = (left, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn left(&self) -> anyhow::Result<usize> {
        let quiet = self.stripe.look("quiet").await?;
        let undelivered = quiet.get("left").and_then(Value::as_u64).unwrap_or(1);
        if undelivered > 0 {
            return Ok(usize::try_from(undelivered)
                .unwrap_or(usize::MAX)
                .saturating_add(1_000_000));
        }
        let queued: u32 = self
            .listener
            .queues()
            .await?
            .iter()
            .filter(|(name, _)| !name.ends_with(".parked"))
            .map(|(_, count)| *count)
            .sum();
        let open = evidence::open_ends(
            &self.database,
            &self.witness.taken(),
            &self.cast,
            &self.listener.heard(),
        )
        .await?;
        let silent = evidence::alerts_to_come(&self.database, &self.marks().alerts, &self.before).await?;
        let on_the_way = evidence::escrows_to_end(&self.database, &self.marks().deals).await?;
        Ok(open
            .saturating_add(silent)
            .saturating_add(on_the_way)
            .saturating_add(usize::try_from(queued)?))
    }

    /// The endpoint for the platform's own events that existed from the start.
    pub(super) async fn platform_endpoint(&self) -> anyhow::Result<String> {
        let endpoints = self.stripe.list("/v1/webhook_endpoints", &[]).await?;
        let ours = self.witness.url("/webhooks/stripe");
        let found = endpoints
            .iter()
            .find(|one| one.get("url").and_then(Value::as_str) == Some(&ours));
        text(
            found.context("the simulator has no endpoint for the platform's events")?,
            "/id",
        )
    }

    /// Removes the endpoint that was made for an older API version, if it is still there.
    pub(super) async fn close_second_endpoint(&self) -> anyhow::Result<()> {
        for endpoint in self.stripe.list("/v1/webhook_endpoints", &[]).await? {
            if text(&endpoint, "/url")?.ends_with(SECOND) {
                let path = format!("/v1/webhook_endpoints/{}", text(&endpoint, "/id")?);
                self.stripe.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Waits until no delivery is left.
    pub(super) async fn wait_quiet(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.stripe.is_quiet().await? {
            if begun.elapsed() > PATIENCE {
                bail!("the simulator still has deliveries after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until a client is in one of these states, for a chapter that goes on from there.
    pub(super) async fn until(&self, player: &Player, states: &[&str]) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let client = self.door.client(&player.id).await?;
            let now = text(&client, "/state")?;
            if states.contains(&now.as_str()) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{} is still {now} and should be {}", player.id, states.join(" or "));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until an escrow has a status, for a chapter that goes on from there.
    pub(super) async fn until_escrow(&self, id: &str, status: &str) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            let escrow = self.door.escrow(id).await?;
            let now = text(&escrow, "/status")?;
            if now == status {
                return Ok(escrow);
            }
            if begun.elapsed() > PATIENCE {
                bail!("escrow {id} is still {now} and should be {status}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until Stripe has moved an escrow's transfer, whatever is known of it here.
    pub(super) async fn until_transfer_was_called(&self, id: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let book = self.stripe.look(&format!("ledger?escrow_id={id}")).await?;
            let transfers = book.get("transfers").and_then(Value::as_array);
            if transfers.is_some_and(|transfers| !transfers.is_empty()) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("no transfer of escrow {id} was made");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What the refund breaker has let pass on this UTC day, in cents.
    pub(super) async fn given_back_today(&self) -> anyhow::Result<i64> {
        evidence::given_back_today(&self.database).await
    }
}
