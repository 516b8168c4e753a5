//! The daemon and its hosts are killed with SIGKILL at random moments, many times
//! through a backlog; afterwards the same is true, from outside, as if nobody had.
//!
//! `AFK_KILLS` and `AFK_KILL_ISSUES` set how much; the seed is printed and taken from
//! `AFK_KILL_SEED`. Every run of the tests does a short one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Control, git};
use crate::world::Fleet;

const REPOS: [&str; 3] = ["a", "b", "c"];

/// A small generator (xorshift64*): equal seeds, equal kills.
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
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn killed_at_any_moment_nothing_is_done_twice_lost_or_stuck() {
    let (kills, issues) = (setting("AFK_KILLS", 12), setting("AFK_KILL_ISSUES", 6));
    let seed = setting("AFK_KILL_SEED", 0x00C0_FFEE).max(1);
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

    let mut dice = Dice(seed);
    let (mut planes, mut hosts) = (0, 0);
    let mut serve = fleet.serve();
    let begun = Instant::now();
    while planes + hosts < kills {
        std::thread::sleep(Duration::from_millis(50 + dice.below(900)));
        assert!(begun.elapsed() < Duration::from_mins(20), "too slow: {planes} and {hosts}");
        let victims = fleet.hosts();
        if dice.below(5) == 0 && !victims.is_empty() {
            let victim = victims[dice.below(victims.len() as u64) as usize];
            // It may have ended by itself meanwhile.
            hosts += u64::from(kill(victim));
        } else {
            assert!(serve.over().is_none(), "it ended by itself: {}", serve.said());
            serve.kill();
            planes += 1;
            serve = fleet.serve();
        }
    }
    let over = |issue: &String| !matches!(fleet.outcome(issue).as_str(), "-" | "live");
    let deadline = Instant::now() + Duration::from_mins(5);
    while Instant::now() < deadline && !names.iter().all(over) {
        std::thread::sleep(Duration::from_millis(200));
    }
    for issue in names.iter().filter(|issue| !over(issue)) {
        println!("{issue} is not over:\n{}", fleet.told(&["show", &format!("o/{issue}")]));
        println!("{}", fleet.told(&["status"]));
        println!("{}", serve.said());
    }
    end(serve);
    let found = Found::of(&fleet, &names);
    println!(
        "{planes} kills of the control plane, {hosts} of hosts, {issues} issues in {} s:\n{} done, \
         {} duplicates, {} lost, {} stuck, {} processes left",
        begun.elapsed().as_secs(),
        found.done,
        found.duplicates.len(),
        found.lost.len(),
        found.stuck.len(),
        found.left.len(),
    );
    assert_eq!(found, Found { done: names.len(), ..Found::default() });
}

/// What is wrong, seen from outside.
#[derive(Debug, Default, PartialEq)]
struct Found {
    done: usize,
    duplicates: Vec<String>,
    lost: Vec<String>,
    stuck: Vec<String>,
    left: Vec<String>,
}

impl Found {
    fn of(fleet: &Fleet, names: &[String]) -> Self {
        let mut found = Self::default();
        let mut landed: BTreeMap<String, usize> = BTreeMap::new();
        for repo in REPOS {
            let origin = fleet.path(&format!("{repo}.git"));
            let log =
                git(&origin, &["log", "--format=%s|%(trailers:key=AFK-Run,valueonly)", "main"]);
            for line in log.lines().filter(|line| line.contains("Test say_")) {
                *landed.entry(format!("{repo} {line}")).or_default() += 1;
            }
            let refs = git(&origin, &["for-each-ref", "--format=%(refname)"]);
            found.left.extend(refs.lines().filter(|r| r.contains("afk/")).map(str::to_owned));
        }
        for (commit, times) in landed {
            if times > 1 {
                found.duplicates.push(format!("{commit} landed {times} times"));
            }
        }
        for name in names {
            let issue = fleet.json(&["issue", "show", &format!("o/{name}")]);
            let comments = issue["comments"].as_array().map_or(0, Vec::len);
            if comments != 1 {
                found.duplicates.push(format!("{name} has {comments} comments"));
            }
            let labels = issue["issue"]["labels"].to_string();
            match (fleet.outcome(name).as_str(), issue["issue"]["open"].as_bool()) {
                ("done", Some(false)) if labels == "[]" => found.done += 1,
                ("live", _) => found.stuck.push(name.clone()),
                (outcome, open) => {
                    found.lost.push(format!("{name} is {outcome}, open {open:?}, {labels}"));
                }
            }
        }
        let bells = fleet.bell.ids().len();
        if bells != names.len() {
            found.lost.push(format!("{bells} doorbells for {} issues", names.len()));
        }
        found.left.extend(fleet.processes());
        found
    }
}

fn kill(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// Ends the daemon as a service manager would.
fn end(control: Control) {
    let pid = i32::try_from(control.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    control.done();
}
