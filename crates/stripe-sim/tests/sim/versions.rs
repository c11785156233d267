//! One object model, three field places.

use crate::harness::{Receiver, Sim, config};
use serde_json::Value;
use stripe_sim::{ApiVersion, EndpointConfig, SimConfig};

const CLASSIC: &str = "2023-10-16";
const BASIL: &str = "2025-04-30.basil";
const ENDIVE: &str = "2026-09-30.endive";

#[tokio::test]
async fn fields_are_where_each_version_has_them() {
    let sim = Sim::start().await;
    let made = sim.running().await;
    let id = made["id"].as_str().unwrap();
    let invoice = made["latest_invoice"].as_str().unwrap();
    for version in [CLASSIC, BASIL, ENDIVE] {
        let old = version == CLASSIC;
        let subscription = sim.get_as(version, &format!("/v1/subscriptions/{id}")).await;
        let shown = sim.get_as(version, &format!("/v1/invoices/{invoice}")).await;
        let (line, item) = (&shown["lines"]["data"][0], &subscription["items"]["data"][0]);
        let intent = format!("/v1/payment_intents?customer={}", made["customer"].as_str().unwrap());
        let intent = sim.get_as(version, &intent).await["data"][0].clone();
        let cases: [(&str, &Value, bool); 13] = [
            ("invoice.subscription", &shown["subscription"], old),
            ("invoice.payment_intent", &shown["payment_intent"], old),
            ("invoice.paid", &shown["paid"], old),
            (
                "invoice.subscription_details",
                &shown["subscription_details"]["metadata"]["client_id"],
                old,
            ),
            (
                "invoice.parent",
                &shown["parent"]["subscription_details"]["subscription"],
                !old,
            ),
            (
                "invoice.parent metadata",
                &shown["parent"]["subscription_details"]["metadata"]["client_id"],
                !old,
            ),
            ("line.price", &line["price"]["id"], old),
            ("line.pricing", &line["pricing"]["price_details"]["price"], !old),
            (
                "line.parent",
                &line["parent"]["subscription_item_details"]["subscription"],
                !old,
            ),
            ("line.subtotal", &line["subtotal"], version == ENDIVE),
            (
                "subscription.current_period_end",
                &subscription["current_period_end"],
                old,
            ),
            ("item.current_period_end", &item["current_period_end"], !old),
            ("intent.invoice", &intent["invoice"], old),
        ];
        for (name, value, expected) in cases {
            assert_eq!(!value.is_null(), expected, "{name} in {version}");
        }
        let size = serde_json::to_string_pretty(&shown).unwrap().len();
        assert!((3_500..6_500).contains(&size), "an invoice of {size} bytes");
    }
}

#[tokio::test]
async fn two_endpoints_get_one_event_in_two_versions() {
    let (old, new) = (Receiver::start(&[]), Receiver::start(&[]));
    let endpoint = |receiver: &Receiver, version: &str| EndpointConfig {
        api_version: ApiVersion::parse(version),
        ..EndpointConfig::new(&receiver.url)
    };
    let sim = Sim::with(SimConfig {
        endpoints: vec![endpoint(&old, CLASSIC), endpoint(&new, BASIL)],
        ..config(7)
    })
    .await;
    let made = sim.running().await;
    sim.advance(40 * 86_400).await;
    sim.quiet().await;
    let find = |receiver: &Receiver, kind: &str| {
        receiver
            .got()
            .iter()
            .map(crate::harness::Got::json)
            .rfind(|event| event["type"] == kind)
            .unwrap()
    };
    let (paid_old, paid_new) = (find(&old, "invoice.paid"), find(&new, "invoice.paid"));
    assert_eq!(paid_old["id"], paid_new["id"]);
    assert_eq!(
        (&paid_old["api_version"], &paid_new["api_version"]),
        (&CLASSIC.into(), &BASIL.into())
    );
    assert_eq!(paid_old["data"]["object"]["subscription"], made["id"]);
    assert_eq!(
        paid_new["data"]["object"]["parent"]["subscription_details"]["subscription"],
        made["id"]
    );
    let (moved_old, moved_new) = (
        find(&old, "customer.subscription.updated"),
        find(&new, "customer.subscription.updated"),
    );
    assert!(moved_old["data"]["previous_attributes"]["current_period_end"].is_i64());
    assert!(moved_new["data"]["previous_attributes"]["items"]["data"][0]["current_period_end"].is_i64());
    let kinds = |receiver: &Receiver| {
        receiver
            .got()
            .iter()
            .filter(|got| got.json()["type"] == "invoice_payment.paid")
            .count()
    };
    assert_eq!(
        (kinds(&old), kinds(&new)),
        (0, 2),
        "invoice_payment events came with basil"
    );
}

#[tokio::test]
async fn answers_and_lists_can_be_expanded() {
    let sim = Sim::start().await;
    let id = sim.running().await["id"].as_str().unwrap().to_owned();
    let shown = sim
        .get(&format!(
            "/v1/subscriptions/{id}?expand[]=latest_invoice.payments&expand[]=customer"
        ))
        .await
        .ok();
    assert_eq!(shown["customer"]["email"], "jenny@example.com");
    assert_eq!(shown["latest_invoice"]["payments"]["data"][0]["status"], "paid");
    let list = sim
        .get("/v1/subscriptions?expand[]=data.default_payment_method&expand[]=data.latest_invoice")
        .await
        .ok();
    assert_eq!(list["data"][0]["latest_invoice"]["status"], "paid");
    assert_eq!(
        sim.get(&format!("/v1/subscriptions/{id}?expand[]=status")).await.status,
        400
    );
}
