//! The control socket: one request and one answer for each connection, as lines of JSON.
//!
//! Without bubblewrap a job can connect to any socket it can name, so every request carries the
//! folder's token, which no job can read. Sizes and waits are limited on both sides. This file is
//! the protocol; [`super::serve`] and [`super::pump`] carry requests out.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::spec::{KilledBy, StopSignal};

/// Bytes of input that one request may carry.
pub(super) const WRITE_LIMIT: usize = 1 << 20;

/// How long either side waits for the other.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Most connections at a time; further ones are closed.
const CONNECTIONS: usize = 16;

/// Maximum length of a request's first line, or of an answer, in bytes.
const LINE_LIMIT: u64 = 4096;

/// A control plane's request to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum HostRequest {
    /// Renew the job; also shows whether its host answers.
    Renew,
    /// Ask the job to end, and end it after `grace_ms`.
    Interrupt { signal: StopSignal, grace_ms: u64, by: KilledBy },
    /// Kill the job at once.
    Kill { by: KilledBy },
    /// Add the `len` bytes that follow this line to the input, at `offset`.
    Write { offset: u64, len: usize },
    /// End the input.
    CloseStdin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(super) enum HostAnswer {
    /// Done; the input is this long now.
    Done { stdin_len: u64 },
    /// Not done, and why.
    Refused { reason: String },
}

#[derive(Serialize, Deserialize)]
struct Line {
    token: String,
    #[serde(flatten)]
    ask: HostRequest,
}

/// Listens on `socket`, and answers requests on threads of its own until the process ends.
pub(super) fn listen(
    socket: &Path,
    token: String,
    answer: impl Fn(HostRequest, Vec<u8>) -> HostAnswer + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let answer = Arc::new(answer);
    let open = Arc::new(AtomicUsize::new(0));
    let token: Arc<str> = token.into();
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for connection in listener.incoming() {
            let Ok(connection) = connection else { continue };
            if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
                open.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let (answer, count, token) =
                (Arc::clone(&answer), Arc::clone(&open), Arc::clone(&token));
            let served = std::thread::Builder::new().spawn(move || {
                // A client that hangs up gets no answer.
                let _ = serve(&connection, &token, answer.as_ref());
                count.fetch_sub(1, Ordering::SeqCst);
            });
            if served.is_err() {
                open.fetch_sub(1, Ordering::SeqCst);
            }
        }
    })?;
    Ok(())
}

fn serve(
    connection: &UnixStream,
    token: &str,
    answer: impl Fn(HostRequest, Vec<u8>) -> HostAnswer,
) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(connection);
    let answered = match read_ask(&mut reader, token)? {
        Ok((ask, bytes)) => answer(ask, bytes),
        Err(reason) => HostAnswer::Refused { reason: reason.to_owned() },
    };
    let mut line = serde_json::to_vec(&answered)?;
    line.push(b'\n');
    let mut connection = connection;
    connection.write_all(&line)
}

fn read_ask(
    reader: &mut impl BufReadTake,
    token: &str,
) -> io::Result<Result<(HostRequest, Vec<u8>), &'static str>> {
    let mut line = Vec::new();
    reader.take(LINE_LIMIT).read_until(b'\n', &mut line)?;
    let Ok(Line { token: given, ask }) = serde_json::from_slice(&line) else {
        return Ok(Err("this is not a request that this host knows"));
    };
    if !same(given.as_bytes(), token.as_bytes()) {
        return Ok(Err("the token is not this job's"));
    }
    let mut bytes = Vec::new();
    if let HostRequest::Write { offset: _, len } = ask {
        if len > WRITE_LIMIT {
            return Ok(Err("more input than one request may carry"));
        }
        bytes.resize(len, 0);
        reader.read_exact(&mut bytes)?;
    }
    Ok(Ok((ask, bytes)))
}

/// [`Read::take`] by reference, for a generic buffered reader.
trait BufReadTake: io::BufRead {
    fn take(&mut self, limit: u64) -> io::Take<&mut Self> {
        Read::take(self, limit)
    }
}

impl<R: io::BufRead> BufReadTake for R {}

/// Compares in constant time.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Sends one request and waits for the answer. Every error, a timeout too, means that the host
/// cannot be reached.
pub(super) async fn send(
    socket: &Path,
    token: &str,
    ask: HostRequest,
    bytes: &[u8],
) -> io::Result<HostAnswer> {
    let mut line = serde_json::to_vec(&Line { token: token.to_owned(), ask })?;
    line.push(b'\n');
    let exchange = async {
        let mut connection = tokio::net::UnixStream::connect(socket).await?;
        connection.write_all(&line).await?;
        connection.write_all(bytes).await?;
        let mut answer = Vec::new();
        connection.take(LINE_LIMIT).read_to_end(&mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: &[u8], expected: &Result<(HostRequest, Vec<u8>), &'static str>) {
        let got = read_ask(&mut BufReader::new(sent), "right").expect("readable");
        assert_eq!(&got, expected, "{}", String::from_utf8_lossy(sent));
    }

    #[test]
    fn questions() {
        let unknown = "this is not a request that this host knows";
        check(br#"{"token":"right","ask":"renew"}"#, &Ok((HostRequest::Renew, Vec::new())));
        check(
            b"{\"token\":\"right\",\"ask\":\"write\",\"offset\":3,\"len\":2}\n\xff\n",
            &Ok((HostRequest::Write { offset: 3, len: 2 }, b"\xff\n".to_vec())),
        );
        check(br#"{"token":"wrong","ask":"renew"}"#, &Err("the token is not this job's"));
        check(br#"{"token":"","ask":"renew"}"#, &Err("the token is not this job's"));
        check(br#"{"ask":"renew"}"#, &Err(unknown));
        check(br#"{"token":"right","ask":"dance"}"#, &Err(unknown));
        check(b"", &Err(unknown));
        check(&[b'{'; 10_000], &Err(unknown));
        check(
            b"{\"token\":\"right\",\"ask\":\"write\",\"offset\":0,\"len\":99999999}\n",
            &Err("more input than one request may carry"),
        );
    }
}
