//! Measures what idle hosts cost, and asserts nothing about time. Run it with
//! `cargo nextest run -p afk-agent --run-ignored only idle --no-capture`.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use afk_agent::host::KilledBy;
use afk_agent::sandbox::Requirement;
use common::{Bench, until};

const HOSTS: usize = 20;
/// How long the hosts are measured.
const SPAN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for half a minute"]
async fn idle_hosts() {
    let bench = Bench::new();
    let mut jobs = Vec::new();
    for n in 0..HOSTS {
        let script = format!("echo > ready-{n}; exec sleep 1000");
        let spec = bench.shell(&format!("idle-{n}"), &script, Requirement::Preferred);
        jobs.push(bench.hosts.ensure(&spec).await.unwrap());
        until(|| bench.work().join(format!("ready-{n}")).exists().then_some(()));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, began) = (ticks(&bench), Instant::now());
    tokio::time::sleep(SPAN).await;
    let (after, took) = (ticks(&bench), began.elapsed());
    let all = fs::read_dir("/proc").unwrap().flatten().count();
    let seconds = (after - before) as f64 / rustix::param::clock_ticks_per_second() as f64;
    println!(
        "{HOSTS} idle hosts: {:.2} CPU seconds a minute, with {all} entries in /proc",
        seconds * 60.0 / took.as_secs_f64()
    );
    for job in jobs {
        job.kill(KilledBy::Interrupt).await.unwrap();
    }
    assert_eq!(bench.survivors(), Vec::<String>::new());
}

/// CPU time that this test's hosts have used so far, in clock ticks.
fn ticks(bench: &Bench) -> u64 {
    let folder = bench.path().to_str().unwrap();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.contains("afk-host\0host\0") && line.contains(folder)).then_some(pid)
    });
    let used = pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    used.sum()
}
