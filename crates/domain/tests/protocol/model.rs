//! Two workers, a Stripe with idempotency keys, and everything that can go wrong between them.
//!
//! Time is counted in ticks and kept relative to now, so that the space is finite: a lease is one tick, a call travels for at most one,
//! what was sent is settled after two, keys are used for three and may be forgotten from four on. The order of these limits is the one
//! of [`Rules::STANDARD`] (300 s, 3 600 s, 20 h, 24 h).

use std::hash::{DefaultHasher, Hash, Hasher};

use domain::escrow::decision::Decision;
use domain::escrow::failure::{ErrorClass, ErrorCode, Failure};
use domain::escrow::operation::{
    Answer, Call, Cause, Found, Instruction, Moment, Observation, Operation, Rules, Status, Unclear, Wish, decide,
};
use domain::escrow::retry::{Jitter, Schedule};
use domain::ids::{OperationId, StripeObjectId};
use domain::time::UnixSeconds;
use stateright::{Model, Property};

/// How long a call may travel, in ticks.
const TRAVEL: i64 = 1;
/// From which age on Stripe may forget a key.
const FORGETFUL: i64 = 4;
/// Older than this is all the same.
const LONG_AGO: i64 = -3;
/// What came in, in minor units, and the share of each operation.
const CHARGE: i64 = 100;
const SHARES: [i64; 2] = [60, 40];

pub const RULES: Rules = Rules {
    lease: 1,
    key_lifetime: 3,
    settle: 2,
    refused: Schedule {
        base: 1,
        cap: 1,
        max_attempts: 2,
    },
    unknown: Schedule {
        base: 1,
        cap: 1,
        max_attempts: u32::MAX,
    },
};

/// A mistake, made on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// None.
    None,
    /// An unknown outcome is tried again under a new key.
    NewKeyOnUnknown,
    /// A time-out counts as a failure.
    TimeOutIsFailure,
    /// A key is used again after Stripe may have forgotten it, without looking.
    OldKeyWithoutLooking,
    /// Nothing found counts at once, while a call may still be travelling.
    NothingFoundCountsAtOnce,
    /// A refusal counts although an earlier call under the same key is unaccounted for.
    RefusalOfOneOfSeveral,
    /// A worker sends after its lease has ended.
    SendsAfterItsLease,
    /// A stored 5xx is taken for a refusal.
    ServerErrorIsFailure,
    /// The client asks again within one call, and believes the last refusal although its first request is unaccounted for.
    LastRefusalOfOneCall,
}

/// What Stripe did with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stored {
    Made { effect: u8 },
    Refused { for_good: bool },
    ServerError,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    op: usize,
    attempt: u32,
    since: i64,
    stored: Stored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    op: usize,
    call: Call,
    sent: i64,
    /// The client asks again within one call; this is the second request.
    is_second: bool,
}

/// What a worker is at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Worker {
    Idle,
    /// The intent is committed, the call not made yet.
    ToSend {
        op: usize,
        call: Call,
        until: i64,
    },
    Waiting {
        op: usize,
        call: Call,
        until: i64,
        /// The client has given its first request up and asked again.
        is_second: bool,
    },
    ToLook {
        op: usize,
        attempt: u32,
    },
    /// It knows something that is not committed yet.
    ToCommit {
        op: usize,
        observation: Observation,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub ops: Vec<Operation>,
    pub workers: [Worker; 2],
    pub travelling: Vec<Request>,
    pub keys: Vec<Key>,
    /// How many transfers Stripe really made of each operation.
    pub effects: Vec<u8>,
}

/// What Stripe may do with a call whose key it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Made,
    Refused {
        for_good: bool,
    },
    /// Refused before it began, and not stored.
    RefusedUnstored,
    RateLimited,
    /// A 5xx, stored, after the effect or without it.
    ServerError {
        with_effect: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Pick { worker: usize, op: usize, wish: Wish },
    Send { worker: usize },
    AsksAgain { worker: usize },
    Arrives { request: usize, fate: Fate },
    TimesOut { worker: usize },
    Looks { worker: usize },
    Commits { worker: usize },
    Crashes { worker: usize },
    Webhook { op: usize, effect: u8 },
    PersonSendsOn { op: usize },
    Forgets { key: usize },
    Tick,
}

/// One exploration.
#[derive(Debug, Clone)]
pub struct World {
    pub shares: usize,
    pub flaw: Flaw,
    /// Whether the escrow changes its mind, and a person sends failed operations on.
    pub whims: bool,
    /// Whether Stripe refuses in every way that it can, or only in the plain one.
    pub every_fate: bool,
    /// Whether the client asks again within one call.
    pub asks_again: bool,
    pub most_attempts: u32,
    pub most_calls: u32,
}

impl World {
    fn rules(&self) -> Rules {
        let refused = Schedule {
            max_attempts: self.most_attempts,
            ..RULES.refused
        };
        let rules = Rules { refused, ..RULES };
        match self.flaw {
            Flaw::OldKeyWithoutLooking => Rules {
                key_lifetime: i64::MAX,
                ..rules
            },
            Flaw::NothingFoundCountsAtOnce => Rules { settle: 0, ..rules },
            Flaw::None
            | Flaw::NewKeyOnUnknown
            | Flaw::TimeOutIsFailure
            | Flaw::RefusalOfOneOfSeveral
            | Flaw::SendsAfterItsLease
            | Flaw::ServerErrorIsFailure
            | Flaw::LastRefusalOfOneCall => rules,
        }
    }

    fn fates(&self) -> Vec<Fate> {
        let mut fates = vec![Fate::Made, Fate::Refused { for_good: false }];
        if self.every_fate {
            fates.extend([
                Fate::Refused { for_good: true },
                Fate::RefusedUnstored,
                Fate::RateLimited,
                Fate::ServerError { with_effect: true },
                Fate::ServerError { with_effect: false },
            ]);
        }
        fates
    }

    /// What the client makes of an answer to its second request (`stripe_gateway`'s rule): a refusal that Stripe does not give from its
    /// memory says nothing of the first.
    fn of_both(&self, request: Request, answer: Answer, is_replayed: bool) -> Answer {
        let is_fresh_refusal = matches!(answer, Answer::Refused(_)) && !is_replayed;
        if request.is_second && is_fresh_refusal && self.flaw != Flaw::LastRefusalOfOneCall {
            Answer::Unclear(Unclear::NoAnswer)
        } else {
            answer
        }
    }

    /// What is decided, by the functions under test; with a flaw, by a protocol that was bent before it asks them.
    fn decide(&self, op: &Operation, observation: &Observation) -> Decided {
        let mut op = op.clone();
        let mut observation = observation.clone();
        let not_done = Cause::NeverHappened;
        match (self.flaw, &mut observation, &op.status) {
            (Flaw::NewKeyOnUnknown, Observation::Due(_), Status::Unknown { next, .. }) => {
                op.status = Status::FailedTransient {
                    cause: not_done,
                    next: *next,
                };
            }
            (Flaw::TimeOutIsFailure, Observation::Answered { answer, .. }, _)
                if *answer == Answer::Unclear(Unclear::NoAnswer) =>
            {
                *answer = Answer::Refused(refusal(ErrorClass::Transient));
            }
            (Flaw::ServerErrorIsFailure, Observation::Answered { answer, .. }, _)
                if matches!(
                    answer,
                    Answer::Unclear(Unclear::ServerError | Unclear::StoredServerError)
                ) =>
            {
                *answer = Answer::Refused(refusal(ErrorClass::Transient));
            }
            (
                Flaw::RefusalOfOneOfSeveral,
                Observation::Answered {
                    call,
                    answer: Answer::Refused(_),
                },
                _,
            ) if call.number == op.calls => {
                op.calls = 1;
                call.number = 1;
            }
            _ => {}
        }
        let at = Moment {
            now: UnixSeconds(0),
            jitter: Jitter::NONE,
        };
        match decide(&self.rules(), &op, &observation, at) {
            Decision::Apply { next, effects } => Some((next, effects)),
            Decision::AlreadyApplied | Decision::Refused(_) => None,
        }
    }
}

impl Worker {
    fn waits_for(&self, request: Request) -> bool {
        match self {
            Self::Waiting {
                op, call, is_second, ..
            } => (*op, *call, *is_second) == (request.op, request.call, request.is_second),
            Self::Idle | Self::ToSend { .. } | Self::ToLook { .. } | Self::ToCommit { .. } => false,
        }
    }
}

type Decided = Option<(Operation, Vec<Instruction>)>;

fn refusal(class: ErrorClass) -> Failure {
    Failure {
        code: ErrorCode::Unknown,
        class,
    }
}

fn object(op: usize, effect: u8) -> StripeObjectId {
    StripeObjectId::parse(format!("tr_{op}_{effect}")).expect("an id")
}

fn answer(op: usize, stored: Stored, replayed: bool) -> Answer {
    match stored {
        Stored::Made { effect } => Answer::Made(object(op, effect)),
        Stored::Refused { for_good: true } => Answer::Refused(refusal(ErrorClass::Permanent)),
        Stored::Refused { for_good: false } => Answer::Refused(refusal(ErrorClass::Transient)),
        Stored::ServerError if replayed => Answer::Unclear(Unclear::StoredServerError),
        Stored::ServerError => Answer::Unclear(Unclear::ServerError),
    }
}

impl State {
    /// Whether money of this operation moved.
    pub fn has_moved(&self, op: usize) -> bool {
        self.effects[op] > 0
    }

    pub fn paid_out(&self) -> i64 {
        self.effects
            .iter()
            .zip(SHARES)
            .map(|(effects, share)| i64::from(*effects) * share)
            .sum()
    }

    pub fn is_an_end(&self) -> bool {
        self.ops.iter().all(Operation::is_at_rest)
    }

    fn send(&mut self, worker: usize, op: usize, call: Call, until: i64, is_second: bool) {
        let sent = 0;
        self.travelling.push(Request {
            op,
            call,
            sent,
            is_second,
        });
        self.workers[worker] = Worker::Waiting {
            op,
            call,
            until,
            is_second,
        };
    }

    fn make(&mut self, op: usize) -> u8 {
        self.effects[op] += 1;
        self.effects[op]
    }

    /// Stripe takes a request in, and answers it.
    fn arrive(&mut self, request: Request, fate: Fate) -> Answer {
        let Request { op, call, .. } = request;
        if let Some(key) = self.known_key(request) {
            return answer(op, key.stored, true);
        }
        let stored = match fate {
            Fate::Made => Stored::Made { effect: self.make(op) },
            Fate::Refused { for_good } => Stored::Refused { for_good },
            Fate::ServerError { with_effect } => {
                if with_effect {
                    self.make(op);
                }
                Stored::ServerError
            }
            Fate::RefusedUnstored => return Answer::Refused(refusal(ErrorClass::Transient)),
            Fate::RateLimited => return Answer::Refused(refusal(ErrorClass::NotStarted)),
        };
        self.keys.push(Key {
            op,
            attempt: call.attempt,
            since: 0,
            stored,
        });
        self.keys.sort();
        answer(op, stored, false)
    }

    fn known_key(&self, request: Request) -> Option<&Key> {
        let mut keys = self.keys.iter();
        keys.find(|key| key.op == request.op && key.attempt == request.call.attempt)
    }

    fn look(&self, op: usize) -> Found {
        match self.effects[op] {
            0 => Found::Nothing,
            1 => Found::One(object(op, 1)),
            _ => Found::Several,
        }
    }

    /// One tick later. What travels too long never arrives.
    fn tick(&mut self) {
        let earlier = |at: &mut UnixSeconds| at.0 -= 1;
        for op in &mut self.ops {
            earlier(&mut op.key_since);
            earlier(&mut op.last_call);
            match &mut op.status {
                Status::InFlight { lease_until: until }
                | Status::FailedTransient { next: until, .. }
                | Status::Unknown { next: until, .. } => earlier(until),
                Status::Intended | Status::Succeeded { .. } | Status::FailedPermanent { .. } => {}
            }
        }
        for worker in &mut self.workers {
            match worker {
                Worker::ToSend { until, .. } | Worker::Waiting { until, .. } => *until -= 1,
                Worker::ToCommit {
                    observation: Observation::Looked { began, .. },
                    ..
                } => earlier(began),
                Worker::Idle | Worker::ToLook { .. } | Worker::ToCommit { .. } => {}
            }
        }
        self.travelling.iter_mut().for_each(|request| request.sent -= 1);
        self.travelling.retain(|request| -request.sent <= TRAVEL);
        self.keys.iter_mut().for_each(|key| key.since -= 1);
    }

    /// States that nothing can tell apart are one state: the space is smaller by a lot and nothing is lost.
    fn folded(mut self) -> Self {
        for op in &mut self.ops {
            let (mut key_since, mut last_call) =
                (op.key_since.0.max(-RULES.key_lifetime), op.last_call.0.max(LONG_AGO));
            match &mut op.status {
                Status::InFlight { lease_until: until } | Status::Unknown { next: until, .. } => {
                    until.0 = until.0.max(0);
                }
                // The next attempt sets both times anew.
                Status::FailedTransient { next, .. } => (key_since, last_call, next.0) = (0, 0, next.0.max(0)),
                Status::Intended | Status::Succeeded { .. } | Status::FailedPermanent { .. } => {
                    (key_since, last_call) = (0, 0);
                }
            }
            (op.key_since.0, op.last_call.0) = (key_since, last_call);
        }
        for worker in &mut self.workers {
            match worker {
                Worker::ToSend { until, .. } => *until = (*until).max(0),
                // It only says whether the client may still ask again.
                Worker::Waiting { until, is_second, .. } => *until = if *is_second { 0 } else { (*until).max(0) },
                Worker::ToCommit {
                    observation: Observation::Looked { began, .. },
                    ..
                } => began.0 = began.0.max(LONG_AGO),
                Worker::Idle | Worker::ToLook { .. } | Worker::ToCommit { .. } => {}
            }
        }
        // Which worker is which makes no difference.
        if hash(&self.workers[0]) > hash(&self.workers[1]) {
            self.workers.swap(0, 1);
        }
        self.keys
            .iter_mut()
            .for_each(|key| key.since = key.since.max(-FORGETFUL));
        self.travelling.sort();
        self.keys.sort();
        self
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let id = |op| OperationId::parse(format!("op_{op}")).expect("an id");
        vec![State {
            ops: (0..self.shares)
                .map(|op| Operation::intended(id(op), UnixSeconds(0)))
                .collect(),
            workers: [Worker::Idle, Worker::Idle],
            travelling: Vec::new(),
            keys: Vec::new(),
            effects: vec![0; self.shares],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (worker, at) in state.workers.iter().enumerate() {
            match at {
                Worker::Idle => {
                    for op in 0..self.shares {
                        let wishes: &[Wish] = if self.whims {
                            &[Wish::Wanted, Wish::OnHold, Wish::Withdrawn]
                        } else {
                            &[Wish::Wanted]
                        };
                        actions.extend(wishes.iter().map(|wish| Action::Pick {
                            worker,
                            op,
                            wish: *wish,
                        }));
                    }
                    continue;
                }
                Worker::ToSend { until, .. } => {
                    if *until > 0 || self.flaw == Flaw::SendsAfterItsLease {
                        actions.push(Action::Send { worker });
                    }
                }
                Worker::Waiting { until, is_second, .. } => {
                    actions.push(Action::TimesOut { worker });
                    if self.asks_again && *until > 0 && !is_second {
                        actions.push(Action::AsksAgain { worker });
                    }
                }
                Worker::ToLook { .. } => actions.push(Action::Looks { worker }),
                Worker::ToCommit { .. } => actions.push(Action::Commits { worker }),
            }
            actions.push(Action::Crashes { worker });
        }
        for (request, sent) in state.travelling.iter().enumerate() {
            let fates = if state.known_key(*sent).is_some() {
                vec![Fate::Made]
            } else {
                self.fates()
            };
            actions.extend(fates.into_iter().map(|fate| Action::Arrives { request, fate }));
        }
        for op in 0..self.shares {
            actions.extend((1..=state.effects[op]).map(|effect| Action::Webhook { op, effect }));
            if self.whims {
                actions.push(Action::PersonSendsOn { op });
            }
        }
        let forgotten = state.keys.iter().enumerate().filter(|(_, key)| -key.since >= FORGETFUL);
        actions.extend(forgotten.map(|(key, _)| Action::Forgets { key }));
        actions.push(Action::Tick);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Pick { worker, op, wish } => {
                let (next, effects) = self.decide(&state.ops[op], &Observation::Due(wish))?;
                for instruction in effects {
                    match instruction {
                        Instruction::Send { call, .. } => {
                            state.workers[worker] = Worker::ToSend {
                                op,
                                call,
                                until: RULES.lease,
                            };
                        }
                        Instruction::Look { attempt } => state.workers[worker] = Worker::ToLook { op, attempt },
                        Instruction::Report(_) | Instruction::AskPerson(_) => {}
                    }
                }
                state.ops[op] = next;
            }
            Action::Send { worker } => {
                let Worker::ToSend { op, call, until } = state.workers[worker] else {
                    return None;
                };
                state.send(worker, op, call, until, false);
            }
            Action::AsksAgain { worker } => {
                let Worker::Waiting { op, call, until, .. } = state.workers[worker] else {
                    return None;
                };
                state.send(worker, op, call, until, true);
            }
            Action::Arrives { request, fate } => {
                let request = state.travelling.remove(request);
                let is_replayed = state.known_key(request).is_some();
                let answer = self.of_both(request, state.arrive(request, fate), is_replayed);
                let Request { op, call, .. } = request;
                // Whoever still waits for this very request has its answer; else nobody will ever hear it.
                if let Some(waiting) = state.workers.iter_mut().find(|worker| worker.waits_for(request)) {
                    *waiting = Worker::ToCommit {
                        op,
                        observation: Observation::Answered { call, answer },
                    };
                }
            }
            Action::TimesOut { worker } => {
                let Worker::Waiting { op, call, .. } = state.workers[worker] else {
                    return None;
                };
                let answer = Answer::Unclear(Unclear::NoAnswer);
                state.workers[worker] = Worker::ToCommit {
                    op,
                    observation: Observation::Answered { call, answer },
                };
            }
            Action::Looks { worker } => {
                let Worker::ToLook { op, attempt } = state.workers[worker] else {
                    return None;
                };
                let observation = Observation::Looked {
                    attempt,
                    began: UnixSeconds(0),
                    found: state.look(op),
                };
                state.workers[worker] = Worker::ToCommit { op, observation };
            }
            Action::Commits { worker } => {
                let Worker::ToCommit { op, observation } = state.workers[worker].clone() else {
                    return None;
                };
                state.workers[worker] = Worker::Idle;
                if let Some((next, _)) = self.decide(&state.ops[op], &observation) {
                    state.ops[op] = next;
                }
            }
            Action::Crashes { worker } => state.workers[worker] = Worker::Idle,
            Action::Webhook { op, effect } => {
                state.ops[op] = self.decide(&state.ops[op], &Observation::Seen(object(op, effect)))?.0;
            }
            Action::PersonSendsOn { op } => {
                state.ops[op] = self.decide(&state.ops[op], &Observation::SentOn)?.0;
            }
            Action::Forgets { key } => {
                state.keys.remove(key);
            }
            Action::Tick => state.tick(),
        }
        Some(state.folded())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no share is paid twice", |_, state: &State| {
                state.effects.iter().all(|effects| *effects <= 1)
            }),
            Property::always("never more out than in", |_, state: &State| state.paid_out() <= CHARGE),
            Property::always("what has succeeded was paid", |_, state: &State| {
                each(state, |op, status| {
                    !matches!(status, Status::Succeeded { .. }) || state.has_moved(op)
                })
            }),
            Property::always("what has failed was not paid", |_, state: &State| {
                each(state, |op, status| {
                    !matches!(status, Status::FailedTransient { .. } | Status::FailedPermanent { .. })
                        || !state.has_moved(op)
                })
            }),
            Property::sometimes("the last attempt is made", |world: &World, state: &State| {
                state.ops.iter().any(|op| op.attempt == world.most_attempts)
            }),
            Property::sometimes("both workers call at once", |_, state: &State| {
                state
                    .workers
                    .iter()
                    .all(|worker| matches!(worker, Worker::Waiting { .. }))
            }),
            Property::sometimes("Stripe forgets the key of a payment", |_, state: &State| {
                state.has_moved(0) && state.keys.iter().all(|key| key.op != 0)
            }),
            Property::sometimes("all is paid", |_, state: &State| {
                each(state, |_, status| matches!(status, Status::Succeeded { .. }))
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state
            .ops
            .iter()
            .all(|op| op.attempt <= self.most_attempts && op.calls <= self.most_calls)
    }
}

/// Any order will do, as long as it is always the same.
pub fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn each(state: &State, holds: impl Fn(usize, &Status) -> bool) -> bool {
    state
        .ops
        .iter()
        .enumerate()
        .all(|(op, operation)| holds(op, &operation.status))
}
