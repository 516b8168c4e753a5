//! `issue`: the local tracker.

use std::io::Read;

use afk_app::Error;
use afk_app::adapters::{LocalTracker, check_label};
use afk_app::config::is_local;
use afk_app::operator::{Operator, no_issue};
use afk_core::ids::{Actor, IssueRef, RepoName};
use afk_core::issue::Issue;
use serde_json::json;

use super::{Context, editor, here};
use crate::cli::args::{IssueCommand, IssueText};
use crate::cli::exit::{Answer, Exit};
use crate::cli::render;
use crate::cli::sources::now;

/// Maximum number of bytes read of a body or comment; the tracker itself accepts less.
const MAX_TEXT: u64 = 2 * 1024 * 1024;

pub(super) async fn run(context: &Context<'_>, command: IssueCommand) -> Answer {
    let out = context.out;
    let operator = context.operator().await?;
    let tracker = &operator.tracker;
    match command {
        IssueCommand::New { words, text, mut label, ready, who } => {
            let (repo, title) = subject(&operator, &words).await?;
            kept_here(&operator, &repo)?;
            let (title, body) = match (title, body(&text)?) {
                (Some(title), body) => (title, body.unwrap_or_default()),
                (None, given) => editor::write(&repo, given.as_deref()).await?,
            };
            let actor = actor(&operator, who.name.as_deref())?;
            if ready {
                label.push(operator.config.policy.ready_label.clone());
            }
            // All input is validated before anything is created.
            for name in &label {
                check_label(name)?;
            }
            let at = now();
            let issue = tracker.create(&repo, &title, &body, &actor, at).await?;
            for name in &label {
                tracker.label(&issue, name, &actor, at).await?;
            }
            if !operator.config.policy.repos.contains_key(&repo) {
                out.note(format!("{repo} is not configured yet: `afk enroll` in a clone of it"));
            }
            let made = find(tracker, &issue).await?;
            out.result(&made, |_| issue.to_string())?;
        }
        IssueCommand::List { repo, label, all } => {
            let repo = repo.map(|repo| operator.repo(&repo)).transpose()?;
            if let Some(repo) = &repo {
                kept_here(&operator, repo)?;
            }
            let open = (!all).then_some(true);
            let found = tracker.list(repo.as_ref(), open, label.as_deref()).await?;
            out.result(&json!({ "issues": found }), |paint| render::issues(&found, all, paint))?;
        }
        IssueCommand::Show(which) => {
            let issue = find(tracker, &issue(&operator, &which.issue)?).await?;
            let events = tracker.events(&issue.issue).await?;
            let comments = tracker.comments(&issue.issue).await?;
            let document = json!({ "issue": issue, "events": events, "comments": comments });
            out.result(&document, |paint| render::issue(&issue, &events, &comments, now(), paint))?;
        }
        IssueCommand::Label { which, label, who } => {
            let issue = issue(&operator, &which.issue)?;
            let label = label.unwrap_or_else(|| operator.config.policy.ready_label.clone());
            let actor = actor(&operator, who.name.as_deref())?;
            let changed = tracker.label(&issue, &label, &actor, now()).await?;
            told(context, &issue, changed, &format!("now has {label}"), "already had it")?;
        }
        IssueCommand::Unlabel { which, label, who } => {
            let issue = issue(&operator, &which.issue)?;
            let label = label.unwrap_or_else(|| operator.config.policy.ready_label.clone());
            let actor = actor(&operator, who.name.as_deref())?;
            let changed = tracker.unlabel(&issue, &label, &actor, now()).await?;
            told(context, &issue, changed, &format!("no longer has {label}"), "did not have it")?;
        }
        IssueCommand::Edit { which, title, text, who } => {
            let issue = issue(&operator, &which.issue)?;
            let body = body(&text)?;
            if title.is_none() && body.is_none() {
                return Err(Error::invalid(
                    "nothing to change: give --title, --body or --body-file",
                ));
            }
            let actor = actor(&operator, who.name.as_deref())?;
            let (title, body) = (title.as_deref(), body.as_deref());
            let changed = tracker.edit(&issue, title, body, &actor, now()).await?;
            told(context, &issue, changed, "is changed", "is unchanged")?;
        }
        IssueCommand::Comment { which, text, who } => {
            let issue = issue(&operator, &which.issue)?;
            let text = text_or_stdin(text)?;
            let actor = actor(&operator, who.name.as_deref())?;
            let id = tracker.comment(&issue, &text, &actor, now()).await?;
            let document = json!({ "issue": issue, "comment": id });
            out.result(&document, |_| format!("added comment {id} to {issue}"))?;
        }
        IssueCommand::Close { which, who } => {
            let issue = issue(&operator, &which.issue)?;
            let actor = actor(&operator, who.name.as_deref())?;
            let changed = tracker.close(&issue, &actor, now()).await?;
            told(context, &issue, changed, "is closed", "was already closed")?;
        }
        IssueCommand::Reopen { which, who } => {
            let issue = issue(&operator, &which.issue)?;
            let actor = actor(&operator, who.name.as_deref())?;
            let changed = tracker.reopen(&issue, &actor, now()).await?;
            told(context, &issue, changed, "is open again", "was already open")?;
        }
    }
    operator.store.close().await;
    Ok(Exit::Done)
}

/// The repository and the title that the words of `issue new` mean. The first word is a repository
/// if it has a slash or is configured, otherwise it belongs to the title.
async fn subject(operator: &Operator, words: &[String]) -> Answer<(RepoName, Option<String>)> {
    Ok(match words {
        [] => (here::repo(&operator.config).await?, None),
        [word] => match operator.repo(word) {
            Ok(repo) if word.contains('/') || is_configured(operator, word) => (repo, None),
            Ok(_) | Err(_) => (here::repo(&operator.config).await?, Some(word.clone())),
        },
        [repo, title] if repo.contains('/') || is_configured(operator, repo) => {
            (operator.repo(repo)?, Some(title.clone()))
        }
        words => {
            let title = match words {
                [repo, title @ ..] if repo.contains('/') => title,
                title => title,
            };
            let title = title.join(" ");
            return Err(Error::invalid(format!(
                "the title has several words: put it in quotes, as in `afk issue new {title:?}`"
            )));
        }
    })
}

/// Parses an issue of the local tracker as typed.
fn issue(operator: &Operator, text: &str) -> Answer<IssueRef> {
    let issue = operator.issue(text)?;
    kept_here(operator, &issue.repo)?;
    Ok(issue)
}

/// Refuses a repository whose issues are on a forge: nobody would ever read what is written here.
fn kept_here(operator: &Operator, repo: &RepoName) -> Answer<()> {
    let policy = &operator.config.policy;
    if is_local(policy, repo) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the issues of {repo} are on {tracker}, not here: write it there and put the label {ready} \
         on it; then `afk run {repo}#N`",
        tracker = policy.tracker_of(repo),
        ready = policy.ready_label,
    )))
}

fn is_configured(operator: &Operator, word: &str) -> bool {
    operator.repo(word).is_ok_and(|repo| operator.config.policy.repos.contains_key(&repo))
}

fn told(
    context: &Context<'_>,
    issue: &IssueRef,
    changed: bool,
    done: &str,
    already: &str,
) -> Answer<()> {
    let document = json!({ "issue": issue, "changed": changed });
    let what = if changed { done } else { already };
    context.out.result(&document, |_| format!("{issue} {what}"))
}

async fn find(tracker: &LocalTracker, issue: &IssueRef) -> Answer<Issue> {
    tracker.get(issue).await?.ok_or_else(|| no_issue(issue))
}

/// Who acts: the person at the keyboard, or the account given by `--as`.
fn actor(operator: &Operator, name: Option<&str>) -> Answer<Actor> {
    let Some(name) = name else { return Ok(operator.person.clone()) };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > 60 || !name.bytes().all(plain) {
        return Err(Error::invalid(format!(
            "{name:?} is not a valid account name: up to 60 letters, digits, dots, dashes and \
             underscores"
        )));
    }
    Ok(LocalTracker::user(name))
}

fn body(text: &IssueText) -> Answer<Option<String>> {
    match (&text.body, &text.body_file) {
        (Some(body), _) => text_or_stdin(body.clone()).map(Some),
        (None, Some(path)) => {
            let failed = |e| Error::failed(format!("cannot read {}: {e}", path.display()));
            read(std::fs::File::open(path).map_err(failed)?).map_err(failed).map(Some)
        }
        (None, None) => Ok(None),
    }
}

pub(super) fn text_or_stdin(text: String) -> Answer<String> {
    if text != "-" {
        return Ok(text);
    }
    read(std::io::stdin().lock())
        .map_err(|e| Error::failed(format!("cannot read standard input: {e}")))
}

fn read(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(MAX_TEXT).read_to_string(&mut text)?;
    Ok(text)
}
