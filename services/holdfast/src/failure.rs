//! What a person reads when a command fails: what was tried, why it did not work, and what to do.

use std::process::ExitCode;

use bus::depths::DepthError;
use bus::parked::ParkedError;
use db::migrate::MigrateError;
use db::verify::VerifyError;
use db::{DbError, SqlState};
use service_kit::config::Problems;
use service_kit::http::ServeError;

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

fn advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    // These two stand for the database's error, and so hide it from the chain.
    if let Some(MigrateError::Database(error)) = error.downcast_ref() {
        return of_database(error);
    }
    if let Some(VerifyError::Database(error)) = error.downcast_ref() {
        return of_database(error);
    }
    if let Some(error) = error.downcast_ref::<DbError>() {
        return of_database(error);
    }
    if error.is::<bus::ConnectError>() || error.is::<bus::PublishError>() {
        return Some("see that the broker runs and that AMQP_URL names it");
    }
    let is_missing = matches!(error.downcast_ref(), Some(ParkedError::Read { .. }))
        || matches!(error.downcast_ref(), Some(DepthError::Count { .. }));
    if is_missing {
        return Some("the queues are made by the first service that runs: holdfast run all");
    }
    if matches!(error.downcast_ref(), Some(ServeError::Bind { .. })) {
        return Some("another address: HOLDFAST_LISTEN, HOLDFAST_METRICS_LISTEN");
    }
    None
}

fn of_database(error: &DbError) -> Option<&'static str> {
    match error.code().map(SqlState::code) {
        Some("42P01" | "42703" | "42883") => Some("bring the schema up: holdfast migrate"),
        Some("42501") => Some("connect as the role that this needs (docs/DATABASE.md)"),
        Some("28P01" | "28000") => Some("check the user and the password in the database's URL"),
        Some("3D000") => Some("create the database that its URL names"),
        _ if error.is_unavailable() => Some("see that the database runs and that its URL names it"),
        _ => None,
    }
}
