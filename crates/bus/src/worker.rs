//! What every service with a database and a broker is made of, and how it is watched and ended.
//!
//! A service starts its parts on one [`JoinSet`] and hands them over with its connections. They end after the service's stop
//! token was cancelled and not before; only then are the connections closed, those that alerts go through last.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use db::Database;
use tokio::task::JoinSet;

use crate::alerts::AlertRaiser;
use crate::consumer::Intake;
use crate::publisher::Publisher;

/// A question to a server that the service needs; the error says what is wrong, in words for an operator and without secrets.
pub type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// A service at work. Clones are the same worker.
#[derive(Debug, Clone)]
pub struct Worker {
    name: &'static str,
    database: Database,
    publisher: Publisher,
    alerts: AlertRaiser,
    parts: Arc<Mutex<JoinSet<()>>>,
    intakes: Vec<(String, Intake)>,
}

impl Worker {
    /// Takes over what a service has started.
    #[must_use]
    pub fn new(
        name: &'static str,
        database: Database,
        publisher: Publisher,
        alerts: AlertRaiser,
        parts: JoinSet<()>,
    ) -> Self {
        Self {
            name,
            database,
            publisher,
            alerts,
            parts: Arc::new(Mutex::new(parts)),
            intakes: Vec::new(),
        }
    }

    /// Watches whether a queue is consumed.
    #[must_use]
    pub fn watching(mut self, queue: impl Into<String>, intake: Intake) -> Self {
        self.intakes.push((queue.into(), intake));
        self
    }

    /// Where the service raises alerts.
    #[must_use]
    pub fn alerts(&self) -> AlertRaiser {
        self.alerts.clone()
    }

    /// Whether the database, migrated for this version, and the broker answer, and each queue is consumed, with the names of the checks.
    #[must_use]
    pub fn checks(&self) -> Vec<(String, Check)> {
        let (database, is_known) = (self.database.clone(), Arc::new(AtomicBool::new(false)));
        let ask_database: Check = Box::new(move || {
            let (database, is_known) = (database.clone(), Arc::clone(&is_known));
            Box::pin(async move {
                let answer = database.check_schema().await;
                let was_known = is_known.swap(answer.is_err(), Ordering::Relaxed);
                answer.map_err(|error| {
                    // Readiness is open to everybody: what the server says, of names and addresses, is for the log, and once.
                    if !was_known {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the database is not ready");
                    }
                    error.to_string()
                })
            })
        });
        let publisher = self.publisher.clone();
        let ask_broker: Check = Box::new(move || {
            let answer = publisher.check().map_err(|error| error.to_string());
            Box::pin(async move { answer })
        });
        let mut checks = vec![
            (format!("{}: database", self.name), ask_database),
            (format!("{}: broker", self.name), ask_broker),
        ];
        for (queue, intake) in self.intakes.clone() {
            let look: Check = Box::new(move || {
                let answer = if intake.is_open() {
                    Ok(())
                } else {
                    Err("it is not consumed".to_owned())
                };
                Box::pin(async move { answer })
            });
            checks.push((format!("{}: {queue}", self.name), look));
        }
        checks
    }

    /// Waits until every part has ended, or one has ended badly. Dropping the wait drops the parts where they stand.
    pub async fn wait(&self) {
        let mut parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(ended) = parts.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, service = self.name, "a part of the service ended badly");
                return;
            }
        }
    }

    /// Sends the alerts that are left and closes the connections. Call it after [`Self::wait`].
    pub async fn close(&self, at_most: Duration) {
        if !self.alerts.flush(at_most / 2).await {
            let alerts = self.alerts.pending();
            tracing::warn!(alerts, service = self.name, "alerts were left unsent");
        }
        self.publisher.close(at_most / 2).await;
    }
}
