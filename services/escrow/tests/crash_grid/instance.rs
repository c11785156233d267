//! A child, as its parent sees it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, oneshot};

use crate::child::{Settings, VARIABLE};
use crate::watch::Watch;

const START_LIMIT: Duration = testkit::PATIENCE;

/// A running process. It is killed when it is dropped.
pub struct Instance {
    pub address: SocketAddr,
    process: Child,
    input: Arc<Mutex<ChildStdin>>,
    standing: Arc<Standing>,
}

#[derive(Default)]
struct Standing {
    has_ended: AtomicBool,
    /// Operations that are picked up and not yet called for.
    in_hand: AtomicI64,
}

impl Instance {
    pub async fn start(settings: &Settings, watch: Arc<Watch>, http: reqwest::Client) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "the_process_that_is_stopped",
                "--nocapture",
                "--include-ignored",
            ])
            .env(VARIABLE, serde_json::to_string(settings).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = Arc::new(Mutex::new(process.stdin.take().unwrap()));
        let standing = Arc::new(Standing::default());
        let (ready, is_ready) = oneshot::channel();
        tokio::spawn(
            Listener {
                output: process.stdout.take().unwrap(),
                input: Arc::clone(&input),
                standing: Arc::clone(&standing),
                watch,
                faults: format!("{}/_sim/faults", settings.stripe),
                http,
            }
            .listen(ready),
        );
        let address = tokio::time::timeout(START_LIMIT, is_ready).await;
        Self {
            address: address.expect("a child starts in time").expect("a child starts"),
            process,
            input,
            standing,
        }
    }

    pub fn has_ended(&self) -> bool {
        self.standing.has_ended.load(Ordering::SeqCst)
    }

    /// Whether a call is about to be made, or under way.
    pub fn is_calling(&self) -> bool {
        !self.has_ended() && self.standing.in_hand.load(Ordering::SeqCst) > 0
    }

    /// Sets its clock. One that has died does not hear it.
    pub async fn set_clock(&self, micros: i64) {
        let line = format!("clock {micros}\n");
        drop(self.input.lock().await.write_all(line.as_bytes()).await);
    }

    /// How it has ended.
    pub async fn verdict(mut self) -> std::process::ExitStatus {
        self.process.wait().await.unwrap()
    }
}

struct Listener {
    output: ChildStdout,
    input: Arc<Mutex<ChildStdin>>,
    standing: Arc<Standing>,
    watch: Arc<Watch>,
    faults: String,
    http: reqwest::Client,
}

impl Listener {
    async fn listen(self, ready: oneshot::Sender<SocketAddr>) {
        let mut ready = Some(ready);
        let mut lines = BufReader::new(self.output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // The test harness may have written before it.
            let Some((_, line)) = line.split_once('@') else {
                continue;
            };
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["ready", address] => {
                    let ready = ready.take().expect("a child is ready once");
                    ready.send(address.parse().unwrap()).expect("somebody waits for it");
                }
                ["step", number, step] => {
                    let answer = self.watch.on_step(step);
                    self.standing.in_hand.fetch_add(weight(step), Ordering::SeqCst);
                    for fault in answer.faults {
                        self.http.post(&self.faults).json(&fault).send().await.unwrap();
                    }
                    let word = if answer.dies { "die" } else { "go" };
                    let line = format!("{word} {number}\n");
                    drop(self.input.lock().await.write_all(line.as_bytes()).await);
                }
                _ => {}
            }
        }
        self.standing.has_ended.store(true, Ordering::SeqCst);
    }
}

/// What a step adds to the operations in hand.
fn weight(step: &str) -> i64 {
    let calls = [
        "create_payment",
        "capture",
        "cancel",
        "transfer",
        "reverse",
        "refund",
        "look",
    ];
    match step.split_once('.') {
        Some(("committed", "picked_up")) => 1,
        Some(("asked", ask)) if calls.contains(&ask) => -1,
        _ => 0,
    }
}
