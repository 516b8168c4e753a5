//! Words in a commit message that do something: make CI skip the commit, close or reopen an issue,
//! speak for other people or for another run.
//!
//! The words are found in the text as forges may read it: without invisible characters, with
//! compatibility forms such as full-width brackets decomposed (as in NFKD), in any case. Their
//! places are those in the original text. [`super::sanitise`] removes them from what we write,
//! `guardrails` refuses them in what others wrote.

use std::ops::Range;
use std::sync::OnceLock;

use regex::Regex;
use unicode_normalization::char::decompose_compatible;

use crate::text::is_hidden;

/// The names of what can be skipped.
const SKIPPED: &str = r"(?:ci|cd|ci/cd|actions?|checks?|builds?|deploy(?:ment)?s?|pipelines?|workflows?|github|gha|gitlab|azure[\s_-]?pipelines?|az[\s_-]?pipelines?|azp|travis(?:[\s_-]?ci)?|circle(?:[\s_-]?ci)?|cirrus(?:[\s_-]?ci)?|buildkite|drone|woodpecker|appveyor|netlify|vercel|render|cf[\s_-]?pages|amplify|heroku|bitrise|semaphore|codemagic|codebuild|cloudbuild|codeship|wercker|shippable|jenkins|teamcity|bamboo)";

/// A closing or reopening word of GitHub, GitLab, Gitea, Bitbucket or Azure, up to where the issue
/// must be named. GitLab also takes the end of a longer word.
const CLOSING: &str = r"(?i)(?P<word>clos(?:e[sd]?|ing)|\bfix(?:e[sd]|ing)?|\bresolv(?:e[sd]?|ing)|\bimplement(?:s|ed|ing)?|\bcomplet(?:e[sd]?|ing)|\bre-?open(?:s|ed|ing)?)\b(?:\s*:)?";

/// What may stand between the word and the issue, and the issue: `#7`, `!7`, `GH-7`, `AB#7`,
/// `owner/repo#7`, `group/sub/repo#7` or an address, also inside markup.
const ISSUE: &str = r#"[\s*_~"'`<\[]*(?:(?:the|this|these|also)\s+)?(?:(?:issues?|bugs?|tickets?|tasks?|stor(?:y|ies)|pull[\s-]requests?|merge[\s-]requests?|prs?|mrs?|work[\s-]?items?)[\s:]*)?[\s*_~"'`<\[]*(?:(?:(?:[\w.-]+/)+[\w.-]+)?[#!]\d|GH-\d|AB#\d|https?://[^\s<>]{1,300}?/(?:issues|pull|pulls|pull-requests|merge_requests|work_items|workitems|edit|browse)/[\w-]{0,40}?\d)"#;

/// The patterns of this module, compiled.
#[derive(Debug)]
pub(crate) struct Words {
    skips_ci: Regex,
    closes: Regex,
    of_others: Regex,
}

/// The place of a closing word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The closing word alone.
    pub(crate) word: Range<usize>,
    /// The closing word up to the first digit of the issue that it names.
    pub(crate) whole: Range<usize>,
}

impl Words {
    /// Returns the patterns, compiled once for the process. An error is a mistake in this file.
    pub(crate) fn get() -> Result<&'static Self, regex::Error> {
        static COMPILED: OnceLock<Result<Words, regex::Error>> = OnceLock::new();
        COMPILED.get_or_init(Self::compile).as_ref().map_err(Clone::clone)
    }

    fn compile() -> Result<Self, regex::Error> {
        let t = SKIPPED;
        let skips_ci = [
            // `[skip ci]`, `[ci-skip]`, `[skip azurepipelines]`, also with a reason after it.
            format!(
                r"\[[\s_.:*-]*(?:(?:skip|no)[\s_.:/-]*{t}|{t}[\s_.:/-]*skip(?:ped)?)\s*(?:[:,;][^\]\n]{{0,80}})?[\s_.:*-]*\]"
            ),
            r"\*{2,}\s*no[\s_-]*ci\s*\*{2,}".to_owned(),
            // `--skip-ci`, and as a push option or a trailer.
            format!(r"--(?:skip|no)-{t}\b|--{t}-skip\b"),
            r"\bci\.skip\b".to_owned(),
            format!(r"\b(?:(?:skip|no)[\s_-]*{t}|{t}[_-]?skip)\s*[:=]\s*(?:true|yes|on|1)\b"),
        ];
        Ok(Self {
            skips_ci: Regex::new(&format!("(?i){}", skips_ci.join("|")))?,
            closes: Regex::new(&format!("{CLOSING}{ISSUE}"))?,
            of_others: Regex::new(
                r"(?i)^[\s>*-]*(?P<key>[a-z]+(?:-[a-z]+)*-by|co-authors?|on-behalf-of|afk-[a-z-]*)\s*:(?P<value>.*)$",
            )?,
        })
    }

    /// Returns the place of the first token that makes CI skip the commit.
    pub(crate) fn skips_ci(&self, message: &str) -> Option<Range<usize>> {
        let folded = Folded::of(message);
        self.skips_ci.find(&folded.text).map(|hit| folded.place(hit.range()))
    }

    /// Returns the place of the first words that close or reopen an issue.
    pub(crate) fn closes(&self, message: &str) -> Option<Closing> {
        let folded = Folded::of(message);
        let found = self.closes.captures(&folded.text)?;
        let (word, whole) = (found.name("word")?, found.get(0)?);
        Some(Closing { word: folded.place(word.range()), whole: folded.place(whole.range()) })
    }

    /// Returns the key and the value of a line that speaks for somebody (`Reviewed-by`,
    /// `Co-authored-by` and the like) or for a run (`AFK-…`). Both are folded, the key in lower
    /// case.
    pub(crate) fn speaks_for(&self, line: &str) -> Option<(String, String)> {
        let folded = Folded::of(line);
        let found = self.of_others.captures(&folded.text)?;
        let (key, value) = (found.name("key")?, found.name("value")?);
        Some((key.as_str().to_ascii_lowercase(), value.as_str().trim().to_owned()))
    }
}

/// A text as a tolerant reader takes it, and for each byte of it the place in the original text
/// that it comes from.
struct Folded {
    text: String,
    from: Vec<Range<usize>>,
}

impl Folded {
    fn of(text: &str) -> Self {
        let mut folded = Self { text: String::with_capacity(text.len()), from: Vec::new() };
        for (at, c) in text.char_indices().filter(|(_, c)| !is_hidden(*c)) {
            decompose_compatible(c, |plain| {
                folded.text.push(plain);
                let bytes = std::iter::repeat_n(at..at + c.len_utf8(), plain.len_utf8());
                folded.from.extend(bytes);
            });
        }
        folded
    }

    /// Returns the place in the original text.
    fn place(&self, folded: Range<usize>) -> Range<usize> {
        let start = self.from.get(folded.start).map_or(0, |from| from.start);
        let last = folded.end.checked_sub(1).and_then(|last| self.from.get(last));
        start..last.map_or(start, |from| from.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_skip_ci() {
        let words = Words::get().unwrap();
        for bad in [
            "Fix it [skip ci]",
            "[CI SKIP] x",
            "x\n\n[No CI]",
            "[skip actions]",
            "[Actions Skip]",
            "a\n\nSkip-Checks: TRUE",
            "skip-checks:true",
            "skip-checks : true",
            "[skip-ci]",
            "[ci-skip]",
            "[skip ci ]",
            "[ skip  ci]",
            "[skip\tci]",
            "[skip\nci]",
            "[skip ci: documents only]",
            "***NO_CI***",
            "*** no ci ***",
            "[skip azurepipelines]",
            "[azp skip]",
            "[skip travis]",
            "[travis ci skip]",
            "[skip circle]",
            "[skip cirrus]",
            "[skip woodpecker]",
            "[CF-Pages-Skip]",
            "[skip netlify]",
            "[vercel skip]",
            "[skip deploy]",
            "--skip-ci",
            "--no-ci at the end",
            "ci.skip",
            "-o ci.skip=true",
            "ci-skip: true",
            "skip_ci = 1",
            "[skip\u{200b}ci]",
            "[s\u{200b}kip ci]",
            "[s\u{ad}kip\u{a0}ci]",
            "\u{ff3b}skip ci\u{ff3d}",
            "[ｓｋｉｐ ｃｉ]",
        ] {
            assert!(words.skips_ci(bad).is_some(), "{bad:?}");
        }
        for good in [
            "skip ci when docs change",
            "ci skip",
            "[skip] ci",
            "skip-checks: false",
            "[ci]",
            "[skip circles]",
            "[no cinema]",
            "skip checks that are slow",
            "the flag --skip-cinema",
            "[ci] skip the slow ones",
            "accept [no-cache] and no-check",
            "Say how CI.skipped is set",
        ] {
            assert_eq!(words.skips_ci(good), None, "{good:?}");
        }
    }

    #[test]
    fn words_that_close_an_issue() {
        let words = Words::get().unwrap();
        let all = "close closes closed closing fix fixes fixed fixing resolve resolves resolved \
                   resolving implement implements implemented reopen reopens reopened completes";
        let targets = [
            "#7",
            "o/r#7",
            "group/sub/repo#7",
            "GH-7",
            "o/r!7",
            "AB#7",
            "issue #7",
            "issues: #7",
            "[#7](x)",
            "**#7**",
            "https://github.com/o/r/issues/7",
            "https://gitlab.example/g/s/r/-/issues/7",
            "https://dev.azure.example/o/p/_workitems/edit/7",
            "<https://forge.example/o/r/pulls/7>",
        ];
        for word in all.split_whitespace() {
            for target in targets {
                for bad in
                    [format!("{word} {target}"), format!("x\n\n{}: {target}", word.to_uppercase())]
                {
                    assert!(words.closes(&bad).is_some(), "{bad}");
                }
            }
        }
        for bad in ["Fixes\n#7", "Fi\u{200b}xes #7", "Ｆixes ＃7", "Fixes #4711 and #7", "fix:#7"]
        {
            assert!(words.closes(bad).is_some(), "{bad}");
        }
        for good in [
            "Refs #7",
            "prefixes #7",
            "Fix the parser (#7)",
            "closes the file, see #7",
            "fix issue 7",
            "resolve https://example.org/a",
            "hotfix7 #",
            "Fix UTF-8 in names",
            "Implement the second part of #7",
            "Close 7 handles",
            "enclosed #",
        ] {
            assert_eq!(words.closes(good), None, "{good}");
        }
    }

    #[test]
    fn places_are_those_of_the_text_as_it_is() {
        let words = Words::get().unwrap();
        let text = "é ［s\u{200b}kip ci］ ü";
        assert_eq!(&text[words.skips_ci(text).unwrap()], "［s\u{200b}kip ci］");
        let text = "é Ｆi\u{200b}xes: ＃7 ü";
        let found = words.closes(text).unwrap();
        assert_eq!(
            (&text[found.word], &text[found.whole]),
            ("Ｆi\u{200b}xes", "Ｆi\u{200b}xes: ＃7")
        );
    }

    #[test]
    fn lines_that_speak_for_somebody() {
        let words = Words::get().unwrap();
        let check = |line: &str, expected: Option<(&str, &str)>| {
            let found = words.speaks_for(line);
            let found = found.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
            assert_eq!(found, expected, "{line:?}");
        };
        check("Reviewed-by: Alice <a@x>", Some(("reviewed-by", "Alice <a@x>")));
        check("  * SIGNED-OFF-BY : B", Some(("signed-off-by", "B")));
        check("Co-authored-by: A", Some(("co-authored-by", "A")));
        check("Acked-and-tested-by: A", Some(("acked-and-tested-by", "A")));
        check("On-behalf-of: A", Some(("on-behalf-of", "A")));
        check("AFK-Run: 1", Some(("afk-run", "1")));
        check("A\u{200b}FK-Anything: 1", Some(("afk-anything", "1")));
        for line in ["Refs #7", "Stand by: me", "Fixes: 0123abc", "It was reviewed-by: who?", ""] {
            check(line, None);
        }
    }
}
