//! What a token says of itself, judged once its signature holds (RFC 7519, 4.1).
//!
//! An identity provider signs the tokens of all its applications by one set of keys: that a signature holds does not say that the
//! token was made for this one. `iss` and `aud` do, where the configuration names them.

use serde::Deserialize;
use serde_json::Value;

use super::{AuthError, Claims, Principal};
use crate::config::token_keys::TokenOrigin;

/// Providers stamp a token's beginning with their own clock, in seconds.
const CLOCKS_DIFFER: i64 = 60;

/// Claims that decide whether a token counts beside those that name its caller. `iss` and `aud` have no type of their own: where they
/// are not asked for, nothing is said of what they look like.
#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(flatten)]
    claims: Claims,
    iss: Option<Value>,
    aud: Option<Value>,
    nbf: Option<i64>,
}

impl Token {
    /// The caller, where the token counts at this second.
    pub(super) fn principal(self, origin: &TokenOrigin, now: i64) -> Result<Principal, AuthError> {
        let Claims { sub, email, role, exp } = self.claims;
        let is_ours = is_from(origin, self.iss.as_ref()) && is_meant_for(origin, self.aud.as_ref());
        let has_begun = self.nbf.is_none_or(|nbf| nbf <= now.saturating_add(CLOCKS_DIFFER));
        if sub.is_empty() || sub.len() > 255 || !is_ours || !has_begun {
            return Err(AuthError::Invalid);
        }
        if exp <= now {
            return Err(AuthError::Expired);
        }
        Ok(Principal {
            subject: sub,
            email,
            role,
        })
    }
}

fn is_from(origin: &TokenOrigin, iss: Option<&Value>) -> bool {
    let is_it = |issuer: &String| iss.and_then(Value::as_str) == Some(issuer);
    origin.issuer.as_ref().is_none_or(is_it)
}

/// `aud` is one text or several, of which one is enough.
fn is_meant_for(origin: &TokenOrigin, aud: Option<&Value>) -> bool {
    let is_one = |audience: &Value| {
        audience
            .as_str()
            .is_some_and(|text| origin.audiences.iter().any(|known| known == text))
    };
    origin.audiences.is_empty()
        || match aud {
            Some(Value::Array(several)) => several.iter().any(is_one),
            Some(one) => is_one(one),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_700_000_000;

    fn judge(origin: &TokenOrigin, more: &Value) -> Result<(), AuthError> {
        let mut token = json!({"sub": "u1", "role": "service", "exp": NOW + 60});
        let more = more.as_object().unwrap().clone();
        token.as_object_mut().unwrap().extend(more);
        let token: Token = serde_json::from_value(token).unwrap();
        token.principal(origin, NOW).map(drop)
    }

    #[test]
    fn a_token_counts_where_it_has_the_issuer_and_one_of_the_audiences_that_are_asked_for() {
        let issuer = TokenOrigin {
            issuer: Some("https://id".to_owned()),
            audiences: Vec::new(),
        };
        let audience = TokenOrigin {
            issuer: None,
            audiences: vec!["holdfast".to_owned(), "payments".to_owned()],
        };
        let both = TokenOrigin {
            issuer: issuer.issuer.clone(),
            audiences: audience.audiences.clone(),
        };
        let (ok, refused) = (Ok(()), Err(AuthError::Invalid));
        for (origin, claims, expected) in [
            (&TokenOrigin::default(), json!({}), &ok),
            (
                &TokenOrigin::default(),
                json!({"iss": 7, "aud": {"of": "no kind"}}),
                &ok,
            ),
            (&issuer, json!({"iss": "https://id"}), &ok),
            (&issuer, json!({"iss": "https://id/"}), &refused),
            (&issuer, json!({"iss": ["https://id"]}), &refused),
            (&issuer, json!({"iss": null}), &refused),
            (&issuer, json!({}), &refused),
            (&audience, json!({"aud": "holdfast"}), &ok),
            (&audience, json!({"aud": ["shop", "payments"]}), &ok),
            (&audience, json!({"aud": "shop"}), &refused),
            (&audience, json!({"aud": "holdfast payments"}), &refused),
            (&audience, json!({"aud": ["shop"]}), &refused),
            (&audience, json!({"aud": []}), &refused),
            (&audience, json!({"aud": [["holdfast"]]}), &refused),
            (&audience, json!({"aud": null}), &refused),
            (&audience, json!({}), &refused),
            (&both, json!({"iss": "https://id", "aud": "holdfast"}), &ok),
            (&both, json!({"iss": "https://id", "aud": "shop"}), &refused),
            (&both, json!({"iss": "https://other", "aud": "holdfast"}), &refused),
        ] {
            assert_eq!(&judge(origin, &claims), expected, "{origin:?} {claims}");
        }
    }

    #[test]
    fn a_token_counts_from_about_its_beginning_until_before_its_end() {
        for (times, expected) in [
            (json!({"nbf": NOW + CLOCKS_DIFFER}), Ok(())),
            (json!({"nbf": NOW + CLOCKS_DIFFER + 1}), Err(AuthError::Invalid)),
            (json!({"exp": NOW + 1}), Ok(())),
            (json!({"exp": NOW}), Err(AuthError::Expired)),
        ] {
            assert_eq!(judge(&TokenOrigin::default(), &times), expected, "{times}");
        }
    }
}
