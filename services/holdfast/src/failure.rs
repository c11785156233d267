//! What a person reads when a command fails: what was tried, why it did not work, and what to do.

use std::process::ExitCode;

use service_kit::config::Problems;

/// Writes an error to stderr and gives the exit code to leave with.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        return problems.report();
    }
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    if let Some(advice) = error.chain().find_map(advice) {
        eprintln!("  try: {advice}");
    }
    ExitCode::FAILURE
}

fn advice(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<db::DbError>() {
        return of_database(error);
    }
    if error.is::<bus::ConnectError>() || error.is::<bus::PublishError>() {
        return Some("see that the broker runs and that AMQP_URL names it".to_owned());
    }
    None
}

fn of_database(error: &db::DbError) -> Option<String> {
    if error.is_unavailable() {
        return Some("see that the database runs and that its URL names it".to_owned());
    }
    let advice = match error.code()?.code() {
        "42P01" | "42703" | "42883" => "bring the schema up: holdfast migrate",
        "42501" => "connect as the role that this needs (docs/DATABASE.md)",
        "28P01" | "28000" => "check the user and the password in the database's URL",
        _ => return None,
    };
    Some(advice.to_owned())
}
