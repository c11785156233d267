//! What Stripe's refusals mean (RET-2): whether another try can help, and what has to happen before it.
//!
//! The table goes by Stripe's codes, never by its texts. A code that is not in it counts by the HTTP status, by a named rule; so a
//! code that Stripe invents tomorrow is neither hammered nor lost.

use std::fmt;

/// What a refusal means for the call that got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// Refused now, may be granted later: another attempt, under a new key, when its time has come.
    Transient,
    /// Refused for good: no attempt will help before a person has changed something.
    Permanent,
    /// The recipient cannot receive (yet, or any longer): another attempt when its account says that it can.
    RecipientNotReady,
    /// The object is in a state in which the effect may already be there: look at it before anything else.
    MayBeDone,
    /// Stripe did not begin: the same key again, later. Nothing was stored under it.
    NotStarted,
    /// A call with the same key is still at work: the same key again, later, for its answer.
    InProgress,
}

impl ErrorClass {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 6] = [
        Self::Transient,
        Self::Permanent,
        Self::RecipientNotReady,
        Self::MayBeDone,
        Self::NotStarted,
        Self::InProgress,
    ];

    /// The word in the database, in answers and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::RecipientNotReady => "recipient_not_ready",
            Self::MayBeDone => "may_be_done",
            Self::NotStarted => "not_started",
            Self::InProgress => "in_progress",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// Whether trying again, without a person and without the recipient, can help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Transient | Self::MayBeDone | Self::NotStarted | Self::InProgress => true,
            Self::Permanent | Self::RecipientNotReady => false,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($code:literal => $variant:ident, $class:ident, $todo:literal;)*) => {
        /// Stripe's error codes that calls of an escrow can get, and its reasons for a refund that failed, as far as they are known here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $code, "`")] $variant,)*
            /// None of those above.
            Unknown,
        }

        impl ErrorCode {
            /// Every code that is known.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant,)*];

            /// Reads Stripe's `code` (or `decline_code`, or `type` where there is no code), or a refund's `failure_reason`.
            #[must_use]
            pub fn read(text: &str) -> Self {
                match text {
                    $($code => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }

            /// Stripe's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* Self::Unknown => "unknown" }
            }

            /// What the code means by itself; `None` where only the HTTP status can tell.
            #[must_use]
            pub const fn class(self) -> Option<ErrorClass> {
                match self { $(Self::$variant => Some(ErrorClass::$class),)* Self::Unknown => None }
            }

            /// What has to be done about it, in a sentence for the page of the escrow.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $todo,)*
                    Self::Unknown => "Look the request up in Stripe's dashboard by its request id.",
                }
            }
        }
    };
}

codes! {
    "account_closed" => AccountClosed, Permanent, "The recipient has to connect another account.";
    "account_country_invalid_address" => AccountCountryInvalidAddress, RecipientNotReady, "The recipient has to correct the address of the account.";
    "account_invalid" => AccountInvalid, Permanent, "The account does not exist or is not connected to this platform.";
    "amount_too_large" => AmountTooLarge, Permanent, "The amount is more than Stripe allows here.";
    "amount_too_small" => AmountTooSmall, Permanent, "The amount is less than Stripe allows here, after conversion.";
    "api_key_expired" => ApiKeyExpired, Permanent, "Set a Stripe key that is valid.";
    "balance_insufficient" => BalanceInsufficient, Transient, "Wait until funds are available, or top up the balance.";
    "bank_account_restricted" => BankAccountRestricted, RecipientNotReady, "The recipient has to replace the bank account.";
    "charge_already_captured" => ChargeAlreadyCaptured, MayBeDone, "Nothing; the charge is looked up.";
    "charge_already_refunded" => ChargeAlreadyRefunded, MayBeDone, "Nothing; the charge is looked up.";
    "charge_disputed" => ChargeDisputed, Permanent, "Answer the dispute; a refund outside of it is not possible.";
    "charge_exceeds_source_limit" => ChargeExceedsSourceLimit, Transient, "Wait; the limit is per day.";
    "charge_expired_for_capture" => ChargeExpiredForCapture, Permanent, "The authorisation has ended; the payer has to pay again.";
    "charge_for_pending_refund_disputed" => ChargeForPendingRefundDisputed, Permanent, "Answer the dispute; a refund outside of it is not possible.";
    "charge_not_refundable" => ChargeNotRefundable, Permanent, "Pay the payer back outside of Stripe.";
    "currency_not_supported" => CurrencyNotSupported, Permanent, "The recipient's account cannot receive this currency.";
    "declined" => Declined, Permanent, "The payer's bank does not take the refund; pay the payer back outside of Stripe.";
    "expired_or_canceled_card" => ExpiredOrCanceledCard, Permanent, "Pay the payer back outside of Stripe.";
    "idempotency_error" => IdempotencyError, Permanent, "A key was used with other parameters; report this as a defect.";
    "idempotency_key_in_use" => IdempotencyKeyInUse, InProgress, "Nothing; the call that is at work answers.";
    "insufficient_capabilities_for_transfer" => InsufficientCapabilitiesForTransfer, RecipientNotReady, "The recipient has to finish the set-up of the account.";
    "insufficient_funds" => InsufficientFunds, Transient, "Wait until funds are available.";
    "intent_invalid_state" => IntentInvalidState, MayBeDone, "Nothing; the payment is looked up.";
    "lock_timeout" => LockTimeout, NotStarted, "Nothing; another call worked on the same object.";
    "lost_or_stolen_card" => LostOrStolenCard, Permanent, "Pay the payer back outside of Stripe.";
    "merchant_request" => MerchantRequest, Permanent, "Somebody of the platform has canceled the refund.";
    "no_account" => NoAccount, Permanent, "The recipient has to connect an account.";
    "parameter_invalid_integer" => ParameterInvalidInteger, Permanent, "Report this as a defect.";
    "parameter_missing" => ParameterMissing, Permanent, "Report this as a defect.";
    "parameter_unknown" => ParameterUnknown, Permanent, "Report this as a defect.";
    "payment_intent_unexpected_state" => PaymentIntentUnexpectedState, MayBeDone, "Nothing; the payment is looked up.";
    "payouts_not_allowed" => PayoutsNotAllowed, RecipientNotReady, "The recipient has to finish the set-up of the account.";
    "platform_account_required" => PlatformAccountRequired, Permanent, "Set the key of the platform's account.";
    "platform_api_key_expired" => PlatformApiKeyExpired, Permanent, "Set a Stripe key that is valid.";
    "rate_limit" => RateLimit, NotStarted, "Nothing; calls are slowed down.";
    "refund_disputed_payment" => RefundDisputedPayment, Permanent, "Answer the dispute; a refund outside of it is not possible.";
    "resource_missing" => ResourceMissing, Permanent, "The object does not exist in this account and mode.";
    "secret_key_required" => SecretKeyRequired, Permanent, "Set a secret key of Stripe.";
    "testmode_charges_only" => TestmodeChargesOnly, Permanent, "Finish the activation of the platform's account.";
    "transfer_source_balance_parameters_mismatch" => TransferSourceBalanceParametersMismatch, Permanent, "Report this as a defect.";
    "transfers_not_allowed" => TransfersNotAllowed, RecipientNotReady, "The recipient has to finish the set-up of the account.";
}

/// A refusal by Stripe: an answer with a status of 4xx that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failure {
    /// Stripe's code.
    pub code: ErrorCode,
    /// What it means.
    pub class: ErrorClass,
}

impl Failure {
    /// What a refusal means: by its code, and where that is not known, by the HTTP status.
    ///
    /// `409` says that the key is in use, `429` that Stripe did not begin; everything else that Stripe refuses without a code that
    /// is known counts as permanent. A person looks once, instead of the same request being refused for days.
    #[must_use]
    pub const fn new(code: ErrorCode, http_status: u16) -> Self {
        let class = match (code.class(), http_status) {
            (Some(class), _) => class,
            (None, 409) => ErrorClass::InProgress,
            (None, 429) => ErrorClass::NotStarted,
            (None, _) => ErrorClass::Permanent,
        };
        Self { code, class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_the_table_is_sorted() {
        for code in ErrorCode::KNOWN {
            assert_eq!(ErrorCode::read(code.as_str()), *code);
            assert!(code.class().is_some() && code.advice().ends_with('.'), "{code:?}");
        }
        assert!(ErrorCode::KNOWN.iter().map(|code| code.as_str()).is_sorted());
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::parse(class.as_str()), Some(class));
        }
    }

    #[test]
    fn an_unknown_code_counts_by_its_status_and_is_never_hammered() {
        let class = |status| Failure::new(ErrorCode::read("invented_tomorrow"), status).class;
        assert_eq!(class(400), ErrorClass::Permanent);
        assert_eq!(class(402), ErrorClass::Permanent);
        assert_eq!(class(409), ErrorClass::InProgress);
        assert_eq!(class(429), ErrorClass::NotStarted);
        assert!(!class(400).is_transient());
    }
}
