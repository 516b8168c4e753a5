//! Who may release an issue, what a webhook may do, and the metrics of that.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use afk_fakes::Delivery;

use crate::common::{BOUND, ISSUE, until};
use crate::support::{HOOK, Kind, OnForge, Plot, Woken, hears, post, repo};

on_each_forge!(
    who_may_not_push_releases_nothing,
    a_webhook_wakes_at_once_and_a_forged_one_does_not
);

fn who_may_not_push_releases_nothing(kind: Kind) {
    let here = OnForge::new(Plot { kind, ..Plot::default() });
    let issue = here.file("tim");
    here.world.ok(&["tick", "--poll"]);
    let said = here.world.json(&["explain", ISSUE]);
    assert_eq!(said["eligible"], false, "{said:#}");
    let has = match kind {
        Kind::GitHub => "triage",
        // Forgejo distinguishes reading and writing, and nothing in between.
        Kind::Forgejo => "read",
    };
    let why = format!("who has {has} permission and needs write");
    assert!(said.to_string().contains(&why), "{said:#}");
    assert_eq!(here.world.landed().len(), 1);
    assert!(!here.is_closed(&issue));
    here.done(&format!("e2e_triage_{}", kind.name()));
}

fn a_webhook_wakes_at_once_and_a_forged_one_does_not(kind: Kind) {
    let here = OnForge::new(Plot { kind, woken: Woken::ByHand, ..Plot::default() });
    let serve = here.serve();
    let address = hears(&serve, kind);
    // The first look found nothing.
    here.has_looked();
    let issue = here.file("ann");
    let forged = here.fake.delivery("issues", &repo(), "another secret").unwrap();
    assert_eq!(post(&address, kind, &forged), Some(401));
    let mut unsigned = here.fake.delivery("issues", &repo(), HOOK).unwrap();
    unsigned.headers.retain(|(name, _)| !name.to_lowercase().contains("signature"));
    assert_eq!(post(&address, kind, &unsigned), Some(401));
    let large = Delivery { body: vec![b' '; (8 << 20) + 1], ..forged };
    assert_eq!(post(&address, kind, &large), Some(413));
    let read = |one: &String| one.contains("/issues/1/timeline");
    assert!(!here.fake.targets().iter().any(read), "{:#?}", here.fake.targets());
    let delivery = here.fake.delivery("issues", &repo(), HOOK).unwrap();
    let began = Instant::now();
    assert_eq!(post(&address, kind, &delivery), Some(202));
    assert_eq!(post(&address, kind, &delivery), Some(200), "a repetition");
    until("a run is dispatched", BOUND, || {
        here.world.path("data/work/jobs").read_dir().ok()?.next().map(drop)
    });
    println!("{}: from the webhook to a run's first job: {:?}", kind.name(), began.elapsed());
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue);
    counted(&here, kind, &address);
    here.done(&format!("e2e_woken_{}", kind.name()));
    drop(serve);
}

/// The daemon shows how it used the forge's account, but only with a token for its metrics.
fn counted(here: &OnForge, kind: Kind, address: &str) {
    let token = |name: &str, scope: &str| {
        let made = here.world.json(&["token", "new", name, "--scope", scope]);
        made["token"].as_str().unwrap().to_owned()
    };
    let get = |token: &str| metrics(address, token);
    for nobody in ["", "afk_guessed", &token("jobs", "jobs")] {
        let said = get(nobody);
        assert!(said.starts_with("HTTP/1.1 401 ") && !said.contains("afk_forge"), "{said}");
    }
    let said = get(&token("scrape", "metrics"));
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("# EOF\n"), "{said}");
    let figure = |name: &str, labels: &str| -> Option<f64> {
        let line = format!("{name}{{forge=\"{}\"{labels}}} ", kind.name());
        said.lines().find_map(|one| one.strip_prefix(line.as_str())?.parse().ok())
    };
    let whole = figure("afk_forge_requests_total", ",answer=\"whole\"").unwrap();
    assert!(whole >= 1.0, "{said}");
    assert_eq!(figure("afk_forge_paused_until_timestamp_seconds", ""), Some(0.0), "{said}");
    // What is left of GitHub's limit, as `status` shows it; the other forge does not report that.
    let left = figure("afk_forge_requests_left", "");
    assert_eq!(left.is_some(), kind == Kind::GitHub, "{said}");
    if let Some(left) = left {
        let limit = figure("afk_forge_requests_limit", "").unwrap();
        assert!(0.0 < left && left < limit, "{said}");
        assert!(figure("afk_forge_limit_reset_timestamp_seconds", "").unwrap() > 1e9, "{said}");
    }
}

/// The daemon's answer to a request for its metrics with that token.
fn metrics(address: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: \
         close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
