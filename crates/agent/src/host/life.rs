//! When and how a job ends: the host's decisions, without I/O.
//!
//! A state, an event and the time give the next state and an action. Times are monotonic durations
//! since the host began to watch the box.

use std::time::Duration;

use super::spec::{EndHow, KilledBy, StopSignal};
use crate::sandbox::processes::Usage;

/// The limits of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How long it may run in all.
    pub(super) timeout: Duration,
    /// How long it may run without a renewal.
    pub(super) renew_within: Duration,
    /// How long it may take to end once it has reached a time limit; an interrupt brings its own.
    pub(super) grace: Duration,
    /// Memory of all its processes, in bytes.
    pub(super) memory: Option<u64>,
    /// Threads of all its processes.
    pub(super) tasks: Option<u64>,
}

/// The state of one job, from which its host decides.
#[derive(Clone, Debug)]
pub(super) struct Lifecycle {
    bounds: Bounds,
    renewed: Duration,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The job runs, and nothing has asked it to end.
    Running,
    /// It was asked to end, and will be killed if it has not ended by `kill_at`.
    Stopping { how: EndHow, kill_at: Duration },
    /// It is being killed.
    Killing { how: EndHow },
    /// Its end was decided: every later event is ignored.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The job was measured, and uses this much.
    Tick(Usage),
    /// The box has ended; this is what its exit status means.
    Gone(EndHow),
    /// It wrote more output than allowed.
    OutputFull,
    /// Its output cannot be stored.
    OutputLost(String),
    /// A control plane renewed it.
    Renewed,
    /// A control plane wants it to end.
    Interrupted { signal: StopSignal, grace: Duration, by: KilledBy },
    /// A control plane wants it dead.
    Killed { by: KilledBy },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Ask the job to end, by this signal.
    Stop(StopSignal),
    /// Kill every process of the job.
    KillAll,
    /// Record that it ended like this.
    Finish(EndHow),
}

impl Lifecycle {
    /// A new job at time zero.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, renewed: Duration::ZERO, phase: Phase::Running }
    }

    /// Takes in one event and returns what to do. Of several reasons to end, the first counts.
    pub(super) fn on(&mut self, event: Event, now: Duration) -> Action {
        match event {
            Event::Gone(own) => {
                let how = match std::mem::replace(&mut self.phase, Phase::Over) {
                    Phase::Running => own,
                    Phase::Stopping { how, kill_at: _ } | Phase::Killing { how } => how,
                    Phase::Over => return Action::Nothing,
                };
                Action::Finish(how)
            }
            Event::Renewed => {
                self.renewed = now;
                Action::Nothing
            }
            Event::OutputFull => self.kill(EndHow::TooMuchOutput),
            Event::OutputLost(reason) => self.kill(EndHow::OutputLost(reason)),
            Event::Killed { by } => self.kill(EndHow::Killed(by)),
            Event::Interrupted { signal, grace, by } => {
                self.stop(signal, EndHow::Killed(by), now + grace)
            }
            Event::Tick(usage) => self.tick(usage, now),
        }
    }

    /// When the next time limit is reached: a tick is due by then.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Running => Some(self.bounds.timeout.min(self.expires())),
            Phase::Stopping { kill_at, .. } => Some(kill_at),
            Phase::Killing { .. } | Phase::Over => None,
        }
    }

    fn tick(&mut self, usage: Usage, now: Duration) -> Action {
        if self.bounds.memory.is_some_and(|most| usage.memory > most) {
            return self.kill(EndHow::OutOfMemory);
        }
        if self.bounds.tasks.is_some_and(|most| usage.tasks > most) {
            return self.kill(EndHow::TooManyProcesses);
        }
        let kill_at = now + self.bounds.grace;
        match &self.phase {
            Phase::Running if now >= self.bounds.timeout => {
                self.stop(StopSignal::Terminate, EndHow::TimedOut, kill_at)
            }
            Phase::Running if now >= self.expires() => {
                self.stop(StopSignal::Terminate, EndHow::Killed(KilledBy::Expired), kill_at)
            }
            Phase::Stopping { how, kill_at } if now >= *kill_at => self.kill(how.clone()),
            // One round of killing may miss a process, so it is repeated until the box is gone.
            Phase::Killing { .. } => Action::KillAll,
            Phase::Running | Phase::Stopping { .. } | Phase::Over => Action::Nothing,
        }
    }

    fn stop(&mut self, signal: StopSignal, how: EndHow, kill_at: Duration) -> Action {
        match &mut self.phase {
            Phase::Running => {
                self.phase = Phase::Stopping { how, kill_at };
                Action::Stop(signal)
            }
            // Repeated: the signal is sent again, and the shorter grace counts.
            Phase::Stopping { kill_at: set, .. } => {
                *set = kill_at.min(*set);
                Action::Stop(signal)
            }
            Phase::Killing { .. } | Phase::Over => Action::Nothing,
        }
    }

    fn kill(&mut self, how: EndHow) -> Action {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Running => self.phase = Phase::Killing { how },
            Phase::Stopping { how, kill_at: _ } | Phase::Killing { how } => {
                self.phase = Phase::Killing { how }
            }
            Phase::Over => return Action::Nothing,
        }
        Action::KillAll
    }

    fn expires(&self) -> Duration {
        self.renewed + self.bounds.renew_within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn tick(memory: u64, tasks: u64) -> Event {
        Event::Tick(Usage { memory, tasks })
    }

    fn interrupt(grace: u64) -> Event {
        Event::Interrupted { signal: StopSignal::Interrupt, grace: S(grace), by: KilledBy::Halt }
    }

    /// Feeds `events` (with their times in seconds) to a job with a time limit of 100 s, 10 s
    /// between renewals, 2 s of grace, 50 bytes and 5 tasks, and checks the last action.
    fn check(events: &[(u64, Event)], expected: Action) {
        let bounds = Bounds {
            timeout: S(100),
            renew_within: S(10),
            grace: S(2),
            memory: Some(50),
            tasks: Some(5),
        };
        let mut life = Lifecycle::new(bounds);
        let last = events.iter().map(|(at, event)| life.on(event.clone(), S(*at))).last();
        assert_eq!(last, Some(expected), "after {events:?}");
    }

    #[test]
    fn by_itself() {
        check(&[(1, tick(50, 5))], Action::Nothing);
        check(&[(1, Event::Gone(EndHow::Exited(3)))], Action::Finish(EndHow::Exited(3)));
        check(
            &[(1, Event::Gone(EndHow::Exited(3))), (2, Event::Gone(EndHow::Exited(4)))],
            Action::Nothing,
        );
        check(&[(1, Event::Gone(EndHow::Exited(3))), (2, tick(99, 99))], Action::Nothing);
    }

    #[test]
    fn by_time() {
        let renewals =
            |last: u64| (1..=last / 9).map(|n| (n * 9, Event::Renewed)).collect::<Vec<_>>();
        let with = |more: &[(u64, Event)]| [renewals(99), more.to_vec()].concat();
        check(&with(&[(99, tick(0, 0))]), Action::Nothing);
        check(&with(&[(100, tick(0, 0))]), Action::Stop(StopSignal::Terminate));
        check(&with(&[(100, tick(0, 0)), (101, tick(0, 0))]), Action::Nothing);
        check(&with(&[(100, tick(0, 0)), (102, tick(0, 0))]), Action::KillAll);
        check(
            &with(&[(100, tick(0, 0)), (101, Event::Gone(EndHow::Exited(0)))]),
            Action::Finish(EndHow::TimedOut),
        );
    }

    #[test]
    fn by_nobody_asking() {
        check(&[(9, tick(0, 0))], Action::Nothing);
        check(&[(10, tick(0, 0))], Action::Stop(StopSignal::Terminate));
        check(&[(9, Event::Renewed), (18, tick(0, 0))], Action::Nothing);
        check(
            &[
                (10, tick(0, 0)),
                (11, Event::Renewed),
                (12, tick(0, 0)),
                (13, Event::Gone(EndHow::Signalled(9))),
            ],
            Action::Finish(EndHow::Killed(KilledBy::Expired)),
        );
    }

    #[test]
    fn by_greed() {
        let gone = (9, Event::Gone(EndHow::Signalled(9)));
        check(&[(1, tick(51, 1))], Action::KillAll);
        check(&[(1, tick(51, 1)), gone.clone()], Action::Finish(EndHow::OutOfMemory));
        check(&[(1, tick(1, 6)), gone.clone()], Action::Finish(EndHow::TooManyProcesses));
        check(&[(1, Event::OutputFull), gone.clone()], Action::Finish(EndHow::TooMuchOutput));
        check(&[(1, Event::OutputFull), (2, tick(0, 0))], Action::KillAll);
    }

    #[test]
    fn by_request() {
        let gone = (9, Event::Gone(EndHow::Signalled(9)));
        let halted = EndHow::Killed(KilledBy::Halt);
        check(&[(1, interrupt(5))], Action::Stop(StopSignal::Interrupt));
        check(&[(1, interrupt(5)), (5, tick(0, 0))], Action::Nothing);
        check(&[(1, interrupt(5)), (6, tick(0, 0))], Action::KillAll);
        check(&[(1, interrupt(5)), (2, interrupt(1)), (3, tick(0, 0))], Action::KillAll);
        check(&[(1, interrupt(1)), (1, interrupt(60)), (2, tick(0, 0))], Action::KillAll);
        check(&[(1, interrupt(5)), (2, tick(99, 0)), gone.clone()], Action::Finish(halted.clone()));
        let kill = Event::Killed { by: KilledBy::Interrupt };
        check(&[(1, interrupt(5)), (2, kill.clone())], Action::KillAll);
        check(&[(1, interrupt(5)), (2, kill.clone()), gone.clone()], Action::Finish(halted));
        check(&[(1, kill), gone], Action::Finish(EndHow::Killed(KilledBy::Interrupt)));
    }

    #[test]
    fn deadlines() {
        let bounds =
            Bounds { timeout: S(100), renew_within: S(10), grace: S(2), memory: None, tasks: None };
        let mut life = Lifecycle::new(bounds);
        assert_eq!(life.next_deadline(), Some(S(10)));
        life.on(Event::Renewed, S(95));
        assert_eq!(life.next_deadline(), Some(S(100)));
        life.on(interrupt(7), S(96));
        assert_eq!(life.next_deadline(), Some(S(103)));
        life.on(Event::Killed { by: KilledBy::Halt }, S(97));
        assert_eq!(life.next_deadline(), None);
    }
}
