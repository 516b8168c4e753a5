//! The commands in groups, as `afk --help` lists them: by what a person wants to do, not by the
//! alphabet.

use std::fmt::Write as _;

/// Each group with its commands. A command that is in none is listed last.
const GROUPS: [(&str, &[&str]); 8] = [
    ("Start", &["demo", "init", "enroll", "doctor"]),
    ("Work on issues", &["issue", "explain", "run", "tick", "serve"]),
    ("Look", &["status", "runs", "show", "diff", "logs", "evidence", "replay", "presence"]),
    ("Steer a run", &["say", "stop", "retry", "budget", "answer", "allow", "deny", "release"]),
    (
        "Switches",
        &["arm", "disarm", "unenroll", "pause", "halt", "resume", "freeze", "unfreeze", "ack"],
    ),
    ("Serve other programs", &["token", "agents"]),
    ("Maintain", &["config", "schema", "doorbell", "t3", "backup"]),
    ("Shell", &["completions", "man", "help"]),
];
/// The heading of those in no group.
const OTHERS: &str = "Further commands";
/// Width of the column of names.
const NAMES: usize = 12;

/// The template of the help of `afk` itself, whose subcommands have been given.
pub(super) fn template(command: &clap::Command) -> String {
    format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\nOptions:\n{{options}}{{after-help}}",
        listed(command)
    )
}

fn listed(command: &clap::Command) -> String {
    let about = |name: &str| {
        let found = command.get_subcommands().find(|sub| sub.get_name() == name);
        let about = found.and_then(clap::Command::get_about).map(ToString::to_string);
        match name {
            "help" => Some("Print this message or the help of a command".to_owned()),
            _ => about,
        }
    };
    let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let others: Vec<&str> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(clap::Command::get_name)
        .filter(|name| !grouped(name))
        .collect();
    let mut out = String::new();
    for (heading, names) in GROUPS.iter().copied().chain([(OTHERS, others.as_slice())]) {
        let known: Vec<(&str, String)> =
            names.iter().filter_map(|name| Some((*name, about(name)?))).collect();
        if !known.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "\n{heading}:");
        }
        for (name, about) in known {
            let _ = writeln!(out, "  {name:<NAMES$} {about}");
        }
    }
    // Braces would be read as the template's own.
    out.replace('{', "(").replace('}', ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_listed_once_and_every_listed_one_exists() {
        let command = super::super::command();
        let text = listed(&command);
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let line = format!("\n  {:<NAMES$} ", sub.get_name());
            assert_eq!(text.matches(&line).count(), 1, "{}", sub.get_name());
        }
        let names = GROUPS.iter().flat_map(|(_, names)| names.iter());
        for name in names.filter(|name| **name != "help") {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
    }
}
