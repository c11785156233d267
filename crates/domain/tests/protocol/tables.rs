//! The protocol as tables: what each observation means for each standing of an operation, and what Stripe's codes mean.

use std::fmt::Write as _;

use domain::escrow::decision::Decision;
use domain::escrow::failure::{ErrorClass, ErrorCode, Failure};
use domain::escrow::operation::{
    Answer, Call, Cause, Found, Instruction, Moment, Observation, Operation, Outcome, Resolve, Rules, Status, Unclear,
    Wish, decide,
};
use domain::escrow::retry::Jitter;
use domain::ids::{OperationId, StripeObjectId};
use domain::time::UnixSeconds;

const NOW: i64 = 1_000_000;
const HOUR: i64 = 3_600;

fn failure(class: ErrorClass) -> Failure {
    Failure {
        code: ErrorCode::Unknown,
        class,
    }
}

fn object(name: &str) -> StripeObjectId {
    StripeObjectId::parse(name).expect("an id")
}

/// An operation in its second attempt, whose key is `age` seconds old and was used `calls` times.
fn operation(status: Status, calls: u32, age: i64) -> Operation {
    Operation {
        id: OperationId::parse("op_1").expect("an id"),
        status,
        attempt: 2,
        calls,
        key_since: UnixSeconds(NOW - age),
        last_call: UnixSeconds(NOW - age.min(2 * HOUR)),
        failures: 1,
    }
}

fn standings() -> Vec<(&'static str, Operation)> {
    let due = UnixSeconds(NOW);
    let unknown = |resolve| Status::Unknown { resolve, next: due };
    let flight = |until| Status::InFlight {
        lease_until: UnixSeconds(NOW + until),
    };
    let transient = Status::FailedTransient {
        cause: Cause::Refused(failure(ErrorClass::Transient)),
        next: due,
    };
    let permanent = |cause| Status::FailedPermanent { cause };
    let look = Resolve::Look {
        refusal: Some(failure(ErrorClass::Transient)),
    };
    vec![
        (
            "intended",
            Operation::intended(OperationId::parse("op_1").expect("an id"), due),
        ),
        ("in flight, its only call", operation(flight(60), 1, 60)),
        (
            "in flight, its second call under this key",
            operation(flight(60), 2, 600),
        ),
        (
            "in flight, its lease has ended, the key is young",
            operation(flight(-1), 1, 400),
        ),
        (
            "in flight, its lease has ended, the key is old",
            operation(flight(-1), 1, 21 * HOUR),
        ),
        (
            "unknown, the key is young",
            operation(unknown(Resolve::SameKey), 1, HOUR / 2),
        ),
        (
            "unknown, the key is old",
            operation(unknown(Resolve::SameKey), 1, 21 * HOUR),
        ),
        (
            "unknown, refused after an unaccounted call",
            operation(unknown(look), 2, 2 * HOUR),
        ),
        ("failed_transient", operation(transient, 1, HOUR)),
        (
            "failed_permanent, refused",
            operation(permanent(Cause::Refused(failure(ErrorClass::Permanent))), 1, HOUR),
        ),
        (
            "failed_permanent, happened twice",
            operation(permanent(Cause::HappenedTwice), 1, HOUR),
        ),
        (
            "succeeded",
            operation(Status::Succeeded { object: object("tr_1") }, 1, HOUR),
        ),
    ]
}

fn observations(of: &Operation) -> Vec<(&'static str, Observation)> {
    let call = Call {
        attempt: of.attempt,
        number: of.calls,
    };
    let answered = |answer| Observation::Answered { call, answer };
    let refused = |class| answered(Answer::Refused(failure(class)));
    let unclear = |unclear| answered(Answer::Unclear(unclear));
    let looked = |found| Observation::Looked {
        attempt: of.attempt,
        began: UnixSeconds(NOW),
        found,
    };
    vec![
        ("due, wanted", Observation::Due(Wish::Wanted)),
        ("due, on hold", Observation::Due(Wish::OnHold)),
        ("due, withdrawn", Observation::Due(Wish::Withdrawn)),
        ("made", answered(Answer::Made(object("tr_1")))),
        ("refused: transient", refused(ErrorClass::Transient)),
        ("refused: recipient_not_ready", refused(ErrorClass::RecipientNotReady)),
        ("refused: permanent", refused(ErrorClass::Permanent)),
        ("refused: may_be_done", refused(ErrorClass::MayBeDone)),
        ("refused: not_started", refused(ErrorClass::NotStarted)),
        ("refused: in_progress", refused(ErrorClass::InProgress)),
        ("no answer", unclear(Unclear::NoAnswer)),
        ("5xx", unclear(Unclear::ServerError)),
        ("5xx, replayed", unclear(Unclear::StoredServerError)),
        ("looked: nothing", looked(Found::Nothing)),
        ("looked: its object", looked(Found::One(object("tr_1")))),
        ("looked: several", looked(Found::Several)),
        ("webhook: its object", Observation::Seen(object("tr_1"))),
        ("webhook: another object", Observation::Seen(object("tr_2"))),
        ("sent on by a person", Observation::SentOn),
        ("a person says: its object", Observation::Chosen(object("tr_1"))),
    ]
}

pub fn operations(text: &mut String) {
    text.push_str(
        "## What an observation means\n\n\
         The operation is in its second attempt, with one failure behind it, and delays are drawn at their longest. *Key 2* is the key\n\
         of that attempt, *key 3* the next one.\n\n",
    );
    for (told, operation) in standings() {
        let _ = write!(
            text,
            "### {told}\n\n| observation | becomes | and then |\n| --- | --- | --- |\n"
        );
        for (name, observation) in observations(&operation) {
            let at = Moment {
                now: UnixSeconds(NOW),
                jitter: Jitter::FULL,
            };
            let _ = match decide(&Rules::STANDARD, &operation, &observation, at) {
                Decision::AlreadyApplied => Ok(()),
                Decision::Refused(reason) => writeln!(text, "| {name} | | no: {reason} |"),
                Decision::Apply { next, effects } => {
                    let effects: Vec<_> = effects.iter().map(effect).collect();
                    writeln!(text, "| {name} | {} | {} |", status(&next), effects.join("; "))
                }
            };
        }
        text.push('\n');
    }
}

fn status(of: &Operation) -> String {
    let wait = |next: UnixSeconds| match next.0 - NOW {
        0 => String::from("at once"),
        seconds => format!("in {seconds} s"),
    };
    match &of.status {
        Status::FailedTransient { next, .. } => format!("failed_transient, again {}", wait(*next)),
        Status::Unknown {
            resolve: Resolve::SameKey,
            next,
        } => format!("unknown, again {}", wait(*next)),
        Status::Unknown {
            resolve: Resolve::Look { .. },
            next,
        } => format!("unknown, to be looked up {}", wait(*next)),
        Status::Intended | Status::InFlight { .. } | Status::Succeeded { .. } | Status::FailedPermanent { .. } => {
            of.status.as_str().to_owned()
        }
    }
}

fn effect(of: &Instruction) -> String {
    match of {
        Instruction::Send { call, .. } => format!("**send** under key {}, call {}", call.attempt, call.number),
        Instruction::Look { .. } => "**look** at Stripe".to_owned(),
        Instruction::Report(outcome) => {
            let word = match outcome {
                Outcome::Succeeded(_) => "succeeded",
                Outcome::Refused(_) => "refused",
                Outcome::GivenUp(_) => "given up",
                Outcome::Dropped => "dropped",
                Outcome::Abandoned => "abandoned",
            };
            format!("tell the escrow: {word}")
        }
        Instruction::AskPerson(_) => "ask a person".to_owned(),
    }
}

pub fn errors(text: &mut String) {
    text.push_str(
        "## What Stripe's codes mean\n\n\
         A code that is not here counts by the HTTP status: 409 is in_progress, 429 is not_started, all else is permanent.\n\n\
         | code | class | transient | what has to be done |\n| --- | --- | :-: | --- |\n",
    );
    for code in ErrorCode::KNOWN {
        let class = code.class().expect("every known code has a class");
        let again = if class.is_transient() { "yes" } else { "" };
        let _ = writeln!(text, "| `{}` | {class} | {again} | {} |", code.as_str(), code.advice());
    }
    text.push('\n');
}
