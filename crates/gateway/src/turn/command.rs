//! The command line of one turn: which flags, which input, which environment.
//!
//! Pure; [`super::process`] runs what comes out. Prompts go to standard input, never into an
//! argument, where they could be read as flags and would show in the process list. No shell is
//! involved.
//!
//! A lean turn has no tools, no checkout and little context. It can run on a *warm* process, which
//! is started before the prompt is known and takes it as a line of JSON; a cold process reads text.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use afk_agent::agents::Invocation;
use afk_agent::agents::claude::control;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::sign_in;

/// The agent definition of lean turns; see [`crate::shipped`].
const CONVERSATIONAL: &str = "conversational";
/// The agent definition of lean turns with a schema. The CLI answers those by a tool of its own;
/// for an agent that has no tools it silently ignores the schema.
const STRUCTURED: &str = "structured";
/// How often the CLI retries a request to the model's API: not for minutes with a bad key.
const RETRIES: &str = "2";

/// The CLI's variable for the folder of its sign-in, where that is not its home's.
const SIGN_IN: &str = "CLAUDE_SECURESTORAGE_CONFIG_DIR";

/// Flags that halve the context of a turn. It runs no hooks: one in the gateway's home would run
/// for every caller.
const LEAN: [&str; 6] = [
    "--setting-sources",
    "user",
    "--exclude-dynamic-system-prompt-sections",
    "--strict-mcp-config",
    "--settings",
    r#"{"disableAllHooks":true}"#,
];
/// Flags for output as it comes.
const STREAM: [&str; 4] =
    ["--output-format", "stream-json", "--include-partial-messages", "--verbose"];
/// Flags for output in one piece at the end. Its cost is that of the whole session, so this is only
/// for turns that resume none.
const WHOLE: [&str; 2] = ["--output-format", "json"];
/// Flags for a turn of a session: only the result of a stream tells what the turn alone cost.
const OF_SESSION: [&str; 3] = ["--output-format", "stream-json", "--verbose"];

/// What a turn's process is started for. The prompt is not part of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TurnSpec {
    pub(crate) model: Option<String>,
    pub(crate) kind: TurnKind,
}

/// What kind of turn it is, with what only that kind has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TurnKind {
    /// A turn without tools and without a checkout, of which nothing is remembered.
    Lean {
        input: Input,
        /// Whether deltas are wanted.
        streamed: bool,
        effort: Option<&'static str>,
        schema: Option<Value>,
        /// The most that the turn may cost, in US dollars, if that is less than usual.
        budget_usd: Option<f64>,
    },
    /// One turn of a conversation that the CLI keeps; `open` if it is the first one.
    Conversation { session: uuid::Uuid, open: bool, budget_usd: Option<f64> },
    /// A turn in a checkout: a job, or a chat completion by an agent.
    Job {
        /// The CLI's `HOME`, which is the checkout's own.
        home: PathBuf,
        agent: Option<String>,
        budget_usd: f64,
        skip_permissions: bool,
        effort: Option<&'static str>,
        schema: Option<Value>,
    },
}

impl TurnKind {
    /// Whether a waiting process can serve the turn: it needs no flags of its own.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Lean { effort: None, schema: None, budget_usd: None, .. })
    }
}

/// How a process gets its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// As text, up to the end of standard input.
    Text,
    /// As a line of JSON, at any time after the start.
    Line,
}

/// What all processes of a service share.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The absolute path of the CLI.
    pub(crate) program: PathBuf,
    /// The CLI's `HOME` in turns without a checkout, which is the gateway's own.
    pub(crate) home: PathBuf,
    /// The CLI's `PATH`.
    pub(crate) path: String,
    /// The URL of the model's API, if it is not the CLI's default.
    pub(crate) base_url: Option<String>,
    /// The model's credential: names and values of the CLI's environment variables.
    pub(crate) credentials: Vec<(String, SecretString)>,
}

/// Whether a name can be an agent's: an argument and a file's name, but no flag and no path.
pub(crate) fn is_agent_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    (1..=100).contains(&name.len())
        && name.bytes().all(fine)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

/// Returns the invocation without the prompt. `folder` must be absolute and without links.
pub(crate) fn invocation(spec: &TurnSpec, around: &Surroundings, folder: &Path) -> Invocation {
    let args = args(spec, folder).into_iter().map(OsString::from).collect();
    let env = env(spec, around);
    Invocation { program: around.program.clone(), args, env, stdin: Vec::new() }
}

/// Returns how the process of a turn gets its prompt.
pub(crate) fn input(spec: &TurnSpec) -> Input {
    match spec.kind {
        TurnKind::Lean { input, .. } => input,
        TurnKind::Conversation { .. } | TurnKind::Job { .. } => Input::Text,
    }
}

/// Returns the line of JSON that begins the one turn of a warm process.
pub(crate) fn line(prompt: &str) -> Result<Vec<u8>, control::PromptError> {
    control::user(prompt, &uuid::Uuid::now_v7().to_string())
}

fn args(spec: &TurnSpec, folder: &Path) -> Vec<String> {
    let mut args: Vec<String> = vec!["-p".to_owned()];
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    match &spec.kind {
        TurnKind::Lean { schema: Some(_), .. } => add(&["--agent", STRUCTURED]),
        TurnKind::Lean { schema: None, .. } | TurnKind::Conversation { .. } => {
            add(&["--agent", CONVERSATIONAL]);
        }
        TurnKind::Job { agent, .. } => {
            if let Some(agent) = agent {
                add(&["--agent", agent]);
            }
        }
    }
    if let Some(model) = &spec.model {
        add(&["--model", model]);
    }
    let shape = |effort: Option<&'static str>, schema: Option<&Value>| {
        let mut more = Vec::new();
        if let Some(effort) = effort {
            more.extend(["--effort".to_owned(), effort.to_owned()]);
        }
        if let Some(schema) = schema {
            more.extend(["--json-schema".to_owned(), schema.to_string()]);
        }
        more
    };
    match &spec.kind {
        TurnKind::Lean { input, streamed, effort, schema, budget_usd } => {
            match input {
                Input::Line => {
                    add(&["--input-format", "stream-json"]);
                    add(&STREAM);
                }
                Input::Text if *streamed => add(&STREAM),
                Input::Text => add(&WHOLE),
            }
            add(&LEAN);
            add(&["--no-session-persistence"]);
            if let Some(usd) = budget_usd {
                add(&["--max-budget-usd", &usd.to_string()]);
            }
            args.extend(shape(*effort, schema.as_ref()));
        }
        TurnKind::Conversation { session, open, budget_usd } => {
            add(&OF_SESSION);
            add(&LEAN);
            if let Some(usd) = budget_usd {
                add(&["--max-budget-usd", &usd.to_string()]);
            }
            add(&[if *open { "--session-id" } else { "--resume" }, &session.to_string()]);
        }
        TurnKind::Job { budget_usd, skip_permissions, effort, schema, .. } => {
            if *skip_permissions {
                add(&["--dangerously-skip-permissions"]);
            }
            add(&["--max-budget-usd", &budget_usd.to_string()]);
            add(&WHOLE);
            // Nothing that the agent read may outlive its checkout.
            add(&["--no-session-persistence"]);
            if *skip_permissions {
                add(&["--settings", &own_instructions(folder).to_string()]);
            }
            args.extend(shape(*effort, schema.as_ref()));
        }
    }
    args
}

/// Returns settings by which the CLI reads the `CLAUDE.md` of the checkout alone. It would also
/// read those of the folders above and of its home, where an earlier job may have left some.
fn own_instructions(folder: &Path) -> Value {
    // Characters that may be special in a pattern become `?`, since the CLI knows no escapes.
    let mut pattern = "!".to_owned();
    for c in folder.to_string_lossy().chars() {
        if c.is_alphanumeric() || matches!(c, '/' | '-' | '_' | '.') {
            pattern.push(c);
        } else {
            pattern.extend(std::iter::repeat_n('?', c.len_utf16()));
        }
    }
    json!({"claudeMdExcludes": [pattern + "/**"]})
}

fn env(spec: &TurnSpec, around: &Surroundings) -> Vec<(String, SecretString)> {
    let (home, skips) = match &spec.kind {
        TurnKind::Lean { .. } | TurnKind::Conversation { .. } => (&around.home, false),
        TurnKind::Job { home, skip_permissions, .. } => (home, *skip_permissions),
    };
    let mut env: Vec<(String, SecretString)> = Vec::new();
    let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.into()));
    set("HOME", &home.to_string_lossy());
    if matches!(spec.kind, TurnKind::Job { .. }) {
        // What the CLI renews must outlive the job's home: a refresh token can be spent only once.
        set(SIGN_IN, &around.home.join(sign_in::FOLDER).to_string_lossy());
    }
    set("PATH", &around.path);
    set("LANG", "C.UTF-8");
    // Prompts come from outside, so neither they nor a CLAUDE.md may pull files into the request.
    // Only the CLAUDE.md of a checkout is meant for the agent that works there.
    set("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1");
    set("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "1");
    if !skips {
        set("CLAUDE_CODE_DISABLE_CLAUDE_MDS", "1");
    }
    set("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    set("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1");
    set("DISABLE_AUTOUPDATER", "1");
    set("CLAUDE_CODE_MAX_RETRIES", RETRIES);
    if skips {
        // As root the CLI refuses to skip permissions otherwise.
        set("IS_SANDBOX", "1");
    }
    if let Some(url) = &around.base_url {
        set("ANTHROPIC_BASE_URL", url);
    }
    env.extend(around.credentials.iter().cloned());
    env
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            program: "/opt/claude".into(),
            home: "/state/home".into(),
            path: "/usr/bin".into(),
            base_url: Some("http://127.0.0.1:1".into()),
            credentials: vec![("ANTHROPIC_API_KEY".into(), "sk-canary".into())],
        }
    }

    fn lean(input: Input, streamed: bool) -> TurnKind {
        TurnKind::Lean { input, streamed, effort: None, schema: None, budget_usd: None }
    }

    #[track_caller]
    fn check(kind: TurnKind, expected: &str) {
        let spec = TurnSpec { model: Some("opus".into()), kind };
        assert_eq!(args(&spec, Path::new("/jobs/afk-job-1")).join(" "), expected);
    }

    #[test]
    fn the_command_lines() {
        check(
            lean(Input::Text, false),
            "-p --agent conversational --model opus --output-format json --setting-sources user \
             --exclude-dynamic-system-prompt-sections --strict-mcp-config --settings \
             {\"disableAllHooks\":true} --no-session-persistence",
        );
        check(
            lean(Input::Line, true),
            "-p --agent conversational --model opus --input-format stream-json --output-format \
             stream-json --include-partial-messages --verbose --setting-sources user \
             --exclude-dynamic-system-prompt-sections --strict-mcp-config --settings \
             {\"disableAllHooks\":true} --no-session-persistence",
        );
        let shaped = TurnKind::Lean {
            input: Input::Text,
            streamed: true,
            effort: Some("low"),
            schema: Some(json!({"type": "object"})),
            budget_usd: Some(0.25),
        };
        check(
            shaped,
            "-p --agent structured --model opus --output-format stream-json \
             --include-partial-messages --verbose --setting-sources user \
             --exclude-dynamic-system-prompt-sections --strict-mcp-config --settings \
             {\"disableAllHooks\":true} --no-session-persistence \
             --max-budget-usd 0.25 --effort low --json-schema {\"type\":\"object\"}",
        );
        let session = uuid::Uuid::nil();
        let turn = |open| TurnKind::Conversation { session, open, budget_usd: None };
        let talk = "-p --agent conversational --model opus --output-format stream-json --verbose \
                    --setting-sources user --exclude-dynamic-system-prompt-sections \
                    --strict-mcp-config --settings {\"disableAllHooks\":true}";
        check(turn(true), &format!("{talk} --session-id {session}"));
        check(turn(false), &format!("{talk} --resume {session}"));
        check(
            TurnKind::Conversation { session, open: false, budget_usd: Some(1.5) },
            &format!("{talk} --max-budget-usd 1.5 --resume {session}"),
        );
        let job = |agent: Option<&str>, skip_permissions| TurnKind::Job {
            home: "/jobs/afk-job-1.home".into(),
            agent: agent.map(str::to_owned),
            budget_usd: 5.0,
            skip_permissions,
            effort: None,
            schema: None,
        };
        check(
            job(Some("triage"), true),
            "-p --agent triage --model opus --dangerously-skip-permissions --max-budget-usd 5 \
             --output-format json --no-session-persistence --settings \
             {\"claudeMdExcludes\":[\"!/jobs/afk-job-1/**\"]}",
        );
        check(
            job(None, false),
            "-p --model opus --max-budget-usd 5 --output-format json --no-session-persistence",
        );
    }

    #[test]
    fn turns_of_strangers_never_skip_permissions() {
        for kind in [
            lean(Input::Text, true),
            lean(Input::Line, true),
            TurnKind::Conversation { session: uuid::Uuid::nil(), open: true, budget_usd: None },
        ] {
            let spec = TurnSpec { model: None, kind };
            let made = invocation(&spec, &around(), Path::new("/state/scratch"));
            assert!(!made.args.iter().any(|arg| arg == "--dangerously-skip-permissions"));
            let has = |name: &str| {
                made.env.iter().any(|(known, value)| known == name && value.expose_secret() == "1")
            };
            assert!(
                has("CLAUDE_CODE_DISABLE_ATTACHMENTS") && has("CLAUDE_CODE_DISABLE_CLAUDE_MDS")
            );
            assert!(!has("IS_SANDBOX"));
            assert!(!format!("{made:?}").contains("sk-canary"));
        }
    }

    #[test]
    fn a_job_has_a_home_of_its_own() {
        let job = TurnKind::Job {
            home: "/jobs/afk-job-1.home".into(),
            agent: None,
            budget_usd: 5.0,
            skip_permissions: true,
            effort: None,
            schema: None,
        };
        for (kind, home, sign_in) in [
            (lean(Input::Text, true), "/state/home", None),
            (job, "/jobs/afk-job-1.home", Some("/state/home/.claude")),
        ] {
            let spec = TurnSpec { model: None, kind };
            let made = invocation(&spec, &around(), Path::new("/jobs/afk-job-1"));
            let value = |name: &str| {
                let found = made.env.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.expose_secret())
            };
            assert_eq!(value("HOME"), Some(home));
            assert_eq!(value("CLAUDE_SECURESTORAGE_CONFIG_DIR"), sign_in);
        }
    }

    #[test]
    fn a_refused_key_is_not_tried_for_minutes() {
        let kind = lean(Input::Text, false);
        let made =
            invocation(&TurnSpec { model: None, kind }, &around(), Path::new("/state/scratch"));
        let retries = made.env.iter().find(|(name, _)| name == "CLAUDE_CODE_MAX_RETRIES");
        assert_eq!(retries.unwrap().1.expose_secret(), "2");
    }

    #[test]
    fn the_folder_of_a_job_is_no_pattern() {
        for (folder, pattern) in [
            ("/srv/jobs/afk-job-1", "!/srv/jobs/afk-job-1/**"),
            ("/home/я/.local/x_y", "!/home/я/.local/x_y/**"),
            ("/a [b]/{c,d}/*!(e)\u{1f980}", "!/a??b?/?c?d?/???e???/**"),
        ] {
            let settings = own_instructions(Path::new(folder));
            assert_eq!(settings, json!({"claudeMdExcludes": [pattern]}));
        }
    }

    #[test]
    fn names_of_agents_are_no_flags_and_no_paths() {
        for name in ["recruiter-triage", "a", "plugin:agent", "a.b_c"] {
            assert!(is_agent_name(name), "{name}");
        }
        for name in ["", "-x", "--help", "a b", "../x", "a/b", "a\n", "ä", ".x"] {
            assert!(!is_agent_name(name), "{name}");
        }
        assert!(!is_agent_name(&"x".repeat(101)));
    }
}
