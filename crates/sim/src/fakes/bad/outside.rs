//! What known-bad loops see of agents, jobs, git and doorbells, and do to them.

use std::collections::BTreeMap;

use afk_core::ids::{JobKey, JobOf, RunId};
use afk_core::message::{RUN_TRAILER, trailer};
use afk_core::run::{Run, TurnEnd};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::TurnRequest;

use super::Bad;
use super::bends::{
    bases_pass, bending, landings_back, on_everything, proves_again, stages_pass, undoing,
};
use crate::world::{GitCommit, HookSays, TurnState, World, own};

/// Whether a webhook that was received says that a stage has passed.
fn passed(world: &World) -> bool {
    let says =
        |says: &HookSays| matches!(says, HookSays::Stage { answer: StageAnswer::Success, .. });
    world.hooks.received.iter().any(|received| says(&received.hook.says))
}

impl Bad {
    pub(super) fn around_outside<T>(
        self,
        world: &mut World,
        name: &str,
        act: impl FnOnce(&mut World) -> T,
    ) -> T {
        match (self, name) {
            (Self::MachineIgnored, "executor.ready" | "executor.start") => {
                bending(world, |world| &mut world.agents.missing, |missing| *missing = false, act)
            }
            (Self::ClosesOnADroppedCommit, "git.landed") => landings_back(world, act),
            (Self::MergesAPurgedBase, "git.contains") => on_everything(world, act),
            (Self::BuildsOnForeign, "git.commits") => {
                let foreign = world.git.foreign.clone();
                let unnamed = |commits: &mut BTreeMap<_, GitCommit>| {
                    for id in &foreign {
                        commits.entry(id.clone()).and_modify(|one| one.message.clear());
                    }
                };
                bending(world, |world| &mut world.git.commits, unnamed, act)
            }
            (Self::BundleLost, "archive.keep") => undoing(world, |world| &mut world.archive, act),
            (Self::TriesLeft, "git.remove_branch") => {
                undoing(world, |world| &mut world.git.branches, act)
            }
            (Self::ProvesForEver, "jobs.observe") => proves_again(world, act),
            (Self::SpendsOnARedBase, "jobs.observe") => bases_pass(world, act),
            (Self::JudgesUnfetched, "jobs.fetched") => {
                bending(world, |world| &mut world.jobs.all_fetched, |all| *all = true, act)
            }
            (Self::VoidIsGreen, "jobs.observe") => stages_pass(world, 127, act),
            (Self::RedIsGreen, "jobs.observe") => stages_pass(world, 1, act),
            (Self::ConcludesOverTheLiving, "jobs.alive") => {
                let rest = |world: &mut World| {
                    bending(world, |world| &mut world.jobs.jobs, BTreeMap::clear, act)
                };
                bending(world, |world| &mut world.agents.turns, BTreeMap::clear, rest)
            }
            (Self::FarTurnBelievedDead, "executor.alive") => {
                bending(world, |world| &mut world.agents.turns, BTreeMap::clear, act)
            }
            (Self::PendingIsGreen, "stages.poll") => {
                bending(world, |world| &mut world.stages.lenient, |lenient| *lenient = true, act)
            }
            (Self::PollsAllTheTime, "stages.poll") => {
                let answer = act(world);
                world.stages.polls.extend(world.stages.polls.last().cloned());
                answer
            }
            (Self::StageHookBelieved, "stages.poll") if passed(world) => {
                bending(world, |world| &mut world.stages.lenient, |lenient| *lenient = true, act)
            }
            (Self::OpensAnotherPull, "pullrequests.open") => {
                world.pulls.pulls.clear();
                act(world)
            }
            (Self::BellsLost, "doorbells.ring") => {
                undoing(world, |world| &mut world.doorbells.rung, act)
            }
            (Self::DispatchBeforeRecord | Self::LabelBeforeThread, "git.prepare") => {
                let answer = act(world);
                self.too_early(world);
                answer
            }
            (Self::CompletedIsSuccess, "executor.observe") => {
                let answer = act(world);
                let finished = world.agents.turns.values().filter(|turn| {
                    matches!(turn.state, TurnState::Ended(TurnEnd::Finished { .. }))
                });
                let runs: Vec<RunId> = finished.map(|turn| turn.request.run).collect();
                for run in runs {
                    if let Some(issue) = world.store.runs.get(&run).map(|k| k.run.issue.clone()) {
                        world.set_open(&issue, false, &own());
                    }
                }
                answer
            }
            (Self::PushesUnmarked, "git.push") => {
                let pushed = world.git.past_heads.len();
                let answer = act(world);
                for head in world.git.past_heads.iter().skip(pushed) {
                    if let Some(commit) = world.git.commits.get_mut(head) {
                        commit.message = String::from("Do the work\n");
                    }
                }
                answer
            }
            (Self::LandsUnproved, "git.push") => {
                let before = world.git.remotes.clone();
                let answer = act(world);
                for (repo, head) in world.git.remotes.clone() {
                    let message = world.git.commits.get(&head).map(|commit| commit.message.clone());
                    let ours = message.is_some_and(|text| trailer(&text, RUN_TRAILER).is_some());
                    if ours && before.get(&repo) != Some(&head) {
                        world.amend_default(&repo, "src/unproved", "x");
                    }
                }
                answer
            }
            _ => act(world),
        }
    }

    /// Does as soon as there is a workspace what should come later: a label, or the first turn.
    fn too_early(self, world: &mut World) {
        let fresh = world.store.runs.values().map(|kept| &kept.run).filter(|run| {
            let there = world.git.workspaces.contains_key(&run.id);
            there && run.start.is_none() && run.settled_at.is_none()
        });
        let fresh: Vec<Run> = fresh.cloned().collect();
        for run in fresh {
            if self == Self::LabelBeforeThread {
                let label = world.config.in_progress_label.clone();
                world.set_label(&run.issue, &label, true, &own());
                continue;
            }
            let request = TurnRequest {
                key: JobKey::new(run.id, JobOf::Turn, "1"),
                run: run.id,
                repo: run.issue.repo.clone(),
                thread: run.id.thread(),
                n: 1,
                prompt: String::new(),
                opening_prompt: String::new(),
                budget: run.budget,
                deadline: std::time::Duration::from_mins(10),
                network: afk_core::network::AgentNetwork::Open,
            };
            // The judge sees whether it started.
            let _ = world.start_turn(&request);
        }
    }
}
