//! When this process is asked to end: Ctrl-C, SIGTERM, or a terminal that closed.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from its making on, so that no request between two waits is lost.
#[derive(Debug)]
pub struct EndRequests {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    has_terminal: bool,
}

impl EndRequests {
    /// For a command in a terminal.
    ///
    /// # Errors
    /// When the handlers cannot be set up.
    pub fn listen() -> anyhow::Result<Self> {
        let handle = |kind| signal(kind).context("handling signals");
        Ok(Self {
            interrupt: handle(SignalKind::interrupt())?,
            terminate: handle(SignalKind::terminate())?,
            hangup: handle(SignalKind::hangup())?,
            has_terminal: true,
        })
    }

    /// For a process in the background, which outlives the terminal that it was started from.
    ///
    /// # Errors
    /// When the handlers cannot be set up.
    pub fn listen_without_terminal() -> anyhow::Result<Self> {
        Ok(Self {
            has_terminal: false,
            ..Self::listen()?
        })
    }

    /// Waits for the next request.
    pub async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => if self.has_terminal { return },
            }
        }
    }
}
