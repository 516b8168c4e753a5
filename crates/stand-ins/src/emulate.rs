//! A third-party emulation of GitHub: npm's `emulate`, pinned, for tests of the GitHub adapter
//! against something that does not share our own mistakes.
//!
//! It needs a newer Node than most machines have, which comes from npm, too. Both are installed
//! once into the target folder. The emulator keeps everything in memory and listens on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::acp_adapters::node;
use crate::tools::from_npm;

const PACKAGE: &str = "emulate@0.12.2";
/// The script that runs the emulator: reads the seed from the first line of its input, prints the
/// emulator's URL, and exits at the end of its input.
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

/// The emulator for a test, with the users, repos, apps and tokens of `seed`; `None`, with a line
/// on standard error, if it is not available.
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
    // Returns in any case: the emulator prints its URL, or exits and closes its output.
    BufReader::new(stdout).read_line(&mut url).expect("it says where it is");
    let url = url.trim().replace("localhost", "127.0.0.1");
    assert!(url.starts_with("http://"), "emulate says {url:?} and not where it is");
    Some(Emulator { child, url })
}

impl Emulator {
    /// The URL of its API.
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
