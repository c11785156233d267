//! The keys that an identity provider publishes (`AUTH_JWKS_URL`, RFC 7517), kept fresh in the background.
//!
//! Only public keys count, each for the one algorithm that it names or that its kind implies: a symmetric key that somebody publishes by
//! mistake would let everybody sign. While the provider is away, the keys that were read last go on to count. A token of a key that is not
//! known has the set read again, soon and not for each such token, and is refused meanwhile.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{AuthError, signature_only};

/// A set is some kilobytes; what is larger is none.
const MAX_BODY: usize = 256 * 1024;
/// For the whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often the set is read.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// By itself.
    pub every: Duration,
    /// At the earliest after the last time: when a key is not known, and when it could not be read.
    pub at_least: Duration,
}

impl Pace {
    /// Every five minutes, and after ten seconds at the earliest.
    pub const STANDARD: Self = Self {
        every: Duration::from_secs(300),
        at_least: Duration::from_secs(10),
    };
}

/// The keys as they were read last. Clones share them.
#[derive(Clone)]
pub(super) struct PublishedKeys(Arc<Shared>);

struct Shared {
    keys: RwLock<Option<Arc<KeySet>>>,
    wanted: Notify,
}

/// A key, and what it may verify.
pub(super) struct PublishedKey {
    id: Option<String>,
    algorithm: Algorithm,
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

/// Keys that were read together.
#[derive(Clone)]
pub(super) struct KeySet(Vec<Arc<PublishedKey>>);

/// Why a set could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the keys' address does not answer")]
    NoAnswer(#[from] reqwest::Error),
    #[error("the keys' address answers {0}")]
    Status(u16),
    #[error("the answer is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the answer is no set of keys")]
    NoSet(#[source] serde_json::Error),
    #[error("the set has no key that could verify a token")]
    NoKey,
}

impl PublishedKeys {
    /// Reads the set at once and then by the pace, until stopped. Needs a Tokio runtime.
    pub(super) fn follow(url: Url, pace: Pace, stop: CancellationToken) -> Self {
        let keys = Self(Arc::new(Shared {
            keys: RwLock::new(None),
            wanted: Notify::new(),
        }));
        tokio::spawn(follow(keys.clone(), url, pace, stop));
        keys
    }

    /// The key that a token names, or the only one of its algorithm where it names none.
    pub(super) fn find(&self, header: &Header) -> Result<Arc<PublishedKey>, AuthError> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = keys.ok_or(AuthError::Unavailable)?;
        keys.find(header).ok_or_else(|| {
            self.0.wanted.notify_one();
            AuthError::Invalid
        })
    }
}

async fn follow(keys: PublishedKeys, url: Url, pace: Pace, stop: CancellationToken) {
    loop {
        let rest = match read(&url).await {
            Ok(set) => {
                tracing::debug!(keys = set.0.len(), "the published keys were read");
                *keys.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
                pace.every
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    "the published keys cannot be read, those that were read last go on to count"
                );
                pace.at_least
            }
        };
        let soon = async {
            tokio::time::sleep(pace.at_least).await;
            keys.0.wanted.notified().await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
            () = soon => {}
        }
    }
}

async fn read(url: &Url) -> Result<KeySet, ReadError> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT);
    // What is unencrypted stays on this machine.
    let http = if url.scheme() == "https" { http } else { http.no_proxy() };
    let http = http.build()?;
    let mut response = http.get(url.clone()).send().await?;
    if !response.status().is_success() {
        return Err(ReadError::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > MAX_BODY {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    KeySet::parse(&body)
}

impl KeySet {
    /// Keys of kinds that are not known here are passed over: a provider may publish them for others.
    fn parse(body: &[u8]) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(body).map_err(ReadError::NoSet)?;
        let keys = set.keys.into_iter();
        let keys: Vec<_> = keys
            .filter_map(|key| usable(&serde_json::from_value(key).ok()?))
            .map(Arc::new)
            .collect();
        if keys.is_empty() {
            return Err(ReadError::NoKey);
        }
        Ok(Self(keys))
    }

    fn find(&self, header: &Header) -> Option<Arc<PublishedKey>> {
        let mut fitting = self.0.iter().filter(|key| {
            let is_named = header.kid.is_none() || header.kid == key.id;
            is_named && key.algorithm == header.alg
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(Arc::clone(key)),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }
}

fn usable(jwk: &Jwk) -> Option<PublishedKey> {
    let is_for_signatures = match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => false,
    };
    let algorithm = algorithm(jwk).filter(|_| is_for_signatures)?;
    Some(PublishedKey {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(jwk).ok()?,
        validation: signature_only(algorithm),
    })
}

/// The algorithm of a key: the one that it names, where that is one of its kind.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let implied = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            (KeyAlgorithm::RS256, Algorithm::RS256),
            (KeyAlgorithm::RS384, Algorithm::RS384),
            (KeyAlgorithm::RS512, Algorithm::RS512),
            (KeyAlgorithm::PS256, Algorithm::PS256),
        ][..],
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            &[(KeyAlgorithm::ES256, Algorithm::ES256)]
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => {
            &[(KeyAlgorithm::ES384, Algorithm::ES384)]
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[(KeyAlgorithm::EdDSA, Algorithm::EdDSA)]
        }
        _ => &[],
    };
    match jwk.common.key_algorithm {
        None => implied.first().map(|(_, algorithm)| *algorithm),
        Some(named) => implied
            .iter()
            .find(|(name, _)| *name == named)
            .map(|(_, algorithm)| *algorithm),
    }
}
