//! What commands print of a run that landed, and of a T3 Code server, for `shapes`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use afk_core::config::Policy;
use afk_core::ids::At;
use afk_fakes::t3::{Flavour, T3Fake};
use afk_sim::fakes::Sim;
use serde_json::Value;

use crate::common::{ISSUE, Plan, World, git, honest, texts};
use crate::shapes::Printed;

/// The bearer token that the loop has for the server.
const TOKEN: &str = "the-bearer-of-the-loop";

/// A T3 Code server on the real clock, until it is dropped.
struct Server {
    fake: T3Fake,
    over: Arc<AtomicBool>,
    time: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let sim = Sim::new(afk_sim::world::World::new(Policy::default(), At::now()));
        let fake = T3Fake::start(&sim, Flavour::V33, TOKEN).unwrap();
        for repo in ["allows", "answers"] {
            fake.has_folder(&format!("/data/acme__{repo}"), true);
        }
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let time = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                sim.with(|there| there.now = At::now());
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        Self { fake, over, time: Some(time) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(time) = self.time.take() {
            let _ = time.join();
        }
    }
}

/// A world with a repository for each agent.
fn world(server: &Server) -> World {
    let config = "allowlist = ['acme/hello', 'acme/allows', 'acme/answers', 'acme/fails']\n\
                  max_concurrent_runs = 4\nquestion_timeout_seconds = 600";
    let mut world = World::new(&Plan { config: config.to_owned(), ..Plan::default() });
    world.env.push(("T3_TOKEN".to_owned(), TOKEN.to_owned()));
    world.script(&[honest(Vec::new())]);
    let fails = r#"{ "turns": [{ "steps": [{ "fail": { "message": "the model is away" } }] }] }"#;
    std::fs::write(world.path("fails.json"), fails).unwrap();
    let file = world.path("afk.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // Doorbells are printed on standard error, too.
    let mut text = text.replace("notify = [", "notify = [{ kind = \"terminal\" }, ");
    for (repo, agent) in [("allows", "far"), ("answers", "far"), ("fails", "fails")] {
        let (origin, remote) = (world.path("origin.git"), world.path(&format!("{repo}.git")));
        let [origin, remote] = [&origin, &remote].map(|path| path.to_str().unwrap());
        git(&world.path(""), &["clone", "-q", "--bare", origin, remote]);
        let _ = write!(
            text,
            "\n[repos.\"acme/{repo}\"]\nremote = {remote:?}\nverify = [\"sh\", \"test.sh\"]\nagent = \
             {agent:?}\nstages = [{{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }}]\n"
        );
    }
    let url = server.fake.url();
    for (name, token) in [("far", "env = \"T3_TOKEN\""), ("paired", "file = \"@TOKEN@\"")] {
        let token = token.replace("@TOKEN@", world.path("token").to_str().unwrap());
        let _ = write!(
            text,
            "\n[agents.{name}]\nkind = \"t3\"\nurl = {url:?}\ntoken = {{ {token} }}\nbase = \
             \"/data\"\nlands = \"agent\"\npermissions = \"ask\"\npoll_seconds = 1\n"
        );
    }
    let script = world.path("fails.json");
    let script = script.to_str().unwrap();
    let _ = write!(text, "\n[agents.fails]\nkind = \"scripted\"\nscript = {script:?}\n");
    std::fs::write(file, text).unwrap();
    world
}

/// Everything that is printed of them.
pub(crate) fn print(printed: &mut Printed) {
    let server = Server::start();
    let world = world(&server);
    of_a_landed_run(&world, printed);
    of_a_server(&server, &world, printed);
}

/// Runs a command, and compares its document with its schema.
#[track_caller]
fn check(printed: &mut Printed, world: &World, command: &str, more: &[&str]) -> Value {
    let words: Vec<&str> = command.split(' ').chain(more.iter().copied()).collect();
    let document = world.json(&words);
    printed.saw(command, &document);
    document
}

fn of_a_landed_run(world: &World, printed: &mut Printed) {
    world.issue("It prints `Hello, !`.");
    let run = world.afk(&["run", ISSUE, "--json"]);
    let (out, err) = texts(&run);
    assert!(run.status.success(), "{out}{err}");
    printed.saw("run", &serde_json::from_str(&out).unwrap());
    // Its doorbell.
    printed.saw_lines(&err);
    let again = check(printed, world, "run", &[ISSUE]);
    assert_eq!(again["admitted"], false, "{again:#}");
    for command in ["show", "diff", "evidence", "evidence verify", "replay", "issue show"] {
        check(printed, world, command, &[ISSUE]);
    }
    check(printed, world, "issue reopen", &[ISSUE]);
    let released = check(printed, world, "retry", &[ISSUE]);
    assert_eq!(released["released"], true, "{released:#}");
    check(printed, world, "issue close", &[ISSUE]);
}

fn of_a_server(server: &Server, world: &World, printed: &mut Printed) {
    server.fake.pairs("ONCE");
    let mut pair = world.command(&["t3", "pair", "paired", "--json"]);
    let pair = pair.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut pair = pair.spawn().unwrap();
    pair.stdin.take().unwrap().write_all(b"ONCE\n").unwrap();
    let (out, err) = texts(&pair.wait_with_output().unwrap());
    let paired = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    printed.saw("t3 pair", &paired);
    check(printed, world, "t3 check", &["acme/allows"]);
}
