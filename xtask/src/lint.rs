//! `cargo xtask lint`: everything that is checked without running a test.

use std::path::Path;

use crate::{deny, run, tidy};

/// Checks formatting, tidy, deny and clippy, in this order: the quick ones first.
pub(crate) fn lint(root: &Path) -> anyhow::Result<()> {
    let cargo = run::cargo();
    run::show(root, &[&cargo, "fmt", "--all", "--check"], &[])?;
    tidy::tidy(root)?;
    deny::deny(root)?;
    let clippy =
        [&cargo, "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run::show(root, &clippy, &[])
}
