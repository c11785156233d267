//! What a failure of the database means for a batch.

use bus::BatchError;
use db::DbError;

/// SQLSTATE classes that no message can be the cause of: no access, no such database, no such table or column or right.
/// They mean a wrong password, a missing migration or a missing grant, and pass when a person has acted.
const EVERY_MESSAGE: [&str; 3] = ["28", "3D", "42"];

/// Whether the batch waits for the database or is taken apart. A message must not be parked for a schema that is not there
/// yet.
pub(crate) fn of_batch(error: &DbError) -> BatchError {
    let class = error.code().and_then(|code| code.code().get(..2));
    let reason = chain(error);
    if error.is_unavailable() || class.is_some_and(|class| EVERY_MESSAGE.contains(&class)) {
        BatchError::unavailable(reason)
    } else {
        BatchError::failed(reason)
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
