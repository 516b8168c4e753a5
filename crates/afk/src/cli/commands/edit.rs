//! A person's edits of the configuration file: arm, disarm, enroll, unenroll.
//!
//! Only the file is changed. A remark says so if a variable overrides it.

use std::path::{Path, PathBuf};

use afk_app::Error;
use afk_app::config::edit::{self, Edited, NewRepo};
use afk_app::config::{
    Config, ConfigErrors, default_file, include_dir, included, load, named_file, warn_once,
};
use afk_app::operations::unworkable;
use afk_app::operator::{not_configured, repo};
use afk_app::settings::{checked, problems};
use afk_app::starter::FoundRepo;
use afk_app::starter::text::{forge_table, table as repo_table};
use afk_core::ids::{AdapterName, RepoName};
use serde_json::json;

use super::{Context, here};
use crate::cli::args::EnrollArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{current_dir, sources};
use crate::cli::words::line;

pub(super) fn kill_switch(context: &Context<'_>, on: bool) -> Answer {
    let path = existing(context)?;
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
            let afk = context.afk();
            context
                .out
                .note(format!("no repository is enrolled yet: `{afk} enroll` in a clone of one"));
        }
    }
    let text = format!("the kill switch is {word}");
    done(context, &path, edited, config.as_ref(), [&text, &format!("{text} already")])
}

pub(super) async fn enroll(context: &Context<'_>, args: &EnrollArgs) -> Answer {
    let mut path = file(context);
    let (before, problems) = read(context);
    if let Some(problems) = &problems {
        context.out.warn(&problems.to_string());
    }
    // What was wrong before is told, but must not keep anybody from enrolling.
    let check = |text: &str| match &problems {
        None => checked(&sources(context.config()).proposing(&path, text)).map(drop),
        Some(_) => Ok(()),
    };
    let shipped = Config::default();
    let config = before.as_ref().unwrap_or(&shipped);
    let repo = match &args.repo {
        Some(text) => named(text, before.as_ref())?,
        None => here::repo_at(config, args.table.remote.as_deref()).await?,
    };
    let known = before.as_ref().map(|config| config.knows(&repo));
    if known == Some(true) && !args.table.is_empty() {
        return Err(Error::invalid(format!(
            "{repo} is already configured: omit the options, or edit its table in {}",
            path.display()
        )));
    }
    // A listed repo without a table would make the whole file invalid.
    let edited = if known == Some(false) || (known.is_none() && !args.table.is_empty()) {
        let (new, verify) = table(context, &path, &repo, args, config).await?;
        if let (None, Some(unseen)) = (&args.repo, here::unseen().await) {
            context.out.note(unseen);
        }
        let edited = edit::enroll_new(&path, &repo, &new, &check)?;
        context.out.note(format!(
            "added a table for {repo} (verify: {}): read it before you arm",
            line(&verify, 120)
        ));
        edited
    } else if let Some(holder) = holders(context, &path, &repo).pop() {
        path = holder;
        Edited::Unchanged
    } else {
        edit::enroll(&path, &repo, &check)?
    };
    let (config, _) = read(context);
    if config.as_ref().is_some_and(|config| config.policy.kill_switch) {
        let afk = context.afk();
        context.out.note(format!("the kill switch is on: `{afk} arm` lets the loop take issues"));
    }
    if config.as_ref().is_some_and(|config| !config.policy.allowlist.contains(&repo)) {
        context.out.note(format!("AFK_ALLOWLIST overrides the file and does not name {repo}"));
    }
    let text = format!("{repo} is enrolled");
    done(context, &path, edited, config.as_ref(), [&text, &format!("{text} already")])
}

/// Makes the table of a repo that is not configured, from what is found in its clone, if the
/// working folder is in one, and from the options. Also returns the command that judges a change.
async fn table(
    context: &Context<'_>,
    path: &Path,
    repo: &RepoName,
    args: &EnrollArgs,
    config: &Config,
) -> Answer<(NewRepo, String)> {
    let given = here::given(&args.table)?;
    let is_it = |found: &FoundRepo| args.repo.is_none() || found.name == *repo;
    let found = here::found().await.repo.filter(is_it);
    let is_here = found.is_some();
    let found = found.unwrap_or_else(|| FoundRepo::named(repo.clone())).with(given);
    // Under another name its forge would be asked about another repository.
    let forge = found.forge.filter(|_| found.name == *repo);
    let found = FoundRepo { name: repo.clone(), forge, ..found };
    let missing = found.missing();
    if !missing.is_empty() {
        return Err(Error::invalid(incomplete(&found, path, config, is_here, &missing)));
    }
    let known = config.executors();
    if found.agent.parse().is_ok_and(|agent: AdapterName| !known.contains(&agent)) {
        return Err(Error::invalid(format!(
            "there is no agent {:?}: give --agent one of {}, or add a table [agents.{}]",
            found.agent,
            known.into_iter().map(String::from).collect::<Vec<_>>().join(", "),
            found.agent,
        )));
    }
    let remote = found.remote.as_deref().unwrap_or_default();
    match unworkable(remote).await {
        Ok(None) => {}
        Ok(Some(why)) => {
            return Err(Error::invalid(format!("{repo} cannot be worked: {why}")));
        }
        Err(why) => context.out.note(here::not_looked_at(&context.afk(), &why)),
    }
    let forge =
        found.forge.as_ref().map(|forge| (forge.kind.name().to_owned(), forge_table(forge)));
    let verify = found.proposal.as_ref().map(|proposal| proposal.verify.join(" "));
    Ok((NewRepo { table: repo_table(&found), forge }, verify.unwrap_or_default()))
}

/// Why a repo cannot be enrolled yet, and which options are missing.
fn incomplete(
    found: &FoundRepo,
    path: &Path,
    config: &Config,
    is_here: bool,
    missing: &[&str],
) -> String {
    let repo = &found.name;
    if !is_here {
        let why = if path.exists() {
            format!("{} has no table for it", path.display())
        } else {
            "there is no configuration file yet".to_owned()
        };
        return not_configured(repo, config, &why);
    }
    let what = |flag: &&str| match *flag {
        "--remote" => found.why_no_remote(),
        _ => "how it is tested is not known: give --verify 'COMMAND'".to_owned(),
    };
    let told: Vec<String> = missing.iter().map(what).collect();
    format!("{repo} is not configured, and {}", told.join("; "))
}

pub(super) fn unenroll(context: &Context<'_>, text: &str) -> Answer {
    let mut path = existing(context)?;
    let repo = named(text, read(context).0.as_ref())?;
    let mut edited = Edited::Unchanged;
    for holder in holders(context, &path, &repo) {
        edited = edit::unenroll(&holder, &repo)?;
        path = holder;
    }
    let config = in_force(context);
    if config.as_ref().is_some_and(|config| config.policy.allowlist.contains(&repo)) {
        context.out.note(format!("AFK_ALLOWLIST overrides the file and still names {repo}"));
    }
    let texts = [format!("{repo} is no longer enrolled"), format!("{repo} was not enrolled")];
    done(context, &path, edited, config.as_ref(), texts.each_ref().map(String::as_str))
}

/// Prints that the file was edited (`now`), or that nothing had to change (`before`).
fn done(
    context: &Context<'_>,
    path: &Path,
    edited: Edited,
    config: Option<&Config>,
    [now, before]: [&str; 2],
) -> Answer {
    let changed = edited == Edited::Changed;
    let document = json!({
        "file": path.display().to_string(),
        "changed": changed,
        "kill_switch": config.map(|config| config.policy.kill_switch),
        "allowlist": config.map(|config| &config.policy.allowlist),
    });
    let text = if changed { now } else { before };
    context.out.result(&document, |_| format!("{text} in {}", path.display()))?;
    Ok(Exit::Done)
}

/// The file to edit: the one that is read, or the one to create.
fn file(context: &Context<'_>) -> PathBuf {
    let made = || default_file(context.config(), |name| std::env::var_os(name), &current_dir());
    sources(context.config()).file.unwrap_or_else(made)
}

/// The file to edit for commands that change what is in force. A named one that does not exist is
/// refused: its name is mistyped, and the file that is in force would stay as it is. `init` and
/// `enroll` may create it.
fn existing(context: &Context<'_>) -> Answer<PathBuf> {
    let named = named_file(context.config(), &|name: &str| std::env::var_os(name));
    match named {
        Some((path, by)) if matches!(path.try_exists(), Ok(false)) => Err(Error::invalid(format!(
            "there is no file {} (named by {by}); nothing was changed",
            path.display()
        ))),
        Some(_) | None => Ok(file(context)),
    }
}

/// The files whose allowlist has the repo, of the included ones and the one at `path`, in this
/// order.
fn holders(context: &Context<'_>, path: &Path, repo: &RepoName) -> Vec<PathBuf> {
    let folder = include_dir(&sources(context.config()));
    let included = folder.and_then(|folder| included(&folder).ok()).unwrap_or_default();
    let files = included.into_iter().chain([path.to_owned()]);
    files.filter(|file| edit::lists(file, repo)).collect()
}

/// Loads the configuration, and warns if it is invalid: that must not keep anybody from fixing the
/// file, or from arming it.
fn in_force(context: &Context<'_>) -> Option<Config> {
    let (config, problems) = read(context);
    if let Some(problems) = problems {
        context.out.warn(&problems.to_string());
    }
    config
}

/// Loads the configuration, as far as it can be read, and returns what is wrong with it.
fn read(context: &Context<'_>) -> (Option<Config>, Option<ConfigErrors>) {
    let mut sources = sources(context.config());
    // A named file that does not exist yet reads as an empty one.
    sources.file = sources.file.filter(|path| path.exists());
    match load::<Config>(&sources) {
        Ok(loaded) => {
            warn_once(&loaded.mistyped);
            let problems = problems(&loaded);
            let problems = (!problems.is_empty()).then_some(ConfigErrors { problems });
            (Some(loaded.config), problems)
        }
        Err(errors) => (None, Some(errors)),
    }
}

fn named(text: &str, config: Option<&Config>) -> Answer<RepoName> {
    repo(text, config.unwrap_or(&Config::default()))
}
