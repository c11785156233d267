//! `cargo dev test`: everything that CI runs, on servers of its own.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use provision::{Broker, BrokerOptions, Claim, Durability, Postgres, PostgresOptions, Tool, ensure_tools};

use crate::build::{self, cargo};
use crate::cli::progress;
use crate::paths::Paths;
use crate::signals::EndRequests;

const DATABASE_URL: &str = "HOLDFAST_TEST_DATABASE_URL";
const AMQP_URL: &str = "HOLDFAST_TEST_AMQP_URL";
const RABBITMQ_API: &str = "HOLDFAST_TEST_RABBITMQ_API";

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only the tests whose names contain one of these, without the other stages.
    filter: Vec<String>,
}

pub(crate) async fn run(args: TestArgs) -> anyhow::Result<ExitCode> {
    let mut requests = EndRequests::listen()?;
    tokio::select! {
        ended = stages(args) => ended,
        () = requests.next() => bail!("interrupted"),
    }
}

async fn stages(args: TestArgs) -> anyhow::Result<ExitCode> {
    let paths = Paths::here()?;
    let begun = Instant::now();
    let say = progress(begun);
    let mut done = Summary::default();

    if args.filter.is_empty() {
        ensure_components(&say).await?;
        done.stage("format", begun, cargo(&["fmt", "--all", "--check"])?)
            .await?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        done.stage("lints", begun, cargo(&clippy)?).await?;
    }

    let started = Instant::now();
    let claim = Claim::take(&paths.test()).await?;
    ensure_tools(
        &[Tool::UtilLinux, Tool::Node, Tool::Python],
        &paths.test().join("apt.log"),
        &say,
    )
    .await?;
    let servers = Servers::start(&paths, &say).await?;
    done.note("servers and tools", started.elapsed());

    let mut words = vec!["test", "--workspace", "--"];
    words.extend(args.filter.iter().map(String::as_str));
    let mut tests = cargo(&words)?;
    servers.tell(&mut tests)?;
    let tested = done.stage("tests", begun, tests).await;
    servers.end().await;
    drop(claim);
    tested?;

    if args.filter.is_empty() {
        done.stage("end to end", begun, cargo(&["dev", "demo", "--once"])?)
            .await?;
    }
    done.print(begun.elapsed());
    Ok(ExitCode::SUCCESS)
}

/// Minimal installations of the toolchain lack the formatter and the linter.
async fn ensure_components(say: provision::Say<'_>) -> anyhow::Result<()> {
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        let there = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if there.is_ok_and(|status| status.success()) {
            continue;
        }
        say(&format!("{component} is missing: adding it with rustup"));
        let mut add = provision::tied_command("rustup", provision::Signal::SIGKILL)?;
        add.args(["component", "add", component])
            .current_dir(Paths::workspace());
        if !build::run(add).await?.success() {
            bail!("`rustup component add {component}` failed; its messages are above");
        }
    }
    Ok(())
}

/// What has passed, and how long it took.
#[derive(Default)]
struct Summary {
    passed: Vec<(&'static str, Duration)>,
}

impl Summary {
    async fn stage(&mut self, name: &'static str, begun: Instant, command: Command) -> anyhow::Result<()> {
        let shown: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let shown = shown
            .split(|word| word == "cargo")
            .next_back()
            .unwrap_or_default()
            .join(" ");
        println!("\n=== {name}: {shown}");
        let started = Instant::now();
        let status = build::run(command).await?;
        if status.success() {
            println!("=== {name}: passed in {:.1} s", started.elapsed().as_secs_f64());
            self.note(name, started.elapsed());
            return Ok(());
        }
        self.print(begun.elapsed());
        println!("  FAILED {name:<20} {:>8.1} s", started.elapsed().as_secs_f64());
        bail!("the stage \"{name}\" failed with {status}; its output is above")
    }

    fn note(&mut self, name: &'static str, took: Duration) {
        self.passed.push((name, took));
    }

    fn print(&self, whole: Duration) {
        println!("\n=== summary after {:.1} s", whole.as_secs_f64());
        for (name, took) in &self.passed {
            println!("  passed {name:<20} {:>8.1} s", took.as_secs_f64());
        }
    }
}

/// The servers of the tests: those that the three variables name, or private ones without durability.
struct Servers {
    private: Option<(Postgres, Broker)>,
}

impl Servers {
    async fn start(paths: &Paths, say: provision::Say<'_>) -> anyhow::Result<Self> {
        let names = [DATABASE_URL, AMQP_URL, RABBITMQ_API];
        let given = names.iter().filter(|name| std::env::var_os(name).is_some()).count();
        if given == names.len() {
            say("tests run against the servers that HOLDFAST_TEST_DATABASE_URL, _AMQP_URL and _RABBITMQ_API name");
            return Ok(Self { private: None });
        }
        if given > 0 {
            bail!("set all of {} or none of them", names.join(", "));
        }
        let postgres = PostgresOptions {
            folder: paths.test().join("postgres"),
            given: None,
            durability: Durability::Volatile,
            clean: true,
            log: paths.test().join("log/postgres.log"),
        };
        let broker = BrokerOptions {
            folder: paths.test().join("rabbitmq"),
            given: None,
            management: true,
            clean: true,
            log: paths.test().join("log/rabbitmq.log"),
        };
        let postgres = Postgres::start(postgres, say).await?;
        let broker = Broker::start(broker, say).await?;
        Ok(Self {
            private: Some((postgres, broker)),
        })
    }

    fn tell(&self, tests: &mut Command) -> anyhow::Result<()> {
        if cfg!(target_os = "linux") {
            // Test programs end with cargo, and cargo ends with us.
            tests.env(runner_variable()?, "setpriv --pdeathsig KILL");
        }
        if let Some((postgres, broker)) = &self.private {
            tests.env(DATABASE_URL, postgres.url()).env(AMQP_URL, broker.amqp_url());
            tests.env(
                RABBITMQ_API,
                broker.api_url().context("the management API was asked for")?,
            );
        }
        Ok(())
    }

    async fn end(self) {
        if let Some((postgres, broker)) = self.private {
            broker.end().await;
            postgres.end().await;
        }
    }
}

/// `CARGO_TARGET_<TRIPLE>_RUNNER` of the machine.
fn runner_variable() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("asking rustc for its host")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc names no host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.replace('-', "_").to_uppercase()))
}
