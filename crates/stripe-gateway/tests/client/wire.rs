//! What goes over the wire.

use stripe_gateway::client::requests::billing::subscription::RetrieveSubscription;
use stripe_gateway::client::{Call, ConnectedAccount, Outcome, api_version};

use crate::harness::{SECRET_KEY, client, key, transfer};
use crate::server::{Server, answer};

#[tokio::test]
async fn a_post_brings_its_key_its_form_and_the_version() {
    let server = Server::start(vec![answer(200, "{}")]).await;
    client(&server).send(transfer()).await;
    let got = &server.requests()[0];
    assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/v1/transfers"));
    assert_eq!(
        got.header("authorization"),
        Some(format!("Bearer {SECRET_KEY}").as_str())
    );
    assert_eq!(got.header("idempotency-key"), Some(key().as_str()));
    assert_eq!(got.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(got.header("stripe-version"), Some("2026-09-30.endive"));
    assert_eq!(got.header("stripe-account"), None);
    assert!(got.header("user-agent").unwrap().starts_with("holdfast/"));
    let mut pairs: Vec<&str> = got.body.split('&').collect();
    pairs.sort_unstable();
    assert_eq!(
        pairs,
        [
            "amount=1234",
            "currency=eur",
            "destination=acct_1",
            "transfer_group=escrow+1+%26+co"
        ]
    );
}

#[tokio::test]
async fn a_get_brings_no_key_and_no_body() {
    let server = Server::start(vec![answer(200, "{}")]).await;
    let request = RetrieveSubscription::new("sub_1").expand(vec!["customer".to_owned()]);
    client(&server).send(Call::get(&request)).await;
    let got = &server.requests()[0];
    assert_eq!(got.method, "GET");
    assert!(got.path.starts_with("/v1/subscriptions/sub_1?expand"), "{}", got.path);
    assert_eq!((got.header("idempotency-key"), got.body.as_str()), (None, ""));
    assert_eq!(got.header("stripe-version"), Some(api_version()));
}

#[tokio::test]
async fn a_connected_account_is_named_in_every_call_of_its_client_and_in_no_other() {
    let server = Server::start(vec![answer(200, "{}")]).await;
    let platform = client(&server);
    let account = platform.on_account(&ConnectedAccount::parse("acct_9").unwrap());
    account.send(transfer()).await;
    account.send(Call::get(&RetrieveSubscription::new("sub_1"))).await;
    platform.send(transfer()).await;
    let accounts: Vec<_> = server
        .requests()
        .iter()
        .map(|got| got.header("stripe-account").map(str::to_owned))
        .collect();
    assert_eq!(accounts, [Some("acct_9".to_owned()), Some("acct_9".to_owned()), None]);
}

#[tokio::test]
async fn ten_calls_share_one_connection() {
    let server = Server::start(vec![answer(200, "{\"id\":\"sub_1\"}")]).await;
    let client = client(&server);
    for _ in 0..10 {
        client
            .clone()
            .send(Call::get(&RetrieveSubscription::new("sub_1")))
            .await;
    }
    assert_eq!((server.requests().len(), server.connections()), (10, 1));
}

#[tokio::test]
async fn an_id_that_would_change_the_path_is_not_sent() {
    let server = Server::start(vec![answer(200, "{}")]).await;
    for id in [
        "../refunds",
        "sub_1?expand[]=customer",
        "",
        "sub_1#",
        "sub 1",
        "sub_1/discount",
    ] {
        let outcome = client(&server).send(Call::get(&RetrieveSubscription::new(id))).await;
        assert_eq!(outcome.detail(), "bad_request", "{id}");
        assert!(matches!(outcome, Outcome::NotSent(not_sent) if !not_sent.may_pass()));
    }
    assert_eq!(server.connections(), 0);
}
