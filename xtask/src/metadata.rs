//! What `cargo metadata` says about our packages and those we depend on.
//!
//! Read for [`crate::deny`]; only the fields that it needs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::run;

/// All packages.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Every package of the lock file.
    pub(crate) packages: Vec<Package>,
    /// The ids of our own.
    pub(crate) workspace_members: BTreeSet<String>,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its licence expression.
    pub(crate) license: Option<String>,
    /// Where it comes from; none for a path.
    pub(crate) source: Option<String>,
}

impl Metadata {
    /// Runs cargo, which must not change the lock file.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let cargo = run::cargo();
        let text = run::read(root, &[&cargo, "metadata", "--format-version=1", "--locked"])?;
        Self::parse(&text)
    }

    /// Parses cargo's output.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).context("cargo metadata answered in an unknown shape")
    }
}
