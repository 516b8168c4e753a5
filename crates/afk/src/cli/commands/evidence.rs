//! `evidence`: shows the bundle that was kept when the run settled. Without one, computes it from
//! the run's record under the current configuration.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use afk_app::Error;
use afk_app::operator::{Operator, bundle_file};
use afk_core::evidence::bundle::Bundle;
use afk_core::run::Run;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::words::printable;

/// How large a bundle may be, bytes.
const LARGEST: u64 = 256 << 20;

pub(super) async fn run(context: &Context<'_>, text: &str) -> Answer {
    let operator = context.operator_to_look().await?;
    let run = operator.run(text).await?.run;
    let file = bundle_file(&operator.config, run.id)?;
    let ended = match read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            computed(context, &operator, &run)?
        }
        read => {
            let failed =
                |why: String| Error::failed(format!("the kept bundle {}: {why}", file.display()));
            let bytes = read.map_err(|error| failed(format!("cannot be read: {error}")))?;
            kept(context, &bytes).map_err(|why| failed(why.to_string()))?
        }
    };
    operator.store.close().await;
    Ok(ended)
}

/// The whole file, unless it is larger than any bundle can be.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let text = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}

/// Shows a kept bundle; its JSON byte for byte, so that it can be checked by itself.
fn kept(
    context: &Context<'_>,
    bytes: &[u8],
) -> Result<Exit, afk_core::evidence::bundle::NotABundle> {
    let evidence = Bundle::read(bytes)?.evidence;
    if context.out.json {
        context.out.raw(bytes);
    } else {
        context.out.say(printable(&evidence.to_markdown()));
    }
    Ok(complete(context, evidence.is_complete()))
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
