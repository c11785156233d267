//! Transfers that were refused, and the retry service that has them made again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use retry::{RunConfig, run_retries};
use serde_json::json;
use support::{SOON, in_world};

#[test]
fn of_eleven_transfers_that_failed_ten_are_made_in_one_run_and_the_last_in_the_next() {
    in_world(|world| async move {
        let mut escrows = Vec::new();
        for _ in 0..11 {
            escrows.push(world.captured().await.1);
        }
        let refusal = json!({"path": "/v1/transfers$", "method": "POST", "kind": "error", "code": "balance_insufficient", "times": 11});
        world.fault(refusal).await;
        for id in &escrows {
            world.command(id, "release", &json!({})).await;
        }
        for id in &escrows {
            world.until(id, "transfer_failed").await;
        }
        // Longer than the first wait after a refusal.
        world.clock.advance(Duration::from_secs(12 * 3_600));
        let config = RunConfig {
            database_url: world.db.service_url().into(),
            amqp_url: world.broker.amqp_url().into(),
        };
        let distributed = "SELECT count(*) FROM escrow_transactions WHERE status = 'distributed'";
        for (made, all) in [(10, 10), (1, 11)] {
            let report = run_retries(&config, world.clock.clone()).await.unwrap();
            assert_eq!((report.processed, report.left), (made, 11 - all), "{report:?}");
            testkit::eventually(SOON, || async { world.count(distributed).await == all }).await;
            let mut moved = 0;
            for id in &escrows {
                moved += world.moved(id, "transfers").await.len();
            }
            assert_eq!(i64::try_from(moved).unwrap(), all);
        }
        world.assert_book_holds().await;
    });
}
