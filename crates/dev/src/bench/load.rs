//! A load generator that costs little: it shares the two cores with what it measures.
//!
//! One thread, one task per keep-alive connection, one write and usually one read per request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::bodies::Requests;

/// What came back.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Answers of 200.
    pub accepted: usize,
    /// Other answers.
    pub refused: usize,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Each request's time in microseconds, from when it was due.
    pub micros: Vec<u32>,
}

impl Outcome {
    /// Accepted events per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// The time below which this share of requests stayed, in milliseconds.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length is an index, never negative"
        )]
        let index = ((last as f64) * share).round() as usize;
        sorted.get(index).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
    }
}

struct Shared {
    requests: Requests,
    next: Cell<usize>,
    stop_at: Instant,
    /// The time between two requests over all connections; none sends as fast as answers come.
    pace: Option<Duration>,
    started: Instant,
    outcome: RefCell<Outcome>,
}

/// Sends requests over so many connections until they are used up or the time is over, on this thread.
///
/// With `rate` request number `n` is due at `n / rate`, whatever the answers do, and is measured from then.
///
/// # Errors
/// When a connection fails.
pub fn run(
    address: SocketAddr,
    requests: Requests,
    connections: usize,
    at_most: Duration,
    rate: Option<f64>,
) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the generator's runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.context("connecting to ingest")?;
            stream.set_nodelay(true).context("setting TCP_NODELAY")?;
            streams.push(stream);
        }
        let started = Instant::now();
        let shared = Rc::new(Shared {
            requests,
            next: Cell::new(0),
            stop_at: started + at_most,
            pace: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            started,
            outcome: RefCell::default(),
        });
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| tokio::task::spawn_local(drive(stream, Rc::clone(&shared))))
            .collect();
        for task in tasks {
            task.await.context("a connection's task")??;
        }
        let mut outcome = shared.outcome.take();
        outcome.took = started.elapsed();
        Ok(outcome)
    })
}

async fn drive(mut stream: TcpStream, shared: Rc<Shared>) -> anyhow::Result<()> {
    let mut request = shared.requests.buffer();
    let mut answer = vec![0; 4_096];
    loop {
        let index = shared.next.get();
        shared.next.set(index + 1);
        let mut due = Instant::now();
        if let Some(pace) = shared.pace {
            due = shared.started + pace.mul_f64(index as f64);
            tokio::time::sleep_until(due.into()).await;
        }
        if due >= shared.stop_at || !shared.requests.write(index, &mut request) {
            return Ok(());
        }
        stream.write_all(&request).await.context("sending a request")?;
        let accepted = read_answer(&mut stream, &mut answer).await?;
        let micros = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
        let mut outcome = shared.outcome.borrow_mut();
        outcome.micros.push(micros);
        if accepted {
            outcome.accepted += 1;
        } else {
            outcome.refused += 1;
        }
    }
}

/// Reads one answer and says whether it was 200.
pub(super) async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<bool> {
    let mut filled = 0;
    loop {
        let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) else {
            bail!("an answer is too long")
        };
        let read = stream.read(rest).await.context("reading an answer")?;
        if read == 0 {
            bail!("ingest closed a connection");
        }
        filled += read;
        let have = buffer.get(..filled).unwrap_or_default();
        if let Some(end) = have.windows(4).position(|window| window == b"\r\n\r\n") {
            let (head, body) = have.split_at(end + 4);
            if body.len() >= content_length(head) {
                return Ok(head.starts_with(b"HTTP/1.1 200"));
            }
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length: ";
    let start = head
        .windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME));
    let digits = start
        .and_then(|start| head.get(start + NAME.len()..))
        .unwrap_or_default();
    digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'))
}
