//! Small repositories of customary kinds, each with an issue and what the scripted agent does about
//! it: a test that fails, then the code that makes it pass.

/// One repository.
pub(crate) struct Project {
    pub(crate) name: &'static str,
    /// Programs without which it cannot be tested.
    pub(crate) needs: &'static [&'static str],
    /// Whether something is downloaded.
    pub(crate) downloads: bool,
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// The test that the issue asks for, and the code that it is about.
    pub(crate) test: (&'static str, &'static str),
    pub(crate) code: (&'static str, &'static str),
}

/// All of them.
pub(crate) const ALL: [Project; 9] =
    [SH, MAKE, UNITTEST, PYTEST, NPM, NPM_PACKAGES, CARGO, GO, MONOREPO];

const SH: Project = Project {
    name: "sh",
    needs: &[],
    downloads: false,
    files: &[
        ("greet.sh", "greet() { printf 'Hello, %s!\\n' \"$1\"; }\n"),
        ("tests/by_name.sh", ". ./greet.sh\n[ \"$(greet Ada)\" = 'Hello, Ada!' ]\n"),
        ("test.sh", "#!/bin/sh\nset -e\nfor test in tests/*.sh; do sh -e \"$test\"; done\n"),
    ],
    test: ("tests/nobody.sh", ". ./greet.sh\n[ \"$(greet)\" = 'Hello, world!' ]\n"),
    code: ("greet.sh", "greet() { printf 'Hello, %s!\\n' \"${1:-world}\"; }\n"),
};

const MAKE: Project = Project {
    name: "make",
    needs: &["make"],
    downloads: false,
    files: &[
        ("greet.sh", "greet() { printf 'Hello, %s!\\n' \"$1\"; }\n"),
        ("tests/by_name.sh", ". ./greet.sh\n[ \"$(greet Ada)\" = 'Hello, Ada!' ]\n"),
        (
            "Makefile",
            "TESTS := $(sort $(wildcard tests/*.sh))\n.PHONY: test $(TESTS)\ntest: $(TESTS)\n\
             $(TESTS):\n\t@sh -e $@\n",
        ),
    ],
    test: SH.test,
    code: SH.code,
};

const UNITTEST: Project = Project {
    name: "unittest",
    needs: &["python3"],
    downloads: false,
    files: &[
        ("dates.py", "def is_leap(year):\n    return year % 4 == 0\n"),
        ("tests/__init__.py", ""),
        (
            "tests/test_dates.py",
            "import unittest\n\nfrom dates import is_leap\n\n\nclass Leap(unittest.TestCase):\n    \
             def test_every_fourth(self):\n        self.assertTrue(is_leap(2024))\n        \
             self.assertFalse(is_leap(2023))\n",
        ),
    ],
    test: (
        "tests/test_centuries.py",
        "import unittest\n\nfrom dates import is_leap\n\n\nclass Centuries(unittest.TestCase):\n    \
         def test_most_are_not(self):\n        self.assertFalse(is_leap(1900))\n        \
         self.assertTrue(is_leap(2000))\n",
    ),
    code: (
        "dates.py",
        "def is_leap(year):\n    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)\n",
    ),
};

const PYTEST: Project = Project {
    name: "pytest",
    needs: &["python3"],
    downloads: true,
    files: &[
        ("pyproject.toml", "[project]\nname = \"dates\"\nversion = \"0.1\"\n"),
        ("src/dates/__init__.py", "def is_leap(year):\n    return year % 4 == 0\n"),
        (
            "tests/test_dates.py",
            "from dates import is_leap\n\n\ndef test_every_fourth():\n    assert is_leap(2024)\n    \
             assert not is_leap(2023)\n",
        ),
    ],
    test: (
        "tests/test_centuries.py",
        "from dates import is_leap\n\n\ndef test_most_centuries_are_not():\n    \
         assert not is_leap(1900)\n    assert is_leap(2000)\n",
    ),
    code: ("src/dates/__init__.py", UNITTEST.code.1),
};

const NPM: Project = Project {
    name: "npm",
    needs: &["npm", "node"],
    downloads: false,
    files: &[
        (
            "package.json",
            "{\n  \"name\": \"pages\",\n  \"version\": \"1.0.0\",\n  \"type\": \"module\",\n  \
             \"scripts\": { \"test\": \"node --test\" }\n}\n",
        ),
        ("pages.js", "export const pages = (items, size) => Math.floor(items / size);\n"),
        (
            "test/even.test.js",
            "import test from 'node:test';\nimport assert from 'node:assert';\nimport { pages } \
             from '../pages.js';\n\ntest('full pages', () => assert.equal(pages(20, 10), 2));\n",
        ),
    ],
    test: (
        "test/rest.test.js",
        "import test from 'node:test';\nimport assert from 'node:assert';\nimport { pages } from \
         '../pages.js';\n\ntest('the last page', () => assert.equal(pages(21, 10), 3));\n",
    ),
    code: ("pages.js", "export const pages = (items, size) => Math.ceil(items / size);\n"),
};

const NPM_PACKAGES: Project = Project {
    name: "npm-packages",
    needs: &["npm", "node"],
    downloads: true,
    files: &[
        (
            "package.json",
            "{\n  \"name\": \"odd\",\n  \"version\": \"1.0.0\",\n  \"scripts\": { \"test\": \"node \
             --test\" },\n  \"dependencies\": { \"is-number\": \"7.0.0\" }\n}\n",
        ),
        (
            "odd.js",
            "const isNumber = require('is-number');\nexports.odd = (n) => isNumber(n) && n % 2 === \
             1;\n",
        ),
        (
            "test/odd.test.js",
            "const test = require('node:test');\nconst assert = require('node:assert');\nconst { \
             odd } = require('../odd.js');\n\ntest('odd', () => assert.equal(odd(3), true));\n",
        ),
    ],
    test: (
        "test/negative.test.js",
        "const test = require('node:test');\nconst assert = require('node:assert');\nconst { odd } \
         = require('../odd.js');\n\ntest('negative', () => assert.equal(odd(-3), true));\n",
    ),
    code: (
        "odd.js",
        "const isNumber = require('is-number');\nexports.odd = (n) => isNumber(n) && Math.abs(n % \
         2) === 1;\n",
    ),
};

const CARGO: Project = Project {
    name: "cargo",
    needs: &["cargo", "cc"],
    downloads: false,
    files: &[
        (
            "Cargo.toml",
            "[package]\nname = \"gcd\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n",
        ),
        (".gitignore", "target/\n"),
        ("src/lib.rs", "pub fn gcd(a: u32, _b: u32) -> u32 {\n    a\n}\n"),
        ("tests/same.rs", "#[test]\nfn same() {\n    assert_eq!(gcd::gcd(4, 4), 4);\n}\n"),
    ],
    test: ("tests/others.rs", "#[test]\nfn others() {\n    assert_eq!(gcd::gcd(12, 18), 6);\n}\n"),
    code: (
        "src/lib.rs",
        "pub fn gcd(a: u32, b: u32) -> u32 {\n    if b == 0 { a } else { gcd(b, a % b) }\n}\n",
    ),
};

const GO: Project = Project {
    name: "go",
    needs: &[],
    downloads: true,
    files: &[
        ("go.mod", "module example.invalid/clamp\n\ngo 1.20\n"),
        (
            "clamp.go",
            "package clamp\n\nfunc Clamp(n, low, high int) int {\n\tif n < low {\n\t\treturn \
             low\n\t}\n\treturn n\n}\n",
        ),
        (
            "low_test.go",
            "package clamp\n\nimport \"testing\"\n\nfunc TestLow(t *testing.T) {\n\tif Clamp(0, 1, \
             3) != 1 {\n\t\tt.Fatal(\"too low\")\n\t}\n}\n",
        ),
    ],
    test: (
        "high_test.go",
        "package clamp\n\nimport \"testing\"\n\nfunc TestHigh(t *testing.T) {\n\tif Clamp(9, 1, 3) \
         != 3 {\n\t\tt.Fatal(\"too high\")\n\t}\n}\n",
    ),
    code: (
        "clamp.go",
        "package clamp\n\nfunc Clamp(n, low, high int) int {\n\tif n < low {\n\t\treturn \
         low\n\t}\n\tif n > high {\n\t\treturn high\n\t}\n\treturn n\n}\n",
    ),
};

const MONOREPO: Project = Project {
    name: "monorepo",
    needs: &["python3", "npm", "node"],
    downloads: false,
    files: &[
        ("README.md", "# Dates and pages\n"),
        ("services/dates/dates.py", UNITTEST.files[0].1),
        ("services/dates/tests/__init__.py", ""),
        ("services/dates/tests/test_dates.py", UNITTEST.files[2].1),
        ("web/package.json", NPM.files[0].1),
        ("web/pages.js", NPM.files[1].1),
        ("web/test/even.test.js", NPM.files[2].1),
    ],
    test: ("services/dates/tests/test_centuries.py", UNITTEST.test.1),
    code: ("services/dates/dates.py", UNITTEST.code.1),
};
