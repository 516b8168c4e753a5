//! An agent that speaks ACP, well and badly, behind the relay as a real process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod running;

use std::time::{Duration, Instant};

use afk_agent::agents::ask::{Access, Reply};
use afk_agent::agents::relay;
use afk_agent::agents::relay::wire::{ConversationState, InputLine, Protocol, RelayRequest};
use afk_agent::agents::{AgentEvent, AgentKind, FailReason, TurnOutcome};
use running::{Done, Running};
use rustix::process::Signal;

/// A home and a folder for one agent.
struct Stage {
    behaviour: &'static str,
    home: tempfile::TempDir,
    repo: tempfile::TempDir,
}

impl Stage {
    fn new(behaviour: &'static str) -> Self {
        let folder = || tempfile::tempdir().unwrap();
        Self { behaviour, home: folder(), repo: folder() }
    }

    fn request(&self, earlier: Option<ConversationState>) -> RelayRequest {
        RelayRequest {
            protocol: Protocol::Acp,
            argv: vec![env!("CARGO_BIN_EXE_scripted-acp").into(), self.behaviour.into()],
            cwd: self.repo.path().to_str().unwrap().to_owned(),
            earlier,
            prompt: "/go on".into(),
            opening_prompt: "all of it".into(),
            access: Access::Full,
            model: None,
            mode: None,
            auth_method: None,
            start_ms: 30_000,
            grace_ms: 1_000,
        }
    }

    fn start(&self, request: &RelayRequest) -> Running {
        let env = vec![
            ("HOME".into(), self.home.path().to_str().unwrap().into()),
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
        ];
        let invocation =
            relay::command::turn(env!("CARGO_BIN_EXE_agent-relay").into(), request, env);
        Running::start_talking(AgentKind::Acp, &invocation, self.repo.path())
    }

    fn run(&self) -> Done {
        self.start(&self.request(None)).finish(false)
    }

    /// The messages that the agent has received, a line each.
    fn told(&self) -> String {
        std::fs::read_to_string(self.home.path().join("told.jsonl")).unwrap_or_default()
    }
}

#[test]
fn a_turn_is_read_and_its_session_goes_on() {
    let stage = Stage::new("well");
    let first = stage.run();
    assert_eq!(first.finished(), "done in parts");
    let texts = first.events.iter().filter(|event| matches!(event, AgentEvent::Text { .. }));
    assert_eq!(texts.count(), 1, "parts of one message are one text: {:?}", first.events);
    assert_eq!(first.reader.unread_lines(), 0);
    assert_eq!(first.reader.tokens().input, 30);
    let usage = &first.reader.end().unwrap().usage;
    assert_eq!((usage.cost_usd_cumulative, usage.turn_cost_usd()), (0.25, Some(0.25)));
    assert!(stage.told().contains("\"all of it\""), "{}", stage.told());
    // In full access the mode that asks for nothing is chosen.
    assert!(stage.told().contains("\"modeId\":\"yolo\""), "{}", stage.told());

    let earlier = first.reader.conversation().unwrap().clone();
    assert_eq!((earlier.id.as_str(), earlier.cost_usd), ("session-1", 0.25));
    let second = stage.start(&stage.request(Some(earlier))).finish(false);
    assert_eq!(second.finished(), "done in parts");
    let usage = &second.reader.end().unwrap().usage;
    assert_eq!((usage.cost_usd_cumulative, usage.turn_cost_usd()), (0.5, Some(0.25)));
    assert_eq!(second.reader.conversation().unwrap().id, "session-1");
    // A leading slash of ours must not become one of the agent's commands.
    assert!(stage.told().contains("\"(slash)go on\""), "{}", stage.told());
}

/// A fault of other products: one process that holds several sessions mixes them up. So each
/// process has one session, two that work at the same time know nothing of each other, and the next
/// turn is another process.
#[test]
fn a_process_holds_one_session() {
    let stages = [Stage::new("asks"), Stage::new("asks")];
    let mut running: Vec<Running> = stages
        .iter()
        .map(|stage| stage.start(&RelayRequest { access: Access::Ask, ..stage.request(None) }))
        .collect();
    let asked: Vec<String> = running.iter_mut().map(|one| one.wait_for_ask().id).collect();
    let replies = [Reply::Allow, Reply::Deny("no".into())];
    for ((one, id), reply) in running.iter_mut().zip(asked).zip(replies) {
        one.say(&InputLine::Answer { id, reply }.line());
    }
    let done: Vec<Done> = running.into_iter().map(|one| one.finish(false)).collect();
    assert_eq!(done[0].finished(), "alloweddone in parts");
    assert_eq!(done[1].finished(), "refuseddone in parts");
    let count = |stage: &Stage, method: &str| stage.told().matches(method).count();
    for stage in &stages {
        for method in ["\"initialize\"", "\"session/new\"", "\"session/prompt\""] {
            assert_eq!(count(stage, method), 1, "{method}: {}", stage.told());
        }
    }
    let earlier = done[0].reader.conversation().unwrap().clone();
    let next = stages[0].start(&stages[0].request(Some(earlier.clone()))).finish(false);
    assert_eq!(next.reader.conversation().unwrap().id, earlier.id);
    assert_eq!(count(&stages[0], "\"initialize\""), 2);
    assert_eq!(count(&stages[0], "\"session/new\""), 1);
    assert_eq!(count(&stages[0], "\"session/resume\""), 1);
}

#[test]
fn sessions_that_cannot_go_on_are_opened_anew_with_the_whole_prompt() {
    for behaviour in ["loses", "forgetful"] {
        let stage = Stage::new(behaviour);
        let earlier = ConversationState { id: "session-9".into(), ..ConversationState::default() };
        let done = stage.start(&stage.request(Some(earlier))).finish(false);
        assert_eq!(done.finished(), "done in parts", "{behaviour}");
        assert_eq!(done.reader.conversation().unwrap().id, "session-1", "{behaviour}");
        assert!(stage.told().contains("\"all of it\""), "{behaviour}: {}", stage.told());
        let opened = stage.told().matches("session/new").count();
        assert_eq!(opened, 1, "{behaviour}: no loop");
    }
}

#[test]
fn a_session_that_was_never_told_anything_is_not_gone_on_with() {
    let done = Stage::new("dies-early").run();
    assert_eq!(done.reason(), &FailReason::StartFailed);
    assert_eq!(done.reader.conversation(), None);
    assert!(!done.reader.conversation_unknown());
}

#[test]
fn a_session_that_is_loaded_tells_nothing_of_its_past() {
    let stage = Stage::new("loads");
    let earlier = stage.run().reader.conversation().unwrap().clone();
    let second = stage.start(&stage.request(Some(earlier))).finish(false);
    assert_eq!(second.finished(), "done in parts");
    assert!(!format!("{:?}", second.events).contains("said long ago"));
}

#[test]
fn a_new_version_between_two_turns_is_no_matter() {
    let stage = Stage::new("updates");
    let version = |done: &Done| match &done.events[0] {
        AgentEvent::Started { version, .. } => version.clone(),
        other => panic!("{other:?}"),
    };
    let first = stage.run();
    let earlier = first.reader.conversation().unwrap().clone();
    let second = stage.start(&stage.request(Some(earlier))).finish(false);
    assert_eq!((version(&first), version(&second)), ("1.0.0".into(), "1.1.0".into()));
    assert_eq!(second.finished(), "done in parts");
}

/// A fault of other products: an error of the model's API (`fails`) passes for an ordinary end.
#[test]
fn bad_ends_are_told_apart() {
    fn check(behaviour: &'static str, expected: &FailReason) {
        let done = Stage::new(behaviour).run();
        assert_eq!(done.reason(), expected, "{behaviour}");
        assert!(!done.reader.tool_open(), "{behaviour}");
    }
    check("leaves", &FailReason::NoResult);
    check("killed", &FailReason::Killed { signal: 9 });
    check("empty", &FailReason::NoResult);
    check("fails", &FailReason::ApiError { status: Some(500) });
    check("refuses", &FailReason::AgentError);
    check("version-2", &FailReason::StartFailed);
    check("noise", &FailReason::Garbage { lines: 1 });
    check("signed-out", &FailReason::NotSignedIn);
    let resets_at = jiff::Timestamp::from_second(4_000_000_000).ok();
    check("limited", &FailReason::UsageLimit { resets_at });
}

/// Two faults of other products: an agent asks for a permission before it has the prompt
/// (`asks-early`), and sends text after the end of the turn (`late`).
#[test]
fn what_can_be_borne_is_borne() {
    fn check(behaviour: &'static str, unread: u64) {
        let done = Stage::new(behaviour).run();
        assert_eq!(done.finished(), "done in parts", "{behaviour}");
        assert_eq!(done.reader.unread_lines(), unread, "{behaviour}");
        assert!(!format!("{:?}", done.events).contains("too late"), "{behaviour}");
    }
    check("garbage", 3);
    check("long-line", 1);
    check("late", 0);
    check("asks-early", 0);
    check("stays", 0);
}

#[test]
fn an_agent_signs_in_by_the_method_that_is_configured() {
    let stage = Stage::new("signed-out");
    let request = RelayRequest { auth_method: Some("a-key".into()), ..stage.request(None) };
    assert_eq!(stage.start(&request).finish(false).finished(), "done in parts");
    let wrong = RelayRequest { auth_method: Some("another".into()), ..stage.request(None) };
    let done = stage.start(&wrong).finish(false);
    assert_eq!(done.reason(), &FailReason::NotSignedIn);
}

#[test]
fn an_agent_that_does_not_begin_is_ended() {
    let stage = Stage::new("mute");
    let request = RelayRequest { start_ms: 300, ..stage.request(None) };
    let begun = Instant::now();
    let done = stage.start(&request).finish(false);
    assert_eq!(done.reason(), &FailReason::StartFailed);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let missing = RelayRequest { argv: vec!["/nowhere/agent".into()], ..stage.request(None) };
    let done = stage.start(&missing).finish(false);
    assert_eq!(done.reason(), &FailReason::StartFailed);
    assert!(done.outcome.to_string().contains("/nowhere/agent"), "{}", done.outcome);
}

#[test]
fn a_cancel_is_told_and_insisted_on() {
    // What is to hear the cancel has time for it, and what obeys it has enough to do so.
    for (behaviour, told, grace_ms) in
        [("hangs", true, 20_000), ("deaf", true, 3_000), ("mute", false, 1_000)]
    {
        let stage = Stage::new(behaviour);
        let running = stage.start(&RelayRequest { grace_ms, ..stage.request(None) });
        running.wait_for(if told { "working" } else { "\"begun\"" });
        let begun = Instant::now();
        running.signal(Signal::TERM);
        let done = running.finish(true);
        assert_eq!(done.outcome, TurnOutcome::Interrupted, "{behaviour}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{behaviour}: {:?}", begun.elapsed());
        assert_eq!(stage.told().contains("session/cancel"), told, "{behaviour}");
    }
}

/// A fault of other products: an agent loses a cancel that comes before it has begun, so that it
/// has to be killed after a grace.
#[test]
fn a_cancel_at_once_ends_it() {
    for delay in [0, 1, 5, 20] {
        let stage = Stage::new("hangs");
        let running = stage.start(&stage.request(None));
        std::thread::sleep(Duration::from_millis(delay));
        running.signal(Signal::TERM);
        let begun = Instant::now();
        assert_eq!(running.finish(true).outcome, TurnOutcome::Interrupted, "{delay}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{delay}: {:?}", begun.elapsed());
    }
}

#[test]
fn nothing_of_its_group_stays_behind() {
    let stage = Stage::new("forks");
    let running = stage.start(&stage.request(None));
    let relay = running.id();
    assert_eq!(running.finish(false).finished(), "done in parts");
    let of_group = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok();
    assert!(!of_group(relay));
    // A process that left the group is not the relay's to find: the host adopts and kills it.
    let left: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let home = std::fs::read_to_string(entry.path().join("environ")).ok()?;
            let ours = home.contains(stage.home.path().to_str()?) && line.contains("987");
            ours.then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    assert!(left.len() <= 1, "{left:?}");
    for pid in left {
        let _ = std::process::Command::new("kill").args(["-KILL", &pid]).status();
    }
}

#[test]
fn an_output_that_is_closed_ends_the_turn() {
    let begun = Instant::now();
    let done = Stage::new("closes-output").run();
    assert!(matches!(done.outcome, TurnOutcome::Failed { .. }), "{:?}", done.outcome);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_person_is_asked_and_policy_answers_otherwise() {
    let stage = Stage::new("asks");
    // In full access the relay allows it at once, and chooses "allow once".
    let done = stage.run();
    assert_eq!(done.finished(), "alloweddone in parts");
    assert!(stage.told().contains("\"optionId\":\"yes\""), "{}", stage.told());

    for (reply, said) in
        [(Reply::Allow, "alloweddone in parts"), (Reply::Deny("no".into()), "refuseddone in parts")]
    {
        let stage = Stage::new("asks");
        let request = RelayRequest { access: Access::Ask, ..stage.request(None) };
        let mut running = stage.start(&request);
        let ask = running.wait_for_ask();
        assert_eq!((ask.tool.as_str(), ask.is_question()), ("write", false));
        assert_eq!(ask.input["path"], "a.txt");
        let line = InputLine::Answer { id: ask.id, reply: reply.clone() }.line();
        // A second answer is ignored. Both are written at once, since the first may end the turn.
        running.say(&line.repeat(2));
        let done = running.finish(false);
        assert_eq!(done.finished(), said);
        let denied = done
            .events
            .iter()
            .any(|event| matches!(event, AgentEvent::PermissionDenied { tool } if tool == "write"));
        assert_eq!(denied, reply != Reply::Allow);
        // The mode that asks is the current one already, so it need not be set.
        assert!(!stage.told().contains("set_mode"), "{}", stage.told());
    }
}

#[test]
fn an_open_question_is_withdrawn_when_the_turn_is_cancelled() {
    let stage = Stage::new("asks");
    let request = RelayRequest { access: Access::Ask, grace_ms: 20_000, ..stage.request(None) };
    let running = stage.start(&request);
    running.wait_for_ask();
    running.signal(Signal::TERM);
    let done = running.finish(true);
    assert!(done.reader.asks().is_empty());
    let told = stage.told();
    let (answered, cancelled) =
        (told.find("\"outcome\":\"cancelled\"").unwrap(), told.find("session/cancel").unwrap());
    assert!(answered < cancelled, "{told}");
}
