//! The use case behind `PUT /api/clients/{client_id}`: our side says what was agreed with a client.

use db::billing::clients::{ClientRow, find_client};
use db::billing::inbox::{find_events_waiting_for_session_in_txn, find_waiting_events_in_txn};
use db::billing::owners::{client_lock, customer_lock, lock_unknowns_in_txn, session_lock};
use db::billing::registration::{Registered, Registration, register_client_in_txn};
use db::outbox::insert_outbox_in_txn;
use db::{Database, DbError, TransactError, in_txn};

use crate::announcement;

/// Why a registration was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// The database.
    #[error("the database did not take the registration")]
    Database(#[from] DbError),
    /// Something of it belongs to somebody else.
    #[error("the registration conflicts")]
    Conflict(Registered),
}

impl TransactError for RegisterError {
    fn db_error(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Conflict(_) => None,
        }
    }
}

/// A registered client, and whether it is new.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) client: ClientRow,
    pub(crate) is_new: bool,
    /// Events that waited for it are on their way to be decided.
    pub(crate) released: usize,
}

/// Registers a client, and sends what waited for it back to be decided: in one transaction, under the locks that the consumer
/// takes before it sets an event aside.
pub(crate) async fn register(database: &Database, registration: &Registration<'_>) -> Result<Outcome, RegisterError> {
    database
        .transact(|txn| {
            in_txn(async move {
                let mut names = vec![client_lock(registration.client)];
                names.extend(registration.customer.map(customer_lock));
                names.extend(registration.checkout_session.map(session_lock));
                lock_unknowns_in_txn(txn, &mut names).await?;
                let is_new = match register_client_in_txn(txn, registration).await? {
                    Registered::New => true,
                    Registered::Known => false,
                    conflict => return Err(RegisterError::Conflict(conflict)),
                };
                let customers: Vec<&str> = registration.customer.into_iter().collect();
                let mut waiting = find_waiting_events_in_txn(txn, registration.client, &customers).await?;
                if let Some(session) = registration.checkout_session {
                    waiting.extend(find_events_waiting_for_session_in_txn(txn, session).await?);
                }
                waiting.sort_unstable_by(|a, b| (a.created, &a.event_id).cmp(&(b.created, &b.event_id)));
                waiting.dedup_by(|a, b| (a.created, &a.event_id) == (b.created, &b.event_id));
                let released = waiting.len();
                let rows: Vec<_> = waiting.into_iter().map(announcement::decide_again).collect();
                insert_outbox_in_txn(txn, &rows).await?;
                let client = find_client(txn, registration.client)
                    .await?
                    .ok_or_else(|| DbError::Value {
                        operation: "register_client",
                        detail: "the client that was just registered is not there".to_owned(),
                    })?;
                Ok(Outcome {
                    client,
                    is_new,
                    released,
                })
            })
        })
        .await
}
