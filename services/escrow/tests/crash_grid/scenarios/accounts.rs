//! Recipients that cannot receive, not yet or no longer.

use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::{Scenario, held_for_one, outage, terms};
use crate::end::Subject;
use crate::stage::Stage;
use crate::support::unique;

pub fn scenarios() -> [Scenario; 5] {
    [
        Scenario {
            name: "release to a recipient that is not set up, account.updated",
            has_timer: false,
            prepare: |stage| to_one_that_is_not_set_up(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    stage.command(&subject.escrows[0], "release", &json!({})).await;
                    stage.until(&subject.escrows[0], "pending_user_setup").await;
                    set_up(stage, &subject.accounts[1]).await;
                    let event = account_updated(stage, &subject.accounts[1]).await;
                    stage.tell(&event, "connect").await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "a refusal says more than the account did, which is read again",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "automatic").boxed_local(),
            act: |stage, subject| {
                async move {
                    let refusal = json!({"method": "POST", "path": "/v1/transfers$", "kind": "error",
                                         "code": "insufficient_capabilities_for_transfer"});
                    stage.world.fault(refusal).await;
                    stage.command(&subject.escrows[0], "release", &json!({})).await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "thin v2.core.account",
            has_timer: true,
            prepare: |stage| set_up_unheard(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    let account = &subject.accounts[1];
                    let related = json!({"id": account, "type": "v2.core.account", "url": format!("/v2/core/accounts/{account}")});
                    let event = thin(stage, "v2.core.account[configuration.recipient].capability_status_updated", &related);
                    stage.tell(&event, "connect").await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "a person has an account read, of which no webhook tells",
            has_timer: false,
            prepare: |stage| set_up_unheard(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    let read = format!("recipients/{}/read", subject.accounts[1]);
                    stage.command(&subject.escrows[0], &read, &json!({})).await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "a transfer that is let go before it is made again",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "automatic").boxed_local(),
            act: |stage, subject| {
                async move {
                    // The call is lost on its way, and before it is made again its account is known to be unable.
                    outage(stage, "POST", "/v1/transfers$", "lost_before").await;
                    stage.command(&subject.escrows[0], "release", &json!({})).await;
                    let begun = "SELECT count(*) FROM stripe_operations WHERE escrow_id = $1 AND status IN ('in_flight', 'unknown')";
                    stage.soon_count(begun, &subject.escrows[0], 1).await;
                    // It is picked up a moment before it is made, and would get through once nothing is lost any more.
                    stage.until_still().await;
                    let account = &subject.accounts[0];
                    let mut lost = account_updated(stage, account).await;
                    lost["data"]["object"]["capabilities"]["transfers"] = json!("inactive");
                    stage.tell(&lost, "connect").await;
                    let news = "SELECT count(*) FROM escrow_recipients WHERE escrow_id = $1 AND account_news";
                    stage.soon_count(news, &subject.escrows[0], 0).await;
                    stage.clear_faults().await;
                    stage.until(&subject.escrows[0], "pending_user_setup").await;
                    stage.advance(Duration::from_secs(120)).await;
                    let event = account_updated(stage, account).await;
                    stage.tell(&event, "connect").await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
    ]
}

async fn to_one_that_is_not_set_up(stage: &mut Stage) -> Subject {
    let (ready, unready) = (stage.world.account().await, stage.world.new_account().await);
    let terms = terms(stage, &[&ready, &unready], "automatic");
    Subject::of(stage.held(&terms).await, &[&ready, &unready])
}

/// Released, with one recipient that could not receive then and can now, of which nobody has told.
async fn set_up_unheard(stage: &mut Stage) -> Subject {
    let subject = to_one_that_is_not_set_up(stage).await;
    stage.command(&subject.escrows[0], "release", &json!({})).await;
    stage.until(&subject.escrows[0], "pending_user_setup").await;
    set_up(stage, &subject.accounts[1]).await;
    subject
}

async fn set_up(stage: &Stage, account: &str) {
    stage
        .world
        .act(json!({"act": "complete_onboarding", "account": account}))
        .await;
}

/// `account.updated` as Stripe sends it now.
async fn account_updated(stage: &Stage, account: &str) -> Value {
    let object = stage
        .world
        .stripe(reqwest::Method::GET, &format!("/v1/accounts/{account}"), &[])
        .await;
    json!({
        "id": unique("evt_account"), "object": "event", "type": "account.updated", "account": account,
        "created": stage.world.clock.unix_seconds() + 60, "livemode": false, "api_version": "2026-09-30.endive",
        "data": {"object": object},
    })
}

/// The notice that something happened to an object.
pub fn thin(stage: &Stage, kind: &str, related: &Value) -> Value {
    json!({
        "id": unique("evt_thin"), "object": "v2.core.event", "type": kind, "created": stage.world.clock.now(), "livemode": false,
        "related_object": related,
    })
}
