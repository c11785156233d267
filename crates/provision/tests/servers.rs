//! Real private servers: they keep their data, they listen on loopback only, and nothing survives its owner.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test; the crash test tells its own child by a variable what to be"
)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use provision::{Broker, BrokerOptions, Claim, Durability, Error, Postgres, PostgresOptions, ProcessId, sweep};
use tokio_postgres::NoTls;

/// When set, this process is the owner that the crash test kills, and the value is its folder.
const OWNER_FOLDER: &str = "HOLDFAST_PROVISION_TEST_OWNER";

fn quiet(_line: &str) {}

async fn postgres(folder: &Path) -> Result<Postgres, Error> {
    let options = PostgresOptions {
        folder: folder.join("postgres"),
        given: None,
        durability: Durability::Durable,
        clean: false,
        log: folder.join("log/postgres.log"),
    };
    Postgres::start(options, &quiet).await
}

async fn broker(folder: &Path, management: bool) -> Result<Broker, Error> {
    let options = BrokerOptions {
        folder: folder.join("rabbitmq"),
        given: None,
        management,
        clean: false,
        log: folder.join("log/rabbitmq.log"),
    };
    Broker::start(options, &quiet).await
}

async fn ask(postgres: &Postgres, statement: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(postgres.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(statement, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn postgres_keeps_its_data_over_a_kill_and_a_restart_and_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = postgres(folder.path()).await.unwrap();
    assert_eq!(foreign_listeners(server.pid().unwrap()), 0);
    let (client, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE kept (n bigint); INSERT INTO kept VALUES (7)")
        .await
        .unwrap();

    assert!(matches!(postgres(folder.path()).await, Err(Error::InUse { .. })));
    assert_eq!(
        Claim::owner(&folder.path().join("postgres")),
        Some(std::process::id().to_string())
    );

    server.kill9().await.unwrap();
    assert!(!server.is_running());
    server.start_again().await.unwrap();
    assert_eq!(ask(&server, "SELECT n FROM kept").await, 7);

    let without_password = server.url().replace(password_in(server.url()), "wrong");
    assert!(tokio_postgres::connect(&without_password, NoTls).await.is_err());

    let process = ProcessId::running(server.pid().unwrap()).unwrap();
    server.end().await;
    assert!(!process.is_alive());
    let server = postgres(folder.path()).await.unwrap();
    assert_eq!(ask(&server, "SELECT n FROM kept").await, 7);
    let process = ProcessId::running(server.pid().unwrap()).unwrap();
    drop(server);
    assert!(!process.is_alive());
}

fn password_in(url: &str) -> &str {
    url.split(['@', ':']).nth(2).unwrap()
}

#[tokio::test]
async fn a_start_that_fails_shows_the_last_lines_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    postgres(folder.path()).await.unwrap().end().await;
    std::fs::write(
        folder.path().join("postgres/data/postgresql.conf"),
        "no_such_setting = 1\n",
    )
    .unwrap();
    let error = postgres(folder.path()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("postgres ended with exit status: 1; the last lines of "),
        "{error}"
    );
    assert!(error.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn rabbitmq_obeys_ctl_keeps_its_data_and_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = broker(folder.path(), true).await.unwrap();
    assert_eq!(foreign_listeners(server.pid().unwrap()), 0);
    assert!(server.api_url().is_some());
    server.ctl(&["add_vhost", "kept"]).await.unwrap();
    let error = server.ctl(&["no_such_command"]).await.unwrap_err();
    assert!(matches!(error, Error::Ctl { .. }), "{error}");

    server.stop().await.unwrap();
    assert!(!server.is_running());
    server.start_again().await.unwrap();
    assert!(server.ctl(&["list_vhosts"]).await.unwrap().contains("kept"));
    server.kill9().await.unwrap();
    server.start_again().await.unwrap();
    assert!(server.ctl(&["list_vhosts"]).await.unwrap().contains("kept"));

    let processes = processes_below(folder.path());
    assert_eq!(processes.len(), 2, "the broker and its epmd");
    drop(server);
    assert!(processes.iter().all(|process| !process.is_alive()));
}

#[tokio::test]
async fn nothing_survives_an_owner_that_is_killed_and_its_folder_is_swept() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("run");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_owner_that_the_crash_test_kills"])
        .env(OWNER_FOLDER, &folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = folder.join("started");
    wait_until(Duration::from_secs(300), || started.exists()).await;
    let processes = processes_below(&folder);
    assert_eq!(processes.len(), 3);
    assert!(processes.iter().all(ProcessId::is_alive));

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until(Duration::from_secs(300), || {
        processes.iter().all(|process| !process.is_alive())
    })
    .await;

    let claimed = parent.path().join("claimed");
    let _claim = Claim::take(&claimed).await.unwrap();
    sweep(parent.path()).await.unwrap();
    assert!(claimed.exists());
    sweep(&folder).await.unwrap();
    assert!(!folder.join("postgres").exists() && !folder.join("rabbitmq").exists());
}

#[tokio::test]
async fn the_owner_that_the_crash_test_kills() {
    let Some(folder) = std::env::var_os(OWNER_FOLDER).map(PathBuf::from) else {
        return;
    };
    let _postgres = postgres(&folder).await.unwrap();
    let _broker = broker(&folder, false).await.unwrap();
    std::fs::write(folder.join("started"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_a_dead_owner_left_is_ended_by_the_next_and_a_reused_number_is_spared() {
    let folder = tempfile::tempdir().unwrap();
    let mut leftover = sleeper();
    let mut stranger = sleeper();
    let left = ProcessId::running(leftover.id()).unwrap();
    let reused = ProcessId {
        started: 1,
        ..ProcessId::running(stranger.id()).unwrap()
    };
    std::fs::write(folder.path().join("a.pid"), left.to_string()).unwrap();
    std::fs::write(folder.path().join("b.pid"), reused.to_string()).unwrap();
    std::fs::write(folder.path().join("c.pid"), "not a pid").unwrap();

    let _claim = Claim::take(folder.path()).await.unwrap();
    assert!(!left.is_alive());
    assert!(stranger.try_wait().unwrap().is_none());
    assert!(processes_below(folder.path()).is_empty());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    leftover.wait().unwrap();
}

fn sleeper() -> std::process::Child {
    use std::os::unix::process::CommandExt;
    Command::new("sleep").arg("600").process_group(0).spawn().unwrap()
}

async fn wait_until(deadline: Duration, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < deadline, "not within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the pid files directly in `folder` and in the folders below it name.
fn processes_below(folder: &Path) -> Vec<ProcessId> {
    let entries = |folder: &Path| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect()
    };
    let mut files: Vec<PathBuf> = entries(folder);
    let below: Vec<PathBuf> = files
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| -> Vec<_> { entries(path) })
        .collect();
    files.extend(below);
    let pid_files = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "pid"));
    pid_files
        .filter_map(|path| std::fs::read_to_string(path).ok()?.parse().ok())
        .collect()
}

/// How many sockets of the process listen on an address that is not loopback.
fn foreign_listeners(pid: u32) -> usize {
    let mut foreign = HashSet::new();
    for (table, loopback) in [("tcp", "0100007F"), ("tcp6", "00000000000000000000000001000000")] {
        for line in std::fs::read_to_string(format!("/proc/net/{table}"))
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == "0A" && !fields[1].starts_with(loopback) {
                foreign.insert(format!("socket:[{}]", fields[9]));
            }
        }
    }
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| foreign.contains(&*target.to_string_lossy()))
        .count()
}
