//! What callers' tokens are checked by: `AUTH_JWT_SECRET` or `AUTH_JWKS_URL`, one of the two.

use reqwest::Url;
use secrecy::SecretString;

use super::{Reader, shape};

/// What tokens are checked by.
#[derive(Debug, Clone)]
pub enum TokenKeys {
    /// One secret, which signs as well (HS256).
    Secret(SecretString),
    /// The public keys that an identity provider publishes here.
    Published(Url),
}

impl TokenKeys {
    /// Reads the two variables.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
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
        assert!(matches!(read(&[secret]), Ok(TokenKeys::Secret(_))));
        for good in [
            "https://id.example.com/keys",
            "http://127.0.0.1:1/keys",
            "http://localhost/keys",
        ] {
            assert!(matches!(read(&[url(good)]), Ok(TokenKeys::Published(_))), "{good}");
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
}
