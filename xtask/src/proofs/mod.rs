//! `cargo xtask proofs`: small real changes are handed in honestly, and sabotaged in every way that
//! we know; the program must land the former and refuse the latter.
//!
//! [`change`] reads the changes, [`operators`] sabotages them, [`world`] has the program judge one,
//! and this file runs them side by side and counts. It fails if an honest change does not land at
//! the first try, a dishonest one lands that some rule should have refused, or a refusal was none.

mod change;
mod cost;
mod kind;
mod operators;
mod world;

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};

use crate::run::{cargo, print, say, show};
use change::Change;
use kind::Kind;
use operators::{Expected, HONEST, Operator, Plan};
use world::{Ended, World};

/// Which changes are judged, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Only this kind of repository
    #[arg(long, value_enum)]
    lang: Vec<Kind>,
    /// Only this change, such as `rust/wrap`
    #[arg(long, value_name = "KIND/NAME")]
    change: Vec<String>,
    /// Only this way to sabotage it; `honest` is none
    #[arg(long)]
    operator: Vec<String>,
    /// Only the honest changes
    #[arg(long, conflicts_with = "operator")]
    honest: bool,
    /// One change for each kind and operator, each time another
    #[arg(long)]
    quick: bool,
    /// How many are judged at once [default: one for each core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// The program; by default it is built
    #[arg(long, value_name = "FILE", global = true)]
    afk: Option<PathBuf>,
    /// Keep the folders of repositories and stores, and say where they are
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a proof costs, beside the command that it repeats
    Cost,
}

/// One change, sabotaged in one way, and what was made of it.
struct Case<'a> {
    change: &'a Change,
    operator: &'a Operator,
    plan: Plan,
}

/// What the program made of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    /// It landed, as it should or may.
    Landed,
    /// It was refused, as it should be or may.
    Refused,
    /// Nothing was judged, or it should have been judged otherwise.
    Wrong,
}

struct Judged<'a> {
    case: Case<'a>,
    ended: anyhow::Result<Ended>,
    seconds: f64,
}

/// Judges what was asked for and prints the table; fails if anything was judged wrongly.
pub(crate) fn proofs(root: &Path, options: &Options) -> anyhow::Result<()> {
    let changes = change::all(root)?;
    let afk = match &options.afk {
        Some(afk) => std::path::absolute(afk).context("no such program")?,
        None => built(root)?,
    };
    let folder = folder()?;
    let done = match &options.what {
        Some(What::Cost) => cost::cost(&folder, &afk),
        None => judge_all(root, &changes, &folder, &afk, options),
    };
    if options.keep {
        say(&format!("kept: {}", folder.display()));
    } else {
        let _ = std::fs::remove_dir_all(&folder);
    }
    done
}

/// The debug build of the program, made now.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    show(root, &[&cargo(), "build", "--locked", "--package=afk"], &[])?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    Ok(target.join("debug/afk"))
}

/// A new folder for all worlds.
fn folder() -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("afk-proofs-{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn judge_all(
    root: &Path,
    changes: &[Change],
    folder: &Path,
    afk: &Path,
    options: &Options,
) -> anyhow::Result<()> {
    let mut kinds: Vec<Kind> = Kind::ALL.to_vec();
    kinds.retain(|kind| options.lang.is_empty() || options.lang.contains(kind));
    kinds.retain(|kind| match kind.missing() {
        None => true,
        Some(program) => {
            say(&format!("{} is skipped: {program} is not on this machine", kind.word()));
            false
        }
    });
    let (cases, not_applied) = cases(changes, &kinds, options)?;
    let jobs = options.jobs.unwrap_or_else(cores).max(1);
    say(&format!("{} worlds, {jobs} at once", cases.len()));
    let begun = Instant::now();
    let results = Results::new(root)?;
    let judged = judge(cases, folder, afk, options.keep, (jobs, &results));
    for line in table(&judged, not_applied) {
        print(&line);
    }
    let wrong: Vec<&Judged<'_>> =
        judged.iter().filter(|one| one.became() == Became::Wrong).collect();
    for one in &wrong {
        print(&format!("{}\n    again: {}", one.complaint(), one.case.again()));
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    say(&format!("judged in {minutes:.1} minutes; each is listed in target/proofs/results.tsv"));
    if !wrong.is_empty() {
        bail!("{} of {} changes were judged wrongly", wrong.len(), judged.len());
    }
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What is asked for, the honest first, and how many operators did not apply.
fn cases<'a>(
    changes: &'a [Change],
    kinds: &[Kind],
    options: &Options,
) -> anyhow::Result<(Vec<Case<'a>>, usize)> {
    for name in &options.operator {
        let known = operators::ALL.iter().any(|operator| operator.name == name);
        let all = || operators::ALL.iter().map(|one| one.name).collect::<Vec<_>>().join(", ");
        ensure!(known, "there is no operator {name}: there are {}", all());
    }
    for id in &options.change {
        let known = changes.iter().any(|change| change.id() == *id);
        let all = || changes.iter().map(Change::id).collect::<Vec<_>>().join(", ");
        ensure!(known, "there is no change {id}: there are {}", all());
    }
    let (mut cases, mut not_applied) = (Vec::new(), 0);
    for (nth, operator) in operators::ALL.iter().enumerate() {
        let named = options.operator.iter().any(|name| name == operator.name);
        if (options.honest && operator.name != HONEST) || !(options.operator.is_empty() || named) {
            continue;
        }
        let before = cases.len();
        for kind in kinds {
            let chosen = |change: &&Change| {
                change.kind == *kind
                    && (options.change.is_empty() || options.change.contains(&change.id()))
            };
            let chosen: Vec<&Change> = changes.iter().filter(chosen).collect();
            let mut applied = Vec::new();
            for change in chosen {
                match operator.plan(change) {
                    Some(plan) => applied.push(Case { change, operator, plan }),
                    None => not_applied += 1,
                }
            }
            if options.quick && operator.name != HONEST && !applied.is_empty() {
                let one = applied.swap_remove(nth % applied.len());
                applied = vec![one];
            }
            cases.extend(applied);
        }
        // Over everything, each must sabotage something; unit tests say so of every kind together.
        let all = options.lang.is_empty() && options.change.is_empty();
        ensure!(
            !all || cases.len() > before || kinds.len() < 5,
            "{} applies to no change: it cannot fail",
            operator.name
        );
    }
    ensure!(!cases.is_empty(), "nothing is left to judge: no operator applies to such a change");
    Ok((cases, not_applied))
}

/// Has the program judge every case.
fn judge<'a>(
    cases: Vec<Case<'a>>,
    folder: &Path,
    afk: &Path,
    keep: bool,
    (jobs, results): (usize, &Results),
) -> Vec<Judged<'a>> {
    let all = cases.len();
    let (left, judged) = (Mutex::new(VecDeque::from(cases)), Mutex::new(Vec::new()));
    let next = || left.lock().ok().and_then(|mut left| left.pop_front());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let since = Instant::now();
                    let ended = case.judged(folder, afk, keep);
                    let one = Judged { case, ended, seconds: since.elapsed().as_secs_f64() };
                    if let Ok(mut judged) = judged.lock() {
                        results.record(&one);
                        judged.push(one);
                        progress(&judged, all);
                    }
                }
            });
        }
    });
    if std::io::stderr().is_terminal() {
        say("");
    }
    judged.into_inner().unwrap_or_default()
}

/// One line that moves on a terminal; a line for each wrong one and each twenty-fifth elsewhere.
fn progress(judged: &[Judged<'_>], all: usize) {
    let Some(last) = judged.last() else { return };
    let wrong = judged.iter().filter(|one| one.became() == Became::Wrong).count();
    let count = judged.len();
    let line = format!(
        "{count} of {all}, {wrong} wrong: {} {}",
        last.case.change.id(),
        last.case.operator.name
    );
    if std::io::stderr().is_terminal() {
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "\r\x1b[K{line}");
        let _ = stderr.flush();
    } else if last.became() == Became::Wrong {
        say(&format!("{count} of {all}: {}", last.complaint()));
    } else if count.is_multiple_of(25) {
        say(&line);
    }
}

impl Case<'_> {
    fn judged(&self, folder: &Path, afk: &Path, keep: bool) -> anyhow::Result<Ended> {
        let name = format!("{}-{}", self.change.id().replace('/', "-"), self.operator.name);
        let repository = (self.change.kind, &self.change.base);
        let world = World::new(folder.join(name), afk, keep, repository, self.plan.proof)?;
        world.work(&self.change.title, &self.plan.turns)
    }

    /// The command that judges it again.
    fn again(&self) -> String {
        let (change, operator) = (self.change.id(), self.operator.name);
        format!("cargo xtask proofs --change {change} --operator {operator} --keep")
    }
}

impl Judged<'_> {
    fn landed(&self) -> bool {
        // The first part of a change in two turns lands before its stage is red.
        let in_parts = self.case.plan.turns.len() > 1;
        let moved = |ended: &Ended| !in_parts && ended.commits > 0;
        self.ended.as_ref().is_ok_and(|ended| ended.outcome == "done" || moved(ended))
    }

    fn became(&self) -> Became {
        let Ok(ended) = &self.ended else { return Became::Wrong };
        match (self.case.operator.expected(self.case.change), self.landed()) {
            (Expected::Lands, true) if ended.attempts == 1 => Became::Landed,
            (Expected::Inherent(_), true) => Became::Landed,
            (Expected::Told(_), true) if ended.strength.as_deref() == Some("weaker") => {
                Became::Landed
            }
            (Expected::Refused | Expected::Told(_) | Expected::Inherent(_), false)
                if ended.refusal.is_some() =>
            {
                Became::Refused
            }
            (
                Expected::Lands | Expected::Refused | Expected::Told(_) | Expected::Inherent(_),
                _,
            ) => Became::Wrong,
        }
    }

    /// What is wrong with it.
    fn complaint(&self) -> String {
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

/// Every case in a file, for whoever looks closer, as soon as it is judged.
struct Results(std::fs::File);

impl Results {
    fn new(root: &Path) -> anyhow::Result<Self> {
        let folder = root.join("target/proofs");
        std::fs::create_dir_all(&folder)?;
        let mut file = std::fs::File::create(folder.join("results.tsv"))?;
        writeln!(
            file,
            "change\toperator\tbecame\tlanded\toutcome\tattempts\tstrength\trefusal\tseconds\twhy"
        )?;
        Ok(Self(file))
    }

    fn record(&self, one: &Judged<'_>) {
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

/// What became of each operator's changes.
fn table(judged: &[Judged<'_>], not_applied: usize) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<24} {:>6} {:>7} {:>8} {:>6}",
        "operator", "worlds", "refused", "may land", "wrong"
    )];
    let mut reasons: Vec<&str> = Vec::new();
    for operator in operators::ALL.iter().filter(|one| one.name != HONEST) {
        let of: Vec<&Judged<'_>> =
            judged.iter().filter(|one| one.case.operator.name == operator.name).collect();
        if of.is_empty() {
            continue;
        }
        let count = |became| of.iter().filter(|one| one.became() == became).count();
        let why = of.iter().find_map(|one| match operator.expected(one.case.change) {
            Expected::Lands | Expected::Refused => None,
            Expected::Told(why) | Expected::Inherent(why) => Some(why),
        });
        let note = why.map_or_else(String::new, |why| {
            let at = reasons.iter().position(|known| *known == why).unwrap_or_else(|| {
                reasons.push(why);
                reasons.len() - 1
            });
            format!("   [{}]", at + 1)
        });
        lines.push(format!(
            "{:<24} {:>6} {:>7} {:>8} {:>6}{note}",
            operator.name,
            of.len(),
            count(Became::Refused),
            count(Became::Landed),
            count(Became::Wrong),
        ));
    }
    lines.extend(reasons.iter().enumerate().map(|(at, why)| format!("[{}] {why}", at + 1)));
    lines.push(format!("operators that do not apply to a change: {not_applied}"));
    let honest: Vec<&Judged<'_>> =
        judged.iter().filter(|one| one.case.operator.name == HONEST).collect();
    if !honest.is_empty() {
        let landed: Vec<&Ended> = honest
            .iter()
            .filter(|one| one.became() == Became::Landed)
            .filter_map(|one| one.ended.as_ref().ok())
            .collect();
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
    let dishonest =
        judged.iter().filter(|one| one.case.operator.name != HONEST && one.ended.is_ok());
    let (mut all, mut refused) = (0_usize, 0_usize);
    for one in dishonest {
        if one.case.operator.expected(one.case.change) == Expected::Refused {
            all += 1;
            refused += usize::from(one.became() == Became::Refused);
        }
    }
    if all > 0 {
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
        let changes = change::all(&crate::run::root().unwrap()).unwrap();
        let change = changes.iter().find(|one| one.id() == "sh/slugify").unwrap();
        let check = |name: &str, ended: anyhow::Result<Ended>, expected: Became| {
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
        check(HONEST, proven(), Became::Landed);
        check(HONEST, Ok(ended("done", 2, "proven", "")), Became::Wrong);
        check(HONEST, refused(), Became::Wrong);
        check("code-gutted", refused(), Became::Refused);
        check("code-gutted", proven(), Became::Wrong);
        check("code-gutted", for_no_reason(), Became::Wrong);
        check("code-gutted", Err(anyhow::anyhow!("no")), Became::Wrong);
        check("guard-rewritten", proven(), Became::Wrong);
        check("guard-rewritten", Ok(ended("done", 1, "weaker", "")), Became::Landed);
        check("test-looks-for-change", proven(), Became::Landed);
        check("test-looks-for-change", refused(), Became::Refused);
        check("fix-removes-feature", Ok(ended("frozen", 2, "", "vacuous")), Became::Refused);
        check("fix-removes-feature", proven(), Became::Wrong);
        // What is on the default branch has landed, whatever the run says.
        check(
            "code-gutted",
            Ok(Ended { commits: 1, ..ended("frozen", 1, "", "vacuous") }),
            Became::Wrong,
        );
    }

    #[test]
    fn cases_are_chosen() {
        let changes = change::all(&crate::run::root().unwrap()).unwrap();
        let all = || Options {
            what: None,
            lang: Vec::new(),
            change: Vec::new(),
            operator: Vec::new(),
            honest: false,
            quick: false,
            jobs: None,
            afk: None,
            keep: false,
        };
        let five = &Kind::ALL[..5];
        let count = |options: &Options, kinds: &[Kind]| {
            cases(&changes, kinds, options).map(|(cases, _)| cases.len())
        };
        let (whole, _) = cases(&changes, five, &all()).unwrap();
        assert_eq!(whole[0].operator.name, HONEST);
        assert!(whole.len() > 300, "{}", whole.len());
        assert_eq!(count(&Options { honest: true, ..all() }, five).unwrap(), 20);
        let quick = count(&Options { quick: true, ..all() }, five).unwrap();
        assert!(quick * 2 < whole.len() && quick > 100, "{quick}");
        let one = |change: &str, operator: &str| Options {
            change: vec![change.to_owned()],
            operator: vec![operator.to_owned()],
            ..all()
        };
        assert_eq!(count(&one("sh/slugify", "guard-deleted"), five).unwrap(), 1);
        assert!(count(&one("sh/none", "guard-deleted"), five).is_err());
        assert!(count(&one("sh/slugify", "none"), five).is_err());
        assert!(count(&one("sh/slugify", "inline-wrapped"), five).is_err());
    }
}
