//! What callers' tokens are checked by: `AUTH_JWT_SECRET` or `AUTH_JWKS_URL`, one of the two; and which of the tokens that hold by
//! those keys count: `AUTH_JWT_ISSUER` and `AUTH_JWT_AUDIENCE`, both optional.

use reqwest::Url;
use secrecy::SecretString;

use super::{Reader, shape};

/// What tokens are checked by.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    pub(crate) source: KeySource,
    pub(crate) origin: TokenOrigin,
}

/// Where the keys come from.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    /// One secret, which signs as well (HS256).
    Secret(SecretString),
    /// The public keys that an identity provider publishes here.
    Published(Url),
}

/// Whose tokens count, and made for whom.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenOrigin {
    /// The only `iss` that counts; without one, every issuer's tokens do.
    pub(crate) issuer: Option<String>,
    /// One of these is in the `aud` of a token that counts. Empty, those made for other applications count as well.
    pub(crate) audiences: Vec<String>,
}

impl TokenKeys {
    /// One secret, by which the tokens of every issuer and for every audience count.
    #[must_use]
    pub fn secret(secret: SecretString) -> Self {
        Self {
            source: KeySource::Secret(secret),
            origin: TokenOrigin::default(),
        }
    }

    /// Reads the four variables.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let source = KeySource::read(r);
        let issuer = r.optional("AUTH_JWT_ISSUER", shape::text());
        let audiences = r.optional("AUTH_JWT_AUDIENCE", shape::list(shape::text()));
        Some(Self {
            source: source?,
            origin: TokenOrigin {
                issuer: issuer?,
                audiences: audiences?.unwrap_or_default(),
            },
        })
    }
}

impl KeySource {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let (secret, url) = ("AUTH_JWT_SECRET", "AUTH_JWKS_URL");
        match (r.is_set(secret), r.is_set(url)) {
            (true, true) => r.refuse(url, format!("is set beside {secret}"), "one of the two"),
            (false, true) => r
                .required(url, shape::url(&["https", "http"]).and_then(published))
                .map(Self::Published),
            (_, false) => {
                let own = shape::own_secret();
                let expected = format!("{}, or {url} instead", own.expected);
                r.required(secret, own.expecting(expected)).map(Self::Secret)
            }
        }
    }
}

/// Whoever can answer in the provider's place can sign every token: beyond this machine the way there is encrypted.
fn published(url: String) -> Result<Url, String> {
    let url = Url::parse(&url).map_err(|error| format!("is refused: {error}"))?;
    let is_here = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    if url.scheme() == "https" || is_here {
        Ok(url)
    } else {
        Err("is http, which is for this machine alone".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(pairs: &[(&str, &str)]) -> Result<TokenKeys, String> {
        let source: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        crate::config::load(&source, TokenKeys::read).map_err(|problems| problems.to_string())
    }

    #[test]
    fn it_is_a_secret_or_an_address_and_not_both() {
        let secret = ("AUTH_JWT_SECRET", "0123456789abcdef0123456789abcdef");
        let url = |text| ("AUTH_JWKS_URL", text);
        assert!(matches!(read(&[secret]).unwrap().source, KeySource::Secret(_)));
        for good in [
            "https://id.example.com/keys",
            "http://127.0.0.1:1/keys",
            "http://localhost/keys",
        ] {
            let keys = read(&[url(good)]).unwrap();
            assert!(matches!(keys.source, KeySource::Published(_)), "{good}");
        }
        for (wrong, says) in [
            (&[][..], "AUTH_JWT_SECRET is missing"),
            (&[secret, url("https://id.example.com/keys")], "beside AUTH_JWT_SECRET"),
            (&[url("http://id.example.com/keys")], "is http"),
            (&[url("ftp://id.example.com/keys")], "AUTH_JWKS_URL"),
            (&[url("not a url")], "AUTH_JWKS_URL"),
        ] {
            let problems = read(wrong).unwrap_err();
            assert!(problems.contains(says), "{problems}");
        }
    }

    #[test]
    fn an_issuer_and_audiences_go_with_either_and_may_be_absent() {
        for keys in [
            ("AUTH_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
            ("AUTH_JWKS_URL", "https://id.example.com/keys"),
        ] {
            let none = read(&[keys, ("AUTH_JWT_ISSUER", ""), ("AUTH_JWT_AUDIENCE", " ")]).unwrap();
            assert_eq!((none.origin.issuer, none.origin.audiences.len()), (None, 0));
            let issuer = ("AUTH_JWT_ISSUER", "https://id.example.com/");
            let both = read(&[keys, issuer, ("AUTH_JWT_AUDIENCE", "holdfast, payments")]).unwrap();
            assert_eq!(both.origin.issuer.as_deref(), Some("https://id.example.com/"));
            assert_eq!(both.origin.audiences, ["holdfast", "payments"]);
            let wrong = read(&[keys, ("AUTH_JWT_AUDIENCE", "holdfast,")]).unwrap_err();
            assert!(wrong.contains("AUTH_JWT_AUDIENCE has an empty element"), "{wrong}");
        }
    }
}
