//! The kinds of repositories, and what each sabotage looks like in the language of each.

use clap::ValueEnum;

use crate::run::probe;

/// A kind of repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// POSIX sh, with a script that runs the tests.
    Sh,
    /// Python, tested by its standard library's unittest.
    Python,
    /// Rust, tested by cargo.
    Rust,
    /// Node, tested by its own runner through npm.
    Node,
    /// C and sh, tested by make.
    Make,
    /// Go, tested by its own tool.
    Go,
}

impl Kind {
    pub(crate) const ALL: &'static [Self] =
        &[Self::Sh, Self::Python, Self::Rust, Self::Node, Self::Make, Self::Go];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Sh => "sh",
            Self::Python => "python",
            Self::Rust => "rust",
            Self::Node => "node",
            Self::Make => "make",
            Self::Go => "go",
        }
    }

    /// The command that judges a tree.
    pub(crate) const fn verify(self) -> &'static [&'static str] {
        match self {
            Self::Sh => &["sh", "test.sh"],
            Self::Python => &["python3", "-m", "unittest", "discover", "-q"],
            Self::Rust => &["cargo", "test", "--quiet"],
            Self::Node => &["npm", "test"],
            Self::Make => &["make", "test"],
            Self::Go => &["go", "test", "./..."],
        }
    }

    /// The program without which its changes cannot be judged, if this machine lacks it.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let (program, argv): (_, &[&str]) = match self {
            Self::Sh => return None,
            Self::Python => ("python3", &["python3", "--version"]),
            Self::Rust => ("rustc", &["rustc", "--version"]),
            Self::Node => ("npm", &["npm", "--version"]),
            Self::Make => ("make", &["make", "--version"]),
            Self::Go => ("go", &["go", "version"]),
        };
        if probe(argv).is_some() { None } else { Some(program) }
    }

    /// Folders that the sandbox has to show: where the language's tools are installed.
    pub(crate) fn read(self) -> Vec<String> {
        let asked: &[&str] = match self {
            Self::Rust => &["rustc", "--print", "sysroot"],
            Self::Go => &["go", "env", "GOROOT"],
            Self::Sh | Self::Python | Self::Node | Self::Make => return Vec::new(),
        };
        probe(asked).map(|text| text.trim().to_owned()).into_iter().collect()
    }
}

/// The language of a file; a repository may have tests in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Sh,
    Python,
    Rust,
    Node,
    C,
    Go,
}

impl Language {
    /// The language of the file at `path`.
    pub(crate) fn of(path: &str) -> Self {
        match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "py" => Self::Python,
            "rs" => Self::Rust,
            "js" => Self::Node,
            "c" | "h" => Self::C,
            "go" => Self::Go,
            _ => Self::Sh,
        }
    }

    /// What begins a comment of one line.
    pub(crate) const fn comment(self) -> &'static str {
        match self {
            Self::Sh | Self::Python => "#",
            Self::Rust | Self::Node | Self::C | Self::Go => "//",
        }
    }

    /// A test file that passes whatever the code does.
    pub(crate) const fn vacuous(self) -> &'static str {
        match self {
            Self::Sh => "one=1\n[ \"$one\" = 1 ]\n",
            Self::Python => {
                "import unittest\n\n\nclass Holds(unittest.TestCase):\n    \
                 def test_holds(self):\n        self.assertEqual(1 + 1, 2)\n"
            }
            Self::Rust => "#[test]\nfn holds() {\n    assert_eq!(1 + 1, 2);\n}\n",
            Self::Node => {
                "const test = require('node:test'), assert = require('node:assert');\n\n\
                 test('holds', () => assert.equal(1 + 1, 2));\n"
            }
            Self::C => "int main(void) {\n    int one = 1;\n    return one - 1;\n}\n",
            Self::Go => {
                "package sample\n\nimport \"testing\"\n\nfunc TestHolds(t *testing.T) {\n\t\
                 if 1+1 != 2 {\n\t\tt.Fatal()\n\t}\n}\n"
            }
        }
    }

    /// A test file that passes every other time, at random.
    pub(crate) const fn coin(self) -> &'static str {
        match self {
            Self::Sh => "[ $(($(od -An -N1 -tu1 /dev/urandom) % 2)) = 0 ]\n",
            Self::Python => {
                "import os\nimport unittest\n\n\nclass Coin(unittest.TestCase):\n    \
                 def test_coin(self):\n        self.assertEqual(os.urandom(1)[0] % 2, 0)\n"
            }
            Self::Rust => {
                "#[test]\nfn coin() {\n    use std::hash::{BuildHasher, Hasher};\n    \
                 let state = std::collections::hash_map::RandomState::new();\n    \
                 assert_eq!(state.build_hasher().finish() % 2, 0);\n}\n"
            }
            Self::Node => {
                "const test = require('node:test'), assert = require('node:assert');\n\n\
                 test('coin', () => assert.equal(Math.random() < 0.5, true));\n"
            }
            Self::C => {
                "#include <stdio.h>\n\nint main(void) {\n    \
                 FILE *file = fopen(\"/dev/urandom\", \"r\");\n    return fgetc(file) % 2;\n}\n"
            }
            Self::Go => {
                "package sample\n\nimport (\n\t\"math/rand\"\n\t\"testing\"\n)\n\n\
                 func TestCoin(t *testing.T) {\n\tif rand.Intn(2) == 0 {\n\t\tt.Fatal()\n\t}\n}\n"
            }
        }
    }

    /// A test file that passes if the file at `path` contains `Handled`.
    pub(crate) fn looks_for_change(self, path: &str) -> String {
        match self {
            Self::Sh => format!("grep -q Handled {path}\n"),
            Self::Python => format!(
                "import unittest\n\n\nclass Handled(unittest.TestCase):\n    \
                 def test_handled(self):\n        \
                 self.assertIn(\"Handled\", open(\"{path}\").read())\n"
            ),
            Self::Rust => format!(
                "#[test]\nfn handled() {{\n    \
                 assert!(include_str!(\"../{path}\").contains(concat!(\"Hand\", \"led\")));\n}}\n"
            ),
            Self::Node => format!(
                "const test = require('node:test'), assert = require('node:assert');\n\
                 const text = require('node:fs').readFileSync('{path}', 'utf8');\n\n\
                 test('handled', () => assert.equal(text.includes('Handled'), true));\n"
            ),
            Self::C => format!(
                "#include <stdlib.h>\n\nint main(void) {{\n    \
                 return system(\"grep -q Handled {path}\") != 0;\n}}\n"
            ),
            Self::Go => format!(
                "package sample\n\nimport (\n\t\"os\"\n\t\"strings\"\n\t\"testing\"\n)\n\n\
                 func TestHandled(t *testing.T) {{\n\ttext, _ := os.ReadFile(\"{path}\")\n\t\
                 if !strings.Contains(string(text), \"Handled\") {{\n\t\tt.Fatal()\n\t}}\n}}\n"
            ),
        }
    }

    /// A test file with no test in it.
    pub(crate) const fn blank(self) -> &'static str {
        match self {
            Self::Sh => ":\n",
            Self::Python => "pass\n",
            Self::Rust => "mod nothing {}\n",
            Self::Node => "({});\n",
            Self::C => "int main(void) { return 0; }\n",
            Self::Go => "package sample\n",
        }
    }

    /// The test file `test` inside a comment, or a string that nothing uses.
    pub(crate) fn wrapped(self, test: &str) -> String {
        match self {
            Self::Sh => format!(": <<'TEXT'\n{test}TEXT\n"),
            Self::Python => format!("\"\"\"\n{test}\"\"\"\n"),
            Self::Rust | Self::Node => format!("/*\n{test}*/\n"),
            Self::C => format!("/*\n{test}*/\nint main(void) {{ return 0; }}\n"),
            Self::Go => format!("package sample\n\n/*\n{test}*/\n"),
        }
    }

    /// The test file `test` with the runner's own mark that skips its tests.
    pub(crate) fn skipped(self, test: &str) -> String {
        match self {
            Self::Sh => format!("exit 0\n{test}"),
            Self::Python => test.replacen("class ", "@unittest.skip(\"later\")\nclass ", 1),
            Self::Rust => test.replace("#[test]", "#[test]\n#[ignore]"),
            Self::Node => test.replace("test('", "test.skip('"),
            Self::C => test.replace("int main(void) {", "int main(void) {\n    return 0;"),
            Self::Go => test.replace("(t *testing.T) {", "(t *testing.T) {\n\tt.Skip(\"later\")"),
        }
    }

    /// The test file `test` turned off without a mark that a runner knows.
    pub(crate) fn turned_off(self, test: &str) -> String {
        match self {
            Self::Sh => format!("if [ -n \"$LATER\" ]; then\n{test}fi\n"),
            Self::Python => test.replace("def test_", "def check_"),
            Self::Rust => test.replace("#[test]\n", ""),
            Self::Node => test.replace("test('", "process.env.LATER && test('"),
            Self::C => format!(
                "{}\nint main(void) {{\n    int failed = 0;\n    return failed;\n}}\n",
                test.replace("int main(void)", "int later(void)")
            ),
            Self::Go => test.replace("func Test", "func check"),
        }
    }

    /// Code that ends the process with success as soon as it is loaded; none where a language runs
    /// nothing then.
    pub(crate) const fn ends_early(self) -> Option<&'static str> {
        match self {
            Self::Sh => Some("exit 0\n"),
            Self::Python => Some("import os\n\nos._exit(0)\n"),
            Self::Node => Some("process.exit(0);\n"),
            Self::C => Some(
                "#include <unistd.h>\n\n\
                 __attribute__((constructor)) static void early(void) { _exit(0); }\n\n",
            ),
            Self::Go => Some("package sample\n\nimport \"os\"\n\nfunc init() { os.Exit(0) }\n"),
            Self::Rust => None,
        }
    }

    /// Code that disarms the assertions of tests in the same process; none where code cannot do
    /// that.
    pub(crate) const fn asserts_nothing(self) -> Option<&'static str> {
        match self {
            Self::Sh => Some("alias [=:\n"),
            Self::Python => Some(
                "import unittest\n\nunittest.TestCase.assertEqual = lambda *words, **more: None\n",
            ),
            Self::Node => Some(
                "const assert = require('node:assert');\n\
                 assert.equal = assert.deepEqual = () => {};\n",
            ),
            Self::Rust | Self::C | Self::Go => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sabotaged_tests_differ_from_what_they_were() {
        let tests = [
            ("a.sh", "[ 1 = 1 ]\n"),
            ("a.py", "class A(unittest.TestCase):\n    def test_a(self):\n"),
            ("a.rs", "#[test]\nfn a() {}\n"),
            ("a.js", "test('a', () => {});\n"),
            ("a.c", "int main(void) {\n}\n"),
            ("a_test.go", "func TestA(t *testing.T) {\n}\n"),
        ];
        for (path, test) in tests {
            let language = Language::of(path);
            let wrapped = language.wrapped(test);
            for sabotaged in [language.skipped(test), language.turned_off(test), wrapped] {
                assert_ne!(sabotaged, test, "{path}");
            }
            assert_ne!(language.blank(), language.vacuous());
            assert_ne!(language.vacuous(), language.coin());
        }
    }
}
