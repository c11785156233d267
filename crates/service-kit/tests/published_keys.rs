//! Tokens that an identity provider signs, whose public keys are read from its address (`AUTH_JWKS_URL`).
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde::Serialize;
use serde_json::{Value, json};
use service_kit::auth::{AuthError, Authenticator, Claims, Pace, Role};
use service_kit::clock::Clock;
use service_kit::config::{TokenKeys, load};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(180);
const PACE: Pace = Pace {
    every: Duration::from_secs(3_600),
    at_least: Duration::from_millis(20),
};

/// An identity provider: what it publishes, or nothing while it is away.
struct Provider {
    publishes: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicU64>,
    authenticator: Authenticator,
    stop: CancellationToken,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Provider {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(more: &[(&str, &str)]) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let publishes: Arc<Mutex<Option<Value>>> = Arc::default();
        let asked: Arc<AtomicU64> = Arc::default();
        let (shown, counted) = (Arc::clone(&publishes), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0_u8; 4096];
                let _ = socket.read(&mut request).await;
                let body = shown.lock().unwrap().as_ref().map(Value::to_string);
                let (status, body) = body.map_or(("503 Away", String::new()), |body| ("200 OK", body));
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let variables = more.iter().copied().chain([("AUTH_JWKS_URL", url.as_str())]);
        let source: BTreeMap<String, String> = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let keys = load(&source, TokenKeys::read).unwrap();
        let stop = CancellationToken::new();
        Self {
            authenticator: Authenticator::at_pace(&keys, Clock::System, PACE, stop.clone()),
            publishes,
            asked,
            stop,
        }
    }

    fn publish(&self, keys: &[&Jwk]) {
        *self.publishes.lock().unwrap() = Some(json!({"keys": keys}));
    }

    fn go_away(&self) {
        *self.publishes.lock().unwrap() = None;
    }

    /// Waits until the token is judged like this.
    async fn until(&self, token: &str, expected: Result<(), AuthError>) {
        let waited = tokio::time::timeout(SOON, async {
            while self.judge(token) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{:?} and not {expected:?}", self.judge(token));
    }

    fn judge(&self, token: &str) -> Result<(), AuthError> {
        self.authenticator
            .verify(token)
            .map(|principal| assert_eq!(principal.subject, "u1"))
    }
}

/// A key of the provider's, and what it publishes of it.
struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    public: Jwk,
}

impl Signer {
    fn new(key: EncodingKey, algorithm: Algorithm, id: Option<&str>) -> Self {
        let mut public = Jwk::from_encoding_key(&key, algorithm).unwrap();
        public.common.key_id = id.map(ToOwned::to_owned);
        Self { key, algorithm, public }
    }

    fn elliptic(id: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self::new(EncodingKey::from_ec_der(document.as_ref()), Algorithm::ES256, Some(id))
    }

    fn rsa(id: &str) -> Self {
        let key = EncodingKey::from_rsa_der(include_bytes!("keys/rsa-for-tests.der"));
        Self::new(key, Algorithm::RS256, Some(id))
    }

    fn token(&self) -> String {
        self.token_as(self.public.common.key_id.as_deref())
    }

    fn token_as(&self, kid: Option<&str>) -> String {
        self.sign(kid, &claims())
    }

    /// A token with further claims.
    fn token_with(&self, more: Value) -> String {
        let mut claims = serde_json::to_value(claims()).unwrap();
        let Value::Object(more) = more else {
            panic!("{more} is no set of claims")
        };
        claims.as_object_mut().unwrap().extend(more);
        self.sign(self.public.common.key_id.as_deref(), &claims)
    }

    fn sign(&self, kid: Option<&str>, claims: &impl Serialize) -> String {
        let header = Header {
            kid: kid.map(ToOwned::to_owned),
            ..Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

fn claims() -> Claims {
    Claims {
        sub: "u1".to_owned(),
        email: None,
        role: Role::User,
        exp: 9_999_999_999,
    }
}

#[tokio::test]
async fn tokens_hold_by_published_keys_which_are_read_again_when_they_change() {
    let (provider, old, new) = (Provider::start().await, Signer::elliptic("old"), Signer::rsa("new"));
    assert_eq!(provider.judge(&old.token()), Err(AuthError::Unavailable));
    assert_eq!(AuthError::Unavailable.problem().status, 503);

    provider.publish(&[&old.public]);
    provider.until(&old.token(), Ok(())).await;
    // Nobody waits for the hour: the first token of the new key has the set read again.
    provider.publish(&[&old.public, &new.public]);
    assert_eq!(provider.judge(&new.token()), Err(AuthError::Invalid));
    provider.until(&new.token(), Ok(())).await;
    assert_eq!(provider.judge(&old.token()), Ok(()));

    provider.publish(&[&new.public]);
    let unknown = old.token_as(Some("asks for a reading"));
    assert_eq!(provider.judge(&unknown), Err(AuthError::Invalid));
    provider.until(&old.token(), Err(AuthError::Invalid)).await;

    provider.go_away();
    assert_eq!(provider.judge(&unknown), Err(AuthError::Invalid));
    let asked = provider.asked.load(Ordering::SeqCst);
    let is_asked_in_vain = async {
        while provider.asked.load(Ordering::SeqCst) < asked + 2 {
            tokio::time::sleep(PACE.at_least).await;
        }
    };
    assert!(tokio::time::timeout(SOON, is_asked_in_vain).await.is_ok());
    assert_eq!(
        provider.judge(&new.token()),
        Ok(()),
        "what was read last goes on to count"
    );
}

#[tokio::test]
async fn a_key_verifies_by_its_own_algorithm_and_for_signatures_only() {
    let provider = Provider::start().await;
    let (good, rsa) = (Signer::elliptic("good"), Signer::rsa("rsa"));
    // Published by mistake: whoever reads it could sign by it.
    let shared = Signer::new(
        EncodingKey::from_secret(b"a secret that everybody can read"),
        Algorithm::HS256,
        Some("shared"),
    );
    let mut for_encryption = Signer::elliptic("encryption");
    for_encryption.public.common.public_key_use = Some(PublicKeyUse::Encryption);
    let mut unknown = serde_json::to_value(&good.public).unwrap();
    unknown["kty"] = json!("invented tomorrow");
    unknown["kid"] = json!("tomorrow");
    let keys = json!({"keys": [unknown, shared.public, for_encryption.public, good.public, rsa.public]});
    *provider.publishes.lock().unwrap() = Some(keys);
    provider.until(&good.token(), Ok(())).await;
    assert_eq!(provider.judge(&rsa.token()), Ok(()));
    assert_eq!(
        provider.judge(&good.token_as(None)),
        Ok(()),
        "the only one of its algorithm"
    );

    let by_the_public_key = {
        let text = serde_json::to_value(&rsa.public).unwrap()["n"]
            .as_str()
            .unwrap()
            .to_owned();
        Signer::new(EncodingKey::from_secret(text.as_bytes()), Algorithm::HS256, Some("rsa")).token()
    };
    let other_hash = Signer {
        algorithm: Algorithm::RS384,
        ..Signer::rsa("rsa")
    };
    let stranger = Signer::elliptic("good");
    for (what, token) in [
        ("a key that is no secret any more", shared.token()),
        ("a key for something else", for_encryption.token()),
        ("a public key taken for a secret", by_the_public_key),
        ("another algorithm of the same key", other_hash.token()),
        ("another key under the same name", stranger.token()),
        ("another key's name", good.token_as(Some("rsa"))),
        ("no token", "a.b.c".to_owned()),
    ] {
        assert_eq!(provider.judge(&token), Err(AuthError::Invalid), "{what}");
    }
}

#[tokio::test]
async fn a_token_that_the_provider_made_for_another_application_is_refused() {
    let issuer = ("AUTH_JWT_ISSUER", "https://id.example.com/realms/house");
    let provider = Provider::start_with(&[issuer, ("AUTH_JWT_AUDIENCE", "holdfast,payments")]).await;
    let signer = Signer::elliptic("of all applications");
    provider.publish(&[&signer.public]);
    let good = signer.token_with(json!({"iss": issuer.1, "aud": ["account", "holdfast"]}));
    provider.until(&good, Ok(())).await;
    for (what, claims) in [
        ("another application", json!({"iss": issuer.1, "aud": "shop"})),
        ("no application", json!({"iss": issuer.1})),
        (
            "another realm",
            json!({"iss": "https://id.example.com/realms/guests", "aud": "holdfast"}),
        ),
        ("no realm", json!({"aud": "holdfast"})),
        (
            "not yet",
            json!({"iss": issuer.1, "aud": "holdfast", "nbf": 9_999_999_998_i64}),
        ),
    ] {
        let token = signer.token_with(claims);
        assert_eq!(provider.judge(&token), Err(AuthError::Invalid), "{what}");
    }
}
