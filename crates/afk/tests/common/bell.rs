//! A receiver of doorbells: answers every POST with 200 and keeps what came.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One doorbell.
#[derive(Debug, Clone)]
pub struct Rung {
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: String,
}

/// The receiver. Its thread lives as long as the test's process.
pub struct Bell {
    url: String,
    rung: Arc<Mutex<Vec<Rung>>>,
}

impl Bell {
    /// Starts the receiver on a free port of the loopback interface.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/bell", listener.local_addr().unwrap());
        let rung = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&rung);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(one) = take(&stream) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            }
        });
        Self { url, rung }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The doorbells received so far, in order; one may come more than once.
    pub fn rung(&self) -> Vec<Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The different ids received so far.
    pub fn ids(&self) -> BTreeSet<String> {
        self.rung().into_iter().map(|one| one.id).collect()
    }
}

fn take(mut stream: &TcpStream) -> Option<Rung> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let (mut length, mut id, mut line) = (0, String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if let Some(value) = lower.strip_prefix("x-afk-delivery:") {
            value.trim().clone_into(&mut id);
        }
        line.clear();
    }
    // A client that was killed before it sent its headers has not rung.
    if id.is_empty() {
        return None;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(Rung { id, body: String::from_utf8_lossy(&body).into_owned() })
}
