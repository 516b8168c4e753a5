//! Why a run ends, in sentences for people: kept in the journal, shown in the comment, sent with
//! the doorbell.
//!
//! How a run ends is decided by the plan. Outcome and reason follow from the record and from what
//! the pass saw, so that a replay gives both again.

use super::{Candidate, Limits, Observation, Run, TurnEnd, UnfinishedWork};
use crate::impediment::Impediment;
use crate::message::RUN_TRAILER;
use crate::plan::{
    self, Alive, End, EvidenceState, Gates, Landed, Obstacle, Situation, TurnState, Work,
    WorkspaceState,
};
use crate::verdict::StageAnswer;

impl Run {
    /// Returns why the run ends as `end`, which is the plan for the situation `now`.
    pub fn ended_because(
        &self,
        end: End,
        seen: &Observation,
        limits: &Limits,
        now: &Situation,
    ) -> String {
        let why = match end {
            End::Done => {
                let landed = self.landed().map_or("", |landed| landed.commit.short());
                format!("{landed} landed on {}, proved and green", self.branch())
            }
            End::Withdrawn => self.let_go_because(),
            End::NeedsHuman | End::Frozen => self.stopped_because(seen, limits, now),
        };
        let alive = now.alive != Alive::Nothing;
        let alive = alive.then(|| "what the run had started could not be stopped".to_owned());
        let unknown = (now.push_unconfirmed && now.remote_unreadable).then(|| {
            let sent =
                self.unconfirmed_push().map_or("what the agent did", |push| push.commit.short());
            let branch = self.branch();
            format!("it is not known whether {sent} landed on {branch}: look there first")
        });
        let unread = (now.remote_unreadable && !now.push_unconfirmed && self.landed().is_some())
            .then(|| {
                let landed = self.landed().map_or("", |landed| landed.commit.short());
                let branch = self.branch();
                format!("it could not be read whether {landed} still stands on {branch}")
            });
        let unknown = unknown.or(unread);
        let unanswered = now.landed == (Landed::Pending { overdue: true });
        let late = (now.spent && !self.lacks_money(now)) || unanswered;
        let late = late && end.is_handed_over();
        let wanted = late || alive.is_some() || unknown.is_some();
        let error = self.last_error(seen).filter(|error| wanted && !why.contains(error.trim()));
        let error = error.map(|error| format!("the last error was: {}", error.trim()));
        let parts = [Some(why), alive, unknown, error].into_iter().flatten();
        parts.collect::<Vec<_>>().join("; ")
    }

    /// The error that persists: of the pass, of an impediment, of a push, or of the newest turn.
    fn last_error(&self, seen: &Observation) -> Option<String> {
        let turn = || match &self.turn()?.ended.as_ref()?.how {
            TurnEnd::Failed { message }
            | TurnEnd::Hopeless { message }
            | TurnEnd::Unavailable { message, .. } => Some(message.clone()),
            TurnEnd::Stalled
            | TurnEnd::Lost
            | TurnEnd::Interrupted
            | TurnEnd::Limited { .. }
            | TurnEnd::Finished { .. } => None,
        };
        let of_pass = seen.remote_unreadable.clone().or_else(|| seen.broke_off.clone());
        let impediment = || self.impediment().map(Impediment::sentence);
        let push = || self.unpushed().map(|(what, _)| what);
        of_pass.or_else(impediment).or_else(push).or_else(turn)
    }

    /// Whether a spent run ends for lack of money, and not of time. What landed and is green only has
    /// to be proved, which costs nothing.
    fn lacks_money(&self, now: &Situation) -> bool {
        self.spent() >= self.budget && !matches!(now.landed, Landed::Green { .. })
    }

    fn let_go_because(&self) -> String {
        match (&self.cancel, &self.base_fails) {
            (Some(cancel), _) => cancel.how.sentence().to_owned(),
            (None, Some(why)) => why.clone(),
            (None, None) => "a gate closed before the first turn".to_owned(),
        }
    }

    /// Why a person has to take over, in the order of the plan's rows.
    fn stopped_because(&self, seen: &Observation, limits: &Limits, now: &Situation) -> String {
        if let Some(impediment) = self.impediment().filter(|_| now.obstacle != Obstacle::Nothing) {
            return impediment.sentence();
        }
        if now.landed == (Landed::Green { evidence: EvidenceState::Refused }) {
            return self.landed_because(limits, now);
        }
        if now.spent {
            return if self.lacks_money(now) {
                format!("the budget of {} is spent", self.budget)
            } else {
                "the run's deadline has passed".to_owned()
            };
        }
        if let Some(cancel) = &self.cancel {
            return match self.landed().filter(|_| seen.dropped) {
                Some(landed) => format!(
                    "the repository is no longer configured, so that nobody follows what \
                     landed as {}: see what its stages say",
                    landed.commit.short()
                ),
                None => cancel.how.sentence().to_owned(),
            };
        }
        match now.turn {
            TurnState::None { gates: Gates::Refused } => self.let_go_because(),
            TurnState::Failed { .. }
            | TurnState::Limited { .. }
            | TurnState::Unavailable { .. } => self.turn_because(),
            TurnState::Finished { workspace: WorkspaceState::Unfinished, .. } => {
                self.unfinished_because()
            }
            TurnState::Finished { work: Work::New(candidate), .. } => {
                self.candidate_because(candidate, limits, now)
            }
            TurnState::None { gates: Gates::Open | Gates::Unreadable }
            | TurnState::NotStarted { .. }
            | TurnState::Asking { .. }
            | TurnState::Running { .. }
            | TurnState::Unknown
            | TurnState::Interrupted
            | TurnState::Finished { work: Work::Nothing, .. } => self.landed_because(limits, now),
        }
    }

    /// Names the git work that the agent left unfinished although it was asked about it.
    fn unfinished_because(&self) -> String {
        let left = self.attempt().and_then(|attempt| attempt.left.as_ref());
        let left = left.map_or(&[][..], |left| left.unfinished.as_slice());
        let what: Vec<_> = left.iter().map(UnfinishedWork::sentence).collect();
        format!(
            "the agent was asked to finish its work in git or to drop it, and did neither ({}); \
             nothing of it landed, and its workspace is kept",
            what.join(", ")
        )
    }

    fn turn_because(&self) -> String {
        let failures = self.failures_in_a_row();
        let how = self.turn().and_then(|turn| turn.ended.as_ref()).map(|ended| &ended.how);
        let what = match how {
            Some(TurnEnd::Failed { message } | TurnEnd::Hopeless { message }) => message.clone(),
            Some(TurnEnd::Stalled) => "the agent went silent and was stopped".to_owned(),
            Some(TurnEnd::Lost) => "the agent's process was lost".to_owned(),
            Some(TurnEnd::Unavailable { message, .. }) => {
                let since = self.unavailable().map(|found| found.since);
                let since = since.map_or_else(String::new, |at| format!(" since {at:.0}"));
                return format!("{message} (waited for{since})");
            }
            Some(TurnEnd::Limited { .. }) => {
                return format!(
                    "a usage limit ended {} consecutive turns: check what the account may \
                     use, or give the agent another credential, then label the issue again",
                    self.limits_in_a_row()
                );
            }
            Some(TurnEnd::Finished { .. } | TurnEnd::Interrupted) | None => {
                "the agent failed".to_owned()
            }
        };
        if failures > 1 { format!("{what} ({failures} times in a row)") } else { what }
    }

    /// What speaks against the candidate.
    fn candidate_because(
        &self,
        candidate: plan::CandidateState,
        limits: &Limits,
        now: &Situation,
    ) -> String {
        let said = match candidate {
            plan::CandidateState::Breached => {
                let report = self.candidate().and_then(|one| one.guardrails.as_ref());
                report.map(|report| format!("a guardrail is breached:\n{report}"))
            }
            plan::CandidateState::Refused(_) => {
                let refused = self.attempt().and_then(|attempt| attempt.refused.as_ref());
                let why = refused.map(|refused| match self.refusals() {
                    0 | 1 => refused.detail.clone(),
                    n => format!("{} (refused {n} times)", refused.detail),
                });
                let newest = self.attempt().and_then(|attempt| attempt.candidates.last());
                let proof = newest.and_then(|one| one.proof.as_ref());
                why.map(|why| match proof.and_then(|proof| Some((proof, proof.permit.as_ref()?))) {
                    Some((proof, label)) => permitted_by(&why, label, proof.unheeded.as_deref()),
                    None => why,
                })
            }
            plan::CandidateState::Pushed { .. } => self.unanswered(limits),
            plan::CandidateState::Excused { .. } => self.base_stayed_red(limits),
            plan::CandidateState::Unmerged
            | plan::CandidateState::Unjudged { .. }
            | plan::CandidateState::Clear
            | plan::CandidateState::Untried
            | plan::CandidateState::PullRequestUnopened
            | plan::CandidateState::PullRequestOpen
            | plan::CandidateState::PullRequestMerged => Some(self.landed_because(limits, now)),
        };
        said.unwrap_or_default()
    }

    /// Says which stage gave no usable answer about the candidate on its own branch.
    fn unanswered(&self, limits: &Limits) -> Option<String> {
        let candidate = self.candidate()?;
        let (name, about) = (awaited(candidate, limits)?, self.on_its_branch(candidate));
        Some(match candidate.stage(name) {
            Some(void) if void.answer == StageAnswer::Void => format!(
                "stage {name} could not run on {about}, tried {} times, so it did not land: {}",
                void.again + 1,
                void.tail.as_deref().unwrap_or_default().trim()
            ),
            Some(failed) if failed.answer == StageAnswer::Failure => format!(
                "stage {name} fails on {about}, and it is not known whether it fails on its base, \
                 too, so it did not land"
            ),
            Some(_) => format!(
                "stage {name} did not finish within {} minutes on {about}, so it did not land",
                limits.stage.as_secs() / 60
            ),
            None => format!(
                "stage {name} gave no answer within {} minutes about {about}, so it did not land: \
                 nothing of it was ever there",
                limits.candidate.as_secs() / 60
            ),
        })
    }

    /// Says that nobody fixed the base, which fails as the candidate does.
    fn base_stayed_red(&self, limits: &Limits) -> Option<String> {
        let candidate = self.candidate()?;
        let base = candidate.red_bases.last().unwrap_or(&candidate.base);
        Some(format!(
            "stage {} fails on {}, and on {} of {branch}, too, which nobody fixed within {} \
             minutes, so it did not land: mend {branch}, then label the issue again",
            awaited(candidate, limits)?,
            self.on_its_branch(candidate),
            base.short(),
            limits.stage.as_secs() / 60,
            branch = self.branch()
        ))
    }

    /// The newest candidate, for people, and the branch on which it was tested.
    fn on_its_branch(&self, candidate: &Candidate) -> String {
        let branch = self.candidates().last().map(|(n, _)| self.try_branch(n));
        format!("{} on {}", candidate.commit.short(), branch.unwrap_or_default())
    }

    /// What is wrong with what landed; without a landing, that nothing was committed.
    fn landed_because(&self, limits: &Limits, now: &Situation) -> String {
        let Some(landed) = self.landed() else {
            let said = self.turn().and_then(|turn| turn.ended.as_ref());
            let without = self.without_a_commit();
            return match said.map(|ended| &ended.how) {
                Some(TurnEnd::Finished { message }) if !message.trim().is_empty() => {
                    format!("{without} and said: {}", message.trim())
                }
                _ => without,
            };
        };
        let short = landed.commit.short();
        if let Landed::Green { .. } = now.landed {
            // Where the agent landed it by itself, it was judged too late to refuse it.
            if let Some(report) = landed.guardrails.as_ref().filter(|report| !report.passed()) {
                return format!(
                    "{short} landed and is green, but a guardrail is breached:\n{report}"
                );
            }
            if let Some(proof) = landed.proof.as_ref().filter(|proof| !proof.accepted()) {
                return format!(
                    "{short} landed and is green, but not proved: {}",
                    proof.headline()
                );
            }
            return match self.evidence(limits.stages.as_ref()).is_complete() {
                Err(missing) => format!("{short} landed and is green, but {missing}"),
                Ok(()) => format!("{short} landed and is green"),
            };
        }
        match landed.stages.iter().find(|stage| stage.answer == StageAnswer::Failure) {
            Some(stage) => format!("stage {} is red on the landed commit {short}", stage.name),
            None => format!("the stages never answered for the landed commit {short}"),
        }
    }

    /// Says that nothing was committed where it counts, and where else something was.
    fn without_a_commit(&self) -> String {
        if self.agent_lands() {
            return format!(
                "the agent stopped, and no commit on {} carries the trailer {RUN_TRAILER}: {}",
                self.branch(),
                self.id
            );
        }
        let left = self.attempt().and_then(|attempt| attempt.left.as_ref());
        let elsewhere = left.map_or(&[][..], |left| left.elsewhere.as_slice());
        if elsewhere.is_empty() {
            return "the agent stopped without a commit".to_owned();
        }
        format!(
            "the agent stopped without a commit on the branch that it had checked out (its work on {} does \
             not count)",
            elsewhere.join(", ")
        )
    }

    /// The default branch; empty until the workspace was created.
    pub fn branch(&self) -> &str {
        self.start.as_ref().map_or("", |start| &start.branch)
    }
}

/// Returns `why`, and what a trusted person can do about it with `label`. `unheeded` says why the
/// label has no effect although it is on the issue.
fn permitted_by(why: &str, label: &str, unheeded: Option<&str>) -> String {
    let how = match unheeded {
        Some(unheeded) => format!(
            "; the label {label} is on the issue and allows nothing, because {unheeded}: a trusted \
             person has to put it on"
        ),
        None if why.contains(label) => String::new(),
        None => format!("; to let it land as it is, put the label {label} on the issue"),
    };
    format!("{why}{how}; then `/afk retry` goes on from the same head without another paid turn")
}

/// The first stage that must pass before landing and has not.
fn awaited<'a>(candidate: &Candidate, limits: &'a Limits) -> Option<&'a str> {
    let passed = |name: &str| {
        candidate.stage(name).is_some_and(|known| known.answer == StageAnswer::Success)
    };
    let mut names = limits.before_landing.as_ref()?.names().iter();
    names.find(|name| !passed(name)).map(String::as_str)
}
