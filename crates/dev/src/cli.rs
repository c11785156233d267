//! The command line of `cargo dev`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use crate::{bench, demo, down, status, supervise, test_command, up};

#[derive(Debug, Parser)]
#[command(
    name = "cargo dev",
    bin_name = "cargo dev",
    about = "Holdfast on this machine: start it, look at it, test it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything: Postgres, RabbitMQ, the Stripe simulator and the services.
    Up(up::UpArgs),
    /// Stop what `up` started.
    Down,
    /// Say what runs, with URLs, secrets and tokens.
    Status(status::StatusArgs),
    /// Everything that CI runs: format, lints, tests, end to end.
    Test(test_command::TestArgs),
    /// Start the system and play a day of payments in it.
    Demo(demo::DemoArgs),
    /// Measure, and print ratios.
    Bench(bench::BenchArgs),
    /// The process behind `up --detach`.
    #[command(hide = true)]
    Supervise(SystemArgs),
}

/// What the system is made of.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct SystemArgs {
    /// One process per service, behind one address.
    #[arg(long)]
    pub split: bool,
    /// Remove the data of earlier runs first.
    #[arg(long)]
    pub clean: bool,
    /// Without the Stripe simulator: STRIPE_SECRET_KEY and the webhook secrets come from the environment.
    #[arg(long)]
    pub no_sim: bool,
    /// The port of the one address; 0 takes a free one. Without this it is 8080, or a free one if that is in use.
    #[arg(long)]
    pub port: Option<u16>,
    /// The simulator's seed, which decides every id and every chance; a random one when absent.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Build and run optimised programs.
    #[arg(long)]
    pub release: bool,
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    // Fails only when a provider was chosen already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("the runtime")),
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Up(args) => up::run(args).await,
            Command::Down => down::run().await,
            Command::Status(args) => status::run(args),
            Command::Test(args) => test_command::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Supervise(args) => supervise::run(args).await,
        }
    });
    ended.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "error: {error}"));
    for cause in error.chain().skip(1) {
        drop(writeln!(err, "  because: {cause}"));
    }
    ExitCode::FAILURE
}

/// Prints one line of progress with the time since the start of the command; a reader that is gone does not matter.
pub fn progress(started: Instant) -> impl Fn(&str) + Send + Sync + Clone {
    move |line| {
        drop(writeln!(
            std::io::stderr(),
            "[{:6.1} s] {line}",
            started.elapsed().as_secs_f64()
        ));
    }
}
