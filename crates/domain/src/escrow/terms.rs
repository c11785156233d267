//! What an escrow was created with.

use std::collections::BTreeSet;

use super::split::Split;
use crate::ids::EscrowId;
use crate::money::Currency;
use crate::time::UnixSeconds;
use crate::words::words;

words! {
    /// When the payment is captured.
    CaptureMethod {
        /// On release; until then it is only authorised.
        Manual => "manual",
        /// At once.
        Automatic => "automatic",
    }
}

words! {
    /// What happens to an escrow that would outlive its authorisation (ESC-9).
    OnAuthorizationExpiry {
        /// It is not created.
        Refuse => "refuse",
        /// It is captured in time and held on the platform's balance.
        Capture => "capture",
    }
}

/// How long most cards keep an authorisation: 7 days, in seconds. Counts until Stripe tells the charge's `capture_before`.
pub const AUTHORIZATION_LIFETIME: i64 = 7 * 86_400;

/// How long before its end an authorisation is captured, in seconds: time for some retries.
pub const CAPTURE_MARGIN: i64 = 12 * 3_600;

/// What an escrow was created with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Ours.
    pub id: EscrowId,
    /// Who gets how much.
    pub split: Split,
    /// When it is captured.
    pub capture: CaptureMethod,
    /// What happens when the authorisation would end first.
    pub on_authorization_expiry: OnAuthorizationExpiry,
    /// When it is given back by itself.
    pub expires_at: UnixSeconds,
}

/// The currencies that the platform's balance at Stripe is kept in. A payment in another one is converted when it settles, and no
/// transfer out of it can be in its own currency: Stripe wants that of the charge's balance transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Settlement {
    /// Nobody has said.
    #[default]
    Unsaid,
    /// These.
    In(BTreeSet<Currency>),
}

impl Settlement {
    fn takes(&self, currency: Currency) -> bool {
        match self {
            Self::Unsaid => true,
            Self::In(currencies) => currencies.contains(&currency),
        }
    }
}

/// Why an escrow is not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// It would be over before it began.
    #[error("expires_at must be in the future")]
    ExpiresInThePast,
    /// It would outlive its authorisation, and its creator did not ask for a capture in time.
    #[error("expires_at is later than the authorisation of most cards ends; set on_authorization_expiry to capture")]
    OutlivesAuthorization,
    /// The platform's balance is not kept in its currency.
    #[error("currency {0} is none that the platform's balance is kept in, so that nothing could be transferred in it")]
    NotSettled(Currency),
}

impl Terms {
    /// Checks the terms at creation.
    ///
    /// # Errors
    /// See [`TermsError`].
    pub fn check(&self, now: UnixSeconds, settlement: &Settlement) -> Result<(), TermsError> {
        let currency = self.split.amount().currency;
        if !settlement.takes(currency) {
            return Err(TermsError::NotSettled(currency));
        }
        if self.expires_at <= now {
            return Err(TermsError::ExpiresInThePast);
        }
        let outlives = self.expires_at.since(now) > AUTHORIZATION_LIFETIME;
        match (self.capture, self.on_authorization_expiry) {
            (CaptureMethod::Manual, OnAuthorizationExpiry::Refuse) if outlives => {
                Err(TermsError::OutlivesAuthorization)
            }
            (
                CaptureMethod::Manual | CaptureMethod::Automatic,
                OnAuthorizationExpiry::Refuse | OnAuthorizationExpiry::Capture,
            ) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escrow::split::{Claim, Fee, Share};
    use crate::ids::AccountId;
    use crate::money::Money;

    #[test]
    fn an_escrow_that_would_outlive_its_authorisation_is_refused_unless_it_is_captured_in_time() {
        use CaptureMethod::{Automatic, Manual};
        use OnAuthorizationExpiry::{Capture, Refuse};
        let week = AUTHORIZATION_LIFETIME;
        let cases = [
            (Manual, Refuse, week, Ok(())),
            (Manual, Refuse, week + 1, Err(TermsError::OutlivesAuthorization)),
            (Manual, Capture, week + 1, Ok(())),
            (Automatic, Refuse, week * 10, Ok(())),
            (Manual, Capture, 0, Err(TermsError::ExpiresInThePast)),
            (Automatic, Capture, -1, Err(TermsError::ExpiresInThePast)),
        ];
        let now = UnixSeconds(1_000_000);
        let claim = Claim {
            account: AccountId::parse("acct_1").expect("an id"),
            share: Share::BasisPoints(10_000),
        };
        let split = Split::new(Money::new(1_000, Currency::EUR), &[claim], Fee::NONE).expect("a split");
        for (capture, on_authorization_expiry, expires_in, expected) in cases {
            let terms = Terms {
                id: EscrowId::parse("escrow_1").expect("an id"),
                split: split.clone(),
                capture,
                on_authorization_expiry,
                expires_at: now.plus(expires_in),
            };
            assert_eq!(
                terms.check(now, &Settlement::Unsaid),
                expected,
                "{capture} {on_authorization_expiry} {expires_in}"
            );
            let dollar = Currency::parse("usd").expect("a currency");
            let dollars = Settlement::In([dollar].into());
            let refused = Err(TermsError::NotSettled(Currency::EUR));
            assert_eq!(terms.check(now, &dollars), refused, "whatever else is wrong");
            let both = Settlement::In([dollar, Currency::EUR].into());
            assert_eq!(terms.check(now, &both), expected);
        }
    }
}
