//! What the parent knows of the steps that its children do, and at which of them one is to die.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A step by its name and how many of that name came before it, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub step: String,
    pub nth: usize,
}

/// What else goes wrong in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    Plain,
    /// The call's answer is lost, and what it did is done.
    Lost,
    /// Stripe answers 500, under the key for good.
    ServerError,
    /// Stripe answers 409: the key is in use.
    Conflict,
    /// Two processes are at work; the other one is not stopped.
    Two,
}

impl Mode {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Lost, Self::ServerError, Self::Conflict, Self::Two];

    const fn kind(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Two => None,
            Self::Lost => Some("lost_after"),
            Self::ServerError => Some("500"),
            Self::Conflict => Some("409"),
        }
    }

    pub const fn is_fault(self) -> bool {
        self.kind().is_some()
    }
}

/// Where a child dies, and what goes wrong with which call: the one at which it dies, else the next one.
#[derive(Debug, Clone)]
pub struct Target {
    pub place: Place,
    pub mode: Mode,
    /// What the call asks for; none where no call follows.
    pub ask: Option<String>,
}

/// The calls of one kind, as the simulator's faults name them.
fn calls(ask: &str) -> &'static [(&'static str, &'static str)] {
    match ask {
        "create_payment" => &[("POST", "/v1/payment_intents$")],
        "capture" => &[("POST", "/v1/payment_intents/*/capture")],
        "cancel" => &[("POST", "/v1/payment_intents/*/cancel")],
        "transfer" => &[("POST", "/v1/transfers$")],
        "reverse" => &[("POST", "/v1/transfers/*/reversals")],
        "refund" => &[("POST", "/v1/refunds$")],
        "recipient" | "account" => &[("GET", "/v1/accounts/*")],
        // A new question has to be given its calls here, or its faults would strike nobody.
        "charge" | "secret" => &[("GET", "/v1/payment_intents/*")],
        "look" => &[
            ("GET", "/v1/payment_intents"),
            ("GET", "/v1/transfers"),
            ("GET", "/v1/refunds"),
        ],
        "authorization_end" => &[("GET", "/v1/payment_intents/*"), ("GET", "/v1/charges/*")],
        "event_object" => &[
            ("GET", "/v1/payment_intents/*"),
            ("GET", "/v1/charges/*"),
            ("GET", "/v1/accounts/*"),
        ],
        // A new question has to be given its calls here, or what goes wrong would strike nobody.
        other => panic!("which call of the simulator's is {other}?"),
    }
}

/// What a child is told, and what the simulator is told before.
pub struct Answer {
    pub dies: bool,
    pub faults: Vec<Value>,
}

#[derive(Default)]
struct State {
    record: Vec<Place>,
    target: Option<Target>,
    is_struck: bool,
    last: Option<Instant>,
}

/// Shared by those who listen to the children of a world.
#[derive(Default)]
pub struct Watch(Mutex<State>);

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new run, which ends at `target`, if there is one.
    pub fn begin(&self, target: Option<Target>) {
        *self.state() = State {
            target,
            ..State::default()
        };
    }

    /// The steps since then.
    pub fn record(&self) -> Vec<Place> {
        self.state().record.clone()
    }

    /// From here on nobody dies any more.
    pub fn disarm(&self) {
        self.state().target = None;
    }

    pub fn is_struck(&self) -> bool {
        self.state().is_struck
    }

    /// Whether nobody has done a step for so long.
    pub fn is_quiet_for(&self, time: Duration) -> bool {
        self.state().last.is_none_or(|last| last.elapsed() >= time)
    }

    /// A child has done a step.
    pub fn on_step(&self, step: &str) -> Answer {
        let mut state = self.state();
        state.last = Some(Instant::now());
        let before = state.record.iter().filter(|place| place.step == step).count();
        let place = Place {
            step: step.to_owned(),
            nth: before + 1,
        };
        state.record.push(place.clone());
        let (mut dies, mut arms) = (false, false);
        if let Some(target) = state.target.as_ref().filter(|_| !state.is_struck) {
            dies = target.place == place;
            // What is wrong with a call is so before it is made, and it is made before its answer is here.
            arms = match target.place.step.strip_prefix("asked.") {
                Some(ask) => step.strip_prefix("asking.") == Some(ask) && place.nth == target.place.nth,
                None => dies,
            };
        }
        let mut faults = Vec::new();
        if let Some(target) = state.target.as_ref().filter(|_| arms)
            && let (Some(kind), Some(ask)) = (target.mode.kind(), &target.ask)
        {
            faults.extend(
                calls(ask)
                    .iter()
                    .map(|(method, path)| json!({"method": method, "path": path, "kind": kind})),
            );
        }
        state.is_struck |= dies;
        Answer { dies, faults }
    }
}
