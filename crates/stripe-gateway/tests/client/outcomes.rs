//! What an answer means, however it ends.

use metrics_exporter_prometheus::PrometheusBuilder;
use stripe_gateway::client::{NotSent, Outcome, UnknownCause};
use stripe_gateway::views::ObjectView;

use crate::harness::{client, error, hasty, transfer, unknown};
use crate::server::{Reply, Server, answer, with};

async fn once(reply: Reply) -> Outcome {
    let server = Server::start(vec![reply]).await;
    hasty(&server, 20_000, 0).send(transfer()).await
}

#[tokio::test]
async fn an_answer_keeps_its_bytes_and_what_its_head_said() {
    let body = "{\n  \"id\": \"tr_1\",\n  \"amount\": 1.50e2\n}\n";
    let reply = with(answer(201, body), "request-id", "req_abc");
    let Outcome::Answered(answer) = once(with(reply, "date", "Thu, 01 Oct 2026 12:00:00 GMT")).await else {
        panic!("not answered");
    };
    assert_eq!(answer.body.as_bytes(), body.as_bytes());
    let receipt = answer.receipt;
    assert_eq!((receipt.status, receipt.request_id.as_deref()), (201, Some("req_abc")));
    assert_eq!(receipt.answered_at.map(|at| at.0), Some(1_790_856_000));
    assert!(!receipt.replayed);
}

#[tokio::test]
async fn a_refusal_says_why_in_stripes_words() {
    let body = r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"lost_card","param":"amount","message":"No."}}"#;
    let reply = with(answer(402, body), "request-id", "req_no");
    let Outcome::Refused(refusal) = once(with(reply, "idempotent-replayed", "true")).await else {
        panic!("not refused");
    };
    assert_eq!(refusal.kind, "card_error");
    assert_eq!(refusal.code.as_deref(), Some("card_declined"));
    assert_eq!(refusal.decline_code.as_deref(), Some("lost_card"));
    assert_eq!(refusal.param.as_deref(), Some("amount"));
    assert_eq!(refusal.message.as_deref(), Some("No."));
    assert_eq!(
        (refusal.receipt.status, refusal.receipt.request_id.as_deref()),
        (402, Some("req_no"))
    );
    assert!(refusal.receipt.replayed);
}

#[tokio::test]
async fn a_rate_limit_with_its_reason_was_not_begun_and_one_without_may_have_been() {
    let body = || error("invalid_request_error", "rate_limit");
    let limited = with(
        answer(429, body()),
        "stripe-rate-limited-reason",
        "endpoint-concurrency",
    );
    match once(limited).await {
        Outcome::NotSent(NotSent::RateLimited(receipt)) => {
            assert_eq!(receipt.rate_limited.as_deref(), Some("endpoint-concurrency"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(unknown(&once(answer(429, body())).await), (Some(429), "locked"));
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_leaves_the_call_unknown() {
    let server = Server::start(vec![Reply::Hang]).await;
    let outcome = hasty(&server, 2_000, 0).send(transfer()).await;
    assert_eq!(unknown(&outcome), (None, "timed_out"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_does_not_come_whole_leaves_the_call_unknown_whatever_the_status_said() {
    for status in [200, 400, 402] {
        assert_eq!(
            unknown(&once(Reply::CutShort(status)).await),
            (Some(status), "connection_lost")
        );
        let server = Server::start(vec![Reply::HangInBody(status)]).await;
        let outcome = hasty(&server, 2_000, 0).send(transfer()).await;
        assert_eq!(unknown(&outcome), (Some(status), "timed_out"));
        let Outcome::Unknown(unknown) = outcome else {
            unreachable!()
        };
        assert_eq!(unknown.receipt.unwrap().request_id.as_deref(), Some("req_head"));
    }
}

#[tokio::test]
async fn a_2xx_that_is_no_object_is_unknown_and_its_body_is_kept() {
    for garbage in ["", "<html>", "[]", "\"ok\"", "{\"id\":", "{} {}", "\u{1f}"] {
        let Outcome::Unknown(unknown) = once(answer(200, garbage)).await else {
            panic!("{garbage}")
        };
        assert!(matches!(unknown.cause, UnknownCause::Unreadable(_)), "{garbage}");
        assert_eq!(unknown.body.unwrap().as_bytes(), garbage.as_bytes());
        assert_eq!(unknown.receipt.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_2xx_that_the_view_cannot_read_is_unknown_and_not_failed() {
    let body = r#"{"id":"tr_1","object":"transfer","amount":"12"}"#;
    let outcome = once(answer(200, body))
        .await
        .read(|body| ObjectView::parse(body)?.transfer());
    let Outcome::Unknown(unknown) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(unknown.cause.code(), "unreadable");
    assert_eq!(unknown.body.unwrap().as_bytes(), body.as_bytes());
}

#[tokio::test]
async fn a_body_beyond_what_is_taken_in_is_not_taken_in() {
    let outcome = once(answer(200, format!("{{\"a\":\"{}\"}}", "x".repeat(17 << 20)))).await;
    assert_eq!(unknown(&outcome), (Some(200), "too_large"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(vec![answer(200, "{}")]).await;
    for status in [301, 302, 307, 308] {
        let location = format!("{:?}", elsewhere.base)
            .replace("ApiBase(", "")
            .replace(')', "v1/transfers");
        assert!(location.starts_with("http://127.0.0.1:"), "{location}");
        let outcome = once(with(answer(status, "{}"), "location", &location)).await;
        assert_eq!(unknown(&outcome), (Some(status), "not_stripes"));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn attempts_and_calls_are_counted_by_operation_and_outcome() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let guard = metrics::set_default_local_recorder(&recorder);
    let server = Server::start(vec![answer(503, ""), Reply::Close, answer(200, "{}")]).await;
    client(&server).send(transfer()).await;
    drop(guard);
    let text = recorder.handle().render();
    for line in [
        r#"holdfast_stripe_requests_total{op="create_transfer",outcome="server_error"} 1"#,
        r#"holdfast_stripe_requests_total{op="create_transfer",outcome="connection_lost"} 1"#,
        r#"holdfast_stripe_requests_total{op="create_transfer",outcome="answered"} 1"#,
        r#"holdfast_stripe_calls_total{op="create_transfer",outcome="answered"} 1"#,
        r#"holdfast_stripe_request_seconds_count{op="create_transfer"} 3"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
