//! A server that answers as it is told, byte by byte, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use stripe_gateway::client::ApiBase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the server does with a request once it has read it.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status, headers and body; the connection stays.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Closes the connection without a word.
    Close,
    /// Says nothing, and keeps the connection.
    Hang,
    /// A head that promises more than comes before the connection is closed.
    CutShort(u16),
    /// A head that promises a body, and then nothing.
    HangInBody(u16),
    /// Closes the connection, and takes no other.
    CloseForGood,
}

pub(crate) fn answer(status: u16, body: impl Into<String>) -> Reply {
    Reply::Answer(status, Vec::new(), body.into())
}

pub(crate) fn with(reply: Reply, name: &'static str, value: &str) -> Reply {
    match reply {
        Reply::Answer(status, mut headers, body) => {
            headers.push((name, value.to_owned()));
            Reply::Answer(status, headers, body)
        }
        other => other,
    }
}

#[derive(Default)]
struct Seen {
    requests: Vec<Got>,
    connections: usize,
}

pub(crate) struct Server {
    pub(crate) base: ApiBase,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers with the replies in turn; the last one again and again.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = ApiBase::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(accept(listener, replies, Arc::clone(&seen)));
        Self { base, seen, task }
    }

    pub(crate) fn requests(&self) -> Vec<Got> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

async fn accept(listener: TcpListener, replies: Vec<Reply>, seen: Arc<Mutex<Seen>>) {
    let (closed, mut closing) = tokio::sync::mpsc::channel::<()>(1);
    let replies = Arc::new(replies);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = closing.recv() => return,
        };
        seen.lock().unwrap().connections += 1;
        let (replies, seen, closed) = (Arc::clone(&replies), Arc::clone(&seen), closed.clone());
        tokio::spawn(async move {
            if matches!(serve(stream, &replies, &seen).await, Some(Reply::CloseForGood)) {
                closed.send(()).await.unwrap();
            }
        });
    }
}

/// Serves one connection; gives the reply that ended it.
async fn serve(mut stream: TcpStream, replies: &[Reply], seen: &Mutex<Seen>) -> Option<Reply> {
    loop {
        let got = read(&mut stream).await?;
        let reply = {
            let mut seen = seen.lock().unwrap();
            seen.requests.push(got);
            let turn = seen.requests.len() - 1;
            replies.get(turn).or(replies.last()).cloned()?
        };
        match &reply {
            Reply::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(body.as_bytes()).await.ok()?;
            }
            Reply::Hang => return std::future::pending().await,
            Reply::HangInBody(status) => {
                let head = format!("HTTP/1.1 {status} X\r\nrequest-id: req_head\r\ncontent-length: 10\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                return std::future::pending().await;
            }
            Reply::CutShort(status) => {
                let head = format!("HTTP/1.1 {status} X\r\nrequest-id: req_head\r\ncontent-length: 10\r\n\r\n{{");
                stream.write_all(head.as_bytes()).await.ok()?;
                return Some(reply);
            }
            Reply::Close | Reply::CloseForGood => return Some(reply),
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Got> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Got {
        method: first.next()?,
        path: first.next()?,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}
