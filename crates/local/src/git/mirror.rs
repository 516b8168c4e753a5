//! The control plane's bare mirror of a repo.
//!
//! `refs/heads/*` and `refs/tags/*` are the remote's, `refs/afk/<run>/*` are ours and keep what a
//! run needs. Notes and pull requests are not mirrored, and there is no work tree. The mirror's
//! `HEAD` names no branch, so that no checked-out state can affect an answer.
//!
//! A live clone borrows objects from here, and git in a clone does not write an object that it can
//! borrow, even one that is not reachable here. So nothing is pruned while any clone of the repo
//! exists ([`Mirror::tidy`]), and `refs/afk/<run>/base` stays as long as the run's clone does
//! ([`Mirror::forget`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afk_core::ids::{Oid, RunId};
use tokio_util::sync::CancellationToken;

use super::clone::{Advertised, head_ref};
use super::command::{Call, Git};
use super::error::GitError;
use super::lock::{MirrorLock, beside, sweep};
use super::paths::remove_tree;
use super::remote::{Credential, Login, RemoteUrl};
use super::tree::sweep_scratch;

/// Time limit of [`Mirror::remote_head`], which only helps to decide whether to begin.
const LOOK: Duration = Duration::from_secs(20);

/// What a mirror has of its remote. Tags have a refspec of their own: tools in clones need them to
/// ask git for a version.
const ALL: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

/// Maximum number of tags that a clone gets.
const MAX_TAGS: usize = 1_000;

/// Maximum number of packs before a mirror is repacked.
const PACKS: usize = 20;
/// Approximate maximum number of loose objects before a mirror is repacked.
const LOOSE: usize = 4096;

/// A repo's bare mirror, in a folder that only the control plane writes. Cheap to clone.
#[derive(Clone)]
pub struct Mirror {
    git: Git,
    dir: PathBuf,
    remote: RemoteUrl,
    login: Option<Arc<dyn Login>>,
}

/// The branches of a remote, and which of them is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHeads {
    /// The default branch's short name.
    pub default: String,
    /// Every branch with its commit.
    pub heads: BTreeMap<String, Oid>,
}

impl Mirror {
    /// Returns the mirror of `remote` at `dir` (absolute). Does no I/O.
    pub fn new(git: Git, dir: PathBuf, remote: RemoteUrl) -> Self {
        Self { git, dir, remote, login: None }
    }

    /// Returns the same mirror, with `login` as the source of its remote's credential.
    #[must_use]
    pub fn opened_by(self, login: Arc<dyn Login>) -> Self {
        Self { login: Some(login), ..self }
    }

    /// Returns the same mirror, whose commands are killed when `cancel` is cancelled.
    #[must_use]
    pub fn under(&self, cancel: CancellationToken) -> Self {
        Self { git: self.git.under(cancel), ..self.clone() }
    }

    /// Returns the mirror's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the folder that clones borrow objects from. A box must mount it read-only at this
    /// very path.
    pub fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    /// Returns the repository that is mirrored.
    pub fn remote(&self) -> &RemoteUrl {
        &self.remote
    }

    /// Creates the mirror unless it exists, atomically: it is built under another name and renamed.
    /// The default branch is fetched first, so that an attempt that takes too long leaves that to
    /// the next one.
    pub async fn ensure(&self) -> Result<(), GitError> {
        if self.is_made() {
            return Ok(());
        }
        let lock = MirrorLock::take(&self.git, &self.dir).await?;
        if self.is_made() {
            return Ok(());
        }
        let heads = self.remote_heads().await?;
        let making = beside(&self.dir, ".making");
        let mut staged = self.clone();
        staged.dir.clone_from(&making);
        sweep(&making);
        if !staged.is_bare_repository().await? {
            remove_tree(&making)?;
            self.init(&making, heads.heads.values().next()).await?;
        }
        let limit = self.git.limits().first_fetch;
        let first = head_ref(&heads.default)?;
        let mut fetched = staged.fetch_refs(&lock, &[&format!("+{first}:{first}")], limit).await;
        if fetched.is_ok() {
            fetched = staged.fetch_refs(&lock, &ALL, limit).await;
        }
        match fetched {
            Ok(()) => publish(&making, &self.dir),
            Err(late @ (GitError::Timeout { .. } | GitError::Cancelled { .. })) => Err(late),
            Err(error) => {
                // What is there may be the cause.
                remove_tree(&making)?;
                Err(error)
            }
        }
    }

    /// Whether the folder is a bare repository.
    async fn is_bare_repository(&self) -> Result<bool, GitError> {
        let output = self.call("rev-parse").arg("--is-bare-repository").run().await?;
        Ok(output.code == 0 && output.stdout.trim_ascii() == b"true")
    }

    /// Creates a bare repository in `dir` for objects with the same hash as `one`.
    async fn init(&self, dir: &Path, one: Option<&Oid>) -> Result<(), GitError> {
        let format = match one.map(|oid| oid.as_str().len()) {
            Some(64) => "sha256",
            Some(_) | None => "sha1",
        };
        let args = ["--quiet", "--bare", "--template=", "--initial-branch=afk/no-branch"];
        let call = self.git.call("init").args(args).arg(format!("--object-format={format}"));
        call.arg("--").arg(dir).ok().await.map(drop)
    }

    /// Creates the mirror with nothing but the newest commit of the default branch, and returns
    /// that commit.
    pub(crate) async fn fetch_newest(&self) -> Result<Oid, GitError> {
        let head = self.remote_head().await?;
        self.init(&self.dir, Some(&head)).await?;
        self.call("fetch")
            .remote(&self.remote, None)
            .args(["--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"])
            .args(["--no-auto-maintenance", "--no-recurse-submodules", "--"])
            .args([self.remote.as_str(), "+HEAD:refs/heads/newest"])
            .ok()
            .await?;
        self.known_head("newest")
            .await?
            .ok_or_else(|| GitError::Empty { url: self.remote.to_string() })
    }

    /// Brings branches and tags to the remote's state; those that are gone there are removed here.
    pub async fn fetch(&self) -> Result<(), GitError> {
        let lock = MirrorLock::take(&self.git, &self.dir).await?;
        self.fetch_refs(&lock, &ALL, self.git.limits().network).await
    }

    /// Reads the branches from the remote; an error if it has no default branch with a commit.
    pub async fn remote_heads(&self) -> Result<RemoteHeads, GitError> {
        let seen = self.ls_remote(&["HEAD", "refs/heads/*"]).await?;
        let url = || self.remote.to_string();
        match seen.branch {
            Some(default) if seen.branches.contains_key(&default) => {
                Ok(RemoteHeads { default, heads: seen.branches })
            }
            Some(_) | None => Err(GitError::Empty { url: url() }),
        }
    }

    /// Reads the default branch's short name from the remote.
    pub async fn default_branch(&self) -> Result<String, GitError> {
        let seen = self.ls_remote(&["HEAD"]).await?;
        seen.branch.ok_or_else(|| GitError::Empty { url: self.remote.to_string() })
    }

    /// Reads the head of the default branch from the remote, with a short time limit. Needs no
    /// mirror on disk.
    pub async fn remote_head(&self) -> Result<Oid, GitError> {
        let credential = self.credential().await?;
        let call =
            self.git.call("ls-remote").remote(&self.remote, credential.as_ref()).timeout(LOOK);
        let seen = call.args(["--symref", "--", self.remote.as_str(), "HEAD"]).ok().await?;
        let head = Advertised::parse(&seen).head;
        head.ok_or_else(|| GitError::Empty { url: self.remote.to_string() })
    }

    /// Reads the commit of a branch from the remote; `None` if there is no such branch.
    pub async fn head(&self, branch: &str) -> Result<Option<Oid>, GitError> {
        let full = head_ref(branch)?;
        let mut seen = self.ls_remote(&[&full]).await?;
        Ok(seen.branches.remove(branch))
    }

    /// Returns the commit of a branch as of the last fetch.
    pub async fn known_head(&self, branch: &str) -> Result<Option<Oid>, GitError> {
        self.resolve(&head_ref(branch)?).await
    }

    /// Whether `commit` is reachable from a branch as of the last fetch; false for a commit that
    /// the mirror does not have.
    pub async fn contains(&self, commit: &Oid, branch: &str) -> Result<bool, GitError> {
        let full = head_ref(branch)?;
        let Some(head) = self.resolve(&full).await? else { return Ok(false) };
        if !self.has(commit).await? {
            return Ok(false);
        }
        let args = ["--is-ancestor", commit.as_str(), head.as_str()];
        self.yes_or_no(self.call("merge-base").args(args)).await
    }

    /// Whether `below` is an ancestor of `commit`, or the same commit; false if the mirror does not
    /// have both.
    pub async fn stands_on(&self, commit: &Oid, below: &Oid) -> Result<bool, GitError> {
        if !(self.has(commit).await? && self.has(below).await?) {
            return Ok(false);
        }
        let args = ["--is-ancestor", below.as_str(), commit.as_str()];
        self.yes_or_no(self.call("merge-base").args(args)).await
    }

    /// Whether the mirror has this commit.
    pub async fn has(&self, commit: &Oid) -> Result<bool, GitError> {
        Ok(self.resolve(&format!("{commit}^{{commit}}")).await?.is_some())
    }

    /// Returns the commit of a run's own ref, such as `base` or an attempt's number.
    pub async fn run_ref(&self, run: RunId, name: &str) -> Result<Option<Oid>, GitError> {
        self.resolve(&ref_of(run, name)?).await
    }

    /// Sets a run's own ref to a commit, so that the commit is not pruned.
    pub async fn keep(&self, run: RunId, name: &str, commit: &Oid) -> Result<(), GitError> {
        let full = ref_of(run, name)?;
        let lock = MirrorLock::take(&self.git, &self.dir).await?;
        let call = self.call("update-ref").args(["--no-deref", &full, commit.as_str()]);
        call.under_lock(&lock).ok().await.map(drop)
    }

    /// Removes every ref of a run. Only to be called once the run's clone is gone.
    pub async fn forget(&self, run: RunId) -> Result<(), GitError> {
        let _lock = MirrorLock::take(&self.git, &self.dir).await?;
        let prefix = format!("refs/afk/{run}/");
        let args = ["--format=delete %(refname)", "--", &prefix];
        let refs = self.call("for-each-ref").args(args).ok().await?;
        self.call("update-ref").args(["--no-deref", "--stdin"]).input(refs).ok().await.map(drop)
    }

    /// Returns commands for `update-ref --stdin` that create the tags on `commit` and its
    /// ancestors: the newest [`MAX_TAGS`].
    pub(crate) async fn tags_below(&self, commit: &Oid) -> Result<Vec<u8>, GitError> {
        let args = ["--format=create %(refname) %(objectname)", "--sort=-creatordate"];
        let call = self.call("for-each-ref").args(args).arg(format!("--count={MAX_TAGS}"));
        call.arg(format!("--merged={commit}")).args(["--", "refs/tags/"]).ok().await
    }

    /// Whether objects or refs of the mirror are damaged, as far as git can tell by following all
    /// refs.
    pub async fn is_damaged(&self) -> bool {
        self.finds_damage(&["--connectivity-only"]).await
    }

    /// As [`Mirror::is_damaged`], but git also reads the content of every object, which takes long
    /// in a large repository.
    pub async fn has_damaged_files(&self) -> bool {
        self.finds_damage(&[]).await
    }

    async fn finds_damage(&self, how: &[&str]) -> bool {
        let args = ["--no-dangling", "--no-reflogs", "--no-progress"];
        let long = self.git.limits().network;
        match self.call("fsck").args(args).args(how).timeout(long).run().await {
            Ok(output) => output.code != 0,
            Err(_) => false,
        }
    }

    /// Makes the mirror anew from the remote. Only to be called while no clone borrows from it: a
    /// clone would lose the objects that it has not got itself.
    pub async fn remake(&self) -> Result<(), GitError> {
        let aside = beside(&self.dir, ".damaged");
        {
            let _lock = MirrorLock::take(&self.git, &self.dir).await?;
            remove_tree(&aside)?;
            match std::fs::rename(&self.dir, &aside) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                moved => moved.map_err(|error| GitError::io("move", &self.dir, error))?,
            }
        }
        self.ensure().await?;
        remove_tree(&aside)
    }

    /// Returns the remote's folder if it is a work tree on this machine with a branch checked out,
    /// which is then its default branch, and git there refuses pushes to that branch, as it does
    /// unless it is configured otherwise.
    pub async fn checked_out(&self) -> Result<Option<PathBuf>, GitError> {
        let Some(dir) = self.remote.folder() else { return Ok(None) };
        let inside = dir.join(".git");
        let Ok(head) = std::fs::read_to_string(inside.join("HEAD")) else { return Ok(None) };
        if !head.starts_with("ref: refs/heads/") {
            return Ok(None);
        }
        let config = inside.join("config");
        let args = ["--file".as_ref(), config.as_os_str()];
        let call = self.git.call("config").args(args).args(["--get", "receive.denyCurrentBranch"]);
        let told = call.run().await?;
        let told = String::from_utf8_lossy(&told.stdout).trim().to_ascii_lowercase();
        let takes = matches!(told.as_str(), "updateinstead" | "ignore" | "warn" | "false");
        Ok((!takes).then_some(dir))
    }

    /// Whether the mirror has so many packs or loose objects that repacking is worth it.
    pub fn is_untidy(&self) -> bool {
        let count = |dir: PathBuf, counts: fn(&[u8]) -> bool| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.filter(|entry| counts(entry.file_name().as_encoded_bytes())).count()
        };
        let packs = count(self.objects().join("pack"), |name| name.ends_with(b".pack"));
        // Object ids are spread evenly, so one of the 256 folders stands for all.
        let loose = count(self.objects().join("17"), |_| true) * 256;
        packs > PACKS || loose > LOOSE
    }

    /// Repacks the mirror. Unreachable objects older than two weeks are dropped if no run has a ref
    /// here. A clone only borrows once its run has a ref, and the lock keeps new refs out
    /// meanwhile.
    pub async fn tidy(&self) -> Result<(), GitError> {
        let lock = MirrorLock::take(&self.git, &self.dir).await?;
        let long = self.git.limits().network;
        sweep_scratch(&self.dir)?;
        let args = ["--count=1", "--format=%(refname)", "--", "refs/afk/"];
        let clones_live = !self.call("for-each-ref").args(args).ok().await?.is_empty();
        self.call("pack-refs").arg("--all").under_lock(&lock).ok().await?;
        let keep: &[&str] =
            if clones_live { &["-k"] } else { &["-A", "--unpack-unreachable=2.weeks.ago"] };
        let repack = self.call("repack").args(["-a", "-d", "-l", "-q"]).args(keep);
        repack.under_lock(&lock).timeout(long).ok().await?;
        if !clones_live {
            let prune = self.call("prune").arg("--expire=2.weeks.ago");
            prune.under_lock(&lock).timeout(long).ok().await?;
        }
        Ok(())
    }

    /// Returns the git program, for operations in other files of this module.
    pub(crate) fn git(&self) -> &Git {
        &self.git
    }

    /// Begins to build a command on this mirror.
    pub(crate) fn call(&self, name: &'static str) -> Call<'_> {
        self.git.call(name).git_dir(&self.dir)
    }

    /// Resolves a full ref or an object expression; `None` if it names nothing. `text` must not
    /// come from outside.
    pub(crate) async fn resolve(&self, text: &str) -> Result<Option<Oid>, GitError> {
        let args = ["--verify", "--quiet", "--end-of-options", text];
        let output = self.call("rev-parse").args(args).run().await?;
        match output.code {
            0 => one_oid("rev-parse", &output.stdout).map(Some),
            1 => Ok(None),
            code => Err(GitError::from_stderr("rev-parse", None, code, &output.stderr)),
        }
    }

    /// Runs a command that answers with exit code 0 for yes or 1 for no.
    async fn yes_or_no(&self, call: Call<'_>) -> Result<bool, GitError> {
        let output = call.run().await?;
        match output.code {
            0 => Ok(true),
            1 => Ok(false),
            code => Err(GitError::from_stderr("merge-base", None, code, &output.stderr)),
        }
    }

    async fn ls_remote(&self, patterns: &[&str]) -> Result<Advertised, GitError> {
        let credential = self.credential().await?;
        let call = self.git.call("ls-remote").remote(&self.remote, credential.as_ref());
        let args = ["--symref", "--", self.remote.as_str()];
        let lines = call.args(args).args(patterns).ok().await?;
        Ok(Advertised::parse(&lines))
    }

    /// Fetches what these refspecs name, and removes what is gone of that.
    async fn fetch_refs(
        &self,
        lock: &MirrorLock,
        refspecs: &[&str],
        limit: Duration,
    ) -> Result<(), GitError> {
        let credential = self.credential().await?;
        self.call("fetch")
            .under_lock(lock)
            .remote(&self.remote, credential.as_ref())
            .timeout(limit)
            .config("fetch.unpackLimit=1")
            .args(["--quiet", "--prune", "--no-tags", "--no-write-fetch-head"])
            .args(["--no-auto-maintenance", "--no-recurse-submodules", "--"])
            .arg(self.remote.as_str())
            .args(refspecs)
            .ok()
            .await
            .map(drop)
    }

    /// Returns the credential of the remote as it is now; `None` if there is none or the remote may
    /// not be sent one.
    pub(super) async fn credential(&self) -> Result<Option<Credential>, GitError> {
        match self.login.as_ref().filter(|_| self.remote.takes_credential()) {
            Some(login) => login.credential().await.map_err(GitError::NoCredential),
            None => Ok(None),
        }
    }

    fn is_made(&self) -> bool {
        self.dir.symlink_metadata().is_ok_and(|m| m.is_dir())
    }
}

/// Returns the full name of a run's own ref; an error if git would refuse the name.
pub(crate) fn ref_of(run: RunId, name: &str) -> Result<String, GitError> {
    head_ref(name)?;
    Ok(format!("refs/afk/{run}/{name}"))
}

/// Parses output that is one object id on one line.
pub(crate) fn one_oid(command: &'static str, bytes: &[u8]) -> Result<Oid, GitError> {
    let text = String::from_utf8_lossy(bytes);
    text.trim().parse().map_err(|e| GitError::Unexpected { command, detail: format!("{e}") })
}

/// Renames a finished folder to its final name, after its content was synced to disk.
pub(crate) fn publish(making: &Path, dir: &Path) -> Result<(), GitError> {
    let failed = |source| GitError::io("publish", dir, source);
    let folder = std::fs::File::open(making).map_err(failed)?;
    rustix::fs::syncfs(&folder).map_err(|e| failed(e.into()))?;
    std::fs::rename(making, dir).map_err(failed)?;
    let parent = dir.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(parent).and_then(|p| p.sync_all()).map_err(failed)
}
