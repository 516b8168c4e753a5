//! `backup`: a copy of the store, and what it is not.

use serde_json::json;

use super::Context;
use crate::cli::args::BackupArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::words::count;

/// What else a machine would need, and where it is.
const WITHOUT: [&str; 4] = [
    "the configuration and the secrets that it names",
    "mirrors, workspaces and caches (work/)",
    "evidence bundles as files (evidence/); what they are made of is in the store",
    "transcripts (transcripts/, and work/ of runs whose workspace is kept)",
];

pub(super) async fn run(context: &Context<'_>, args: &BackupArgs) -> Answer {
    let operator = context.operator_to_look().await?;
    let bytes = operator.store.backup(&args.file, args.force).await?;
    let document = json!({
        "file": args.file,
        "bytes": bytes,
        "store": operator.store.path(),
        "without": WITHOUT,
    });
    context.out.result(&document, |_| {
        let (store, file) = (operator.store.path().display(), args.file.display());
        let without = WITHOUT.join("\n  ");
        let size = count(bytes);
        format!("{store} is copied to {file}, {size} bytes\nnot in it:\n  {without}")
    })?;
    operator.store.close().await;
    Ok(Exit::Done)
}
