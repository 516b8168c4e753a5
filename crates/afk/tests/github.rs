//! The whole loop on issues that live on a forge: the real binary, a real git remote, and the strict
//! fake of GitHub.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use afk_core::config::Policy;
use afk_core::ids::{At, IssueRef};
use afk_core::issue::Permission;
use afk_sim::fakes::Sim;
use afk_sim::github::{GitHubFake, Login};
use common::{BOUND, ISSUE, Plan, World, honest, until};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

const TOKEN: &str = "ghp_thetokenthatnobodyelsehas";
const HOOK: &str = "a secret of webhooks";
const READY: &str = "ready-for-agent";

/// A repository on GitHub, whose clock goes with ours.
struct OnGitHub {
    world: World,
    sim: Sim,
    fake: GitHubFake,
    ticks: Arc<AtomicBool>,
    clock: Option<JoinHandle<()>>,
}

impl OnGitHub {
    /// With these lines at the head of the configuration.
    fn new(config: &str) -> Self {
        let mut there = afk_sim::world::World::new(Policy::default(), At::now());
        for (who, permission) in [("ann", Permission::Write), ("tim", Permission::Triage)] {
            there.tracker.permissions.insert(who.to_owned(), permission);
        }
        let sim = Sim::new(there);
        let fake = GitHubFake::start(&sim, Login::Token(TOKEN.to_owned())).unwrap();
        let config = format!(
            "{config}forges.github = {{ url = {:?}, token = {{ env = \"AFK_E2E_GITHUB\" }}, \
             webhook_secret = {{ env = \"AFK_E2E_HOOK\" }} }}\n\
             repos_like.\"acme/*\" = {{ tracker = \"github\" }}\n",
            fake.url()
        );
        let mut world =
            World::new(&Plan { turns: vec![honest(vec![])], config, ..Plan::default() });
        for (name, value) in [("AFK_E2E_GITHUB", TOKEN), ("AFK_E2E_HOOK", HOOK)] {
            world.env.push((name.to_owned(), value.to_owned()));
        }
        let ticks = Arc::new(AtomicBool::new(true));
        let clock = std::thread::spawn({
            let (sim, ticks) = (sim.clone(), ticks.clone());
            move || {
                while ticks.load(Ordering::Relaxed) {
                    sim.with(|there| there.now = At::now());
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { world, sim, fake, ticks, clock: Some(clock) }
    }

    fn file(&self, by: &str) -> IssueRef {
        self.sim.with(|there| there.file(ISSUE, "It prints `Hello, !`.", &[READY], by))
    }

    fn is_closed(&self, issue: &IssueRef) -> bool {
        self.sim.with(|there| !there.tracker.issues[issue].issue.open)
    }

    /// The issue was landed as promised, and GitHub was used as it describes itself.
    fn landed_once(&self, issue: &IssueRef, test: &str) {
        let page = until("the run is settled", BOUND, || {
            Some(self.world.show()).filter(|page| page["summary"]["settled"] == true)
        });
        assert_eq!(page["summary"]["outcome"], "done", "{page:#}");
        assert_eq!(self.world.landed().len(), 2);
        let (labels, comments) = self.sim.with(|there| {
            let record = &there.tracker.issues[issue];
            (record.issue.labels.clone(), record.comments.clone())
        });
        assert!(!labels.iter().any(|label| label == "agent-in-progress"), "{labels:?}");
        assert_eq!(comments.len(), 1, "{comments:?}");
        assert_eq!(self.world.bell.ids().len(), 1);
        self.fake.check(test);
    }
}

impl Drop for OnGitHub {
    fn drop(&mut self) {
        self.ticks.store(false, Ordering::Relaxed);
        if let Some(clock) = self.clock.take() {
            let _ = clock.join();
        }
    }
}

#[test]
fn an_issue_on_github_is_landed_and_closed() {
    let here = OnGitHub::new("");
    let issue = here.file("ann");
    let serve = here.world.start(&["serve"]);
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue, "e2e_polled");
    drop(serve);
}

#[test]
fn who_may_not_push_releases_nothing() {
    let here = OnGitHub::new("");
    let issue = here.file("tim");
    here.world.ok(&["tick", "--poll"]);
    let said = here.world.json(&["explain", ISSUE]);
    assert_eq!(said["eligible"], false, "{said:#}");
    assert!(said.to_string().contains("who has triage permission and needs write"), "{said:#}");
    assert_eq!(here.world.landed().len(), 1);
    assert!(!here.is_closed(&issue));
    here.fake.check("e2e_triage");
}

#[test]
fn a_webhook_wakes_at_once_and_a_forged_one_does_not() {
    let here = OnGitHub::new("poll_seconds = 3600\nhttp.listen = \"127.0.0.1:0\"\n");
    let serve = here.world.start(&["serve"]);
    let address = until("webhooks are heard", BOUND, || {
        let said = serve.said();
        let at = said.find("http://127.0.0.1:")? + "http://".len();
        let address = said[at..].split("/webhooks/github").next()?.to_owned();
        (address.len() < 30).then_some(address)
    });
    // The first look found nothing.
    until("the first look", BOUND, || (!here.fake.take_requests().is_empty()).then_some(()));
    let issue = here.file("ann");
    let body = json!({ "action": "labeled", "repository": { "full_name": "acme/hello" } });
    let body = body.to_string();
    assert_eq!(post(&address, &body, "another secret", "forged"), 401);
    let began = Instant::now();
    assert_eq!(post(&address, &body, HOOK, "one"), 202);
    assert_eq!(post(&address, &body, HOOK, "one"), 200, "a repetition");
    until("a run is dispatched", BOUND, || {
        here.world.path("data/work/jobs").read_dir().ok()?.next().map(drop)
    });
    println!("from the webhook to a run's first job: {:?}", began.elapsed());
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue, "e2e_woken");
    drop(serve);
}

/// Posts a webhook, and gives the status of the answer.
fn post(address: &str, body: &str, secret: &str, delivery: &str) -> u16 {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let mut signature = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(signature, "{byte:02x}").unwrap();
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         x-github-event: issues\r\nx-github-delivery: {delivery}\r\n\
         x-hub-signature-256: sha256={signature}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
