//! Waiting for a condition instead of for a time.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Within this everything that is going to happen has happened, on a machine several times slower and busier than a developer's
/// as well. Only a test that fails waits as long.
pub const PATIENCE: Duration = Duration::from_secs(180);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Polls `condition` until it is true, and panics (naming the caller's line) when that takes longer than `deadline`.
#[track_caller]
pub fn eventually<F, Fut>(deadline: Duration, mut condition: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let caller = Location::caller();
    async move {
        poll(caller, deadline, async || condition().await.then_some(())).await;
    }
}

/// Polls `look` until it finds something and returns that; panics (naming the caller's line) when that takes longer than
/// `deadline`.
#[track_caller]
pub fn eventually_some<T, F, Fut>(deadline: Duration, mut look: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move { poll(caller, deadline, async || look().await).await }
}

async fn poll<T>(caller: &Location<'_>, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            started.elapsed() < deadline,
            "the condition at {caller} did not come true within {deadline:?}"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs `work` to its end on a thread and a runtime of its own, so that a `Drop` inside any runtime can wait for it. The thread that drops
/// waits as well: where others are at work in the same task, drop in `spawn_blocking`.
pub(crate) fn block_on<Fut>(work: Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let worker = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for cleaning up")
            .block_on(work);
    });
    if worker.join().is_err() {
        eprintln!("testkit: cleaning up after a test failed; the message is above");
    }
}
