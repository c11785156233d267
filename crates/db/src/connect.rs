//! From a URL to a connection: parameters, time limits and TLS.
//!
//! `sslmode=require`, `verify-ca` and `verify-full` all mean TLS with the server's certificate and name checked against the
//! machine's roots (a private authority is added by `SSL_CERT_FILE`): encryption to whoever answers is no protection. Without
//! one of them the connection is plain, which is for loopback and sockets; elsewhere it is warned about.
//!
//! Session settings travel as start-up options, so that a new connection costs no extra round trip. A pooler in front must pass
//! them on: PgBouncer does from 1.20; told to ignore `options`, it drops the time limits with them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::DbError;

/// How long an unanswered TCP segment may stay so before the connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may be idle before it is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Why a connection cannot even be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The URL is not one of Postgres'.
    #[error("DATABASE_URL is not a Postgres URL")]
    Url(#[source] tokio_postgres::Error),
    /// TLS was asked for and this machine has no root certificates to check against.
    #[error("TLS to the database needs root certificates, and none could be read")]
    NoRoots,
    /// TLS was asked for and rustls refuses its own defaults.
    #[error("TLS to the database could not be set up")]
    Tls(#[source] rustls::Error),
}

/// Where the database is and how to speak to it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
}

impl Target {
    pub(crate) fn parse(url: &SecretString, application_name: &str) -> Result<Self, TargetError> {
        let url = url.expose_secret();
        let mut config: Config = driver_url(url).parse().map_err(TargetError::Url)?;
        config
            .application_name(application_name)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(tls_connector()?),
            _ => None,
        };
        if tls.is_none() && !config.get_hosts().iter().all(is_local) {
            tracing::warn!(
                "the database is on another machine and the connection is not encrypted: set sslmode=require"
            );
        }
        Ok(Self { config, tls })
    }

    /// Adds a server setting to those of the URL.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let options = match self.config.get_options() {
            Some(given) => format!("{given} -c {name}={value}"),
            None => format!("-c {name}={value}"),
        };
        self.config.options(options);
    }

    /// A connection outside the pool, whose task ends with the client.
    pub(crate) async fn connect(&self) -> Result<Client, DbError> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(DbError::Connect)?;
                tokio::spawn(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(DbError::Connect)?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    }
}

/// The driver knows only `disable`, `prefer` and `require`.
fn driver_url(url: &str) -> String {
    url.replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require")
}

fn tls_connector() -> Result<MakeRustlsConnect, TargetError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TargetError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TargetError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, TargetError> {
        Target::parse(&SecretString::from(url), "test")
    }

    #[test]
    fn verifying_modes_are_spoken_to_the_driver_as_require() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let parsed: Config = driver_url(&format!("postgres://u:p@db.example/x?sslmode={mode}"))
                .parse()
                .unwrap();
            assert_eq!(parsed.get_ssl_mode(), SslMode::Require, "{mode}");
        }
    }

    #[test]
    fn settings_are_added_to_those_of_the_url() {
        let mut target = target("postgres://u@localhost/x?options=-c%20holdfast.org_ids%3Dorg_1").unwrap();
        target.set("statement_timeout", "5000");
        assert_eq!(
            target.config.get_options(),
            Some("-c holdfast.org_ids=org_1 -c statement_timeout=5000")
        );
    }

    #[test]
    fn a_url_of_something_else_is_refused() {
        assert!(matches!(target("mysql://u@localhost/x"), Err(TargetError::Url(_))));
    }

    #[test]
    fn plain_connections_are_for_this_machine() {
        for (url, expect) in [
            ("postgres://u@localhost/x", true),
            ("postgres://u@127.0.0.1/x", true),
            ("postgres://u@[::1]/x", true),
            ("postgres://u@%2Frun%2Fpostgresql/x", true),
            ("postgres://u@192.0.2.1/x", false),
            ("postgres://u@db.example/x", false),
        ] {
            let target = target(url).unwrap();
            assert_eq!(target.config.get_hosts().iter().all(is_local), expect, "{url}");
        }
    }
}
