//! What is tried again, how often, and under which key.

use std::time::Duration;

use stripe_gateway::client::requests::billing::subscription::RetrieveSubscription;
use stripe_gateway::client::{ApiBase, Call, Client, ClientConfig, Outcome};

use crate::harness::{client, config, error, hasty, key, transfer, unknown};
use crate::server::{Reply, Server, answer, with};

const TRANSFER: &str = r#"{"id":"tr_1","object":"transfer"}"#;

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let replayed = with(answer(200, TRANSFER), "idempotent-replayed", "true");
    let server = Server::start(vec![Reply::Close, Reply::CutShort(200), replayed]).await;
    let outcome = client(&server).send(transfer()).await;
    let Outcome::Answered(answer) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(answer.receipt.replayed);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].header("idempotency-key"), Some(key().as_str()));
    assert!(requests.iter().all(|request| *request == requests[0]), "{requests:?}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_as_often_as_allowed_and_what_may_not_is_not() {
    let limited = with(
        answer(429, error("invalid_request_error", "rate_limit")),
        "stripe-rate-limited-reason",
        "global-rate",
    );
    for (reply, requests, expect) in [
        (
            answer(400, error("invalid_request_error", "parameter_missing")),
            1,
            "refused",
        ),
        (answer(400, error("idempotency_error", "")), 1, "key_reused"),
        (answer(401, error("invalid_request_error", "")), 1, "refused"),
        (answer(402, error("card_error", "card_declined")), 1, "refused"),
        (answer(403, "<html>"), 1, "not_stripes"),
        (
            answer(404, error("invalid_request_error", "resource_missing")),
            1,
            "refused",
        ),
        (
            answer(409, error("invalid_request_error", "idempotency_key_in_use")),
            4,
            "key_in_use",
        ),
        (answer(424, error("api_error", "")), 4, "server_error"),
        (limited, 4, "rate_limited"),
        (answer(429, error("invalid_request_error", "lock_timeout")), 4, "locked"),
        (answer(500, error("api_error", "")), 4, "server_error"),
        (answer(503, ""), 4, "server_error"),
        (answer(200, "<html>"), 1, "unreadable"),
        (Reply::Close, 4, "connection_lost"),
    ] {
        let name = format!("{reply:?}");
        let server = Server::start(vec![reply]).await;
        let outcome = client(&server).send(transfer()).await;
        assert_eq!(
            (outcome.detail(), server.requests().len()),
            (expect, requests),
            "{name}"
        );
    }
}

#[tokio::test]
async fn stripe_should_retry_wins_over_the_status_in_both_directions() {
    for (status, says, requests, expect) in [
        (400, "true", 4, "refused"),
        (402, "true", 4, "refused"),
        (400, "false", 1, "refused"),
        (409, "false", 1, "key_in_use"),
        (429, "false", 1, "locked"),
        (500, "false", 1, "server_error"),
        (500, "true", 4, "server_error"),
        (500, "perhaps", 4, "server_error"),
        (200, "true", 1, "answered"),
    ] {
        let body = if status == 200 {
            TRANSFER.to_owned()
        } else {
            error("api_error", "x")
        };
        let server = Server::start(vec![with(answer(status, body), "stripe-should-retry", says)]).await;
        let outcome = client(&server).send(transfer()).await;
        assert_eq!(
            (outcome.detail(), server.requests().len()),
            (expect, requests),
            "{status} {says}"
        );
    }
}

#[tokio::test]
async fn an_attempt_that_may_have_moved_money_is_not_forgotten_when_the_next_one_does_not_arrive() {
    let server = Server::start(vec![Reply::CloseForGood]).await;
    let outcome = client(&server).send(transfer()).await;
    assert_eq!(unknown(&outcome), (None, "connection_lost"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_key_that_was_revoked_between_attempts_does_not_make_a_lost_one_refused() {
    let server = Server::start(vec![
        Reply::Close,
        answer(401, error("invalid_request_error", "api_key_expired")),
    ])
    .await;
    let outcome = client(&server).send(transfer()).await;
    assert_eq!(unknown(&outcome), (None, "connection_lost"));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_refusal_after_a_lost_attempt_counts_only_from_stripes_memory() {
    let refusal = || answer(400, error("invalid_request_error", "balance_insufficient"));
    let server = Server::start(vec![Reply::Close, refusal()]).await;
    let outcome = client(&server).send(transfer()).await;
    assert_eq!(unknown(&outcome), (None, "connection_lost"));
    assert_eq!(server.requests().len(), 2);
    let server = Server::start(vec![Reply::Close, with(refusal(), "idempotent-replayed", "true")]).await;
    let outcome = client(&server).send(transfer()).await;
    assert_eq!(outcome.detail(), "refused");
}

#[tokio::test]
async fn nobody_listening_means_not_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = ApiBase::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let outcome = Client::new(config(&base)).unwrap().send(transfer()).await;
    assert_eq!((outcome.code(), outcome.detail()), ("not_sent", "no_connection"));
}

#[tokio::test]
async fn a_deadline_ends_the_attempts_before_their_number_does() {
    let server = Server::start(vec![Reply::Hang]).await;
    let call = transfer().within(Duration::from_millis(1_000));
    let outcome = hasty(&server, 300, 1_000).send(call).await;
    assert_eq!(unknown(&outcome), (None, "timed_out"));
    let attempts = server.requests().len();
    assert!((1..=3).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn a_deadline_shorter_than_the_time_out_ends_the_attempt_itself() {
    let server = Server::start(vec![Reply::Hang]).await;
    let call = transfer().within(Duration::from_millis(2_000));
    let client = client(&server);
    // The client's own time-out is 20 seconds.
    let outcome = tokio::time::timeout(Duration::from_secs(15), client.send(call)).await;
    assert_eq!(unknown(&outcome.unwrap()), (None, "timed_out"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn without_retries_there_is_one_attempt() {
    let server = Server::start(vec![answer(500, "")]).await;
    let client = Client::new(ClientConfig {
        max_retries: 0,
        ..config(&server.base)
    });
    let call = Call::get(&RetrieveSubscription::new("sub_1"));
    assert_eq!(unknown(&client.unwrap().send(call).await), (Some(500), "server_error"));
    assert_eq!(server.requests().len(), 1);
}
