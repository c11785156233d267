//! Requests as bytes on a socket, from an address of the test's choice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Above every time limit of the server.
const LIMIT: Duration = testkit::PATIENCE;

/// What came back on the socket.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub took: Duration,
}

impl Reply {
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A connection from 127.0.0.`from`; on loopback all of them are ours.
pub async fn connect(port: u16, from: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).unwrap();
    socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap()
}

/// A request with these headers, the length of its body, and the wish to be the last on its connection.
pub fn request(path: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(path, headers);
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The same in chunks of this size.
pub fn chunked(path: &str, headers: &[(&str, &[u8])], body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = head(path, headers);
    bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// A request's head without its end.
pub fn head(path: &str, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Sends bytes and reads the answer to its end.
pub async fn exchange(port: u16, from: u8, bytes: &[u8]) -> Reply {
    let mut stream = connect(port, from).await;
    // The server may answer and close before it has read everything.
    drop(stream.write_all(bytes).await);
    answer(stream).await
}

/// Reads an answer until the connection ends; no answer at all has status 0.
pub async fn answer(mut stream: TcpStream) -> Reply {
    let started = Instant::now();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    let read = async {
        while !is_complete(&bytes) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    };
    tokio::time::timeout(LIMIT, read).await.expect("the server hangs");
    let took = started.elapsed();
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Reply {
            took,
            ..Reply::default()
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Reply {
        status: status.unwrap_or_default(),
        head,
        body: bytes[end + 4..].to_vec(),
        took,
    }
}

fn is_complete(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| bytes.len() >= end + 4 + length.trim().parse::<usize>().unwrap())
}
