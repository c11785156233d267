//! Who calls: `Authorization: Bearer` with a JWT or with a shared secret.
//!
//! A token is checked by one secret (HS256), or by the public keys that an identity provider publishes. Each key is pinned to its
//! algorithm: a token that names another one, `none` included, is refused before its signature is looked at. `exp` is required and
//! compared with the given clock, without leeway; `nbf`, where it is there, with a minute of it. `iss` and `aud` count where the configuration names
//! them. A header that is doubled, has another scheme or holds characters that no token has is malformed, which is told apart from a wrong credential.

mod published;
mod token;

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::TokenKeys;
use crate::config::token_keys::{KeySource, TokenOrigin};
use crate::problem::Problem;
use crate::secret::SharedSecret;

pub use published::Pace;

use published::PublishedKeys;
use token::Token;

/// Longer headers are refused unread.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// When a caller may ask again while the published keys are not there.
const KEYS_SOON: Duration = Duration::from_secs(5);

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// One of the user's own systems; may do what machines do.
    Service,
    /// A person; what they may do in an organisation says `org_members`.
    User,
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The caller's id, a user's UUID or a service's name.
    pub sub: String,
    /// The user's e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What the caller is.
    pub role: Role,
    /// The end of the token's life, in seconds since 1970.
    pub exp: i64,
}

/// A caller whose token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's `sub`.
    pub subject: String,
    /// The token's `email`.
    pub email: Option<String>,
    /// The token's `role`.
    pub role: Role,
}

impl Principal {
    /// Lets only services through.
    ///
    /// # Errors
    /// 403 for people.
    pub fn require_service(&self) -> Result<(), Problem> {
        match self.role {
            Role::Service => Ok(()),
            Role::User => Err(Problem::forbidden("Only a service may do this.")),
        }
    }
}

/// Why a credential was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    /// There is no `Authorization` header.
    #[error("there is no Authorization header")]
    Missing,
    /// The header is not `Bearer <token>`, or there are several.
    #[error("the Authorization header is not \"Bearer <token>\"")]
    Malformed,
    /// The token or secret does not hold.
    #[error("the credential is not valid")]
    Invalid,
    /// The token was good once.
    #[error("the token has expired")]
    Expired,
    /// The published keys could not be read yet.
    #[error("the keys that tokens are checked by are not there yet")]
    Unavailable,
}

impl AuthError {
    /// The answer: 401 with a code of its own, or 503.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Missing => Problem::unauthorized("credential_missing", "Send Authorization: Bearer <token>."),
            Self::Malformed => Problem::unauthorized("credential_malformed", "Send Authorization: Bearer <token>."),
            Self::Invalid => Problem::unauthorized("credential_invalid", "The credential is not valid."),
            Self::Expired => Problem::unauthorized("credential_expired", "The token has expired."),
            Self::Unavailable => {
                let detail = "The keys that tokens are checked by cannot be read at present.";
                Problem::unavailable("keys_unavailable", detail, KEYS_SOON)
            }
        }
    }
}

/// The token of the one `Authorization: Bearer` header.
///
/// # Errors
/// [`AuthError::Missing`] without a header; [`AuthError::Malformed`] for several, for another scheme, and for characters
/// outside RFC 6750's `b64token`.
pub fn bearer<'h>(mut headers: impl Iterator<Item = &'h [u8]>) -> Result<&'h str, AuthError> {
    let header = headers.next().ok_or(AuthError::Missing)?;
    if headers.next().is_some() || header.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::Malformed);
    }
    let text = std::str::from_utf8(header).map_err(|_| AuthError::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(AuthError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !token.bytes().all(is_of_a_bearer_token) {
        return Err(AuthError::Malformed);
    }
    Ok(token)
}

/// What a token is made of, by RFC 6750.
pub(crate) fn is_of_a_bearer_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// Checks tokens.
#[derive(Clone)]
pub struct Authenticator {
    keys: Keys,
    origin: TokenOrigin,
    clock: Clock,
}

#[derive(Clone)]
enum Keys {
    Secret(Box<(DecodingKey, Validation)>),
    Published(PublishedKeys),
}

impl Authenticator {
    /// Checks tokens by what is configured. Published keys are read in the background until `stop`, which needs a Tokio runtime.
    #[must_use]
    pub fn new(keys: &TokenKeys, clock: Clock, stop: CancellationToken) -> Self {
        Self::at_pace(keys, clock, Pace::STANDARD, stop)
    }

    /// As [`Self::new`], with keys that are read at another pace: for tests.
    #[must_use]
    pub fn at_pace(keys: &TokenKeys, clock: Clock, pace: Pace, stop: CancellationToken) -> Self {
        let TokenKeys { source, origin } = keys.clone();
        let keys = match source {
            KeySource::Secret(secret) => {
                let key = DecodingKey::from_secret(secret.expose_secret().as_bytes());
                Keys::Secret(Box::new((key, signature_only(Algorithm::HS256))))
            }
            KeySource::Published(url) => {
                if origin.audiences.is_empty() {
                    tracing::warn!(
                        "AUTH_JWT_AUDIENCE is not set: the tokens of every application of the identity provider count"
                    );
                }
                Keys::Published(PublishedKeys::follow(url, pace, stop))
            }
        };
        Self { keys, origin, clock }
    }

    /// The caller that a token names.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for anything that does not hold, [`AuthError::Expired`] for a token whose time is over,
    /// [`AuthError::Unavailable`] while no published key is known.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        let token = match &self.keys {
            Keys::Secret(secret) => signed(token, &secret.0, &secret.1)?,
            Keys::Published(keys) => {
                let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
                let key = keys.find(&header)?;
                signed(token, &key.key, &key.validation)?
            }
        };
        token.principal(&self.origin, self.clock.unix_seconds())
    }
}

fn signed(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Token, AuthError> {
    let decoded = jsonwebtoken::decode::<Token>(token, key, validation);
    decoded.map(|data| data.claims).map_err(|_| AuthError::Invalid)
}

/// What the library checks: the algorithm and the signature. The rest is judged by [`Token::principal`], at the given clock's time.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

/// Checks a shared secret that was sent as `Authorization: Bearer`.
///
/// # Errors
/// As [`bearer`], and [`AuthError::Invalid`] for another secret.
pub fn require_secret<'h>(headers: impl Iterator<Item = &'h [u8]>, secret: &SharedSecret) -> Result<(), AuthError> {
    if secret.matches(bearer(headers)?) {
        Ok(())
    } else {
        Err(AuthError::Invalid)
    }
}

/// Signs a token, for `cargo dev` and for tests; production tokens come from the user's own systems.
///
/// # Errors
/// When the claims cannot be encoded.
pub fn sign(secret: &SecretString, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn clock() -> Clock {
        Clock::manual(chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap())
    }

    fn authenticator(clock: &Clock) -> Authenticator {
        let keys = TokenKeys::secret(SECRET.to_owned().into());
        Authenticator::new(&keys, clock.clone(), CancellationToken::new())
    }

    fn claims() -> Claims {
        Claims {
            sub: "u1".to_owned(),
            email: Some("u@x.fr".to_owned()),
            role: Role::User,
            exp: 1_700_000_060,
        }
    }

    fn token(secret: &str, claims: &impl Serialize, algorithm: Algorithm) -> String {
        jsonwebtoken::encode(
            &Header::new(algorithm),
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    }

    #[test]
    fn a_good_token_names_its_principal_until_it_expires() {
        let clock = clock();
        let token = sign(&SECRET.to_owned().into(), &claims()).unwrap();
        let principal = authenticator(&clock).verify(&token).unwrap();
        assert_eq!((principal.subject.as_str(), principal.role), ("u1", Role::User));
        assert_eq!(principal.require_service().unwrap_err().status, 403);
        clock.advance(Duration::from_secs(60));
        assert_eq!(authenticator(&clock).verify(&token), Err(AuthError::Expired));
    }

    #[test]
    fn tokens_that_do_not_hold_are_refused() {
        let authenticator = authenticator(&clock());
        let none =
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJzZXJ2aWNlIiwiZXhwIjo5OTk5OTk5OTk5fQ.";
        let good = token(SECRET, &claims(), Algorithm::HS256);
        let bad = [
            none.to_owned(),
            token("another secret of the same kind!", &claims(), Algorithm::HS256),
            token(SECRET, &claims(), Algorithm::HS384),
            token(
                SECRET,
                &serde_json::json!({"sub": "u1", "role": "user"}),
                Algorithm::HS256,
            ),
            token(
                SECRET,
                &serde_json::json!({"sub": "u1", "role": "root", "exp": 9_999_999_999_i64}),
                Algorithm::HS256,
            ),
            token(
                SECRET,
                &serde_json::json!({"sub": "", "role": "user", "exp": 9_999_999_999_i64}),
                Algorithm::HS256,
            ),
            good.trim_end_matches(|_| true).to_owned(),
            good.rsplit_once('.').unwrap().0.to_owned(),
            String::new(),
        ];
        for token in bad {
            assert_eq!(authenticator.verify(&token), Err(AuthError::Invalid), "{token}");
        }
    }

    #[test]
    fn headers_are_taken_strictly() {
        let check = |headers: &[&[u8]], expect: Result<&str, AuthError>| {
            assert_eq!(bearer(headers.iter().copied()), expect, "{headers:?}");
        };
        check(&[b"Bearer abc.def"], Ok("abc.def"));
        check(&[b"bearer abc"], Ok("abc"));
        check(&[], Err(AuthError::Missing));
        for malformed in [
            &b"Basic abc"[..],
            b"Bearer",
            b"Bearer ",
            b"Bearer  abc",
            b"Bearer a b",
            b"Bearer a,b",
            b"\xff",
        ] {
            check(&[malformed], Err(AuthError::Malformed));
        }
        check(&[b"Bearer a", b"Bearer a"], Err(AuthError::Malformed));
    }

    #[test]
    fn a_shared_secret_is_compared_as_a_whole() {
        let secret = SharedSecret::new(SECRET.to_owned().into());
        let header = format!("Bearer {SECRET}");
        assert_eq!(require_secret([header.as_bytes()].into_iter(), &secret), Ok(()));
        assert_eq!(
            require_secret([&header.as_bytes()[..38]].into_iter(), &secret),
            Err(AuthError::Invalid)
        );
    }
}
