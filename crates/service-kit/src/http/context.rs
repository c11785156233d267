//! What surrounds every request: its id, a deadline for its body, and problem+json for every error.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::{InternalError, PayloadError};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpResponse, HttpResponseBuilder, ResponseError};
use futures_util::Stream;
use tokio::time::Sleep;
use tracing::Instrument as _;

use super::span;
use crate::problem::{self, Problem};
use crate::request_id::{self, RequestId};

/// How long a client may take to send a body. Without one in the application's data, bodies have no deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyTimeout(pub(super) Duration);

static REQUEST_ID: HeaderName = HeaderName::from_static(request_id::HEADER);

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponseBuilder::new(self.status_code());
        response.insert_header((header::CONTENT_TYPE, problem::MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_seconds() {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.status == 401 {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        response.body(self.body())
    }
}

/// The middleware of every server: wrap it with `actix_web::middleware::from_fn`.
///
/// # Errors
/// None of its own; an error of an inner middleware is turned into its answer first.
pub async fn request_context(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = RequestId::accept(request.headers().get(&REQUEST_ID).map(HeaderValue::as_bytes));
    if let Some(BodyTimeout(timeout)) = request.app_data().copied()
        && matches!(request.parts_mut().1, Payload::H1 { .. })
    {
        let payload = request.take_payload();
        request.set_payload(Payload::Stream {
            payload: Box::pin(Deadlined {
                payload,
                timeout,
                deadline: None,
            }),
        });
    }
    request.extensions_mut().insert(id.clone());
    let span = span::of(&request, &id);
    let header = HeaderValue::from_str(id.as_str()).unwrap_or_else(|_| HeaderValue::from_static("invalid"));
    let answering = async move {
        let answered = next.call(request).await.map_err(|error| {
            let response = error.as_response_error().error_response();
            Error::from(InternalError::from_response("answered", response))
        })?;
        let mut response = answered.map_into_boxed_body();
        if is_foreign_error(&response) {
            response = with_problem(response);
        }
        response.headers_mut().insert(REQUEST_ID.clone(), header);
        span::answered(&response);
        Ok(response)
    };
    id.scope(answering.instrument(span)).await
}

/// An error whose body is not ours: neither problem+json nor a page.
fn is_foreign_error(response: &ServiceResponse<BoxBody>) -> bool {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return false;
    }
    let media_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    !media_type.starts_with(problem::MEDIA_TYPE.as_bytes()) && !media_type.starts_with(b"text/html")
}

fn with_problem(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let problem = Problem::of_status(response.status().as_u16());
    let mut response = response.map_body(|_, _| BoxBody::new(problem.body()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    headers.remove(header::CONTENT_LENGTH);
    response
}

/// A body that must be there in time. The timer starts only when the body is not there yet, so that the usual request,
/// whose body arrives with its head, pays nothing for it.
struct Deadlined {
    payload: Payload,
    timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stream for Deadlined {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Poll::Ready(item) = Pin::new(&mut this.payload).poll_next(context) {
            return Poll::Ready(item);
        }
        let timeout = this.timeout;
        let deadline = this
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))))
    }
}

/// Whether a body's error means that it did not arrive in time.
#[must_use]
pub fn is_timeout(error: &PayloadError) -> bool {
    matches!(error, PayloadError::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}
