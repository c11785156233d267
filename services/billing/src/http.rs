//! `PUT` and `GET /api/clients/{client_id}`, why it is in its state, and its timeline.

use std::sync::Arc;

use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpResponse, http::StatusCode};
use chrono::{DateTime, Utc};
use db::billing::clients::{ClientRow, find_client};
use db::billing::decisions::{DecisionRow, list_timeline};
use db::billing::registration::Registered;
use db::{Database, DbError, tenancy};
use domain::billing::decision::Transition;
use domain::ids::{self, OrgId};
use domain::money::Currency;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::auth::{Authenticator, Principal, Role};
use service_kit::clock::Clock;
use service_kit::fields::FieldError;
use service_kit::http::{Place, Routes};
use service_kit::problem::Problem;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::api;
use crate::explanation::{Explanation, explain_client};
use crate::register::{RegisterError, register};
use crate::request::ClientRequest;

/// The largest page of a timeline.
const MAX_PAGE: i64 = 200;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) database: Database,
    pub(crate) authenticator: Authenticator,
    pub(crate) clock: Clock,
    /// Wakes the relay after a registration that released events or changed a state.
    pub(crate) nudge: Arc<Notify>,
}

impl Desk {
    /// Adds the routes.
    pub(crate) fn configure(self: &Arc<Self>, routes: &mut Routes<'_>) {
        let desk = Data::from(Arc::clone(self));
        let authenticator = Data::new(self.authenticator.clone());
        let at = |path: &str| Place::at(path).data(desk.clone()).data(authenticator.clone());
        routes.add(
            at("/api/clients/{client_id}")
                .on(api::put_client(), put_client)
                .on(api::get_client(), get_client),
        );
        routes.add(at("/api/clients/{client_id}/explanation").on(api::get_explanation(), get_explanation));
        routes.add(at("/api/clients/{client_id}/timeline").on(api::get_timeline(), get_timeline));
    }
}

async fn put_client(
    caller: Principal,
    path: Path<String>,
    body: Json<Value>,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    caller.require_service()?;
    let client = valid_client(&path)?;
    let request = ClientRequest::read(&body)?;
    let done = register(&desk.database, &request.registration(&client), desk.clock.now())
        .await
        .map_err(|error| refusal(&error, &client))?;
    if done.released > 0 {
        tracing::info!(
            client_id = client,
            released = done.released,
            "events that waited for this client are decided now"
        );
    }
    if let Some(Transition { from, to }) = done.changed {
        tracing::info!(client_id = client, %from, %to, "what is agreed now changes the state");
    }
    if done.released > 0 || done.changed.is_some() {
        desk.nudge.notify_one();
    }
    let status = if done.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(HttpResponse::build(status).json(ClientAnswer::of(&done.client)))
}

async fn get_client(caller: Principal, path: Path<String>, desk: Data<Desk>) -> Result<HttpResponse, Problem> {
    let row = visible_client(&caller, &path, &desk.database).await?;
    Ok(HttpResponse::Ok().json(ClientAnswer::of(&row)))
}

async fn get_explanation(caller: Principal, path: Path<String>, desk: Data<Desk>) -> Result<HttpResponse, Problem> {
    let row = visible_client(&caller, &path, &desk.database).await?;
    let conn = desk.database.conn().await.map_err(|error| database_problem(&error))?;
    let explanation = explain_client(&conn, &row)
        .await
        .map_err(|error| database_problem(&error))?;
    Ok(HttpResponse::Ok().json(ExplanationAnswer {
        client: ClientAnswer::of(&row),
        explanation,
    }))
}

async fn get_timeline(
    caller: Principal,
    path: Path<String>,
    page: Query<Page>,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    let row = visible_client(&caller, &path, &desk.database).await?;
    let limit = page.limit.unwrap_or(50);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(FieldError::new("limit", format_args!("limit has to be between 1 and {MAX_PAGE}")).into());
    }
    let conn = desk.database.conn().await.map_err(|error| database_problem(&error))?;
    // One more than was asked for tells whether there is another page.
    let mut rows = list_timeline(&conn, row.client_id.as_str(), page.before, limit + 1)
        .await
        .map_err(|error| database_problem(&error))?;
    let is_last = i64::try_from(rows.len()).is_ok_and(|count| count <= limit);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = rows.last().map(|row| row.id).filter(|_| !is_last);
    let decisions = rows.iter().map(DecisionAnswer::of).collect();
    Ok(HttpResponse::Ok().json(Timeline {
        client_id: row.client_id.as_str(),
        decisions,
        next,
    }))
}

/// The client, if the caller may know that it exists: services, admins of any organisation, members of its own.
async fn visible_client(caller: &Principal, path: &str, database: &Database) -> Result<ClientRow, Problem> {
    let client = valid_client(path)?;
    let missing = || Problem::not_found("There is no such client.");
    let conn = database.conn().await.map_err(|error| database_problem(&error))?;
    let row = find_client(&conn, &client)
        .await
        .map_err(|error| database_problem(&error))?
        .ok_or_else(missing)?;
    let allowed = match caller.role {
        Role::Service => true,
        Role::User => {
            let user = caller.subject.as_str();
            let org = OrgId::parse(row.org_id.clone()).map_err(|_| Problem::internal())?;
            let member = tenancy::find_membership(&conn, user, &org)
                .await
                .map_err(|error| database_problem(&error))?;
            member.is_some()
                || tenancy::is_admin_anywhere(&conn, user)
                    .await
                    .map_err(|error| database_problem(&error))?
        }
    };
    if allowed { Ok(row) } else { Err(missing()) }
}

fn valid_client(text: &str) -> Result<String, Problem> {
    ids::check(text).map_err(|why| FieldError::new("client_id", format_args!("client_id {why}")))?;
    Ok(text.to_owned())
}

#[derive(Debug, Deserialize)]
struct Page {
    before: Option<Uuid>,
    limit: Option<i64>,
}

fn refusal(error: &RegisterError, client: &str) -> Problem {
    let conflict = |reason: &'static str, detail: String| Problem::conflict("conflict", detail).with("reason", reason);
    match error {
        RegisterError::Database(error) => database_problem(error),
        RegisterError::Conflict(Registered::OtherOrganization) => conflict(
            "client_of_another_organization",
            format!("Client {client} belongs to another organisation."),
        ),
        RegisterError::Conflict(Registered::CustomerTaken) => conflict(
            "customer_of_another_client",
            "The Stripe customer belongs to another client.".to_owned(),
        ),
        RegisterError::Conflict(Registered::SessionTaken | Registered::New | Registered::Known) => conflict(
            "checkout_session_of_another_client",
            "The checkout session belongs to another client.".to_owned(),
        ),
    }
}

fn database_problem(error: &DbError) -> Problem {
    let source: &dyn std::error::Error = error;
    tracing::error!(error = source, "a request to billing failed in the database");
    if error.is_unavailable() {
        Problem::unavailable(
            "database_unavailable",
            "The database does not answer.",
            std::time::Duration::from_secs(2),
        )
    } else {
        Problem::internal()
    }
}

#[derive(Debug, Serialize)]
struct ClientAnswer<'r> {
    client_id: &'r str,
    org_id: &'r str,
    state: &'static str,
    payment_source: &'static str,
    stripe_customer_id: Option<&'r str>,
    stripe_subscription_id: Option<&'r str>,
    current_period_end: Option<DateTime<Utc>>,
    checkout_session_id: Option<&'r str>,
    contracted_price_id: Option<&'r str>,
    contracted_currency: Option<&'r str>,
    last_event: Option<EventAnswer<'r>>,
    version: i64,
}

#[derive(Debug, Serialize)]
struct ExplanationAnswer<'r> {
    client: ClientAnswer<'r>,
    #[serde(flatten)]
    explanation: Explanation,
}

#[derive(Debug, Serialize)]
struct EventAnswer<'r> {
    event_id: &'r str,
    r#type: &'r str,
    created: DateTime<Utc>,
}

impl<'r> ClientAnswer<'r> {
    fn of(row: &'r ClientRow) -> Self {
        Self {
            client_id: row.client_id.as_str(),
            org_id: &row.org_id,
            state: row.state.as_str(),
            payment_source: row.payment_source.as_str(),
            stripe_customer_id: row.stripe_customer_id.as_deref(),
            stripe_subscription_id: row.stripe_subscription_id.as_ref().map(AsRef::as_ref),
            current_period_end: row.current_period_end,
            checkout_session_id: row.checkout_session_id.as_deref(),
            contracted_price_id: row.contracted_price_id.as_ref().map(AsRef::as_ref),
            contracted_currency: row.contracted_currency.as_ref().map(Currency::as_str),
            last_event: row.last_event.as_ref().map(|event| EventAnswer {
                event_id: &event.id,
                r#type: &event.kind,
                created: event.created,
            }),
            version: row.version,
        }
    }
}

#[derive(Debug, Serialize)]
struct Timeline<'r> {
    client_id: &'r str,
    decisions: Vec<DecisionAnswer<'r>>,
    /// Pass it as `before` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Uuid>,
}

#[derive(Debug, Serialize)]
struct DecisionAnswer<'r> {
    event_id: &'r str,
    r#type: &'r str,
    created: DateTime<Utc>,
    received_at: DateTime<Utc>,
    decided_at: DateTime<Utc>,
    outcome: &'r str,
    guard: Option<&'r str>,
    reason: Option<&'r str>,
    from: Option<&'r str>,
    to: Option<&'r str>,
    details: &'r Value,
}

impl<'r> DecisionAnswer<'r> {
    fn of(row: &'r DecisionRow) -> Self {
        Self {
            event_id: &row.event_id,
            r#type: &row.event_type,
            created: row.created,
            received_at: row.received_at,
            decided_at: row.decided_at,
            outcome: &row.outcome,
            guard: row.guard.as_deref(),
            reason: row.reason.as_deref(),
            from: row.from_state.as_deref(),
            to: row.to_state.as_deref(),
            details: &row.details,
        }
    }
}
