//! A first configuration for the folder that `afk init` is run in.
//!
//! [`project`] recognises a project by its files, [`text`] writes the configuration; both are pure.
//! [`look`] inspects the machine, for `afk init` and `afk enroll` alike, so that both write the
//! same table. Whatever is found, a new file is disarmed: kill switch on, allowlist empty.

pub mod look;
pub mod project;
pub mod text;

use std::path::{Path, PathBuf};

use afk_core::ids::RepoName;
use project::Proposal;

/// Everything that a first configuration is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StarterFacts {
    /// The repository whose clone `afk init` is run in, if any.
    pub repo: Option<FoundRepo>,
    /// Why it is not known whether there is one, if git does not tell; may have several lines.
    pub not_told: Option<String>,
    /// The path of the Claude CLI, if it was found.
    pub claude: Option<PathBuf>,
    /// How the Claude CLI is signed in.
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

/// The agent that is proposed unless a person names another.
pub const AGENT: &str = "claude";

/// What a person says of a repository, in place of what is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoOverrides {
    /// Its git remote.
    pub remote: Option<String>,
    /// The command (argv) that judges a change.
    pub verify: Option<Vec<String>>,
    /// The command (argv) that a landed commit must pass.
    pub ci: Option<Vec<String>>,
    /// The name of the agent that works on it.
    pub agent: Option<String>,
    /// The script that a scripted agent follows.
    pub script: Option<PathBuf>,
    /// Folders that the sandbox is to show, beside those that are found.
    pub read: Vec<PathBuf>,
}

/// A remote that a configuration may not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableRemote {
    /// What is wrong with it. Does not contain it, because it may contain a secret.
    pub why: String,
    /// The remote to name in its place, if one is known.
    pub instead: Option<String>,
}

/// A repository and the commands proposed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRepo {
    /// Its name, `owner/name`, guessed from its remote or its folder.
    pub name: RepoName,
    /// Its remote, if the clone has one that can be used.
    pub remote: Option<String>,
    /// Its remote `origin`, if that cannot be used.
    pub unusable: Option<UnusableRemote>,
    /// How to judge it; none if no kind of project was recognised.
    pub proposal: Option<Proposal>,
    /// Folders of its toolchain that a box would not show.
    pub read: Vec<PathBuf>,
    /// The folders of workflows that its clone has.
    pub workflows: Vec<&'static str>,
    /// The forge that its remote is on, if it was recognised: then its tracker, too.
    pub forge: Option<FoundForge>,
    /// The agent that works on it.
    pub agent: String,
    /// The script that the agent follows, if it is a scripted one.
    pub script: Option<PathBuf>,
    /// The command that a landed commit must pass, if a person gave it.
    pub ci: Option<Vec<String>>,
}

impl FoundRepo {
    /// A repository of which only the name is known, for the agent [`AGENT`].
    pub fn named(name: RepoName) -> Self {
        Self {
            name,
            remote: None,
            unusable: None,
            proposal: None,
            read: Vec::new(),
            workflows: Vec::new(),
            forge: None,
            agent: AGENT.to_owned(),
            script: None,
            ci: None,
        }
    }

    /// Replaces what was found by what a person says. If the given remote is on a forge, that is
    /// asked by name, so the repository is named after the remote.
    #[must_use]
    pub fn with(mut self, given: RepoOverrides) -> Self {
        let RepoOverrides { remote, verify, ci, agent, script, read } = given;
        if let Some(remote) = remote {
            self.forge = forge_of(&remote, &|folder| self.workflows.contains(&folder));
            if self.forge.is_some()
                && let Some(name) = name_of(Some(&remote), Path::new(""))
            {
                self.name = name;
            }
            self.remote = Some(remote);
        }
        if let Some(verify) = verify {
            let ci = ci.clone().unwrap_or_else(|| verify.clone());
            let by = "as given".to_owned();
            // The other parts of a proposal belong to the command that was found.
            let programs = Vec::new();
            self.proposal = Some(Proposal {
                by,
                verify,
                build: None,
                ci,
                fetch: None,
                network: false,
                programs,
            });
        }
        self.ci = ci.or(self.ci);
        self.agent = agent.unwrap_or(self.agent);
        self.script = script.or(self.script);
        for folder in read {
            if !self.read.contains(&folder) {
                self.read.push(folder);
            }
        }
        self
    }

    /// Why it has no remote, and what to do about it.
    pub fn why_no_remote(&self) -> String {
        match &self.unusable {
            None => "it has no remote named origin: give --remote PATH-OR-URL".to_owned(),
            Some(UnusableRemote { why, instead }) => {
                let instead = instead.as_deref().unwrap_or("PATH-OR-URL");
                format!("its remote origin cannot be used: {why}; give --remote {instead}")
            }
        }
    }

    /// The command that adds its table, with the options for what was not found. `afk` is how the
    /// program is called.
    pub fn enrolling(&self, afk: &str) -> String {
        let mut command = format!("{afk} enroll");
        if self.remote.is_none() {
            let instead = self.unusable.as_ref().and_then(|found| found.instead.as_deref());
            command.push_str(" --remote ");
            command.push_str(instead.unwrap_or("PATH-OR-URL"));
        }
        if self.proposal.is_none() {
            command.push_str(" --verify 'COMMAND'");
        }
        command
    }

    /// Lists the flags of `afk enroll` without which its table would be incomplete.
    pub fn missing(&self) -> Vec<&'static str> {
        let remote = self.remote.is_none().then_some("--remote");
        let verify = self.proposal.is_none().then_some("--verify");
        remote.into_iter().chain(verify).collect()
    }
}

/// A forge that a remote is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundForge {
    /// Its kind.
    pub kind: ForgeKind,
    /// The host of the remote, in lower case.
    pub host: String,
    /// Whether the repository has workflows that a forge of this kind runs.
    pub workflows: bool,
}

/// A kind of forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgeKind {
    /// github.com.
    GitHub,
    /// A Forgejo.
    Forgejo,
    /// A Gitea.
    Gitea,
}

impl ForgeKind {
    /// The kinds of forges, each with the folder of the workflows that it runs.
    const FOLDERS: [(Self, &str); 3] = [
        (Self::Forgejo, ".forgejo/workflows"),
        (Self::Gitea, ".gitea/workflows"),
        (Self::GitHub, ".github/workflows"),
    ];

    /// The kind's name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::Forgejo => "forgejo",
            Self::Gitea => "gitea",
        }
    }
}

/// Recognises the forge that a remote is on: by its host, or by the workflows that only one kind of
/// forge runs. No server is asked. `has` says whether a folder of the repository has files.
pub fn forge_of(remote: &str, has: &dyn Fn(&str) -> bool) -> Option<FoundForge> {
    let host = host_of(remote)?;
    let by_workflows = || {
        let folders = ForgeKind::FOLDERS.iter().filter(|(kind, _)| *kind != ForgeKind::GitHub);
        let found = folders.into_iter().find(|(_, folder)| has(folder));
        found.map(|(kind, _)| *kind)
    };
    let kind = match host.as_str() {
        "github.com" => ForgeKind::GitHub,
        "codeberg.org" => ForgeKind::Forgejo,
        "gitea.com" => ForgeKind::Gitea,
        _ => by_workflows()?,
    };
    let workflows = ForgeKind::FOLDERS.iter().any(|(of, folder)| *of == kind && has(folder));
    Some(FoundForge { kind, host, workflows })
}

/// The host of a remote that is not on this machine.
fn host_of(remote: &str) -> Option<String> {
    let (rest, is_url) = match remote.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => (rest, true),
        None => (remote, false),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    // In ssh's form `host:path` no slash comes before the colon.
    if !is_url && !authority.contains(':') {
        return None;
    }
    let host = authority.rsplit('@').next()?.split(':').next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Guesses `owner/name` from a remote's last two segments, or `local/name` from the folder.
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
    fn a_forge_is_told_by_its_host_or_by_its_workflows() {
        use ForgeKind::{Forgejo, GitHub, Gitea};
        let check = |remote: &str, folders: &[&str], expected: Option<(ForgeKind, &str, bool)>| {
            let found = forge_of(remote, &|folder| folders.contains(&folder));
            let found = found.as_ref().map(|one| (one.kind, one.host.as_str(), one.workflows));
            assert_eq!(found, expected, "{remote} {folders:?}");
        };
        let github = Some((GitHub, "github.com", false));
        check("git@github.com:you/web", &[], github);
        check("https://github.com/you/web", &[".forgejo/workflows"], github);
        check(
            "ssh://git@GitHub.com/a/b",
            &[".github/workflows"],
            Some((GitHub, "github.com", true)),
        );
        check("https://codeberg.org/a/b.git", &[], Some((Forgejo, "codeberg.org", false)));
        let own = Some((Forgejo, "code.example", true));
        check("ssh://git@code.example:2222/a/b", &[".forgejo/workflows"], own);
        check("git@code.example:a/b", &[".forgejo/workflows", ".github/workflows"], own);
        check(
            "https://me@code.example:3000/a/b",
            &[".gitea/workflows"],
            Some((Gitea, "code.example", true)),
        );
        // Nobody knows what this is.
        check("https://code.example/a/b", &[".github/workflows"], None);
        check("https://github.com.evil.example/a/b", &[], None);
        for here in ["/srv/github.com/a", "file:///srv/github.com/a", "web", "../web"] {
            check(here, &[".forgejo/workflows"], None);
        }
    }

    #[test]
    fn a_given_remote_brings_its_name_and_its_forge() {
        let check = |remote: &str, name: &str, forge: Option<(ForgeKind, bool)>| {
            let clone = FoundRepo {
                workflows: vec![".github/workflows"],
                ..FoundRepo::named("local/web".parse().unwrap())
            };
            let given =
                RepoOverrides { remote: Some(remote.to_owned()), ..RepoOverrides::default() };
            let found = clone.with(given);
            let of = found.forge.as_ref().map(|forge| (forge.kind, forge.workflows));
            assert_eq!((found.name.as_str(), of), (name, forge), "{remote}");
            assert_eq!(found.remote.as_deref(), Some(remote));
        };
        check("git@github.com:you/site.git", "you/site", Some((ForgeKind::GitHub, true)));
        check("https://codeberg.org/you/site", "you/site", Some((ForgeKind::Forgejo, false)));
        // A clone without a forge is known by its own name.
        check("/srv/you/site.git", "local/web", None);
        check("git@code.example:you/site", "local/web", None);
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
