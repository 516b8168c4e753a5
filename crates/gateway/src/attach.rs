//! Retried requests find the run that the first one started, instead of starting another.
//!
//! Clients time out and send the same body again while the agent still works. A request with the
//! same token and the same body (or the same `Idempotency-Key`) as a run that goes on joins it; one
//! that comes within a minute after a run ended unheard gets what it answered. A run that nobody
//! waits for goes on for as long as a retry may take ([`linger`]) and is then stopped.
//!
//! Two callers of a *stream* each have their own: a stream is only taken over from a caller that
//! went away before it had read anything.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::outlet::Outlet;

/// How long an answer that nobody heard is kept.
const KEPT: Duration = Duration::from_mins(1);
/// How many answers are kept at once.
const MOST: usize = 512;
/// How many streams are kept at once.
const MOST_STREAMS: usize = 256;

/// What makes two requests the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Same([u8; 32]);

impl Same {
    /// The request of `token` to `route` with this body, or with this idempotency key.
    pub(crate) fn new(token: &str, route: &str, idempotency: Option<&str>, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [token.as_bytes(), route.as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        if let Some(key) = idempotency {
            hash.update([1]);
            hash.update(key.as_bytes());
        } else {
            hash.update([0]);
            hash.update(body);
        }
        Self(hash.finalize().into())
    }
}

/// How long a run goes on alone, by how often its client has retried already, where it says so (the
/// official SDKs do). They wait half a second before the first retry and twice as long before each
/// further one; who has never retried may have gone for good, and frees its place within a second.
pub(crate) fn linger(retries: u32) -> Duration {
    match retries {
        0 => Duration::from_millis(800),
        n => Duration::from_millis((500u64 << n.min(4)).min(8000) + 500),
    }
}

/// The runs that can be joined.
#[derive(Debug, Clone)]
pub(crate) struct Attach<T>(Arc<Mutex<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    runs: HashMap<Same, Run<T>>,
    /// Streams that nobody has read anything of, and whether their client is gone.
    streams: HashMap<Same, (Arc<Outlet>, bool)>,
    next: u64,
}

#[derive(Debug)]
struct Run<T> {
    number: u64,
    answer: watch::Receiver<Option<T>>,
    stop: CancellationToken,
    callers: usize,
    linger: Duration,
    /// Whether the answer is kept although it was heard.
    keep: bool,
}

/// A caller's share in a run. Dropping it before [`Joined::answer`] returned is going away.
#[derive(Debug)]
pub(crate) struct Joined<T: Clone + Send + Sync + 'static> {
    attach: Attach<T>,
    same: Same,
    number: u64,
    answer: watch::Receiver<Option<T>>,
    heard: bool,
}

impl<T: Clone + Send + Sync + 'static> Attach<T> {
    pub(crate) fn new() -> Self {
        let inner = Inner { runs: HashMap::new(), streams: HashMap::new(), next: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The run of the same request, if there is one.
    pub(crate) fn join(&self, same: Same, linger: Duration) -> Option<Joined<T>> {
        let mut inner = self.lock();
        let run = inner.runs.get_mut(&same)?;
        if run.stop.is_cancelled() {
            return None;
        }
        run.callers += 1;
        run.linger = run.linger.max(linger);
        let (number, answer) = (run.number, run.answer.clone());
        Some(Joined { attach: self.clone(), same, number, answer, heard: false })
    }

    /// Starts a run that others can join. `work` is told when nobody waits for it any more; what
    /// it answers then is dropped.
    pub(crate) fn start<F>(
        &self,
        same: Same,
        linger: Duration,
        keep: bool,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Joined<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let (tell, answer) = watch::channel(None);
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        let run =
            Run { number, answer: answer.clone(), stop: stop.clone(), callers: 1, linger, keep };
        if inner.runs.len() >= MOST {
            let ended = |run: &Run<T>| run.answer.borrow().is_some();
            let oldest = inner.runs.iter().filter(|(_, run)| ended(run));
            let oldest = oldest.min_by_key(|(_, run)| run.number).map(|(same, _)| *same);
            oldest.map(|same| inner.runs.remove(&same));
        }
        inner.runs.insert(same, run);
        drop(inner);
        let (work, attach) = (work(stop), self.clone());
        tokio::spawn(async move {
            let answer = work.await;
            let _ = tell.send(Some(answer));
            if attach.is_unheard(same, number) {
                tokio::time::sleep(KEPT).await;
                attach.forget(same, number);
            }
        });
        Joined { attach: self.clone(), same, number, answer, heard: false }
    }

    /// Lets a stream be found: by any request that is the same if its client is `gone`, else only by
    /// one that says itself that it is a retry.
    pub(crate) fn park(&self, same: Same, outlet: &Arc<Outlet>, gone: bool) {
        let mut inner = self.lock();
        if inner.streams.len() < MOST_STREAMS || inner.streams.contains_key(&same) {
            inner.streams.insert(same, (Arc::clone(outlet), gone));
        }
    }

    /// Takes over the stream of the same request, if it is whole.
    pub(crate) fn reclaim(&self, same: Same, is_retry: bool) -> Option<Arc<Outlet>> {
        let mut inner = self.lock();
        let (outlet, gone) = inner.streams.get(&same)?;
        if !(outlet.is_whole() && (*gone || is_retry)) {
            return None;
        }
        inner.streams.remove(&same).map(|(outlet, _)| outlet)
    }

    /// Forgets a stream; false if somebody took it over.
    pub(crate) fn unpark(&self, same: Same, outlet: &Arc<Outlet>) -> bool {
        let mut inner = self.lock();
        let is_it = inner.streams.get(&same).is_some_and(|(kept, _)| Arc::ptr_eq(kept, outlet));
        if is_it {
            inner.streams.remove(&same);
        }
        is_it
    }

    /// Whether nobody waits for an answer that just came.
    fn is_unheard(&self, same: Same, number: u64) -> bool {
        let inner = self.lock();
        let run = inner.runs.get(&same).filter(|run| run.number == number);
        run.is_some_and(|run| run.callers == 0)
    }

    fn forget(&self, same: Same, number: u64) {
        let mut inner = self.lock();
        if inner.runs.get(&same).is_some_and(|run| run.number == number) {
            inner.runs.remove(&same);
        }
    }

    fn leave(&self, same: Same, number: u64, heard: bool) {
        let mut inner = self.lock();
        let Some(run) = inner.runs.get_mut(&same).filter(|run| run.number == number) else {
            return;
        };
        run.callers -= 1;
        if run.callers > 0 {
            return;
        }
        let ended = run.answer.borrow().is_some();
        if heard && !run.keep {
            inner.runs.remove(&same);
            return;
        }
        let (attach, pause) = (self.clone(), if ended { KEPT } else { run.linger });
        drop(inner);
        // A handler may be dropped while the runtime shuts down.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let mut inner = attach.lock();
            let Some(run) = inner.runs.get(&same).filter(|run| run.number == number) else {
                return;
            };
            let has_ended = run.answer.borrow().is_some();
            // One that ended meanwhile is kept by its own task.
            if run.callers == 0 && has_ended == ended {
                run.stop.cancel();
                inner.runs.remove(&same);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Send + Sync + 'static> Joined<T> {
    /// Waits for the answer; none if the run broke off.
    pub(crate) async fn answer(mut self) -> Option<T> {
        let answer = self.answer.wait_for(Option::is_some).await.ok()?.clone();
        self.heard = true;
        answer
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Joined<T> {
    fn drop(&mut self) {
        self.attach.leave(self.same, self.number, self.heard);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn same(body: &str) -> Same {
        Same::new("token", "/x", None, body.as_bytes())
    }

    #[test]
    fn requests_are_the_same_by_token_route_and_body_or_key() {
        let base = Same::new("t", "/x", None, b"b");
        assert_eq!(base, Same::new("t", "/x", None, b"b"));
        for other in [
            Same::new("u", "/x", None, b"b"),
            Same::new("t", "/y", None, b"b"),
            Same::new("t", "/x", None, b"c"),
            Same::new("t", "/x", Some("b"), b"b"),
            Same::new("t/", "x", None, b"b"),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(Same::new("t", "/x", Some("k"), b"1"), Same::new("t", "/x", Some("k"), b"2"));
    }

    #[test]
    fn a_run_lingers_as_long_as_the_next_retry_takes() {
        for (retries, millis) in [(0, 800), (1, 1500), (2, 2500), (9, 8500)] {
            assert_eq!(linger(retries), Duration::from_millis(millis), "{retries}");
        }
    }

    #[tokio::test]
    async fn a_retry_joins_the_run_and_gets_its_answer() {
        let attach = Attach::<u32>::new();
        let (go, ready) = oneshot::channel::<()>();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let first = attach.start(same("a"), Duration::from_secs(5), false, |_| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = ready.await;
            42
        });
        drop(first);
        let second = attach.join(same("a"), Duration::ZERO).expect("it goes on");
        assert!(attach.join(same("b"), Duration::ZERO).is_none());
        go.send(()).unwrap();
        assert_eq!(second.answer().await, Some(42));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        // It was heard, so the same request is a new one.
        assert!(attach.join(same("a"), Duration::ZERO).is_none());
    }

    #[tokio::test]
    async fn an_answer_that_nobody_heard_waits_for_a_retry() {
        let attach = Attach::<u32>::new();
        let (go, ready) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel::<()>();
        let first = attach.start(same("a"), Duration::from_secs(5), false, |_| async move {
            let _ = ready.await;
            let _ = done.send(());
            7
        });
        drop(first);
        go.send(()).unwrap();
        ended.await.unwrap();
        let retry = attach.join(same("a"), Duration::ZERO).expect("kept");
        assert_eq!(retry.answer().await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_nobody_waits_for_is_stopped() {
        let attach = Attach::<u32>::new();
        let (tell, stopped) = oneshot::channel::<()>();
        let first = attach.start(same("a"), linger(0), false, |stop| async move {
            stop.cancelled().await;
            let _ = tell.send(());
            0
        });
        drop(first);
        stopped.await.unwrap();
        assert!(attach.join(same("a"), Duration::ZERO).is_none());
    }

    #[tokio::test]
    async fn a_stream_is_taken_over_once_by_a_retry_or_when_its_client_is_gone() {
        let attach = Attach::<u32>::new();
        let outlet = Outlet::new();
        attach.park(same("a"), &outlet, false);
        assert!(attach.reclaim(same("a"), false).is_none(), "another caller has its own");
        attach.park(same("a"), &outlet, true);
        assert!(attach.reclaim(same("b"), true).is_none());
        assert!(Arc::ptr_eq(&attach.reclaim(same("a"), false).unwrap(), &outlet));
        assert!(attach.reclaim(same("a"), true).is_none());
        assert!(!attach.unpark(same("a"), &outlet));
        attach.park(same("a"), &outlet, false);
        assert!(attach.reclaim(same("a"), true).is_some());
    }
}
