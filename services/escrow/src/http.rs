//! `/api/escrows`: create, show, release, refund, retry, bear a loss, read an account, and the run of time-outs.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use actix_web::web::{Bytes, Data, Json, Path};
use actix_web::{Handler, HttpRequest, HttpResponse};
use db::DbError;
use db::escrow::idempotency::Keyed;
use domain::escrow::decide::Reason;
use domain::escrow::failure::ErrorCode;
use domain::escrow::input::Command;
use domain::escrow::state::EscrowStatus;
use domain::escrow::terms::Settlement;
use domain::ids::{self, AccountId, EscrowId, StripeObjectId};
use serde_json::Value;
use service_kit::auth::{Authenticator, Principal, bearer, require_secret};
use service_kit::http::{Place, Routes};
use service_kit::problem::Problem;
use service_kit::secret::SharedSecret;
use uuid::Uuid;

use crate::accounts::{UnknownAccount, check_accounts};
use crate::api;
use crate::command::{By, Order, find, order};
use crate::create::{Created, create, is_repeat};
use crate::error::EscrowError;
use crate::read_account::{NotRead, read_account};
use crate::request::{EscrowRequest, field_of, invalid, object_that_counts, of_terms, refund_amount, spelled};
use crate::runner::Runner;
use crate::timeouts::Timeouts;

/// When a caller may ask again for what Stripe did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the routes need.
pub(crate) struct Desk {
    pub(crate) runner: Runner,
    pub(crate) timeouts: Timeouts,
    pub(crate) settlement: Settlement,
    pub(crate) authenticator: Authenticator,
    pub(crate) reconcile_secret: SharedSecret,
}

impl Desk {
    /// Adds the routes.
    pub(crate) fn configure(self: &Arc<Self>, routes: &mut Routes<'_>) {
        let desk = Data::from(Arc::clone(self));
        let authenticator = Data::new(self.authenticator.clone());
        let at = |path: &str| Place::at(path).data(desk.clone()).data(authenticator.clone());
        routes.add(at("/api/escrows").on(api::post_escrow(), post_escrow));
        // Before the routes of one escrow, whose id it would be taken for.
        routes.add(at("/api/escrows/timeouts").on(api::post_timeouts(), post_timeouts));
        routes.add(at("/api/escrows/{id}").on(api::get_escrow(), get_escrow));
        routes.add(at("/api/escrows/{id}/release").on(api::post_release(), bare("release", Command::Release)));
        routes.add(at("/api/escrows/{id}/refund").on(api::post_refund(), post_refund));
        routes.add(at("/api/escrows/{id}/refund/withdraw").on(
            api::post_withdraw_refund(),
            bare("withdraw_refund", Command::WithdrawRefund),
        ));
        routes.add(at("/api/escrows/{id}/operations/{number}/retry").on(api::post_retry(), post_retry));
        routes.add(at("/api/escrows/{id}/recipients/{account}/bear-loss").on(api::post_bear_loss(), post_bear_loss));
        routes.add(at("/api/escrows/{id}/recipients/{account}/read").on(api::post_read_account(), post_read_account));
    }
}

async fn post_escrow(
    caller: Principal,
    request: HttpRequest,
    body: Json<Value>,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    caller.require_service()?;
    let Some(key) = key(&request)? else {
        return Err(Problem::bad_request(
            "idempotency_key_missing",
            "The header Idempotency-Key has to be set: the same key gets the same escrow.",
        ));
    };
    let id = EscrowId::parse(format!("esc_{}", Uuid::now_v7().simple())).map_err(|_| Problem::internal())?;
    let wanted = EscrowRequest::read(&body, id)?;
    let runner = &desk.runner;
    let text = spelled(&body);
    let keyed = Keyed {
        scope: &format!("escrows.create/{}", caller.subject),
        key: &key,
        request: &text,
    };
    // An account that is gone since is no reason to keep a repeat from its escrow.
    let is_repeat = is_repeat(runner, &keyed).await.map_err(|error| problem(&error))?;
    if !is_repeat {
        check_accounts(runner, &wanted.terms.split).await.map_err(of_account)?;
    }
    let actor = format!("service:{}", caller.subject);
    match create(runner, &wanted, &desk.settlement, &keyed, &actor)
        .await
        .map_err(|error| problem(&error))?
    {
        Created::Escrow(answer) => Ok(HttpResponse::build(StatusCode::CREATED).json(answer)),
        Created::Refused(code) => Err(payment_refused(code)),
        Created::Later => Err(stripe_unavailable()),
    }
}

fn of_account(error: UnknownAccount) -> Problem {
    match error {
        UnknownAccount::Unknown { place } => {
            let field = format!("recipients.{place}.account");
            invalid(&field, format_args!("{field} is no account of this platform")).into()
        }
        UnknownAccount::Unavailable => stripe_unavailable(),
        UnknownAccount::Escrow(error) => problem(&error),
    }
}

/// Stripe's limits are in the currency of the platform's bank account, and move with the rates: only Stripe knows them.
fn payment_refused(code: ErrorCode) -> Problem {
    let detail = format!(
        "Stripe refused to make the payment; the escrow is canceled. {}",
        code.advice()
    );
    let problem = Problem::bad_request("stripe_refused", detail).with("stripe_code", code.as_str());
    match field_of(code) {
        Some(field) => problem.with("field", field),
        None => problem,
    }
}

async fn get_escrow(caller: Principal, path: Path<String>, desk: Data<Desk>) -> Result<HttpResponse, Problem> {
    caller.require_service()?;
    let id = valid(&path)?;
    let answer = find(&desk.runner.store, id).await.map_err(|error| problem(&error))?;
    Ok(HttpResponse::Ok().json(answer))
}

/// A command that needs nothing but its escrow.
fn bare(
    action: &'static str,
    bare: Command,
) -> impl Handler<(Principal, HttpRequest, Path<String>, Data<Desk>), Output = Result<HttpResponse, Problem>> {
    move |caller: Principal, request: HttpRequest, path: Path<String>, desk: Data<Desk>| {
        let bare = bare.clone();
        async move {
            caller.require_service()?;
            command(&desk, &caller, &request, valid(&path)?, Wish::of(action, "", &bare)).await
        }
    }
}

async fn post_refund(
    caller: Principal,
    request: HttpRequest,
    path: Path<String>,
    body: Bytes,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    caller.require_service()?;
    let amount = refund_amount(&body)?;
    let text = amount.map_or_else(String::new, |amount| amount.to_string());
    let id = valid(&path)?;
    let refund = Command::Refund(amount);
    command(&desk, &caller, &request, id, Wish::of("refund", &text, &refund)).await
}

async fn post_retry(
    caller: Principal,
    request: HttpRequest,
    path: Path<(String, u32)>,
    body: Bytes,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    caller.require_service()?;
    let (id, job) = path.into_inner();
    let counts = object_that_counts(&body)?;
    let text = counts
        .as_ref()
        .map_or_else(|| job.to_string(), |object| format!("{job} {object}"));
    let wish = Wish {
        action: "retry",
        parameters: &text,
        command: &Command::Retry { job },
        counts: counts.as_ref(),
    };
    command(&desk, &caller, &request, valid(&id)?, wish).await
}

async fn post_bear_loss(
    caller: Principal,
    request: HttpRequest,
    path: Path<(String, String)>,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    caller.require_service()?;
    let (id, account) = path.into_inner();
    let bear_loss = Command::BearLoss(recipient(&account)?);
    let wish = Wish::of("bear_loss", &account, &bear_loss);
    command(&desk, &caller, &request, valid(&id)?, wish).await
}

async fn post_read_account(
    caller: Principal,
    request: HttpRequest,
    path: Path<(String, String)>,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    caller.require_service()?;
    let (id, account) = path.into_inner();
    let id = valid(&id)?;
    let account = recipient(&account)?;
    let key = key(&request)?;
    let scope = format!("escrows.read_account/{}/{id}", caller.subject);
    let actor = format!("service:{}", caller.subject);
    let order = Order {
        escrow: id,
        by: By::Person,
        actor: &actor,
        action: "read_account",
        counts: None,
        keyed: key.as_deref().map(|key| Keyed {
            scope: &scope,
            key,
            request: account.as_str(),
        }),
    };
    match read_account(&desk.runner, order, &account).await {
        Ok(answer) => Ok(HttpResponse::Accepted().json(answer)),
        Err(NotRead::NoRecipient) => Err(no_recipient()),
        Err(NotRead::Gone) => Err(Problem::conflict(
            "account_gone",
            "Stripe does not know this account, or it is not connected to this platform any more.",
        )),
        Err(NotRead::Unavailable) => Err(stripe_unavailable()),
        Err(NotRead::Escrow(error)) => Err(problem(&error)),
    }
}

fn recipient(account: &str) -> Result<AccountId, Problem> {
    AccountId::parse(account).map_err(|_| no_recipient())
}

fn no_recipient() -> Problem {
    Problem::not_found("There is no such recipient.")
}

/// What a caller wants of an escrow.
#[derive(Clone, Copy)]
struct Wish<'a> {
    /// The word in the audit trail.
    action: &'a str,
    /// What makes a request the same under its key.
    parameters: &'a str,
    command: &'a Command,
    counts: Option<&'a StripeObjectId>,
}

impl<'a> Wish<'a> {
    const fn of(action: &'a str, parameters: &'a str, command: &'a Command) -> Self {
        Self {
            action,
            parameters,
            command,
            counts: None,
        }
    }
}

async fn command(
    desk: &Desk,
    caller: &Principal,
    request: &HttpRequest,
    escrow: &str,
    wish: Wish<'_>,
) -> Result<HttpResponse, Problem> {
    let key = key(request)?;
    let scope = format!("escrows.{}/{}/{escrow}", wish.action, caller.subject);
    let actor = format!("service:{}", caller.subject);
    let keyed = key.as_deref().map(|key| Keyed {
        scope: &scope,
        key,
        request: wish.parameters,
    });
    let ordered = Order {
        escrow,
        by: By::Person,
        actor: &actor,
        action: wish.action,
        counts: wish.counts,
        keyed,
    };
    let answer = order(&desk.runner, ordered, wish.command)
        .await
        .map_err(|error| problem(&error))?;
    Ok(HttpResponse::Accepted().json(answer))
}

async fn post_timeouts(request: HttpRequest, desk: Data<Desk>) -> Result<HttpResponse, Problem> {
    let headers = || request.headers().get_all(AUTHORIZATION).map(HeaderValue::as_bytes);
    let actor = if require_secret(headers(), &desk.reconcile_secret).is_ok() {
        "scheduler".to_owned()
    } else {
        let token = bearer(headers()).map_err(|error| error.problem())?;
        let caller = desk.authenticator.verify(token).map_err(|error| error.problem())?;
        caller.require_service()?;
        format!("service:{}", caller.subject)
    };
    let report = desk.timeouts.run(&actor).await.map_err(|error| problem(&error))?;
    desk.runner.pool.notify_one();
    desk.runner.relay.notify_one();
    Ok(HttpResponse::Ok().json(report))
}

fn valid(id: &str) -> Result<&str, Problem> {
    ids::check(id).map_err(|_| Problem::not_found("There is no such escrow."))?;
    Ok(id)
}

/// `Idempotency-Key`, where it is set.
fn key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().ok().filter(|key| ids::check(key).is_ok());
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Problem::bad_request(
            "idempotency_key_malformed",
            "Idempotency-Key has to be 1 to 255 visible ASCII characters.",
        )
    })
}

fn stripe_unavailable() -> Problem {
    let detail = "Stripe does not answer. The same request with the same Idempotency-Key gets the escrow later.";
    Problem::unavailable("stripe_unavailable", detail, ASK_AGAIN)
}

fn problem(error: &EscrowError) -> Problem {
    match error {
        EscrowError::Database(error) => database_problem(error),
        EscrowError::Missing => Problem::not_found("There is no such escrow."),
        EscrowError::Raced(_) => Problem::unavailable("busy", "Somebody else changes this escrow.", ASK_AGAIN),
        EscrowError::KeyReused => Problem::new(
            422,
            "idempotency_key_reused",
            "The key belongs to another request",
            "This Idempotency-Key was used with another request.",
        ),
        EscrowError::Refused { reason, status } => refusal(reason, *status),
        EscrowError::Terms(why) => of_terms(*why).into(),
        EscrowError::WrongObject => invalid("object", error).into(),
    }
}

fn refusal(reason: &Reason, status: EscrowStatus) -> Problem {
    match reason {
        Reason::NotPositive
        | Reason::OverRefundable { .. }
        | Reason::Granularity { .. }
        | Reason::PartBeforeCapture => Problem::from(invalid("amount", reason)).with("escrow_status", status.as_str()),
        Reason::WrongStatus(_)
        | Reason::Busy
        | Reason::Expired
        | Reason::NotExpired
        | Reason::WaitsForPerson
        | Reason::AuthorizationEnded
        | Reason::NothingToSecure
        | Reason::NothingToRetry
        | Reason::NothingToWithdraw
        | Reason::NoLossToBear
        | Reason::CurrencyMismatch
        | Reason::NegativeAmount
        | Reason::UnknownRecipient
        | Reason::Contradiction => {
            let detail = match reason {
                Reason::WrongStatus(_) => format!("This is not possible now: {reason}."),
                _ => format!("This is not possible now: {reason}; its status is {status}."),
            };
            Problem::conflict("wrong_state", detail).with("escrow_status", status.as_str())
        }
    }
}

fn database_problem(error: &DbError) -> Problem {
    let source: &dyn std::error::Error = error;
    tracing::error!(error = source, "a request to escrow failed in the database");
    if error.is_unavailable() {
        Problem::unavailable(
            "database_unavailable",
            "The database does not answer.",
            Duration::from_secs(2),
        )
    } else {
        Problem::internal()
    }
}
