//! `cargo dev test`, with a `cargo` that only writes down what it was asked for.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test; the child needs our PATH"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use provision::Claim;

/// Runs `dev test` in a target folder of its own; `cargo` fails when its first argument is `failing`.
fn dev_test(folder: &Path, failing: &str, words: &[&str]) -> Output {
    let programs = folder.join("debug");
    std::fs::create_dir_all(&programs).unwrap();
    let dev = programs.join("dev");
    if !dev.exists() {
        std::fs::hard_link(env!("CARGO_BIN_EXE_dev"), &dev)
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_dev"), &dev).map(drop))
            .unwrap();
    }
    let cargo = format!(
        "#!/bin/sh\necho \"asked for: $*; CARGO_PKG_NAME=$CARGO_PKG_NAME; $HOLDFAST_TEST_DATABASE_URL $HOLDFAST_TEST_AMQP_URL \
         $HOLDFAST_TEST_RABBITMQ_API\"\n[ \"$1\" != {failing} ]\n"
    );
    std::fs::write(programs.join("cargo"), cargo).unwrap();
    std::fs::set_permissions(programs.join("cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(dev);
    for name in [
        "HOLDFAST_TEST_DATABASE_URL",
        "HOLDFAST_TEST_AMQP_URL",
        "HOLDFAST_TEST_RABBITMQ_API",
    ] {
        command.env_remove(name);
    }
    let path = std::env::var("PATH").unwrap();
    command
        .arg("test")
        .args(words)
        .env("PATH", format!("{}:{path}", programs.display()))
        .output()
        .unwrap()
}

fn asked(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines()
        .filter_map(|line| line.strip_prefix("asked for: "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_stage_runs_in_order_on_servers_that_are_gone_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let output = dev_test(folder.path(), "nothing", &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let asked = asked(&output);
    for (line, beginning) in asked.iter().zip([
        "fmt --all --check;",
        "clippy --workspace",
        "test --workspace --;",
        "dev demo --once;",
    ]) {
        assert!(line.starts_with(beginning), "{line}");
        assert!(line.contains("CARGO_PKG_NAME=;"), "{line}");
    }
    assert_eq!(asked.len(), 4);
    assert!(asked[2].contains("postgres://postgres:") && asked[2].contains("amqp://") && asked[2].contains("http://"));
    for stage in ["format", "lints", "servers and tools", "tests", "end to end"] {
        assert!(said.contains(&format!("  passed {stage}")), "{stage}: {said}");
    }
    assert!(Claim::owner(&folder.path().join("holdfast/test/postgres")).is_none());
}

#[test]
fn the_first_stage_that_fails_is_named_and_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let output = dev_test(folder.path(), "clippy", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(asked(&output).len(), 2);
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAILED lints"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the stage \"lints\" failed"));
}

#[test]
fn a_filter_runs_only_the_tests_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let output = dev_test(folder.path(), "test", &["one", "other"]);
    assert_eq!(output.status.code(), Some(1));
    let asked = asked(&output);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("test --workspace -- one other;"), "{}", asked[0]);
    assert!(Claim::owner(&folder.path().join("holdfast/test/rabbitmq")).is_none());
}
