//! Guard 3 as an exhaustive table: every claim that an event can make, against BIL-3 read aloud.
//!
//! The expected answer is computed by [`read_aloud`] from the sentences of the requirement, in their order, and not in the shape
//! of the code.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use domain::billing::authority::{Authority, Binding, BoundBy, Claim, NamedBy, WaitingFor, judge};
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::decision::{Guard, Outcome, Reason};
use domain::billing::state::ClientState;
use domain::ids::ClientId;

const SOURCES: [PaymentSource; 3] = [PaymentSource::None, PaymentSource::Stripe, PaymentSource::Manual];

/// Somebody in a case. Ann and Bob are clients of ours; nobody knows Zoe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ann,
    Bob,
    Zoe,
}

impl Who {
    fn id(self) -> ClientId {
        ClientId::parse(format!("{self:?}").to_lowercase()).expect("an id")
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    /// Whose customer the event's customer is.
    customer_of: Option<Who>,
    /// For whom the event's checkout session was registered.
    session_of: Option<Who>,
    /// Whom the metadata names.
    names: Option<Who>,
    ann_pays: PaymentSource,
    bob_pays: PaymentSource,
    /// Whether Ann and Bob have a customer.
    have_customer: bool,
    is_checkout: bool,
    require_registered: bool,
}

/// What should come of a case.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The event speaks for a client; how the customer is bound to it now.
    SpeaksFor(Who, Option<BoundBy>),
    /// It is kept.
    Waits(WaitingFor),
    /// It changes nothing; whose timeline says so, and whether a person is alerted.
    ChangesNothing(Who, bool),
}

fn read_aloud(case: Case) -> Answer {
    let pays_by_stripe = |who: Who| match who {
        Who::Ann => case.ann_pays == PaymentSource::Stripe,
        Who::Bob => case.bob_pays == PaymentSource::Stripe,
        Who::Zoe => false,
    };
    let is_a_client = |who: Who| who != Who::Zoe;
    // "A client may have had several customers: all that our side registered for it count", and a checkout session counts as well.
    let registered_for = case.customer_of.or(case.session_of);

    // The same of a checkout session that was opened for one client and paid by the customer of another.
    if let (Some(customer_of), Some(session_of)) = (case.customer_of, case.session_of)
        && customer_of != session_of
    {
        return Answer::ChangesNothing(session_of, true);
    }
    // "A checkout.session.completed whose metadata names a client with payment source NONE, or whose customer belongs to another
    // client, changes nothing, and is recorded and alerted on."
    if let (true, Some(named), Some(owner)) = (case.is_checkout, case.names, registered_for)
        && named != owner
    {
        return Answer::ChangesNothing(named, true);
    }
    // "Once bound, metadata is never looked at again."
    if let Some(owner) = registered_for {
        if !pays_by_stripe(owner) {
            return Answer::ChangesNothing(owner, case.is_checkout);
        }
        let by_session = case.customer_of.is_none().then_some(BoundBy::CheckoutSession);
        return Answer::SpeaksFor(owner, by_session);
    }
    // BIL-11: "An event that arrives before our side knows its client or object is kept and applied when it does".
    let Some(named) = case.names else {
        return Answer::Waits(WaitingFor::Customer);
    };
    if !is_a_client(named) {
        return Answer::Waits(WaitingFor::Client);
    }
    if !pays_by_stripe(named) {
        return Answer::ChangesNothing(named, true);
    }
    // "A STRIPE client that has no customer yet is bound at first use by the metadata key `client_id` (recorded as such); with
    // BILLING_REQUIRE_REGISTERED_CUSTOMER=true only a customer or checkout session that our side registered counts."
    if case.have_customer || case.require_registered {
        return Answer::Waits(WaitingFor::Customer);
    }
    Answer::SpeaksFor(named, Some(BoundBy::Metadata))
}

fn contract(who: Who, source: PaymentSource, has_customer: bool) -> Contract {
    Contract {
        client: who.id(),
        source,
        initial: ClientState::TrialPending,
        has_customer,
        price: None,
        currency: None,
    }
}

fn who(id: &ClientId) -> Who {
    [Who::Ann, Who::Bob, Who::Zoe]
        .into_iter()
        .find(|who| who.id() == *id)
        .expect("somebody")
}

fn check(case: Case) {
    let ann = contract(Who::Ann, case.ann_pays, case.have_customer);
    let bob = contract(Who::Bob, case.bob_pays, case.have_customer);
    let of = |who: Option<Who>| match who? {
        Who::Ann => Some(&ann),
        Who::Bob => Some(&bob),
        Who::Zoe => None,
    };
    let named = case.names.map(Who::id);
    let claim = Claim {
        owner: of(case.customer_of),
        session_owner: of(case.session_of),
        named: named.as_ref(),
        named_contract: of(case.names),
        by: NamedBy::Customer,
        is_checkout: case.is_checkout,
    };
    let binding = if case.require_registered {
        Binding::RegisteredOnly
    } else {
        Binding::FirstUse
    };
    let judged = judge(claim, binding);
    let answer = match judged {
        Authority::Granted { contract, bind } => Answer::SpeaksFor(who(&contract.client), bind),
        Authority::Waiting { what, .. } => Answer::Waits(what),
        Authority::Refused { victim, suspicious, .. } => Answer::ChangesNothing(who(victim), suspicious),
    };
    assert_eq!(answer, read_aloud(case), "{case:?}");
    records_the_answer(case, judged);
}

/// What ends here is recorded under guard 3 and under the rule that fits.
fn records_the_answer(case: Case, judged: Authority<'_>) {
    let expected = match judged {
        Authority::Granted { .. } => None,
        Authority::Waiting { reason, .. } => {
            let fits = match case.names {
                None => Reason::CustomerUnknown,
                Some(Who::Zoe) => Reason::ClientUnknown,
                Some(Who::Ann | Who::Bob) => Reason::CustomerNotRegistered,
            };
            assert_eq!(reason, fits, "{case:?}");
            Some((Outcome::Waiting, reason))
        }
        Authority::Refused { reason, victim, .. } => {
            let of_another = case
                .customer_of
                .or(case.session_of)
                .is_some_and(|owner| owner != who(victim));
            let fits = if of_another {
                Reason::CustomerOfAnotherClient
            } else {
                Reason::PaymentSourceIsNotStripe
            };
            assert_eq!(reason, fits, "{case:?}");
            Some((Outcome::Rejected, reason))
        }
    };
    let recorded = judged.decision();
    assert_eq!(
        recorded.map(|decision| (decision.outcome, decision.reason)),
        expected,
        "{case:?}"
    );
    if let Some(decision) = recorded {
        assert_eq!(decision.guard, Some(Guard::Authority), "{case:?}");
        assert_eq!(decision.transition, None, "{case:?}");
    }
}

#[test]
fn every_claim_is_judged_as_the_requirement_reads() {
    let known = [None, Some(Who::Ann), Some(Who::Bob)];
    let anybody = [None, Some(Who::Ann), Some(Who::Bob), Some(Who::Zoe)];
    let mut cases = 0;
    for customer_of in known {
        for session_of in known {
            for names in anybody {
                for (ann_pays, bob_pays) in SOURCES.into_iter().flat_map(|ann| SOURCES.map(|bob| (ann, bob))) {
                    for bits in 0..8_u8 {
                        check(Case {
                            customer_of,
                            session_of,
                            names,
                            ann_pays,
                            bob_pays,
                            have_customer: bits & 1 != 0,
                            is_checkout: bits & 2 != 0,
                            require_registered: bits & 4 != 0,
                        });
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 3 * 3 * 4 * 9 * 8);
}
