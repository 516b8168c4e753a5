//! Runs a demo to its end and reports the result.

use afk_core::gates::Gate;
use afk_core::ids::{IssueRef, RunId};
use afk_core::plan::End;
use afk_core::run::Run;
use afk_engine::driver::{Drive, Until};
use afk_engine::ports::{Filter, JournalRow};
use tokio_util::sync::CancellationToken;

use super::error::DemoError;
use super::forge::Forge;
use super::setup::Demo;
use super::{DemoReport, Outcome, PhaseTime, Scenario, WaitingIssue, sample};

impl Demo {
    /// Lets the loop work until nothing is left to do; passes the demo's own steps to `tell`.
    pub async fn run(
        &self,
        shutdown: &CancellationToken,
        tell: &dyn Fn(String),
    ) -> Result<DemoReport, DemoError> {
        let restart = if self.scenario == Scenario::Restart {
            self.restarted(shutdown, tell).await?
        } else {
            let drive = Drive { dispatch: true, until: Until::Idle };
            self.app.engine.drive(drive, shutdown).await?;
            None
        };
        let ports = self.app.engine.ports();
        let newest = ports.store.runs(&Filter::default()).await?.into_iter().next();
        let journal = match &newest {
            Some(stored) => ports.store.journal(stored.run.id, 0).await?,
            None => Vec::new(),
        };
        let why = match &newest {
            Some(stored) => stored.run.conclusion.as_ref().map_or_else(
                || "it was stopped before its end".to_owned(),
                |conclusion| conclusion.why.clone(),
            ),
            None => match self.held(&self.issue).await?.why {
                none if none.is_empty() => "it was stopped before it began".to_owned(),
                why => why,
            },
        };
        let held = match &self.next_issue {
            Some(next) => Some(self.held(next).await?),
            None => None,
        };
        let run = newest.map(|stored| stored.run);
        let mut report = self.report(run.as_ref(), &journal, why);
        report.as_expected &= match self.scenario {
            Scenario::Restart => restart.as_ref().is_some_and(|seen| seen.agent_went_on),
            Scenario::Frozen => held.as_ref().is_some_and(|held| held.gates == [Gate::Freeze]),
            Scenario::Success
            | Scenario::Tested
            | Scenario::CiRed
            | Scenario::NeedsHuman
            | Scenario::Guardrail
            | Scenario::Blocked
            | Scenario::Untrusted => true,
        };
        let forge = self.forge.as_ref().map(Forge::seen);
        report.as_expected &= forge.as_ref().is_none_or(|seen| seen.mistakes.is_empty());
        if let Some(script) = self.next_issue.as_ref().and(sample::next_script(self.scenario)) {
            // For a person who lifts the freeze and lets the loop continue.
            self.write_script(&script)?;
        }
        Ok(DemoReport { forge, held, restart, ..report })
    }

    /// Asks the gates why the issue is not dispatched.
    async fn held(&self, issue: &IssueRef) -> Result<WaitingIssue, DemoError> {
        let brake = afk_engine::switches::Brake::new(CancellationToken::new());
        brake.read(self.app.engine.ports()).await;
        let dispatcher = afk_core::gates::Dispatcher::Loop;
        let said = self.app.engine.explain(issue, dispatcher, &brake).await?;
        let (gates, refusals): (_, Vec<String>) =
            said.refusals().map(|refusal| (refusal.gate, refusal.why.clone())).unzip();
        Ok(WaitingIssue { issue: issue.clone(), gates, why: refusals.join("; ") })
    }

    fn report(&self, run: Option<&Run>, journal: &[JournalRow], why: String) -> DemoReport {
        let outcome = match run.map(|run| run.conclusion.as_ref().map(|end| end.end)) {
            None => Outcome::Waiting,
            Some(Some(End::Done)) => Outcome::Done,
            Some(Some(End::NeedsHuman)) => Outcome::NeedsHuman,
            Some(Some(End::Frozen)) => Outcome::Frozen,
            Some(Some(End::Withdrawn) | None) => Outcome::Released,
        };
        let evidence = |run: RunId| Some(self.app.archive.path(run)).filter(|path| path.exists());
        let mut phases = vec![PhaseTime { phase: "setup", ms: self.setup_ms }];
        phases.extend(phase_times(journal));
        DemoReport {
            scenario: self.scenario,
            outcome,
            as_expected: outcome == self.scenario.expected(),
            agent: self.agent.name(),
            run: run.map(|run| run.id),
            issue: self.issue.clone(),
            commit: run.and_then(Run::landed).map(|landed| landed.commit.clone()),
            attempts: run.map_or(0, |run| run.attempts.len() as u32),
            forge: None,
            held: None,
            restart: None,
            evidence: run.and_then(|run| evidence(run.id)),
            why,
            folder: self.folder.clone(),
            sandbox: self.app.capabilities.to_string(),
            phases,
            wall_ms: self.begun.elapsed().as_millis() as u64,
        }
    }
}

/// The time between journal rows, summed by phase.
fn phase_times(journal: &[JournalRow]) -> Vec<PhaseTime> {
    let mut times: Vec<PhaseTime> = Vec::new();
    let mut phase = "workspace";
    for pair in journal.windows(2) {
        let [before, after] = pair else { continue };
        phase = match after.kind.as_str() {
            "opened" => "workspace",
            // These may occur in any phase.
            "labels_seen" | "paused" | "unpaused" | "try_removed" => phase,
            "turn_begun" | "turn_ended" => "turn",
            "inspected" | "integrated" | "guarded" => "integrate",
            "proved" | "refused" => "proof",
            "push_begun" | "not_landed" | "landed" => "land",
            "stage_answered" | "attributed" | "try_begun" | "try_pushed" | "candidate_answered" => {
                "stages"
            }
            _ => "close",
        };
        let ms = after.at.duration_since(before.at).as_millis().max(0) as u64;
        match times.iter_mut().find(|time| time.phase == phase) {
            Some(time) => time.ms += ms,
            None => times.push(PhaseTime { phase, ms }),
        }
    }
    times
}
