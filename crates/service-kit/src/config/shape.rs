//! What a value must look like: each shape parses a text and says what it expects.
//!
//! Shapes of secrets never put any part of the value into a problem; the others may.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::rate_limit::TrustedProxies;

/// The least length of a secret of our own, in bytes.
pub const OWN_SECRET_MIN_BYTES: usize = 32;

type Parse<T> = Box<dyn Fn(&str) -> Result<T, String>>;

/// A parser together with the words for what it accepts.
pub struct Shape<T> {
    /// What is accepted, for the problem's text.
    pub(super) expected: String,
    parse: Parse<T>,
}

impl<T: 'static> Shape<T> {
    /// A shape of one's own. `parse` gives the words that follow the variable's name: "is not …".
    pub fn new(expected: impl Into<String>, parse: impl Fn(&str) -> Result<T, String> + 'static) -> Self {
        Self {
            expected: expected.into(),
            parse: Box::new(parse),
        }
    }

    /// The same shape with a further step.
    pub fn and_then<U: 'static>(self, step: impl Fn(T) -> Result<U, String> + 'static) -> Shape<U> {
        Shape {
            expected: self.expected,
            parse: Box::new(move |text| step((self.parse)(text)?)),
        }
    }

    /// The same shape with other words for what it accepts.
    #[must_use]
    pub fn expecting(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }
}

impl<T> Shape<T> {
    pub(super) fn read(&self, text: &str) -> Result<T, String> {
        (self.parse)(text)
    }
}

/// Any text, without the white space around it.
#[must_use]
pub fn text() -> Shape<String> {
    Shape::new("some text", |text| Ok(text.trim().to_owned()))
}

/// `true` or `false`.
#[must_use]
pub fn boolean() -> Shape<bool> {
    Shape::new("true or false", |text| match text.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("is {other:?}")),
    })
}

/// A whole number within a range.
#[must_use]
pub fn integer(range: RangeInclusive<u64>) -> Shape<u64> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    Shape::new(expected, move |text| {
        let number: u64 = text.trim().parse().map_err(|_| "is not a whole number".to_owned())?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(format!("is {number}"))
        }
    })
}

/// A duration in whole seconds.
#[must_use]
pub fn seconds(range: RangeInclusive<u64>) -> Shape<Duration> {
    let expected = format!("whole seconds from {} to {}", range.start(), range.end());
    integer(range)
        .expecting(expected)
        .and_then(|number| Ok(Duration::from_secs(number)))
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(range: RangeInclusive<u64>) -> Shape<Duration> {
    let expected = format!("whole milliseconds from {} to {}", range.start(), range.end());
    integer(range)
        .expecting(expected)
        .and_then(|number| Ok(Duration::from_millis(number)))
}

/// An address and a port to listen on.
#[must_use]
pub fn socket_addr() -> Shape<SocketAddr> {
    Shape::new("an address and port such as 0.0.0.0:8080", |text| {
        text.trim().parse().map_err(|_| format!("is {:?}", text.trim()))
    })
}

/// One word out of a fixed list.
#[must_use]
pub fn one_of<T: Clone + 'static>(words: &'static [(&'static str, T)]) -> Shape<T> {
    let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Shape::new(format!("one of {}", list.join(", ")), move |text| {
        let found = words.iter().find(|(word, _)| *word == text.trim());
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("is {:?}", text.trim()))
    })
}

/// A comma-separated list of another shape, at least one element.
#[must_use]
pub fn list<T: 'static>(element: Shape<T>) -> Shape<Vec<T>> {
    Shape::new(
        format!("{}, or several separated by commas", element.expected),
        move |text| {
            let parts = text.split(',').map(str::trim).enumerate();
            parts
                .map(|(index, part)| {
                    if part.is_empty() {
                        return Err(format!("has an empty element at place {}", index.saturating_add(1)));
                    }
                    element.read(part).map_err(|wrong| numbered(index, wrong))
                })
                .collect()
        },
    )
}

/// A URL with one of the schemes. Its text is never shown, as it may hold a password.
#[must_use]
pub fn url(schemes: &'static [&'static str]) -> Shape<String> {
    let expected = format!("a URL that begins with {}", schemes.join(":// or ") + "://");
    Shape::new(expected, move |text| {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
        if !schemes.contains(&scheme) {
            return Err("has another scheme".to_owned());
        }
        if rest.is_empty() || rest.chars().any(char::is_whitespace) {
            return Err("has no host or holds white space".to_owned());
        }
        Ok(text.to_owned())
    })
}

/// A Stripe API key: `sk_live_…`, `sk_test_…`, `rk_live_…` or `rk_test_…`.
#[must_use]
pub fn stripe_key() -> Shape<SecretString> {
    Shape::new(
        "a Stripe API key (sk_test_…, sk_live_…, rk_test_… or rk_live_…)",
        |text| {
            let rest = ["sk_test_", "sk_live_", "rk_test_", "rk_live_"]
                .iter()
                .find_map(|prefix| text.strip_prefix(prefix));
            match rest {
                None => Err("does not begin like a Stripe API key".to_owned()),
                Some(rest) => token("the key", rest, 8).map(|()| text.to_owned().into()),
            }
        },
    )
}

/// One or several webhook signing secrets (`whsec_…`), separated by commas.
#[must_use]
pub fn webhook_secrets() -> Shape<Vec<SecretString>> {
    let one = Shape::new("a signing secret (whsec_…)", |text: &str| {
        match text.strip_prefix("whsec_") {
            None => Err("does not begin with whsec_".to_owned()),
            Some(rest) => token("the secret", rest, 16).map(|()| SecretString::from(text.to_owned())),
        }
    });
    list(one).and_then(|secrets| {
        let mut texts: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        texts.sort_unstable();
        texts.dedup();
        if texts.len() < secrets.len() {
            Err("names one secret twice".to_owned())
        } else {
            Ok(secrets)
        }
    })
}

/// A secret of our own: at least 32 bytes without white space, and not one character over and over.
#[must_use]
pub fn own_secret() -> Shape<SecretString> {
    let expected = format!("at least {OWN_SECRET_MIN_BYTES} bytes without white space (openssl rand -hex 32)");
    Shape::new(expected, |text| {
        if text.chars().any(char::is_whitespace) {
            return Err("holds white space".to_owned());
        }
        if text.len() < OWN_SECRET_MIN_BYTES {
            return Err(format!("is too short ({} bytes)", text.len()));
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.sort_unstable();
        bytes.dedup();
        if bytes.len() < 4 {
            Err("is one pattern over and over".to_owned())
        } else {
            Ok(text.to_owned().into())
        }
    })
}

/// One of these that is sent as `Authorization: Bearer`, which takes letters, digits and few other characters (RFC 6750).
#[must_use]
pub fn bearer_secret() -> Shape<SecretString> {
    own_secret().and_then(|secret| {
        let is_sendable = secret.expose_secret().bytes().all(crate::auth::is_of_a_bearer_token);
        is_sendable
            .then_some(secret)
            .ok_or_else(|| "holds a character that cannot be sent as a Bearer token".to_owned())
    })
}

/// Networks of proxies whose `X-Forwarded-For` is believed.
#[must_use]
pub fn trusted_proxies() -> Shape<TrustedProxies> {
    Shape::new("networks such as 10.0.0.0/8,fd00::/8, separated by commas", |text| {
        TrustedProxies::parse(text).map_err(|error| format!("is not understood: {error}"))
    })
}

fn token(what: &str, rest: &str, least: usize) -> Result<(), String> {
    if rest.len() < least {
        return Err(format!("is too short for {what}"));
    }
    if rest.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
        Ok(())
    } else {
        Err("holds white space or other characters that a secret does not have".to_owned())
    }
}

fn numbered(index: usize, wrong: impl Display) -> String {
    format!("has a wrong element at place {}: it {wrong}", index.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(shape: Shape<T>, text: &str, expect: Result<(), &str>) {
        let found = shape.read(text).map(|_| ());
        assert_eq!(found, expect.map_err(str::to_owned), "{text:?}");
    }

    #[test]
    fn stripe_keys() {
        check(stripe_key(), "sk_test_abcdefgh", Ok(()));
        check(stripe_key(), "rk_live_abcdefgh", Ok(()));
        check(
            stripe_key(),
            "pk_test_abcdefgh",
            Err("does not begin like a Stripe API key"),
        );
        check(stripe_key(), "sk_test_", Err("is too short for the key"));
        let wrong = "holds white space or other characters that a secret does not have";
        check(stripe_key(), "sk_test_abcdefgh\n", Err(wrong));
    }

    #[test]
    fn webhook_secret_lists() {
        let a = "whsec_0123456789abcdef";
        check(webhook_secrets(), a, Ok(()));
        check(webhook_secrets(), &format!("{a}, whsec_fedcba9876543210"), Ok(()));
        check(
            webhook_secrets(),
            &format!("{a},"),
            Err("has an empty element at place 2"),
        );
        check(webhook_secrets(), &format!("{a},{a}"), Err("names one secret twice"));
        let wrong = "has a wrong element at place 2: it does not begin with whsec_";
        check(webhook_secrets(), &format!("{a},sk_test_1"), Err(wrong));
        check(
            webhook_secrets(),
            "whsec_short",
            Err("has a wrong element at place 1: it is too short for the secret"),
        );
    }

    #[test]
    fn secrets_that_are_sent_as_bearer_tokens() {
        check(bearer_secret(), "0123456789abcdef-._~+/=456789abcdef", Ok(()));
        for odd in ["#", "!", "$", "\"", "é"] {
            let wrong = "holds a character that cannot be sent as a Bearer token";
            check(
                bearer_secret(),
                &format!("0123456789abcdef0123456789abcdef{odd}"),
                Err(wrong),
            );
        }
        check(bearer_secret(), "0123", Err("is too short (4 bytes)"));
    }

    #[test]
    fn own_secrets() {
        check(own_secret(), "0123456789abcdef0123456789abcdef", Ok(()));
        check(
            own_secret(),
            "0123456789abcdef0123456789abcde",
            Err("is too short (31 bytes)"),
        );
        check(
            own_secret(),
            "0123456789abcdef 0123456789abcdef",
            Err("holds white space"),
        );
        check(own_secret(), &"a".repeat(40), Err("is one pattern over and over"));
    }

    #[test]
    fn urls_never_show_their_text() {
        let postgres = || url(&["postgres", "postgresql"]);
        check(postgres(), "postgres://u:p@h/db", Ok(()));
        check(postgres(), "mysql://u:p@h/db", Err("has another scheme"));
        check(postgres(), "u:p@h", Err("is not a URL"));
        check(postgres(), "postgres://", Err("has no host or holds white space"));
    }

    #[test]
    fn plain_values() {
        check(boolean(), "true", Ok(()));
        check(boolean(), "yes", Err("is \"yes\""));
        check(integer(1..=5), "6", Err("is 6"));
        check(integer(1..=5), "-1", Err("is not a whole number"));
        check(socket_addr(), "127.0.0.1:0", Ok(()));
        check(socket_addr(), "8080", Err("is \"8080\""));
        check(
            list(integer(1..=5)),
            "1,9",
            Err("has a wrong element at place 2: it is 9"),
        );
        check(trusted_proxies(), "10.0.0.0/8, ::1", Ok(()));
        check(
            trusted_proxies(),
            "10.0.0.0/33",
            Err("is not understood: \"10.0.0.0/33\" is not a network"),
        );
    }
}
