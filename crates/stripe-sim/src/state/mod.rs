//! Everything the simulator knows, behind one lock. A call changes objects and stages events; [`World::commit`] then writes the events to
//! the log and hands them to the courier, so that a call's events are all there or none.

pub(crate) mod account;
pub(crate) mod balance;
pub(crate) mod catalog;
pub(crate) mod checkout;
pub(crate) mod currency;
pub(crate) mod customer;
pub(crate) mod dispute;
pub(crate) mod event;
pub(crate) mod invoice;
pub(crate) mod ledger;
pub(crate) mod object;
pub(crate) mod payment;
pub(crate) mod payment_method;
pub(crate) mod payout;
pub(crate) mod refund;
pub(crate) mod store;
pub(crate) mod subscription;
pub(crate) mod test_clock;
pub(crate) mod thin;
pub(crate) mod transfer;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::deliver::Courier;
use crate::faults::Faults;
use crate::idempotency::Keys;
use crate::ids::{Ids, chance};
use crate::time::{Agenda, SimClock, Task};
use crate::version::ApiVersion;
use event::{Event, EventLog, Reach};
use object::Object;
use store::Store;

/// What `/_sim/settings` changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Days from a failed renewal payment to each retry.
    pub(crate) retry_after_days: Vec<u32>,
    /// What becomes of a subscription after the last retry: `cancel`, `unpaid` or `past_due`.
    pub(crate) after_retries: String,
    /// Stripe's fee of a charge: a share in hundredths of a percent and a fixed part in minor units.
    pub(crate) fee_bps: u32,
    pub(crate) fee_fixed: u32,
    /// Minor units, for each time that a dispute takes money.
    pub(crate) dispute_fee: i64,
    /// Days until the money of a charge is available.
    pub(crate) pending_days: u32,
    /// Days for which a card holds an amount that is captured manually.
    pub(crate) authorization_days: u32,
}

impl Settings {
    /// What Stripe keeps of a charge.
    pub(crate) fn fee(&self, amount: i64) -> i64 {
        let share = (i128::from(amount) * i128::from(self.fee_bps) + 5_000) / 10_000;
        let fee = share + i128::from(self.fee_fixed);
        i64::try_from(fee).unwrap_or(amount).clamp(0, amount)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry_after_days: vec![3, 5, 7],
            after_retries: "cancel".to_owned(),
            fee_bps: 0,
            fee_fixed: 0,
            dispute_fee: 1_500,
            pending_days: 2,
            authorization_days: 7,
        }
    }
}

/// The API call that causes events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    pub(crate) request: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) ids: Ids,
    pub(crate) clock: SimClock,
    /// The time of the task being done, and its clock.
    cursor: Option<(Option<String>, i64)>,
    pub(crate) agenda: Agenda,
    pub(crate) settings: Settings,
    pub(crate) version: ApiVersion,
    pub(crate) customers: Store<customer::Customer>,
    pub(crate) payment_methods: Store<payment_method::PaymentMethod>,
    pub(crate) products: Store<catalog::Product>,
    pub(crate) prices: Store<catalog::Price>,
    pub(crate) subscriptions: Store<subscription::Subscription>,
    pub(crate) invoices: Store<invoice::Invoice>,
    pub(crate) invoice_items: Store<invoice::InvoiceItem>,
    pub(crate) intents: Store<payment::Intent>,
    pub(crate) charges: Store<payment::Charge>,
    pub(crate) refunds: Store<refund::Refund>,
    pub(crate) disputes: Store<dispute::Dispute>,
    pub(crate) sessions: Store<checkout::Session>,
    pub(crate) accounts: Store<account::Account>,
    pub(crate) transfers: Store<transfer::Transfer>,
    pub(crate) transfers_by_group: HashMap<String, Vec<String>>,
    pub(crate) payouts: Store<payout::Payout>,
    pub(crate) balance_transactions: Store<balance::BalanceTransaction>,
    pub(crate) balances: balance::Balances,
    /// Refunds that the balance does not cover yet.
    pub(crate) waiting_refunds: VecDeque<String>,
    pub(crate) test_clocks: Store<test_clock::TestClock>,
    pub(crate) ledger: ledger::Ledger,
    pub(crate) events: EventLog,
    fresh: Vec<Event>,
    pub(crate) cause: Cause,
    pub(crate) keys: Keys,
    pub(crate) faults: Faults,
    pub(crate) courier: Courier,
}

impl World {
    pub(crate) fn new(config: &crate::SimConfig) -> Self {
        let seed = config.seed;
        Self {
            seed,
            ids: Ids::new(seed),
            clock: SimClock::new(config.start_at),
            cursor: None,
            agenda: Agenda::default(),
            settings: Settings::default(),
            version: config.api_version.clone(),
            customers: Store::default(),
            payment_methods: Store::default(),
            products: Store::default(),
            prices: Store::default(),
            subscriptions: Store::default(),
            invoices: Store::default(),
            invoice_items: Store::default(),
            intents: Store::default(),
            charges: Store::default(),
            refunds: Store::default(),
            disputes: Store::default(),
            sessions: Store::default(),
            accounts: Store::default(),
            transfers: Store::default(),
            transfers_by_group: HashMap::new(),
            payouts: Store::default(),
            balance_transactions: Store::default(),
            balances: balance::Balances::default(),
            waiting_refunds: VecDeque::new(),
            test_clocks: Store::default(),
            ledger: ledger::Ledger::default(),
            events: EventLog::new(config.remembered),
            fresh: Vec::new(),
            cause: Cause::default(),
            keys: Keys::default(),
            faults: Faults::default(),
            courier: Courier::new(config.schedule()),
        }
    }

    /// The simulator's own time.
    pub(crate) fn now(&self) -> i64 {
        self.now_on(None)
    }

    /// The time on a test clock, or the simulator's own; while a task runs on it, the task's time.
    pub(crate) fn now_on(&self, clock: Option<&str>) -> i64 {
        match (&self.cursor, clock) {
            (Some((on, at)), _) if on.as_deref() == clock => *at,
            (_, Some(id)) => self
                .test_clocks
                .get(id)
                .map_or_else(|| self.clock.now(), |one| one.frozen_time),
            (_, None) => self.clock.now(),
        }
    }

    /// Does everything that is due on a clock, in order of time.
    pub(crate) fn run_due(&mut self, clock: Option<&str>) {
        let until = self.now_on(clock);
        while let Some((due, task)) = self.agenda.pop_due(clock, until) {
            self.cursor = Some((clock.map(ToOwned::to_owned), due));
            let cause = std::mem::take(&mut self.cause);
            self.perform(task);
            self.cause = cause;
            self.cursor = None;
        }
    }

    /// Forgets idempotency keys that are over, now and then.
    pub(crate) fn prune_keys(&mut self) {
        let now = self.now();
        self.keys.prune_sometimes(now);
    }

    fn perform(&mut self, task: Task) {
        match task {
            Task::PeriodEnd { subscription, end } => self.period_ended(&subscription, end),
            Task::TrialWillEnd { subscription, end } => self.trial_will_end(&subscription, end),
            Task::CancelAt { subscription, at } => self.cancel_time_came(&subscription, at),
            Task::ResumeCollection { subscription, at } => self.resume_collection(&subscription, at),
            Task::IncompleteExpires { subscription } => self.expire_incomplete(&subscription),
            Task::Finalize { invoice } => self.finalize_time_came(&invoice),
            Task::Retry { invoice, at } => self.retry_time_came(&invoice, at),
            Task::Overdue { invoice } => self.due_date_came(&invoice),
            Task::HoldExpires { intent, at } => self.hold_expires(&intent, at),
            Task::PayoutArrives { payout } => self.payout_arrives(&payout),
            Task::RefundDecided { refund } => self.refund_decided(&refund),
            Task::SessionExpires { session } => {
                if self.session(&session).is_ok_and(|one| one.status == "open") {
                    let _: Result<_, _> = self.expire_session(&session);
                }
            }
        }
    }

    /// Stages an event about an object as it is now.
    pub(crate) fn emit(&mut self, kind: &str, object: Object) {
        self.stage(kind, object, None);
    }

    /// Stages an event that also tells what was before.
    pub(crate) fn emit_with_previous(&mut self, kind: &str, before: Object, after: Object) {
        self.stage(kind, after, Some(before));
    }

    /// As [`World::emit_with_previous`], unless nothing that is shown changed.
    pub(crate) fn emit_change(&mut self, kind: &str, before: Object, after: Object) {
        let classic = ApiVersion::parse("2023-10-16");
        let versions = [Some(ApiVersion::newest()), classic];
        let differs = versions
            .iter()
            .flatten()
            .any(|version| crate::render::object(&before, version) != crate::render::object(&after, version));
        if differs {
            self.emit_with_previous(kind, before, after);
        }
    }

    fn stage(&mut self, kind: &str, object: Object, previous: Option<Object>) {
        let event = self.new_event(kind, object, previous);
        self.fresh.push(event);
    }

    fn new_event(&mut self, kind: &str, object: Object, previous: Option<Object>) -> Event {
        Event {
            id: self.ids.next("evt"),
            kind: kind.to_owned(),
            created: self.now_on(object.clock()),
            made_at: self.now(),
            account: object.account().map(ToOwned::to_owned),
            livemode: false,
            cause: self.cause.clone(),
            object,
            previous,
            api_version: None,
            thin: None,
        }
    }

    /// Stages an event that was made elsewhere.
    pub(crate) fn stage_event(&mut self, event: Event) {
        self.fresh.push(event);
    }

    /// How many events are staged: a place to [`World::move_last_to`].
    pub(crate) const fn staged(&self) -> usize {
        self.fresh.len()
    }

    /// Moves the event staged last to an earlier place.
    pub(crate) fn move_last_to(&mut self, place: usize) {
        if let Some(event) = self.fresh.pop() {
            self.fresh.insert(place.min(self.fresh.len()), event);
        }
    }

    /// Writes staged events to the log and gives them to the courier.
    pub(crate) fn commit(&mut self) {
        for event in std::mem::take(&mut self.fresh) {
            let faults = &self.faults.deliveries;
            let twin = chance(self.seed, "twin", self.events.total(), faults.twin);
            let thin = chance(self.seed, "thin", self.events.total(), faults.thin);
            let twin = twin.then(|| event.twin(self.ids.next("evt")));
            for event in [Some(event), twin].into_iter().flatten() {
                self.publish(event, thin);
            }
        }
        self.courier.wake();
    }

    /// One event: itself to endpoints with snapshots (or, when a fault says so, its thin counterpart), the counterpart to thin destinations.
    fn publish(&mut self, event: Event, thinned: bool) {
        let reach = if thinned { Reach::All } else { Reach::ThinDestinations };
        let wanted = thinned || self.courier.has_thin_destination();
        let thin = wanted.then(|| self.thin_of(&event, reach)).flatten();
        let replaced = thinned && thin.is_some();
        let event = Arc::new(event);
        self.events.push(Arc::clone(&event));
        if !replaced {
            self.courier.accept(event, &self.faults.deliveries, self.seed);
        }
        if let Some(thin) = thin.map(Arc::new) {
            self.events.push(Arc::clone(&thin));
            self.courier.accept(thin, &self.faults.deliveries, self.seed);
        }
    }
}
