//! What the document says of this route.

use service_kit::openapi::{Credential, Field, Operation, Schema, Verb};

/// `POST /api/retry/transfers`.
pub(crate) fn run() -> Operation {
    let number = |words| Schema::integer().note(words);
    let report = Schema::object([
        (
            "success",
            Field::Always,
            Schema::boolean().note("Every command was sent."),
        ),
        ("found", Field::Always, number("Refused calls whose backoff was over.")),
        ("processed", Field::Always, number("Calls that were sent on.")),
        (
            "succeeded",
            Field::Always,
            number("Calls that have happened by the end of the run."),
        ),
        ("failed", Field::Always, number("Calls that were refused again.")),
        ("pending", Field::Always, number("Calls that are still being made.")),
        ("left", Field::Always, number("Calls that the next run finds.")),
    ]);
    Operation::of(
        Verb::Post,
        "retryTransfers",
        "Has refused transfers, reversals and refunds made again, at most ten.",
        "a service or a scheduler",
        &[Credential::Token, Credential::ReconcileSecret],
    )
    .answer(200, "What the run did.", report.named("RetryReport"))
    .problem(503, &["broker_unavailable", "database_unavailable"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RetryReport;
    use service_kit::openapi::{check_answer, document};

    #[test]
    fn a_report_is_as_documented() {
        let document = document(&[("/x".to_owned(), run())]);
        let report = serde_json::to_value(RetryReport::default()).unwrap();
        assert_eq!(check_answer(&document, "POST", "/x", 200, &report), Ok(()));
    }
}
