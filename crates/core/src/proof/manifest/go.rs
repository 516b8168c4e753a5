//! What of a `go.mod` steers tests.

use std::collections::BTreeSet;

use serde_json::Value as Json;

/// Returns the directives of a `go.mod` that put another module in the place of one, such as a
/// library for tests, or leave folders out of `./...`.
pub(super) fn go(text: &str) -> Json {
    let mut found = BTreeSet::new();
    let mut block = None;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().replace('(', " ( ");
        let words: Vec<&str> = line.split_whitespace().collect();
        let (directive, rest) = match (block, &*words) {
            (_, [")"]) => {
                block = None;
                continue;
            }
            (None, [directive, "("]) => {
                block = ["ignore", "replace"].into_iter().find(|known| known == directive);
                continue;
            }
            (None, [directive, rest @ ..]) => (*directive, rest),
            (Some(directive), rest) => (directive, rest),
            (None, []) => continue,
        };
        if ["ignore", "replace"].contains(&directive) && !rest.is_empty() {
            found.insert(format!("{directive} {}", rest.join(" ")));
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{Side, diff, file};

    #[test]
    fn a_go_module_is_a_runner_where_it_leaves_packages_out_or_replaces_them() {
        let check = |name: &str, old: Side<'_>, new: Side<'_>, expected: bool| {
            let (diff, blobs) = diff(&[(name, old, new)]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}: {old:?} {new:?}");
        };
        let module = "module a\n\ngo 1.25\n\nrequire (\n\tb v1.0.0\n\tc v1.0.0 // indirect\n)\n";
        check("go.mod", file("a"), file("b"), false);
        check("go.mod", file(module), file(&module.replace("b v1.0.0", "b v1.1.0")), false);
        check("go.mod", None, file(module), false);
        for steers in [
            "ignore ./internal/billing\n",
            "ignore (\n\t./docs\n\t./internal/billing\n)\n",
            "ignore(\n./internal\n)\n",
            "replace b => ./tools/b\n",
            "replace (\n\tb v1.0.0 => ./tools/b // ours\n)\n",
        ] {
            let whole = format!("{module}{steers}");
            check("go.mod", file(module), file(&whole), true);
            check("go.mod", file(&whole), file(module), true);
            check("go.mod", file(&whole), file(&whole.replace("c v1.0.0", "c v1.1.0")), false);
        }
        // One in a block is the same as one alone.
        let (one, block) = ("ignore ./a\nignore ./b\n", "ignore (\n./b\n\n./a // why\n)\n");
        check("go.mod", file(one), file(block), false);
        // A module within the module takes its folder out of `./...`.
        check("internal/go.mod", None, file(module), true);
        check("internal/go.mod", file(module), None, true);
        check("internal/go.mod", file(module), file(&module.replace("1.25", "1.26")), false);
    }
}
