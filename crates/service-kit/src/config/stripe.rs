//! How to reach Stripe, the same for every service that calls it.
//!
//! Variables: `STRIPE_SECRET_KEY`, `STRIPE_API_BASE` (`https://api.stripe.com`), `STRIPE_TIMEOUT_MS` (30000) and
//! `STRIPE_MAX_RETRIES` (3). Which places are fit for a secret key is the client's knowledge, so that a service hands its
//! check in; a place that it refuses is a problem among the others.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Reader, shape};

/// The variable that holds the key.
const KEY: &str = "STRIPE_SECRET_KEY";

/// How to reach Stripe. `B` is what the client's check made of `STRIPE_API_BASE`.
#[derive(Debug, Clone)]
pub struct StripeApi<B> {
    /// Where Stripe is.
    pub base: B,
    /// `sk_…` or `rk_…`.
    pub secret_key: SecretString,
    /// How long one attempt of a call may take.
    pub timeout: Duration,
    /// How often an attempt is repeated, at most.
    pub max_retries: u32,
}

impl<B: 'static> StripeApi<B> {
    /// Reads the variables of this module; the key must be there. `base` judges `STRIPE_API_BASE` and gives the words that
    /// follow the variable's name: "is not …". It must not repeat the text, which may hold a password.
    pub fn read(r: &mut Reader<'_>, base: impl Fn(&str) -> Result<B, String> + 'static) -> Option<Self> {
        let secret_key = r.required(KEY, shape::stripe_key());
        Self::with(r, secret_key, base)
    }

    fn is_for_livemode(&self) -> bool {
        self.secret_key.expose_secret().contains("_live_")
    }

    /// The same, if the key is of the mode that `STRIPE_LIVEMODE` names; one of the other would move real money in a test, or test money in
    /// earnest, and none of its events would be applied. Where the mode is not known there is nothing to compare.
    pub fn of_mode(self, r: &mut Reader<'_>, livemode: Option<bool>) -> Option<Self> {
        match livemode {
            Some(livemode) if self.is_for_livemode() != livemode => r.refuse(
                KEY,
                "is of the other mode",
                "a key of the mode that STRIPE_LIVEMODE names",
            ),
            Some(_) | None => Some(self),
        }
    }

    /// As [`StripeApi::read`], for a service that can live without Stripe: none when there is no key. What else is set is
    /// judged all the same.
    pub fn read_optional(
        r: &mut Reader<'_>,
        base: impl Fn(&str) -> Result<B, String> + 'static,
    ) -> Option<Option<Self>> {
        if r.is_set(KEY) {
            return Self::read(r, base).map(Some);
        }
        let settings = Settings::read(r, base);
        settings.map(|_| None)
    }

    fn with(
        r: &mut Reader<'_>,
        secret_key: Option<SecretString>,
        base: impl Fn(&str) -> Result<B, String> + 'static,
    ) -> Option<Self> {
        let settings = Settings::read(r, base)?;
        Some(Self {
            base: settings.base,
            secret_key: secret_key?,
            timeout: settings.timeout,
            max_retries: settings.max_retries,
        })
    }
}

/// What has a default.
struct Settings<B> {
    base: B,
    timeout: Duration,
    max_retries: u32,
}

impl<B: 'static> Settings<B> {
    fn read(r: &mut Reader<'_>, base: impl Fn(&str) -> Result<B, String> + 'static) -> Option<Self> {
        let base = shape::Shape::new("https://host, or http:// to this machine", base);
        let base = r.or("STRIPE_API_BASE", "https://api.stripe.com", base);
        let timeout = r.or("STRIPE_TIMEOUT_MS", "30000", shape::millis(100..=120_000));
        let max_retries = r.or("STRIPE_MAX_RETRIES", "3", shape::integer(0..=10));
        Some(Self {
            base: base?,
            timeout: timeout?,
            max_retries: u32::try_from(max_retries?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Problems, load};
    use std::collections::BTreeMap;

    fn source(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn base(text: &str) -> Result<String, String> {
        if text.starts_with("https://") {
            Ok(text.to_owned())
        } else {
            Err("is not https".to_owned())
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<StripeApi<String>, Problems> {
        load(&source(pairs), |r| StripeApi::read(r, base))
    }

    fn read_optional(pairs: &[(&str, &str)]) -> Result<Option<StripeApi<String>>, Problems> {
        load(&source(pairs), |r| StripeApi::read_optional(r, base))
    }

    const KEY_SET: (&str, &str) = ("STRIPE_SECRET_KEY", "rk_test_0123456789");

    #[test]
    fn a_key_is_enough() {
        let api = read(&[KEY_SET]).unwrap();
        assert_eq!(api.base, "https://api.stripe.com");
        assert_eq!((api.timeout, api.max_retries), (Duration::from_secs(30), 3));
        assert!(!format!("{api:?}").contains("0123456789"));
    }

    #[test]
    fn every_problem_is_told_and_neither_key_nor_base_is_shown() {
        let pairs = [
            ("STRIPE_SECRET_KEY", "pk_test_0123456789"),
            ("STRIPE_API_BASE", "http://u:hunter2@example.com"),
            ("STRIPE_TIMEOUT_MS", "0"),
            ("STRIPE_MAX_RETRIES", "many"),
        ];
        for problems in [read(&pairs).unwrap_err(), read_optional(&pairs).unwrap_err()] {
            let text = problems.to_string();
            assert_eq!(problems.0.len(), 4, "{text}");
            assert!(text.contains("STRIPE_API_BASE is not https; expected https://host, or http:// to this machine"));
            assert!(!text.contains("hunter2") && !text.contains("pk_test"), "{text}");
        }
        assert_eq!(read(&[]).unwrap_err().0.len(), 1);
    }

    #[test]
    fn without_a_key_there_is_no_client_but_the_rest_is_still_judged() {
        assert!(read_optional(&[]).unwrap().is_none());
        assert!(read_optional(&[("STRIPE_SECRET_KEY", "")]).unwrap().is_none());
        assert!(read_optional(&[KEY_SET]).unwrap().is_some());
        assert_eq!(read_optional(&[("STRIPE_MAX_RETRIES", "11")]).unwrap_err().0.len(), 1);
    }
}
