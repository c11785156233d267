//! `X-Request-Id`: taken from the caller when it is harmless, made otherwise, returned with every answer.
//!
//! A caller's id lands in logs and in answers, so only 1 to 128 letters, digits and `-_.:` are taken; anything else is
//! replaced, never echoed. The id of the request in work is a task-local, so that an error can name it without being handed
//! the request.

use std::fmt;
use std::sync::Arc;

/// The header's name, in lower case as HTTP/2 wants it.
pub const HEADER: &str = "x-request-id";

const MAX_LENGTH: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id (UUID version 7, so that ids sort by time).
    #[must_use]
    pub fn generate() -> Self {
        // The thread's own generator: the library would ask the kernel for every id.
        let time = uuid::Timestamp::now(uuid::NoContext);
        let (seconds, nanos) = time.to_unix();
        let millis = seconds
            .saturating_mul(1_000)
            .saturating_add(u64::from(nanos / 1_000_000));
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
        let mut buffer = uuid::Uuid::encode_buffer();
        Self(Arc::from(&*id.hyphenated().encode_lower(&mut buffer)))
    }

    /// The caller's id when there is exactly a harmless one, a new one otherwise.
    #[must_use]
    pub fn accept(header: Option<&[u8]>) -> Self {
        header.and_then(Self::parse).unwrap_or_else(Self::generate)
    }

    fn parse(header: &[u8]) -> Option<Self> {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        if header.is_empty() || header.len() > MAX_LENGTH || !header.iter().all(harmless) {
            return None;
        }
        std::str::from_utf8(header).ok().map(|text| Self(Arc::from(text)))
    }

    /// The id of the request that this task works on.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future as the work on this request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_ids_are_kept() {
        for id in ["a", "req_1:2-3.4", &"x".repeat(128)] {
            assert_eq!(RequestId::accept(Some(id.as_bytes())).as_str(), id);
        }
    }

    #[test]
    fn other_ids_are_replaced() {
        let long = "x".repeat(129);
        for id in [
            &b""[..],
            b"a b",
            b"a\nb",
            b"\"",
            b"\xff",
            "é".as_bytes(),
            long.as_bytes(),
        ] {
            let made = RequestId::accept(Some(id));
            assert!(uuid::Uuid::parse_str(made.as_str()).is_ok(), "{made}");
        }
        assert_ne!(RequestId::accept(None), RequestId::accept(None));
    }

    #[tokio::test]
    async fn the_current_id_is_known_within_its_scope_only() {
        let id = RequestId::generate();
        let seen = id.clone().scope(async { RequestId::current() }).await;
        assert_eq!(seen, Some(id));
        assert_eq!(RequestId::current(), None);
    }
}
