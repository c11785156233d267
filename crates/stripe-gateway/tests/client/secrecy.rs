//! What must never be printed: keys, bodies, and the text of Stripe's errors.

use stripe_gateway::client::{ClientConfig, Outcome};

use crate::harness::{SECRET_KEY, client, config, logs, transfer};
use crate::server::{Server, answer, with};

const CLIENT_SECRET: &str = "pi_1_secret_NeverPrinted";

#[tokio::test]
async fn a_page_of_a_proxy_leaves_its_status_in_the_log_and_not_its_text() {
    let log = logs();
    let page = "<html><body>the page of a proxy</body></html>";
    let server = Server::start(vec![with(answer(502, page), "request-id", "req_html502")]).await;
    let outcome = client(&server).send(transfer()).await;
    assert!(!format!("{outcome:?}").contains("the page of a proxy"));
    let lines = log.about("req_html502");
    assert!(
        lines.contains("status=502") && lines.contains("create_transfer"),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), 4, "{lines}");
    assert!(!log.text().contains("the page of a proxy"));
}

#[tokio::test]
async fn a_refusal_leaves_its_codes_in_the_log_and_neither_message_nor_client_secret() {
    let log = logs();
    let body = format!(
        r#"{{"error":{{"type":"card_error","code":"card_declined","decline_code":"fraudulent",
            "message":"Told to jane@example.com about {CLIENT_SECRET}","payment_intent":{{"id":"pi_1","client_secret":"{CLIENT_SECRET}"}}}}}}"#
    );
    let server = Server::start(vec![with(answer(402, body), "request-id", "req_refused")]).await;
    let outcome = client(&server).send(transfer()).await;
    assert!(!format!("{outcome:?}").contains(CLIENT_SECRET), "{outcome:?}");
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        refusal.message.as_deref(),
        Some("Told to jane@example.com about [redacted]")
    );
    let lines = log.about("req_refused");
    for word in ["card_error", "card_declined", "fraudulent", "402"] {
        assert!(lines.contains(word), "{word} in {lines}");
    }
    assert!(!log.text().contains("jane@example.com") && !log.text().contains(CLIENT_SECRET));
}

#[tokio::test]
async fn an_answer_does_not_print_its_body() {
    let log = logs();
    let body = format!(r#"{{"id":"pi_1","client_secret":"{CLIENT_SECRET}"}}"#);
    let server = Server::start(vec![
        with(answer(200, body.clone()), "request-id", "req_answered"),
        with(answer(200, format!("{body} x")), "request-id", "req_garbled"),
    ])
    .await;
    let client = client(&server);
    for id in ["req_answered", "req_garbled"] {
        let outcome = client.send(transfer()).await;
        assert!(!format!("{outcome:?}").contains(CLIENT_SECRET), "{outcome:?}");
        assert!(!log.about(id).is_empty(), "{id}");
    }
    assert!(!log.text().contains(CLIENT_SECRET));
}

#[tokio::test]
async fn the_secret_key_and_the_parameters_are_in_no_debug_text_and_no_log() {
    let log = logs();
    let server = Server::start(vec![with(answer(401, "{}"), "request-id", "req_key")]).await;
    let config: ClientConfig = config(&server.base);
    let client = client(&server);
    let call = transfer();
    let printed = format!("{config:?} {client:?} {call:?}");
    let outcome = client.send(call).await;
    let all = format!("{printed} {outcome:?} {}", log.text());
    assert!(log.about("req_key").contains("401"));
    for secret in [SECRET_KEY, "neverprinted", "acct_1", "escrow_1"] {
        assert!(!all.contains(secret), "{secret}");
    }
}
