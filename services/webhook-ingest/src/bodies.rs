//! The memory for bodies: two amounts for the whole process, one for what all bodies begin with and one for the rest of large ones.
//!
//! What has arrived is what a body takes, up to [`SMALL`]: a length that is only declared costs nobody anything. A larger one then takes all that
//! it declares at once. Bodies that grow side by side would take the room from each other until none of them can end.
//!
//! When nothing is left, the slow ones pay: bodies that come in slower than [`PACE`] are given up for those that arrive. Else a few strangers,
//! who need no secret for it, could hold all of it by sending everything but the last byte.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::refusal::Refusal;

/// So many bytes of each body, which is all of nearly every one, are room of the first kind.
pub(crate) const SMALL: usize = 32 * 1024;
/// Room for what bodies begin with, in KiB: some 800 of Stripe's usual size. On the way to the broker each is held twice.
const BEGINNINGS_KIB: usize = 4 * 1024;
/// Room for the rest of large ones, in KiB.
const RESTS_KIB: usize = 4 * 1024;
/// So many of the largest size always have room.
const LARGEST: usize = 2;
/// How long a body may wait for room.
const ADMISSION_WAIT: Duration = Duration::from_millis(125);
/// How often those who wait look for bodies that have become slow.
const LOOK_AROUND: Duration = Duration::from_millis(25);
/// Until then no body is slow.
const GRACE: Duration = Duration::from_millis(75);
/// Bytes per second, from its first to its last; Stripe sends hundreds of times as fast.
const PACE: u128 = 1024 * 1024;

/// What all workers of the process share.
pub(crate) struct Bodies {
    max_body_bytes: usize,
    beginnings: Room,
    rests: Room,
}

impl Bodies {
    pub(crate) fn new(max_body_bytes: usize) -> Arc<Self> {
        let largest = LARGEST.saturating_mul(kib(max_body_bytes));
        Arc::new(Self {
            max_body_bytes,
            beginnings: Room::new(BEGINNINGS_KIB),
            rests: Room::new(RESTS_KIB.max(largest)),
        })
    }

    /// The share of a body of which nothing has arrived: nothing.
    pub(crate) fn share(&self) -> Share<'_> {
        Share {
            bodies: self,
            beginning: None,
            rest: None,
            progress: Arc::new(Progress {
                since: Instant::now(),
                arrived: AtomicUsize::new(0),
                given_up: CancellationToken::new(),
            }),
        }
    }
}

/// One amount of memory, and who of those that hold some of it is still coming in.
struct Room {
    memory: Semaphore,
    numbers: AtomicU64,
    /// The longest awaited first.
    coming_in: Mutex<BTreeMap<u64, ComingIn>>,
}

struct ComingIn {
    kib: usize,
    progress: Arc<Progress>,
}

impl Room {
    fn new(kib: usize) -> Self {
        Self {
            memory: Semaphore::new(kib.min(Semaphore::MAX_PERMITS)),
            numbers: AtomicU64::new(0),
            coming_in: Mutex::default(),
        }
    }

    async fn take(&self, kib: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let wanted = u32::try_from(kib).unwrap_or(u32::MAX);
        if let Ok(memory) = self.memory.try_acquire_many(wanted) {
            return Ok(memory);
        }
        let began = Instant::now();
        let mut turn = pin!(self.memory.acquire_many(wanted));
        loop {
            self.give_up_slow_ones(kib);
            match tokio::time::timeout(LOOK_AROUND, &mut turn).await {
                Ok(Ok(memory)) => return Ok(memory),
                Err(_) if began.elapsed() < ADMISSION_WAIT => {}
                Ok(Err(_)) | Err(_) => return Err(Refusal::Saturated),
            }
        }
    }

    /// Gives up the slowest, until they have given back so much.
    fn give_up_slow_ones(&self, kib: usize) {
        let now = Instant::now();
        let mut freed = 0;
        self.lock_coming_in().retain(|_, body| {
            let goes = freed < kib && body.progress.is_slow(now);
            if goes {
                body.progress.given_up.cancel();
                freed += body.kib;
            }
            !goes
        });
    }

    fn lock_coming_in(&self) -> MutexGuard<'_, BTreeMap<u64, ComingIn>> {
        self.coming_in.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a body comes in.
struct Progress {
    since: Instant,
    arrived: AtomicUsize,
    given_up: CancellationToken,
}

impl Progress {
    fn is_slow(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        let due = PACE * elapsed.as_millis() / 1_000;
        elapsed > GRACE && (self.arrived.load(Ordering::Relaxed) as u128) < due
    }
}

/// A body's share of the memory, which must live as long as the body is in work.
pub(crate) struct Share<'a> {
    bodies: &'a Bodies,
    beginning: Option<Part<'a>>,
    rest: Option<Part<'a>>,
    progress: Arc<Progress>,
}

impl Share<'_> {
    /// Whether it covers so many bytes without waiting.
    pub(crate) fn covers(&self, bytes: usize) -> bool {
        kib(bytes) <= self.kib()
    }

    /// Sees that it covers so many bytes, of a body that declares its length or does not.
    ///
    /// # Errors
    /// [`Refusal::Saturated`] when there is no more memory for bodies.
    pub(crate) async fn cover(&mut self, bytes: usize, declared: Option<usize>) -> Result<(), Refusal> {
        self.progress.arrived.store(bytes, Ordering::Relaxed);
        let is_whole = declared == Some(bytes);
        if !self.covers(bytes.min(SMALL)) {
            let held = self.kib();
            let more = self.bodies.beginnings.take(kib(bytes.min(SMALL)) - held).await?;
            match &mut self.beginning {
                Some(beginning) => beginning.grow(more),
                none => *none = Some(Part::new(&self.bodies.beginnings, more)),
            }
        }
        if !self.covers(bytes) {
            // Nothing more than the limit ever comes, and what says nothing may be that long.
            let whole = declared.unwrap_or(self.bodies.max_body_bytes).max(bytes);
            let rest = self.bodies.rests.take(kib(whole) - self.kib()).await?;
            self.rest = Some(Part::new(&self.bodies.rests, rest));
        }
        if !is_whole {
            for part in [&mut self.beginning, &mut self.rest].into_iter().flatten() {
                part.await_more(&self.progress);
            }
        }
        Ok(())
    }

    /// Returns once the body is given up for others; never when it is whole.
    pub(crate) async fn given_up(&self) {
        self.progress.given_up.cancelled().await;
    }

    /// Nothing more is awaited.
    pub(crate) fn settle(&mut self) {
        for part in [&mut self.beginning, &mut self.rest].into_iter().flatten() {
            part.settle();
        }
    }

    fn kib(&self) -> usize {
        let parts = [&self.beginning, &self.rest];
        parts.into_iter().flatten().map(|part| part.memory.num_permits()).sum()
    }
}

/// What a body holds of one room.
struct Part<'a> {
    room: &'a Room,
    memory: SemaphorePermit<'a>,
    /// Its place among those that are coming in.
    number: Option<u64>,
}

impl<'a> Part<'a> {
    fn new(room: &'a Room, memory: SemaphorePermit<'a>) -> Self {
        Self {
            room,
            memory,
            number: None,
        }
    }

    fn grow(&mut self, more: SemaphorePermit<'a>) {
        self.memory.merge(more);
        let Some(number) = self.number else { return };
        // One that was given up just now is not there any more.
        if let Some(body) = self.room.lock_coming_in().get_mut(&number) {
            body.kib = self.memory.num_permits();
        }
    }

    fn await_more(&mut self, progress: &Arc<Progress>) {
        if self.number.is_none() {
            let number = self.room.numbers.fetch_add(1, Ordering::Relaxed);
            let body = ComingIn {
                kib: self.memory.num_permits(),
                progress: Arc::clone(progress),
            };
            self.room.lock_coming_in().insert(number, body);
            self.number = Some(number);
        }
    }

    fn settle(&mut self) {
        if let Some(number) = self.number.take() {
            self.room.lock_coming_in().remove(&number);
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// What it covers at once, without waiting for anybody.
    fn covers_now(share: &mut Share<'_>, bytes: usize, declared: Option<usize>) -> bool {
        matches!(share.cover(bytes, declared).now_or_never(), Some(Ok(())))
    }

    #[tokio::test]
    async fn large_bodies_that_began_can_end_and_the_others_wait_their_turn() {
        let bodies = Bodies::new(MIB);
        let mut begun = Vec::new();
        for _ in 0..4 {
            let mut share = bodies.share();
            assert!(covers_now(&mut share, SMALL + 1, Some(MIB)));
            assert!(share.covers(MIB));
            begun.push(share);
        }
        let mut next = bodies.share();
        assert!(covers_now(&mut next, SMALL, Some(MIB)), "the beginning is small");
        assert!(!covers_now(&mut next, SMALL + 1, Some(MIB)));
        let mut unknown = bodies.share();
        assert!(!covers_now(&mut unknown, SMALL + 1, None), "it may be as long");
        begun.pop();
        assert!(covers_now(&mut next, SMALL + 1, Some(MIB)));
    }

    #[tokio::test]
    async fn large_bodies_take_nothing_from_small_ones() {
        let bodies = Bodies::new(MIB);
        let mut large = Vec::new();
        for _ in 0..64 {
            let mut share = bodies.share();
            let _waits = covers_now(&mut share, MIB / 2, Some(MIB));
            large.push(share);
        }
        for _ in 0..300 {
            let mut small = bodies.share();
            assert!(covers_now(&mut small, 5_000, Some(5_000)));
            large.push(small);
        }
    }

    #[tokio::test]
    async fn bodies_that_have_become_slow_are_given_up_for_one_that_waits() {
        let bodies = Bodies::new(MIB);
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut share = bodies.share();
            assert!(covers_now(&mut share, SMALL + 1, Some(MIB)));
            slow.push(share);
        }
        let gone = async {
            futures_util::future::select_all(slow.iter().map(|share| Box::pin(share.given_up()))).await;
        };
        let mut next = bodies.share();
        let waits = next.cover(MIB, Some(MIB));
        tokio::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none());
        tokio::select! {
            () = gone => {}
            _ = &mut waits => panic!("there was no room"),
        }
    }

    #[test]
    fn a_body_is_slow_after_its_grace_and_below_the_pace() {
        let progress = Progress {
            since: Instant::now(),
            arrived: AtomicUsize::new(SMALL),
            given_up: CancellationToken::new(),
        };
        let after = |millis| progress.since + Duration::from_millis(millis);
        assert!(!progress.is_slow(after(75)));
        assert!(progress.is_slow(after(76)), "32 KiB in 76 ms");
        progress.arrived.store(100 * 1024, Ordering::Relaxed);
        assert!(!progress.is_slow(after(97)), "100 KiB in 97 ms");
        assert!(progress.is_slow(after(99)));
    }
}
