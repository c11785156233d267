//! Ports, and the HTTP library's server behind them.
//!
//! The server is put together from the library's parts and not by its `HttpServer`, which takes sockets only: a [`Connection`] is read no
//! further than its handler allows.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::dev::{AppConfig, fn_service};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::web::ServiceConfig;
use actix_web::{App, Error};
use tokio_util::sync::CancellationToken;

use super::context::request_context;
use super::flow::Connection;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept. Longer than the usual 60 s of load balancers, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a closing connection may linger.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections per worker; more wait in the backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Opens a port, and says which where 0 was asked for. Must be called within a Tokio runtime.
pub(super) fn open(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    // The library's own bind sets neither the backlog nor the port to ask for, so the socket is made here.
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves what is configured, until the token is cancelled and requests in work are done, which may take so many seconds.
pub(super) fn serve(
    listener: TcpListener,
    workers: Option<usize>,
    stop_seconds: u64,
    stop: &CancellationToken,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Server> {
    let mut server = ServerBuilder::new()
        .max_concurrent_connections(MAX_CONNECTIONS)
        .shutdown_timeout(stop_seconds)
        .shutdown_signal(stop.clone().cancelled_owned());
    if let Some(workers) = workers {
        server = server.workers(workers);
    }
    let stopping = server.graceful_shutdown_signal();
    let connections = move || {
        let (configure, stopping) = (configure.clone(), stopping.clone());
        let app = App::new()
            .configure(|config| configure(config))
            .wrap(from_fn(request_context))
            .into_factory()
            .map_err(|error: Error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.flow());
            })
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(|socket: TcpStream| async move {
            let peer = socket.peer_addr().ok();
            Ok((Connection::new(socket), Protocol::Http1, peer))
        })
        .and_then(http)
    };
    Ok(server.listen("http", listener, connections)?.run())
}
