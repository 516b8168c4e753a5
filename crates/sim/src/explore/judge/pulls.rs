//! Judges pull requests: one for each candidate, and none left behind.

use std::collections::BTreeSet;

use afk_core::ids::Oid;
use afk_core::run::{PullState, Run};

use super::Judge;
use crate::world::World;

impl Judge {
    /// No candidate has two pull requests.
    pub(super) fn pulls(&mut self, world: &World) {
        let opened = &world.pulls.opened;
        if opened.len() != opened.iter().collect::<BTreeSet<_>>().len() {
            self.wrong.push("a candidate has two pull requests".to_owned());
        }
    }

    /// No run ends while its pull request is open: people may merge it, and nobody would follow it.
    pub(super) fn none_open(&mut self, world: &World, run: &Run, why: &str) {
        let own = format!("afk/try/{}/", run.id);
        let mut all = world.pulls.pulls.values();
        let open = all.any(|one| one.state == PullState::Open && one.spec.branch.starts_with(&own));
        if open && !why.contains("it is not known whether") {
            self.wrong.push(format!("{} ends and its pull request is open", run.id));
        }
    }
}

/// Whether people merged a pull request as this commit.
pub(super) fn is_merged(world: &World, id: &Oid) -> bool {
    let is = |state: &PullState| matches!(state, PullState::Merged { commit } if commit == id);
    world.pulls.pulls.values().any(|one| is(&one.state))
}
