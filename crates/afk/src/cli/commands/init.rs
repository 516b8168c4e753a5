//! `init`: inspects the clone that the working folder is in and writes a first configuration.

use std::path::Path;

use afk_app::Error;
use afk_app::config::edit::create;
use afk_app::config::{Sources, default_file, find_file};
use afk_app::operations::unworkable;
use afk_app::settings::checked;
use afk_app::starter::text::text;
use afk_app::starter::{FoundRepo, StarterFacts};
use afk_core::ids::RepoName;
use serde_json::json;

use super::{Context, here};
use crate::cli::args::TableArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{current_dir, sources};

pub(super) async fn run(context: &Context<'_>, print: bool, table: &TableArgs) -> Answer {
    let given = here::given(table)?;
    let mut found = here::found().await;
    if found.repo.is_none() {
        match here::git_works().await {
            Err(why) if print && table.is_empty() => found.not_told = Some(why.to_string()),
            known => known?,
        }
    }
    if found.repo.is_none() && !table.is_empty() {
        return Err(Error::invalid(
            "this folder is in no git repository, so there is no table to write these into: run it \
             in a clone, or use `afk enroll OWNER/NAME`",
        ));
    }
    let given_remote = given.remote.clone();
    let of_clone = found.repo.as_ref().map(|repo| repo.name.clone());
    found.repo = found.repo.map(|repo| repo.with(given));
    let text = text(&found);
    let repo = found.repo.as_ref();
    let there = sources(context.config()).file.filter(|path| path.exists());
    let made = default_file(context.config(), |name| std::env::var_os(name), &current_dir());
    let path = there.clone().unwrap_or(made);
    if path.is_dir() {
        return Err(Error::invalid(format!(
            "{} is a folder: name a file, such as {}",
            path.display(),
            path.join("afk.toml").display()
        )));
    }
    if let (Some(there), false) = (&there, print) {
        return Err(Error::invalid(taken(&context.afk(), there, repo)));
    }
    holds(context, &path, &text)?;
    if !print {
        create(&path, &text)?;
    }
    let document = json!({
        "file": path.display().to_string(),
        "written": !print,
        "repo": repo.map(|repo| &repo.name),
        "remote": repo.and_then(|repo| repo.remote.as_ref()),
        "proposal": repo.and_then(|repo| repo.proposal.as_ref()),
        "read": repo.map(|repo| &repo.read),
        "agent": repo.map(|repo| &repo.agent),
        "claude": found.claude.as_ref().map(|path| path.display().to_string()),
        "text": text,
    });
    context.out.result(&document, |_| {
        if print { text.clone() } else { format!("wrote {}, disarmed", path.display()) }
    })?;
    if let Some(why) = &found.not_told {
        context.out.note(format!("it is not known whether a git repository is here: {why}"));
    }
    if !print {
        if let Some(unseen) = here::unseen().await {
            context.out.note(unseen);
        }
        if let Some(doubt) = doubt(&context.afk(), given_remote.as_deref()).await {
            context.out.note(doubt);
        }
        context.out.note(next(&context.afk(), &found, of_clone.as_ref(), &path));
        if is_read_only_if_named(&path) {
            let shown = path.display();
            context.out.note(format!("{shown} is read only if it is named, as it is here"));
        }
    }
    Ok(Exit::Done)
}

/// Whether commands that name no file would read another one, or none.
fn is_read_only_if_named(path: &Path) -> bool {
    let found = find_file(None, |name| std::env::var_os(name), &current_dir()).file;
    let there = |path: &Path| path.canonicalize().ok();
    found.and_then(|found| there(&found)) != there(path)
}

/// What speaks against a remote that a person gave; the doctor looks at every other.
async fn doubt(afk: &str, remote: Option<&str>) -> Option<String> {
    match unworkable(remote?).await {
        Ok(None) => None,
        Ok(Some(why)) => Some(format!("the remote cannot be worked: {why}")),
        Err(why) => Some(here::not_looked_at(afk, &why)),
    }
}

/// What to do next: land one issue by hand, then let the loop take issues. `afk` is how this
/// program is called; in the clone, a number alone is an issue of the repository `of_clone`.
fn next(afk: &str, found: &StarterFacts, of_clone: Option<&RepoName>, path: &Path) -> String {
    let Some(repo) = &found.repo else {
        return format!("next: `{afk} enroll` in a clone of a repository");
    };
    let missing = repo.missing();
    if !missing.is_empty() {
        let why = |flag: &&str| match *flag {
            "--remote" => repo.why_no_remote(),
            _ => "how it is tested is not known".to_owned(),
        };
        let why: Vec<_> = missing.iter().map(why).collect();
        return format!(
            "its table in {} is commented out: {}. To add it:\n\n    {}",
            path.display(),
            why.join("; "),
            repo.enrolling(afk),
        );
    }
    let name = &repo.name;
    let issue = match &repo.forge {
        None => format!("  {afk} issue new 'What is wanted' --ready    an issue of {name}\n"),
        Some(_) => String::new(),
    };
    let first = match of_clone {
        Some(of_clone) if of_clone != name => format!("run {name}#1"),
        Some(_) | None => "run 1".to_owned(),
    };
    format!(
        "next:\n  {afk} doctor                                whether everything is there\n{issue}  \
         {afk} {first:<37} land issue 1 now\n\
         `{afk} enroll` and `{afk} arm` let the loop take issues by itself"
    )
}

/// Why nothing is written, and what to do instead.
fn taken(afk: &str, path: &Path, repo: Option<&FoundRepo>) -> String {
    let there =
        format!("{} exists already, and `afk init` never overwrites a file", path.display());
    match repo {
        Some(repo) => {
            format!("{there}; to add {} to it:\n\n    {}", repo.name, repo.enrolling(afk))
        }
        None => format!("{there}; to see what would have been written: `{afk} init --print`"),
    }
}

/// Refuses a text that every later command would refuse, as with an agent that is not there. What
/// is wrong without it, in a variable, is for those commands to tell.
fn holds(context: &Context<'_>, path: &Path, text: &str) -> Answer<()> {
    let sources = sources(context.config());
    if checked(&Sources { file: None, ..sources.clone() }).is_err() {
        return Ok(());
    }
    checked(&sources.proposing(path, text)).map(drop).map_err(|problems| {
        Error::invalid(format!("nothing is written, because this would be invalid:\n{problems}"))
    })
}
