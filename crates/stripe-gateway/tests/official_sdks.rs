//! A second opinion: Stripe's own packages for Node and Python, from their registries, sign what we accept, accept what we
//! sign, and judge bad headers as we do (or as the table of the `signature` module says that they differ).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "the Python package judges the age by the real clock"
)]

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stripe_gateway::fixtures::{self, Version};
use stripe_gateway::signature::{Secrets, SignatureError, sign, verify};
use testkit::{sdk_sources, sign_with_node, sign_with_python};

const SECRET: &str = "whsec_official_sdk_test";
const ROLLED: &str = "whsec_official_sdk_rolled";
const TOLERANCE: u64 = 300;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn payloads() -> Vec<String> {
    let mut payloads: Vec<String> = ["customer.subscription.updated", "invoice.paid", "charge.refunded"]
        .into_iter()
        .flat_map(|kind| Version::ALL.map(|version| fixtures::find(kind, version).unwrap().body))
        .collect();
    payloads.extend(fixtures::thin().into_iter().map(|fixture| fixture.body));
    payloads.extend([
        "{}".to_owned(),
        "not json at all".to_owned(),
        "{\r\n\t\"text\": \"Zürich 東京 \u{1f600} \\u00e9 \\ud83d\\ude00\"\r\n}\n".to_owned(),
        "\u{0}\u{7f}\u{80}\u{ffff}\u{10ffff}".to_owned(),
        format!("{{\"large\": \"{}\"}}", "é€😀x".repeat(80_000)),
    ]);
    payloads
}

/// What each of the three says of a header: ours, Node's, Python's.
struct Row {
    header: String,
    tolerance: u64,
    ours: &'static str,
    node_accepts: bool,
    python_accepts: bool,
}

/// The vectors of the official packages' own tests, and the rows of our table that they decide.
fn bad_headers(payload: &str, now: i64) -> Vec<Row> {
    let header = |secret: &str, at: i64| sign(secret, payload.as_bytes(), at);
    let good = header(SECRET, now);
    let (_, mac) = good.split_once("v1=").unwrap();
    let (_, rolled) = header(ROLLED, now)
        .split_once("v1=")
        .map(|(t, mac)| (t.to_owned(), mac.to_owned()))
        .unwrap();
    let row = |header: String, ours, node_accepts, python_accepts| Row {
        header,
        tolerance: TOLERANCE,
        ours,
        node_accepts,
        python_accepts,
    };
    let all = |header: String| row(header, "accepted", true, true);
    let none = |header: String, ours| row(header, ours, false, false);
    let (malformed, mismatch, stale) = (
        "signature_malformed",
        "signature_mismatch",
        "timestamp_out_of_tolerance",
    );
    vec![
        all(good.clone()),
        none("bad_header".to_owned(), malformed),
        none("I'm not even a real signature header".to_owned(), malformed),
        none(String::new(), "signature_missing"),
        none(format!("t={now},v0={mac}"), malformed),
        none(format!("t={now},V1={mac}"), malformed),
        none(format!("t={now}, v1={mac}"), malformed),
        none(format!("t={now},v1=bad_signature"), mismatch),
        none(header("whsec_stranger", now), mismatch),
        none(header(SECRET, now - 301 - 60), stale),
        none(header(SECRET, now - 86_400), stale),
        all(format!("{good},v1=bad_signature")),
        all(format!("t={now},v1=bad_signature,v1={mac}")),
        all(format!("t={now},v1={rolled},v1={mac},v0={rolled}")),
        row(format!("t={now},v1={rolled}"), "accepted", false, false),
        all(format!("{good},")),
        row(format!("t={now},v1={}", mac.to_uppercase()), "accepted", false, false),
        row(format!("t={now},v1={mac}="), mismatch, true, true),
        row(header(SECRET, now + 86_400), stale, true, true),
        row(format!("t=+{now},v1={mac}"), malformed, true, true),
        row(format!("t=00{now},v1={mac}"), mismatch, true, true),
        row(format!("t={now},v1={mac},t=1"), malformed, false, true),
        Row {
            tolerance: 0,
            ..row(header(SECRET, now - 86_400), stale, true, true)
        },
    ]
}

fn code(header: &str, payload: &str, secrets: &Secrets, now: i64, tolerance: u64) -> &'static str {
    let got = verify(Some(header.as_bytes()), payload.as_bytes(), secrets, now, tolerance);
    got.as_ref().map_or_else(SignatureError::code, |_| "accepted")
}

/// One package, tried both ways.
fn cross_check(package: impl Fn(&Value) -> Value, expected_version: &str, accepts: impl Fn(&Row) -> bool) {
    let now = now();
    let secrets = Secrets::new([SECRET, ROLLED]).unwrap();
    let payloads = payloads();
    let rows = bad_headers(&payloads[0], now);
    let sign_jobs: Vec<Value> = payloads
        .iter()
        .flat_map(|payload| {
            [SECRET, ROLLED, "whsec_stranger"]
                .map(|secret| json!({"payload": payload, "secret": secret, "timestamp": now}))
        })
        .collect();
    let ours = payloads.iter().map(|payload| {
        json!({"payload": payload, "header": sign(SECRET, payload.as_bytes(), now), "secret": SECRET, "tolerance": TOLERANCE})
    });
    let judged = rows
        .iter()
        .map(|row| json!({"payload": payloads[0], "header": row.header, "secret": SECRET, "tolerance": row.tolerance}));
    let answer = package(&json!({"sign": sign_jobs, "verify": ours.chain(judged).collect::<Vec<_>>()}));
    assert_eq!(
        answer["version"], expected_version,
        "the lock file names the version that is tried"
    );

    let headers = answer["headers"].as_array().unwrap();
    assert_eq!(headers.len(), sign_jobs.len());
    for (job, header) in sign_jobs.iter().zip(headers) {
        let (payload, secret) = (job["payload"].as_str().unwrap(), job["secret"].as_str().unwrap());
        let header = header.as_str().unwrap();
        let expected = if secret == "whsec_stranger" {
            "signature_mismatch"
        } else {
            "accepted"
        };
        assert_eq!(
            code(header, payload, &secrets, now, TOLERANCE),
            expected,
            "{header} under {secret}"
        );
        assert_eq!(
            header,
            sign(secret, payload.as_bytes(), now),
            "the same text for {:?}",
            &payload.get(..40)
        );
        assert_eq!(
            code(header, &format!("{payload} "), &secrets, now, TOLERANCE),
            "signature_mismatch"
        );
        assert_ne!(code(header, payload, &secrets, now + 301, TOLERANCE), "accepted");
    }

    let verdicts = answer["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), payloads.len() + rows.len());
    let (of_ours, of_rows) = verdicts.split_at(payloads.len());
    assert!(
        of_ours.iter().all(Value::is_null),
        "the package accepts what we sign: {of_ours:?}"
    );
    for (row, verdict) in rows.iter().zip(of_rows) {
        assert_eq!(verdict.is_null(), accepts(row), "{}: {verdict}", row.header);
        assert_eq!(
            code(&row.header, &payloads[0], &secrets, now, row.tolerance),
            row.ours,
            "{}",
            row.header
        );
    }
}

#[test]
fn the_official_package_for_node_agrees() {
    cross_check(sign_with_node, "23.1.0", |row| row.node_accepts);
}

#[test]
fn the_official_package_for_python_agrees() {
    cross_check(sign_with_python, "16.1.0", |row| row.python_accepts);
}

#[test]
fn the_lock_file_names_no_registry() {
    let lock = fs::read_to_string(sdk_sources().join("package-lock.json")).unwrap();
    assert!(
        !lock.contains("\"resolved\"") && !lock.contains("http"),
        "npm takes the registry from its configuration"
    );
    assert!(lock.contains("\"integrity\": \"sha512-"));
    let requirements = fs::read_to_string(sdk_sources().join("requirements.txt")).unwrap();
    assert!(
        requirements
            .lines()
            .all(|line| line.contains("==") && !line.contains("://"))
    );
}
