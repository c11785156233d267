//! What money calls have made: looked up at Stripe when nobody knows what became of a call.
//!
//! Whoever makes a transfer, a reversal, a refund or a payment intent sets the metadata `operation_id`, and finds it here by it. A list
//! is walked to its end: an object that is not found is not there.

use stripe_connect::account::RetrieveAccount;
use stripe_connect::transfer::ListTransfer;
use stripe_connect::transfer_reversal::ListIdTransferReversal;
use stripe_core::payment_intent::{ListPaymentIntent, RetrievePaymentIntent};
use stripe_core::refund::ListRefund;
use stripe_types::{RangeBoundsTs, RangeQueryTs};

use domain::time::UnixSeconds;

use super::{ReadError, Reading, plain};
use crate::client::{Call, Client};
use crate::views::words::{PaymentIntentStatus, RefundStatus};
use crate::views::{Account, List, ObjectView, PaymentIntent, ViewError};

/// The most that Stripe gives on one page.
const PAGE: i64 = 100;
/// A list that has not ended after so many pages is not believed to be one of a single escrow.
const MAX_PAGES: usize = 200;

/// Where to look for what an operation has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Among the transfers of a `transfer_group`.
    Transfers {
        /// The group.
        group: &'a str,
    },
    /// Among the reversals of a transfer.
    Reversals {
        /// `tr_…`.
        transfer: &'a str,
    },
    /// Among the refunds of a payment.
    Refunds {
        /// `pi_…`.
        payment_intent: &'a str,
    },
    /// Among the payment intents that were made within a time.
    PaymentIntents {
        /// The first second that is looked at.
        since: UnixSeconds,
        /// The last one.
        until: UnixSeconds,
    },
}

/// An object that an operation made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Stripe's id.
    pub id: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stands.
    Stands,
    /// It was undone as a whole: a transfer that was reversed, a payment that was canceled.
    Undone,
    /// It came to nothing by itself: a refund that failed or was canceled, whose money is where it was.
    CameToNothing,
}

impl Client {
    /// The payment intent as it is now.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] when there is none of that id.
    pub async fn read_payment_intent(&self, id: &str) -> Reading<PaymentIntent> {
        self.read_by_id(id, RetrievePaymentIntent::new, |object| object.payment_intent())
            .await
    }

    /// The connected account as it is now.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] when there is none of that id, or it is not connected.
    pub async fn read_account(&self, id: &str) -> Reading<Account> {
        self.read_by_id(id, RetrieveAccount::new, |object| object.account())
            .await
    }

    /// All objects in a place whose metadata name the operation.
    ///
    /// # Errors
    /// [`ReadError`]; then nothing is known.
    pub async fn find_made(&self, place: Place<'_>, operation: &str) -> Result<Vec<Found>, ReadError> {
        let fate = fate_in(place);
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let call = page(place, after.as_deref())?;
            let answer = self.read(call, |body| of_page(body, operation, fate)).await?;
            let (made, last) = answer.content;
            found.extend(made);
            match last {
                Some(last) => after = Some(last),
                None => return Ok(found),
            }
        }
        Err(ReadError::Unavailable("endless_list"))
    }
}

fn page(place: Place<'_>, after: Option<&str>) -> Result<Call, ReadError> {
    macro_rules! going_on {
        ($list:expr) => {{
            let list = $list.limit(PAGE);
            match after {
                Some(after) => Call::get(&list.starting_after(after)),
                None => Call::get(&list),
            }
        }};
    }
    Ok(match place {
        Place::Transfers { group } => going_on!(ListTransfer::new().transfer_group(group)),
        Place::Reversals { transfer } => going_on!(ListIdTransferReversal::new(plain(transfer)?)),
        Place::Refunds { payment_intent } => going_on!(ListRefund::new().payment_intent(payment_intent)),
        Place::PaymentIntents { since, until } => {
            let bounds = RangeBoundsTs {
                gte: Some(since.0),
                lte: Some(until.0),
                ..RangeBoundsTs::default()
            };
            going_on!(ListPaymentIntent::new().created(RangeQueryTs::Bounds(bounds)))
        }
    })
}

type FateOf = fn(&ObjectView<'_>) -> Result<Fate, ViewError>;

/// How to tell what became of an object in a place.
fn fate_in(place: Place<'_>) -> FateOf {
    match place {
        Place::Transfers { .. } => |object| {
            let transfer = object.transfer()?;
            let is_undone = transfer.amount_reversed >= transfer.amount;
            Ok(if is_undone { Fate::Undone } else { Fate::Stands })
        },
        Place::Reversals { .. } => |_| Ok(Fate::Stands),
        Place::Refunds { .. } => |object| {
            Ok(match object.refund()?.status {
                Some(RefundStatus::Failed | RefundStatus::Canceled) => Fate::CameToNothing,
                Some(
                    RefundStatus::Pending
                    | RefundStatus::RequiresAction
                    | RefundStatus::Succeeded
                    | RefundStatus::Unknown(_),
                )
                | None => Fate::Stands,
            })
        },
        Place::PaymentIntents { .. } => |object| {
            let is_undone = object.payment_intent()?.status == PaymentIntentStatus::Canceled;
            Ok(if is_undone { Fate::Undone } else { Fate::Stands })
        },
    }
}

/// What an operation made on one page, and what to go on after.
fn of_page(body: &[u8], operation: &str, fate: FateOf) -> Result<(Vec<Found>, Option<String>), ViewError> {
    let list = List::parse(body)?;
    let mut made = Vec::new();
    let mut last = None;
    for item in &list.items {
        let object = ObjectView::parse(item.get().as_bytes())?;
        let id = object.required_id()?;
        if object.metadata()?.get("operation_id") == Some(operation) {
            made.push(Found {
                id: id.clone(),
                fate: fate(&object)?,
            });
        }
        last = Some(id);
    }
    Ok((made, last.filter(|_| list.has_more)))
}
