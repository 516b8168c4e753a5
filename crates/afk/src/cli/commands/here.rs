//! The repository whose clone the working folder is in, and the options that describe it: for
//! `init`, `enroll`, and commands whose repository may be omitted.

use std::path::{Path, PathBuf};

use afk_agent::agents::scripted::script::Script;
use afk_app::adapters::{OLDEST_GIT, RemoteUrl};
use afk_app::config::{Config, load};
use afk_app::starter::look::{NotPushed, Refusal, gather_facts, not_pushed, refusal, repo_here};
use afk_app::starter::{RepoOverrides, StarterFacts};
use afk_app::{Error, ErrorKind};
use afk_core::ids::{AdapterName, RepoName};

use super::Context;
use crate::cli::args::TableArgs;
use crate::cli::exit::Answer;
use crate::cli::sources::{current_dir, sources};
use crate::cli::words::{line, many};

/// Gathers what is found in the working folder.
pub(super) async fn found() -> StarterFacts {
    let key = std::env::var_os("ANTHROPIC_API_KEY").is_some_and(|key| !key.is_empty());
    let home = std::env::home_dir().unwrap_or_default();
    gather_facts(&current_dir(), &home, key).await
}

/// Fails if git is missing, or refuses to work in this folder: then it is not known what is here.
pub(super) async fn git_works() -> Answer<()> {
    match refusal(&current_dir()).await {
        None => Ok(()),
        Some(Refusal::NoGit) => Err(Error::new(
            ErrorKind::Missing,
            format!("git was not found: install git {OLDEST_GIT} or newer"),
        )),
        Some(Refusal::Says(what)) => {
            Err(Error::invalid(format!("git refuses to work in this folder: {what}")))
        }
    }
}

/// Names the repository of the working folder, for a command that was given none.
pub(super) async fn repo(config: &Config) -> Answer<RepoName> {
    let nowhere = "no repository was named, and this folder is in no clone of one: name it, as \
                   OWNER/NAME";
    repo_or(config, nowhere).await
}

/// Names the repository that a `remote` given in a clone is on, if that is a forge; otherwise that
/// of the working folder.
pub(super) async fn repo_at(config: &Config, remote: Option<&str>) -> Answer<RepoName> {
    if let Some(remote) = remote
        && let Some(clone) = found().await.repo
    {
        let given = RepoOverrides { remote: Some(remote.to_owned()), ..RepoOverrides::default() };
        let given = clone.with(given);
        if given.forge.is_some() {
            return Ok(given.name);
        }
    }
    repo(config).await
}

/// Names the repository of the working folder; the error says `nowhere` if there is none.
async fn repo_or(config: &Config, nowhere: &str) -> Answer<RepoName> {
    if let Some(repo) = repo_here(&current_dir(), config).await {
        return Ok(repo);
    }
    git_works().await?;
    Err(Error::invalid(nowhere))
}

/// The repository as typed, or that of the working folder if none was.
pub(super) async fn named(context: &Context<'_>, typed: Option<String>) -> Answer<String> {
    match typed {
        Some(repo) => Ok(repo),
        None => Ok(repo(&configured(context)).await?.to_string()),
    }
}

/// The configuration, or the defaults if it is invalid: the command itself reports that.
fn configured(context: &Context<'_>) -> Config {
    load::<Config>(&sources(context.config())).map(|loaded| loaded.config).unwrap_or_default()
}

/// A remark on a remote that could not be looked at. `afk` is how this program is called.
pub(super) fn not_looked_at(afk: &str, why: &str) -> String {
    format!("the remote could not be looked at now ({why}): `{afk} doctor` looks again")
}

/// A remark on what is only in the clone, which a run would not see; none if everything was pushed.
pub(super) async fn unseen() -> Option<String> {
    remark(&not_pushed(&current_dir()).await)
}

fn remark(NotPushed { files, commits }: &NotPushed) -> Option<String> {
    const NAMED: usize = 3;
    let named: Vec<String> = files.iter().take(NAMED).map(|path| line(path, 80)).collect();
    let files = match files.len().saturating_sub(NAMED) {
        _ if files.is_empty() => None,
        0 => Some(format!("not committed here: {}", named.join(", "))),
        more => Some(format!("not committed here: {} and {more} more", named.join(", "))),
    };
    let commits = (*commits > 0).then(|| format!("not pushed: {}", many(*commits, "commit")));
    let told: Vec<String> = files.into_iter().chain(commits).collect();
    (!told.is_empty()).then(|| {
        format!("a run sees only what is on the remote's default branch; {}", told.join("; "))
    })
}

/// Completes the number of an issue, `7` or `#7`, with the repository of the working folder.
pub(super) async fn complete(context: &Context<'_>, subject: &mut String) -> Answer<()> {
    if let Some(number) = number(subject) {
        let nowhere = format!(
            "this folder is not in a clone of a repository, so `{subject}` is not enough: name the \
             issue in full, as OWNER/NAME#{number}"
        );
        let repo = repo_or(&configured(context), &nowhere).await?;
        *subject = format!("{repo}#{number}");
    }
    Ok(())
}

/// The number of an issue; none if the text is anything else. A run's id of digits alone begins
/// with a zero or is longer.
fn number(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 9;
    (is_number && !digits.is_empty() && !digits.starts_with('0')).then_some(digits)
}

/// Checks the options that describe a repository, and makes their paths absolute.
pub(super) fn given(args: &TableArgs) -> Answer<RepoOverrides> {
    let TableArgs { remote, verify, ci, agent, script, read } = args;
    let remote = remote.as_deref().map(absolute_remote);
    if let Some(remote) = &remote {
        RemoteUrl::parse(remote)
            .map_err(|error| Error::invalid(format!("--remote: {}", error.reason())))?;
    }
    if let Some(name) = agent {
        name.parse::<AdapterName>()
            .map_err(|error| Error::invalid(format!("--agent {name:?}: {error}")))?;
    }
    let there = |flag: &str, path: &Path| {
        path.canonicalize().map_err(|error| {
            Error::invalid(match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("{flag}: there is nothing at {}", path.display())
                }
                _ => format!("{flag} {}: {error}", path.display()),
            })
        })
    };
    if verify.as_deref().is_some_and(|text| text.trim() == "none") {
        return Err(Error::invalid(
            "--verify none: there is no such command; to land changes that no test judged, give a \
             command here, and then write `verify = \"none\"` into the table by hand",
        ));
    }
    let followed = |path: &Path| -> Answer<PathBuf> {
        let path = there("--script", path)?;
        Script::read(&path).map_err(|error| Error::invalid(format!("--script: {error}")))?;
        Ok(path)
    };
    let agent = agent.clone().or_else(|| script.as_ref().map(|_| "scripted".to_owned()));
    Ok(RepoOverrides {
        remote,
        verify: verify.as_deref().map(|text| command("--verify", text)).transpose()?,
        ci: ci.as_deref().map(|text| command("--ci", text)).transpose()?,
        agent,
        script: script.as_deref().map(followed).transpose()?,
        read: read.iter().map(|path| there("--read", path)).collect::<Answer<Vec<PathBuf>>>()?,
    })
}

/// Parses a command as typed: a TOML list of words, or words separated by blanks.
fn command(flag: &str, text: &str) -> Answer<Vec<String>> {
    let wrong = |why: &str| Error::invalid(format!("{flag} {text:?} {why}"));
    let words: Vec<String> = if text.trim_start().starts_with('[') {
        let no_list = |_| {
            wrong(
                "is not a TOML list of strings: give one such as '[\"make\", \"test\"]', or the \
                 command without brackets",
            )
        };
        text.trim().parse::<toml::Value>().and_then(toml::Value::try_into).map_err(no_list)?
    } else if text.contains(['\'', '"', '\\', '$', '|', ';', '&', '>', '<']) {
        // No shell is run, so these characters would reach the program unchanged.
        return Err(wrong(
            "has shell syntax, but no shell will read it: give a TOML list such as \
             '[\"sh\", \"-c\", \"a && b\"]'",
        ));
    } else {
        text.split_whitespace().map(str::to_owned).collect()
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(wrong("names no command: give one such as 'make test'"));
    }
    Ok(words)
}

/// Makes the path of an existing folder absolute; leaves anything else, such as a URL, as it is.
fn absolute_remote(remote: &str) -> String {
    let path = Path::new(remote);
    let full = if path.exists() { path.canonicalize().ok() } else { None };
    full.and_then(|full| full.to_str().map(str::to_owned)).unwrap_or_else(|| remote.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_would_not_see_is_named() {
        let check = |files: &[&str], commits, expected: Option<&str>| {
            let files = files.iter().map(|file| (*file).to_owned()).collect();
            let told = remark(&NotPushed { files, commits });
            let all = "a run sees only what is on the remote's default branch; ";
            assert_eq!(told.as_deref().map(|told| told.strip_prefix(all).unwrap()), expected);
        };
        check(&[], 0, None);
        check(&["a"], 0, Some("not committed here: a"));
        check(&["a", "b", "c", "d"], 0, Some("not committed here: a, b, c and 1 more"));
        check(&[], 1, Some("not pushed: 1 commit"));
        check(&["a"], 2, Some("not committed here: a; not pushed: 2 commits"));
    }

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

    #[test]
    fn a_number_is_an_issue_and_an_id_is_not() {
        for (text, expected) in [
            ("7", Some("7")),
            ("#12", Some("12")),
            ("0199", None),
            ("0199d3c2", None),
            ("#", None),
            ("", None),
            ("o/web#7", None),
            ("1234567890", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn none_is_no_command() {
        let args = TableArgs { verify: Some("none".to_owned()), ..TableArgs::default() };
        let told = given(&args).unwrap_err().to_string();
        assert!(told.contains("verify = \"none\""), "{told}");
    }

    #[test]
    fn a_script_chooses_the_agent_that_follows_it() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script.json");
        let given = |path: &Path| {
            given(&TableArgs { script: Some(path.to_owned()), ..TableArgs::default() })
        };
        std::fs::write(&script, "{\"turns\": []}").unwrap();
        assert_eq!(given(&script).unwrap().agent.as_deref(), Some("scripted"));
        let refused = |path: &Path, why: &str| {
            let told = given(path).unwrap_err().to_string();
            assert!(told.contains(why) && told.contains("--script"), "{told}");
        };
        refused(Path::new("/nowhere/at/all"), "/nowhere/at/all");
        refused(dir.path(), "cannot read the script");
        std::fs::write(&script, "{\"turns\": [{\"steps\": [{\"sing\": {}}]}]}").unwrap();
        refused(&script, "there is no step \"sing\"");
    }
}
