//! A box with network rules: what the rules name is reached, everything else fails and is recorded,
//! the key stays outside, and the process outside ends with the job.
//!
//! The attacks are `afk_stand_ins::network_attacks`, run in this very binary; each is first run
//! without a box, where it must work.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use afk_agent::egress::{self, Credential, Egress, Header, HostRule, Hosts, Upstream};
use afk_agent::host::{EndHow, Job, JobKey, JobSpec};
use afk_agent::sandbox::{Access, BoxSpec, Network, Requirement};
use afk_stand_ins::network_attacks::{self, Outside};
use afk_stand_ins::responses_api::{ResponsesApi, Script};
use common::{Bench, ended, host_pid, inner, running, signal, stderr, stdout, until};
use rustix::process::Signal;

const SECRET: &str = "sk-canary-51f0c93d7a";

/// Tries everything, and prints what worked. Run by the tests below, in a box and without one.
#[test]
#[ignore = "run by the other tests"]
fn attacks() {
    for (name, result) in network_attacks::all(&std::env::var("ATTACK").unwrap()) {
        let told = result.map_or_else(|error| error.to_string(), |()| "WORKED".to_owned());
        println!("\nattack: {name}: {told}");
    }
}

/// Reaches a listed host through the proxy, and the model's API at its address.
#[test]
#[ignore = "run by the other tests"]
fn reaches() {
    let at = std::env::var("LISTED").unwrap();
    let mut tunnel = TcpStream::connect(egress::ADDRESS).unwrap();
    write!(tunnel, "CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut said = String::new();
    tunnel.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("hello"), "{said}");

    let body = r#"{"input": [], "stream": true}"#;
    let mut model = TcpStream::connect(egress::ADDRESS).unwrap();
    write!(
        model,
        "POST /v1/responses HTTP/1.1\r\nHost: model\r\nAuthorization: Bearer not-this\r\nCookie: a=b\r\n\
         x-api-key: nor-this\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut said = String::new();
    model.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

fn upstream(url: String) -> Upstream {
    Upstream {
        url,
        paths: vec!["/v1/responses".to_owned()],
        credential: Credential::Handed,
        header: Header::Bearer,
    }
}

fn listed(hosts: Hosts, port: u16) -> HostRule {
    HostRule { hosts, ports: vec![port] }
}

/// A job of this bench whose network has these rules.
fn job(bench: &Bench, name: &str, argv: &[String], rules: Egress) -> JobSpec {
    let mut boxed = BoxSpec::new(argv.iter().map(String::as_str), bench.work())
        .bind(bench.work(), Access::ReadWrite);
    if argv[0].starts_with('/') && !argv[0].starts_with("/bin") {
        boxed = boxed.bind(Path::new(&argv[0]), Access::ReadOnly);
    }
    boxed.network = Network::Through(rules);
    boxed.env.extend(egress::environment());
    let key = JobKey::new(format!("{}/{name}", bench.nonce));
    let mut spec = JobSpec::new(key, bench.path().join(name), boxed);
    spec.model_key = Some(SECRET.into());
    spec
}

fn told(output: &str) -> Vec<(String, String)> {
    let lines = output.lines().filter_map(|line| line.strip_prefix("attack: "));
    let pair = |line: &str| line.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned()));
    lines.filter_map(pair).collect()
}

async fn succeeded(job: &Job) {
    let end = ended(job).await;
    assert_eq!(end.how, EndHow::Exited(0), "{} {}", stdout(job).await, stderr(job).await);
}

#[tokio::test]
async fn nothing_gets_past_the_rules_and_all_of_it_is_told() {
    let bench = Bench::new();
    let outside = Outside::open(bench.path()).unwrap();
    let words = outside.words(SECRET);
    let argv = inner("attacks");
    let unboxed = Command::new(&argv[0])
        .args(&argv[1..])
        .env("ATTACK", &words)
        .env("SECRET", SECRET)
        .current_dir(bench.work())
        .output()
        .unwrap();
    let free = told(&String::from_utf8_lossy(&unboxed.stdout));
    assert!(free.len() >= 6, "{unboxed:?}");
    for (name, became) in &free {
        assert_eq!(became, "WORKED", "{name} fails without a box, too, and shows nothing");
    }
    let before = outside.caught();

    let rules = Egress {
        hosts: vec![listed(Hosts::Name("localhost".to_owned()), 443)],
        model: Some(upstream("http://127.0.0.1:9/v1".to_owned())),
    };
    let mut spec = job(&bench, "attacks", &argv, rules);
    spec.boxed.env.insert("ATTACK".to_owned(), words);
    let job = bench.hosts.ensure(&spec).await.unwrap();
    succeeded(&job).await;
    let output = stdout(&job).await;
    let boxed = told(&output);
    assert!(boxed.len() >= free.len() + 10, "{output}");
    for (name, became) in &boxed {
        assert_ne!(became, "WORKED", "{name}");
    }
    assert_eq!(outside.caught(), before, "nothing arrived");

    let refused = job.refusals(None).await.unwrap();
    let why = |target: &str| {
        let found = refused.iter().find(|one| one.target.starts_with(target));
        found.map_or_else(|| panic!("{target}: {refused:#?}"), |one| one.why.as_str())
    };
    assert_eq!(why("evil.example:443"), "the host is not on the list");
    assert_eq!(why("169.254.169.254:80"), "the host is not on the list");
    assert!(why("localhost:443").contains("which is not a public address"), "{refused:#?}");
    assert_eq!(why("the model's API, GET /v1/files"), "the model's API may not be asked for this");
    assert_eq!(why("past the proxy, over IPv4"), "the box has no other way out");
    let kept = ["spec.json", "host.json", "end.json", "refused.jsonl", "host.log"];
    for name in kept {
        let text = std::fs::read_to_string(job.dir().join(name)).unwrap_or_default();
        assert!(!text.contains(SECRET), "{name}");
    }
}

#[tokio::test]
async fn what_is_listed_is_reached_and_the_model_gets_the_real_key() {
    let bench = Bench::new();
    let api = ResponsesApi::start(Script::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|mut one| one.write_all(b"hello").unwrap());
    });
    let rules = Egress {
        hosts: vec![listed(Hosts::Address(at.ip()), at.port())],
        model: Some(upstream(api.url())),
    };
    let mut spec = job(&bench, "reaches", &inner("reaches"), rules);
    spec.boxed.env.insert("LISTED".to_owned(), at.to_string());
    let job = bench.hosts.ensure(&spec).await.unwrap();
    succeeded(&job).await;
    let asked = api.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization, format!("Bearer {SECRET}"));
    assert_eq!(job.refusals(None).await.unwrap(), []);
}

/// The ids of the `afk egress` processes below a host.
fn outlets(host: i32) -> Vec<i32> {
    let of = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let below = afk_agent::sandbox::processes::below(host);
    let all = below.iter().map(|process| process.id.pid);
    all.filter(|pid| String::from_utf8_lossy(&of(*pid)).contains("\0egress\0")).collect()
}

fn is_gone(pid: i32) -> Option<()> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'));
    state.unwrap_or(true).then_some(())
}

#[tokio::test]
async fn the_process_outside_ends_with_the_job_and_with_its_host() {
    let bench = Bench::new();
    // A job whose processes detach themselves as well as they can.
    let script = "setsid sh -c 'setsid sh -c \"while :; do sleep 1; done\" \"$0\" & \
                  while :; do sleep 1; done' \"$0\" & sleep 1000";
    let argv = ["/bin/sh", "-c", script, &bench.nonce].map(str::to_owned);
    for by_host in [false, true] {
        let name = format!("long-{by_host}");
        let job = bench.hosts.ensure(&job(&bench, &name, &argv, Egress::default())).await.unwrap();
        running(&job).await;
        let host = host_pid(&job);
        let outlet = until(|| outlets(host).first().copied());
        until(|| (bench.survivors().len() >= 3).then_some(()));
        if by_host {
            signal(host, Signal::KILL);
            // The first look after the host's death leaves nothing of the job.
            job.wait(common::BOUND).await.unwrap();
        } else {
            job.kill(afk_agent::host::KilledBy::Halt).await.unwrap();
            ended(&job).await;
        }
        until(|| is_gone(outlet));
        assert_eq!(bench.survivors(), [""; 0], "by its host: {by_host}");
    }
}

#[tokio::test]
async fn a_way_out_that_died_lets_nothing_out() {
    let bench = Bench::new();
    let script = "echo up > up; while ! test -e go; do sleep 0.05; done; \
                  exec 3<>/dev/tcp/127.0.0.1/3128 && exit 9; exit 0";
    let argv = ["/bin/bash", "-c", script].map(str::to_owned);
    let job = bench.hosts.ensure(&job(&bench, "died", &argv, Egress::default())).await.unwrap();
    running(&job).await;
    // Killed only once the job has begun: before that, the job would not begin at all.
    bench.appears("up");
    let outlet = until(|| outlets(host_pid(&job)).first().copied());
    signal(outlet, Signal::KILL);
    until(|| is_gone(outlet));
    std::fs::write(bench.work().join("go"), "").unwrap();
    succeeded(&job).await;
}

#[tokio::test]
async fn without_bubblewrap_it_is_refused_with_what_remedies_it() {
    let bench = Bench::new();
    let argv = ["/bin/true"].map(str::to_owned);
    let mut spec = job(&bench, "refused", &argv, Egress::default());
    spec.boxed.requirement = Requirement::LandlockOnly;
    let job = bench.hosts.ensure(&spec).await.unwrap();
    let EndHow::CouldNotStart(why) = ended(&job).await.how else { panic!("it ran") };
    assert!(why.contains("without bubblewrap") && why.contains("apt install bubblewrap"), "{why}");
}
