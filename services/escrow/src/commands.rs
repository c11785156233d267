//! The consumer of `escrow.commands`: what other services want of an escrow.

use bus::propagation::headers_of_this_work;
use bus::{BatchError, BatchHandler, Incoming, Verdict, topology};
use db::outbox::NewOutboxRow;
use domain::escrow::input::Command;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::accounts::ReadAccountError;
use crate::command::{By, Order, order};
use crate::error::EscrowError;
use crate::runner::Runner;

/// AMQP `type` of the command to make a refused call again.
pub const RETRY: &str = "escrow.retry";

/// The command to make a refused call again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryCommand {
    /// The escrow.
    pub escrow_id: String,
    /// Its job.
    pub number: u32,
}

/// AMQP `type` of the command to read an account: what a refusal said of it may be older than its last snapshot.
const READ_ACCOUNT: &str = "escrow.read_account";

/// The command to read an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReadAccountCommand {
    account: String,
}

/// The command to read an account, to go out with the change that wants it.
pub(crate) fn read_account(account: &str) -> NewOutboxRow {
    NewOutboxRow {
        exchange: topology::COMMANDS.to_owned(),
        routing_key: topology::ESCROW_COMMANDS.to_owned(),
        message_id: Uuid::now_v7().to_string(),
        kind: READ_ACCOUNT.to_owned(),
        headers: headers_of_this_work(),
        payload: json!({ "account": account }).to_string(),
    }
}

/// Carries commands out.
#[derive(Clone)]
pub(crate) struct Commands {
    pub(crate) runner: Runner,
}

impl BatchHandler for Commands {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for message in batch {
            verdicts.push(self.one(message).instrument(message.span()).await?);
        }
        Ok(verdicts)
    }
}

impl Commands {
    async fn one(&self, message: &Incoming) -> Result<Verdict, BatchError> {
        match message.kind.as_str() {
            RETRY => self.retry(message).await,
            READ_ACCOUNT => self.read_account(message).await,
            unknown => Ok(Verdict::Park {
                reason: format!("a command of the unknown type {unknown}"),
            }),
        }
    }

    async fn read_account(&self, message: &Incoming) -> Result<Verdict, BatchError> {
        let command: ReadAccountCommand = match serde_json::from_slice(&message.body) {
            Ok(command) => command,
            Err(error) => {
                let reason = format!("the command cannot be read: {error}");
                return Ok(Verdict::Park { reason });
            }
        };
        match self.runner.read_account(&command.account).await {
            Ok(()) => Ok(Verdict::Done),
            Err(ReadAccountError::Stripe(error)) if error.is_transient() => Ok(Verdict::Retry {
                reason: error.to_string(),
            }),
            Err(ReadAccountError::Stripe(error)) => Ok(Verdict::Park {
                reason: error.to_string(),
            }),
            Err(ReadAccountError::Escrow(EscrowError::Database(error))) => Err(BatchError::of_database(&error)),
            Err(ReadAccountError::Escrow(error)) => Ok(Verdict::Retry {
                reason: error.to_string(),
            }),
        }
    }

    async fn retry(&self, message: &Incoming) -> Result<Verdict, BatchError> {
        let command: RetryCommand = match serde_json::from_slice(&message.body) {
            Ok(command) => command,
            Err(error) => {
                let reason = format!("the command cannot be read: {error}");
                return Ok(Verdict::Park { reason });
            }
        };
        let ordered = Order {
            escrow: &command.escrow_id,
            by: By::RetryService,
            actor: "retry",
            action: "retry",
            counts: None,
            keyed: None,
        };
        let job = command.number;
        match order(&self.runner, ordered, &Command::Retry { job }).await {
            // A second command for one refusal finds the call made, or being made.
            Ok(_) | Err(EscrowError::Refused { .. }) => Ok(Verdict::Done),
            Err(EscrowError::Database(error)) => Err(BatchError::of_database(&error)),
            Err(
                error @ (EscrowError::Raced(_)
                | EscrowError::Missing
                | EscrowError::Terms(_)
                | EscrowError::WrongObject
                | EscrowError::KeyReused),
            ) => {
                let reason = error.to_string();
                Ok(Verdict::Retry { reason })
            }
        }
    }
}
