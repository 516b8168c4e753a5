//! A run's journal fed through today's decisions: `afk replay`.
//!
//! Each row keeps what its pass looked at ([`Context`]). Applying the rows in order
//! gives the record as it stood; from that record and what was seen, `record`, the
//! situation and the plan are made again and compared with what was stored. A
//! difference is no fault by itself: it says that this binary decides otherwise, or
//! that somebody wrote the row. Whether rows were edited is the chain's to tell.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::At;
use crate::plan::{End, Plan, Situation, plan};
use crate::run::{Limits, Names, Run, Seen, Transition, record};

/// What a context says of a row that ends its run: from 1 on, all that it follows from.
const ENDS_ARE_PLANNED: u32 = 1;

/// What a pass looked at and what it made of it, kept with each row that it wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// What it holds: 0 in journals from before every end was planned.
    #[serde(default)]
    pub format: u32,
    /// The version of the record that it looked at.
    pub version: u64,
    /// When.
    pub now: At,
    /// What it saw, without what no decision looks at.
    pub seen: Seen,
    /// The labels that events were judged by.
    pub names: KeptNames,
    /// The bounds in force, the repo's own among them.
    pub limits: Limits,
    /// The situation; none where what it saw had to be recorded first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub situation: Option<Situation>,
    /// The plan for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// [`Names`], kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNames {
    /// The ready label.
    pub ready: String,
    /// The in-progress label.
    pub in_progress: String,
}

impl KeptNames {
    fn names(&self) -> Names<'_> {
        let Self { ready, in_progress } = self;
        Names { ready, in_progress }
    }
}

impl Context {
    /// What a pass that saw `seen` keeps, before it has planned.
    pub fn new(
        run: &Run,
        version: u64,
        seen: &Seen,
        names: Names<'_>,
        limits: Limits,
        now: At,
    ) -> Self {
        let kept =
            KeptNames { ready: names.ready.to_owned(), in_progress: names.in_progress.to_owned() };
        let seen = seen.kept(run, names);
        let format = ENDS_ARE_PLANNED;
        Self { format, version, now, seen, names: kept, limits, situation: None, plan: None }
    }

    /// How the run whose record is `run` ends by this context, and why; none where it does
    /// not plan an end.
    pub fn ending(&self, run: &Run) -> Option<(End, String)> {
        let situation = self.situation.as_ref()?;
        match plan(situation) {
            Plan::Conclude { end } => {
                Some((end, run.ended_because(end, &self.seen, &self.limits, situation)))
            }
            Plan::Settle
            | Plan::Interrupt
            | Plan::Open
            | Plan::Reset
            | Plan::StartTurn
            | Plan::Turn { .. }
            | Plan::Answer
            | Plan::Integrate
            | Plan::Judge
            | Plan::Try
            | Plan::AskCandidate
            | Plan::AskBase
            | Plan::Land
            | Plan::Find
            | Plan::OpenPullRequest
            | Plan::Adopt
            | Plan::AskStages
            | Plan::AskDescendants
            | Plan::ProveLanded
            | Plan::Wait { .. } => None,
        }
    }
}

/// A row of a run's journal.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number, from 1; also the version of the record after it.
    pub seq: u64,
    /// When it was written.
    pub at: At,
    /// Transition and context.
    pub body: serde_json::Value,
}

/// A row, read.
#[derive(Deserialize)]
pub(crate) struct Body {
    pub(crate) transition: Transition,
    pub(crate) context: Option<Context>,
}

/// Something that would not come out as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The row.
    pub seq: u64,
    /// What differs.
    pub what: Differs,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
pub enum Differs {
    /// The row cannot be read by this binary.
    Unreadable {
        /// Why.
        why: String,
    },
    /// The row does not follow on the record that its pass looked at.
    OutOfOrder {
        /// The version that it looked at.
        looked_at: u64,
        /// The version that there was.
        stood_at: u64,
    },
    /// Other things would be recorded of what was seen.
    Recorded {
        /// The kind of the transition that is stored; none where a plan is.
        stored: Option<String>,
        /// The kind, or the content, that would be recorded now.
        now: Option<String>,
    },
    /// The situation would be another.
    Situation {
        /// As stored.
        stored: Box<Situation>,
        /// As it would be.
        now: Box<Situation>,
    },
    /// The plan would be another.
    Plan {
        /// As stored.
        stored: Plan,
        /// As it would be.
        now: Plan,
    },
    /// The run would end otherwise, for another reason, or not at all.
    Ending {
        /// How it ended, and why.
        stored: (End, String),
        /// How it would; none where it would not.
        now: Option<(End, String)>,
    },
    /// A row is missing before it, or was added.
    Misplaced {
        /// The number of the row that it follows; 0 where it is the first.
        follows: u64,
    },
    /// The journal does not give the record that is stored.
    Record,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "row {}: ", self.seq)?;
        match &self.what {
            Differs::Unreadable { why } => write!(f, "cannot be read by this version: {why}"),
            Differs::OutOfOrder { looked_at, stood_at } => {
                write!(
                    f,
                    "its pass looked at version {looked_at}, and the record was at {stood_at}"
                )
            }
            Differs::Recorded { stored, now } => {
                write!(f, "recorded {}, would record {}", word(stored), word(now))
            }
            Differs::Situation { stored, now } => {
                write!(f, "another situation: {}", changed(stored, now))
            }
            Differs::Plan { stored, now } => write!(f, "planned {stored:?}, would plan {now:?}"),
            Differs::Ending { stored: (end, why), now: None } => {
                write!(f, "ended as {end:?} ({why}), would not end")
            }
            Differs::Ending { stored: (end, why), now: Some((other, because)) } => {
                write!(f, "ended as {end:?} ({why}), would end as {other:?} ({because})")
            }
            Differs::Misplaced { follows } => {
                write!(f, "follows row {follows}: a row before it is missing or was added")
            }
            Differs::Record => f.write_str("the journal does not give the record that is stored"),
        }
    }
}

/// The facts of two situations that are not the same.
fn changed(stored: &Situation, now: &Situation) -> String {
    let facts = |one: &Situation| match serde_json::to_value(one) {
        Ok(serde_json::Value::Object(facts)) => facts,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (stored, now) = (facts(stored), facts(now));
    let differing = stored.iter().filter(|(key, value)| now.get(*key) != Some(value));
    let told = differing.map(|(key, value)| {
        format!("{key} was {value}, would be {}", now.get(key).unwrap_or_default())
    });
    told.collect::<Vec<_>>().join("; ")
}

/// What replaying came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// How many rows there are.
    pub rows: usize,
    /// How many decisions were made again.
    pub decisions: usize,
    /// What differs, in the order of the rows.
    pub differences: Vec<Difference>,
}

/// A pass under which rows were written, and the record that it looked at.
struct Looked {
    context: Context,
    found: Vec<Transition>,
    written: usize,
}

/// Makes every decision of the journal again; `stored` is the record as it is kept.
pub fn replay(rows: &[Row], stored: &Run) -> Replayed {
    let mut out = Replayed { rows: rows.len(), decisions: 0, differences: Vec::new() };
    // Any record will do before the first row, which brings its own.
    let mut run = stored.clone();
    let mut looked: Option<Looked> = None;
    for (n, row) in rows.iter().enumerate() {
        let mut differ = |what| out.differences.push(Difference { seq: row.seq, what });
        let body = match Body::deserialize(&row.body) {
            Ok(body) => body,
            Err(error) => {
                differ(Differs::Unreadable { why: error.to_string() });
                continue;
            }
        };
        let admits = matches!(body.transition, Transition::Admitted { .. });
        if admits != (n == 0) {
            let why = "the first row, and no other, admits the run".to_owned();
            differ(Differs::Unreadable { why });
        }
        if let Some(context) = body.context {
            let same = looked.as_ref().is_some_and(|looked| looked.context == context);
            if !same {
                out.decisions += 1;
                looked = Some(decide(&run, context, row.seq, &mut differ));
            }
            if let Some(looked) = looked.as_mut().filter(|looked| looked.context.plan.is_none()) {
                let now = looked.found.get(looked.written);
                looked.written += 1;
                if now != Some(&body.transition) {
                    differ(recorded(Some(&body.transition), now));
                }
            }
            let context = looked.as_ref().map(|looked| &looked.context);
            if let (Some(context), Transition::Concluded { end, why }) = (context, &body.transition)
                && context.format >= ENDS_ARE_PLANNED
            {
                let (stored, now) = ((*end, why.clone()), context.ending(&run));
                if now.as_ref() != Some(&stored) {
                    differ(Differs::Ending { stored, now });
                }
            }
        }
        let follows = n.checked_sub(1).and_then(|before| rows.get(before)).map_or(0, |row| row.seq);
        if row.seq != follows + 1 {
            differ(Differs::Misplaced { follows });
        }
        run.apply(row.at, body.transition);
    }
    if run != *stored {
        let seq = rows.last().map_or(0, |row| row.seq);
        out.differences.push(Difference { seq, what: Differs::Record });
    }
    out
}

/// The decision of one pass, made again over the record that it looked at.
fn decide(run: &Run, context: Context, seq: u64, differ: &mut impl FnMut(Differs)) -> Looked {
    let stood_at = seq.saturating_sub(1);
    if context.version != stood_at {
        differ(Differs::OutOfOrder { looked_at: context.version, stood_at });
    }
    let found = record(run, &context.seen, context.names.names(), &context.limits, context.now);
    if let (Some(stored), Some(planned)) = (context.situation, context.plan) {
        if let Some(first) = found.first() {
            differ(recorded(None, Some(first)));
        }
        let now = run.situation(&context.seen, &context.limits, context.now);
        if now != stored {
            differ(Differs::Situation { stored: Box::new(stored), now: Box::new(now) });
        }
        // Of the stored situation: what follows from another is told by that.
        let again = plan(&stored);
        if again != planned {
            differ(Differs::Plan { stored: planned, now: again });
        }
    }
    Looked { context, found, written: 0 }
}

/// Two transitions that are not the same: their kinds, or that their content differs.
fn recorded(stored: Option<&Transition>, now: Option<&Transition>) -> Differs {
    let kind = |one: Option<&Transition>| one.map(|one| one.kind().to_owned());
    let (stored, mut now) = (kind(stored), kind(now));
    if stored == now {
        now = now.map(|kind| format!("{kind} with another content"));
    }
    Differs::Recorded { stored, now }
}
