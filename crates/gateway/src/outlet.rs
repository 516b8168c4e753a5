//! A streamed response between the task that writes it (the maker) and the client.
//!
//! The maker writes whenever there is something; whatever has gathered when the connection can take
//! more leaves as one frame. So a fast agent costs few frames, a slow client costs about [`HIGH`]
//! bytes, and the maker learns at once when the client goes away.
//!
//! The status is not sent before the first piece of the answer, so that a failure before it is a
//! real error response ([`Outlet::refuse`]). If the client goes away before it has read anything,
//! its own retry may read the same stream from the start ([`Outlet::reader`] again).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::sync::Notify;

use crate::chat::chunks::{COMMENT, Chunks};
use crate::error::ApiError;

/// How many bytes may wait for a client before the maker pauses.
const HIGH: usize = 256 * 1024;

/// The maker's end; the client's is a [`Reader`].
#[derive(Debug)]
pub(crate) struct Outlet {
    state: Mutex<State>,
    /// Tells the maker that the buffer has room, or that a client came, went or read.
    maker: Notify,
    /// Tells whoever waits in [`Outlet::settled`] that the head is decided.
    head: Notify,
}

#[derive(Debug)]
struct State {
    buffer: BytesMut,
    head: Head,
    closed: bool,
    /// Whether a client has read something, or was refused: a retry can no longer have all of it.
    taken: bool,
    /// How many readers exist. Only the newest one, by number, is served.
    readers: usize,
    newest: u64,
    /// Whether something was written since the last [`Outlet::keep_alive`].
    wrote: bool,
    waker: Option<Waker>,
}

/// Whether the response's status is decided.
#[derive(Debug, Clone)]
enum Head {
    Open,
    /// The status is 200, and may be on the wire already.
    Sent,
    Refused(ApiError),
}

impl Outlet {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                buffer: BytesMut::new(),
                head: Head::Open,
                closed: false,
                taken: false,
                readers: 0,
                newest: 0,
                wrote: false,
                waker: None,
            }),
            maker: Notify::new(),
            head: Notify::new(),
        })
    }

    /// Returns a new client's end, and cuts off the earlier ones: only the newest gets anything.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        let mut state = self.lock();
        state.readers += 1;
        state.newest += 1;
        let number = state.newest;
        let older = state.waker.take();
        drop(state);
        self.maker.notify_waiters();
        if let Some(older) = older {
            older.wake();
        }
        Reader { outlet: Arc::clone(self), number }
    }

    /// Writes to the buffer and decides for a good status.
    pub(crate) fn write(&self, with: impl FnOnce(&mut BytesMut)) {
        let mut state = self.lock();
        with(&mut state.buffer);
        state.wrote = true;
        self.sent(&mut state);
        wake(state);
    }

    /// Writes frames that were made beforehand, without a copy if the buffer is empty.
    pub(crate) fn append(&self, frames: BytesMut) {
        self.write(
            |out| if out.is_empty() { *out = frames } else { out.extend_from_slice(&frames) },
        );
    }

    /// Writes the last bytes and ends the stream well.
    pub(crate) fn close(&self, with: impl FnOnce(&mut BytesMut)) {
        let mut state = self.lock();
        with(&mut state.buffer);
        state.closed = true;
        self.sent(&mut state);
        wake(state);
    }

    /// Ends the stream with an error: a response while the status is open, else a frame.
    pub(crate) fn refuse(&self, error: ApiError) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        match state.head {
            Head::Open => {
                state.head = Head::Refused(error);
                // The refusal itself is the answer; a retry is a new request.
                state.taken = true;
                self.head.notify_waiters();
            }
            Head::Sent | Head::Refused(_) => Chunks::fail(&error, &mut state.buffer),
        }
        wake(state);
    }

    /// Returns a guard that ends the stream with an error if its maker panics.
    pub(crate) fn ended_by_drop(self: &Arc<Self>) -> EndedByDrop {
        EndedByDrop(Arc::clone(self))
    }

    /// Writes a comment if nothing was written since the last call: it keeps connections open.
    pub(crate) fn keep_alive(&self) {
        let mut state = self.lock();
        let silent = !std::mem::take(&mut state.wrote);
        if silent && !state.closed && matches!(state.head, Head::Sent) && state.buffer.is_empty() {
            state.buffer.extend_from_slice(COMMENT);
            wake(state);
        }
    }

    /// Waits until the status is decided: good, or the error that the stream was refused with.
    pub(crate) async fn settled(&self) -> Result<(), ApiError> {
        loop {
            let changed = self.head.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match &self.lock().head {
                Head::Open => {}
                Head::Sent => return Ok(()),
                Head::Refused(error) => return Err(error.clone()),
            }
            changed.await;
        }
    }

    /// Decides for a good status now, unless the stream was refused already.
    pub(crate) fn commit(&self) -> Result<(), ApiError> {
        let mut state = self.lock();
        match &state.head {
            Head::Refused(error) => return Err(error.clone()),
            Head::Open | Head::Sent => {}
        }
        self.sent(&mut state);
        Ok(())
    }

    /// Waits until the buffer has room again, or no client is left.
    pub(crate) async fn room(&self) {
        self.until(|state| state.buffer.len() < HIGH || state.readers == 0).await;
    }

    /// Waits until there is no client.
    pub(crate) async fn unattended(&self) {
        self.until(|state| state.readers == 0).await;
    }

    /// Waits until there is a client.
    pub(crate) async fn attended(&self) {
        self.until(|state| state.readers > 0).await;
    }

    /// Waits until a client has read something, or was refused.
    pub(crate) async fn taken(&self) {
        self.until(|state| state.taken).await;
    }

    /// Whether nobody has read anything, so that another client can have all of the stream.
    pub(crate) fn is_whole(&self) -> bool {
        !self.lock().taken
    }

    /// Whether the client went away before it read anything.
    pub(crate) fn is_left(&self) -> bool {
        let state = self.lock();
        !state.taken && state.readers == 0
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.maker.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn sent(&self, state: &mut State) {
        if matches!(state.head, Head::Open) {
            state.head = Head::Sent;
            self.head.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a stream that its maker did not end ([`Outlet::ended_by_drop`]).
#[derive(Debug)]
pub(crate) struct EndedByDrop(Arc<Outlet>);

impl Drop for EndedByDrop {
    fn drop(&mut self) {
        self.0.refuse(ApiError::failed("the answer broke off"));
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A client's end of an [`Outlet`]: the body of its response.
#[derive(Debug)]
pub(crate) struct Reader {
    outlet: Arc<Outlet>,
    number: u64,
}

impl Reader {
    /// The maker's end.
    pub(crate) fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut state = self.outlet.lock();
        if self.number != state.newest {
            return Poll::Ready(None);
        }
        if !state.buffer.is_empty() {
            let tell = !state.taken || state.buffer.len() >= HIGH;
            state.taken = true;
            let bytes = std::mem::take(&mut state.buffer).freeze();
            drop(state);
            if tell {
                self.outlet.maker.notify_waiters();
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.outlet.lock();
        state.readers -= 1;
        if self.number == state.newest {
            state.waker = None;
        }
        drop(state);
        self.outlet.maker.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(reader: &mut Reader) -> Option<Bytes> {
        let frame = poll_fn(|context| Pin::new(&mut *reader).poll_frame(context)).await?;
        frame.ok()?.into_data().ok()
    }

    #[tokio::test]
    async fn what_gathered_leaves_as_one_frame() {
        let outlet = Outlet::new();
        let mut reader = outlet.reader();
        outlet.write(|out| out.extend_from_slice(b"a"));
        outlet.write(|out| out.extend_from_slice(b"b"));
        assert_eq!(next(&mut reader).await.as_deref(), Some(&b"ab"[..]));
        outlet.close(|out| out.extend_from_slice(b"c"));
        assert_eq!(next(&mut reader).await.as_deref(), Some(&b"c"[..]));
        assert_eq!(next(&mut reader).await, None);
    }

    #[tokio::test]
    async fn a_failure_is_a_response_before_the_first_piece_and_a_frame_after_it() {
        let error = ApiError::failed("x");
        let early = Outlet::new();
        early.refuse(error.clone());
        assert_eq!(early.settled().await, Err(error.clone()));
        assert_eq!(early.commit(), Err(error.clone()));

        let late = Outlet::new();
        let mut reader = late.reader();
        assert_eq!(late.commit(), Ok(()));
        late.refuse(error);
        late.settled().await.unwrap();
        let frame = next(&mut reader).await.unwrap();
        assert!(frame.starts_with(b"data: {\"error\"") && frame.ends_with(b"[DONE]\n\n"));
    }

    #[tokio::test]
    async fn a_maker_that_panics_ends_its_stream_with_an_error() {
        let outlet = Outlet::new();
        let mut reader = outlet.reader();
        let ended_by_drop = outlet.ended_by_drop();
        let maker = tokio::spawn({
            let outlet = Arc::clone(&outlet);
            async move {
                let _ended_by_drop = ended_by_drop;
                outlet.write(|out| out.extend_from_slice(b"a"));
                panic!("a fault of the maker");
            }
        });
        assert!(maker.await.unwrap_err().is_panic());
        let said = next(&mut reader).await.unwrap();
        assert!(
            said.starts_with(b"adata: {\"error\"") && said.ends_with(b"[DONE]\n\n"),
            "{said:?}"
        );
        assert_eq!(next(&mut reader).await, None);
        // A stream that has ended is left as it is.
        let done = Outlet::new();
        let mut reader = done.reader();
        let ended_by_drop = done.ended_by_drop();
        done.close(|out| out.extend_from_slice(b"c"));
        drop(ended_by_drop);
        assert_eq!(next(&mut reader).await.as_deref(), Some(&b"c"[..]));
        assert_eq!(next(&mut reader).await, None);
    }

    #[tokio::test]
    async fn the_maker_waits_for_a_slow_client_and_notices_one_that_goes() {
        let outlet = Outlet::new();
        let mut reader = outlet.reader();
        outlet.room().await;
        outlet.write(|out| out.resize(HIGH, b'x'));
        let room = tokio::spawn({
            let outlet = Arc::clone(&outlet);
            async move { outlet.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!room.is_finished());
        next(&mut reader).await.unwrap();
        room.await.unwrap();
        assert!(!outlet.is_whole());
        drop(reader);
        outlet.unattended().await;
        let _again = outlet.reader();
        outlet.attended().await;
    }

    #[tokio::test]
    async fn a_silent_stream_gets_comments_once_its_head_is_sent() {
        let outlet = Outlet::new();
        let mut reader = outlet.reader();
        outlet.keep_alive();
        outlet.commit().unwrap();
        outlet.keep_alive();
        assert_eq!(next(&mut reader).await.as_deref(), Some(COMMENT));
        outlet.write(|out| out.extend_from_slice(b"a"));
        outlet.keep_alive();
        assert_eq!(next(&mut reader).await.as_deref(), Some(&b"a"[..]));
    }
}
