//! What a job may use, and what happens when it takes more. Real processes.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use afk_agent::host::{EndHow, JobState};
use afk_agent::sandbox::Requirement;
use common::{BOTH, Bench, all, is_root, stdout};

#[tokio::test]
async fn too_much_output_ends_it() {
    for requirement in BOTH {
        let bench = Bench::new();
        let mut spec = bench.shell("job", "yes & yes >&2", requirement);
        spec.output_limit = 100_000;
        let (job, end) = bench.run_spec(&spec).await;
        assert_eq!(end.how, EndHow::TooMuchOutput);
        let stored = all(&job, "stdout").await.len() + all(&job, "stderr").await.len();
        assert_eq!(stored, 100_000);
        assert_eq!(bench.survivors(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn too_much_memory_ends_it() {
    for requirement in BOTH {
        let bench = Bench::new();
        let mut spec = bench.shell(
            "greedy",
            "head -c 900000000 /dev/zero | tail | wc -c; sleep 1000",
            requirement,
        );
        spec.boxed.limits.memory = Some(100 << 20);
        let (_, end) = bench.run_spec(&spec).await;
        assert_eq!((end.how, bench.survivors()), (EndHow::OutOfMemory, Vec::new()));
        assert!(end.max_memory > 100 << 20, "{}", end.max_memory);

        // Many small processes together exceed the limit, although each one alone would not.
        let many = "for n in 1 2 3 4 5 6 7 8; do { head -c 30000000 /dev/zero; sleep 1000; } | tail & done; wait";
        let mut spec = bench.shell("many", many, requirement);
        spec.boxed.limits.memory = Some(100 << 20);
        let (_, end) = bench.run_spec(&spec).await;
        assert_eq!((end.how, bench.survivors()), (EndHow::OutOfMemory, Vec::new()));

        let (_, end) = bench
            .run("modest", "head -c 1000000 /dev/zero | tail | wc -c; sleep 0.5", requirement)
            .await;
        assert_eq!(end.how, EndHow::Exited(0));
        assert!(end.max_memory > 0);
    }
}

#[tokio::test]
async fn memory_backed_folders_are_bounded() {
    let bench = Bench::new();
    let script = "for d in /tmp /var/tmp /dev/shm /run $HOME; do
        head -c 3000000 /dev/zero > $d/big 2>/dev/null && echo $d takes it; wc -c < $d/big; done";
    let mut spec = bench.shell("job", script, Requirement::Required);
    spec.boxed.limits.scratch = 2 << 20;
    let (job, end) = bench.run_spec(&spec).await;
    assert_eq!(end.how, EndHow::Exited(0));
    assert_eq!(stdout(&job).await, "2097152\n".repeat(5));
}

#[tokio::test]
async fn a_fork_bomb_is_bounded() {
    for requirement in BOTH {
        let bench = Bench::new();
        // Doubles nine times and then sleeps: about a thousand processes if nothing stops it. As
        // root they sleep long enough for the host to stop them; otherwise the kernel's limit does.
        let stay = if is_root() { 60 } else { 3 };
        let script = format!(
            "b() {{ if [ $1 -gt 0 ]; then b $(($1-1)) & b $(($1-1)) & fi; sleep {stay}; }}; b 9; wait"
        );
        let mut spec = bench.shell("bomb", &script, requirement);
        spec.boxed.limits.processes = Some(100);
        let job = bench.hosts.ensure(&spec).await.unwrap();
        let mut most = 0;
        let end = loop {
            // Only the shells carry the nonce and are counted here; the limit counts the sleeps,
            // too.
            most = most.max(bench.survivors().len());
            match job.status().await.unwrap() {
                JobState::Ended(end) => break end,
                JobState::Starting | JobState::Running { .. } => tokio::task::yield_now().await,
                JobState::Lost => panic!("lost"),
            }
        };
        println!("{requirement:?}: {:?}, {most} shells seen", end.how);
        assert_eq!(bench.survivors(), Vec::<String>::new());
        if is_root() {
            // For root the kernel does not enforce the limit, and the host does so at its next
            // look. How far the bomb has come by then depends on the machine's load.
            assert_eq!(end.how, EndHow::TooManyProcesses);
        } else {
            assert!(most <= 100, "{most}");
        }
    }
}

#[tokio::test]
async fn the_kernel_bounds_files_and_descriptors() {
    for requirement in BOTH {
        let bench = Bench::new();
        let mut spec = bench.shell(
            "job",
            "ulimit -n; ulimit -c; head -c 5000 /dev/zero > big; wc -c < big",
            requirement,
        );
        spec.boxed.limits.file_size = Some(4096);
        spec.boxed.limits.open_files = Some(77);
        let (job, _) = bench.run_spec(&spec).await;
        assert_eq!(stdout(&job).await, "77\n0\n4096\n");
    }
}

#[tokio::test]
async fn processor_time_is_told() {
    for requirement in BOTH {
        let bench = Bench::new();
        let (_, end) = bench
            .run("job", "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done", requirement)
            .await;
        assert!(end.cpu_ms > 0, "{end:?}");
    }
}

#[tokio::test]
async fn time_is_up_while_it_is_quiet() {
    let bench = Bench::new();
    let mut spec = bench.shell("job", "sleep 1000", Requirement::Required);
    spec.timeout = Duration::from_millis(300);
    let (_, end) = bench.run_spec(&spec).await;
    assert_eq!(end.how, EndHow::TimedOut);
}

#[test]
fn all_of_it_as_nobody() {
    common::all_again_as_nobody("all_of_it_as_nobody", &[]);
}
