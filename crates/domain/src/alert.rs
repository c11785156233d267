//! What is worth telling a person.
//!
//! An alert's key names the cause and the subject, never the event or the attempt (ALT-3): a thousand forged deliveries to one
//! endpoint are one alert with a count. The database keeps one unresolved alert per key (ALT-1).

use std::fmt;

/// How soon a person should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing, nothing to do today.
    Info,
    /// Something is off and will need a person.
    Warning,
    /// Money or access is at stake now.
    Critical,
}

impl Severity {
    /// The word in the database, in messages and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "info" => Some(Self::Info),
            "warning" => Some(Self::Warning),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $text:literal, $severity:ident;)*) => {
        /// The causes that Holdfast raises alerts for. The runbook has a section for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AlertKind { $($(#[$doc])* $name,)* }

        impl AlertKind {
            /// Every kind, in the order of the runbook.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The first half of an alert's key.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How soon a person should look at an alert of this kind.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

kinds! {
    /// Deliveries whose signature is missing, malformed, wrong or too old. Subject: endpoint and cause.
    WebhookSignature => "webhook_signature", Warning;
    /// Deliveries that are too large, too slow, or signed and yet no event. Subject: endpoint and cause.
    WebhookMalformed => "webhook_malformed", Warning;
    /// Events of the platform's own account come to the endpoint for connected accounts, or the other way round. Subject: the endpoint.
    WebhookEndpoint => "webhook_endpoint", Warning;
    /// An event of the other mode (live or test) arrived. Subject: endpoint.
    LivemodeMismatch => "livemode_mismatch", Warning;
    /// Events come in an API version other than the newest known. Subject: the version.
    ApiVersionDrift => "api_version_drift", Info;
    /// The broker does not confirm, or is not there to be consumed from. Subject: the service.
    BrokerUnavailable => "broker_unavailable", Critical;
    /// The database does not answer. Subject: the service.
    DatabaseUnavailable => "database_unavailable", Critical;
    /// Calls to Stripe fail: it is away, or it does not accept our key. Subject: the service and the reason.
    StripeApiFailure => "stripe_api_failure", Warning;
    /// A handler keeps failing on a message. Subject: the queue.
    HandlerFailure => "handler_failure", Warning;
    /// Messages were set aside for a person. Subject: the queue.
    MessageParked => "message_parked", Warning;
    /// Metadata names a client that the customer or the contract does not bear out. Subject: the client named.
    SpoofedMetadata => "spoofed_metadata", Critical;
    /// A price or plan could not be applied to a client (BIL-13). Subject: the client.
    PlanApplication => "plan_application", Warning;
    /// The bank of a customer wants money back, or asks. Subject: the dispute.
    Dispute => "dispute", Warning;
    /// A refund did not arrive; the money is back in the platform's balance. Subject: the refund.
    RefundFailed => "refund_failed", Warning;
    /// Money of an escrow moved, or did not, in a way that a person has to look at. Subject: the escrow and what happened.
    EscrowAttention => "escrow_attention", Warning;
    /// A call that moves money was refused for good, or too often: a person has to decide. Subject: the operation.
    EscrowGaveUp => "escrow_gave_up", Critical;
    /// Stripe has more than one object of one operation, or another one than was written down. Subject: the operation.
    EscrowHappenedTwice => "escrow_happened_twice", Critical;
    /// A recipient cannot receive; its share waits. Subject: the connected account. It ends by itself when no share waits any more.
    RecipientNotReady => "recipient_not_ready", Info;
    /// The payout of a recipient's account to its bank failed. Subject: the connected account.
    PayoutFailed => "payout_failed", Warning;
    /// The refund breaker stopped a run: what is left waits. Subject: the limit that was reached.
    RefundBreaker => "refund_breaker", Critical;
    /// An escrow is above the breaker's limit by itself and waits for a person. Subject: the escrow.
    RefundSetAside => "refund_set_aside", Warning;
    /// The ledger does not hold. Subject: the rule.
    LedgerBroken => "ledger_broken", Critical;
    /// Events whose `created` lies outside the months that have a partition. Subject: the table.
    PartitionDefaultUsed => "partition_default_used", Warning;
    /// Raised on purpose, to see that alerts arrive. Subject: who asked.
    Test => "test", Info;
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One reason to tell a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The cause.
    pub kind: AlertKind,
    /// What it is about, stable over repeats: an endpoint, a queue, a client. Never an event id.
    pub subject: String,
    /// One sentence for a person.
    pub summary: String,
    /// What was expected and found, as pairs; the newest repeat's are kept.
    pub details: Vec<(String, String)>,
}

impl Alert {
    /// An alert without details.
    #[must_use]
    pub fn new(kind: AlertKind, subject: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            kind,
            subject: subject.into(),
            summary: summary.into(),
            details: Vec::new(),
        }
    }

    /// Adds one detail.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.details.push((name.into(), value.to_string()));
        self
    }

    /// `<kind>:<subject>`: what makes two alerts one.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.kind, self.subject)
    }

    /// How soon a person should look.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_cause_and_subject_only() {
        let first = Alert::new(AlertKind::WebhookSignature, "platform/mismatch", "a").with("from", "192.0.2.1");
        let second = Alert::new(AlertKind::WebhookSignature, "platform/mismatch", "b").with("from", "192.0.2.2");
        assert_eq!(first.key(), "webhook_signature:platform/mismatch");
        assert_eq!(first.key(), second.key());
    }

    #[test]
    fn kinds_have_distinct_names() {
        let mut names: Vec<_> = AlertKind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), AlertKind::ALL.len());
    }

    #[test]
    fn severities_read_back() {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
        }
    }
}
