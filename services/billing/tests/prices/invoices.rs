//! The prices that an invoice's lines name: with an endpoint that is sent payments only they activate at the agreed price and no other, in
//! every version's shape.

use domain::billing::authority::Binding;
use serde_json::{Value, json};
use testkit::eventually;

use crate::support::events::{Payer, T0};
use crate::support::{Event, SOON, World, in_own_world};
use crate::{agreed, alerts};

const MONTH: i64 = 2_592_000;

/// Where a version of Stripe's API has what an invoice says of its subscription and its prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Old,
    SinceBasil,
}

impl Shape {
    const ALL: [Self; 2] = [Self::Old, Self::SinceBasil];

    /// An invoice with lines: amount and price of each, and whether it is prorated.
    fn with_lines(self, payer: &Payer, invoice: &Event, lines: &[(i64, &str, bool)]) -> Event {
        let id = &payer.subscription;
        let line = |(amount, price, is_prorated): &(i64, &str, bool)| match self {
            Self::Old => json!({
                "amount": amount, "price": {"id": price, "object": "price"}, "plan": {"id": price, "object": "plan"},
                "proration": is_prorated, "subscription": id, "type": if *is_prorated { "invoiceitem" } else { "subscription" }
            }),
            Self::SinceBasil => {
                let parent = if *is_prorated {
                    "invoice_item_details"
                } else {
                    "subscription_item_details"
                };
                json!({
                    "amount": amount, "pricing": {"type": "price_details", "price_details": {"price": price}},
                    "parent": {"type": parent, parent: {"proration": is_prorated, "subscription": id}}
                })
            }
        };
        let lines: Vec<Value> = lines.iter().map(line).collect();
        let with_lines = invoice.with_object(json!({"lines": {"object": "list", "data": lines, "has_more": false}}));
        match self {
            Self::Old => with_lines
                .with(json!({"api_version": "2023-10-16"}))
                .with_object(json!({"subscription": id, "parent": null})),
            Self::SinceBasil => with_lines,
        }
    }

    fn at(self, payer: &Payer, invoice: &Event, price: &str) -> Event {
        self.with_lines(payer, invoice, &[(4900, price, false)])
    }
}

async fn priced(world: &World, name: &str) -> Payer {
    let payer = Payer::new(name);
    assert_eq!(world.put(&payer.client, &agreed(&payer, json!("price_1"))).await.0, 201);
    payer
}

/// An endpoint that is sent payments only: the checkout does not tell its price, the invoice does.
#[test]
fn an_invoice_that_names_the_agreed_price_activates_whether_it_or_its_checkout_comes_first() {
    in_own_world(Binding::FirstUse, async |world| {
        for shape in Shape::ALL {
            for is_checkout_first in [true, false] {
                let payer = priced(&world, "named").await;
                let invoice = |number| format!("in_{}_{number}", payer.client);
                // In one second, so that what is known of the payments is the same after either.
                let checkout = payer.checkout(T0, &format!("cs_{}", payer.client), None);
                let at = |invoice: Event| shape.at(&payer, &invoice, "price_1");
                let first = at(payer.first_invoice("paid", T0, &invoice(1)));
                if is_checkout_first {
                    let silent = world.decide(&checkout).await;
                    assert_eq!(silent.reason, "not_the_current_subscription");
                    assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING");
                }
                assert_eq!(world.decide(&first).await.reason, "state_changed", "{shape:?}");
                if !is_checkout_first {
                    assert_eq!(world.decide(&checkout).await.reason, "act_known");
                }
                // What names no price counts from now on, as before one was agreed.
                let silent = payer.invoice("payment_failed", T0 + MONTH, &invoice(2));
                for (event, state) in [
                    (silent, "PAST_DUE"),
                    (at(payer.invoice("paid", T0 + MONTH + 60, &invoice(2))), "ACTIVE"),
                    (
                        at(payer.invoice("payment_failed", T0 + 2 * MONTH, &invoice(3))),
                        "PAST_DUE",
                    ),
                    (at(payer.invoice("paid", T0 + 2 * MONTH + 60, &invoice(3))), "ACTIVE"),
                ] {
                    world.decide(&event).await;
                    assert_eq!(world.state(&payer.client).await, state, "{event:?}");
                }
            }
        }
        assert_eq!(alerts(&world).await, Vec::<Value>::new());
    });
}

#[test]
fn an_invoice_that_names_another_price_is_refused_and_told_and_counts_once_that_is_agreed() {
    in_own_world(Binding::FirstUse, async |world| {
        for shape in Shape::ALL {
            let payer = priced(&world, "another").await;
            let invoice = format!("in_{}", payer.client);
            let first = shape.at(&payer, &payer.first_invoice("paid", T0, &invoice), "price_2");
            world
                .decide(&payer.checkout(T0, &format!("cs_{}", payer.client), None))
                .await;
            world.decide(&first).await;
            assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING");
            let decision = world.timeline(&payer.client).await.pop().unwrap();
            assert_eq!(decision.short(), "rejected/authority/price_not_contracted");
            assert_eq!(decision.details["expected"]["price"], "price_1");
            assert_eq!(decision.details["found"]["prices"], json!(["price_2"]));
            let told = alerts(&world).await;
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0]["key"], format!("plan_application:{}", payer.client));
            assert_eq!(told[0]["details"]["billed_price"], "price_2");
            let explanation = world.get(&format!("/api/clients/{}/explanation", payer.client)).await.1;
            let why = explanation["why"].as_str().unwrap();
            assert!(
                why.contains("is at price_2 in eur; agreed is price_1 in any currency."),
                "{why}"
            );
            assert_eq!(explanation["payments"][0]["id"], invoice.as_str());
            let (_, body) = world.put(&payer.client, &agreed(&payer, json!("price_2"))).await;
            assert_eq!(body["state"], "ACTIVE");
            eventually(SOON, || async { world.row(&first.id).await.outcome != "rejected" }).await;
            assert_eq!(world.decided(&first.id).await.reason, "act_known");
            assert_eq!(world.client(&payer.client).await["version"], 1);
        }
    });
}

#[test]
fn payments_at_another_price_take_a_client_down_and_no_further_up_than_was_agreed() {
    in_own_world(Binding::FirstUse, async |world| {
        for shape in Shape::ALL {
            let payer = priced(&world, "moved").await;
            let rejected = "rejected/authority/price_not_contracted";
            let steps = [
                (
                    "paid",
                    "price_1",
                    "applied/state_changed TRIAL_PENDING→ACTIVE",
                    "ACTIVE",
                ),
                ("paid", "price_2", rejected, "ACTIVE"),
                (
                    "payment_failed",
                    "price_2",
                    "applied/state_changed ACTIVE→PAST_DUE",
                    "PAST_DUE",
                ),
                ("payment_failed", "price_3", rejected, "PAST_DUE"),
                ("paid", "price_2", "applied/state_changed PAST_DUE→ACTIVE", "ACTIVE"),
                (
                    "payment_failed",
                    "price_1",
                    "applied/state_changed ACTIVE→PAST_DUE",
                    "PAST_DUE",
                ),
                ("paid", "price_2", rejected, "PAST_DUE"),
                ("paid", "price_1", "applied/state_changed PAST_DUE→ACTIVE", "ACTIVE"),
            ];
            for (number, (kind, price, told, state)) in (0..).zip(steps) {
                let invoice = payer.invoice(kind, T0 + 3_600 * number, &format!("in_{}_{number}", payer.client));
                world.decide(&shape.at(&payer, &invoice, price)).await;
                let decision = world.timeline(&payer.client).await.pop().unwrap();
                assert_eq!((decision.short().as_str(), number), (told, number), "{shape:?}");
                assert_eq!(world.state(&payer.client).await, state, "{number}");
            }
            assert_eq!(alerts(&world).await.len(), 5, "each at another price is told");
        }
    });
}

/// A change of price within a period: a credit for the old one, and the rest of the period at the new one.
#[test]
fn a_change_to_the_agreed_price_activates_and_a_credit_for_it_does_not() {
    in_own_world(Binding::FirstUse, async |world| {
        for shape in Shape::ALL {
            let credited = [(-2_450, "price_1", true), (9_000, "price_2", true)];
            let left = [credited.as_slice(), &[(18_000, "price_2", false)]].concat();
            let to_it = [(-9_000, "price_2", true), (2_450, "price_1", true)];
            // There and back before the period was billed.
            let back = [to_it.as_slice(), &credited, &to_it, &[(4_900, "price_1", false)]].concat();
            for (lines, reason, state) in [
                (credited.as_slice(), "price_not_contracted", "TRIAL_PENDING"),
                (&left, "price_not_contracted", "TRIAL_PENDING"),
                (&to_it, "state_changed", "ACTIVE"),
                (&back, "state_changed", "ACTIVE"),
            ] {
                let payer = priced(&world, "prorated").await;
                let invoice = payer
                    .invoice("paid", T0, &format!("in_{}", payer.client))
                    .with_object(json!({"billing_reason": "subscription_update"}));
                let decision = world.decide(&shape.with_lines(&payer, &invoice, lines)).await;
                assert_eq!(
                    (decision.reason.as_str(), world.state(&payer.client).await.as_str()),
                    (reason, state),
                    "{lines:?}"
                );
            }
        }
    });
}

#[test]
fn the_agreed_price_in_another_currency_is_refused_and_told() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("abroad");
        let contract = |currency: &str| {
            let mut body = agreed(&payer, json!("price_1"));
            body["contracted_currency"] = json!(currency);
            body
        };
        assert_eq!(world.put(&payer.client, &contract("eur")).await.0, 201);
        let invoice = payer.first_invoice("paid", T0, &format!("in_{}", payer.client));
        let in_dollars = invoice.with_object(json!({"currency": "usd"}));
        let decision = world
            .decide(&Shape::SinceBasil.at(&payer, &in_dollars, "price_1"))
            .await;
        assert_eq!(decision.reason, "price_not_contracted");
        assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING");
        assert_eq!(alerts(&world).await.len(), 1);
        assert_eq!(world.put(&payer.client, &contract("usd")).await.1["state"], "ACTIVE");
    });
}

/// One that cannot be read, or was cut short, is not at another price: it counts as one that names none.
#[test]
fn an_invoice_whose_lines_do_not_say_activates_nobody_and_is_no_offence() {
    in_own_world(Binding::FirstUse, async |world| {
        for lines in [
            json!(null),
            json!({"data": []}),
            json!({"data": [{"price": {"id": "price_2"}}], "has_more": true}),
            json!({"data": [{"price": {"id": "price_2"}}, {"price": 7}]}),
            json!({"data": [{"price": "price\n2"}]}),
            json!({"data": [{"price": "price_2", "subscription": "sub_of_nobody"}]}),
        ] {
            let payer = priced(&world, "unsaid").await;
            let invoice = payer.first_invoice("paid", T0, &format!("in_{}", payer.client));
            let decision = world.decide(&invoice.with_object(json!({"lines": lines}))).await;
            assert_eq!(decision.reason, "not_the_current_subscription", "{lines}");
            assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING");
        }
        assert_eq!(alerts(&world).await, Vec::<Value>::new());
    });
}
