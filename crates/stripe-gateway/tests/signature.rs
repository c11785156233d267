//! The table of headers in the documentation of `signature`, row by row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use ring::hmac;
use stripe_gateway::signature::{
    MAX_HEADER_BYTES, MalformedReason, Secrets, SecretsError, SignatureError, Verified, sign, verify,
};

const SECRET: &str = "whsec_test_secret";
const OTHER: &str = "whsec_rolled_out";
const NOW: i64 = 1_790_000_000;
const TOLERANCE: u64 = 300;
const BODY: &[u8] = br#"{"id": "evt_1", "object": "event"}"#;

/// The MAC of any text in the place of `t`, computed apart from the code under test.
fn mac_of(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let message = [timestamp.as_bytes(), b".", body].concat();
    hmac::sign(&key, &message)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn check(header: &str, expect: &str) {
    check_bytes(header.as_bytes(), expect);
}

fn check_bytes(header: &[u8], expect: &str) {
    let secrets = Secrets::new([SECRET, OTHER]).unwrap();
    let got = verify(Some(header), BODY, &secrets, NOW, TOLERANCE);
    let code = got.as_ref().map_or_else(SignatureError::code, |_| "accepted");
    assert_eq!(code, expect, "{}: {got:?}", String::from_utf8_lossy(header));
}

const OK: &str = "accepted";
const MALFORMED: &str = "signature_malformed";
const MISMATCH: &str = "signature_mismatch";
const STALE: &str = "timestamp_out_of_tolerance";

#[test]
fn the_mac_is_the_one_of_the_standard() {
    let vector = "t=12345,v1=";
    let header = sign("key", b"The quick brown fox jumps over the lazy dog", 12345);
    assert!(header.starts_with(vector) && header.len() == vector.len() + 64);
    assert_eq!(
        header[vector.len()..],
        mac_of("key", "12345", b"The quick brown fox jumps over the lazy dog")
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
    let known = hmac::sign(&key, b"The quick brown fox jumps over the lazy dog");
    assert_eq!(known.as_ref()[..4], [0xf7, 0xbc, 0x83, 0xf4], "RFC 4231's algorithm");
}

#[test]
fn a_good_header_is_accepted_and_gives_its_time() {
    let secrets = Secrets::new([SECRET]).unwrap();
    let header = sign(SECRET, BODY, NOW - 7);
    let verified = verify(Some(header.as_bytes()), BODY, &secrets, NOW, TOLERANCE);
    assert_eq!(verified, Ok(Verified { timestamp: NOW - 7 }));
}

#[test]
fn a_missing_header_is_missing() {
    let secrets = Secrets::new([SECRET]).unwrap();
    for header in [None, Some(&b""[..])] {
        assert_eq!(
            verify(header, BODY, &secrets, NOW, TOLERANCE),
            Err(SignatureError::Missing)
        );
    }
    assert_eq!(SignatureError::Missing.code(), "signature_missing");
}

#[test]
fn signatures() {
    let t = NOW.to_string();
    let good = mac_of(SECRET, &t, BODY);
    let rolled = mac_of(OTHER, &t, BODY);
    let wrong = mac_of("whsec_stranger", &t, BODY);
    let upper = good.to_uppercase();
    let junk = ["v1=x"; 15].join(",");
    let wrongs = vec![format!("v1={wrong}"); 15].join(",");
    for (header, expect) in [
        (format!("t={t},v1={good}"), OK),
        (format!("v1={good},t={t}"), OK),
        (format!("t={t},v1={rolled}"), OK),
        (format!("t={t},v1={good},v1={rolled}"), OK),
        (format!("t={t},v1={wrong}"), MISMATCH),
        (format!("t={t},v1={good},v1=bad_signature"), OK),
        (format!("t={t},v1=bad_signature,v1={good}"), OK),
        (format!("t={t},v1={wrong},v1={good},v0={wrong}"), OK),
        (format!("t={t},{junk},v1={good}"), OK),
        (format!("t={t},{wrongs},v1={good}"), OK),
        (format!("t={t},{junk},{junk},v1={good}"), MALFORMED),
        (format!("t={t},{wrongs},v1={wrong},v1={good}"), MALFORMED),
        (format!("t={t},v1=bad_signature"), MISMATCH),
        (format!("t={t},v1="), MISMATCH),
        (format!("t={t},v1={good}="), MISMATCH),
        (format!("t={t},v1={good}00"), MISMATCH),
        (format!("t={t},v1={}", &good[..63]), MISMATCH),
        (format!("t={t},v1={}", &good[..62]), MISMATCH),
        (format!("t={t},v1= {good}"), MISMATCH),
        (format!("t={t},v1={good} "), MISMATCH),
        (format!("t={t},v1=0x{}", &good[2..]), MISMATCH),
        (format!("t={t},v1={upper}"), OK),
        (format!("t={t},v0={good}"), MALFORMED),
        (format!("t={t},V1={good}"), MALFORMED),
        (format!("T={t},v1={good}"), MALFORMED),
        (format!("t={t}, v1={good}"), MALFORMED),
        (format!("t={t};v1={good}"), MALFORMED),
        (format!("t={t},v1 ={good}"), MALFORMED),
        (format!("t={t},v1"), MALFORMED),
        (format!("t={t}"), MALFORMED),
        (format!("v1={good}"), MALFORMED),
        (good.clone(), MALFORMED),
        ("bad_header".to_owned(), MALFORMED),
        (" ".to_owned(), MALFORMED),
        (",".to_owned(), MALFORMED),
        ("=".to_owned(), MALFORMED),
        (format!(",t={t},,v1={good},"), OK),
        (format!("t={t},bare,v1={good},v2=abc,=,x=y=z"), OK),
        (format!("t={t},v1={good}\t"), MALFORMED),
        (format!("t={t},v1={good}\r\nx: y"), MALFORMED),
        (format!("t={t},v1={good},\u{e9}=1"), MALFORMED),
        (format!("t={t},v1={good},x=\u{7f}"), MALFORMED),
    ] {
        check(&header, expect);
    }
    check_bytes(&[format!("t={t},v1={good},x=").as_bytes(), b"\xff"].concat(), MALFORMED);
    check_bytes(&[0, 0], MALFORMED);
}

#[test]
fn timestamps() {
    let signed = |t: &str| format!("t={t},v1={}", mac_of(SECRET, t, BODY));
    let now = NOW.to_string();
    for (t, expect) in [
        (format!("00{now}"), OK),
        (format!("000{now}"), MALFORMED),
        (format!("+{now}"), MALFORMED),
        (format!("-{now}"), MALFORMED),
        (format!(" {now}"), MALFORMED),
        (format!("{now} "), MALFORMED),
        (format!("{now}abc"), MALFORMED),
        (format!("{now}.0"), MALFORMED),
        (format!("{now}="), MALFORMED),
        ("abc".to_owned(), MALFORMED),
        ("NaN".to_owned(), MALFORMED),
        (String::new(), MALFORMED),
        (i64::MIN.to_string(), MALFORMED),
        (i64::MAX.to_string(), MALFORMED),
        ("999999999999".to_owned(), STALE),
        ("0".to_owned(), STALE),
        ((NOW - 300).to_string(), OK),
        ((NOW - 301).to_string(), STALE),
        ((NOW + 300).to_string(), OK),
        ((NOW + 301).to_string(), STALE),
    ] {
        check(&signed(&t), expect);
    }
    check(&format!("t=abc,v1={}", mac_of(SECRET, "NaN", BODY)), MALFORMED);
    let good = mac_of(SECRET, &now, BODY);
    check(&format!("t={now},t={now},v1={good}"), MALFORMED);
    check(&format!("t=1,v1={good},t={now}"), MALFORMED);
    check(&format!("t=,t={now},v1={good}"), MALFORMED);
    check(&format!("t=00{now},v1={good}"), MISMATCH);
    check(&format!("t={},v1={good}", NOW + 1), MISMATCH);
    check(&format!("t=1,v1={}", mac_of("whsec_stranger", "1", BODY)), MISMATCH);
}

#[test]
fn extreme_clocks_and_tolerances_do_not_overflow() {
    let secrets = Secrets::new([SECRET]).unwrap();
    let header = sign(SECRET, BODY, 999_999_999_999);
    let at = |now, tolerance| verify(Some(header.as_bytes()), BODY, &secrets, now, tolerance).is_ok();
    assert!(!at(i64::MIN, 300));
    assert!(!at(i64::MAX, 300));
    assert!(at(i64::MIN, u64::MAX));
    assert!(at(999_999_999_999, 0));
    assert!(
        !at(1_000_000_000_000, 0),
        "a tolerance of 0 does not switch the check off"
    );
    for timestamp in [i64::MIN, -1, i64::MAX] {
        let header = sign(SECRET, BODY, timestamp);
        let got = verify(Some(header.as_bytes()), BODY, &secrets, timestamp, 300);
        assert_eq!(
            got,
            Err(SignatureError::Malformed {
                reason: MalformedReason::BadTimestamp
            })
        );
    }
}

#[test]
fn the_length_of_a_header_is_bounded() {
    let good = sign(SECRET, BODY, NOW);
    let fill = |length: usize| format!("{good},x={}", "y".repeat(length - good.len() - 3));
    check(&fill(MAX_HEADER_BYTES), OK);
    check(&fill(MAX_HEADER_BYTES + 1), MALFORMED);
    check(&fill(64 * 1024), MALFORMED);
}

#[test]
fn any_other_body_or_secret_is_a_mismatch() {
    let secrets = Secrets::new([SECRET]).unwrap();
    let bom = ["\u{feff}".as_bytes(), BODY].concat();
    for body in [
        &b""[..],
        &bom,
        b"\xff\xfe\x00",
        b"caf\xc3\xa9 \xf0\x9f\x98\x80",
        &[b'x'; 100_000],
        BODY,
    ] {
        let header = sign(SECRET, body, NOW);
        assert!(verify(Some(header.as_bytes()), body, &secrets, NOW, TOLERANCE).is_ok());
        for other in [
            [body, b" "].concat(),
            [b"\xef\xbb\xbf", body].concat(),
            [body, b"\r\n"].concat(),
        ] {
            let got = verify(Some(header.as_bytes()), &other, &secrets, NOW, TOLERANCE);
            assert_eq!(got, Err(SignatureError::Mismatch));
        }
        for secret in ["whsec_test_secreT", "test_secret", "whsec_", "x"] {
            let stranger = Secrets::new([secret]).unwrap();
            let got = verify(Some(header.as_bytes()), body, &stranger, NOW, TOLERANCE);
            assert_eq!(got, Err(SignatureError::Mismatch));
        }
    }
}

#[test]
fn a_secret_that_cannot_be_one_stops_the_start_without_being_shown() {
    let refused = |list: &[&str]| Secrets::new(list).unwrap_err();
    assert_eq!(refused(&[]), SecretsError::None);
    assert_eq!(refused(&[""]), SecretsError::Empty { position: 1 });
    assert_eq!(refused(&[SECRET, ""]), SecretsError::Empty { position: 2 });
    for spaced in [
        " ",
        " whsec_a",
        "whsec_a\n",
        "whsec_ a",
        "\twhsec_a",
        "whsec_\u{a0}a",
        "whsec_a\0",
    ] {
        assert_eq!(
            refused(&[spaced]),
            SecretsError::Whitespace { position: 1 },
            "{spaced:?}"
        );
    }
    assert_eq!(Secrets::from_list("").unwrap_err(), SecretsError::None);
    assert_eq!(
        Secrets::from_list("a,").unwrap_err(),
        SecretsError::Empty { position: 2 }
    );
    assert_eq!(
        Secrets::from_list("a, b").unwrap_err(),
        SecretsError::Whitespace { position: 2 }
    );
    let secrets = Secrets::from_list("whsec_a,whsec_b").unwrap();
    assert_eq!(secrets.count(), 2);
    assert_eq!(format!("{secrets:?}"), "Secrets(2 hidden)");
}
