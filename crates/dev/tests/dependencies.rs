//! What `deny.toml` says about licences, sources and banned libraries, checked on what Cargo says, so that it holds on a
//! machine without cargo-deny, which CI does not install. Advisories and confidence in licence texts stay with
//! `cargo deny check`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test; it reads a file of ours"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use dev::paths::Paths;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A second version of these is a second stack, or types that do not fit together.
const ONE_VERSION: [&str; 13] = [
    "actix-web",
    "bytes",
    "chrono",
    "hyper",
    "lapin",
    "reqwest",
    "ring",
    "rustls",
    "serde",
    "serde_json",
    "tokio",
    "tokio-postgres",
    "uuid",
];

/// What is compiled for this machine; other platforms' packages may not have been downloaded.
fn metadata() -> Metadata {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let options = ["--locked", "--filter-platform", host].map(str::to_owned);
    let manifest = Paths::workspace().join("Cargo.toml");
    let mut question = MetadataCommand::new();
    question.manifest_path(manifest).other_options(options);
    question.exec().unwrap()
}

fn deny_toml() -> String {
    std::fs::read_to_string(Paths::workspace().join("deny.toml")).unwrap()
}

/// The quoted words of a line, such as `crate` and `wrappers` of a ban.
fn quoted(line: &str) -> Vec<String> {
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The lines of a list, such as `allow = [`.
fn list(text: &str, name: &str) -> Vec<String> {
    let begins = format!("{name} = [");
    let lines = text.lines().skip_while(|line| *line != begins).skip(1);
    let lines: Vec<_> = lines.take_while(|line| *line != "]").map(str::to_owned).collect();
    assert!(!lines.is_empty(), "deny.toml has no list {name}");
    lines
}

fn allowed_licences() -> BTreeSet<String> {
    list(&deny_toml(), "allow")
        .iter()
        .flat_map(|line| quoted(line))
        .collect()
}

/// Banned libraries, with those that may depend on them all the same.
fn bans() -> BTreeMap<String, BTreeSet<String>> {
    let ban = |line: String| {
        let (name, rest) = line.split_once(',').unwrap();
        let wrappers = rest
            .split_once("wrappers = [")
            .and_then(|(_, rest)| rest.split_once(']'));
        let wrappers = wrappers.map_or_else(BTreeSet::new, |(list, _)| quoted(list).into_iter().collect());
        (quoted(name).remove(0), wrappers)
    };
    list(&deny_toml(), "deny").into_iter().map(ban).collect()
}

/// Whether an SPDX expression can be met with these licences. `AND` binds closer than `OR`; an old `/` is an `OR`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression} is not understood");
    met
}

fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, allowed);
    }
    met
}

fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = words[*at];
    *at += 1;
    if word == "(" {
        let met = any(words, at, allowed);
        assert_eq!(words.get(*at), Some(&")"));
        *at += 1;
        return met;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
        return allowed.contains(&format!("{word} WITH {}", words[*at - 1]));
    }
    allowed.contains(word)
}

fn violations(
    metadata: &Metadata,
    licences: &BTreeSet<String>,
    bans: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        *versions.entry(name).or_default() += 1;
        if !package
            .license
            .as_deref()
            .is_some_and(|licence| is_met(licence, licences))
        {
            found.push(format!("{name} has the licence {:?}", package.license));
        }
        if let Some(source) = package.source.as_ref().filter(|source| source.repr != REGISTRY) {
            found.push(format!("{name} comes from {source}"));
        }
        let used = package
            .dependencies
            .iter()
            .filter(|used| used.kind != DependencyKind::Development);
        for used in used {
            let wrappers = bans.get(&used.name).filter(|_| is_compiled(metadata, &used.name));
            if wrappers.is_some_and(|wrappers| !wrappers.contains(name)) {
                found.push(format!("{name} must not depend on {}", used.name));
            }
        }
    }
    let twice = ONE_VERSION
        .into_iter()
        .filter(|name| versions.get(name).is_some_and(|count| *count > 1));
    found.extend(twice.map(|name| format!("there are several versions of {name}")));
    found
}

/// Optional dependencies that nobody switched on are not there.
fn is_compiled(metadata: &Metadata, name: &str) -> bool {
    metadata.packages.iter().any(|package| package.name.as_str() == name)
}

#[test]
fn dependencies_keep_to_what_deny_toml_says() {
    let found = violations(&metadata(), &allowed_licences(), &bans());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn each_kind_of_violation_is_found() {
    let (metadata, licences, bans) = (metadata(), allowed_licences(), bans());
    let mut without_isc = licences.clone();
    without_isc.remove("ISC");
    let found = violations(&metadata, &without_isc, &bans);
    assert!(
        found.iter().any(|line| line.starts_with("ring has the licence")),
        "{found:?}"
    );

    let mut more_bans = bans.clone();
    more_bans.get_mut("lapin").unwrap().remove("bus");
    assert_eq!(
        violations(&metadata, &licences, &more_bans),
        ["bus must not depend on lapin"]
    );

    let mut changed = metadata.clone();
    let tokio = changed
        .packages
        .iter()
        .position(|package| package.name.as_str() == "tokio")
        .unwrap();
    let mut other = changed.packages[tokio].clone();
    other.source.as_mut().unwrap().repr = "git+https://example.com/tokio".to_owned();
    changed.packages.push(other);
    assert_eq!(
        violations(&changed, &licences, &bans),
        [
            "tokio comes from git+https://example.com/tokio",
            "there are several versions of tokio"
        ]
    );
}

#[test]
fn licence_expressions_are_read_by_the_rules_of_spdx() {
    let allowed = BTreeSet::from(["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned));
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND Zlib", true),
        ("MIT OR GPL-3.0 AND LGPL-2.1", true),
        ("(MIT OR GPL-3.0) AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND (Zlib OR ISC)", true),
        ("Apache-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-3.0 WITH LLVM-exception OR ISC", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
