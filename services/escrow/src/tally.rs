//! What is counted of money: noted within a transaction, and counted once it is committed. One that is rolled back, or runs again
//! because it lost against another, has counted nothing.

use std::cell::RefCell;

use db::error::TransactError;
use domain::escrow::ledger::PostingKind;
use domain::escrow::state::EscrowStatus;
use domain::money::Currency;

tokio::task_local! {
    static NOTED: RefCell<Vec<Count>>;
}

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// An escrow has changed its status to this.
    Transition(EscrowStatus),
    /// A call has come to an outcome.
    Payment { kind: &'static str, outcome: &'static str },
    /// Money has moved, in minor units.
    Volume {
        currency: Currency,
        kind: PostingKind,
        minor: i64,
    },
}

/// Notes what the transaction that runs counts, should it be committed.
pub(crate) fn note(count: Count) {
    // Without a transaction there is nothing to be noted: only a test calls a rule by itself.
    let _ = NOTED.try_with(|noted| noted.borrow_mut().push(count));
}

/// Forgets what an earlier run of the transaction has noted.
pub(crate) fn begin() {
    let _ = NOTED.try_with(|noted| noted.borrow_mut().clear());
}

/// Runs a transaction, and counts what it has noted when it is committed.
pub(crate) async fn counted<T, E: TransactError>(transaction: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let noting = async {
        let done = transaction.await?;
        NOTED.with(|noted| noted.take().into_iter().for_each(add));
        Ok(done)
    };
    NOTED.scope(RefCell::default(), noting).await
}

fn add(count: Count) {
    match count {
        Count::Transition(to) => {
            metrics::counter!("holdfast_escrow_transitions_total", "to" => to.as_str()).increment(1);
        }
        Count::Payment { kind, outcome } => {
            metrics::counter!("holdfast_payments_total", "kind" => kind, "outcome" => outcome).increment(1);
        }
        Count::Volume { currency, kind, minor } => {
            let currency = currency.as_str().to_owned();
            metrics::counter!("holdfast_payment_volume_minor_units_total", "currency" => currency, "kind" => kind.as_str())
                .increment(u64::try_from(minor).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EscrowError;

    fn noted() -> usize {
        NOTED.with(|noted| noted.borrow().len())
    }

    #[tokio::test]
    async fn a_run_that_is_repeated_notes_anew_and_one_that_fails_counts_nothing() {
        let run = async {
            for _ in 0..2 {
                begin();
                note(Count::Transition(EscrowStatus::Held));
            }
            let counted = noted();
            Ok::<_, EscrowError>(counted)
        };
        assert_eq!(counted(run).await.unwrap(), 1);
        let failed = async {
            note(Count::Transition(EscrowStatus::Held));
            Err::<(), _>(EscrowError::Missing)
        };
        assert!(counted(failed).await.is_err());
        note(Count::Transition(EscrowStatus::Held));
    }
}
