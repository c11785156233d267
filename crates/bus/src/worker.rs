//! What every service with a database and a broker is made of, and how it is watched and ended.
//!
//! A service starts its parts on one [`JoinSet`] and hands them over with its connections. They end after the service's stop
//! token was cancelled and not before; only then are the connections closed, those that alerts go through last.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use db::Database;
use tokio::task::JoinSet;

use crate::alerts::AlertRaiser;
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
        }
    }

    /// Where the service raises alerts.
    #[must_use]
    pub fn alerts(&self) -> AlertRaiser {
        self.alerts.clone()
    }

    /// Whether the database, migrated for this version, and the broker answer, each with the name of the check.
    #[must_use]
    pub fn checks(&self) -> [(String, Check); 2] {
        let database = self.database.clone();
        let ask_database: Check = Box::new(move || {
            let database = database.clone();
            Box::pin(async move { database.check_schema().await.map_err(|error| db::error::chain(&error)) })
        });
        let publisher = self.publisher.clone();
        let ask_broker: Check = Box::new(move || {
            let answer = publisher.check().map_err(|error| error.to_string());
            Box::pin(async move { answer })
        });
        [
            (format!("{}: database", self.name), ask_database),
            (format!("{}: broker", self.name), ask_broker),
        ]
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
