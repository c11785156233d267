//! What the document says of these routes.

use domain::escrow::state::{EscrowStatus, RecipientStatus};
use serde_json::json;
use service_kit::openapi::{Credential, Field, Operation, Schema, Verb};

use Field::{Always, Maybe};

fn minor() -> Schema {
    Schema::integer().note("Minor units of the currency.")
}

fn maybe_text() -> Schema {
    Schema::text().or_null()
}

fn status() -> Schema {
    let words: Vec<&str> = EscrowStatus::ALL.iter().map(|status| status.as_str()).collect();
    Schema::one_of(&words)
}

fn fields() -> Vec<(&'static str, Field, Schema)> {
    let recipient_statuses: Vec<&str> = RecipientStatus::ALL.iter().map(|status| status.as_str()).collect();
    let recipient = Schema::object([
        ("account", Always, Schema::text()),
        ("amount", Always, minor()),
        ("status", Always, Schema::one_of(&recipient_statuses)),
        ("paid", Always, minor()),
        ("reason", Always, maybe_text()),
        ("what_to_do", Always, maybe_text()),
        ("requirements", Always, Schema::any_object().or_null()),
        ("transfers", Always, Schema::list(Schema::text())),
    ]);
    let operation = Schema::object([
        ("operation_id", Always, Schema::text()),
        (
            "number",
            Always,
            Schema::integer().note("The place in the path of a retry."),
        ),
        ("kind", Always, Schema::text()),
        ("account", Always, maybe_text()),
        ("transfer", Always, maybe_text()),
        ("amount", Always, minor()),
        ("status", Always, Schema::text()),
        ("reason", Always, maybe_text()),
        ("what_to_do", Always, maybe_text()),
        ("attempts", Always, Schema::integer()),
        ("object", Always, maybe_text().note("Stripe's id of what it made.")),
        ("request_id", Always, maybe_text().note("Stripe's.")),
    ]);
    let entry = Schema::object([
        ("transaction", Always, Schema::text()),
        ("kind", Always, Schema::text()),
        ("account", Always, Schema::text()),
        ("recipient", Always, maybe_text()),
        ("amount", Always, minor()),
        ("operation_id", Always, maybe_text()),
        ("posted_at", Always, Schema::time()),
    ]);
    vec![
        ("escrow_id", Always, Schema::text()),
        ("status", Always, status()),
        ("amount", Always, minor()),
        ("currency", Always, Schema::text().note("ISO 4217.")),
        ("platform_fee", Always, minor()),
        ("capture", Always, Schema::one_of(&["manual", "automatic"])),
        (
            "on_authorization_expiry",
            Always,
            Schema::one_of(&["refuse", "capture"]),
        ),
        ("expires_at", Always, Schema::time()),
        ("metadata", Always, Schema::any_object()),
        ("payment_intent_id", Always, maybe_text()),
        ("captured", Always, minor().or_null().note("Null until it is captured.")),
        ("refunded", Always, minor()),
        (
            "set_aside",
            Always,
            Schema::boolean().note(
                "No run of time-outs refunds it; it waits for a person. The refund breaker left it, its refund was withdrawn, or a dispute about it was won.",
            ),
        ),
        ("recipients", Always, Schema::list(recipient)),
        ("operations", Always, Schema::list(operation)),
        ("ledger", Always, Schema::list(entry)),
        ("created_at", Always, Schema::time()),
    ]
}

fn escrow() -> Schema {
    Schema::object(fields()).named("Escrow")
}

fn created() -> Schema {
    let mut fields = fields();
    let secret = maybe_text().note("For the payer's page; shown to the creator only.");
    fields.push(("client_secret", Always, secret));
    Schema::object(fields).named("CreatedEscrow")
}

fn of_services(verb: Verb, id: &'static str, summary: &'static str) -> Operation {
    Operation::of(verb, id, summary, "a service", &[Credential::Token]).problem(503, &["database_unavailable"])
}

fn key() -> Schema {
    Schema::text().note("1 to 255 visible ASCII characters; the same key gets the first answer again.")
}

fn command(id: &'static str, summary: &'static str) -> Operation {
    of_services(Verb::Post, id, summary)
        .path("id", Schema::text())
        .header("Idempotency-Key", Maybe, key())
        .answer(202, "It is decided and written down; the calls follow.", escrow())
        .problem(400, &["idempotency_key_malformed"])
        .problem(404, &["not_found"])
        .problem(409, &["wrong_state"])
        .problem(422, &["idempotency_key_reused"])
        .problem(503, &["busy"])
}

pub(crate) fn post_escrow() -> Operation {
    let amount = || ("amount", Always, minor());
    let points = |name| {
        (
            name,
            Always,
            Schema::integer().note("Basis points: 10000 are the whole."),
        )
    };
    let of_account = |share| Schema::object([("account", Always, Schema::text()), share]);
    let recipient = Schema::either([of_account(points("share_bps")), of_account(amount())]);
    let fee = Schema::either([Schema::object([points("bps")]), Schema::object([amount()])]);
    let request = Schema::object([
        amount(),
        ("currency", Always, Schema::text().note("ISO 4217.")),
        (
            "recipients",
            Always,
            Schema::list(recipient)
                .with("minItems", json!(1))
                .with("maxItems", json!(100)),
        ),
        ("platform_fee", Maybe, fee.or_null()),
        ("capture", Always, Schema::one_of(&["manual", "automatic"])),
        (
            "on_authorization_expiry",
            Maybe,
            Schema::one_of(&["refuse", "capture"]).or_null(),
        ),
        (
            "expires_at",
            Always,
            Schema::either([Schema::time(), Schema::integer().note("Seconds since 1970.")]),
        ),
        (
            "metadata",
            Maybe,
            Schema::any_object()
                .or_null()
                .note("At most 48 texts of at most 500 characters."),
        ),
    ]);
    of_services(Verb::Post, "createEscrow", "Creates an escrow and its payment.")
        .header("Idempotency-Key", Always, key())
        .body(Always, request.named("EscrowTerms"))
        .answer(201, "The escrow.", created())
        .problem(
            400,
            &[
                "idempotency_key_missing",
                "idempotency_key_malformed",
                "field_invalid",
                "stripe_refused",
            ],
        )
        .problem(415, &["unsupported_media_type"])
        .problem(422, &["idempotency_key_reused"])
        .problem(503, &["busy", "stripe_unavailable"])
}

pub(crate) fn get_escrow() -> Operation {
    of_services(Verb::Get, "getEscrow", "Shows an escrow.")
        .path("id", Schema::text())
        .answer(200, "The escrow.", escrow())
        .problem(404, &["not_found"])
}

pub(crate) fn post_release() -> Operation {
    command("releaseEscrow", "Pays an escrow out.")
}

pub(crate) fn post_refund() -> Operation {
    let part = Schema::object([(
        "amount",
        Maybe,
        Schema::integer().note("Minor units; without it everything that is left."),
    )]);
    command("refundEscrow", "Gives an escrow back, or a part of it.")
        .body(Maybe, part)
        .problem(400, &["field_invalid"])
}

pub(crate) fn post_withdraw_refund() -> Operation {
    command("withdrawRefund", "Gives up a refund that Stripe has refused.")
}

pub(crate) fn post_retry() -> Operation {
    let counts = Schema::object([(
        "object",
        Maybe,
        Schema::text().note("Of a call that happened twice and cannot be undone: the object at Stripe that counts."),
    )]);
    command(
        "retryOperation",
        "Sends a refused call on without waiting. One that happened twice is looked at again, once one of the two was undone.",
    )
    .path("number", Schema::integer())
    .body(Maybe, counts)
    .problem(400, &["path_malformed", "field_invalid"])
}

pub(crate) fn post_bear_loss() -> Operation {
    command("bearLoss", "Has the platform bear what a recipient does not give back.").path("account", Schema::text())
}

pub(crate) fn post_read_account() -> Operation {
    command(
        "readAccount",
        "Reads a recipient's account at Stripe, where its account.updated was lost; one that can receive again is paid.",
    )
    .path("account", Schema::text())
    .problem(409, &["account_gone"])
    .problem(503, &["stripe_unavailable"])
}

pub(crate) fn post_timeouts() -> Operation {
    let number = |words| Schema::integer().note(words);
    let report = Schema::object([
        (
            "success",
            Always,
            Schema::boolean().note("Nothing failed. A breaker that tripped is no failure."),
        ),
        ("found", Always, number("Escrows whose time was over.")),
        (
            "processed",
            Always,
            number("Escrows that were decided: given back or set aside."),
        ),
        ("succeeded", Always, number("Escrows that are being given back.")),
        ("failed", Always, number("Escrows that could not be decided.")),
        ("left", Always, number("Escrows whose time is over still.")),
        ("set_aside", Always, number("Escrows that wait for a person now.")),
        ("breaker_tripped", Always, Schema::boolean()),
    ]);
    Operation::of(
        Verb::Post,
        "runTimeouts",
        "Gives expired escrows back, as far as the refund breaker lets.",
        "a service or a scheduler",
        &[Credential::Token, Credential::ReconcileSecret],
    )
    .answer(200, "What the run did.", report.named("TimeoutReport"))
    .problem(503, &["busy", "database_unavailable"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeouts::TimeoutReport;
    use service_kit::openapi::{check_answer, document};

    #[test]
    fn a_report_is_as_documented() {
        let document = document(&[("/x".to_owned(), post_timeouts())]);
        let report = serde_json::to_value(TimeoutReport::default()).unwrap();
        assert_eq!(check_answer(&document, "POST", "/x", 200, &report), Ok(()));
    }
}
