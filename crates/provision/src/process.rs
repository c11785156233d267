//! A child that cannot outlive this process.
//!
//! The parent-death signal belongs to the thread that made the child, so children are made by one thread that never ends
//! before the process does.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};

use crate::Error;
use crate::claim::write_private;
use crate::error::{Tail, file};
use crate::machine::{ProcessId, find_program, search_path};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to run and how it ends with us.
#[derive(Debug, Clone)]
pub struct Spec {
    /// For messages, and the name of the pid file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment. With `inherit_env` this comes on top of ours, else PATH alone is added.
    pub env: Vec<(String, String)>,
    /// Whether the child sees our environment.
    pub inherit_env: bool,
    /// A command that takes the rest as its arguments, for example `unshare --user`.
    pub wrapper: Vec<OsString>,
    /// Its working folder.
    pub folder: PathBuf,
    /// Where its output goes, appended.
    pub log: PathBuf,
    /// Where its pid is kept, in a claimed folder; see [`crate::Claim`].
    pub pid_folder: PathBuf,
    /// Which signal it gets when we die.
    pub death_signal: Signal,
}

impl Spec {
    fn command(&self) -> Result<Command, Error> {
        let mut words = self.wrapper.clone();
        words.extend(until_parent_death(self.death_signal)?);
        words.push(self.program.clone().into());
        words.extend(self.args.iter().cloned());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        if !self.inherit_env {
            command.env_clear().env("PATH", search_path());
        }
        if let Some(folder) = self.log.parent() {
            std::fs::create_dir_all(folder).map_err(file("creating", folder))?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(file("opening", &self.log))?;
        let log_again = log.try_clone().map_err(file("opening", &self.log))?;
        command.envs(self.env.iter().cloned()).current_dir(&self.folder);
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_again)
            .process_group(0);
        Ok(command)
    }

    fn pid_file(&self) -> PathBuf {
        self.pid_folder.join(format!("{}.pid", self.name))
    }
}

/// The words in front of a command that tie it to the life of the thread that starts it. Where the kernel has no such signal
/// (macOS) there are none, and what is left over after a crash is ended at the next start.
fn until_parent_death(signal: Signal) -> Result<Vec<OsString>, Error> {
    if !cfg!(target_os = "linux") {
        return Ok(Vec::new());
    }
    let setpriv =
        find_program("setpriv").ok_or_else(|| crate::packages::missing(&["util-linux"], "setpriv (util-linux)"))?;
    Ok(vec![
        setpriv.into(),
        "--pdeathsig".into(),
        signal.as_str().trim_start_matches("SIG").into(),
    ])
}

/// A running child. Dropping it kills its process group at once.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    id: Option<ProcessId>,
}

impl Process {
    /// Starts it and writes its pid file.
    pub fn spawn(spec: Spec) -> Result<Self, Error> {
        let child = spawn_from_keeper(spec.command()?).map_err(|source| Error::Spawn {
            program: spec.program.display().to_string(),
            source,
        })?;
        let id = ProcessId::running(child.id());
        let process = Self { spec, child, id };
        if let Some(id) = process.id {
            write_private(&process.spec.pid_file(), &id.to_string(), 0o600)?;
        }
        Ok(process)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its name, from the spec.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The error for having ended like this, with the log's last lines.
    pub fn ended_error(&self, status: ExitStatus) -> Error {
        Error::Ended {
            what: self.spec.name.clone(),
            status,
            tail: Tail::of(&self.spec.log),
        }
    }

    /// The error for not being usable after `limit`, with the log's last lines.
    pub fn not_ready_error(&self, limit: Duration) -> Error {
        Error::NotReady {
            what: self.spec.name.clone(),
            seconds: limit.as_secs(),
            tail: Tail::of(&self.spec.log),
        }
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until `ready` says so, or it ended, or `limit` has passed.
    pub async fn wait_until<F, Fut>(&mut self, limit: Duration, ready: F) -> Result<(), Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Err(self.ended_error(status));
            }
            if ready().await {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(self.not_ready_error(limit));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends `signal` to the process, waits up to `grace`, then kills its group. Says whether it went by itself.
    pub async fn stop(&mut self, signal: Signal, grace: Duration) -> bool {
        if let Some(id) = self.id {
            let _gone = nix::sys::signal::kill(id.group(), signal);
        }
        let went = tokio::time::timeout(grace, self.wait()).await.is_ok();
        self.kill();
        went
    }

    /// Kills its group and takes its exit status.
    pub fn kill(&mut self) {
        if self.ended().is_none()
            && let Some(id) = self.id
        {
            let _gone = killpg(id.group(), Signal::SIGKILL);
        }
        drop(self.child.wait());
        drop(std::fs::remove_file(self.spec.pid_file()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// A command with our environment, terminal and process group that still cannot outlive us when it is started by
/// [`spawn_tied`]: for programs that the user watches, such as a nested `cargo`.
pub fn tied_command(program: &str, death_signal: Signal) -> Result<Command, Error> {
    let mut words = until_parent_death(death_signal)?;
    words.push(program.into());
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    Ok(command)
}

/// Starts a command from the thread that lives as long as this process; see [`tied_command`].
pub fn spawn_tied(command: Command) -> Result<Child, Error> {
    let program = format!("{command:?}");
    spawn_from_keeper(command).map_err(|source| Error::Spawn { program, source })
}

fn spawn_from_keeper(command: Command) -> io::Result<Child> {
    static KEEPER: LazyLock<Sender<Order>> = LazyLock::new(|| {
        let (orders, incoming) = channel::<Order>();
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = incoming.recv() {
                drop(answer.send(command.spawn()));
            }
        });
        orders
    });
    let (answer, child) = sync_channel(1);
    KEEPER.send((command, answer)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
