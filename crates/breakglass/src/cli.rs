//! The command line: parses it, calls the other modules, and prints for people.
//!
//! Exit codes: 0 for success, 1 for a failure, 2 for a wrong command line.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, Surroundings};
use crate::settings::{Settings, TOKEN_VARIABLE};
use crate::{audit, demo, settings};

/// What `--help` says before the options.
const ABOUT: &str = "\
The emergency console for one machine that is wedged while everything else is well.

It serves a page, made for a phone first. On it an agent (the Claude CLI) diagnoses and repairs the
machine over SSH, and a person can power-cycle the machine at its hypervisor with no agent in the
path. Whoever leaves the page and comes back finds everything where it was.";

/// What `--help` says after the options.
const AFTER: &str = "\
Try it on your own machine, with nothing to set up:
  breakglass demo

Set it up:
  1. Make a key:            ssh-keygen -t ed25519 -N '' -f breakglass
  2. On the machine:        add breakglass.pub to authorized_keys.
  3. On the hypervisor:     install what `breakglass script` prints as
                            /usr/local/sbin/power-verbs, with mode 755, then add breakglass.pub
                            to authorized_keys with
                            command=\"/usr/local/sbin/power-verbs 102\",restrict
  4. Start the server:      API_BEARER_TOKEN=$(openssl rand -hex 32) breakglass serve \\
                              --devvm-host 10.0.0.5 --pve-host 10.0.0.2 --key-path ./breakglass

The agent signs in with CLAUDE_CODE_OAUTH_TOKEN or ANTHROPIC_API_KEY. The power verbs need neither.";

#[derive(Debug, Parser)]
#[command(name = "breakglass", version, about = ABOUT, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Box<Settings>),
    /// Try it on this computer: a stand-in for a wedged machine, and a scripted agent.
    Demo(demo::DemoSettings),
    /// Print the script that carries out power verbs on the hypervisor.
    Script,
    /// Check the audit log.
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Check that no record of the log was changed, removed or added, and list the acts without an
    /// end.
    Verify {
        /// The file of the audit log. If unset, it is beside the folder of the conversations.
        #[arg(long, env = "BREAKGLASS_AUDIT_FILE", value_name = "FILE")]
        audit_file: Option<PathBuf>,
        /// The folder of the conversations, beside which the log is by default.
        #[arg(
            long,
            env = "BREAKGLASS_SESSIONS_DIR",
            default_value = "/var/lib/breakglass/sessions",
            value_name = "FOLDER"
        )]
        sessions_dir: PathBuf,
        /// The hash of the last record in the file before this one. Needed if older files of the
        /// log are kept elsewhere.
        #[arg(long, value_name = "HASH")]
        after: Option<String>,
    },
}

/// Parses the arguments, of which the first is the program's name, and runs the command.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(told) => {
            let code = u8::try_from(told.exit_code()).unwrap_or(2);
            let _ = told.print();
            return ExitCode::from(code);
        }
    };
    let done = match cli.command {
        Command::Serve(settings) => serve(&settings),
        Command::Demo(settings) => demo::run(&settings),
        Command::Script => print_script(),
        Command::Audit(Audit::Verify { audit_file, sessions_dir, after }) => {
            let path = audit_file.unwrap_or_else(|| settings::audit_beside(&sessions_dir));
            verify(&path, after.as_deref())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "breakglass: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: &Settings) -> anyhow::Result<()> {
    start_log("info");
    // The agent runs as the same user: without this it could read the token in our environment, and
    // the key in our memory. Processes that are started from here are not affected.
    let hidden = rustix::process::DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(hidden) {
        tracing::warn!(%error, "the agent can read this server's environment");
    }
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(&stop)?;
        let surroundings = Surroundings {
            program: std::env::current_exe().context("cannot find this program's own file")?,
            token: std::env::var(TOKEN_VARIABLE).ok().filter(|it| !it.is_empty()).map(Into::into),
            env: environment(),
            agent_args: Vec::new(),
        };
        Server::start(settings, surroundings, stop).await?.serve().await;
        Ok(())
    })
}

fn print_script() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(demo::machines::POWER_VERBS.as_bytes())?;
    out.flush().context("cannot print the script")
}

fn verify(path: &Path, after: Option<&str>) -> anyhow::Result<()> {
    let found = audit::verify(path, after)?;
    let mut out = std::io::stdout().lock();
    let records = found.records - found.first;
    writeln!(out, "✓ {records} records, none changed, removed or added")?;
    if found.first > 0 {
        writeln!(out, "  they follow the {} that are kept elsewhere", found.first)?;
    }
    if let Some(kept) = &found.anew {
        writeln!(out, "  the log before it was damaged, and is kept as {kept}")?;
    }
    writeln!(out, "  last hash {}", found.last_hash)?;
    for (seq, act) in &found.open {
        let act = match act {
            Some(act) => serde_json::to_string(act)?,
            None => "it began in a file that is not here".to_owned(),
        };
        writeln!(out, "  record {seq} has no end: it is under way, or the server died: {act}")?;
    }
    if found.torn > 0 {
        writeln!(out, "  {} bytes after the last record: a crash cut it off", found.torn)?;
    }
    Ok(())
}

/// Returns the environment, without variables that are not UTF-8.
pub(crate) fn environment() -> Vec<(String, SecretString)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?.into()))
        })
        .collect()
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Cancels `stop` at the first SIGTERM or SIGINT.
pub(crate) fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

/// Starts logging to standard error. `RUST_LOG` is the filter, or `usual` if it is not set.
pub(crate) fn start_log(usual: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
    // Fails if logging was started before in this process, as in tests; then that one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
