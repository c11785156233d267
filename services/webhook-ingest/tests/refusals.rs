//! Bad input: every row of ING-6 with its code, and oddities that must never end in a 5xx, a panic or a hang.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use common::{Answer, Ingest, MAX_BODY, PLATFORM, PLATFORM_PATH, event};
use serde_json::Value;
use stripe_gateway::signature::sign;
use testkit::{TestBroker, eventually_some};

/// The queues that a refused delivery must not reach.
const EVENT_QUEUES: [&str; 4] = ["billing.events", "escrow.events", "checkout.events", "archive.events"];

async fn assert_nothing_was_published(broker: &TestBroker) {
    for queue in EVENT_QUEUES {
        assert_eq!(broker.ready(queue).await, Some(0), "{queue}");
    }
}

#[tokio::test]
async fn every_kind_of_bad_signature_has_its_code() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = event("evt_1", "invoice.paid");
    let now = ingest.now();
    let good = sign(PLATFORM, &body, now);
    let mac = good.split_once("v1=").unwrap().1.to_owned();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "signature_missing"),
        (b"nonsense".to_vec(), "signature_malformed"),
        (format!("t={now}").into(), "signature_malformed"),
        (format!("v1={mac}").into(), "signature_malformed"),
        (format!("t={now},v0={mac}").into(), "signature_malformed"),
        (format!("t={now},t={now},v1={mac}").into(), "signature_malformed"),
        (format!("t=abc,v1={mac}").into(), "signature_malformed"),
        (format!("t=-{now},v1={mac}").into(), "signature_malformed"),
        (format!("t={now},v1={mac},\u{e9}=1").into_bytes(), "signature_malformed"),
        (
            format!("t={now},v1={mac}{}", ",v1=00".repeat(17)).into(),
            "signature_malformed",
        ),
        (
            format!("t={now},v1={mac}{}", ",x=".to_owned() + &"y".repeat(64 * 1024)).into(),
            "signature_malformed",
        ),
        (format!("t={now},v1={}", "0".repeat(64)).into(), "signature_mismatch"),
        (format!("t={},v1={mac}", now - 1).into(), "signature_mismatch"),
        (
            sign("whsec_another_0123456789", &body, now).into(),
            "signature_mismatch",
        ),
        (sign(PLATFORM, b"another body", now).into(), "signature_mismatch"),
        (sign(PLATFORM, &body, now - 301).into(), "timestamp_out_of_tolerance"),
        (sign(PLATFORM, &body, now + 301).into(), "timestamp_out_of_tolerance"),
    ];
    for (header, code) in cases {
        let answer = ingest
            .post(PLATFORM_PATH, &[("stripe-signature", &header)], &body)
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{}",
            String::from_utf8_lossy(&header)
        );
    }
    let none = ingest.post(PLATFORM_PATH, &[], &body).await;
    assert_eq!((none.status, none.code().as_str()), (400, "signature_missing"));
    let twice = [
        ("stripe-signature", good.as_bytes()),
        ("Stripe-Signature", good.as_bytes()),
    ];
    let twice = ingest.post(PLATFORM_PATH, &twice, &body).await;
    assert_eq!((twice.status, twice.code().as_str()), (400, "signature_malformed"));
    assert_nothing_was_published(&broker).await;
    ingest.stop().await;
}

#[tokio::test]
async fn unusual_headers_that_still_hold_are_accepted() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = event("evt_1", "invoice.paid");
    let now = ingest.now();
    let mac = sign(PLATFORM, &body, now).split_once("v1=").unwrap().1.to_owned();
    let junk = "0".repeat(64);
    for header in [
        format!("t={now},v1={junk},v1={mac}"),
        format!("t={now},v1={mac},v1={junk},v0=fake"),
        format!("v1={mac},t={now}"),
        sign(PLATFORM, &body, now - 299),
        sign(PLATFORM, &body, now + 299),
    ] {
        let answer = ingest
            .post(PLATFORM_PATH, &[("stripe-signature", header.as_bytes())], &body)
            .await;
        assert_eq!(answer.status, 200, "{header}: {answer:?}");
    }
    ingest.stop().await;
}

#[tokio::test]
async fn signed_bodies_that_are_no_event_get_400_payload_malformed() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep_in_event = format!("{{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":1,\"data\":{deep}");
    let huge = "9".repeat(5_000);
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"not json".to_vec(),
        b"{\"id\":\"evt_1\"".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"7".to_vec(),
        b"\"text\"".to_vec(),
        b"{}".to_vec(),
        b"{\"id\":\"\xff\",\"type\":\"a.b\",\"created\":1}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"id\":7,\"type\":\"a.b\",\"created\":1}".to_vec(),
        b"{\"id\":\"evt_1\",\"created\":1}".to_vec(),
        b"{\"id\":\"evt_1\",\"type\":\"a.b\"}".to_vec(),
        b"{\"id\":\"evt_1\",\"type\":\"a b\\n\",\"created\":1}".to_vec(),
        format!("{{\"id\":\"evt_1\",\"type\":\"{}\",\"created\":1}}", "x".repeat(300)).into(),
        format!("{{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":{huge}}}").into(),
        b"{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":-1}".to_vec(),
        b"{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":1e999}".to_vec(),
        deep.into_bytes(),
        deep_in_event.into_bytes(),
    ];
    for body in bodies {
        let answer = ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "payload_malformed"),
            "{shown}"
        );
    }
    assert_nothing_was_published(&broker).await;
    ingest.stop().await;
}

#[tokio::test]
async fn odd_events_are_taken_as_they_are() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let huge = "9".repeat(5_000);
    for body in [
        format!("{{\"id\":\"evt_1\",\"type\":\"a.b\",\"created\":1,\"data\":{deep}}}"),
        format!("{{\"id\":\"evt_2\",\"type\":\"a.b\",\"created\":1,\"data\":[{huge},1e999,-0]}}"),
    ] {
        let answer = ingest.post_signed(PLATFORM_PATH, PLATFORM, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let message = eventually_some(testkit::PATIENCE, || broker.take("archive.events")).await;
        assert_eq!(message.data, body.as_bytes());
    }
    ingest.stop().await;
}

#[tokio::test]
async fn bodies_over_the_limit_get_413_declared_or_in_chunks() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = vec![b' '; MAX_BODY + 1];
    let signature = sign(PLATFORM, &body, ingest.now());
    let headers = [("stripe-signature", signature.as_bytes())];
    for answer in [
        ingest.post(PLATFORM_PATH, &headers, &body).await,
        ingest.post_chunked(PLATFORM_PATH, &headers, &body, 4_096).await,
        ingest.post_chunked(PLATFORM_PATH, &headers, &body, MAX_BODY + 1).await,
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    }
    let endless = format!("POST {PLATFORM_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999999999\r\n\r\n");
    assert_eq!(ingest.send(endless.as_bytes()).await.status, 413);
    let exact = vec![b' '; MAX_BODY];
    assert_eq!(
        ingest.post_signed(PLATFORM_PATH, PLATFORM, &exact).await.code(),
        "payload_malformed"
    );
    ingest.stop().await;
}

#[tokio::test]
async fn slow_cut_and_malformed_bodies_end_in_a_4xx_and_never_hang() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let head =
        format!("POST {PLATFORM_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nstripe-signature: t=1,v1=00\r\n");
    let slow = ingest
        .send(format!("{head}content-length: 100\r\n\r\n{{").as_bytes())
        .await;
    assert_eq!((slow.status, slow.code().as_str()), (408, "request_timeout"));
    let slow = ingest
        .send(format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{").as_bytes())
        .await;
    assert_eq!(slow.status, 408);
    let malformed = [
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("{head}content-length: x\r\n\r\n"),
        format!("{head}content-length: -1\r\n\r\n"),
        format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\nabc"),
        format!("{head}transfer-encoding: gzip\r\n\r\nabc"),
    ];
    for request in malformed {
        let answer = ingest.send(request.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{request}: {answer:?}");
    }
    ingest.stop().await;
}

#[tokio::test]
async fn other_methods_and_paths_get_problems() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let get = ingest
        .send(format!("GET {PLATFORM_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await;
    assert_eq!((get.status, get.code().as_str()), (405, "method_not_allowed"));
    let answer = ingest.post("/webhooks/stripe/other", &[], b"{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    ingest.stop().await;
}

#[tokio::test]
async fn forged_events_leave_a_count_and_one_alert() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let before = ingest.outcome("connect", "signature_mismatch");
    for n in 0..25 {
        let body = event(&format!("evt_forged_{n}"), "account.updated");
        let answer = ingest
            .post_signed(common::CONNECT_PATH, "whsec_guessed_0123456789", &body)
            .await;
        assert_eq!(answer.code(), "signature_mismatch");
    }
    assert!((ingest.outcome("connect", "signature_mismatch") - before - 25.0).abs() < f64::EPSILON);
    assert_nothing_was_published(&broker).await;
    ingest.stop().await;
    let mut occurrences = 0;
    while let Some(message) = broker.take("alerts.raise").await {
        let alert: Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(alert["key"], "webhook_signature:connect/signature_mismatch");
        assert!(!String::from_utf8_lossy(&message.data).contains("evt_forged"));
        occurrences += alert["occurrences"].as_u64().unwrap();
    }
    assert_eq!(occurrences, 25);
}

#[tokio::test]
async fn after_sixty_bad_attempts_a_minute_an_address_gets_429_and_good_deliveries_pass() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = event("evt_1", "invoice.paid");
    let mut answers: Vec<Answer> = Vec::new();
    // One a second is allowed again while this goes on, so that a slow machine needs more than sixty-one.
    while answers.last().is_none_or(|answer| answer.status == 400) {
        answers.push(ingest.post(PLATFORM_PATH, &[], &body).await);
    }
    let throttled = answers.pop().unwrap();
    assert!(answers.len() >= 60, "{}", answers.len());
    assert_eq!(
        (throttled.status, throttled.code().as_str()),
        (429, "too_many_bad_attempts")
    );
    assert!(throttled.head.contains("retry-after: "), "{throttled:?}");
    assert_eq!(ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await.status, 200);
    ingest.stop().await;
}

/// Strangers who promise large bodies and send nothing take no memory from those who deliver.
#[tokio::test]
async fn declared_lengths_alone_turn_nobody_away() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let (now, nonsense) = (ingest.now(), "0".repeat(64));
    let mut strangers = Vec::new();
    for _ in 0..500 {
        let mut stranger = tokio::net::TcpStream::connect(ingest.address).await.unwrap();
        let head = format!(
            "POST {PLATFORM_PATH} HTTP/1.1\r\nhost: x\r\nstripe-signature: t={now},v1={nonsense}\r\n\
             content-length: {MAX_BODY}\r\n\r\n{{"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stranger, head.as_bytes())
            .await
            .unwrap();
        strangers.push(stranger);
    }
    let body = event("evt_good", "invoice.paid");
    let answer = ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    ingest.stop().await;
}

/// Whoever sends all but the last byte holds memory; for those who send everything it is taken back.
#[tokio::test]
async fn bodies_that_never_end_turn_nobody_away() {
    let broker = TestBroker::create().await;
    // Longer than the test waits, so that the end of their time is not what makes room.
    let ingest = Ingest::start_with(&broker.amqp_url(), testkit::PATIENCE.saturating_mul(4)).await;
    let (now, nonsense) = (ingest.now(), "0".repeat(64));
    let nearly_all = " ".repeat(MAX_BODY - 1);
    let mut strangers = Vec::new();
    for _ in 0..400 {
        let mut stranger = tokio::net::TcpStream::connect(ingest.address).await.unwrap();
        let head = format!(
            "POST {PLATFORM_PATH} HTTP/1.1\r\nhost: x\r\nstripe-signature: t={now},v1={nonsense}\r\n\
             content-length: {MAX_BODY}\r\n\r\n{nearly_all}"
        );
        // One that is turned away closes before it has heard everything.
        drop(tokio::io::AsyncWriteExt::write_all(&mut stranger, head.as_bytes()).await);
        strangers.push(stranger);
    }
    let body = event("evt_good", "invoice.paid");
    testkit::eventually(testkit::PATIENCE, || async {
        ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await.status == 200
    })
    .await;
    drop(strangers);
    ingest.stop().await;
}

/// What is not signed at all is refused before its body is there.
#[tokio::test]
async fn an_unsigned_body_is_refused_unread() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let head = format!("POST {PLATFORM_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY}\r\n\r\n");
    let answer = ingest.send(head.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "signature_missing"));
    ingest.stop().await;
}
