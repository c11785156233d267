//! What is told about a state, and about a dispute.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use domain::billing::charge::DisputeStatus;
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::derive::{derive, explain};
use domain::billing::payment::Evidence;
use domain::billing::register::Subscription;
use domain::billing::state::ClientState;
use domain::ids::{ClientId, SubscriptionId};
use domain::time::UnixSeconds;

#[test]
fn a_dispute_is_settled_well_when_the_money_is_safe() {
    let well: Vec<&str> = DisputeStatus::ALL
        .iter()
        .filter(|status| status.is_settled_well())
        .map(|status| status.as_str())
        .collect();
    assert_eq!(well, ["warning_closed", "charge_refunded", "prevented", "won"]);
}

#[test]
fn what_is_explained_begins_with_what_was_derived() {
    let contract = Contract {
        client: ClientId::parse("acme").unwrap(),
        source: PaymentSource::Stripe,
        initial: ClientState::TrialPending,
        has_customer: true,
        price: None,
        currency: None,
    };
    let paid = |since| Subscription {
        evidence: Evidence::of_payment(UnixSeconds(since)),
        ..Subscription::default()
    };
    let id = |text: &str| SubscriptionId::parse(text).unwrap();
    let known = BTreeMap::from([
        (id("sub_old"), paid(10)),
        (id("sub_new"), paid(20)),
        (id("sub_silent"), Subscription::default()),
    ]);
    let told: Vec<(&str, ClientState)> = explain(&contract, &known)
        .iter()
        .map(|(id, word)| (id.as_str(), word.state))
        .collect();
    assert_eq!(
        told,
        [("sub_new", ClientState::Active), ("sub_old", ClientState::Active)]
    );
    let derived = derive(&contract, &known);
    assert_eq!(derived.speaker.as_ref().map(SubscriptionId::as_str), Some("sub_new"));
}
