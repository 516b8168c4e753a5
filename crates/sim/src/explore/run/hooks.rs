//! Sends webhooks to the control planes: those of what happened, and those that somebody forges.

use jiff::SignedDuration;

use afk_core::run::PullState;
use afk_core::verdict::StageAnswer;

use super::super::scenario::{Delivery, Lie};
use super::{Hooked, Story};
use crate::fakes::Bad;
use crate::story::repo;
use crate::world::{Hook, HookSays};

impl Story<'_> {
    /// Sends the webhooks of what has happened since the last step, and lets the control planes
    /// hear those that are due.
    pub(super) fn hooks(&mut self) {
        if !self.scenario.setting.hears {
            return;
        }
        let (sent, now) = self.sim.with(|world| (world.webhooks(), world.now));
        for hook in sent {
            for plane in 0..self.planes.len() {
                let decides = self.counted(&hook).is_some();
                // Pull requests and stages are often decided only in the calm phase, so their
                // webhooks go astray there, too.
                let suffers = self.wild || decides;
                let mut fates = self.scenario.hooks.iter().filter(|_| suffers);
                let number = &mut self.sent[usize::from(decides)];
                let fate = fates.find(|(nth, _)| nth == number).map(|(_, fate)| *fate);
                *number += 1;
                self.report.astray += u32::from(fate.is_some());
                if let Some(of_kind) = self.counted(&hook) {
                    of_kind.astray += u32::from(fate.is_some());
                }
                let later = |seconds: u64| {
                    let by = SignedDuration::from_secs(seconds.cast_signed());
                    now.checked_add(by).unwrap_or(now)
                };
                let times = match fate {
                    None => vec![now],
                    Some(Delivery::Lost) => Vec::new(),
                    Some(Delivery::Late(by)) => vec![later(by)],
                    Some(Delivery::Twice(by)) => vec![now, later(by)],
                };
                self.posted.extend(times.into_iter().map(|at| (at, plane, hook.clone())));
            }
        }
        let due: Vec<_> = self.posted.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, plane, hook) in due {
            self.hears(plane, &hook, 1);
        }
    }

    /// Lets every control plane hear, so many times, that something happened in a repo or that an
    /// issue was released.
    pub(super) fn forges(&mut self, about: &str, times: u64) {
        let name = about.split('#').next().unwrap_or_default();
        let says = about.parse().map_or(HookSays::Something, HookSays::Released);
        self.all_hear(&Hook { repo: repo(name), says }, times);
    }

    /// Lets every control plane hear something about a repo that is not true.
    pub(super) fn lies(&mut self, about: &str, lie: Lie) {
        let repo = repo(about);
        let head = self.sim.with(|world| world.git.remotes.get(&repo).cloned());
        let Some(commit) = head else { return };
        let says = match lie {
            Lie::Merged => HookSays::Pull { branch: None, state: PullState::Merged { commit } },
            Lie::Passed => HookSays::Stage { about: None, answer: StageAnswer::Success },
        };
        self.all_hear(&Hook { repo, says }, 1);
    }

    fn all_hear(&mut self, hook: &Hook, times: u64) {
        for plane in 0..self.planes.len() {
            self.hears(plane, hook, times);
        }
    }

    /// The counts of webhooks of this kind; those of issues and pushes are counted in the sums
    /// alone.
    fn counted(&mut self, hook: &Hook) -> Option<&mut Hooked> {
        match hook.says {
            HookSays::Pull { .. } => Some(&mut self.report.pulls),
            HookSays::Stage { .. } => Some(&mut self.report.stages),
            HookSays::Something | HookSays::Released(_) => None,
        }
    }

    fn hears(&mut self, plane: usize, hook: &Hook, times: u64) {
        if self.deaf.contains(&plane) {
            return;
        }
        self.note(&format!("{plane} hears of {}", hook.repo));
        self.report.received += 1;
        if let Some(of_kind) = self.counted(hook) {
            of_kind.received += 1;
        }
        let bad = self.sim.with(|world| {
            world.hears(plane, hook);
            world.bad
        });
        if bad == Some(Bad::WakesNoRun) && !matches!(hook.says, HookSays::Released(_)) {
            return;
        }
        for _ in 0..times {
            self.planes[plane].engine.wake(&hook.repo);
        }
        if self.planes[plane].rests() && self.wild && self.scenario.seed.is_some() {
            // A resting control plane would hear it only at the next tick, so the tick begins now.
            self.tick(plane);
        } else {
            self.poll(plane);
        }
    }
}
