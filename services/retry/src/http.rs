//! `POST /api/retry/transfers`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use service_kit::auth::{Authenticator, bearer, require_secret};
use service_kit::http::{Place, Routes};
use service_kit::problem::Problem;
use service_kit::secret::SharedSecret;

use crate::api;
use crate::run::{RetryError, Runs};

/// What the route needs.
pub(crate) struct Desk {
    pub(crate) runs: Runs,
    pub(crate) authenticator: Authenticator,
    pub(crate) reconcile_secret: SharedSecret,
}

impl Desk {
    /// Adds the route.
    pub(crate) fn configure(self: &Arc<Self>, routes: &mut Routes<'_>) {
        let place = Place::at("/api/retry/transfers").data(Data::from(Arc::clone(self)));
        routes.add(place.on(api::run(), post_run));
    }
}

async fn post_run(request: HttpRequest, desk: Data<Desk>) -> Result<HttpResponse, Problem> {
    let headers = || request.headers().get_all(AUTHORIZATION).map(HeaderValue::as_bytes);
    if require_secret(headers(), &desk.reconcile_secret).is_err() {
        let token = bearer(headers()).map_err(|error| error.problem())?;
        let caller = desk.authenticator.verify(token).map_err(|error| error.problem())?;
        caller.require_service()?;
    }
    match desk.runs.run().await {
        Ok(report) => Ok(HttpResponse::Ok().json(report)),
        Err(error) => Err(problem(&error)),
    }
}

fn problem(error: &RetryError) -> Problem {
    let source: &dyn std::error::Error = error;
    tracing::error!(error = source, "a run of retries failed");
    let wait = Duration::from_secs(5);
    match error {
        RetryError::Publish(_) => Problem::unavailable("broker_unavailable", "The broker does not confirm.", wait),
        RetryError::Database(error) if error.is_unavailable() => {
            Problem::unavailable("database_unavailable", "The database does not answer.", wait)
        }
        RetryError::Database(_) => Problem::internal(),
    }
}
