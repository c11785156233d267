//! Objects that stand alone, as the API answers with them, and pages of lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use stripe_gateway::fixtures;
use stripe_gateway::views::{EventView, List, ObjectView, ViewError};

#[test]
fn an_object_reads_the_same_alone_as_in_its_event() {
    let mut alike = 0;
    for fixture in fixtures::all() {
        let event = EventView::parse(fixture.body.as_bytes()).unwrap();
        let Some(raw) = event.object else { continue };
        let body = format!("{}\n", raw.get());
        let alone = ObjectView::parse(body.as_bytes()).unwrap();
        macro_rules! same {
            ($($view:ident)+) => {
                $(
                    assert_eq!(alone.$view(), event.$view(), "{} of {}", stringify!($view), fixture.kind);
                    alike += usize::from(alone.$view().is_ok());
                )+
            };
        }
        same!(subscription invoice checkout_session charge refund dispute payment_intent transfer account payout invoice_payment);
        assert_eq!(alone.id(), event.object_id());
    }
    assert!(alike > 40, "only {alike} objects were read");
}

#[test]
fn a_body_that_is_no_object_says_so() {
    for body in ["", "[]", "null", "7", "{", "{} {}", "\u{feff}{}", "<html>"] {
        assert_eq!(
            ObjectView::parse(body.as_bytes()).unwrap_err(),
            ViewError::NotAnObject,
            "{body}"
        );
    }
    assert_eq!(
        ObjectView::parse(b"{\"a\": \"\xff\"}").unwrap_err(),
        ViewError::NotAnObject
    );
    let event = &fixtures::all().remove(0).body;
    let error = ObjectView::parse(event.as_bytes()).unwrap().invoice().unwrap_err();
    assert_eq!(error.to_string(), "the object is of kind event, not invoice");
}

#[test]
fn a_page_is_a_list_that_says_whether_it_is_the_last() {
    let text = |body: &str| List::parse(body.as_bytes()).unwrap_err().to_string();
    let page = List::parse(br#"{"object":"list","data":[{"id":"a"}, 7],"has_more":true,"url":"/v1/x"}"#).unwrap();
    let items: Vec<&str> = page.items.iter().map(|item| item.get()).collect();
    assert_eq!((items, page.has_more), (vec![r#"{"id":"a"}"#, "7"], true));
    for (body, expect) in [
        (r#"{"object":"event"}"#, "the object is of kind event, not list"),
        (r#"{"object":"list","has_more":false}"#, "list.data is missing"),
        (
            r#"{"object":"list","data":{},"has_more":false}"#,
            "list.data is not a list",
        ),
        (r#"{"object":"list","data":[]}"#, "list.has_more is missing"),
        (
            r#"{"object":"list","data":[],"has_more":1}"#,
            "list.has_more is neither true nor false",
        ),
        (
            r#"{"object":"list","data":[],"has_more":true}"#,
            "list.has_more is true, but there is nothing to go on after",
        ),
    ] {
        assert_eq!(text(body), expect);
    }
}
