//! Decides the events of a batch in memory and collects what has to be written.

use chrono::{DateTime, Utc};
use db::billing::clients::LastEvent;
use db::billing::inbox::{KnownEvent, ReadAgain};
use db::billing::owners::{NewBinding, Owner, charge_name, client_name, customer_name, object_name, session_name};
use db::billing::subscriptions::PaymentRow;
use db::outbox::NewOutboxRow;
use domain::alert::{Alert, AlertKind};
use domain::billing::authority::{Authority, BoundBy, Claim, NamedBy, WaitingFor, judge};
use domain::billing::contract::PaymentSource;
use domain::billing::decision::{Decision, Guard, Outcome, Reason};
use domain::billing::fact::{Fact, FactKind, Payment};
use domain::ids::CustomerId;
use serde_json::{Value, json};
use service_kit::backoff;

use super::charges::ChargeRows;
use super::known::Known;
use super::{Open, Rules};
use crate::announcement::{self, Cause, StateChange};
use crate::reading::{Asked, Bought, Content, GaveUp, Pointer, Reading, Says, Source, Statement};

/// An event with its decision and what explains it.
#[derive(Debug)]
pub(super) struct Judged<'m> {
    pub(super) reading: &'m Reading<'m>,
    pub(super) deliveries: i32,
    pub(super) earlier: Option<&'m KnownEvent>,
    pub(super) decision: Decision,
    pub(super) client: Option<String>,
    pub(super) org: Option<String>,
    /// The names of what it waits for, with blanks between them.
    pub(super) waiting_for: Option<String>,
    pub(super) read_again: Option<ReadAgain>,
    pub(super) details: Value,
}

impl Judged<'_> {
    /// Whether the event is about the client that it is filed under. What only names a client, and may be anybody's, is in its timeline
    /// but its body is not for the client's organisation to read.
    pub(super) fn is_the_clients_own(&self) -> bool {
        match (self.decision.outcome, self.decision.guard) {
            (Outcome::Waiting, _) => false,
            (Outcome::Rejected, Some(Guard::Authority)) => self.decision.reason == Reason::PriceNotContracted,
            (
                Outcome::Applied
                | Outcome::SemanticDuplicate
                | Outcome::Stale
                | Outcome::Ignored
                | Outcome::Rejected
                | Outcome::Parked,
                _,
            ) => true,
        }
    }

    /// Whether the record says this already: an event that is not decided for good came again and nothing is different, or an object
    /// was read that shows what is known.
    pub(super) fn is_on_record(&self) -> bool {
        if self.reading.source == Source::Object {
            return self.decision.outcome != Outcome::Applied;
        }
        self.earlier
            .is_some_and(|earlier| earlier.says(self.decision.outcome, self.decision.reason))
    }
}

/// The batch while it is being decided.
#[derive(Debug)]
pub(super) struct Judge<'m> {
    pub(super) known: Known,
    pub(super) rules: Rules,
    pub(super) judged: Vec<Judged<'m>>,
    pub(super) bindings: Vec<NewBinding>,
    pub(super) payments: Vec<PaymentRow>,
    pub(super) charges: ChargeRows,
    pub(super) outbox: Vec<NewOutboxRow>,
    /// Charges that were read from Stripe and may not speak, with the names that may change that.
    pub(super) left_alone: Vec<(String, Vec<String>)>,
}

impl<'m> Judge<'m> {
    pub(super) fn new(known: Known, rules: Rules) -> Self {
        Self {
            known,
            rules,
            judged: Vec::new(),
            bindings: Vec::new(),
            payments: Vec::new(),
            charges: ChargeRows::default(),
            outbox: Vec::new(),
            left_alone: Vec::new(),
        }
    }

    /// Decides one event.
    pub(super) fn decide(&mut self, event: &Open<'m>) -> Decision {
        let mut judged = Judged {
            reading: event.reading,
            deliveries: event.deliveries,
            earlier: event.earlier,
            decision: Decision::ignored(Reason::NoEffectOnState),
            client: None,
            org: None,
            waiting_for: None,
            read_again: None,
            details: json!({}),
        };
        match &event.reading.content {
            Content::Ignored(reason, customer) => {
                judged.decision = Decision::ignored(*reason);
                judged.details = found_of_ignored(event.reading, customer.as_ref());
                self.file_under_owner(customer.as_ref(), &mut judged);
            }
            Content::GaveUp(GaveUp { why, customer, named }) => {
                judged.decision = Decision::without_effect(Outcome::Parked, None, Reason::AttemptsUsedUp);
                judged.details = json!({ "problem": why });
                judged.client = named.as_ref().map(ToString::to_string);
                self.file_under_owner(customer.as_ref(), &mut judged);
            }
            Content::Unreadable(why) => {
                judged.decision = Decision::without_effect(Outcome::Parked, None, Reason::Unreadable);
                judged.details = json!({ "problem": why });
            }
            Content::Pointer(pointer) => self.put_off(pointer, &mut judged),
            Content::Statement(statement) => self.judge(statement, &mut judged),
        }
        let decision = judged.decision;
        self.judged.push(judged);
        decision
    }

    /// Puts what is not about a client into the timeline of the client that its customer belongs to.
    fn file_under_owner(&self, customer: Option<&CustomerId>, judged: &mut Judged<'m>) {
        let owner = customer.and_then(|of| self.known.customers.get(of.as_str()));
        if let Some(Owner { client, org }) = owner {
            (judged.client, judged.org) = (Some(client.clone()), Some(org.clone()));
        }
    }

    /// Lets an event wait until its object was read. Where that was asked for in vain it is asked for later each time, for this event alone.
    fn put_off(&self, pointer: &Pointer, judged: &mut Judged<'m>) {
        judged.decision = Decision::waiting(Reason::ObjectNotRead);
        judged.waiting_for = Some(object_name(&pointer.url));
        let before = judged.earlier.map_or(0, |earlier| earlier.read_failures);
        let (failures, in_a_row) = match pointer.asked {
            Asked::NotYet => (before, 0),
            Asked::InVain => (before.saturating_add(1), before.saturating_add(1)),
        };
        judged.read_again = Some(ReadAgain {
            failures,
            at: self.rules.now + backoff::pause(&judged.reading.event_id, in_a_row),
        });
    }

    fn judge(&mut self, statement: &'m Statement, judged: &mut Judged<'m>) {
        if let Some(fact) = self.ownerless(statement) {
            self.take_ownerless(statement, fact, judged);
            return;
        }
        let (owner, by) = match (&statement.customer, &statement.says) {
            (Some(customer), _) => (self.known.owner(customer.as_str()), NamedBy::Customer),
            (None, Says::OfCharge(fact)) => (self.known.charge_owner(fact.charge.as_str()), NamedBy::Charge),
            (None, Says::OfSubscription(_) | Says::WhoBought(_) | Says::BoughtOnce) => (None, NamedBy::Customer),
        };
        let claim = Claim {
            owner,
            by,
            session_owner: statement
                .session
                .as_ref()
                .and_then(|session| self.known.session_owner(session.as_str())),
            named: statement.named.as_ref(),
            named_contract: statement
                .named
                .as_ref()
                .and_then(|named| self.known.contract(named.as_str())),
            is_checkout: statement.is_checkout,
        };
        let authority = judge(claim, self.rules.binding);
        if matches!(statement.says, Says::BoughtOnce) && !self.is_an_accusation(&authority) {
            judged.decision = Decision::ignored(Reason::CheckoutWithoutSubscription);
            judged.details = found_of_ignored(judged.reading, statement.customer.as_ref());
            self.file_under_owner(statement.customer.as_ref(), judged);
            return;
        }
        match authority {
            Authority::Waiting { what, reason } => self.set_aside(statement, judged, what, reason),
            Authority::Refused {
                reason,
                victim,
                suspicious,
            } => {
                let victim = victim.to_string();
                judged.decision = Decision::unauthorised(reason);
                self.refuse(statement, judged, &victim, reason, suspicious);
            }
            Authority::Granted { contract, bind } => {
                let client = contract.client.to_string();
                self.take(statement, judged, &client, bind);
            }
        }
    }

    /// Whether somebody claims to be another client, or one that is not to be billed at all (BIL-3). One that pays in another way may buy
    /// something once by card as anybody may.
    fn is_an_accusation(&self, authority: &Authority<'_>) -> bool {
        let Authority::Refused {
            victim,
            suspicious: true,
            reason,
        } = authority
        else {
            return false;
        };
        let pays_otherwise = self
            .known
            .contract(victim.as_str())
            .is_some_and(|contract| contract.source == PaymentSource::Manual);
        *reason != Reason::PaymentSourceIsNotStripe || !pays_otherwise
    }

    /// Keeps an event until our side knows whose it is. Whoever asks why nothing happens for a client finds what waits for it in
    /// its timeline.
    fn set_aside(&mut self, statement: &Statement, judged: &mut Judged<'m>, what: WaitingFor, reason: Reason) {
        judged.decision = Decision::waiting(reason);
        let named = statement.named.as_ref();
        judged.client = named.map(ToString::to_string);
        judged.org = named
            .and_then(|named| self.known.clients.get(named.as_str()))
            .map(|held| held.row.org_id.clone());
        let names = waiting_for(statement, what);
        judged.waiting_for = Some(names.join(" "));
        judged.details = found(statement);
        self.leave_alone(statement, judged.reading, names);
        if let Says::OfCharge(fact) = &statement.says {
            self.alert_charge(statement, fact, judged);
        }
    }

    /// Records a refusal in the timeline of the client that was to be changed, and tells a person where it looks like a forgery.
    fn refuse(
        &mut self,
        statement: &Statement,
        judged: &mut Judged<'m>,
        victim: &str,
        reason: Reason,
        suspicious: bool,
    ) {
        judged.details = found(statement);
        if let Some(held) = self.known.clients.get(victim) {
            judged.org = Some(held.row.org_id.clone());
            judged.details = self.expected_and_found(statement, judged.reading, victim);
        }
        judged.client = Some(victim.to_owned());
        if !self.note_whose(statement, judged.reading) {
            let customer = statement.customer.as_ref().map(|of| customer_name(of.as_str()));
            let names = customer.into_iter().chain([client_name(victim)]);
            self.leave_alone(statement, judged.reading, names.collect());
        }
        if let Says::OfCharge(fact) = &statement.says {
            self.alert_charge(statement, fact, judged);
        }
        if suspicious {
            let summary = format!("An event claims to pay for client {victim}, and may not: {reason}.");
            let alert = Alert::new(AlertKind::SpoofedMetadata, victim, summary)
                .with("event_id", &judged.reading.event_id)
                .with("type", &judged.reading.kind)
                .with("customer", statement.customer.as_ref().map_or("", AsRef::as_ref))
                .with("reason", reason);
            let traceparent = judged.reading.traceparent;
            self.outbox
                .push(announcement::alert(alert, self.rules.now, traceparent));
        }
    }

    /// A charge that was read because something waits for it and that may not speak is not read again before one of these names changes.
    fn leave_alone(&mut self, statement: &Statement, reading: &Reading<'_>, names: Vec<String>) {
        if let (Source::Object, Says::OfCharge(fact)) = (reading.source, &statement.says) {
            self.left_alone.push((fact.charge.to_string(), names));
        }
    }

    /// Lets a statement speak for its client.
    fn take(&mut self, statement: &Statement, judged: &mut Judged<'m>, client: &str, bind: Option<BoundBy>) {
        judged.client = Some(client.to_owned());
        let of_another = self
            .owner_of_what_is_spoken_of(statement)
            .is_some_and(|owner| owner != client);
        if of_another {
            judged.decision = Decision::unauthorised(Reason::SubscriptionOfAnotherClient);
            self.refuse(statement, judged, client, Reason::SubscriptionOfAnotherClient, true);
            return;
        }
        if let (Some(bound_by), Some(customer)) = (bind, &statement.customer) {
            self.bind(customer.as_str(), client, bound_by);
        }
        if let Some(held) = self.known.clients.get(client) {
            judged.org = Some(held.row.org_id.clone());
        }
        match &statement.says {
            Says::OfSubscription(fact) => self.observe(statement, fact, judged, client),
            Says::WhoBought(bought) => judged.decision = Decision::ignored(bought.why_nothing),
            Says::BoughtOnce => judged.decision = Decision::ignored(Reason::CheckoutWithoutSubscription),
            Says::OfCharge(fact) => self.record(statement, fact, judged, client),
        }
        if judged.decision.outcome != Outcome::Applied {
            judged.details = self.expected_and_found(statement, judged.reading, client);
        }
    }

    fn owner_of_what_is_spoken_of(&self, statement: &Statement) -> Option<&str> {
        match &statement.says {
            Says::OfSubscription(Fact { subscription, .. }) | Says::WhoBought(Bought { subscription, .. }) => {
                self.known.subscriptions.get(subscription).map(String::as_str)
            }
            Says::BoughtOnce => None,
            Says::OfCharge(fact) => self.known.charges.get(fact.charge.as_str())?.client.as_deref(),
        }
    }

    /// Lets a fact about a subscription change what is derived.
    fn observe(&mut self, statement: &Statement, fact: &Fact, judged: &mut Judged<'m>, client: &str) {
        let Some(held) = self.known.clients.get_mut(client) else {
            return;
        };
        let is_contracted = held.client.is_contracted(fact);
        if let (false, Some(whole)) = (is_contracted, &statement.whole) {
            self.put_off(whole, judged);
            // It may also be that another price is agreed.
            let names = [object_name(&whole.url), client_name(client)];
            judged.waiting_for = Some(names.join(" "));
            return;
        }
        let decision = held.client.observe(fact);
        judged.decision = decision;
        let customer = statement.customer.as_ref().map(ToString::to_string).unwrap_or_default();
        held.touched.insert(fact.subscription.clone(), customer);
        self.known
            .subscriptions
            .insert(fact.subscription.clone(), client.to_owned());
        self.payments.extend(payment_row(fact, client, &held.row.org_id));
        if !is_contracted {
            self.alert_price(fact, judged.reading, client);
        }
        self.adopt(judged.reading, client, decision);
    }

    fn bind(&mut self, customer: &str, client: &str, bound_by: BoundBy) {
        let Some(held) = self.known.clients.get_mut(client) else {
            return;
        };
        held.row.stripe_customer_id = Some(customer.to_owned());
        held.contract.has_customer = true;
        held.client.contract.has_customer = true;
        held.changed = true;
        let owner = Owner {
            client: client.to_owned(),
            org: held.row.org_id.clone(),
        };
        self.bindings.push(NewBinding {
            customer: customer.to_owned(),
            client: owner.client.clone(),
            org: owner.org.clone(),
            bound_by: bound_by.as_str(),
        });
        self.known.customers.insert(customer.to_owned(), owner);
    }

    /// Takes what was derived over into the client's row, and announces a change of state. Also what did not apply may have
    /// changed who speaks for the client: where one of two active subscriptions ends, the other one does.
    fn adopt(&mut self, reading: &Reading<'_>, client: &str, decision: Decision) {
        let Some(held) = self.known.clients.get_mut(client) else {
            return;
        };
        let applied = decision.outcome == Outcome::Applied;
        held.changed |= held.row.take_over(&held.client) || applied;
        if !applied {
            return;
        }
        held.row.last_event = Some(LastEvent {
            id: reading.event_id.clone(),
            kind: reading.kind.clone(),
            created: reading.created,
        });
        let Some(transition) = decision.transition.filter(|_| decision.changed_state()) else {
            return;
        };
        self.outbox.push(announcement::state_changed(&StateChange {
            client,
            org: &held.row.org_id,
            transition,
            version: held.row.version,
            subscription: held.row.stripe_subscription_id.as_ref().map(AsRef::as_ref),
            cause: Cause {
                id: &reading.event_id,
                kind: &reading.kind,
                created: reading.created,
            },
            decided_at: self.rules.now,
            traceparent: reading.traceparent,
        }));
    }

    fn alert_price(&mut self, fact: &Fact, reading: &Reading<'_>, client: &str) {
        let summary = format!("Client {client} was billed by another price or currency than was agreed.");
        let (agreed, billed) = (self.agreed_price(client), prices(fact).join(", "));
        let alert = Alert::new(AlertKind::PlanApplication, client, summary)
            .with("event_id", &reading.event_id)
            .with("subscription", &fact.subscription)
            .with("agreed_price", agreed.unwrap_or("any"))
            .with("billed_price", if billed.is_empty() { "not shown" } else { &billed });
        self.outbox
            .push(announcement::alert(alert, self.rules.now, reading.traceparent));
    }

    fn agreed_price(&self, client: &str) -> Option<&str> {
        let held = self.known.clients.get(client)?;
        held.row.contracted_price_id.as_ref().map(AsRef::as_ref)
    }

    /// What our side expected, what the event brought, and how far it is from the last one (BIL-8).
    fn expected_and_found(&self, statement: &Statement, reading: &Reading<'_>, client: &str) -> Value {
        let Some(held) = self.known.clients.get(client) else {
            return found(statement);
        };
        let row = &held.row;
        let since = |last: &LastEvent| seconds_between(last.created, reading.created);
        json!({
            "expected": {
                "client": client,
                "customer": row.stripe_customer_id,
                "checkout_session": row.checkout_session_id,
                "subscription": held.client.speaker.as_ref().map(AsRef::<str>::as_ref),
                "payment_source": row.payment_source.as_str(),
                "price": self.agreed_price(client),
            },
            "found": found(statement),
            "seconds_since_last_event": row.last_event.as_ref().map(since),
        })
    }
}

fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    to.timestamp().saturating_sub(from.timestamp())
}

/// What an event has that says nothing to the state; the rule that says so is the decision's reason.
fn found_of_ignored(reading: &Reading<'_>, customer: Option<&CustomerId>) -> Value {
    json!({
        "found": {
            "customer": customer.map(AsRef::<str>::as_ref),
            "endpoint": reading.endpoint,
            "account": reading.account,
            "livemode": reading.livemode,
        },
    })
}

/// The prices that a fact shows.
fn prices(fact: &Fact) -> Vec<&str> {
    match &fact.kind {
        FactKind::Snapshot {
            observation,
            other_prices,
            ..
        } => {
            let first = observation.snapshot.price.iter();
            first.chain(other_prices).map(AsRef::as_ref).collect()
        }
        FactKind::Paid(payment) | FactKind::Failed(payment) => payment.prices.iter().map(AsRef::as_ref).collect(),
    }
}

fn found(statement: &Statement) -> Value {
    let (subscription, charge, prices) = match &statement.says {
        Says::OfSubscription(fact) => (Some(fact.subscription.as_str()), None, prices(fact)),
        Says::WhoBought(Bought { subscription, .. }) => (Some(subscription.as_str()), None, Vec::new()),
        Says::BoughtOnce => (None, None, Vec::new()),
        Says::OfCharge(fact) => (None, Some(fact.charge.as_str()), Vec::new()),
    };
    json!({
        "client": statement.named.as_ref().map(AsRef::<str>::as_ref),
        "customer": statement.customer.as_ref().map(AsRef::<str>::as_ref),
        "checkout_session": statement.session.as_ref().map(AsRef::<str>::as_ref),
        "subscription": subscription,
        "charge": charge,
        "prices": prices,
    })
}

/// The names of what has to become known, any of which may bring an answer.
fn waiting_for(statement: &Statement, what: WaitingFor) -> Vec<String> {
    let customer = statement
        .customer
        .as_ref()
        .map(|customer| customer_name(customer.as_str()));
    let session = statement.session.as_ref().map(|session| session_name(session.as_str()));
    let other = match what {
        WaitingFor::Customer => None,
        WaitingFor::Client => statement.named.as_ref().map(|named| client_name(named.as_str())),
        WaitingFor::Charge => match &statement.says {
            Says::OfCharge(fact) => Some(charge_name(fact.charge.as_str())),
            Says::OfSubscription(_) | Says::WhoBought(_) | Says::BoughtOnce => None,
        },
    };
    [customer, session, other].into_iter().flatten().collect()
}

fn payment_row(fact: &Fact, client: &str, org: &str) -> Option<PaymentRow> {
    let (payment, paid): (&Payment, bool) = match &fact.kind {
        FactKind::Paid(payment) => (payment, true),
        FactKind::Failed(payment) => (payment, false),
        FactKind::Snapshot { .. } => return None,
    };
    // Nothing was paid for a trial or a full discount: no later payment is a repeat of that.
    if paid && payment.amount.is_some_and(|amount| amount.minor == 0) {
        return None;
    }
    Some(PaymentRow {
        act: payment.act.clone(),
        client: client.to_owned(),
        org: org.to_owned(),
        subscription: fact.subscription.clone(),
        amount: payment.amount.map_or(0, |amount| amount.minor),
        currency: payment.amount.map(|amount| amount.currency.as_str().to_owned()),
        paid_at: paid.then_some(fact.at),
        failed_at: (!paid).then_some(fact.at),
    })
}
