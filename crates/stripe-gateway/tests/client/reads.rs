//! The reads: bodies, times, and what is not there.

use domain::time::UnixSeconds;
use serde_json::Value;
use stripe_gateway::client::read::{EventsQuery, InvalidRelated, ReadError, RelatedObject};
use stripe_gateway::fixtures::{self, Version};

use crate::harness::{client, error, hasty};
use crate::server::{Reply, Server, answer, with};

/// The object of a fixture, as the API would answer with it.
fn object(kind: &str) -> String {
    let fixture = fixtures::find(kind, Version::Endive).unwrap();
    let event: Value = serde_json::from_str(&fixture.body).unwrap();
    format!("{:#}\n", event["data"]["object"])
}

async fn serving(body: String) -> Server {
    Server::start(vec![with(answer(200, body), "date", "Thu, 01 Oct 2026 12:00:00 GMT")]).await
}

#[tokio::test]
async fn each_object_is_read_in_the_words_of_its_view_with_its_bytes_and_stripes_time() {
    macro_rules! check {
        ($read:ident, $kind:literal, $path:literal) => {{
            let body = object($kind);
            let server = serving(body.clone()).await;
            let answer = client(&server).$read("x_1").await.unwrap();
            let id = serde_json::from_str::<Value>(&body).unwrap()["id"].clone();
            assert_eq!(id, answer.content.id);
            assert_eq!(answer.body.as_bytes(), body.as_bytes());
            assert_eq!(answer.receipt.answered_at, Some(UnixSeconds(1_790_856_000)));
            assert_eq!(server.requests()[0].path, $path);
        }};
    }
    check!(
        read_subscription,
        "customer.subscription.updated",
        "/v1/subscriptions/x_1"
    );
    check!(read_invoice, "invoice.paid", "/v1/invoices/x_1");
    check!(read_charge, "charge.refunded", "/v1/charges/x_1");
    check!(
        read_checkout_session,
        "checkout.session.completed",
        "/v1/checkout/sessions/x_1"
    );
}

/// Stripe shows the first ten items within a subscription.
#[tokio::test]
async fn a_subscription_that_shows_some_of_its_items_is_read_with_all_their_prices() {
    let mut shown: Value = serde_json::from_str(&object("customer.subscription.updated")).unwrap();
    shown["items"]["has_more"] = Value::Bool(true);
    let first = shown["items"]["data"][0].clone();
    let item = |price: &str| {
        let mut item = first.clone();
        item["price"]["id"] = price.into();
        item
    };
    let page = |items: &[Value], more: bool| serde_json::json!({"object": "list", "data": items, "has_more": more});
    let all = [item("price_11"), first.clone(), item("price_12")];
    let replies = [
        page(&all, false),
        page(&all, true),
        serde_json::json!({"object": "list", "data": [{"object": "price"}], "has_more": false}),
    ];
    let date = "Thu, 01 Oct 2026 12:00:00 GMT";
    let replies = replies.iter().flat_map(|list| {
        let subscription = with(answer(200, shown.to_string()), "date", date);
        [
            subscription,
            with(answer(200, list.to_string()), "date", "Thu, 01 Oct 2026 12:00:09 GMT"),
        ]
    });
    let server = Server::start(replies.collect()).await;
    let client = client(&server);
    let answer = client.read_subscription("sub_1").await.unwrap();
    let read = &answer.content;
    assert_eq!(
        read.price.as_ref().map(|price| price.id.as_str()),
        first["price"]["id"].as_str()
    );
    let others: Vec<&str> = read.other_prices.iter().map(|price| price.id.as_str()).collect();
    assert_eq!(
        (others.as_slice(), read.has_more_items),
        (["price_11", "price_12"].as_slice(), false)
    );
    assert_eq!(
        answer.receipt.answered_at,
        Some(UnixSeconds(1_790_856_000)),
        "of the first answer"
    );
    assert_eq!(answer.body.as_bytes(), shown.to_string().as_bytes());
    let asked = &server.requests()[1].path;
    let (path, query) = asked.split_once('?').unwrap();
    assert_eq!(path, "/v1/subscription_items");
    assert!(
        query.contains("subscription=sub_1") && query.contains("limit=100"),
        "{query}"
    );
    assert!(
        client.read_subscription("sub_1").await.unwrap().content.has_more_items,
        "a page is not all"
    );
    let error = client.read_subscription("sub_1").await.unwrap_err();
    assert!(matches!(error, ReadError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_event_is_read_with_its_envelope() {
    let fixture = fixtures::find("invoice.paid", Version::Basil).unwrap();
    let server = serving(fixture.body.clone()).await;
    let answer = client(&server).read_event(&fixture.id).await.unwrap();
    assert_eq!(
        (answer.content.id.as_ref(), answer.content.kind.as_ref()),
        (fixture.id.as_str(), "invoice.paid")
    );
    assert_eq!(answer.body.as_bytes(), fixture.body.as_bytes());
    assert_eq!(server.requests()[0].path, format!("/v1/events/{}", fixture.id));
}

#[tokio::test]
async fn an_answer_without_a_readable_date_has_no_time() {
    for date in [None, Some("yesterday"), Some("Thu, 01 Oct 2026 12:00:00 +0200")] {
        let reply = answer(200, object("invoice.paid"));
        let reply = date.map_or(reply.clone(), |date| with(reply, "date", date));
        let server = Server::start(vec![reply]).await;
        let answer = client(&server).read_invoice("in_1").await.unwrap();
        assert_eq!(answer.receipt.answered_at, None, "{date:?}");
    }
}

#[tokio::test]
async fn what_stripe_does_not_have_is_missing_and_a_path_it_does_not_know_is_not() {
    let missing = answer(404, error("invalid_request_error", "resource_missing"));
    let unknown_path = answer(
        404,
        r#"{"error":{"type":"invalid_request_error","message":"Unrecognized request URL"}}"#,
    );
    let page = answer(404, "<html>");
    let server = Server::start(vec![missing, unknown_path, page]).await;
    let client = client(&server);
    assert_eq!(client.read_invoice("in_1").await.unwrap_err(), ReadError::Missing);
    let error = client.read_invoice("in_1").await.unwrap_err();
    assert!(
        matches!(error, ReadError::Refused(_)) && !error.is_transient(),
        "{error:?}"
    );
    let error = client.read_invoice("in_1").await.unwrap_err();
    assert!(
        matches!(error, ReadError::Unavailable("not_stripes")) && error.is_transient(),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_may_pass_is_transient_and_what_cannot_is_not() {
    let limited = with(answer(429, ""), "stripe-rate-limited-reason", "global-rate");
    for (reply, expect, transient) in [
        (
            answer(503, ""),
            "Stripe cannot be asked at present (server_error)",
            true,
        ),
        (
            Reply::Close,
            "Stripe cannot be asked at present (connection_lost)",
            true,
        ),
        (
            Reply::CloseForGood,
            "Stripe cannot be asked at present (connection_lost)",
            true,
        ),
        (Reply::Hang, "Stripe cannot be asked at present (timed_out)", true),
        (limited, "Stripe cannot be asked at present (rate_limited)", true),
        (
            answer(401, error("invalid_request_error", "")),
            "Stripe refused with HTTP status 401 (invalid_request_error)",
            true,
        ),
        (
            answer(400, error("invalid_request_error", "x")),
            "Stripe refused with HTTP status 400 (x)",
            false,
        ),
        (answer(200, "<html>"), "Stripe's answer cannot be read", false),
        (
            answer(200, object("charge.refunded")),
            "Stripe's answer cannot be read",
            false,
        ),
        (
            answer(200, r#"{"object":"invoice","id":"in_1"}"#),
            "Stripe's answer cannot be read",
            false,
        ),
    ] {
        let name = format!("{reply:?}");
        let server = Server::start(vec![reply]).await;
        let error = hasty(&server, 500, 1).read_invoice("in_1").await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.is_transient()),
            (expect, transient),
            "{name:.200}"
        );
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_not_asked_for() {
    let server = Server::start(vec![answer(200, "{}")]).await;
    let client = client(&server);
    for id in ["", "..", "sub_1/../../refunds", "sub_1?x", "sub 1", &"x".repeat(256)] {
        assert_eq!(
            client.read_subscription(id).await.unwrap_err(),
            ReadError::InvalidId,
            "{id}"
        );
        assert_eq!(client.read_event(id).await.unwrap_err(), ReadError::InvalidId, "{id}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_related_object_is_fetched_by_its_path_and_nothing_else_is() {
    let server = serving(object("invoice.paid")).await;
    let client = client(&server);
    let answer = client.read_related("/v1/invoices/in_1").await.unwrap();
    assert!(matches!(answer.content, RelatedObject::Invoice(_)));
    assert_eq!(server.requests()[0].path, "/v1/invoices/in_1");
    let error = client
        .read_related("https://evil.example/v1/invoices/in_1")
        .await
        .unwrap_err();
    assert_eq!(error, ReadError::InvalidRelated(InvalidRelated::NotV1));
    // The path says charge, the body is an invoice.
    let error = client.read_related("/v1/charges/ch_1").await.unwrap_err();
    assert!(matches!(error, ReadError::Unreadable { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn events_are_listed_with_their_bytes_and_a_place_to_go_on() {
    let event = |id: &str| fixtures::find("invoice.paid", Version::Endive).unwrap().with_id(id);
    let page = |data: &[&str], more: bool| {
        format!(
            "{{\"object\": \"list\", \"data\": [{}], \"has_more\": {more}}}",
            data.join(", ")
        )
    };
    let (a, b) = (event("evt_a"), event("evt_b"));
    let server = Server::start(vec![
        answer(200, page(&[a.trim(), b.trim()], true)),
        answer(200, page(&[], false)),
        answer(200, page(&[], true)),
        answer(200, r#"{"object": "list", "data": []}"#),
        answer(200, page(&["{}"], false)),
    ])
    .await;
    let client = client(&server);
    let query = EventsQuery {
        from: Some(UnixSeconds(1)),
        to: Some(UnixSeconds(2)),
        types: vec!["invoice.*".to_owned(), "charge.refunded".to_owned()],
        undelivered_only: true,
        after: Some("evt_0".to_owned()),
    };
    let page = client.list_events(&query).await.unwrap().content;
    assert_eq!(page.next.as_deref(), Some("evt_b"));
    let bodies: Vec<&[u8]> = page.events.iter().map(|event| event.body.as_bytes()).collect();
    assert_eq!(bodies, [a.trim().as_bytes(), b.trim().as_bytes()]);
    assert_eq!(page.events[0].envelope.id, "evt_a");

    let (path, sent) = server.requests()[0]
        .path
        .split_once('?')
        .map(|(path, sent)| (path.to_owned(), sent.to_owned()))
        .unwrap();
    let sent = sent.replace("%5B", "[").replace("%5D", "]").replace("%2A", "*");
    let mut sent: Vec<&str> = sent.split('&').collect();
    sent.sort_unstable();
    assert_eq!(path, "/v1/events");
    assert_eq!(
        sent,
        [
            "created[gte]=1",
            "created[lte]=2",
            "delivery_success=false",
            "limit=100",
            "starting_after=evt_0",
            "types[0]=invoice.*",
            "types[1]=charge.refunded"
        ]
    );

    let page = client.list_events(&EventsQuery::default()).await.unwrap().content;
    assert_eq!((page.events.len(), page.next), (0, None));
    for what in [
        "a page that has more after nothing",
        "a page that does not say",
        "an item that is no event",
    ] {
        let error = client.list_events(&EventsQuery::default()).await.unwrap_err();
        assert!(matches!(error, ReadError::Unreadable { .. }), "{what}: {error:?}");
    }
}
