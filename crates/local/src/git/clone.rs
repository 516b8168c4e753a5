//! A run's own clone: the only git directory of the agent, which the control plane does not trust.
//!
//! The clone is made from the mirror by borrowing its objects. Once it has its final name, the
//! control plane runs no git in it outside a box: its contents are read through `upload-pack` in
//! the caller's box and fetched with every object checked. Whether it is dirty is found out by a
//! command that the caller runs in the box ([`super::status_argv`]), and [`super::reset`] has the
//! commands that reset it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use afk_core::ids::{Oid, RunId};
use afk_core::run::UnfinishedWork;

use super::error::GitError;
use super::landing::Identity;
use super::lock::{MirrorLock, beside};
use super::mirror::{Mirror, publish, ref_of};
use super::paths::remove_tree;
use super::remote::RemoteUrl;

/// Maximum size of a clone's advertisement, in bytes: enough for some ten thousand refs.
const MAX_ADVERTISED: usize = 1 << 20;

/// The clone of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunClone {
    /// The work tree; `.git` is inside it.
    pub dir: PathBuf,
    /// The commit of the default branch that the clone was made from.
    pub base: Oid,
}

/// The commits at which a new clone begins.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The commit of the default branch that the run's work is compared with.
    pub base: &'a Oid,
    /// The commit that is checked out.
    pub head: &'a Oid,
}

/// What a repository advertises to a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertised {
    /// The commit of `HEAD`, which is the run's head whatever branch it is on.
    pub head: Option<Oid>,
    /// The branch that `HEAD` names; `None` if detached or unborn.
    pub branch: Option<String>,
    /// The newest entry of `git stash`.
    pub stash: Option<Oid>,
    /// Every branch with its commit. Names are lossily decoded, and untrusted.
    pub branches: BTreeMap<String, Oid>,
}

/// Maximum number of branches that [`RunClone::unfinished`] looks at.
const MAX_BRANCHES: usize = 100;

/// The files that git writes while an operation is in progress, each with the operation's name.
const OPERATIONS: [(&str, &str); 7] = [
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("sequencer", "a cherry-pick or revert of several commits"),
    ("MERGE_HEAD", "a merge"),
    ("BISECT_LOG", "a bisect"),
];

/// How `upload-pack` is run: a command, to which git appends the folder.
#[derive(Debug, Clone)]
pub struct UploadPack {
    argv: Vec<OsString>,
}

impl UploadPack {
    /// Returns the command that runs `upload-pack` in a box. `prefix` is the box's program with its
    /// options, to be followed by a command; the box must show the clone, the mirror's objects
    /// (read-only) and a git. An empty `prefix` means no box, for tests only.
    pub fn boxed<A: Into<OsString>>(prefix: impl IntoIterator<Item = A>) -> Self {
        let mut argv: Vec<OsString> = prefix.into_iter().map(Into::into).collect();
        // The owner check protects people from hostile repositories; this folder is assumed to be
        // hostile, which is why it is only read in a box.
        let inner = ["git", "-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null"];
        let more = ["-c", "core.fsmonitor=false", "upload-pack", "--strict", "--timeout=120"];
        argv.extend(inner.iter().chain(&more).map(OsString::from));
        Self { argv }
    }

    /// Returns the command as one text. Git always hands it to a shell, so every word is quoted.
    fn quoted(&self) -> OsString {
        let mut out = Vec::new();
        for word in &self.argv {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.push(b'\'');
            for byte in word.as_bytes() {
                match byte {
                    b'\'' => out.extend(b"'\\''"),
                    other => out.push(*other),
                }
            }
            out.push(b'\'');
        }
        OsStr::from_bytes(&out).to_owned()
    }
}

impl RunClone {
    /// Creates the clone of `run` at `dir` (absolute), with a new `branch` at `base` checked out.
    /// If the clone exists already, it is returned with its own base, whatever was requested.
    ///
    /// `dir`'s parent must not be writable by the agent.
    pub async fn create(
        mirror: &Mirror,
        run: RunId,
        dir: &Path,
        base: &Oid,
        branch: &str,
        agent: &Identity,
    ) -> Result<Self, GitError> {
        Self::create_at(mirror, run, dir, At { base, head: base }, branch, agent).await
    }

    /// As [`RunClone::create`], but `branch` begins at another commit than the base.
    pub async fn create_at(
        mirror: &Mirror,
        run: RunId,
        dir: &Path,
        at: At<'_>,
        branch: &str,
        agent: &Identity,
    ) -> Result<Self, GitError> {
        let At { base, head } = at;
        head_ref(branch)?;
        if let Some(made) = Self::find(mirror, run, dir).await? {
            return Ok(made);
        }
        mirror.keep(run, "base", base).await?;
        let making = beside(dir, ".making");
        remove_tree(&making)?;
        let parent = dir.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(|e| GitError::io("create", parent, e))?;
        let git = mirror.git();
        let format = if base.as_str().len() == 64 { "sha256" } else { "sha1" };
        git.call("init")
            .args(["--quiet", "--template="])
            .arg(format!("--initial-branch={branch}"))
            .arg(format!("--object-format={format}"))
            .arg("--")
            .arg(&making)
            .ok()
            .await?;
        let inside = making.join(".git");
        configure(&inside, mirror, agent).map_err(|e| GitError::io("configure", &inside, e))?;
        git.call("reset")
            .git_dir(&inside)
            .work_tree(&making)
            .timeout(git.limits().network)
            .args(["--hard", "--quiet", head.as_str(), "--"])
            .ok()
            .await?;
        let tags = mirror.tags_below(head).await?;
        if !tags.is_empty() {
            git.call("update-ref").git_dir(&inside).arg("--stdin").input(tags).ok().await?;
        }
        publish(&making, dir)?;
        Ok(Self { dir: dir.to_owned(), base: base.clone() })
    }

    /// Returns the clone of `run` at `dir`, if it was created before. Reads no file in it.
    pub async fn find(mirror: &Mirror, run: RunId, dir: &Path) -> Result<Option<Self>, GitError> {
        match dir.symlink_metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(GitError::io("look at", dir, e)),
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                let text = dir.to_string_lossy();
                return Err(GitError::bad_name("the run's clone", &text, "it is not a folder"));
            }
        }
        match mirror.run_ref(run, "base").await? {
            Some(base) => Ok(Some(Self { dir: dir.to_owned(), base })),
            None => Err(GitError::Unexpected {
                command: "rev-parse",
                detail: format!("{} is there, but the mirror has no base for it", dir.display()),
            }),
        }
    }

    /// Reads what the clone advertises, through the boxed `upload-pack`.
    pub async fn advertised(
        &self,
        mirror: &Mirror,
        upload_pack: &UploadPack,
    ) -> Result<Advertised, GitError> {
        let url = self.url()?;
        let call = mirror.git().call("ls-remote").remote(&url, None).output(MAX_ADVERTISED);
        let lines = call
            // The clone is on this machine, so an answer that takes longer never comes.
            .timeout(mirror.git().limits().local)
            .args(["--symref", &format!("--upload-pack={}", upload_pack.text()?), "--"])
            .args([url.as_str(), "HEAD", "refs/stash", "refs/heads/*"])
            .ok()
            .await?;
        Ok(Advertised::parse(&lines))
    }

    /// Fetches the clone's `HEAD` into `refs/afk/<run>/<name>` of the mirror, with every object
    /// checked, and returns its commit. If the ref exists already, nothing is fetched and its
    /// commit is returned, so that a repetition cannot change what was fetched.
    pub async fn fetch_head(
        &self,
        mirror: &Mirror,
        run: RunId,
        name: &str,
        upload_pack: &UploadPack,
    ) -> Result<Oid, GitError> {
        let full = ref_of(run, name)?;
        let url = self.url()?;
        let lock = MirrorLock::take(mirror.git(), mirror.dir()).await?;
        if let Some(before) = mirror.resolve(&full).await? {
            return Ok(before);
        }
        mirror
            .call("fetch")
            .under_lock(&lock)
            .remote(&url, None)
            .file_size(mirror.git().limits().pack)
            .config("transfer.fsckObjects=true")
            .config("fetch.fsckObjects=true")
            // Never unpacked: so one limit holds for the one file, and nothing of it stays if it is
            // refused.
            .config("fetch.unpackLimit=1")
            .args(["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"])
            .arg("--no-recurse-submodules")
            .arg(format!("--upload-pack={}", upload_pack.text()?))
            .args(["--", url.as_str(), &format!("HEAD:{full}")])
            .ok()
            .await
            .map_err(|error| told_by_size(error, mirror))?;
        let fetched = mirror.resolve(&full).await?;
        match (mirror.resolve(&format!("{full}^{{commit}}")).await?, fetched) {
            (Some(commit), Some(named)) if commit == named => Ok(commit),
            (_, _) => {
                mirror.call("update-ref").args(["--no-deref", "-d", &full]).ok().await?;
                Err(GitError::Unsound { detail: "the clone's HEAD is not a commit".to_owned() })
            }
        }
    }

    /// Returns what is unfinished in the clone, after its `HEAD` was fetched: operations in
    /// progress, branches whose commit the mirror does not have and so `HEAD` does not reach, and a
    /// stash. In the clone itself, only the existence of files is checked.
    pub async fn unfinished(
        &self,
        mirror: &Mirror,
        run: RunId,
        shown: &Advertised,
    ) -> Result<Vec<UnfinishedWork>, GitError> {
        let inside = self.dir.join(".git");
        let there = |name: &&(&str, &str)| inside.join(name.0).symlink_metadata().is_ok();
        let under_way = OPERATIONS.iter().find(there);
        let mut found: Vec<_> = under_way
            .map(|(_, what)| UnfinishedWork::Operation { what: (*what).to_owned() })
            .into_iter()
            .collect();
        for (name, commit) in shown.branches.iter().take(MAX_BRANCHES) {
            if !mirror.has(commit).await? {
                let branch = name.clone();
                found.push(if is_own(name, run) {
                    UnfinishedWork::OwnBranch { branch }
                } else {
                    UnfinishedWork::Branch { branch }
                });
            }
        }
        if shown.stash.is_some() {
            found.push(UnfinishedWork::Stash);
        }
        Ok(found)
    }

    /// Returns the clone as a URL: a plain path could be interpreted by git in another way, for
    /// instance as a bundle.
    fn url(&self) -> Result<RemoteUrl, GitError> {
        RemoteUrl::local(&self.dir.join(".git"))
    }
}

impl UploadPack {
    fn text(&self) -> Result<String, GitError> {
        self.quoted().into_string().map_err(|text| {
            let text = text.to_string_lossy();
            GitError::bad_name("the box's command", &text, "it must be UTF-8")
        })
    }
}

impl Advertised {
    /// Parses `ls-remote --symref`; anything but branches, `HEAD` and the stash is ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut seen = Self::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            match line.split_once('\t') {
                Some((what, "HEAD")) => match what.strip_prefix("ref: ") {
                    Some(target) => {
                        seen.branch = target.strip_prefix("refs/heads/").map(str::to_owned);
                    }
                    None => seen.head = what.parse().ok(),
                },
                Some((oid, "refs/stash")) => seen.stash = oid.parse().ok(),
                Some((oid, name)) => {
                    if let (Some(name), Ok(oid)) = (name.strip_prefix("refs/heads/"), oid.parse()) {
                        seen.branches.insert(name.to_owned(), oid);
                    }
                }
                None => {}
            }
        }
        seen
    }

    /// Returns the branches that are at neither `HEAD` nor `base`, and so may have work that would
    /// not land.
    pub fn elsewhere(&self, base: &Oid) -> Vec<(&str, &Oid)> {
        let other = |oid: &Oid| Some(oid) != self.head.as_ref() && oid != base;
        self.branches.iter().filter(|(_, oid)| other(oid)).map(|(n, o)| (n.as_str(), o)).collect()
    }
}

/// Whether `branch` has a name that [`branch_name`] gives to `run`, with any issue number.
fn is_own(branch: &str, run: RunId) -> bool {
    let any = branch_name(0, run);
    let end = any.split_once('-').map_or("", |(_, end)| end);
    branch.starts_with("afk/") && branch.rsplit_once('-').is_some_and(|(_, of)| of == end)
}

/// Returns the branch of a run: `afk/<issue>-<the run's last eight digits>`.
pub fn branch_name(issue: u64, run: RunId) -> String {
    let run = run.to_string();
    let from = run.len().saturating_sub(8);
    format!("afk/{issue}-{}", run.get(from..).unwrap_or_default())
}

/// Returns the full ref of a branch; an error if git would not accept the name (the rules of
/// `check-ref-format`).
pub fn head_ref(branch: &str) -> Result<String, GitError> {
    let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part = |p: &str| {
        let lock = p.as_bytes().ends_with(b".lock");
        !p.is_empty() && !p.starts_with('.') && !p.ends_with('.') && !lock
    };
    if branch.len() <= 200
        && branch.split('/').all(part)
        && !branch.contains(odd)
        && !branch.contains("..")
        && !branch.contains("@{")
        && branch != "@"
    {
        Ok(format!("refs/heads/{branch}"))
    } else {
        Err(GitError::bad_name("the branch", branch, "git does not take it as a branch's name"))
    }
}

/// Turns a failed fetch into [`GitError::TooLarge`] if its pack reached the limit: the process that
/// writes the pack is then killed without a message, and only the file's size shows why.
fn told_by_size(error: GitError, mirror: &Mirror) -> GitError {
    let limit = mirror.git().limits().pack;
    let packs = std::fs::read_dir(mirror.objects().join("pack")).into_iter().flatten().flatten();
    let cut_off = |entry: std::fs::DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(b"tmp_")
            && entry.metadata().is_ok_and(|meta| meta.len() >= limit)
    };
    match error {
        GitError::Failed { command, .. } if packs.into_iter().any(cut_off) => {
            GitError::TooLarge { command, limit }
        }
        other => other,
    }
}

/// Writes alternates and configuration of a new clone.
fn configure(inside: &Path, mirror: &Mirror, agent: &Identity) -> std::io::Result<()> {
    let info = inside.join("objects/info");
    std::fs::create_dir_all(&info)?;
    let mut borrowed = mirror.objects().into_os_string().into_encoded_bytes();
    borrowed.push(b'\n');
    std::fs::write(info.join("alternates"), borrowed)?;
    let mut config = std::fs::File::options().append(true).open(inside.join("config"))?;
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    write!(
        config,
        "[user]\n\tname = {}\n\temail = {}\n\
         [remote \"origin\"]\n\turl = {}\n\tpushurl = no-push://the-control-plane-lands\n\
         \tfetch = +refs/heads/*:refs/remotes/origin/*\n\
         [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n",
        quote(agent.name()),
        quote(agent.email()),
        quote(mirror.remote().as_str()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(branch: &str, good: bool) {
        assert_eq!(head_ref(branch).is_ok(), good, "{branch:?}");
    }

    #[test]
    fn branches_are_what_git_takes_as_branches() {
        for good in ["main", "a/b-c", "-x", "--upload-pack=x", "feat@1", "ünï"] {
            check(good, true);
        }
        for bad in ["", "/", "a//b", ".a", "a/.b", "a..b", "a.lock", "a.", "a b", "a\n", "a*", "@"]
        {
            check(bad, false);
        }
        check(&"a".repeat(201), false);
    }

    #[test]
    fn work_on_another_branch_is_told_from_head_and_base() {
        let oid = |c: &str| c.repeat(40).parse::<Oid>().unwrap();
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let text = format!(
            "ref: refs/heads/w\tHEAD\n{b}\tHEAD\n{a}\trefs/heads/old\n{b}\trefs/heads/w\n\
             {c}\trefs/heads/side\n{c}\trefs/tags/t\n"
        );
        let seen = Advertised::parse(text.as_bytes());
        assert_eq!((seen.branch.as_deref(), &seen.head), (Some("w"), &Some(oid("b"))));
        assert_eq!(seen.elsewhere(&oid("a")), vec![("side", &oid("c"))]);
    }

    #[test]
    fn the_box_is_quoted_word_by_word() {
        let text = UploadPack::boxed(["/b x", "it's"]).text().unwrap();
        assert!(text.starts_with(r"'/b x' 'it'\''s' 'git' '-c' "), "{text}");
    }
}
