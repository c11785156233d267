//! The outbox: what is written leaves in order, once a transaction says so, through one relay at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use db::outbox::{
    NewOutboxRow, claim_outbox_batch_in_txn, count_outbox, delete_outbox_in_txn, insert_outbox_in_txn,
    postpone_outbox_in_txn,
};
use db::{Database, DatabaseConfig, DbError, in_txn};
use serde_json::json;
use testkit::TestDb;

fn open(test: &TestDb) -> Database {
    Database::open(&DatabaseConfig::new(test.service_url().into(), "holdfast-test")).unwrap()
}

fn message(number: usize) -> NewOutboxRow {
    NewOutboxRow {
        exchange: "holdfast.events".to_owned(),
        routing_key: "client.state_changed".to_owned(),
        message_id: format!("message_{number}"),
        kind: "client.state_changed".to_owned(),
        headers: json!({"number": number}),
        payload: format!("{{ \"number\":{number} }}"),
    }
}

async fn write(database: &Database, messages: &[NewOutboxRow]) -> Result<(), DbError> {
    database
        .transact(|txn| in_txn(insert_outbox_in_txn(txn, messages)))
        .await
}

async fn claim(database: &Database, limit: i64) -> Option<Vec<(i64, NewOutboxRow)>> {
    let claimed = database
        .transact(|txn| in_txn(claim_outbox_batch_in_txn(txn, limit)))
        .await
        .unwrap();
    claimed.map(|claim| claim.rows.into_iter().map(|row| (row.id, row.message)).collect())
}

#[tokio::test]
async fn messages_come_back_whole_and_in_the_order_in_which_they_were_written() {
    let test = TestDb::create().await;
    let database = open(&test);
    let messages: Vec<_> = (0..100).map(message).collect();
    write(&database, &messages[..60]).await.unwrap();
    write(&database, &messages[60..]).await.unwrap();
    let rows = claim(&database, 80).await.unwrap();
    let claimed: Vec<_> = rows.iter().map(|(_, message)| message.clone()).collect();
    assert_eq!(claimed, messages[..80]);
    let done: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
    database
        .transact(|txn| in_txn(delete_outbox_in_txn(txn, &done)))
        .await
        .unwrap();
    let conn = database.conn().await.unwrap();
    assert_eq!(count_outbox(&conn).await.unwrap(), 20);
    let rest: Vec<_> = claim(&database, 80)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, message)| message)
        .collect();
    assert_eq!(rest, messages[80..]);
}

#[tokio::test]
async fn while_one_relay_holds_its_batch_no_other_gets_one() {
    let test = TestDb::create().await;
    let database = open(&test);
    write(&database, &[message(1)]).await.unwrap();
    let mut conn = database.conn().await.unwrap();
    let txn = conn.transaction().await.unwrap();
    assert_eq!(
        claim_outbox_batch_in_txn(&txn, 10).await.unwrap().unwrap().rows.len(),
        1
    );
    assert_eq!(claim(&database, 10).await, None);
    txn.rollback().await.unwrap();
    assert_eq!(
        claim(&database, 10).await.unwrap().len(),
        1,
        "what was not deleted is offered again"
    );
}

#[tokio::test]
async fn a_message_set_aside_lets_the_rest_pass_and_comes_back() {
    let test = TestDb::create().await;
    let database = open(&test);
    write(&database, &[message(1), message(2)]).await.unwrap();
    let first = claim(&database, 1).await.unwrap()[0].0;
    let set_aside = |pause| {
        let database = &database;
        async move {
            database
                .transact(|txn| in_txn(async move { postpone_outbox_in_txn(txn, &[first], pause).await }))
                .await
                .unwrap();
        }
    };
    set_aside(Duration::from_secs(3600)).await;
    assert_eq!(claim(&database, 1).await.unwrap()[0].1, message(2));
    set_aside(Duration::ZERO).await;
    assert_eq!(claim(&database, 1).await.unwrap()[0].1, message(1));
}

#[tokio::test]
async fn a_message_that_the_broker_cannot_take_is_refused_with_its_transaction() {
    let test = TestDb::create().await;
    let database = open(&test);
    let long = NewOutboxRow {
        routing_key: "x".repeat(256),
        ..message(2)
    };
    let error = write(&database, &[message(1), long]).await.unwrap_err();
    assert_eq!(error.constraint(), Some("outbox_routing_key_check"));
    assert_eq!(count_outbox(&database.conn().await.unwrap()).await.unwrap(), 0);
}

#[tokio::test]
async fn large_messages_leave_a_few_at_a_time_and_one_that_is_too_large_leaves_alone() {
    const MEBIBYTE: usize = 1024 * 1024;
    let test = TestDb::create().await;
    let database = open(&test);
    let sized = |(number, mebibytes): (usize, usize)| NewOutboxRow {
        payload: "x".repeat(mebibytes * MEBIBYTE),
        ..message(number)
    };
    let sizes = [3, 5, 1, 9, 1, 1];
    let messages: Vec<_> = sizes.into_iter().enumerate().map(sized).collect();
    write(&database, &messages).await.unwrap();
    let mut rounds = Vec::new();
    loop {
        let claim = database.transact(|txn| in_txn(claim_outbox_batch_in_txn(txn, 256)));
        let claim = claim.await.unwrap().unwrap();
        if claim.rows.is_empty() {
            break;
        }
        let ids: Vec<i64> = claim.rows.iter().map(|row| row.id).collect();
        database
            .transact(|txn| in_txn(delete_outbox_in_txn(txn, &ids)))
            .await
            .unwrap();
        rounds.push((
            claim
                .rows
                .iter()
                .map(|row| row.message.payload.len() / MEBIBYTE)
                .collect(),
            claim.more,
        ));
    }
    let expected: [(Vec<usize>, bool); 4] = [
        (vec![3, 5], true),
        (vec![1], true),
        (vec![9], true),
        (vec![1, 1], false),
    ];
    assert_eq!(rounds, expected);
}

#[tokio::test]
async fn however_many_are_set_aside_and_due_what_is_fresh_is_in_every_round() {
    let test = TestDb::create().await;
    let database = open(&test);
    write(&database, &(0..600).map(message).collect::<Vec<_>>())
        .await
        .unwrap();
    let due = "UPDATE outbox SET retry_at = now() - interval '1 second'";
    test.superuser().await.batch_execute(due).await.unwrap();
    write(&database, &[message(9_999)]).await.unwrap();
    let claimed = claim(&database, 256).await.unwrap();
    assert_eq!(claimed.len(), 65, "a quarter of a round, and what is fresh");
    assert!(claimed.iter().any(|(_, row)| row.message_id == "message_9999"));
}
