//! Connections at home in one runtime, whoever asks for them.
//!
//! A connection is driven by a task of the runtime on which it was made, and ends with that runtime. Each worker of the HTTP
//! server has a runtime of its own, which ends at the beginning of a stop; a connection that a request had put into the pool
//! would end there too, under a batch that a consumer still has in hand. So connections are made on the runtime on which the
//! pool was opened, which outlives the drain.

use std::future::poll_fn;
use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error};

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

/// Makes connections by `C` on the runtime of its own creation; created outside of all, on that of whoever asks.
pub(crate) struct AtHome<C> {
    connect: C,
    home: Option<Handle>,
}

impl<C> AtHome<C> {
    pub(crate) fn here(connect: C) -> Self {
        Self {
            connect,
            home: Handle::try_current().ok(),
        }
    }
}

impl<C: Connect> Connect for AtHome<C> {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let mut connecting = self.connect.connect(config);
        let Some(home) = &self.home else { return connecting };
        // Sockets and tasks belong to the runtime that is entered while they are made, not to the one that polls.
        Box::pin(poll_fn(move |context| {
            let _entered = home.enter();
            connecting.as_mut().poll(context)
        }))
    }
}
