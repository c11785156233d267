//! The slow, independent reading: a tree of the whole body, and a header judged sentence by sentence.

use proptest::prelude::*;
use ring::hmac;
use serde_json::Value;
use stripe_gateway::views::EventView;

/// Where a view accepted an object, the tree must say the same in one of the two places.
pub(crate) fn check(event: &EventView<'_>, tree: &Value) {
    let at = |path: &str| {
        tree.pointer(&format!("/data/object/{path}"))
            .filter(|value| !value.is_null())
    };
    let id =
        |path: &str| at(path).and_then(|value| value.as_str().or_else(|| value.get("id")?.as_str()).map(str::to_owned));
    if let Ok(invoice) = event.invoice() {
        assert_eq!(Some(invoice.amount_paid), at("amount_paid").and_then(Value::as_i64));
        assert_eq!(Some(invoice.amount_due), at("amount_due").and_then(Value::as_i64));
        let subscription = id("subscription").or_else(|| id("parent/subscription_details/subscription"));
        assert_eq!(invoice.subscription, subscription);
        assert_eq!(invoice.customer, id("customer"));
        let lines = at("lines/data").or_else(|| at("lines")).and_then(Value::as_array);
        let lines = || lines.into_iter().flatten();
        let ends = lines().filter_map(|line| line.pointer("/period/end")?.as_i64());
        assert_eq!(invoice.line_period_end, ends.max());
        let shows = |line: &Value, price: &str| {
            ["/pricing/price_details/price", "/price", "/plan"].iter().any(|place| {
                let shown = line.pointer(place);
                shown.and_then(|shown| shown.as_str().or_else(|| shown.get("id")?.as_str())) == Some(price)
            })
        };
        for price in &invoice.prices {
            assert!(lines().any(|line| shows(line, price)), "{price}");
        }
    }
    if let Ok(subscription) = event.subscription() {
        assert_eq!(Some(subscription.customer), id("customer"));
        assert_eq!(Some(subscription.status.as_str()), at("status").and_then(Value::as_str));
        let items = at("items/data").or_else(|| at("items")).and_then(Value::as_array);
        let ends = items
            .into_iter()
            .flatten()
            .filter_map(|item| item.get("current_period_end")?.as_i64());
        assert_eq!(
            subscription.current_period_end,
            at("current_period_end").and_then(Value::as_i64).or(ends.max())
        );
        assert_eq!(subscription.collection_paused, at("pause_collection").is_some());
    }
    if let Ok(transfer) = event.transfer() {
        assert_eq!(
            Some(transfer.amount_reversed),
            at("amount_reversed").and_then(Value::as_i64)
        );
        assert_eq!(transfer.destination, id("destination"));
    }
    if let Ok(charge) = event.charge() {
        assert_eq!(
            Some(charge.amount_refunded),
            at("amount_refunded").and_then(Value::as_i64)
        );
    }
}

/// One element of a header to be made.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// `t` that far from now, with leading zeros.
    Time(i64, usize),
    /// A name and a MAC over the first `t`, under the secret, in upper case or not.
    Mac(&'static str, &'static str, bool),
    /// Anything.
    Text(String),
}

pub(crate) fn header_pieces() -> impl Strategy<Value = Vec<Piece>> {
    let names = prop::sample::select(vec!["v1", "v1", "v1", "v1", "v0", "V1", " v1", "v2"]);
    let secrets = prop::sample::select(vec!["whsec_ours", "whsec_ours", "whsec_old", "whsec_stranger"]);
    let piece = prop_oneof![
        2 => (-600_i64..600, 0_usize..4).prop_map(|(offset, zeros)| Piece::Time(offset, zeros)),
        5 => (names, secrets, any::<bool>()).prop_map(|(name, secret, upper)| Piece::Mac(name, secret, upper)),
        1 => "(v1|t|v0|x|)=?[0-9a-fx =]{0,6}".prop_map(Piece::Text),
        1 => any::<String>().prop_map(Piece::Text),
    ];
    let rest = prop_oneof![9 => prop::collection::vec(piece.clone(), 0..5), 1 => prop::collection::vec(piece, 10..40)];
    (-600_i64..600, rest).prop_map(|(offset, mut rest)| {
        rest.insert(0, Piece::Time(offset, 0));
        // Most headers have one time, so that most of them get as far as the MAC.
        if offset % 4 != 0 {
            let mut times = 0;
            rest.retain(|piece| !matches!(piece, Piece::Time(..)) || std::mem::replace(&mut times, 1) == 0);
        }
        rest
    })
}

pub(crate) fn header(pieces: &[Piece], body: &[u8], now: i64) -> String {
    let time_text = |offset: i64, zeros: usize| format!("{}{}", "0".repeat(zeros), now + offset);
    let signed = pieces.iter().find_map(|piece| match piece {
        Piece::Time(offset, zeros) => Some(time_text(*offset, *zeros)),
        _ => None,
    });
    let signed = signed.unwrap_or_default();
    let parts = pieces.iter().map(|piece| match piece {
        Piece::Time(offset, zeros) => format!("t={}", time_text(*offset, *zeros)),
        Piece::Mac(name, secret, upper) => {
            let hex = mac(secret, &signed, body);
            format!("{name}={}", if *upper { hex.to_uppercase() } else { hex })
        }
        Piece::Text(text) => text.clone(),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn mac(secret: &str, time: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let message = [time.as_bytes(), b".", body].concat();
    hmac::sign(&key, &message)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The table of the signature module, one sentence after the other.
pub(crate) fn judge(header: &[u8], body: &[u8], secrets: &[&str], now: i64, tolerance: u64) -> &'static str {
    if header.is_empty() {
        return "signature_missing";
    }
    let plain = header.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if header.len() > 8192 || !plain {
        return "signature_malformed";
    }
    let text = String::from_utf8(header.to_vec()).unwrap();
    let pairs: Vec<(&str, &str)> = text.split(',').filter_map(|element| element.split_once('=')).collect();
    let values = |name: &str| {
        pairs
            .iter()
            .filter(|(n, _)| *n == name)
            .map(|(_, value)| *value)
            .collect::<Vec<_>>()
    };
    let (times, signatures) = (values("t"), values("v1"));
    let [time] = times[..] else {
        return "signature_malformed";
    };
    let digits = !time.is_empty() && time.len() <= 12 && time.chars().all(|c| c.is_ascii_digit());
    if !digits || signatures.is_empty() || signatures.len() > 16 {
        return "signature_malformed";
    }
    let right: Vec<String> = secrets.iter().map(|secret| mac(secret, time, body)).collect();
    if !signatures
        .iter()
        .any(|signature| right.contains(&signature.to_lowercase()))
    {
        return "signature_mismatch";
    }
    let age = now - time.parse::<i64>().unwrap();
    if age.unsigned_abs() > tolerance {
        "timestamp_out_of_tolerance"
    } else {
        "accepted"
    }
}
