//! Marks in test files, and among code, that make test runners skip tests or choose which tests
//! run, and which of them cannot skip a test that was there before.
//!
//! A mark is told by one line, and by the line below it that it marks. An attribute of a new test,
//! a `return` or a failing exit in a new function, a call with which a new test skips itself, and
//! `set +e` for new lines alone leave the old tests as they were. Where that is in doubt, a mark
//! counts. A `TestMain` of Go that runs no tests is told by its whole body.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use regex::bytes::Regex;

use super::test_changes::is_comment;
use crate::change::{lines, removed_lines};

/// Returns the numbers, from 0, of the lines of `new` that are marks which `old` does not have
/// before the same line.
pub(super) fn more_marks(old: &[u8], new: &[u8], is_mark: fn(&[u8]) -> bool) -> BTreeSet<usize> {
    let mut known: HashMap<_, usize> = HashMap::new();
    for (_, mark) in marks(old, is_mark) {
        *known.entry(mark).or_default() += 1;
    }
    let is_new = |(at, mark)| match known.get_mut(&mark) {
        Some(0) | None => Some(at),
        Some(count) => {
            *count -= 1;
            None
        }
    };
    marks(new, is_mark).into_iter().filter_map(is_new).collect()
}

/// A mark and what it marks: the next line that is neither blank nor an attribute.
type Mark<'a> = (&'a [u8], Option<&'a [u8]>);

/// Returns the marks of a content with their line numbers, from 0, the last first.
fn marks(content: &[u8], is_mark: fn(&[u8]) -> bool) -> Vec<(usize, Mark<'_>)> {
    let mut next = None;
    let mut found = Vec::new();
    for (at, line) in lines(content).into_iter().map(<[u8]>::trim_ascii).enumerate().rev() {
        if is_mark(line) {
            found.push((at, (line, next)));
        }
        let attribute = line.starts_with(b"@") || (line.starts_with(b"#[") && line.ends_with(b"]"));
        if !(line.is_empty() || attribute) {
            next = Some(line);
        }
    }
    found
}

/// Marks that make test runners skip tests, or end before they run them.
const SKIPS: &str = r#"(?x-u)
    # Python
    ^\s*@(?:\w+\.)*(?:skip|skipif|xfail|skip_if|skipIf|skipUnless|expectedFailure)\b
  | \b(?:pytest|unittest)\.(?:skip|skipif|skipIf|skipUnless|xfail|importorskip|SkipTest|expectedFailure)\b
  | \bpytest\.exit\s*\( | \bmark\.(?:skip|skipif|xfail)\b
  | \bself\.skipTest\b | \braise\s+(?:\w+\.)?SkipTest\b | \bpytestmark\s*= | \b__test__\s*=\s*False
    # JavaScript
  | \b(?:it|test|describe|context|suite|specify|t)(?:\s*\.\s*(?:concurrent|sequential|serial|parallel|shuffle|describe|fails))*
    \s*\.\s*(?:skip|skipIf|runIf|only|todo|fixme|failing)\b
  | \b(?:it|test|describe|context|suite|specify)\s*\[\s*['"`](?:skip|skipIf|runIf|only|todo)\b
  | \bthis\.skip\s*\(
  | (?:^|[^.\w])(?:x(?:it|describe|test|context|specify)|f(?:describe|context|specify))\s*\(
  | (?:^|[^.\w])f(?:it|test)\s*\(\s*['"`] | ^\s*f(?:it|test)\s*\(\s*$ | (?:^|[^.\w])[xf](?:it|test|describe)\.each\b
    # an option of a test, whose name may come first
  | \b(?:it|test|describe|context|suite|specify)\s*\(\s*(?:'[^']*'|"[^"]*"|`[^`]*`)?[^(){}]*\{[^{}]*
    \b(?:skip|only|todo|ignore)\s*:\s*(?:[^f\s]|f[^a])
  | ^\s*(?:skip|only)\s*:\s*true\s*,?\s*$
    # Rust: any condition but `test`
  | \#!?\[\s*(?:ignore\b | cfg\s*\(\s*(?:[^t\s]|t[^e]|te[^s]|tes[^t]|test[^\s)]) | cfg_attr\s*\([^\]]*\b(?:ignore|cfg)\b)
    # the JVM and .NET
  | @(?:(?:Disabled|Enabled)\w*|Ignore)\b | @Test\s*\([^)]*\benabled\s*=\s*false
  | \[\s*(?:Ignore|Explicit)\b | \bExplicit\s*=\s*true\b | \bSkip\s*=\s*"
  | \bassumeTrue\s*\(\s*false | \bassumeFalse\s*\(\s*true | \bAssert\.(?:Ignore|Inconclusive)\b
    # Go
  | (?:^|[{;])\s*(?:tb|[a-z])\.Skip(?:f|Now)?\s*\( | ^//\s*go:build\b | ^//\s*\+build\b
    # Ruby, PHP, Elixir, bats
  | ^\s*skip\s+[\w'":$] | ^\s*pending\s+['":$A-Z]
  | ^\s*(?:skip|pending)(?:\s*$|\s*[(;]|\s+(?:if|unless)\b)
  | ^\s*[xf](?:it|describe|context|specify)\s+['"]
  | \bmarkTest(?:Skipped|Incomplete)\b | @(?:tag|moduletag|describetag)\s+:?skip
    # a shell
  | ^\s*set\s+\+(?:[a-z]*e|o\s+errexit) | \btrap\s.*\bexit\s+0\b
    # what is never run, and an early end, anywhere
  | ^\s*(?:\}\s*else\s+|el)?(?:if|while)\s*\(?\s*(?:[Ff]alse|0|None|not\s+True|!\s*true)\s*\)?\s*(?:[{:;]|then\b|$)
  | ^\s*(?:exit|return)\s*(?:0\s*)?(?:;|$|\#) | ^\s*(?:exit|quit|die)\s*\(\s*0?\s*\)
  | \b(?:os\._exit|sys\.exit|process\.exit|std::process::exit|os\.Exit|System\.exit)\s*\(
  | \bprocess\.exitCode\s*=\s*0\b | \braise\s+SystemExit\s*(?:\(\s*(?:0|None)?\s*\)\s*)?(?:;|$|\#)
"#;

/// Those of the marks that code has for no other reason; a group matches the mark alone.
const AMONG_CODE: &str = r"(?x-u)
    ^\s*(?:\#\[[^\]]*\]\s*)*(\#!?\[\s*(?:ignore\b[^\]]*|cfg_attr\s*\([^\]]*\bignore\b[^\]]*|cfg\s*\(\s*(?:any\s*\(\s*\)|FALSE|false)\s*\))\s*\])
  | ^\s*(@(?:pytest\.mark\.|mark\.|unittest\.)?(?:skip|skipif|xfail|skipIf|skipUnless|expectedFailure)\b.*)
  | ^\s*((?:self\.skipTest\b|__test__\s*=\s*False).*)
";

/// Whether the line names a hook with which a test file chooses which tests of a folder run.
pub(super) fn chooses_tests(line: &[u8]) -> bool {
    let hooks = [
        &b"load_tests"[..],
        b"collect_ignore",
        b"pytest_collection_modifyitems",
        b"pytest_ignore_collect",
        b"pytest_collect_file",
    ];
    hooks.iter().any(|hook| line.windows(hook.len()).any(|window| window == *hook))
}

/// The function with which a test file of Go takes over the run of its package's tests: the name of
/// its argument, and what follows on the line.
const TEST_MAIN: &str = r"(?-u)^func\s+TestMain\s*\(\s*(?:(\w+)\s+)?\*\s*(?:\w+\.)?M\s*\)(.*)$";

/// Whether a file has such a function, which neither calls `m.Run()` nor hands `m` on: then none of
/// the package's tests is run.
pub(super) fn runs_no_tests(content: &[u8]) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let Some(shape) = SHAPE.get_or_init(|| Regex::new(TEST_MAIN).ok()) else { return false };
    let mut rest = lines(content).into_iter().filter(|line| !is_comment(line.trim_ascii()));
    let Some(main) = rest.find_map(|line| shape.captures(line)) else { return false };
    let part = |at| main.get(at).map(|part| part.as_bytes()).unwrap_or_default();
    let (name, first) = (part(1), part(2));
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let uses_it = |line: &[u8]| {
        let is_dropped = line.trim_ascii_start().starts_with(b"_ =");
        !is_dropped && line.split(|byte| !is_word(byte)).any(|word| word == name)
    };
    let is_open = !first.trim_ascii_end().ends_with(b"}");
    let below = rest.take_while(|line| is_open && !line.starts_with(b"}"));
    let is_named = !(name.is_empty() || name == b"_");
    !(is_named && [first].into_iter().chain(below).any(uses_it))
}

pub(super) fn is_skip_mark(line: &[u8]) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    // The pattern is built in, and a test compiles it.
    let shape = SHAPE.get_or_init(|| Regex::new(SKIPS).ok());
    chooses_tests(line) || shape.as_ref().is_some_and(|shape| shape.is_match(line))
}

/// The first line of a function, as far as it can be told by that line alone.
const FUNCTION: &str = r"(?x-u)
    ^(?:(?:export|default|async|pub|public|private|protected|internal|static|final|override)\s+)*
     (?:(?:def|fn|fun|func|function)\b | (?:void|int|bool|Task)\s+\w+\s*\()
  | (?:=> | \bfunc\s*\([^()]*\)[^(){}]* | \bfunction\s*\w*\s*\([^()]*\))\s*\(?\{$
    # a shell, bats
  | ^[\w:-]+\s*\(\)\s*\{$ | ^@test\b
";

fn opens_function(line: &[u8]) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(FUNCTION).ok());
    shape.as_ref().is_some_and(|shape| shape.is_match(line))
}

/// An end of the process that no run takes for a success. Of a larger code, only the last byte may
/// count.
const FAILURE: &str = r"(?x-u)
    ^(?:os\._exit|sys\.exit|process\.exit|std::process::exit|os\.Exit|System\.exit)
     \s*\(\s*[1-9][0-9]?\s*\)\s*;?$
";

fn ends_in_failure(line: &[u8]) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(FAILURE).ok());
    shape.as_ref().is_some_and(|shape| shape.is_match(line))
}

/// A call with which a test skips itself, and nothing behind it.
const SKIP_CALL: &str = r#"(?x-u)
    ^(?: (?:tb|[a-z])\.[Ss]kip(?:f|Now)?\s*\(
      | (?:\w+\s*=\s*)?pytest\.(?:skip|importorskip|xfail)\s*\(
      | self\.skipTest\s*\( | raise\s+(?:\w+\.)?SkipTest\b
      | this\.skip\s*\( | \$this->markTest(?:Skipped|Incomplete)\s*\(
      | skip(?:\s*$|\s*\(|\s+['"\w$:])
    )[^;]*;?$
"#;

fn calls_skip(line: &[u8]) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(SKIP_CALL).ok());
    let exits = line.windows(4).any(|part| part.eq_ignore_ascii_case(b"exit"));
    !exits && shape.as_ref().is_some_and(|shape| shape.is_match(line))
}

/// The first line of a function that is a test, and neither sets up others nor runs them.
const TEST: &str = r"(?x-u)
    ^func\s+(?:Test|Benchmark|Fuzz)\w*\s*\(\s*\w+\s+\*testing\.[TBF]\s*\)
  | ^(?:async\s+)?def\s+test | ^(?:public\s+)?function\s+test\w*\s*\(
  | ^(?:it|test|specify)\s*\( | ^@test\b
";

fn opens_test(line: &[u8]) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(TEST).ok());
    shape.as_ref().is_some_and(|shape| shape.is_match(line))
}

/// Whether a line is nothing but attributes that also end in it. In doubt, the answer is no.
fn is_attribute(line: &[u8]) -> bool {
    let parts = |byte: u8| line.split(move |b| *b == byte).count();
    let ends = match line {
        [b'@', ..] => parts(b'(') == parts(b')'),
        [b'#', b'[', .., b']'] | [b'[', .., b']'] => true,
        _ => false,
    };
    let goes_on = [&b"/*"[..], b"'''"];
    let goes_on = goes_on.iter().any(|open| line.windows(open.len()).any(|part| part == *open));
    // An odd number of quotes leaves a text open.
    ends && !goes_on && parts(b'"') % 2 == 1
}

/// Whether an old test may begin at a line, or be taken in by it. In doubt, the answer is yes.
fn may_hold_test(line: &[u8]) -> bool {
    let begins = [&b"@"[..], b"[", b"#[", b"mod ", b"pub mod ", b"public ", b"include!"];
    opens_function(line)
        || begins.iter().any(|begin| line.starts_with(begin))
        || matches!(line.last(), Some(b'{' | b':'))
}

/// Whether a line of a shell only keeps how the command above it ended, and so is no test.
fn keeps_status(line: &[u8]) -> bool {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    line.strip_suffix(b"=$?").is_some_and(|name| name.iter().all(is_name))
}

/// The two sides of an edited test file, which show what a new mark may skip.
pub(super) struct Sides<'a> {
    /// The old lines, without their indentation.
    old: HashSet<&'a [u8]>,
    new: Vec<&'a [u8]>,
    /// Whether old lines are gone that may have held a test, which may be there under a new name.
    loses_tests: bool,
}

impl<'a> Sides<'a> {
    pub(super) fn new(old: &'a [u8], new: &'a [u8]) -> Self {
        let mut gone = removed_lines(old, new).into_iter().map(<[u8]>::trim_ascii);
        let loses_tests = gone.any(may_hold_test);
        let old = lines(old).into_iter().map(<[u8]>::trim_ascii).collect();
        Self { old, new: lines(new), loses_tests }
    }

    /// Whether the mark at line `at` cannot skip a test that was there before.
    pub(super) fn spares(&self, at: usize) -> bool {
        self.is_on_something_new(at) || self.ends_new_function(at) || self.is_taken_back(at)
    }

    /// Returns line `at` and those below it, without their indentation.
    fn lines_from(&self, at: usize) -> impl Iterator<Item = &'a [u8]> {
        self.new.iter().copied().skip(at).map(<[u8]>::trim_ascii)
    }

    /// Whether line `at` is an attribute of a new function or statement. An old test under a new
    /// name is not new, so no old line that may have held one may be gone; and old tests may stand
    /// in a new class or module.
    fn is_on_something_new(&self, at: usize) -> bool {
        let mut below = self.lines_from(at);
        if self.loses_tests || !below.next().is_some_and(is_attribute) {
            return false;
        }
        let Some(marked) = below.find(|line| !(line.is_empty() || is_attribute(line))) else {
            return false;
        };
        let goes_on = is_comment(marked) || matches!(marked.first(), Some(b'#' | b'@' | b'['));
        let known = opens_function(marked) || marked.ends_with(b";");
        known && !goes_on && !self.old.contains(marked)
    }

    /// Whether line `at` is a `return`, or an exit that fails, in a function that is new, and so in
    /// no old test; or skips the test that it is in, and that test is new. The function is found by
    /// indentation; where that is in doubt, the answer is no.
    fn ends_new_function(&self, at: usize) -> bool {
        let indent = |line: &[u8]| line.len() - line.trim_ascii_start().len();
        let mut above = self.new.iter().copied().enumerate().take(at + 1).rev();
        let Some((_, mark)) = above.next() else { return false };
        let text = mark.trim_ascii();
        // An old test under a new name is not new.
        let skips = !self.loses_tests && calls_skip(text);
        if !(skips || text.starts_with(b"return") || ends_in_failure(text)) {
            return false;
        }
        let mut within = indent(mark);
        for (at, line) in above {
            let text = line.trim_ascii();
            if text.is_empty() || indent(line) >= within {
                continue;
            }
            if opens_function(text) {
                let is_new = !self.old.contains(text);
                if !(skips && is_new) {
                    return is_new;
                }
                if opens_test(text) {
                    return !self.may_serve_others(at);
                }
                // Of a set-up, old tests would be skipped, too; of a part of a test, only that test.
                within = indent(line);
                continue;
            }
            let closes = matches!(text.first(), Some(b')' | b']' | b'}'));
            let opens = matches!(text.last(), Some(b'{' | b'(' | b':'));
            if closes && !opens {
                return false;
            }
            // A block that goes on, or a brace on a line of its own, belongs to a line above it
            // with the same indentation.
            within = indent(line) + usize::from(closes || text == b"{");
        }
        false
    }

    /// Whether old tests may run the function at line `at`: another line names it, or a decorator may
    /// make a fixture of it.
    fn may_serve_others(&self, at: usize) -> bool {
        const HARMLESS: [&[u8]; 4] = [b"@pytest.mark.", b"@mock.", b"@patch", b"@unittest.mock."];
        let words = |line: &'a [u8]| {
            line.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))
                .filter(|word| !word.is_empty())
        };
        let line = self.new.get(at).copied().unwrap_or_default();
        let keyword = |word: &&[u8]| matches!(*word, b"def" | b"func" | b"function");
        let name = words(line).skip_while(|word| !keyword(word)).nth(1);
        let names = |(other, line): (usize, &'a [u8])| {
            other != at && name.is_some_and(|name| words(line).any(|word| word == name))
        };
        let above = self.new.iter().copied().take(at).rev().map(<[u8]>::trim_ascii);
        let above = above.take_while(|line| !opens_function(line) && !line.starts_with(b"class "));
        let decorates = |line: &[u8]| {
            line.starts_with(b"@") && !HARMLESS.iter().any(|known| line.starts_with(known))
        };
        self.new.iter().copied().enumerate().any(names) || above.into_iter().any(decorates)
    }

    /// Whether line `at` lets commands of a shell fail for new lines alone (`set +e`, `set -e`), or
    /// for new commands on this one line.
    fn is_taken_back(&self, at: usize) -> bool {
        let is_back = |line: &[u8]| line.starts_with(b"set -e");
        let is_old = |line: &[u8]| !line.is_empty() && self.old.contains(line);
        let old_or_back = |line: &&[u8]| is_back(line) || (is_old(line) && !keeps_status(line));
        let mut below = self.lines_from(at);
        let Some(mark) = below.next().filter(|line| line.starts_with(b"set +")) else {
            return false;
        };
        let ends_it = if mark.contains(&b';') {
            let ends = mark.ends_with(b"set -e") && !mark.contains(&b'#');
            let mut commands = mark.split(|b| *b == b';').skip(1).map(<[u8]>::trim_ascii);
            commands.find(old_or_back).filter(|_| ends)
        } else {
            below.find(old_or_back)
        };
        ends_it.is_some_and(is_back)
    }
}

pub(super) fn is_mark_among_code(line: &[u8]) -> bool {
    mark_among_code(line).is_some()
}

/// Returns the bytes of a line of code that are the mark.
pub(super) fn mark_among_code(line: &[u8]) -> Option<Range<usize>> {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(AMONG_CODE).ok()).as_ref()?;
    let groups = shape.captures(line)?;
    groups.iter().skip(1).flatten().next().map(|mark| mark.range())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: &[&str] = &[
        "@pytest.mark.skip",
        "@pytest.mark.skipif(True, reason='x')",
        "@unittest.skip('x')",
        "@pytest.mark.xfail(strict=False)",
        "    pytest.skip('later')",
        "        self.skipTest('x')",
        "raise unittest.SkipTest",
        "def load_tests(loader, tests, pattern):",
        "collect_ignore = ['a.py']",
        "pytestmark = pytest.mark.skip",
        "__test__ = False",
        "it.skip('adds', () => {",
        "test.only('adds', () => {",
        "describe.skip('x', f)",
        "xit('adds', () => {",
        "xdescribe('x', () => {",
        "test('a', { skip: true }, f)",
        "test.todo('adds')",
        "    #[ignore]",
        "#[ignore = \"slow\"]",
        "#[cfg(any())]",
        "#![cfg(any())]",
        "#[cfg_attr(test, ignore)]",
        "    @Disabled",
        "@Ignore(\"x\")",
        "[Fact(Skip = \"x\")]",
        "    t.Skip(\"later\")",
        "\tt.SkipNow()",
        "//go:build ignore",
        "  skip 'later'",
        "$this->markTestSkipped('x');",
        "  @tag :skip",
        "exit 0",
        "  exit",
        "return 0",
        "sys.exit(0)",
        "process.exit(0);",
        "    os._exit(0)",
        "#[cfg(windows)]",
        "#[cfg(target_os = \"windows\")]",
        "#![cfg(feature = \"slow\")]",
        "#[cfg(not(all()))]",
        "#[cfg(testing)]",
        "#[cfg_attr(all(), cfg(windows))]",
        "@u.skip('x')",
        "    @u.skipUnless(False, 'x')",
        "pytest.param(1, marks=pytest.mark.skip)",
        "pytest.exit('x', 0)",
        "raise SystemExit",
        "if False:",
        "    while 0:",
        "this.skip();",
        "it.skipIf(true)('adds', () => {",
        "test.runIf(false)('adds', () => {",
        "it.concurrent.skip('adds', () => {",
        "it['skip']('adds', () => {",
        "test('adds (twice)', { skip: 1 }, f)",
        "Deno.test({ name: 'adds', ignore: true, fn })",
        "  skip: true,",
        "fit('adds', () => {",
        "if (false) {",
        "} else if (!true) {",
        "process.exitCode = 0",
        "@DisabledOnOs(OS.LINUX)",
        "@EnabledOnOs(OS.MAC)",
        "@Test(enabled = false)",
        "assumeFalse(true);",
        "[Test, Explicit = true]",
        "if true { t.Skip() }",
        "pending",
        "skip if slow?",
        "skip \"later\"",
        "xit 'adds' do",
        "set +e",
        "set +eu",
        "if false; then",
        "trap 'exit 0' EXIT",
        "exit(0);",
        "sys.exit(2)",
    ];

    const PLAIN: &[&str] = &[
        "def test_skips_blank_lines(): assert calc.skip(1) == 2",
        "assert only == 1",
        "    assert_eq!(todo(), 3);",
        "it('skips blank lines', () => {",
        "expect(list.only(1))",
        "    return 0 if x else 1",
        "#[test]",
        "#[cfg(test)]",
        "exit 1",
        "fit = curve(x)",
        "t.Run(\"skip\", func(t *testing.T) {",
        "ignored = [1, 2]",
        "exits = 0",
        "return 1",
        "model.fit(X, y)",
        "fit(model, data)",
        "pending = queue.pending()",
        "pending.push(1)",
        "pending: 0,",
        "skip = 10",
        "add({ todo: 'milk' })",
        "it('adds', () => { add({ todo: 'milk' }) })",
        "test('adds', { skip: false }, f)",
        "todo: 'milk',",
        "var n = q.Skip(1).Count();",
        "#[cfg( test )]",
        "trap 'rm -rf \"$folder\"' EXIT",
        "set -e",
        "process.exitCode = 1",
        "raise SystemExit(2)",
        "if falsehood {",
        "@EnableCaching",
    ];

    #[test]
    fn marks_of_common_runners_skip_tests() {
        for mark in MARKS {
            assert!(is_skip_mark(mark.as_bytes()), "{mark}");
        }
        for plain in PLAIN {
            assert!(!is_skip_mark(plain.as_bytes()), "{plain}");
        }
    }
}
