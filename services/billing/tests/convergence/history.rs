//! One history of the model, as a client of ours with events of Stripe's.

use serde_json::{Value, json};

use crate::bodies::{Teller, VERSIONS};
use crate::model::Stripe;
use crate::model::dice::Dice;
use crate::support::events::Payer;
use crate::support::{Event, World};

/// When the client and its customers are registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    Before,
    Meanwhile,
    After,
}

pub struct History {
    pub stripe: Stripe,
    pub payer: Payer,
    pub registered: Registered,
    pub events: Vec<Event>,
    pub teller: Teller,
}

impl History {
    /// Every event in a version that chance picks, as while an endpoint is being upgraded. All of it happened before now.
    pub fn new(number: usize, stripe: Stripe, dice: &mut Dice) -> Self {
        let payer = Payer::new(&format!("history_{number}"));
        let an_hour_ago = chrono::Utc::now().timestamp() - 3_600;
        let teller = Teller::new(&payer.client, an_hour_ago - stripe.now);
        let events = stripe
            .events
            .iter()
            .map(|event| teller.tell(event, *dice.of(&VERSIONS)))
            .collect();
        let registered = *dice.of(&[Registered::Before, Registered::Meanwhile, Registered::After]);
        Self {
            stripe,
            payer,
            registered,
            events,
            teller,
        }
    }

    /// Registers the client with each of its customers, one after the other.
    pub async fn register(&self, world: &World) {
        let customers = self.stripe.subs.iter().map(|sub| sub.customer).max().unwrap_or(0);
        for customer in 0..=customers {
            let mut body = json!({
                "org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": self.teller.customer(customer),
                "state": if self.stripe.setting.begins_in_trial { "TRIAL_ACTIVE" } else { "TRIAL_PENDING" }
            });
            if self.stripe.setting.priced {
                body["contracted_price_id"] = json!("price_1");
                body["contracted_currency"] = json!("eur");
            }
            let (mut status, mut answer) = world.put(&self.payer.client, &body).await;
            // Many worlds at once keep a slow machine's database busy; whoever is told to come back does.
            while status == 503 {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                (status, answer) = world.put(&self.payer.client, &body).await;
            }
            assert!(status == 201 || status == 200, "{status}: {answer}");
        }
    }

    /// Compares what our side came to with what is true at Stripe.
    pub async fn is_true(&self, world: &World) -> Result<(), String> {
        let truth = self.stripe.truth();
        let shown = world.client(&self.payer.client).await;
        if shown["state"] != truth.state {
            return Err(format!("{} instead of {}", shown["state"], truth.state));
        }
        if let Some(speaker) = truth.speaker {
            let speaker = json!(speaker.map(|sub| self.teller.subscription(sub)));
            let period_end = truth.period_end.map(|end| self.teller.time(end));
            let shown_end = shown["current_period_end"]
                .as_str()
                .map(|end| chrono::DateTime::parse_from_rfc3339(end).unwrap().timestamp());
            if (&shown["stripe_subscription_id"], shown_end) != (&speaker, period_end) {
                return Err(format!("{shown} instead of {speaker}, paid until {period_end:?}"));
            }
        }
        let (found, expected) = (self.money_on_record(world).await, self.money_at_stripe());
        if found == expected {
            Ok(())
        } else {
            Err(format!("on record {found}, at Stripe {expected}"))
        }
    }

    /// Charges with what was paid back, refunds and disputes, as the database has them.
    async fn money_on_record(&self, world: &World) -> Value {
        let sql = "SELECT coalesce(jsonb_object_agg(id, said), '{}')::text FROM ( \
                       SELECT stripe_charge_id AS id, amount_refunded::text AS said, client_id FROM billing_charges \
                       UNION ALL SELECT stripe_refund_id, status, client_id FROM billing_refunds \
                       UNION ALL SELECT stripe_dispute_id, status, client_id FROM billing_disputes) AS money \
                   WHERE client_id = $1";
        let row = world.sql.query_one(sql, &[&self.payer.client]).await.unwrap();
        serde_json::from_str(row.get::<_, &str>(0)).unwrap()
    }

    fn money_at_stripe(&self) -> Value {
        let mut money = serde_json::Map::new();
        for (id, charge) in self
            .stripe
            .charges
            .iter()
            .enumerate()
            .filter(|(_, charge)| charge.shown)
        {
            money.insert(self.teller.charge(id), json!(charge.refunded.to_string()));
            for (refund, life) in charge.refunds.iter().enumerate() {
                money.insert(self.teller.refund(id, refund), json!(Teller::refund_status(*life)));
            }
            for (dispute, life) in charge.disputes.iter().enumerate() {
                money.insert(self.teller.dispute(id, dispute), json!(Teller::dispute_status(*life)));
            }
        }
        Value::Object(money)
    }
}
