//! How far a connection is read ahead of its handler.
//!
//! By itself the HTTP library reads a body on while its handler waits: up to half a megabyte for each connection, in buffers whose size it
//! lets nobody set. A handler that waits for memory would thus use that memory all the same. Here a connection is read in small sips,
//! and not at all while its handler has [paused](Flow::pause) it; what the client sends meanwhile waits in the kernel, and then at the client.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::HttpRequest;
use actix_web::rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read before the handler has its turn.
const SIP: usize = 32 * 1024;

/// Pauses and resumes one connection. A handler runs on the thread that reads its connection.
#[derive(Debug, Clone, Default)]
pub struct Flow(Rc<State>);

#[derive(Debug, Default)]
struct State {
    pauses: Cell<usize>,
    /// The reader that found the connection paused.
    reader: RefCell<Option<Waker>>,
}

impl Flow {
    /// That of the connection on which a request came. In a server of a test that has none, it pauses nothing.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        request.conn_data::<Self>().cloned().unwrap_or_default()
    }

    /// Reads nothing more until the result is dropped.
    #[must_use]
    pub fn pause(&self) -> Paused {
        self.0.pauses.set(self.0.pauses.get() + 1);
        Paused(self.clone())
    }

    fn is_paused(&self) -> bool {
        self.0.pauses.get() > 0
    }
}

/// A pause; it ends when this is dropped.
#[derive(Debug)]
pub struct Paused(Flow);

impl Drop for Paused {
    fn drop(&mut self) {
        let state = &self.0.0;
        state.pauses.set(state.pauses.get().saturating_sub(1));
        if state.pauses.get() == 0
            && let Some(reader) = state.reader.take()
        {
            reader.wake();
        }
    }
}

/// A client's connection.
pub(super) struct Connection {
    socket: TcpStream,
    flow: Flow,
    /// Read since the reader was last sent away.
    sipped: usize,
}

impl Connection {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            flow: Flow::default(),
            sipped: 0,
        }
    }

    pub(super) fn flow(&self) -> Flow {
        self.flow.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.flow.is_paused() {
            self.flow.0.reader.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        if self.sipped >= SIP {
            self.sipped = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        match &read {
            Poll::Ready(_) => self.sipped += buffer.filled().len().saturating_sub(before),
            Poll::Pending => self.sipped = 0,
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

impl ActixStream for Connection {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.socket, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.socket, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PIECE: usize = 8 * 1024;

    /// A connection, and the client's end of it.
    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        (Connection::new(socket), client)
    }

    /// Reads as the HTTP library does: until the connection has nothing for now.
    async fn read_on(connection: &mut Connection) -> usize {
        let mut memory = [0; PIECE];
        poll_fn(|cx| {
            let mut read = 0;
            loop {
                let mut buffer = ReadBuf::new(&mut memory);
                match Pin::new(&mut *connection).poll_read(cx, &mut buffer) {
                    Poll::Ready(_) => read += buffer.filled().len(),
                    Poll::Pending if read == 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(read),
                }
            }
        })
        .await
    }

    #[tokio::test]
    async fn a_connection_is_read_in_sips_to_its_end() {
        let (mut connection, mut client) = pair().await;
        let sent = 10 * SIP;
        let send = async move {
            client.write_all(&vec![7; sent]).await.unwrap();
            client
        };
        let receive = async {
            let mut received = 0;
            while received < sent {
                let read = read_on(&mut connection).await;
                assert!(read < SIP + PIECE, "{read} at once");
                received += read;
            }
            received
        };
        let (_client, received) = tokio::join!(send, receive);
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn a_paused_connection_is_not_read_and_goes_on_by_itself() {
        let (mut connection, mut client) = pair().await;
        let flow = connection.flow();
        let (first, second) = (flow.pause(), flow.pause());
        client.write_all(b"body").await.unwrap();
        let reading = tokio::task::LocalSet::new();
        let read = reading.spawn_local(async move {
            let mut bytes = [0; 4];
            connection.read_exact(&mut bytes).await.unwrap();
            bytes
        });
        reading.run_until(tokio::task::yield_now()).await;
        drop(first);
        reading.run_until(tokio::task::yield_now()).await;
        assert!(!read.is_finished(), "it is paused twice");
        drop(second);
        assert_eq!(&reading.run_until(read).await.unwrap(), b"body");
    }
}
