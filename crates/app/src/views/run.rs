//! A run at a glance, from its record and its current turn. Shared by every page and document that
//! shows runs.

use std::time::Duration;

use afk_core::config::Policy;
use afk_core::ids::{At, IssueRef, RunId};
use afk_core::phase::Phase;
use afk_core::plan::{End, TurnCause};
use afk_core::proof::{ProofReport, RunResult};
use afk_core::run::{AgentNeed, Candidate, Question, Run, TurnEnd};
use afk_core::usd::Usd;
use afk_core::verdict::StageAnswer;
use afk_engine::Engine;
use afk_engine::ports::TurnReport;
use serde::Serialize;

use crate::config::is_local;
use crate::words::{between, line};

/// One run at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
    /// The issue's title, as it was accepted.
    pub title: String,
    /// How far the run has come.
    pub phase: Phase,
    /// Whether the run's checklist has a line for the deployment.
    pub deploys: bool,
    /// The name of the default branch, or the words `the default branch` while it is unknown.
    pub branch: String,
    /// What the run waits for, or how it ended, in a few words.
    pub waits_for: String,
    /// How it ended.
    pub outcome: Option<End>,
    /// Why it ended so.
    pub why: Option<String>,
    /// What a person can do next, if the run was handed to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why its newest attempt did not succeed: what was refused, or which stage is red.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setback: Option<String>,
    /// The id of the commit that landed.
    pub landed: Option<String>,
    /// Seconds from admission until the run settled, or else ended, or else now.
    pub elapsed_seconds: u64,
    /// Attempts so far.
    pub attempts: u32,
    /// What the run goes on from, or was to go on from, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<String>,
    /// Turns so far.
    pub turns: u32,
    /// Attempts that correct a commit that landed.
    pub fix_forwards: u32,
    /// Tokens sent to the model, including cached ones and those of the current turn.
    pub tokens_in: u64,
    /// Tokens received from the model.
    pub tokens_out: u64,
    /// What the run cost so far, including the current turn as far as its executor shows it.
    pub cost_usd: Usd,
    /// What the run may cost.
    pub budget_usd: Usd,
    /// The last thing the agent said or did in the current turn.
    pub last: Option<String>,
    /// A link to the agent's thread, if its executor has a page for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_link: Option<String>,
    /// The agent's open questions, oldest first.
    pub asks: Vec<AskView>,
    /// What holds the run up, as long as it does.
    pub error: Option<ErrorView>,
    /// Whether the issue shows every effect of the outcome.
    pub settled: bool,
}

/// An error that keeps a run from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorView {
    /// The error, in a sentence.
    pub what: String,
    /// Since when there has been one.
    pub since: At,
    /// When the agent is tried again, if the run waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<At>,
}

/// An open question of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskView {
    /// The question's number in the run, by which people name it.
    pub n: u32,
    /// The id that its executor knows it by.
    pub id: String,
    /// Whether it is a question, rather than a permission.
    pub question: bool,
    /// What the agent asks.
    pub what: String,
    /// Since when the question has been open.
    pub since: At,
    /// When policy answers it, if nobody has before.
    pub until: At,
    /// The commands with which a person answers it.
    pub commands: Vec<String>,
}

impl AskView {
    fn new(question: &Question, issue: &IssueRef) -> Self {
        let asked = &question.asked;
        Self {
            n: question.n,
            id: asked.id.clone(),
            question: asked.question,
            what: asked.what.clone(),
            since: asked.since,
            until: question.until,
            commands: question.commands(issue),
        }
    }

    /// What happens at the deadline, in a few words.
    pub const fn otherwise(&self) -> &'static str {
        if self.question { "it decides by itself" } else { "it is refused" }
    }
}

impl RunView {
    /// Shows `run` as it is `now` under `policy`; `turn` is the current turn as its executor shows
    /// it.
    pub fn new(run: &Run, policy: &Policy, turn: Option<&TurnReport>, now: At) -> Self {
        let (mut tokens_in, mut tokens_out) = (0_u64, 0_u64);
        for ended in run.ends() {
            let usage = &ended.facts.usage;
            tokens_in += usage.input + usage.cache_read + usage.cache_write;
            tokens_out += usage.output;
        }
        // A turn that ended is in the record, whatever its executor still shows.
        let turn = turn.filter(|_| run.turn().is_some_and(|newest| newest.ended.is_none()));
        let mut cost = run.spent();
        if let Some(turn) = turn {
            tokens_in += turn.tokens.0;
            tokens_out += turn.tokens.1;
            cost += turn.cost.unwrap_or(Usd::ZERO);
        }
        // A withdrawn question stays open in the record until its turn is over.
        let asked = |question: &&Question| {
            turn.is_none_or(|turn| turn.asks().iter().any(|one| one.id == question.asked.id))
        };
        let asks: Vec<AskView> =
            run.open_questions().filter(asked).map(|one| AskView::new(one, &run.issue)).collect();
        let stages = policy.stages_of(&run.issue.repo);
        let conclusion = run.conclusion.as_ref();
        let end = run.settled_at.or(conclusion.map(|conclusion| conclusion.at)).unwrap_or(now);
        Self {
            run: run.id,
            issue: run.issue.clone(),
            title: run.pinned.title.clone(),
            phase: run.phase(stages),
            deploys: run.deploys(stages),
            branch: branch(run),
            waits_for: match asks.first() {
                Some(asked) => format!("an answer: {}", line(&asked.what, 160)),
                None => waits_for(run),
            },
            asks,
            error: run.current_error(now).map(|(what, since)| {
                let agent = run.waits_for_agent(now).filter(|found| found.message == what);
                let again = agent.map(|found| found.again).filter(|again| *again > now);
                ErrorView { what, since, again }
            }),
            outcome: conclusion.map(|conclusion| conclusion.end),
            why: conclusion.map(|conclusion| conclusion.why.clone()),
            next: conclusion.and_then(|conclusion| next(conclusion.end, &run.issue, policy)),
            setback: setback(run),
            landed: run.landed().map(|landed| landed.commit.to_string()),
            elapsed_seconds: between(run.admitted_at, end).as_secs(),
            attempts: run.attempts.len() as u32,
            goes_on: run.goes_on(),
            turns: run.turn().map_or(0, |turn| turn.n),
            fix_forwards: run.fix_forwards(),
            tokens_in,
            tokens_out,
            cost_usd: cost,
            budget_usd: run.budget,
            last: turn.and_then(|turn| turn.last.clone()),
            thread_link: run.thread_link.clone(),
            settled: run.settled_at.is_some(),
        }
    }

    /// Shows `run` as it is now, with its current turn if the executor can be asked. The caller
    /// knows from [`is_halted`] whether everything is `halted`, once for all runs that it shows.
    pub async fn read(engine: &Engine, run: &Run, halted: bool) -> Self {
        let turn = running_turn(engine, run).await;
        let (policy, _) = engine.ports().settings.current();
        let mut view = Self::new(run, &policy, turn.as_ref(), engine.ports().clock.now());
        if !view.settled && policy.shadow {
            // In shadow mode nothing else would make it go on.
            "the end of shadow mode".clone_into(&mut view.waits_for);
        } else if run.conclusion.is_none() && halted {
            view.waits_for = match run.turn().filter(|turn| turn.ended.is_none()) {
                Some(turn) => format!("turn {} to stop (everything is halted)", turn.n),
                None => "`afk resume` (everything is halted)".to_owned(),
            };
        }
        view
    }

    /// The elapsed time as a duration.
    pub fn elapsed(&self) -> Duration {
        Duration::from_secs(self.elapsed_seconds)
    }
}

/// Whether everything is halted; not if that cannot be read.
pub async fn is_halted(engine: &Engine) -> bool {
    engine.ports().store.switches().await.is_ok_and(|switches| switches.halt.is_some())
}

async fn running_turn(engine: &Engine, run: &Run) -> Option<TurnReport> {
    let turn = run.turn().filter(|turn| turn.ended.is_none())?;
    let report = engine.ports().executor.observe(&run.issue.repo, &run.turn_key(turn.n)).await;
    report.inspect_err(|e| tracing::debug!(error = e.chain(), "turn unreadable")).ok()
}

/// The default branch's name, or words for it while it is unknown.
pub fn branch(run: &Run) -> String {
    run.start.as_ref().map_or_else(|| "the default branch".to_owned(), |start| start.branch.clone())
}

/// The word for an outcome.
pub const fn outcome(end: End) -> &'static str {
    match end {
        End::Done => "done",
        End::NeedsHuman => "needs a human",
        End::Frozen => "frozen",
        End::Withdrawn => "withdrawn",
    }
}

/// How a person releases an issue again after its run has ended: a command, or a comment.
pub fn release_again(policy: &Policy, issue: &IssueRef) -> String {
    if is_local(policy, &issue.repo) {
        format!("`afk retry {issue}`")
    } else {
        format!("comment `/afk retry` on {issue}")
    }
}

/// What a person can do after a run with this end; none if nothing is left to do.
fn next(end: End, issue: &IssueRef, policy: &Policy) -> Option<String> {
    let again = release_again(policy, issue);
    match end {
        End::Done | End::Withdrawn => None,
        End::NeedsHuman => Some(format!("fix what stopped it, then {again}")),
        End::Frozen => Some(format!(
            "fix the default branch, then `afk unfreeze {}`, and {again} if the issue is still open",
            issue.repo
        )),
    }
}

/// Why the newest failed attempt failed, with the last line of the output that shows it.
fn setback(run: &Run) -> Option<String> {
    let last = |output: &str| {
        output.lines().rev().map(str::trim).find(|l| !l.is_empty()).map(str::to_owned)
    };
    let told = |what: String, output: Option<&str>| match output.and_then(last) {
        Some(shows) => format!("{what}: {}", line(&shows, 200)),
        None => what,
    };
    run.attempts.iter().rev().find_map(|attempt| {
        if let Some(refused) = &attempt.refused {
            let what = format!("refused: {}", line(&refused.detail, 200));
            // Where the fault is that the tests pass, their last line shows nothing.
            let proof = attempt.candidates.last().and_then(|one| one.proof.as_ref());
            let passed = proof
                .and_then(ProofReport::decisive_run)
                .is_some_and(|run| run.result == RunResult::Passed);
            return Some(told(what, (!passed).then_some(refused.output.as_str())));
        }
        if attempt.candidates.is_empty() && !attempt.dirty.is_empty() {
            let paths: Vec<String> = attempt.dirty.iter().map(|path| line(path, 80)).collect();
            return Some(line(&format!("not committed: {}", paths.join(", ")), 300));
        }
        let stages = attempt.candidates.last().map(|candidate| &candidate.stages)?;
        let red = stages.iter().find(|stage| stage.answer == StageAnswer::Failure)?;
        Some(told(format!("stage {} is red", red.name), red.tail.as_deref()))
    })
}

/// The word for why a turn was begun.
pub const fn cause(cause: TurnCause) -> &'static str {
    match cause {
        TurnCause::Opening => "opening",
        TurnCause::Retry => "retry",
        TurnCause::Interrupted => "after an interrupt",
        TurnCause::LimitReset => "after a usage limit",
        TurnCause::AgentBack => "to try whether its agent works again",
        TurnCause::Said => "with a person's message",
        TurnCause::CommitOrDiscard => "to commit or discard",
        TurnCause::Refused => "corrective, before landing",
        TurnCause::FixForward => "fix-forward",
    }
}

/// What a run waits for, from its record alone.
fn waits_for(run: &Run) -> String {
    if let Some(conclusion) = &run.conclusion {
        let word = outcome(conclusion.end);
        return if run.settled_at.is_some() {
            word.to_owned()
        } else {
            format!("{word}: the issue to show it")
        };
    }
    if run.wants_lock() {
        return "the repository to be free: its pull request was merged".to_owned();
    }
    if run.aside_since.is_some() {
        return "people to merge or close its pull request".to_owned();
    }
    if run.is_untouched_resumption() {
        return run.candidate().map_or("the next decision", judged).to_owned();
    }
    let Some(turn) = run.turn() else {
        return if run.start.is_some() { "the agent to start" } else { "the workspace" }.to_owned();
    };
    match turn.ended.as_ref().map(|ended| &ended.how) {
        None if turn.interrupt.is_some() => return format!("turn {} to stop", turn.n),
        None if run.pauses.iter().any(|pause| pause.to.is_none()) => {
            return format!("a person: turn {} asks a question, or everything is halted", turn.n);
        }
        None => return format!("the agent, turn {}", turn.n),
        Some(TurnEnd::Unavailable { what, .. }) => return agent_need(*what).to_owned(),
        Some(TurnEnd::Limited { .. }) => return "a usage limit to reset".to_owned(),
        Some(TurnEnd::Failed { .. } | TurnEnd::Lost | TurnEnd::Stalled) => {
            return format!("a retry after turn {}", turn.n);
        }
        Some(TurnEnd::Interrupted) => return "its next turn after an interrupt".to_owned(),
        Some(TurnEnd::Finished { .. } | TurnEnd::Hopeless { .. }) => {}
    }
    if run.attempt().is_some_and(|attempt| attempt.left.is_none()) {
        return format!("the inspection of turn {}'s work", turn.n);
    }
    match (run.candidate(), run.landed()) {
        (Some(candidate), _) => judged(candidate).to_owned(),
        (None, Some(landed)) => stage(landed),
        (None, None) => "the next decision".to_owned(),
    }
}

/// What a run waits for whose agent cannot work.
const fn agent_need(what: AgentNeed) -> &'static str {
    match what {
        AgentNeed::SignIn => "the agent's sign-in to be renewed",
        AgentNeed::Model => "the model's API to answer",
        AgentNeed::Program => "the agent's program to start",
    }
}

fn judged(candidate: &Candidate) -> &'static str {
    if candidate.guardrails.is_none() {
        "the guardrails"
    } else if candidate.proof.is_none() {
        "the proof"
    } else if candidate.tried.is_some_and(|tried| tried.pushed_at.is_some()) {
        "its stages, before landing"
    } else {
        "the push"
    }
}

fn stage(landed: &Candidate) -> String {
    let open = landed.stages.iter().find(|stage| match stage.answer {
        StageAnswer::None | StageAnswer::Pending | StageAnswer::Void => true,
        StageAnswer::Success | StageAnswer::Failure => false,
    });
    let red = landed.stages.iter().find(|stage| stage.answer == StageAnswer::Failure);
    match (red, open) {
        (Some(red), _) => format!("a decision on red {}", red.name),
        (None, Some(open)) => format!("stage {}", open.name),
        (None, None) => "the stages".to_owned(),
    }
}
