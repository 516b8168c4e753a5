//! Compares what the program made of each case with what is expected of it; writes the file of all
//! cases, and the table.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use super::change::Change;
use super::operators::{self, Expected, HONEST, Operator, Plan};
use super::world::Ended;

/// One change, sabotaged in one way.
pub(super) struct Case<'a> {
    pub(super) change: &'a Change,
    pub(super) operator: &'a Operator,
    pub(super) plan: Plan,
}

/// How a case ended, by what is expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CaseOutcome {
    /// It landed, which it must or may.
    Landed,
    /// It was refused, which it must or may be.
    Refused,
    /// It was not judged at all, or not as expected.
    Wrong,
}

pub(super) struct Judged<'a> {
    pub(super) case: Case<'a>,
    pub(super) ended: anyhow::Result<Ended>,
    pub(super) seconds: f64,
}

impl Case<'_> {
    /// The command that judges the case again.
    pub(super) fn again(&self) -> String {
        let (change, operator) = (self.change.id(), self.operator.name);
        format!("cargo xtask proofs --change {change} --operator {operator} --keep")
    }
}

impl Judged<'_> {
    pub(super) fn landed(&self) -> bool {
        // Of a change in two turns the first part always lands, before its stage turns red.
        let in_parts = self.case.plan.turns.len() > 1;
        let moved = |ended: &Ended| !in_parts && ended.commits > 0;
        self.ended.as_ref().is_ok_and(|ended| ended.outcome == "done" || moved(ended))
    }

    pub(super) fn became(&self) -> CaseOutcome {
        let Ok(ended) = &self.ended else { return CaseOutcome::Wrong };
        match (self.case.operator.expected(self.case.change), self.landed()) {
            (Expected::Lands, true) if ended.attempts == 1 => CaseOutcome::Landed,
            (Expected::Inherent(_), true) => CaseOutcome::Landed,
            (Expected::Told(_), true) if ended.strength.as_deref() == Some("weaker") => {
                CaseOutcome::Landed
            }
            (Expected::Refused | Expected::Told(_) | Expected::Inherent(_), false)
                if ended.refusal.is_some() =>
            {
                CaseOutcome::Refused
            }
            (
                Expected::Lands | Expected::Refused | Expected::Told(_) | Expected::Inherent(_),
                _,
            ) => CaseOutcome::Wrong,
        }
    }

    /// What is wrong, as one line for people.
    pub(super) fn complaint(&self) -> String {
        let (change, operator) = (self.case.change.id(), self.case.operator);
        let what = match &self.ended {
            Err(error) => format!("was not judged: {error:#}"),
            Ok(ended) => {
                let strength = ended.strength.as_deref().unwrap_or("no proof");
                match (operator.expected(self.case.change), self.landed()) {
                    (Expected::Lands, _) => {
                        let Ended { outcome, attempts, why, .. } = ended;
                        format!("is honest: {outcome} after {attempts} tries: {why}")
                    }
                    (_, true) => format!("landed ({strength}): {}", operator.what),
                    (_, false) => format!("was refused for no reason of a proof: {}", ended.why),
                }
            }
        };
        format!("WRONG {change} {}: {what}", operator.name)
    }
}

/// The file with a line for each case, written as soon as the case is judged.
pub(super) struct Results(std::fs::File);

impl Results {
    pub(super) fn new(root: &Path) -> anyhow::Result<Self> {
        let folder = root.join("target/proofs");
        std::fs::create_dir_all(&folder)?;
        let mut file = std::fs::File::create(folder.join("results.tsv"))?;
        writeln!(
            file,
            "change\toperator\tbecame\tlanded\toutcome\tattempts\tstrength\trefusal\tseconds\twhy"
        )?;
        Ok(Self(file))
    }

    pub(super) fn record(&self, one: &Judged<'_>) {
        let (change, operator) = (one.case.change.id(), one.case.operator.name);
        let (became, landed, seconds) = (one.became(), one.landed(), one.seconds);
        let said = match &one.ended {
            Err(error) => format!("error\t\t\t\t{seconds:.1}\t{error:#}"),
            Ok(ended) => format!(
                "{}\t{}\t{}\t{}\t{seconds:.1}\t{}",
                ended.outcome,
                ended.attempts,
                ended.strength.as_deref().unwrap_or_default(),
                ended.refusal.as_deref().unwrap_or_default(),
                ended.why.replace(['\n', '\t'], " "),
            ),
        };
        // The table is printed whether or not the file can be written.
        let _ = writeln!(&self.0, "{change}\t{operator}\t{became:?}\t{landed}\t{said}");
    }
}

/// The lines of the table: how the cases of each operator ended, and the sums.
pub(super) fn table(judged: &[Judged<'_>], not_applied: usize) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<21} {:>6} {:>7} {:>8} {:>6}   refused as",
        "operator", "worlds", "refused", "may land", "wrong"
    )];
    let mut reasons: Vec<&str> = Vec::new();
    for operator in operators::ALL.iter().filter(|one| one.name != HONEST) {
        let of: Vec<&Judged<'_>> =
            judged.iter().filter(|one| one.case.operator.name == operator.name).collect();
        if !of.is_empty() {
            lines.push(line(operator, &of, &mut reasons));
        }
    }
    lines.extend(reasons.iter().enumerate().map(|(at, why)| format!("[{}] {why}", at + 1)));
    lines.push(format!("changes to which an operator does not apply: {not_applied}"));
    lines.extend(sums(judged));
    lines
}

/// One operator's line. If its changes may land, the reason is added to `reasons`.
fn line(operator: &Operator, of: &[&Judged<'_>], reasons: &mut Vec<&str>) -> String {
    let count = |became| of.iter().filter(|one| one.became() == became).count();
    let mut by = BTreeMap::<&str, usize>::new();
    for reason in of.iter().filter_map(|one| one.ended.as_ref().ok()?.refusal.as_deref()) {
        *by.entry(reason).or_default() += 1;
    }
    let mut notes: Vec<String> =
        by.into_iter().map(|(reason, times)| format!("{reason} {times}")).collect();
    let why = of.iter().find_map(|one| match operator.expected(one.case.change) {
        Expected::Lands | Expected::Refused => None,
        Expected::Told(why) | Expected::Inherent(why) => Some(why),
    });
    if let Some(why) = why {
        let at = reasons.iter().position(|known| *known == why).unwrap_or_else(|| {
            reasons.push(why);
            reasons.len() - 1
        });
        notes.push(format!("[{}]", at + 1));
    }
    format!(
        "{:<21} {:>6} {:>7} {:>8} {:>6}   {}",
        operator.name,
        of.len(),
        count(CaseOutcome::Refused),
        count(CaseOutcome::Landed),
        count(CaseOutcome::Wrong),
        notes.join(", "),
    )
}

/// How many honest changes landed, and how many dishonest ones were refused.
fn sums(judged: &[Judged<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    let is_honest = |one: &&Judged<'_>| one.case.operator.name == HONEST;
    let honest: Vec<&Judged<'_>> = judged.iter().filter(is_honest).collect();
    if !honest.is_empty() {
        let landed = honest.iter().filter(|one| one.became() == CaseOutcome::Landed);
        let landed: Vec<&Ended> = landed.filter_map(|one| one.ended.as_ref().ok()).collect();
        let strong = |word: &str| {
            landed.iter().filter(|ended| ended.strength.as_deref() == Some(word)).count()
        };
        lines.push(format!(
            "honest: {} of {} landed at the first try; {} proven, {} weaker",
            landed.len(),
            honest.len(),
            strong("proven"),
            strong("weaker"),
        ));
    }
    let must = |one: &&Judged<'_>| one.case.operator.expected(one.case.change) == Expected::Refused;
    let dishonest: Vec<&Judged<'_>> = judged.iter().filter(must).collect();
    if !dishonest.is_empty() {
        let refused = dishonest.iter().filter(|one| one.became() == CaseOutcome::Refused).count();
        let all = dishonest.len();
        lines.push(format!("dishonest: {refused} of {all} that a rule must refuse were refused"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn operator(name: &str) -> &'static Operator {
        operators::ALL.iter().find(|one| one.name == name).unwrap()
    }

    fn ended(outcome: &str, attempts: u64, strength: &str, refusal: &str) -> Ended {
        let word = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Ended {
            outcome: outcome.to_owned(),
            attempts,
            why: "why".to_owned(),
            strength: word(strength),
            refusal: word(refusal),
            commits: usize::from(outcome == "done"),
            evidence: Value::Null,
        }
    }

    #[test]
    fn what_is_judged_wrongly_is_told() {
        let changes = super::super::change::all(&crate::run::root().unwrap()).unwrap();
        let change = changes.iter().find(|one| one.id() == "sh/slugify").unwrap();
        let check = |name: &str, ended: anyhow::Result<Ended>, expected: CaseOutcome| {
            let plan = operator(name).plan(change).unwrap();
            let case = Case { change, operator: operator(name), plan };
            let judged = Judged { case, ended, seconds: 1.0 };
            assert_eq!(judged.became(), expected, "{name}: {}", judged.complaint());
            let lines = table(&[judged], 0);
            assert!(lines.iter().any(|line| line.contains(name)), "{lines:?}");
        };
        let proven = || Ok(ended("done", 1, "proven", ""));
        let refused = || Ok(ended("needs-human", 1, "", "vacuous"));
        let for_no_reason = || Ok(ended("needs-human", 1, "", ""));
        check(HONEST, proven(), CaseOutcome::Landed);
        check(HONEST, Ok(ended("done", 2, "proven", "")), CaseOutcome::Wrong);
        check(HONEST, refused(), CaseOutcome::Wrong);
        check("code-gutted", refused(), CaseOutcome::Refused);
        check("code-gutted", proven(), CaseOutcome::Wrong);
        check("code-gutted", for_no_reason(), CaseOutcome::Wrong);
        check("code-gutted", Err(anyhow::anyhow!("no")), CaseOutcome::Wrong);
        check("guard-rewritten", proven(), CaseOutcome::Wrong);
        check("guard-rewritten", Ok(ended("done", 1, "weaker", "")), CaseOutcome::Landed);
        check("test-looks-for-change", proven(), CaseOutcome::Landed);
        check("test-looks-for-change", refused(), CaseOutcome::Refused);
        check("fix-removes-feature", Ok(ended("frozen", 2, "", "vacuous")), CaseOutcome::Refused);
        check("fix-removes-feature", proven(), CaseOutcome::Wrong);
        // A commit on the default branch has landed, whatever the run says.
        check(
            "code-gutted",
            Ok(Ended { commits: 1, ..ended("frozen", 1, "", "vacuous") }),
            CaseOutcome::Wrong,
        );
    }
}
