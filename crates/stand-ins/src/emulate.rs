//! A GitHub that others wrote: npm's `emulate`, pinned, for tests of the adapter against something that
//! shares no mistake of ours.
//!
//! It wants a newer Node than machines have, which npm has, too. Installed once into the target
//! folder. It keeps everything in memory, on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::acp_adapters::node;
use crate::tools::from_npm;

/// The package, pinned.
const PACKAGE: &str = "emulate@0.12.2";
/// Reads what it begins with from the first line of its input, says where it is, and ends with its
/// input.
const DRIVER: &str = "\
import { createInterface } from 'node:readline';
const { createEmulator } = await import(process.argv[1]);
const lines = createInterface({ input: process.stdin });
lines.once('line', async (line) => {
  const github = await createEmulator({ service: 'github', port: 0, seed: JSON.parse(line) });
  console.log(github.url);
});
lines.on('close', () => process.exit(0));
";

/// A running emulator, which is stopped when it is dropped.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    url: String,
}

/// The emulator with these users, repos, apps and tokens for a test; none, with a visible line, if it
/// is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or does not start.
#[expect(clippy::expect_used, reason = "for tests")]
pub fn for_test(test: &str, seed: &Value) -> Option<Emulator> {
    let node = node(test)?;
    let api = from_npm(test, PACKAGE, "dist/api.js")?.canonicalize().ok()?;
    let mut child = Command::new(node)
        .args(["--input-type=module", "--eval", DRIVER])
        .arg(api)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("node starts");
    let stdin = child.stdin.as_mut().expect("it has an input");
    writeln!(stdin, "{seed}").expect("it takes what it begins with");
    let stdout = child.stdout.take().expect("it has an output");
    let mut url = String::new();
    // It says so, or ends: then there is nothing to read.
    BufReader::new(stdout).read_line(&mut url).expect("it says where it is");
    let url = url.trim().replace("localhost", "127.0.0.1");
    assert!(url.starts_with("http://"), "emulate says {url:?} and not where it is");
    Some(Emulator { child, url })
}

impl Emulator {
    /// Where its API is.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
