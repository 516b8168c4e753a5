//! One server as an executor: observes, interrupts and answers turns. Starting is in `start`.
//!
//! A turn is found by its message, in the thread of its run. What a thread means is not decided
//! here, but by `liveness` and `outcome`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use afk_core::ask::Answer;
use afk_core::checkout::{Checkout, Machine};
use afk_core::digest::Digest;
use afk_core::evidence::SandboxStrength;
use afk_core::ids::{AdapterName, At, JobKey, JobOf, RepoName, RunId};
use afk_core::run::{TurnCost, TurnEnd, TurnFacts, TurnSeen};
use afk_core::spend::{Cost, Entry, PriceTable, TurnKey, Usage};
use afk_core::text::line;
use afk_core::usd::Usd;
use afk_engine::ports::{
    Clock, Executor, PortError, PortErrorKind, PortResult, Transcript, TurnReport, TurnRequest,
    run_and_turn,
};
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::examine::SET_TURN_USD;
use super::ids;
use super::notes::{RunNote, ServerNotes, TurnNote};
use super::outcome::{Conclusion, OurRecord, conclude};
use super::protocol::{Action, AnyThread, Command, Freshness, Refusal, ThreadRead};
use super::server::{Connection, Server};
use super::settings::T3Table;
use super::still::{self, Stillness};
use super::transcript::{ToldTurns, whole};
use super::view::{Liveness, View};
use super::{Masks, Parts, WorkspacesHere};

/// How often a turn is tried on a server that refuses it; a turn's messages are looked for under
/// the ids of as many tries.
pub(super) const TRIES: u32 = 8;
/// The charge for a turn of which neither the usage nor the reserved budget is known.
const UNTOLD: Usd = Usd::dollars(10);
/// How many turns of a run are looked for at most.
const TURNS: u32 = 100;
/// How many threads of a run are looked for at most.
const GENERATIONS: u32 = 100;

/// A T3 Code server.
pub(super) struct T3Executor {
    name: AdapterName,
    pub(super) table: T3Table,
    pub(super) server: Server,
    pub(super) notes: ServerNotes,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) workspaces: WorkspacesHere,
    masks: Masks,
    prices: PriceTable,
    told: ToldTurns,
}

/// A turn that may be at work.
struct MaybeAtWork {
    key: JobKey,
    /// The id of its thread.
    thread: String,
    /// The server's id of what is at work, if known.
    active: Option<String>,
    /// Whether the server shows it as ended, so that there is nothing to interrupt: to do so all
    /// the same can be refused, or change how the server says that it ended.
    shown_ended: bool,
}

/// A turn, and the thread that has its message or would get it.
pub(super) struct FoundTurn {
    /// The generation of that thread ([`ids::thread`]).
    pub(super) generation: u32,
    /// The thread as it was read.
    pub(super) read: ThreadRead,
    /// The id of the turn's message, if the thread has it.
    pub(super) message: Option<String>,
}

impl FoundTurn {
    /// What the thread shows of the turn.
    pub(super) fn view(&self, now: At) -> View {
        match (&self.read.thread, &self.message) {
            (Some(thread), Some(message)) => thread.view(message, now),
            (_, None) | (None, _) => View::absent(),
        }
    }
}

impl T3Executor {
    /// Makes the executor of `table`, which is named `name` in the configuration.
    pub(super) fn new(name: &AdapterName, table: &T3Table, parts: Parts) -> PortResult<Self> {
        let Parts { clock, secrets, notes, workspaces, masks, patience } = parts;
        Ok(Self {
            name: name.clone(),
            table: table.clone(),
            server: Server::new(table, clock.clone(), secrets, patience)?,
            notes: ServerNotes::new(notes, clock.clone(), name.as_str()),
            clock,
            workspaces,
            masks,
            prices: PriceTable::default(),
            told: ToldTurns::default(),
        })
    }

    /// Reads the note on the run. An error if the run was begun on another server than the one that
    /// `connection` is to: what that one shows says nothing of the run.
    pub(super) async fn run_note(
        &self,
        connection: &Connection,
        run: RunId,
    ) -> PortResult<RunNote> {
        let note = self.notes.run(run).await?;
        let now = &connection.about.environment_id;
        match &note.environment {
            Some(begun) if begun != now => Err(PortError::transient(format!(
                "the url of {} leads to another T3 Code server ({}, environment {now}) than the \
                 one that this run was begun on (environment {begun}): let it lead there until \
                 the run has ended",
                self.name,
                self.server.home()
            ))),
            Some(_) | None => Ok(note),
        }
    }

    /// Finds the turn. If no thread has its message, returns the thread that the run goes on in.
    pub(super) async fn find(
        &self,
        connection: &Connection,
        (run, n): (RunId, u32),
        note: Option<&TurnNote>,
        fresh: Freshness,
    ) -> PortResult<FoundTurn> {
        let newest = self.run_note(connection, run).await?.generation;
        let messages: Vec<String> = (0..TRIES).map(|tried| ids::message(run, n, tried)).collect();
        let mut generation = note.map_or(newest, |note| note.generation);
        let mut all: Vec<u32> = (0..=newest).rev().filter(|one| *one != generation).collect();
        let mut first = None;
        loop {
            let read = connection.protocol.look(&ids::thread(run, generation), fresh).await?;
            let asked = read.thread.as_ref().map(AnyThread::asked).unwrap_or_default();
            let message = messages.iter().find(|id| asked.contains(&id.as_str())).cloned();
            if message.is_some() {
                return Ok(FoundTurn { generation, read, message });
            }
            let here = FoundTurn { generation, read, message };
            first.get_or_insert(here);
            match all.pop() {
                // Our notes may be lost while the threads are not.
                Some(next) if note.is_none() => generation = next,
                Some(_) | None => break,
            }
        }
        first.ok_or_else(|| PortError::transient("no thread was looked at"))
    }

    /// Notes that the server did not answer just now, if there is a note of the turn: then the turn
    /// is under way, or was at least about to be sent.
    pub(super) async fn was_away(&self, key: &JobKey) {
        let Ok(Some(mut note)) = self.notes.turn(key).await else { return };
        note.away = Some(self.clock.now());
        // A note that cannot be written makes us less careful, not wrong.
        if let Err(error) = self.notes.keep_turn(key, &note).await {
            tracing::warn!(%key, error = error.chain(), "could not keep a note on the run");
        }
    }

    /// Reads the turn and our note of it. Notes the time if the server does not answer.
    async fn look(
        &self,
        key: &JobKey,
        fresh: Freshness,
    ) -> PortResult<(FoundTurn, Option<TurnNote>)> {
        let (run, n) = run_and_turn(key)?;
        let read = async {
            let note = self.notes.turn(key).await?;
            let connection = self.server.connect().await?;
            let found = self.find(&connection, (run, n), note.as_ref(), fresh).await?;
            Ok((found, note))
        };
        let read = read.await;
        if let Err(PortError { kind: PortErrorKind::Transient, .. }) = &read {
            self.was_away(key).await;
        }
        read
    }

    /// The page on which people can watch the turn.
    fn link(&self, key: &JobKey, found: &FoundTurn) -> Option<String> {
        let (run, _) = run_and_turn(key).ok().filter(|_| found.message.is_some())?;
        Some(self.server.link(&ids::thread(run, found.generation)))
    }

    /// The charge for a turn with this `end`, or so far while it goes on.
    fn cost(
        &self,
        repo: &RepoName,
        key: &JobKey,
        (found, note): (&FoundTurn, &TurnNote),
        view: &View,
        end: Option<&TurnEnd>,
    ) -> Option<TurnCost> {
        let (run, n) = run_and_turn(key).ok()?;
        let amount = self.charge(view, note, end)?;
        Some(TurnCost {
            key: TurnKey { session: ids::thread(run, found.generation), process: n, turn: 1 },
            entry: Entry {
                run,
                repo: repo.clone(),
                at: view.began,
                cli_version: String::new(),
                cost: Cost::Estimated { amount },
            },
        })
    }

    fn report(
        &self,
        repo: &RepoName,
        key: &JobKey,
        (found, note): (&FoundTurn, &TurnNote),
        view: &View,
        end: TurnEnd,
    ) -> TurnReport {
        let (input, output) = view.tokens;
        let usage = Usage { input, output, ..Usage::default() };
        let digest = Digest::of(whole(view));
        let cost = self.cost(repo, key, (found, note), view, Some(&end));
        let transcript = Some(digest.clone());
        let facts = TurnFacts {
            cost,
            usage,
            transcript,
            sandbox: Some(SandboxStrength::None),
            refused: Vec::new(),
        };
        let seen = TurnSeen::Ended { how: end, facts: Box::new(facts) };
        let transcript = Some(digest.to_string());
        TurnReport {
            seen,
            tokens: view.tokens,
            cost: None,
            streamed: None,
            last: last(view),
            link: None,
            transcript,
        }
    }

    /// The amount to charge for a turn with this `end`, or one that goes on. None if the model was
    /// never asked, or refused to answer.
    fn charge(&self, view: &View, note: &TurnNote, end: Option<&TurnEnd>) -> Option<Usd> {
        let refused = matches!(end, Some(TurnEnd::Unavailable { .. } | TurnEnd::Limited { .. }));
        // The only answer is then the error itself.
        let refused = refused && view.answers <= 1;
        // A session that we stopped before it said anything looks as if it had never started.
        let never = matches!(view.liveness, Liveness::NeverStarted { .. }) && !note.interrupted;
        if refused || never {
            return None;
        }
        Some(match &view.usage {
            Some(usage) => self.prices.estimate(self.table.model(), usage),
            None => self.table.turn_usd.or(note.reserved).unwrap_or(UNTOLD),
        })
    }

    /// Decides what `view` means. A turn that we interrupted is not over before its workspace is
    /// still, where we can see the workspace: its server may have been restarted unnoticed, and
    /// show a turn as ended that an orphaned agent goes on with.
    async fn concluded(
        &self,
        key: &JobKey,
        view: &View,
        note: &mut TurnNote,
        now: At,
    ) -> Conclusion {
        let conclusion = conclude(view, record_of(note), now);
        let doubted = conclusion == Conclusion::Over(TurnEnd::Interrupted) && !note.still;
        let Some(folder) = self.folder(key).filter(|_| doubted) else { return conclusion };
        match still::look(folder, note.quiet, self.clock.now()).await {
            // Not asked again: from now on the control plane itself may change the workspace.
            Stillness::Still => (note.still, note.quiet) = (true, None),
            Stillness::Settling(quiet) if note.quiet != Some(quiet) => note.quiet = Some(quiet),
            Stillness::Settling(_) | Stillness::Unseen => return Conclusion::Unknown,
        }
        match self.notes.keep_turn(key, note).await {
            Ok(()) if note.still => conclusion,
            Ok(()) | Err(_) => Conclusion::Unknown,
        }
    }

    /// The folder that the turn's agent works in, if that is one of our workspaces.
    fn folder(&self, key: &JobKey) -> Option<PathBuf> {
        let ours = self.table.checkout() == Checkout::Ours;
        let (run, _) = run_and_turn(key).ok().filter(|_| ours)?;
        Some((self.workspaces.of)(run))
    }

    /// Notes that we tell the turn to stop, which no server will say, and what its workspace looks
    /// like now, so that the next look can already find it still.
    async fn note_interrupt(&self, key: &JobKey, note: &mut TurnNote) -> PortResult<()> {
        note.interrupted = true;
        if let (None, Some(folder)) = (note.quiet, self.folder(key).filter(|_| !note.still))
            && let Stillness::Settling(quiet) = still::look(folder, None, self.clock.now()).await
        {
            note.quiet = Some(quiet);
        }
        self.notes.keep_turn(key, note).await
    }

    /// The newest turn of each thread of `run` that may be at work.
    async fn at_work(&self, run: RunId, fresh: Freshness) -> PortResult<Vec<MaybeAtWork>> {
        let connection = self.server.connect().await?;
        let known: BTreeMap<String, u32> = (1..=TURNS)
            .flat_map(|n| (0..TRIES).map(move |tried| (ids::message(run, n, tried), n)))
            .collect();
        let mut all = Vec::new();
        let noted = self.run_note(&connection, run).await?.generation;
        for generation in 0..GENERATIONS {
            let id = ids::thread(run, generation);
            let Some(thread) = connection.protocol.look(&id, fresh).await?.thread else {
                // Our notes may be lost while the threads are not.
                if generation < noted {
                    continue;
                }
                break;
            };
            let asked = thread.asked();
            let newest = asked.iter().rev().find_map(|id| Some((*id, *known.get(*id)?)));
            let Some((message, n)) = newest else { continue };
            let key = JobKey::new(run, JobOf::Turn, &n.to_string());
            let mut note = self.notes.turn(&key).await?.unwrap_or_default();
            let now = self.server.now();
            let (at_work, view) = (thread.at_work(), thread.view(message, now));
            let works = at_work.is_some()
                || match self.concluded(&key, &view, &mut note, now).await {
                    Conclusion::Running | Conclusion::Unknown => true,
                    Conclusion::Absent | Conclusion::Over(_) => false,
                };
            if works {
                let shown_ended = at_work.is_none() && matches!(view.liveness, Liveness::Ended(_));
                let active = at_work.and_then(|one| one.active);
                all.push(MaybeAtWork { key, thread: id, active, shown_ended });
            }
        }
        Ok(all)
    }

    /// Sends a command, and returns its sequence. What failed may be sent again under another id.
    pub(super) async fn tell(
        &self,
        connection: &Connection,
        id: String,
        action: Action<'_>,
    ) -> PortResult<u64> {
        let command = Command { id, at: self.clock.now(), action };
        connection.protocol.send(&command).await.map_err(|refusal| match refusal {
            Refusal::Refused(error) | Refusal::Again(error) => error,
        })
    }

    async fn tell_to_stop(
        &self,
        run: RunId,
        thread: &str,
        active: Option<&str>,
        again: bool,
    ) -> PortResult<()> {
        let connection = self.server.connect().await?;
        // Another id each time: the server executes a command of one id only once.
        let now = self.clock.now().as_millisecond();
        let id = |what: &str| ids::command(run, &format!("{what}-{thread}-{now}"));
        self.tell(&connection, id("interrupt"), Action::Interrupt { thread, active }).await?;
        if again && connection.protocol.stops_sessions() {
            self.tell(&connection, id("stop"), Action::StopSession { thread }).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Executor for T3Executor {
    fn checkout(&self, _repo: &RepoName) -> PortResult<Checkout> {
        Ok(self.table.checkout())
    }

    fn machine(&self, _repo: &RepoName) -> PortResult<Machine> {
        Ok(Machine::Far { executor: self.name.clone() })
    }

    async fn ready(&self, _repo: &RepoName) -> PortResult<()> {
        self.server.authenticated().await?;
        let connection = self.server.connect().await?;
        if connection.protocol.counts_tokens() || self.table.turn_usd.is_some() {
            return Ok(());
        }
        let home = self.server.home();
        let why = format!(
            "{home} does not say what its agents use, so that no budget would end their runs: \
             {SET_TURN_USD}"
        );
        Err(PortError::new(PortErrorKind::NotFound, why))
    }

    async fn start(&self, turn: &TurnRequest) -> PortResult<()> {
        self.start_turn(turn).await
    }

    async fn observe(&self, repo: &RepoName, key: &JobKey) -> PortResult<TurnReport> {
        let (found, note) = self.look(key, Freshness::Poll).await?;
        let now = self.server.now();
        let view = found.view(now).masked(&(self.masks)());
        let mut note = note.unwrap_or_default();
        let link = self.link(key, &found);
        let seen = match self.concluded(key, &view, &mut note, now).await {
            Conclusion::Over(end) => {
                let report = self.report(repo, key, (&found, &note), &view, end);
                return Ok(TurnReport { link, ..report });
            }
            Conclusion::Running => TurnSeen::Running {
                // Its age decides whether the turn hangs.
                last_event_at: self.server.ours(view.last),
                tool_open: view.tool_open,
                asks: view.asks.iter().map(|ask| ask.asked.clone()).collect(),
            },
            Conclusion::Unknown => TurnSeen::Unknown,
            Conclusion::Absent => absent(&note, &found),
        };
        Ok(TurnReport {
            seen,
            tokens: view.tokens,
            cost: None,
            streamed: self.cost(repo, key, (&found, &note), &view, None),
            last: last(&view),
            link,
            transcript: None,
        })
    }

    async fn answer(
        &self,
        _repo: &RepoName,
        key: &JobKey,
        request: &str,
        answer: &Answer,
    ) -> PortResult<()> {
        let (run, _) = run_and_turn(key)?;
        let (found, note) = self.look(key, Freshness::Now).await?;
        let view = found.view(self.server.now());
        let Some(ask) = view.asks.iter().find(|ask| ask.asked.id == request) else {
            // The request is not open any more.
            return Ok(());
        };
        let thread = &ids::thread(run, found.generation);
        // All answers to a request have the same command id, so that only the first counts. After a
        // refusal the next answer has another id, because the server refuses that one for good.
        let mut note = note.unwrap_or_default();
        let refused = note.answers.get(request).copied().unwrap_or(0);
        if refused >= TRIES {
            let home = self.server.home();
            let why = format!("{home} refused the answer to {request} {TRIES} times");
            return Err(PortError::permanent(why));
        }
        let id = match refused {
            0 => ids::command(run, &format!("answer-{request}")),
            again => ids::command(run, &format!("answer-{request}-{again}")),
        };
        let connection = self.server.connect().await?;
        let action = if ask.asked.question {
            let text = match answer {
                Answer::Allow => "Yes.",
                Answer::Deny { why } => why,
                Answer::Say { text } => text,
            };
            let answers: Map<String, Value> =
                ask.questions.iter().map(|id| (id.clone(), text.into())).collect();
            Action::Reply { thread, request, answers }
        } else {
            Action::Permit { thread, request, allow: *answer == Answer::Allow }
        };
        let command = Command { id, at: self.clock.now(), action };
        match connection.protocol.send(&command).await {
            Ok(_) => Ok(()),
            Err(Refusal::Again(error)) => Err(error),
            Err(Refusal::Refused(error)) => {
                note.answers.insert(request.to_owned(), refused + 1);
                note.generation = found.generation;
                self.notes.keep_turn(key, &note).await?;
                Err(error)
            }
        }
    }

    async fn interrupt(&self, _repo: &RepoName, key: &JobKey) -> PortResult<()> {
        let (run, _) = run_and_turn(key)?;
        let (found, note) = self.look(key, Freshness::Now).await?;
        let mut note = note.unwrap_or_default();
        let now = self.server.now();
        let active = match found.view(now).liveness {
            Liveness::Busy { active } => active,
            // The turn may begin any moment.
            Liveness::Pending => None,
            // To interrupt a turn that has ended would change how the server says it ended.
            Liveness::Absent
            | Liveness::Ended(_)
            | Liveness::NeverStarted { .. }
            | Liveness::Unknown => return Ok(()),
        };
        let again = note.interrupted;
        note.generation = found.generation;
        self.note_interrupt(key, &mut note).await?;
        let thread = ids::thread(run, found.generation);
        self.tell_to_stop(run, &thread, active.as_deref(), again).await
    }

    async fn alive(&self, _repo: &RepoName, run: RunId) -> PortResult<Vec<JobKey>> {
        Ok(self.at_work(run, Freshness::Poll).await?.into_iter().map(|one| one.key).collect())
    }

    async fn stop(&self, _repo: &RepoName, run: RunId) -> PortResult<()> {
        let all = self.at_work(run, Freshness::Now).await?;
        for MaybeAtWork { key, thread, active, .. } in
            all.into_iter().filter(|one| !one.shown_ended)
        {
            let mut note = self.notes.turn(&key).await?.unwrap_or_default();
            let again = note.interrupted;
            self.note_interrupt(&key, &mut note).await?;
            self.tell_to_stop(run, &thread, active.as_deref(), again).await?;
        }
        Ok(())
    }

    async fn transcript(
        &self,
        _repo: &RepoName,
        key: &JobKey,
        offset: u64,
    ) -> PortResult<Option<Transcript>> {
        if let Some(known) = self.told.known(key, offset, self.clock.now()) {
            return Ok(Some(known));
        }
        let (found, _) = self.look(key, Freshness::Poll).await?;
        let view = found.view(self.server.now()).masked(&(self.masks)());
        if view.liveness == Liveness::Absent {
            return Ok(None);
        }
        let (run, _) = run_and_turn(key)?;
        let (now, read) = (self.clock.now(), (&view, found.read.sequence));
        let told = self.told.tell(key, read, offset, now);
        if let Ok(connection) = self.server.connect().await {
            let thread = ids::thread(run, found.generation);
            self.told.follow(key, now, |after| connection.protocol.follow(&thread, after));
        }
        Ok(Some(told))
    }

    async fn changed(&self, _repo: &RepoName, _key: &JobKey, at_most: Duration) {
        let pace = match self.server.connect().await {
            Ok(connection) => connection.protocol.pace(),
            Err(_) => jiff::SignedDuration::from_secs(5),
        };
        let at_most = jiff::SignedDuration::try_from(at_most).unwrap_or(pace);
        let until = self.clock.now().checked_add(pace.min(at_most)).unwrap_or(At::MAX);
        self.clock.sleep_until(until).await;
    }
}

/// What is seen of a turn whose message is not there. If the server said that it took the message,
/// the turn is unknown until a read shows the server at that sequence: only then was its answer
/// false.
fn absent(note: &TurnNote, found: &FoundTurn) -> TurnSeen {
    match (note.taken, found.read.sequence) {
        (None, _) => TurnSeen::Absent,
        (Some(taken), Some(read)) if read >= taken => TurnSeen::Absent,
        (Some(_), _) => TurnSeen::Unknown,
    }
}

pub(super) fn record_of(note: &TurnNote) -> OurRecord {
    OurRecord { interrupted: note.interrupted, away: note.away }
}

fn last(view: &View) -> Option<String> {
    view.said.as_deref().map(|said| line(said, 120))
}
