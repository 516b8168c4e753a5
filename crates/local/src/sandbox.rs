//! What this machine can enforce, as the last trial found it.
//!
//! A sandbox may be fixed, or break, while a control plane runs. So trials are repeated: while the
//! sandbox is too weak and holds dispatch back, after half a minute and then at growing intervals
//! of up to ten minutes; while it is good, every ten minutes. A trial starts a few processes, and
//! no two trials run at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use afk_agent::sandbox::{Capabilities, Requirement};
use afk_engine::ports::PortResult;

use super::world::blocking;

/// How long the first bad result is believed.
const FIRST: Duration = Duration::from_secs(30);
/// How long any result is believed, at most.
const LONGEST: Duration = Duration::from_mins(10);

/// Finds out what the machine can enforce. Blocks.
type Trial = Arc<dyn Fn() -> Capabilities + Send + Sync>;

/// The sandbox of this machine. Cheap to clone; clones share the results of trials.
#[derive(Clone)]
pub struct Sandbox {
    trial: Trial,
    state: Arc<Mutex<State>>,
}

struct State {
    found: Arc<Capabilities>,
    /// When the newest trial was begun.
    at: Instant,
    /// How many results in a row were not good enough.
    misses: u32,
}

impl Sandbox {
    /// Returns the sandbox of a machine that was just `found` to be like this; `trial` finds it out
    /// anew.
    pub fn new(
        found: Capabilities,
        trial: impl Fn() -> Capabilities + Send + Sync + 'static,
    ) -> Self {
        let state = State { found: Arc::new(found), at: Instant::now(), misses: 0 };
        Self { trial: Arc::new(trial), state: Arc::new(Mutex::new(state)) }
    }

    /// Returns what the last trial found.
    pub fn found(&self) -> Arc<Capabilities> {
        self.state().found.clone()
    }

    /// Makes a trial if one is due, and returns the newest result. `requirement` says what a good
    /// result must meet.
    pub(super) async fn look(&self, requirement: Requirement) -> PortResult<Arc<Capabilities>> {
        self.look_at(requirement, Instant::now()).await
    }

    async fn look_at(
        &self,
        requirement: Requirement,
        now: Instant,
    ) -> PortResult<Arc<Capabilities>> {
        if self.state().begin(requirement, now) {
            let (trial, before) = (self.trial.clone(), self.found());
            let good = move |found: &Capabilities| found.meets(requirement).is_ok();
            let found = blocking(move || {
                let found = trial();
                // A good sandbox may fail for a moment on a busy machine: one failure must not hold
                // dispatch back.
                if good(&before) && !good(&found) { trial() } else { found }
            });
            let found = found.await?;
            self.state().found = Arc::new(found);
        }
        Ok(self.found())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sandbox").field(&self.found()).finish()
    }
}

impl State {
    /// Whether a trial is due. If so, it is recorded as begun, so that no other begins meanwhile.
    fn begin(&mut self, requirement: Requirement, now: Instant) -> bool {
        let good = self.found.meets(requirement).is_ok();
        if good {
            self.misses = 0;
        }
        let believed = if good { LONGEST } else { believed(self.misses) };
        let due = now.saturating_duration_since(self.at) >= believed;
        if due {
            self.at = now;
            self.misses += u32::from(!good);
        }
        due
    }
}

/// Returns how long a bad result is believed after this many others: 30 s, 1 min … at most ten
/// minutes.
fn believed(misses: u32) -> Duration {
    FIRST.saturating_mul(1 << misses.min(5)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    fn machine(good: bool) -> Capabilities {
        use afk_agent::sandbox::Bubblewrap;
        let bubblewrap = Bubblewrap {
            path: "/usr/bin/bwrap".into(),
            version: "0.8.0".to_owned(),
            disable_userns: true,
        };
        let bubblewrap = if good { Ok(bubblewrap) } else { Err("not installed".to_owned()) };
        Capabilities { bubblewrap, landlock_abi: 7 }
    }

    #[tokio::test]
    async fn a_sandbox_that_works_again_is_noticed_and_few_trials_are_made_until_then() {
        let working = Arc::new(AtomicBool::new(false));
        let trials = Arc::new(AtomicU32::new(0));
        let sandbox = Sandbox::new(machine(false), {
            let (working, trials) = (working.clone(), trials.clone());
            move || {
                trials.fetch_add(1, Ordering::Relaxed);
                machine(working.load(Ordering::Relaxed))
            }
        });
        let start = Instant::now();
        let look = async |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            let found = sandbox.look_at(Requirement::Required, now).await.unwrap();
            found.meets(Requirement::Required).is_ok()
        };
        for second in (0..3600).step_by(10) {
            assert!(!look(second).await);
        }
        // After 30 s, 1, 2, 4, 8 minutes, and then every ten.
        assert_eq!(trials.load(Ordering::Relaxed), 9);
        working.store(true, Ordering::Relaxed);
        assert!(look(3600 + 600).await);
        for second in (0..3600).step_by(10) {
            assert!(look(4200 + second).await);
        }
        assert_eq!(trials.load(Ordering::Relaxed), 10 + 5, "and a good one is tried now and then");
        working.store(false, Ordering::Relaxed);
        assert!(!look(4200 + 3600).await, "it may break, too");
        working.store(true, Ordering::Relaxed);
        assert!(look(4200 + 3630).await, "and is tried soon again");
    }
}
