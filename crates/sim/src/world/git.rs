//! Git as data: blobs, trees and commits under ids made from their content, and remotes as the head
//! of their default branch. Merges are three-way by path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use afk_core::change::{Blob, Blobs, TreePath};
use afk_core::digest::Digest;
use afk_core::ids::{Oid, RepoName, RunId};
use afk_core::message::{ATTEMPT_TRAILER, RUN_TRAILER, trailer};
use afk_core::proof::TreeRecipe;
use afk_engine::ports::{
    CommitSpec, CommitText, FileAt, Merge, PortError, PortErrorKind, PortResult, Push,
};

use super::{Workspace, World};

/// What is said of a push whose answer was lost.
const LOST: &str = "the connection broke";

/// The name of every default branch here, until people choose another.
const BRANCH: &str = "main";

/// A file whose text begins with this stands for a symbolic link.
pub(crate) const LINK: &str = "LINK-TO ";
/// The files of a tree: path and blob.
type Entries = BTreeMap<String, Oid>;

/// Paths and contents.
pub type Files = BTreeMap<String, String>;

/// A commit without its date, which only its id depends on.
#[derive(Debug, Clone)]
pub struct GitCommit {
    /// Id of the tree.
    pub tree: Oid,
    /// Ids of the parents, first parent first.
    pub parents: Vec<Oid>,
    /// The whole message, with its trailers.
    pub message: String,
    /// Name and address of the author.
    pub author: (String, String),
}

/// How one push to a default branch ends, where not normally.
#[derive(Debug, Clone)]
pub enum PushFate {
    /// Somebody else lands these files first.
    Overtaken(Vec<(&'static str, &'static str)>),
    /// It lands, and somebody else lands these files on top at once.
    Followed(Vec<(&'static str, &'static str)>),
    /// It lands, but the answer is lost.
    LandedUnknown,
    /// It does not land, and the answer is lost, too.
    LostUnknown,
    /// It lands, and people take it out of the branch again at once.
    TakenOut,
    /// The remote refuses it, and says why.
    Refused(&'static str),
}

/// The remotes, the mirrors and the workspaces of all repos.
#[derive(Debug, Clone, Default)]
pub struct GitWorld {
    /// Texts of files.
    pub blobs: BTreeMap<Oid, String>,
    /// The paths of each tree, with their blobs.
    pub trees: BTreeMap<Oid, BTreeMap<String, Oid>>,
    /// Commits of all repos.
    pub commits: BTreeMap<Oid, GitCommit>,
    /// Heads of the default branches on the remotes.
    pub remotes: BTreeMap<RepoName, Oid>,
    /// Repos whose remote refuses access until somebody renews the key.
    pub shut: BTreeSet<RepoName>,
    /// Repos whose remote does not answer, as long as they are in it.
    pub hanging: BTreeSet<RepoName>,
    /// The servers of remotes that are on one; any other remote is a path.
    pub servers: BTreeMap<RepoName, String>,
    /// Repos whose remote no longer exists.
    pub gone: BTreeSet<RepoName>,
    /// The names of default branches that are no longer `main`. Such a branch stands where `main`
    /// stands, unless it has a head of its own among `branches`.
    pub switched: BTreeMap<RepoName, String>,
    /// Repos whose remote no longer has a branch `main`, because it was renamed.
    pub renamed: BTreeSet<RepoName>,
    /// Repos whose remote refuses every push, each with what it says.
    pub refusing: BTreeMap<RepoName, String>,
    /// Heads of the remotes' other branches, by repo and name.
    pub branches: BTreeMap<(RepoName, String), Oid>,
    /// Commits that people took out of a default branch by force.
    pub purged: BTreeSet<Oid>,
    /// Commits that somebody else pushed under the trailer of a run.
    pub foreign: BTreeSet<Oid>,
    /// Every commit that the loop pushed to a default branch, oldest first.
    pub past_heads: Vec<Oid>,
    /// The clones of runs.
    pub workspaces: BTreeMap<RunId, Workspace>,
    /// Heads that were kept under a name, by run and name.
    pub kept: BTreeMap<(RunId, String), Oid>,
    /// Runs whose workspaces were kept for people to look at.
    pub forensics: BTreeSet<RunId>,
    /// The live runs that the last cleanup was told of: their workspaces stay.
    pub spared: BTreeSet<RunId>,
    /// The retriable runs that the last cleanup was told of: their commits stay.
    pub retriable: BTreeSet<RunId>,
    /// Commits that the mirrors no longer have.
    pub lost: BTreeSet<Oid>,
    /// Repos whose mirrors were tidied, in order.
    pub tidied: Vec<RepoName>,
    /// How the next pushes to default branches end, first one first.
    pub fates: VecDeque<PushFate>,
}

impl GitWorld {
    /// The files of a commit.
    pub fn files_of(&self, commit: &Oid) -> Option<Files> {
        self.commits.get(commit).map(|commit| self.files(&commit.tree))
    }

    /// The files of a tree.
    pub fn files(&self, tree: &Oid) -> Files {
        let entries = self.trees.get(tree).into_iter().flatten();
        let text = |oid| self.blobs.get(oid).cloned().unwrap_or_default();
        entries.map(|(path, oid)| (path.clone(), text(oid))).collect()
    }

    /// The default branch along first parents, newest commit first.
    pub fn history(&self, repo: &RepoName) -> Vec<&GitCommit> {
        let mut at = self.remotes.get(repo);
        let mut found = Vec::new();
        while let Some(commit) = at.and_then(|oid| self.commits.get(oid)) {
            found.push(commit);
            at = commit.parents.first();
        }
        found
    }

    /// Whether a default branch has the commit, or had it until people took it out.
    pub(super) fn has_landed(&self, commit: &Oid) -> bool {
        self.purged.contains(commit)
            || self.remotes.values().any(|head| self.ancestors(head).contains(commit))
    }

    pub(super) fn put_tree(&mut self, entries: BTreeMap<String, Oid>) -> Oid {
        let oid = oid(&format!("tree {entries:?}"));
        self.trees.insert(oid.clone(), entries);
        oid
    }

    /// Stores a text, and returns the id of its blob.
    pub(super) fn put_blob(&mut self, text: &str) -> Oid {
        let blob = oid(&format!("blob {text}"));
        self.blobs.insert(blob.clone(), text.to_owned());
        blob
    }

    pub(super) fn put_files<'a>(
        &mut self,
        on: Option<&Oid>,
        files: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Oid {
        let mut entries = on.and_then(|tree| self.trees.get(tree)).cloned().unwrap_or_default();
        for (path, text) in files {
            match text {
                Some(text) => {
                    let blob = self.put_blob(text);
                    entries.insert(path.to_owned(), blob);
                }
                None => {
                    entries.remove(path);
                }
            }
        }
        self.put_tree(entries)
    }

    pub(super) fn put_commit(&mut self, commit: GitCommit, date: &str) -> Oid {
        let oid = oid(&format!("commit {commit:?} {date}"));
        self.commits.insert(oid.clone(), commit);
        oid
    }

    /// `of` and all its ancestors, nearest first.
    fn ancestors(&self, of: &Oid) -> Vec<Oid> {
        let (mut found, mut queue) = (Vec::new(), VecDeque::from([of.clone()]));
        while let Some(next) = queue.pop_front() {
            if !found.contains(&next) {
                let parents = self.commits.get(&next).map(|commit| commit.parents.clone());
                queue.extend(parents.unwrap_or_default());
                found.push(next);
            }
        }
        found
    }

    /// What `commit` brings back of what people took out of a default branch: a commit that it
    /// contains and its first parent does not, or a file as such a commit had brought it, where
    /// that commit was no run's. `commit` itself does not count: that it was taken out between its
    /// push and the next look nobody can see.
    pub(crate) fn brings_back(&self, commit: &Oid) -> Option<String> {
        let parent = self.commits.get(commit)?.parents.first()?.clone();
        let before = self.ancestors(&parent);
        let back = |id: &Oid| id != commit && self.purged.contains(id) && !before.contains(id);
        if let Some(old) = self.ancestors(commit).into_iter().find(back) {
            return Some(format!("the commit {old}"));
        }
        let (now, was) = (self.entries(commit)?, self.entries(&parent)?);
        let theirs = self.purged.iter().filter(|id| {
            let message = self.commits.get(id).map(|one| one.message.as_str());
            message.is_some_and(|message| trailer(message, RUN_TRAILER).is_none())
        });
        for id in theirs {
            let below = self.commits.get(id).and_then(|one| one.parents.first());
            let below = below.and_then(|below| self.entries(below)).unwrap_or_default();
            let brought = self.entries(id)?.into_iter();
            let brought = brought.filter(|(path, blob)| below.get(path) != Some(blob));
            for (path, blob) in brought {
                let holds = |entries: &Entries| entries.get(&path) == Some(&blob);
                if holds(&now) && !holds(&was) {
                    return Some(path);
                }
            }
        }
        None
    }

    /// Whether `below` is `of` or one of its ancestors.
    pub(crate) fn contains(&self, of: &Oid, below: &Oid) -> bool {
        self.ancestors(of).contains(below)
    }

    /// The same as `ancestors`, for the rest of the world.
    pub(super) fn all_of(&self, head: &Oid) -> Vec<Oid> {
        self.ancestors(head)
    }

    fn text_of(&self, id: Oid) -> Option<CommitText> {
        let commit = self.commits.get(&id)?;
        Some(CommitText {
            id,
            parents: commit.parents.clone(),
            author: commit.author.clone(),
            message: commit.message.clone(),
            is_text: true,
            header: Some(header(commit)),
            masked: false,
        })
    }

    fn entries(&self, of: &Oid) -> Option<BTreeMap<String, Oid>> {
        if *of == of.empty_tree() {
            return Some(BTreeMap::new());
        }
        let tree = self.commits.get(of).map_or(of, |commit| &commit.tree);
        self.trees.get(tree).cloned()
    }
}

impl World {
    pub(crate) fn remote_head(&mut self, repo: &RepoName) -> PortResult<Oid> {
        if self.git.shut.contains(repo) {
            let why = format!("the remote of {repo} does not let us in: renew the key");
            return Err(PortError::new(PortErrorKind::Auth, why));
        }
        self.default_head(repo, &self.default_branch(repo))
    }

    /// The name of a remote's default branch now.
    pub(super) fn default_branch(&self, repo: &RepoName) -> String {
        self.git.switched.get(repo).map_or(BRANCH, String::as_str).to_owned()
    }

    /// Whether people renamed the branch, so that nothing is there any more. Real git finds no
    /// commit on it, and fails only if asked for its head.
    pub(crate) fn is_renamed(&self, repo: &RepoName, branch: &str) -> bool {
        branch == BRANCH && self.git.renamed.contains(repo)
    }

    pub(crate) fn default_head(&mut self, repo: &RepoName, branch: &str) -> PortResult<Oid> {
        if self.git.gone.contains(repo) {
            let why = format!("no git repository at the remote of {repo}");
            return Err(PortError::new(PortErrorKind::NotFound, why));
        }
        if self.is_renamed(repo, branch) {
            let why = format!("the remote of {repo} no longer has a branch {branch}");
            return Err(PortError::permanent(why));
        }
        let known = branch == BRANCH || branch == self.default_branch(repo);
        match self.head(repo, branch) {
            Some(head) if known => Ok(head),
            Some(_) | None => Err(self.complain(format!("{repo} has no branch {branch:?}"))),
        }
    }

    pub(crate) fn file_at(&mut self, commit: &Oid, path: &str, limit: u64) -> PortResult<FileAt> {
        let Some(files) = self.git.files_of(commit) else {
            return Err(self.complain(format!("no commit {commit}")));
        };
        Ok(match files.get(path) {
            None => FileAt::Absent,
            Some(text) if text.len() as u64 > limit => FileAt::TooLarge { size: text.len() as u64 },
            Some(text) => FileAt::File(text.clone().into_bytes()),
        })
    }

    /// Those of `paths` that are symbolic links, with their targets; see [`LINK`].
    pub(crate) fn links(
        &mut self,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>> {
        let Some(files) = self.git.files_of(commit) else {
            return Err(self.complain(format!("no commit {commit}")));
        };
        let links = paths.iter().filter_map(|path| {
            let name = String::from_utf8_lossy(path.bytes()).into_owned();
            let target = files.get(&name)?.strip_prefix(LINK)?;
            Some((path.clone(), target.trim_end().as_bytes().to_vec()))
        });
        Ok(links.collect())
    }

    /// The contents of those of `paths` that are plain files and not too large.
    pub(crate) fn contents(
        &mut self,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
        limit: u64,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>> {
        let Some(files) = self.git.files_of(commit) else {
            return Err(self.complain(format!("no commit {commit}")));
        };
        let plain = paths.iter().filter_map(|path| {
            let text = files.get(&String::from_utf8_lossy(path.bytes()).into_owned())?;
            let is_read = !text.starts_with(LINK) && text.len() as u64 <= limit;
            is_read.then(|| (path.clone(), text.clone().into_bytes()))
        });
        Ok(plain.collect())
    }

    pub(crate) fn merge(&mut self, base: &Oid, head: &Oid) -> PortResult<Merge> {
        let theirs = self.git.ancestors(head);
        let common = self.git.ancestors(base).into_iter().find(|oid| theirs.contains(oid));
        let sides = common.and_then(|common| {
            Some((self.git.entries(&common)?, self.git.entries(base)?, self.git.entries(head)?))
        });
        let Some(sides) = sides else {
            return Err(self.complain(format!("{base} and {head} have nothing in common")));
        };
        Ok(self.three_way(sides))
    }

    pub(crate) fn transplant(&mut self, onto: &Oid, from: &Oid, head: &Oid) -> PortResult<Merge> {
        let of = |commit| self.git.entries(commit);
        let sides = of(from).zip(of(onto)).zip(of(head));
        let Some(((from, onto), head)) = sides else {
            return Err(self.complain(format!("no change from {from} to {head}, or no {onto}")));
        };
        Ok(self.three_way((from, onto, head)))
    }

    /// Merges path by path: `old` is what both sides started from, `ours` and `theirs` what each
    /// has.
    fn three_way(&mut self, (old, ours, theirs): (Entries, Entries, Entries)) -> Merge {
        let paths: BTreeSet<&String> = old.keys().chain(ours.keys()).chain(theirs.keys()).collect();
        let (mut merged, mut conflicts) = (BTreeMap::new(), Vec::new());
        for path in paths {
            let (was, left, right) = (old.get(path), ours.get(path), theirs.get(path));
            let taken = if left == right || right == was {
                left
            } else if left == was {
                right
            } else {
                conflicts.push(path.clone());
                left
            };
            if let Some(entry) = taken {
                merged.insert(path.clone(), entry.clone());
            }
        }
        if conflicts.is_empty() {
            Merge::Clean { tree: self.git.put_tree(merged) }
        } else {
            Merge::Conflict { paths: conflicts }
        }
    }

    pub(crate) fn make_commit(&mut self, spec: &CommitSpec) -> PortResult<Oid> {
        let known = spec.parents.iter().all(|parent| self.git.commits.contains_key(parent));
        if !known || !self.git.trees.contains_key(&spec.tree) {
            return Err(self.complain("a commit of what is not there".to_owned()));
        }
        let commit = GitCommit {
            tree: spec.tree.clone(),
            parents: spec.parents.clone(),
            message: spec.message.clone(),
            author: spec.author.clone(),
        };
        Ok(self.git.put_commit(commit, &spec.at.to_string()))
    }

    pub(crate) fn commit_of(&mut self, commit: &Oid) -> PortResult<GitCommit> {
        match self.git.commits.get(commit).cloned() {
            Some(commit) => Ok(commit),
            None => Err(self.complain(format!("no commit {commit}"))),
        }
    }

    pub(crate) fn raw_diff(&mut self, old: &Oid, new: &Oid) -> PortResult<Vec<u8>> {
        let (Some(old), Some(new)) = (self.git.entries(old), self.git.entries(new)) else {
            return Err(self.complain(format!("no diff of {old} and {new}")));
        };
        let zero = "0".repeat(40);
        let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut raw = String::new();
        for path in paths {
            let line = match (old.get(path), new.get(path)) {
                (None, Some(new)) => format!(":000000 100644 {zero} {new} A"),
                (Some(old), None) => format!(":100644 000000 {old} {zero} D"),
                (Some(old), Some(new)) if old != new => format!(":100644 100644 {old} {new} M"),
                (Some(_), Some(_)) | (None, None) => continue,
            };
            raw.extend([&line, "\0", path, "\0"]);
        }
        Ok(raw.into_bytes())
    }

    /// Those of `paths` that are new, and named by a line of the base's `.gitignore`, themselves or
    /// by a folder above them.
    pub(crate) fn ignored(&self, base: &Oid, paths: &BTreeSet<TreePath>) -> BTreeSet<TreePath> {
        let files = self.git.files_of(base).unwrap_or_default();
        let named = files.get(".gitignore").map(String::as_str).unwrap_or_default();
        let ignores = |path: &&TreePath| {
            let mut of = path.folders().chain([path.bytes()]);
            let is_new = !files.contains_key(&path.to_string());
            is_new && of.any(|part| named.lines().any(|line| line.as_bytes() == part))
        };
        paths.iter().filter(ignores).cloned().collect()
    }

    pub(crate) fn blobs(&mut self, ids: &BTreeSet<Oid>) -> PortResult<Blobs> {
        let mut found = Blobs::default();
        for id in ids {
            let Some(text) = self.git.blobs.get(id) else {
                return Err(self.complain(format!("no blob {id}")));
            };
            found.insert(id.clone(), Blob::Content(text.clone().into_bytes()));
        }
        Ok(found)
    }

    pub(crate) fn commits(&mut self, base: &Oid, head: &Oid) -> Vec<CommitText> {
        let known = self.git.ancestors(base);
        let new = self.git.ancestors(head).into_iter().filter(|oid| !known.contains(oid));
        new.filter_map(|id| self.git.text_of(id)).collect()
    }

    pub(crate) fn descendants(&self, head: Oid, commit: &Oid, at_most: usize) -> Vec<CommitText> {
        let mut line = Vec::new();
        let mut at = Some(head);
        while let Some(id) = at.filter(|id| id != commit) {
            at = self.git.commits.get(&id).and_then(|known| known.parents.first().cloned());
            line.push(id);
            if at.is_none() {
                return Vec::new();
            }
        }
        let oldest = line.into_iter().rev().take(at_most);
        oldest.filter_map(|id| self.git.text_of(id)).collect()
    }

    pub(crate) fn compose(&mut self, start: &Oid, recipe: &TreeRecipe) -> PortResult<Oid> {
        let Some(mut entries) = self.git.trees.get(start).cloned() else {
            return Err(self.complain(format!("no tree {start}")));
        };
        for (path, entry) in &recipe.take {
            let path = String::from_utf8_lossy(path.bytes()).into_owned();
            match entry {
                Some(entry) => entries.insert(path, entry.oid.clone()),
                None => entries.remove(&path),
            };
        }
        for (path, _, content) in &recipe.write {
            let path = String::from_utf8_lossy(path.bytes()).into_owned();
            let blob = self.git.put_blob(&String::from_utf8_lossy(content));
            entries.insert(path, blob);
        }
        Ok(self.git.put_tree(entries))
    }

    /// The head of a branch on the remote; none if there is no such branch.
    pub fn head(&self, repo: &RepoName, branch: &str) -> Option<Oid> {
        if self.is_renamed(repo, branch) {
            return None;
        }
        let own = self.git.branches.get(&(repo.clone(), branch.to_owned()));
        let default = || self.git.remotes.get(repo).filter(|_| branch == self.default_branch(repo));
        if branch == BRANCH { self.git.remotes.get(repo) } else { own.or_else(default) }.cloned()
    }

    pub(crate) fn push(&mut self, repo: &RepoName, branch: &str, commit: &Oid) -> Push {
        if let Some(why) = self.git.refusing.get(repo) {
            return Push::Refused { why: why.clone() };
        }
        if branch != BRANCH {
            let at = (repo.clone(), branch.to_owned());
            let head = self.git.branches.get(&at).cloned();
            if head.is_some_and(|head| !self.git.ancestors(commit).contains(&head)) {
                return Push::Moved;
            }
            self.git.branches.insert(at, commit.clone());
            return Push::Landed;
        }
        let fate = self.git.fates.pop_front();
        match &fate {
            Some(PushFate::Overtaken(files)) => {
                self.somebody_lands(repo, files);
            }
            Some(PushFate::LostUnknown) => return Push::Unknown { why: LOST.to_owned() },
            Some(PushFate::Refused(why)) => return Push::Refused { why: (*why).to_owned() },
            Some(PushFate::LandedUnknown | PushFate::Followed(_) | PushFate::TakenOut) | None => {}
        }
        let head = self.git.remotes.get(repo).cloned();
        let forward = head.is_some_and(|head| self.git.ancestors(commit).contains(&head));
        if !forward {
            return Push::Moved;
        }
        self.git.remotes.insert(repo.clone(), commit.clone());
        self.git.past_heads.push(commit.clone());
        if let Some(PushFate::Followed(files)) = &fate {
            self.somebody_lands(repo, files);
        }
        if matches!(fate, Some(PushFate::TakenOut)) {
            self.somebody_rewinds(repo);
        }
        if matches!(fate, Some(PushFate::LandedUnknown)) {
            Push::Unknown { why: LOST.to_owned() }
        } else {
            Push::Landed
        }
    }

    pub(crate) fn landed(
        &self,
        head: &Oid,
        base: &Oid,
        candidate: &Oid,
        run: RunId,
        attempt: u32,
    ) -> Option<Oid> {
        let before = self.git.ancestors(base);
        let since = self.git.ancestors(head).into_iter().filter(|oid| !before.contains(oid));
        let (run, attempt) = (run.to_string(), attempt.to_string());
        let ours = |oid: &Oid| {
            oid == candidate
                || self.git.commits.get(oid).is_some_and(|commit| {
                    trailer(&commit.message, RUN_TRAILER) == Some(&run)
                        && trailer(&commit.message, ATTEMPT_TRAILER) == Some(&attempt)
                })
        };
        let mut since: Vec<Oid> = since.collect();
        // The real one looks for the candidate first, too.
        since.sort_by_key(|oid| oid != candidate);
        since.into_iter().find(ours)
    }
}

/// A commit's header as git writes it, dated 1970.
fn header(commit: &GitCommit) -> String {
    let (name, address) = &commit.author;
    let who = format!("{name} <{address}> 0 +0000");
    let mut lines = vec![format!("tree {}", commit.tree)];
    lines.extend(commit.parents.iter().map(|parent| format!("parent {parent}")));
    lines.extend([format!("author {who}"), format!("committer {who}")]);
    lines.join("\n")
}

fn oid(content: &str) -> Oid {
    let digest = Digest::of(content);
    match digest.as_str()[..40].parse() {
        Ok(oid) => oid,
        Err(error) => panic!("a digest is hex: {error}"),
    }
}
