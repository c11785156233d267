//! The memory for bodies: one amount for the whole process, shared out by what has arrived.
//!
//! When nothing is left, the slow ones pay: bodies that have been coming in for longest are given up for those that arrive. Else a few
//! strangers, who need no secret for it, could hold all of it by sending everything but the last byte.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::refusal::Refusal;

/// Bodies in work at one time, in KiB: some 1 600 of Stripe's usual size. On the way to the broker each is held twice.
const BODIES_KIB: usize = 8 * 1024;
/// So many of the largest size always have room.
const LARGEST: usize = 2;
/// How long a body may wait for its share.
const ADMISSION_WAIT: Duration = Duration::from_millis(100);
/// Until then a body that is not complete is not slow.
const PATIENCE: Duration = Duration::from_millis(250);

/// What all workers of the process share.
pub(crate) struct Bodies {
    memory: Semaphore,
    numbers: AtomicU64,
    /// Those of which more is awaited, the longest awaited first.
    coming_in: Mutex<BTreeMap<u64, ComingIn>>,
}

struct ComingIn {
    since: Instant,
    kib: usize,
    given_up: CancellationToken,
}

impl Bodies {
    pub(crate) fn new(max_body_bytes: usize) -> Arc<Self> {
        let largest = LARGEST.saturating_mul(kib(max_body_bytes));
        Arc::new(Self {
            memory: Semaphore::new(BODIES_KIB.max(largest)),
            numbers: AtomicU64::new(0),
            coming_in: Mutex::default(),
        })
    }

    /// The share of a body of which nothing has arrived: nothing.
    pub(crate) fn share(&self) -> Share<'_> {
        Share {
            bodies: self,
            memory: None,
            number: None,
            given_up: CancellationToken::new(),
        }
    }

    async fn take(&self, kib: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let wanted = u32::try_from(kib).unwrap_or(u32::MAX);
        if let Ok(memory) = self.memory.try_acquire_many(wanted) {
            return Ok(memory);
        }
        self.give_up_slow_ones(kib);
        match tokio::time::timeout(ADMISSION_WAIT, self.memory.acquire_many(wanted)).await {
            Ok(Ok(memory)) => Ok(memory),
            Ok(Err(_)) | Err(_) => Err(Refusal::Saturated),
        }
    }

    /// Gives up the slowest, until they have given back so much.
    fn give_up_slow_ones(&self, kib: usize) {
        let mut coming_in = self.lock_coming_in();
        let mut freed = 0;
        while freed < kib
            && let Some(slowest) = coming_in.first_entry()
            && slowest.get().since.elapsed() > PATIENCE
        {
            let slowest = slowest.remove();
            slowest.given_up.cancel();
            freed += slowest.kib;
        }
    }

    fn lock_coming_in(&self) -> MutexGuard<'_, BTreeMap<u64, ComingIn>> {
        self.coming_in.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body's share of the memory, which must live as long as the body is in work.
pub(crate) struct Share<'a> {
    bodies: &'a Bodies,
    memory: Option<SemaphorePermit<'a>>,
    /// Its place among those that are coming in.
    number: Option<u64>,
    given_up: CancellationToken,
}

impl Share<'_> {
    /// Sees that it covers so many bytes, of which more may be awaited.
    ///
    /// # Errors
    /// [`Refusal::Saturated`] when there is no more memory for bodies.
    pub(crate) async fn cover(&mut self, bytes: usize, more_is_awaited: bool) -> Result<(), Refusal> {
        let missing = kib(bytes).saturating_sub(self.kib());
        if missing > 0 {
            let more = self.bodies.take(missing).await?;
            match &mut self.memory {
                Some(memory) => memory.merge(more),
                none => *none = Some(more),
            }
        }
        if more_is_awaited && (missing > 0 || self.number.is_none()) {
            self.note();
        }
        Ok(())
    }

    /// Returns once the body is given up for others; never when it is whole.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// Nothing more is awaited.
    pub(crate) fn settle(&mut self) {
        if let Some(number) = self.number.take() {
            self.bodies.lock_coming_in().remove(&number);
        }
    }

    fn kib(&self) -> usize {
        self.memory.as_ref().map_or(0, SemaphorePermit::num_permits)
    }

    fn note(&mut self) {
        let kib = self.kib();
        let mut coming_in = self.bodies.lock_coming_in();
        match self.number {
            // One that was given up just now is not there any more.
            Some(number) => {
                if let Some(noted) = coming_in.get_mut(&number) {
                    noted.kib = kib;
                }
            }
            None => {
                let number = self.bodies.numbers.fetch_add(1, Ordering::Relaxed);
                let (since, given_up) = (Instant::now(), self.given_up.clone());
                coming_in.insert(number, ComingIn { since, kib, given_up });
                self.number = Some(number);
            }
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}
