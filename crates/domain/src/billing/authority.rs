//! Guard 3: whose event is this, and may it speak for that client?
//!
//! A customer or a checkout session that our side registered, or a customer that was bound once, decides alone; metadata is then
//! never looked at again, except to notice a forgery: a checkout whose metadata names somebody else. Only a customer that nobody
//! owns is asked for its metadata, and even then it binds only to a client that pays by Stripe and has no customer yet.

use super::contract::{Contract, PaymentSource};
use super::decision::{Decision, Reason};
use crate::ids::ClientId;

/// What an event claims, and what our side knows about it.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The contract of the client that the event's customer belongs to, or its charge where it names no customer.
    pub owner: Option<&'a Contract>,
    /// What the event names as the one it is about.
    pub by: NamedBy,
    /// The contract of the client that the event's checkout session was registered for.
    pub session_owner: Option<&'a Contract>,
    /// The client that the event's metadata names.
    pub named: Option<&'a ClientId>,
    /// The contract of that client.
    pub named_contract: Option<&'a Contract>,
    /// Whether the event is a checkout, which a stranger can start.
    pub is_checkout: bool,
}

/// What an event names as the one it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// A customer.
    Customer,
    /// A charge: refunds and disputes name nobody else.
    Charge,
}

/// Whether metadata may bind a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// A client without a customer is bound at first use.
    FirstUse,
    /// Only what our side registered counts.
    RegisteredOnly,
}

/// How a customer came to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundBy {
    /// By a checkout session that our side registered.
    CheckoutSession,
    /// By metadata, at first use.
    Metadata,
}

impl BoundBy {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CheckoutSession => "checkout_session",
            Self::Metadata => "metadata",
        }
    }
}

/// What a waiting event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// Its customer to be registered.
    Customer,
    /// Its charge to be known.
    Charge,
    /// The client that its metadata names, or its customer.
    Client,
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority<'a> {
    /// The event speaks for this client.
    Granted {
        /// Whose it is.
        contract: &'a Contract,
        /// Whether the customer has to be bound to the client now.
        bind: Option<BoundBy>,
    },
    /// Our side does not know enough yet.
    Waiting {
        /// What has to happen.
        what: WaitingFor,
        /// The rule.
        reason: Reason,
    },
    /// The event changes nothing.
    Refused {
        /// The rule.
        reason: Reason,
        /// The client that was to be changed.
        victim: &'a ClientId,
        /// Whether a person should know.
        suspicious: bool,
    },
}

impl Authority<'_> {
    /// The decision, where this ends the matter.
    #[must_use]
    pub const fn decision(&self) -> Option<Decision> {
        match self {
            Self::Granted { .. } => None,
            Self::Waiting { reason, .. } => Some(Decision::waiting(*reason)),
            Self::Refused { reason, .. } => Some(Decision::unauthorised(*reason)),
        }
    }
}

/// Judges a claim.
#[must_use]
pub fn judge(claim: Claim<'_>, binding: Binding) -> Authority<'_> {
    if let (Some(owner), Some(session_owner)) = (claim.owner, claim.session_owner)
        && owner.client != session_owner.client
    {
        return Authority::Refused {
            reason: Reason::CustomerOfAnotherClient,
            victim: &session_owner.client,
            suspicious: true,
        };
    }
    let registered = match (claim.owner, claim.session_owner) {
        (Some(owner), _) => Some((owner, None)),
        (None, Some(owner)) => Some((owner, Some(BoundBy::CheckoutSession))),
        (None, None) => None,
    };
    if let Some((owner, bind)) = registered {
        return match claim.named {
            Some(named) if claim.is_checkout && *named != owner.client => Authority::Refused {
                reason: Reason::CustomerOfAnotherClient,
                victim: named,
                suspicious: true,
            },
            Some(_) | None => grant(owner, bind, claim.is_checkout),
        };
    }
    if claim.by == NamedBy::Charge {
        return Authority::Waiting {
            what: WaitingFor::Charge,
            reason: Reason::ChargeUnknown,
        };
    }
    if claim.named.is_none() {
        return Authority::Waiting {
            what: WaitingFor::Customer,
            reason: Reason::CustomerUnknown,
        };
    }
    let Some(named) = claim.named_contract else {
        return Authority::Waiting {
            what: WaitingFor::Client,
            reason: Reason::ClientUnknown,
        };
    };
    match (named.source, binding) {
        (PaymentSource::None | PaymentSource::Manual, _) => grant(named, None, true),
        (PaymentSource::Stripe, Binding::FirstUse) if !named.has_customer => {
            grant(named, Some(BoundBy::Metadata), claim.is_checkout)
        }
        (PaymentSource::Stripe, Binding::FirstUse | Binding::RegisteredOnly) => Authority::Waiting {
            what: WaitingFor::Customer,
            reason: Reason::CustomerNotRegistered,
        },
    }
}

/// Grants authority over a client that pays by Stripe, and refuses it over any other.
const fn grant(contract: &Contract, bind: Option<BoundBy>, suspicious: bool) -> Authority<'_> {
    match contract.source {
        PaymentSource::Stripe => Authority::Granted { contract, bind },
        PaymentSource::None | PaymentSource::Manual => Authority::Refused {
            reason: Reason::PaymentSourceIsNotStripe,
            victim: &contract.client,
            suspicious,
        },
    }
}
