//! What can go wrong while servers are provided. Each message names what failed and shows the last lines of its log.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

const TAIL_LINES: usize = 20;

/// A server or tool could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another live process has claimed the folder.
    #[error("{} is in use by process {owner}", folder.display())]
    InUse {
        /// The claimed folder.
        folder: PathBuf,
        /// The pid that the owner wrote down, or "?" when it had not yet.
        owner: String,
    },
    /// A file or folder could not be read, written or removed.
    #[error("{action} {} failed", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// No port was free.
    #[error("no port between {first} and {last} is free on 127.0.0.1")]
    NoPort {
        /// The first that was considered.
        first: u16,
        /// The last that was considered.
        last: u16,
    },
    /// A program could not be started at all.
    #[error("starting {program} failed")]
    Spawn {
        /// The program.
        program: String,
        /// What the operating system answered.
        source: io::Error,
    },
    /// A program ended with an error, or a server ended while it should run.
    #[error("{what} ended with {status}{tail}")]
    Ended {
        /// The program or server.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// The log's last lines, ready to print.
        tail: Tail,
    },
    /// A server runs but did not become usable in time.
    #[error("{what} was not ready after {seconds} s{tail}")]
    NotReady {
        /// The server.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// The log's last lines, ready to print.
        tail: Tail,
    },
    /// Nothing on this machine provides what is needed; the message says how to get it.
    #[error("{what} is needed and was not found on this machine. {advice}")]
    Missing {
        /// What is needed.
        what: String,
        /// The exact command for this platform, in a sentence.
        advice: String,
    },
    /// A server that was given by URL does not answer.
    #[error(
        "the server that {variable} names does not answer: {reason}. Without {variable} (`unset {variable}`) a private one is used"
    )]
    Given {
        /// The variable the URL came from.
        variable: &'static str,
        /// What happened, without credentials.
        reason: String,
    },
    /// The server was given by URL, so it is not ours to stop, start or control.
    #[error("{what} was given by URL: only a private one can be stopped, started or controlled")]
    NotOurs {
        /// The server.
        what: &'static str,
    },
    /// `rabbitmqctl` refused.
    #[error("rabbitmqctl {command} failed: {output}")]
    Ctl {
        /// Its arguments.
        command: String,
        /// What it printed.
        output: String,
    },
}

/// The last lines of a log, shown under an error's first line.
#[derive(Debug)]
pub struct Tail {
    log: PathBuf,
    lines: String,
}

impl Tail {
    pub(crate) fn of(log: &Path) -> Self {
        let text = std::fs::read(log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let lines = lines
            .get(lines.len().saturating_sub(TAIL_LINES)..)
            .unwrap_or_default()
            .join("\n    ");
        Self {
            log: log.to_owned(),
            lines,
        }
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lines.contains(text)
    }
}

impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.lines.is_empty() {
            write!(f, "; its log {} is empty", self.log.display())
        } else {
            write!(f, "; the last lines of {}:\n    {}", self.log.display(), self.lines)
        }
    }
}

/// Names the file in an I/O error.
pub(crate) fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}
