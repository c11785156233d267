//! The fixtures: their files, their shape, and what the views say of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use stripe_gateway::envelope::{Form, peek};
use stripe_gateway::fixtures::{self, Version};
use stripe_gateway::views::EventView;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// `UPDATE_FIXTURES=1 cargo test -p stripe-gateway --test fixtures` writes them anew.
#[test]
fn the_files_are_what_the_builder_builds() {
    let expected: BTreeMap<String, String> = fixtures::all()
        .into_iter()
        .map(|fixture| (fixture.file_name(), fixture.body + "\n"))
        .collect();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        for (name, body) in &expected {
            let path = folder().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, body).unwrap();
        }
    }
    let mut found = BTreeMap::new();
    for version in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
            found.insert(name, std::fs::read_to_string(file).unwrap());
        }
    }
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, body) in expected {
        assert!(
            found.get(&name) == Some(&body),
            "{name} differs; see the comment of this test"
        );
    }
}

#[test]
fn every_fixture_is_an_event_of_its_own() {
    let all = fixtures::all();
    let mut ids = BTreeSet::new();
    for fixture in &all {
        let envelope = peek(fixture.body.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", fixture.file_name()));
        assert_eq!(envelope.id, fixture.id);
        assert_eq!(envelope.kind, fixture.kind);
        assert_eq!(envelope.api_version.as_deref(), fixture.version.map(Version::as_str));
        assert_eq!(
            envelope.form,
            if fixture.version.is_some() {
                Form::Snapshot
            } else {
                Form::Thin
            }
        );
        assert_eq!(envelope.livemode, Some(false));
        assert!(ids.insert(fixture.id.clone()), "{} twice", fixture.id);
        let renamed = fixture.with_id("evt_other");
        assert_eq!(peek(renamed.as_bytes()).unwrap().id, "evt_other");
        assert!(!renamed.contains(&fixture.id));
    }
    assert_eq!(
        all.len(),
        fixtures::thin().len()
            + Version::ALL
                .map(|version| fixtures::of_version(version).len())
                .iter()
                .sum::<usize>()
    );
    assert!(fixtures::find("invoice_payment.paid", Version::Y2023).is_none());
    assert!(fixtures::find("invoice_payment.paid", Version::Basil).is_some());
}

#[test]
fn the_bodies_of_the_billing_objects_have_stripes_size() {
    for kind in [
        "customer.subscription.updated",
        "invoice.paid",
        "charge.succeeded",
        "checkout.session.completed",
    ] {
        for version in Version::ALL {
            let length = fixtures::find(kind, version).unwrap().body.len();
            assert!((3_400..7_500).contains(&length), "{kind} {version:?}: {length}");
        }
    }
}

/// Debug texts of all that the views say, so that any field that differs shows.
fn meaning(body: &str) -> String {
    let event = EventView::parse(body.as_bytes()).unwrap();
    let kind = event.envelope.kind.clone();
    match kind.as_ref() {
        kind if kind.starts_with("customer.subscription.") => {
            let now = event.subscription().unwrap();
            format!("{now:#?} {:#?}", event.previous_subscription(&now).unwrap())
        }
        kind if kind.starts_with("invoice.") => {
            let mut invoice = event.invoice().unwrap();
            invoice.paid_out_of_band = None;
            format!("{invoice:#?}")
        }
        kind if kind.starts_with("invoice_payment.") => format!("{:#?}", event.invoice_payment().unwrap()),
        kind if kind.starts_with("checkout.session.") => format!("{:#?}", event.checkout_session().unwrap()),
        kind if kind.starts_with("charge.dispute.") => format!("{:#?}", event.dispute().unwrap()),
        "charge.refund.updated" => format!("{:#?}", event.refund().unwrap()),
        kind if kind.starts_with("charge.") => format!("{:#?}", event.charge().unwrap()),
        kind if kind.starts_with("refund.") => format!("{:#?}", event.refund().unwrap()),
        kind if kind.starts_with("payment_intent.") => {
            let mut intent = event.payment_intent().unwrap();
            intent.cancellation_reason = None;
            format!("{intent:#?}")
        }
        kind if kind.starts_with("transfer.") => format!("{:#?}", event.transfer().unwrap()),
        kind if kind.starts_with("payout.") => format!("{:#?}", event.payout().unwrap()),
        "account.updated" => format!("{:#?}", event.account().unwrap()),
        "capability.updated" => format!("{:?}", event.object_id().unwrap()),
        other => panic!("no view for {other}"),
    }
}

#[test]
fn the_three_versions_of_an_event_mean_the_same() {
    for fixture in fixtures::of_version(Version::Endive) {
        let newest = meaning(&fixture.body);
        assert!(!newest.contains("Unknown("), "{}: {newest}", fixture.kind);
        for version in [Version::Y2023, Version::Basil] {
            if let Some(older) = fixtures::find(fixture.kind, version) {
                assert_eq!(meaning(&older.body), newest, "{} {version:?}", fixture.kind);
            }
        }
    }
}
