//! Starters of jobs that are killed. Real processes.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use afk_agent::host::{EndHow, Hosts, JobKey, JobSpec};
use afk_agent::sandbox::Requirement;
use common::{BOUND, Bench, ended, inner, running};

#[tokio::test]
async fn many_starters_at_once_make_one_job() {
    let bench = Bench::new();
    let spec = bench.shell("job", "echo once >> ran; sleep 0.3", Requirement::Required);
    let elsewhere: Vec<_> = (0..3)
        .map(|_| starter(&bench, "job", "echo once >> ran; sleep 0.3").spawn().unwrap())
        .collect();
    let here = (0..8).map(|_| {
        let (hosts, spec) = (bench.hosts.clone(), spec.clone());
        tokio::spawn(async move { hosts.ensure(&spec).await.unwrap() })
    });
    for one in here.collect::<Vec<_>>() {
        assert_eq!(ended(&one.await.unwrap()).await.how, EndHow::Exited(0));
    }
    for mut one in elsewhere {
        one.kill().unwrap();
        one.wait().unwrap();
    }
    assert_eq!(fs::read_to_string(bench.work().join("ran")).unwrap(), "once\n");
}

#[tokio::test]
async fn the_job_outlives_its_starter() {
    let bench = Bench::new();
    let script = "echo first; echo up > up; until [ -e go ]; do sleep 0.01; done; echo second";
    let mut process = starter(&bench, "job", script).spawn().unwrap();
    bench.appears("up");
    process.kill().unwrap();
    process.wait().unwrap();
    let job = bench.hosts.ensure(&bench.shell("job", script, Requirement::Required)).await.unwrap();
    running(&job).await;
    // The job's file shows that the line was written, not that the host has read it.
    let printed = async {
        loop {
            let printed = job.read_stdout(0, 1000).await.unwrap();
            if !printed.is_empty() {
                break printed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let first = tokio::time::timeout(BOUND, printed).await.unwrap();
    fs::write(bench.work().join("go"), "").unwrap();
    assert_eq!(ended(&job).await.how, EndHow::Exited(0));
    let rest = job.read_stdout(first.len() as u64, 1000).await.unwrap();
    assert_eq!((&first[..], &rest[..]), (&b"first\n"[..], &b"second\n"[..]));
    assert!(job.read_stdout(1 << 40, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_starter_killed_at_any_moment_leaves_one_job_or_none() {
    // In milliseconds: from before the starter's first instruction to after its job's end.
    for delay in [0, 1, 2, 4, 8, 16, 32, 64, 128] {
        let bench = Bench::new();
        let mut process = starter(&bench, "job", "echo once >> ran").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        process.kill().unwrap();
        process.wait().unwrap();
        let (_, end) = bench.run("job", "echo once >> ran", Requirement::Required).await;
        assert_eq!(end.how, EndHow::Exited(0));
        assert_eq!(
            fs::read_to_string(bench.work().join("ran")).unwrap(),
            "once\n",
            "killed after {delay} ms"
        );
    }
}

/// A process that starts a job and then hangs until it is killed.
fn starter(bench: &Bench, name: &str, script: &str) -> Command {
    let words = inner("start_and_hang");
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env("TEST_DIR", bench.path())
        .env("TEST_NONCE", &bench.nonce)
        .env("TEST_NAME", name)
        .env("TEST_SCRIPT", script)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command
}

#[tokio::test]
#[ignore = "run by other tests, in a process of its own"]
async fn start_and_hang() {
    let [dir, nonce, name, script] = ["DIR", "NONCE", "NAME", "SCRIPT"]
        .map(|name| std::env::var(format!("TEST_{name}")).unwrap());
    let work = std::path::Path::new(&dir).join("work");
    let boxed = afk_agent::sandbox::BoxSpec::new(["/bin/sh", "-c", &script, &nonce], &work)
        .bind(&work, afk_agent::sandbox::Access::ReadWrite);
    let spec = JobSpec::new(
        JobKey::new(format!("{nonce}/{name}")),
        std::path::Path::new(&dir).join(&name),
        boxed,
    );
    Hosts::new(env!("CARGO_BIN_EXE_afk-host")).ensure(&spec).await.unwrap();
    tokio::time::sleep(BOUND).await;
}

#[test]
fn all_of_it_as_nobody() {
    common::all_again_as_nobody("all_of_it_as_nobody", &[]);
}
