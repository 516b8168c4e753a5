//! A change as a patch for people. Nothing is decided on it: guardrails and policy read trees and
//! blobs.

use afk_core::ids::Oid;

use super::error::GitError;
use super::mirror::Mirror;

/// Maximum size of a patch, in bytes.
const PATCH: usize = 64 << 20;

impl Mirror {
    /// Returns the difference of two commits as a patch that `git apply` takes; with `stat`, only
    /// which files differ, and by how many lines.
    pub async fn patch(&self, base: &Oid, commit: &Oid, stat: bool) -> Result<Vec<u8>, GitError> {
        let form: &[&str] = if stat { &["--stat"] } else { &["--patch", "--binary"] };
        self.call("diff-tree")
            .args(["-r", "--no-commit-id", "--no-ext-diff", "--no-textconv"])
            .args(form)
            .args([base.as_str(), commit.as_str(), "--"])
            .output(PATCH)
            .ok()
            .await
    }
}
