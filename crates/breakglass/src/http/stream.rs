//! A conversation as a stream of server-sent events: replay, `caught-up`, then live.
//!
//! Each attached client is a position in the log and nothing else. The next piece is read when the
//! client's connection takes it, so that a client which reads slowly, or not at all, costs no
//! memory, loses nothing, and holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use afk_agent::sessions::{EventReader, first_after};
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::answers::ApiError;
use crate::conversation::Conversation;
use crate::wire::{CAUGHT_UP, PING, frame};

/// About how many bytes of events are read for one piece.
const PIECE: usize = 16 * 1024;
/// The first bytes of a stream: a browser's own `EventSource` is to reconnect after a second.
const RETRY: &str = "retry: 1000\n\n";

/// What all streams share. Clones share the places.
#[derive(Clone, Debug)]
pub struct Streams {
    places: Arc<Semaphore>,
    ping: Duration,
    shutdown: CancellationToken,
}

impl Streams {
    /// Allows `most` streams at once, each with a sign of life after `ping` without events.
    pub fn new(most: usize, ping: Duration, shutdown: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), ping, shutdown }
    }

    /// Attaches a client. `last` is the number of the last event that it has, as it was sent.
    ///
    /// # Errors
    ///
    /// If there are too many streams. No client that is attached is ever cut off for a new one.
    pub fn attach(
        &self,
        conversation: Arc<Conversation>,
        last: Option<&str>,
    ) -> Result<Response, ApiError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let detail = "too many clients are attached: close some, and try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
        })?;
        let events = conversation.log().head().events;
        let attached = Attached {
            reader: conversation.log().reader(first_after(last, events)),
            _conversation: conversation,
            _place: place,
            present: Some(events),
            begun: false,
            ping: self.ping,
            shutdown: self.shutdown.clone(),
        };
        let body = Body::from_stream(unfold(attached, async |mut attached| {
            let piece = attached.next().await?;
            Some((Ok::<Bytes, std::convert::Infallible>(piece.into()), attached))
        }));
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache, no-transform"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        Ok((headers, body).into_response())
    }
}

/// One attached client.
struct Attached {
    reader: EventReader,
    /// Held, so that the conversation is not deleted under somebody who watches it.
    _conversation: Arc<Conversation>,
    _place: OwnedSemaphorePermit,
    /// How many events there were when the client came; `None` once `caught-up` was sent.
    present: Option<u64>,
    begun: bool,
    ping: Duration,
    shutdown: CancellationToken,
}

impl Attached {
    /// Returns the next piece of the stream; `None` if the stream is over.
    async fn next(&mut self) -> Option<String> {
        let ping_at = Instant::now() + self.ping;
        loop {
            if self.shutdown.is_cancelled() {
                return None;
            }
            let mut piece = if self.begun { String::new() } else { RETRY.to_owned() };
            self.begun = true;
            match self.reader.read(PIECE).await {
                Ok(events) => piece.extend(events.iter().map(frame)),
                Err(error) => {
                    // The client reconnects, and gets an error response if this still fails.
                    tracing::warn!(%error, "stream ended");
                    return None;
                }
            }
            if self.present.is_some_and(|present| self.reader.next_number() >= present) {
                self.present = None;
                piece.push_str(CAUGHT_UP);
            }
            if !piece.is_empty() {
                return Some(piece);
            }
            tokio::select! {
                ready = self.reader.ready() => ready.ok()?,
                () = sleep_until(ping_at) => return Some(PING.to_owned()),
                () = self.shutdown.cancelled() => return None,
            }
        }
    }
}
