//! Registering a client: what `PUT /api/clients/{client_id}` writes.

use deadpool_postgres::Transaction;
use domain::billing::contract::PaymentSource;
use domain::billing::state::ClientState;

use super::{execute, query};
use crate::DbError;

/// What our side says of a part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed<T> {
    /// Nothing: it stays as it is.
    AsBefore,
    /// It is agreed no more.
    NoMore,
    /// This.
    On(T),
}

impl<T> Agreed<T> {
    /// The same by reference.
    pub const fn as_ref(&self) -> Agreed<&T> {
        match self {
            Self::AsBefore => Agreed::AsBefore,
            Self::NoMore => Agreed::NoMore,
            Self::On(value) => Agreed::On(value),
        }
    }

    /// The same with another form of the value.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Agreed<U> {
        match self {
            Self::AsBefore => Agreed::AsBefore,
            Self::NoMore => Agreed::NoMore,
            Self::On(value) => Agreed::On(to(value)),
        }
    }

    /// Whether something is said, and what is agreed then.
    fn said(self) -> (bool, Option<T>) {
        match self {
            Self::AsBefore => (false, None),
            Self::NoMore => (true, None),
            Self::On(value) => (true, Some(value)),
        }
    }
}

/// What our side says of a client. `None` leaves what is known as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration<'a> {
    /// The client.
    pub client: &'a str,
    /// Its organisation.
    pub org: &'a str,
    /// How it pays.
    pub source: PaymentSource,
    /// Its state while no fact speaks; counts for a new client only.
    pub initial: ClientState,
    /// A customer of its.
    pub customer: Option<&'a str>,
    /// The checkout session that our side opened for it.
    pub checkout_session: Option<&'a str>,
    /// The agreed price.
    pub price: Agreed<&'a str>,
    /// The agreed currency in lower case.
    pub currency: Agreed<&'a str>,
}

/// What a registration ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The client is new.
    New,
    /// It was known, and is now as registered.
    Known,
    /// It belongs to another organisation.
    OtherOrganization,
    /// The customer belongs to another client.
    CustomerTaken,
    /// The checkout session belongs to another client.
    SessionTaken,
}

/// Registers a client. The caller holds the locks of the names of client, customer and session (see
/// [`super::owners::lock_names_in_txn`]). Every answer but `New` and `Known` means that nothing may be committed.
///
/// # Errors
/// When the database does not answer.
pub async fn register_client_in_txn(txn: &Transaction<'_>, r: &Registration<'_>) -> Result<Registered, DbError> {
    execute(
        txn,
        "register_client",
        "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING",
        &[&r.org],
    )
    .await?;
    if let Some(session) = r.checkout_session {
        let sql = "SELECT 1 FROM billing_checkout_sessions WHERE checkout_session_id = $1 AND client_id <> $2";
        if !query(txn, "register_client", sql, &[&session, &r.client])
            .await?
            .is_empty()
        {
            return Ok(Registered::SessionTaken);
        }
    }
    let sql = "INSERT INTO client_billing AS c (client_id, org_id, payment_source, initial_state, state, stripe_customer_id, \
                   checkout_session_id, contracted_price_id, contracted_currency) \
               VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8) \
               ON CONFLICT (client_id) DO UPDATE SET payment_source = EXCLUDED.payment_source, \
                   stripe_customer_id = coalesce(c.stripe_customer_id, EXCLUDED.stripe_customer_id), \
                   checkout_session_id = coalesce(EXCLUDED.checkout_session_id, c.checkout_session_id), \
                   contracted_price_id = CASE WHEN $9 THEN EXCLUDED.contracted_price_id ELSE c.contracted_price_id END, \
                   contracted_currency = CASE WHEN $10 THEN EXCLUDED.contracted_currency ELSE c.contracted_currency END, \
                   updated_at = now() \
               WHERE c.org_id = EXCLUDED.org_id \
               RETURNING (xmax = 0) AS is_new";
    let initial = r.initial.as_str();
    let source = r.source.as_str();
    let (says_price, price) = r.price.said();
    let (says_currency, currency) = r.currency.said();
    let rows = query(
        txn,
        "register_client",
        sql,
        &[
            &r.client,
            &r.org,
            &source,
            &initial,
            &r.customer,
            &r.checkout_session,
            &price,
            &currency,
            &says_price,
            &says_currency,
        ],
    )
    .await?;
    let Some(row) = rows.first() else {
        return Ok(Registered::OtherOrganization);
    };
    if let Some(customer) = r.customer {
        let sql = "INSERT INTO billing_customers (stripe_customer_id, client_id, org_id, bound_by) \
                   VALUES ($1, $2, $3, 'registration') ON CONFLICT (stripe_customer_id) DO NOTHING";
        let added = execute(txn, "register_client", sql, &[&customer, &r.client, &r.org]).await?;
        if added > 0 {
            // The newest is the one that was added last, not the one that was said last.
            let sql = "UPDATE client_billing SET stripe_customer_id = $2 WHERE client_id = $1";
            execute(txn, "register_client", sql, &[&r.client, &customer]).await?;
        }
        let sql = "SELECT 1 FROM billing_customers WHERE stripe_customer_id = $1 AND client_id = $2";
        if query(txn, "register_client", sql, &[&customer, &r.client])
            .await?
            .is_empty()
        {
            return Ok(Registered::CustomerTaken);
        }
    }
    if let Some(session) = r.checkout_session {
        let sql = "INSERT INTO billing_checkout_sessions (checkout_session_id, client_id, org_id) \
                   VALUES ($1, $2, $3) ON CONFLICT (checkout_session_id) DO NOTHING";
        execute(txn, "register_client", sql, &[&session, &r.client, &r.org]).await?;
    }
    Ok(if row.get("is_new") {
        Registered::New
    } else {
        Registered::Known
    })
}
