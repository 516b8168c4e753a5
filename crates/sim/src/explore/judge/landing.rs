//! Judges the default branches: what was pushed to them, by whom, and whether it was proved.

use afk_core::ids::{Oid, RepoName, RunId};
use afk_core::message::{ATTEMPT_TRAILER, RUN_TRAILER, trailer};
use afk_core::plan::End;
use afk_core::run::{Candidate, Conclusion, Run};

use super::{By, Judge};
use crate::world::{BREAKS, VOIDS, World};

impl Judge {
    pub(super) fn landings(&mut self, world: &World, by: Option<By>) {
        for (repo, head) in &world.git.remotes {
            let before = self.heads.insert(repo.clone(), head.clone());
            if before.as_ref() == Some(head) {
                continue;
            }
            if let Some(before) = before.as_ref().filter(|before| !world.git.contains(head, before))
            {
                self.taken_out(world, head, before);
            }
            let old = |id: &Oid| before.as_ref().is_some_and(|old| world.git.contains(old, id));
            let mut at = Some(head.clone());
            while let Some(id) = at.filter(|id| !old(id)) {
                let Some(commit) = world.git.commits.get(&id) else { break };
                let of = trailer(&commit.message, RUN_TRAILER)
                    .zip(trailer(&commit.message, ATTEMPT_TRAILER));
                if super::pulls::is_merged(world, &id) {
                    // People landed it, as they were asked to.
                } else if world.agents.far.contains(repo) {
                    // A commit that names a run there counts as its agent's, and is judged at rest.
                } else if let (Some((run, _)), None) = (of, by) {
                    // No control plane made this step, so the commit only claims to be the run's.
                    self.forged.extend(run.parse::<RunId>().map(|run| (id.clone(), run)));
                } else if let Some((run, attempt)) = of {
                    let (run, attempt) = (run.to_owned(), attempt.to_owned());
                    self.landed(world, repo, &id, (run, attempt), by);
                }
                at = commit.parents.first().cloned();
            }
        }
    }

    /// Forgets the landings that people took out of a default branch: they may land again, and
    /// nobody has to know that they ever did.
    fn taken_out(&mut self, world: &World, head: &Oid, before: &Oid) {
        let mut at = Some(before.clone());
        while let Some(id) = at.filter(|id| !world.git.contains(head, id)) {
            let Some(commit) = world.git.commits.get(&id) else { break };
            let of = trailer(&commit.message, RUN_TRAILER)
                .zip(trailer(&commit.message, ATTEMPT_TRAILER));
            if let Some((run, attempt)) = of {
                self.landings.remove(&(run.to_owned(), attempt.to_owned()));
            }
            self.pushed.remove(&id);
            at = commit.parents.first().cloned();
        }
    }

    /// Records when each landed commit was last seen on its default branch.
    pub(super) fn stands(&mut self, world: &World, step: u64) {
        let landed = |run: &Run| {
            let head = world.git.remotes.get(&run.issue.repo)?;
            let landed = run.landed()?.commit.clone();
            world.git.contains(head, &landed).then_some(landed)
        };
        let landed: Vec<Oid> = self.live().filter_map(landed).collect();
        self.stood.extend(landed.into_iter().map(|landed| (landed, step)));
    }

    /// A run is done only if its commit was on the default branch when whoever ended it looked.
    pub(super) fn done(&mut self, world: &World, run: &Run, by: Option<By>) {
        let Some((landed, by)) = run.landed().zip(by) else { return };
        let purged = world.git.purged.contains(&landed.commit);
        let stood = self.stood.get(&landed.commit).is_some_and(|stood| *stood >= by.tick);
        if purged && !stood {
            let commit = &landed.commit;
            self.wrong.push(format!("{} is done and {commit} had been taken out again", run.id));
        }
    }

    /// Every push names its run.
    pub(super) fn pushes(&mut self, world: &World) {
        for id in world.git.past_heads.iter().skip(self.pushes) {
            let message = world.git.commits.get(id).map(|commit| commit.message.as_str());
            let says = |name| message.and_then(|message| trailer(message, name)).is_some();
            if !says(RUN_TRAILER) || !says(ATTEMPT_TRAILER) {
                self.wrong.push(format!("{id} was pushed and does not say by which run"));
            }
        }
        self.pushes = world.git.past_heads.len();
    }

    /// A comment lifts a freeze only if ann wrote it, after the freeze.
    pub(super) fn thawed(&mut self, world: &World, by: Option<By>) {
        let frozen = world.store.switches.frozen.iter();
        let frozen = frozen.map(|(repo, freeze)| (repo.clone(), freeze.thrown.at)).collect();
        let before = std::mem::replace(&mut self.frozen, frozen);
        if by.is_none_or(|by| by.call != "store.unfreeze") {
            return;
        }
        for (repo, since) in before {
            let issues = world.tracker.issues.iter().filter(|(issue, _)| issue.repo == repo);
            let mut comments = issues.flat_map(|(_, record)| &record.comments);
            let asked = comments.any(|comment| {
                let ann = comment.author.as_ref().is_some_and(|author| author.id == "ann");
                ann && comment.body == "/afk unfreeze" && comment.at > since
            });
            if !self.frozen.contains_key(&repo) && !asked {
                self.wrong
                    .push(format!("the freeze of {repo} was lifted, but ann did not request it"));
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
        if world.git.commits.get(id).is_some_and(|commit| commit.message.contains("[skip ci]")) {
            self.wrong.push(format!("{id} landed on {repo} and makes CI skip it"));
        }
        if let Some(below) = run.and_then(|run| built_on(world, run, id)) {
            self.wrong
                .push(format!("{id} landed on {below}, which somebody pushed in a run's name"));
        }
        if let Some(what) = world.git.brings_back(id) {
            self.wrong.push(format!("{id} brought {what} back to {repo}, which was taken out"));
        }
        if asked_before(world, repo) && brings_red(world, id) {
            self.wrong.push(format!("{id} landed on {repo} although its candidate was not green"));
        }
        if let (Some(run), Some(by)) = (run, by)
            && self.truth.shut(&run.issue, by.tick).contains(&"freeze")
        {
            self.wrong.push(format!("{id} landed on {repo}, which is frozen"));
        }
        if let (Some(run), Some(by)) = (run, by)
            && let Some(what) = self.last_look(run, by)
        {
            self.wrong.push(format!("{} {what}", run.id));
        }
        let ours = run.zip(by).filter(|(run, by)| leases(world, run.id, by.plane));
        if let Some((run, _)) = ours {
            if run.unconfirmed_push().is_none_or(|sent| sent.commit != *id) {
                self.wrong.push(format!("{id} landed on {repo} and its push was not begun"));
            }
            self.pushed.insert(id.clone(), run.id);
        }
        if !self.landings.insert(of) {
            self.wrong.push(format!("an attempt landed on {repo} twice"));
        }
    }

    /// Records which control plane holds the lease of which run.
    pub(super) fn leases(&mut self, world: &World, step: u64) {
        for (key, lease) in world.store.leases.iter().filter(|(_, one)| one.until > world.now) {
            let run = key.strip_prefix("run:").and_then(|run| run.parse().ok());
            if let Some((plane, run)) = plane(&lease.owner).zip(run) {
                self.held.insert((plane, run), step);
            }
        }
    }

    /// What the control plane failed to read before `push` of `run`, or read and ignored. Right
    /// before a push it must renew the lease, and then read the switches.
    fn last_look(&self, run: &Run, push: By) -> Option<&'static str> {
        let Some(asked) = self.looks.get(&(push.plane, push.made)) else {
            return Some("was pushed and the switches were not read before");
        };
        if self.truth.shut(&run.issue, push.made).contains(&"freeze") {
            return Some("was pushed under a freeze that was thrown before");
        }
        // The lease was renewed right before the switches were read.
        let held = self.held.get(&(push.plane, run.id));
        held.is_none_or(|held| held < asked)
            .then_some("was pushed by a control plane that had lost its lease")
    }

    /// No run takes a forged commit for a candidate of its own that has landed.
    pub(super) fn unforged(&mut self) {
        for (id, run) in &self.forged {
            let Some((_, Some(run))) = self.runs.get(run) else { continue };
            if run.candidates().any(|(_, one)| one.commit == *id && one.landed_at.is_some()) {
                self.wrong.push(format!("{} took {id}, which was forged, for its own", run.id));
            }
        }
    }

    /// A repo freezes because of a foreign commit with a run's trailer only if there is such a
    /// commit.
    pub(super) fn frozen_rightly(&mut self, world: &World) {
        for run in self.runs.values().filter_map(|(_, run)| run.as_ref()) {
            let Some(end) = run.conclusion.as_ref().filter(|end| end.end == End::Frozen) else {
                continue;
            };
            let named = |id: &Oid| end.why.contains(id.short());
            if end.why.contains("carries the trailer") && !world.git.foreign.iter().any(named) {
                self.wrong.push(format!("{} freezes for nothing: {}", run.id, end.why));
            }
        }
    }

    /// Everything that agents pushed by themselves is recorded as landed, or a person is told that
    /// it is not known.
    pub(super) fn found(&mut self, world: &World) {
        let runs = self.runs.values().filter_map(|(_, run)| run.as_ref());
        let far = runs.filter(|run| world.agents.far.contains(&run.issue.repo));
        let mut lost = Vec::new();
        for run in far {
            let Some(brought) = world.brought(&run.issue.repo, run.id) else { continue };
            let mut landed = run.candidates().filter(|(_, one)| one.landed_at.is_some());
            let known = landed.any(|(_, one)| world.git.contains(&one.commit, &brought));
            let unknown = |end: &Conclusion| {
                end.why.contains("it is not known whether")
                    || end.why.contains("could not be stopped")
            };
            if !known && !run.conclusion.as_ref().is_some_and(unknown) {
                lost.push(format!("{brought} landed and {} does not know of it", run.id));
            }
        }
        self.wrong.extend(lost);
    }

    /// Everything that was landed is recorded as landed, or a person is told that it is not known.
    pub(super) fn followed(&mut self) {
        for (id, run) in &self.pushed {
            let Some((_, Some(run))) = self.runs.get(run) else { continue };
            let mut all = run.candidates();
            let landed = all.any(|(_, one)| one.commit == *id && one.landed_at.is_some());
            let unknown = |end: &Conclusion| end.why.contains("it is not known whether");
            if !landed && !run.conclusion.as_ref().is_some_and(unknown) {
                self.wrong.push(format!("{id} landed and {} does not know of it", run.id));
            }
        }
    }
}

/// A commit that somebody else pushed under the trailer of a run, that `id` is built on, and that
/// is newer than what `run` was given.
fn built_on(world: &World, run: &Run, id: &Oid) -> Option<Oid> {
    let start = run.given().into_iter().rev().find(|given| world.git.contains(id, given))?;
    let of = |below: &Oid| {
        let message = world.git.commits.get(below).map(|commit| commit.message.as_str())?;
        let number = trailer(message, ATTEMPT_TRAILER)?.parse::<u32>().ok()?;
        (trailer(message, RUN_TRAILER)? == run.id.to_string()).then_some(number)
    };
    // If the attempt that it names had landed when the loop looked, the commit counts as a copy,
    // such as a cherry-pick.
    let is_copy = |below: &Oid| {
        let landed = |one: &Candidate| one.landed_at.is_some() || one.pull.is_some();
        let attempt = run.attempts.iter().find(|one| Some(one.n) == of(below));
        attempt.is_some_and(|one| one.candidates.iter().any(landed))
    };
    let below = |other: &&Oid| {
        world.git.contains(id, other) && !world.git.contains(start, other) && !is_copy(other)
    };
    world.git.foreign.iter().find(below).cloned()
}

/// Whether control plane `plane` holds the lease of the run. One that loses it during a call can no
/// longer take the call back, and nobody waits for it.
fn leases(world: &World, run: RunId, plane: usize) -> bool {
    let lease = world.store.leases.get(&format!("run:{run}"));
    lease.is_some_and(|one| one.until > world.now && self::plane(&one.owner) == Some(plane))
}

/// The control plane with the name `owner`.
fn plane(owner: &str) -> Option<usize> {
    owner.strip_prefix("plane-")?.split('-').next()?.parse().ok()
}

/// Whether stages of `repo` run before landing.
fn asked_before(world: &World, repo: &RepoName) -> bool {
    let repo = world.config.repos.get(repo);
    repo.is_some_and(|repo| repo.stages.iter().any(|stage| stage.before_landing))
}

/// Whether a stage fails on a commit, and would not fail on its base.
fn brings_red(world: &World, id: &Oid) -> bool {
    let red = |id: &Oid| {
        let files = world.git.files_of(id).unwrap_or_default();
        files.values().any(|text| text.contains(BREAKS) || text.contains(VOIDS))
    };
    let base = world.git.commits.get(id).and_then(|commit| commit.parents.first());
    red(id) && !base.is_some_and(red)
}
