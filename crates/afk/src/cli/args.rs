//! The command line as clap sees it: every command, its options and its help.
//!
//! Names are stable, because scripts depend on them. Examples live in [`examples`]; what the
//! commands do is in `cli::commands`.

mod backup;
mod color;
mod commands;
mod config;
mod demo;
mod doctor;
mod doorbell;
mod evidence;
mod examples;
mod groups;
mod issue;
mod logs;
mod number;
mod presence;
mod repo;
mod schema;
mod serve;
mod t3;
mod token;

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser};

pub(super) use backup::BackupArgs;
pub(super) use color::ColorChoice;
pub(super) use commands::Command;
pub(super) use config::ConfigCommand;
pub(super) use demo::DemoArgs;
pub(super) use doctor::DoctorArgs;
pub(super) use doorbell::DoorbellCommand;
pub(super) use evidence::{EvidenceArgs, EvidenceCommand, EvidenceFormat, VerifyArgs};
pub(super) use issue::{IssueCommand, IssueText};
pub(super) use logs::LogsArgs;
pub(super) use presence::PresenceCommand;
pub(super) use repo::{EnrollArgs, RepoArgs, TableArgs};
pub(super) use schema::SchemaCommand;
pub(super) use serve::{LogFormat, Part, ServeArgs};
pub(super) use t3::T3Command;
pub(super) use token::{AgentsCommand, NewTokenArgs, ScopeArg, TokenCommand};

/// Lands an issue as tested, deployed code with nobody at the keyboard.
///
/// afk takes an issue that a trusted person labelled ready, gives it to a coding
/// agent in a sandbox, proves the change red then green, lands it on the default
/// branch, waits for the stages behind it, and closes the issue with the evidence.
/// Where it cannot go on it hands the issue to a person and says why.
///
/// It does nothing on its own until a person has armed it and enrolled a repository.
#[derive(Debug, Parser)]
#[command(
    name = "afk",
    version,
    max_term_width = 100,
    after_help = examples::short(),
    after_long_help = examples::long(),
    disable_help_subcommand = false,
    subcommand_required = false,
    propagate_version = false
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Configuration file [default: `AFK_CONFIG`, then `./afk.toml` outside of git clones, then the
    /// user's own]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the result as one JSON document; errors and warnings go to standard error as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Log progress to standard error; -vv logs in full detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// When to use colour: auto, always or never; `NO_COLOR` is honoured
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(super) color: ColorChoice,
}

/// Which of the agent's open questions is meant.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct AskArg {
    /// Number of the question; needed if the agent has asked more than one
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub(super) ask: Option<u32>,
}

/// The whole command line, for help, completions and man pages.
pub(super) fn command() -> clap::Command {
    let command = Cli::command();
    let template = groups::template(&command);
    command.help_template(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command() {
        let mut pages = String::new();
        collect(command().term_width(100), "afk", &mut pages);
        insta::assert_snapshot!(pages);
    }

    fn collect(command: clap::Command, name: &str, pages: &mut String) {
        let mut command = command.bin_name(name).term_width(100);
        command.build();
        let help = command.render_long_help();
        pages.extend([format!("===== {name} --help\n{help}\n")]);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            collect(sub.clone(), &format!("{name} {}", sub.get_name()), pages);
        }
    }
}
