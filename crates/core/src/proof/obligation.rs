//! The checks of a change that need no run, and the obligation that they leave for the runs to
//! meet.

use super::decide::Proof;
use super::policy::RequireRedProof;
use super::refusal::{ProofRefusal, Untestable};
use super::report::{NoRed, ProofOutcome, Strength};
use super::{PathClass, TreeRole, split};
use crate::change::TreePath;

/// What has to be found out by running commands.
pub(super) enum Obligation {
    /// Nothing: the checks alone decide.
    Answered(ProofOutcome),
    /// Whether the candidate passes and everything that was tested before still holds.
    Green { no_red: NoRed },
    /// Whether `red` fails and the candidate passes.
    RedGreen { red: TreeRole },
    /// Whether the change, which has no test of its own, fixes a test that already fails on the
    /// base. Where it does not, it is refused for `or`.
    FixesRedTest { or: ProofRefusal },
}

impl Proof<'_> {
    pub(super) fn obligation(&self) -> Obligation {
        let (policy, config) = (self.inputs.policy, self.inputs.policy.config());
        let diff = self.inputs.diff;
        let refused = |refusal| Obligation::Answered(ProofOutcome::Refused(refusal));
        let protected: Vec<TreePath> =
            policy.of_class(diff, PathClass::Protected).map(|c| c.path.clone()).collect();
        if !protected.is_empty() && !config.allow_protected {
            return refused(ProofRefusal::Protected { paths: protected });
        }
        if self.verify.is_empty() {
            return Obligation::Answered(ProofOutcome::Accepted(Strength::NoVerify));
        }
        if let Some(permitted) = &self.inputs.permits.no_test_needed {
            return Obligation::Green { no_red: NoRed::Permitted(permitted.clone()) };
        }
        let has = |class| policy.of_class(diff, class).next().is_some();
        let (code, tests, judge) =
            (has(PathClass::Code), has(PathClass::Test), has(PathClass::Judge));
        let needs_label = |what| {
            let label = self.inputs.permits.no_test_label.clone();
            refused(ProofRefusal::NothingToTest { what, label })
        };
        match config.require_red_proof {
            RequireRedProof::Never => return Obligation::Green { no_red: NoRed::Policy },
            RequireRedProof::Always if !code => return refused(ProofRefusal::NoTest),
            RequireRedProof::Always | RequireRedProof::WhenCodeChanges => {}
        }
        if !code
            && self
                .inputs
                .since
                .is_some_and(|since| policy.of_class(since, PathClass::Code).next().is_some())
        {
            return refused(ProofRefusal::TakenBack);
        }
        let is_test = |path: &TreePath| policy.class(path) == PathClass::Test;
        match (code, tests, judge) {
            (true, true, _) => Obligation::RedGreen { red: TreeRole::Red },
            (true, false, _) => match self.split() {
                Some(Ok(())) => Obligation::RedGreen { red: TreeRole::Split },
                Some(Err(fault)) => self.or_fixes_red_test(ProofRefusal::NotSplit { fault }),
                None => self.or_fixes_red_test(ProofRefusal::NoTest),
            },
            // A test's dependencies may change along with it; what runs the tests may not, unless
            // it is among the tests itself.
            (false, true, _) if self.runners.iter().all(is_test) => {
                // With no change to the code, nothing shows that a removed line of a test is not
                // needed.
                let loses = self.tests.iter().filter(|test| test.fate.removes() || test.loses);
                let removed: Vec<_> = loses.map(|test| test.change.path.clone()).collect();
                if removed.is_empty() || self.tests_may_change().is_some() {
                    Obligation::Green { no_red: NoRed::OnlyTests }
                } else {
                    refused(ProofRefusal::DeletedTests { paths: removed })
                }
            }
            (false, true, _) | (false, false, true) => needs_label(Untestable::Judge),
            (false, false, false) if config.exempt_closes => {
                Obligation::Green { no_red: NoRed::ExemptCloses }
            }
            (false, false, false) => needs_label(Untestable::Exempt),
        }
    }

    /// Whether the agent's first commit can serve as the test; `None` if there is no such commit.
    pub(super) fn split(&self) -> Option<Result<(), split::SplitFault>> {
        let first = self.inputs.first?;
        let inputs = self.inputs;
        Some(split::check(inputs.policy, first, inputs.diff, inputs.blobs))
    }

    fn or_fixes_red_test(&self, or: ProofRefusal) -> Obligation {
        if self.inputs.policy.config().junit.is_some() {
            Obligation::FixesRedTest { or }
        } else {
            Obligation::Answered(ProofOutcome::Refused(or))
        }
    }
}
