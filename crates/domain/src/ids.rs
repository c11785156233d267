//! One newtype per kind of identifier.
//!
//! An id is parsed once, at the edge, and is from then on known to be short, printable and free of characters that could break a
//! log line, a header or a routing key. Stripe does not promise a format for its ids beyond "at most 255 characters", so the
//! prefix (`sub_`, `cus_`) is not insisted on.
//!
//! A price may be a plan of the years before prices, whose id its owner chose, in whatever words: [`check_chosen`].

use std::fmt;

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than 255 bytes, the limit that Stripe documents for its own ids.
    #[error("is longer than 255 bytes")]
    TooLong,
    /// A blank, control or non-ASCII character.
    #[error("has a character other than visible ASCII")]
    Character,
    /// A control character, where blanks and letters of all kinds are allowed.
    #[error("has a control character")]
    Control,
}

/// The largest length of an id in bytes.
pub const MAX_ID_LENGTH: usize = 255;

/// Checks the shape that every identifier shares.
///
/// # Errors
/// When the text is empty, longer than [`MAX_ID_LENGTH`], or holds anything but visible ASCII.
pub fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(InvalidId::TooLong);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidId::Character);
    }
    Ok(())
}

/// Checks an id that a person chose at Stripe: a text of one line.
///
/// # Errors
/// When it is empty, longer than [`MAX_ID_LENGTH`], or holds a control character.
pub fn check_chosen(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(InvalidId::TooLong);
    }
    if text
        .chars()
        .any(|letter| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}'))
    {
        return Err(InvalidId::Control);
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        id!($(#[$doc])* $name, check);
    };
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes a text that came from outside.
            ///
            /// # Errors
            #[doc = concat!("See [`", stringify!($check), "`].")]
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as an owned text.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(/// A client of the team that runs Holdfast: whom they bill. Chosen by them.
    ClientId);
id!(/// An organisation (tenant): whose rows the row-level security keeps apart.
    OrgId);
id!(/// A Stripe event (`evt_...`).
    StripeEventId);
id!(/// A Stripe customer (`cus_...`).
    CustomerId);
id!(/// A Stripe subscription (`sub_...`).
    SubscriptionId);
id!(/// A Stripe invoice (`in_...`).
    InvoiceId);
id!(/// A Stripe checkout session (`cs_...`).
    CheckoutSessionId);
id!(/// A Stripe price (`price_...`), or a plan by the id that its owner gave it.
    PriceId, check_chosen);
id!(/// A Stripe charge (`ch_...` or `py_...`).
    ChargeId);
id!(/// A Stripe refund (`re_...` or `pyr_...`).
    RefundId);
id!(/// A Stripe dispute (`du_...` or `dp_...`).
    DisputeId);
id!(/// An escrow, named by us. Goes to Stripe as metadata `escrow_id` and as `transfer_group`.
    EscrowId);
id!(/// A call that moves money, named by us. Its idempotency keys are made of it.
    OperationId);
id!(/// A connected account (`acct_...`).
    AccountId);
id!(/// A Stripe transfer (`tr_...`).
    TransferId);
id!(/// Any object of Stripe's that a call made: a transfer, a reversal, a refund, a payment intent.
    StripeObjectId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_stripe_sends_and_refuses_what_breaks_a_line() {
        assert!(CustomerId::parse("cus_NffrFeUfNV2Hib").is_ok());
        assert_eq!(CustomerId::parse(""), Err(InvalidId::Empty));
        assert_eq!(CustomerId::parse("a".repeat(256)), Err(InvalidId::TooLong));
        assert!(CustomerId::parse("a".repeat(255)).is_ok());
        for bad in ["a b", "a\nb", "a\0b", "caf\u{e9}"] {
            assert_eq!(CustomerId::parse(bad), Err(InvalidId::Character), "{bad:?}");
        }
    }

    #[test]
    fn a_price_is_called_what_its_owner_called_it() {
        for chosen in [
            "price_1MoBy5LkdIwHu7ix",
            "Gold plan (\u{20ac})",
            " caf\u{e9} ",
            "\u{91d1}",
        ] {
            assert_eq!(PriceId::parse(chosen).map(PriceId::into_string), Ok(chosen.to_owned()));
        }
        assert_eq!(PriceId::parse(""), Err(InvalidId::Empty));
        assert_eq!(PriceId::parse("\u{e9}".repeat(128)), Err(InvalidId::TooLong));
        for bad in ["a\nb", "a\0b", "a\u{85}b", "a\u{2028}b"] {
            assert_eq!(PriceId::parse(bad), Err(InvalidId::Control), "{bad:?}");
        }
    }
}
