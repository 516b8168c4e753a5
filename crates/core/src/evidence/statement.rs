//! The evidence as an [in-toto statement](https://in-toto.io/Statement/v1) for other people's
//! programs: its subjects are the landed commit and the tree that was judged, its predicate is the
//! evidence.
//!
//! A statement is made from a bundle alone, so that whoever has the bundle gets the same bytes. It
//! leaves out the rows of the journal but has their number and the last hash, so that a signed
//! statement also fixes the end of the journal.

use serde::Serialize;

use super::bundle::Bundle;
use super::{Evidence, EvidenceGap};
use crate::ids::Oid;
use crate::proof::TreeRole;

/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the predicate of our statements: an identifier that is compared byte for byte. The
/// predicate is described in `docs/evidence.md`.
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

/// A subject of a statement. Names are unique in a statement.
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
    /// Whether the issue may be closed on the evidence.
    complete: bool,
    /// What the evidence lacks for that.
    missing: Vec<EvidenceGap>,
    /// The end of the journal that the evidence was made from.
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
    /// Returns the statement about what landed, as indented JSON with a line end; `None` if nothing
    /// landed, because then there is no subject.
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

/// Returns the tree of the candidate, as the proof names it.
fn judged_tree(evidence: &Evidence) -> Option<&Oid> {
    let mut runs = evidence.proof.iter().flat_map(|proof| &proof.runs);
    runs.find(|run| run.role == TreeRole::Candidate).map(|run| &run.tree)
}
