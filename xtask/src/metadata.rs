//! What `cargo metadata` says about the packages of the workspace and those they depend on.
//!
//! Read for [`crate::deny`]; only the fields that it needs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::run;

/// The output of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Every package of the lock file.
    pub(crate) packages: Vec<Package>,
    /// The ids of the workspace's own packages.
    pub(crate) workspace_members: BTreeSet<String>,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// The SPDX expression of its licence, if it names one.
    pub(crate) license: Option<String>,
    /// Where it comes from, such as a registry; none for a folder.
    pub(crate) source: Option<String>,
}

impl Metadata {
    /// Runs cargo with `--locked`, so that it cannot change the lock file.
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
