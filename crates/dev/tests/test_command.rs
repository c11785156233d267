//! `cargo dev test`, with a `cargo` that only writes down what it was asked for and names scripts as the test programs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test; the child needs our PATH"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cargo_metadata::MetadataCommand;
use dev::paths::Paths;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use provision::{Claim, ProcessId};
use serde_json::json;

const SERVERS: [&str; 3] = [
    "HOLDFAST_TEST_DATABASE_URL",
    "HOLDFAST_TEST_AMQP_URL",
    "HOLDFAST_TEST_RABBITMQ_API",
];
const LIMIT: Duration = testkit::PATIENCE;

/// A target folder with `cargo dev` in it.
struct Target {
    folder: tempfile::TempDir,
    artifacts: Vec<String>,
}

impl Target {
    fn new() -> Self {
        let target = Self {
            folder: tempfile::tempdir().unwrap(),
            artifacts: Vec::new(),
        };
        std::fs::create_dir_all(target.programs()).unwrap();
        let dev = target.programs().join("dev");
        std::fs::hard_link(env!("CARGO_BIN_EXE_dev"), &dev)
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_dev"), &dev).map(drop))
            .unwrap();
        target
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("debug")
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.programs().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A test program of the package `bus`, as the build will name it.
    fn test_program(mut self, name: &str, script: &str) -> Self {
        let program = self.script(name, script);
        let manifest = Paths::workspace().join("Cargo.toml");
        let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
        let bus = metadata.packages.iter().find(|package| package.name == "bus").unwrap();
        let source = bus.manifest_path.with_file_name("tests").join(format!("{name}.rs"));
        let artifact = json!({
            "reason": "compiler-artifact", "package_id": bus.id, "manifest_path": bus.manifest_path,
            "target": {"kind": ["test"], "crate_types": ["bin"], "name": name, "src_path": source, "edition": "2024"},
            "profile": {
                "opt_level": "0", "debuginfo": 0, "debug_assertions": true, "overflow_checks": true, "test": true
            },
            "features": [], "filenames": [program], "executable": program, "fresh": true,
        });
        self.artifacts.push(artifact.to_string());
        self
    }

    /// `cargo dev test` with these words; `cargo` fails when its first argument is `failing`.
    fn command(&self, failing: &str, words: &[&str]) -> Command {
        std::fs::write(self.folder.path().join("artifacts"), self.artifacts.join("\n") + "\n").unwrap();
        let cargo = format!(
            "[ \"$1\" != metadata ] || exec '{}' \"$@\"\n\
             echo \"asked for: $*; CARGO_PKG_NAME=$CARGO_PKG_NAME; $HOLDFAST_TEST_AMQP_URL\"\n\
             case \"$*\" in\n  *--no-run*) cat '{}';;\n  *--doc*) echo 'test result: ok. 1 passed; 0 failed';;\nesac\n\
             [ \"$1\" != {failing} ]",
            env!("CARGO"),
            self.folder.path().join("artifacts").display(),
        );
        self.script("cargo", &cargo);
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(self.programs().join("dev"));
        command.arg("test").args(words);
        command.env("PATH", format!("{}:{path}", self.programs().display()));
        for name in SERVERS {
            command.env(name, "given");
        }
        command
    }

    fn dev_test(&self, failing: &str, words: &[&str]) -> Output {
        self.command(failing, words).output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn asked(output: &Output) -> Vec<String> {
    let said = stdout(output);
    let asked = said.lines().filter_map(|line| line.strip_prefix("asked for: "));
    asked.map(str::to_owned).collect()
}

#[test]
fn every_stage_runs_in_order_on_servers_that_are_gone_afterwards() {
    let says = "echo \"servers: $HOLDFAST_TEST_DATABASE_URL $HOLDFAST_TEST_AMQP_URL $HOLDFAST_TEST_RABBITMQ_API\"\n\
                echo 'test result: ok. 2 passed; 0 failed; 1 ignored'";
    let target = Target::new().test_program("some", says);
    let mut command = target.command("nothing", &[]);
    for name in SERVERS {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", stderr(&output));
    let asked = asked(&output);
    for (line, beginning) in asked.iter().zip([
        "fmt --all --check;",
        "clippy --workspace",
        "test --workspace --no-run",
        "test --workspace --doc;",
        "dev demo --once;",
    ]) {
        assert!(line.starts_with(beginning), "{line}");
        assert!(line.contains("CARGO_PKG_NAME=;"), "{line}");
    }
    assert_eq!(asked.len(), 5);
    assert!(asked[3].contains("amqp://"), "{}", asked[3]);
    assert!(said.contains("servers: postgres://postgres:"), "{said}");
    assert!(said.contains(" amqp://") && said.contains(" http://"), "{said}");
    for stage in [
        "format",
        "lints",
        "test programs",
        "servers and tools",
        "tests",
        "end to end",
    ] {
        assert!(said.contains(&format!("  passed {stage}")), "{stage}: {said}");
    }
    let results: Vec<_> = said.lines().filter(|line| line.contains("test result: ")).collect();
    assert_eq!(results.len(), 1, "{results:?}");
    assert!(results[0].starts_with("test result: ok. 3 passed; 0 failed; 1 ignored; "));
    assert!(Claim::owner(&target.folder.path().join("holdfast/test/postgres")).is_none());
    assert!(Claim::owner(&target.folder.path().join("holdfast/test/rabbitmq")).is_none());
}

#[test]
fn the_first_stage_that_fails_is_named_and_the_last() {
    let output = Target::new().dev_test("clippy", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(asked(&output).len(), 2);
    assert!(stdout(&output).contains("FAILED lints"));
    assert!(stderr(&output).contains("the stage \"lints\" failed"));
}

#[test]
fn test_programs_that_do_not_build_are_not_run() {
    let output = Target::new()
        .test_program("some", "echo ran")
        .dev_test("test", &["one"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(asked(&output).len(), 1);
    assert!(!stdout(&output).contains("ran"));
    assert!(stderr(&output).contains("the stage \"test programs\" failed"));
}

#[test]
fn a_program_runs_as_cargo_would_run_it_with_the_filter() {
    let says =
        "echo \"$PWD $CARGO_MANIFEST_DIR $CARGO_PKG_NAME $CARGO_PKG_VERSION $*\"\necho 'test result: ok. 1 passed'";
    let output = Target::new()
        .test_program("some", says)
        .dev_test("nothing", &["one", "other"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let folder = Paths::workspace().join("crates/bus");
    let folder = folder.display();
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!("{folder} {folder} bus {version} one other\n");
    assert!(stdout(&output).contains(&expected), "{}", stdout(&output));
    let asked = asked(&output);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[1].starts_with("test --workspace --doc -- one other;"),
        "{}",
        asked[1]
    );
}

#[test]
fn what_failed_is_printed_once_more_at_the_end_and_nothing_else_is_kept_from_running() {
    let output = Target::new()
        .test_program(
            "bad",
            "echo why >&2\necho 'test result: FAILED. 1 passed; 2 failed'\nexit 101",
        )
        .test_program("crashed", "kill -SEGV $$")
        .test_program("good", "echo fine\necho 'test result: ok. 4 passed'")
        .test_program(
            "other",
            "echo 'test result: ok. 0 passed; 0 failed; 0 ignored; 7 filtered out'",
        )
        .dev_test("nothing", &["--jobs", "1", "word"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert_eq!(said.matches("\nwhy\n").count(), 2, "{said}");
    assert_eq!(said.matches("\nfine\n").count(), 1, "{said}");
    assert!(!said.contains("bus tests/other.rs: passed"), "{said}");
    assert!(said.contains("\n    bus tests/crashed.rs (signal: 11"), "{said}");
    let sum = "\ntest result: FAILED. 6 passed; 3 failed; 0 ignored; 0 measured; 7 filtered out; finished in ";
    assert!(said.contains(sum), "{said}");
    assert!(said.contains("  FAILED tests "), "{said}");
    assert!(stderr(&output).contains("the stage \"tests\" failed"));
}

#[test]
fn a_program_that_hangs_is_killed_and_named_and_the_others_are_run() {
    let output = Target::new()
        .test_program(
            "hung",
            "echo 'test some has been running for over 60 seconds'\nexec sleep 600",
        )
        .test_program(
            "slow",
            "for i in 1 2 3 4 5 6; do sleep 1; echo $i; done\necho 'test result: ok. 1 passed'",
        )
        .dev_test("nothing", &["--silence", "10", "word"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert!(said.contains("bus tests/hung.rs: HUNG, killed after "), "{said}");
    assert!(said.contains("test some has been running"), "{said}");
    assert!(said.contains("\n    bus tests/hung.rs (killed: "), "{said}");
    assert!(said.contains("bus tests/slow.rs: passed"), "{said}");
    assert!(said.contains("\ntest result: FAILED. 2 passed; 1 failed; "), "{said}");
}

#[test]
fn a_program_that_took_longer_starts_earlier_in_the_next_run() {
    let target = Target::new()
        .test_program("quick", "echo 'test result: ok. 1 passed'")
        .test_program("slow", "sleep 1\necho 'test result: ok. 1 passed'");
    let ended = |output: &Output| {
        let said = stdout(output);
        said.find("bus tests/slow.rs: passed").unwrap() < said.find("bus tests/quick.rs: passed").unwrap()
    };
    assert!(!ended(&target.dev_test("nothing", &["--jobs", "1", ""])));
    assert!(ended(&target.dev_test("nothing", &["--jobs", "1", ""])));
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "{what} did not happen within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn process_in(file: &Path) -> Option<ProcessId> {
    ProcessId::running(std::fs::read_to_string(file).ok()?.trim().parse().ok()?)
}

#[test]
fn neither_ctrl_c_nor_a_kill_leaves_a_test_program_running() {
    let pid = tempfile::tempdir().unwrap();
    let pid = pid.path().join("pid");
    let says = format!("echo $$ > '{}'\nexec sleep 600", pid.display());
    let target = Target::new().test_program("endless", &says);
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut command = target.command("nothing", &["word"]);
        let mut dev = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the start of the program", || process_in(&pid).is_some());
        let program = process_in(&pid).unwrap();
        kill(Pid::from_raw(dev.id().try_into().unwrap()), signal).unwrap();
        assert!(!dev.wait().unwrap().success());
        wait_until("the end of the program", || !program.is_alive());
        std::fs::remove_file(&pid).unwrap();
    }
}
