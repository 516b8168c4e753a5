//! A person's edits of the configuration file: arm, disarm, enroll, unenroll.
//!
//! Only the file is changed. Where a variable overrides it, a remark says so.

use std::path::{Path, PathBuf};

use afk_app::Error;
use afk_app::adapters::RemoteUrl;
use afk_app::config::edit::{self, Edited, NewRepo};
use afk_app::config::{Config, Loaded, default_file, include_dir, included, load, warn_once};
use afk_app::operations::unworkable;
use afk_app::operator::{not_configured, repo};
use afk_core::ids::RepoName;
use serde_json::json;

use super::Context;
use crate::cli::args::EnrollArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{current_dir, sources};

pub(super) fn kill_switch(context: &Context<'_>, on: bool) -> Answer {
    let path = file(context);
    let edited = if on { edit::disarm(&path)? } else { edit::arm(&path)? };
    let config = in_force(context);
    let word = if on { "on" } else { "off" };
    if let Some(config) = &config {
        if config.policy.kill_switch != on {
            context.out.note(format!(
                "AFK_KILL_SWITCH overrides the file: the kill switch stays {}",
                if config.policy.kill_switch { "on" } else { "off" }
            ));
        } else if !on && config.policy.allowlist.is_empty() {
            context.out.note("no repository is enrolled yet: `afk enroll OWNER/NAME`");
        }
    }
    done(context, &path, edited, config.as_ref(), &format!("the kill switch is {word}"))
}

pub(super) async fn enroll(context: &Context<'_>, args: &EnrollArgs) -> Answer {
    let mut path = file(context);
    let before = in_force(context);
    let repo = named(&args.repo, before.as_ref())?;
    let known = before.as_ref().map(|config| config.knows(&repo));
    let edited = match (&args.remote, &args.verify) {
        (Some(_), Some(_)) if known == Some(true) => {
            return Err(Error::invalid(format!(
                "{repo} is already configured: omit --remote and --verify, or edit {}",
                path.display()
            )));
        }
        (Some(remote), Some(verify)) => {
            let verify = command("--verify", verify)?;
            let ci = args.ci.as_ref().map(|ci| command("--ci", ci)).transpose()?;
            let ci = ci.unwrap_or_else(|| verify.clone());
            let remote = absolute(remote);
            RemoteUrl::parse(&remote)
                .map_err(|error| Error::invalid(format!("--remote: {}", error.reason())))?;
            match unworkable(&remote).await {
                Ok(None) => {}
                Ok(Some(why)) => {
                    return Err(Error::invalid(format!("{repo} cannot be worked: {why}")));
                }
                Err(why) => context.out.note(format!(
                    "the remote could not be looked at now ({why}): `afk doctor` looks again"
                )),
            }
            edit::enroll_new(&path, &repo, &NewRepo { remote, verify, ci })?
        }
        // A listed repo without a table would make the whole file invalid.
        _ if known == Some(false) => {
            let why = if path.exists() {
                format!("{} has no table for it", path.display())
            } else {
                "there is no configuration file yet".to_owned()
            };
            return Err(Error::invalid(not_configured(&repo, &why)));
        }
        _ => match holders(context, &path, &repo).pop() {
            Some(holder) => {
                path = holder;
                Edited::Unchanged
            }
            None => edit::enroll(&path, &repo)?,
        },
    };
    let config = in_force(context);
    if config.as_ref().is_some_and(|config| config.policy.kill_switch) {
        context.out.note("the kill switch is on: `afk arm` lets the loop take issues");
    }
    done(context, &path, edited, config.as_ref(), &format!("{repo} is enrolled"))
}

pub(super) fn unenroll(context: &Context<'_>, text: &str) -> Answer {
    let mut path = file(context);
    let repo = named(text, in_force(context).as_ref())?;
    let mut edited = Edited::Unchanged;
    for holder in holders(context, &path, &repo) {
        edited = edit::unenroll(&holder, &repo)?;
        path = holder;
    }
    let config = in_force(context);
    if config.as_ref().is_some_and(|config| config.policy.allowlist.contains(&repo)) {
        context.out.note(format!("AFK_ALLOWLIST overrides the file and still names {repo}"));
    }
    done(context, &path, edited, config.as_ref(), &format!("{repo} is not enrolled"))
}

fn done(
    context: &Context<'_>,
    path: &Path,
    edited: Edited,
    config: Option<&Config>,
    text: &str,
) -> Answer {
    let changed = edited == Edited::Changed;
    let document = json!({
        "file": path.display().to_string(),
        "changed": changed,
        "kill_switch": config.map(|config| config.policy.kill_switch),
        "allowlist": config.map(|config| &config.policy.allowlist),
    });
    let already = if changed { "" } else { " already" };
    context.out.result(&document, |_| format!("{text}{already} in {}", path.display()))?;
    Ok(Exit::Done)
}

/// The file to edit: the one that is read, or the one to create.
fn file(context: &Context<'_>) -> PathBuf {
    let made = || default_file(context.config(), |name| std::env::var_os(name), &current_dir());
    sources(context.config()).file.unwrap_or_else(made)
}

/// The files that list the repo: the one at `path`, and those that it includes.
fn holders(context: &Context<'_>, path: &Path, repo: &RepoName) -> Vec<PathBuf> {
    let folder = include_dir(&sources(context.config()));
    let included = folder.and_then(|folder| included(&folder).ok()).unwrap_or_default();
    let files = included.into_iter().chain([path.to_owned()]);
    files.filter(|file| edit::lists(file, repo)).collect()
}

/// The configuration as it is read now. None if it is invalid, which must not keep anybody from
/// fixing the file.
fn in_force(context: &Context<'_>) -> Option<Config> {
    let mut sources = sources(context.config());
    // A named file that does not exist yet reads as an empty one.
    sources.file = sources.file.filter(|path| path.exists());
    match load::<Config>(&sources) {
        Ok(Loaded { config, mistyped, .. }) => {
            warn_once(&mistyped);
            Some(config)
        }
        Err(errors) => {
            context.out.warn(&errors.to_string());
            None
        }
    }
}

fn named(text: &str, config: Option<&Config>) -> Answer<RepoName> {
    repo(text, config.unwrap_or(&Config::default()))
}

/// A command as typed: a TOML list of words, or words separated by blanks.
fn command(flag: &str, text: &str) -> Answer<Vec<String>> {
    let wrong = |why: &str| Error::invalid(format!("{flag} {text:?} {why}"));
    let words: Vec<String> = if text.trim_start().starts_with('[') {
        let list: toml::Value = text.trim().parse().map_err(|_| wrong("is not a TOML list"))?;
        list.try_into().map_err(|_| wrong("is not a list of strings"))?
    } else if text.contains(['\'', '"', '\\', '$', '|', ';', '&', '>', '<']) {
        // No shell reads it, so these characters would reach the program unchanged.
        return Err(wrong(
            "has shell syntax, but no shell will read it: give a TOML list such as \
             '[\"sh\", \"-c\", \"a && b\"]'",
        ));
    } else {
        text.split_whitespace().map(str::to_owned).collect()
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(wrong("names no command"));
    }
    Ok(words)
}

/// An absolute path; a URL is left as it is.
fn absolute(remote: &str) -> String {
    let path = Path::new(remote);
    let full = if path.exists() { path.canonicalize().ok() } else { None };
    full.and_then(|full| full.to_str().map(str::to_owned)).unwrap_or_else(|| remote.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_words_or_a_list_and_never_a_shell_line() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let words = command("--verify", text).ok();
            let expected = expected.map(|words| words.iter().map(ToString::to_string).collect());
            assert_eq!(words, expected, "{text:?}");
        };
        check("cargo  test", Some(&["cargo", "test"]));
        check("[\"make\", \"check all\"]", Some(&["make", "check all"]));
        check("make test && make lint", None);
        check("echo \"x\"", None);
        check("", None);
        check("[]", None);
        check("[\"\"]", None);
        check("[1]", None);
        check("[oops", None);
    }
}
