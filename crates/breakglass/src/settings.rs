//! The settings of the server: flags, or the environment variables that they are named after.
//!
//! The variables of the program that came before keep working. The token is no flag, because flags
//! show in the process list.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use afk_http::Networks;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};

use crate::turn::command::is_name;

/// The environment variable with the bearer token that signs in.
pub const TOKEN_VARIABLE: &str = "API_BEARER_TOKEN";

/// The most seconds of silence that a page may be left in: it gives a connection up when it has
/// missed two signs of life (`SILENCE_MS` in `assets/stream.js`). Longer settings are lowered and
/// not refused, because the program that came before took them.
pub const LONGEST_SILENCE_SECONDS: u64 = 20;

/// Settings of the server. Each flag can be given as the variable beside it.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The address and port to listen on.
    #[arg(
        long,
        env = "BREAKGLASS_LISTEN",
        help_heading = "Who gets in",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// The networks of the edge proxy, separated by commas. Its user header is only believed from
    /// these. If unset, users need the token.
    #[arg(
        long,
        env = "BREAKGLASS_PROXIES",
        help_heading = "Who gets in",
        default_value = "",
        hide_default_value = true,
        value_name = "NETWORKS"
    )]
    pub proxies: Networks,
    /// The header in which the edge proxy names the user.
    #[arg(
        long,
        env = "BREAKGLASS_USER_HEADER",
        help_heading = "Who gets in",
        default_value = "X-authentik-username",
        value_name = "NAME"
    )]
    pub user_header: String,

    /// The machine that is to be repaired: its IP address, because names may not resolve in an
    /// incident.
    #[arg(long, env = "BREAKGLASS_DEVVM_HOST", help_heading = "Machines", default_value = "", hide_default_value = true, value_parser = host, value_name = "HOST")]
    pub devvm_host: String,
    /// The user on that machine that the agent signs in as.
    #[arg(long, env = "BREAKGLASS_DEVVM_USER", help_heading = "Machines", default_value = "root", value_parser = user, value_name = "USER")]
    pub devvm_user: String,
    /// The port of the SSH server on that machine.
    #[arg(
        long,
        env = "BREAKGLASS_DEVVM_PORT",
        help_heading = "Machines",
        default_value_t = 22,
        value_name = "PORT"
    )]
    pub devvm_port: u16,
    /// The hypervisor that the machine runs on: its IP address. Needed for power verbs.
    #[arg(long, env = "BREAKGLASS_PVE_HOST", help_heading = "Machines", default_value = "", hide_default_value = true, value_parser = host, value_name = "HOST")]
    pub pve_host: String,
    /// The user on the hypervisor whose `authorized_keys` has the script of the power verbs.
    #[arg(long, env = "BREAKGLASS_PVE_USER", help_heading = "Machines", default_value = "root", value_parser = user, value_name = "USER")]
    pub pve_user: String,
    /// The port of the SSH server on the hypervisor.
    #[arg(
        long,
        env = "BREAKGLASS_PVE_PORT",
        help_heading = "Machines",
        default_value_t = 22,
        value_name = "PORT"
    )]
    pub pve_port: u16,
    /// The private SSH key for the machine and the hypervisor. It is loaded into an ssh-agent and
    /// copied nowhere.
    #[arg(long, env = "BREAKGLASS_KEY_PATH", help_heading = "Machines", value_name = "FILE")]
    pub key_path: Option<PathBuf>,
    /// A folder in memory for the ssh-agent's socket. If unset, `XDG_RUNTIME_DIR` or `/dev/shm` is
    /// used.
    #[arg(long, env = "BREAKGLASS_RUNTIME_DIR", help_heading = "Machines", value_name = "FOLDER")]
    pub runtime_dir: Option<PathBuf>,

    /// The program of the Claude CLI, as a path or a name on the search path.
    #[arg(
        long,
        env = "BREAKGLASS_CLAUDE",
        help_heading = "Agent",
        default_value = "claude",
        value_name = "PROGRAM"
    )]
    pub claude: PathBuf,
    /// The name of the agent definition that the CLI uses. The one named `breakglass` comes with
    /// this program.
    #[arg(long, env = "BREAKGLASS_AGENT", help_heading = "Agent", default_value = "breakglass", value_parser = name, value_name = "NAME")]
    pub agent: String,
    /// The model that the agent uses, unless a prompt asks for another one.
    #[arg(long, env = "BREAKGLASS_MODEL", help_heading = "Agent", default_value = "sonnet", value_parser = name, value_name = "NAME")]
    pub model: String,
    /// The folder in which conversations are kept.
    #[arg(
        long,
        env = "BREAKGLASS_SESSIONS_DIR",
        help_heading = "Storage",
        default_value = "/var/lib/breakglass/sessions",
        value_name = "FOLDER"
    )]
    pub sessions_dir: PathBuf,
    /// The file of the audit log. If unset, it is beside the folder of the conversations.
    #[arg(long, env = "BREAKGLASS_AUDIT_FILE", help_heading = "Storage", value_name = "FILE")]
    pub audit_file: Option<PathBuf>,
    /// Size of the audit log, in bytes, at which it is renamed and a new file begins.
    #[arg(
        long,
        env = "BREAKGLASS_AUDIT_FILE_BYTES",
        help_heading = "Storage",
        default_value_t = 16 << 20,
        value_parser = clap::value_parser!(u64).range(65_536..),
        value_name = "BYTES"
    )]
    pub audit_file_bytes: u64,
    /// Maximum number of turns that run at once; further ones wait.
    #[arg(long, env = "BREAKGLASS_MAX_CONCURRENT_TURNS", help_heading = "Limits", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    pub max_concurrent_turns: u16,
    /// Time limit of a turn, in seconds.
    #[arg(long, env = "BREAKGLASS_TURN_TIMEOUT_SECONDS", help_heading = "Limits", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "S")]
    pub turn_timeout_seconds: u64,
    /// Seconds that the answer to a power verb is waited for. The verb itself goes on after that.
    #[arg(long, env = "BREAKGLASS_PVE_VERB_TIMEOUT_SECONDS", help_heading = "Limits", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "S")]
    pub pve_verb_timeout_seconds: u64,
    /// Seconds of silence after which a page that follows a conversation is sent a sign of life. At
    /// most 20 are used: the page takes longer silence for a dead connection.
    #[arg(long, env = "BREAKGLASS_SSE_KEEPALIVE_SECONDS", help_heading = "Limits", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=300), value_name = "S")]
    pub sse_keepalive_seconds: u64,
    /// Maximum number of pages that follow conversations at once. Further ones are refused, and
    /// told when to try again.
    #[arg(long, env = "BREAKGLASS_MAX_STREAMS", help_heading = "Limits", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096), value_name = "N")]
    pub max_streams: u16,
    /// Maximum number of conversations that are kept. Beyond that, the oldest that nobody has open
    /// are removed.
    #[arg(long, env = "BREAKGLASS_MAX_SESSIONS", help_heading = "Limits", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000), value_name = "N")]
    pub max_sessions: u16,
}

/// A command line that has nothing but settings.
#[derive(Parser)]
struct Bare {
    #[command(flatten)]
    settings: Settings,
}

impl Settings {
    /// Returns the default of every setting. The environment is not read.
    ///
    /// # Errors
    ///
    /// If a setting has no default; a test checks that all have one.
    pub fn usual() -> Result<Self, clap::Error> {
        let command = Bare::command().mut_args(|arg| arg.env(None::<&'static str>));
        let matches = command.try_get_matches_from(["breakglass"])?;
        Ok(Bare::from_arg_matches(&matches)?.settings)
    }

    /// Returns how long a page is left in silence, which is never so long that it gives up.
    pub fn sse_keepalive(&self) -> Duration {
        Duration::from_secs(self.sse_keepalive_seconds.min(LONGEST_SILENCE_SECONDS))
    }

    /// Returns the path of the audit log: as it is set, or else beside the conversations.
    pub fn audit_path(&self) -> PathBuf {
        self.audit_file.clone().unwrap_or_else(|| audit_beside(&self.sessions_dir))
    }
}

/// Returns the audit log's default path: beside the folder of the conversations.
pub fn audit_beside(sessions: &std::path::Path) -> PathBuf {
    let mut name = sessions.file_name().unwrap_or_default().to_owned();
    name.push("-audit.jsonl");
    sessions.with_file_name(name)
}

/// Checks a host, which may be empty. It becomes part of a line of SSH's configuration and of an
/// argument, so it must be neither an option nor a second line.
fn host(text: &str) -> Result<String, String> {
    let fine = !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte));
    if fine { Ok(text.to_owned()) } else { Err("not an IP address or a name of a host".into()) }
}

/// Checks the name of a Unix user, which becomes part of the same.
fn user(text: &str) -> Result<String, String> {
    let fine = !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if fine { Ok(text.to_owned()) } else { Err("not the name of a user".into()) }
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("use letters, digits and -._:/[]@, at most 128, and begin with a letter or digit"
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_users_are_nothing_else_to_ssh() {
        for fine in ["", "10.0.0.5", "fd00::1", "fe80::1%eth0", "devvm.example", "a-b_c"] {
            assert_eq!(host(fine).as_deref(), Ok(fine));
        }
        for bad in ["-oProxyCommand=x", "a b", "a\nProxyCommand x", "a\"", "a;b", "$(x)", "é"] {
            assert!(host(bad).is_err(), "{bad:?}");
            assert!(user(bad).is_err(), "{bad:?}");
        }
        assert_eq!(user("root").as_deref(), Ok("root"));
        assert!(user("").is_err());
    }

    #[test]
    fn what_nobody_sets_is_usual_and_reaches_no_machine() {
        let usual = Settings::usual().unwrap();
        let text = |value: &str| value.to_owned();
        let number = |value: u64| value.to_string();
        for (found, expected) in [
            (usual.listen.to_string(), "127.0.0.1:8080"),
            (usual.user_header.clone(), "X-authentik-username"),
            (usual.devvm_host.clone(), ""),
            (usual.devvm_user.clone(), "root"),
            (number(usual.devvm_port.into()), "22"),
            (usual.pve_host.clone(), ""),
            (usual.pve_user.clone(), "root"),
            (number(usual.pve_port.into()), "22"),
            (text(usual.claude.to_str().unwrap()), "claude"),
            (usual.agent.clone(), "breakglass"),
            (usual.model.clone(), "sonnet"),
            (text(usual.sessions_dir.to_str().unwrap()), "/var/lib/breakglass/sessions"),
            (
                text(usual.audit_path().to_str().unwrap()),
                "/var/lib/breakglass/sessions-audit.jsonl",
            ),
            (number(usual.audit_file_bytes), "16777216"),
            (number(usual.max_concurrent_turns.into()), "2"),
            (number(usual.turn_timeout_seconds), "1800"),
            (number(usual.pve_verb_timeout_seconds), "120"),
            (number(usual.sse_keepalive_seconds), "20"),
            (number(usual.max_streams.into()), "256"),
            (number(usual.max_sessions.into()), "200"),
        ] {
            assert_eq!(found, expected);
        }
        assert!(usual.proxies.is_empty(), "nobody's user header is believed");
        assert_eq!((usual.key_path, usual.runtime_dir, usual.audit_file), (None, None, None));
    }

    #[test]
    fn a_page_is_never_left_in_silence_for_so_long_that_it_gives_up() {
        let mut settings = Settings::usual().unwrap();
        for (set, used) in [(1, 1), (20, 20), (21, 20), (300, 20)] {
            settings.sse_keepalive_seconds = set;
            assert_eq!(settings.sse_keepalive(), Duration::from_secs(used), "{set}");
        }
        let page = include_str!("../assets/stream.js");
        let (_, rest) = page.split_once("const SILENCE_MS = ").unwrap();
        let (milliseconds, _) = rest.split_once(';').unwrap();
        let gives_up: u64 = milliseconds.replace('_', "").parse().unwrap();
        assert!(gives_up > 2 * 1000 * LONGEST_SILENCE_SECONDS, "two may be missed");
    }

    #[test]
    fn the_audit_log_is_beside_the_conversations() {
        let beside = audit_beside("/var/lib/breakglass/sessions".as_ref());
        assert_eq!(beside, PathBuf::from("/var/lib/breakglass/sessions-audit.jsonl"));
    }
}
