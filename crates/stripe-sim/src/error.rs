//! Errors in Stripe's shape, and whether the idempotency store may keep them.

use serde_json::{Map, Value, json};

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<Box<str>>,
    pub(crate) message: String,
    pub(crate) param: Option<Box<str>>,
    extra: Option<Box<Map<String, Value>>>,
    /// True when the endpoint had begun to execute: such a result is kept under its idempotency key.
    pub(crate) executed: bool,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            message: message.into(),
            param: None,
            extra: None,
            executed: false,
        }
    }

    /// A parameter that did not validate: nothing ran, nothing is stored.
    pub(crate) fn invalid(param: &str, code: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(400, "invalid_request_error", message);
        error.param = Some(param.into());
        error.code = (!code.is_empty()).then(|| code.into());
        error
    }

    /// The object's state does not allow the call.
    pub(crate) fn state(code: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(400, "invalid_request_error", message);
        error.code = (!code.is_empty()).then(|| code.into());
        error.executed = true;
        error
    }

    pub(crate) fn missing(what: &str, id: &str, param: &str) -> Self {
        let mut error = Self::new(
            if param == "id" { 404 } else { 400 },
            "invalid_request_error",
            format!("No such {what}: '{id}'"),
        );
        error.code = Some("resource_missing".into());
        error.param = Some(param.into());
        error.executed = true;
        error
    }

    pub(crate) fn unknown_route(method: &str, path: &str) -> Self {
        Self::new(
            404,
            "invalid_request_error",
            format!("Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs."),
        )
    }

    pub(crate) fn unauthorised(message: impl Into<String>) -> Self {
        Self::new(401, "invalid_request_error", message)
    }

    /// `Stripe-Account` names no account of this platform.
    pub(crate) fn no_access(account: &str) -> Self {
        let message = format!(
            "The provided key does not have access to account '{account}' (or that account does not exist). Application access may have been revoked."
        );
        let mut error = Self::new(403, "invalid_request_error", message);
        error.code = Some("account_invalid".into());
        error
    }

    pub(crate) fn card(failure: &crate::state::payment::Failure) -> Self {
        let mut error = Self::new(402, "card_error", failure.message);
        error.code = Some(failure.code.into());
        if let Some(decline) = failure.decline_code {
            error = error.with("decline_code", decline.into());
        }
        error.executed = true;
        error
    }

    pub(crate) fn idempotency(message: impl Into<String>) -> Self {
        Self::new(400, "idempotency_error", message)
    }

    pub(crate) fn key_in_use() -> Self {
        let mut error = Self::new(
            409,
            "invalid_request_error",
            "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through). Please try again later.",
        );
        error.code = Some("idempotency_key_in_use".into());
        error
    }

    pub(crate) fn rate_limit(lock: bool) -> Self {
        let mut error = Self::new(
            429,
            "invalid_request_error",
            "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
        );
        error.code = Some("rate_limit".into());
        if lock {
            error.message = "This object cannot be accessed right now because another API request or Stripe process is currently accessing it.".to_owned();
            error.code = Some("lock_timeout".into());
        }
        error
    }

    /// What a fault says. Kept under the idempotency key, as a refusal of Stripe's own is; but for what Stripe decides by our key alone,
    /// before anything is executed.
    pub(crate) fn made_up(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let kind = match status {
            402 => "card_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        let mut error = Self::new(
            status,
            kind,
            message.unwrap_or("The simulator was told to refuse this."),
        );
        error.code = code.map(Into::into);
        error.executed = !matches!(status, 401 | 403);
        error
    }

    pub(crate) fn internal() -> Self {
        let mut error = Self::new(500, "api_error", "An unknown error occurred");
        error.executed = true;
        error
    }

    /// Names the parameter that the state does not allow.
    pub(crate) fn about(mut self, param: &str) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.extra.get_or_insert_default().insert(name.to_owned(), value);
        self
    }

    pub(crate) fn body(&self, request_id: &str) -> Value {
        let mut inner = Map::new();
        if let Some(code) = &self.code {
            inner.insert("code".to_owned(), json!(code));
            inner.insert(
                "doc_url".to_owned(),
                json!(format!(
                    "https://stripe.com/docs/error-codes/{}",
                    code.replace('_', "-")
                )),
            );
        }
        inner.insert("message".to_owned(), json!(self.message));
        if let Some(param) = &self.param {
            inner.insert("param".to_owned(), json!(param));
        }
        inner.insert(
            "request_log_url".to_owned(),
            json!(format!("https://dashboard.stripe.com/test/logs/{request_id}")),
        );
        inner.extend(
            self.extra
                .iter()
                .flat_map(|extra| extra.iter())
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        inner.insert("type".to_owned(), json!(self.kind));
        json!({ "error": inner })
    }
}
