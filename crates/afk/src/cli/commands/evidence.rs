//! `evidence`: shows the bundle that was kept when the run settled, or the statement or envelope
//! that others verify. Without a kept bundle, computes the evidence from the run's record under the
//! current configuration.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use afk_app::Error;
use afk_app::adapters::envelope_beside;
use afk_app::operator::{Operator, bundle_file};
use afk_core::evidence::bundle::Bundle;
use afk_core::evidence::dsse::Envelope;
use afk_core::run::Run;

use super::Context;
use crate::cli::args::EvidenceFormat;
use crate::cli::exit::{Answer, Exit};
use crate::cli::words::printable;

/// Maximum size of a bundle, in bytes.
const LARGEST: u64 = 256 << 20;

pub(super) async fn run(
    context: &Context<'_>,
    text: &str,
    format: Option<EvidenceFormat>,
) -> Answer {
    let operator = context.operator_to_look().await?;
    let run = operator.run(text).await?.run;
    let file = bundle_file(&operator.config, run.id)?;
    let ended = match (read(&file), format) {
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {
            computed(context, &operator, &run)?
        }
        (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::invalid(format!(
                "run {} has no kept bundle yet, of which a statement could be made; bundles are \
                 written when a run settles",
                run.id
            )));
        }
        (read, format) => {
            let failed =
                |why: String| Error::failed(format!("the kept bundle {}: {why}", file.display()));
            let bytes = read.map_err(|error| failed(format!("cannot be read: {error}")))?;
            let bundle = Bundle::read(&bytes).map_err(|why| failed(why.to_string()))?;
            if let Some(stray) = bundle.of(run.id, Some(&run.issue)).first() {
                let hint = "another bundle was put in its place";
                return Err(failed(format!("{stray}: {hint}; `afk evidence verify` tells more")));
            }
            match format {
                None => kept(context, &bundle, &bytes),
                Some(EvidenceFormat::Intoto) => statement(context, &bundle)?,
                Some(EvidenceFormat::Dsse) => envelope(context, &bundle, &file)?,
            }
        }
    };
    operator.store.close().await;
    Ok(ended)
}

/// Reads the whole file; an error if it is larger than any bundle can be.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let text = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}

/// Prints a kept bundle; with `--json` byte for byte, so that it can be checked by itself.
fn kept(context: &Context<'_>, bundle: &Bundle, bytes: &[u8]) -> Exit {
    let evidence = &bundle.evidence;
    if context.out.json {
        context.out.raw(bytes);
    } else {
        context.out.say(printable(&evidence.to_markdown()));
    }
    complete(context, evidence.is_complete())
}

/// Prints the in-toto statement, which is made from the bundle.
fn statement(context: &Context<'_>, bundle: &Bundle) -> Answer {
    let statement = made(bundle)?;
    context.out.raw(&statement);
    Ok(complete(context, bundle.evidence.is_complete()))
}

/// Prints the kept DSSE envelope; an error if it contains another statement than the bundle gives.
fn envelope(context: &Context<'_>, bundle: &Bundle, file: &Path) -> Answer {
    let statement = made(bundle)?;
    let beside = envelope_beside(file);
    let bytes = read(&beside).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return Error::invalid(format!(
                "run {} is not signed: no evidence_key was configured when it settled; `afk \
                 evidence {} --format intoto` prints the unsigned statement",
                bundle.evidence.run, bundle.evidence.run
            ));
        }
        Error::failed(format!("{} cannot be read: {error}", beside.display()))
    })?;
    let failed = |why: String| Error::failed(format!("{}: {why}", beside.display()));
    let opened = Envelope::open(&bytes).map_err(|why| failed(why.to_string()))?;
    if opened.statement != statement {
        let why = "it contains another statement than the bundle gives";
        return Err(failed(format!("{why}; `afk evidence verify` tells more")));
    }
    context.out.raw(&bytes);
    Ok(complete(context, bundle.evidence.is_complete()))
}

/// Makes the statement of a bundle; an error if its run landed nothing.
fn made(bundle: &Bundle) -> Answer<Vec<u8>> {
    let made = bundle.statement().map_err(|error| Error::failed(error.to_string()))?;
    made.ok_or_else(|| {
        let run = bundle.evidence.run;
        Error::invalid(format!("run {run} landed nothing: there is nothing to make a statement of"))
    })
}

fn computed(context: &Context<'_>, operator: &Operator, run: &Run) -> Answer {
    let repo = operator.config.policy.repos.get(&run.issue.repo);
    let stages = repo.and_then(|repo| operator.config.policy.limits(repo).stages);
    let evidence = run.evidence(stages.as_ref());
    context.out.result(&evidence, |_| printable(&evidence.to_markdown()))?;
    if operator.trouble.is_some() {
        context.out.warn(
            "this may be incomplete: no bundle of this run is kept, and the \
             configuration, which names the stages, is not good",
        );
        return Ok(Exit::Usage);
    }
    Ok(complete(context, evidence.is_complete()))
}

fn complete<E: std::fmt::Display>(context: &Context<'_>, complete: Result<(), E>) -> Exit {
    match complete {
        Ok(()) => Exit::Done,
        Err(missing) => {
            context.out.note(format!("not complete: {missing}"));
            Exit::Waiting
        }
    }
}
