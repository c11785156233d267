//! The use case behind `PUT /api/clients/{client_id}`: our side says what was agreed with a client.

use db::billing::clients::{ClientRow, find_client};
use db::billing::owners::{client_name, customer_name, lock_names_in_txn, session_name};
use db::billing::registration::{Registered, Registration, register_client_in_txn};
use db::billing::waiting::{release_waiting_events_in_txn, reopen_rejections_in_txn, take_released_events_in_txn};
use db::outbox::insert_outbox_in_txn;
use db::{Database, DbError, TransactError, in_txn};
use domain::billing::contract::PaymentSource;
use domain::ids::PriceId;
use domain::money::Currency;

use crate::announcement;
use crate::releases::AT_ONCE;

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
    pub(crate) released: u64,
}

/// Registers a client, and sends what waited for it back to be decided: in one transaction, under the locks that the consumer
/// takes before it sets an event aside. Where something else is agreed now, events that were rejected for it are decided
/// again as well.
pub(crate) async fn register(database: &Database, registration: &Registration<'_>) -> Result<Outcome, RegisterError> {
    database
        .transact(|txn| {
            in_txn(async move {
                let mut names = vec![client_name(registration.client)];
                names.extend(registration.customer.map(customer_name));
                names.extend(registration.checkout_session.map(session_name));
                lock_names_in_txn(txn, &mut names).await?;
                let before = find_client(txn, registration.client).await?;
                let is_new = match register_client_in_txn(txn, registration).await? {
                    Registered::New => true,
                    Registered::Known => false,
                    conflict => return Err(RegisterError::Conflict(conflict)),
                };
                let client = find_client(txn, registration.client)
                    .await?
                    .ok_or_else(|| DbError::Value {
                        operation: "register_client",
                        detail: "the client that was just registered is not there".to_owned(),
                    })?;
                if before.is_some_and(|before| agreed(&before) != agreed(&client)) {
                    reopen_rejections_in_txn(txn, registration.client).await?;
                }
                let released = release_waiting_events_in_txn(txn, &names).await?;
                let first = take_released_events_in_txn(txn, AT_ONCE).await?;
                let rows: Vec<_> = first.into_iter().map(announcement::decide_again).collect();
                insert_outbox_in_txn(txn, &rows).await?;
                Ok(Outcome {
                    client,
                    is_new,
                    released,
                })
            })
        })
        .await
}

/// What an event may be rejected for.
fn agreed(client: &ClientRow) -> (PaymentSource, Option<&PriceId>, Option<Currency>) {
    (
        client.payment_source,
        client.contracted_price_id.as_ref(),
        client.contracted_currency,
    )
}
