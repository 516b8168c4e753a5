//! A world whose agent is one version of the CLI. The first turn and the first verify can be held
//! up, so that a test can act in the middle of them.

use std::fs;
use std::path::PathBuf;

use afk_stand_ins::claude_cli::{OLD_VERSION, VERSION, of_version};
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use serde_json::Value;

use crate::common::{BOUND, Control, FIXED, ISSUE, NEW_TEST, Plan, World, until};

/// Both versions, and what a call of 1000 tokens in and 50 out costs in each, in millionths of a
/// dollar: their default models differ.
pub const VERSIONS: [(&str, u64); 2] = [(VERSION, 5_000), (OLD_VERSION, 6_250)];
/// Shell lines with which verify waits for the gate `verify`, once the new test is there.
pub const HELD_VERIFY: &str =
    "while [ -e tests/nobody.sh ] && [ ! -e @GATE@/verify ]; do sleep 0.05; done";
/// Shell words with which a tool call of the agent waits for [`Thread::let_go`].
pub const HOLD: &str = "touch ~/there; while [ ! -e ~/go ]; do sleep 0.05; done";

/// A tool call that ends, for the start of a conversation that is to be resumed: the older version
/// leaves out a tool call that was cut off.
pub const BEFORE: &str = "echo a first step";

/// A world with its stand-in for the model.
pub struct Thread {
    pub world: World,
    pub api: ModelApi,
}

impl Thread {
    /// Sets the world up, with an issue. None, with a visible line, if the version cannot be
    /// installed. `agent` holds further lines of `[agents.claude]`.
    pub fn new(test: &str, version: &str, script: Script, plan: Plan, agent: &str) -> Option<Self> {
        let binary = of_version(test, version)?;
        let api = ModelApi::start(script).unwrap();
        let config = format!(
            "{}\n[agents.claude]\nprogram = {:?}\nbase_url = {:?}\n{agent}\n",
            plan.config,
            binary.canonicalize().unwrap(),
            api.url(),
        );
        let mut world = World::new(&Plan { config, ..plan });
        world.env.push(("ANTHROPIC_API_KEY".to_owned(), "dummy".to_owned()));
        world.issue("It prints `Hello, !`.");
        Some(Self { world, api })
    }

    /// Sets the world up with an agent that is signed in by an API key.
    pub fn with_key(test: &str, version: &str, script: Script, plan: Plan) -> Option<Self> {
        Self::new(test, version, script, plan, KEY)
    }

    /// The requests for messages, which are those that cost something.
    pub fn calls(&self) -> Vec<Value> {
        let asked = self.api.requests().into_iter();
        let paid = asked.filter(|one| one.target.split('?').next() == Some("POST /v1/messages"));
        paid.map(|one| one.body).collect()
    }

    /// How many messages of a person the newest conversation has.
    pub fn said(&self) -> usize {
        let calls = self.calls();
        let messages = calls.last().unwrap()["messages"].as_array().unwrap().clone();
        messages.iter().filter(|one| is_said(one)).count()
    }

    /// Waits until a tool call of the agent is at [`HOLD`].
    pub fn held(&self, control: &mut Control) {
        until("the held tool call", BOUND, || {
            assert!(control.over().is_none(), "{}", control.said());
            self.homes().iter().any(|home| home.join("there").exists()).then_some(())
        });
    }

    /// Waits until the CLI has written the end of [`BEFORE`] to its conversation's file, which it
    /// does a moment later: killed before that, it would not remember the call.
    pub fn remembered(&self) {
        let says =
            |file: &PathBuf| fs::read_to_string(file).is_ok_and(|t| t.contains("tool_result"));
        let below = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        until("the conversation on disk", BOUND, || {
            let projects = self.homes().into_iter().flat_map(|h| below(h.join(".claude/projects")));
            projects.flat_map(below).any(|file| says(&file)).then_some(())
        });
    }

    /// Deletes every conversation in the agent's homes.
    pub fn forget(&self) {
        for home in self.homes() {
            fs::remove_dir_all(home.join(".claude/projects")).unwrap();
        }
    }

    /// Lets [`HOLD`] go on.
    pub fn let_go(&self) {
        for home in self.homes() {
            fs::write(home.join("go"), "").unwrap();
        }
    }

    /// All turns of the newest run.
    pub fn turns(&self) -> Vec<Value> {
        let page = self.world.show();
        let attempts = page["run"]["attempts"].as_array().unwrap().clone();
        attempts.iter().flat_map(|one| one["turns"].as_array().unwrap().clone()).collect()
    }

    /// What the newest run is charged, in millionths of a dollar.
    pub fn charged(&self) -> u64 {
        micros(&self.world.show()["summary"]["cost_usd"])
    }

    fn homes(&self) -> Vec<PathBuf> {
        let runs = fs::read_dir(self.world.path("data/work/runs")).into_iter().flatten().flatten();
        runs.map(|run| run.path().join("home")).collect()
    }
}

/// The line of the agent's table that names the API key.
pub const KEY: &str = "api_key = { env = \"ANTHROPIC_API_KEY\" }";

/// An amount in JSON, in millionths of a dollar.
pub fn micros(amount: &Value) -> u64 {
    let dollars: f64 = amount.to_string().trim_matches('"').parse().unwrap();
    (dollars * 1e6).round() as u64
}

/// As which process's which turn the turn was charged.
pub fn place(turn: &Value) -> (u64, u64) {
    let key = &turn["ended"]["facts"]["cost"]["key"];
    (key["process"].as_u64().unwrap(), key["turn"].as_u64().unwrap())
}

/// The cause and the end of each turn.
pub fn story(turns: &[Value]) -> Vec<(&str, &str)> {
    let words = |turn| (text(turn, "/cause"), text(turn, "/ended/how/end"));
    turns.iter().map(words).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Commits a test and `fixed`, in two commits.
pub fn work(fixed: &str) -> Reply {
    Reply::bash(format!(
        "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ngit add tests/nobody.sh && git commit -q -m \
         'Test a greeting without a name' -m 'Nobody has no name.'\ncat > hello.sh \
         <<'END'\n{fixed}END\ngit add hello.sh && git commit -q -m 'Greet the world when no name is \
         given' -m 'Nobody has no name.'"
    ))
}

/// Commits the right fix on top of [`WRONG`].
pub fn mend() -> Reply {
    Reply::bash(format!(
        "cat > hello.sh <<'END'\n{FIXED}END\ngit add hello.sh && git commit -q -m 'Name the world' \
         -m 'The test wants it.'"
    ))
}

/// A fix that the test refuses.
pub const WRONG: &str = "greet() { printf 'Hello, %s!\\n' \"${1:-you}\"; }\n";

/// Starts a control plane, and waits until its log shows that it has seen the live run.
pub fn attached(world: &World) -> Control {
    let mut control = world.start(&["tick", "--poll", "--watch", "--verbose"]);
    until("a control plane that shows the run", BOUND, || {
        assert!(control.over().is_none(), "it ended: {}", control.said());
        control.said().contains(ISSUE).then_some(())
    });
    control
}

/// Whether a message is a person's, and neither the result of a tool nor a reminder.
fn is_said(message: &Value) -> bool {
    let own = |text: &str| !text.trim_start().starts_with("<system-reminder>");
    message["role"] == "user"
        && match &message["content"] {
            Value::String(text) => own(text),
            Value::Array(blocks) => {
                blocks.iter().all(|block| block["type"] != "tool_result")
                    && blocks.iter().filter_map(|block| block["text"].as_str()).any(own)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        }
}
