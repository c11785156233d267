//! The life of a system under `cargo dev`, with real servers and stand-ins for our own programs: this test program itself,
//! which a script named like each of them starts again as [`stand_in`].
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test; it is configured by the environment that its scripts set"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dev::paths::Paths;
use dev::state::State;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use provision::{Claim, ProcessId};

const STAND_IN_FOR: &str = "HOLDFAST_STAND_IN_FOR";
const LIMIT: Duration = testkit::PATIENCE;

/// A target folder with `cargo dev` in it, and a `cargo` that builds nothing.
struct Target {
    folder: tempfile::TempDir,
}

impl Target {
    fn new() -> Self {
        let target = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(target.programs()).unwrap();
        let dev = Path::new(env!("CARGO_BIN_EXE_dev"));
        std::fs::hard_link(dev, target.programs().join("dev"))
            .or_else(|_| std::fs::copy(dev, target.programs().join("dev")).map(drop))
            .unwrap();
        let this = std::env::current_exe().unwrap();
        for name in ["holdfast", "holdfast-sim"] {
            let again = format!(
                "#!/bin/sh\n{STAND_IN_FOR}=\"{name} $*\" exec '{}' --exact stand_in --nocapture\n",
                this.display()
            );
            target.script(name, &again);
        }
        target.script("cargo", "#!/bin/sh\nexit 0\n");
        target
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("debug")
    }

    fn paths(&self) -> Paths {
        Paths::in_target(self.folder.path().to_owned())
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.programs().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(self.programs().join("dev"));
        command
            .args(words)
            // Tests run side by side, so none may count on the usual port.
            .args((words.first() == Some(&"up")).then_some("--port=0"))
            .env("PATH", format!("{}:{path}", self.programs().display()))
            .stdin(Stdio::null());
        command.env_remove("DATABASE_URL").env_remove("AMQP_URL");
        command
    }

    fn dev(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn up_detached(&self, more: &[&str]) -> State {
        let output = self.dev(&[&["up", "--detach"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.state()
    }

    fn state(&self) -> State {
        State::running(&self.paths()).unwrap()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let output = self.dev(&["down"]);
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn processes(state: &State) -> BTreeMap<String, ProcessId> {
    state
        .pids
        .iter()
        .map(|(name, pid)| (name.clone(), ProcessId::running(*pid).unwrap()))
        .collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "{what} did not happen within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn get(url: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let (host, path) = address.split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether the tenant's URL logs in, and the organisations that its session may read.
fn tenant_sees(state: &State) -> (i64, String) {
    let url = state.tenant_database_url.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async move {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let question =
            "SELECT count(*), current_setting('holdfast.org_ids') FROM pg_roles WHERE rolname = current_user";
        let row = client.query_one(question, &[]).await.unwrap();
        (row.get(0), row.get(1))
    })
}

#[test]
fn a_detached_system_is_found_heals_and_leaves_nothing_running() {
    let target = Target::new();
    assert_eq!(target.dev(&["status", "--json"]).status.code(), Some(3));

    let state = target.up_detached(&[]);
    kill(Pid::from_raw(state.supervisor_pid), Signal::SIGHUP).unwrap();
    let started = processes(&state);
    assert_eq!(
        started.keys().collect::<Vec<_>>(),
        ["holdfast", "holdfast-sim", "postgres", "rabbitmq"]
    );
    let status = target.dev(&["status", "--json"]);
    assert_eq!(serde_json::from_slice::<State>(&status.stdout).unwrap(), state);
    let env = String::from_utf8(target.dev(&["status", "--env"]).stdout).unwrap();
    let shell = format!("{env}printf '%s %s' \"$DATABASE_URL\" \"$SERVICE_TOKEN\"");
    let said = Command::new("sh").args(["-c", &shell]).output().unwrap().stdout;
    let expected = format!("{} {}", state.service_database_url, state.service_token);
    assert_eq!(String::from_utf8(said).unwrap(), expected);
    let mode = std::fs::metadata(target.paths().state()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for secret in [&state.auth_jwt_secret, &state.reconcile_secret, &state.monitor_secret] {
        assert!(secret.len() >= 32);
    }
    assert!(state.webhook_secret.starts_with("whsec_") && state.connect_webhook_secret.starts_with("whsec_"));
    assert!(get(&format!("{}/readyz", state.base_url)).contains("holdfast run all"));

    assert_eq!(tenant_sees(&state), (1, state.org_id.clone()));

    let again = target.dev(&["up", "--detach"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("It runs already."));
    assert!(!target.dev(&["up", "--detach", "--clean"]).status.success());
    assert_eq!(processes(&target.state()), started);

    for (name, process) in &started {
        kill9(process.pid);
        wait_until(name, || {
            let pid = target.state().pids.get(name).copied();
            pid.and_then(ProcessId::running).is_some_and(|now| now != *process)
        });
    }
    let healed = processes(&target.state());
    assert_eq!(healed.len(), started.len());

    assert!(target.dev(&["down"]).status.success());
    assert!(healed.values().all(|process| !process.is_alive()));
    assert!(!state.supervisor().is_alive());
    assert!(!target.paths().state().exists());
}

#[test]
fn nothing_survives_a_killed_supervisor_and_the_next_start_keeps_secrets_and_data() {
    let target = Target::new();
    let first = target.up_detached(&[]);
    let children = processes(&first);
    kill9(first.supervisor_pid);
    wait_until("the end of the children", || {
        children.values().all(|process| !process.is_alive())
    });
    assert_eq!(target.dev(&["status", "--json"]).status.code(), Some(3));

    let second = target.up_detached(&[]);
    assert_eq!(second.webhook_secret, first.webhook_secret);
    assert_eq!(second.org_id, first.org_id);
    assert!(target.dev(&["down"]).status.success());

    let third = target.up_detached(&["--clean"]);
    assert_ne!(third.webhook_secret, first.webhook_secret);
}

#[test]
fn a_system_in_the_terminal_ends_with_ctrl_c_and_with_a_kill() {
    let target = Target::new();
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut up = Up(target.command(&["up"]).stdout(Stdio::null()).spawn().unwrap());
        wait_until("the start", || State::running(&target.paths()).is_some());
        let children = processes(&target.state());
        kill(Pid::from_raw(i32::try_from(up.0.id()).unwrap()), signal).unwrap();
        let ended = up.0.wait().unwrap();
        assert_eq!(ended.success(), signal == Signal::SIGINT);
        wait_until("the end of the children", || {
            children.values().all(|process| !process.is_alive())
        });
    }
}

#[test]
fn a_detached_start_is_given_up_when_the_command_is_killed() {
    let target = Target::new();
    let mut up = Up(target.command(&["up", "--detach"]).spawn().unwrap());
    let folder = target.paths().up();
    wait_until("the beginning", || folder.join("postgres/postgres.pid").exists());
    let supervisor: u32 = Claim::owner(&folder).unwrap().parse().unwrap();
    let supervisor = ProcessId::running(supervisor).unwrap();
    assert_ne!(u32::try_from(supervisor.pid), Ok(up.0.id()));
    up.0.kill().unwrap();
    wait_until("the end of the supervisor", || !supervisor.is_alive());
    assert!(State::running(&target.paths()).is_none());
    let command_lines = std::process::Command::new("ps")
        .args(["-eo", "args"])
        .output()
        .unwrap()
        .stdout;
    assert!(!String::from_utf8_lossy(&command_lines).contains(&*folder.to_string_lossy()));
}

struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_split_system_has_one_process_per_service_behind_one_address() {
    let target = Target::new();
    let state = target.up_detached(&["--split"]);
    for name in [
        "webhook-ingest",
        "billing",
        "escrow",
        "retry",
        "admin",
        "holdfast-sim",
        "postgres",
        "rabbitmq",
    ] {
        assert!(state.pids.contains_key(name), "{name}");
    }
    for (path, service) in [
        ("/webhooks/stripe", "webhook-ingest"),
        ("/webhooks/stripe/connect", "webhook-ingest"),
        ("/api/clients/c1?x=1", "billing"),
        ("/api/escrows", "escrow"),
        ("/api/escrows/esc_1/release", "escrow"),
        ("/api/retry/transfers", "retry"),
        ("/api/admin/events", "admin"),
        ("/", "admin"),
    ] {
        let answer = get(&format!("{}{path}", state.base_url));
        assert!(answer.contains(&format!("holdfast run {service}")), "{path}: {answer}");
        assert!(answer.contains(&format!("GET {path} ")), "{path}: {answer}");
        assert!(
            answer.contains("x-forwarded-for: 127.0.0.1") && !answer.contains("6.6.6.6"),
            "{answer}"
        );
    }
}

#[test]
fn a_start_that_fails_says_what_and_why_and_leaves_nothing_running() {
    let target = Target::new();
    target.script("holdfast", "#!/bin/sh\necho \"DATABASE_URL is not a URL\"\nexit 78\n");
    for words in [&["up"][..], &["up", "--detach"]] {
        let output = target.dev(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.contains("migrate ended with exit status: 78"), "{said}");
        assert!(said.contains("DATABASE_URL is not a URL"), "{said}");
        assert!(Claim::owner(&target.paths().up()).is_none());
    }
}

#[tokio::test]
async fn stand_in() {
    let Ok(part) = std::env::var(STAND_IN_FOR) else { return };
    if part.contains("migrate") {
        let (client, connection) =
            tokio_postgres::connect(&std::env::var("MIGRATOR_DATABASE_URL").unwrap(), tokio_postgres::NoTls)
                .await
                .unwrap();
        tokio::spawn(connection);
        let tables = "
            DO $$ BEGIN CREATE ROLE holdfast_service; CREATE ROLE holdfast_tenant; EXCEPTION WHEN duplicate_object THEN END $$;
            CREATE TABLE IF NOT EXISTS organizations (id text PRIMARY KEY, name text);
            CREATE TABLE IF NOT EXISTS org_members (org_id text, user_id text, role text, PRIMARY KEY (org_id, user_id));";
        client.batch_execute(tables).await.unwrap();
        return;
    }
    let of_simulator = || std::env::var("HOLDFAST_SIM_PORT").map(|port| format!("127.0.0.1:{port}"));
    let address = std::env::var("HOLDFAST_LISTEN").or_else(|_| of_simulator()).unwrap();
    let listener = TcpListener::bind(address).unwrap();
    loop {
        let Ok((mut stream, _)) = listener.accept() else {
            continue;
        };
        let mut request = [0; 4096];
        let Ok(length) = stream.read(&mut request) else {
            continue;
        };
        let body = format!("{part}\n{}", String::from_utf8_lossy(&request[..length]));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        drop(stream.write_all((head + &body).as_bytes()));
    }
}
