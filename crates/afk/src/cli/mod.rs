//! The command line: what a person types and sees.
//!
//! The program's `main` calls [`main`] unless a hidden subcommand was named (`host`,
//! `sandbox-init`, `tether`, `egress`, `scripted-agent`, `agent-relay`): these must start before
//! any runtime does. Commands decide nothing about runs: they read the store, edit the
//! configuration, set switches, and let the engine work.
//!
//! Reading order: [`args`], [`commands`], [`render`]. Results go to standard output, everything
//! else to standard error; with `--json` each command prints one document.

mod args;
mod commands;
mod complete;
mod exit;
mod interrupt;
mod live;
mod out;
mod render;
mod shapes;
mod signals;
mod sources;
mod style;
mod words;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::num::NonZero;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{FromArgMatches as _, ValueEnum as _};
use clap_complete::CompleteEnv;
use tracing_subscriber::EnvFilter;

use afk_app::Error;
use args::{Cli, ColorChoice, Command, LogFormat};
use commands::Context;
use exit::Answer;
pub use exit::Exit;
use out::{LogWriter, Out};

use afk_app::terminal::shown_by;

/// Runs the command in `args`, which begin with the program's name, and returns its exit code.
pub fn main(args: &[OsString]) -> ExitCode {
    // Ends the process if a shell asks for completions.
    CompleteEnv::with_factory(args::command).complete();
    let parsed = args::command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return refused(args, &error).into(),
    };
    let out = Out::new(cli.global.json, cli.global.color);
    log(&out, cli.global.verbose, daemon_format(cli.command.as_ref(), &out));
    shown_by(out.bell());
    let Some(command) = cli.command else {
        out.say(styled(&args::command().render_help(), out.paint.is_on()));
        return closed(&out, Exit::Done).into();
    };
    let context = Context { global: &cli.global, out: &out };
    let answer = runtime().and_then(|runtime| runtime.block_on(commands::run(command, &context)));
    let exit = answer.unwrap_or_else(|error| {
        out.fail(&error);
        error.kind.into()
    });
    closed(&out, exit).into()
}

/// The exit code: a failure in place of success if the result could not be written.
fn closed(out: &Out, exit: Exit) -> Exit {
    match out.lost() {
        Some(error) => {
            out.fail(&error);
            if exit == Exit::Done { Exit::Failure } else { exit }
        }
        None => exit,
    }
}

/// Maximum number of worker threads of the runtime.
const THREADS: usize = 4;

fn runtime() -> Answer<tokio::runtime::Runtime> {
    // The work is done by other processes; these threads wait for them and for the disk.
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|e| Error::failed(format!("cannot start: {e}")))
}

/// Prints what clap returns when there is no command to run: help, version, or a usage error.
fn refused(args: &[OsString], error: &clap::Error) -> Exit {
    // The arguments did not parse, so the two options that shape the output are read directly.
    let json = args.iter().any(|arg| arg == "--json");
    let out = Out::new(json, color_of(args));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            out.say(styled(&error.render(), out.paint.is_on()));
            closed(&out, Exit::Done)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            out.complain(&styled(&error.render(), out.paint_err.is_on()));
            Exit::Usage
        }
        _ if json => {
            let text = error.render().to_string();
            out.fail(&Error::invalid(text.trim().trim_start_matches("error: ")));
            Exit::Usage
        }
        _ => {
            out.complain(&styled(&error.render(), out.paint_err.is_on()));
            Exit::Usage
        }
    }
}

fn color_of(args: &[OsString]) -> ColorChoice {
    let words: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let joined = words.iter().rev().find_map(|word| word.strip_prefix("--color="));
    let apart = words.windows(2).rev().find(|pair| pair[0] == "--color").map(|pair| pair[1]);
    let word = joined.or(apart).unwrap_or("auto");
    ColorChoice::from_str(word, true).unwrap_or_default()
}

fn styled(text: &clap::builder::StyledStr, color: bool) -> String {
    if color { text.ansi().to_string() } else { text.to_string() }
}

/// The log format of the daemon, whose log is its output; none for every other command.
fn daemon_format(command: Option<&Command>, out: &Out) -> Option<LogFormat> {
    let Some(Command::Serve(args)) = command else { return None };
    let words = io::stdout().is_terminal() && !out.json;
    Some(args.log_format.unwrap_or(if words { LogFormat::Text } else { LogFormat::Json }))
}

/// Sets up logging: the daemon logs to standard output from `info` on, every other command to
/// standard error from `warn` on. `-v` and `RUST_LOG` raise that.
fn log(out: &Out, verbose: u8, daemon: Option<LogFormat>) {
    let default = match (verbose, daemon) {
        (0, None) => "warn",
        (0, Some(_)) | (1, None) => "info,sqlx=warn,hyper=warn,reqwest=warn",
        (1.., Some(_)) | (2.., None) => "debug,sqlx=info,hyper=info,reqwest=info",
    };
    // An empty variable counts as unset; taken literally, it would silence the daemon.
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.trim().is_empty());
    let wanted = wanted.and_then(|text| EnvFilter::try_new(text).ok());
    let filter = wanted.unwrap_or_else(|| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(verbose > 1);
    // Fails only if the process has a subscriber already, as in tests.
    let _ = match daemon {
        Some(LogFormat::Json) => {
            lines.with_writer(io::stdout).json().flatten_event(true).try_init()
        }
        Some(LogFormat::Text) => {
            lines.with_writer(io::stdout).with_ansi(out.paint.is_on()).compact().try_init()
        }
        None => {
            let lines = lines.with_writer(LogWriter(out.progress.clone()));
            let lines = lines.with_ansi(out.paint_err.is_on());
            if out.json {
                lines.json().flatten_event(true).try_init()
            } else {
                lines.compact().try_init()
            }
        }
    };
}
