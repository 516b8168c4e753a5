//! Sends webhooks to the control planes: for what happened, and whatever somebody forges.

use jiff::SignedDuration;

use super::super::scenario::Delivery;
use super::Story;
use crate::story::repo;
use crate::world::Hook;

impl Story<'_> {
    /// Takes up what forges send, and lets the control planes hear what is due.
    pub(super) fn hooks(&mut self) {
        if !self.scenario.setting.hears {
            return;
        }
        let (sent, now) = self.sim.with(|world| (world.webhooks(), world.now));
        for hook in sent {
            for plane in 0..self.planes.len() {
                let mut fates = self.scenario.hooks.iter().filter(|_| self.wild);
                let fate = fates.find(|(nth, _)| *nth == self.sent).map(|(_, fate)| *fate);
                self.sent += 1;
                self.report.astray += u32::from(fate.is_some());
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

    /// Every control plane hears that something happened, so many times.
    pub(super) fn forges(&mut self, about: &str, times: u64) {
        let released = about.parse().ok();
        let name = about.split('#').next().unwrap_or_default();
        let hook = Hook { repo: repo(name), released };
        for plane in 0..self.planes.len() {
            self.hears(plane, &hook, times);
        }
    }

    fn hears(&mut self, plane: usize, hook: &Hook, times: u64) {
        if self.deaf.contains(&plane) {
            return;
        }
        self.note(&format!("{plane} hears of {}", hook.repo));
        self.report.heard += 1;
        self.sim.with(|world| world.hears(hook));
        for _ in 0..times {
            self.planes[plane].engine.wake(&hook.repo);
        }
        if self.planes[plane].rests() && self.wild && self.scenario.seed.is_some() {
            // What ticks does not wait for the next one.
            self.tick(plane);
        } else {
            self.poll(plane);
        }
    }
}
