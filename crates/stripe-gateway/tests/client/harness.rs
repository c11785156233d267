//! A client that does not wait long, and what is logged and counted meanwhile.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use stripe_gateway::client::requests::{Currency, connect};
use stripe_gateway::client::{ApiBase, Backoff, Call, Client, ClientConfig, IdempotencyKey, Outcome};
use tracing_subscriber::fmt::MakeWriter;

use crate::server::Server;

pub(crate) const SECRET_KEY: &str = "sk_test_neverprinted0123456789";

/// A configuration whose waits are short; three retries, as by default.
pub(crate) fn config(base: &ApiBase) -> ClientConfig {
    ClientConfig {
        deadline: Duration::from_secs(60),
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(2),
        },
        ..ClientConfig::new(base.clone(), SECRET_KEY.to_owned().into(), Duration::from_secs(20), 3)
    }
}

pub(crate) fn client(server: &Server) -> Client {
    Client::new(config(&server.base)).unwrap()
}

/// A client that gives up on an attempt soon.
pub(crate) fn hasty(server: &Server, timeout_ms: u64, max_retries: u32) -> Client {
    let config = ClientConfig {
        timeout: Duration::from_millis(timeout_ms),
        max_retries,
        ..config(&server.base)
    };
    Client::new(config).unwrap()
}

pub(crate) fn key() -> IdempotencyKey {
    IdempotencyKey::parse("transfer:escrow_1:1").unwrap()
}

/// A money call.
pub(crate) fn transfer() -> Call {
    let request = connect::transfer::CreateTransfer::new(Currency::EUR, "acct_1")
        .amount(1234)
        .transfer_group("escrow 1 & co");
    Call::post(&request, key())
}

pub(crate) fn error(kind: &str, code: &str) -> String {
    format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"m"}}}}"#)
}

/// Everything that this process logs, down to the finest level.
pub(crate) fn logs() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    })
    .clone()
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines about one request id.
    pub(crate) fn about(&self, request_id: &str) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(request_id)).collect();
        lines.join("\n")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The HTTP status of an unknown outcome, and its cause.
pub(crate) fn unknown(outcome: &Outcome) -> (Option<u16>, &'static str) {
    match outcome {
        Outcome::Unknown(unknown) => (
            unknown.receipt.as_ref().map(|receipt| receipt.status),
            unknown.cause.code(),
        ),
        other => panic!("{other:?}"),
    }
}
