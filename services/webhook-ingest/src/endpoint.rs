//! The two endpoints, each with secrets of its own.

use std::fmt;

/// Which of Stripe's two kinds of endpoint a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /webhooks/stripe`: events of the platform's own account.
    Platform,
    /// `POST /webhooks/stripe/connect`: events of connected accounts.
    Connect,
}

impl Endpoint {
    /// The word in routing keys, headers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Connect => "connect",
        }
    }

    /// The path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Platform => "/webhooks/stripe",
            Self::Connect => "/webhooks/stripe/connect",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
