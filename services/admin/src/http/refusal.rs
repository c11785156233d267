//! Everything that these routes refuse, and the answer for each.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::ResponseError;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use db::DbError;
use service_kit::problem::Problem;
use service_kit::request_id::RequestId;

use crate::replay::ReplayError;

const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the caller is no admin")]
    NotAnAdmin,
    #[error("a parameter is not valid")]
    Parameter { name: &'static str, expected: &'static str },
    #[error("there is no such alert")]
    UnknownAlert,
    #[error("the alert is resolved already")]
    AlreadyResolved { by: String },
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("the database")]
    Database(#[from] DbError),
}

impl Refusal {
    fn problem(&self) -> Problem {
        match self {
            Self::NotAnAdmin => Problem::forbidden("Only an admin of an organisation may do this."),
            Self::Parameter { name, expected } => {
                Problem::bad_request("parameter_invalid", format!("{name} must be {expected}."))
            }
            Self::UnknownAlert => Problem::not_found("No alert has this id."),
            Self::AlreadyResolved { by } => {
                Problem::conflict("already_resolved", format!("The alert was resolved by {by} before."))
            }
            Self::Replay(error) => of_replay(error),
            Self::Database(error) => of_database(error),
        }
    }

    /// Logs the cause of what is not the caller's doing.
    fn log(&self) {
        match self {
            Self::NotAnAdmin | Self::Parameter { .. } | Self::UnknownAlert | Self::AlreadyResolved { .. } => {}
            Self::Replay(ReplayError::Unknown | ReplayError::Blanked) => {}
            Self::Replay(ReplayError::Publish(error)) => tracing::warn!(%error, "a replay was not published"),
            Self::Replay(ReplayError::Database(error)) | Self::Database(error) => {
                let request_id = RequestId::current();
                let id = request_id.as_ref().map(RequestId::as_str);
                let error = db::error::chain(error);
                tracing::error!(request_id = id, error, "a request failed in the database");
            }
        }
    }
}

fn of_replay(error: &ReplayError) -> Problem {
    match error {
        ReplayError::Unknown => Problem::not_found("No event has this id."),
        ReplayError::Blanked => {
            Problem::conflict("payload_gone", "The event's body was removed when its retention ended.")
        }
        ReplayError::Publish(_) => Problem::unavailable(
            "broker_unavailable",
            "The broker did not take the event; try again.",
            RETRY_AFTER,
        ),
        ReplayError::Database(error) => of_database(error),
    }
}

fn of_database(error: &DbError) -> Problem {
    if error.is_unavailable() {
        Problem::unavailable(
            "database_unavailable",
            "The database does not answer; try again.",
            RETRY_AFTER,
        )
    } else {
        Problem::internal()
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.problem().status_code()
    }

    // Called once for an answer, unlike the status, so here the cause is logged.
    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.log();
        self.problem().error_response()
    }
}
