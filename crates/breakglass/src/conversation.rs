//! Conversations: what people attach to, and the turns in them.
//!
//! Called by the routes. A conversation is an event log and a folder in which the agent works; the
//! server owns it, clients come and go. One turn at a time runs in a conversation and a few in the
//! whole server; others wait in the order in which they came, and their log says so.
//!
//! Every turn ends with [`UiEvent::TurnEnd`] in the log. If the server dies before that, the end is
//! written when the conversation is next opened, before anybody can read it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use afk_agent::agents::claude::session::SessionUse;
use afk_agent::sessions::{EventLog, LogError, LogStore};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::audit::{Act, Actor, AuditLog, Begun};
use crate::turn::closing::{closing, interrupted};
use crate::turn::command::TurnRequest;
use crate::turn::run::{StopReason, TurnReport, TurnRunner, TurnStop};
use crate::wire::UiEvent;
use crate::{definition, turn};

/// How many turns may wait for a place.
const MAX_WAITING: usize = 16;
/// The pause before another attempt to write the end of a turn.
const AGAIN: Duration = Duration::from_secs(5);
/// The agent's working folder, inside the conversation's folder.
const WORK: &str = "work";

/// What [`Conversations`] are made of.
#[derive(Debug)]
pub struct Parts {
    /// The store with the logs and folders of all conversations.
    pub store: LogStore,
    /// Runs the turns.
    pub runner: TurnRunner,
    /// How many turns run at once, at most.
    pub turns: usize,
    /// The audit log, which records prompts and cancellations.
    pub audit: AuditLog,
    /// When cancelled, ends every turn and refuses new ones.
    pub shutdown: CancellationToken,
}

/// All conversations. Clones share them.
#[derive(Clone, Debug)]
pub struct Conversations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: Parts,
    /// A permit for each turn that may run at once.
    places: Arc<Semaphore>,
    /// A permit for each turn that may run or wait.
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
    live: tokio::sync::Mutex<HashMap<String, Weak<Conversation>>>,
    turns: TaskTracker,
}

/// One conversation.
#[derive(Debug)]
pub struct Conversation {
    id: String,
    log: EventLog,
    folder: PathBuf,
    /// Cancels the turn that runs or waits; `None` if there is no such turn.
    turn: Mutex<Option<CancellationToken>>,
    /// Held while the first or last events of a turn are written, so that turns never overlap in
    /// the log, and a prompt right after an end is not refused.
    edge: tokio::sync::Mutex<()>,
}

/// Why a prompt starts no turn.
#[derive(Debug, thiserror::Error)]
pub enum PromptRefusal {
    /// There is no such conversation, or it was removed to make room.
    #[error("session not found")]
    NotFound,
    /// A turn of this conversation runs or waits already.
    #[error("a turn is already running")]
    Running,
    /// Too many turns of all conversations wait already.
    #[error("{MAX_WAITING} turns are waiting already: try again when some of them have ended")]
    Crowded,
    /// The server is being stopped.
    #[error("the server is being stopped: try again in a moment")]
    Stopping,
    /// The conversation's log cannot be opened or written.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Conversations {
    /// Puts the parts together. Opens no conversation yet.
    pub fn new(parts: Parts) -> Self {
        let places = Arc::new(Semaphore::new(parts.turns));
        let room = Arc::new(Semaphore::new(parts.turns + MAX_WAITING));
        Self(Arc::new(Shared {
            parts,
            places,
            room,
            waiting: AtomicUsize::new(0),
            live: tokio::sync::Mutex::default(),
            turns: TaskTracker::new(),
        }))
    }

    /// Creates a conversation and returns its id, a UUID of version 7.
    pub async fn create(&self) -> Result<String, LogError> {
        let id = Uuid::now_v7().to_string();
        let mut live = self.0.live.lock().await;
        let log = self.0.parts.store.create(&id).await?;
        let made = self.made(&id, log)?;
        live.insert(id.clone(), Arc::downgrade(&made));
        Ok(id)
    }

    /// Opens the conversation with this id; `None` if there is none, or if it was removed.
    pub async fn open(&self, id: &str) -> Result<Option<Arc<Conversation>>, LogError> {
        let mut live = self.0.live.lock().await;
        if let Some(known) = live.get(id).and_then(Weak::upgrade)
            && !known.log.head().removed
        {
            return Ok(Some(known));
        }
        let Some(log) = self.0.parts.store.open(id).await? else { return Ok(None) };
        end_what_was_interrupted(&log).await?;
        let opened = self.made(id, log)?;
        live.retain(|_, conversation| conversation.strong_count() > 0);
        live.insert(id.to_owned(), Arc::downgrade(&opened));
        Ok(Some(opened))
    }

    /// Records a prompt and starts its turn, which goes on whether or not anybody is attached.
    pub async fn prompt(
        &self,
        actor: Actor,
        id: &str,
        prompt: String,
        model: Option<String>,
    ) -> Result<(), PromptRefusal> {
        if self.0.parts.shutdown.is_cancelled() {
            return Err(PromptRefusal::Stopping);
        }
        let conversation = self.open(id).await?.ok_or(PromptRefusal::NotFound)?;
        let all = self.clone();
        // On a task of its own: a client that hangs up must not leave half of a beginning.
        let begun = self.0.turns.spawn(async move {
            let edge = conversation.edge.lock().await;
            let cancel = conversation.claim_turn()?;
            let Ok(room) = all.0.room.clone().try_acquire_owned() else {
                conversation.release_turn();
                return Err(PromptRefusal::Crowded);
            };
            let first = conversation.log.head().events == 0;
            let user = UiEvent::User { text: prompt.clone() }.to_line();
            if let Err(error) = conversation.log.append(vec![user]).await {
                conversation.release_turn();
                return Err(error.into());
            }
            let act = Act::prompt(&conversation.id, &prompt);
            let recorded = all.0.parts.audit.begin(&actor, act).await;
            drop(edge);
            let request = TurnRequest {
                session: conversation.id.clone(),
                session_use: if first { SessionUse::Open } else { SessionUse::Resume },
                prompt,
                model,
            };
            let turns = all.0.turns.clone();
            turns.spawn(async move {
                let _room = room;
                all.turn(&conversation, request, cancel, recorded).await;
            });
            Ok(())
        });
        begun.await.unwrap_or(Err(PromptRefusal::Stopping))
    }

    /// Stops a conversation's turn. False if it has none, `None` if there is no conversation.
    pub async fn cancel(&self, actor: &Actor, id: &str) -> Result<Option<bool>, LogError> {
        let Some(conversation) = self.open(id).await? else { return Ok(None) };
        let turn = conversation.turn_slot().clone();
        let Some(turn) = turn else { return Ok(Some(false)) };
        // A cancellation has no end of its own in the audit log: the turn's end follows.
        let _begun = self.0.parts.audit.begin(actor, Act::Cancel { session: id.to_owned() }).await;
        turn.cancel();
        Ok(Some(true))
    }

    /// Waits until every turn has ended. Call it once the shutdown was asked for.
    pub async fn ended(&self) {
        self.0.turns.close();
        self.0.turns.wait().await;
    }

    /// Returns how many turns begin, wait or run.
    pub fn busy(&self) -> usize {
        self.0.turns.len()
    }

    fn made(&self, id: &str, log: EventLog) -> Result<Arc<Conversation>, LogError> {
        Ok(Arc::new(Conversation {
            id: id.to_owned(),
            log,
            folder: self.0.parts.store.folder(id)?.join(WORK),
            turn: Mutex::default(),
            edge: tokio::sync::Mutex::default(),
        }))
    }

    /// Runs a whole turn: waits for a place, runs the agent, writes the end.
    async fn turn(
        &self,
        conversation: &Conversation,
        request: TurnRequest,
        cancel: CancellationToken,
        recorded: Begun,
    ) {
        let stop = TurnStop { cancel, shutdown: self.0.parts.shutdown.clone() };
        let report = match self.place(conversation, &stop).await {
            Ok(_place) => match prepare(&conversation.folder).await {
                Ok(()) => {
                    let (log, folder) = (&conversation.log, &conversation.folder);
                    self.0.parts.runner.run(log, folder, request, &stop).await
                }
                Err(error) => turn::run::not_started(&error),
            },
            Err(stopped) => TurnReport {
                stopped: Some(stopped),
                outcome: afk_agent::agents::TurnOutcome::Interrupted,
                result: None,
            },
        };
        let (events, word) = closing(report);
        // Recorded before the end can be read: whoever reads it may send the next prompt at once.
        self.0.parts.audit.end(recorded, word.to_owned()).await;
        self.end(conversation, events.iter().map(UiEvent::to_line).collect()).await;
    }

    /// Writes the end of a turn, and tries again for as long as the disk refuses: without an end,
    /// clients would think that the turn still works.
    async fn end(&self, conversation: &Conversation, events: Vec<String>) {
        loop {
            let edge = conversation.edge.lock().await;
            let written = conversation.log.append_final(events.clone()).await;
            if let Err(error) = &written {
                tracing::error!(%error, session = conversation.id, "end of a turn not written");
            }
            // Only an I/O error may pass, such as a full disk that has room again.
            let may_work = matches!(written, Err(LogError::Io { .. }));
            if !may_work || conversation.log.head().removed {
                return conversation.release_turn();
            }
            drop(edge);
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                // The end is then written when the conversation is next opened.
                () = self.0.parts.shutdown.cancelled() => return conversation.release_turn(),
            }
        }
    }

    /// Waits for a place among the turns that run.
    async fn place(
        &self,
        conversation: &Conversation,
        stop: &TurnStop,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, StopReason> {
        if let Ok(place) = self.0.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let ahead = self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let _leaves = Leaves(&self.0.waiting);
        // Queue for the place before writing the event, so that no later turn gets ahead meanwhile.
        let place = self.0.places.clone().acquire_owned();
        tokio::pin!(place);
        let told = UiEvent::Queued { ahead, text: queued(self.0.parts.turns, ahead) };
        let told = conversation.log.append(vec![told.to_line()]);
        tokio::pin!(told);
        let mut free = None;
        loop {
            tokio::select! {
                biased;
                place = &mut place, if free.is_none() => free = Some(place),
                // A failure is ignored: the agent's first event then fails, too, and ends the turn.
                _ = &mut told => break,
            }
        }
        if let Some(place) = free {
            return place.map_err(|_| StopReason::Shutdown);
        }
        tokio::select! {
            place = place => place.map_err(|_| StopReason::Shutdown),
            () = stop.cancel.cancelled() => Err(StopReason::Cancelled),
            () = stop.shutdown.cancelled() => Err(StopReason::Shutdown),
        }
    }
}

impl Conversation {
    /// Returns the conversation's event log, for readers.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    fn claim_turn(&self) -> Result<CancellationToken, PromptRefusal> {
        let mut turn = self.turn_slot();
        if turn.is_some() {
            return Err(PromptRefusal::Running);
        }
        Ok(turn.insert(CancellationToken::new()).clone())
    }

    fn release_turn(&self) {
        *self.turn_slot() = None;
    }

    fn turn_slot(&self) -> std::sync::MutexGuard<'_, Option<CancellationToken>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a waiting turn out when it is dropped, however the wait ends.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn queued(turns: usize, ahead: usize) -> String {
    let running = if turns == 1 {
        "Another turn is running".to_owned()
    } else {
        format!("{turns} other turns are running")
    };
    match ahead {
        0 => format!("{running}. This one is next."),
        1 => format!("{running}, and one waits before this one."),
        _ => format!("{running}, and {ahead} wait before this one."),
    }
}

/// Creates the agent's folder, and writes its definition as we ship it: an earlier turn could have
/// changed the one that is there.
async fn prepare(folder: &Path) -> std::io::Result<()> {
    let folder = folder.to_owned();
    let made = tokio::task::spawn_blocking(move || definition::install(&folder)).await;
    made.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
}

async fn end_what_was_interrupted(log: &EventLog) -> Result<(), LogError> {
    let Some(last) = log.head().events.checked_sub(1) else { return Ok(()) };
    let events = log.reader(last).read(1).await?;
    let is_over = events
        .last()
        .is_some_and(|event| matches!(UiEvent::of_line(&event.text), Some(UiEvent::TurnEnd)));
    if !is_over {
        log.append_final(interrupted().iter().map(UiEvent::to_line).collect()).await?;
    }
    Ok(())
}
