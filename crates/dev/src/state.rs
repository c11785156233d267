//! `target/holdfast/state.json`: what a running system tells `status`, `down`, the demo and everybody's scripts.
//!
//! It is written by the process that owns the system, replaced as a whole, readable by its user only (it holds secrets), and
//! removed at the end. A file whose owner is dead counts as absent.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use provision::ProcessId;
use serde::{Deserialize, Serialize};

use crate::paths::Paths;

/// A running system. The names are part of the contract with other people's scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// All routes, also with one process per service.
    pub base_url: String,
    /// Signs the tokens (HS256).
    pub auth_jwt_secret: String,
    /// The organisation of the two users.
    pub org_id: String,
    /// An admin of the organisation.
    pub admin_user_id: String,
    /// A member of the organisation.
    pub member_user_id: String,
    /// The database as its superuser, who sees and may change everything.
    pub database_url: String,
    /// The database as services see it.
    pub service_database_url: String,
    /// The database as the organisation's people see it.
    pub tenant_database_url: String,
    /// The broker.
    pub amqp_url: String,
    /// The simulator, or what STRIPE_API_BASE says.
    pub stripe_api_url: String,
    /// Signs the events of our own account.
    pub webhook_secret: String,
    /// Signs the events of connected accounts.
    pub connect_webhook_secret: String,
    /// Opens the reconciliation routes.
    pub reconcile_secret: String,
    /// Opens the monitor's route.
    pub monitor_secret: String,
    /// A token of the role `service`.
    pub service_token: String,
    /// The admin's token.
    pub admin_token: String,
    /// The member's token.
    pub member_token: String,
    /// The process of each service and server. Each may be killed: it is started again under another number.
    pub pids: BTreeMap<String, u32>,
    /// The process that owns all of them; when it ends, they do.
    pub supervisor_pid: i32,
    /// When the supervisor started, in ticks since boot, so that its number is not confused with a later process's.
    pub supervisor_started: u64,
    /// The folder of the logs, one file per process.
    pub log_folder: String,
}

impl State {
    /// The system that runs now, if one does.
    #[must_use]
    pub fn running(paths: &Paths) -> Option<Self> {
        let text = std::fs::read_to_string(paths.state()).ok()?;
        serde_json::from_str::<Self>(&text)
            .ok()
            .filter(|state| state.supervisor().is_alive())
    }

    /// The process that owns the system.
    #[must_use]
    pub fn supervisor(&self) -> ProcessId {
        ProcessId {
            pid: self.supervisor_pid,
            started: self.supervisor_started,
        }
    }

    pub(crate) fn write(&self, paths: &Paths) -> anyhow::Result<()> {
        let path = paths.state();
        let unfinished = path.with_extension("unfinished");
        drop(std::fs::remove_file(&unfinished));
        let text = serde_json::to_string_pretty(self).context("the state as JSON")?;
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&unfinished);
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        written
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .with_context(|| format!("writing {}", path.display()))
    }

    pub(crate) fn remove(paths: &Paths) {
        drop(std::fs::remove_file(paths.state()));
    }
}
