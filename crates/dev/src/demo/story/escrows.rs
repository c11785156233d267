//! Money that is held for others: released, split, refused and made again, given back; and nothing of it twice.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::demo::stage::{BreakerRuns, Deal, Moved, Stage};
use crate::demo::stripe::text;

/// Pays at once and lets the platform have the money at once.
const AT_ONCE: &str = "pm_card_bypassPending";
/// How long the escrows that nobody releases live.
const SHORT: chrono::TimeDelta = chrono::TimeDelta::seconds(10);
/// What the breaker lets pass in a day, in cents.
const BREAKER_DAY: i64 = 100_000;
/// Two of them are more than a run may give back.
const EXPIRING: i64 = 5_100;
/// An earlier story that was stopped may have left more that has expired.
const MOST_RUNS: usize = 10;

pub(super) async fn play(stage: &Stage) -> anyhow::Result<()> {
    stage.narrator.doing("a marketplace holds money for its sellers");
    let (ada, ben) = (seller(stage).await?, seller(stage).await?);
    let expiring = expiring(stage, &ada).await?;
    lost_answer(stage, &ada).await?;
    whole(stage, &ada).await?;
    shared(stage, &ada, &ben).await?;
    twice_at_once(stage, &ada).await?;
    refused(stage, &ada).await?;
    without_set_up(stage, &ada).await?;
    time_out(stage, expiring).await
}

/// A connected account that can receive.
async fn seller(stage: &Stage) -> anyhow::Result<String> {
    let account = account(stage).await?;
    let done = json!({"act": "complete_onboarding", "account": account});
    stage.stripe.sim("act", &done).await?;
    Ok(account)
}

async fn account(stage: &Stage) -> anyhow::Result<String> {
    let fields = [("country", "DE"), ("capabilities[transfers][requested]", "true")];
    text(&stage.stripe.post("/v1/accounts", &fields).await?, "/id")
}

/// An escrow that its payer has paid.
async fn held(stage: &Stage, terms: Value) -> anyhow::Result<String> {
    let escrow = stage.door.create_escrow(&terms).await?;
    let payment = text(&escrow, "/payment_intent_id")?;
    let form = [("payment_method", AT_ONCE), ("return_url", "https://shop.example.com")];
    let path = format!("/v1/payment_intents/{payment}/confirm");
    stage.stripe.post(&path, &form).await?;
    let id = text(&escrow, "/escrow_id")?;
    stage.until_escrow(&id, "held").await?;
    Ok(id)
}

fn terms(amount: i64, capture: &str, recipients: Value) -> Value {
    json!({
        "amount": amount, "currency": "eur", "capture": capture, "recipients": recipients, "platform_fee": {"bps": 1_000},
        "expires_at": chrono::Utc::now() + chrono::TimeDelta::days(2),
    })
}

fn for_one(account: &str) -> Value {
    json!([{"account": account, "share_bps": 10_000}])
}

fn deal(id: String, ends: &'static str, moved: Moved) -> Deal {
    Deal { id, ends, moved }
}

fn paid_out(captured: i64, mut transfers: Vec<i64>) -> Moved {
    transfers.sort_unstable();
    Moved {
        captures: vec![captured],
        transfers,
        ..Moved::default()
    }
}

async fn whole(stage: &Stage, seller: &str) -> anyhow::Result<()> {
    let id = held(stage, terms(10_000, "manual", for_one(seller))).await?;
    stage.door.release(&id).await?;
    stage.until_escrow(&id, "distributed").await?;
    stage.mark(|marks| {
        marks.deals.push(deal(id, "distributed", paid_out(10_000, vec![9_000])));
    });
    stage
        .narrator
        .told("100 € are held, captured on release, and paid out: 90 € to the seller, 10 € stay");
    Ok(())
}

async fn shared(stage: &Stage, first: &str, second: &str) -> anyhow::Result<()> {
    let recipients = json!([{"account": first, "share_bps": 6_667}, {"account": second, "share_bps": 3_333}]);
    let id = held(stage, terms(10_001, "manual", recipients)).await?;
    stage.door.release(&id).await?;
    let escrow = stage.until_escrow(&id, "distributed").await?;
    let fee = escrow
        .get("platform_fee")
        .and_then(Value::as_i64)
        .context("a platform fee")?;
    let transfers = vec![6_001, 3_000];
    if fee + transfers.iter().sum::<i64>() != 10_001 {
        bail!("100.01 € were split into a fee of {fee} and {transfers:?}");
    }
    stage.mark(|marks| {
        marks.deals.push(deal(id, "distributed", paid_out(10_001, transfers)));
    });
    stage.narrator.told(
        "100.01 € for two sellers at 66.67 % and 33.33 %: 60.01 €, 30.00 € and a fee of 10.00 €, to the last cent",
    );
    Ok(())
}

async fn twice_at_once(stage: &Stage, seller: &str) -> anyhow::Result<()> {
    let id = held(stage, terms(4_000, "manual", for_one(seller))).await?;
    let (one, other) = tokio::join!(stage.door.try_release(&id), stage.door.try_release(&id));
    let mut answers = [one?, other?];
    answers.sort_unstable();
    stage.until_escrow(&id, "distributed").await?;
    stage.mark(|marks| {
        marks.simultaneous = Some(answers);
        marks.deals.push(deal(id, "distributed", paid_out(4_000, vec![3_600])));
    });
    let [first, second] = answers;
    stage
        .narrator
        .told(&format!("two release the same escrow at once: {first} and {second}"));
    Ok(())
}

/// Stripe refuses the transfer, until somebody has topped the balance up and asks for it again.
async fn refused(stage: &Stage, seller: &str) -> anyhow::Result<()> {
    let id = held(stage, terms(6_000, "manual", for_one(seller))).await?;
    let fault = json!({"path": "/v1/transfers$", "method": "POST", "kind": "error", "code": "balance_insufficient"});
    stage.stripe.sim("faults", &fault).await?;
    stage.door.release(&id).await?;
    let escrow = stage.until_escrow(&id, "transfer_failed").await?;
    let operations = escrow.get("operations").and_then(Value::as_array).into_iter().flatten();
    let mut transfers = operations.filter(|one| one.get("kind").and_then(Value::as_str) == Some("transfer"));
    let number = transfers.next().and_then(|one| one.get("number")?.as_u64());
    stage.door.retry(&id, number.context("a transfer")?).await?;
    stage.until_escrow(&id, "distributed").await?;
    stage.mark(|marks| {
        marks.deals.push(deal(id, "distributed", paid_out(6_000, vec![5_400])));
    });
    stage
        .narrator
        .told("a transfer is refused (balance_insufficient), stays visible, and is made again under a new key");
    Ok(())
}

/// One of two sellers has not told Stripe who he is yet.
async fn without_set_up(stage: &Stage, ready: &str) -> anyhow::Result<()> {
    let late = account(stage).await?;
    let recipients = json!([{"account": ready, "share_bps": 5_000}, {"account": late, "share_bps": 5_000}]);
    let id = held(stage, terms(8_000, "manual", recipients)).await?;
    stage.door.release(&id).await?;
    stage.until_escrow(&id, "pending_user_setup").await?;
    let done = json!({"act": "complete_onboarding", "account": late});
    stage.stripe.sim("act", &done).await?;
    stage.until_escrow(&id, "distributed").await?;
    stage.mark(|marks| {
        marks
            .deals
            .push(deal(id, "distributed", paid_out(8_000, vec![3_600, 3_600])));
    });
    stage
        .narrator
        .told("one of two sellers is not set up: the other is paid at once, he by himself as soon as he is");
    Ok(())
}

/// The money moves, and the answer that says so never comes. What became of it is found out while the story goes on.
async fn lost_answer(stage: &Stage, seller: &str) -> anyhow::Result<()> {
    let id = held(stage, terms(7_000, "automatic", for_one(seller))).await?;
    let fault = json!({"path": "/v1/transfers$", "method": "POST", "kind": "lost_after"});
    stage.stripe.sim("faults", &fault).await?;
    stage.door.release(&id).await?;
    stage.until_transfer_was_called(&id).await?;
    stage.mark(|marks| {
        marks.deals.push(deal(id, "distributed", paid_out(7_000, vec![6_300])));
    });
    stage
        .narrator
        .told("63 € are paid out, and Stripe's answer is lost: nobody knows yet");
    Ok(())
}

/// Two that nobody releases, each within the breaker's limit and together above it. None where earlier stories have used the day up.
async fn expiring(stage: &Stage, seller: &str) -> anyhow::Result<Option<[String; 2]>> {
    if stage.given_back_today().await? > BREAKER_DAY - 2 * EXPIRING {
        stage
            .narrator
            .told("the refund breaker's day is used up by earlier stories: nothing expires in this one");
        return Ok(None);
    }
    let soon = || {
        let mut terms = terms(EXPIRING, "automatic", for_one(seller));
        if let Some(fields) = terms.as_object_mut() {
            fields.insert("expires_at".to_owned(), json!(chrono::Utc::now() + SHORT));
        }
        terms
    };
    Ok(Some([held(stage, soon()).await?, held(stage, soon()).await?]))
}

async fn time_out(stage: &Stage, expiring: Option<[String; 2]>) -> anyhow::Result<()> {
    let Some(expiring) = expiring else { return Ok(()) };
    stage.narrator.doing("two escrows run out of time");
    for id in &expiring {
        let escrow = stage.door.escrow(id).await?;
        let ends: chrono::DateTime<chrono::Utc> = text(&escrow, "/expires_at")?.parse().context("expires_at")?;
        let left = (ends - chrono::Utc::now()).to_std().unwrap_or_default();
        tokio::time::sleep(left + Duration::from_millis(10)).await;
    }
    let number = |report: &Value, name: &str| report.get(name).and_then(Value::as_i64).unwrap_or_default();
    let mut runs = BreakerRuns::default();
    loop {
        let report = stage.door.run_timeouts().await?;
        runs.given_back.push(number(&report, "succeeded"));
        runs.tripped |= report
            .get("breaker_tripped")
            .and_then(Value::as_bool)
            .unwrap_or_default();
        if number(&report, "left") == 0 || runs.given_back.len() >= MOST_RUNS {
            break;
        }
    }
    for id in &expiring {
        stage.until_escrow(id, "refunded").await?;
    }
    stage.narrator.told(&format!(
        "two of 51 € run out of time, and a run gives back 100 € at most: {} go back in one run after the other",
        runs.one_after_the_other()
    ));
    stage.mark(|marks| {
        marks.breaker = Some(runs);
        for id in expiring {
            let moved = Moved {
                captures: vec![EXPIRING],
                refunds: vec![EXPIRING],
                ..Moved::default()
            };
            marks.deals.push(deal(id, "refunded", moved));
        }
    });
    Ok(())
}
