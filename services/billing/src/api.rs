//! What the document says of these routes.

use domain::billing::state::ClientState;
use service_kit::openapi::{Credential, Field, Operation, Schema, Verb};

use Field::{Always, Maybe};

const READERS: &str = "a service, an admin, and members of the client's organisation (others get 404)";

fn maybe_text() -> Schema {
    Schema::text().or_null()
}

fn maybe_time() -> Schema {
    Schema::time().or_null()
}

fn state() -> Schema {
    let words: Vec<&str> = ClientState::ALL.iter().map(|state| state.as_str()).collect();
    Schema::one_of(&words)
}

fn source() -> Schema {
    Schema::one_of(&["NONE", "STRIPE", "MANUAL"])
}

fn client() -> Schema {
    let last = Schema::object([
        ("event_id", Always, Schema::text()),
        ("type", Always, Schema::text()),
        ("created", Always, Schema::time()),
    ]);
    Schema::object([
        ("client_id", Always, Schema::text()),
        ("org_id", Always, Schema::text()),
        ("state", Always, state()),
        ("payment_source", Always, source()),
        ("stripe_customer_id", Always, maybe_text()),
        ("stripe_subscription_id", Always, maybe_text()),
        ("current_period_end", Always, maybe_time()),
        ("checkout_session_id", Always, maybe_text()),
        ("contracted_price_id", Always, maybe_text()),
        ("contracted_currency", Always, maybe_text()),
        ("last_event", Always, last.or_null()),
        ("version", Always, Schema::integer().note("One more with each change.")),
    ])
    .named("Client")
}

fn decision() -> Schema {
    let outcomes = [
        "applied",
        "semantic_duplicate",
        "stale",
        "ignored",
        "rejected",
        "waiting",
        "parked",
    ];
    Schema::object([
        ("event_id", Always, Schema::text()),
        ("type", Always, Schema::text()),
        ("created", Always, Schema::time()),
        ("received_at", Always, Schema::time()),
        ("decided_at", Always, Schema::time()),
        ("outcome", Always, Schema::one_of(&outcomes)),
        ("guard", Always, maybe_text()),
        ("reason", Always, maybe_text()),
        ("from", Always, maybe_text()),
        ("to", Always, maybe_text()),
        ("details", Always, Schema::any_object()),
    ])
    .named("Decision")
}

fn explanation() -> Schema {
    let subscription = Schema::object([
        ("stripe_subscription_id", Always, Schema::text()),
        ("speaks", Always, Schema::boolean()),
        ("voice", Always, maybe_text()),
        ("state", Always, maybe_text()),
        ("basis", Always, Schema::one_of(&["snapshot", "payments"]).or_null()),
        ("status", Always, maybe_text()),
        ("snapshot_at", Always, maybe_time()),
        ("since", Always, maybe_time()),
        ("current_period_end", Always, maybe_time()),
        ("price", Always, maybe_text()),
        ("undecided", Always, Schema::boolean()),
        (
            "first_paid_at",
            Always,
            maybe_time().note("When the first invoice that was paid was made."),
        ),
        (
            "last_paid_at",
            Always,
            maybe_time().note("When the last invoice that was paid was made."),
        ),
        (
            "last_failed_at",
            Always,
            maybe_time().note("When the last invoice that failed was made."),
        ),
    ]);
    let payment = Schema::object([
        ("id", Always, Schema::text()),
        ("stripe_subscription_id", Always, maybe_text()),
        ("amount", Always, Schema::integer().note("Minor units.")),
        ("currency", Always, maybe_text()),
        ("paid_at", Always, maybe_time()),
        ("failed_at", Always, maybe_time()),
    ]);
    let of_charge = Schema::object([
        ("id", Always, Schema::text()),
        ("charge", Always, Schema::text()),
        ("status", Always, Schema::text()),
        ("amount", Always, Schema::integer().note("Minor units.")),
        ("currency", Always, Schema::text()),
    ])
    .named("OfCharge");
    let waiting = Schema::object([
        ("event_id", Always, Schema::text()),
        ("type", Always, Schema::text()),
        ("created", Always, Schema::time()),
        ("waiting_for", Always, Schema::list(Schema::text())),
    ]);
    Schema::object([
        ("client", Always, client()),
        ("why", Always, Schema::text().note("One sentence.")),
        ("subscriptions", Always, Schema::list(subscription)),
        ("payments", Always, Schema::list(payment)),
        ("refunds", Always, Schema::list(of_charge.clone())),
        ("disputes", Always, Schema::list(of_charge)),
        ("waiting", Always, Schema::list(waiting)),
    ])
    .named("Explanation")
}

fn of_client(operation: Operation) -> Operation {
    operation
        .path("client_id", Schema::text().note("1 to 255 visible ASCII characters."))
        .problem(400, &["field_invalid"])
        .problem(503, &["database_unavailable"])
}

fn reading(id: &'static str, summary: &'static str) -> Operation {
    of_client(Operation::of(Verb::Get, id, summary, READERS, &[Credential::Token])).problem(404, &["not_found"])
}

pub(crate) fn put_client() -> Operation {
    let request = Schema::object([
        (
            "org_id",
            Always,
            Schema::text().note("An organisation that is not known is created."),
        ),
        ("payment_source", Always, source()),
        (
            "state",
            Maybe,
            Schema::one_of(&["TRIAL_PENDING", "TRIAL_ACTIVE"])
                .or_null()
                .note("Only counts for a new client."),
        ),
        ("stripe_customer_id", Maybe, maybe_text()),
        ("checkout_session_id", Maybe, maybe_text()),
        (
            "contracted_price_id",
            Maybe,
            maybe_text().note("null: no price is agreed any more; absent: as before."),
        ),
        (
            "contracted_currency",
            Maybe,
            maybe_text().note("ISO 4217. null: no currency is agreed any more; absent: as before."),
        ),
    ]);
    let operation = Operation::of(
        Verb::Put,
        "putClient",
        "Registers a client and what was agreed with it.",
        "a service",
        &[Credential::Token],
    );
    of_client(operation)
        .body(Always, request.named("ClientRegistration"))
        .answer(200, "The client was known.", client())
        .answer(201, "The client is new.", client())
        .problem(409, &["conflict"])
        .problem(415, &["unsupported_media_type"])
}

pub(crate) fn get_client() -> Operation {
    reading("getClient", "Shows a client.").answer(200, "The client.", client())
}

pub(crate) fn get_explanation() -> Operation {
    reading("explainClient", "Says why a client is in its state.").answer(
        200,
        "The facts that decide, and the one that is heard.",
        explanation(),
    )
}

pub(crate) fn get_timeline() -> Operation {
    let page = Schema::object([
        ("client_id", Always, Schema::text()),
        ("decisions", Always, Schema::list(decision())),
        (
            "next",
            Maybe,
            Schema::uuid().note("Pass it as before for the next page; absent on the last one."),
        ),
    ]);
    reading("getTimeline", "Lists the decisions about a client, newest first.")
        .query("before", Schema::uuid())
        .query("limit", Schema::integer().note("1 to 200, 50 by default."))
        .answer(200, "A page of decisions.", page)
        .problem(400, &["query_malformed"])
}
