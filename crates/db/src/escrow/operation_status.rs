//! The status of an operation as columns, and back.

use chrono::{DateTime, Utc};
use domain::escrow::failure::Failure;
use domain::escrow::held::Standing;
use domain::escrow::operation::{Cause, Resolve, Status};
use domain::ids::StripeObjectId;
use tokio_postgres::Row;

use super::{failure, seconds, time};
use crate::DbError;
use crate::statement::corrupt;

const OPERATION: &str = "load_operation";

/// What a status is made of, column by column.
#[derive(Debug, Default)]
pub(super) struct StatusColumns<'a> {
    pub(super) cause: Option<&'static str>,
    pub(super) resolve: Option<&'static str>,
    pub(super) failure: Option<Failure>,
    pub(super) next_at: Option<DateTime<Utc>>,
    pub(super) lease_until: Option<DateTime<Utc>>,
    pub(super) object: Option<&'a str>,
}

impl<'a> StatusColumns<'a> {
    pub(super) fn of(status: &'a Status) -> Self {
        match status {
            Status::Intended => Self::default(),
            Status::InFlight { lease_until } => Self {
                lease_until: Some(time(*lease_until)),
                ..Self::default()
            },
            Status::Succeeded { object } => Self {
                object: Some(object.as_str()),
                ..Self::default()
            },
            Status::FailedTransient { cause, next } => Self {
                next_at: Some(time(*next)),
                ..Self::because(*cause)
            },
            Status::FailedPermanent { cause } => Self::because(*cause),
            Status::Unknown { resolve, next } => {
                let (word, refusal) = match resolve {
                    Resolve::SameKey => ("same_key", None),
                    Resolve::Look { refusal } => ("look", *refusal),
                };
                Self {
                    resolve: Some(word),
                    failure: refusal,
                    next_at: Some(time(*next)),
                    ..Self::default()
                }
            }
        }
    }

    fn because(cause: Cause) -> Self {
        let (word, refusal) = match cause {
            Cause::Refused(failure) => ("refused", Some(failure)),
            Cause::NeverHappened => ("never_happened", None),
            Cause::HappenedTwice => ("happened_twice", None),
            Cause::Withdrawn => ("withdrawn", None),
        };
        Self {
            cause: Some(word),
            failure: refusal,
            ..Self::default()
        }
    }

    /// When a worker has something to do, if it depends on the status alone.
    pub(super) fn due(&self, status: &Status, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match status {
            Status::Intended => Some(now),
            Status::InFlight { .. } => self.lease_until,
            Status::FailedTransient { .. } | Status::Unknown { .. } => self.next_at,
            Status::Succeeded { .. } | Status::FailedPermanent { .. } => None,
        }
    }
}

/// Reads a status back.
pub(super) fn read(row: &Row) -> Result<Status, DbError> {
    let wrong = |column: &str| corrupt(OPERATION, column);
    let refusal = failure(OPERATION, row.get("failure_code"), row.get("failure_class"))?;
    let next_at: Option<DateTime<Utc>> = row.get("next_at");
    let lease_until: Option<DateTime<Utc>> = row.get("lease_until");
    let cause = || match (row.get::<_, Option<&str>>("cause"), refusal) {
        (Some("refused"), Some(failure)) => Ok(Cause::Refused(failure)),
        (Some("never_happened"), _) => Ok(Cause::NeverHappened),
        (Some("happened_twice"), _) => Ok(Cause::HappenedTwice),
        (Some("withdrawn"), _) => Ok(Cause::Withdrawn),
        (Some(_) | None, _) => Err(wrong("cause")),
    };
    match row.get::<_, &str>("status") {
        "intended" => Ok(Status::Intended),
        "in_flight" => Ok(Status::InFlight {
            lease_until: seconds(lease_until.ok_or_else(|| wrong("lease_until"))?),
        }),
        "succeeded" => {
            let object: Option<&str> = row.get("object_id");
            let object = object.and_then(|object| StripeObjectId::parse(object).ok());
            Ok(Status::Succeeded {
                object: object.ok_or_else(|| wrong("object_id"))?,
            })
        }
        "failed_transient" => Ok(Status::FailedTransient {
            cause: cause()?,
            next: seconds(next_at.ok_or_else(|| wrong("next_at"))?),
        }),
        "failed_permanent" => Ok(Status::FailedPermanent { cause: cause()? }),
        "unknown" => {
            let resolve = match row.get::<_, Option<&str>>("resolve") {
                Some("same_key") => Resolve::SameKey,
                Some("look") => Resolve::Look { refusal },
                Some(_) | None => return Err(wrong("resolve")),
            };
            Ok(Status::Unknown {
                resolve,
                next: seconds(next_at.ok_or_else(|| wrong("next_at"))?),
            })
        }
        _ => Err(wrong("status")),
    }
}

/// A job's standing as columns.
pub(super) const fn job_columns(standing: Option<Standing>) -> (Option<&'static str>, Option<Failure>) {
    match standing {
        None => (None, None),
        Some(Standing::Open) => (Some("open"), None),
        Some(Standing::Refused(failure)) => (Some("refused"), Some(failure)),
        Some(Standing::GivenUp(failure)) => (Some("given_up"), failure),
    }
}

/// Reads a job's standing back; `None` for a job that is done or let go.
pub(super) fn read_job(row: &Row) -> Result<Option<Standing>, DbError> {
    let refusal = failure(OPERATION, row.get("job_code"), row.get("job_class"))?;
    match (row.get::<_, Option<&str>>("job"), refusal) {
        (None, _) => Ok(None),
        (Some("open"), _) => Ok(Some(Standing::Open)),
        (Some("refused"), Some(failure)) => Ok(Some(Standing::Refused(failure))),
        (Some("given_up"), failure) => Ok(Some(Standing::GivenUp(failure))),
        (Some(_), _) => Err(corrupt(OPERATION, "job")),
    }
}
