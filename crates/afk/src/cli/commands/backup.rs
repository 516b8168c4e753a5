//! `backup`: copies the store, and lists what the copy does not contain.

use serde_json::json;

use super::Context;
use crate::cli::args::BackupArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::words::count;

/// What a restore on another machine needs beside the copy, and where in the data folder it is.
const WITHOUT: [&str; 4] = [
    "the configuration and the secrets that it names",
    "mirrors, workspaces and caches (work/)",
    "evidence bundles as files (evidence/); the store can regenerate all but their signatures",
    "transcripts (transcripts/, and work/ of runs whose workspace is kept)",
];

pub(super) async fn run(context: &Context<'_>, args: &BackupArgs) -> Answer {
    let operator = context.operator_to_look().await?;
    let bytes = operator.store.backup(&args.file, args.force).await?;
    let document = json!({
        "file": args.file.display().to_string(),
        "bytes": bytes,
        "store": operator.store.path().display().to_string(),
        "without": WITHOUT,
    });
    context.out.result(&document, |_| {
        let (store, file) = (operator.store.path().display(), args.file.display());
        let without = WITHOUT.join("\n  ");
        let size = count(bytes);
        format!("copied {store} to {file}, {size} bytes\nnot included:\n  {without}")
    })?;
    operator.store.close().await;
    Ok(Exit::Done)
}
