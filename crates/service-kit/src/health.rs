//! Liveness and readiness.
//!
//! `/healthz` says that the process answers; it depends on nothing else, since restarting a process does not bring a
//! database back. `/readyz` runs every registered check, each under a time limit, and names what is missing. From the
//! moment of the stop signal it says "stopping", so that a load balancer sends nothing new. Where one process runs several services,
//! `/readyz?service=<name>` asks for one of them: a database that is away is no reason to take ingest, which has none, out of rotation.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// A check that takes longer counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The registry of checks. Clones share it.
#[derive(Clone)]
pub struct Readiness {
    checks: Arc<RwLock<Vec<(String, Check)>>>,
    stopping: CancellationToken,
    check_timeout: Duration,
}

/// The answer of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// What was checked.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// What is wrong, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The answer of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `ready` or `not_ready`.
    pub status: &'static str,
    /// The names of what is missing.
    pub missing: Vec<String>,
    /// Every check.
    pub checks: Vec<CheckResult>,
}

impl Report {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Readiness {
    /// A registry that turns to "stopping" when the token is cancelled.
    #[must_use]
    pub fn new(stopping: CancellationToken) -> Self {
        Self {
            checks: Arc::default(),
            stopping,
            check_timeout: CHECK_TIMEOUT,
        }
    }

    /// Adds a check; its error says what is wrong, in words for an operator and without secrets.
    pub fn register<F, Fut>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.into(), check));
    }

    /// Runs every check, at the same time.
    pub async fn report(&self) -> Report {
        self.report_on(|_| true).await
    }

    /// Runs the checks of one service, which are called `<service>: <what>`; `None` where there are none.
    pub async fn report_of(&self, service: &str) -> Option<Report> {
        let is_of = |name: &str| name.split_once(": ").is_some_and(|(of, _)| of == service);
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !checks.iter().any(|(name, _)| is_of(name)) {
            return None;
        }
        Some(self.report_on(is_of).await)
    }

    async fn report_on(&self, counts: impl Fn(&str) -> bool) -> Report {
        let mut checks = self.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        checks.retain(|(name, _)| counts(name));
        let running = checks.into_iter().map(|(name, check)| async move {
            let problem = match tokio::time::timeout(self.check_timeout, check()).await {
                Ok(Ok(())) => None,
                Ok(Err(problem)) => Some(problem),
                Err(_) => Some(format!("did not answer within {} s", self.check_timeout.as_secs_f32())),
            };
            CheckResult {
                name,
                ok: problem.is_none(),
                problem,
            }
        });
        let mut checks = futures_util::future::join_all(running).await;
        if self.stopping.is_cancelled() {
            let problem = Some("the process is stopping".to_owned());
            checks.push(CheckResult {
                name: "process".to_owned(),
                ok: false,
                problem,
            });
        }
        let missing: Vec<String> = checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| check.name.clone())
            .collect();
        let status = if missing.is_empty() { "ready" } else { "not_ready" };
        Report {
            status,
            missing,
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let stopping = CancellationToken::new();
        let mut readiness = Readiness::new(stopping.clone());
        readiness.check_timeout = Duration::from_millis(100);
        assert!(readiness.report().await.is_ready());
        readiness.register("broker", || async { Ok(()) });
        readiness.register("database", || async { Err("connection refused".to_owned()) });
        readiness.register("slow", std::future::pending);
        let report = readiness.report().await;
        assert_eq!(report.missing, ["database", "slow"]);
        assert_eq!(report.checks[1].problem.as_deref(), Some("connection refused"));
        stopping.cancel();
        assert_eq!(readiness.report().await.missing, ["database", "slow", "process"]);
    }
}
