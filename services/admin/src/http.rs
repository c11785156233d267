//! The routes for admins.
//!
//! Operations data is global by decision: an admin of any organisation sees all of it (ALT-4). Who is an admin says
//! `org_members` and not the token, so that a right that was taken away is gone at once. Services have no part in this: a
//! machine that resolves alerts hides them. Lists are JSON arrays, newest first; `Link: <...>; rel="next"` leads on.

mod alerts;
mod api;
mod events;
mod refusal;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use actix_web::web;
use db::Database;
use serde::{Deserialize, Deserializer};
use service_kit::auth::{Authenticator, Principal, Role};
use service_kit::clock::Clock;
use service_kit::http::{Place, Routes};

use crate::replay::Replayer;
use refusal::Refusal;

const PAGE: i64 = 100;
const LONGEST_PAGE: i64 = 500;

/// What the routes need.
pub(crate) struct Desk {
    pub(crate) database: Database,
    pub(crate) replayer: Replayer,
    pub(crate) authenticator: Authenticator,
    pub(crate) clock: Clock,
}

impl Desk {
    /// Adds the routes.
    pub(crate) fn configure(self: &Arc<Self>, routes: &mut Routes<'_>) {
        let desk = web::Data::from(Arc::clone(self));
        let authenticator = web::Data::new(self.authenticator.clone());
        let at = |path: &str| Place::at(path).data(desk.clone()).data(authenticator.clone());
        routes.add(at("/api/admin/billing-alerts").on(api::list_alerts(), alerts::list));
        routes.add(at("/api/admin/billing-alerts/{id}/resolve").on(api::resolve_alert(), alerts::resolve));
        routes.add(at("/api/admin/events").on(api::list_events(), events::list));
        routes.add(at("/api/admin/events/{event_id}/replay").on(api::replay_event(), events::replay));
    }

    /// Lets an admin of any organisation through.
    async fn require_admin(&self, caller: &Principal) -> Result<(), Refusal> {
        match caller.role {
            Role::Service => Err(Refusal::NotAnAdmin),
            Role::User => {
                let conn = self.database.conn().await?;
                if db::tenancy::is_admin_anywhere(&conn, &caller.subject).await? {
                    Ok(())
                } else {
                    Err(Refusal::NotAnAdmin)
                }
            }
        }
    }
}

/// A parameter after the question mark; one without a value, as forms send it, is not given.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// How long a page of a list is.
fn page_limit(given: Option<i64>) -> Result<i64, Refusal> {
    let limit = given.unwrap_or(PAGE);
    if (1..=LONGEST_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(Refusal::Parameter {
        name: "limit",
        expected: "1 to 500",
    })
}

/// The address of the next page, for the `Link` header.
fn next_page(path: &str, query: &[(&str, String)]) -> String {
    let query = serde_urlencoded::to_string(query).unwrap_or_default();
    format!("<{path}?{query}>; rel=\"next\"")
}
