//! What the document says of these routes.

use service_kit::openapi::{Credential, Field, Operation, Schema, Verb};

const CALLERS: &str = "an admin of any organisation";
const NEXT_PAGE: &str = "The next page, where there is one: <path?query>; rel=\"next\".";

fn of_admins(verb: Verb, id: &'static str, summary: &'static str) -> Operation {
    Operation::of(verb, id, summary, CALLERS, &[Credential::Token]).problem(503, &["database_unavailable"])
}

fn listed(operation: Operation, words: &str, of: Schema) -> Operation {
    let limit = Schema::integer().note("1 to 500, 100 by default.");
    operation
        .query("limit", limit)
        .answer(200, words, Schema::list(of))
        .answer_header(200, "Link", NEXT_PAGE)
        .problem(400, &["parameter_invalid", "query_malformed"])
}

fn alert() -> Schema {
    Schema::object([
        ("id", Field::Always, Schema::uuid()),
        (
            "alert_key",
            Field::Always,
            Schema::text().note("Of the unresolved ones each key has one."),
        ),
        ("kind", Field::Always, Schema::text()),
        ("severity", Field::Always, severity()),
        ("subject", Field::Always, Schema::text()),
        ("summary", Field::Always, Schema::text()),
        ("details", Field::Always, Schema::any_object()),
        ("occurrences", Field::Always, Schema::integer()),
        ("first_seen_at", Field::Always, Schema::time()),
        ("last_seen_at", Field::Always, Schema::time()),
        ("resolved", Field::Always, Schema::boolean()),
        ("resolved_at", Field::Always, Schema::time().or_null()),
        ("resolved_by", Field::Always, Schema::text().or_null()),
    ])
    .named("Alert")
}

fn severity() -> Schema {
    Schema::one_of(&["info", "warning", "critical"])
}

fn event() -> Schema {
    let (text, maybe) = (Schema::text, || Schema::text().or_null());
    Schema::object([
        ("event_id", Field::Always, text()),
        ("type", Field::Always, text()),
        ("created", Field::Always, Schema::time()),
        ("received_at", Field::Always, Schema::time()),
        ("recorded_at", Field::Always, Schema::time()),
        ("consumer", Field::Always, text()),
        ("endpoint", Field::Always, Schema::one_of(&["platform", "connect"])),
        ("account", Field::Always, maybe()),
        ("api_version", Field::Always, maybe()),
        ("livemode", Field::Always, Schema::boolean().or_null()),
        ("status", Field::Always, text()),
        ("outcome", Field::Always, text()),
        ("guard", Field::Always, maybe()),
        ("reason", Field::Always, maybe()),
        ("client_id", Field::Always, maybe()),
        ("org_id", Field::Always, maybe()),
        ("deliveries", Field::Always, Schema::integer()),
    ])
    .named("ArchivedEvent")
}

pub(super) fn list_alerts() -> Operation {
    let operation = of_admins(Verb::Get, "listBillingAlerts", "Lists alerts, the last seen first.")
        .query("severity", severity())
        .query("resolved", Schema::boolean())
        .query("offset", Schema::integer());
    listed(operation, "Alerts.", alert())
}

pub(super) fn resolve_alert() -> Operation {
    of_admins(Verb::Post, "resolveBillingAlert", "Ends an alert.")
        .path("id", Schema::uuid())
        .answer(200, "The alert, resolved.", alert())
        .problem(404, &["not_found"])
        .problem(409, &["already_resolved"])
}

pub(super) fn list_events() -> Operation {
    let operation = of_admins(Verb::Get, "listEvents", "Lists events, the last recorded first.")
        .query("type", Schema::text())
        .query("outcome", Schema::text())
        .query("status", Schema::text())
        .query("client_id", Schema::text())
        .query(
            "before",
            Schema::text().note("As the Link header of the page before said."),
        );
    listed(operation, "Events without their bodies.", event())
}

pub(super) fn replay_event() -> Operation {
    let replayed = Schema::object([
        ("event_id", Field::Always, Schema::text()),
        ("type", Field::Always, Schema::text()),
        ("routing_key", Field::Always, Schema::text()),
    ]);
    of_admins(
        Verb::Post,
        "replayEvent",
        "Publishes an event once more, as it was received.",
    )
    .path("event_id", Schema::text())
    .answer(202, "The broker holds it.", replayed)
    .problem(404, &["not_found"])
    .problem(409, &["payload_gone"])
    .problem(503, &["broker_unavailable"])
}
