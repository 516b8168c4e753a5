//! The evidence as an [in-toto statement](https://in-toto.io/Statement/v1), which programs of
//! others read: what it is about is the landed commit and the tree that was judged, what it says is
//! the evidence.
//!
//! It is made from a bundle alone, so that whoever has the bundle makes the same bytes. The rows of
//! the journal are not in it; their number and the last hash are, so that a signed statement fixes
//! the end of the journal, too.

use serde::Serialize;

use super::bundle::Bundle;
use super::{Evidence, Lack};
use crate::ids::Oid;
use crate::proof::TreeRole;

/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What our statements say. It is an identifier, compared byte for byte, and is described in
/// `docs/evidence.md`.
pub const PREDICATE_TYPE: &str = "https://afk.dev/evidence/v1";

#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Subject<'a>>,
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

/// A thing that a statement is about. Names are unique in a statement.
#[derive(Serialize)]
struct Subject<'a> {
    name: String,
    digest: GitDigest<'a>,
}

#[derive(Serialize)]
enum GitDigest<'a> {
    #[serde(rename = "gitCommit")]
    Commit(&'a Oid),
    #[serde(rename = "gitTree")]
    Tree(&'a Oid),
}

#[derive(Serialize)]
struct Predicate<'a> {
    /// Whether the issue may be closed on it.
    complete: bool,
    /// What it lacks for that.
    missing: Vec<Lack>,
    /// The end of the journal that it was made from.
    journal: Option<End<'a>>,
    #[serde(flatten)]
    evidence: &'a Evidence,
}

#[derive(Serialize)]
struct End<'a> {
    count: u64,
    head: &'a str,
}

impl Bundle {
    /// The statement about what landed, as bytes; none if nothing landed, because there is nothing
    /// to make a statement about.
    pub fn statement(&self) -> Result<Option<Vec<u8>>, serde_json::Error> {
        let evidence = &self.evidence;
        let Some(landed) = &evidence.landed else { return Ok(None) };
        let repo = &evidence.issue.repo;
        let mut subject =
            vec![Subject { name: repo.to_string(), digest: GitDigest::Commit(landed) }];
        let tree = judged_tree(evidence);
        subject.extend(tree.map(|tree| Subject {
            name: format!("{repo}^{{tree}}"),
            digest: GitDigest::Tree(tree),
        }));
        let missing = evidence.is_complete().err().map_or_else(Vec::new, |missing| missing.0);
        let journal = self.journal.as_ref().map(|one| End { count: one.count, head: &one.head });
        let statement = Statement {
            kind: STATEMENT_TYPE,
            subject,
            predicate_type: PREDICATE_TYPE,
            predicate: Predicate { complete: missing.is_empty(), missing, journal, evidence },
        };
        let mut bytes = serde_json::to_vec_pretty(&statement)?;
        bytes.push(b'\n');
        Ok(Some(bytes))
    }
}

/// The tree of the candidate, as the proof names it.
fn judged_tree(evidence: &Evidence) -> Option<&Oid> {
    let mut runs = evidence.proof.iter().flat_map(|proof| &proof.runs);
    runs.find(|run| run.role == TreeRole::Candidate).map(|run| &run.tree)
}
