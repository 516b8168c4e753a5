//! What a commit message may not contain: words that skip CI or close an issue.

use regex::Regex;

/// The patterns, compiled once.
#[derive(Debug, Clone)]
pub(super) struct MessageRules {
    skips_ci: Regex,
    closes: Regex,
}

/// The tokens of the forges, and spellings that some accept.
const SKIPS_CI: &str = r"(?i)\[\s*(?:skip[\s_-]*ci|ci[\s_-]*skip|no[\s_-]*ci|skip[\s_-]*actions|actions[\s_-]*skip)\s*\]|skip-checks\s*:\s*true";

/// A closing word before `#7`, `GH-7`, `owner/repo#7` or an issue's URL.
const CLOSES: &str = r"(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?)\b\s*:?\s*(?:(?:[\w.-]+/[\w.-]+)?#\d+|GH-\d+|https?://[^\s/]+/(?:[^\s/]+/)+(?:issues|pull|pulls)/\d+)";

impl MessageRules {
    pub(super) fn compile() -> Result<Self, regex::Error> {
        Ok(Self { skips_ci: Regex::new(SKIPS_CI)?, closes: Regex::new(CLOSES)? })
    }

    /// The token that makes CI skip the commit, as written in the message.
    pub(super) fn skips_ci<'m>(&self, message: &'m str) -> Option<&'m str> {
        self.skips_ci.find(message).map(|m| m.as_str())
    }

    /// The words that close an issue, as written in the message.
    pub(super) fn closes<'m>(&self, message: &'m str) -> Option<&'m str> {
        self.closes.find(message).map(|m| m.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_skip_ci() {
        let rules = MessageRules::compile().unwrap();
        for bad in [
            "Fix it [skip ci]",
            "[CI SKIP] x",
            "x\n\n[No CI]",
            "[skip actions]",
            "[Actions Skip]",
            "a\n\nSkip-Checks: TRUE",
            "skip-checks:true",
            "[skip-ci]",
        ] {
            assert!(rules.skips_ci(bad).is_some(), "{bad}");
        }
        for good in
            ["skip ci when docs change", "ci skip", "[skip] ci", "skip-checks: false", "[ci]"]
        {
            assert_eq!(rules.skips_ci(good), None, "{good}");
        }
    }

    #[test]
    fn words_that_close_an_issue() {
        let rules = MessageRules::compile().unwrap();
        let words = "close closes closed fix fixes fixed resolve resolves resolved";
        for word in words.split(' ') {
            for target in ["#7", "o/r#7", "GH-7", "https://github.com/o/r/issues/7"] {
                for bad in
                    [format!("{word} {target}"), format!("x\n\n{}: {target}", word.to_uppercase())]
                {
                    assert!(rules.closes(&bad).is_some(), "{bad}");
                }
            }
        }
        assert!(rules.closes("Fixes\n#7").is_some());
        for good in [
            "Refs #7",
            "prefixes #7",
            "Fix the parser (#7)",
            "fixing #7",
            "closes the file, see #7",
            "fix issue 7",
            "resolve https://example.org/a",
            "hotfix7 #",
        ] {
            assert_eq!(rules.closes(good), None, "{good}");
        }
    }
}
