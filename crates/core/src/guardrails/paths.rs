//! Paths and link targets that are refused.
//!
//! Links are judged by their text only: with `..` after a name, that name could be another link, so
//! such a target counts as leaving the tree.

use crate::change::TreePath;

/// Files that hold credentials, in any case and in any folder. Only a person may change one.
pub(super) const CREDENTIAL_FILES: &[&str] = &[
    "**/.env",
    "**/.env.*",
    "**/*.{pem,key,p12,pfx,jks,keystore,kdbx,ppk}",
    "**/id_{rsa,dsa,ecdsa,ed25519}",
    "**/{.netrc,_netrc,.pgpass,.my.cnf,.git-credentials,.pypirc,.dockercfg,.htpasswd,.vault-token}",
    "**/{kubeconfig,*.kubeconfig,kubeconfig.y*ml}",
    "**/.kube/config",
    "**/.docker/config.json",
    "**/.aws/credentials",
    "**/.config/gcloud/**",
    "**/*.tfstate",
    "**/*.tfstate.backup",
];

/// Files whose names look like those of credentials, but that are meant to be shared.
pub(super) const NO_CREDENTIAL_FILES: &[&str] = &[
    "**/.env.{example,sample,template,dist,defaults}",
    "**/.env.*.{example,sample,template,dist,defaults}",
    "**/*.pub",
];

/// Files of settings, in which the text after a name is a value and never code.
pub(super) const SETTINGS_FILES: &[&str] = &[
    "**/{.env,.envrc,env,environment}",
    "**/{.env,env,environment,secrets,credentials}.*",
    "**/*.env",
    "**/*.env.*",
    "**/*.{ini,cfg,conf,cnf,properties,tfvars,yaml,yml,toml,json,jsonc,json5}",
    "**/docker-compose*",
];

/// Why a link's target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkFault {
    Absolute,
    Escapes,
    IntoGit,
}

/// Whether git itself would refuse to check out the path.
pub(super) fn is_unsafe(path: &TreePath) -> bool {
    path.components().any(|c| c.is_empty() || c == b"." || c == b".." || is_dot_git(c))
}

/// Returns what is wrong with the link at `path` that points to `target`.
pub(super) fn link_fault(path: &TreePath, target: &[u8]) -> Option<LinkFault> {
    let drive = matches!(target, [letter, b':', ..] if letter.is_ascii_alphabetic());
    if target.starts_with(b"/") || target.starts_with(b"\\") || drive {
        return Some(LinkFault::Absolute);
    }
    let mut depth = path.components().count().saturating_sub(1);
    let mut named = false;
    for component in target.split(|b| matches!(b, b'/' | b'\\')) {
        match component {
            b"" | b"." => {}
            b".." if named => return Some(LinkFault::Escapes),
            b".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return Some(LinkFault::Escapes),
            },
            name if is_dot_git(name) => return Some(LinkFault::IntoGit),
            _ => named = true,
        }
    }
    // An empty target leads nowhere that can be determined.
    (target.is_empty() || target.contains(&0)).then_some(LinkFault::Escapes)
}

/// Whether the component is `.git`, or a name that some file systems take for it: in another case,
/// with dots or blanks at the end, as `.git:stream`, or as `git~1`.
fn is_dot_git(component: &[u8]) -> bool {
    let end = component.iter().rposition(|b| !matches!(b, b'.' | b' ')).map_or(0, |at| at + 1);
    let trimmed = component.get(..end).unwrap_or_default();
    let name = trimmed.split(|b| *b == b':').next().unwrap_or_default();
    name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b"git~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let check = |path: &str, target: &str, expected| {
            let path = TreePath::new(path.as_bytes()).unwrap();
            assert_eq!(link_fault(&path, target.as_bytes()), expected, "{path} -> {target}");
        };
        check("a", "b", None);
        check("a", "./b/c", None);
        check("d/e/a", "../../b", None);
        check("d/e/a", "../..", None);
        check("a", "..x", None);
        check("a", "/etc/passwd", Some(LinkFault::Absolute));
        check("a", "C:\\x", Some(LinkFault::Absolute));
        check("a", "..", Some(LinkFault::Escapes));
        check("d/a", "../../x", Some(LinkFault::Escapes));
        check("d/a", ".//../x", None);
        check("d/a", "..\\..\\x", Some(LinkFault::Escapes));
        check("a", "b/../../x", Some(LinkFault::Escapes));
        // Through a link `b` that points deeper or higher, this could be anywhere.
        check("d/a", "b/../c", Some(LinkFault::Escapes));
        check("a", "", Some(LinkFault::Escapes));
        check("d/a", "../.git/config", Some(LinkFault::IntoGit));
        check("a", ".GIT/hooks", Some(LinkFault::IntoGit));
        check("a", "git~1", Some(LinkFault::IntoGit));
    }

    #[test]
    fn unsafe_paths() {
        let check = |path: &[u8]| is_unsafe(&TreePath::new(path).unwrap());
        for bad in ["../a", "a/../b", "a//b", "/a", "./a", ".git/config", "a/.GIT", "x/.git. /y"] {
            assert!(check(bad.as_bytes()), "{bad}");
        }
        for good in ["a", ".gitignore", ".github/a", "a/..b", "a.git/b"] {
            assert!(!check(good.as_bytes()), "{good}");
        }
    }
}
