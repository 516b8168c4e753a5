//! The engine's git port, on top of mirrors, run clones and boxed `upload-pack`.
//!
//! The wiring gives it to the engine, whose passes and housekeeping call it. It puts the parts of
//! [`git`] together and converts their results; how each command runs is decided there.
//!
//! - Agents write to run clones, so clones are not trusted: what comes out of one is read by
//!   `upload-pack` in a box that sees the clone and the mirror's objects, both read-only.
//!   Everything else works on the mirror, to which agents cannot write.
//! - Any call may be repeated after a crash. What a run decided once, such as the head that it
//!   begins at, is kept in a ref of the run and found again there.
//! - A push is never repeated here. If its answer is lost, the result is [`Push::Unknown`], and the
//!   engine looks at the remote.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::change::{Blob, Blobs, TreePath};
use afk_core::ids::{IssueRef, Oid, RepoName, RunId};
use afk_core::proof::TreeRecipe;
use afk_core::run::UnfinishedWork;
use afk_engine::ports::{
    CommitSpec, CommitText, FetchedHead, FileAt, Git, LandingSearch, Merge, PortError, PortResult,
    Prepared, Push,
};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::executor::keep_transcripts;
use super::git::{
    self, At, BlobLimits, Entry, GitError, Identity, MergeOutcome, Mirror, Mode, Note, PushOutcome,
    RunClone, Unsupported, UploadPack, Workspaces, branch_name,
};
use super::git_words::{blocking, fault, of_clone, text_of};
use super::jobs::stage_id;
use super::world::{FREE, Local};

/// Maximum size of all blobs of one change together, in bytes.
const ALL_BLOBS: u64 = 256 << 20;
/// How long a push may still take that is in progress when a halt comes.
const PUSH_GRACE: std::time::Duration = std::time::Duration::from_secs(5);
/// The name of the ref of a run that keeps the head of the ended run that it continues.
const RESUMED: &str = "resumed";
/// Name and address of the author of the agent's commits, unless the agent sets others.
const AGENT: (&str, &str) = ("afk agent", "agent@afk.invalid");

/// The git port on this machine.
pub struct LocalGit {
    local: Local,
}

impl LocalGit {
    /// Returns the git port that works in the folders of `local`.
    pub fn new(local: Local) -> Self {
        Self { local }
    }

    /// Returns `upload-pack` in a box that sees the clone and the mirror's objects, read-only. If
    /// this machine has no box that is strong enough, the error is transient, so that the run
    /// waits.
    async fn upload_pack(&self, mirror: &Mirror, clone: &RunClone) -> PortResult<UploadPack> {
        let (objects, requirement) = (mirror.objects(), self.local.requirement());
        let found = self.local.sandbox.look(requirement).await?;
        let paths: [&std::path::Path; 2] = [&clone.dir, &objects];
        let reader = found.reader(&self.local.program, requirement, &paths);
        reader.map(UploadPack::boxed).map_err(PortError::transient)
    }

    async fn clone_of(&self, repo: &RepoName, run: RunId, mirror: &Mirror) -> PortResult<RunClone> {
        let folders = self.local.workspaces.run(run);
        let found = RunClone::find(mirror, run, &folders.clone).await.map_err(fault)?;
        found.ok_or_else(|| {
            PortError::permanent(format!(
                "the workspace of run {run} on {repo} is gone ({}); its work cannot be landed",
                folders.clone.display()
            ))
        })
    }

    /// Removes the workspace of an ended run; the commits of one that is `retriable` stay.
    async fn clean_one(&self, run: RunId, note: &Note, retriable: bool) -> PortResult<()> {
        let stays = note.repo.clone().filter(|_| retriable);
        if stays.is_some() && note.commits_alone {
            return Ok(());
        }
        if let Err(error) = keep_transcripts(&self.local, run).await {
            // The limit on disk space still applies.
            tracing::warn!(run.id = %run, error = error.chain(), "transcript not kept");
        }
        let (workspaces, jobs) = (self.local.workspaces.clone(), self.local.jobs(run));
        if let Some(repo) = stays {
            blocking(move || {
                git::remove_tree(&jobs)?;
                workspaces.strip(run, &repo)
            })
            .await?;
            tracing::info!(run.id = %run, "kept workspace removed: the limit is reached; its commits stay for a retry");
            return Ok(());
        }
        blocking(move || {
            workspaces.remove_run(run)?;
            git::remove_tree(&jobs)
        })
        .await?;
        tracing::info!(run.id = %run, "kept workspace removed: the limit is reached");
        let own = self.local.own();
        let noted = note.repo.as_ref();
        // If the run's repo was not recorded, the run's refs may be in any mirror.
        for repo in noted.into_iter().chain(own.repos.keys().filter(|_| noted.is_none())) {
            // A failure in one repo must not stop the others.
            match self.local.mirror(repo) {
                Ok(mirror) if mirror.dir().is_dir() => {
                    mirror.forget(run).await.map_err(fault)?;
                }
                Ok(_) => {}
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(repo = %repo, error, "could not look for the run's refs");
                }
            }
        }
        Ok(())
    }
}

/// Brings the mirror up to date, and returns the default branch of its remote with its head.
async fn newest(mirror: &Mirror) -> PortResult<Prepared> {
    mirror.ensure().await.map_err(fault)?;
    let branch = mirror.default_branch().await.map_err(fault)?;
    mirror.fetch().await.map_err(fault)?;
    let head = mirror.known_head(&branch).await.map_err(fault)?;
    let base = head.ok_or_else(|| {
        PortError::permanent(format!("{} has no branch {branch}", mirror.remote()))
    })?;
    Ok(Prepared { branch, base, on: None })
}

/// Returns the commit that the workspace of `run` begins at instead of `base`: `on`, the head of
/// the ended run that it continues, unless the mirror does not have it or `base` contains it. The
/// decision is kept in a ref of the run, where a repetition finds it.
async fn standing_on(
    mirror: &Mirror,
    run: RunId,
    is_new: bool,
    base: &Oid,
    on: &Oid,
) -> Result<Option<Oid>, GitError> {
    if let Some(kept) = mirror.run_ref(run, RESUMED).await? {
        return Ok(Some(kept));
    }
    if !is_new || !mirror.has(on).await? || mirror.stands_on(base, on).await? {
        return Ok(None);
    }
    mirror.keep(run, RESUMED, on).await?;
    Ok(Some(on.clone()))
}

/// The clone in which a run begins.
struct Start<'a> {
    run: RunId,
    clone: &'a std::path::Path,
    /// The branch that the run works on.
    name: &'a str,
    /// The head of the ended run that it continues.
    on: Option<&'a Oid>,
}

impl Start<'_> {
    /// Whether the run has no clone yet.
    fn is_new(&self) -> bool {
        let seen = self.clone.symlink_metadata();
        seen.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    }

    /// Creates the clone, or returns why the repository cannot be worked.
    async fn begin(
        &self,
        mirror: &Mirror,
        found: &Prepared,
    ) -> Result<Result<Prepared, Unsupported>, GitError> {
        let base = &found.base;
        if let Some(why) = mirror.unsupported(base).await? {
            return Ok(Err(why));
        }
        let on = match self.on {
            Some(on) => standing_on(mirror, self.run, self.is_new(), base, on).await?,
            None => None,
        };
        let at = At { base, head: on.as_ref().unwrap_or(base) };
        let agent = Identity::new(AGENT.0, AGENT.1);
        let made = RunClone::create_at(mirror, self.run, self.clone, at, self.name, &agent).await?;
        Ok(Ok(Prepared { branch: found.branch.clone(), base: made.base, on }))
    }
}

fn merge_of(merged: MergeOutcome) -> Merge {
    match merged {
        MergeOutcome::Clean { tree } => Merge::Clean { tree },
        MergeOutcome::Conflict { paths } => Merge::Conflict {
            paths: paths.iter().map(|path| String::from_utf8_lossy(path).into()).collect(),
        },
        MergeOutcome::Unrelated => {
            Merge::Conflict { paths: vec!["(the histories have no commit in common)".to_owned()] }
        }
    }
}

#[async_trait]
impl Git for LocalGit {
    fn remote(&self, repo: &RepoName) -> String {
        let own = self.local.own();
        let table = own.repos.get(repo);
        table.map_or_else(|| "the remote".to_owned(), |table| table.remote.clone())
    }

    async fn prepare(
        &self,
        repo: &RepoName,
        issue: &IssueRef,
        run: RunId,
        on: Option<&Oid>,
        cancel: &CancellationToken,
    ) -> PortResult<Prepared> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        self.local.workspaces.require_space(FREE).map_err(fault)?;
        let folders = self.local.workspaces.prepare(run).map_err(fault)?;
        let name = branch_name(issue.number, run);
        let start = Start { run, clone: &folders.clone, name: &name, on };
        // While the run has no clone, the mirror can be made anew: no other run of the repo is
        // live, so no clone borrows from the mirror.
        let anew = async |error: &str| {
            tracing::warn!(repo = %repo, error, "mirror damaged; making a new one");
            mirror.remake().await.map_err(fault)?;
            newest(&mirror).await
        };
        let found = match newest(&mirror).await {
            Err(error) if start.is_new() && mirror.is_damaged().await => {
                anew(&error.chain()).await?
            }
            found => found?,
        };
        let begun = match start.begin(&mirror, &found).await {
            Err(error)
                if error.may_be_damage() && start.is_new() && mirror.has_damaged_files().await =>
            {
                let found = anew(&error.to_string()).await?;
                start.begin(&mirror, &found).await
            }
            begun => begun,
        };
        begun.map_err(fault)?.map_err(|found| {
            let (name, remedy) = (found.name(), found.remedy());
            PortError::permanent(format!(
                "{repo} cannot be worked because of {name}: {found}; {remedy}"
            ))
        })
    }

    async fn prepare_mirror(
        &self,
        repo: &RepoName,
        cancel: &CancellationToken,
    ) -> PortResult<Prepared> {
        self.local.workspaces.require_space(FREE).map_err(fault)?;
        newest(&self.local.mirror(repo)?.under(cancel.clone())).await
    }

    async fn fetch_head(
        &self,
        repo: &RepoName,
        run: RunId,
        n: u32,
        cancel: &CancellationToken,
    ) -> PortResult<FetchedHead> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        let clone = self.clone_of(repo, run, &mirror).await?;
        let upload_pack = self.upload_pack(&mirror, &clone).await?;
        let shown = clone.advertised(&mirror, &upload_pack).await.map_err(of_clone)?;
        let head =
            clone.fetch_head(&mirror, run, &n.to_string(), &upload_pack).await.map_err(of_clone)?;
        let mask = self.local.mask().await;
        let unfinished = clone.unfinished(&mirror, run, &shown).await.map_err(fault)?;
        let masked = |one| match one {
            UnfinishedWork::Branch { branch } => {
                UnfinishedWork::Branch { branch: mask.text(&branch).into_owned() }
            }
            other @ (UnfinishedWork::OwnBranch { .. }
            | UnfinishedWork::Operation { .. }
            | UnfinishedWork::Stash) => other,
        };
        let unfinished = unfinished.into_iter().map(masked).collect();
        let mut elsewhere = Vec::new();
        for (name, oid) in shown.elsewhere(&clone.base) {
            if !mirror.stands_on(&head, oid).await.map_err(fault)? {
                elsewhere.push(mask.text(name).into_owned());
            }
        }
        Ok(FetchedHead { head, elsewhere, unfinished })
    }

    async fn keep_head(
        &self,
        repo: &RepoName,
        run: RunId,
        name: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Oid> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        let clone = self.clone_of(repo, run, &mirror).await?;
        let upload_pack = self.upload_pack(&mirror, &clone).await?;
        clone.fetch_head(&mirror, run, name, &upload_pack).await.map_err(of_clone)
    }

    async fn remote_head(&self, repo: &RepoName, cancel: &CancellationToken) -> PortResult<Oid> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        mirror.remote_head().await.map_err(fault)
    }

    async fn default_head(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Oid> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        mirror.fetch().await.map_err(fault)?;
        mirror.known_head(branch).await.map_err(fault)?.ok_or_else(|| {
            PortError::permanent(format!("{} no longer has a branch {branch}", mirror.remote()))
        })
    }

    async fn file_at(
        &self,
        repo: &RepoName,
        commit: &Oid,
        path: &str,
        limit: u64,
    ) -> PortResult<FileAt> {
        let found = self.local.mirror(repo)?.blob_at(commit, path, limit).await.map_err(fault)?;
        Ok(match found {
            git::BlobAt::Absent => FileAt::Absent,
            git::BlobAt::File(bytes) => FileAt::File(bytes),
            git::BlobAt::TooLarge { size } => FileAt::TooLarge { size },
            git::BlobAt::NotPlain { mode } => FileAt::NotPlain { mode },
        })
    }

    async fn links(
        &self,
        repo: &RepoName,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>> {
        self.local.mirror(repo)?.links(commit, paths).await.map_err(fault)
    }

    async fn contents(
        &self,
        repo: &RepoName,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
        limit: u64,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>> {
        self.local.mirror(repo)?.file_contents(commit, paths, limit).await.map_err(fault)
    }

    async fn merge(&self, repo: &RepoName, base: &Oid, head: &Oid) -> PortResult<Merge> {
        let merged = self.local.mirror(repo)?.merge(base, head).await.map_err(fault)?;
        Ok(merge_of(merged))
    }

    async fn transplant(
        &self,
        repo: &RepoName,
        onto: &Oid,
        from: &Oid,
        head: &Oid,
    ) -> PortResult<Merge> {
        let made = self.local.mirror(repo)?.transplant(onto, from, head).await.map_err(fault)?;
        Ok(merge_of(made))
    }

    async fn contains(&self, repo: &RepoName, commit: &Oid, below: &Oid) -> PortResult<bool> {
        self.local.mirror(repo)?.stands_on(commit, below).await.map_err(fault)
    }

    async fn commit(&self, repo: &RepoName, spec: &CommitSpec) -> PortResult<Oid> {
        let author = Identity::new(&spec.author.0, &spec.author.1);
        let committer = Identity::new("afk", "afk@localhost");
        let (message, at) = (spec.message.as_bytes(), spec.at.as_second());
        let mirror = self.local.mirror(repo)?;
        let made =
            mirror.commit_tree(&spec.tree, &spec.parents, message, &author, &committer, at).await;
        made.map_err(fault)
    }

    async fn keep(&self, repo: &RepoName, run: RunId, name: &str, commit: &Oid) -> PortResult<()> {
        self.local.mirror(repo)?.keep(run, name, commit).await.map_err(fault)
    }

    async fn message(&self, repo: &RepoName, commit: &Oid) -> PortResult<String> {
        let raw = self.local.mirror(repo)?.commit_of(commit).await.map_err(fault)?;
        Ok(String::from_utf8_lossy(&raw.message).into_owned())
    }

    async fn tree(&self, repo: &RepoName, commit: &Oid) -> PortResult<Oid> {
        self.local.mirror(repo)?.tree_of(commit).await.map_err(fault)
    }

    async fn raw_diff(&self, repo: &RepoName, old: &Oid, new: &Oid) -> PortResult<Vec<u8>> {
        self.local.mirror(repo)?.raw_diff(old, new).await.map_err(fault)
    }

    async fn ignored(
        &self,
        repo: &RepoName,
        base: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeSet<TreePath>> {
        self.local.mirror(repo)?.ignored(base, paths).await.map_err(fault)
    }

    async fn blobs(&self, repo: &RepoName, ids: &BTreeSet<Oid>, limit: u64) -> PortResult<Blobs> {
        let ids: Vec<Oid> = ids.iter().cloned().collect();
        let limits = BlobLimits { each: limit, total: ALL_BLOBS };
        let found = self.local.mirror(repo)?.blobs(&ids, limits).await.map_err(fault)?;
        let known = ids.into_iter().zip(found).filter_map(|(id, blob)| match blob {
            git::Blob::Bytes(bytes) => Some((id, Blob::Content(bytes))),
            git::Blob::TooLarge { size } => Some((id, Blob::Oversize(size))),
            // For the judges, a blob that is missing here counts as unreadable.
            git::Blob::NotABlob | git::Blob::Missing => None,
        });
        Ok(known.collect())
    }

    async fn commits(
        &self,
        repo: &RepoName,
        base: &Oid,
        head: &Oid,
    ) -> PortResult<Vec<CommitText>> {
        let commits = self.local.mirror(repo)?.commits(base, head).await.map_err(fault)?;
        let mask = self.local.mask().await;
        Ok(commits.into_iter().rev().map(|commit| text_of(commit, &mask)).collect())
    }

    async fn descendants(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        at_most: usize,
    ) -> PortResult<Vec<CommitText>> {
        let mirror = self.local.mirror(repo)?;
        let after = mirror.descendants(branch, commit, at_most).await.map_err(fault)?;
        let mask = self.local.mask().await;
        Ok(after.into_iter().map(|commit| text_of(commit, &mask)).collect())
    }

    async fn compose(&self, repo: &RepoName, start: &Oid, recipe: &TreeRecipe) -> PortResult<Oid> {
        if recipe.is_plain() {
            return Ok(start.clone());
        }
        let mirror = self.local.mirror(repo)?;
        let mode_of = |path: &TreePath, mode: afk_core::change::Mode| {
            let octal = mode.octal();
            Mode::parse(octal)
                .ok_or_else(|| PortError::permanent(format!("{path} has the unknown mode {octal}")))
        };
        let mut entries = Vec::with_capacity(recipe.take.len() + recipe.write.len());
        for (path, entry) in &recipe.take {
            let object = match entry {
                Some(entry) => Some((mode_of(path, entry.mode)?, entry.oid.clone())),
                None => None,
            };
            entries.push(Entry { path: path.bytes().to_vec(), object });
        }
        let mut written: BTreeMap<&[u8], Oid> = BTreeMap::new();
        for (path, mode, content) in &recipe.write {
            let id = match written.get(content.as_slice()) {
                Some(id) => id.clone(),
                None => mirror.write_blob(content).await.map_err(fault)?,
            };
            written.insert(content, id.clone());
            let object = Some((mode_of(path, *mode)?, id));
            entries.push(Entry { path: path.bytes().to_vec(), object });
        }
        mirror.compose(start, &entries).await.map_err(fault)
    }

    async fn push(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        cancel: &CancellationToken,
    ) -> PortResult<Push> {
        if cancel.is_cancelled() {
            return Err(fault(GitError::Cancelled { command: "push" }));
        }
        // A push that is in progress when a halt comes gets a moment to end by itself.
        let late = CancellationToken::new();
        let mirror = self.local.mirror(repo)?.under(late.clone());
        let push = mirror.push(commit, branch);
        tokio::pin!(push);
        let pushed = tokio::select! {
            pushed = &mut push => pushed,
            () = async {
                cancel.cancelled().await;
                tokio::time::sleep(PUSH_GRACE).await;
            } => {
                late.cancel();
                push.await
            }
        };
        Ok(match pushed.map_err(fault)? {
            PushOutcome::Landed => Push::Landed,
            PushOutcome::Moved => Push::Moved,
            PushOutcome::Refused(why) => Push::Refused { why: why.to_string() },
            PushOutcome::Unknown { why } => {
                tracing::warn!(repo = %repo, why, "no answer to the push: reading the remote");
                Push::Unknown { why }
            }
        })
    }

    async fn head(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        mirror.head(branch).await.map_err(fault)
    }

    async fn remove_branch(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<()> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        mirror.remove_try(branch).await.map_err(fault)
    }

    async fn landed(
        &self,
        repo: &RepoName,
        branch: &str,
        tried: &LandingSearch<'_>,
        cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>> {
        let LandingSearch { run, attempt, candidate, base } = *tried;
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        mirror.fetch().await.map_err(fault)?;
        if mirror.contains(candidate, branch).await.map_err(fault)? {
            return Ok(Some(candidate.clone()));
        }
        mirror.find_trailer(branch, run, attempt, base).await.map_err(fault)
    }

    async fn release(
        &self,
        repo: &RepoName,
        run: RunId,
        judged: &[Oid],
        forensics: bool,
    ) -> PortResult<()> {
        let mirror = self.local.mirror(repo)?;
        let folders = self.local.workspaces.run(run);
        let checkouts = folders.checkouts.clone();
        let removed = blocking(move || git::remove_tree(&checkouts)).await;
        if forensics {
            // Even if that failed: whoever removes the rest later must know the repo.
            let (workspaces, repo) = (self.local.workspaces.clone(), repo.clone());
            blocking(move || {
                workspaces.keep(run, &repo);
                Ok(())
            })
            .await?;
        }
        removed?;
        for commit in judged {
            mirror.forget(stage_id(run, commit)).await.map_err(fault)?;
        }
        if forensics {
            return Ok(());
        }
        if let Err(error) = keep_transcripts(&self.local, run).await {
            // This does not hold the repo: the workspace stays until it is removed for space.
            let error = error.chain();
            tracing::warn!(run.id = %run, error, "transcript not kept: its workspace stays");
            return Ok(());
        }
        let (workspaces, jobs) = (self.local.workspaces.clone(), self.local.jobs(run));
        blocking(move || {
            workspaces.remove_run(run)?;
            git::remove_tree(&jobs)
        })
        .await?;
        mirror.forget(run).await.map_err(fault)
    }

    async fn clean(&self, live: &BTreeSet<RunId>, retriable: &BTreeSet<RunId>) -> PortResult<()> {
        let limit = self.local.own().kept_workspaces_gib << 30;
        let (workspaces, live) = (self.local.workspaces.clone(), live.clone());
        let kept = blocking(move || workspaces.kept(&live)).await?;
        let surplus = Workspaces::surplus(&kept, limit);
        let spent = kept.iter().filter(|one| one.note.commits_alone);
        let spent = spent.filter(|one| !retriable.contains(&one.run));
        let gone: BTreeMap<RunId, Note> =
            surplus.iter().chain(spent).map(|one| (one.run, one.note.clone())).collect();
        let mut failed = None;
        for (run, note) in gone {
            // One that cannot be removed must not keep the others on the disk.
            if let Err(error) = self.clean_one(run, &note, retriable.contains(&run)).await {
                if failed.is_none() {
                    failed = Some(error);
                } else {
                    let error = error.chain();
                    tracing::warn!(run.id = %run, error, "another kept workspace not cleaned");
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn tidy(&self, repo: &RepoName, cancel: &CancellationToken) -> PortResult<bool> {
        let mirror = self.local.mirror(repo)?.under(cancel.clone());
        if !mirror.is_untidy() {
            return Ok(false);
        }
        mirror.tidy().await.map_err(fault)?;
        Ok(true)
    }
}
