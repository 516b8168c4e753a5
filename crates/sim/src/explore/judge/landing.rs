//! The default branches: what came to them, by whom, and whether it was proved.

use afk_core::ids::{Oid, RepoName, RunId};
use afk_core::message::{ATTEMPT_TRAILER, RUN_TRAILER, trailer};
use afk_core::run::Run;

use super::{By, Judge};
use crate::world::World;

impl Judge {
    pub(super) fn landings(&mut self, world: &World, by: Option<By>) {
        for (repo, head) in &world.git.remotes {
            let before = self.heads.insert(repo.clone(), head.clone());
            if before.as_ref() == Some(head) {
                continue;
            }
            let mut at = Some(head.clone());
            while let Some(id) = at.filter(|id| Some(id) != before.as_ref()) {
                let Some(commit) = world.git.commits.get(&id) else { break };
                let of = trailer(&commit.message, RUN_TRAILER)
                    .zip(trailer(&commit.message, ATTEMPT_TRAILER));
                if let Some((run, attempt)) = of {
                    let (run, attempt) = (run.to_owned(), attempt.to_owned());
                    self.landed(world, repo, &id, (run, attempt), by);
                }
                at = commit.parents.first().cloned();
            }
        }
    }

    fn landed(
        &mut self,
        world: &World,
        repo: &RepoName,
        id: &Oid,
        of: (String, String),
        by: Option<By>,
    ) {
        self.not_halted(by, "a push was made");
        let run = of.0.parse::<RunId>().ok().and_then(|run| self.runs.get(&run));
        let run = run.and_then(|(_, run)| run.as_ref());
        let candidate = run.and_then(Run::candidate).filter(|one| one.commit == *id);
        let clear = candidate.is_some_and(|one| {
            one.guardrails.as_ref().is_some_and(afk_core::guardrails::GuardrailReport::passed)
                && one.proof.as_ref().is_some_and(afk_core::proof::ProofReport::accepted)
        });
        let passes = world.git.commits.get(id).is_some_and(|commit| world.verifies(&commit.tree));
        if !clear || !passes {
            self.wrong.push(format!("{id} landed on {repo} unproved"));
        }
        if let (Some(run), Some(by)) = (run, by)
            && self.truth.shut(&run.issue, by.tick).contains(&"freeze")
        {
            self.wrong.push(format!("{id} landed on {repo}, which is frozen"));
        }
        if !self.landings.insert(of) {
            self.wrong.push(format!("an attempt landed on {repo} twice"));
        }
    }
}
