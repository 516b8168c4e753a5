//! `cargo xtask proofs`: hands in small real changes honestly, and sabotaged in every known way;
//! the program must land the honest ones and refuse the sabotaged ones.
//!
//! [`change`] reads the changes, [`operators`] sabotages them, [`world`] has the program judge one,
//! and [`judged`] says whether that is right. This file chooses the cases and runs them side by
//! side. The task fails if an honest change does not land at the first try, if a dishonest one
//! lands that a rule should have refused, or if one was kept out for another reason than a refusal.

mod change;
mod cost;
mod judged;
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
use judged::{Case, CaseOutcome, Judged, Results, table};
use kind::Kind;
use operators::HONEST;
use world::{Ended, World};

/// Which changes are judged, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Judge only changes to repositories of this kind; may be repeated [default: all kinds]
    #[arg(long, value_enum)]
    lang: Vec<Kind>,
    /// Judge only this change, such as `rust/wrap`; may be repeated [default: all changes]
    #[arg(long, value_name = "KIND/NAME")]
    change: Vec<String>,
    /// Sabotage changes only in this way (`honest` leaves them as they are); may be repeated
    /// [default: all ways]
    #[arg(long)]
    operator: Vec<String>,
    /// Judge only changes that are not sabotaged
    #[arg(long, conflicts_with = "operator")]
    honest: bool,
    /// Try each way to sabotage on only one change of each kind of repository
    #[arg(long)]
    quick: bool,
    /// Number of changes that are judged at once [default: one for each core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// The afk program to use [default: one that is built first]
    #[arg(long, value_name = "FILE", global = true)]
    afk: Option<PathBuf>,
    /// Keep the folders of the repositories and the stores, and print their paths
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure how long a proof takes, compared with the command that it repeats
    Cost,
}

/// Has the chosen cases judged and prints the table; fails if any was judged wrongly.
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

/// Makes a debug build of the program, and returns its path.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    show(root, &[&cargo(), "build", "--locked", "--package=afk"], &[])?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    Ok(target.join("debug/afk"))
}

/// A new temporary folder for all worlds.
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
        judged.iter().filter(|one| one.became() == CaseOutcome::Wrong).collect();
    let with =
        options.afk.as_ref().map_or_else(String::new, |_| format!(" --afk {}", afk.display()));
    for one in &wrong {
        print(&format!("{}\n    again: {}{with}", one.complaint(), one.case.again()));
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

/// The chosen cases, honest ones first, and to how many changes an operator did not apply.
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
        // With nothing left out, each operator must apply to some change; a unit test checks that
        // for all kinds together.
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

/// Has the program judge every case, `jobs` of them at once.
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

/// Shows the progress: on a terminal one line that is overwritten, elsewhere a line for each wrong
/// case and each twenty-fifth.
fn progress(judged: &[Judged<'_>], all: usize) {
    let Some(last) = judged.last() else { return };
    let wrong = judged.iter().filter(|one| one.became() == CaseOutcome::Wrong).count();
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
    } else if last.became() == CaseOutcome::Wrong {
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(count(&Options { honest: true, ..all() }, five).unwrap(), 21);
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
