//! `cargo dev test`: everything that CI runs, on servers of its own.

mod counts;
mod order;
mod programs;
mod servers;
mod side_by_side;
mod summary;

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use provision::{Claim, Tool, ensure_tools};

use self::programs::TestProgram;
use self::servers::Servers;
use self::side_by_side::Limits;
use self::summary::{Summary, announce, words};
use crate::build::{self, cargo};
use crate::cli::progress;
use crate::paths::Paths;
use crate::signals::EndRequests;

/// By measurement on two busy cores, where the tests took 305 s four at a time and 252 s six at a time. The whole costs about
/// 400 s of processor time, mostly starts of brokers, so that more would gain little.
const PER_CORE: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// How many test programs run at a time; 1 runs one after the other. Without this it is three for each core.
    #[arg(long)]
    jobs: Option<usize>,
    /// For how many seconds a test program may say nothing before it counts as hung and is killed. On a machine of a fifth of the
    /// usual speed no single test takes as long.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    silence: u64,
    /// Only start the servers that tests need, print how they are reached, and keep them until interrupted: with what it prints,
    /// `cargo test -p billing --test slice` runs by itself, as often as wanted.
    #[arg(long, conflicts_with_all = ["jobs", "silence", "filter"])]
    servers: bool,
    /// Only the tests whose names contain one of these, without the other stages.
    filter: Vec<String>,
}

pub(crate) async fn run(args: TestArgs) -> anyhow::Result<ExitCode> {
    let mut requests = EndRequests::listen()?;
    if args.servers {
        return keep_servers(&mut requests).await;
    }
    tokio::select! {
        ended = stages(args) => ended,
        () = requests.next() => bail!("interrupted"),
    }
}

async fn stages(args: TestArgs) -> anyhow::Result<ExitCode> {
    let paths = Paths::here()?;
    let begun = Instant::now();
    let say = progress(begun);
    let mut done = Summary::since(begun);

    if args.filter.is_empty() {
        ensure_components(&say).await?;
        done.stage("format", cargo(&["fmt", "--all", "--check"])?).await?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        done.stage("lints", cargo(&clippy)?).await?;
    }
    let programs = build_programs(&mut done).await?;

    let started = Instant::now();
    announce("servers and tools", "Postgres, RabbitMQ, Node and Python");
    let claim = Claim::take(&paths.test()).await?;
    ensure_tools(
        &[Tool::UtilLinux, Tool::Node, Tool::Python],
        &paths.test().join("apt.log"),
        &say,
    )
    .await?;
    let servers = Servers::start(&paths.test(), &say).await?;
    done.passed("servers and tools", started);

    let tested = run_programs(&args, programs, &servers, &paths, &mut done).await;
    servers.end().await;
    drop(claim);
    tested?;

    if args.filter.is_empty() {
        done.stage("end to end", cargo(&["dev", "demo", "--once"])?).await?;
    }
    done.print();
    Ok(ExitCode::SUCCESS)
}

async fn keep_servers(requests: &mut EndRequests) -> anyhow::Result<ExitCode> {
    let folder = Paths::here()?.test_servers();
    let say = progress(Instant::now());
    let claim = Claim::take(&folder).await?;
    let servers = tokio::select! {
        started = Servers::start(&folder, &say) => started?,
        () = requests.next() => bail!("interrupted"),
    };
    for (name, value) in servers.variables()? {
        writeln!(std::io::stdout(), "export {name}='{value}'")?;
    }
    say("they run until this command is interrupted (Ctrl-C)");
    requests.next().await;
    servers.end().await;
    drop(claim);
    Ok(ExitCode::SUCCESS)
}

async fn build_programs(done: &mut Summary) -> anyhow::Result<Vec<TestProgram>> {
    let name = "test programs";
    let command = programs::build_command()?;
    announce(name, &words(&command));
    let started = Instant::now();
    let (status, mut programs) = programs::build(command).await?;
    done.ended(name, started, status)?;
    programs.push(programs::doc_tests()?);
    Ok(programs)
}

async fn run_programs(
    args: &TestArgs,
    mut programs: Vec<TestProgram>,
    servers: &Servers,
    paths: &Paths,
    done: &mut Summary,
) -> anyhow::Result<()> {
    let limits = Limits {
        at_once: args.jobs.unwrap_or_else(programs_at_once).max(1),
        silence: Duration::from_secs(args.silence),
    };
    for program in &mut programs {
        servers.tell(&mut program.command)?;
        program.add_words(&args.filter);
    }
    announce(
        "tests",
        &format!("{} programs, {} at a time", programs.len(), limits.at_once),
    );
    let started = Instant::now();
    if side_by_side::run(programs, limits, &paths.test(), &progress(started)).await? {
        done.passed("tests", started);
        return Ok(());
    }
    done.failed("tests", started);
    bail!("the stage \"tests\" failed; its output is above")
}

fn programs_at_once() -> usize {
    PER_CORE * std::thread::available_parallelism().map_or(1, usize::from)
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
