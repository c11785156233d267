//! `docs/CONFIGURATION.md` against what the binary asks for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use escrow::TimeoutConfig;
use retry::RunConfig;
use service_kit::config::{Reader, Source};

use crate::services::{Service, Settings};
use crate::{migrate, tools};

const DOCUMENT: &str = include_str!("../../../docs/CONFIGURATION.md");

/// A source that is empty but for one name, and notes what it was asked for.
struct Notes {
    set: Option<&'static str>,
    asked: RefCell<BTreeSet<String>>,
}

impl Source for Notes {
    fn get(&self, name: &str) -> Option<String> {
        self.asked.borrow_mut().insert(name.to_owned());
        (self.set == Some(name)).then(|| "something".to_owned())
    }
}

fn asked_with<T>(set: Option<&'static str>, read: impl FnOnce(&mut Reader<'_>) -> T) -> BTreeSet<String> {
    let notes = Notes {
        set,
        asked: RefCell::default(),
    };
    read(&mut Reader::new(&notes));
    notes.asked.into_inner()
}

fn asked_by(service: Service) -> BTreeSet<String> {
    asked_with(None, |r| Settings::read(r, &BTreeSet::from([service])))
}

/// Each documented variable with its column *read by*.
fn documented() -> BTreeMap<String, String> {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim().trim_end_matches('`').to_owned();
        Some((name, cells.nth(1)?.trim().to_owned()))
    });
    rows.filter(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect()
}

fn documented_for(reader: &str) -> BTreeSet<String> {
    let reads = |cell: &str| cell.split(", ").any(|word| word == reader);
    let rows = documented().into_iter();
    rows.filter(|(_, cell)| reads(cell)).map(|(name, _)| name).collect()
}

#[test]
fn every_service_reads_what_the_document_says() {
    let common = documented_for("every service");
    assert!(common.len() > 4, "{common:?}");
    for service in Service::EACH {
        let expect: BTreeSet<_> = documented_for(service.name()).union(&common).cloned().collect();
        assert_eq!(asked_by(service), expect, "{}", service.name());
    }
}

#[test]
fn migrating_and_the_tools_read_what_the_document_says() {
    let mut asked = asked_with(None, migrate::read_url);
    asked.extend(asked_with(Some("MIGRATOR_DATABASE_URL"), migrate::read_url));
    assert_eq!(asked, documented_for("migrate"));
    assert_eq!(asked_with(None, tools::read_database), documented_for("database tools"));
    assert_eq!(asked_with(None, tools::read_broker), documented_for("broker tools"));
    let mut asked = asked_with(None, TimeoutConfig::read);
    asked.extend(asked_with(None, RunConfig::read));
    assert_eq!(asked, documented_for("jobs"));
}

#[test]
fn what_is_not_read_yet_is_said_so_and_every_reader_is_known() {
    let all: BTreeSet<_> = Service::EACH.into_iter().flat_map(asked_by).collect();
    for name in documented_for("not yet") {
        assert!(!all.contains(&name), "{name} is read");
    }
    let known = [
        "every service",
        "webhook-ingest",
        "billing",
        "escrow",
        "retry",
        "jobs",
        "admin",
        "migrate",
        "database tools",
        "broker tools",
        "not yet",
    ];
    for (name, cell) in documented() {
        assert!(cell.split(", ").all(|word| known.contains(&word)), "{name}: {cell}");
    }
}
