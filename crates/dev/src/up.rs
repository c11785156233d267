//! `cargo dev up`: in this terminal until Ctrl-C, or with `--detach` behind it.

use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use provision::Claim;

use crate::cli::{SystemArgs, progress};
use crate::paths::Paths;
use crate::signals::EndRequests;
use crate::state::State;
use crate::system::{Options, System};
use crate::{build, status, supervise};

const OTHER_START_LIMIT: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const INTERRUPTED: i32 = 130;

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Go on in the background; `cargo dev down` stops it.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    system: SystemArgs,
}

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let paths = Paths::here()?;
    if let Some(state) = running_or_starting(&paths).await? {
        if args.system.clean {
            bail!("it runs already, so nothing was removed: `cargo dev down` first");
        }
        println!("It runs already.");
        status::print(&state);
        return Ok(ExitCode::SUCCESS);
    }
    let mut requests = EndRequests::listen()?;
    let say = progress(Instant::now());
    let started = async {
        build::programs(args.system.release, &say).await?;
        if args.detach {
            return supervise::start(&paths, args.system).await.map(|state| (state, None));
        }
        let programs = paths.programs(args.system.release);
        let options = Options {
            args: args.system,
            paths: paths.clone(),
            programs,
        };
        let system = System::start(options, Arc::new(say.clone())).await?;
        Ok((system.state(), Some(system)))
    };
    let (state, system) = tokio::select! {
        started = started => started?,
        () = requests.next() => bail!("interrupted while starting; nothing was left running"),
    };
    status::print(&state);
    let Some(system) = system else {
        return Ok(ExitCode::SUCCESS);
    };
    println!("Ctrl-C stops it.");
    requests.next().await;
    say("stopping");
    stop(system, &mut requests).await;
    say("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Stops in order; asked a second time, ends at once, which takes every child along.
pub(crate) async fn stop(system: System, requests: &mut EndRequests) {
    tokio::select! {
        () = system.stop() => {}
        () = requests.next() => exit(INTERRUPTED),
    }
}

/// The system that runs in this checkout. One that is just starting is waited for.
async fn running_or_starting(paths: &Paths) -> anyhow::Result<Option<State>> {
    let begun = Instant::now();
    let mut said = false;
    loop {
        if let Some(state) = State::running(paths) {
            return Ok(Some(state));
        }
        let Some(owner) = Claim::owner(&paths.up()) else {
            return Ok(None);
        };
        if !said {
            eprintln!("Process {owner} is starting or stopping the system: waiting for it.");
            said = true;
        }
        if begun.elapsed() > OTHER_START_LIMIT {
            bail!(
                "process {owner} was neither ready nor gone after {} s",
                OTHER_START_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
