//! What CI and deployment say about a landed commit: stage answers folded into one verdict, and
//! whose fault a failure is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one stage says about one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageAnswer {
    /// Nothing is known of it for the commit yet.
    None,
    /// It runs, or waits to run.
    Pending,
    /// It passed.
    Success,
    /// It failed.
    Failure,
    /// No result for the commit: cancelled, superseded, could not run.
    Void,
}

impl fmt::Display for StageAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing there yet",
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Void => "void",
        })
    }
}

/// The folded answer of all stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not decided.
    Pending,
    /// Every stage passed.
    Green,
    /// A stage failed.
    Red,
}

/// The stages that a repo configures, in order; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct StageNames(Vec<String>);

/// An invalid list of stages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageNamesError {
    /// The list is empty, which would make every commit green.
    #[error(
        "no stage is configured, so no commit could ever be green: add at least one, such as \"checks\""
    )]
    Empty,
    /// Two stages have one name.
    #[error("stage {0:?} is configured twice")]
    Twice(String),
}

impl StageNames {
    /// Takes the names in order.
    pub fn new(names: Vec<String>) -> Result<Self, StageNamesError> {
        if names.is_empty() {
            return Err(StageNamesError::Empty);
        }
        let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
        if let Some((_, name)) = twice {
            return Err(StageNamesError::Twice(name.clone()));
        }
        Ok(Self(names))
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for StageNames {
    type Error = StageNamesError;
    fn try_from(names: Vec<String>) -> Result<Self, StageNamesError> {
        Self::new(names)
    }
}

impl From<StageNames> for Vec<String> {
    fn from(stages: StageNames) -> Self {
        stages.0
    }
}

/// Folds the answers of all configured stages, in their order: the first that is not a success
/// decides. No answer at all folds to pending, never to green.
///
/// A later stage does not run while an earlier one has not succeeded, so what comes after such a
/// one is ignored. A stage that did not run yet is [`StageAnswer::None`].
pub fn fold(answers: impl IntoIterator<Item = StageAnswer>) -> Verdict {
    let mut verdict = Verdict::Pending;
    for answer in answers {
        verdict = match answer {
            StageAnswer::Success => Verdict::Green,
            StageAnswer::Failure => return Verdict::Red,
            StageAnswer::None | StageAnswer::Pending | StageAnswer::Void => {
                return Verdict::Pending;
            }
        };
    }
    verdict
}

/// A stage's answer that must be attributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageTrouble {
    /// It failed on our commit.
    Failure,
    /// It gave no result for our commit.
    Void,
}

impl StageAnswer {
    /// Returns this answer as trouble, if it is one.
    pub fn trouble(self) -> Option<StageTrouble> {
        match self {
            Self::Failure => Some(StageTrouble::Failure),
            Self::Void => Some(StageTrouble::Void),
            Self::None | Self::Pending | Self::Success => None,
        }
    }
}

/// What the stage says about a later commit on the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descendant {
    /// Its answer.
    pub answer: StageAnswer,
    /// Whether the commit is this run's own.
    pub ours: bool,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "attribution", rename_all = "snake_case")]
pub enum Attribution {
    /// Ours: a corrective turn must fix it.
    Ours,
    /// Not ours: wait, at no cost.
    NotOurs {
        /// Why not.
        why: NotOurs,
    },
    /// No decisive answer about our commit or a later one.
    Void,
    /// A descendant that contains our commit passed, which counts for ours.
    SpokenFor {
        /// The descendant's position in the list, from 0.
        by: usize,
    },
}

/// Why a failure is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotOurs {
    /// The parent of our commit failed already.
    #[error("the parent of our commit failed in the same stage")]
    BaseRed,
    /// Our commit was not judged, and a later one by somebody else failed.
    #[error("ours was not judged, and a later commit by somebody else failed")]
    LaterCommit,
}

/// Attributes the trouble that a stage has with our commit.
///
/// `base` is the same stage's answer for the parent of ours: only its failure excuses ours.
/// `descendants` are the later commits, oldest first; they count if ours was not judged, or failed
/// as its base did. The first decisive one decides; after a failure that is not ours, later ones
/// still count.
pub fn attribute(own: StageTrouble, base: StageAnswer, descendants: &[Descendant]) -> Attribution {
    let base_red = base == StageAnswer::Failure;
    let mut excuse = match own {
        StageTrouble::Failure if !base_red => return Attribution::Ours,
        StageTrouble::Failure => Some(NotOurs::BaseRed),
        StageTrouble::Void => None,
    };
    for (by, descendant) in descendants.iter().enumerate() {
        match descendant.answer {
            StageAnswer::None | StageAnswer::Pending | StageAnswer::Void => {}
            StageAnswer::Success => return Attribution::SpokenFor { by },
            StageAnswer::Failure if excuse.is_some() => {}
            StageAnswer::Failure if base_red => excuse = Some(NotOurs::BaseRed),
            StageAnswer::Failure if descendant.ours => return Attribution::Ours,
            StageAnswer::Failure => excuse = Some(NotOurs::LaterCommit),
        }
    }
    match excuse {
        Some(why) => Attribution::NotOurs { why },
        None => Attribution::Void,
    }
}

#[cfg(test)]
mod tests {
    use super::StageAnswer::{Failure, None as Nothing, Pending, Success, Void};
    use super::*;

    const ALL: [StageAnswer; 5] = [Nothing, Pending, Success, Failure, Void];

    #[track_caller]
    fn check(answers: &[StageAnswer], verdict: Verdict) {
        assert_eq!(fold(answers.iter().copied()), verdict, "{answers:?}");
    }

    #[test]
    fn the_first_that_has_not_passed_decides() {
        check(&[Nothing, Nothing], Verdict::Pending);
        check(&[Success, Nothing], Verdict::Pending);
        check(&[Success, Pending], Verdict::Pending);
        check(&[Success, Void, Failure], Verdict::Pending);
        check(&[Pending, Failure], Verdict::Pending);
        check(&[Failure, Success, Success], Verdict::Red);
        check(&[Success, Success, Failure], Verdict::Red);
        check(&[Success, Success, Success], Verdict::Green);
        check(&[], Verdict::Pending);
    }

    #[test]
    fn stages_are_written_as_their_names() {
        let stages = StageNames::new(vec!["ci".to_owned(), "deploy".to_owned()]).unwrap();
        let json = serde_json::to_string(&stages).unwrap();
        assert_eq!(json, r#"["ci","deploy"]"#);
        assert_eq!(serde_json::from_str::<StageNames>(&json).unwrap(), stages);
    }

    #[test]
    fn a_failure_and_a_void_are_trouble() {
        let trouble = ALL.map(StageAnswer::trouble);
        assert_eq!(
            trouble,
            [None, None, None, Some(StageTrouble::Failure), Some(StageTrouble::Void)]
        );
    }

    #[test]
    fn answers_and_excuses_are_said_in_words() {
        let words = ALL.map(|answer| answer.to_string());
        assert_eq!(words, ["nothing there yet", "pending", "success", "failure", "void"]);
        for (why, expected) in [
            (NotOurs::BaseRed, "the parent of our commit failed in the same stage"),
            (
                NotOurs::LaterCommit,
                "ours was not judged, and a later commit by somebody else failed",
            ),
        ] {
            assert_eq!(why.to_string(), expected);
        }
    }

    #[test]
    fn green_is_all_passed_and_nothing_else() {
        for a in ALL {
            for b in ALL {
                for c in ALL {
                    let green = fold([a, b, c]) == Verdict::Green;
                    assert_eq!(green, [a, b, c] == [Success; 3]);
                }
            }
        }
    }

    #[test]
    fn no_stage_is_an_error_and_never_green() {
        assert_eq!(StageNames::new(vec![]), Err(StageNamesError::Empty));
        assert!(serde_json::from_str::<StageNames>("[]").is_err());
        assert!(serde_json::from_str::<StageNames>(r#"["a","a"]"#).is_err());
        assert!(serde_json::from_str::<StageNames>(r#"["checks"]"#).is_ok());
    }

    #[track_caller]
    fn check_whose(
        own: StageTrouble,
        base: StageAnswer,
        after: &[(StageAnswer, bool)],
        is: Attribution,
    ) {
        let after: Vec<_> = after
            .iter()
            .map(|(answer, ours)| Descendant { answer: *answer, ours: *ours })
            .collect();
        assert_eq!(attribute(own, base, &after), is);
    }

    #[test]
    fn a_failure_is_ours_unless_something_else_explains_it() {
        use Attribution::{NotOurs as Other, Ours, SpokenFor, Void as Nobody};
        const BASE: Attribution = Other { why: NotOurs::BaseRed };
        const LATER: Attribution = Other { why: NotOurs::LaterCommit };
        for base in [Nothing, Pending, Success, Void] {
            check_whose(StageTrouble::Failure, base, &[], Ours);
            check_whose(StageTrouble::Failure, base, &[(Success, false)], Ours);
        }
        check_whose(StageTrouble::Failure, Failure, &[], BASE);
        check_whose(StageTrouble::Failure, Failure, &[(Failure, false)], BASE);
        check_whose(
            StageTrouble::Failure,
            Failure,
            &[(Void, false), (Success, false)],
            SpokenFor { by: 1 },
        );
        check_whose(StageTrouble::Void, Success, &[], Nobody);
        check_whose(StageTrouble::Void, Success, &[(Pending, false), (Void, true)], Nobody);
        check_whose(
            StageTrouble::Void,
            Success,
            &[(Void, false), (Success, false)],
            SpokenFor { by: 1 },
        );
        check_whose(StageTrouble::Void, Success, &[(Failure, false)], LATER);
        check_whose(StageTrouble::Void, Success, &[(Failure, true)], Ours);
        check_whose(StageTrouble::Void, Success, &[(Failure, false), (Failure, true)], LATER);
        check_whose(StageTrouble::Void, Failure, &[(Failure, false)], BASE);
        check_whose(
            StageTrouble::Void,
            Success,
            &[(Failure, false), (Success, true)],
            SpokenFor { by: 1 },
        );
    }
}
