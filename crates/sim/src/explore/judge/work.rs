//! Judges turns and jobs: who may start which, what they may cost, and which may be alive.

use afk_core::ids::JobOf;
use afk_core::run::Run;
use afk_engine::ports::JobState;

use super::{By, Judge};
use crate::world::{TurnState, World};

impl Judge {
    /// Judges turns. Two agents on one repo are refused by the world itself.
    pub(super) fn turns(&mut self, world: &World, by: Option<By>) {
        for (key, turn) in &world.agents.turns {
            let request = &turn.request;
            if turn.state == TurnState::Running || turn.lingers {
                let settled = self.runs.get(&request.run).and_then(|(_, run)| run.as_ref());
                if settled.is_none_or(|run| run.settled_at.is_some()) {
                    self.wrong
                        .push(format!("{key} is alive although its run has settled or is unknown"));
                }
            }
            if !self.turns.insert(key.clone()) {
                continue;
            }
            self.not_halted(by, "a turn was started");
            let run = self.runs.get(&request.run).and_then(|(_, run)| run.as_ref());
            let first =
                !world.agents.turns.values().any(|other| {
                    other.request.run == request.run && other.request.key != request.key
                });
            if let (true, Some(run), Some(by)) = (first, run, by) {
                for gate in self.truth.shut(&run.issue, by.tick) {
                    self.wrong
                        .push(format!("{key} was started although the gate {gate} was closed"));
                }
            }
            let base = run.and_then(|run| run.start.as_ref()).map(|start| &start.base);
            let base = base.and_then(|base| world.git.commits.get(base));
            if first && base.is_some_and(|base| !world.verifies(&base.tree)) {
                self.wrong.push(format!("{key} was started although verify fails on its base"));
            }
            let recorded = run.and_then(Run::turn).is_some_and(|t| t.n == request.n);
            if !recorded {
                self.wrong.push(format!("{key} was started and is not recorded"));
            }
            let reserved = run.and_then(Run::turn).map(|turn| turn.reserved);
            if reserved.is_none_or(|reserved| reserved < request.budget) {
                self.wrong.push(format!("{key} may spend more than is reserved"));
            }
            let all = world.agents.turns.values().filter(|other| other.request.run == request.run);
            let ended = all.filter(|other| other.state != TurnState::Running);
            let spent: u64 = ended.map(|other| other.script.cost.as_micros()).sum();
            let most = self.budgets.get(&request.run).copied().unwrap_or_default();
            if spent + request.budget.as_micros() > spent.max(most.as_micros()) {
                self.wrong.push(format!("{} may spend more than its budget", request.run));
            }
        }
    }

    pub(super) fn jobs(&mut self, world: &World, by: Option<By>) {
        for key in world.jobs.started.iter().skip(self.jobs) {
            if key.of() != Some(JobOf::Hook) {
                self.not_halted(by, "a job was started");
            }
            let of = |run: &&Run| key.as_str().contains(&run.id.to_string());
            let settled = self.known().find(of).and_then(|run| run.settled_at);
            if settled.zip(by).is_some_and(|(at, by)| by.since <= at) {
                self.strays.insert(key.clone());
            }
            let starts = self.starts.entry(key.clone()).or_insert(0);
            *starts += 1;
            // Each of a scenario's few halts, crashes and losses may cost one more start.
            if *starts > 12 {
                self.wrong.push(format!("{key} was started {starts} times"));
            }
        }
        self.jobs = world.jobs.started.len();
        for ((run, key), job) in &world.jobs.jobs {
            let settled = self.runs.get(run).and_then(|(_, run)| run.as_ref());
            let over = settled.is_some_and(|run| run.settled_at.is_some());
            let alive = matches!(job.state, JobState::Running) && !self.strays.contains(key);
            if over && alive {
                self.wrong.push(format!("{key} is alive and its run is settled"));
            }
        }
    }
}
