//! The small real changes that are sabotaged, read from `xtask/proofs/<kind>/<name>.txt`.
//!
//! A file begins with what the issue asks for and a few directives, then has the files of the
//! repository and of the change, each below a line `=== ROLE PATH`:
//!
//! - `base`: what the repository has before; `common.txt` has what all changes of a kind share,
//! - `test`: what the first commit writes,
//! - `code`: what the second commit writes; `code+` is appended to the file of the base.
//!
//! `guard` names the existing test that fails if the text `break` of the code is replaced by the
//! `into` below it; `guard-line` is the line of such a test that stands among the code. `gut` is
//! the text whose replacement, again by the `into` below it, takes the feature out and leaves its
//! name.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::kind::Kind;

/// Files by their path.
pub(crate) type Files = BTreeMap<String, String>;

/// A text of the code and what it is replaced by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Swap {
    pub(crate) old: String,
    pub(crate) new: String,
}

/// One honest change of a small repository.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    /// Its name within its kind.
    pub(crate) name: String,
    /// What the issue asks for, in one line.
    pub(crate) title: String,
    /// The path of the existing test that guards the existing code; none if it stands among the
    /// code.
    pub(crate) guard: Option<String>,
    /// The line of that test, if it stands among the code.
    pub(crate) guard_line: Option<String>,
    breaks: Swap,
    guts: Swap,
    pub(crate) base: Files,
    pub(crate) test: Files,
    pub(crate) code: Files,
}

impl Change {
    /// Its name with its kind: `rust/wrap`.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.kind.word(), self.name)
    }

    /// Whether its new test stands among the code, in the same file.
    pub(crate) fn is_inline(&self) -> bool {
        self.test.keys().any(|path| self.code.contains_key(path))
    }

    /// The path of its new test, which is a file of the code if the test stands among it.
    pub(crate) fn test_path(&self) -> &str {
        self.test.keys().next().map_or("", String::as_str)
    }

    /// The file of the code that has the feature.
    pub(crate) fn code_path(&self) -> &str {
        self.code
            .iter()
            .find(|(_, text)| text.contains(&self.guts.old))
            .map_or("", |(path, _)| path.as_str())
    }

    /// The code with the existing part broken and the feature working.
    pub(crate) fn broken(&self) -> Files {
        swapped(&self.code, &self.breaks)
    }

    /// The code with the feature taken out, so that only its name is left.
    pub(crate) fn gutted(&self) -> Files {
        swapped(&self.code, &self.guts)
    }

    /// The code with `text` inserted after the text at which the feature begins.
    pub(crate) fn begun_with(&self, text: &str) -> Files {
        let new = format!("{}{text}", self.guts.old);
        swapped(&self.code, &Swap { old: self.guts.old.clone(), new })
    }

    /// The content of the existing file at `path`; empty if there is none.
    pub(crate) fn existing(&self, path: &str) -> &str {
        self.base.get(path).map_or("", String::as_str)
    }

    /// Parses a change's file; `common` has the files that all changes of its kind share.
    fn parse(kind: Kind, name: &str, common: &str, text: &str) -> anyhow::Result<Self> {
        let (head, sections) = sections(text)?;
        let title = head.lines().next().unwrap_or_default().trim().to_owned();
        let mut change = Self {
            kind,
            name: name.to_owned(),
            title,
            guard: None,
            guard_line: None,
            breaks: Swap::default(),
            guts: Swap::default(),
            base: Files::new(),
            test: Files::new(),
            code: Files::new(),
        };
        change.directives(&head)?;
        for (role, path, text) in self::sections(common)?.1.into_iter().chain(sections) {
            let before = if role == "code+" { change.base.get(&path).cloned() } else { None };
            let whole = format!("{}{text}", before.unwrap_or_default());
            let files = match role.as_str() {
                "base" => &mut change.base,
                "test" => &mut change.test,
                "code" | "code+" => &mut change.code,
                role => bail!("{role} is not a role: base, test, code and code+ are"),
            };
            ensure!(files.insert(path.clone(), whole).is_none(), "{role} {path} is there twice");
        }
        change.check()?;
        Ok(change)
    }

    fn directives(&mut self, head: &str) -> anyhow::Result<()> {
        let mut last = None;
        for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(": ").with_context(|| format!("read {line:?}"))?;
            match key {
                "guard" => self.guard = Some(value.to_owned()),
                "guard-line" => self.guard_line = Some(value.to_owned()),
                "break" => value.clone_into(&mut self.breaks.old),
                "gut" => value.clone_into(&mut self.guts.old),
                "into" => {
                    let swap = match last {
                        Some("break") => &mut self.breaks,
                        Some("gut") => &mut self.guts,
                        _ => bail!("`into` follows neither `break` nor `gut`"),
                    };
                    swap.new = value.replace("\\n", "\n");
                }
                key => bail!("{key} is not a directive"),
            }
            last = Some(key);
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.title.is_empty(), "it has no title");
        ensure!(!self.test.is_empty() && !self.code.is_empty(), "it has no test or no code");
        for swap in [&self.breaks, &self.guts] {
            let times: usize = self.code.values().map(|text| text.matches(&swap.old).count()).sum();
            ensure!(!swap.old.is_empty() && times == 1, "{:?} is there {times} times", swap.old);
            ensure!(swap.old != swap.new, "{:?} is replaced by itself", swap.old);
        }
        let guarded = match (&self.guard, &self.guard_line) {
            (Some(path), None) => self.base.contains_key(path),
            (None, Some(line)) => {
                self.is_inline() && self.code.values().any(|text| text.contains(line))
            }
            (Some(_), Some(_)) | (None, None) => false,
        };
        ensure!(
            guarded,
            "it needs `guard`, a file of the base, or `guard-line`, a line of the code"
        );
        Ok(())
    }
}

/// The role, path and content of one file.
type Section = (String, String, String);

/// The text above the first section, and the sections.
fn sections(text: &str) -> anyhow::Result<(String, Vec<Section>)> {
    let (mut head, mut found) = (String::new(), Vec::<Section>::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("=== ") {
            let (role, path) = rest.split_once(' ').with_context(|| format!("read {line:?}"))?;
            found.push((role.to_owned(), path.to_owned(), String::new()));
            continue;
        }
        let into = found.last_mut().map_or(&mut head, |(.., text)| text);
        into.push_str(line);
        into.push('\n');
    }
    Ok((head, found))
}

fn swapped(files: &Files, swap: &Swap) -> Files {
    let one = |(path, text): (&String, &String)| (path.clone(), text.replace(&swap.old, &swap.new));
    files.iter().map(one).collect()
}

/// Every change, by kind and name.
pub(crate) fn all(root: &Path) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for kind in Kind::ALL {
        let folder = root.join("xtask/proofs").join(kind.word());
        let read = |name: &str| {
            let path = folder.join(format!("{name}.txt"));
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let common = read("common")?;
        let mut names = Vec::new();
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?
        {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(".txt").map(str::to_owned));
        }
        names.retain(|name| name != "common");
        names.sort_unstable();
        for name in names {
            let change = Change::parse(*kind, &name, &common, &read(&name)?);
            changes.push(change.with_context(|| format!("{}/{name}.txt", kind.word()))?);
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_five_kinds_are_read() {
        let changes = all(&crate::run::root().unwrap()).unwrap();
        for kind in [Kind::Sh, Kind::Python, Kind::Rust, Kind::Node, Kind::Make] {
            assert!(changes.iter().filter(|one| one.kind == kind).count() >= 4, "{kind:?}");
        }
        for change in changes {
            let (broken, gutted) = (change.broken(), change.gutted());
            assert!(broken != change.code && gutted != change.code && broken != gutted);
            assert!(!change.code_path().is_empty() && !change.test_path().is_empty());
            let tests = change.base.keys().filter(|path| path.contains("test")).count();
            assert!(change.is_inline() || tests >= 2, "{} has existing tests", change.id());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let good = "Title\n\nguard: t\nbreak: a\ninto: b\ngut: c\ninto: d\\ne\n\
                    === base t\nt\n=== test u\nu\n=== base x\na\n=== code+ x\nc\n";
        let parse = |text: &str| Change::parse(Kind::Sh, "x", "=== base ci.sh\n", text);
        let change = parse(good).unwrap();
        assert_eq!(change.code["x"], "a\nc\n");
        assert_eq!(change.gutted()["x"], "a\nd\ne\n");
        assert_eq!(change.existing("ci.sh"), "");
        for (old, new) in [
            ("guard: t\n", ""),
            ("guard: t\n", "guard: v\n"),
            ("break: a", "break: z"),
            ("=== test u", "=== tests u"),
            ("=== base t", "=== base"),
            ("gut: c", "guts: c"),
            ("=== test u\nu\n", ""),
            ("=== base t\n", "=== base x\n"),
        ] {
            assert!(parse(&good.replace(old, new)).is_err(), "{new}");
        }
    }
}
