//! Jobs under a real host: started once, attached to, ended whole. Real processes, in both kinds of
//! box.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::time::Duration;

use afk_agent::host::{
    EndHow, HostError, Hosts, Job, JobKey, JobSpec, JobState, KilledBy, Stdin, StopSignal,
};
use afk_agent::sandbox::{Requirement, Strength};
use common::{BOTH, BOUND, Bench, ended, host_pid, running, signal, stderr, stdout, until};
use rustix::process::Signal;

/// Starts a plain child, and a grandchild in a session of its own that ignores every signal it can
/// and has an empty environment (`env -i` takes the marker away); reports when both are there.
const FAMILY: &str = r#"
(setsid env -i /bin/sh -c 'trap "" TERM INT HUP; echo up > grandchild; while :; do sleep 1000; done' "$0" &) &
sleep 1000 &
until [ -s grandchild ]; do sleep 0.01; done
echo ready > family
"#;

#[tokio::test]
async fn it_runs_and_tells_how() {
    for (requirement, strength) in BOTH.into_iter().zip([Strength::Full, Strength::Partial]) {
        let bench = Bench::new();
        let (job, end) = bench.run("job", "echo out; echo err >&2; exit 3", requirement).await;
        assert_eq!(end.how, EndHow::Exited(3), "{end:?} {}", stderr(&job).await);
        assert_eq!((stdout(&job).await.as_str(), stderr(&job).await.as_str()), ("out\n", "err\n"));
        assert_eq!(end.sandbox, Some(strength));
        assert!(end.started_at.is_some_and(|at| at <= end.ended_at));
        println!("{}", end.sandbox_text);
        job.clone().remove().await.unwrap();
        assert!(!job.dir().exists());
    }
}

#[tokio::test]
async fn ends_are_told_apart() {
    let bench = Bench::new();
    for (n, requirement) in BOTH.into_iter().enumerate() {
        for (name, script, expected) in [
            ("well", "exit 0", EndHow::Exited(0)),
            ("signal", "kill -SEGV $$; sleep 9", EndHow::Signalled(11)),
            ("pretends-bwrap", "echo 'bwrap: no' >&2; exit 1", EndHow::Exited(1)),
            ("pretends-ours", "echo 'cannot start' >&2; exit 125", EndHow::Exited(125)),
        ] {
            let (_, end) = bench.run(&format!("{name}{n}"), script, requirement).await;
            assert_eq!(end.how, expected, "{name} {requirement:?}");
        }
        let mut spec = bench.shell(&format!("missing{n}"), "", requirement);
        spec.boxed.argv = vec!["no-such-program".to_owned()];
        let (_, end) = bench.run_spec(&spec).await;
        assert!(
            matches!(&end.how, EndHow::CouldNotStart(why) if why.contains("no-such-program")),
            "{end:?}"
        );
        let mut spec = bench.shell(&format!("cwd{n}"), "", requirement);
        spec.boxed.cwd = "/no/such/folder".into();
        let (_, end) = bench.run_spec(&spec).await;
        assert!(
            matches!(&end.how, EndHow::CouldNotStart(why) if why.contains("/no/such/folder")),
            "{end:?}"
        );
        let mut spec = bench.shell(&format!("bind{n}"), "", requirement);
        spec.boxed = spec.boxed.bind("/no/such/source", afk_agent::sandbox::Access::ReadOnly);
        let (_, end) = bench.run_spec(&spec).await;
        assert!(
            matches!(&end.how, EndHow::CouldNotStart(why) if why.contains("/no/such/source")),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn what_no_host_has_can_be_withdrawn_and_started_anew() {
    let bench = Bench::new();
    let spec = bench.shell("job", "echo up > up; sleep 1000", Requirement::Required);
    // As if the starter died after it wrote the spec and before there was a host.
    let nobody = Hosts::new("/no/such/program");
    assert!(nobody.ensure(&spec).await.is_err());
    let job = Job::open(&spec.dir).unwrap();
    assert_eq!(job.status().await.unwrap(), JobState::Starting);
    assert!(job.withdraw().await.unwrap());
    assert!(Job::open(&spec.dir).is_none(), "as if it had never been asked for");
    assert!(job.withdraw().await.unwrap(), "gone is gone");
    let job = bench.hosts.ensure(&spec).await.unwrap();
    assert!(!job.withdraw().await.unwrap(), "its host is there");
    bench.appears("up");
    assert!(!job.withdraw().await.unwrap(), "it runs");
    job.kill(KilledBy::Interrupt).await.unwrap();
    assert!(!job.withdraw().await.unwrap(), "its end is told");
}

#[tokio::test]
async fn attaching_twice_is_one_process() {
    for requirement in BOTH {
        let bench = Bench::new();
        let spec = bench.shell("job", "echo started; echo up > up; sleep 1000", requirement);
        let first = bench.hosts.ensure(&spec).await.unwrap();
        let pid = running(&first).await;
        bench.appears("up");
        let second = bench.hosts.ensure(&spec).await.unwrap();
        assert_eq!(running(&second).await, pid);
        assert_eq!(running(&Job::open(&spec.dir).unwrap()).await, pid);
        assert!(matches!(second.clone().remove().await, Err(HostError::StillRunning { .. })));
        second.kill(KilledBy::Interrupt).await.unwrap();
        assert_eq!(ended(&first).await.how, EndHow::Killed(KilledBy::Interrupt));
        assert_eq!(stdout(&first).await, "started\n");
        // A job that is over stays over: ensuring its key again gives the same end, and killing it
        // changes nothing.
        assert_eq!(
            ended(&bench.hosts.ensure(&spec).await.unwrap()).await.how,
            EndHow::Killed(KilledBy::Interrupt)
        );
        first.kill(KilledBy::Halt).await.unwrap();
        assert!(matches!(first.renew().await, Err(HostError::Over { .. })));
    }
}

#[tokio::test]
async fn another_key_in_the_same_folder_is_refused() {
    let bench = Bench::new();
    let mut spec = bench.shell("job", "true", Requirement::Required);
    bench.run_spec(&spec).await;
    spec.key = JobKey::new("another");
    assert!(matches!(bench.hosts.ensure(&spec).await, Err(HostError::OtherKey { .. })));
}

#[tokio::test]
async fn nothing_outlives_its_host() {
    for requirement in BOTH {
        let bench = Bench::new();
        let spec = bench.shell("job", &format!("{FAMILY} sleep 1000"), requirement);
        let job = bench.hosts.ensure(&spec).await.unwrap();
        running(&job).await;
        bench.appears("family");
        assert!(bench.survivors().len() >= 2, "{:?}", bench.survivors());
        signal(host_pid(&job), Signal::KILL);
        let state = job.wait(BOUND).await.unwrap();
        assert_eq!(state, JobState::Lost, "{requirement:?}");
        // No waiting here: `Lost` promises that nothing is left.
        assert_eq!(bench.survivors(), Vec::<String>::new(), "{requirement:?}");
        assert_eq!(
            bench.hosts.ensure(&spec).await.unwrap().status().await.unwrap(),
            JobState::Lost,
            "never twice"
        );
        job.remove().await.unwrap();
        let (_, end) = bench.run("job", "true", requirement).await;
        assert_eq!(end.how, EndHow::Exited(0), "the key is free again");
    }
}

#[tokio::test]
async fn nothing_outlives_its_job() {
    for requirement in BOTH {
        let bench = Bench::new();
        let (_, end) = bench.run("end", &format!("{FAMILY} exit 4"), requirement).await;
        assert_eq!(
            (end.how, bench.survivors()),
            (EndHow::Exited(4), Vec::new()),
            "{requirement:?}"
        );

        let bench = Bench::new();
        let job = bench
            .hosts
            .ensure(&bench.shell(
                "kill",
                &format!("trap '' TERM; {FAMILY} sleep 1000"),
                requirement,
            ))
            .await
            .unwrap();
        bench.appears("family");
        job.kill(KilledBy::Halt).await.unwrap();
        assert_eq!(
            (ended(&job).await.how, bench.survivors()),
            (EndHow::Killed(KilledBy::Halt), Vec::new())
        );

        let bench = Bench::new();
        let mut spec = bench.shell(
            "time",
            &format!("trap '' TERM; {FAMILY} while :; do sleep 1; done"),
            requirement,
        );
        spec.timeout = Duration::from_secs(1);
        let (_, end) = bench.run_spec(&spec).await;
        assert_eq!((end.how, bench.survivors()), (EndHow::TimedOut, Vec::new()), "{requirement:?}");
    }
}

#[tokio::test]
async fn an_interrupt_is_heard_and_then_enforced() {
    for requirement in BOTH {
        let bench = Bench::new();
        let polite = bench.shell(
            "polite",
            "trap 'echo bye; exit 0' INT; echo up > up; while :; do sleep 0.01; done",
            requirement,
        );
        let job = bench.hosts.ensure(&polite).await.unwrap();
        bench.appears("up");
        job.interrupt(StopSignal::Interrupt, BOUND, KilledBy::Interrupt).await.unwrap();
        assert_eq!(ended(&job).await.how, EndHow::Killed(KilledBy::Interrupt));
        assert_eq!(stdout(&job).await, "bye\n");
        job.interrupt(StopSignal::Interrupt, BOUND, KilledBy::Interrupt).await.unwrap();

        let deaf = bench.shell(
            "deaf",
            "trap '' INT TERM; echo up > up2; while :; do sleep 0.1; done",
            requirement,
        );
        let job = bench.hosts.ensure(&deaf).await.unwrap();
        bench.appears("up2");
        job.interrupt(StopSignal::Interrupt, Duration::from_millis(200), KilledBy::Halt)
            .await
            .unwrap();
        assert_eq!(ended(&job).await.how, EndHow::Killed(KilledBy::Halt));
        assert_eq!(bench.survivors(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_wedged_host_is_taken_down() {
    for requirement in BOTH {
        let bench = Bench::new();
        let job = bench
            .hosts
            .ensure(&bench.shell("job", &format!("{FAMILY} sleep 1000"), requirement))
            .await
            .unwrap();
        running(&job).await;
        bench.appears("family");
        signal(host_pid(&job), Signal::STOP);
        assert!(matches!(job.renew().await, Err(HostError::Silent { .. })));
        tokio::time::timeout(BOUND, job.kill(KilledBy::Halt)).await.unwrap().unwrap();
        assert_eq!(
            (ended(&job).await.how, bench.survivors()),
            (EndHow::Killed(KilledBy::Halt), Vec::new()),
            "{requirement:?}"
        );
    }
}

#[tokio::test]
async fn a_job_that_nobody_renews_ends() {
    let bench = Bench::new();
    let mut spec = bench.shell("alone", "sleep 1000", Requirement::Required);
    spec.renew_within = Duration::from_millis(500);
    let job = bench.hosts.ensure(&spec).await.unwrap();
    let end = ended(&job).await;
    assert_eq!(end.how, EndHow::Killed(KilledBy::Expired));

    let mut spec = bench.shell("renewed", "sleep 6", Requirement::Required);
    spec.renew_within = Duration::from_secs(4);
    let job = bench.hosts.ensure(&spec).await.unwrap();
    while let JobState::Starting | JobState::Running { .. } = job.status().await.unwrap() {
        // An error is expected at the very end, when the host is gone.
        let _ = job.renew().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ended(&job).await.how, EndHow::Exited(0));
}

#[tokio::test]
async fn one_job_at_a_time_in_a_workspace() {
    let bench = Bench::new();
    let in_workspace = |name: &str, script: &str| JobSpec {
        lock: Some(bench.path().join("workspace.lock")),
        ..bench.shell(name, script, Requirement::LandlockOnly)
    };
    let first =
        bench.hosts.ensure(&in_workspace("first", &format!("{FAMILY} sleep 1000"))).await.unwrap();
    bench.appears("family");
    let (second, end) = bench.run_spec(&in_workspace("second", "true")).await;
    assert_eq!(end.how, EndHow::WorkspaceBusy);
    second.remove().await.unwrap();
    // The host of the workspace's holder is killed, and nobody asks for that job's state: the next
    // job in the workspace still finds nothing left of it.
    signal(host_pid(&first), Signal::KILL);
    let taken = loop {
        let (second, end) = bench.run_spec(&in_workspace("second", "true")).await;
        match end.how {
            EndHow::WorkspaceBusy => second.remove().await.unwrap(),
            other => break other,
        }
    };
    assert_eq!((taken, bench.survivors()), (EndHow::Exited(0), Vec::new()));
    assert_eq!(first.status().await.unwrap(), JobState::Lost);
}

#[tokio::test]
async fn folders_may_have_long_names() {
    let mut bench = Bench::new();
    let long = bench.path().join("a".repeat(150)).join("b".repeat(150));
    fs::create_dir_all(&long).unwrap();
    let spec = JobSpec {
        dir: long.join("job"),
        ..bench.shell("job", "read line; echo \"$line\"", Requirement::Required)
    };
    let spec = JobSpec { stdin: Stdin::Pipe(Vec::new()), ..spec };
    bench.nonce.push('x');
    let job = bench.hosts.ensure(&spec).await.unwrap();
    job.write(0, b"through\n").await.unwrap();
    assert_eq!(ended(&job).await.how, EndHow::Exited(0));
    assert_eq!(stdout(&job).await, "through\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_no_zombie_of_ours() {
    let bench = Bench::new();
    let (job, _) = bench.run("job", "true", Requirement::Required).await;
    let pid = host_pid(&job);
    until(|| (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

#[test]
fn all_of_it_as_nobody() {
    common::all_again_as_nobody("all_of_it_as_nobody", &[]);
}

#[tokio::test]
async fn where_there_are_control_groups_a_job_is_in_one_until_it_ends() {
    for requirement in BOTH {
        let bench = Bench::new();
        let script = "sleep 1000 & setsid sleep 1000 & echo > ready; wait";
        let job = bench.hosts.ensure(&bench.shell("job", script, requirement)).await.unwrap();
        bench.appears("ready");
        let record = std::fs::read(job.dir().join("host.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let group = record["group"].as_str().map(std::path::PathBuf::from);
        let Some(group) = group.filter(|group| group.exists()) else {
            println!("no control group can be made here");
            job.kill(KilledBy::Interrupt).await.unwrap();
            return;
        };
        let inside = || std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        for survivor in bench.survivors() {
            let pid = survivor.split(':').next().unwrap();
            assert!(inside().lines().any(|line| line == pid), "{survivor} is outside");
        }
        let host = record["host"]["pid"].to_string();
        assert!(inside().lines().all(|line| line != host), "the host is inside");
        job.kill(KilledBy::Interrupt).await.unwrap();
        assert_eq!(bench.survivors(), Vec::<String>::new());
        assert!(!group.exists(), "{} is left", group.display());
    }
}
