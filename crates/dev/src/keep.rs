//! Keeping a process alive: what dies is started again after a pause that grows while it keeps dying.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use provision::{Broker, Error, Postgres};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Who ran this long starts again with the first pause.
const STABLE: Duration = Duration::from_secs(10);

/// Something that runs, may die, and can be started again in the same place.
pub(crate) trait Keep: Send + 'static {
    fn name(&self) -> &str;
    fn pid(&self) -> Option<u32>;
    fn is_running(&mut self) -> bool;
    fn start_again(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
    fn end(self) -> impl Future<Output = ()> + Send;
}

impl Keep for Postgres {
    fn name(&self) -> &str {
        "postgres"
    }

    fn pid(&self) -> Option<u32> {
        Self::pid(self)
    }

    fn is_running(&mut self) -> bool {
        Self::is_running(self)
    }

    async fn start_again(&mut self) -> Result<(), Error> {
        Self::start_again(self).await
    }

    async fn end(self) {
        Self::end(self).await;
    }
}

impl Keep for Broker {
    fn name(&self) -> &str {
        "rabbitmq"
    }

    fn pid(&self) -> Option<u32> {
        Self::pid(self)
    }

    fn is_running(&mut self) -> bool {
        Self::is_running(self)
    }

    async fn start_again(&mut self) -> Result<(), Error> {
        Self::start_again(self).await
    }

    async fn end(self) {
        Self::end(self).await;
    }
}

/// Where keepers tell what happens.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) pids: Arc<watch::Sender<BTreeMap<String, u32>>>,
    pub(crate) say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Report {
    fn pid(&self, member: &impl Keep) {
        self.pids.send_if_modified(|pids| match member.pid() {
            Some(pid) => pids.insert(member.name().to_owned(), pid) != Some(pid),
            None => pids.remove(member.name()).is_some(),
        });
    }
}

/// Keeps `member` alive until `stop`, then lets it end.
pub(crate) fn keep<K: Keep>(mut member: K, stop: CancellationToken, report: Report) -> JoinHandle<()> {
    report.pid(&member);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = revive(&mut member, &report) => {}
        }
        member.end().await;
    })
}

async fn revive(member: &mut impl Keep, report: &Report) {
    let mut pause = FIRST_PAUSE;
    let mut started = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if member.is_running() {
            continue;
        }
        if started.elapsed() > STABLE {
            pause = FIRST_PAUSE;
        }
        (report.say)(&format!(
            "{} has ended: starting it again in {} ms",
            member.name(),
            pause.as_millis()
        ));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        started = Instant::now();
        match member.start_again().await {
            Ok(()) => (report.say)(&format!(
                "{} runs again as process {}",
                member.name(),
                member.pid().unwrap_or_default()
            )),
            Err(error) => (report.say)(&format!("{} did not start again: {error}", member.name())),
        }
        report.pid(member);
    }
}
