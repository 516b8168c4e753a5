//! A stand-in for a server over HTTP, on loopback: it answers with JSON to requests with the token,
//! and remembers each that it had to refuse.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// The answer, or a status and what is wrong. A JSON string is sent as plain text.
pub(crate) type Answer = Result<Value, (u16, String)>;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
}

impl Asked {
    /// Refuses the request if it has other parameters than these.
    pub(crate) fn takes(&self, parameters: &[&str]) -> Result<(), (u16, String)> {
        let unknown = self.query.keys().find(|name| !parameters.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| Err((400, format!("knows no parameter {name}"))))
    }
}

/// A running stand-in. Its thread lives as long as the test's process.
pub(crate) struct Stand {
    pub(crate) url: String,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Stand {
    /// Starts it; it answers requests with `token` by `answer`.
    pub(crate) fn start(
        token: &'static str,
        answer: impl Fn(&Asked) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let told = wrong.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some((asked, given)) = read(&stream) else { continue };
                let said = match given.as_deref() {
                    Some(given) if given == format!("Bearer {token}") => answer(&asked),
                    _ => Err((401, "Unauthorized".to_owned())),
                };
                if let Err((status, why)) = &said {
                    told.lock().unwrap().push(format!("{asked:?}: {status}: {why}"));
                }
                let _ = send(&stream, said);
            }
        });
        Self { url, wrong }
    }

    /// The requests that were refused, and why.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }
}

/// Reads a request, and its credential.
fn read(stream: &TcpStream) -> Option<(Asked, Option<String>)> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut given = None;
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            given = Some(value.trim().to_owned());
        }
    }
    Some((Asked { method, path: path.to_owned(), query }, given))
}

fn send(mut stream: &TcpStream, said: Answer) -> std::io::Result<()> {
    let (status, kind, body) = match said {
        Ok(Value::String(text)) => (200, "text/plain", text),
        Ok(value) => (200, "application/json", value.to_string()),
        Err((status, why)) => (status, "application/json", json!({ "message": why }).to_string()),
    };
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    )
}
