//! `afk serve` and its hosts are killed with SIGKILL at random moments, many times
//! through a backlog; afterwards everything looks, from outside, as if nothing had been killed.
//!
//! The tests do a short round. `cargo xtask kills` does a long one: it sets
//! `AFK_KILLS`, `AFK_KILL_ISSUES`, `AFK_KILL_SEED` and `AFK_KILL_MINUTES`. With `AFK_KEEP`
//! the fleet's folder stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{BOUND, Control, until};
use crate::judge::{Found, Raw, UNDELIVERED};
use crate::sampler::{Sampler, Seen};
use crate::world::Fleet;

const REPOS: [&str; 3] = ["a", "b", "c"];

/// How long a daemon's lease lasts without renewal: no start on the same machine may have to wait
/// until a dead daemon's has expired.
const LEASE: Duration = Duration::from_secs(30);

/// A small generator (xorshift64*): equal seeds, equal choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn killed_at_any_moment_nothing_is_done_twice_lost_or_stuck() {
    let (kills, issues) = (setting("AFK_KILLS", 12), setting("AFK_KILL_ISSUES", 6));
    let seed = setting("AFK_KILL_SEED", 0x00C0_FFEE).max(1);
    let deadline = Instant::now() + Duration::from_mins(setting("AFK_KILL_MINUTES", 10));
    println!("seed {seed}: {kills} kills over {issues} issues");
    let fleet = Fleet::new(&REPOS, 3);
    fleet.slow_agent();
    let names: Vec<String> = (0..issues)
        .map(|n| {
            let repo = REPOS[(n % 3) as usize];
            fleet.issue(repo, &["ready-for-agent"], "Say one more.");
            format!("{repo}#{}", n / 3 + 1)
        })
        .collect();

    let begun = Instant::now();
    let sampler = Sampler::start(fleet.path("").to_string_lossy().into_owned());
    let mut killer = Killer::begin(&fleet, Dice(seed));
    // No daemon was killed before the first one, so its start tells what one takes here.
    killer.until_held();
    let first = killer.told.slowest;
    while killer.killed() < kills {
        assert!(Instant::now() < deadline, "too slow: {} kills", killer.killed());
        killer.kill_one(names.len());
    }
    killer.until_held();
    let mut over = 0;
    while over < names.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        let runs = fleet.json(&["runs", "--limit", "1000"]);
        let settled = |run: &&serde_json::Value| run["settled"] == true;
        over = runs["runs"].as_array().map_or(0, |all| all.iter().filter(settled).count());
    }
    if over < names.len() {
        println!("{}\n{}", fleet.told(&["status"]), killer.said());
    }
    // A doorbell that a daemon was ringing when it was killed stays claimed for a minute.
    let mut store = Raw::open(&fleet);
    let heard = Instant::now() + Duration::from_mins(3);
    while !store.texts(UNDELIVERED).is_empty() && Instant::now() < heard {
        std::thread::sleep(Duration::from_millis(200));
    }
    let told = killer.end();
    let watched = sampler.seen();
    let found = Found::of(&fleet, &names, &watched);
    print_table(&told, &found, &watched, &fleet, begun.elapsed());
    // A daemon dies soon after it has taken its lease, so most of that would have been waited for.
    let waited = told.slowest.saturating_sub(first);
    assert!(waited < LEASE / 2, "a dead daemon's lease was waited for: {waited:?}");
    assert!(told.mid_work * 2 > kills, "most kills must fall into work: {}", told.mid_work);
    assert!(watched.at_work > 0, "no agent was ever seen");
    assert_eq!(found, Found { done: names.len(), ..Found::default() });
}

/// What was done to the fleet.
#[derive(Debug, Default)]
struct Tally {
    /// Kills of `afk serve`, each with a start after it.
    planes: u64,
    /// Kills of hosts, by the kind of their job.
    hosts: BTreeMap<String, u64>,
    /// Kills at a moment when not every issue was over.
    mid_work: u64,
    /// Starts that were killed before they held the store.
    early: u64,
    /// The longest time from a start to its holding the store.
    slowest: Duration,
}

/// The killer, and the daemon that it kills next.
struct Killer<'a> {
    fleet: &'a Fleet,
    raw: Raw,
    dice: Dice,
    serve: Option<Control>,
    since: Instant,
    held: bool,
    told: Tally,
}

impl<'a> Killer<'a> {
    fn begin(fleet: &'a Fleet, dice: Dice) -> Self {
        let (raw, since) = (Raw::open(fleet), Instant::now());
        let serve = Some(fleet.serve());
        Self { fleet, raw, dice, serve, since, held: false, told: Tally::default() }
    }

    fn killed(&self) -> u64 {
        self.told.planes + self.told.hosts.values().sum::<u64>()
    }

    /// Lets the fleet work for a moment, then kills.
    fn kill_one(&mut self, issues: usize) {
        let moment = Instant::now() + Duration::from_millis(30 + self.dice.below(500));
        while Instant::now() < moment {
            self.look();
            std::thread::sleep(Duration::from_millis(5));
        }
        let victim = if self.dice.below(6) == 0 { self.host() } else { None };
        let over = self.raw.texts("SELECT id FROM runs WHERE live = 0").len();
        if let Some((pid, kind)) = victim {
            // The host may have ended by itself meanwhile.
            if !kill(pid) {
                return;
            }
            *self.told.hosts.entry(kind).or_default() += 1;
        } else {
            self.must_live();
            self.told.planes += 1;
            self.told.early += u64::from(!self.held);
            if let Some(serve) = self.serve.take() {
                serve.kill();
            }
            (self.since, self.held) = (Instant::now(), false);
            self.serve = Some(self.fleet.serve());
        }
        self.told.mid_work += u64::from(over < issues);
    }

    /// Chooses one of the running hosts; none if none runs for two seconds.
    fn host(&mut self) -> Option<(u32, String)> {
        let patience = Instant::now() + Duration::from_secs(2);
        while Instant::now() < patience {
            self.look();
            let mut hosts = self.fleet.hosts();
            if !hosts.is_empty() {
                let chosen = self.dice.below(hosts.len() as u64) as usize;
                return Some(hosts.swap_remove(chosen));
            }
        }
        None
    }

    /// Notes whether the daemon that was started last holds the store by now.
    fn look(&mut self) {
        let owners = self.raw.texts("SELECT owner FROM leases WHERE key = 'serve' AND until > 0");
        let own = self.serve.as_ref().map(|serve| format!("{}/", serve.id()));
        if !self.held && own.is_some_and(|own| owners.iter().any(|owner| owner.starts_with(&own))) {
            self.held = true;
            self.told.slowest = self.told.slowest.max(self.since.elapsed());
        }
    }

    fn until_held(&mut self) {
        until("the newest daemon holds the store", BOUND, || {
            self.must_live();
            self.look();
            self.held.then_some(())
        });
    }

    /// Checks that the daemon runs: one that is refused the store, or fails, ends by itself.
    fn must_live(&mut self) {
        let serve = self.serve.as_mut().unwrap();
        assert!(serve.over().is_none(), "it ended by itself: {}", serve.said());
    }

    fn said(&self) -> String {
        self.serve.as_ref().map(Control::said).unwrap_or_default()
    }

    /// Ends the last daemon as a service manager would.
    fn end(mut self) -> Tally {
        let serve = self.serve.take().unwrap();
        let pid = i32::try_from(serve.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        serve.done();
        self.told
    }
}

fn kill(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

fn print_table(told: &Tally, found: &Found, seen: &Seen, fleet: &Fleet, took: Duration) {
    let row = |what: &str, n: usize, more: String| println!("{what:<12} {n:>5}  {more}");
    let hosts: u64 = told.hosts.values().sum();
    let kinds: Vec<_> = told.hosts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let (planes, mid_work, early) = (told.planes, told.mid_work, told.early);
    let kills = format!("{planes} of afk serve, {hosts} of hosts; {mid_work} in mid-work");
    row("kills", (planes + hosts) as usize, kills);
    row("hosts", hosts as usize, kinds.join(", "));
    let slowest = told.slowest.as_millis();
    let held = format!("the store held after at most {slowest} ms; {early} killed before");
    row("restarts", planes as usize, held);
    let Seen { looks, at_work, agents, .. } = seen;
    row("agents", agents.len(), format!("seen in {at_work} of {looks} looks at the processes"));
    let ids = fleet.bell.ids().len();
    row("doorbells", ids, format!("ids, in {} deliveries", fleet.bell.rung().len()));
    row("seconds", took.as_secs() as usize, String::new());
    row("done", found.done, "issues closed, their one commit on main".to_owned());
    let Found { commits, comments, bells, agents, .. } = found;
    let twice = [commits, comments, bells, agents].map(Vec::len);
    let [c, t, b, a] = twice;
    let each = format!("commits {c}, comments {t}, doorbell ids {b}, agents at once {a}");
    row("duplicates", twice.iter().sum(), each);
    row("lost", found.lost.len(), String::new());
    row("stuck", found.stuck.len(), "runs, leases, locks, labels, deliveries".to_owned());
    row("left", found.left.len(), "processes, refs".to_owned());
}
