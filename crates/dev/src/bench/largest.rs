//! Ingest while nothing but the largest bodies come: what memory it takes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::bodies::{Requests, Template};
use super::ingest::{CONNECTIONS, Driver, unix_seconds};
use super::{load, usage};

/// The largest body that ingest takes by default, in bytes.
const BODY_BYTES: usize = 1024 * 1024;
const TIME: Duration = Duration::from_secs(5);
/// Signing so many bytes takes longer than sending them: each connection has so many events, and sends them again and again.
const EVENTS_EACH: usize = 3;

/// What happened while only the largest bodies came.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Largest {
    /// Answers of 200.
    pub accepted: usize,
    /// Answers that ask to send again later.
    pub refused: usize,
    /// The most memory that ingest had at any time until then, in KiB.
    pub memory_peak_kib: u64,
}

/// Posts bodies of the largest size over all connections for some seconds.
pub(super) async fn measure(driver: &Driver) -> anyhow::Result<Largest> {
    let (address, secret) = (driver.subject.address, driver.subject.secret.clone());
    let post = move || post(address, &secret);
    let (accepted, refused) = tokio::task::spawn_blocking(post).await.context("the generator")??;
    driver.purge().await?;
    Ok(Largest {
        accepted,
        refused,
        memory_peak_kib: usage::memory_kib(driver.subject.pid)?.1,
    })
}

fn post(address: SocketAddr, secret: &str) -> anyhow::Result<(usize, usize)> {
    let template = Template::of_bytes("l", BODY_BYTES);
    let now = unix_seconds()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the generator's runtime")?;
    let host = address.to_string();
    let sign = |n| Requests::sign(&template, secret, &host, n * EVENTS_EACH, EVENTS_EACH, now);
    let all: Vec<_> = (0..CONNECTIONS).map(sign).collect();
    let stop_at = Instant::now() + TIME;
    LocalSet::new().block_on(&runtime, async {
        let connections = all
            .into_iter()
            .map(|requests| tokio::task::spawn_local(drive(address, requests, stop_at)));
        let (mut accepted, mut refused) = (0, 0);
        for connection in connections.collect::<Vec<_>>() {
            let (taken, not) = connection.await.context("a connection's task")??;
            accepted += taken;
            refused += not;
        }
        Ok((accepted, refused))
    })
}

/// Sends one request after the other, over a new connection where ingest has closed the last one unread.
async fn drive(address: SocketAddr, requests: Requests, stop_at: Instant) -> anyhow::Result<(usize, usize)> {
    let (mut accepted, mut refused) = (0, 0);
    let (mut request, mut answer) = (requests.buffer(), vec![0; 4_096]);
    let mut stream = None;
    for number in (0..requests.count()).cycle() {
        if Instant::now() >= stop_at || !requests.write(number, &mut request) {
            break;
        }
        let mut open = match stream.take() {
            Some(open) => open,
            None => TcpStream::connect(address).await.context("connecting to ingest")?,
        };
        let is_sent = open.write_all(&request).await.is_ok();
        match load::read_answer(&mut open, &mut answer).await {
            Ok(true) => {
                accepted += 1;
                stream = Some(open);
            }
            // A refusal closes the connection, and may be lost with what was not read of the body.
            Ok(false) | Err(_) => refused += 1,
        }
        if !is_sent {
            stream = None;
        }
    }
    Ok((accepted, refused))
}
