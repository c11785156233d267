//! Tables of bodies and what `peek` says of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use stripe_gateway::envelope::{EnvelopeError, Form, MAX_ID_BYTES, MAX_TYPE_BYTES, peek};

const GOOD: &str = r#"{"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1700000000,
  "livemode": false, "account": "acct_1", "context": "acct_1/acct_2", "api_version": "2023-10-16",
  "data": {"object": {"id": "in_1", "type": "inner", "created": "x"}}, "pending_webhooks": 1}"#;

fn refused(body: impl AsRef<[u8]>) -> EnvelopeError {
    let error = peek(body.as_ref()).expect_err("the body should be refused");
    assert_eq!(error.code(), "payload_malformed");
    assert!(
        error.to_string().is_ascii(),
        "the text of an error carries nothing of the body"
    );
    error
}

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn the_fields_of_a_snapshot_are_read_from_the_outermost_object_only() {
    let envelope = peek(GOOD.as_bytes()).unwrap();
    assert_eq!(envelope.id, "evt_1");
    assert_eq!(envelope.kind, "invoice.paid");
    assert_eq!(envelope.created, 1_700_000_000);
    assert_eq!(envelope.account.as_deref(), Some("acct_1"));
    assert_eq!(envelope.context.as_deref(), Some("acct_1/acct_2"));
    assert_eq!(envelope.livemode, Some(false));
    assert_eq!(envelope.api_version.as_deref(), Some("2023-10-16"));
    assert_eq!(envelope.form, Form::Snapshot);
    assert!(
        matches!(envelope.id, std::borrow::Cow::Borrowed(_)),
        "nothing is copied without need"
    );
}

#[test]
fn what_stripe_leaves_out_or_nulls_is_accepted() {
    let bare = r#"{"type":"a_future.type","created":0,"id":"evt_1"}"#;
    let nulls = r#"{"id":"evt_1","object":null,"type":"a_future.type","created":0,"account":null,"context":null,
        "livemode":null,"api_version":null,"data":null}"#;
    for body in [bare, nulls] {
        let envelope = peek(body.as_bytes()).unwrap();
        assert_eq!(
            (envelope.account, envelope.context, envelope.api_version),
            (None, None, None)
        );
        assert_eq!(
            (envelope.livemode, envelope.form, envelope.created),
            (None, Form::Snapshot, 0)
        );
    }
}

#[test]
fn a_thin_event_has_its_time_as_text_and_brackets_in_its_type() {
    let thin = r#"{"id":"evt_test_65","object":"v2.core.event","type":"v2.core.account[requirements].updated",
        "created":"2026-09-30T12:00:00.250Z","livemode":true,"context":null,"related_object":{"id":"acct_1"}}"#;
    let envelope = peek(thin.as_bytes()).unwrap();
    assert_eq!(envelope.form, Form::Thin);
    assert_eq!(envelope.kind, "v2.core.account[requirements].updated");
    assert_eq!(envelope.created, 1_790_769_600);
    for wrong in ["yesterday", "2026-09-30", "", "2026-13-30T12:00:00Z", "1700000000"] {
        let body = thin.replace("2026-09-30T12:00:00.250Z", wrong);
        assert!(
            matches!(refused(body), EnvelopeError::WrongType { field: "created", .. }),
            "{wrong}"
        );
    }
    assert_eq!(
        refused(thin.replace("2026-", "1969-")),
        EnvelopeError::CreatedOutOfRange
    );
}

#[test]
fn a_body_that_is_no_event_is_called_by_what_it_is() {
    assert_eq!(refused(""), EnvelopeError::Empty);
    assert_eq!(refused(format!("\u{feff}{GOOD}")), EnvelopeError::ByteOrderMark);
    assert_eq!(refused(b"\xff\xfe{}"), EnvelopeError::NotUtf8 { at: 0 });
    let mut bytes = GOOD.as_bytes().to_vec();
    let at = GOOD.find("inner").unwrap();
    *bytes.get_mut(at).unwrap() = 0xc0;
    assert_eq!(refused(&bytes), EnvelopeError::NotUtf8 { at });
    for no_object in [
        "null",
        "1",
        "1e999999",
        "\"evt_1\"",
        "[]",
        "[{\"id\":\"evt_1\"}]",
        "true",
        "99999999999999999999999",
    ] {
        let error = refused(no_object);
        assert!(
            matches!(error, EnvelopeError::NotAnObject | EnvelopeError::NotJson { .. }),
            "{no_object}: {error}"
        );
    }
    let broken = [
        "{",
        "{}{}",
        "not json",
        "{'id':1}",
        "{\"id\":}",
        "{\"a\":01}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\x\"}",
        " ",
        "{,}",
    ];
    for broken in broken.map(str::to_owned).into_iter().chain([
        format!("{GOOD},"),
        format!("{GOOD}\0"),
        GOOD.replace("1}", "1,}"),
    ]) {
        assert!(matches!(refused(&broken), EnvelopeError::NotJson { .. }), "{broken}");
    }
    assert_eq!(refused("{}"), EnvelopeError::Missing { field: "id" });
    for object in ["\"charge\"", "\"\"", "\"Event\"", "1", "{}", "[]"] {
        assert_eq!(
            refused(with("\"object\": \"event\"", &format!("\"object\": {object}"))),
            EnvelopeError::NotAnEvent
        );
    }
    assert_eq!(
        refused(r#"{"version":"0","detail-type":"invoice.paid","detail":{}}"#),
        EnvelopeError::Missing { field: "id" }
    );
}

#[test]
fn every_cut_of_a_body_is_refused() {
    for end in 0..GOOD.len() {
        let error = refused(&GOOD.as_bytes()[..end]);
        assert!(
            matches!(error, EnvelopeError::Empty | EnvelopeError::NotJson { .. }),
            "{end}: {error}"
        );
    }
}

#[test]
fn wrong_types_and_missing_fields_name_the_field() {
    for (field, member) in [
        ("id", "\"id\": \"evt_1\""),
        ("type", "\"type\": \"invoice.paid\""),
        ("created", "\"created\": 1700000000"),
    ] {
        assert_eq!(refused(with(member, "\"x\": 1")), EnvelopeError::Missing { field });
        assert_eq!(
            refused(with(member, &format!("\"{field}\": null"))),
            EnvelopeError::Missing { field }
        );
    }
    for (field, member, plain) in [
        ("id", "\"id\": \"evt_1\"", "evt_1"),
        ("type", "\"type\": \"invoice.paid\"", "invoice.paid"),
        ("account", "\"account\": \"acct_1\"", "acct_1"),
        ("context", "\"context\": \"acct_1/acct_2\"", "x"),
        ("api_version", "\"api_version\": \"2023-10-16\"", "x"),
    ] {
        for value in [
            "1",
            "-1.5",
            "true",
            "{}",
            "[]",
            "{\"a\":[1]}",
            "[[],{}]",
            "18446744073709551616",
        ] {
            let error = refused(with(member, &format!("\"{field}\": {value}")));
            assert_eq!(
                error,
                EnvelopeError::WrongType {
                    field,
                    expected: "a text"
                }
            );
        }
        assert_eq!(
            refused(with(member, &format!("\"{field}\": \"\""))),
            EnvelopeError::EmptyText { field }
        );
        let twice = format!("\"{field}\": \"{plain}\", \"{field}\": \"{plain}\"");
        assert_eq!(refused(with(member, &twice)), EnvelopeError::Duplicate { field });
        for text in [
            "a\\n",
            "a\\u0000",
            "a\\u001b[31m",
            "a\\\"b",
            "a#",
            "*",
            "a\\\\",
            "\u{202e}x",
            "é",
            "a<b",
            "a'b",
        ] {
            let error = refused(with(member, &format!("\"{field}\": \"{text}\"")));
            assert_eq!(error, EnvelopeError::UnsafeText { field }, "{text}");
        }
    }
    for value in [
        "\"x\"",
        "1.5",
        "1e3",
        "true",
        "[]",
        "{}",
        "9223372036854775808",
        "-9223372036854775809",
    ] {
        let error = refused(with("1700000000", value));
        assert!(
            matches!(error, EnvelopeError::WrongType { field: "created", .. }),
            "{value}"
        );
    }
    for value in ["-1", "253402300800", "9223372036854775807"] {
        assert_eq!(refused(with("1700000000", value)), EnvelopeError::CreatedOutOfRange);
    }
    for value in ["1", "\"false\"", "[]"] {
        let error = refused(with("false", value));
        assert!(matches!(error, EnvelopeError::WrongType { field: "livemode", .. }));
    }
}

#[test]
fn texts_fit_a_routing_key() {
    let long = |field: &str, length: usize| {
        with(
            &format!("\"{field}\": \""),
            &format!("\"{field}\": \"{}", "a".repeat(length)),
        )
    };
    assert_eq!("platform.".len() + MAX_TYPE_BYTES, 255);
    let kind_fits = long("type", MAX_TYPE_BYTES - "invoice.paid".len());
    assert_eq!(peek(kind_fits.as_bytes()).unwrap().kind.len(), MAX_TYPE_BYTES);
    let error = refused(long("type", MAX_TYPE_BYTES - "invoice.paid".len() + 1));
    assert_eq!(
        error,
        EnvelopeError::TooLong {
            field: "type",
            limit: MAX_TYPE_BYTES
        }
    );
    assert!(peek(long("id", MAX_ID_BYTES - 5).as_bytes()).is_ok());
    assert_eq!(
        refused(long("id", MAX_ID_BYTES - 4)),
        EnvelopeError::TooLong {
            field: "id",
            limit: MAX_ID_BYTES
        }
    );
}

#[test]
fn escapes_are_read_and_unknown_members_may_repeat_or_be_anything() {
    let body = with("invoice.paid", "invoice\\u002epaid").replace("\"id\"", "\"\\u0069d\"");
    assert_eq!(peek(body.as_bytes()).unwrap().kind, "invoice.paid");
    for extra in [
        "1e999999",
        "-0.0",
        "123456789012345678901234567890",
        "\"\\ud83d\\ude00 \u{1f600}\"",
        "[1,[2,{\"id\":\"x\"}]]",
    ] {
        let body = with("\"pending_webhooks\": 1", &format!("\"x\": {extra}, \"x\": {extra}"));
        assert_eq!(peek(body.as_bytes()).unwrap().id, "evt_1");
    }
}

#[test]
fn deep_nesting_uses_no_stack() {
    let check = || {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let (open, close) = (open.repeat(100_000), close.repeat(100_000));
            let inner = format!("{open}1{close}");
            let body = with("\"pending_webhooks\": 1", &format!("\"deep\": {inner}"));
            assert_eq!(peek(body.as_bytes()).unwrap().id, "evt_1");
            let error = refused(with("\"evt_1\"", &inner));
            assert!(matches!(error, EnvelopeError::WrongType { field: "id", .. }), "{error}");
            assert!(matches!(
                refused(&open),
                EnvelopeError::NotAnObject | EnvelopeError::NotJson { .. }
            ));
            assert!(matches!(
                refused(with("\"evt_1\"", &open)),
                EnvelopeError::NotJson { .. }
            ));
        }
    };
    std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(check)
        .unwrap()
        .join()
        .unwrap();
}
