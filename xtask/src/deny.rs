//! `cargo xtask deny`: licences, bans and sources of everything in the lock file.
//!
//! Replaces a tool that would take minutes to install. It does not check for advisories: those need
//! a database, which may change the result although nothing here has changed.

use std::path::Path;

use anyhow::bail;
use spdx::{Expression, Licensee, ParseMode};

use crate::metadata::{Metadata, Package};
use crate::run;

/// Licences that a dependency may have in a distributed binary.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // For the list of certificate authorities, which is data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that must not come back, and why.
const BANNED: [(&str, &str); 8] = [
    ("chrono", "we use jiff"),
    ("git2", "git is run as a command"),
    ("libgit2-sys", "git is run as a command"),
    ("native-tls", "rustls is the one TLS"),
    ("openssl", "rustls is the one TLS"),
    ("openssl-sys", "rustls is the one TLS, and needs no system library"),
    ("rusqlite", "sqlx brings the one SQLite"),
    ("time", "we use jiff"),
];

/// The only source that packages may come from, besides the workspace.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every package, prints every problem, and fails if there is one.
pub(crate) fn deny(root: &Path) -> anyhow::Result<()> {
    let metadata = Metadata::load(root)?;
    let allowed = licensees()?;
    let found: Vec<String> = metadata
        .packages
        .iter()
        .flat_map(|package| problems(&metadata, package, &allowed))
        .collect();
    for problem in &found {
        run::print(problem);
    }
    if !found.is_empty() {
        bail!("deny: {} of {} packages may not be used", found.len(), metadata.packages.len());
    }
    run::say(&format!("deny: {} packages, no problems", metadata.packages.len()));
    Ok(())
}

fn licensees() -> anyhow::Result<Vec<Licensee>> {
    Ok(LICENCES.iter().map(|name| Licensee::parse(name)).collect::<Result<_, _>>()?)
}

fn problems(metadata: &Metadata, package: &Package, allowed: &[Licensee]) -> Vec<String> {
    let named = format!("{} {}", package.name, package.version);
    let mut found = Vec::new();
    match &package.source {
        Some(source) if source == SOURCE => {}
        None if metadata.workspace_members.contains(&package.id) => {}
        Some(source) => found.push(format!("{named}: comes from {source}, not from crates.io")),
        None => found.push(format!("{named}: is a folder outside the workspace")),
    }
    if let Some((_, why)) = BANNED.iter().find(|(name, _)| *name == package.name) {
        found.push(format!(
            "{named}: is banned: {why}; `cargo tree -i {}` shows what depends on it",
            package.name
        ));
    }
    let licence = package.license.as_deref().unwrap_or_default();
    match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) => {
            let satisfied =
                expression.evaluate(|wanted| allowed.iter().any(|have| have.satisfies(wanted)));
            if !satisfied {
                found.push(format!("{named}: its licence {licence:?} is not on the list"));
            }
        }
        Err(_) => found.push(format!("{named}: its licence {licence:?} cannot be read")),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, license: Option<&str>, source: Option<&str>, expected: &[&str]) {
        let package = Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let metadata =
            Metadata::parse(r#"{"packages": [], "workspace_members": ["ours"]}"#).unwrap();
        let found = problems(&metadata, &package, &licensees().unwrap());
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn licences() {
        let licence = |text, expected: &[&str]| check("a", Some(text), Some(SOURCE), expected);
        for good in ["MIT", "MIT/Apache-2.0", "Unlicense OR MIT", "(MIT OR GPL-3.0-only) AND ISC"] {
            licence(good, &[]);
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "AGPL-3.0", "Unlicense"] {
            licence(bad, &["is not on the list"]);
        }
        licence("see the file", &["cannot be read"]);
        check("a", None, Some(SOURCE), &["cannot be read"]);
    }

    #[test]
    fn sources() {
        check("ours", Some("MIT"), None, &[]);
        check("other", Some("MIT"), None, &["outside the workspace"]);
        check("a", Some("MIT"), Some("git+https://example.org/a"), &["not from crates.io"]);
        check("a", Some("MIT"), Some("registry+https://example.org"), &["not from crates.io"]);
    }

    #[test]
    fn bans() {
        check("openssl-sys", Some("MIT"), Some(SOURCE), &["is banned: rustls"]);
        check("chrono", Some("GPL-2.0-only"), Some("git+x"), &["crates.io", "banned", "list"]);
    }
}
