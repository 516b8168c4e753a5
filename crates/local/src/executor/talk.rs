//! A turn on a living thread after it has started: its state, its questions, the answers, and how
//! it is stopped.

use std::time::{Duration, SystemTime};

use afk_agent::agents::ask::{AgentQuestion, Reply};
use afk_agent::agents::claude::control;
use afk_agent::agents::claude::session::{SessionId, after_refusal};
use afk_agent::agents::{AgentKind, Exit, TurnReader};
use afk_agent::host::{EndHow, HostError, Job as Hosted, JobState, KilledBy, StopSignal};
use afk_core::ask::{Answer, PendingQuestion};
use afk_core::ids::{At, JobKey, RepoName, RunId};
use afk_core::run::{TurnEnd, TurnSeen};
use afk_core::spend::TurnKey;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, TurnReport, run_and_turn};

use super::report::{Account, Reading, TurnEnding, absent, at_work, cause, exit, is_ours, written};
use super::thread::{Begun, TurnDelivery, put};
use super::{GRACE, LocalExecutor, STDERR};

/// How long a started process may take to write its first output.
const READY: Duration = Duration::from_mins(1);
/// How long to wait before output is checked for growth again.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// How long to wait before the process itself is checked again meanwhile.
pub(super) const STATUS: Duration = Duration::from_millis(500);
/// How long to wait for an interrupted turn's end before the caller goes on.
const MOMENT: Duration = Duration::from_millis(300);
/// How long a turn may take to end by itself when everything is being stopped. It is worth waiting
/// for: only its result says what the turn cost.
const LAST_WORDS: Duration = Duration::from_millis(2500);

impl LocalExecutor {
    pub(super) async fn observe_thread(
        &self,
        repo: &RepoName,
        key: &JobKey,
        begun: &Begun,
    ) -> PortResult<TurnReport> {
        let TurnDelivery::Sent(job, state) = self.delivery(key, begun).await? else {
            return Ok(absent());
        };
        let (run, _) = run_and_turn(key)?;
        let ended = matches!(state, JobState::Ended(_) | JobState::Lost);
        let reading = self.read_turn(key, begun, &job, ended).await?;
        let mut reading = reading.lock().await;
        let session = SessionId::of_thread(&run.thread().to_string(), begun.conversation);
        let key_in_ledger = TurnKey {
            session: session.to_string(),
            process: begun.process,
            turn: begun.of_process,
        };
        let account = Account { run, repo, key: key_in_ledger, at: begun.at, assumed: None };
        let (end, sandbox) = match &state {
            // Its state was read before its output: it may have been refused since.
            JobState::Starting if !reading.over || is_refused(&reading) => {
                let seen = at_work(SystemTime::now(), false, Vec::new());
                return Ok(reading.running(&self.prices, account, seen));
            }
            JobState::Running { started_at, .. } if !reading.over => {
                if reading.offset == 0
                    && At::now().duration_since(*started_at).unsigned_abs() > READY
                {
                    stop(&job).await?;
                }
                let seen = running(&reading, &job).await?;
                return Ok(reading.running(&self.prices, account, seen));
            }
            JobState::Starting | JobState::Lost => (None, None),
            // The conversation refused the process: once that has ended, another one takes the
            // turn.
            JobState::Running { .. } if is_refused(&reading) => {
                stop(&job).await?;
                let seen = running(&reading, &job).await?;
                return Ok(reading.running(&self.prices, account, seen));
            }
            JobState::Running { sandbox, .. } => (None, Some(*sandbox)),
            JobState::Ended(end) => (Some(end), end.sandbox),
        };
        let output = self.local.output(&job).await;
        let stderr = output.stderr_tail(STDERR).await?;
        reading.seal(&output).await?;
        let told = self.interrupted(key)?.is_some();
        let interrupted = end.is_some_and(|end| end.how == EndHow::Killed(KilledBy::Interrupt));
        let silent = interrupted && !told && reading.offset == 0;
        let cause = end.and_then(|end| cause(&end.how));
        let ours = told || end.is_some_and(|end| is_ours(&end.how));
        let exit = end.map_or(Exit::Lost, |end| exit(&end.how));
        let stderr = String::from_utf8_lossy(&stderr);
        self.note_stuck(key, &reading.outcome(&exit, &stderr, ours)).await?;
        let mut report = reading.over(
            &self.prices,
            TurnEnding {
                account,
                sandbox,
                refused: self.refusals_of(&job, Some(begun.at)).await?,
                exit,
                cause,
                stderr: &stderr,
                ours,
            },
        );
        if let (true, TurnSeen::Ended { how, .. }) = (silent, &mut report.seen) {
            let message = format!(
                "the Claude CLI did not answer within {} s of its start: try it by hand, and check \
                 agents.claude.program",
                READY.as_secs()
            );
            *how = TurnEnd::Failed { message };
        }
        Ok(report)
    }

    /// Passes an answer on to the agent, once however often this is called. An error of the kind
    /// `NotFound` means that the turn is not at work.
    pub(super) async fn answer_thread(
        &self,
        key: &JobKey,
        begun: &Begun,
        request: &str,
        answer: &Answer,
    ) -> PortResult<()> {
        let TurnDelivery::Sent(job, JobState::Running { .. }) = self.delivery(key, begun).await?
        else {
            return Err(PortError::new(PortErrorKind::NotFound, format!("{key} is not at work")));
        };
        let open = {
            let reading = self.read_turn(key, begun, &job, false).await?;
            let reading = reading.lock().await;
            open_asks(&reading, &job).await?
        };
        if open.iter().all(|ask| ask.id != request) {
            return Ok(());
        }
        let ask = as_written(&job, begun, request).await?;
        say(&job, &control::answer(&ask, &reply_of(answer))).await
    }

    /// Tells the turn to end, and keeps the process. If called again after [`GRACE`], ends the
    /// process, too.
    pub(super) async fn interrupt_thread(&self, key: &JobKey, begun: &Begun) -> PortResult<()> {
        let TurnDelivery::Sent(job, state) = self.delivery(key, begun).await? else {
            return Ok(());
        };
        if matches!(state, JobState::Ended(_) | JobState::Lost) {
            return Ok(());
        }
        if self.read_turn(key, begun, &job, false).await?.lock().await.over {
            return Ok(());
        }
        let (_, n) = run_and_turn(key)?;
        match self.interrupted(key)? {
            None => put(&self.begun_path(key)?.with_file_name("interrupted"), Vec::new()).await?,
            Some(at) if SystemTime::now().duration_since(at).is_ok_and(|age| age > GRACE) => {
                return stop(&job).await;
            }
            Some(_) => {}
        }
        let id = format!("interrupt-{n}");
        if !said(&job).await?.contains(&id) && say(&job, &control::interrupt(&id)).await.is_err() {
            return stop(&job).await;
        }
        // The turn's result says what it cost, so it is worth waiting for a moment.
        self.thread_changed(key, begun, MOMENT).await;
        Ok(())
    }

    /// Gives a thread's current turn time to report its cost before the process is stopped for
    /// good. Tells the turn to end and returns true while it may take its time; false if there is
    /// no turn, it is over, or [`LAST_WORDS`] are up.
    pub(crate) async fn lets_turn_report(&self, run: RunId, job: &Hosted) -> PortResult<bool> {
        let Some((key, begun)) = self.turn_of(run, &job.dir()).await? else { return Ok(false) };
        let late = |at| SystemTime::now().duration_since(at).is_ok_and(|age| age > LAST_WORDS);
        if self.interrupted(&key)?.is_some_and(late) {
            return Ok(false);
        }
        self.interrupt_thread(&key, &begun).await?;
        Ok(!self.read_turn(&key, &begun, job, false).await?.lock().await.over)
    }

    /// Waits until the turn is over or asks a new question, or for `at_most`.
    pub(super) async fn thread_changed(&self, key: &JobKey, begun: &Begun, at_most: Duration) {
        let bound = tokio::time::Instant::now() + at_most;
        let mut looked = tokio::time::Instant::now();
        let mut len = 0;
        let Ok(TurnDelivery::Sent(job, JobState::Starting | JobState::Running { .. })) =
            self.delivery(key, begun).await
        else {
            return;
        };
        let path = job.dir().join("stdout");
        while tokio::time::Instant::now() < bound {
            let now = path.metadata().map_or(0, |data| data.len());
            if now != len {
                len = now;
                let Ok(reading) = self.read_turn(key, begun, &job, false).await else { return };
                let mut reading = reading.lock().await;
                let asks = reading.reader.asks().iter().map(|ask| &ask.id);
                let asks: Vec<String> =
                    asks.chain(reading.reader.unanswerable()).cloned().collect();
                let new = asks.into_iter().filter(|id| reading.woken.insert(id.clone())).count();
                if reading.over || new > 0 {
                    return;
                }
            }
            if looked.elapsed() >= STATUS {
                looked = tokio::time::Instant::now();
                if !matches!(job.status().await, Ok(JobState::Starting | JobState::Running { .. }))
                {
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Returns when the turn was first told to end, if it was.
    fn interrupted(&self, key: &JobKey) -> PortResult<Option<SystemTime>> {
        let path = self.begun_path(key)?.with_file_name("interrupted");
        Ok(path.metadata().and_then(|data| data.modified()).ok())
    }
}

/// Whether the process reports that it could not enter the conversation.
fn is_refused(reading: &Reading) -> bool {
    // The result was read already, so the exit given here does not matter.
    let outcome = reading.reader.outcome(&Exit::Exited { code: 1 }, "", false);
    after_refusal(&outcome).is_some()
}

/// Returns the state of a turn in progress, with its open questions; answers those that nobody can
/// answer.
async fn running(reading: &Reading, job: &Hosted) -> PortResult<TurnSeen> {
    let last = written(&job.dir()).unwrap_or_else(SystemTime::now);
    // While the agent waits for an answer, the question is its last output.
    let since = At::try_from(last).unwrap_or(At::UNIX_EPOCH);
    refuse_unanswerable(reading, job).await?;
    let open = open_asks(reading, job).await?;
    let asks: Vec<PendingQuestion> = open.iter().map(|ask| asked(ask, since)).collect();
    Ok(at_work(last, reading.reader.tool_open(), asks))
}

/// Refuses the requests of the process that nobody can answer: it would wait for ever. It ignores a
/// second answer.
async fn refuse_unanswerable(reading: &Reading, job: &Hosted) -> PortResult<()> {
    let all = reading.reader.unanswerable();
    if all.is_empty() {
        return Ok(());
    }
    let said = said(job).await?;
    for id in all.iter().filter(|id| !said.contains(*id)) {
        say(job, &control::refuse(id)).await?;
    }
    Ok(())
}

/// Returns the agent's unanswered questions.
async fn open_asks(reading: &Reading, job: &Hosted) -> PortResult<Vec<AgentQuestion>> {
    if reading.reader.asks().is_empty() {
        return Ok(Vec::new());
    }
    let said = said(job).await?;
    Ok(reading.reader.asks().iter().filter(|ask| !said.contains(&ask.id)).cloned().collect())
}

/// Returns a question with exactly the input that the agent wrote. The answer repeats that input,
/// and a tool must not run with the one that was masked for people; only the agent sees it.
async fn as_written(job: &Hosted, begun: &Begun, request: &str) -> PortResult<AgentQuestion> {
    let mut reader = TurnReader::new(AgentKind::Claude);
    let mut offset = begun.stdout;
    loop {
        let part = job.read_stdout(offset, super::CHUNK).await.map_err(PortError::transient)?;
        if part.is_empty() {
            return Err(PortError::transient(format!("the agent's request {request} is gone")));
        }
        offset += part.len() as u64;
        let _ = reader.feed(&part);
        if let Some(ask) = reader.asks().iter().find(|ask| ask.id == request) {
            return Ok(ask.clone());
        }
    }
}

/// Converts an answer for the agents.
pub(super) fn reply_of(answer: &Answer) -> Reply {
    match answer {
        Answer::Allow => Reply::Allow,
        Answer::Deny { why } => Reply::Deny(why.clone()),
        Answer::Say { text } => Reply::Say(text.clone()),
    }
}

pub(super) fn asked(ask: &AgentQuestion, since: At) -> PendingQuestion {
    let what = match ask.question() {
        Some(question) => question,
        None => format!("{}: {}", ask.tool, ask.input),
    };
    PendingQuestion::new(ask.id.clone(), ask.is_question(), &what, since)
}

/// Returns the ids of all lines that the process was sent.
async fn said(job: &Hosted) -> PortResult<std::collections::BTreeSet<String>> {
    Ok(control::sent_ids(&input(job).await?))
}

/// Returns all input of a process so far.
pub(super) async fn input(job: &Hosted) -> PortResult<Vec<u8>> {
    let mut log = Vec::new();
    loop {
        let part =
            job.read_stdin(log.len() as u64, super::CHUNK).await.map_err(PortError::transient)?;
        if part.is_empty() {
            return Ok(log);
        }
        log.extend(part);
    }
}

/// Adds a line to the input of a process. Does nothing if the process has ended.
pub(super) async fn say(job: &Hosted, line: &[u8]) -> PortResult<()> {
    let end = match job.stdin_len().await {
        Ok(end) => end,
        Err(HostError::Over { .. }) => return Ok(()),
        Err(error) => return Err(PortError::transient(error)),
    };
    job.write(end, line).await.map(drop).map_err(PortError::transient)
}

async fn stop(job: &Hosted) -> PortResult<()> {
    job.interrupt(StopSignal::Terminate, GRACE, KilledBy::Interrupt)
        .await
        .map_err(PortError::transient)
}
