//! Events that nobody owns, byte for byte in the archive; what is no event, parked alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use bus::{Headers, parked};
use bytes::Bytes;
use common::{Rig, WAIT, snapshot};
use testkit::TestDb;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_archived_byte_for_byte_under_its_rule() {
    let rig = Rig::start().await;
    let thin = r#"{ "id": "evt_4", "object": "v2.core.event", "type": "v1.payout.paid",
        "created": "2025-11-21T12:00:00.000Z", "livemode": false, "related_object": {"id": "po_1"} }"#;
    let cases = [
        (
            "evt_1",
            "platform",
            "a.type.of.2031",
            snapshot("evt_1", "a.type.of.2031", false),
            "no_handler",
        ),
        (
            "evt_2",
            "connect",
            "invoice.paid",
            snapshot("evt_2", "invoice.paid", false),
            "connected_account",
        ),
        (
            "evt_3",
            "platform",
            "payout.paid",
            snapshot("evt_3", "payout.paid", true),
            "livemode_mismatch",
        ),
        ("evt_4", "platform", "v1.payout.paid", thin.to_owned(), "thin_event"),
    ];
    for (id, endpoint, kind, body, _) in &cases {
        rig.event(endpoint, kind, id, body.clone()).await;
    }
    let archived = rig.archived(cases.len()).await;
    for ((id, endpoint, _, body, rule), row) in cases.iter().zip(&archived) {
        let expect = (
            (*id).to_owned(),
            (*rule).to_owned(),
            body.clone(),
            1,
            (*endpoint).to_owned(),
        );
        assert_eq!(row, &expect);
    }
    let details = "SELECT type, api_version, livemode, received_at::text, extract(epoch FROM created)::bigint \
                   FROM billing_events WHERE stripe_event_id = 'evt_1'";
    let row = &rig.rows(details, &[]).await[0];
    assert_eq!(row.get::<_, &str>(0), "a.type.of.2031");
    assert_eq!(row.get::<_, &str>(1), "2026-09-30.endive");
    assert!(!row.get::<_, bool>(2));
    assert!(
        row.get::<_, &str>(3).contains(":00:00.123"),
        "{}",
        row.get::<_, &str>(3)
    );
    assert_eq!(row.get::<_, i64>(4), 1_763_726_400);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_adds_to_its_count_in_one_batch_and_over_several() {
    let rig = Rig::start().await;
    for _ in 0..20 {
        rig.event(
            "platform",
            "payout.paid",
            "evt_1",
            snapshot("evt_1", "payout.paid", false),
        )
        .await;
    }
    let counted = async || rig.archived(1).await[0].3;
    testkit::eventually(WAIT, || async { counted().await == 20 }).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_headers_is_archived_from_its_body() {
    let rig = Rig::start().await;
    let body = snapshot("evt_1", "payout.paid", false);
    rig.message(Headers::new(), "connect.payout.paid", "", body.clone())
        .await;
    let row = &rig.archived(1).await[0];
    assert_eq!(
        (row.0.as_str(), row.2.as_str(), row.4.as_str()),
        ("evt_1", body.as_str(), "connect")
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_parks_alone_and_its_neighbours_are_archived() {
    let rig = Rig::start().await;
    let nul = snapshot("evt_nul", "payout.paid", false).replace("payout", "pay\u{0}out");
    let poison: [Bytes; 4] = [
        Bytes::from_static(b"\xff\xfe{}"),
        Bytes::from(nul),
        Bytes::from_static(b"{\"object\":\"event\"}"),
        Bytes::new(),
    ];
    for (n, body) in poison.into_iter().enumerate() {
        rig.event("platform", "poison", &format!("poison_{n}"), body).await;
        let id = format!("evt_{n}");
        rig.event("platform", "payout.paid", &id, snapshot(&id, "payout.paid", false))
            .await;
    }
    assert_eq!(rig.archived(4).await.len(), 4);
    testkit::eventually(WAIT, || async {
        rig.broker.ready("archive.events.parked").await == Some(4)
    })
    .await;
    let broker = bus::BrokerConfig::new(rig.broker.amqp_url(), "test");
    let shown = parked::show(&broker, "archive.events", "poison_0").await.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].reason, "the body is not UTF-8 from byte 0 on");
    assert_eq!(rig.broker.ready("archive.events").await, Some(0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_parks_while_the_schema_is_missing() {
    let rig = Rig::over(TestDb::empty().await, None).await;
    rig.event(
        "platform",
        "payout.paid",
        "evt_1",
        snapshot("evt_1", "payout.paid", false),
    )
    .await;
    testkit::eventually(WAIT, || async { rig.broker.ready("archive.events").await == Some(0) }).await;
    let report = rig.call(reqwest::Method::GET, "/healthz", None).await;
    assert_eq!(report.status(), 200);
    db::migrate(&rig.db.url().into()).await.unwrap();
    assert_eq!(rig.archived(1).await.len(), 1);
    assert_eq!(rig.broker.ready("archive.events.parked").await, Some(0));
    let told = "SELECT 1 FROM billing_alerts WHERE alert_key = 'database_unavailable:admin'";
    testkit::eventually(WAIT, || async { rig.rows(told, &[]).await.len() == 1 }).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_outside_of_every_month_are_told() {
    let db = TestDb::create().await;
    let far = "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, received_at, status, outcome) \
               VALUES ('evt_far', 'archive', '2041-01-01', 'x', 'platform', now(), 'decided', 'ignored')";
    db.superuser().await.execute(far, &[]).await.unwrap();
    let rig = Rig::over(db, None).await;
    let told = "SELECT 1 FROM billing_alerts WHERE alert_key = 'partition_default_used:billing_events'";
    testkit::eventually(WAIT, || async { rig.rows(told, &[]).await.len() == 1 }).await;
    rig.stop().await;
}
