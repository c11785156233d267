//! Stripe's error object, read so far as it may be kept.
//!
//! A 402 carries the whole payment intent with its client secret. Only words and one message leave this file, and the message
//! without anything that looks like a secret.

use serde::Deserialize;
use serde_json::Value;

/// The longest word (type, code) that is kept.
const MAX_WORD: usize = 64;
/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 500;
const REDACTED: &str = "[redacted]";

/// What is kept of `{"error": {..}}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ErrorObject {
    pub(super) kind: String,
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    pub(super) param: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    error: Fields,
}

/// Of any type, so that a member in a new shape does not hide the rest.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: Value,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    decline_code: Value,
    #[serde(default)]
    param: Value,
    #[serde(default)]
    message: Value,
}

impl ErrorObject {
    /// None when the body is not Stripe's error object: then the answer is not Stripe's own.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let Wire { error } = serde_json::from_slice(body).ok()?;
        Some(Self {
            kind: word(&error.kind)?,
            code: word(&error.code),
            decline_code: word(&error.decline_code),
            param: word(&error.param),
            message: error.message.as_str().map(message),
        })
    }
}

/// A text that is safe in logs, labels and columns.
fn word(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']');
    let fits = !text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(plain);
    (fits && !is_secret(text)).then(|| text.to_owned())
}

/// The message on one line, without what looks like a secret, and not longer than a person reads.
fn message(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(MAX_MESSAGE));
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|c| is_of_a_token(c) != is_of_a_token(first))
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        if is_of_a_token(first) && is_secret(piece) {
            kept.push_str(REDACTED);
        } else {
            kept.extend(piece.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
        rest = after;
    }
    kept.chars().take(MAX_MESSAGE).collect()
}

fn is_of_a_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '*')
}

/// `pi_…_secret_…` and its kin, API keys, signing secrets.
fn is_secret(token: &str) -> bool {
    let token = token.to_ascii_lowercase();
    let key = [
        "sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_", "ek_live_", "ek_test_",
    ];
    token.contains("_secret_") || key.iter().any(|prefix| token.contains(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_error_is_read_without_the_payment_intent_in_it() {
        let body = r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"insufficient_funds","message":"Your card has insufficient funds.",
            "payment_intent":{"id":"pi_1","client_secret":"pi_1_secret_x"}}}"#;
        let error = ErrorObject::read(body.as_bytes()).unwrap();
        assert_eq!(error.kind, "card_error");
        assert_eq!(error.code.as_deref(), Some("card_declined"));
        assert_eq!(error.decline_code.as_deref(), Some("insufficient_funds"));
        assert_eq!(error.message.as_deref(), Some("Your card has insufficient funds."));
        assert!(!format!("{error:?}").contains("secret_x"));
    }

    #[test]
    fn a_secret_in_a_message_is_taken_out_and_the_rest_stays() {
        for (text, expect) in [
            ("No such payment_intent: 'pi_1'", "No such payment_intent: 'pi_1'"),
            (
                "No such payment_intent: 'pi_1_secret_abc'; try again",
                "No such payment_intent: '[redacted]'; try again",
            ),
            (
                "Invalid API Key provided: sk_test_********1234",
                "Invalid API Key provided: [redacted]",
            ),
            ("(rk_live_abc)", "([redacted])"),
            ("key=whsec_1,é ü", "key=[redacted],é ü"),
            ("one\nline\u{7}", "one line "),
            ("", ""),
        ] {
            assert_eq!(message(text), expect);
        }
        assert_eq!(message(&"ü".repeat(2_000)).chars().count(), 500);
    }

    #[test]
    fn a_member_in_another_shape_does_not_hide_the_rest() {
        let error =
            ErrorObject::read(br#"{"error":{"type":"api_error","code":7,"param":{"a":1},"message":null}}"#).unwrap();
        assert_eq!((error.code, error.param, error.message), (None, None, None));
        for not_stripes in [
            "",
            "{}",
            r#"{"error":null}"#,
            r#"{"error":"x"}"#,
            r#"{"error":{}}"#,
            r#"{"error":{"type":"a b"}}"#,
            "<html>",
        ] {
            assert_eq!(ErrorObject::read(not_stripes.as_bytes()), None, "{not_stripes}");
        }
    }
}
