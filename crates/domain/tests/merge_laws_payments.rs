//! Payments at any price (BIL-13): what they come to does not hang on their order or on repeats, and is what the plain list of them says.

#![allow(missing_docs, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use domain::billing::client::Client;
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::billing::state::ClientState;
use domain::ids::{ClientId, InvoiceId, PriceId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;
use proptest::prelude::*;
use proptest::sample::select;

/// What an invoice says: whether it was paid, when it was made, how much later that was told, and which prices its lines name.
type Told = (bool, i64, i64, BTreeSet<&'static str>);

/// The one that is agreed, where one is.
const AGREED: &str = "price_1";

fn told() -> impl Strategy<Value = Vec<Told>> {
    let prices = proptest::collection::btree_set(select(vec![AGREED, "price_2", "price_3"]), 0..3);
    proptest::collection::vec((any::<bool>(), 1_i64..5, 0_i64..4, prices), 0..6)
}

fn price(id: &str) -> PriceId {
    PriceId::parse(id).expect("an id")
}

fn fact((paid, made, later, prices): &Told) -> Fact {
    let payment = Payment {
        act: Act::Invoice {
            invoice: InvoiceId::parse(format!("in_{made}")).expect("an id"),
            first: false,
        },
        made_at: Some(UnixSeconds(*made)),
        amount: Some(Money::new(1, Currency::EUR)),
        prices: prices.iter().map(|id| price(id)).collect(),
    };
    Fact {
        subscription: SubscriptionId::parse("sub_1").expect("an id"),
        at: UnixSeconds(*made + *later),
        kind: if *paid {
            FactKind::Paid(payment)
        } else {
            FactKind::Failed(payment)
        },
    }
}

/// A client after what was told in an order, without what hangs on the order: how often the state changed, and the notes of acts.
fn client_after(agreed: Option<&str>, told: &[Told]) -> Client {
    let mut client = Client {
        contract: Contract {
            client: ClientId::parse("client_1").expect("an id"),
            source: PaymentSource::Stripe,
            initial: ClientState::TrialPending,
            has_customer: true,
            price: agreed.map(price),
            currency: None,
        },
        state: ClientState::TrialPending,
        version: 0,
        speaker: None,
        current_period_end: None,
        subscriptions: BTreeMap::new(),
    };
    for told in told {
        client.observe(&fact(told));
    }
    client.version = 0;
    client.subscriptions.values_mut().for_each(|known| known.acts.clear());
    client
}

fn permutations(told: &[Told]) -> Vec<Vec<Told>> {
    if told.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for chosen in 0..told.len() {
        let mut rest = told.to_vec();
        let first = rest.remove(chosen);
        for mut order in permutations(&rest) {
            order.push(first.clone());
            orders.push(order);
        }
    }
    orders
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn payments_at_any_price_merge_in_any_order_and_repeats_change_nothing(told in told()) {
        let expected = client_after(Some(AGREED), &told);
        for mut order in permutations(&told) {
            prop_assert_eq!(client_after(Some(AGREED), &order), expected.clone());
            order.extend(told.iter().cloned());
            prop_assert_eq!(client_after(Some(AGREED), &order), expected.clone());
        }
    }

    /// Who ever paid for the agreed price by name is heard, and pays where the last of what may be for it was paid, and the last of all.
    #[test]
    fn payments_at_any_price_stand_for_the_list_of_what_happened(told in told()) {
        let has_paid = told.iter().any(|(paid, _, _, prices)| *paid && prices.contains(AGREED));
        let pays = |counts: &dyn Fn(&BTreeSet<&str>) -> bool| {
            let last = |succeeded: bool| {
                let those = told.iter().filter(|(paid, _, _, prices)| *paid == succeeded && counts(prices));
                those.map(|(_, made, ..)| *made).max()
            };
            last(true) >= last(false)
        };
        let may_be_agreed = |prices: &BTreeSet<&str>| prices.is_empty() || prices.contains(AGREED);
        let expected = match (has_paid, pays(&may_be_agreed) && pays(&|_| true)) {
            (false, _) => ClientState::TrialPending,
            (true, true) => ClientState::Active,
            (true, false) => ClientState::PastDue,
        };
        prop_assert_eq!(client_after(Some(AGREED), &told).state, expected);
    }

    #[test]
    fn what_was_billed_otherwise_counts_as_all_does_once_no_price_is_agreed(told in told()) {
        let unpriced = client_after(None, &told);
        let mut client = client_after(Some(AGREED), &told);
        client.agree(unpriced.contract.clone());
        let known = |client: &Client| client.subscriptions.values().map(|known| known.evidence).collect::<Vec<_>>();
        prop_assert_eq!((client.state, known(&client)), (unpriced.state, known(&unpriced)));
        prop_assert!(client.subscriptions.values().all(|known| known.billed_otherwise.is_empty()));
    }
}
