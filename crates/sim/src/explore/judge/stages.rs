//! Judges stages: how often they are polled, and which failures count.

use afk_core::run::{Candidate, Run};
use afk_core::verdict::StageAnswer;
use jiff::SignedDuration;

use super::{By, Judge};
use crate::world::{Poll, World};

/// The shortest pause between two polls of a stage, whatever it answered.
const PAUSE: SignedDuration = SignedDuration::from_secs(1);

impl Judge {
    /// No control plane polls a stage again without a pause.
    pub(super) fn polls(&mut self, world: &World, by: Option<By>) {
        let fresh = world.stages.polls.iter().skip(self.polls);
        for Poll { run, repo, stage, commit, at, .. } in fresh {
            let Some(by) = by else { continue };
            let whose = (by.plane, *run, repo.clone(), stage.clone(), commit.clone());
            let before = self.polled.insert(whose, *at);
            if before.is_some_and(|before| at.duration_since(before).abs() < PAUSE) {
                self.wrong.push(format!("{stage} was polled about {commit} again at once"));
            }
        }
        self.polls = world.stages.polls.len();
    }

    /// A failure of `candidate` that has consequences was seen at least twice.
    pub(super) fn believed(&mut self, world: &World, run: &Run, candidate: &Candidate) {
        let configured = world.config.repos.get(&run.issue.repo);
        for stage in &candidate.stages {
            let of_descendant =
                stage.link.as_ref().is_some_and(|link| link.starts_with("its descendant"));
            if stage.answer != StageAnswer::Failure || of_descendant {
                continue;
            }
            let mut stages = configured.into_iter().flat_map(|repo| &repo.stages);
            let polled = stages.any(|one| one.name == stage.name && !one.is_run());
            let told = if polled {
                let polls = world.stages.polls.iter().filter(|poll| {
                    (poll.run, &poll.stage, &poll.commit)
                        == (run.id, &stage.name, &candidate.commit)
                });
                polls.filter(|poll| poll.told == Some(StageAnswer::Failure)).count()
            } else {
                let about = format!(".{}", candidate.commit);
                let started = world.jobs.started.iter().map(ToString::to_string);
                started.filter(|key| key.contains(&about)).count()
            };
            if told < 2 {
                let (id, name) = (run.id, &stage.name);
                self.wrong.push(format!("{id} acts on a failure of {name} that it saw only once"));
            }
        }
    }
}
