//! What ingest has to refuse or to take as it is, case by case, each from an address of its own.

use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::future::join_all;
use serde_json::json;
use stripe_gateway::signature::sign;

use super::events;
use super::house::{CONNECT_SECRET, PLATFORM_PATH, PLATFORM_SECRET, unix_now};
use super::load::Ledger;
use super::raw::{self, Reply};

/// `WEBHOOK_MAX_BODY_BYTES` where it is not set.
const MAX_BODY: usize = 1_048_576;

/// Sends from an address of its own, so that no case is throttled for another's attempts.
pub struct Attacker {
    port: u16,
    next: AtomicU8,
}

impl Attacker {
    pub fn of(port: u16) -> Self {
        Self {
            port,
            next: AtomicU8::new(0),
        }
    }

    pub async fn send(&self, bytes: &[u8]) -> Reply {
        let from = 2 + self.next.fetch_add(1, Ordering::Relaxed) % 250;
        raw::exchange(self.port, from, bytes).await
    }

    async fn post(&self, header: &[u8], body: &[u8]) -> Reply {
        self.send(&raw::request(PLATFORM_PATH, &[("stripe-signature", header)], body))
            .await
    }

    pub async fn signed(&self, body: &[u8]) -> Reply {
        let header = sign(PLATFORM_SECRET, body, unix_now());
        self.post(header.as_bytes(), body).await
    }
}

pub fn assert_answer(what: &str, reply: &Reply, status: u16, code: &str) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (status, code),
        "{what}: {reply:?}"
    );
    if status >= 400 {
        assert!(
            reply.head.contains("application/problem+json"),
            "{what}: {}",
            reply.head
        );
    }
}

pub fn event(id: &str) -> Vec<u8> {
    let event = json!({
        "id": id, "object": "event", "type": "payment_intent.created", "created": unix_now(), "livemode": false,
        "api_version": webhook_ingest::NEWEST_KNOWN, "data": {"object": {"id": "pi_1"}},
    });
    serde_json::to_vec(&event).unwrap()
}

pub async fn bad_signatures(attacker: &Attacker) {
    let (body, now) = (event("evt_bad"), unix_now());
    let good = sign(PLATFORM_SECRET, &body, now);
    let mac = good.split_once("v1=").unwrap().1.to_owned();
    let none = attacker.send(&raw::request(PLATFORM_PATH, &[], &body)).await;
    assert_answer("no header", &none, 400, "signature_missing");
    let twice = [
        ("stripe-signature", good.as_bytes()),
        ("Stripe-Signature", good.as_bytes()),
    ];
    let twice = attacker.send(&raw::request(PLATFORM_PATH, &twice, &body)).await;
    assert_answer("two headers", &twice, 400, "signature_malformed");
    let of_other = attacker.post(sign(CONNECT_SECRET, &body, now).as_bytes(), &body).await;
    assert_answer("the other endpoint's secret", &of_other, 400, "signature_mismatch");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", b"".to_vec(), "signature_missing"),
        ("nonsense", b"nonsense".to_vec(), "signature_malformed"),
        ("no v1", format!("t={now}").into(), "signature_malformed"),
        ("no t", format!("v1={mac}").into(), "signature_malformed"),
        ("v0 only", format!("t={now},v0={mac}").into(), "signature_malformed"),
        (
            "two t",
            format!("t={now},t={now},v1={mac}").into(),
            "signature_malformed",
        ),
        (
            "t is no number",
            format!("t=soon,v1={mac}").into(),
            "signature_malformed",
        ),
        (
            "t is huge",
            format!("t={},v1={mac}", "9".repeat(400)).into(),
            "signature_malformed",
        ),
        (
            "not ASCII",
            format!("t={now},v1={mac},\u{e9}=\u{1f680}").into(),
            "signature_malformed",
        ),
        (
            "not UTF-8",
            [good.as_bytes(), b",\xff\xfe=1"].concat(),
            "signature_malformed",
        ),
        (
            "many v1",
            format!("t={now}{}", ",v1=00".repeat(200)).into(),
            "signature_malformed",
        ),
        (
            "64 kB",
            format!("{good},x={}", "y".repeat(64 * 1_024)).into(),
            "signature_malformed",
        ),
        (
            "zeros",
            format!("t={now},v1={}", "0".repeat(64)).into(),
            "signature_mismatch",
        ),
        (
            "another t",
            format!("t={},v1={mac}", now - 1).into(),
            "signature_mismatch",
        ),
        (
            "short mac",
            format!("t={now},v1={}", &mac[..62]).into(),
            "signature_mismatch",
        ),
        (
            "no hex",
            format!("t={now},v1={}", "zz".repeat(32)).into(),
            "signature_mismatch",
        ),
        (
            "another body",
            sign(PLATFORM_SECRET, b"{}", now).into(),
            "signature_mismatch",
        ),
        (
            "too old",
            sign(PLATFORM_SECRET, &body, now - 310).into(),
            "timestamp_out_of_tolerance",
        ),
        (
            "too new",
            sign(PLATFORM_SECRET, &body, now + 330).into(),
            "timestamp_out_of_tolerance",
        ),
    ];
    for (what, header, code) in cases {
        assert_answer(what, &attacker.post(&header, &body).await, 400, code);
    }
}

/// A header from a good signature's hexadecimal text and its time.
type MakeHeader = fn(&str, i64) -> String;

/// Headers that hold though they look odd, and some that may go either way: what counts is that they get an answer.
pub async fn odd_signatures(attacker: &Attacker, ledger: &mut Ledger) {
    let now = unix_now();
    let odd: [(&str, MakeHeader, Option<u16>); 6] = [
        (
            "a wrong one first",
            |mac, now| format!("t={now},v1={},v1={mac}", "0".repeat(64)),
            Some(200),
        ),
        (
            "other schemes",
            |mac, now| format!("v0=a,t={now},v9=b,v1={mac},x"),
            Some(200),
        ),
        ("v1 before t", |mac, now| format!("v1={mac},t={now}"), Some(200)),
        (
            "upper-case hexadecimal",
            |mac, now| format!("t={now},v1={}", mac.to_uppercase()),
            None,
        ),
        ("spaces after commas", |mac, now| format!("t={now}, v1={mac}"), None),
        ("spaces around", |mac, now| format!("   t={now},v1={mac}  "), None),
    ];
    for (n, (what, header, status)) in odd.into_iter().enumerate() {
        let id = format!("evt_odd_{n}");
        let body = event(&id);
        let good = sign(PLATFORM_SECRET, &body, now);
        let header = header(good.split_once("v1=").unwrap().1, now);
        let reply = attacker.post(header.as_bytes(), &body).await;
        println!("{what}: {} {}", reply.status, reply.code());
        assert!([200, 400].contains(&reply.status), "{what}: {reply:?}");
        assert!(status.is_none_or(|status| reply.status == status), "{what}: {reply:?}");
        if reply.status == 200 {
            let delivery = events::of_platform(&id, String::from_utf8(body).unwrap());
            ledger.accepted.insert(id, delivery);
        }
    }
}

pub async fn bad_bodies(attacker: &Attacker, ledger: &mut Ledger) {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let (huge, long) = ("9".repeat(5_000), "x".repeat(300));
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("empty", b"".to_vec()),
        ("a space", b" ".to_vec()),
        ("not JSON", b"not json".to_vec()),
        ("cut", b"{\"id\":\"evt_1\"".to_vec()),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"7".to_vec()),
        ("a text", b"\"text\"".to_vec()),
        ("nothing in it", b"{}".to_vec()),
        (
            "two documents",
            b"{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":1}{}".to_vec(),
        ),
        (
            "not UTF-8 in the id",
            b"{\"id\":\"\xff\",\"type\":\"a.b\",\"created\":1}".to_vec(),
        ),
        (
            "not UTF-8 in the data",
            b"{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":1,\"data\":\"\xc3\x28\"}".to_vec(),
        ),
        ("UTF-16", "{}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("id is a number", b"{\"id\":7,\"type\":\"a.b\",\"created\":1}".to_vec()),
        ("no type", b"{\"id\":\"evt_1\",\"created\":1}".to_vec()),
        ("no created", b"{\"id\":\"evt_1\",\"type\":\"a.b\"}".to_vec()),
        (
            "type with a line break",
            b"{\"id\":\"evt_1\",\"type\":\"a\\nb\",\"created\":1}".to_vec(),
        ),
        (
            "type too long",
            format!("{{\"id\":\"evt_1\",\"type\":\"{long}\",\"created\":1}}").into(),
        ),
        (
            "created is huge",
            format!("{{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":{huge}}}").into(),
        ),
        (
            "created is infinite",
            b"{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":1e999}".to_vec(),
        ),
        (
            "created is negative",
            b"{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":-1}".to_vec(),
        ),
        ("deep", deep(100_000).into()),
        (
            "deep and cut",
            format!(
                "{{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":1,\"data\":{}",
                "[".repeat(200_000)
            )
            .into(),
        ),
    ];
    for (what, body) in bodies {
        assert_answer(what, &attacker.signed(&body).await, 400, "payload_malformed");
    }
    // These are events, whatever one thinks of them.
    let head = |id: &str| {
        format!(
            "{{\"id\":\"{id}\",\"type\":\"a.b\",\"created\":{},\"livemode\":false",
            unix_now()
        )
    };
    for (id, body) in [
        ("evt_deep", format!("{},\"data\":{}}}", head("evt_deep"), deep(100_000))),
        (
            "evt_numbers",
            format!(
                "{},\"data\":[{huge},1e999,-0,1e-999,{huge}.{huge}]}}",
                head("evt_numbers")
            ),
        ),
        (
            "evt_large",
            format!("{},\"data\":\"{}\"}}", head("evt_large"), "y".repeat(MAX_BODY - 200)),
        ),
    ] {
        assert_answer(id, &attacker.signed(body.as_bytes()).await, 200, "");
        ledger.accepted.insert(id.to_owned(), events::of_platform(id, body));
    }
    let body = events::fixture("charge.succeeded").with_id("evt_chunked");
    let header = sign(PLATFORM_SECRET, body.as_bytes(), unix_now());
    let headers = [("stripe-signature", header.as_bytes())];
    for size in [1, 1_000, body.len()] {
        let reply = attacker
            .send(&raw::chunked(PLATFORM_PATH, &headers, body.as_bytes(), size))
            .await;
        assert_answer("in chunks", &reply, 200, "");
    }
    ledger
        .accepted
        .insert("evt_chunked".to_owned(), events::of_platform("evt_chunked", body));

    let large = vec![b' '; MAX_BODY + 1];
    let header = sign(PLATFORM_SECRET, &large, unix_now());
    let headers = [("stripe-signature", header.as_bytes())];
    let endless = [
        &raw::head(PLATFORM_PATH, &headers)[..],
        b"content-length: 9999999999999

",
    ]
    .concat();
    for (what, bytes) in [
        ("declared", raw::request(PLATFORM_PATH, &headers, &large)),
        ("in chunks", raw::chunked(PLATFORM_PATH, &headers, &large, 65_536)),
        ("promised", endless),
    ] {
        assert_answer(what, &attacker.send(&bytes).await, 413, "body_too_large");
    }
}

/// Requests that break HTTP, or stop half-way: all at once, since the server waits for the slow ones.
pub async fn broken_requests(attacker: &Attacker) {
    let head = raw::head(PLATFORM_PATH, &[("stripe-signature", b"t=1,v1=00")]);
    let after_head = |more: &str| [head.as_slice(), more.as_bytes()].concat();
    let headers_of = |bytes: usize| after_head(&format!("x-filler: {}\r\n\r\n", "z".repeat(bytes)));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("slow body", after_head("content-length: 100\r\n\r\n{")),
        ("slow chunk", after_head("transfer-encoding: chunked\r\n\r\n5\r\n{")),
        ("slow head", head.clone()),
        ("bad chunk", after_head("transfer-encoding: chunked\r\n\r\nzz\r\n")),
        ("length is a word", after_head("content-length: x\r\n\r\n")),
        ("length is negative", after_head("content-length: -1\r\n\r\n")),
        (
            "two lengths",
            after_head("content-length: 2\r\ncontent-length: 3\r\n\r\nabc"),
        ),
        ("gzip", after_head("transfer-encoding: gzip\r\n\r\nabc")),
        ("64 kB of headers", headers_of(64 * 1_024)),
        ("a megabyte of headers", headers_of(1_024 * 1_024)),
        (
            "500 headers",
            after_head(&format!("{}\r\n", "x-many: 1\r\n".repeat(500))),
        ),
        (
            "not HTTP",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n".to_vec(),
        ),
        ("zero byte in a header", after_head("x-zero: a\0b\r\n\r\n")),
        (
            "another method",
            format!("GET {PLATFORM_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes(),
        ),
        ("another path", raw::request("/webhooks/stripe/../admin", &[], b"{}")),
    ];
    let replies = join_all(cases.iter().map(|(_, bytes)| attacker.send(bytes))).await;
    for ((what, _), reply) in cases.iter().zip(replies) {
        println!(
            "{what}: {} {} after {} ms",
            reply.status,
            reply.code(),
            reply.took.as_millis()
        );
        // A connection that is only closed is an answer to what is no request.
        assert!(
            reply.status == 0 || (400..500).contains(&reply.status),
            "{what}: {reply:?}"
        );
        if ["slow body", "slow chunk"].contains(what) {
            assert_answer(what, &reply, 408, "request_timeout");
        }
    }
}
