//! Webhook endpoints.

use crate::state::event::{Event, Reach};
use crate::version::ApiVersion;

/// What is delivered to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Events with a snapshot of their object.
    Snapshot,
    /// Notices (`v2.core.event`) after which the receiver reads the object itself.
    Thin,
}

/// Whose events an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    Platform,
    Accounts,
    Both,
}

impl Sources {
    const fn include(self, account: Option<&String>) -> bool {
        match self {
            Self::Platform => account.is_none(),
            Self::Accounts => account.is_some(),
            Self::Both => true,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: String,
    /// Counts from one; part of what makes its disorder its own.
    pub(crate) number: u64,
    pub(crate) created: i64,
    pub(crate) url: String,
    pub(crate) secret: String,
    /// `None`: the account's version.
    pub(crate) version: Option<ApiVersion>,
    pub(crate) account_version: ApiVersion,
    pub(crate) sources: Sources,
    pub(crate) payload: Payload,
    pub(crate) enabled_events: Vec<String>,
    pub(crate) enabled: bool,
    pub(crate) description: Option<String>,
    pub(crate) metadata: std::collections::BTreeMap<String, String>,
}

impl Endpoint {
    pub(crate) fn effective_version(&self) -> &ApiVersion {
        self.version.as_ref().unwrap_or(&self.account_version)
    }

    pub(crate) fn wants(&self, event: &Event) -> bool {
        let fits = match (&event.thin, self.payload) {
            (None, Payload::Snapshot) | (Some(_), Payload::Thin) => true,
            (None, Payload::Thin) => false,
            (Some(thin), Payload::Snapshot) => thin.reach == Reach::All,
        };
        fits && self.enabled
            && self.sources.include(event.account.as_ref())
            && self.names(event)
            && crate::render::event_exists(&event.kind, self.effective_version())
    }

    /// Among the types it asked for; an endpoint with snapshots knows a thin event by the type without `v1.`.
    fn names(&self, event: &Event) -> bool {
        let plain = match self.payload {
            Payload::Snapshot => event.kind.strip_prefix("v1.").unwrap_or(&event.kind),
            Payload::Thin => &event.kind,
        };
        self.enabled_events
            .iter()
            .any(|one| one == "*" || *one == event.kind || one == plain)
    }
}
