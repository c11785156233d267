//! The binary, run as an operator runs it: with an environment of its own and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Response};
use serde_json::Value;
use service_kit::clock::Clock;
use stripe_gateway::signature::sign;

pub const WAIT: Duration = testkit::PATIENCE;
pub const SECRET: &str = "whsec_platform_0123456789";
pub const JWT_SECRET: &str = "0123456789abcdef-0123456789abcdef";
pub const RECONCILE_SECRET: &str = "fedcba9876543210-fedcba9876543210";

pub type Env = Vec<(&'static str, String)>;

/// What every service needs.
pub fn environment(database_url: &str, amqp_url: &str) -> Env {
    [
        ("DATABASE_URL", database_url),
        ("AMQP_URL", amqp_url),
        ("STRIPE_LIVEMODE", "false"),
        ("STRIPE_WEBHOOK_SECRET", SECRET),
        ("AUTH_JWT_SECRET", JWT_SECRET),
        ("RECONCILE_SECRET", RECONCILE_SECRET),
        ("HOLDFAST_LISTEN", "127.0.0.1:0"),
        ("STRIPE_SECRET_KEY", "sk_test_0123456789abcdef"),
        // Nobody listens there.
        ("STRIPE_API_BASE", "http://127.0.0.1:9"),
        ("HOLDFAST_METRICS_LISTEN", "shared"),
        ("HOLDFAST_HTTP_WORKERS", "1"),
        // On a busy machine a broker takes its time now and then, and a 503 would be right.
        ("WEBHOOK_CONFIRM_TIMEOUT_MS", "8000"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn command(env: &[(&'static str, String)], args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.env_clear().envs(env.iter().cloned()).args(args);
    command
}

/// Runs a tool to its end, which it must reach.
pub fn holdfast(env: &[(&'static str, String)], args: &[&str]) -> Output {
    let (sender, ended) = std::sync::mpsc::channel();
    let mut command = command(env, args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    if let Ok(output) = ended.recv_timeout(WAIT) {
        return output.unwrap();
    }
    kill(pid, Signal::SIGKILL).unwrap();
    let output = ended.recv().unwrap().unwrap();
    panic!("{args:?} does not end: {}{}", stdout(&output), stderr(&output));
}

/// The JSON that a tool printed; it must have succeeded.
pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `holdfast run`, killed when dropped.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    http: Client,
}

impl Running {
    /// Starts services and waits until the port is open.
    pub async fn start(env: &[(&'static str, String)], services: &[&str]) -> Self {
        testkit::install_tls_provider();
        let args: Vec<&str> = std::iter::once("run").chain(services.iter().copied()).collect();
        let mut child = command(env, &args).stdout(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let address = testkit::eventually_some(WAIT, || async { address(&log.lock().unwrap()) }).await;
        let http = Client::builder().no_proxy().build().unwrap();
        Self {
            child,
            address,
            log,
            http,
        }
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self
            .http
            .get(format!("http://{}{path}", self.address))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits until nothing is missing.
    pub async fn ready(&self) {
        testkit::eventually(WAIT, || async { self.get("/readyz").await.0 == 200 }).await;
    }

    /// Posts an event as Stripe does.
    pub async fn post(&self, body: &str) -> Result<Response, reqwest::Error> {
        let poster = Poster {
            http: self.http.clone(),
            address: self.address,
        };
        poster.post(body).await
    }

    pub fn poster(&self) -> Poster {
        Poster {
            http: self.http.clone(),
            address: self.address,
        }
    }

    /// The most resident memory so far.
    pub fn memory_peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    /// Waits for the end, and gives what was logged.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let child = Arc::new(Mutex::new(&mut self.child));
        let status = testkit::eventually_some(WAIT, || async { child.lock().unwrap().try_wait().unwrap() }).await;
        let log = self.log.lock().unwrap().join("\n");
        (status, log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Posts events, from any task.
#[derive(Clone)]
pub struct Poster {
    http: Client,
    address: SocketAddr,
}

impl Poster {
    pub async fn post(&self, body: &str) -> Result<Response, reqwest::Error> {
        self.post_signed_by(SECRET, body).await
    }

    pub async fn post_signed_by(&self, secret: &str, body: &str) -> Result<Response, reqwest::Error> {
        let signature = sign(secret, body.as_bytes(), Clock::System.unix_seconds());
        self.http
            .post(format!("http://{}/webhooks/stripe", self.address))
            .header("stripe-signature", signature)
            .body(body.to_owned())
            .send()
            .await
    }
}

fn address(log: &[String]) -> Option<SocketAddr> {
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["message"] == "listening")
        .find_map(|line| line["address"].as_str()?.parse().ok())
}

/// An event of a type, in test mode.
pub fn event(id: &str, kind: &str) -> String {
    let now = Clock::System.unix_seconds();
    format!(
        "{{\n  \"id\": \"{id}\",\n  \"object\": \"event\",\n  \"api_version\": \"2026-09-30.endive\",\n  \"created\": {now},\n  \
         \"data\": {{ \"object\": {{}} }},\n  \"livemode\": false,\n  \"type\": \"{kind}\"\n}}"
    )
}
