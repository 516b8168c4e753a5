//! The wild phase of daemons, which go on by themselves: whatever they call is let through before
//! much time passes, in an order of the seed, so that what they must do within a time can be
//! judged.

use jiff::SignedDuration;

use super::super::draw::STEPS;
use super::{CIRCLES, ROUNDS, Story};

/// How many times as many steps daemons get as ticks do: they read the switches all the time.
const LONGER: u64 = 2;

impl Story<'_> {
    /// The wild phase: people act and ports fail.
    pub(super) fn daemons(&mut self) {
        let seeded = self.scenario.seed.is_some();
        let mut rounds = 0;
        let over =
            |step, rounds| if seeded { step >= LONGER * STEPS } else { rounds >= 4 * ROUNDS };
        while !over(self.step, rounds) && self.serve() {
            rounds += 1;
            self.due();
            if !seeded || self.rng.chance(30) {
                self.world_goes_on();
            }
            let millis = if seeded { self.rng.pick(&[100, 500, 500, 2_000, 5_000]) } else { 500 };
            self.time_passes(SignedDuration::from_millis(millis));
        }
    }

    /// Lets every waiting call through, and those that follow; returns whether nothing is wrong.
    pub(super) fn serve(&mut self) -> bool {
        for plane in 0..self.planes.len() {
            self.poll(plane);
        }
        for _ in 0..CIRCLES {
            if !self.sound() {
                return false;
            }
            if self.wild && self.scenario.seed.is_some() {
                self.due();
                if self.rng.chance(2) {
                    // Time must pass now and then within a round, too, so that what begins now
                    // meets what is under way.
                    self.time_passes(SignedDuration::from_millis(100));
                }
            }
            let waiting = self.gate.waiting();
            let one = if self.scenario.seed.is_some() && !waiting.is_empty() {
                Some(self.rng.pick(&waiting))
            } else {
                waiting.first().copied()
            };
            let Some(one) = one else {
                let mut judge = std::mem::take(&mut self.judge);
                self.sim.with(|world| judge.overdue(world));
                self.judge = judge;
                return self.sound();
            };
            self.let_through(one);
        }
        self.judge.wrong.push("daemons go in circles while no time passes".to_owned());
        false
    }
}
