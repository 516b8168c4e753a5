//! A first configuration for the folder that `afk init` is run in.
//!
//! [`project`] judges a list of file names, [`text`] writes the file; both are pure. The command
//! inspects the machine. Whatever is found, the file is disarmed: kill switch on, allowlist empty.

pub mod project;
pub mod text;

use std::path::{Path, PathBuf};

use afk_core::ids::RepoName;
use project::Proposal;

/// Everything that a first configuration is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The repository that `afk init` is run in.
    pub repo: Option<FoundRepo>,
    /// Where the Claude CLI is.
    pub claude: Option<PathBuf>,
    /// How it is signed in.
    pub sign_in: SignIn,
}

/// How the Claude CLI is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignIn {
    /// With the sign-in of the user's home.
    Home,
    /// With `ANTHROPIC_API_KEY`.
    Key,
    /// Neither was found.
    #[default]
    None,
}

/// A repository and the commands proposed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRepo {
    /// Its name, guessed from its remote.
    pub name: RepoName,
    /// Its remote, if git has one.
    pub remote: Option<String>,
    /// How to judge it; none if no kind of project was recognised.
    pub proposal: Option<Proposal>,
    /// Folders of its toolchain that a box would not show.
    pub read: Vec<PathBuf>,
    /// Whether its remote is on github.com, where its issues and checks are then looked for.
    pub github: bool,
    /// Whether it has workflows that GitHub runs.
    pub workflows: bool,
}

/// Whether a remote is on github.com.
pub fn is_on_github(remote: &str) -> bool {
    let rest = remote.split_once("://").map_or(remote, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    host.rsplit('@').next().is_some_and(|host| host.eq_ignore_ascii_case("github.com"))
}

/// `owner/name`, guessed from a remote's last two segments, or from the folder.
pub fn name_of(remote: Option<&str>, folder: &Path) -> Option<RepoName> {
    let of_remote = remote.and_then(|remote| {
        let remote = remote.trim_end_matches('/');
        let path = remote.strip_suffix(".git").unwrap_or(remote);
        let mut parts = path.rsplit(['/', ':']).filter(|part| !part.is_empty());
        let (name, owner) = (parts.next()?, parts.next()?.rsplit('@').next()?);
        named(owner, name)
    });
    let last = || named("local", folder.file_name()?.to_str()?);
    of_remote.or_else(last)
}

fn named(owner: &str, name: &str) -> Option<RepoName> {
    let plain = |text: &str| -> String {
        let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        text.chars().filter(|c| kept(*c)).collect()
    };
    format!("{}/{}", plain(owner), plain(name)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn github_is_told_by_the_host() {
        for yes in
            ["git@github.com:you/web", "https://github.com/you/web", "ssh://git@GitHub.com/a/b"]
        {
            assert!(is_on_github(yes), "{yes}");
        }
        for no in
            ["https://github.com.evil.example/a/b", "/srv/github.com/a", "git@forge:github.com/a"]
        {
            assert!(!is_on_github(no), "{no}");
        }
    }

    #[test]
    fn a_repository_is_named_after_its_remote() {
        let check = |remote: Option<&str>, expected: Option<&str>| {
            let name = name_of(remote, Path::new("/home/ann/my web"));
            assert_eq!(name.as_ref().map(RepoName::as_str), expected, "{remote:?}");
        };
        check(Some("git@forge.example:you/web.git"), Some("you/web"));
        check(Some("ssh://git@forge.example:22/you/web"), Some("you/web"));
        check(Some("https://forge.example/a/b/you/web.git/"), Some("you/web"));
        check(Some("/home/ann/web.git"), Some("ann/web"));
        check(Some("git@forge.example:web"), Some("forge.example/web"));
        check(Some("web"), Some("local/myweb"));
        check(None, Some("local/myweb"));
    }
}
