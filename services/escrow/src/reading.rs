//! From a message to what the rules need: which event it is, whose it may be, and what it says in the domain's words.

use bus::{Incoming, headers};
use chrono::{DateTime, Utc};
use db::escrow::accounts::AccountRow;
use db::escrow::inbox::{EscrowEvent, WaitingEvent};
use db::escrow::owners::Names;
use domain::escrow::facts::DisputeStage;
use domain::escrow::input::Fact;
use domain::ids::{AccountId, DisputeId, StripeObjectId, TransferId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;
use service_kit::backoff::pause;
use stripe_gateway::client::read::RelatedObject;
use stripe_gateway::envelope::{Envelope, Form};
use stripe_gateway::views::words::{DisputeStatus, PaymentIntentStatus, RefundStatus};
use stripe_gateway::views::{
    Charge, Dispute, EventView, Metadata, PaymentIntent, Refund, Transfer, ViewError, related_url,
};

use crate::accounts::snapshot;
use crate::change::Learned;

/// The last second that Postgres and chrono both know.
const LAST_SECOND: i64 = 253_402_300_799;

/// An event as the consumer works with it.
#[derive(Debug)]
pub(crate) struct Reading<'m> {
    pub(crate) event_id: String,
    pub(crate) kind: String,
    pub(crate) created: DateTime<Utc>,
    pub(crate) endpoint: &'static str,
    pub(crate) account: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) livemode: Option<bool>,
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) payload: &'m str,
    /// Whether it comes from the queue, or from the inbox.
    pub(crate) is_delivered: bool,
    /// How often its object was read in vain before.
    pub(crate) read_failures: i32,
    /// When it is to be read again, where it could not be.
    pub(crate) read_again_at: Option<DateTime<Utc>>,
    pub(crate) content: Content,
}

/// What an event says.
#[derive(Debug)]
pub(crate) enum Content {
    /// Nothing, by a named rule.
    Ignored(&'static str),
    /// It cannot be read; why.
    Unreadable(String),
    /// Something about an object that is still to be read.
    Pointer {
        /// The type without `v1.`.
        kind: String,
        /// Where the object is, at Stripe.
        url: String,
    },
    /// Something about an account, whose snapshot is still to be read.
    AccountPointer(String),
    /// Something about an object that cannot be read at present.
    Waiting,
    /// A snapshot of an account.
    Account(AccountRow),
    /// A payout of a connected account failed.
    PayoutFailed(AccountId),
    /// A payout of the platform's own failed.
    PlatformPayoutFailed,
    /// A refund that Stripe had accepted came back: the payer does not have it.
    RefundFailed {
        /// `re_…`.
        refund: String,
        /// Whose it may be.
        names: Box<Names>,
    },
    /// Facts about an escrow.
    About(Box<About>),
}

/// Facts about an escrow, and who it says it is.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) names: Names,
    pub(crate) learned: Learned,
    /// The object, where an operation of ours may have made it.
    pub(crate) made: Option<StripeObjectId>,
    pub(crate) fact: Fact,
}

impl About {
    /// Takes over what a payment says about whose it is: it names the operation that made it.
    pub(crate) fn belongs_to(&mut self, payment: &PaymentIntent) {
        let names = names_in(&payment.metadata);
        self.names.escrow = names.escrow;
        self.names.operation = names.operation;
        self.made = StripeObjectId::parse(payment.id.as_str()).ok();
    }
}

impl Reading<'_> {
    /// The row of the event.
    pub(crate) fn row(&self) -> EscrowEvent<'_> {
        EscrowEvent {
            event_id: &self.event_id,
            created: self.created,
            kind: &self.kind,
            endpoint: self.endpoint,
            account: self.account.as_deref(),
            api_version: self.api_version.as_deref(),
            livemode: self.livemode,
            received_at: self.received_at,
            payload: self.payload,
            is_delivered: self.is_delivered,
            read_again: self.read_again_at.map(|at| (self.read_failures.saturating_add(1), at)),
        }
    }

    /// Its object could not be read, and is left alone for a while, ever longer: whatever it is, it must not be in the way of others.
    pub(crate) fn rest(&mut self, now: DateTime<Utc>) {
        self.read_again_at = Some(now + pause(&self.event_id, self.read_failures));
    }
}

/// Reads a message, or says why it is not an event at all.
///
/// # Errors
/// When the body is not UTF-8 or has no event's envelope; such a message parks.
pub(crate) fn read(message: &Incoming, livemode: bool, now: DateTime<Utc>) -> Result<Reading<'_>, String> {
    let payload = std::str::from_utf8(&message.body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let endpoint = message
        .headers
        .get_str(headers::ENDPOINT)
        .unwrap_or(&message.routing_key);
    let received_at = message
        .headers
        .get_str(headers::RECEIVED_AT)
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map_or(now, |time| time.with_timezone(&Utc));
    parse(payload, endpoint, received_at, livemode)
}

/// Reads an event that waits in the inbox.
///
/// # Errors
/// When its body has no event's envelope.
pub(crate) fn read_again(event: &WaitingEvent, livemode: bool) -> Result<Reading<'_>, String> {
    let reading = parse(&event.payload, &event.endpoint, event.received_at, livemode)?;
    Ok(Reading {
        is_delivered: false,
        read_failures: event.read_failures,
        ..reading
    })
}

/// Reads an event's body, which came to this endpoint at this time.
///
/// # Errors
/// When it has no event's envelope.
fn parse<'m>(
    payload: &'m str,
    endpoint: &str,
    received_at: DateTime<Utc>,
    livemode: bool,
) -> Result<Reading<'m>, String> {
    let body = payload.as_bytes();
    let envelope = stripe_gateway::envelope::peek(body).map_err(|error| error.to_string())?;
    let endpoint = if endpoint.starts_with("connect") {
        "connect"
    } else {
        "platform"
    };
    Ok(Reading {
        event_id: envelope.id.to_string(),
        kind: envelope.kind.to_string(),
        created: DateTime::from_timestamp(envelope.created.clamp(0, LAST_SECOND), 0).unwrap_or(received_at),
        endpoint,
        account: envelope.account.as_deref().map(ToOwned::to_owned),
        api_version: envelope.api_version.as_deref().map(ToOwned::to_owned),
        livemode: envelope.livemode,
        received_at,
        payload,
        is_delivered: true,
        read_failures: 0,
        read_again_at: None,
        content: content(body, &envelope, livemode),
    })
}

fn content(body: &[u8], envelope: &Envelope<'_>, livemode: bool) -> Content {
    if envelope.livemode != Some(livemode) {
        return Content::Ignored("livemode_mismatch");
    }
    match envelope.form {
        Form::Thin => thin(body, envelope),
        Form::Snapshot => full(body, envelope).unwrap_or_else(|error| Content::Unreadable(describe(&error))),
    }
}

fn describe(error: &ViewError) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(500));
    text
}

fn thin(body: &[u8], envelope: &Envelope<'_>) -> Content {
    let is_account = is_about_an_account(&envelope.kind);
    if !is_account && !envelope.kind.starts_with("v1.") {
        return Content::Ignored("no_rule");
    }
    let url = match related_url(body) {
        Ok(Some(url)) => url,
        Ok(None) => return Content::Unreadable("related_object.url is missing".to_owned()),
        Err(error) => return Content::Unreadable(describe(&error)),
    };
    if is_account {
        return match account_in(&url) {
            Some(account) => Content::AccountPointer(account.to_owned()),
            None => Content::Unreadable("related_object.url names no account".to_owned()),
        };
    }
    match (envelope.kind.strip_prefix("v1."), envelope.context.as_deref()) {
        // Whose payout it is is all that counts: the payout itself need not be read.
        (Some("payout.failed"), None) => Content::PlatformPayoutFailed,
        (Some("payout.failed"), Some(account)) => payout_failed(account),
        (Some(kind), None) => Content::Pointer {
            kind: kind.to_owned(),
            url,
        },
        (Some(_), Some(_)) => Content::Ignored("connected_account"),
        (None, _) => Content::Ignored("no_rule"),
    }
}

/// Whether a notice says that an account is another one now: it, its configurations, or the persons that stand for it. A link that its
/// owner has followed says nothing of it.
fn is_about_an_account(kind: &str) -> bool {
    let of_account = kind.strip_prefix("v2.core.account");
    let changes = |rest: &str| [".", "[", "_person."].iter().any(|begin| rest.starts_with(begin));
    kind == "v1.account.updated" || of_account.is_some_and(changes)
}

/// The account of `/v2/core/accounts/acct_1`, or of what is below it.
fn account_in(url: &str) -> Option<&str> {
    let mut parts = url.split(['/', '?']).skip_while(|part| *part != "accounts");
    parts.nth(1).filter(|account| !account.is_empty())
}

fn payout_failed(account: &str) -> Content {
    AccountId::parse(account).map_or(Content::Ignored("no_rule"), Content::PayoutFailed)
}

fn full(body: &[u8], envelope: &Envelope<'_>) -> Result<Content, ViewError> {
    let event = EventView::parse(body)?;
    let at = UnixSeconds(envelope.created);
    match (&*envelope.kind, envelope.account.as_deref()) {
        ("account.updated", _) => Ok(Content::Account(snapshot(&event.account()?, at))),
        ("payout.failed", Some(account)) => Ok(payout_failed(account)),
        ("payout.failed", None) => Ok(Content::PlatformPayoutFailed),
        (_, Some(_)) => Ok(Content::Ignored("connected_account")),
        (kind, None) => match kind.split_once('.').map(|(object, _)| object) {
            Some("payment_intent") => Ok(of_payment(kind, &event.payment_intent()?)),
            Some("charge") if kind.starts_with("charge.dispute.") => Ok(of_dispute(&event.dispute()?)),
            Some("charge") if kind.starts_with("charge.refund.") => Ok(of_refund(&event.refund()?)),
            Some("refund") => Ok(of_refund(&event.refund()?)),
            Some("charge") => Ok(of_charge(&event.charge()?)),
            Some("transfer") => Ok(of_transfer(kind, &event.transfer()?)),
            Some(_) | None => Ok(Content::Ignored("no_rule")),
        },
    }
}

/// What the object of a thin event says, once it has been read.
pub(crate) fn of_related(kind: &str, object: &RelatedObject) -> Content {
    match object {
        RelatedObject::PaymentIntent(payment) => of_payment(kind, payment),
        RelatedObject::Charge(charge) => of_charge(charge),
        RelatedObject::Dispute(dispute) => of_dispute(dispute),
        RelatedObject::Refund(refund) => of_refund(refund),
        RelatedObject::Transfer(transfer) => of_transfer(kind, transfer),
        RelatedObject::Account(_)
        | RelatedObject::CheckoutSession(_)
        | RelatedObject::Invoice(_)
        | RelatedObject::InvoicePayment(_)
        | RelatedObject::Payout(_)
        | RelatedObject::Subscription(_) => Content::Ignored("no_rule"),
    }
}

fn money(minor: i64, currency: &str) -> Result<Money, Content> {
    Currency::parse(currency)
        .map(|currency| Money::new(minor, currency))
        .map_err(|_| Content::Unreadable("currency is no currency".to_owned()))
}

fn names_in(metadata: &Metadata) -> Names {
    Names {
        escrow: metadata.escrow_id().map(ToOwned::to_owned),
        operation: metadata.get("operation_id").map(ToOwned::to_owned),
        ..Names::default()
    }
}

/// A payment's own status says more than the type: it only goes forward, but for a declined attempt.
fn of_payment(kind: &str, payment: &PaymentIntent) -> Content {
    let fact = match &payment.status {
        PaymentIntentStatus::Succeeded => match money(payment.amount_received, &payment.currency) {
            Ok(amount) => Fact::Captured(amount),
            Err(unreadable) => return unreadable,
        },
        PaymentIntentStatus::Canceled => Fact::PaymentCanceled,
        PaymentIntentStatus::RequiresCapture => Fact::Authorized { capture_before: None },
        PaymentIntentStatus::RequiresPaymentMethod
        | PaymentIntentStatus::RequiresConfirmation
        | PaymentIntentStatus::RequiresAction
        | PaymentIntentStatus::Processing
        | PaymentIntentStatus::Unknown(_) => {
            if kind != "payment_intent.payment_failed" {
                return Content::Ignored("no_change_of_payment");
            }
            Fact::PaymentFailed
        }
    };
    let charge = payment.latest_charge.clone().filter(|_| fact != Fact::PaymentFailed);
    Content::About(Box::new(About {
        names: Names {
            payment_intent: Some(payment.id.clone()),
            ..names_in(&payment.metadata)
        },
        made: StripeObjectId::parse(payment.id.as_str()).ok(),
        learned: Learned {
            charge,
            ..Learned::default()
        },
        fact,
    }))
}

/// What a hold releases when it is captured in part, canceled or ends is in `amount_refunded` as well, although no money moved.
fn of_charge(charge: &Charge) -> Content {
    let names = Names {
        payment_intent: charge.payment_intent.clone(),
        charge: Some(charge.id.clone()),
        // The charge's metadata are the payment's, and name the operation that made the payment.
        ..names_in(&charge.metadata)
    };
    let made = charge.payment_intent.as_deref();
    let made = made.and_then(|payment| StripeObjectId::parse(payment).ok());
    let captured = match (charge.amount_captured, charge.captured) {
        (Some(amount), _) => amount,
        (None, Some(false)) => 0,
        (None, Some(true) | None) => charge.amount,
    };
    let released = charge.amount.saturating_sub(captured);
    let refunded = charge.amount_refunded.saturating_sub(released);
    let capture_before = charge.capture_before.map(UnixSeconds);
    let fact = if captured == 0 && charge.amount_refunded == 0 {
        Fact::Authorized { capture_before }
    } else if captured > 0 && refunded > 0 {
        match money(refunded, &charge.currency) {
            Ok(total) => Fact::Refunded(total),
            Err(unreadable) => return unreadable,
        }
    } else if captured > 0 {
        match money(captured, &charge.currency) {
            Ok(amount) => Fact::Captured(amount),
            Err(unreadable) => return unreadable,
        }
    } else {
        return Content::Ignored("hold_released");
    };
    Content::About(Box::new(About {
        names,
        made,
        learned: Learned {
            charge: Some(charge.id.clone()),
            ..Learned::default()
        },
        fact,
    }))
}

fn of_refund(refund: &Refund) -> Content {
    match refund.status {
        Some(RefundStatus::Failed | RefundStatus::Canceled) => Content::RefundFailed {
            refund: refund.id.clone(),
            names: Box::new(Names {
                payment_intent: refund.payment_intent.clone(),
                charge: refund.charge.clone(),
                ..names_in(&refund.metadata)
            }),
        },
        Some(
            RefundStatus::Pending | RefundStatus::RequiresAction | RefundStatus::Succeeded | RefundStatus::Unknown(_),
        )
        | None => Content::Ignored("no_failed_refund"),
    }
}

fn of_dispute(dispute: &Dispute) -> Content {
    let stage = match &dispute.status {
        DisputeStatus::WarningNeedsResponse | DisputeStatus::WarningUnderReview => DisputeStage::Inquiry,
        DisputeStatus::WarningClosed | DisputeStatus::Prevented => DisputeStage::Closed,
        DisputeStatus::NeedsResponse
        | DisputeStatus::UnderReview
        | DisputeStatus::AppealNeedsResponse
        | DisputeStatus::AppealUnderReview => DisputeStage::Open,
        DisputeStatus::Won => DisputeStage::Won,
        DisputeStatus::Lost => DisputeStage::Lost,
        DisputeStatus::Unknown(word) => return Content::Unreadable(format!("dispute.status is {word}")),
    };
    let (Ok(id), amount) = (
        DisputeId::parse(dispute.id.as_str()),
        money(dispute.amount, &dispute.currency),
    ) else {
        return Content::Unreadable("dispute.id is no id".to_owned());
    };
    match amount {
        Err(unreadable) => unreadable,
        Ok(amount) => Content::About(Box::new(About {
            names: Names {
                payment_intent: dispute.payment_intent.clone(),
                charge: dispute.charge.clone(),
                ..Names::default()
            },
            made: None,
            learned: Learned {
                evidence_due_by: dispute.due_by,
                ..Learned::default()
            },
            fact: Fact::Disputed {
                dispute: id,
                stage,
                amount,
            },
        })),
    }
}

fn of_transfer(kind: &str, transfer: &Transfer) -> Content {
    let account = transfer.destination.as_deref().and_then(|id| AccountId::parse(id).ok());
    let (Some(account), Ok(id)) = (account, TransferId::parse(transfer.id.as_str())) else {
        return Content::Unreadable("transfer.destination is missing".to_owned());
    };
    let (amount, total) = match (
        money(transfer.amount, &transfer.currency),
        money(transfer.amount_reversed, &transfer.currency),
    ) {
        (Ok(amount), Ok(total)) => (amount, total),
        (Err(unreadable), _) | (_, Err(unreadable)) => return unreadable,
    };
    let transfer_id = id.clone();
    let is_undone = total.minor > 0 && total.minor >= amount.minor;
    let fact = if kind == "transfer.failed" {
        Fact::TransferFailed {
            account,
            transfer: id,
            amount,
        }
    } else if total.minor > 0 {
        Fact::TransferReversed {
            account,
            transfer: id,
            amount,
            total,
        }
    } else {
        Fact::Transferred {
            account,
            transfer: id,
            amount,
        }
    };
    Content::About(Box::new(About {
        names: Names {
            transfer: Some(transfer.id.clone()),
            group: transfer.transfer_group.clone(),
            ..names_in(&transfer.metadata)
        },
        // One that is undone as a whole may be the second of two; only a look tells which of them counts.
        made: StripeObjectId::parse(transfer_id.as_str()).ok().filter(|_| !is_undone),
        learned: Learned::default(),
        fact,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_about_an_account_names_it_whatever_of_it_has_changed() {
        let account = |kind: &str, url: &str| is_about_an_account(kind).then(|| account_in(url).map(ToOwned::to_owned));
        let known = Some(Some("acct_1".to_owned()));
        for (kind, url, expected) in [
            ("v1.account.updated", "/v1/accounts/acct_1", known.clone()),
            ("v2.core.account.updated", "/v2/core/accounts/acct_1", known.clone()),
            (
                "v2.core.account[requirements].updated",
                "/v2/core/accounts/acct_1?include=requirements",
                known.clone(),
            ),
            (
                "v2.core.account_person.updated",
                "/v2/core/accounts/acct_1/persons/person_2",
                known,
            ),
            (
                "v2.core.account_person.updated",
                "/v2/core/persons/person_2",
                Some(None),
            ),
            ("v2.core.account.updated", "/v2/core/accounts/", Some(None)),
            ("v2.core.account_link.returned", "/v2/core/account_links/link_1", None),
            ("v2.core.accounting.updated", "/v2/core/accounts/acct_1", None),
        ] {
            assert_eq!(account(kind, url), expected, "{kind} {url}");
        }
    }
}
