//! The bundle as it is stored: the evidence together with the journal that it was made from, so
//! that the file can be checked by itself.
//!
//! The check shows that the evidence follows from the rows and that the rows are linked by their
//! hashes. A file that somebody rewrote as a whole passes, too: that is only detected if the last
//! hash is known from elsewhere.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Evidence;
use crate::chain::{self, Link};
use crate::digest::Digest;
use crate::ids::{At, IssueRef, RunId};
use crate::replay::Body;
use crate::run::{Run, Transition};
use crate::verdict::StageNames;

/// Words for a proof's strength that older versions wrote, each with the word that is written now.
const STRENGTHS_BEFORE: [(&str, &str); 4] = [
    ("weaker_split_by_agent", "weaker"),
    ("red_verdict", "no_red"),
    ("exempt", "no_red"),
    ("not_required", "no_red"),
];
/// Maximum length of a value in the text of a flaw, in characters.
const SHOWN: usize = 200;

/// The evidence and the journal that it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The evidence.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// The journal; `None` if it was removed, or an older version wrote the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Journal>,
}

/// The complete journal of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// How many rows the journal has.
    pub count: u64,
    /// The hash of the last row, which covers all of them.
    pub head: String,
    /// The rows, oldest first.
    pub rows: Vec<Link>,
}

/// Bytes that are not a valid bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABundle {
    /// The file is truncated.
    #[error("the file is truncated: it ends after {bytes} bytes")]
    Torn {
        /// The size of the file.
        bytes: usize,
    },
    /// The file is something else, or damaged.
    #[error("the file is not an evidence bundle, or is damaged: {0}")]
    Malformed(String),
    /// The bundle has a shape that this program does not know.
    #[error("the bundle has shape {0}, which this program does not know: use a newer version")]
    Schema(u32),
}

/// Something wrong in a bundle.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "flaw", rename_all = "snake_case")]
pub enum Flaw {
    /// The bundle contains no journal.
    NoJournal,
    /// A row is not as it was written, by its hash.
    Row(chain::RowFault),
    /// A row cannot be read, so the evidence cannot be checked.
    Unreadable {
        /// The row's number in the run.
        row: u64,
        /// Why not.
        why: String,
    },
    /// A row is labelled with a kind that is not that of its body.
    Kind {
        /// The row's number in the run.
        row: u64,
        /// The kind in the row's label.
        stated: String,
        /// The kind of the row's body.
        is: String,
    },
    /// A part of the evidence does not follow from the rows.
    Statement {
        /// Where it is, as a JSON pointer.
        field: String,
        /// The stated value.
        stated: Value,
        /// The value that follows from the rows.
        derived: Value,
    },
    /// The text differs from what this program writes, although its content may be the same.
    Text {
        /// The first byte that differs, from 0.
        byte: usize,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJournal => f.write_str(
                "it contains no journal: it was removed, or an older version wrote the bundle",
            ),
            Self::Row(fault) => fault.fmt(f),
            Self::Unreadable { row, why } => write!(f, "row {row} cannot be read: {why}"),
            Self::Kind { row, stated, is } => {
                write!(f, "row {row}: its kind says {stated:?}, its body {is:?}")
            }
            Self::Statement { field, stated, derived } => {
                let (stated, derived) = (shown(stated), shown(derived));
                write!(f, "{field}: stated {stated}, but the rows give {derived}")
            }
            Self::Text { byte } => {
                write!(f, "the text differs from what afk writes, from byte {byte}")
            }
        }
    }
}

/// How a bundle differs from the one that was asked for, or from the store's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
pub enum BundleMismatch {
    /// The bundle is of another run.
    Run {
        /// The bundle's run.
        is: RunId,
        /// The run that was asked for.
        asked: RunId,
    },
    /// The bundle is of another issue.
    Issue {
        /// The bundle's issue.
        is: IssueRef,
        /// The issue that was asked for.
        asked: IssueRef,
    },
    /// The store's journal has another row in the place of one of the bundle's.
    Row {
        /// The first such row.
        row: u64,
    },
    /// The store's journal ends before the bundle's.
    Short {
        /// The number of the store's last row; 0 if it has none.
        ends: u64,
    },
}

impl fmt::Display for BundleMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { is, asked } => write!(f, "it is of run {is}, not of run {asked}"),
            Self::Issue { is, asked } => write!(f, "it is of issue {is}, not of {asked}"),
            Self::Row { row } => write!(f, "row {row} is another one in the store's journal"),
            Self::Short { ends: 0 } => f.write_str("the store's journal has no rows"),
            Self::Short { ends } => write!(f, "the store's journal ends after row {ends}"),
        }
    }
}

/// The result of checking a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleCheck {
    /// The run's record, made from the rows; `None` if there are none or they cannot be read.
    pub run: Option<Run>,
    /// Everything that is wrong.
    pub flaws: Vec<Flaw>,
}

impl Bundle {
    /// Returns the bundle of `evidence` and the rows that it was made from. Its configured stages
    /// are those of the run's last decision, whatever has been configured since.
    pub fn new(mut evidence: Evidence, rows: Vec<Link>) -> Self {
        if let Ok(made) = Made::of(&rows) {
            evidence.stages_configured = made.evidence().stages_configured;
        }
        let head = rows.last().map_or_else(String::new, |row| row.hash.clone());
        Self { evidence, journal: Some(Journal { count: rows.len() as u64, head, rows }) }
    }

    /// Returns the bytes to store: indented JSON with a line end.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a stored bundle, without checking it.
    pub fn read(bytes: &[u8]) -> Result<Self, NotABundle> {
        /// The part that names the version of the rest.
        #[derive(Deserialize)]
        struct Shape {
            schema: u32,
        }
        let refused = |error: serde_json::Error| {
            if error.is_eof() {
                NotABundle::Torn { bytes: bytes.len() }
            } else {
                NotABundle::Malformed(error.to_string())
            }
        };
        let shape: Shape = serde_json::from_slice(bytes).map_err(refused)?;
        if shape.schema != super::SCHEMA {
            return Err(NotABundle::Schema(shape.schema));
        }
        serde_json::from_slice(bytes).map_err(refused)
    }

    /// Compares the bundle's run, and its issue if that is known, with those that were asked for.
    pub fn of(&self, run: RunId, issue: Option<&IssueRef>) -> Vec<BundleMismatch> {
        let mut strays = Vec::new();
        if self.evidence.run != run {
            strays.push(BundleMismatch::Run { is: self.evidence.run, asked: run });
        }
        if let Some(asked) = issue.filter(|issue| **issue != self.evidence.issue) {
            let (is, asked) = (self.evidence.issue.clone(), asked.clone());
            strays.push(BundleMismatch::Issue { is, asked });
        }
        strays
    }

    /// Compares the bundle's rows with those of the store, and returns the first difference. The
    /// store may have further rows, which came after the bundle was made.
    pub fn against(&self, stored: &[Link]) -> Option<BundleMismatch> {
        let rows = self.journal.iter().flat_map(|journal| &journal.rows);
        let mut at = stored.iter();
        let mut ends = 0;
        for row in rows {
            match at.next() {
                None => return Some(BundleMismatch::Short { ends }),
                Some(other) if other != row => return Some(BundleMismatch::Row { row: row.seq }),
                Some(other) => ends = other.seq,
            }
        }
        None
    }

    /// Whether the bundle was made by a version of this program that did not record how long the
    /// proof's runs took, and that rendered bundles differently. The linked rows tell.
    pub fn predates_durations(&self) -> bool {
        let runs = self.evidence.proof.iter().flat_map(|proof| &proof.runs);
        let mut runs = runs.peekable();
        runs.peek().is_some() && runs.all(|run| run.millis == 0)
    }

    /// Checks a bundle that was read from `bytes`: the chain of its rows, and that the evidence and
    /// the text follow from them.
    pub fn check(&self, bytes: &[u8]) -> BundleCheck {
        let mut flaws = Vec::new();
        let mut run = None;
        match &self.journal {
            None => flaws.push(Flaw::NoJournal),
            Some(journal) => {
                let Journal { count, head, rows } = journal;
                let id = self.evidence.run.to_string();
                let faults = chain::faults(&id, *count, head, rows);
                flaws.extend(faults.into_iter().map(Flaw::Row));
                match Made::of(rows) {
                    Err(flaw) => flaws.push(flaw),
                    Ok(made) => {
                        flaws.extend(made.misnamed.iter().cloned());
                        let derived = made.evidence();
                        let value = |one: &Evidence| serde_json::to_value(one).unwrap_or_default();
                        compare("", &value(&self.evidence), &value(&derived), &mut flaws);
                        run = Some(made.run);
                    }
                }
            }
        }
        let written = self.to_bytes().unwrap_or_default();
        let bytes = in_words_of_today(bytes);
        if written != *bytes {
            let same = written.iter().zip(&*bytes).take_while(|(one, other)| one == other).count();
            flaws.push(Flaw::Text { byte: same });
        }
        BundleCheck { run, flaws }
    }
}

/// Replaces an outdated word for an accepted proof's strength by the one that is written now, so
/// that a bundle of an older version can be compared with what this program would write. The rows
/// keep their words: their text is quoted, and so never has this form.
fn in_words_of_today(bytes: &[u8]) -> Cow<'_, [u8]> {
    let line = |word: &str| format!("\"accepted\": \"{word}\"");
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.into() };
    let found = STRENGTHS_BEFORE.iter().find(|(before, _)| text.contains(&line(before)));
    found.map_or_else(
        || bytes.into(),
        |(before, now)| text.replacen(&line(before), &line(now), 1).into_bytes().into(),
    )
}

/// The run's record as the rows make it.
struct Made {
    run: Run,
    stages: Option<StageNames>,
    misnamed: Vec<Flaw>,
}

impl Made {
    /// Applies the rows in the order of their numbers, beginning with the run's admission.
    fn of(rows: &[Link]) -> Result<Self, Flaw> {
        let mut ordered: Vec<&Link> = rows.iter().collect();
        ordered.sort_by_key(|row| row.seq);
        let mut made: Option<Self> = None;
        for row in ordered {
            let unreadable = |why: String| Flaw::Unreadable { row: row.seq, why };
            let body: Body =
                serde_json::from_str(&row.body).map_err(|e| unreadable(e.to_string()))?;
            let at = At::from_microsecond(row.at).map_err(|e| unreadable(e.to_string()))?;
            let is = body.transition.kind();
            let stages = body.context.map(|context| context.limits.stages);
            let made = match (&mut made, body.transition) {
                (None, Transition::Admitted { run }) => {
                    made.insert(Self { run: *run, stages: None, misnamed: Vec::new() })
                }
                (None, _) => {
                    let why = "the first row does not admit the run".to_owned();
                    return Err(unreadable(why));
                }
                (Some(made), transition) => {
                    // The stages count that were configured when the run was concluded.
                    if let Some(stages) = stages.filter(|_| made.run.conclusion.is_none()) {
                        made.stages = stages;
                    }
                    made.run.apply(at, transition);
                    made
                }
            };
            if row.kind != is {
                let (stated, is) = (row.kind.clone(), is.to_owned());
                made.misnamed.push(Flaw::Kind { row: row.seq, stated, is });
            }
        }
        made.ok_or_else(|| Flaw::Unreadable { row: 1, why: "there are no rows".to_owned() })
    }

    fn evidence(&self) -> Evidence {
        self.run.evidence(self.stages.as_ref())
    }
}

impl BundleCheck {
    /// Returns number and transcript digest of each turn that has such a digest in the journal.
    pub fn transcripts(&self) -> Vec<(u32, Digest)> {
        let attempts = self.run.iter().flat_map(|run| &run.attempts);
        let turns = attempts.flat_map(|attempt| &attempt.turns);
        let digest = |ended: &crate::run::EndedTurn| ended.facts.transcript.clone();
        turns.filter_map(|turn| Some((turn.n, turn.ended.as_ref().and_then(digest)?))).collect()
    }
}

/// Adds a flaw for every place where the two values differ, as deep in them as possible.
fn compare(field: &str, stated: &Value, derived: &Value, flaws: &mut Vec<Flaw>) {
    match (stated, derived) {
        (Value::Object(one), Value::Object(other)) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(added) {
                let value = |of: &serde_json::Map<String, Value>| of.get(key).cloned();
                let (one, other) =
                    (value(one).unwrap_or_default(), value(other).unwrap_or_default());
                compare(&format!("{field}/{key}"), &one, &other, flaws);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (n, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{field}/{n}"), one, other, flaws);
            }
        }
        (stated, derived) if stated == derived => {}
        (stated, derived) => flaws.push(Flaw::Statement {
            field: field.to_owned(),
            stated: stated.clone(),
            derived: derived.clone(),
        }),
    }
}

/// Returns a value for the text of a flaw, shortened.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
