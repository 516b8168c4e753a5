//! `evidence verify`: checks a kept bundle by itself. Reads the file and what lies beside it in the
//! data folder; opens store and configuration only to find the file of a named run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use afk_app::Error;
use afk_app::adapters::Transcripts;
use afk_app::operator::bundle_file;
use afk_core::digest::Digest;
use afk_core::evidence::bundle::{Bundle, Checked, Flaw};
use afk_core::ids::RunId;

use super::Context;
use super::evidence::read;
use crate::cli::args::VerifyArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::render::{self, Check, State, VerifyPage};

pub(super) async fn run(context: &Context<'_>, args: &VerifyArgs) -> Answer {
    let file = &named(context, &args.bundle).await?;
    let unread = |what: String| Error::invalid(format!("{}: {what}", file.display()));
    let bytes = read(file).map_err(|error| {
        unread(match error.kind() {
            io::ErrorKind::NotFound => {
                "is neither a file, nor a run's id, nor an issue (owner/repo#7)".to_owned()
            }
            _ => format!("cannot be read: {error}"),
        })
    })?;
    let bundle = Bundle::read(&bytes).map_err(|why| unread(why.to_string()))?;
    let checked = bundle.check(&bytes);
    let head = bundle.journal.as_ref().map(|journal| journal.head.clone());
    let mut checks = made(&bundle, &checked);
    if let Some(known) = &args.head {
        let told = (head.as_ref() != Some(known))
            .then(|| format!("it is {}, not {known}", head.as_deref().unwrap_or("not there")));
        checks.push(Check::of("its last hash is the given one", told));
    }
    checks.extend(markdown(file, &bundle));
    checks.extend(transcripts(file, bundle.evidence.run, &checked));
    let complete = bundle.evidence.is_complete().map_err(|missing| missing.to_string()).err();
    let page = VerifyPage {
        file: file.clone(),
        issue: bundle.evidence.issue,
        run: bundle.evidence.run,
        head,
        sound: checks.iter().all(|check| check.state != State::Broken),
        incomplete: complete,
        checks,
        flaws: checked.flaws,
    };
    context.out.result(&page, |paint| render::verified(&page, paint))?;
    Ok(if page.sound { Exit::Done } else { Exit::Failure })
}

/// The file that is meant: an existing path is used as it is, without opening anything else; a run
/// or issue means its bundle in the data folder.
async fn named(context: &Context<'_>, what: &Path) -> Answer<PathBuf> {
    let text = what.to_str().filter(|text| !what.exists() && may_name_a_run(text));
    let Some(text) = text else { return Ok(what.to_owned()) };
    let operator = context.operator_to_look().await?;
    let run = operator.run(text).await?.run.id;
    let file = bundle_file(&operator.config, run)?;
    operator.store.close().await;
    if file.is_file() {
        return Ok(file);
    }
    let folder = file.parent().unwrap_or(&file).display();
    Err(Error::invalid(format!(
        "run {run} has no kept bundle in {folder} yet; bundles are written when a run settles"
    )))
}

/// Whether the argument looks like an issue, or a run's id or a prefix of one.
fn may_name_a_run(text: &str) -> bool {
    text.contains('#') || text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The result for the file itself, by check.
fn made(bundle: &Bundle, checked: &Checked) -> Vec<Check> {
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

/// The Markdown rendering, if it lies beside the file.
fn markdown(file: &Path, bundle: &Bundle) -> Option<Check> {
    let beside = file.with_extension("md");
    let what = format!("{} matches", beside.display());
    match fs::read_to_string(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Check::of(what, Some(format!("it cannot be read: {error}")))),
        Ok(text) => {
            let same = text == bundle.evidence.to_markdown();
            Some(Check::of(what, (!same).then(|| "it differs".to_owned())))
        }
    }
}

/// Each turn's transcript, if the data folder keeps it.
fn transcripts(file: &Path, run: RunId, checked: &Checked) -> Vec<Check> {
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
