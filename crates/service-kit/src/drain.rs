//! Stopping without dropping anything.
//!
//! SIGTERM or SIGINT cancels one token. Every part of the process watches it, takes nothing new, finishes what it has and
//! ends. [`Parts::finish`] waits for them under one deadline and names those that did not finish; the process then says so
//! and leaves with a failure. A part that ends by itself before the signal stops the whole process: a service that lost its
//! consumer must be restarted, not linger half alive. A second signal ends the wait at once.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long parts may take, unless the caller says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(25);

/// Watches for SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Starts to watch. From here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn watch() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Why a process stopped and what was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// A signal's name, or the part that ended by itself.
    pub cause: String,
    /// Whether it stopped because it was told to.
    pub asked: bool,
    /// The parts that did not finish in time.
    pub unfinished: Vec<String>,
}

impl Stopped {
    /// Whether the process was told to stop and everything finished.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.asked && self.unfinished.is_empty()
    }
}

/// The parts of a process that must finish before it ends.
#[derive(Debug)]
pub struct Parts {
    stop: CancellationToken,
    running: JoinSet<()>,
    names: Vec<(tokio::task::Id, String)>,
}

impl Parts {
    /// No parts yet; `stop` is the token that they watch.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            running: JoinSet::new(),
            names: Vec::new(),
        }
    }

    /// The token that ends all parts.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a part. It must end soon after the token is cancelled, and not before.
    pub fn spawn(&mut self, name: impl Into<String>, part: impl Future<Output = ()> + Send + 'static) {
        let handle = self.running.spawn(part);
        self.names.push((handle.id(), name.into()));
    }

    /// Waits for a signal or for a part that ends, then stops all parts and waits for them until the deadline.
    pub async fn run(mut self, mut signals: Signals, deadline: Duration) -> Stopped {
        let stop = self.stop.clone();
        let (cause, asked) = tokio::select! {
            name = signals.next() => (name.to_owned(), true),
            () = stop.cancelled() => ("the stop token".to_owned(), true),
            Some(ended) = self.running.join_next_with_id() => (self.ended(ended), false),
        };
        tracing::info!(cause, "stopping");
        let unfinished = tokio::select! {
            unfinished = self.finish(deadline) => unfinished,
            name = signals.next() => {
                tracing::warn!(signal = name, "a second signal ends the drain");
                self.left()
            }
        };
        Stopped {
            cause,
            asked,
            unfinished,
        }
    }

    /// Stops all parts, waits until the deadline, and names those that did not finish.
    pub async fn finish(&mut self, deadline: Duration) -> Vec<String> {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                self.ended(ended);
            }
        };
        // The borrow of `all` must end before `left`.
        let _ = tokio::time::timeout(deadline, all).await;
        let left = self.left();
        for name in &left {
            tracing::error!(part = name, "did not finish before the deadline");
        }
        left
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) -> String {
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let place = self.names.iter().position(|(known, _)| *known == id);
        let name = place.map_or_else(|| "a part".to_owned(), |place| self.names.swap_remove(place).1);
        if panicked {
            tracing::error!(part = name, "panicked");
        }
        name
    }

    fn left(&self) -> Vec<String> {
        self.names.iter().map(|(_, name)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_that_finish_are_not_named_and_the_others_are() {
        let stop = CancellationToken::new();
        let mut parts = Parts::new(stop.clone());
        let watched = stop.clone();
        parts.spawn("good", async move { watched.cancelled().await });
        parts.spawn("stuck", std::future::pending());
        assert_eq!(parts.finish(Duration::from_millis(100)).await, ["stuck"]);
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_part_that_ends_by_itself_stops_the_others() {
        let stop = CancellationToken::new();
        let mut parts = Parts::new(stop.clone());
        let watched = stop.clone();
        parts.spawn("waits", async move { watched.cancelled().await });
        parts.spawn("consumer", async {});
        let stopped = parts.run(Signals::watch().unwrap(), DEADLINE).await;
        assert_eq!(
            stopped,
            Stopped {
                cause: "consumer".to_owned(),
                asked: false,
                unfinished: Vec::new()
            }
        );
        assert!(!stopped.is_clean());
    }

    #[tokio::test]
    async fn a_cancelled_token_is_a_clean_stop() {
        let stop = CancellationToken::new();
        let mut parts = Parts::new(stop.clone());
        let watched = parts.stop_token();
        parts.spawn("waits", async move { watched.cancelled().await });
        stop.cancel();
        assert!(parts.run(Signals::watch().unwrap(), DEADLINE).await.is_clean());
    }
}
