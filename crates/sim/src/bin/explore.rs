//! Runs many seeds on two threads, and prints what was covered and what broke; or shows that every
//! known-bad loop is caught.
//!
//! `cargo xtask sim` builds and starts it. One seed runs on one thread only, so it is the same
//! story on any of them.

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use afk_sim::explore::{Report, Scenario, explore, run_bad, shrink};
use afk_sim::fakes::Bad;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Number of threads.
const THREADS: usize = 2;
/// Number of failing seeds after which no further seed is started.
const ENOUGH: usize = 5;

#[derive(Default)]
struct Tally {
    seeds: u64,
    runs: u64,
    steps: u64,
    calls: u64,
    faults: u64,
    crashes: u64,
    broken: Vec<(u64, String)>,
}

/// The arguments.
struct Args {
    from: u64,
    seeds: u64,
    seconds: u64,
    /// Whether to run the known-bad loops instead of the good one.
    bad: bool,
    /// Folder that reduced stories are written to, if any.
    keep: Option<PathBuf>,
}

fn args() -> Option<Args> {
    let mut args = std::env::args().skip(1);
    let mut number = || args.next()?.parse::<u64>().ok();
    let (from, seeds, seconds) = (number()?, number()?, number()?);
    let bad = args.next()? == "bad";
    Some(Args { from, seeds, seconds, bad, keep: args.next().map(PathBuf::from) })
}

fn main() -> ExitCode {
    let Some(ask) = args() else {
        println!("usage: explore FROM SEEDS SECONDS good|bad [FOLDER]");
        return ExitCode::from(2);
    };
    let sound = if ask.bad { catch_bad(&ask) } else { run_seeds(&ask) };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_seeds(ask: &Args) -> bool {
    let Args { from, seeds, seconds, .. } = *ask;
    let (next, told) = (AtomicU64::new(from), Mutex::new(Tally::default()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while began.elapsed() < Duration::from_secs(seconds) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from.saturating_add(seeds) || !note(&told, seed, &explore(seed)) {
                        break;
                    }
                }
            });
        }
    });
    let told = told.into_inner().unwrap_or_default();
    let Tally { seeds, runs, steps, calls, faults, crashes, mut broken } = told;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{seeds} scenarios, seeds {from}..{}: {runs} runs, {steps} steps ({calls} port calls), \
         {faults} faults injected, {crashes} crashes survived, in {seconds:.1} s: \
         {:.0} seeds/s, {:.0} steps/s",
        from + seeds,
        seeds as f64 / seconds,
        steps as f64 / seconds,
    );
    broken.sort();
    for (seed, wrong) in &broken {
        println!("seed {seed}: {wrong}");
    }
    if let Some((seed, _)) = broken.first() {
        let (small, report) = shrink(&Scenario::new(*seed), None);
        let text = text_of(&small);
        println!("\n{}\nseed {seed}, reduced to what it takes:\n{text}", report.tail);
        println!("\nrun it again: cargo xtask sim --seed {seed}");
        write(ask, &format!("seed-{seed}"), &text);
    }
    let whole = seeds == ask.seeds;
    if !whole && broken.is_empty() {
        println!("the time was up before all {} seeds were run", ask.seeds);
    }
    broken.is_empty() && whole
}

/// Adds the result of a seed, and returns whether to go on.
fn note(told: &Mutex<Tally>, seed: u64, report: &Report) -> bool {
    let Ok(mut told) = told.lock() else { return false };
    told.seeds += 1;
    told.steps += report.steps;
    told.runs += u64::from(report.runs);
    told.calls += report.calls;
    told.faults += u64::from(report.faults);
    told.crashes += u64::from(report.crashes);
    if let Some(wrong) = &report.wrong {
        told.broken.push((seed, wrong.clone()));
    }
    told.broken.len() < ENOUGH
}

/// Prints for each known-bad loop how many seeds it took to catch it and by which invariant, as
/// soon as that is known; returns whether all were caught.
fn catch_bad(ask: &Args) -> bool {
    let (next, caught) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(bad) = Bad::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    caught.fetch_add(usize::from(is_caught(ask, *bad)), Ordering::Relaxed);
                }
            });
        }
    });
    let caught = caught.into_inner();
    println!("{caught} of {} known-bad loops are caught", Bad::ALL.len());
    caught == Bad::ALL.len()
}

/// Whether one of the seeds, or the kept story of `bad`, catches it. All loops share the available
/// time.
fn is_caught(ask: &Args, bad: Bad) -> bool {
    let began = Instant::now();
    let share = Duration::from_secs(ask.seconds) * THREADS as u32 / Bad::ALL.len() as u32;
    let mut told = 0;
    let caught = (ask.from..ask.from.saturating_add(ask.seeds))
        .take_while(|_| began.elapsed() < share)
        .inspect(|_| told += 1)
        .find_map(|seed| Some((seed, run_bad(&Scenario::new(seed), Some(bad)).wrong?)));
    let story = kept(bad).and_then(|story| run_bad(&story, Some(bad)).wrong);
    match (&caught, &story) {
        (Some((_, wrong)), _) => println!("{bad:?}: {told} seeds: {wrong}"),
        (None, Some(wrong)) => println!("{bad:?}: none of {told} seeds; its kept story: {wrong}"),
        (None, None) => println!("{bad:?}: NOT CAUGHT, by {told} seeds or a kept story"),
    }
    if let (Some((seed, _)), Some(_)) = (&caught, &ask.keep) {
        let (mut small, _) = shrink(&Scenario::new(*seed), Some(bad));
        small.about = format!("catches {bad:?}");
        write(ask, &format!("{bad:?}"), &text_of(&small));
    }
    caught.is_some() || story.is_some()
}

/// The kept story of a known-bad loop.
fn kept(bad: Bad) -> Option<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/bad");
    let text = std::fs::read_to_string(folder.join(format!("{bad:?}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}

fn text_of(scenario: &Scenario) -> String {
    serde_json::to_string_pretty(scenario).unwrap_or_else(|error| error.to_string())
}

fn write(ask: &Args, name: &str, text: &str) {
    let Some(folder) = &ask.keep else { return };
    let path = folder.join(format!("{name}.json"));
    match std::fs::write(&path, format!("{text}\n")) {
        Ok(()) => println!("written to {}", path.display()),
        Err(error) => println!("cannot write {}: {error}", path.display()),
    }
}
