//! What of manifests that are programs steers tests: those of Ruby, Elixir and Gradle.
//!
//! They are read line by line. A line that only asks for a package of a registry may come, and may
//! ask for another version. Every other line must stay as it is and where it is, and a package must
//! stay between the same ones of them. A request over several lines counts as other lines.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value as Json;

use super::Steers;

/// A line of a `Gemfile`: the name of a gem, its versions, and when it is loaded.
const GEM: &str = r#"(?x)
    ^gem (?: \s+ | \s*\(\s* ) ["'] ([\w.-]+) ["']
    (?: \s*,\s* ["'] [\w\s.,<>=~!*-]* ["'] )*
    ( (?: \s*,\s* (?:
        (?: groups?: | :groups?\s*=> ) \s* (?: :\w+ | \[ [\w\s:,]* \] )
      | (?: require: | :require\s*=> ) \s* false
    ) )* )
    \s* \)? \s* (?: \#.* )? $
"#;

/// A line of the `deps` of a `mix.exs`: the name of a package, its version, and where it is used.
/// The last of a list gets its comma when another one comes.
const HEX: &str = r#"(?x)
    ^\{ \s* :(\w+) \s*,\s* "[\w\s.<>=~!-]*"
    ( (?: \s*,\s* (?:
        only:\s* (?: :\w+ | \[ [\w\s:,]* \] )
      | runtime:\s* false
    ) )* )
    \s* \} \s* ,? \s* (?: \#.* )? $
"#;

/// A line of the `dependencies` of Gradle: what the package is used for, and a name in a catalogue
/// of versions, another project of the build, or coordinates.
const GRADLE: &str = r#"(?x)
    ^( \w*(?: Implementation | Api | CompileOnly | RuntimeOnly | AnnotationProcessor )
      | implementation | api | compileOnly | runtimeOnly | annotationProcessor )
    (?: \s+ | \s*\(\s* )
    (?: ( libs(?:\.\w+)+ | project\s*\(\s* ["'] [\w.:-]+ ["'] \s*\) )
      | ["'] ( [\w.-]+ : [\w.-]+ ) (?: : [\w.${}+-]+ )? ["'] )
    \s* \)? \s* (?: //.* )? $
"#;

pub(super) fn gemfile(text: &str) -> Steers {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    // The patterns are built in, and the tests compile them.
    let shape = SHAPE.get_or_init(|| Regex::new(GEM).ok());
    by_line(text, "#", |line| asked(shape.as_ref(), line))
}

pub(super) fn mix(text: &str) -> Steers {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(HEX).ok());
    let mut in_deps = false;
    by_line(text, "#", |line| {
        // A pair elsewhere may be an alias, such as of `mix test`.
        if line.starts_with("def") || line == "end" {
            in_deps = ["def deps do", "defp deps do"].contains(&line);
        }
        asked(shape.as_ref().filter(|_| in_deps), line)
    })
}

pub(super) fn gradle(text: &str) -> Steers {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(GRADLE).ok());
    by_line(text, "//", |line| asked(shape.as_ref(), line))
}

/// Returns what a line of this shape asks for, without its version; `None` for any other line.
fn asked(shape: Option<&Regex>, line: &str) -> Option<String> {
    let groups = shape?.captures(line)?;
    let groups: Vec<&str> = groups.iter().skip(1).flatten().map(|group| group.as_str()).collect();
    Some(groups.join(" ").split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns what steers tests in a text, of whose lines `asked` tells those that only ask for a
/// package.
fn by_line(text: &str, comment: &str, mut asked: impl FnMut(&str) -> Option<String>) -> Steers {
    let (mut keys, mut entries) = (Vec::new(), BTreeSet::new());
    // Whether the next line may belong to the last one.
    let mut is_open = false;
    for line in text.lines().map(str::trim) {
        // Within a text, `#{…}` is code.
        if line.is_empty() || (line.starts_with(comment) && !line.starts_with("#{")) {
            continue;
        }
        if let Some(asked) = asked(line).filter(|_| !is_open) {
            entries.insert(format!("{} {asked}", keys.len()));
        } else {
            let ends = |c: char| c.is_alphanumeric() || "\"')]}[{|".contains(c);
            is_open = !(line.ends_with(ends) || line.ends_with("},")) || line.ends_with("||");
            keys.push(Json::from(line));
        }
    }
    Steers { keys: Json::Array(keys), entries, ..Steers::default() }
}

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{diff, file};

    /// Checks changes of `old`, each from one text in it to another.
    fn check(name: &str, old: &str, changes: &[(&str, &str, bool)]) {
        for &(from, to, expected) in changes {
            assert!(old.contains(from), "{name}: {from}");
            let new = old.replacen(from, to, 1);
            let (diff, blobs) = diff(&[(name, file(old), file(&new))]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}: {from} {to}");
        }
    }

    #[test]
    fn a_gemfile_is_a_runner_unless_it_only_gains_gems() {
        let old = "# frozen_string_literal: true\nsource \"https://rubygems.org\"\n\n\
                   gem 'rails', '~> 8.0'\n\ngroup :test do\n  gem \"rspec\", \"3.13\"\nend\n";
        for name in ["Gemfile", "gems.rb"] {
            check(
                name,
                old,
                &[
                    (
                        "gem 'rails'",
                        "# Amounts.\ngem \"money\", \"~> 6\", \">= 6.1\"\ngem 'rails'",
                        false,
                    ),
                    ("gem 'rails'", "gem(\"a\", require: false) # why\ngem 'rails'", false),
                    ("gem 'rails'", "gem 'a', group: [:test, :development]\ngem 'rails'", false),
                    (
                        "gem 'rails'",
                        "gem 'a', :group => :test, :require => false\ngem 'rails'",
                        false,
                    ),
                    ("  gem \"rspec\"", "  gem \"webmock\"\n  gem \"rspec\"", false),
                    ("8.0", "8.1", false),
                    ("gem 'rails', '~> 8.0'", "gem \"rails\"", false),
                    ("\"3.13\"", "path: \"tools/rspec\"", true),
                    ("\"3.13\"", "github: \"ours/rspec\"", true),
                    ("\"3.13\"", "\"3.13\", require: false", true),
                    ("\"3.13\"", "require: \"tools/rspec\"", true),
                    ("\"3.13\"", "\"#{`true`}\"", true),
                    ("  gem \"rspec\", \"3.13\"\n", "", true),
                    ("gem 'rails'", "gem 'a',\n  path: 'a'\ngem 'rails'", true),
                    ("gem 'rails'", "gem 'a' if exit\ngem 'rails'", true),
                    ("group :test", "group :other", true),
                    ("end\n", "end\neval_gemfile \"other\"\n", true),
                ],
            );
        }
        // In the middle of a line that goes on.
        let open = "gem \"rspec\",\n  path: \"x\"\n";
        check("Gemfile", open, &[("  path", "gem \"a\"\n  path", true)]);
    }

    #[test]
    fn a_mix_file_is_a_runner_unless_it_only_gains_packages() {
        let old = "defmodule A.MixProject do\n  def project do\n    [\n      app: :a,\n      \
                   deps: deps(),\n      aliases: [{:lint, \"credo\"}]\n    ]\n  end\n\n  \
                   defp deps do\n    [\n      {:plug, \"~> 1.0\"},\n      {:ours, path: \"../ours\"},\n      \
                   {:mox, \"~> 1.1\", only: :test}\n    ]\n  end\nend\n";
        check(
            "mix.exs",
            old,
            &[
                ("only: :test}", "only: :test},\n      {:money, \"~> 1.12\"}", false),
                (
                    "{:plug",
                    "{:credo, \"~> 1.7\", only: [:dev, :test], runtime: false},\n{:plug",
                    false,
                ),
                ("~> 1.1\"", "~> 1.2\"", false),
                ("\"~> 1.1\"", "path: \"tools/mox\"", true),
                ("\"~> 1.1\"", "\"~> 1.1\", override: true", true),
                ("{:plug, \"~> 1.0\"},\n", "", true),
                ("only: :test", "only: :dev", true),
                ("[{:lint", "[{:test, \"run true\"}, {:lint", true),
                ("app: :a,", "app: :a,\n{:test, \"run true\"},", true),
                ("app: :a,", "app: :a,\ntest_paths: [\"other\"],", true),
            ],
        );
    }

    #[test]
    fn a_build_of_gradle_is_a_runner_unless_it_only_gains_dependencies() {
        let old = "plugins {\n    id(\"java\")\n}\n\ndependencies {\n    \
                   implementation(libs.guava)\n    \
                   testImplementation(\"org.junit.jupiter:junit-jupiter:5.11.0\")\n}\n\n\
                   tasks.test {\n    useJUnitPlatform()\n}\n";
        let changes = [
            ("    impl", "    api(\"a.b:c:1.0\")\n    // Why.\n    impl", false),
            ("    impl", "    testRuntimeOnly(libs.junit.launcher)\n    impl", false),
            ("    impl", "    implementation(project(\":core\"))\n    impl", false),
            ("    impl", "    testImplementation \"a.b:c:${versions.c}\"\n    impl", false),
            ("    impl", "    compileOnly 'a.b:c'\n    impl", false),
            ("5.11.0", "5.12.0", false),
            ("\"org.junit.jupiter:junit-jupiter:5.11.0\"", "files(\"tools/junit.jar\")", true),
            ("junit-jupiter:5", "junit-other:5", true),
            ("5.11.0", "${\"true\".execute()}", true),
            ("    impl", "    classpath(\"a.b:c:1.0\")\n    impl", true),
            ("    impl", "    api(\"a.b:c:1.0\") { because(\"\") }\n    impl", true),
            ("    implementation(libs.guava)\n", "", true),
            ("useJUnitPlatform()", "useJUnitPlatform { excludeTags(\"slow\") }", true),
            ("tasks.test {", "tasks.test {\n    enabled = false", true),
        ];
        check("app/build.gradle.kts", old, &changes);
        check("build.gradle", old, &changes);
    }
}
