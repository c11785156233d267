//! What Stripe tells in an unusual way: before we know whose it is, without saying it, or too late.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::{SOON, in_world, unique};

const CARD: &str = "pm_card_bypassPending";

#[test]
fn a_dispute_is_heard_before_the_answer_that_says_whose_payment_it_is_about() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        world
            .fault(json!({"path": "/v1/payment_intents$", "method": "POST", "kind": "lost_after"}))
            .await;
        let (status, _) = world.post("/api/escrows", Some(&unique("key")), &terms).await;
        assert_eq!(status, 503, "the answer was lost");
        let payments = world.stripe(Method::GET, "/v1/payment_intents", &[]).await;
        let payment = payments["data"][0]["id"].as_str().unwrap();
        let paid = world.confirm(&json!(payment), CARD).await;
        let dispute = world
            .act(json!({"act": "create_dispute", "charge": paid["latest_charge"]}))
            .await;
        let event = |id: String, object: &Value| {
            json!({
                "id": id, "object": "event", "type": "charge.dispute.created", "created": world.clock.unix_seconds(),
                "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": object},
            })
        };
        world.deliver(&event(unique("evt_dispute"), &dispute), "platform").await;
        let id: String = world
            .sql
            .query_one("SELECT id FROM escrow_transactions", &[])
            .await
            .unwrap()
            .get(0);
        world.until(&id, "disputed").await;
        assert_eq!(world.get(&id).await["payment_intent_id"], payment);

        let mut foreign = dispute;
        foreign["payment_intent"] = json!("pi_of_somebody_else");
        foreign["charge"] = json!("ch_of_somebody_else");
        let foreign_event = unique("evt_dispute");
        world.deliver(&event(foreign_event.clone(), &foreign), "platform").await;
        testkit::eventually(SOON, || async {
            let sql = "SELECT count(*) FROM billing_events WHERE stripe_event_id = $1 AND reason = 'not_an_escrow'";
            let row = world.sql.query_one(sql, &[&foreign_event]).await.unwrap();
            row.get::<_, i64>(0) == 1
        })
        .await;
    });
}

/// A thin notice about an object at Stripe.
fn thin(kind: &str, object: &str, url: &str) -> Value {
    json!({
        "id": unique("evt_thin"), "object": "v2.core.event", "type": kind, "created": "2026-10-01T10:00:00.000Z", "livemode": false,
        "context": null, "related_object": {"id": object, "type": "any", "url": url},
    })
}

#[test]
fn a_thin_event_of_an_account_that_is_not_connected_any_more_waits_for_nothing() {
    in_world(|world| async move {
        let gone = json!({"path": "/v1/accounts/*", "method": "GET", "kind": "error", "status": 403, "code": "account_invalid", "times": 1_000});
        world.fault(gone).await;
        for kind in ["v1.account.updated", "v2.core.account.updated"] {
            let event = thin(kind, "acct_gone", "/v2/core/accounts/acct_gone");
            world.deliver(&event, "connect").await;
            let ignored = format!(
                "SELECT count(*) FROM billing_events WHERE stripe_event_id = '{}' AND outcome = 'ignored' AND reason = 'object_is_gone'",
                event["id"].as_str().unwrap()
            );
            testkit::eventually(SOON, || async { world.count(&ignored).await == 1 }).await;
        }
    });
}

#[test]
fn a_thin_event_of_an_accounts_person_has_the_account_read() {
    in_world(|world| async move {
        let (account, _) = world.captured().await;
        world
            .act(json!({"act": "set_capability", "account": account, "status": "inactive"}))
            .await;
        let url = format!("/v2/core/accounts/{account}/persons/person_1");
        let barred =
            format!("SELECT count(*) FROM escrow_recipients WHERE account = '{account}' AND readiness = 'not_ready'");
        // What was read in the second in which the escrow was created counts as much as this.
        testkit::eventually(SOON, || async {
            world
                .deliver(&thin("v2.core.account_person.updated", "person_1", &url), "connect")
                .await;
            world.count(&barred).await == 1
        })
        .await;
    });
}

/// What an account says of itself and what Stripe answers may differ for long: a refusal is not asked for again and again.
#[test]
fn an_account_that_looks_ready_and_is_refused_is_not_hammered() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        let refusal = json!({
            "path": "/v1/transfers$", "method": "POST", "kind": "error", "code": "transfers_not_allowed", "times": 100,
        });
        world.fault(refusal).await;
        world.command(&id, "release", &json!({})).await;
        let failures = async || {
            let sql = format!(
                "SELECT max(failures)::bigint FROM stripe_operations WHERE escrow_id = '{id}' AND kind = 'transfer'"
            );
            world.count(&sql).await
        };
        testkit::eventually(SOON, || async { failures().await >= 2 }).await;
        let sql = format!(
            "SELECT count(*) FROM stripe_operations WHERE escrow_id = '{id}' AND kind = 'transfer' AND next_at > last_call"
        );
        testkit::eventually(SOON, || async { world.count(&sql).await == 1 }).await;
        // Time stands still here, so that a third call would be one without any backoff.
        world.heal().await;
        assert_eq!(failures().await, 2);
        assert_eq!(world.moved(&id, "transfers").await, [0_i64; 0]);
    });
}

#[test]
fn a_loss_is_borne_where_nothing_can_be_taken_back() {
    in_world(|world| async move {
        let (account, id) = world.captured().await;
        let charge = world.book(&id).await["captures"][0]["charge"].clone();
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        let path = format!("recipients/{account}/bear-loss");
        let (status, body) = world.command(&id, &path, &json!({})).await;
        assert_eq!((status, &body["code"]), (409, &json!("wrong_state")), "{body:#}");
        let refusal = json!({
            "path": "/v1/transfers/*/reversals", "method": "POST", "kind": "error", "code": "balance_insufficient", "times": 100,
        });
        world.fault(refusal).await;
        let dispute = world.act(json!({"act": "create_dispute", "charge": charge})).await;
        world
            .act(json!({"act": "close_dispute", "dispute": dispute["id"], "status": "lost"}))
            .await;
        world.carry().await;
        testkit::eventually(SOON, || async {
            world.get(&id).await["recipients"][0]["status"] == "reversal_failed"
        })
        .await;
        let (status, body) = world.command(&id, &path, &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        world.until(&id, "reversed").await;
        assert_eq!(world.moved(&id, "reversals").await, [0_i64; 0]);
        assert_eq!(world.alerts(&format!("{id}/loss_booked")).await, 1);
        let (status, _) = world.command(&id, "recipients/acct_nobody/bear-loss", &json!({})).await;
        assert_eq!(status, 409);
        world.assert_book_holds().await;
    });
}

#[test]
fn an_authorisation_that_ends_before_its_escrow_is_told_to_a_person_once() {
    in_world(|world| async move {
        let account = world.account().await;
        let body = world.escrow(&world.terms(&account)).await;
        let (id, payment) = (body["escrow_id"].as_str().unwrap(), &body["payment_intent_id"]);
        let paid = world.confirm(payment, CARD).await;
        let charge = format!("/v1/charges/{}", paid["latest_charge"].as_str().unwrap());
        let charge = world.stripe(Method::GET, &charge, &[]).await;
        let subject = format!("{id}/authorization_ends_early");
        // One that is too early, the same again, and one that is in time.
        for (days, outcome, told) in [(1, "applied", 1), (1, "semantic_duplicate", 1), (4, "applied", 1)] {
            let mut charge = charge.clone();
            charge["payment_method_details"]["card"]["capture_before"] = json!(world.in_days(days).timestamp());
            let event_id = unique("evt_charge");
            let event = json!({
                "id": event_id, "object": "event", "type": "charge.succeeded", "created": world.clock.unix_seconds(),
                "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": charge},
            });
            world.deliver(&event, "platform").await;
            let decided = format!(
                "SELECT count(*) FROM billing_events WHERE stripe_event_id = '{event_id}' AND outcome = '{outcome}'"
            );
            testkit::eventually(SOON, || async { world.count(&decided).await == 1 }).await;
            assert_eq!(world.alerts(&subject).await, told, "{days} {outcome}");
        }
    });
}

#[test]
fn a_payout_that_failed_is_told_of_by_a_thin_event_as_well() {
    in_world(|world| async move {
        let (account, _) = world.captured().await;
        let event = |context: &str| {
            json!({
                "id": unique("evt_thin"), "object": "v2.core.event", "type": "v1.payout.failed", "created": "2026-10-01T10:00:00.000Z",
                "livemode": false, "context": context,
                "related_object": {"id": "po_1", "type": "payout", "url": "/v1/payouts/po_1"},
            })
        };
        world.deliver(&event("acct_of_somebody_else"), "connect").await;
        world.deliver(&event(&account), "connect").await;
        testkit::eventually(SOON, || async {
            world.alerts(&format!("payout_failed:{account}")).await == 1
        })
        .await;
        assert_eq!(world.alerts("payout_failed:").await, 1);
        // The platform's own, in both forms.
        let mut own = event("");
        own["context"] = Value::Null;
        let full = json!({
            "id": unique("evt_payout"), "object": "event", "type": "payout.failed", "created": world.clock.unix_seconds(),
            "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": {"id": "po_1", "object": "payout"}},
        });
        for (event, told) in [(own, 1), (full, 2)] {
            world.deliver(&event, "platform").await;
            testkit::eventually(SOON, || async { world.alerts("payout_failed:platform").await == told }).await;
        }
    });
}

/// Stripe says how much was captured in every version; what only says that nothing was must not pass for money that is there.
#[test]
fn a_charge_that_is_not_captured_is_no_money() {
    in_world(|world| async move {
        let account = world.account().await;
        let body = world.escrow(&world.terms(&account)).await;
        let (id, payment) = (body["escrow_id"].as_str().unwrap(), &body["payment_intent_id"]);
        for (captured, status) in [(false, "held"), (true, "held")] {
            let event = json!({
                "id": unique("evt_charge"), "object": "event", "type": "charge.succeeded", "created": world.clock.unix_seconds(),
                "livemode": false, "api_version": "2026-09-30.endive",
                "data": {"object": {
                    "id": "ch_plain", "object": "charge", "payment_intent": payment, "amount": 10_000, "amount_refunded": 0,
                    "captured": captured, "currency": "eur", "created": world.clock.unix_seconds(),
                }},
            });
            world.deliver(&event, "platform").await;
            world.until(id, status).await;
            let sum = format!("SELECT coalesce(sum(captured), 0)::bigint FROM escrow_transactions WHERE id = '{id}'");
            let expected = if captured { 10_000 } else { 0 };
            testkit::eventually(SOON, || async { world.count(&sum).await == expected }).await;
        }
    });
}

#[test]
fn a_dispute_is_told_once_with_the_date_until_which_it_can_be_answered() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        let charge = format!("SELECT charge_id FROM escrow_transactions WHERE id = '{id}'");
        let charge: String = world.sql.query_one(&charge, &[]).await.unwrap().get(0);
        let payment = format!("SELECT payment_intent_id FROM escrow_transactions WHERE id = '{id}'");
        let payment: String = world.sql.query_one(&payment, &[]).await.unwrap().get(0);
        for (status, word) in [
            ("warning_needs_response", "dispute_inquiry"),
            ("needs_response", "dispute_opened"),
        ] {
            let event = json!({
                "id": unique("evt_dispute"), "object": "event", "type": "charge.dispute.created",
                "created": world.clock.unix_seconds(), "livemode": false, "api_version": "2026-09-30.endive",
                "data": {"object": {
                    "id": "du_1", "object": "dispute", "charge": charge, "payment_intent": payment, "amount": 10_000,
                    "currency": "eur", "status": status, "reason": "fraudulent", "created": world.clock.unix_seconds(),
                    "evidence_details": {"due_by": 1_900_000_000},
                }},
            });
            world.deliver(&event, "platform").await;
            let subject = format!("escrow_attention:{id}/{word}");
            testkit::eventually(SOON, || async { world.alerts(&subject).await == 1 }).await;
            let alert = loop {
                if let Some(message) = world.broker.take("alerts.raise").await {
                    break String::from_utf8(message.delivery.data).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert!(alert.contains(word) && alert.contains("1900000000"), "{alert}");
        }
    });
}

/// What an account has become since its escrow was paid out counts when it is to be paid again, by a person or by itself: an escrow that
/// is over hears nothing, and is told then.
#[test]
fn a_recipient_that_lost_and_got_back_its_capability_is_paid_again() {
    in_world(|world| async move {
        for by_itself in [false, true] {
            let (account, id) = world.captured().await;
            // The next call may come at once.
            let lost = json!({"path": "/v1/transfers$", "method": "POST", "kind": "lost_after", "times": 1_000});
            world.fault(lost).await;
            world.command(&id, "release", &json!({})).await;
            world.until_unknown("transfer").await;
            // Barred while its transfer is under way.
            let capability =
                |status: &'static str| json!({"act": "set_capability", "account": account, "status": status});
            world.act(capability("inactive")).await;
            world.tell_account(&account).await;
            let barred =
                format!("SELECT count(*) FROM escrow_recipients WHERE escrow_id = '{id}' AND readiness = 'not_ready'");
            testkit::eventually(SOON, || async { world.count(&barred).await == 1 }).await;
            world.heal().await;
            world.carry().await;
            world.until(&id, "distributed").await;

            world.act(capability("active")).await;
            world.tell_account_at(&account, 120).await;
            let known =
                format!("SELECT count(*) FROM escrow_accounts WHERE account = '{account}' AND readiness = 'ready'");
            testkit::eventually(SOON, || async { world.count(&known).await == 1 }).await;
            assert_eq!(world.count(&barred).await, 1, "what is over hears nothing");

            let transfer = world.book(&id).await["transfers"][0]["id"].as_str().unwrap().to_owned();
            let reversal = format!("/v1/transfers/{transfer}/reversals");
            world.stripe(Method::POST, &reversal, &[("amount", "9000")]).await;
            if by_itself {
                let failed = world
                    .stripe(Method::GET, &format!("/v1/transfers/{transfer}"), &[])
                    .await;
                let event = json!({
                    "id": unique("evt_failed"), "object": "event", "type": "transfer.failed", "created": world.clock.unix_seconds(),
                    "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": failed},
                });
                world.deliver(&event, "platform").await;
            } else {
                world.carry().await;
                world.until(&id, "reversed").await;
                world.command(&id, "release", &json!({})).await;
            }
            testkit::eventually(SOON, || async { world.moved(&id, "transfers").await == [9_000, 9_000] }).await;
            world.until(&id, "distributed").await;
            world.carry().await;
        }
        world.assert_book_holds().await;
    });
}

/// Without a webhook nobody would know that the account can receive again.
#[test]
fn a_person_has_an_account_read_whose_webhook_was_lost() {
    in_world(|world| async move {
        let account = world.new_account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        let id = world.held(&terms).await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "pending_user_setup").await;
        let read = format!("recipients/{account}/read");
        for (fault, status, code) in [
            (
                json!({"kind": "error", "status": 403, "code": "account_invalid"}),
                409,
                "account_gone",
            ),
            (
                json!({"kind": "error", "status": 404, "code": "resource_missing"}),
                409,
                "account_gone",
            ),
            (
                json!({"kind": "error", "status": 401, "code": "api_key_expired"}),
                503,
                "stripe_unavailable",
            ),
            (json!({"kind": "refuse"}), 503, "stripe_unavailable"),
        ] {
            let mut fault = fault;
            (fault["path"], fault["method"]) = (json!("/v1/accounts/*"), json!("GET"));
            world.fault(fault).await;
            let (answered, body) = world.command(&id, &read, &json!({})).await;
            assert_eq!((answered, &body["code"]), (status, &json!(code)), "{body:#}");
        }
        world
            .act(json!({"act": "complete_onboarding", "account": account}))
            .await;
        let wanted = "SELECT count(*) FROM admin_actions WHERE action = 'read_account' AND actor = 'service:shop'";
        let key = unique("key");
        let (status, body) = world
            .post(&format!("/api/escrows/{id}/{read}"), Some(&key), &json!({}))
            .await;
        assert_eq!((status, world.count(wanted).await), (202, 1), "{body:#}");
        let (status, again) = world
            .post(&format!("/api/escrows/{id}/{read}"), Some(&key), &json!({}))
            .await;
        assert_eq!((status, world.count(wanted).await), (202, 1), "{again:#}");
        assert_eq!(again, body, "the same key gets the same answer");
        world.until(&id, "distributed").await;
        for (escrow, account) in [(id.as_str(), "acct_nobody"), ("esc_nobody", account.as_str())] {
            let (status, body) = world
                .command(escrow, &format!("recipients/{account}/read"), &json!({}))
                .await;
            assert_eq!((status, &body["code"]), (404, &json!("not_found")), "{body:#}");
        }
        world.assert_book_holds().await;
    });
}

/// A bank may take more than was paid, by a rate that has moved: the recipient gives back its share and no more, and the platform bears the rest.
#[test]
fn a_dispute_of_more_than_the_payment_takes_back_no_more_than_was_paid_out() {
    in_world(|world| async move {
        for is_released in [false, true] {
            let (_, id) = world.captured().await;
            if is_released {
                world.command(&id, "release", &json!({})).await;
                world.until(&id, "distributed").await;
            }
            let charge = world.book(&id).await["captures"][0]["charge"].clone();
            let mut dispute = world.act(json!({"act": "create_dispute", "charge": charge})).await;
            dispute["amount"] = json!(12_500);
            for (kind, stage, status) in [
                ("charge.dispute.created", "needs_response", "disputed"),
                ("charge.dispute.closed", "lost", "reversed"),
            ] {
                dispute["status"] = json!(stage);
                let event = json!({
                    "id": unique("evt_dispute"), "object": "event", "type": kind, "created": world.clock.unix_seconds(),
                    "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": dispute},
                });
                world.deliver(&event, "platform").await;
                let shown = world.until(&id, status).await;
                assert_eq!(shown["captured"], 10_000, "{shown:#}");
            }
            let taken_back: Vec<i64> = if is_released { vec![9_000] } else { vec![] };
            assert_eq!(world.moved(&id, "reversals").await, taken_back);
            assert_eq!(world.moved(&id, "refunds").await, [0_i64; 0]);
            let (status, body) = world.command(&id, "refund", &json!({})).await;
            assert!(matches!(status, 400 | 409), "nothing is left to be refunded: {body:#}");
            world.assert_book_holds().await;
        }
    });
}
