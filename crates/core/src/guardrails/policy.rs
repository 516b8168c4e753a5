//! The operator's settings for the guardrails, with their defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits on what a change may contain, and the paths to which they apply. All patterns are globs
/// on paths from the repo's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardrailPolicy {
    /// Maximum size of a file in a change, in bytes.
    pub max_file_bytes: u64,
    /// Maximum number of lines that a change adds and removes together. A line longer than 1 KiB
    /// counts once for each KiB.
    pub max_diff_lines: u64,
    /// Maximum number of bytes that a change adds.
    pub max_diff_bytes: u64,
    /// Maximum number of files that a change touches.
    pub max_files: u64,
    /// Patterns of files that tools write, such as lock files. They do not count towards the limits
    /// on lines, bytes and files, and each may have up to 4 MiB.
    pub uncounted: Vec<String>,
    /// Patterns of paths that a change may not touch, besides those that are always refused. A
    /// folder covers all that it contains.
    pub deny: Vec<String>,
    /// Patterns of paths that a change may add although a `.gitignore` file of the default branch
    /// ignores them.
    pub allow_ignored: Vec<String>,
    /// Patterns of test files that may contain what looks like a secret key. They must also match
    /// `proof.tests`.
    pub test_material: Vec<String>,
}

/// Lock files of package managers, at any depth.
const UNCOUNTED: &str = "**/{package-lock.json,npm-shrinkwrap.json,yarn.lock,pnpm-lock.yaml,bun.lock,Cargo.lock,poetry.lock,pdm.lock,uv.lock,Pipfile.lock,composer.lock,Gemfile.lock,go.sum,mix.lock,flake.lock,pubspec.lock,Podfile.lock,gradle.lockfile,packages.lock.json}";

impl Default for GuardrailPolicy {
    fn default() -> Self {
        Self {
            max_file_bytes: 1 << 20,
            max_diff_lines: 2_000,
            max_diff_bytes: 10 << 20,
            max_files: 300,
            uncounted: vec![UNCOUNTED.to_owned()],
            deny: Vec::new(),
            allow_ignored: Vec::new(),
            test_material: Vec::new(),
        }
    }
}
