//! Stripe's test cards and what a charge on each does.

use super::payment::Failure;

/// What a charge on a card leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Succeeds,
    Declined(Failure),
    NeedsAuthentication,
    /// Succeeds, then is disputed at once with this reason and status.
    Disputed(&'static str, &'static str),
}

/// What becomes of a refund to a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refunding {
    Succeeds,
    /// Starts pending, and succeeds later.
    SucceedsLater,
    /// Succeeds, and turns out to have failed later.
    FailsLater,
    /// Is made, and has failed. Stripe has no test card for it.
    FailsAtOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) token: &'static str,
    pub(crate) brand: &'static str,
    pub(crate) last4: &'static str,
    pub(crate) funding: &'static str,
    pub(crate) behaviour: Behaviour,
    /// Stripe refuses to attach it to a customer.
    pub(crate) refused_at_attach: bool,
    pub(crate) refunding: Refunding,
    /// What it pays is available at once instead of some days later.
    pub(crate) bypasses_pending: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct PaymentMethod {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) customer: Option<String>,
    pub(crate) fingerprint: String,
    pub(crate) card: Card,
}

const fn card(token: &'static str, brand: &'static str, last4: &'static str, behaviour: Behaviour) -> Card {
    Card {
        token,
        brand,
        last4,
        funding: "credit",
        behaviour,
        refused_at_attach: false,
        refunding: Refunding::Succeeds,
        bypasses_pending: false,
    }
}

const fn declined(
    token: &'static str,
    last4: &'static str,
    code: &'static str,
    decline: Option<&'static str>,
    message: &'static str,
) -> Card {
    let failure = Failure {
        code,
        decline_code: decline,
        message,
    };
    Card {
        token,
        brand: "visa",
        last4,
        funding: "credit",
        behaviour: Behaviour::Declined(failure),
        refused_at_attach: true,
        refunding: Refunding::Succeeds,
        bypasses_pending: false,
    }
}

const DECLINED: &str = "Your card was declined.";

/// Every test payment method that is known here.
pub(crate) const CARDS: &[Card] = &[
    card("pm_card_visa", "visa", "4242", Behaviour::Succeeds),
    card("pm_card_visa_debit", "visa", "5556", Behaviour::Succeeds),
    card("pm_card_mastercard", "mastercard", "4444", Behaviour::Succeeds),
    card("pm_card_amex", "amex", "8431", Behaviour::Succeeds),
    Card {
        bypasses_pending: true,
        ..card("pm_card_bypassPending", "visa", "0077", Behaviour::Succeeds)
    },
    Card {
        refunding: Refunding::SucceedsLater,
        ..card("pm_card_pendingRefund", "visa", "7726", Behaviour::Succeeds)
    },
    Card {
        refunding: Refunding::FailsLater,
        ..card("pm_card_refundFail", "visa", "5126", Behaviour::Succeeds)
    },
    Card {
        refunding: Refunding::FailsAtOnce,
        ..card("pm_card_refundFailAtOnce", "visa", "5127", Behaviour::Succeeds)
    },
    card(
        "pm_card_authenticationRequired",
        "visa",
        "3184",
        Behaviour::NeedsAuthentication,
    ),
    card(
        "pm_card_createDispute",
        "visa",
        "0259",
        Behaviour::Disputed("fraudulent", "needs_response"),
    ),
    card(
        "pm_card_createDisputeInquiry",
        "visa",
        "1976",
        Behaviour::Disputed("fraudulent", "warning_needs_response"),
    ),
    card(
        "pm_card_createDisputeProductNotReceived",
        "visa",
        "2685",
        Behaviour::Disputed("product_not_received", "needs_response"),
    ),
    declined(
        "pm_card_chargeDeclined",
        "0002",
        "card_declined",
        Some("generic_decline"),
        DECLINED,
    ),
    declined(
        "pm_card_chargeDeclinedInsufficientFunds",
        "9995",
        "card_declined",
        Some("insufficient_funds"),
        "Your card has insufficient funds.",
    ),
    declined(
        "pm_card_chargeDeclinedLostCard",
        "9987",
        "card_declined",
        Some("lost_card"),
        DECLINED,
    ),
    declined(
        "pm_card_chargeDeclinedStolenCard",
        "9979",
        "card_declined",
        Some("stolen_card"),
        DECLINED,
    ),
    declined(
        "pm_card_chargeDeclinedFraudulent",
        "0019",
        "card_declined",
        Some("fraudulent"),
        DECLINED,
    ),
    declined(
        "pm_card_radarBlock",
        "0019",
        "card_declined",
        Some("fraudulent"),
        DECLINED,
    ),
    declined(
        "pm_card_chargeDeclinedExpiredCard",
        "0069",
        "expired_card",
        None,
        "Your card has expired.",
    ),
    declined(
        "pm_card_chargeDeclinedIncorrectCvc",
        "0127",
        "incorrect_cvc",
        None,
        "Your card's security code is incorrect.",
    ),
    declined(
        "pm_card_chargeDeclinedProcessingError",
        "0119",
        "processing_error",
        None,
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    Card {
        refused_at_attach: false,
        ..declined(
            "pm_card_chargeCustomerFail",
            "0341",
            "card_declined",
            Some("generic_decline"),
            DECLINED,
        )
    },
];

/// The test card behind a token such as `pm_card_visa`, or its old name `tok_visa`.
pub(crate) fn card_of(token: &str) -> Option<Card> {
    let named = token
        .strip_prefix("tok_")
        .map_or_else(|| token.to_owned(), |rest| format!("pm_card_{rest}"));
    CARDS.iter().find(|one| one.token == named).copied()
}
