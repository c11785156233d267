//! Two tests never see each other, and nothing stays behind.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use testkit::{TestBroker, TestDb, eventually};

#[tokio::test]
async fn a_test_database_is_alone_and_is_dropped() {
    let (one, other) = tokio::join!(TestDb::create(), TestDb::create());
    one.superuser()
        .await
        .batch_execute("CREATE TABLE only_here ()")
        .await
        .unwrap();
    assert!(
        other
            .superuser()
            .await
            .batch_execute("SELECT FROM only_here")
            .await
            .is_err()
    );
    for (client, role) in [
        (one.service().await, "holdfast_service"),
        (one.tenant().await, "holdfast_tenant"),
    ] {
        let user: String = client.query_one("SELECT current_user::text", &[]).await.unwrap().get(0);
        assert_eq!(user, role);
    }

    let name = one.name().to_owned();
    drop(one);
    let left = other
        .superuser()
        .await
        .query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
        .await
        .unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_test_database_is_migrated_and_its_roles_are_held_by_row_level_security() {
    let db = TestDb::create().await;
    let service = db.service().await;
    service
        .batch_execute("INSERT INTO organizations (id) VALUES ('ours'), ('theirs')")
        .await
        .unwrap();
    let tenant = db.tenant().await;
    tenant.batch_execute("SET holdfast.org_ids = 'ours'").await.unwrap();
    let seen = tenant.query("SELECT id FROM organizations", &[]).await.unwrap();
    assert_eq!(
        seen.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(),
        ["ours"]
    );
    assert!(
        tenant
            .batch_execute("INSERT INTO organizations (id) VALUES ('more')")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_empty_database_has_no_tables() {
    let db = TestDb::empty().await;
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    let count: i64 = db.superuser().await.query_one(tables, &[]).await.unwrap().get(0);
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_test_broker_is_alone_and_can_lose_its_connections() {
    let broker = TestBroker::create().await;
    let other = TestBroker::create().await;
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&broker.amqp_url(), properties)
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = lapin::options::QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare("q".into(), options, Default::default())
        .await
        .unwrap();
    channel
        .basic_publish("".into(), "q".into(), Default::default(), b"hello", Default::default())
        .await
        .unwrap()
        .await
        .unwrap();

    eventually(testkit::PATIENCE, || async { broker.ready("q").await == Some(1) }).await;
    assert_eq!(other.ready("q").await, None);
    assert_eq!(other.stats("q").await, None);

    assert_eq!(broker.close_connections(1).await, 1);
    eventually(testkit::PATIENCE, || async { !connection.status().connected() }).await;
    assert_eq!(broker.take("q").await.unwrap().data, b"hello");
    assert!(broker.take("q").await.is_none());
}

#[tokio::test]
#[should_panic(expected = "isolation.rs")]
async fn a_condition_that_never_comes_true_names_the_line_that_waited() {
    eventually(Duration::from_millis(20), || async { false }).await;
}
