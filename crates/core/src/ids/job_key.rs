//! The key of a job, and the kind of work that it stands for.
//!
//! A key is text, `<run>.<kind>.<subject>`, because it names folders that other processes must
//! find. Only this file builds and parses it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdError, RunId};

/// The key of a job: starting it a second time finds the first.
///
/// Made of the run, the kind of work and its subject, so that anyone who knows the run can derive
/// it again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobKey(Box<str>);
text_id!(JobKey);

/// The kind of work of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobOf {
    /// A turn of the agent.
    Turn,
    /// The process that takes the turns of a thread.
    Thread,
    /// Reading what a workspace has uncommitted.
    Status,
    /// One step of resetting a workspace to another commit.
    Reset,
    /// A hook around a run.
    Hook,
    /// The command that judges a tree.
    Verify,
    /// The same command, a second time.
    VerifyAgain,
    /// The command that only builds a tree.
    VerifyBuild,
    /// The command that brings what a tree needs from outside.
    Fetch,
    /// A stage's command on a commit.
    Stage,
}

impl JobOf {
    const ALL: [Self; 10] = [
        Self::Turn,
        Self::Thread,
        Self::Status,
        Self::Reset,
        Self::Hook,
        Self::Verify,
        Self::VerifyAgain,
        Self::VerifyBuild,
        Self::Fetch,
        Self::Stage,
    ];

    /// Its word in a key, which must never change, or jobs on disk would be lost.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Thread => "thread",
            Self::Status => "status",
            Self::Reset => "reset",
            Self::Hook => "hook",
            Self::Verify => "verify",
            Self::VerifyAgain => "verify-again",
            Self::VerifyBuild => "verify-build",
            Self::Fetch => "fetch",
            Self::Stage => "stage",
        }
    }

    /// Whether it judges a candidate, or prepares the judgement.
    pub const fn judges(self) -> bool {
        match self {
            Self::Verify | Self::VerifyAgain | Self::VerifyBuild | Self::Fetch => true,
            Self::Turn | Self::Thread | Self::Status | Self::Reset | Self::Hook | Self::Stage => {
                false
            }
        }
    }
}

impl JobKey {
    /// The key for a job of this kind on `subject` within `run`; `subject` begins with a
    /// commit, a tree, a number or a name.
    pub fn new(run: RunId, of: JobOf, subject: &str) -> Self {
        Self(format!("{run}.{}.{subject}", of.word()).into())
    }

    /// The kind of work; none if this version does not know it.
    pub fn of(&self) -> Option<JobOf> {
        self.parts().map(|(_, of, _)| of)
    }

    /// The run, the kind and the subject; none if this version does not know the kind.
    pub fn parts(&self) -> Option<(RunId, JobOf, &str)> {
        let (run, rest) = self.0.split_once('.')?;
        let (word, subject) = rest.split_once('.')?;
        let of = JobOf::ALL.into_iter().find(|of| of.word() == word)?;
        Some((run.parse().ok()?, of, subject))
    }
}

impl FromStr for JobKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !text.is_empty() && text.len() <= 200 && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::new(text, "a job key"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn a_key_tells_what_it_was_made_of(
            run in any::<u128>(),
            of in prop::sample::select(JobOf::ALL.to_vec()),
            subject in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,120}",
        ) {
            let run = RunId::new(Uuid::from_u128(run));
            let key = JobKey::new(run, of, &subject);
            prop_assert_eq!(key.as_str(), format!("{run}.{}.{subject}", of.word()));
            let read: JobKey = key.as_str().parse().unwrap();
            prop_assert_eq!(read.parts(), Some((run, of, subject.as_str())));
            prop_assert_eq!(read, key);
        }

        #[test]
        fn whatever_stands_in_a_key_is_read(text in "[a-zA-Z0-9._-]{1,200}") {
            let key: JobKey = text.parse().unwrap();
            prop_assert_eq!(key.of(), key.parts().map(|(_, of, _)| of));
        }
    }

    #[test]
    fn the_words_on_disk_are_these() {
        let words = JobOf::ALL.map(JobOf::word).join(" ");
        let expected = "turn thread status reset hook verify verify-again verify-build fetch stage";
        assert_eq!(words, expected);
        let run = RunId::new(Uuid::nil());
        for other in ["turns.1", "verify-.x", "stage", "", "hook"] {
            let key: JobKey = format!("{run}.{other}").parse().unwrap();
            assert_eq!(key.of(), None, "{other:?}");
        }
        let judges = JobOf::ALL.into_iter().filter(|of| of.judges()).map(JobOf::word);
        assert_eq!(judges.collect::<Vec<_>>(), ["verify", "verify-again", "verify-build", "fetch"]);
        // Words in a subject are not a kind.
        let hook = JobKey::new(run, JobOf::Hook, "after_run.stage.verify");
        assert_eq!(hook.of(), Some(JobOf::Hook));
        let long = "x".repeat(201);
        for bad in ["../x", "", "a b", &long] {
            assert!(bad.parse::<JobKey>().is_err(), "{bad:?}");
        }
        assert!(long[1..].parse::<JobKey>().is_ok());
    }
}
