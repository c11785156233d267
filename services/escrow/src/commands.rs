//! The consumer of `escrow.commands`: what other services want of an escrow.

use bus::{BatchError, BatchHandler, Incoming, Verdict};
use domain::escrow::input::Command;
use serde::{Deserialize, Serialize};

use crate::command::{Order, order};
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

/// Carries commands out.
#[derive(Clone)]
pub(crate) struct Commands {
    pub(crate) runner: Runner,
}

impl BatchHandler for Commands {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for message in batch {
            verdicts.push(self.one(message).await?);
        }
        Ok(verdicts)
    }
}

impl Commands {
    async fn one(&self, message: &Incoming) -> Result<Verdict, BatchError> {
        if message.kind != RETRY {
            let reason = format!("a command of the unknown type {}", message.kind);
            return Ok(Verdict::Park { reason });
        }
        let command: RetryCommand = match serde_json::from_slice(&message.body) {
            Ok(command) => command,
            Err(error) => {
                let reason = format!("the command cannot be read: {error}");
                return Ok(Verdict::Park { reason });
            }
        };
        let ordered = Order {
            escrow: &command.escrow_id,
            actor: "retry",
            action: "retry",
            keyed: None,
        };
        let job = command.number;
        match order(&self.runner, ordered, &Command::Retry { job }).await {
            // A second command for one refusal finds the call made, or being made.
            Ok(_) | Err(EscrowError::Refused { .. }) => Ok(Verdict::Done),
            Err(EscrowError::Database(error)) => Err(BatchError::of_database(&error)),
            Err(error @ (EscrowError::Raced(_) | EscrowError::Missing | EscrowError::KeyReused)) => {
                let reason = error.to_string();
                Ok(Verdict::Retry { reason })
            }
        }
    }
}
