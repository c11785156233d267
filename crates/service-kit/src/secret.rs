//! Secrets: types that do not print, and comparison in constant time.
//!
//! Both sides are first put through HMAC-SHA256 under a key made at the start of the process, and the MACs are compared by
//! `ring` in constant time, so that neither the content nor the length of the expected secret shows in the time taken.

use std::sync::OnceLock;

use ring::hmac;
use ring::rand::SystemRandom;
pub use secrecy::{ExposeSecret, SecretString};

/// Whether two byte strings are equal, in a time that says nothing about where they differ.
#[must_use]
pub fn equal(presented: &[u8], expected: &[u8]) -> bool {
    static KEY: OnceLock<Option<hmac::Key>> = OnceLock::new();
    let key = KEY.get_or_init(|| hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok());
    // Without randomness nothing can be compared safely, so nothing is equal.
    let Some(key) = key else { return false };
    hmac::verify(key, presented, hmac::sign(key, expected).as_ref()).is_ok()
}

/// A secret that callers must present, such as `RECONCILE_SECRET`.
#[derive(Debug, Clone)]
pub struct SharedSecret(SecretString);

impl SharedSecret {
    /// Holds a secret that was validated by [`crate::config::shape::own_secret`].
    #[must_use]
    pub fn new(secret: SecretString) -> Self {
        Self(secret)
    }

    /// Whether this is the secret.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        equal(presented.as_bytes(), self.0.expose_secret().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_exact() {
        assert!(equal(b"abc", b"abc"));
        assert!(equal(b"", b""));
        for other in [&b"abd"[..], b"ab", b"abcd", b"", b"ABC"] {
            assert!(!equal(other, b"abc"));
        }
    }

    #[test]
    fn a_shared_secret_matches_itself_and_does_not_print() {
        let secret = SharedSecret::new("0123456789abcdef0123456789abcdef".to_owned().into());
        assert!(secret.matches("0123456789abcdef0123456789abcdef"));
        assert!(!secret.matches("0123456789abcdef0123456789abcdeX"));
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
