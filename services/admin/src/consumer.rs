//! The two consumers: alerts on their way into their table, and events that no service owns on their way into the archive.

use std::sync::Arc;
use std::time::Duration;

use bus::consumer::{self, BatchHandler, ConsumerSpec};
use bus::topology::QueueFamily;
use bus::{AlertRaiser, BrokerConfig, Publisher};
use domain::alert::{Alert, AlertKind};
use service_kit::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::NAME;

/// How long a consumer waits at its start for the queues to be declared.
const TOPOLOGY_WAIT: Duration = Duration::from_secs(10);

/// What both consumers are made of.
#[derive(Clone)]
pub(crate) struct Consumers {
    pub(crate) broker: BrokerConfig,
    pub(crate) publisher: Publisher,
    pub(crate) alerts: AlertRaiser,
    pub(crate) clock: Clock,
    pub(crate) stop: CancellationToken,
}

impl Consumers {
    /// Consumes a queue until the stop, then drains.
    pub(crate) async fn run(self, queue: &'static str, handler: impl BatchHandler) {
        // The publisher declares the queues. Without it the broker may still hold them, so the wait has an end.
        tokio::select! {
            () = self.stop.cancelled() => return,
            _ = self.publisher.wait_ready(TOPOLOGY_WAIT) => {}
        }
        let clock = self.clock;
        let spec = ConsumerSpec::new(
            self.broker,
            QueueFamily::new(queue),
            self.publisher,
            self.alerts.clone(),
            Arc::new(move || clock.now()),
        );
        let handler = Watched {
            handler,
            alerts: self.alerts,
        };
        let drained = consumer::run(spec, handler, self.stop).await;
        if drained.unfinished > 0 {
            tracing::warn!(
                queue,
                unfinished = drained.unfinished,
                "messages go back to their queue"
            );
        }
    }
}

/// Tells a person when the database is away. The alert waits in the broker until it is back.
struct Watched<H> {
    handler: H,
    alerts: AlertRaiser,
}

impl<H: BatchHandler> BatchHandler for Watched<H> {
    async fn handle(&self, batch: &[bus::Incoming]) -> Result<Vec<bus::Verdict>, bus::BatchError> {
        let judged = self.handler.handle(batch).await;
        if let Err(bus::BatchError::Unavailable { reason }) = &judged {
            let summary = "The database does not take what admin writes; its messages wait in their queues";
            let alert = Alert::new(AlertKind::DatabaseUnavailable, NAME, summary);
            self.alerts.raise(alert.with("reason", reason));
        }
        judged
    }
}
