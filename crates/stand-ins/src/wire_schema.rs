//! Checks what is sent to an agent against the schema of the agent's protocol.
//!
//! For the tests that drive real agents: each message to the agent in a relay's log is checked.
//! Codex itself generates the schema of its version; the schema of the Agent Client Protocol comes
//! with the adapters. The checker runs on Node, in the target folder; nothing is installed for the
//! user.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::acp_adapters::Adapter;
use crate::tools::{Skip, found_or_skipped, run, skip, under_lock};

const AJV: &str = "ajv@8.20.0";
const CHECK: &str = include_str!("wire_schema/check.mjs");
const BOUND: Duration = Duration::from_mins(5);
/// Path of the schema in an adapter's `node_modules` folder.
const ACP: &str = "@agentclientprotocol/sdk/schema/v1/schema.json";

/// Checks a relay's log of a dialogue with `codex app-server` against the schema of that very
/// Codex. Returns how many messages were checked; `None`, with a printed notice, if the
/// checker is not available.
///
/// # Panics
///
/// If a message does not conform, if Codex does not generate its schema, or if the checker is not
/// available although `CI` is set.
pub fn of_codex(binary: &Path, log: &[u8]) -> Option<usize> {
    let made = || -> Result<_, Skip> {
        let folder = tempfile::tempdir().map_err(|error| skip(error.to_string()))?;
        let mut codex = Command::new(binary);
        codex.args(["app-server", "generate-json-schema", "--out"]).arg(folder.path());
        codex.env("CODEX_HOME", folder.path());
        run(codex, BOUND).map(|_| folder)
    };
    match made() {
        Ok(folder) => judge("codex", folder.path(), log),
        Err(why) => panic!("{} does not make its schema: {why}", binary.display()),
    }
}

/// [`of_codex`] for an agent of the Agent Client Protocol, version 1.
///
/// # Panics
///
/// As [`of_codex`] does.
pub fn of_acp(adapter: &Adapter, log: &[u8]) -> Option<usize> {
    judge("acp", &adapter.packages.join(ACP), log)
}

fn judge(protocol: &str, schema: &Path, log: &[u8]) -> Option<usize> {
    let test = format!("schema of {protocol}");
    let folder = found_or_skipped(&test, "ajv", "CI", ensure())?;
    match judged(&folder, protocol, schema, log) {
        Ok(count) => Some(count),
        Err(why) => panic!("{test}: {why}"),
    }
}

/// The folder with the checker, which is installed if necessary.
fn ensure() -> Result<PathBuf, Skip> {
    under_lock("wire-schema", |folder| {
        if !folder.join("node_modules/ajv").is_dir() {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]);
            npm.arg(folder).arg(AJV);
            run(npm, BOUND)?;
        }
        let script = folder.join("check.mjs");
        if std::fs::read_to_string(&script).ok().as_deref() != Some(CHECK) {
            std::fs::write(&script, CHECK).map_err(|error| skip(error.to_string()))?;
        }
        Ok(folder.to_owned())
    })
}

fn judged(folder: &Path, protocol: &str, schema: &Path, log: &[u8]) -> Result<usize, Skip> {
    static LOGS: AtomicU64 = AtomicU64::new(0);
    let nth = LOGS.fetch_add(1, Ordering::Relaxed);
    let file = folder.join(format!("log-{}-{nth}.jsonl", std::process::id()));
    std::fs::write(&file, log).map_err(|error| skip(error.to_string()))?;
    let mut node = Command::new("node");
    node.arg(folder.join("check.mjs")).arg(protocol).arg(schema).arg(&file);
    let count = run(node, BOUND);
    let _ = std::fs::remove_file(&file);
    count?.trim().parse().map_err(|_| skip("the checker does not count"))
}
