//! The views: both places of moved fields, leniency, and errors that name the path.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use stripe_gateway::fixtures::{self, Version};
use stripe_gateway::views::words::{
    BillingReason, CapabilityStatus, CheckoutMode, CheckoutPaymentStatus, CheckoutStatus, DisputeStatus, InvoiceStatus,
    PaymentIntentStatus, PayoutStatus, RefundStatus, SubscriptionStatus,
};
use stripe_gateway::views::{Change, EventView, Invoice, PreviousSubscription, Price, Subscription, ViewError};

fn fixture(kind: &str, version: Version) -> String {
    fixtures::find(kind, version).unwrap().body
}

fn event(body: &str) -> EventView<'_> {
    EventView::parse(body.as_bytes()).unwrap()
}

/// An event around any object.
fn around(object: &str) -> String {
    format!(r#"{{"id":"evt_1","object":"event","type":"t","created":1,"livemode":false,"data":{{"object":{object}}}}}"#)
}

const SUBSCRIPTION: &str = r#"{"id":"sub_1","object":"subscription","customer":"cus_1","status":"active","created":7}"#;
const INVOICE: &str = r#"{"id":"in_1","object":"invoice","amount_paid":0,"amount_due":0,"currency":"jpy","created":7}"#;

fn add(object: &str, members: &str) -> String {
    around(&format!("{},{members}}}", object.strip_suffix('}').unwrap()))
}

fn subscription(members: &str) -> Result<Subscription, ViewError> {
    event(&add(SUBSCRIPTION, members)).subscription()
}

fn invoice(members: &str) -> Result<Invoice, ViewError> {
    event(&add(INVOICE, members)).invoice()
}

#[test]
fn a_renewed_subscription_says_what_it_is_and_was() {
    for version in Version::ALL {
        let body = fixture("customer.subscription.updated", version);
        let event = event(&body);
        let now = event.subscription().unwrap();
        assert_eq!(now.id, fixtures::SUBSCRIPTION_ID);
        assert_eq!(now.customer, fixtures::CUSTOMER_ID);
        assert_eq!(now.status, SubscriptionStatus::Active);
        assert_eq!(now.current_period_end, Some(fixtures::PERIOD_END));
        assert_eq!(now.metadata.client_id(), Some(fixtures::CLIENT_ID));
        let price = Price {
            id: "price_1QFixture0000000000000001".to_owned(),
            currency: Some("eur".to_owned()),
        };
        assert_eq!(now.price, Some(price));
        let expected = PreviousSubscription {
            status: Change::Value(SubscriptionStatus::PastDue),
            current_period_end: Change::Value(fixtures::CREATED),
            latest_invoice: Change::Value("in_1QFixture0000000000000000".to_owned()),
            ..PreviousSubscription::default()
        };
        assert_eq!(event.previous_subscription(&now).unwrap(), expected, "{version:?}");
    }
}

#[test]
fn what_was_before_tells_absent_from_null_from_value() {
    let previous = r#"{"cancel_at":null,"cancel_at_period_end":false,"pause_collection":{"behavior":"void"},
        "trial_end":5,"customer":{"id":"cus_0","object":"customer"},"metadata":{"client_id":null},
        "items":{"data":[{"price":{"id":"price_0","currency":"usd"},"current_period_end":9}]}}"#;
    let items = r#""items":{"data":[{"price":{"id":"price_1"},"current_period_end":9}]},"currency":"eur""#;
    let body = add(SUBSCRIPTION, items);
    let body = format!(
        "{},\"previous_attributes\":{previous}}}}}",
        body.strip_suffix("}}").unwrap()
    );
    let event = event(&body);
    let now = event.subscription().unwrap();
    let was = event.previous_subscription(&now).unwrap();
    assert_eq!(
        now.price,
        Some(Price {
            id: "price_1".to_owned(),
            currency: Some("eur".to_owned())
        })
    );
    let expected = PreviousSubscription {
        customer: Change::Value("cus_0".to_owned()),
        collection_paused: Change::Value(()),
        cancel_at_period_end: Change::Value(false),
        cancel_at: Change::Null,
        trial_end: Change::Value(5),
        price: Change::Value(Price {
            id: "price_0".to_owned(),
            // What it was charged in, and not the price's default currency.
            currency: Some("eur".to_owned()),
        }),
        client_id: Change::Null,
        ..PreviousSubscription::default()
    };
    assert_eq!(was, expected);
    assert!(was.cancel_at.is_present() && !was.ended_at.is_present());
}

#[test]
fn a_subscription_says_whether_it_shows_all_its_items() {
    let more = |items: &str| subscription(&format!("\"items\":{items}")).unwrap().has_more_items;
    assert!(more(r#"{"data":[{"price":"price_1"}],"has_more":true}"#));
    for all in [
        r#"{"data":[],"has_more":false}"#,
        r#"{"data":[],"has_more":null}"#,
        r#"{"data":[]}"#,
        "[]",
        "null",
    ] {
        assert!(!more(all), "{all}");
    }
}

#[test]
fn a_subscription_is_read_leniently() {
    let bare = subscription("\"x\":1").unwrap();
    assert_eq!((bare.start_date, bare.current_period_end, bare.price), (7, None, None));
    assert!(!bare.collection_paused && !bare.cancel_at_period_end);

    let full = subscription(
        r#""status":"active","customer":"cus_1","pause_collection":{"behavior":"void","resumes_at":null}"#,
    );
    assert_eq!(
        full.unwrap_err().to_string(),
        "subscription.customer appears more than once"
    );
    let paused = subscription(r#""pause_collection":{"behavior":"void"},"unknown":1e999,"deep":[[[[{}]]]]"#).unwrap();
    assert!(paused.collection_paused);

    let items = r#""items":{"object":"list","data":[{"plan":{"id":"plan_1","currency":"usd"},"current_period_end":5},
        {"price":"price_2","current_period_end":9},{"current_period_end":null},{"current_period_end":2}]}"#;
    let several = subscription(items).unwrap();
    assert_eq!(several.current_period_end, Some(9), "the latest of the items");
    assert_eq!(
        several.price,
        Some(Price {
            id: "plan_1".to_owned(),
            currency: Some("usd".to_owned())
        })
    );
    let plain =
        r#""items":{"data":[{"price":{"id":"price_2","currency":"usd"}}]},"currency":"eur","current_period_end":3"#;
    let plain = subscription(plain).unwrap();
    assert_eq!(
        plain.price,
        Some(Price {
            id: "price_2".to_owned(),
            currency: Some("eur".to_owned())
        })
    );
    assert_eq!(plain.current_period_end, Some(3));
    assert_eq!(subscription(r#""items":{"data":[]}"#).unwrap().price, None);

    let unknown = SUBSCRIPTION.replace("\"active\"", "\"hibernating\"");
    let status = event(&around(&unknown)).subscription().unwrap().status;
    assert_eq!(status, SubscriptionStatus::Unknown("hibernating".to_owned()));
    assert_eq!(status.to_string(), "hibernating");
    let expanded = SUBSCRIPTION.replace("\"cus_1\"", r#"{"id":"cus_9","object":"customer","deleted":true}"#);
    assert_eq!(event(&around(&expanded)).subscription().unwrap().customer, "cus_9");
}

#[test]
fn an_invoice_finds_its_subscription_in_either_place() {
    let old = r#""subscription":"sub_1","subscription_details":{"metadata":{"client_id":"c"}},"paid_out_of_band":true"#;
    let new = r#""parent":{"type":"subscription_details","subscription_details":{"subscription":"sub_1",
        "metadata":{"client_id":"c"}}}"#;
    for members in [old, new] {
        let invoice = invoice(members).unwrap();
        assert_eq!(invoice.subscription.as_deref(), Some("sub_1"));
        assert_eq!(invoice.client_id(), Some("c"));
    }
    assert_eq!(invoice(old).unwrap().paid_out_of_band, Some(true));
    let expanded = invoice(r#""subscription":{"id":"sub_2","object":"subscription"},"parent":null"#).unwrap();
    assert_eq!(expanded.subscription.as_deref(), Some("sub_2"));
    for manual in [
        r#""parent":null"#,
        r#""subscription":null"#,
        r#""parent":{"type":"quote_details","subscription_details":null}"#,
    ] {
        let invoice = invoice(manual).unwrap();
        assert_eq!((invoice.subscription.as_deref(), invoice.client_id()), (None, None));
    }
    let own = invoice(&format!(r#""metadata":{{"client_id":"own"}},{new}"#)).unwrap();
    assert_eq!(own.client_id(), Some("own"), "the invoice's own metadata comes first");
    let unset = invoice(&format!(r#""metadata":{{"client_id":""}},{new}"#)).unwrap();
    assert_eq!(unset.client_id(), Some("c"), "an empty text is none");
    let lines =
        invoice(r#""period_end":3,"lines":{"data":[{"period":{"end":5}},{"period":{"end":9}},{"period":null},{}]}"#)
            .unwrap();
    assert_eq!((lines.period_end, lines.line_period_end), (Some(3), Some(9)));
    assert_eq!(lines.status, None);
    for version in Version::ALL {
        let body = fixture("invoice.payment_failed", version);
        let invoice = event(&body).invoice().unwrap();
        assert_eq!(invoice.subscription.as_deref(), Some(fixtures::SUBSCRIPTION_ID));
        assert_eq!(invoice.status, Some(InvoiceStatus::Open));
        assert_eq!(invoice.billing_reason, Some(BillingReason::SubscriptionCycle));
        assert_eq!(
            (invoice.amount_paid, invoice.amount_due, invoice.attempt_count),
            (0, 4900, 1)
        );
        assert_eq!(invoice.next_payment_attempt, Some(fixtures::CREATED + 259_200));
        assert_eq!(invoice.line_period_end, Some(fixtures::PERIOD_END));
        assert_eq!(invoice.client_id(), Some(fixtures::CLIENT_ID));
    }
}

/// The prices that an invoice of `sub_1` names by its lines, in each version's place for the subscription.
#[track_caller]
fn names(lines: &str, expected: &[&str]) {
    for subscription in [
        r#""subscription":"sub_1""#,
        r#""parent":{"subscription_details":{"subscription":"sub_1"}}"#,
    ] {
        let invoice = invoice(&format!(r#"{subscription},"lines":{lines}"#)).unwrap();
        assert_eq!(invoice.prices, expected, "{lines}");
    }
}

/// A line in the shape of each version: its amount, price, whether it is prorated, and whether it was put there by hand.
fn line(amount: i64, price: &str, is_prorated: bool, is_by_hand: bool) -> [String; 2] {
    let (kind, parent) = if is_by_hand {
        ("invoiceitem", "invoice_item_details")
    } else {
        ("subscription", "subscription_item_details")
    };
    [
        format!(
            r#"{{"amount":{amount},"price":{{"id":"{price}"}},"plan":{{"id":"plan_{price}"}},"proration":{is_prorated},
                "subscription":"sub_1","type":"{kind}"}}"#
        ),
        format!(
            r#"{{"amount":{amount},"pricing":{{"type":"price_details","price_details":{{"price":"{price}"}}}},
                "parent":{{"type":"{parent}","{parent}":{{"proration":{is_prorated},"subscription":"sub_1"}}}}}}"#
        ),
    ]
}

#[test]
fn an_invoice_names_the_prices_of_its_lines_in_either_place() {
    for version in Version::ALL {
        for kind in ["invoice.paid", "invoice.payment_succeeded", "invoice.payment_failed"] {
            let invoice = event(&fixture(kind, version)).invoice().unwrap();
            assert_eq!(invoice.prices, ["price_1QFixture0000000000000001"]);
        }
    }
    for (line, expected) in [
        (r#"{"price":"price_1"}"#, "price_1"),
        (r#"{"price":{"id":"price_1","object":"price"}}"#, "price_1"),
        (r#"{"price":null,"plan":{"id":"plan_1"}}"#, "plan_1"),
        (r#"{"plan":"plan_1"}"#, "plan_1"),
        (r#"{"pricing":{"price_details":{"price":"price_1"}}}"#, "price_1"),
        (
            r#"{"pricing":{"price_details":{"price":{"id":"price_1","object":"price"}}}}"#,
            "price_1",
        ),
        (r#"{"pricing":{"price_details":null},"price":"price_1"}"#, "price_1"),
        (
            r#"{"pricing":null,"price":"price_1","amount":null,"parent":null}"#,
            "price_1",
        ),
        (r#"{"price":"price_1","amount":0}"#, "price_1"),
    ] {
        names(&format!(r#"{{"data":[{line}]}}"#), &[expected]);
        names(&format!("[{line},{line}]"), &[expected]);
    }
    names(
        r#"{"data":[{"price":"price_2"},{"price":"price_1"}],"has_more":false}"#,
        &["price_2", "price_1"],
    );
}

#[test]
fn an_invoice_whose_lines_do_not_say_names_no_price() {
    for lines in [
        "null",
        "[]",
        "{}",
        r#"{"data":null}"#,
        "[{}]",
        r#"[{"price":null,"plan":null,"pricing":null}]"#,
        r#"[{"pricing":{"price_details":{"price":null}}}]"#,
        // What cannot be read could be the price that is looked for.
        r#"[{"price":"price_2"},{"price":7}]"#,
        r#"[{"price":"price_2"},{"pricing":"x"}]"#,
        r#"[{"price":"price_2"},{"price":{"object":"price"}}]"#,
        r#"[{"price":"price_2"},{"price":"price_1","amount":"4900"}]"#,
        r#"[{"price":"price_2"},{"price":"price_1","proration":"no"}]"#,
        r#"[{"price":"price_2"},{"price":"price_1","parent":[]}]"#,
        r#"[{"price":"price_2"},{"price":"price_1","subscription":7}]"#,
        r#"[{"price":"price_2"},{"price":"price_1","type":7}]"#,
        // And so could what is not shown.
        r#"{"data":[{"price":"price_2"}],"has_more":true}"#,
        r#"{"data":[{"price":"price_2"}],"has_more":"yes"}"#,
    ] {
        names(lines, &[]);
    }
    let one_off = invoice(r#""lines":{"data":[{"price":"price_1"}]}"#).unwrap();
    assert_eq!(one_off.prices, Vec::<String>::new(), "of no subscription");
}

#[test]
fn a_line_of_another_subscription_names_nothing() {
    for place in [
        r#""subscription":"sub_2""#,
        r#""subscription":{"id":"sub_2"}"#,
        r#""parent":{"subscription_item_details":{"subscription":"sub_2"}}"#,
        r#""parent":{"subscription_item_details":null,"invoice_item_details":{"subscription":"sub_2","proration":true}}"#,
    ] {
        names(&format!(r#"[{{"price":"price_2",{place}}}]"#), &[]);
        let own = place.replace("sub_2", "sub_1");
        names(&format!(r#"[{{"price":"price_2",{own}}}]"#), &["price_2"]);
    }
}

/// What a change of price within a period makes of an invoice.
#[test]
fn a_credit_for_an_old_price_names_nothing_and_a_prorated_line_only_where_no_period_is_billed() {
    let whole = |amount, price| line(amount, price, false, false);
    let prorated = |amount, price| line(amount, price, true, true);
    let cases: &[(&[[String; 2]], &[&str])] = &[
        (&[prorated(-1_200, "old"), prorated(2_400, "new")], &["new"]),
        (&[prorated(2_400, "new"), prorated(-1_200, "old")], &["new"]),
        (&[prorated(-1_200, "old")], &[]),
        // Some versions prorate the subscription's own lines.
        (
            &[line(-1_200, "old", true, false), line(2_400, "new", true, false)],
            &["new"],
        ),
        (
            &[prorated(-1_200, "old"), prorated(2_400, "new"), whole(4_900, "new")],
            &["new"],
        ),
        // There and back before the period was billed.
        (
            &[
                prorated(-2_300, "between"),
                prorated(2_400, "old"),
                prorated(-1_200, "old"),
                prorated(2_400, "between"),
                whole(4_900, "old"),
            ],
            &["old"],
        ),
        // More of the same.
        (&[prorated(-1_200, "same"), prorated(2_400, "same")], &["same"]),
        // What was put there by hand is nobody's price.
        (&[line(900, "setup", false, true), whole(4_900, "new")], &["new"]),
        (&[line(900, "setup", false, true)], &[]),
        // A free period.
        (&[whole(0, "new")], &["new"]),
    ];
    for (lines, expected) in cases {
        for version in 0..2 {
            let lines: Vec<&str> = lines.iter().map(|line| line[version].as_str()).collect();
            names(&format!(r#"{{"data":[{}]}}"#, lines.join(",")), expected);
        }
    }
}

#[test]
fn the_other_views_say_what_their_events_say() {
    for version in Version::ALL {
        let of = |kind: &str| fixture(kind, version);

        let body = of("checkout.session.completed");
        let session = event(&body).checkout_session().unwrap();
        assert_eq!(
            (session.mode, session.status),
            (CheckoutMode::Subscription, Some(CheckoutStatus::Complete))
        );
        assert_eq!(session.payment_status, CheckoutPaymentStatus::Paid);
        assert_eq!(
            (session.amount_total, session.currency.as_deref()),
            (Some(4900), Some("eur"))
        );
        assert_eq!(session.client_reference_id.as_deref(), Some(fixtures::CLIENT_ID));
        assert_eq!(session.metadata.order_id(), Some("order_fixture"));

        let body = of("checkout.session.expired");
        let session = event(&body).checkout_session().unwrap();
        assert_eq!(
            (session.customer, session.subscription, session.invoice),
            (None, None, None)
        );

        let body = of("charge.refunded");
        let charge = event(&body).charge().unwrap();
        assert_eq!(
            (charge.amount, charge.amount_refunded, charge.refunded),
            (12_000, 5_000, false)
        );
        assert_eq!(charge.capture_before, Some(fixtures::CREATED + 604_800));
        let body = body.replace("\"card\"", "\"amazon_pay\"");
        let by_another_method = event(&body).charge().unwrap();
        assert_eq!(by_another_method.capture_before, charge.capture_before);
        assert_eq!(charge.metadata.escrow_id(), Some("escrow_fixture"));

        let body = of("refund.failed");
        let refund = event(&body).refund().unwrap();
        assert_eq!(refund.status, Some(RefundStatus::Failed));
        assert_eq!(refund.failure_reason.as_deref(), Some("lost_or_stolen_card"));
        assert!(event(&of("charge.refund.updated")).refund().is_ok());

        let body = of("charge.dispute.closed");
        let dispute = event(&body).dispute().unwrap();
        assert_eq!(
            (dispute.status, dispute.due_by),
            (DisputeStatus::Lost, Some(fixtures::CREATED + 864_000))
        );

        let body = of("payment_intent.payment_failed");
        let intent = event(&body).payment_intent().unwrap();
        assert_eq!(intent.status, PaymentIntentStatus::RequiresPaymentMethod);
        let failure = intent.last_payment_error.unwrap();
        assert_eq!(failure.decline_code.as_deref(), Some("insufficient_funds"));
        assert_eq!(failure.advice_code.as_deref(), Some("try_again_later"));

        let body = of("transfer.reversed");
        let transfer = event(&body).transfer().unwrap();
        assert_eq!(
            (transfer.amount, transfer.amount_reversed, transfer.reversed),
            (10_800, 4_000, false)
        );
        assert_eq!(transfer.destination.as_deref(), Some(fixtures::ACCOUNT_ID));

        let body = of("account.updated");
        let view = event(&body);
        assert_eq!(view.envelope.account.as_deref(), Some(fixtures::ACCOUNT_ID));
        let account = view.account().unwrap();
        assert_eq!(account.transfers, Some(CapabilityStatus::Active));
        assert_eq!(account.requirements.past_due, ["individual.verification.document"]);
        assert_eq!(
            account.requirements.disabled_reason.as_deref(),
            Some("requirements.past_due")
        );

        let body = of("payout.failed");
        let payout = event(&body).payout().unwrap();
        assert_eq!(
            (payout.status, payout.failure_code.as_deref()),
            (PayoutStatus::Failed, Some("account_closed"))
        );
    }
    let body = fixture("invoice_payment.paid", Version::Basil);
    let payment = event(&body).invoice_payment().unwrap();
    assert_eq!((payment.amount_paid, payment.charge), (Some(4900), None));
    assert_eq!(payment.payment_intent.as_deref(), Some("pi_3QFixture0000000000000001"));
    let old = r#"{"id":"pi_1","object":"payment_intent","status":"succeeded","amount":1,"currency":"eur","created":1,
        "charges":{"object":"list","data":[{"id":"ch_1","object":"charge"}]}}"#;
    assert_eq!(
        event(&around(old)).payment_intent().unwrap().latest_charge.as_deref(),
        Some("ch_1")
    );
}

#[test]
fn errors_name_the_path_in_words() {
    let text = |result: Result<Invoice, ViewError>| result.unwrap_err().to_string();
    let instead = |value: &str| {
        let body = around(&INVOICE.replacen("\"amount_paid\":0", &format!("\"amount_paid\":{value}"), 1));
        text(event(&body).invoice())
    };
    for value in ["1.5", "1e3", "\"100\"", "true", "[]", "{}", "-0.0"] {
        assert_eq!(instead(value), "invoice.amount_paid is not an integer of minor units");
    }
    assert_eq!(
        instead("9223372036854775808"),
        "invoice.amount_paid is larger than 64 bits can hold"
    );
    assert_eq!(
        instead("-9223372036854775809"),
        "invoice.amount_paid is larger than 64 bits can hold"
    );
    assert_eq!(instead("null"), "invoice.amount_paid is missing");
    for (members, expected) in [
        (
            r#""subscription":5"#,
            "invoice.subscription is neither an id nor an object with one",
        ),
        (
            r#""subscription":"""#,
            "invoice.subscription is neither an id nor an object with one",
        ),
        (
            r#""subscription":{"object":"subscription"}"#,
            "invoice.subscription.id is missing",
        ),
        (
            r#""subscription":{"id":{"id":{}}}"#,
            "invoice.subscription.id is neither an id nor an object with one",
        ),
        (r#""parent":[]"#, "invoice.parent is not an object"),
        (
            r#""parent":{"subscription_details":{"subscription":false}}"#,
            "invoice.parent.subscription_details.subscription is neither an id nor an object with one",
        ),
        (r#""lines":{"data":{}}"#, "invoice.lines.data is not a list"),
        (
            r#""lines":{"data":[{"period":{"end":1}},{"period":{"end":"x"}}]}"#,
            "invoice.lines.data[1].period.end is not a time in whole unix seconds",
        ),
        (r#""lines":[7]"#, "invoice.lines[0] is not an object"),
        (r#""attempt_count":"1""#, "invoice.attempt_count is not an integer"),
        (
            r#""paid_out_of_band":"no""#,
            "invoice.paid_out_of_band is neither true nor false",
        ),
        (r#""status":3"#, "invoice.status is not a text"),
        (r#""status":"\ud800""#, "invoice.status is not a text"),
        (
            r#""metadata":{"client_id":"a\u0000b"}"#,
            "invoice.metadata.client_id contains the character U+0000, which cannot be stored",
        ),
        (
            r#""metadata":{"a\u0000":"b"}"#,
            "invoice.metadata.(a key) contains the character U+0000, which cannot be stored",
        ),
        (
            r#""metadata":{"client_id":7}"#,
            "invoice.metadata.client_id is not a text",
        ),
        (r#""created":8"#, "invoice.created appears more than once"),
    ] {
        assert_eq!(text(invoice(members)), expected);
    }
    let long = format!(r#""customer":"{}""#, "c".repeat(256));
    assert_eq!(
        text(invoice(&long)),
        "invoice.customer is neither an id nor an object with one"
    );
}

#[test]
fn an_event_without_the_object_says_so() {
    let thin = &fixtures::thin().remove(0).body;
    assert_eq!(event(thin).invoice().unwrap_err(), ViewError::NoObject);
    assert_eq!(event(thin).object_id().unwrap_err(), ViewError::NoObject);
    let other = fixture("invoice.paid", Version::Basil);
    let error = event(&other).subscription().unwrap_err();
    assert_eq!(error.to_string(), "the object is of kind invoice, not subscription");
    let nameless = around("{}");
    assert!(matches!(
        event(&nameless).charge().unwrap_err(),
        ViewError::OtherObject { expected: "charge", .. }
    ));
    assert_eq!(event(&nameless).object_id().unwrap(), None);
    for data in ["[]", "7", "\"x\""] {
        let body = format!(r#"{{"id":"evt_1","type":"t","created":1,"data":{data}}}"#);
        assert_eq!(
            EventView::parse(body.as_bytes()).unwrap_err().to_string(),
            "data is not an object"
        );
    }
    for data in ["null", "{}", r#"{"object":null}"#] {
        let body = format!(r#"{{"id":"evt_1","type":"t","created":1,"data":{data}}}"#);
        assert_eq!(event(&body).charge().unwrap_err(), ViewError::NoObject);
    }
    assert!(matches!(EventView::parse(b"{"), Err(ViewError::Envelope(_))));
}
