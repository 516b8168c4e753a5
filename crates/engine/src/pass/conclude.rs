//! The end of a run: the outcome with its reason, and everything that must follow.
//!
//! The outcome is committed first, with its doorbell and its freeze in the same
//! transaction. Its other effects are asked for again and again until the world
//! shows them; only then is the run settled and its repo free.

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::elapsed::deadline;
use afk_core::ids::At;
use afk_core::plan::{Alive, Candidate, End, Landed, RedCause, Situation, Turn, Work};
use afk_core::run::{Seen, Transition, TurnEnd};

use super::comment::Shown;
use super::{Acted, Next, Pass, Watch};
use crate::driver::later;
use crate::ports::{PortErrorKind, PortResult};

/// How soon what did not settle is tried again.
const SETTLING: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// How long after its end a run is held for an issue that its tracker does not have: a
/// forge says that of any, too, while it is out of order.
const GONE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// What became of the work that a run was to stop.
enum Stopped {
    /// Nothing is alive.
    Yes,
    /// That is awaited.
    NotYet,
    /// Something is, and its grace is over.
    Never,
}

impl Pass<'_> {
    /// Commits the outcome.
    pub(super) async fn conclude(&mut self, end: End, now: &Situation) -> PortResult<Acted> {
        let why = self.why(end, now);
        self.end(end, why).await
    }

    /// Ends the run because only a person can go on, once nothing of it is alive and it is
    /// known what became of its push, or time is over.
    pub(super) async fn hand_over(&mut self, mut why: String) -> PortResult<Acted> {
        match self.stop().await? {
            Stopped::Yes => {}
            Stopped::NotYet => return Ok(Acted::Rest(self.soon())),
            Stopped::Never => {
                why.push_str("; what the run had started could not be stopped");
                if self.run.sent().is_some() {
                    why.push_str(&self.unknown_push());
                }
                return self.end(End::Frozen, why).await;
            }
        }
        match self.find().await {
            Ok(None) => {}
            // Then its verdict is followed.
            Ok(Some(acted)) => return Ok(acted),
            Err(error) if error.kind == PortErrorKind::Cancelled => {
                return Ok(Acted::Rest(self.soon()));
            }
            Err(error) if !(self.is_over() || self.dropped) => return Err(error),
            Err(_) => why.push_str(&self.unknown_push()),
        }
        let end = match self.run.landed_now(&self.config.limits(&self.repo), self.now()) {
            Landed::Red { cause: RedCause::Ours, .. } | Landed::Pending { overdue: true } => {
                End::Frozen
            }
            Landed::Nothing
            | Landed::Pending { overdue: false }
            | Landed::Red { cause: RedCause::NotOurs, .. }
            | Landed::Void { .. }
            | Landed::Green { .. } => End::NeedsHuman,
        };
        self.end(end, why).await
    }

    /// Ends the run as `end` once nothing of it is alive.
    pub(super) async fn hand_over_as(&mut self, end: End, why: String) -> PortResult<Acted> {
        match self.stop().await? {
            Stopped::Yes => self.end(end, why).await,
            Stopped::NotYet => Ok(Acted::Rest(self.soon())),
            Stopped::Never => self.end(End::Frozen, why).await,
        }
    }

    /// Stops what of the run is alive. Its grace begins here only where time is over: until
    /// then its next plan says what becomes of it.
    async fn stop(&mut self) -> PortResult<Stopped> {
        if self.ports().jobs.alive(self.run.id).await?.is_empty() {
            return Ok(Stopped::Yes);
        }
        let told = self.ports().jobs.stop(self.run.id).await;
        if self.run.stopping_since.is_none() && self.is_over() {
            self.commit(Transition::Stopping).await?;
        }
        let grace = self.config.limits(&self.repo).stop_grace;
        let until = self.run.stopping_since.and_then(|at| deadline(at, grace, self.now(), &[]));
        if until.is_some_and(|until| until <= self.now()) {
            return Ok(Stopped::Never);
        }
        told.map(|()| Stopped::NotYet)
    }

    /// That nobody knows whether what was pushed landed.
    fn unknown_push(&self) -> String {
        let sent = self.run.sent().map_or("", |sent| sent.commit.short());
        format!("; it is not known whether {sent} landed on {}: look there first", self.branch())
    }

    async fn end(&mut self, end: End, why: String) -> PortResult<Acted> {
        let kind = match end {
            End::Done => Some(DoorbellKind::Done),
            End::NeedsHuman => Some(DoorbellKind::NeedsHuman),
            End::Frozen => Some(DoorbellKind::Frozen),
            End::Released => None,
        };
        let sends = kind.map(|kind| {
            Doorbell::new(&Ring {
                run: self.run.id,
                issue: &self.run.issue,
                kind,
                reason: Some(&why),
                detail: &why,
                link: None,
                nth: 0,
            })
        });
        let freeze = (end == End::Frozen && self.repo.freeze_repo).then(|| why.clone());
        let sends = sends.into_iter().collect();
        self.commit_with(Transition::Concluded { end, why }, sends, freeze).await?;
        Ok(Acted::Again)
    }

    /// Ensures every effect of the outcome, then settles the run.
    pub(super) async fn settle(&mut self, seen: &Seen) -> PortResult<Acted> {
        let Some(end) = self.run.conclusion.as_ref().map(|conclusion| conclusion.end) else {
            return Ok(Acted::Again);
        };
        let stopped = if seen.alive { self.ports().jobs.stop(self.run.id).await } else { Ok(()) };
        // Also beside what cannot be stopped: people must hear of it.
        match self.show(seen).await? {
            Shown::Already => {}
            // Shown only once the tracker itself says so.
            Shown::Wrote => return Ok(Acted::Again),
            Shown::Later(until) => return Ok(Acted::wait(Watch::Nothing, Some(until))),
        }
        stopped?;
        if seen.alive {
            return Ok(Acted::wait(Watch::Jobs, Some(later(self.now(), SETTLING))));
        }
        if seen.issue.is_none() && !self.is_gone().await? {
            return Ok(Acted::wait(Watch::Nothing, Some(later(self.now(), SETTLING))));
        }
        if let Some(argv) = self.repo.hooks.before_remove.clone().filter(|_| end == End::Done) {
            match self.hook("before_remove", "0", argv).await? {
                None => return Ok(Acted::wait(Watch::Jobs, None)),
                Some(Ok(())) => {}
                Some(Err(why)) => {
                    tracing::warn!(run.id = %self.run.id, why, "before_remove failed");
                }
            }
        }
        match self.remove_tries().await {
            // What only a person can mend is left to them, and the repo is not held for it.
            Err(error) if error.needs_a_person() => {
                tracing::warn!(run.id = %self.run.id, error = error.chain(), "try not removed");
            }
            removed => removed?,
        }
        if self.brake.halted() && !self.run.spent_tries().is_empty() {
            return Ok(Acted::wait(Watch::Nothing, Some(later(self.now(), SETTLING))));
        }
        let stages = self.config.limits(&self.repo).stages;
        self.ports().archive.keep(&self.run.evidence(stages.as_ref())).await?;
        let forensics = end.is_handed_back();
        if !self.dropped {
            let judged = self.judged().await?;
            let (repo, run) = (self.run.issue.repo.clone(), self.run.id);
            self.ports().git.release(&repo, run, &judged, forensics).await?;
        }
        self.commit(Transition::Settled).await?;
        Ok(Acted::Rest(Next::Settled))
    }

    /// Whether the tracker has no such issue, for good: then there is nothing to show it on.
    async fn is_gone(&self) -> PortResult<bool> {
        let ended = self.run.conclusion.as_ref().map_or(At::MAX, |conclusion| conclusion.at);
        if self.now() < later(ended, GONE) {
            return Ok(false);
        }
        match self.ports().tracker.issue(&self.run.issue).await {
            Err(error) if error.kind == PortErrorKind::NotFound => {
                tracing::warn!(run.id = %self.run.id, issue = %self.run.issue, "issue gone, its end is not shown");
                Ok(true)
            }
            Err(error) => Err(error),
            Ok(_) => Ok(false),
        }
    }

    /// Why the run ends, in a sentence for people.
    fn why(&self, end: End, now: &Situation) -> String {
        match end {
            End::Done => {
                let landed = self.run.landed().map_or("", |landed| landed.commit.short());
                format!("{landed} landed on {}, proved and green", self.branch())
            }
            End::Released => match &self.run.cancel {
                Some(cancel) => cancel.how.sentence().to_owned(),
                None => "a gate closed before the first turn".to_owned(),
            },
            End::NeedsHuman | End::Frozen => self.trouble(now),
        }
    }

    fn trouble(&self, now: &Situation) -> String {
        if now.alive != Alive::Nothing {
            return "what the run had started could not be stopped".to_owned();
        }
        if now.spent {
            return if self.run.spent() >= self.run.budget {
                format!("the budget of {} is spent", self.run.budget)
            } else {
                "the run's deadline has passed".to_owned()
            };
        }
        if let Some(cancel) = &self.run.cancel {
            return match self.run.landed().filter(|_| self.dropped) {
                Some(landed) => format!(
                    "the repository is not configured any more, so that nobody follows what \
                     landed as {}: see what its stages say",
                    landed.commit.short()
                ),
                None => cancel.how.sentence().to_owned(),
            };
        }
        match now.turn {
            Turn::Failed { .. } | Turn::Limited { .. } => self.turn_trouble(),
            Turn::Finished { work: Work::New(Candidate::Breached), .. } => {
                let report = self.run.candidate().and_then(|one| one.guardrails.as_ref());
                report.map_or_else(String::new, |report| {
                    format!("a guardrail is breached:\n{report}")
                })
            }
            Turn::Finished { work: Work::New(Candidate::Refused(_)), .. } => {
                let refused = self.run.attempt().and_then(|attempt| attempt.refused.as_ref());
                let times = self.run.refusals();
                refused.map_or_else(String::new, |refused| match times {
                    0 | 1 => refused.detail.clone(),
                    n => format!("{} (refused {n} times)", refused.detail),
                })
            }
            Turn::Finished { work: Work::New(Candidate::Pushed { .. }), .. } => self.unanswered(),
            Turn::Finished { work: Work::New(Candidate::Excused { .. }), .. } => {
                self.never_mended()
            }
            Turn::Finished { work: Work::Nothing, .. } => self.landed_trouble(now),
            Turn::None { .. }
            | Turn::NotStarted { .. }
            | Turn::Asking { .. }
            | Turn::Running { .. }
            | Turn::Unknown
            | Turn::Interrupted
            | Turn::Finished { work: Work::New(_), .. } => self.landed_trouble(now),
        }
    }

    fn turn_trouble(&self) -> String {
        let failures = self.run.failures_in_a_row();
        let how = self.run.turn().and_then(|turn| turn.ended.as_ref()).map(|ended| &ended.how);
        let what = match how {
            Some(TurnEnd::Failed { message } | TurnEnd::Hopeless { message }) => message.clone(),
            Some(TurnEnd::Stalled) => "the agent made no sound and was stopped".to_owned(),
            Some(TurnEnd::Lost) => "the agent's process was lost".to_owned(),
            Some(TurnEnd::Limited { .. }) => {
                return format!(
                    "a usage limit ended {} turns, one after the other: see what the account may \
                     use, or give the agent another credential, then label the issue again",
                    self.run.limits_in_a_row()
                );
            }
            Some(TurnEnd::Finished { .. } | TurnEnd::Interrupted) | None => {
                "the agent failed".to_owned()
            }
        };
        if failures > 1 { format!("{what} ({failures} times in a row)") } else { what }
    }

    /// What is the matter with what landed; without a landing, that nothing was committed.
    fn landed_trouble(&self, now: &Situation) -> String {
        let Some(landed) = self.run.landed() else {
            let said = self.run.turn().and_then(|turn| turn.ended.as_ref());
            let without = self.without_a_commit();
            return match said.map(|ended| &ended.how) {
                Some(TurnEnd::Finished { message }) if !message.trim().is_empty() => {
                    format!("{without} and said: {}", message.trim())
                }
                _ => without,
            };
        };
        let short = landed.commit.short();
        let limits = self.config.limits(&self.repo);
        if let Landed::Green { .. } = now.landed {
            return match self.run.evidence(limits.stages.as_ref()).is_complete() {
                Err(missing) => format!("{short} landed and is green, but {missing}"),
                Ok(()) => format!("{short} landed and is green"),
            };
        }
        let failed = landed
            .stages
            .iter()
            .find(|stage| stage.answer == afk_core::verdict::StageAnswer::Failure);
        match failed {
            Some(stage) => format!("stage {} is red on the landed commit {short}", stage.name),
            None => format!("the stages never answered for the landed commit {short}"),
        }
    }

    /// That nothing was committed where it counts, and where else something was.
    fn without_a_commit(&self) -> String {
        let left = self.run.attempt().and_then(|attempt| attempt.left.as_ref());
        let elsewhere = left.map_or(&[][..], |left| left.elsewhere.as_slice());
        if elsewhere.is_empty() {
            return "the agent stopped without a commit".to_owned();
        }
        format!(
            "the agent stopped without a commit on what it had checked out (its work on {} does \
             not count)",
            elsewhere.join(", ")
        )
    }
}
