//! A consumer whose handler is a closure.

use std::sync::{Arc, Mutex};

use bus::{BatchError, BatchHandler, ConsumerSpec, Drained, Incoming, Verdict, consumer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;

/// What a handler saw of a message: its id and how often it had failed before.
pub type Seen = Arc<Mutex<Vec<(String, u32)>>>;

/// Judges each message by a closure, and notes what it saw.
pub struct ByMessage<F> {
    seen: Seen,
    judge: F,
}

impl<F> BatchHandler for ByMessage<F>
where
    F: Fn(&Incoming, usize) -> Result<Verdict, BatchError> + Send + Sync + 'static,
{
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let notes = batch
            .iter()
            .map(|message| (message.message_id.clone(), message.failed_attempts()));
        self.seen.lock().unwrap().extend(notes);
        batch.iter().map(|message| (self.judge)(message, batch.len())).collect()
    }
}

pub struct Running {
    seen: Seen,
    cancel: CancellationToken,
    task: JoinHandle<Drained>,
}

impl Running {
    pub fn start<F>(spec: ConsumerSpec, judge: F) -> Self
    where
        F: Fn(&Incoming, usize) -> Result<Verdict, BatchError> + Send + Sync + 'static,
    {
        let seen = Seen::default();
        let handler = ByMessage {
            seen: Arc::clone(&seen),
            judge,
        };
        let cancel = CancellationToken::new();
        let task = tokio::spawn(consumer::run(spec, handler, cancel.clone()));
        Self { seen, cancel, task }
    }

    pub fn seen(&self) -> Vec<(String, u32)> {
        self.seen.lock().unwrap().clone()
    }

    pub fn times(&self, id: &str) -> usize {
        self.seen().iter().filter(|(seen, _)| seen == id).count()
    }

    pub async fn stop(self) -> Drained {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it stops")
            .expect("no panic")
    }
}
