//! The command line and environment of one turn of the Claude CLI.
//!
//! Called by [`super::run`]. Pure. The prompt goes to standard input: an argument would show in the
//! process list.
//!
//! The agent has a shell, so it can read whatever is in its environment. It gets what the CLI and
//! SSH need, by name, and nothing of the server's: neither the token nor the key's path.

use std::ffi::OsString;
use std::path::PathBuf;

use afk_agent::agents::Invocation;
use afk_agent::agents::claude::session::SessionUse;
use secrecy::SecretString;

/// The largest prompt, in bytes.
pub const MAX_PROMPT: usize = 256 * 1024;

/// Variables of the server that the agent gets, too.
const PASSED: [&str; 20] = [
    "HOME",
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SHELL",
    "USER",
    "LOGNAME",
    "TERM",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "XDG_RUNTIME_DIR",
];
/// Prefixes of other variables that the agent gets: the CLI's, and the model's credential.
const PASSED_PREFIXES: [&str; 3] = ["ANTHROPIC_", "CLAUDE_", "DISABLE_"];

/// How turns are started, the same for all of them.
#[derive(Clone, Debug)]
pub struct AgentProgram {
    /// The CLI, or the program that stands in for it, and leading arguments.
    pub argv: Vec<OsString>,
    /// The name of the agent definition.
    pub agent: String,
    /// The model, unless a prompt asks for another one.
    pub model: String,
    /// The agent's whole environment ([`environment`]), some of which is credentials.
    pub env: Vec<(String, SecretString)>,
}

/// One turn to be started.
#[derive(Clone, Debug)]
pub struct TurnRequest {
    /// The conversation's id, which is also the CLI's session id.
    pub session: String,
    /// Whether the CLI opens or resumes that session.
    pub session_use: SessionUse,
    /// What the person wrote.
    pub prompt: String,
    /// The model that the prompt asks for, if it does.
    pub model: Option<String>,
}

/// Returns the command of a turn, with the prompt as its standard input.
pub fn command(program: &AgentProgram, request: &TurnRequest) -> Invocation {
    let mut words = program.argv.iter().cloned();
    let cli = words.next().unwrap_or_else(|| "claude".into());
    let mut args: Vec<OsString> = words.collect();
    let model = request.model.as_deref().unwrap_or(&program.model);
    args.extend(
        [
            "-p",
            "--agent",
            &program.agent,
            "--dangerously-skip-permissions",
            "--output-format",
            "stream-json",
            "--verbose",
            "--model",
            model,
            match request.session_use {
                SessionUse::Open => "--session-id",
                SessionUse::Resume => "--resume",
            },
            &request.session,
        ]
        .map(OsString::from),
    );
    Invocation {
        program: PathBuf::from(cli),
        args,
        env: program.env.clone(),
        stdin: prompt_text(&request.prompt).into_bytes(),
    }
}

/// Returns the agent's environment: what it may have of the server's (`own`), and `set`.
pub fn environment(
    own: impl IntoIterator<Item = (String, SecretString)>,
    set: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, SecretString)> {
    let passes = |name: &str| {
        PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut env: Vec<(String, SecretString)> =
        own.into_iter().filter(|(name, _)| passes(name)).collect();
    let fixed = [
        // As root the CLI refuses the flag that skips permissions without this.
        ("IS_SANDBOX", "1"),
        // An at sign in a prompt must not attach a file of this machine.
        ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
        // A CLAUDE.md that somebody left in the home must not instruct this agent.
        ("CLAUDE_CODE_DISABLE_CLAUDE_MDS", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in fixed.into_iter().chain(set) {
        env.retain(|(known, _)| *known != name);
        env.push((name, value.into()));
    }
    env
}

/// Whether a name can be given as a model or an agent: it must never look like an option.
pub fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/[]@".contains(&byte))
}

/// Returns the prompt so that it does not begin with a slash, which would make it a command of the
/// CLI: people who write of `/var` mean the folder.
fn prompt_text(prompt: &str) -> String {
    if prompt.trim_start().starts_with('/') {
        format!("The operator's message: {prompt}")
    } else {
        prompt.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn program() -> AgentProgram {
        AgentProgram {
            argv: vec!["/opt/claude".into()],
            agent: "breakglass".into(),
            model: "sonnet".into(),
            env: vec![("HOME".into(), "/home/x".into())],
        }
    }

    fn request() -> TurnRequest {
        TurnRequest {
            session: "0191".into(),
            session_use: SessionUse::Open,
            prompt: "what is wrong?".into(),
            model: None,
        }
    }

    #[test]
    fn the_command_line_of_a_turn() {
        fn check(program: &AgentProgram, request: &TurnRequest, expected: &str) {
            let made = command(program, request);
            let args: Vec<_> = made.args.iter().map(|arg| arg.to_str().unwrap()).collect();
            assert_eq!(format!("{} {}", made.program.display(), args.join(" ")), expected);
            let secret = made.env[0].1.expose_secret();
            assert_eq!((made.env[0].0.as_str(), secret), ("HOME", "/home/x"));
        }
        check(
            &program(),
            &request(),
            "/opt/claude -p --agent breakglass --dangerously-skip-permissions --output-format \
             stream-json --verbose --model sonnet --session-id 0191",
        );
        check(
            &AgentProgram { argv: vec!["/bin/x".into(), "agent".into()], ..program() },
            &TurnRequest {
                session_use: SessionUse::Resume,
                model: Some("opus".into()),
                ..request()
            },
            "/bin/x agent -p --agent breakglass --dangerously-skip-permissions --output-format \
             stream-json --verbose --model opus --resume 0191",
        );
    }

    #[test]
    fn a_prompt_is_passed_on_as_it_is_unless_it_would_be_a_command() {
        let stdin = |prompt: &str| {
            let request = TurnRequest { prompt: prompt.into(), ..request() };
            String::from_utf8(command(&program(), &request).stdin).unwrap()
        };
        assert_eq!(stdin("mail a@b, see @/etc"), "mail a@b, see @/etc");
        assert_eq!(stdin("/var is full"), "The operator's message: /var is full");
        assert_eq!(stdin(" \n/clear"), "The operator's message:  \n/clear");
    }

    #[test]
    fn the_agent_gets_what_it_needs_and_nothing_of_ours() {
        let own = [
            ("HOME", "/root"),
            ("ANTHROPIC_API_KEY", "key"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "token"),
            ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "0"),
            ("API_BEARER_TOKEN", "canary"),
            ("BREAKGLASS_KEY_PATH", "/secret/key"),
            ("LD_PRELOAD", "/x.so"),
            ("SSH_AUTH_SOCK", "/somebody/else"),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()));
        let env = environment(own, [("SSH_AUTH_SOCK".to_owned(), "/run/agent".to_owned())]);
        let value = |name: &str| {
            let found: Vec<_> = env.iter().filter(|(known, _)| known == name).collect();
            assert!(found.len() <= 1, "{name} twice");
            found.first().map(|(_, value)| value.expose_secret())
        };
        for (name, expected) in [
            ("HOME", Some("/root")),
            ("ANTHROPIC_API_KEY", Some("key")),
            ("CLAUDE_CODE_OAUTH_TOKEN", Some("token")),
            ("CLAUDE_CODE_DISABLE_ATTACHMENTS", Some("1")),
            ("IS_SANDBOX", Some("1")),
            ("SSH_AUTH_SOCK", Some("/run/agent")),
            ("API_BEARER_TOKEN", None),
            ("BREAKGLASS_KEY_PATH", None),
            ("LD_PRELOAD", None),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
    }

    #[test]
    fn names_never_look_like_options() {
        for name in ["sonnet", "claude-sonnet-4-6", "us.anthropic/claude:1", "opus[1m]"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-x", "--help", "a b", "a\n", "a;b", "é", &"x".repeat(129)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
