//! What a start says about whose tokens count. In a program of its own: which lines anybody wants is remembered for the whole process, and a test
//! beside it that logs to nobody could be the one that is remembered.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use service_kit::auth::Authenticator;
use service_kit::clock::Clock;
use service_kit::config::{TokenKeys, load};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_start_that_takes_the_tokens_of_every_application_says_so() {
    let url = ("AUTH_JWKS_URL", "http://127.0.0.1:1/keys");
    let secret = ("AUTH_JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let issuer = ("AUTH_JWT_ISSUER", "https://id.example.com/");
    let audience = ("AUTH_JWT_AUDIENCE", "holdfast");
    for (variables, is_told) in [
        (&[url][..], true),
        (&[url, issuer], true),
        (&[url, audience], false),
        (&[secret], false),
    ] {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let source: BTreeMap<String, String> = variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let keys = load(&source, TokenKeys::read).unwrap();
            drop(Authenticator::new(&keys, Clock::System, CancellationToken::new()));
        });
        let log = log.text();
        let warns = log.contains("WARN") && log.contains("AUTH_JWT_AUDIENCE");
        assert_eq!(warns, is_told, "{variables:?}: {log}");
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
