//! Who may know whom: the arrows of ARCHITECTURE.md.
//!
//! Between crates they are read off cargo's metadata; within `server`, whose rooms
//! are modules, off the paths that a file names.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::code::{tokens, walk};
use super::{Problem, Source};
use crate::metadata::Metadata;

/// What one of our crates may use.
struct Arrow {
    name: &'static str,
    /// Our crates that it may use.
    ours: &'static [&'static str],
    /// Our crates that its tests may use beside those.
    tests: &'static [&'static str],
    /// What must not come with it, at any depth of a normal build.
    never: &'static [&'static str],
}

const IO: &[&str] =
    &["axum", "hyper", "landlock", "mio", "reqwest", "rustix", "sqlx", "sqlx-core", "tokio"];

const ARROWS: [Arrow; 6] = [
    Arrow { name: "afk-core", ours: &[], tests: &[], never: IO },
    Arrow {
        name: "afk-engine",
        ours: &["afk-core"],
        tests: &["afk-sim"],
        never: &["axum", "hyper", "landlock", "reqwest", "sqlx", "sqlx-core"],
    },
    Arrow {
        name: "afk-agent",
        ours: &[],
        tests: &["afk-sim"],
        never: &["axum", "hyper", "reqwest", "sqlx", "sqlx-core"],
    },
    Arrow {
        name: "afk",
        ours: &["afk-core", "afk-engine", "afk-agent"],
        tests: &["afk-sim"],
        never: &["afk-sim"],
    },
    Arrow {
        name: "afk-sim",
        ours: &["afk-core", "afk-engine"],
        tests: &[],
        never: &["sqlx", "sqlx-core", "reqwest"],
    },
    Arrow { name: "xtask", ours: &[], tests: &[], never: &["tokio", "reqwest", "sqlx"] },
];

/// A room of `server`, and the rooms that it must not name.
struct Room {
    folder: &'static str,
    never: &'static [&'static str],
    /// Files to which it does not apply, each with a reason in ARCHITECTURE.md.
    except: &'static [&'static str],
}

const ROOMS: [Room; 7] = [
    Room {
        folder: "crates/server/src/store/",
        never: &["adapters", "app", "cli", "config", "demo", "http", "serve"],
        except: &[],
    },
    Room {
        folder: "crates/server/src/adapters/",
        never: &["app", "cli", "demo", "http", "serve"],
        except: &[],
    },
    Room {
        folder: "crates/server/src/adapters/",
        never: &["store"],
        // These are the store, seen through a port.
        except: &[
            "local_tracker.rs",
            "store_port.rs",
            "store_port/chains.rs",
            "store_port/freezes.rs",
            "store_port/switches.rs",
            "tracker_port.rs",
        ],
    },
    Room {
        folder: "crates/server/src/config/",
        never: &["adapters", "app", "cli", "demo", "http", "serve", "store"],
        except: &[],
    },
    Room { folder: "crates/server/src/cli/", never: &["http"], except: &[] },
    Room { folder: "crates/server/src/serve.rs", never: &["cli", "demo"], except: &[] },
    Room { folder: "crates/server/src/http/", never: &["cli", "demo"], except: &[] },
];

/// The arrows between crates.
pub(super) fn crates(metadata: &Metadata) -> Vec<Problem> {
    let mut found = Vec::new();
    let names: Vec<&str> = metadata.ours().map(|package| package.name.as_str()).collect();
    for package in metadata.ours() {
        let Some(arrow) = ARROWS.iter().find(|arrow| arrow.name == package.name) else {
            let what = "is a crate without arrows; say in xtask/src/tidy/arrows.rs what it may use";
            found.push(Problem::of(&package.name, what));
            continue;
        };
        for used in package.dependencies.iter().filter(|one| names.contains(&one.name.as_str())) {
            let for_tests = used.kind.as_deref() == Some("dev");
            let name = used.name.as_str();
            let allowed = arrow.ours.contains(&name) || (for_tests && arrow.tests.contains(&name));
            if !allowed {
                found.push(Problem::of(&package.name, format!("must not use {name}")));
            }
        }
        let brings = metadata.brings(package);
        for name in arrow.never.iter().filter(|name| brings.contains(*name)) {
            let what = format!(
                "must not bring {name}; `cargo tree -p {} -i {name}` says how",
                package.name
            );
            found.push(Problem::of(&package.name, what));
        }
    }
    found
}

/// The arrows between the rooms of `server`.
pub(super) fn modules(source: &Source) -> Vec<Problem> {
    let applies = |room: &&Room| {
        source.path.strip_prefix(room.folder).is_some_and(|file| !room.except.contains(&file))
    };
    let rooms: Vec<&Room> = ROOMS.iter().filter(applies).collect();
    let Some(tokens) = tokens(source).filter(|_| !rooms.is_empty()) else { return Vec::new() };
    let mut found = Vec::new();
    walk(tokens, &mut |window| {
        for (name, line) in named(window) {
            for room in rooms.iter().filter(|room| room.never.contains(&name.as_str())) {
                let what = format!(
                    "{} must not know `crate::{name}`; wire it in main or app",
                    room.folder
                );
                found.push(Problem::at(source, line, what));
            }
        }
    });
    found
}

/// The modules that `crate::a` or `crate::{a, b::c}` names, where tokens begin so.
fn named(window: &[TokenTree]) -> Vec<(String, usize)> {
    let [TokenTree::Ident(root), TokenTree::Punct(one), TokenTree::Punct(two), next, ..] = window
    else {
        return Vec::new();
    };
    if root != "crate" || one.as_char() != ':' || two.as_char() != ':' {
        return Vec::new();
    }
    match next {
        TokenTree::Ident(name) => vec![(name.to_string(), name.span().start().line)],
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => firsts(group.stream()),
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => Vec::new(),
    }
}

/// The first name after the opening and after each comma.
fn firsts(tokens: TokenStream) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut first = true;
    for token in tokens {
        match token {
            TokenTree::Ident(name) if first => {
                found.push((name.to_string(), name.span().start().line));
                first = false;
            }
            TokenTree::Punct(comma) => first = comma.as_char() == ',',
            TokenTree::Ident(_) | TokenTree::Group(_) | TokenTree::Literal(_) => first = false,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms() {
        let check = |path: &str, text: &str, lines: &[usize]| {
            let source =
                Source { path: format!("crates/server/src/{path}"), text: text.to_owned() };
            let found: Vec<_> = modules(&source).into_iter().map(|one| one.place).collect();
            let expected: Vec<_> = lines.iter().map(|n| format!("{}:{n}", source.path)).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("adapters/git/a.rs", "use crate::store::Store;", &[1]);
        check("adapters/a.rs", "use crate::{\n    config::{x, y},\n    store,\n};", &[3]);
        check("adapters/a.rs", "fn f() {\n    g!(crate::cli::out());\n}", &[2]);
        check("adapters/a.rs", "use afk_engine::ports::{Store, store};", &[]);
        check("adapters/a.rs", "// crate::store\nconst A: &str = \"crate::store\";", &[]);
        check("adapters/a.rs", "use crate::{config::store, adapters::store};", &[]);
        check("adapters/store_port.rs", "use crate::store::Store;", &[]);
        check("adapters/store_port.rs", "use crate::cli;", &[1]);
        check("store/a.rs", "use crate::adapters::git;", &[1]);
        check("store/a.rs", "pub(crate) fn f() {}", &[]);
        check("cli/a.rs", "use crate::store::Store;", &[]);
        check("app.rs", "use crate::{adapters, store};", &[]);
    }

    /// Metadata of our crates, where one uses `dependencies` and brings `brings`.
    fn check(name: &str, dependencies: &str, brings: &str, expected: &[&str]) {
        let text = format!(
            r#"{{"workspace_members": ["0", "1", "2"],
            "packages": [
                {{"id": "0", "name": "{name}", "version": "1.0.0", "dependencies": [{dependencies}]}},
                {{"id": "1", "name": "afk-core", "version": "1.0.0"}},
                {{"id": "2", "name": "afk-sim", "version": "1.0.0"}},
                {{"id": "3", "name": "between", "version": "1.0.0"}},
                {{"id": "4", "name": "{brings}", "version": "1.0.0"}}],
            "resolve": {{"nodes": [
                {{"id": "0", "deps": [{{"pkg": "3", "dep_kinds": [{{"kind": null}}]}}]}},
                {{"id": "3", "deps": [{{"pkg": "4", "dep_kinds": [{{"kind": null}}]}}]}},
                {{"id": "4", "deps": [{{"pkg": "5", "dep_kinds": [{{"kind": "dev"}}]}}]}}]}}}}"#
        );
        let found: Vec<_> = crates(&Metadata::parse(&text).unwrap())
            .into_iter()
            .map(|one| format!("{} {}", one.place, one.what))
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn arrows() {
        let core = r#"{"name": "afk-core", "kind": null}"#;
        let sim = r#"{"name": "afk-sim", "kind": null}"#;
        let sim_in_tests = r#"{"name": "afk-sim", "kind": "dev"}"#;
        check("afk-engine", core, "serde", &[]);
        check("afk-engine", sim_in_tests, "tokio", &[]);
        check("afk-engine", sim, "serde", &["afk-engine must not use afk-sim"]);
        check("afk-engine", core, "sqlx", &["afk-engine must not bring sqlx"]);
        check("afk-agent", core, "serde", &["afk-agent must not use afk-core"]);
        check("afk-agent", "", "reqwest", &["afk-agent must not bring reqwest"]);
        check("newcomer", "", "serde", &["newcomer is a crate without arrows"]);
    }
}
