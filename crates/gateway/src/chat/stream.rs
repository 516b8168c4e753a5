//! A streamed chat completion: one task reads the agent and writes chunks, the connection takes
//! them as fast as the client reads.
//!
//! The task is the only owner of the process and of the place. It ends them when the answer is
//! complete, when the time is up, when the client has gone (after a moment in which its own retry
//! may take over what it has not read), and when a slow client holds up others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::chunks::{Chunks, Finish};
use super::request::{ChatRequest, Format};
use super::stop::Cutter;
use super::{head, prompt};
use crate::admission::Place;
use crate::attach::Same;
use crate::error::ApiError;
use crate::outlet::{Outlet, Reader};
use crate::service::{Counted, Service, not_started, text_of, timed_out};
use crate::turn::command::{Input, TurnKind, TurnSpec};
use crate::turn::process::{Live, Progress};

/// How long the status is held back, so that an early failure is a real error response.
const HELD_BACK: Duration = Duration::from_secs(2);
/// How often a silent stream is looked at: it says something at least every second look.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a client may take nothing while others wait for its place.
const STALLED: Duration = Duration::from_secs(5);
/// How long a client may take nothing at all.
const STUCK: Duration = Duration::from_mins(1);
/// How long an answer that nobody read waits for a retry.
const UNREAD: Duration = Duration::from_mins(1);

/// What a stream is made from.
pub(crate) struct Wanted {
    pub(crate) request: ChatRequest,
    pub(crate) model: String,
    pub(crate) token: Arc<str>,
    pub(crate) same: Same,
    pub(crate) linger: Duration,
    /// Whether the request says that it is a retry.
    pub(crate) is_retry: bool,
}

/// Starts a stream, or takes over the one that a retry's first request began. Returns when its
/// status is known.
pub(crate) async fn open(
    service: &Arc<Service>,
    wanted: Wanted,
    counted: Counted,
) -> Result<Reader, ApiError> {
    let reader = if let Some(outlet) = service.attach.reclaim(wanted.same, wanted.is_retry) {
        outlet.reader()
    } else {
        let place = service.admission.enter(None).map_err(ApiError::GatewayFull)?;
        let outlet = Outlet::new();
        let reader = outlet.reader();
        service.attach.park(wanted.same, &outlet, false);
        tokio::spawn(work(Arc::clone(service), wanted, outlet, place, counted));
        reader
    };
    match timeout(HELD_BACK, reader.outlet().settled()).await {
        Ok(settled) => settled?,
        Err(_) => reader.outlet().commit()?,
    }
    Ok(reader)
}

/// Runs a stream to its end.
async fn work(
    service: Arc<Service>,
    wanted: Wanted,
    outlet: Arc<Outlet>,
    mut place: Place,
    counted: Counted,
) {
    let mut live = None;
    let kept = tokio::select! {
        biased;
        () = answer(&service, &wanted, &outlet, &mut place, &mut live) => true,
        () = abandoned(&service, &wanted, &outlet) => false,
        () = keep_alive(&outlet) => false,
    };
    if let Some(live) = live {
        service.metrics.streamed(live.transcript.deltas(), live.transcript.replaced());
        // The place is free when its processes are gone, and not before.
        live.end().await;
    }
    drop((place, counted));
    if kept {
        unread(&service, &wanted, &outlet).await;
    }
    service.attach.unpark(wanted.same, &outlet);
}

/// Keeps an answer that is complete for a retry, if its client went away before it read anything.
async fn unread(service: &Service, wanted: &Wanted, outlet: &Arc<Outlet>) {
    tokio::select! {
        biased;
        () = outlet.taken() => return,
        () = outlet.unattended() => {}
    }
    service.attach.park(wanted.same, outlet, true);
    let _ = timeout(UNREAD, outlet.taken()).await;
}

/// Returns when the client has gone for good.
async fn abandoned(service: &Service, wanted: &Wanted, outlet: &Arc<Outlet>) {
    loop {
        outlet.unattended().await;
        if !outlet.is_whole() {
            return;
        }
        service.attach.park(wanted.same, outlet, true);
        if timeout(wanted.linger, outlet.attended()).await.is_err()
            && service.attach.unpark(wanted.same, outlet)
        {
            return;
        }
        // Between its being taken and its being read.
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
    wanted: &Wanted,
    outlet: &Outlet,
    place: &mut Place,
    live: &mut Option<Live>,
) {
    let begun = Instant::now();
    place.ready().await;
    let limit = service.settings.turn_timeout();
    let told = timeout(limit, turn(service, wanted, outlet, live, begun)).await;
    if let Err(error) = told.unwrap_or_else(|_| Err(timed_out())) {
        outlet.refuse(error);
    }
}

async fn turn(
    service: &Service,
    wanted: &Wanted,
    outlet: &Outlet,
    live: &mut Option<Live>,
    begun: Instant,
) -> Result<(), ApiError> {
    let request = &wanted.request;
    let chunks = Chunks::new(head(wanted.model.clone()), request.include_usage);
    let prompt = prompt::dialogue(&request.messages, &request.format);
    let live = live.insert(start(service, request, &wanted.model, &prompt)?);
    // An answer to a schema comes as a whole, at the end.
    let shaped = matches!(request.format, Format::JsonSchema(_));
    let mut cutter = Cutter::new(request.stop.clone());
    let (mut said_role, mut over) = (false, false);
    while !over && !cutter.is_done() {
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
                if !text.is_empty() {
                    outlet.write(|out| {
                        if !said_role {
                            chunks.role(out);
                        }
                        chunks.delta(text, out);
                    });
                    if !said_role {
                        service.metrics.first(begun.elapsed().as_secs_f64());
                    }
                    said_role = true;
                }
            })
            .await;
        over = progress == Progress::Over;
        room(service, outlet).await?;
    }
    let verdict = live.judge(cutter.is_done()).await;
    service.account(&wanted.token, &verdict);
    let (finish, rest) = if cutter.is_done() {
        // We cut it ourselves: nothing else can have gone wrong with what was shown.
        (Finish::Stop, String::new())
    } else {
        let text = text_of(&verdict)?;
        let rest = if said_role || live.transcript.deltas() > 0 { cutter.finish() } else { text };
        (verdict.finish, rest)
    };
    outlet.close(|out| {
        if !said_role {
            chunks.role(out);
        }
        if !rest.is_empty() {
            chunks.delta(&rest, out);
        }
        chunks.finish(finish, verdict.tokens, out);
    });
    Ok(())
}

fn start(
    service: &Service,
    request: &ChatRequest,
    model: &str,
    prompt: &str,
) -> Result<Live, ApiError> {
    let schema = match &request.format {
        Format::JsonSchema(schema) => Some(schema.clone()),
        Format::Text | Format::JsonObject => None,
    };
    let plain = schema.is_none() && request.effort.is_none();
    if plain
        && let Some(mut live) = service.pool.take(model)
        && live.begin(prompt).is_ok()
    {
        service.metrics.started(true);
        return Ok(live);
    }
    service.metrics.started(false);
    let kind =
        TurnKind::Lean { input: Input::Text, streamed: true, effort: request.effort, schema };
    let spec = TurnSpec { model: Some(model.to_owned()), kind };
    service.cli.start(&spec, prompt, &service.cli.scratch).map_err(|error| not_started(&error))
}

/// Waits until the client takes more, within bounds.
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
