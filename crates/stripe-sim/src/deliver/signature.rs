//! Stripe's webhook signature: HMAC-SHA256 over `<t>.<body>`. Written here and not shared with the receiving side, so that the two check
//! each other.

use ring::hmac;

/// The value of `Stripe-Signature` for a body sent at `t`.
pub(crate) fn header(secret: &str, t: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(t.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let hex: String = context
        .sign()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={t},v1={hex}")
}
