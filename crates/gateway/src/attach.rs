//! Retried requests find the run that the first one started, instead of starting another.
//!
//! Clients time out and send the same body again while the agent still works. A request with the
//! same token and the same body as a run whose caller has gone takes that run over; if the run has
//! ended meanwhile and nobody collected its answer, the request gets that answer, for a minute. A
//! run that nobody waits for goes on for as long as a retry may take ([`linger`]) and is then
//! stopped.
//!
//! Callers that are there at the same time each have a run of their own, however alike their
//! requests are, unless they share an `Idempotency-Key`. A *stream* is only taken over from a
//! caller that went away before it had read anything. The key of a stream is refused while the
//! stream runs and for a minute afterwards ([`Attach::hold_key`]).

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, pending};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::outlet::Outlet;

/// How long uncollected answers, answers to a key, and keys of ended streams are kept.
const KEPT: Duration = Duration::from_mins(1);
/// How many runs, kept answers included, and keys of ended streams there may be.
const MOST: usize = 512;
/// How many streams are kept at once.
const MOST_STREAMS: usize = 256;

/// Identifies a request; equal for a request and its retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Hashes the token's name, the route and the body, or instead of the body the idempotency key.
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

/// Returns how long a run goes on alone, by how often its client says that it retried. The official
/// SDKs do, and wait half a second before the first retry and twice as long before each further
/// one. A client that never retried may be gone for good: its place is free within a second.
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
    /// By number and not by [`Fingerprint`]: equal requests may have several runs.
    runs: BTreeMap<u64, Run<T>>,
    /// Streams that a retry may take over: nobody had read anything of them when last looked.
    streams: Vec<(Fingerprint, Arc<Outlet>)>,
    /// Idempotency keys of streams: `None` while the stream runs, then when it ended.
    held_keys: HashMap<Fingerprint, Option<Instant>>,
    next: u64,
}

#[derive(Debug)]
struct Run<T> {
    same: Fingerprint,
    answer: watch::Receiver<Option<T>>,
    stop: CancellationToken,
    callers: watch::Sender<usize>,
    linger: Duration,
    /// Whether its callers gave an idempotency key. They then share the run, and its answer is kept
    /// for [`KEPT`] even if it was collected.
    keyed: bool,
}

/// What is known of a request that decides whether it joins an earlier run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunKey {
    pub(crate) same: Fingerprint,
    /// How long its run goes on without a caller ([`linger`]).
    pub(crate) linger: Duration,
    /// Whether the request came with an idempotency key.
    pub(crate) keyed: bool,
    /// Whether the client says that the request is a retry.
    pub(crate) is_retry: bool,
}

/// What a run knows of the callers that wait for its answer.
#[derive(Debug)]
pub(crate) struct Waiters {
    callers: watch::Receiver<usize>,
    /// Cancelled when nobody waits any more and no retry came in time.
    pub(crate) gone: CancellationToken,
}

impl Waiters {
    /// Waits until a caller waits for the answer.
    pub(crate) async fn attended(&mut self) {
        if self.callers.wait_for(|callers| *callers > 0).await.is_err() {
            // The run was removed, so nobody can join it any more.
            pending::<()>().await;
        }
    }
}

/// A caller's share in a run. A caller goes away by dropping it before [`Waiter::answer`] returned.
#[derive(Debug)]
pub(crate) struct Waiter<T: Clone + Send + Sync + 'static> {
    attach: Attach<T>,
    number: u64,
    answer: watch::Receiver<Option<T>>,
    collected: bool,
}

impl<T: Clone + Send + Sync + 'static> Attach<T> {
    pub(crate) fn new() -> Self {
        let (runs, streams, held_keys) = (BTreeMap::new(), Vec::new(), HashMap::new());
        let inner = Inner { runs, streams, held_keys, next: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Joins the run of an equal request: one without a caller or, for a retry or a key, any. If
    /// there is none, asks `admit` for what a new run takes and starts one, which equal requests
    /// can join. `work` must end early when [`Waiters::gone`] is cancelled; what it answers then is
    /// dropped.
    ///
    /// `admit` runs under the lock, so that two requests with one key that come together find the
    /// same run. It must not use this [`Attach`].
    pub(crate) fn join_or_start<A, E, F>(
        &self,
        key: RunKey,
        admit: impl FnOnce() -> Result<A, E>,
        work: impl FnOnce(A, Waiters) -> F,
    ) -> Result<Waiter<T>, E>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut inner = self.lock();
        if let Some((number, answer)) = inner.join(key) {
            return Ok(Waiter { attach: self.clone(), number, answer, collected: false });
        }
        let admitted = admit()?;
        let (tell, answer) = watch::channel(None);
        let (number, waiters) = inner.add(key, answer.clone());
        drop(inner);
        let (work, attach) = (work(admitted, waiters), self.clone());
        tokio::spawn(async move {
            let answer = work.await;
            let _ = tell.send(Some(answer));
            if attach.is_uncollected(number) {
                tokio::time::sleep(KEPT).await;
                attach.lock().runs.remove(&number);
            }
        });
        Ok(Waiter { attach: self.clone(), number, answer, collected: false })
    }

    /// Reserves a stream's idempotency key, if it has one, until [`KEPT`] after the result is
    /// dropped. The admission bounds the keys of running streams, [`MOST`] those of ended ones.
    pub(crate) fn hold_key(&self, key: RunKey) -> Result<Option<HeldKey<T>>, InUse> {
        if !key.keyed {
            return Ok(None);
        }
        let mut inner = self.lock();
        let held = &mut inner.held_keys;
        held.retain(|_, ended| ended.is_none_or(|at| at.elapsed() < KEPT));
        if held.contains_key(&key.same) {
            return Err(InUse);
        }
        if held.values().flatten().count() >= MOST {
            let ended = held.iter().filter_map(|(same, ended)| Some((*ended.as_ref()?, *same)));
            let oldest = ended.min_by_key(|(at, _)| *at).map(|(_, same)| same);
            oldest.map(|same| held.remove(&same));
        }
        held.insert(key.same, None);
        Ok(Some(HeldKey { attach: self.clone(), same: Some(key.same) }))
    }

    /// Lets a retry find this stream if its client goes. False if too many are kept.
    pub(crate) fn park(&self, same: Fingerprint, outlet: &Arc<Outlet>) -> bool {
        let mut inner = self.lock();
        let streams = &mut inner.streams;
        if streams.iter().any(|(_, kept)| Arc::ptr_eq(kept, outlet)) {
            return true;
        }
        if streams.len() >= MOST_STREAMS {
            streams.retain(|(_, kept)| kept.is_whole());
        }
        let has_room = streams.len() < MOST_STREAMS;
        if has_room {
            streams.push((same, Arc::clone(outlet)));
        }
        has_room
    }

    /// Takes over a stream of an equal request whose client went away before it read anything.
    pub(crate) fn reclaim(&self, same: Fingerprint) -> Option<Arc<Outlet>> {
        let mut inner = self.lock();
        let is_left =
            |(kept, outlet): &(Fingerprint, Arc<Outlet>)| *kept == same && outlet.is_left();
        let at = inner.streams.iter().position(is_left)?;
        Some(inner.streams.swap_remove(at).1)
    }

    /// Returns a stream of an equal request that nobody has read anything of, and leaves it kept.
    pub(crate) fn unread(&self, same: Fingerprint) -> Option<Arc<Outlet>> {
        let inner = self.lock();
        let is_it =
            |(kept, outlet): &&(Fingerprint, Arc<Outlet>)| *kept == same && outlet.is_whole();
        inner.streams.iter().find(is_it).map(|(_, outlet)| Arc::clone(outlet))
    }

    /// Forgets a stream; false if somebody took it over.
    pub(crate) fn unpark(&self, outlet: &Arc<Outlet>) -> bool {
        let mut inner = self.lock();
        let before = inner.streams.len();
        inner.streams.retain(|(_, kept)| !Arc::ptr_eq(kept, outlet));
        inner.streams.len() < before
    }

    /// Whether nobody waits for the answer of this run, which has just come.
    fn is_uncollected(&self, number: u64) -> bool {
        self.lock().runs.get(&number).is_some_and(|run| run.callers() == 0)
    }

    fn leave(&self, number: u64, collected: bool) {
        let mut inner = self.lock();
        let Some(run) = inner.runs.get_mut(&number) else { return };
        run.callers.send_modify(|callers| *callers -= 1);
        if run.callers() > 0 {
            return;
        }
        let ended = run.answer.borrow().is_some();
        if collected && !run.keyed {
            inner.runs.remove(&number);
            return;
        }
        let (attach, pause) = (self.clone(), if ended { KEPT } else { run.linger });
        drop(inner);
        // A handler may be dropped while the runtime shuts down.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let mut inner = attach.lock();
            let Some(run) = inner.runs.get(&number) else { return };
            let has_ended = run.answer.borrow().is_some();
            // A run that ended meanwhile is kept, and removed, by its own task.
            if run.callers() == 0 && has_ended == ended {
                run.stop.cancel();
                inner.runs.remove(&number);
            }
        });
    }
}

impl<T> Inner<T> {
    /// Counts a caller in to a run that its request may join.
    fn join(&mut self, key: RunKey) -> Option<(u64, watch::Receiver<Option<T>>)> {
        // A retry may arrive before we notice that its first connection has ended.
        let is_free = |run: &Run<T>| run.callers() == 0 || run.keyed || key.is_retry;
        let (number, run) = self
            .runs
            .iter_mut()
            .find(|(_, run)| run.same == key.same && is_free(run) && !run.stop.is_cancelled())?;
        run.callers.send_modify(|callers| *callers += 1);
        run.linger = run.linger.max(key.linger);
        Some((*number, run.answer.clone()))
    }

    /// Adds a run with one caller, and makes room for it among the runs that have ended.
    fn add(&mut self, key: RunKey, answer: watch::Receiver<Option<T>>) -> (u64, Waiters) {
        let RunKey { same, linger, keyed, .. } = key;
        let number = self.next;
        self.next += 1;
        if self.runs.len() >= MOST {
            let ended = self.runs.iter().find(|(_, run)| run.answer.borrow().is_some());
            let oldest = ended.map(|(number, _)| *number);
            oldest.map(|number| self.runs.remove(&number));
        }
        let (callers, waiting) = watch::channel(1);
        let gone = CancellationToken::new();
        let run = Run { same, answer, stop: gone.clone(), callers, linger, keyed };
        self.runs.insert(number, run);
        (number, Waiters { callers: waiting, gone })
    }
}

impl<T> Run<T> {
    fn callers(&self) -> usize {
        *self.callers.borrow()
    }
}

impl<T> Attach<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The idempotency key is that of a stream that runs, or ended less than a minute ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InUse;

/// The reserved idempotency key of a stream that runs.
#[derive(Debug)]
pub(crate) struct HeldKey<T> {
    attach: Attach<T>,
    /// `None` once the key is given up.
    same: Option<Fingerprint>,
}

impl<T> HeldKey<T> {
    /// Gives the key up at once, because nobody has read anything of the stream.
    pub(crate) fn forget(mut self) {
        if let Some(same) = self.same.take() {
            self.attach.lock().held_keys.remove(&same);
        }
    }
}

impl<T> Drop for HeldKey<T> {
    fn drop(&mut self) {
        if let Some(same) = self.same.take() {
            self.attach.lock().held_keys.insert(same, Some(Instant::now()));
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Waiter<T> {
    /// Waits for the answer; `None` if the run's task ended without one.
    pub(crate) async fn answer(mut self) -> Option<T> {
        let answer = self.answer.wait_for(Option::is_some).await.ok()?.clone();
        self.collected = true;
        answer
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.attach.leave(self.number, self.collected);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    impl<T: Clone + Send + Sync + 'static> Attach<T> {
        /// Joins the run of an equal request, and starts none.
        fn join(&self, key: RunKey) -> Option<Waiter<T>> {
            self.join_or_start(key, || Err(()), |(), _| pending::<T>()).ok()
        }

        /// Starts a run, which is what there is to do as long as no run can be joined.
        fn start<F>(&self, key: RunKey, work: impl FnOnce(Waiters) -> F) -> Waiter<T>
        where
            F: Future<Output = T> + Send + 'static,
        {
            let admit = || Ok::<(), Infallible>(());
            self.join_or_start(key, admit, |(), waiters| work(waiters)).unwrap()
        }
    }

    fn same(body: &str) -> Fingerprint {
        Fingerprint::new("token", "/x", None, body.as_bytes())
    }

    #[test]
    fn requests_are_the_same_by_token_route_and_body_or_key() {
        let base = Fingerprint::new("t", "/x", None, b"b");
        assert_eq!(base, Fingerprint::new("t", "/x", None, b"b"));
        for other in [
            Fingerprint::new("u", "/x", None, b"b"),
            Fingerprint::new("t", "/y", None, b"b"),
            Fingerprint::new("t", "/x", None, b"c"),
            Fingerprint::new("t", "/x", Some("b"), b"b"),
            Fingerprint::new("t/", "x", None, b"b"),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(
            Fingerprint::new("t", "/x", Some("k"), b"1"),
            Fingerprint::new("t", "/x", Some("k"), b"2")
        );
    }

    #[test]
    fn a_run_lingers_as_long_as_the_next_retry_takes() {
        for (retries, millis) in [(0, 800), (1, 1500), (2, 2500), (9, 8500)] {
            assert_eq!(linger(retries), Duration::from_millis(millis), "{retries}");
        }
    }

    fn key(body: &str) -> RunKey {
        let linger = Duration::from_secs(5);
        RunKey { same: same(body), linger, keyed: false, is_retry: false }
    }

    #[tokio::test]
    async fn a_retry_joins_the_run_and_gets_its_answer() {
        let attach = Attach::<u32>::new();
        let (go, ready) = oneshot::channel::<()>();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let first = attach.start(key("a"), |_| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = ready.await;
            42
        });
        assert!(attach.join(key("a")).is_none(), "its caller is there");
        assert!(attach.join(RunKey { is_retry: true, ..key("a") }).is_some());
        drop(first);
        let second = attach.join(key("a")).expect("it goes on");
        assert!(attach.join(key("a")).is_none(), "it has a caller again");
        assert!(attach.join(key("b")).is_none());
        go.send(()).unwrap();
        assert_eq!(second.answer().await, Some(42));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        // The answer was collected, so the same request begins a new run.
        assert!(attach.join(key("a")).is_none());
    }

    #[tokio::test]
    async fn callers_with_the_same_key_share_a_run() {
        let attach = Attach::<u32>::new();
        let keyed = RunKey { keyed: true, ..key("a") };
        let (go, ready) = oneshot::channel::<()>();
        let first = attach.start(keyed, |_| async move { ready.await.map_or(0, |()| 1) });
        let second = attach.join(keyed).expect("shared");
        go.send(()).unwrap();
        assert_eq!((first.answer().await, second.answer().await), (Some(1), Some(1)));
        assert_eq!(attach.join(keyed).expect("kept").answer().await, Some(1));
    }

    /// Each of the two has a thread of its own, so that both can look for the other's run at once.
    #[tokio::test]
    async fn callers_with_the_same_key_who_come_together_share_a_run() {
        const ROUNDS: u32 = 500;
        let attach = Attach::<u32>::new();
        let begun = Arc::new(AtomicU32::new(0));
        for round in 0..ROUNDS {
            let keyed = RunKey { keyed: true, ..key(&round.to_string()) };
            let together = Arc::new(Barrier::new(2));
            let callers = [(); 2].map(|()| {
                let (attach, begun) = (attach.clone(), Arc::clone(&begun));
                let together = Arc::clone(&together);
                tokio::task::spawn_blocking(move || {
                    // Long enough for the other one to come in between.
                    let admit = || {
                        std::thread::sleep(Duration::from_micros(100));
                        Ok::<(), Infallible>(())
                    };
                    together.wait();
                    let waiter = attach.join_or_start(keyed, admit, |(), _| async move {
                        begun.fetch_add(1, Ordering::SeqCst);
                        round
                    });
                    waiter.unwrap()
                })
            });
            for caller in callers {
                assert_eq!(caller.await.unwrap().answer().await, Some(round));
            }
        }
        assert_eq!(begun.load(Ordering::SeqCst), ROUNDS);
    }

    #[tokio::test]
    async fn a_request_that_is_not_admitted_leaves_nothing_to_join() {
        let attach = Attach::<u32>::new();
        let refused = attach.join_or_start(key("a"), || Err("full"), |(), _| pending());
        assert_eq!(refused.err(), Some("full"));
        assert!(attach.lock().runs.is_empty());
        assert_eq!(attach.start(key("a"), |_| async { 1 }).answer().await, Some(1));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_heard_waits_for_a_retry() {
        let attach = Attach::<u32>::new();
        let (go, ready) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel::<()>();
        let first = attach.start(key("a"), |_| async move {
            let _ = ready.await;
            let _ = done.send(());
            7
        });
        drop(first);
        go.send(()).unwrap();
        ended.await.unwrap();
        let retry = attach.join(key("a")).expect("kept");
        assert_eq!(retry.answer().await, Some(7));
    }

    /// Runs of equal requests are stopped one by one.
    #[tokio::test(start_paused = true)]
    async fn runs_that_nobody_waits_for_are_stopped() {
        let attach = Attach::<u32>::new();
        let mut callers = Vec::new();
        let mut stopped = Vec::new();
        for _ in 0..3 {
            let (tell, told) = oneshot::channel::<()>();
            stopped.push(told);
            let alone = RunKey { linger: linger(0), ..key("a") };
            callers.push(attach.start(alone, |waiters| async move {
                waiters.gone.cancelled().await;
                let _ = tell.send(());
                0
            }));
        }
        drop(callers);
        for told in stopped {
            told.await.unwrap();
        }
        assert!(attach.join(key("a")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_knows_whether_somebody_waits() {
        let attach = Attach::<u32>::new();
        let (go, ready) = oneshot::channel::<()>();
        let (tell, mut begun) = oneshot::channel::<()>();
        let work = |mut waiters: Waiters| async move {
            let _ = ready.await;
            waiters.attended().await;
            let _ = tell.send(());
            1
        };
        drop(attach.start(key("a"), work));
        go.send(()).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(begun.try_recv().is_err(), "nobody waits");
        let retry = attach.join(key("a")).expect("it goes on");
        assert_eq!(retry.answer().await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_given_up_never_begins() {
        let attach = Attach::<u32>::new();
        let (tell, begun) = oneshot::channel::<()>();
        let work = |mut waiters: Waiters| async move {
            let gone = waiters.gone.clone();
            gone.cancelled().await;
            tokio::select! {
                () = waiters.attended() => drop(tell.send(())),
                () = tokio::time::sleep(Duration::from_mins(1)) => {}
            }
            0
        };
        drop(attach.start(key("a"), work));
        assert!(begun.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_key_of_a_stream_is_taken_while_it_runs_and_for_a_minute() {
        let attach = Attach::<u32>::new();
        let keyed = |name: &str| RunKey { keyed: true, ..key(name) };
        assert!(attach.hold_key(key("a")).unwrap().is_none(), "it has no key");
        let first = attach.hold_key(keyed("a")).unwrap();
        tokio::time::advance(KEPT * 2).await;
        assert_eq!(attach.hold_key(keyed("a")).unwrap_err(), InUse);
        assert!(attach.hold_key(keyed("b")).unwrap().is_some());
        drop(first);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(attach.hold_key(keyed("a")).unwrap_err(), InUse);
        tokio::time::advance(Duration::from_secs(1)).await;
        attach.hold_key(keyed("a")).unwrap().unwrap().forget();
        let again = attach.hold_key(keyed("a")).unwrap().expect("forgotten");
        for n in 0..MOST + 10 {
            drop(attach.hold_key(keyed(&n.to_string())).unwrap());
        }
        assert!(attach.lock().held_keys.len() <= MOST + 1);
        assert_eq!(attach.hold_key(keyed("a")).unwrap_err(), InUse, "it runs");
        drop(again);
    }

    #[tokio::test]
    async fn a_stream_whose_client_is_gone_is_taken_over_once() {
        let attach = Attach::<u32>::new();
        let (one, two) = (Outlet::new(), Outlet::new());
        let client = one.reader();
        assert!(attach.park(same("a"), &one) && attach.park(same("a"), &two));
        assert!(attach.reclaim(same("b")).is_none());
        assert!(Arc::ptr_eq(&attach.unread(same("a")).unwrap(), &one));
        assert!(Arc::ptr_eq(&attach.reclaim(same("a")).unwrap(), &two), "it has no client");
        assert!(!attach.unpark(&two), "it was taken over");
        assert!(attach.reclaim(same("a")).is_none(), "its client is there");
        drop(client);
        assert!(attach.park(same("a"), &one), "it is there already");
        assert!(attach.unpark(&one));
        assert!(!attach.unpark(&one));
    }
}
