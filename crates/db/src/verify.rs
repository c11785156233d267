//! Whether the live database is what the migrations made (SEC-1).
//!
//! The catalog is read in one snapshot and compared with what is written down in `expected`, a second time and by hand: every
//! table and partition under forced row-level security, exactly the expected policies, exactly the expected grants, two roles
//! without special powers. Whatever is there beyond the expected is as wrong as what is missing, because policies and grants add up.
//! The triggers and unique indexes by which the database refuses what must not be have to be there; more of them do no harm.

mod catalog;
mod checks;
mod expected;

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;

use crate::connect::{Target, TargetError};
use crate::error::DbError;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth a look; nothing is open that should be closed.
    Warning,
    /// Not as it should be.
    Failed,
}

/// One line of the check list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found; every problem, separated by semicolons.
    pub detail: String,
}

impl Check {
    fn of(name: String, problems: Vec<String>, fine: &str) -> Self {
        if problems.is_empty() {
            Self {
                name,
                verdict: Verdict::Ok,
                detail: fine.to_owned(),
            }
        } else {
            Self {
                name,
                verdict: Verdict::Failed,
                detail: problems.join("; "),
            }
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED ",
        };
        write!(f, "{mark}  {}: {}", self.name, self.detail)
    }
}

/// Everything that was looked at; prints as a check list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckList {
    /// In the order in which they are worth reading.
    pub checks: Vec<Check>,
}

impl CheckList {
    /// Nothing failed. Warnings do not count.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.verdict == Verdict::Failed)
    }
}

impl fmt::Display for CheckList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The URL or TLS.
    #[error("the database's URL cannot be used")]
    Target(#[from] TargetError),
    /// The server, or a role that may not look.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Checks the live database; changes nothing. Any role that may read `schema_migrations` will do.
///
/// # Errors
/// When the database cannot be read. What it holds is never an error but a failed check.
pub async fn verify(url: &SecretString) -> Result<CheckList, VerifyError> {
    let mut target = Target::parse(url, "holdfast verify")?;
    target.config.connect_timeout(Duration::from_secs(10));
    let mut client = target.connect().await?;
    let catalog = catalog::Catalog::read(&mut client).await?;
    Ok(CheckList {
        checks: checks::run(&catalog),
    })
}
