//! Every kind of alert has a section in the runbook, and every section is about one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use domain::alert::AlertKind;

#[test]
fn every_alert_has_a_section() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/RUNBOOK.md");
    let text = std::fs::read_to_string(path).unwrap();
    let sections: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let kinds: BTreeSet<&str> = AlertKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(sections, kinds);
}
