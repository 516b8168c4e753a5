//! Following a job (`/jobs/{id}/stream`): its output from the beginning, or after the line that the
//! client has already, then as it comes, and at last how the job ended.
//!
//! A follower is a position in the job's log and nothing else. The next piece is read when its
//! connection takes it, so that a client who reads slowly, or not at all, costs no memory and
//! misses nothing. Lines are numbered from 0; the end has no number, so that a client who connects
//! again is told the end again.

use std::sync::Arc;
use std::time::Duration;

use afk_agent::sessions::{EventReader, LogError, LogEvent, first_after};
use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Jobs;
use super::record::Job;
use crate::service::Service;

/// About how many bytes of events are read for one piece.
const PIECE: usize = 16 * 1024;
/// How long a stream may be quiet before it sends a ping.
const QUIET: Duration = Duration::from_secs(5);
const PING: &str = "event: ping\ndata: {}\n\n";

/// A client that follows a job.
struct Follower {
    service: Arc<Service>,
    id: String,
    reader: EventReader,
    /// Cancelled when the job is over, so that nothing more is added to its log.
    over: CancellationToken,
    told: bool,
}

/// Returns a job's stream after the event `last`; `None` if there is no such job.
pub(crate) async fn follow(
    service: &Arc<Service>,
    id: &str,
    last: Option<&str>,
) -> Result<Option<Body>, LogError> {
    let jobs = &service.jobs;
    let open = jobs.opened(id);
    let log = match &open {
        Some(open) => Some(open.log.clone()),
        None => jobs.files.log(id).await?,
    };
    let Some(log) = log else { return Ok(None) };
    let over = open.map_or_else(ended, |open| open.over.clone());
    let reader = log.reader(first_after(last, log.head().events));
    let service = Arc::clone(service);
    let follower = Follower { service, id: id.to_owned(), reader, over, told: false };
    let body = unfold(follower, async |mut follower| {
        let piece = follower.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(piece.into()), follower))
    });
    Ok(Some(Body::from_stream(body)))
}

/// The token of a job that is over already.
fn ended() -> CancellationToken {
    let over = CancellationToken::new();
    over.cancel();
    over
}

impl Follower {
    /// Returns the next piece of the stream; `None` if the stream is over.
    async fn next(&mut self) -> Option<String> {
        let jobs = &self.service.jobs;
        while !self.told {
            // Asked before the log is read, so that a job that is over has no lines left unread.
            let is_over = self.over.is_cancelled();
            let events = self.reader.read(PIECE).await.inspect_err(told).ok()?;
            if !events.is_empty() {
                return Some(events.iter().map(frame).collect());
            }
            if is_over {
                self.told = true;
                // There is no end to tell if the job was evicted meanwhile.
                return end(jobs, &self.id).await;
            }
            tokio::select! {
                ready = self.reader.ready() => ready.inspect_err(told).ok()?,
                () = self.over.cancelled() => {}
                // The client connects again, and goes on where it was.
                () = self.service.stopping.cancelled() => return None,
                () = sleep(QUIET) => return Some(PING.to_owned()),
            }
        }
        None
    }
}

fn told(error: &LogError) {
    // The client connects again, and gets an error response if the log still cannot be read.
    tracing::warn!(%error, "the stream of a job ended");
}

fn frame(LogEvent { number, text }: &LogEvent) -> String {
    format!("id: {number}\nevent: output\ndata: {text}\n\n")
}

async fn end(jobs: &Jobs, id: &str) -> Option<String> {
    let Job { status, exit_code, error, outcome, .. } = jobs.find(id).await.ok()??;
    let end = json!({"status": status, "exit_code": exit_code, "error": error, "outcome": outcome});
    Some(format!("event: end\ndata: {end}\n\n"))
}
