//! A replay of everything changes nothing: each event of the archive is published once more, as `holdfast events replay` does, and
//! afterwards every table holds what it held, except for how often each event came.

use std::collections::BTreeMap;

use bus::{Headers, Outgoing, headers, topology};
use futures_util::StreamExt as _;
use futures_util::stream::iter;

use crate::support::World;
use crate::{AT_ONCE, DONE};

const EVERYTHING: &str = "SELECT stripe_event_id, type, endpoint, api_version, livemode, payload, \
                                 extract(epoch FROM created)::bigint FROM billing_events";

/// Replays every archived event and compares all tables. Says how many events there were.
pub async fn everything_changes_nothing(world: &World) -> usize {
    let before = contents(world).await;
    let delivered = deliveries(world).await;
    let rows = world.sql.query(EVERYTHING, &[]).await.unwrap();
    let replayed = i64::try_from(rows.len()).unwrap();
    iter(&rows)
        .for_each_concurrent(AT_ONCE, |row| world.publish(message(row)))
        .await;
    testkit::eventually(DONE, || async { deliveries(world).await >= delivered + replayed }).await;
    let after = contents(world).await;
    assert!(before.len() > 10, "{:?}", before.keys());
    for (table, was) in &before {
        assert_eq!(&after[table], was, "a replay of everything changed {table}");
    }
    rows.len()
}

/// The message as the replay of the admin's desk makes it.
fn message(row: &tokio_postgres::Row) -> Outgoing {
    let (kind, endpoint): (String, String) = (row.get(1), row.get(2));
    let mut table = Headers::new();
    table.set_bool("x-holdfast-replay", true);
    table.set_str(headers::RECEIVED_AT, "2026-11-01T00:00:00.123Z");
    table.set_str(headers::API_VERSION, row.get::<_, String>(3));
    table.set_bool(headers::LIVEMODE, row.get(4));
    table.set_str(headers::ENDPOINT, endpoint.clone());
    Outgoing {
        exchange: topology::STRIPE_EVENTS.into(),
        routing_key: format!("{endpoint}.{kind}"),
        message_id: row.get(0),
        kind,
        timestamp: row.get::<_, i64>(6).unsigned_abs(),
        headers: table,
        body: bytes::Bytes::from(row.get::<_, String>(5)),
    }
}

async fn deliveries(world: &World) -> i64 {
    world
        .number("SELECT coalesce(sum(deliveries), 0)::bigint FROM billing_events")
        .await
}

/// A digest of each table and the number of its rows.
async fn contents(world: &World) -> BTreeMap<String, (i64, Option<String>)> {
    let tables = "SELECT relname::text FROM pg_class \
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition";
    let mut contents = BTreeMap::new();
    for row in world.sql.query(tables, &[]).await.unwrap() {
        let table: String = row.get(0);
        let rows = format!(
            "SELECT count(*), md5(string_agg(said, E'\\n' ORDER BY said)) \
             FROM (SELECT (to_jsonb(t) - 'deliveries')::text AS said FROM \"{table}\" t) AS rows"
        );
        let digest = world.sql.query_one(&rows, &[]).await.unwrap();
        contents.insert(table, (digest.get(0), digest.get(1)));
    }
    contents
}
