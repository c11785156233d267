//! The arrows between rooms, checked on what Cargo says: who may depend on whom, and who alone may name a library.
//! `docs/ARCHITECTURE.md` has the same as a picture.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// What each room below `crates/` may depend on in its programs; tests may use `testkit` and whatever it brings.
const ROOMS: [(&str, &[&str]); 10] = [
    ("domain", &[]),
    ("stripe-gateway", &["domain"]),
    ("db", &["domain"]),
    ("bus", &["db", "domain"]),
    ("service-kit", &["domain"]),
    ("provision", &[]),
    ("stripe-sim", &[]),
    // An example stands for a system of somebody else's.
    ("state-listener", &[]),
    ("testkit", &["db", "provision"]),
    (
        "dev",
        &[
            "admin",
            "billing",
            "bus",
            "db",
            "domain",
            "holdfast",
            "provision",
            "service-kit",
            "stripe-gateway",
            "stripe-sim",
            "testkit",
            "webhook-ingest",
        ],
    ),
];

/// What a service may depend on: every room of the product, never another service.
const FOR_SERVICES: [&str; 5] = ["bus", "db", "domain", "service-kit", "stripe-gateway"];

/// Libraries with one home. Whoever else is named needs them for tests and development only.
const HOMES: [(&str, &[&str]); 12] = [
    ("lapin", &["bus", "dev", "state-listener", "testkit"]),
    ("tokio-postgres", &["db", "dev", "provision", "testkit"]),
    ("deadpool-postgres", &["db"]),
    ("async-stripe", &["stripe-gateway"]),
    ("async-stripe-billing", &["stripe-gateway"]),
    ("async-stripe-checkout", &["stripe-gateway"]),
    ("async-stripe-client-core", &["stripe-gateway"]),
    ("async-stripe-connect", &["stripe-gateway"]),
    ("async-stripe-core", &["stripe-gateway"]),
    ("async-stripe-shared", &["stripe-gateway"]),
    ("async-stripe-types", &["stripe-gateway"]),
    ("jsonwebtoken", &["service-kit", "dev"]),
];

/// The one library that rules without I/O need.
const DOMAIN: [&str; 1] = ["thiserror"];

struct Package {
    is_service: bool,
    normal: BTreeSet<String>,
}

fn packages(metadata: &Metadata) -> BTreeMap<String, Package> {
    let members = metadata.workspace_packages();
    members
        .into_iter()
        .map(|package| {
            let dependencies = package.dependencies.iter();
            let normal = dependencies
                .filter(|d| d.kind == DependencyKind::Normal)
                .map(|d| d.name.clone())
                .collect();
            let is_service = package
                .manifest_path
                .starts_with(metadata.workspace_root.join("services"));
            (package.name.to_string(), Package { is_service, normal })
        })
        .collect()
}

/// Every arrow that points the wrong way, in words.
fn violations(packages: &BTreeMap<String, Package>) -> Vec<String> {
    let mut found = Vec::new();
    let rooms = BTreeMap::from(ROOMS);
    for (name, package) in packages {
        let ours = package
            .normal
            .iter()
            .filter(|dependency| packages.contains_key(*dependency));
        for dependency in ours {
            let allowed = match rooms.get(name.as_str()) {
                _ if name == "holdfast" => {
                    packages[dependency].is_service || FOR_SERVICES.contains(&dependency.as_str())
                }
                Some(allowed) => allowed.contains(&dependency.as_str()),
                None => FOR_SERVICES.contains(&dependency.as_str()),
            };
            if !allowed {
                found.push(format!("{name} must not depend on {dependency}"));
            }
        }
        if !package.is_service && !rooms.contains_key(name.as_str()) {
            found.push(format!("{name} is a room without a line in this test"));
        }
        for (library, homes) in HOMES {
            if package.normal.contains(library) && !homes.contains(&name.as_str()) {
                found.push(format!(
                    "{name} must not depend on {library}: only {} may",
                    homes.join(", ")
                ));
            }
        }
        if name == "domain" {
            let extra = package
                .normal
                .iter()
                .filter(|dependency| !DOMAIN.contains(&dependency.as_str()));
            found.extend(extra.map(|dependency| format!("domain must not depend on {dependency}")));
        }
    }
    found
}

fn workspace() -> Metadata {
    let manifest = dev::paths::Paths::workspace().join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

#[test]
fn no_arrow_points_the_wrong_way() {
    let found = violations(&packages(&workspace()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn each_kind_of_wrong_arrow_is_found() {
    for (from, to, expected) in [
        ("domain", "chrono", "domain must not depend on chrono"),
        ("domain", "db", "domain must not depend on db"),
        ("db", "bus", "db must not depend on bus"),
        ("billing", "webhook-ingest", "billing must not depend on webhook-ingest"),
        ("billing", "testkit", "billing must not depend on testkit"),
        (
            "billing",
            "lapin",
            "billing must not depend on lapin: only bus, dev, state-listener, testkit may",
        ),
        (
            "bus",
            "tokio-postgres",
            "bus must not depend on tokio-postgres: only db, dev, provision, testkit may",
        ),
        (
            "admin",
            "async-stripe-client-core",
            "admin must not depend on async-stripe-client-core: only stripe-gateway may",
        ),
        ("holdfast", "dev", "holdfast must not depend on dev"),
    ] {
        let mut packages = packages(&workspace());
        packages.get_mut(from).unwrap().normal.insert(to.to_owned());
        assert!(violations(&packages).contains(&expected.to_owned()), "{from} -> {to}");
    }
    let mut packages = packages(&workspace());
    packages.insert(
        "annex".to_owned(),
        Package {
            is_service: false,
            normal: BTreeSet::new(),
        },
    );
    assert_eq!(violations(&packages), ["annex is a room without a line in this test"]);
}
