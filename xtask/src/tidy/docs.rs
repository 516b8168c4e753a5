//! Rules for documents: every decision is listed, every link works.

use super::{Problem, Source, has_extension};

const FOLDER: &str = "docs/adr/";
const INDEX: &str = "docs/adr/README.md";
/// Maximum number of lines of a decision: a longer one explains too much.
const LONGEST: usize = 60;

/// Checks that the index links to every decision, and that each has the required parts and is not
/// too long.
pub(super) fn decisions(sources: &[Source]) -> Vec<Problem> {
    let text_of = |path: &str| sources.iter().find(|source| source.path == path);
    let Some(index) = text_of(INDEX) else {
        return vec![Problem::of(INDEX, "is missing; it lists the decisions")];
    };
    let mut found = Vec::new();
    let is_decision = |source: &&Source| {
        source.path.starts_with(FOLDER) && source.path != INDEX && has_extension(&source.path, "md")
    };
    for source in sources.iter().filter(is_decision) {
        let name = source.path.trim_start_matches(FOLDER);
        if !index.text.contains(&format!("]({name})")) {
            found.push(Problem::of(&source.path, format!("is not listed in {INDEX}")));
        }
        for part in ["## Context", "## Decision", "## Consequences"] {
            if !source.text.lines().any(|line| line == part) {
                found.push(Problem::of(&source.path, format!("has no part {part:?}")));
            }
        }
        if source.text.lines().count() > LONGEST {
            found.push(Problem::of(&source.path, format!("is longer than {LONGEST} lines")));
        }
    }
    found
}

/// Checks that the relative links of Markdown files lead to existing files.
pub(super) fn links(sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| has_extension(&source.path, "md")) {
        let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut fenced = false;
        for (n, line) in source.text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets.filter(|_| !fenced) {
                let path = target.split('#').next().unwrap_or_default();
                let elsewhere =
                    path.is_empty() || path.contains("://") || path.starts_with("mailto:");
                if !elsewhere && !exists(format!("{folder}/{path}").trim_start_matches('/')) {
                    found.push(Problem::at(
                        source,
                        n + 1,
                        format!("links to {path}, which does not exist"),
                    ));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# 1\n\n## Context\n\n## Decision\n\n## Consequences\n";

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn decisions_are_listed_and_whole() {
        let check = |index: &str, text: &str, expected: &[&str]| {
            let sources = [source(INDEX, index), source("docs/adr/0001-a.md", text)];
            let found: Vec<_> = decisions(&sources).into_iter().map(|one| one.what).collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(a, b)| a.contains(b)), "{found:?}");
        };
        check("- [a](0001-a.md)", GOOD, &[]);
        check("- 0001-a.md", GOOD, &["not listed"]);
        check("- [a](0001-a.md)", "## Context\n## Decision\n", &["Consequences"]);
        check("- [a](0001-a.md)", &format!("{GOOD}{}", "x\n".repeat(60)), &["longer"]);
        assert_eq!(decisions(&[]).len(), 1);
    }

    #[test]
    fn links_lead_somewhere() {
        let check = |text: &str, expected: usize| {
            let found = links(&[source("docs/a.md", text)], |path| path == "docs/b.md");
            assert_eq!(found.len(), expected, "{text}");
        };
        check("[b](b.md) and [b](b.md#part), [x](https://example.org), [here](#there)", 0);
        check("[b](b.md), [c](c.md)", 1);
        check("```\n[c](c.md)\n```\n", 0);
    }
}
