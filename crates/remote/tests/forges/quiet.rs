//! A loop over a hundred repositories at GitHub in which nothing happens: twenty issues wait in
//! each, and agents work on two of them. The tests of scale count the requests of a tick, and the
//! bench `quiet` measures its cost.

use afk_core::ids::RepoName;
use afk_engine::Engine;
use afk_engine::ports::Ports;
use afk_sim::story::enroll;
use afk_sim::world::{Script, World};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use crate::support::{OnGitHub, READY, repo};

pub(crate) const REPOS: usize = 100;
pub(crate) const ISSUES: usize = 20;
/// How many ticks it takes at most until nothing changes any more.
const SETTLED: usize = 60;

/// The loop and the forge. Everything but the tracker is the simulator's.
pub(crate) struct Quiet {
    pub(crate) home: OnGitHub,
    engine: Engine,
}

/// The repos.
pub(crate) fn repos() -> Vec<RepoName> {
    (0..REPOS).map(|n| repo(&format!("o/r{n}"))).collect()
}

/// Files the issues of each repo.
pub(crate) fn file(world: &mut World) {
    for repo in repos() {
        for n in 1..=ISSUES {
            world.file(&format!("{repo}#{n}"), "Do it.", &[READY], "ann");
        }
    }
}

/// The CPU time of this thread, in milliseconds. The fake runs on another one.
pub(crate) fn cpu_of_this_thread() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

impl Quiet {
    /// Waits until two runs are live, and everything that they wrote has been read.
    pub(crate) async fn new() -> Self {
        let home = OnGitHub::new();
        home.sim.with(|world| {
            world.config.kill_switch = false;
            for repo in repos() {
                enroll(&mut world.config, repo.as_str());
                world.somebody_lands(&repo, &[("README.md", "hello"), ("src/lib", "one")]);
                world.agents.scripts.insert(repo, vec![Script::hangs()].into());
            }
            file(world);
        });
        // Issues that were updated within the last seconds are not cached.
        home.later(5);
        home.fake.leave(100_000);
        let ports = Ports { tracker: home.tracker(), ..home.sim.ports() };
        let quiet = Self { engine: Engine::new(ports, "quiet"), home };
        for _ in 0..SETTLED {
            let (requests, free) = quiet.tick().await;
            let at_work = quiet.home.sim.with(|world| world.agents.turns.len());
            if at_work == 2 && free && requests == REPOS {
                return quiet;
            }
            quiet.home.sim.with(World::step);
            quiet.home.later(5);
        }
        panic!("it never becomes quiet: {:#?}", quiet.home.fake.requests());
    }

    /// Ticks once. Returns the number of requests, and whether each was answered with "not
    /// modified".
    pub(crate) async fn tick(&self) -> (usize, bool) {
        self.home.requests();
        let ticked = self.engine.tick(true, &CancellationToken::new()).await.unwrap();
        assert_eq!(ticked.failed, []);
        let requests = self.home.requests();
        (requests.len(), requests.iter().all(|one| one.status == 304))
    }
}
