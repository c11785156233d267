//! A load generator for stories: signed requests over keep-alive connections, one thread, little work of its own.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use stripe_gateway::signature::sign;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::super::ingest::CONNECTIONS;
use super::super::load::read_answer;
use super::story::Stories;

const HEX: usize = 64;
const GATE_PAUSE: Duration = Duration::from_millis(1);
/// A refused event is sent again, as Stripe does, only sooner.
const RESEND_AFTER: Duration = Duration::from_millis(50);

/// When requests may go.
#[derive(Debug, Clone)]
pub(super) enum Pace {
    /// As fast as answers come, but never beyond this number of requests in all.
    Window(Arc<AtomicUsize>),
    /// Request `n` is due `n / rate` seconds after the beginning.
    Rate { rate: f64, begin: SystemTime },
}

/// Signed requests for a range of events. Signing costs more than sending, so it is done before the clock starts; bodies are made
/// again as they are sent.
#[derive(Debug)]
pub(super) struct Requests {
    stories: Arc<Stories>,
    first: usize,
    now: i64,
    host: String,
    signatures: Vec<[u8; HEX]>,
}

impl Requests {
    pub(super) fn sign(stories: &Arc<Stories>, secret: &str, host: &str, first: usize, count: usize, now: i64) -> Self {
        let mut body = Vec::new();
        let signatures = (first..first + count).map(|n| {
            stories.write(n, &mut body);
            let header = sign(secret, &body, now);
            let mut hex = [b'0'; HEX];
            if let Some((_, mac)) = header.rsplit_once("v1=") {
                hex.copy_from_slice(mac.as_bytes());
            }
            hex
        });
        Self {
            signatures: signatures.collect(),
            stories: Arc::clone(stories),
            first,
            now,
            host: host.to_owned(),
        }
    }

    /// Writes request `index`; false when there are no more.
    fn write(&self, index: usize, body: &mut Vec<u8>, request: &mut Vec<u8>) -> bool {
        let Some(signature) = self.signatures.get(index) else {
            return false;
        };
        self.stories.write(self.first + index, body);
        request.clear();
        let head = write!(
            request,
            "POST /webhooks/stripe HTTP/1.1\r\nHost: {}\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
             Accept: */*; q=0.5, application/xml\r\nCache-Control: no-cache\r\nContent-Type: application/json; charset=utf-8\r\n\
             Content-Length: {}\r\nStripe-Signature: t={},v1=",
            self.host,
            body.len(),
            self.now
        );
        request.extend_from_slice(signature);
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(body);
        head.is_ok()
    }
}

struct Shared {
    requests: Requests,
    pace: Pace,
    next: Cell<usize>,
    begun: Instant,
    stop_at: Instant,
    accepted: RefCell<Vec<usize>>,
    refused: Cell<usize>,
}

/// What came back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Accepted events: always the first so many.
    pub(super) accepted: usize,
    /// Answers that were not 200; those events were sent again.
    pub(super) refused: usize,
}

/// Sends until requests or time are used up.
///
/// # Errors
/// When a connection fails.
pub(super) fn send(address: SocketAddr, requests: Requests, pace: Pace, at_most: Duration) -> anyhow::Result<Sent> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the generator's runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let mut streams = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await.context("connecting to ingest")?;
            stream.set_nodelay(true).context("setting TCP_NODELAY")?;
            streams.push(stream);
        }
        let now = Instant::now();
        let begun = match &pace {
            Pace::Window(_) => now,
            Pace::Rate { begin, .. } => now + begin.duration_since(SystemTime::now()).unwrap_or_default(),
        };
        let shared = Rc::new(Shared {
            requests,
            pace,
            next: Cell::new(0),
            begun,
            stop_at: now + at_most,
            accepted: RefCell::default(),
            refused: Cell::default(),
        });
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| tokio::task::spawn_local(drive(stream, Rc::clone(&shared))))
            .collect();
        for task in tasks {
            task.await.context("a connection's task")??;
        }
        let accepted = shared.accepted.take();
        match accepted.iter().max() {
            Some(last) if last + 1 == accepted.len() => Ok(Sent {
                accepted: accepted.len(),
                refused: shared.refused.get(),
            }),
            last => bail!("{} requests were accepted, the last is {last:?}", accepted.len()),
        }
    })
}

async fn drive(mut stream: TcpStream, shared: Rc<Shared>) -> anyhow::Result<()> {
    let (mut body, mut request, mut answer) = (Vec::new(), Vec::new(), vec![0; 4_096]);
    loop {
        let index = shared.next.get();
        if Instant::now() >= shared.stop_at {
            return Ok(());
        }
        match &shared.pace {
            Pace::Window(allowed) if index >= allowed.load(Ordering::Relaxed) => {
                tokio::time::sleep(GATE_PAUSE).await;
                continue;
            }
            Pace::Window(_) => shared.next.set(index + 1),
            Pace::Rate { rate, .. } => {
                shared.next.set(index + 1);
                let due = shared.begun + Duration::from_secs_f64(index as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
        }
        if !shared.requests.write(index, &mut body, &mut request) {
            return Ok(());
        }
        stream.write_all(&request).await.context("sending a request")?;
        while !read_answer(&mut stream, &mut answer).await? {
            shared.refused.set(shared.refused.get() + 1);
            tokio::time::sleep(RESEND_AFTER).await;
            stream.write_all(&request).await.context("sending a request again")?;
        }
        shared.accepted.borrow_mut().push(index);
    }
}
