//! `cargo dev down`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use provision::Claim;

use crate::paths::Paths;
use crate::state::State;

/// Services drain for up to half a minute, and then the servers write their data.
const GRACE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let paths = Paths::here()?;
    let Some(owner) = Claim::owner(&paths.up()) else {
        end_leftovers(&paths).await?;
        println!("Nothing runs.");
        return Ok(ExitCode::SUCCESS);
    };
    if let Ok(owner) = owner.parse() {
        // The owner holds the lock, so it lives, and the number is its own.
        let _gone = kill(Pid::from_raw(owner), Signal::SIGTERM);
    }
    let asked = Instant::now();
    while let Some(owner) = Claim::owner(&paths.up()) {
        if asked.elapsed() > GRACE
            && let Ok(owner) = owner.parse()
        {
            eprintln!(
                "Process {owner} did not end within {} s: killing it, and with it everything it started.",
                GRACE.as_secs()
            );
            let _gone = kill(Pid::from_raw(owner), Signal::SIGKILL);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    end_leftovers(&paths).await?;
    println!("Stopped.");
    Ok(ExitCode::SUCCESS)
}

/// After a crash of the owner: waits for what is still ending, and ends what does not.
async fn end_leftovers(paths: &Paths) -> anyhow::Result<()> {
    if paths.up().is_dir() {
        for folder in [paths.up(), paths.up().join("postgres"), paths.up().join("rabbitmq")] {
            drop(Claim::take(&folder).await?);
        }
    }
    State::remove(paths);
    Ok(())
}
