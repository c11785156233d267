//! What an observation means for an operation.

use super::{
    Answer, Call, Cause, Found, Instruction, Moment, Observation, Operation, OperationDecision, Outcome, Reason,
    Resolve, Rules, Status, Unclear, Wish,
};
use crate::escrow::decision::Decision;
use crate::escrow::failure::{ErrorClass, Failure};
use crate::ids::StripeObjectId;
use crate::time::UnixSeconds;

/// Decides what an observation means. The one place where keys are chosen.
#[must_use]
pub fn decide(rules: &Rules, operation: &Operation, observation: &Observation, at: Moment) -> OperationDecision {
    match observation {
        Observation::Due(wish) => due(rules, operation, *wish, at),
        Observation::Answered {
            answer: Answer::Made(object),
            ..
        }
        | Observation::Looked {
            found: Found::One(object),
            ..
        }
        | Observation::Seen(object) => happened(operation, object),
        Observation::Answered {
            call,
            answer: Answer::Refused(failure),
        } => with_the_word(operation, *call, |operation| refused(rules, operation, *failure, at)),
        Observation::Answered {
            call,
            answer: Answer::Unclear(unclear),
        } => with_the_word(operation, *call, |operation| {
            unknown(rules, operation, how(*unclear), at)
        }),
        Observation::Looked {
            attempt,
            found: Found::Several,
            ..
        } => several(operation, *attempt),
        Observation::Looked {
            attempt,
            began,
            found: Found::Nothing,
        } => nothing_found(rules, operation, *attempt, *began, at),
        Observation::SentOn => sent_on(operation, at),
        Observation::Chosen(object) => chosen(operation, object),
    }
}

fn due(rules: &Rules, operation: &Operation, wish: Wish, at: Moment) -> OperationDecision {
    match (&operation.status, wish) {
        (Status::Succeeded { .. }, Wish::Wanted | Wish::OnHold | Wish::Withdrawn) => Decision::AlreadyApplied,
        (Status::FailedPermanent { .. }, Wish::Wanted | Wish::OnHold | Wish::Withdrawn) => {
            Decision::Refused(Reason::WaitsForPerson)
        }
        (Status::InFlight { lease_until }, Wish::Wanted | Wish::OnHold | Wish::Withdrawn) if at.now < *lease_until => {
            Decision::Refused(Reason::Leased)
        }
        (Status::InFlight { .. }, Wish::Wanted | Wish::OnHold | Wish::Withdrawn) => {
            find_out(rules, operation, Resolve::SameKey, wish, at)
        }
        (Status::Unknown { next, .. }, Wish::Wanted | Wish::OnHold | Wish::Withdrawn) if at.now < *next => {
            Decision::Refused(Reason::NotDue)
        }
        (Status::Unknown { resolve, .. }, Wish::Wanted | Wish::OnHold | Wish::Withdrawn) => {
            find_out(rules, operation, *resolve, wish, at)
        }
        (Status::Intended | Status::FailedTransient { .. }, Wish::OnHold) => Decision::Refused(Reason::OnHold),
        (Status::Intended | Status::FailedTransient { .. }, Wish::Withdrawn) => withdrawn(operation),
        (Status::FailedTransient { next, .. }, Wish::Wanted) if at.now < *next => Decision::Refused(Reason::NotDue),
        (Status::Intended | Status::FailedTransient { .. }, Wish::Wanted) => begin_attempt(rules, operation, at),
    }
}

/// A new key. Only ever reached where nothing of the attempt before can happen any more.
fn begin_attempt(rules: &Rules, operation: &Operation, at: Moment) -> OperationDecision {
    let next = Operation {
        attempt: operation.attempt.saturating_add(1),
        calls: 0,
        key_since: at.now,
        ..operation.clone()
    };
    send(rules, next, at)
}

/// One more call under the key that is in use.
fn send(rules: &Rules, operation: Operation, at: Moment) -> OperationDecision {
    let until = at.now.plus(rules.lease);
    let next = Operation {
        status: Status::InFlight { lease_until: until },
        calls: operation.calls.saturating_add(1),
        last_call: at.now,
        ..operation
    };
    let send = Instruction::Send {
        key: next.key(),
        call: next.current_call(),
        until,
    };
    Decision::Apply {
        next,
        effects: vec![send],
    }
}

/// An operation that may have happened: the same key while it is young and the call is still wanted, else a look.
fn find_out(rules: &Rules, operation: &Operation, resolve: Resolve, wish: Wish, at: Moment) -> OperationDecision {
    let key_is_young = at.now.since(operation.key_since) < rules.key_lifetime;
    match (resolve, wish) {
        (Resolve::SameKey, Wish::Wanted) if key_is_young => send(rules, operation.clone(), at),
        (Resolve::SameKey | Resolve::Look { .. }, Wish::Wanted | Wish::OnHold | Wish::Withdrawn) => {
            let look = Instruction::Look {
                attempt: operation.attempt,
            };
            // The look has a lease as well, so that a crowd of workers does not look at once. Two looks would do no harm.
            let next = Operation {
                status: Status::Unknown {
                    resolve,
                    next: at.now.plus(rules.lease),
                },
                ..operation.clone()
            };
            Decision::Apply {
                next,
                effects: vec![look],
            }
        }
    }
}

fn happened(operation: &Operation, object: &StripeObjectId) -> OperationDecision {
    match &operation.status {
        Status::Succeeded { object: known } if known == object => Decision::AlreadyApplied,
        Status::Succeeded { object: known } => Decision::Refused(Reason::SecondObject { known: known.clone() }),
        // It is one of two, and may be the one that is undone just now.
        Status::FailedPermanent {
            cause: Cause::HappenedTwice,
        } => Decision::Refused(Reason::WaitsForPerson),
        Status::Intended
        | Status::InFlight { .. }
        | Status::FailedTransient { .. }
        | Status::FailedPermanent {
            cause: Cause::Refused(_) | Cause::NeverHappened | Cause::Withdrawn,
        }
        | Status::Unknown { .. } => succeeded(operation, object),
    }
}

fn succeeded(operation: &Operation, object: &StripeObjectId) -> OperationDecision {
    Decision::Apply {
        next: with_status(operation, Status::Succeeded { object: object.clone() }),
        effects: vec![Instruction::Report(Outcome::Succeeded(object.clone()))],
    }
}

/// Where nothing can be undone any more, a person says which of two counts.
fn chosen(operation: &Operation, object: &StripeObjectId) -> OperationDecision {
    match operation.status {
        Status::FailedPermanent {
            cause: Cause::HappenedTwice,
        } => succeeded(operation, object),
        Status::Succeeded { .. }
        | Status::FailedPermanent {
            cause: Cause::Refused(_) | Cause::NeverHappened | Cause::Withdrawn,
        }
        | Status::Intended
        | Status::InFlight { .. }
        | Status::FailedTransient { .. }
        | Status::Unknown { .. } => Decision::Refused(Reason::NotToBeSentOn),
    }
}

/// An answer that does not say that it happened counts only if it is the last call's: a later one may be under way.
fn with_the_word(
    operation: &Operation,
    call: Call,
    then: impl FnOnce(&Operation) -> OperationDecision,
) -> OperationDecision {
    match operation.status {
        Status::InFlight { .. } if call == operation.current_call() => then(operation),
        Status::Succeeded { .. } => Decision::AlreadyApplied,
        Status::InFlight { .. }
        | Status::Intended
        | Status::FailedTransient { .. }
        | Status::FailedPermanent { .. }
        | Status::Unknown { .. } => Decision::Refused(Reason::LateAnswer),
    }
}

fn how(unclear: Unclear) -> Resolve {
    match unclear {
        Unclear::NoAnswer | Unclear::ServerError => Resolve::SameKey,
        Unclear::StoredServerError => Resolve::Look { refusal: None },
    }
}

fn refused(rules: &Rules, operation: &Operation, failure: Failure, at: Moment) -> OperationDecision {
    let is_only_call = operation.calls <= 1;
    match failure.class {
        ErrorClass::NotStarted | ErrorClass::InProgress => unknown(rules, operation, Resolve::SameKey, at),
        ErrorClass::MayBeDone => {
            let refusal = Some(Failure {
                class: ErrorClass::Permanent,
                ..failure
            });
            unknown(rules, operation, Resolve::Look { refusal }, at)
        }
        ErrorClass::Transient | ErrorClass::Permanent | ErrorClass::RecipientNotReady if is_only_call => {
            failed(rules, operation, Cause::Refused(failure), at)
        }
        ErrorClass::Transient | ErrorClass::Permanent | ErrorClass::RecipientNotReady => {
            let refusal = Some(failure);
            unknown(rules, operation, Resolve::Look { refusal }, at)
        }
    }
}

fn unknown(rules: &Rules, operation: &Operation, resolve: Resolve, at: Moment) -> OperationDecision {
    let next = rules.unknown.next(operation.calls, at.now, at.jitter);
    Decision::apply(with_status(operation, Status::Unknown { resolve, next }))
}

/// It definitely did not happen.
fn failed(rules: &Rules, operation: &Operation, cause: Cause, at: Moment) -> OperationDecision {
    let failures = operation.failures.saturating_add(1);
    let may_help = match cause {
        Cause::Refused(failure) => match failure.class {
            ErrorClass::Permanent => false,
            // The recipient's account says when; the cap on attempts is for what only time can heal.
            ErrorClass::RecipientNotReady => true,
            ErrorClass::Transient | ErrorClass::MayBeDone | ErrorClass::NotStarted | ErrorClass::InProgress => {
                !rules.refused.is_exhausted(failures)
            }
        },
        Cause::NeverHappened => !rules.refused.is_exhausted(failures),
        Cause::HappenedTwice | Cause::Withdrawn => false,
    };
    let mut effects = match cause {
        Cause::Refused(failure) if may_help => vec![Instruction::Report(Outcome::Refused(failure))],
        Cause::Refused(failure) => vec![Instruction::Report(Outcome::GivenUp(Some(failure)))],
        Cause::NeverHappened if !may_help => vec![Instruction::Report(Outcome::GivenUp(None))],
        // To the escrow it is still being made.
        Cause::NeverHappened | Cause::HappenedTwice | Cause::Withdrawn => Vec::new(),
    };
    let status = if may_help {
        let next = match cause {
            Cause::Refused(_) => rules.refused.next(failures, at.now, at.jitter),
            Cause::NeverHappened | Cause::HappenedTwice | Cause::Withdrawn => at.now,
        };
        Status::FailedTransient { cause, next }
    } else {
        effects.push(Instruction::AskPerson(cause));
        Status::FailedPermanent { cause }
    };
    let next = Operation {
        failures,
        ..with_status(operation, status)
    };
    Decision::Apply { next, effects }
}

fn withdrawn(operation: &Operation) -> OperationDecision {
    let cause = Cause::Withdrawn;
    let outcome = if operation.attempt == 0 {
        Outcome::Dropped
    } else {
        Outcome::Abandoned
    };
    Decision::Apply {
        next: with_status(operation, Status::FailedPermanent { cause }),
        effects: vec![Instruction::Report(outcome)],
    }
}

fn nothing_found(
    rules: &Rules,
    operation: &Operation,
    attempt: u32,
    began: UnixSeconds,
    at: Moment,
) -> OperationDecision {
    match operation.status {
        Status::Unknown { resolve, .. } if attempt == operation.attempt => {
            if began < operation.settled_at(rules) {
                let next = operation.settled_at(rules);
                return Decision::apply(with_status(operation, Status::Unknown { resolve, next }));
            }
            let cause = match resolve {
                Resolve::Look { refusal: Some(failure) } => Cause::Refused(failure),
                Resolve::Look { refusal: None } | Resolve::SameKey => Cause::NeverHappened,
            };
            failed(rules, operation, cause, at)
        }
        Status::Succeeded { .. } => Decision::AlreadyApplied,
        Status::Unknown { .. }
        | Status::Intended
        | Status::InFlight { .. }
        | Status::FailedTransient { .. }
        | Status::FailedPermanent { .. } => Decision::Refused(Reason::LateAnswer),
    }
}

fn several(operation: &Operation, attempt: u32) -> OperationDecision {
    let cause = Cause::HappenedTwice;
    match operation.status {
        Status::Unknown { .. } if attempt == operation.attempt => Decision::Apply {
            next: with_status(operation, Status::FailedPermanent { cause }),
            effects: vec![Instruction::AskPerson(cause)],
        },
        Status::Succeeded { .. } => Decision::AlreadyApplied,
        Status::Unknown { .. }
        | Status::Intended
        | Status::InFlight { .. }
        | Status::FailedTransient { .. }
        | Status::FailedPermanent { .. } => Decision::Refused(Reason::LateAnswer),
    }
}

fn sent_on(operation: &Operation, at: Moment) -> OperationDecision {
    match operation.status {
        Status::FailedPermanent {
            cause: cause @ (Cause::Refused(_) | Cause::NeverHappened),
        } => {
            let status = Status::FailedTransient { cause, next: at.now };
            let next = Operation {
                failures: 0,
                ..with_status(operation, status)
            };
            Decision::apply(next)
        }
        // A person does not have to sit the delay out.
        Status::FailedTransient { cause, next } if at.now < next => {
            let status = Status::FailedTransient { cause, next: at.now };
            Decision::apply(with_status(operation, status))
        }
        Status::FailedTransient { .. } => Decision::AlreadyApplied,
        // Never made again: a person has undone one of the two, and the look says which is left.
        Status::FailedPermanent {
            cause: Cause::HappenedTwice,
        } => {
            let resolve = Resolve::Look { refusal: None };
            Decision::apply(with_status(operation, Status::Unknown { resolve, next: at.now }))
        }
        Status::FailedPermanent {
            cause: Cause::Withdrawn,
        }
        | Status::Intended
        | Status::InFlight { .. }
        | Status::Succeeded { .. }
        | Status::Unknown { .. } => Decision::Refused(Reason::NotToBeSentOn),
    }
}

fn with_status(operation: &Operation, status: Status) -> Operation {
    Operation {
        status,
        ..operation.clone()
    }
}
