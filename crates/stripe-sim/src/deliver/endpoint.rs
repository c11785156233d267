//! Webhook endpoints.

use crate::state::event::Event;
use crate::version::ApiVersion;

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
    /// Takes the events of connected accounts, and only those.
    pub(crate) connect: bool,
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
        let named = self.enabled_events.iter().any(|one| one == "*" || *one == event.kind);
        named
            && self.enabled
            && self.connect == event.account.is_some()
            && crate::render::event_exists(&event.kind, self.effective_version())
    }
}
