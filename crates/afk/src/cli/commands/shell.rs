//! `completions` and `man`: a script for a shell, which then asks this program, and man pages, made
//! from the parser's own description.

use std::io;
use std::path::Path;

use afk_app::Error;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::cli::args;
use crate::cli::exit::{self, Answer, Exit};
use crate::cli::out::Out;

/// The variable with which a shell asks for completions.
const VARIABLE: &str = "COMPLETE";

/// Prints the script by which a shell asks this program for completions: only it knows issues and
/// runs.
pub(super) fn completions(out: &Out, shell: Shell) -> Answer {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let known = shells.completer(&name);
    let known =
        known.ok_or_else(|| Error::invalid(format!("there are no completions for {name}")))?;
    let mut script = Vec::new();
    known
        .write_registration(VARIABLE, "afk", "afk", "afk", &mut script)
        .map_err(|e| failed("the completions", &e))?;
    out.say(String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}

pub(super) fn man(out: &Out, dir: Option<&Path>) -> Answer {
    let Some(dir) = dir else {
        out.say(page(args::command(), "afk").map_err(|e| failed("a man page", &e))?);
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(dir).map_err(|e| failed(&dir.display().to_string(), &e))?;
    let mut written = Vec::new();
    write(&args::command(), "afk", dir, &mut written)?;
    out.result(&serde_json::json!({ "written": written }), |_| written.join("\n"))?;
    Ok(Exit::Done)
}

/// Writes the page of `command` and of all its subcommands.
fn write(command: &clap::Command, name: &str, dir: &Path, written: &mut Vec<String>) -> Answer<()> {
    let path = dir.join(format!("{name}.1"));
    let shown = path.display().to_string();
    let text = page(command.clone(), name).map_err(|e| failed(&shown, &e))?;
    std::fs::write(&path, text).map_err(|e| failed(&shown, &e))?;
    written.push(shown);
    let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    for sub in subs.filter(|sub| sub.get_name() != "help") {
        write(sub, &format!("{name}-{}", sub.get_name()), dir, written)?;
    }
    Ok(())
}

fn page(command: clap::Command, name: &str) -> io::Result<String> {
    // The synopsis shows the words to type (`afk issue new`), the title the page (`afk-issue-new`).
    let command = command.bin_name(name.replace('-', " ")).display_name(name.to_owned());
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let command = command.after_long_help(None).after_help(None);
    let man = clap_mangen::Man::new(command).title(name.to_uppercase()).manual("afk");
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if let Some((_, examples)) = examples.split_once(":\n") {
        text.push_str(".SH EXAMPLES\n.nf\n");
        for line in examples.lines() {
            // roff would take a dot or a quote at the start of a line for a request.
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            text.push_str("\\&");
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str(".fi\n");
    }
    let codes =
        exit::Exit::ALL.map(|exit| format!(".TP\n\\fB{}\\fR\n{}\n", exit.code(), exit.meaning()));
    text.push_str(".SH \"EXIT STATUS\"\n");
    text.extend(codes);
    Ok(text)
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::failed(format!("cannot write {what}: {error}"))
}
