//! A streamed chat completion: one task reads the agent and writes chunks, the connection takes
//! them as fast as the client reads.
//!
//! The task is the only owner of the process and of the place. It gives them up when the answer is
//! complete, when the time is up, when the client has gone (after a moment in which its own retry
//! may take over an unread stream), and when a slow client holds up others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::chunks::{Chunks, Finish};
use super::head;
use super::request::{ChatRequest, Format};
use super::stop::Cutter;
use super::whole::lean;
use crate::admission::Place;
use crate::attach::{Fingerprint, HeldKey, InUse, RunKey};
use crate::error::ApiError;
use crate::outlet::{Outlet, Reader};
use crate::run::Requester;
use crate::service::{
    Answer, CountedRun, LAST_WORDS, LAST_WORDS_IN_HASTE, Service, not_started, text_of, timed_out,
};
use crate::turn::command::TurnSpec;
use crate::turn::process::{Live, Progress};
use crate::turn::transcript::Accepts;

/// How long the status is held back, so that an early failure is a real error response.
const HELD_BACK: Duration = Duration::from_secs(2);
/// How often a stream that was silent since the last check gets a comment.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a client may take nothing while others wait for its place.
const STALLED: Duration = Duration::from_secs(5);
/// How long a client may take nothing at all.
const STUCK: Duration = Duration::from_mins(1);
/// How long a retry waits for the end of its first connection to be noticed.
const NOTICED: Duration = Duration::from_secs(1);
/// How long an answer that nobody read waits for a retry.
const UNREAD: Duration = Duration::from_mins(1);

/// What a stream is made from.
pub(crate) struct StreamSpec {
    pub(crate) request: ChatRequest,
    pub(crate) prompt: String,
    pub(crate) model: String,
    pub(crate) run: Requester,
}

/// Starts a stream, or takes over the one that this client's first request began. Returns when the
/// status is decided, at the latest after [`HELD_BACK`].
pub(crate) async fn open(service: &Arc<Service>, wanted: StreamSpec) -> Result<Reader, ApiError> {
    let same = wanted.run.key.same;
    let reader = if let Some(outlet) = left_behind(service, wanted.run.key).await {
        outlet.reader()
    } else {
        let counted = wanted.run.count(service)?;
        let place = service.admission.enter(None).map_err(ApiError::GatewayFull)?;
        let held_key =
            service.attach.hold_key(wanted.run.key).map_err(|InUse| ApiError::KeyInUse)?;
        let outlet = Outlet::new();
        let reader = outlet.reader();
        service.attach.park(same, &outlet);
        tokio::spawn(work(Arc::clone(service), wanted, outlet, (place, counted), held_key));
        reader
    };
    match timeout(HELD_BACK, reader.outlet().settled()).await {
        Ok(settled) => settled?,
        Err(_) => reader.outlet().commit()?,
    }
    Ok(reader)
}

/// Finds the stream that an earlier request of this client began and left unread. A stream that a
/// client still reads is never taken from it.
async fn left_behind(service: &Service, key: RunKey) -> Option<Arc<Outlet>> {
    let left = service.attach.reclaim(key.same);
    if left.is_some() || !key.is_retry {
        return left;
    }
    // A retry may arrive before we notice that its first connection has ended.
    let first = service.attach.unread(key.same)?;
    timeout(NOTICED, first.unattended()).await.ok()?;
    service.attach.reclaim(key.same)
}

/// Runs a stream to its end.
async fn work(
    service: Arc<Service>,
    wanted: StreamSpec,
    outlet: Arc<Outlet>,
    (mut place, counted): (Place, CountedRun),
    held_key: Option<HeldKey<Answer>>,
) {
    let _ended_by_drop = outlet.ended_by_drop();
    let mut live = None;
    let kept = tokio::select! {
        biased;
        () = answer(&service, &wanted, &outlet, (&mut place, &counted), &mut live) => true,
        () = abandoned(&service, &wanted, &outlet) => false,
        () = keep_alive(&outlet) => false,
        () = service.has_to_end() => {
            outlet.refuse(ApiError::Stopping { begun: live.is_some() });
            false
        }
    };
    if let Some(mut live) = live {
        service.break_off(&counted, &mut live, LAST_WORDS_IN_HASTE).await;
        service.metrics.streamed(live.transcript.deltas(), live.transcript.replaced());
        // The place must not be free before the processes are gone.
        live.end().await;
    }
    let same = wanted.run.key.same;
    drop((place, counted, wanted));
    if kept {
        unread(&service, same, &outlet).await;
    }
    service.attach.unpark(&outlet);
    if let Some(held_key) = held_key.filter(|_| outlet.is_whole()) {
        // Nobody has read anything, so the same key may try again at once.
        held_key.forget();
    }
}

/// Keeps a complete answer for a retry, if the client went away before it read anything.
async fn unread(service: &Service, same: Fingerprint, outlet: &Arc<Outlet>) {
    tokio::select! {
        biased;
        () = outlet.taken() => return,
        () = outlet.unattended() => {}
    }
    if service.attach.park(same, outlet) {
        let _ = timeout(UNREAD, outlet.taken()).await;
    }
}

/// Returns when the client has gone for good.
async fn abandoned(service: &Service, wanted: &StreamSpec, outlet: &Arc<Outlet>) {
    loop {
        outlet.unattended().await;
        if !(outlet.is_whole() && service.attach.park(wanted.run.key.same, outlet)) {
            return;
        }
        let back = timeout(wanted.run.key.linger, outlet.attended()).await.is_ok();
        if !back && service.attach.unpark(outlet) {
            return;
        }
        // A retry has taken the stream over and is about to read it.
        outlet.attended().await;
    }
}

async fn keep_alive(outlet: &Outlet) {
    let mut tick = interval(KEEP_ALIVE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        outlet.keep_alive();
    }
}

/// Writes the answer, or the error that it ends with.
async fn answer(
    service: &Service,
    wanted: &StreamSpec,
    outlet: &Outlet,
    (place, counted): (&mut Place, &CountedRun),
    live: &mut Option<Live>,
) {
    let begun = Instant::now();
    place.ready().await;
    // A client who has gone may come back with a retry, but no turn begins while nobody waits.
    outlet.attended().await;
    let limit = service.settings.turn_timeout();
    let told = timeout(limit, turn(service, wanted, outlet, counted, live, begun)).await;
    if let Some(live) = live {
        service.break_off(counted, live, LAST_WORDS).await;
    }
    // Before the end is written: a client who reads it may ask again at once.
    counted.leave();
    match told.unwrap_or_else(|_| Err(timed_out())) {
        Ok(end) => outlet.close(|out| out.extend_from_slice(&end)),
        Err(error) => outlet.refuse(error),
    }
}

/// Runs the turn, and returns the frames that end its answer.
async fn turn(
    service: &Service,
    wanted: &StreamSpec,
    outlet: &Outlet,
    counted: &CountedRun,
    live: &mut Option<Live>,
    begun: Instant,
) -> Result<BytesMut, ApiError> {
    let request = &wanted.request;
    let chunks = Chunks::new(head(wanted.model.clone()), request.include_usage);
    let live = live.insert(start(service, wanted, counted)?);
    // An answer to a schema comes as a whole, at the end.
    let shaped = matches!(request.format, Format::JsonSchema(_));
    let mut cutter = Cutter::new(request.stop.clone());
    let (mut said_role, mut over) = (false, false);
    while !over && !cutter.is_done() {
        // All pieces of one read are written together, so that the connection is woken once.
        let mut frames = BytesMut::new();
        let progress = live
            .read(|text| {
                if shaped {
                    return;
                }
                let cut;
                let text = if cutter.is_idle() {
                    text
                } else {
                    cut = cutter.push(text);
                    cut.as_str()
                };
                if text.is_empty() {
                    return;
                }
                if !said_role {
                    chunks.role(&mut frames);
                    said_role = true;
                    service.metrics.first(begun.elapsed().as_secs_f64());
                }
                chunks.delta(text, &mut frames);
            })
            .await;
        over = progress == Progress::Over;
        if !frames.is_empty() {
            outlet.append(frames);
        }
        if said_role && live.transcript.is_broken() && !cutter.is_done() {
            // The CLI begins the answer again, and what was shown cannot be taken back.
            return Err(ApiError::failed("the model's answer was broken off"));
        }
        room(service, outlet).await?;
    }
    if cutter.is_done() {
        live.interrupt(LAST_WORDS).await;
    }
    let verdict = live.judge(cutter.is_done(), Accepts::Result).await;
    service.account(counted, &verdict).await;
    let (finish, rest) = if cutter.is_done() {
        // The answer ended where we cut it, so what became of the turn afterwards does not matter.
        (Finish::Stop, String::new())
    } else {
        let text = text_of(&verdict)?;
        let broken = live.transcript.is_broken();
        if broken {
            // Nothing was shown, and what was held back belongs to the part that broke off.
            cutter = Cutter::new(request.stop.clone());
        }
        let rest = if !shaped && !broken && live.transcript.deltas() > 0 {
            cutter.finish()
        } else {
            // The answer came with the result alone, so it is cut here.
            cutter.push(&text) + &cutter.finish()
        };
        (if cutter.is_done() { Finish::Stop } else { verdict.finish }, rest)
    };
    let mut end = BytesMut::new();
    if !said_role {
        chunks.role(&mut end);
    }
    if !rest.is_empty() {
        chunks.delta(&rest, &mut end);
    }
    chunks.finish(finish, verdict.tokens, &mut end);
    Ok(end)
}

fn start(service: &Service, wanted: &StreamSpec, counted: &CountedRun) -> Result<Live, ApiError> {
    let prompt = &wanted.prompt;
    let kind = lean(&wanted.request, true, counted.small_budget_usd());
    if let Some(live) = service.warm(counted, &kind, &wanted.model, prompt) {
        return Ok(live);
    }
    let spec = TurnSpec { model: Some(wanted.model.clone()), kind };
    let started = service.cold(counted, &spec, prompt, &service.cli.scratch);
    started.map_err(|error| not_started(&error))
}

/// Waits until the client takes more, for [`STUCK`] or, if others wait, [`STALLED`].
async fn room(service: &Service, outlet: &Outlet) -> Result<(), ApiError> {
    let since = Instant::now();
    while timeout(Duration::from_secs(1), outlet.room()).await.is_err() {
        let stalled = since.elapsed();
        let others_wait = service.admission.load().queued > 0;
        if stalled >= STUCK || (others_wait && stalled >= STALLED) {
            return Err(ApiError::failed("the client does not read its answer"));
        }
    }
    Ok(())
}
