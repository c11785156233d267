//! The process behind `cargo dev up --detach`: it owns the system, and everything ends with it.
//!
//! Protocol: whoever starts it holds a pipe to its input and writes one byte when the system is ready. If the pipe closes
//! before that, the starter was interrupted or killed, and the supervisor gives up the start. From then on only `down`, a
//! signal or a crash ends it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::oneshot;

use crate::cli::{SystemArgs, progress};
use crate::paths::Paths;
use crate::signals::EndRequests;
use crate::state::State;
use crate::system::{Options, System};
use crate::up::stop;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts a supervisor, shows what it says, and returns when the system is ready.
///
/// # Errors
/// When the supervisor cannot be started or gives up; what it said is on the terminal by then.
pub async fn start(paths: &Paths, args: SystemArgs) -> anyhow::Result<State> {
    let log = paths.log("supervisor");
    let folder = log.with_file_name("");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let output = OpenOptions::new().create(true).write(true).truncate(true).open(&log);
    let output = output.with_context(|| format!("opening {}", log.display()))?;
    let mut command = Command::new(Paths::this_program()?);
    command.arg("supervise").current_dir(Paths::workspace());
    for (flag, wanted) in [
        ("--split", args.split),
        ("--clean", args.clean),
        ("--no-sim", args.no_sim),
        ("--release", args.release),
    ] {
        command.args(wanted.then_some(flag));
    }
    command.args(args.port.map(|port| format!("--port={port}")));
    command.args(args.seed.map(|seed| format!("--seed={seed}")));
    command
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    let mut supervisor = command.spawn().context("starting the supervisor")?;
    let mut shown = File::open(&log).with_context(|| format!("opening {}", log.display()))?;
    loop {
        let ended = supervisor.try_wait().context("watching the supervisor")?;
        show(&mut shown)?;
        if let Some(status) = ended {
            bail!("the system did not start: the supervisor ended with {status}");
        }
        if let Some(state) = State::running(paths).filter(|state| is(state, &supervisor)) {
            let mut input = supervisor.stdin.take().context("the supervisor's input")?;
            input.write_all(b"!").context("telling the supervisor to stay")?;
            return Ok(state);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is(state: &State, supervisor: &Child) -> bool {
    u32::try_from(state.supervisor_pid) == Ok(supervisor.id())
}

fn show(log: &mut File) -> anyhow::Result<()> {
    let mut text = Vec::new();
    log.read_to_end(&mut text).context("reading the supervisor's log")?;
    std::io::stderr()
        .write_all(&text)
        .context("showing the supervisor's log")
}

/// The supervisor itself.
///
/// # Errors
/// When the system does not start.
pub async fn run(args: SystemArgs) -> anyhow::Result<ExitCode> {
    let mut requests = EndRequests::listen_without_terminal()?;
    let paths = Paths::here()?;
    let say = progress(Instant::now());
    let programs = paths.programs(args.release);
    let (abandoned, mut released) = starter();
    let system = tokio::select! {
        system = System::start(Options { args, paths, programs }, Arc::new(say.clone())) => system?,
        _ = abandoned => bail!("who started this was gone before the system was ready"),
        () = requests.next() => bail!("interrupted while starting"),
    };
    // Ready, and written down: the starter sees that and lets go of us, or is gone, which ends what nobody asked to keep.
    let kept = tokio::select! {
        kept = &mut released => kept.is_ok(),
        () = requests.next() => false,
    };
    if kept {
        requests.next().await;
    }
    say("stopping");
    stop(system, &mut requests).await;
    say("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Resolves the first when the starter is gone without having let go, the second when it has.
fn starter() -> (oneshot::Receiver<()>, oneshot::Receiver<()>) {
    let (gone, abandoned) = oneshot::channel();
    let (letting_go, released) = oneshot::channel();
    std::thread::spawn(move || {
        let mut byte = [0; 1];
        if std::io::stdin().read_exact(&mut byte).is_ok() {
            let _nobody_waits = letting_go.send(());
            // Kept for ever: its end would mean that the starter is gone.
            std::mem::forget(gone);
        } else {
            let _nobody_waits = gone.send(());
        }
    });
    (abandoned, released)
}
