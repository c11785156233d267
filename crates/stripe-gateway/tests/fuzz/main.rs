//! Random damage to real events and headers: never a panic, and never more accepted than an independent, slow reading of the
//! same bytes accepts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod oracle;

use std::sync::LazyLock;

use proptest::prelude::*;
use stripe_gateway::envelope::{EnvelopeError, peek};
use stripe_gateway::fixtures::{self, Fixture};
use stripe_gateway::signature::{Secrets, SignatureError, sign, verify};
use stripe_gateway::views::{EventView, List, ObjectView};

static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(fixtures::all);

const NOW: i64 = 1_790_000_000;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn any_fixture() -> impl Strategy<Value = &'static Fixture> {
    (0..FIXTURES.len()).prop_map(|index| &FIXTURES[index])
}

/// Reads everything that can be read, and holds it against the slow reading.
fn read_everything(body: &[u8]) {
    let tree = serde_json::from_slice::<serde_json::Value>(body);
    read_as_an_answer(body, &tree);
    match peek(body) {
        Ok(envelope) => {
            if let Err(error) = &tree {
                let text = error.to_string();
                let stricter = [
                    "number out of range",
                    "recursion limit",
                    "surrogate",
                    "end of hex escape",
                ];
                assert!(
                    stricter.iter().any(|reason| text.contains(reason)),
                    "accepted, but {text}"
                );
            }
            let event = EventView::parse(body);
            if let Ok(event) = &event {
                assert_eq!(event.envelope, envelope);
                read_every_view(event);
            }
            if let (Ok(event), Ok(tree)) = (&event, &tree) {
                oracle::check(event, tree);
            }
        }
        Err(error) => {
            if matches!(error, EnvelopeError::NotJson { .. } | EnvelopeError::NotUtf8 { .. }) {
                assert!(tree.is_err(), "refused as no JSON: {error}");
            }
            assert!(EventView::parse(body).is_err());
        }
    }
}

/// The same bytes as an answer of the API: an object or a page of a list.
fn read_as_an_answer(body: &[u8], tree: &serde_json::Result<serde_json::Value>) {
    if let Ok(tree) = tree {
        assert_eq!(ObjectView::parse(body).is_ok(), tree.is_object());
    }
    if let Ok(object) = ObjectView::parse(body) {
        let results = [object.id().map(drop), object.invoice().map(drop)];
        drop(results);
    }
    drop(List::parse(body));
}

fn read_every_view(event: &EventView<'_>) {
    let results = [
        event.object_id().map(drop),
        event
            .subscription()
            .and_then(|now| event.previous_subscription(&now))
            .map(drop),
        event.invoice().map(drop),
        event.checkout_session().map(drop),
        event.charge().map(drop),
        event.refund().map(drop),
        event.dispute().map(drop),
        event.payment_intent().map(drop),
        event.transfer().map(drop),
        event.account().map(drop),
        event.payout().map(drop),
        event.invoice_payment().map(drop),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn damaged_bytes(fixture in any_fixture(), damage in damage::bytes()) {
        read_everything(&damage.apply(fixture.body.as_bytes()));
    }

    #[test]
    fn swapped_values(fixture in any_fixture(), swaps in damage::swaps()) {
        read_everything(damage::swap(&fixture.body, &swaps).as_bytes());
    }

    #[test]
    fn repeated_and_removed_members(fixture in any_fixture(), at in any::<prop::sample::Index>(), remove in any::<bool>()) {
        read_everything(damage::line(&fixture.body, at, remove).as_bytes());
    }

    #[test]
    fn garbage(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    #[test]
    fn garbage_that_looks_like_json(text in damage::soup()) {
        read_everything(text.as_bytes());
        let framed = format!(r#"{{"id":"evt_1","type":"t","created":1,"data":{{"object":{text}}}}}"#);
        read_everything(framed.as_bytes());
    }

    #[test]
    fn a_stranger_never_gets_in(
        fixture in any_fixture(),
        damage in damage::bytes(),
        secret in "[!-~]{1,40}",
        header_damage in damage::bytes(),
        shift in -400_i64..400,
    ) {
        prop_assume!(secret != "whsec_ours" && secret != "whsec_old");
        let ours = Secrets::new(["whsec_ours", "whsec_old"]).unwrap();
        let body = damage.apply(fixture.body.as_bytes());
        let forged = sign(&secret, &body, NOW + shift);
        prop_assert_eq!(verify(Some(forged.as_bytes()), &body, &ours, NOW, 300), Err(SignatureError::Mismatch));
        let damaged = header_damage.apply(forged.as_bytes());
        prop_assert!(verify(Some(&damaged), &body, &ours, NOW, 300).is_err());
    }

    #[test]
    fn a_signature_is_good_for_one_body_only(fixture in any_fixture(), damage in damage::bytes()) {
        let ours = Secrets::new(["whsec_ours"]).unwrap();
        let body = fixture.body.as_bytes();
        let header = sign("whsec_ours", body, NOW);
        prop_assert!(verify(Some(header.as_bytes()), body, &ours, NOW, 300).is_ok());
        let other = damage.apply(body);
        if other != body {
            let got = verify(Some(header.as_bytes()), &other, &ours, NOW, 300);
            prop_assert_eq!(got, Err(SignatureError::Mismatch));
        }
    }

    #[test]
    fn headers_are_judged_as_the_table_says(pieces in oracle::header_pieces(), damage in damage::bytes(), tolerance in 0_u64..1_000) {
        let ours = Secrets::new(["whsec_ours", "whsec_old"]).unwrap();
        let body = b"{\"id\":\"evt_1\"}";
        let header = oracle::header(&pieces, body, NOW);
        for header in [header.clone().into_bytes(), damage.apply(header.as_bytes())] {
            let got = verify(Some(&header), body, &ours, NOW, tolerance);
            let code = got.as_ref().map_or_else(SignatureError::code, |_| "accepted");
            prop_assert_eq!(code, oracle::judge(&header, body, &["whsec_ours", "whsec_old"], NOW, tolerance));
        }
    }
}

#[test]
fn every_value_of_an_event_may_be_anything() {
    let kinds = [
        "customer.subscription.updated",
        "invoice.payment_failed",
        "checkout.session.completed",
        "charge.refunded",
        "refund.failed",
        "charge.dispute.created",
        "payment_intent.payment_failed",
        "transfer.reversed",
        "account.updated",
        "payout.failed",
        "invoice_payment.paid",
    ];
    for fixture in FIXTURES.iter().filter(|fixture| kinds.contains(&fixture.kind)) {
        if fixture.version == Some(fixtures::Version::Basil) {
            continue;
        }
        for odd in ["null", "-1", "[{\"id\":[]}]", "{\"id\":{\"id\":1}}"] {
            for path in 0..damage::paths(&fixture.body) {
                read_everything(damage::swap_one(&fixture.body, path, odd).as_bytes());
            }
        }
    }
}

#[test]
fn views_use_no_stack_however_deep_the_nesting() {
    let check = || {
        let deep = [
            ("[".repeat(10_000), "]".repeat(10_000)),
            ("{\"id\":".repeat(10_000), "}".repeat(10_000)),
            ("{\"data\":".repeat(10_000), "}".repeat(10_000)),
        ];
        for (open, close) in &deep {
            let inner = format!("{open}1{close}");
            for object in ["subscription", "invoice", "payment_intent", "account"] {
                for member in [
                    "id",
                    "customer",
                    "items",
                    "lines",
                    "parent",
                    "metadata",
                    "charges",
                    "requirements",
                    "capabilities",
                ] {
                    let body = format!(
                        r#"{{"id":"evt_1","type":"t","created":1,"data":{{"object":{{"object":"{object}","created":1,"{member}":{inner}}}}}}}"#
                    );
                    let event = EventView::parse(body.as_bytes()).unwrap();
                    read_every_view(&event);
                }
            }
        }
    };
    std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(check)
        .unwrap()
        .join()
        .unwrap();
}
