//! Who owns a folder of servers, and what a dead owner left in it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, killpg};

use crate::Error;
use crate::error::file;
use crate::machine::ProcessId;

const LOCK: &str = "owner.lock";
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to run servers in a folder. The kernel takes it back when this process ends, in whatever way.
#[derive(Debug)]
pub struct Claim {
    lock: Flock<File>,
}

impl Claim {
    /// Claims `folder` (made if it is missing, for the owner only) and ends what a dead owner left running in it.
    pub async fn take(folder: &Path) -> Result<Self, Error> {
        let claim = Self::lock(folder)?;
        end_leftovers(folder).await?;
        Ok(claim)
    }

    /// The pid of the live process that has claimed `folder`, if there is one.
    pub fn owner(folder: &Path) -> Option<String> {
        match Self::lock_existing(&folder.join(LOCK)) {
            Err(Error::InUse { owner, .. }) => Some(owner),
            _ => None,
        }
    }

    fn lock(folder: &Path) -> Result<Self, Error> {
        make_private_folder(folder)?;
        let path = folder.join(LOCK);
        drop(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(file("creating", &path))?,
        );
        let mut claim = Self::lock_existing(&path)?;
        let written = claim
            .lock
            .set_len(0)
            .and_then(|()| write!(claim.lock, "{}", std::process::id()));
        written.map_err(file("writing", &path))?;
        Ok(claim)
    }

    fn lock_existing(path: &Path) -> Result<Self, Error> {
        let lock = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(file("opening", path))?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { lock }),
            Err(_) => {
                let owner = std::fs::read_to_string(path).ok().filter(|pid| !pid.is_empty());
                let folder = path.parent().unwrap_or(path).to_owned();
                Err(Error::InUse {
                    folder,
                    owner: owner.unwrap_or_else(|| "?".to_owned()),
                })
            }
        }
    }
}

/// Removes every folder directly below `parent` whose owner is dead, with whatever still runs in it.
pub async fn sweep(parent: &Path) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Ok(());
    };
    for folder in entries.flatten().map(|entry| entry.path()) {
        if !folder.join(LOCK).is_file() {
            continue;
        }
        match Claim::take(&folder).await {
            Ok(_claim) => remove_folder(&folder)?,
            Err(Error::InUse { .. }) => {}
            // Its owner has ended meanwhile, and taken it away.
            Err(_) if !folder.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn make_private_folder(folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(file("creating", folder))
}

pub(crate) fn remove_folder(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file("removing", folder)(error)),
        _ => Ok(()),
    }
}

/// A file that only its owner may read, replaced as a whole.
pub(crate) fn write_private(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let unfinished = path.with_extension("unfinished");
    drop(std::fs::remove_file(&unfinished));
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(file("writing", path))
}

/// Ends the processes that pid files in `folder` name, if they are still the same ones. Their parent is dead, so most are
/// already stopping by their parent-death signal.
async fn end_leftovers(folder: &Path) -> Result<(), Error> {
    let entries = std::fs::read_dir(folder).map_err(file("reading", folder))?;
    let pid_files = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "pid"));
    for pid_file in pid_files.collect::<Vec<PathBuf>>() {
        let text = std::fs::read_to_string(&pid_file).map_err(file("reading", &pid_file))?;
        if let Ok(process) = text.parse::<ProcessId>() {
            end(process).await;
        }
        std::fs::remove_file(&pid_file).map_err(file("removing", &pid_file))?;
    }
    Ok(())
}

async fn end(process: ProcessId) {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let asked = Instant::now();
        let mut sent = false;
        while process.is_alive() && asked.elapsed() < PATIENCE {
            if !sent {
                // Only an own process group was ever started here; if it is gone in between, so much the better.
                let _gone = killpg(process.group(), signal);
                sent = true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
