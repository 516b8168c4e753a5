//! Begins and starts turns: the workspace, the prompt, the budget.
//!
//! A turn is recorded before it is started, and what is left of the budget is reserved for it. Its
//! key is derived from the record, so that a crash between the two leads to the same turn.

use std::time::Duration;

use afk_core::checkout::Checkout;
use afk_core::config::Hooks;
use afk_core::elapsed::elapsed;
use afk_core::ids::{JobKey, JobOf};
use afk_core::impediment::{Impediment, kept};
use afk_core::plan::{Refusal, TurnCause};
use afk_core::prompt::{self, Cause, JudgingBrief, Opening};
use afk_core::proof::{Permits, Verify};
use afk_core::run::{
    AttemptRefusal, Candidate, EndedTurn, Start, Transition, TurnEnd, UnfinishedWork,
};
use afk_core::verdict::StageAnswer;

use super::{Acted, Pass, Watch};
use crate::ports::{Job, JobKind, PortError, PortErrorKind, PortResult, Prepared, TurnRequest};

/// How long a hook may take.
const HOOK_TIMEOUT: Duration = Duration::from_mins(1);

impl Pass<'_> {
    /// Makes the workspace, checks the base, then begins the opening turn or goes on from an
    /// earlier run's head.
    pub(super) async fn open(&mut self) -> PortResult<Acted> {
        let (repo, issue) = (self.run.issue.repo.clone(), self.run.issue.clone());
        if self.run.start.is_none() {
            let executor = &self.ports().executor;
            let (checkout, machine) = (executor.checkout(&repo)?, executor.machine(&repo)?);
            let left = self.left_behind().await?.map(|(_, left)| left.head);
            let (git, token) = (&self.ports().git, self.token());
            let Prepared { branch, base, on: head } = match checkout {
                Checkout::Ours => {
                    git.prepare(&repo, &issue, self.run.id, left.as_ref(), &token).await?
                }
                Checkout::Own => git.prepare_mirror(&repo, &token).await?,
            };
            let workflow = match self.read_workflow(&base).await? {
                Ok(workflow) => workflow.map(Box::new),
                Err(error) => {
                    let error = kept(&error.to_string());
                    return self.impede(Impediment::Policy { base, error }).await;
                }
            };
            let start = Start { branch, base, workflow, checkout, machine: Some(machine), head };
            self.commit(Transition::Opened { start }).await?;
            return Ok(Acted::Again);
        }
        if let Some(argv) = self.hook_of(|hooks| &hooks.after_create) {
            match self.hook("after_create", "0", argv).await? {
                None => return Ok(Acted::wait(Watch::Jobs, None)),
                Some(Ok(())) => {}
                Some(Err(why)) => return self.impede(Impediment::Hook { error: kept(&why) }).await,
            }
        }
        if !self.base_passes().await? {
            return Ok(match self.run.base_fails {
                Some(_) => Acted::Again,
                None => Acted::wait(Watch::Jobs, None),
            });
        }
        if self.run.start.as_ref().is_some_and(|start| start.head.is_some()) {
            return self.resume().await;
        }
        self.begin_turn(TurnCause::Opening).await
    }

    /// Records the next turn. The opening, a refusal and a red verdict open a new attempt, and so
    /// does a person's message after a landing; every other cause continues the newest attempt.
    pub(super) async fn begin_turn(&mut self, cause: TurnCause) -> PortResult<Acted> {
        let attempt = match cause {
            TurnCause::Opening | TurnCause::Refused | TurnCause::FixForward => true,
            TurnCause::Retry
            | TurnCause::Interrupted
            | TurnCause::LimitReset
            | TurnCause::AgentBack
            | TurnCause::CommitOrDiscard => false,
            // An attempt that landed is over; one that did not goes on.
            TurnCause::Said => {
                let newest = self.run.attempt().and_then(|attempt| attempt.candidates.last());
                newest.is_some_and(|candidate| candidate.landed_at.is_some())
            }
        };
        let reserved = self.run.budget_left();
        self.commit(Transition::TurnBegun { cause, reserved, attempt }).await?;
        Ok(Acted::Again)
    }

    /// Starts the recorded turn, or finds it by its key.
    pub(super) async fn start_turn(&mut self) -> PortResult<Acted> {
        let Some(turn) = self.run.turn().cloned() else { return Ok(Acted::Again) };
        let last = self.run.ends().filter(|ended| ended.started()).last();
        let killed = last.is_some_and(was_killed) && !self.run.agent_lands();
        if killed && !self.unlock(turn.n).await? {
            return Ok(Acted::wait(Watch::Jobs, None));
        }
        if let Some(argv) = self.hook_of(|hooks| &hooks.before_run) {
            match self.hook("before_run", &turn.n.to_string(), argv).await? {
                None => return Ok(Acted::wait(Watch::Jobs, None)),
                Some(Ok(())) => {}
                Some(Err(why)) => return self.impede(Impediment::Hook { error: kept(&why) }).await,
            }
        }
        let limits = self.config.limits(&self.repo);
        let used = elapsed(self.run.admitted_at, self.now(), &self.run.pauses);
        let permits = self.permits().await.unwrap_or_else(|error| {
            // The proof reads them again; without them the agent is only told less.
            tracing::warn!(run.id = %self.run.id, error = error.chain(), "permits unreadable");
            self.config.permits()
        });
        let (prompt, opening_prompt) = self.prompts(&permits);
        let request = TurnRequest {
            key: self.run.turn_key(turn.n),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            thread: self.run.id.thread(),
            n: turn.n,
            prompt,
            opening_prompt,
            budget: turn.reserved,
            deadline: limits.run.saturating_sub(used),
            network: self.repo.network.agent.clone(),
        };
        if self.brake.halted() {
            // The halt came after this pass observed: the next one plans with it.
            return Ok(Acted::Again);
        }
        if let Err(error) = self.ports().executor.start(&request).await {
            return Err(match error.kind {
                // The agent or its sign-in went away since the gates were queried. The run waits
                // for it; before the first turn the next query of the gates releases the run.
                PortErrorKind::NotFound | PortErrorKind::Auth => {
                    PortError::transient(error.chain())
                }
                PortErrorKind::Transient
                | PortErrorKind::RateLimited { .. }
                | PortErrorKind::Permanent
                | PortErrorKind::Cancelled => error,
            });
        }
        let (repo, key) = (request.repo, request.key);
        Ok(Acted::wait(Watch::Turn { repo, key }, Some(self.now())))
    }

    /// The command of a hook, if it is configured and the run has a clone to run it in.
    pub(super) fn hook_of(
        &self,
        which: impl Fn(&Hooks) -> &Option<Vec<String>>,
    ) -> Option<Vec<String>> {
        match self.run.checkout() {
            Checkout::Ours => which(&self.repo.hooks).clone(),
            Checkout::Own => None,
        }
    }

    /// The key of the job that runs a hook for `subject`.
    pub(super) fn hook_key(&self, name: &str, subject: &str) -> JobKey {
        JobKey::new(self.run.id, JobOf::Hook, &format!("{name}.{subject}"))
    }

    /// Runs a hook once per `subject`: none while it is under way.
    pub(super) async fn hook(
        &self,
        name: &str,
        subject: &str,
        argv: Vec<String>,
    ) -> PortResult<Option<Result<(), String>>> {
        let job = Job {
            key: self.hook_key(name, subject),
            run: self.run.id,
            repo: self.run.issue.repo.clone(),
            kind: JobKind::Hook,
            argv,
            timeout: HOOK_TIMEOUT,
            // A hook may run code that the agent left; there is no secret in its box.
            network: self.repo.network.agent.is_open(),
        };
        Ok(self.job(job).await?.map(|end| match (end.code, &end.could_not_run) {
            (Some(0), None) => Ok(()),
            (_, Some(why)) => Err(format!("hook {name} could not run: {why}")),
            (Some(code), None) => {
                Err(format!("hook {name} failed with exit code {code}: {}", end.tail.trim()))
            }
            (None, None) => Err(format!("hook {name} ended without an exit code")),
        }))
    }
}

impl Pass<'_> {
    /// The prompt of the turn, and the prompt for a thread that knows nothing yet. They are the
    /// same, with rules and issue, until a turn has finished, because before that the thread may
    /// not have them.
    fn prompts(&self, permits: &Permits) -> (String, String) {
        let branch = self.branch();
        let additions = self.additions(&branch);
        let lands = self.run.checkout().lands();
        let command = match &self.repo.verify {
            Verify::None => String::new(),
            Verify::Command(argv) => argv.join(" "),
        };
        let fetch = self.repo.proof.fetch.as_ref().map(|argv| argv.join(" "));
        let judged = JudgingBrief {
            verify: (self.repo.verify != Verify::None).then_some(command.as_str()),
            fetch: fetch.as_deref(),
            tests: &self.repo.proof.tests,
            exempt: &self.repo.proof.exempt,
            no_test_needed: permits.no_test_needed.is_some(),
            tests_may_change: permits.tests_may_change.is_some(),
        };
        let opening = Opening {
            run: self.run.id,
            issue: &self.run.issue,
            title: &self.run.pinned.title,
            body: &self.run.pinned.body,
            branch: &branch,
            lands,
            judged,
            workflow: additions.as_deref(),
        };
        let told = self.run.prompt_context();
        let words = told.map_or_else(String::new, |told| self.run.messages_for(told.about.n));
        let causes = [told.and_then(|told| told.broken), told.map(|told| told.about.cause)];
        let causes = causes.into_iter().flatten();
        let unfinished = self.run.attempt().map_or(&[][..], |one| one.unfinished.as_slice());
        let unfinished: Vec<_> = unfinished.iter().map(UnfinishedWork::sentence).collect();
        let causes = causes.filter_map(|cause| self.cause(cause, &words, &command, &unfinished));
        let causes: Vec<_> = causes.collect();
        let opening_prompt = if causes.is_empty() {
            prompt::opening(&opening)
        } else {
            prompt::corrective_on_fresh_thread(&opening, &causes)
        };
        if self.run.ends().any(|ended| matches!(ended.how, TurnEnd::Finished { .. })) {
            (prompt::corrective(self.run.id, lands, &causes), opening_prompt)
        } else {
            (opening_prompt.clone(), opening_prompt)
        }
    }

    /// What the prompt says about `cause`; none for the opening, which the prompt itself covers.
    fn cause<'a>(
        &'a self,
        cause: TurnCause,
        words: &'a str,
        command: &'a str,
        unfinished: &'a [String],
    ) -> Option<Cause<'a>> {
        match cause {
            TurnCause::Opening => None,
            TurnCause::Interrupted => Some(Cause::Interrupted),
            TurnCause::LimitReset => Some(Cause::LimitReset),
            TurnCause::Retry | TurnCause::AgentBack => {
                Some(Cause::Retry { error: self.last_error() })
            }
            TurnCause::Said => Some(Cause::Said { text: words }),
            TurnCause::CommitOrDiscard => {
                let paths = self.run.attempt().map_or(&[][..], |one| one.dirty.as_slice());
                Some(if unfinished.is_empty() {
                    Cause::Dirty { paths }
                } else {
                    Cause::Unfinished { what: unfinished, paths }
                })
            }
            TurnCause::Refused => {
                let refused = self.run.attempts.iter().rev().find_map(|a| a.refused.as_ref());
                refused.map(|refused| against(refused, command))
            }
            TurnCause::FixForward => self.run.landed().map(red),
        }
    }

    fn last_error(&self) -> &str {
        match self.run.ends().filter(|ended| ended.started()).last().map(|ended| &ended.how) {
            Some(
                TurnEnd::Failed { message }
                | TurnEnd::Hopeless { message }
                | TurnEnd::Unavailable { message, .. },
            ) => message,
            Some(TurnEnd::Stalled) => "it made no sound for too long and was stopped",
            Some(TurnEnd::Lost) => "its process was lost",
            Some(TurnEnd::Finished { .. } | TurnEnd::Interrupted | TurnEnd::Limited { .. })
            | None => "it did not come to its end",
        }
    }
}

/// Whether a turn with this end may have been stopped in the middle of a git command.
fn was_killed(ended: &EndedTurn) -> bool {
    match ended.how {
        TurnEnd::Failed { .. }
        | TurnEnd::Hopeless { .. }
        | TurnEnd::Stalled
        | TurnEnd::Lost
        | TurnEnd::Interrupted => true,
        TurnEnd::Finished { .. } | TurnEnd::Limited { .. } | TurnEnd::Unavailable { .. } => false,
    }
}

/// The cause of a corrective turn after a refusal.
fn against<'a>(refused: &'a AttemptRefusal, command: &'a str) -> Cause<'a> {
    match refused {
        AttemptRefusal { conflict: Some((base, paths)), .. } => Cause::Conflict { base, paths },
        AttemptRefusal { why: Refusal::Verify, output, .. } => Cause::Verify { command, output },
        AttemptRefusal { why: Refusal::Stage, detail, output, .. } => {
            Cause::Stage { why: detail, log: output }
        }
        AttemptRefusal { why: Refusal::Message, detail, .. } => Cause::Messages { why: detail },
        AttemptRefusal { detail, output, .. } => Cause::Proof { why: detail, output },
    }
}

/// The cause of a fix-forward: the red commit, and the log of the stage that failed.
fn red(landed: &Candidate) -> Cause<'_> {
    let failed = landed.stages.iter().find(|stage| stage.answer == StageAnswer::Failure);
    Cause::Red {
        commit: &landed.commit,
        stage: failed.map_or("", |stage| &stage.name),
        link: failed.and_then(|stage| stage.link.as_deref()),
        log: failed.and_then(|stage| stage.tail.as_deref()).unwrap_or_default(),
    }
}
