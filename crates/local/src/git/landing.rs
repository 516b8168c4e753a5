//! Landing: merges without a work tree, makes the commit, pushes it.
//!
//! Everything up to the push is deterministic: equal inputs give equal ids at any time. The push
//! moves one branch, never by force; if its answer is lost, the outcome is [`PushOutcome::Unknown`]
//! and the caller has to read the remote.

use afk_core::ids::Oid;
use afk_core::run::TRY_PREFIX;

use super::clone::head_ref;
use super::error::{GitError, Rejection};
use super::mirror::{Mirror, one_oid};

/// A name and an address for a commit, without the characters that git's format forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    email: String,
}

/// The result of merging two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// The commits merge to this tree.
    Clean {
        /// The merged tree.
        tree: Oid,
    },
    /// The commits conflict.
    Conflict {
        /// The paths in conflict, as bytes, sorted.
        paths: Vec<Vec<u8>>,
    },
    /// The commits have no ancestor in common.
    Unrelated,
}

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// The remote accepted the commit, or had it already.
    Landed,
    /// The branch moved meanwhile; nothing was pushed.
    Moved,
    /// The remote refused; nothing was pushed.
    Refused(Rejection),
    /// The answer was lost: read the remote before anything else.
    Unknown {
        /// What happened instead of an answer.
        why: String,
    },
}

impl Identity {
    /// Makes an identity from a name and an address. Characters that a commit cannot contain are
    /// dropped; if nothing is left, it is `afk` or `afk@localhost`.
    pub fn new(name: &str, email: &str) -> Self {
        let clean = |text: &str, or: &str| {
            let kept: String = text.chars().filter(|c| !c.is_control()).collect();
            let kept = kept.replace(['<', '>'], "");
            // Git strips these from both ends, and refuses an identity that consists of nothing
            // else.
            let kept = kept.trim_matches(|c: char| c <= ' ' || ".,:;\"\\'".contains(c));
            if kept.is_empty() { or.to_owned() } else { kept.chars().take(200).collect() }
        };
        Self { name: clean(name, "afk"), email: clean(email, "afk@localhost") }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address.
    pub fn email(&self) -> &str {
        &self.email
    }
}

impl Mirror {
    /// Merges two commits that the mirror has, without a work tree.
    pub async fn merge(&self, base: &Oid, head: &Oid) -> Result<MergeOutcome, GitError> {
        let args = ["--write-tree", "-z", "--name-only", "--no-messages"];
        let call = self.call("merge-tree").args(args).args([base.as_str(), head.as_str()]);
        let output = call.run().await?;
        let mut parts = output.stdout.split(|b| *b == 0);
        match output.code {
            0 => {
                let tree = one_oid("merge-tree", parts.next().unwrap_or_default())?;
                Ok(MergeOutcome::Clean { tree })
            }
            1 => {
                let listed = parts.skip(1).filter(|p| !p.is_empty()).map(<[u8]>::to_vec);
                let mut paths: Vec<_> = listed.collect();
                paths.sort();
                paths.dedup();
                Ok(MergeOutcome::Conflict { paths })
            }
            _ if output.stderr.contains("unrelated histories") => Ok(MergeOutcome::Unrelated),
            code => Err(GitError::from_stderr("merge-tree", None, code, &output.stderr)),
        }
    }

    /// Applies the change from `from` to `head` to `onto`.
    ///
    /// This merges new commits of the trees of `onto` and `head`, whose only ancestor is a commit
    /// of the tree of `from`, so that history of `from` that `onto` does not have does not come
    /// back. (`merge-tree --merge-base` does the same, but needs git 2.40.)
    pub async fn transplant(
        &self,
        onto: &Oid,
        from: &Oid,
        head: &Oid,
    ) -> Result<MergeOutcome, GitError> {
        let nobody = Identity::new("", "");
        let bare = async |of: &Oid, parents: &[Oid]| {
            let tree = self.tree_of(of).await?;
            self.commit_tree(&tree, parents, b"", &nobody, &nobody, 0).await
        };
        let from = [bare(from, &[]).await?];
        let (onto, head) = (bare(onto, &from).await?, bare(head, &from).await?);
        self.merge(&onto, &head).await
    }

    /// Makes a commit of `tree`, dated `seconds` after 1970. Its id depends on these arguments
    /// only.
    ///
    /// No ref points to the commit yet: [`Mirror::keep`] adds one, once the intent is recorded.
    pub async fn commit_tree(
        &self,
        tree: &Oid,
        parents: &[Oid],
        message: &[u8],
        author: &Identity,
        committer: &Identity,
        seconds: i64,
    ) -> Result<Oid, GitError> {
        let date = format!("@{seconds} +0000");
        let parents = parents.iter().flat_map(|p| ["-p", p.as_str()]);
        let id = self
            .call("commit-tree")
            .config("i18n.commitEncoding=UTF-8")
            .env("GIT_AUTHOR_NAME", author.name())
            .env("GIT_AUTHOR_EMAIL", author.email())
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_NAME", committer.name())
            .env("GIT_COMMITTER_EMAIL", committer.email())
            .env("GIT_COMMITTER_DATE", &date)
            .arg(tree.as_str())
            .args(parents)
            .args(["-F", "-"])
            .input(message.to_vec())
            .ok()
            .await?;
        one_oid("commit-tree", &id)
    }

    /// Pushes exactly `commit` to `branch` of the remote, without force, hooks or tags.
    ///
    /// An error means that nothing was pushed. Cancelling (through [`Mirror::under`]) or exceeding
    /// the time limit during the push gives [`PushOutcome::Unknown`].
    pub async fn push(&self, commit: &Oid, branch: &str) -> Result<PushOutcome, GitError> {
        let full = head_ref(branch)?;
        if self.git().cancel().is_cancelled() {
            return Err(GitError::Cancelled { command: "push" });
        }
        let url = self.remote();
        let credential = self.credential().await?;
        let call = self.call("push").remote(url, credential.as_ref());
        let args = ["--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"];
        let call = call.args(args).args(["--no-force", "--recurse-submodules=no", "--"]);
        let output = match call.args([url.as_str(), &format!("{commit}:{full}")]).run().await {
            Ok(output) => output,
            Err(
                lost @ (GitError::Timeout { .. }
                | GitError::Cancelled { .. }
                | GitError::TooLarge { .. }),
            ) => return Ok(PushOutcome::Unknown { why: lost.to_string() }),
            Err(other) => return Err(other),
        };
        let stdout = String::from_utf8_lossy(&output.stdout);
        if let Some(outcome) = judge(&stdout, &output.stderr) {
            let PushOutcome::Refused(Rejection::Other { message }) = outcome else {
                return Ok(outcome);
            };
            let message = match self.in_the_way(branch).await? {
                Some(name) => format!(
                    "the branch {name} is in the way of {branch}: rename or delete it ({message})"
                ),
                None => message,
            };
            return Ok(PushOutcome::Refused(Rejection::Other { message }));
        }
        match GitError::from_stderr("push", Some(url.as_str()), output.code, &output.stderr) {
            // These come before anything was sent.
            error @ (GitError::AuthFailed { .. }
            | GitError::HostKey { .. }
            | GitError::NotARepository { .. }) => Err(error),
            other => Ok(PushOutcome::Unknown { why: other.to_string() }),
        }
    }

    /// Returns a branch of the remote whose name is a folder of `branch`, so that git cannot have
    /// both.
    async fn in_the_way(&self, branch: &str) -> Result<Option<String>, GitError> {
        for (end, _) in branch.match_indices('/') {
            let folder = branch.get(..end).unwrap_or_default();
            if self.head(folder).await?.is_some() {
                return Ok(Some(folder.to_owned()));
            }
        }
        Ok(None)
    }

    /// Removes a branch below `afk/try/` from the remote; no error if it does not exist.
    ///
    /// Any other branch is refused.
    pub async fn remove_try(&self, branch: &str) -> Result<(), GitError> {
        if !branch.starts_with(TRY_PREFIX) {
            let why = "only a candidate's branch may be removed";
            return Err(GitError::bad_name("the branch", branch, why));
        }
        if self.head(branch).await?.is_none() {
            return Ok(());
        }
        let url = self.remote();
        let args = ["--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"];
        let credential = self.credential().await?;
        let call = self.call("push").remote(url, credential.as_ref()).args(args);
        let call = call.args(["--no-force", "--recurse-submodules=no", "--"]);
        let output = call.args([url.as_str(), &format!(":{}", head_ref(branch)?)]).run().await?;
        // A refusal may mean that somebody else removed the branch meanwhile.
        if output.code == 0 || self.head(branch).await?.is_none() {
            return Ok(());
        }
        Err(GitError::from_stderr("push", Some(url.as_str()), output.code, &output.stderr))
    }
}

/// Parses the one status line of `push --porcelain`; `None` if there is none.
fn judge(stdout: &str, stderr: &str) -> Option<PushOutcome> {
    let (flag, summary) = stdout.lines().find_map(|line| {
        let mut parts = line.split('\t');
        let (flag, refs) = (parts.next()?, parts.next()?);
        refs.contains(":refs/heads/").then(|| (flag, parts.next().unwrap_or_default()))
    })?;
    if matches!(flag, " " | "=" | "*") {
        return Some(PushOutcome::Landed);
    }
    if flag != "!" {
        return None;
    }
    // Git itself rejects before anything is sent, because the branch moved. If the remote could not
    // update the ref, the reason may also be a lock that was left there, or a name in the way.
    if summary.starts_with("[rejected]") {
        return Some(PushOutcome::Moved);
    }
    if !summary.starts_with("[remote rejected]") {
        return None;
    }
    let words: Vec<&str> = stderr
        .lines()
        .filter_map(|l| l.strip_prefix("remote:"))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let reason = summary.trim_start_matches("[remote rejected]").trim().to_owned();
    let message = if words.is_empty() { reason.clone() } else { words.join("; ") };
    let message = message.chars().filter(|c| !c.is_control()).take(2000).collect();
    let protected = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("protected branch") || text.contains("repository rule violations")
    };
    Some(PushOutcome::Refused(if protected(&reason) || words.iter().any(|w| protected(w)) {
        Rejection::Protected { message }
    } else if [&reason, &message].iter().any(|text| text.contains("refusing to allow")) {
        Rejection::Permission { message }
    } else if reason.contains("hook declined") {
        Rejection::Hook { message }
    } else {
        Rejection::Other { message }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, stderr: &str, expected: Option<&PushOutcome>) {
        let stdout = format!("To https://h/o/r\n{line}\nDone\n");
        assert_eq!(judge(&stdout, stderr).as_ref(), expected, "{line:?}");
    }

    #[test]
    fn every_answer_to_a_push_is_told_apart() {
        let refused = PushOutcome::Refused;
        let own = |s: &str| s.to_owned();
        check(" \taa:refs/heads/main\t1..2", "", Some(&PushOutcome::Landed));
        check("=\taa:refs/heads/main\t[up to date]", "", Some(&PushOutcome::Landed));
        check("*\taa:refs/heads/main\t[new branch]", "", Some(&PushOutcome::Landed));
        for why in ["fetch first", "non-fast-forward", "stale info"] {
            let line = format!("!\taa:refs/heads/main\t[rejected] ({why})");
            check(&line, "", Some(&PushOutcome::Moved));
        }
        // The same answer comes if others were faster: whether the branch moved, only its head
        // says.
        check(
            "!\taa:refs/heads/main\t[remote rejected] (failed to update ref)",
            "remote: error: cannot lock ref 'refs/heads/main': Unable to create '/r/refs/heads/main.lock': File exists.\n",
            Some(&refused(Rejection::Other {
                message: own(
                    "error: cannot lock ref 'refs/heads/main': Unable to create '/r/refs/heads/main.lock': File exists.",
                ),
            })),
        );
        check(
            "!\taa:refs/heads/main\t[remote rejected] (pre-receive hook declined)",
            "remote: no thanks  \nremote: \nremote: ask ops\n",
            Some(&refused(Rejection::Hook { message: own("no thanks; ask ops") })),
        );
        let message = own("error: GH006: Protected branch update failed");
        check(
            "!\taa:refs/heads/main\t[remote rejected] (protected branch hook declined)",
            "remote: error: GH006: Protected branch update failed\n",
            Some(&refused(Rejection::Protected { message })),
        );
        // GitHub's own words, which are the same for tokens and for apps.
        let workflow = "(refusing to allow a Personal Access Token to create or update workflow \
                        `.github/workflows/ci.yml` without `workflow` scope)";
        check(
            &format!("!\taa:refs/heads/main\t[remote rejected] {workflow}"),
            "",
            Some(&refused(Rejection::Permission { message: own(workflow) })),
        );
        check(
            "!\taa:refs/heads/main\t[remote rejected] (unpacker error)",
            "",
            Some(&refused(Rejection::Other { message: own("(unpacker error)") })),
        );
        check("!\taa:refs/heads/main\t[remote failure] (failed to report status)", "", None);
        check("", "fatal: the remote end hung up unexpectedly", None);
    }

    #[test]
    fn an_identity_holds_only_what_a_commit_can() {
        let check = |name: &str, email: &str, expected: (&str, &str)| {
            let identity = Identity::new(name, email);
            assert_eq!((identity.name(), identity.email()), expected);
        };
        check("A B", "a@b", ("A B", "a@b"));
        check("A\n<B>", "<a@b>\0", ("AB", "a@b"));
        check(" ., ", "", ("afk", "afk@localhost"));
    }
}
