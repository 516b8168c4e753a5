//! What `cargo metadata` tells of the packages here and of those we depend on.
//!
//! Read once for [`crate::deny`] and for the crate arrows of [`crate::tidy`]; only
//! the fields that these ask about.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::run;

/// All packages, and how they depend on each other.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Every package of the lock file.
    pub(crate) packages: Vec<Package>,
    /// The ids of our own.
    pub(crate) workspace_members: BTreeSet<String>,
    /// What was resolved.
    pub(crate) resolve: Resolve,
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
    /// What it asks for.
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a package's dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package.
    pub(crate) name: String,
    /// None is a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    /// A node a package.
    pub(crate) nodes: Vec<Node>,
}

/// One package's resolved dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    /// The package.
    pub(crate) id: String,
    /// What it uses.
    pub(crate) deps: Vec<Edge>,
}

/// One resolved dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Edge {
    /// The package that is used.
    pub(crate) pkg: String,
    /// For what.
    pub(crate) dep_kinds: Vec<EdgeKind>,
}

/// For what a dependency is used.
#[derive(Debug, Deserialize)]
pub(crate) struct EdgeKind {
    /// None is normal.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo, which must not change the lock file.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let cargo = run::cargo();
        let text = run::read(root, &[&cargo, "metadata", "--format-version=1", "--locked"])?;
        Self::parse(&text)
    }

    /// Reads cargo's answer.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).context("cargo metadata answered in an unknown shape")
    }

    /// Our own packages.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The names of everything that comes with `package` in a normal build, without itself.
    pub(crate) fn brings(&self, package: &Package) -> BTreeSet<&str> {
        let names: HashMap<&str, &str> =
            self.packages.iter().map(|one| (one.id.as_str(), one.name.as_str())).collect();
        let nodes: HashMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut found = BTreeSet::new();
        let mut left = vec![package.id.as_str()];
        let mut seen = BTreeSet::new();
        while let Some(id) = left.pop() {
            if !seen.insert(id) {
                continue;
            }
            for edge in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
                if edge.dep_kinds.iter().any(|kind| kind.kind.is_none()) {
                    found.extend(names.get(edge.pkg.as_str()).copied());
                    left.push(&edge.pkg);
                }
            }
        }
        found
    }
}
