//! `evidence verify`: checks a kept bundle by itself. Reads the file and the files beside it in the
//! data folder. Opens store and configuration only if a run was named: to find its bundle, the rows
//! that the bundle was made from, and the key that signs evidence.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use afk_app::Error;
use afk_app::adapters::Transcripts;
use afk_app::operator::bundle_file;
use afk_core::chain::Link;
use afk_core::digest::Digest;
use afk_core::evidence::bundle::{Bundle, BundleCheck, BundleMismatch, Flaw};
use afk_core::ids::{IssueRef, RunId};
use afk_engine::ports::Journals as _;

use super::Context;
use super::evidence::read;
use super::here::complete;
use super::signatures::{self, Key};
use crate::cli::args::VerifyArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::render::{self, Check, State, VerifyPage};

pub(super) async fn run(context: &Context<'_>, args: &VerifyArgs) -> Answer {
    let asked = asked(context, args).await?;
    let file = &asked.file;
    let unread = |what: String| Error::invalid(format!("{}{what}", file.display()));
    let bytes = read(file).map_err(|error| {
        unread(match error.kind() {
            io::ErrorKind::NotFound => {
                " is neither a file, nor a run's id, nor an issue (owner/name#7)".to_owned()
            }
            _ => format!(" cannot be read: {error}"),
        })
    })?;
    let bundle = Bundle::read(&bytes).map_err(|why| unread(format!(": {why}")))?;
    let checked = bundle.check(&bytes);
    let head = bundle.journal.as_ref().map(|journal| journal.head.clone());
    let mut checks: Vec<Check> = identity(&asked, &bundle).into_iter().collect();
    checks.extend(made(&bundle, &checked));
    if let Some(known) = &args.head {
        let told = (head.as_ref() != Some(known))
            .then(|| format!("it is {}, not {known}", head.as_deref().unwrap_or("not there")));
        checks.push(Check::of("its last hash is the given one", told));
    }
    checks.extend(markdown(file, &bundle));
    let (signed, signed_by) = signatures::checks(file, &bundle, &asked.key);
    checks.extend(signed);
    checks.extend(transcripts(file, bundle.evidence.run, &checked));
    let complete = bundle.evidence.is_complete().map_err(|missing| missing.to_string()).err();
    let page = VerifyPage {
        file: file.clone(),
        issue: bundle.evidence.issue,
        run: bundle.evidence.run,
        head,
        signed_by,
        sound: checks.iter().all(|check| check.state != State::Broken),
        incomplete: complete,
        checks,
        flaws: checked.flaws,
    };
    context.out.result(&page, |paint| render::verified(&page, paint))?;
    Ok(if page.sound { Exit::Done } else { Exit::Failure })
}

/// The bundle to check, and what is known about it from elsewhere.
struct BundleToCheck {
    /// The bundle's file.
    file: PathBuf,
    /// The run whose bundle it must be, and its issue; none if only a file was named.
    run: Option<(RunId, IssueRef)>,
    /// The rows of the run's journal in the store, or why they cannot be read; none if only a file
    /// was named.
    rows: Option<Result<Vec<Link>, String>>,
    /// The key that must have signed the bundle's statement.
    key: Key,
}

/// Resolves the argument: an existing path is used as it is, without opening anything else; a run
/// or issue means its bundle in the data folder.
async fn asked(context: &Context<'_>, args: &VerifyArgs) -> Answer<BundleToCheck> {
    let given = args.key.as_deref().map(signatures::given).transpose()?;
    let what: &Path = &args.bundle;
    let text = what.to_str().filter(|_| !what.exists());
    let Some(mut text) = text.filter(|text| may_name_a_run(text)).map(str::to_owned) else {
        let key = given.map_or(Key::Unknown, Key::Given);
        return Ok(BundleToCheck { file: what.to_owned(), run: None, rows: None, key });
    };
    complete(context, &mut text).await?;
    let operator = context.operator_to_look().await?;
    let run = operator.run(&text).await?.run;
    let file = bundle_file(&operator.config, run.id)?;
    let rows = operator.store.chain(run.id).await.map_err(|error| error.chain());
    let key = match given {
        Some(given) => Key::Given(given),
        None => Key::configured(&operator.config).await,
    };
    operator.store.close().await;
    if file.is_file() {
        return Ok(BundleToCheck { file, run: Some((run.id, run.issue)), rows: Some(rows), key });
    }
    let (run, folder) = (run.id, file.parent().unwrap_or(&file).display());
    Err(Error::invalid(format!(
        "run {run} has no kept bundle in {folder} yet; bundles are written when a run settles"
    )))
}

/// Checks whether the bundle is of the run that was named, and made from the rows in the store.
fn identity(asked: &BundleToCheck, bundle: &Bundle) -> Vec<Check> {
    let told = |strays: Vec<BundleMismatch>| strays.into_iter().map(|stray| stray.to_string());
    let mut checks = Vec::new();
    if let Some((run, issue)) = &asked.run {
        let what = format!("it is of run {run} on {issue}, as asked");
        checks.push(Check::of(what, told(bundle.of(*run, Some(issue)))));
    } else if let Some(run) = named_after(&asked.file) {
        let what = "it is of the run that its file is named after";
        checks.push(Check::of(what, told(bundle.of(run, None))));
    }
    if let Some(rows) = &asked.rows {
        let differs = match rows {
            Ok(rows) => bundle.against(rows).map(|stray| stray.to_string()),
            Err(error) => Some(format!("they cannot be read: {error}")),
        };
        checks.push(Check::of("its rows are those of the store's journal", differs));
    }
    checks
}

/// The run that a kept bundle's file is named after; none if it has another name.
fn named_after(file: &Path) -> Option<RunId> {
    file.file_stem()?.to_str()?.parse().ok()
}

/// Whether the argument looks like an issue, or a run's id or a prefix of one.
fn may_name_a_run(text: &str) -> bool {
    text.contains('#') || text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Sorts the flaws found in the file itself into three checks: of its rows, its statements, and its
/// text.
fn made(bundle: &Bundle, checked: &BundleCheck) -> Vec<Check> {
    let (mut rows, mut statements, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for flaw in &checked.flaws {
        let place = match flaw {
            Flaw::NoJournal | Flaw::Row(_) | Flaw::Unreadable { .. } | Flaw::Kind { .. } => {
                &mut rows
            }
            Flaw::Statement { .. } => &mut statements,
            Flaw::Text { .. } => &mut text,
        };
        place.push(flaw.to_string());
    }
    let count = bundle.journal.as_ref().map_or(0, |journal| journal.rows.len());
    if checked.run.is_none() {
        statements.push("its rows cannot be read".to_owned());
    }
    vec![
        Check::of(format!("the {count} rows of its journal are linked by their hashes"), rows),
        Check::of("its statements follow from the rows", statements),
        Check::of("its text matches", text),
    ]
}

/// Checks the Markdown rendering beside the file, if there is one.
fn markdown(file: &Path, bundle: &Bundle) -> Option<Check> {
    let beside = file.with_extension("md");
    let what = format!("{} matches", beside.display());
    match fs::read_to_string(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Check::of(what, Some(format!("it cannot be read: {error}")))),
        Ok(text) if bundle.evidence.is_rendered_as(&text) => Some(Check::of(what, None)),
        // The bundle is as sound as before; only its text for people would be worded differently
        // now.
        Ok(_) if bundle.predates_durations() => Some(Check::unknown(
            what,
            "an older version wrote it, which rendered bundles differently",
        )),
        Ok(_) => Some(Check::of(what, Some("it differs".to_owned()))),
    }
}

/// Checks each turn's transcript against its recorded digest; unknown if it is not kept here.
fn transcripts(file: &Path, run: RunId, checked: &BundleCheck) -> Vec<Check> {
    let folder =
        file.canonicalize().ok().and_then(|file| Some(file.parent()?.parent()?.to_owned()));
    let kept = Transcripts::new(folder.unwrap_or_default().join("transcripts"));
    let turns = checked.transcripts().into_iter();
    turns.map(|(n, digest)| transcript(&kept, run, n, &digest)).collect()
}

fn transcript(kept: &Transcripts, run: RunId, n: u32, digest: &Digest) -> Check {
    let what = format!("the transcript of turn {n} is the one that was recorded");
    match kept.read(run, n) {
        Ok(None) => Check::unknown(what, "it is not kept on this machine"),
        Err(error) => Check::of(what, Some(error.to_string())),
        Ok(Some((turn, _))) if turn.sha256 != *digest => {
            Check::of(what, Some(format!("its digest is {}, not {digest}", turn.sha256)))
        }
        Ok(Some((turn, _))) if turn.cut > 0 => {
            Check::unknown(what, &format!("{} bytes of its middle were not kept", turn.cut))
        }
        Ok(Some(_)) => Check::of(what, None),
    }
}
