//! Starts a turn: makes its project, its thread and its message, each of which is looked for first.
//!
//! A command that was not answered is sent again with the same id, now or by the next pass. A
//! refusal is noted, and the next pass sends the command under another id. A second turn is never
//! started beside one that may be at work.

use std::path::Path;

use afk_core::checkout::Checkout;
use afk_core::ids::{JobKey, JobOf, RepoName, RunId};
use afk_engine::ports::{PortError, PortErrorKind, PortResult, TurnRequest};

use super::executor::{T3Executor, TRIES, record_of};
use super::ids;
use super::notes::{RunNote, TurnNote};
use super::outcome::{Conclusion, conclude, ends_conversation};
use super::protocol::{Action, AnyThread, Command, Freshness, Project, Refusal, ThreadRead};
use super::server::Connection;
use super::view::Liveness;

/// The longest text of a message, in characters.
const LONGEST: usize = 120_000;
/// How many threads of former runs stay open in a repo, so that people can look at them.
const OPEN: usize = 1;

impl T3Executor {
    /// Starts the turn, unless the server has it already.
    pub(super) async fn start_turn(&self, turn: &TurnRequest) -> PortResult<()> {
        let connection = self.server.connect().await?;
        let note = self.notes.turn(&turn.key).await?;
        let found = self.find(&connection, (turn.run, turn.n), note.as_ref(), Freshness::Now).await;
        if let Err(PortError { kind: PortErrorKind::Transient, .. }) = &found {
            self.was_away(&turn.key).await;
        }
        let found = found?;
        let mut note = note.unwrap_or_default();
        note.reserved = Some(turn.budget);
        if found.message.is_some() {
            if note.taken.is_none() {
                // The server took it, but its answer or our note of it was lost.
                (note.taken, note.generation) = (found.read.sequence, found.generation);
                self.notes.keep_turn(&turn.key, &note).await?;
            }
            return Ok(());
        }
        if let Some(taken) = note.taken {
            if found.read.sequence.is_none_or(|read| read < taken) {
                return Err(PortError::transient(format!(
                    "{} has taken turn {} and does not show it yet",
                    self.server.home(),
                    turn.n
                )));
            }
            // The server's answer was false, or its store was restored from a backup: the message
            // is lost.
            note = TurnNote { tried: note.tried + 1, taken: None, ..note };
        }
        self.note_server(&connection, turn.run).await?;
        let (generation, read) =
            self.thread_to_continue(&connection, turn, found.generation, found.read).await?;
        note.generation = generation;
        self.notes.keep_turn(&turn.key, &note).await?;
        let thread = ids::thread(turn.run, generation);
        let fresh = read.thread.is_none();
        if fresh {
            self.make_thread(&connection, turn, &thread).await?;
        } else if read.thread.as_ref().is_some_and(AnyThread::is_archived) {
            self.unarchive(&connection, &turn.repo, &thread).await;
        }
        let opened = fresh || read.thread.as_ref().is_some_and(|one| one.asked().is_empty());
        let text = if opened { &turn.opening_prompt } else { &turn.prompt };
        self.send_message(&connection, turn, &thread, text, note).await
    }

    /// Notes which server the run is on, before anything is made there.
    async fn note_server(&self, connection: &Connection, run: RunId) -> PortResult<()> {
        let mut note = self.run_note(connection, run).await?;
        if note.environment.is_some() {
            return Ok(());
        }
        note.environment = Some(connection.about.environment_id.clone());
        self.notes.keep_run(run, &note).await
    }

    /// Returns the generation of the thread that the run goes on in, and that thread: the next
    /// generation if `read`, of `generation`, cannot take a turn any more. An error while something
    /// may be at work in it.
    async fn thread_to_continue(
        &self,
        connection: &Connection,
        turn: &TurnRequest,
        generation: u32,
        read: ThreadRead,
    ) -> PortResult<(u32, ThreadRead)> {
        let run = self.notes.run(turn.run).await?;
        let Some(thread) = &read.thread else {
            // A thread that was made and is not there any more was deleted.
            return if run.made && run.generation == generation {
                self.next_thread(connection, turn.run, generation).await
            } else {
                Ok((generation, read))
            };
        };
        let busy = || {
            PortError::transient(format!(
                "something may be at work in the run's thread on {}: no second turn is started \
                 beside it",
                self.server.home()
            ))
        };
        if thread.at_work().is_some() {
            return Err(busy());
        }
        let before = self.turn_before(turn, thread).await?;
        let ended = match before {
            Some((Conclusion::Running | Conclusion::Unknown, _)) => return Err(busy()),
            Some((Conclusion::Absent | Conclusion::Over(_), ended)) => ended,
            None => false,
        };
        if !ended && !thread.is_deleted() {
            return Ok((generation, read));
        }
        self.next_thread(connection, turn.run, generation).await
    }

    /// Notes that the run goes on in the next generation, and reads that thread.
    async fn next_thread(
        &self,
        connection: &Connection,
        run: RunId,
        generation: u32,
    ) -> PortResult<(u32, ThreadRead)> {
        let environment = Some(connection.about.environment_id.clone());
        let note = RunNote { generation: generation + 1, environment, ..RunNote::default() };
        self.notes.keep_run(run, &note).await?;
        let read =
            connection.protocol.look(&ids::thread(run, note.generation), Freshness::Now).await?;
        Ok((note.generation, read))
    }

    /// The outcome of the turn before this one in its thread, and whether it ended the
    /// conversation; none if the thread has no turn.
    async fn turn_before(
        &self,
        turn: &TurnRequest,
        thread: &AnyThread,
    ) -> PortResult<Option<(Conclusion, bool)>> {
        let Some(message) = thread.asked().last().map(|id| (*id).to_owned()) else {
            return Ok(None);
        };
        let before = turn.n.saturating_sub(1);
        let key = JobKey::new(turn.run, JobOf::Turn, &before.to_string());
        let note = self.notes.turn(&key).await?.unwrap_or_default();
        let now = self.server.now();
        let view = thread.view(&message, now);
        let ended = ends_conversation(&view);
        // A turn that was accepted and did not begin for long will not begin any more.
        let conclusion = match view.liveness {
            Liveness::NeverStarted { .. } => Conclusion::Absent,
            _ => conclude(&view, record_of(&note), now),
        };
        Ok(Some((conclusion, ended)))
    }

    async fn make_thread(
        &self,
        connection: &Connection,
        turn: &TurnRequest,
        thread: &str,
    ) -> PortResult<()> {
        let project = self.project(connection, &turn.repo).await?;
        self.archive_former(connection, &turn.repo, thread).await;
        let worktree = match self.table.checkout() {
            Checkout::Own => None,
            Checkout::Ours => Some(self.workspace(turn.run)?),
        };
        let mut run = self.notes.run(turn.run).await?;
        let command = Command {
            id: ids::command(turn.run, &format!("create-{thread}-{}", run.tried)),
            at: self.clock.now(),
            action: Action::CreateThread {
                thread,
                project: &project,
                title: &format!("afk: {} {}", turn.repo, turn.run),
                provider: self.table.provider(),
                model: self.table.model(),
                mode: self.table.runtime_mode(),
                worktree: worktree.as_deref(),
            },
        };
        match connection.protocol.send(&command).await {
            Ok(_) => {
                run.made = true;
                self.notes.keep_run(turn.run, &run).await
            }
            Err(Refusal::Again(error)) => Err(error),
            Err(Refusal::Refused(error)) => {
                // The thread may be there all the same, from a try whose answer was lost.
                if connection.protocol.look(thread, Freshness::Now).await?.thread.is_some() {
                    return Ok(());
                }
                run.tried += 1;
                self.notes.keep_run(turn.run, &run).await?;
                Err(error)
            }
        }
    }

    async fn send_message(
        &self,
        connection: &Connection,
        turn: &TurnRequest,
        thread: &str,
        text: &str,
        mut note: TurnNote,
    ) -> PortResult<()> {
        if text.encode_utf16().count() > LONGEST {
            return Err(PortError::permanent(format!(
                "the prompt of turn {} is longer than the {LONGEST} characters that T3 Code takes",
                turn.n
            )));
        }
        if note.tried >= TRIES {
            return Err(PortError::permanent(format!(
                "{} refused turn {} {TRIES} times",
                self.server.home(),
                turn.n
            )));
        }
        let message = ids::message(turn.run, turn.n, note.tried);
        let command = Command {
            id: ids::command(turn.run, &format!("turn-{}-{}", turn.n, note.tried)),
            at: self.clock.now(),
            action: Action::StartTurn {
                thread,
                message: &message,
                text,
                mode: self.table.runtime_mode(),
            },
        };
        match connection.protocol.send(&command).await {
            Ok(sequence) => {
                note.taken = Some(sequence);
                self.notes.keep_turn(&turn.key, &note).await
            }
            Err(Refusal::Again(error)) => {
                if error.kind == PortErrorKind::Transient {
                    // The message may have been taken, and the turn begun, by a server that was
                    // then ended.
                    self.was_away(&turn.key).await;
                }
                Err(error)
            }
            Err(Refusal::Refused(error)) => {
                let there = connection.protocol.look(thread, Freshness::Now).await?.thread;
                if there.is_some_and(|thread| thread.asked().contains(&message.as_str())) {
                    return Ok(());
                }
                note.tried += 1;
                self.notes.keep_turn(&turn.key, &note).await?;
                Err(error)
            }
        }
    }

    /// Returns the id of the project of `repo`: one that has its id or its folder, or a new one.
    async fn project(&self, connection: &Connection, repo: &RepoName) -> PortResult<String> {
        let (id, root) = (ids::project(repo), self.table.root(repo));
        let found = |all: Vec<Project>| {
            let by_id = all.iter().position(|one| one.id == id);
            let by_root = || all.iter().position(|one| one.root.trim_end_matches('/') == root);
            by_id.or_else(by_root).and_then(|at| all.into_iter().nth(at))
        };
        if let Some(project) = found(connection.protocol.projects().await?) {
            return Ok(project.id);
        }
        let mut note = self.notes.repo(repo).await?;
        let command = Command {
            id: format!("{id}-{}", note.tried),
            at: self.clock.now(),
            action: Action::CreateProject {
                project: &id,
                title: repo.as_str(),
                root: &root,
                // Not where the agent needs a checkout of its own: an empty folder is none.
                make: self.table.checkout() == Checkout::Ours,
            },
        };
        match connection.protocol.send(&command).await {
            Ok(_) => Ok(id),
            Err(Refusal::Again(error)) => Err(error),
            Err(Refusal::Refused(error)) => {
                if let Some(project) = found(connection.protocol.projects().await?) {
                    return Ok(project.id);
                }
                note.tried += 1;
                self.notes.keep_repo(repo, &note).await?;
                let home = self.server.home();
                Err(PortError::new(
                    PortErrorKind::NotFound,
                    format!(
                        "{home} has no project for {repo}, and makes none of {root}: clone the \
                         repo there ({})",
                        error.chain()
                    ),
                ))
            }
        }
    }

    /// Archives threads of former runs of `repo`, and notes `thread` as one to archive later. A
    /// failure is only logged: a thread that stays open does no harm.
    async fn archive_former(&self, connection: &Connection, repo: &RepoName, thread: &str) {
        let Ok(mut note) = self.notes.repo(repo).await else { return };
        if note.open.iter().any(|open| open == thread) {
            return;
        }
        while note.open.len() >= OPEN {
            let old = note.open.remove(0);
            let at = self.clock.now();
            let command = Command {
                id: format!("archive-{old}-{}", at.as_millisecond()),
                at,
                action: Action::Archive { thread: &old },
            };
            if let Err(Refusal::Again(error)) = connection.protocol.send(&command).await {
                tracing::warn!(%repo, thread = old, error = error.chain(), "could not archive the old thread");
                note.open.insert(0, old);
                break;
            }
        }
        note.open.push(thread.to_owned());
        if let Err(error) = self.notes.keep_repo(repo, &note).await {
            tracing::warn!(%repo, error = error.chain(), "could not keep a note on the run");
        }
    }

    /// Takes a thread out of the archive in which a turn is about to begin, and archives the others
    /// instead. A run of the repo that began while this one had stepped aside put it there, and
    /// people would not see it at work. A failure is only logged: the turn can begin all the same.
    async fn unarchive(&self, connection: &Connection, repo: &RepoName, thread: &str) {
        let Ok(note) = self.notes.repo(repo).await else { return };
        if note.open.iter().any(|open| open == thread) {
            // People put it there.
            return;
        }
        let at = self.clock.now();
        let id = format!("unarchive-{thread}-{}", at.as_millisecond());
        let command = Command { id, at, action: Action::Unarchive { thread } };
        match connection.protocol.send(&command).await {
            Ok(_) => self.archive_former(connection, repo, thread).await,
            Err(Refusal::Refused(error) | Refusal::Again(error)) => {
                tracing::warn!(%repo, thread, error = error.chain(), "could not take the run's thread out of the archive");
            }
        }
    }

    /// The path of the run's workspace on the server's machine.
    pub(super) fn workspace(&self, run: RunId) -> PortResult<String> {
        let mut path = (self.workspaces.of)(run);
        if let Some(there) = &self.table.workspaces {
            let below = path.strip_prefix(&self.workspaces.root).map_err(PortError::permanent)?;
            path = Path::new(there).join(below);
        }
        let text = path.to_str().ok_or_else(|| {
            PortError::permanent(format!(
                "{} is not valid UTF-8, which T3 Code needs",
                path.display()
            ))
        })?;
        Ok(text.to_owned())
    }
}
