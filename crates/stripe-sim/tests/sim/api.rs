//! Keys, forms, errors and lists.

use crate::harness::{START, Sim};
use serde_json::{Value, json};

#[tokio::test]
async fn a_call_needs_a_test_key() {
    let sim = Sim::start().await;
    let url = format!("{}/v1/customers", sim.handle.base_url);
    for (request, status) in [
        (sim.client.get(&url), 401),
        (sim.client.get(&url).bearer_auth("sk_live_1"), 401),
        (sim.client.get(&url).bearer_auth("sk_test_1"), 200),
        (sim.client.get(&url).basic_auth("rk_test_1", Some("")), 200),
    ] {
        let answer = sim.send(request).await;
        assert_eq!(answer.status, status);
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
    }
}

#[tokio::test]
async fn bad_input_names_the_parameter() {
    let sim = Sim::start().await;
    let customer = sim.customer(None).await;
    let price = sim.price("1000", "month").await;
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, u16, Value, Value);
    let cases: [Case<'_>; 8] = [
        (
            "/v1/customers",
            vec![("emial", "x")],
            400,
            json!("parameter_unknown"),
            json!("emial"),
        ),
        (
            "/v1/subscriptions",
            vec![("customer", &customer)],
            400,
            json!("parameter_missing"),
            json!("items"),
        ),
        (
            "/v1/subscriptions",
            vec![("customer", "cus_x"), ("items[0][price]", &price)],
            400,
            json!("resource_missing"),
            json!("customer"),
        ),
        (
            "/v1/subscriptions",
            vec![("customer", &customer), ("items[0][price]", "price_x")],
            400,
            json!("resource_missing"),
            json!("price"),
        ),
        (
            "/v1/subscriptions",
            vec![("customer", &customer), ("items[0][price]", &price)],
            400,
            json!("resource_missing"),
            Value::Null,
        ),
        (
            "/v1/prices",
            vec![("currency", "euro"), ("product", "x")],
            400,
            Value::Null,
            json!("currency"),
        ),
        (
            "/v1/invoices/in_x/pay",
            vec![],
            404,
            json!("resource_missing"),
            json!("id"),
        ),
        (
            "/v1/webhook_endpoints",
            vec![("url", "http://x.test/"), ("enabled_events[]", "transfer.failed")],
            400,
            Value::Null,
            json!("enabled_events"),
        ),
    ];
    for (path, form, status, code, param) in cases {
        let answer = sim.post(path, &form).await;
        let error = &answer.body["error"];
        assert_eq!(
            (answer.status, &error["code"], &error["param"]),
            (status, &code, &param),
            "{path} {form:?}: {error}"
        );
    }
    for (method, path) in [
        ("GET", "/v1/unknown"),
        ("PUT", "/v1/customers"),
        ("GET", "/v1"),
        ("GET", "/"),
    ] {
        assert_eq!(sim.send(sim.request(method, path)).await.status, 404, "{path}");
    }
    let raw = sim.request("POST", "/v1/customers").body(vec![0xff, 0xfe]);
    assert_eq!(sim.send(raw).await.status, 400);
}

#[tokio::test]
async fn lists_are_paged_both_ways_and_filtered() {
    let sim = Sim::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, sim.customer(None).await);
        sim.advance(10).await;
    }
    let ids = |page: &Value| {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let cases = [
        ("limit=2".to_owned(), &made[0..2], true),
        (format!("limit=2&starting_after={}", made[1]), &made[2..4], true),
        (format!("limit=2&starting_after={}", made[3]), &made[4..5], false),
        (format!("limit=2&ending_before={}", made[4]), &made[2..4], true),
        (format!("limit=2&ending_before={}", made[1]), &made[0..1], false),
        (
            format!("created[gte]={}&created[lt]={}", START + 10, START + 30),
            &made[2..4],
            false,
        ),
    ];
    for (query, expected, more) in cases {
        let page = sim.get(&format!("/v1/customers?{query}")).await.ok();
        assert_eq!(
            (ids(&page).as_slice(), &page["has_more"]),
            (expected, &json!(more)),
            "{query}"
        );
    }
    for bad in ["limit=0", "limit=101", "limit=x", "starting_after=cus_x"] {
        assert_eq!(sim.get(&format!("/v1/customers?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn subscriptions_are_listed_by_status() {
    let sim = Sim::start().await;
    let (first, second) = (sim.running().await, sim.running().await);
    sim.delete(&format!("/v1/subscriptions/{}", first["id"].as_str().unwrap()))
        .await
        .ok();
    let ids = |page: Value| {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].clone())
            .collect::<Vec<_>>()
    };
    let (first, second) = (first["id"].clone(), second["id"].clone());
    for (query, expected) in [
        ("", vec![second.clone()]),
        ("?status=all", vec![second.clone(), first.clone()]),
        ("?status=canceled", vec![first.clone()]),
        ("?status=ended", vec![first]),
        ("?status=active", vec![second]),
    ] {
        assert_eq!(
            ids(sim.get(&format!("/v1/subscriptions{query}")).await.ok()),
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn events_are_found_by_type_and_time_and_by_whether_they_arrived() {
    let sim = Sim::start().await;
    sim.customer(None).await;
    sim.control(
        "emit",
        json!({ "type": "future.thing.happened", "object": { "id": "x_1" } }),
    )
    .await
    .ok();
    let kinds = |page: Value| {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("type=customer.created".to_owned(), vec!["customer.created"]),
        (
            "types[]=customer.created&types[]=future.thing.happened".to_owned(),
            vec!["future.thing.happened", "customer.created"],
        ),
        ("type=customer.*".to_owned(), vec!["customer.created"]),
        ("delivery_success=false".to_owned(), vec![]),
        (format!("created[gt]={START}"), vec![]),
    ] {
        assert_eq!(
            kinds(sim.get(&format!("/v1/events?{query}")).await.ok()),
            expected,
            "{query}"
        );
    }
    let id = sim.events().await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        sim.get(&format!("/v1/events/{id}")).await.ok()["type"],
        "customer.created"
    );
    assert_eq!(sim.get("/v1/events/evt_x").await.status, 404);
}
