//! What the adapter must do with a T3 server of any version.

use std::time::{Duration, Instant};

use afk_core::ask::Answer;
use afk_core::checkout::Checkout;
use afk_core::ids::{JobKey, JobOf, RunId};
use afk_engine::ports::{PortErrorKind, TurnRequest};
use afk_fakes::t3::{Fault, Flavour};
use serde_json::json;

use crate::support::{Home, key, repo, request, run, workspaces};

macro_rules! contract {
    ($($name:ident)*) => {
        mod v27 {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Flavour::V27).await;
            })*
        }
        mod v33 {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Flavour::V33).await;
            })*
        }
        mod august {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Flavour::August).await;
            })*
        }
        mod two {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Flavour::Two).await;
            })*
        }
    };
}

contract! {
    a_turn_comes_to_its_end
    asked_twice_it_is_one_turn
    another_process_finds_the_turn
    without_notes_the_turn_is_found
    a_run_stays_on_the_server_that_it_was_begun_on
    turns_follow_each_other_on_one_thread
    a_turn_that_is_interrupted_ends_so
    a_permission_is_asked_for_and_answered
    a_question_is_asked_and_answered
    a_project_is_found_by_its_folder
    a_missing_checkout_is_told
    the_thread_of_the_run_before_is_put_away
    the_thread_of_a_run_that_goes_on_is_shown_again
    a_bearer_is_told_from_none
    an_agent_that_we_land_for_works_in_our_workspace
    a_transcript_is_there_at_the_end
    the_doctor_says_what_is_there
    a_check_cleans_up_after_itself
    a_check_works_where_the_configuration_says
    a_refused_answer_is_given_again
    a_turn_can_be_followed
    what_is_new_is_told_as_soon_as_the_server_tells_it
    a_pairing_credential_is_exchanged_once
}

async fn a_turn_comes_to_its_end(flavour: Flavour) {
    let home = Home::new(flavour);
    assert_eq!(home.executor.checkout(&repo()).unwrap(), Checkout::Own);
    home.executor.ready(&repo()).await.unwrap();
    assert_eq!(home.told(1).await, "absent");
    home.start(1, "hello").await.unwrap();
    assert_eq!(home.told(1).await, "running");
    assert_eq!(home.alive().await, [key(1)]);
    home.until(1, "finished MOCK-REPLY: hello anew").await;
    assert_eq!(home.alive().await, []);
    assert_eq!(home.fake.turns(), 1);
}

async fn asked_twice_it_is_one_turn(flavour: Flavour) {
    let home = Home::new(flavour);
    for _ in 0..3 {
        home.start(1, "SLEEP:60").await.unwrap();
        home.later(300);
    }
    assert_eq!(home.fake.turns(), 1);
}

async fn another_process_finds_the_turn(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "SLEEP:5").await.unwrap();
    home.later(1000);
    let other = home.restarted();
    other.start(&request(1, "SLEEP:5")).await.unwrap();
    assert_eq!(other.alive(&repo(), run()).await.unwrap(), [key(1)]);
    home.later(60_000);
    let seen = other.observe(&repo(), &key(1)).await.unwrap().seen;
    assert_eq!(crate::support::word(&seen), "finished MOCK-REPLY: slept");
    assert_eq!(home.fake.turns(), 1);
}

async fn without_notes_the_turn_is_found(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "SLEEP:60").await.unwrap();
    home.later(1000);
    let other = home.forgetful();
    other.start(&request(1, "SLEEP:60")).await.unwrap();
    assert_eq!(other.alive(&repo(), run()).await.unwrap(), [key(1)]);
    assert_eq!(home.fake.turns(), 1);
}

async fn a_run_stays_on_the_server_that_it_was_begun_on(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "SLEEP:60").await.unwrap();
    home.later(1000);
    // The table is given the url of another server.
    let mut other = Home::new(flavour);
    other.fake.is_environment("another");
    other.notes = home.notes.clone();
    let moved = other.restarted();
    let error = moved.start(&request(2, "again")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Transient);
    let why = error.chain();
    assert!(why.contains("environment another) than the one"), "{why}");
    moved.start(&request(1, "SLEEP:60")).await.unwrap_err();
    moved.observe(&repo(), &key(1)).await.unwrap_err();
    moved.interrupt(&repo(), &key(1)).await.unwrap_err();
    moved.alive(&repo(), run()).await.unwrap_err();
    moved.stop(&repo(), run()).await.unwrap_err();
    assert_eq!((other.fake.turns(), other.fake.open_threads()), (0, Vec::new()));
    // It is given back.
    home.restarted().start(&request(1, "SLEEP:60")).await.unwrap();
    assert_eq!(home.told(1).await, "running");
    assert_eq!(home.alive().await, [key(1)]);
}

async fn turns_follow_each_other_on_one_thread(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "one").await.unwrap();
    home.until(1, "finished MOCK-REPLY: one anew").await;
    home.start(2, "two").await.unwrap();
    // The server still shows the turn before.
    assert_eq!(home.told(2).await, "running");
    home.until(2, "finished MOCK-REPLY: two").await;
    assert_eq!(home.told(1).await, "finished MOCK-REPLY: one anew");
    assert_eq!(home.fake.open_threads().len(), 1);
}

async fn a_turn_that_is_interrupted_ends_so(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "SLEEP:600").await.unwrap();
    home.later(1000);
    home.executor.interrupt(&repo(), &key(1)).await.unwrap();
    home.until(1, "interrupted").await;
    assert_eq!(home.alive().await, []);
    // An interrupt would change how the turn is said to have ended, so none is sent.
    home.fake.take_requests();
    home.executor.interrupt(&repo(), &key(1)).await.unwrap();
    assert!(!home.fake.take_requests().contains(&"thread.turn.interrupt".to_owned()));
    home.start(2, "go on").await.unwrap();
    home.until(2, "finished MOCK-REPLY: go on").await;
}

async fn a_permission_is_asked_for_and_answered(flavour: Flavour) {
    let home = Home::with(flavour, &json!({ "permissions": "ask" }));
    home.start(1, "RUN:touch mark").await.unwrap();
    let tool = if flavour == Flavour::Two { "command" } else { "Bash" };
    home.until(1, &format!("asks {tool}: touch mark anew")).await;
    let asks = home.observe(1).await.asks().to_vec();
    assert!(!asks[0].question);
    let (repo, key) = (repo(), key(1));
    home.executor.answer(&repo, &key, "another", &Answer::Allow).await.unwrap();
    for _ in 0..2 {
        home.executor.answer(&repo, &key, &asks[0].id, &Answer::Allow).await.unwrap();
    }
    home.until(1, "finished MOCK-REPLY: tool done for RUN:touch mark anew").await;
}

async fn a_question_is_asked_and_answered(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "ASK:Which one?").await.unwrap();
    let shown = match flavour {
        Flavour::V27 | Flavour::V33 | Flavour::August => "asks Which one? anew (Alpha, Beta)",
        Flavour::Two => "asks user_input: Which one? anew",
    };
    home.until(1, shown).await;
    let asks = home.observe(1).await.asks().to_vec();
    assert!(asks[0].question);
    let answer = Answer::Say { text: "Beta".to_owned() };
    home.executor.answer(&repo(), &key(1), &asks[0].id, &answer).await.unwrap();
    home.until(1, "finished MOCK-REPLY: tool done for ASK:Which one? anew").await;
}

async fn a_project_is_found_by_its_folder(flavour: Flavour) {
    let home = Home::new(flavour);
    let path = if flavour == Flavour::Two { "projects/mutate" } else { "orchestration/dispatch" };
    let url = format!("{}api/{path}", home.fake.url());
    let command = json!({
        "type": "project.create", "commandId": "c", "projectId": "by-hand", "title": "r",
        "workspaceRoot": "/data/o__r", "createdAt": "2026-11-02T10:00:00.000Z",
    });
    let http = reqwest::Client::new();
    let sent = http.post(url).bearer_auth(crate::support::TOKEN).body(command.to_string());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    home.fake.take_requests();
    home.start(1, "hello").await.unwrap();
    assert!(!home.fake.take_requests().contains(&"project.create".to_owned()));
    home.until(1, "finished MOCK-REPLY: hello anew").await;
}

async fn a_missing_checkout_is_told(flavour: Flavour) {
    let home = Home::with(flavour, &json!({ "base": "/nowhere" }));
    let error = home.start(1, "hello").await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
    assert!(error.chain().contains("clone the repo there"), "{}", error.chain());
    // Once it is there, it goes on.
    home.fake.has_folder("/nowhere/o__r", true);
    home.start(1, "hello").await.unwrap();
    home.until(1, "finished MOCK-REPLY: hello anew").await;
}

async fn the_thread_of_the_run_before_is_put_away(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "hello").await.unwrap();
    home.until(1, "finished MOCK-REPLY: hello anew").await;
    let other = of_another_run(1, "hello");
    home.executor.start(&other).await.unwrap();
    assert_eq!(home.fake.open_threads(), [other.run.thread().to_string()]);
    // What the turn did can still be read.
    assert_eq!(home.told(1).await, "finished MOCK-REPLY: hello anew");
}

/// The turn `n` of another run of the same repo.
fn of_another_run(n: u32, prompt: &str) -> TurnRequest {
    let run: RunId = "01920000-0000-7000-8000-000000000002".parse().unwrap();
    let key = JobKey::new(run, JobOf::Turn, &n.to_string());
    TurnRequest { key, run, thread: run.thread(), ..request(n, prompt) }
}

/// Two runs of a repo take turns: while one waits for people, the other is at work. The thread in
/// which a turn begins is the one that people see.
async fn the_thread_of_a_run_that_goes_on_is_shown_again(flavour: Flavour) {
    let home = Home::new(flavour);
    let other = of_another_run(1, "x").run;
    for n in 1..=3 {
        let said = if n == 1 { " anew" } else { "" };
        home.start(n, "one").await.unwrap();
        assert_eq!(home.fake.open_threads(), [run().thread().to_string()], "{n}");
        home.until(n, &format!("finished MOCK-REPLY: one{said}")).await;
        let turn = of_another_run(n, "SLEEP:1");
        home.executor.start(&turn).await.unwrap();
        assert_eq!(home.fake.open_threads(), [other.thread().to_string()], "{n}");
        home.later(60_000);
        home.executor.observe(&repo(), &turn.key).await.unwrap();
    }
    assert_eq!(home.fake.turns(), 6);
    // What people archive themselves stays in the archive.
    home.start(4, "four").await.unwrap();
    home.until(4, "finished MOCK-REPLY: four").await;
    home.fake.archive(&run().thread().to_string());
    home.start(5, "five").await.unwrap();
    home.until(5, "finished MOCK-REPLY: five").await;
    assert_eq!(home.fake.open_threads(), Vec::<String>::new());
}

async fn a_bearer_is_told_from_none(flavour: Flavour) {
    let home = Home::new(flavour);
    home.secrets.set("TOKEN", "expired");
    let error = home.executor.ready(&repo()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth);
    assert!(error.chain().contains("afk t3 pair"), "{}", error.chain());
    home.fake.grant("only-reads", &["orchestration:read"]);
    home.secrets.set("TOKEN", "only-reads");
    let error = home.executor.ready(&repo()).await.unwrap_err();
    assert!(error.chain().contains("lacks the scope orchestration:operate"), "{}", error.chain());
    assert_eq!(home.start(1, "hello").await.unwrap_err().kind, PortErrorKind::Auth);
    // A new token takes effect at once.
    home.secrets.set("TOKEN", crate::support::TOKEN);
    home.start(1, "hello").await.unwrap();
}

async fn an_agent_that_we_land_for_works_in_our_workspace(flavour: Flavour) {
    let home = Home::with(flavour, &json!({ "lands": "control-plane", "workspaces": "/there" }));
    assert_eq!(home.executor.checkout(&repo()).unwrap(), Checkout::Ours);
    home.start(1, "hello").await.unwrap();
    // The server does not have the workspace.
    home.later(1000);
    let told = home.told(1).await;
    assert!(told.starts_with("failed") || told == "lacks Program", "{told}");
    home.fake.has_folder(&format!("/there/{}/clone", run()), true);
    home.start(2, "hello").await.unwrap();
    // A thread of protocol 2 can go on after such a failure.
    let text = if flavour == Flavour::Two { "hello" } else { "hello anew" };
    home.until(2, &format!("finished MOCK-REPLY: {text}")).await;
}

async fn a_transcript_is_there_at_the_end(flavour: Flavour) {
    let home = Home::new(flavour);
    let read = async |offset| home.executor.transcript(&repo(), &key(1), offset).await.unwrap();
    assert_eq!(read(0).await, None);
    home.start(1, "hello").await.unwrap();
    home.until(1, "finished MOCK-REPLY: hello anew").await;
    let all = read(0).await.unwrap();
    assert!(String::from_utf8_lossy(&all.bytes).contains("MOCK-REPLY: hello"));
    assert_eq!(read(10).await.unwrap().bytes, all.bytes[10..]);
    assert_eq!(read(1 << 20).await.unwrap().bytes, b"");
}

async fn the_doctor_says_what_is_there(flavour: Flavour) {
    let home = Home::new(flavour);
    let name = "far".parse().unwrap();
    let told = async || {
        let all = home.servers().examine(&name, &repo()).await.unwrap();
        all.into_iter()
            .map(|one| format!("{}: {:?} {}", one.about, one.severity, one.says))
            .collect::<Vec<_>>()
    };
    let all = told().await;
    assert!(all[0].starts_with("t3 token: Fine"), "{all:?}");
    let shown = match flavour {
        Flavour::V27 | Flavour::V33 | Flavour::August => "protocol 1",
        Flavour::Two => "protocol 2: untested with this version",
    };
    assert!(all[1].ends_with(shown), "{all:?}");
    assert_eq!(all[1].contains("Fine"), flavour != Flavour::Two, "{all:?}");
    assert!(all[2].contains("none yet: the first run makes it of /data/o__r"), "{all:?}");
    assert!(all[3].contains("the agent pushes by itself"), "{all:?}");
    let cost = all.get(4).map(String::as_str).unwrap_or_default();
    let uncounted = if flavour == Flavour::Two { "each turn is taken to cost $1.00" } else { "" };
    assert!(cost.ends_with(uncounted) && cost.is_empty() == uncounted.is_empty(), "{all:?}");
    home.start(1, "hello").await.unwrap();
    assert_eq!(told().await[2], "t3 project: Fine /data/o__r");
    home.fake.grant("only-reads", &["orchestration:read"]);
    home.secrets.set("TOKEN", "only-reads");
    assert!(told().await[0].contains("Failure"), "{:?}", told().await);
    home.fake.kill();
    assert!(told().await[0].starts_with("t3 server: Failure"), "{:?}", told().await);
}

async fn a_check_cleans_up_after_itself(flavour: Flavour) {
    let home = Home::new(flavour);
    let name = "far".parse().unwrap();
    let all = home.servers().check(&name, &repo(), run()).await.unwrap();
    let failed: Vec<_> = all.iter().filter(|one| one.says.is_err()).collect();
    assert!(failed.is_empty(), "{all:?}");
    assert_eq!(
        all.iter().map(|one| one.step).collect::<Vec<_>>(),
        ["reach", "start", "end", "interrupt", "at work after it", "clean up"]
    );
    assert_eq!(home.fake.open_threads(), Vec::<String>::new());
    assert_eq!(home.fake.turns(), 2);
}

async fn a_check_works_where_the_configuration_says(flavour: Flavour) {
    let ours = json!({ "lands": "control-plane", "workspaces": "/there" });
    let home = Home::with(flavour, &ours);
    let name = "far".parse().unwrap();
    let (here, there) = (workspaces().join(run().to_string()), format!("/there/{}/clone", run()));
    // A server that does not reach the folder cannot start an agent there.
    let all = home.servers().check(&name, &repo(), run()).await.unwrap();
    assert_eq!(all[0].step, "workspace");
    assert!(all[0].says.as_ref().unwrap().contains(&there), "{all:?}");
    assert!(all.iter().any(|one| one.step == "end" && one.says.is_err()), "{all:?}");
    assert!(!here.exists(), "{all:?}");
    home.fake.has_folder(&there, false);
    let again = "01920000-0000-7000-8000-000000000003".parse().unwrap();
    home.fake.has_folder(&format!("/there/{again}/clone"), false);
    let all = home.servers().check(&name, &repo(), again).await.unwrap();
    assert!(all.iter().all(|one| one.says.is_ok()), "{all:?}");
    assert!(!workspaces().join(again.to_string()).exists());
    assert_eq!(home.fake.open_threads(), Vec::<String>::new());
}

async fn a_refused_answer_is_given_again(flavour: Flavour) {
    let home = Home::with(flavour, &json!({ "permissions": "ask" }));
    home.start(1, "RUN:touch mark").await.unwrap();
    let tool = if flavour == Flavour::Two { "command" } else { "Bash" };
    home.until(1, &format!("asks {tool}: touch mark anew")).await;
    let ask = home.observe(1).await.asks()[0].clone();
    let (repo, key) = (repo(), key(1));
    home.fake.fails("dispatch", Fault::Refuses);
    // The id of a command that was refused is refused for good.
    home.executor.answer(&repo, &key, &ask.id, &Answer::Allow).await.unwrap_err();
    home.executor.answer(&repo, &key, &ask.id, &Answer::Allow).await.unwrap();
    home.until(1, "finished MOCK-REPLY: tool done for RUN:touch mark anew").await;
}

async fn a_turn_can_be_followed(flavour: Flavour) {
    let home = Home::with(flavour, &json!({ "permissions": "ask" }));
    home.start(1, "RUN:touch mark").await.unwrap();
    let mut told = String::new();
    let mut at_work = 0;
    for _ in 0..60 {
        let offset = told.len() as u64;
        let part = home.executor.transcript(&repo(), &key(1), offset).await.unwrap();
        told.push_str(&String::from_utf8(part.unwrap().bytes).unwrap());
        let asks = home.observe(1).await.asks().to_vec();
        at_work = at_work.max(if asks.is_empty() { 0 } else { told.len() });
        for ask in asks {
            home.executor.answer(&repo(), &key(1), &ask.id, &Answer::Allow).await.unwrap();
        }
        home.later(2_500);
    }
    // Each line comes once and whole, as an event that transcripts of all agents have.
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = lines.iter().filter(|line| line["type"] == "text");
    let said: Vec<&str> = said.filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(said, ["MOCK-REPLY: tool done for RUN:touch mark anew"]);
    let used = lines.iter().filter(|line| line["type"] == "tool_started").count();
    assert_eq!(used, 1, "{told}");
    if flavour != Flavour::Two {
        assert!(at_work > 0, "nothing was told while it worked: {told}");
    }
    // A process that was not asked before gives out the same.
    let whole = home.restarted().transcript(&repo(), &key(1), 0).await.unwrap().unwrap();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&String::from_utf8(whole.bytes).unwrap()), sorted(&told));
}

/// A reader of a transcript gets news at once where the server has subscriptions, and after a
/// moment where it has to be read again.
async fn what_is_new_is_told_as_soon_as_the_server_tells_it(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "hello").await.unwrap();
    let read = async || {
        let part = home.executor.transcript(&repo(), &key(1), 0).await.unwrap();
        String::from_utf8(part.unwrap().bytes).unwrap()
    };
    assert_eq!(read().await, "");
    // The agent has answered, and two seconds have not passed.
    home.later(1_900);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut told = read().await;
    while flavour == Flavour::Two && told.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
        told = read().await;
    }
    let expected = usize::from(flavour == Flavour::Two);
    assert_eq!(told.matches("MOCK-REPLY: hello").count(), expected, "{flavour:?} {told:?}");
    home.later(30_000);
    assert_eq!(read().await.matches("MOCK-REPLY: hello").count(), 1, "{flavour:?}");
}

async fn a_pairing_credential_is_exchanged_once(flavour: Flavour) {
    use secrecy::ExposeSecret as _;

    let home = Home::new(flavour);
    home.fake.pairs("ONCE");
    let table = serde_json::from_value(home.table.clone()).unwrap();
    let clock: std::sync::Arc<dyn afk_engine::ports::Clock> =
        std::sync::Arc::new(afk_sim::fakes::Jumping(home.sim.clone()));
    let paired = afk_remote::pair_t3(&table, &"ONCE".into(), clock.clone()).await.unwrap();
    assert!(paired.lasts.as_hours() > 24 * 29, "{}", paired.lasts);
    home.secrets.set("TOKEN", paired.token.expose_secret());
    home.executor.ready(&repo()).await.unwrap();
    let again = afk_remote::pair_t3(&table, &"ONCE".into(), clock).await.unwrap_err();
    assert_eq!(again.kind, PortErrorKind::Auth);
    assert!(!again.chain().contains("ONCE"), "{}", again.chain());
}
