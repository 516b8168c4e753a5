//! The file that `afk init` writes: commented, disarmed, and valid as it stands.

use std::fmt::Write as _;

use toml_edit::Value;

use super::{ForgeKind, FoundForge, FoundRepo, SignIn, StarterFacts, UnusableRemote};

/// The beginning of a new file, whichever command creates it.
pub const HEADER: &str = "\
# The configuration of afk. It is disarmed, and a person arms it:
# `afk enroll` fills the allowlist, `afk arm` turns the kill switch off.
# `afk config check` validates this file, `afk doctor` checks what it needs,
# and `afk config schema` lists every key.
kill_switch = true
allowlist = []

budget_usd = 10              # limit of one run, US dollars
day_budget_usd = 50          # limit of all runs in a day
";

/// Returns the text of a new file. The repository's table is commented out if something in it is
/// unknown.
pub fn text(found: &StarterFacts) -> String {
    let mut out = format!("{HEADER}\n");
    claude(&mut out, found);
    let Some(repo) = &found.repo else {
        out.push('\n');
        match &found.not_told {
            None => out.push_str("# No git repository was found here.\n"),
            Some(why) => {
                out.push_str("# It is not known whether a git repository is here:\n");
                for line in why.lines() {
                    let _ = writeln!(out, "{}", format!("# {}", comment(line)).trim_end());
                }
            }
        }
        out.push_str(
            "# `afk enroll` in a clone of one adds a table such as\n\
             # [repos.\"you/web\"]\n\
             # remote = \"/home/you/web.git\"\n\
             # verify = [\"make\", \"test\"]\n\
             # stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }]\n",
        );
        return out;
    };
    if let Some(forge) = &repo.forge {
        out.push('\n');
        out.push_str(&forge_table(forge));
    }
    out.push('\n');
    let (no_remote, remedy) = match &repo.unusable {
        None => ("it has no remote".to_owned(), "create a bare one, push to it, and set it"),
        Some(UnusableRemote { why, .. }) => {
            let why = format!("its remote origin cannot be used ({})", comment(why));
            (why, "set one that can be used")
        }
    };
    let missing = match (&repo.remote, &repo.proposal) {
        (Some(_), Some(_)) => {
            out.push_str(&table(repo));
            return out;
        }
        (None, Some(_)) => format!("{no_remote}; {remedy}"),
        (Some(_), None) => "how to test it is unknown; set the command".to_owned(),
        (None, None) => format!("{no_remote}, and how to test it is unknown; set both"),
    };
    // Commented out, because a guess would be in force.
    // Writing to a string cannot fail, here and elsewhere.
    let _ = writeln!(out, "# Here is {}, and {missing}. Then take the # away.", repo.name);
    for line in table(repo).lines() {
        let _ = writeln!(out, "{}", format!("# {line}").trim_end());
    }
    out
}

/// Returns the table of a forge, whose token comes from a variable such as `GITHUB_TOKEN`.
pub fn forge_table(forge: &FoundForge) -> String {
    let mut out = String::new();
    let needs = match forge.kind {
        ForgeKind::GitHub => "repo and workflow",
        ForgeKind::Forgejo | ForgeKind::Gitea => "write:issue, write:repository and read:user",
    };
    let name = forge.kind.name();
    let _ = writeln!(
        out,
        "# Its issues, pull requests and checks; the token needs the scopes {needs}."
    );
    let _ = writeln!(out, "[forges.{name}]");
    if forge.kind != ForgeKind::GitHub {
        let _ = writeln!(out, "url = {}", Value::from(format!("https://{}", forge.host)));
    }
    let _ = writeln!(out, "token = {{ env = \"{}_TOKEN\" }}", name.to_ascii_uppercase());
    out
}

fn claude(out: &mut String, found: &StarterFacts) {
    out.push_str("[agents.claude]\n");
    match &found.claude {
        Some(program) => {
            let _ = writeln!(out, "# Found at {}.", comment(&program.display().to_string()));
        }
        None => out.push_str(
            "# The Claude CLI was not found on PATH: install it, or set its path here.\n\
             # program = \"/opt/claude/claude\"\n",
        ),
    }
    out.push_str("# model = \"sonnet\"           # default: the CLI's own\n");
    match found.sign_in {
        SignIn::Home => out.push_str("# The sign-in in your home is copied for each run.\n"),
        SignIn::Key => out.push_str("api_key = { env = \"ANTHROPIC_API_KEY\" }\n"),
        SignIn::None => out.push_str(
            "# No sign-in was found: run `claude` once and sign in, or name the source of a key:\n\
             # api_key = { env = \"ANTHROPIC_API_KEY\" }\n",
        ),
    }
}

/// Returns the repository's table, with placeholders for what is unknown.
pub fn table(repo: &FoundRepo) -> String {
    let mut body = String::new();
    let remote = repo.remote.as_deref().unwrap_or("/path/to/a/bare/repository.git");
    let _ = writeln!(body, "[repos.\"{}\"]", repo.name);
    let _ = writeln!(body, "remote = {}", Value::from(remote));
    let _ = writeln!(body, "agent = {}", Value::from(repo.agent.as_str()));
    if let Some(script) = &repo.script {
        body.push_str("# What the scripted agent does; no model is called.\n");
        let _ = writeln!(body, "script = {}", Value::from(script.display().to_string()));
    }
    if let Some(forge) = &repo.forge {
        let tracker = format!("tracker = \"{}\"", forge.kind.name());
        let _ = writeln!(body, "{tracker:<29}# \"local\" keeps its issues on this machine");
    }
    let unknown = vec!["make".to_owned(), "test".to_owned()];
    let proposal = repo.proposal.as_ref();
    let (verify, ci) =
        proposal.map_or((&unknown, &unknown), |proposal| (&proposal.verify, &proposal.ci));
    let ci = repo.ci.as_ref().unwrap_or(ci);
    let told = proposal.map_or_else(String::new, |one| format!(" ({})", comment(&one.by)));
    let _ = writeln!(body, "# Judges every tree; its exit code counts{told}.");
    let _ = writeln!(body, "verify = {}", list(verify));
    if !repo.read.is_empty() {
        body.push_str("# What the sandbox must show beside /usr, such as a toolchain.\n");
        let paths: Vec<String> = repo.read.iter().map(|p| p.display().to_string()).collect();
        let _ = writeln!(body, "read = {}", list(&paths));
    }
    let fetch = proposal.and_then(|proposal| proposal.fetch.as_ref());
    let closed = proposal.is_none_or(|proposal| !proposal.network);
    let open = fetch.is_some() || !closed;
    if !closed {
        body.push_str("# `verify` downloads what it needs: this tool cannot do that beforehand.\n");
    } else if open {
        body.push_str("# The stage downloads what it needs; `verify` finds what was fetched.\n");
    }
    let verify = !closed;
    let _ = writeln!(body, "network = {{ agent = true, verify = {verify}, stages = {open} }}");
    if let Some(fetch) = fetch {
        body.push_str(
            "# Brings packages before a tree is judged: with a network, but without the code.\n",
        );
        let _ = writeln!(body, "proof.fetch = {}", list(fetch));
    }
    if let Some(build) = proposal.and_then(|proposal| proposal.build.as_ref()) {
        let _ = writeln!(body, "# Distinguishes a failing test from one that does not build.");
        let _ = writeln!(body, "proof.build = {}", list(build));
    }
    let _ = writeln!(body, "\n# What a landed commit must pass, in order.");
    let _ = writeln!(body, "[[repos.\"{}\".stages]]", repo.name);
    let workflows = repo.forge.as_ref().filter(|forge| forge.workflows && repo.ci.is_none());
    match workflows.map(|forge| forge.kind) {
        Some(ForgeKind::GitHub) => body.push_str(
            "name = \"ci\"\nkind = \"checks\"              # what GitHub says of the commit\n",
        ),
        Some(ForgeKind::Forgejo | ForgeKind::Gitea) => body.push_str(
            "name = \"ci\"\nkind = \"forgejo-status\"      # what the forge says of the commit\n",
        ),
        None => {
            let _ = writeln!(body, "name = \"ci\"\ncommand = {}", list(ci));
        }
    }
    body
}

fn list(words: &[String]) -> String {
    let words: toml_edit::Array = words.iter().collect();
    Value::Array(words).to_string().trim().to_owned()
}

/// Makes text fit for a comment on one line.
fn comment(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::forge_of;
    use super::super::project::{Facts, Tree, proposal};
    use super::*;
    use crate::config::{Config, Loaded, Sources, load};

    fn found(file: Option<(&str, &str)>, remote: Option<&str>) -> StarterFacts {
        let path = file.map(|(path, _)| path.to_owned());
        let tree = Tree::of(path, |_| file.map(|(_, text)| text.to_owned()).unwrap_or_default());
        let repo = FoundRepo {
            remote: remote.map(str::to_owned),
            proposal: proposal(&tree, Facts::default()),
            read: vec![PathBuf::from("/home/you/a \"quoted\" folder")],
            forge: remote.and_then(|remote| {
                forge_of(remote, &|folder| {
                    folder == ".github/workflows" || remote.contains("code.")
                })
            }),
            ..FoundRepo::named("you/web".parse().unwrap())
        };
        let claude = Some("/opt/claude".into());
        StarterFacts { repo: Some(repo), not_told: None, claude, sign_in: SignIn::Home }
    }

    /// The file must load without a problem, and be disarmed.
    fn loaded(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("afk.toml");
        std::fs::write(&file, text).unwrap();
        let (env, aliases) = (Vec::new(), Vec::new());
        let sources = Sources { file: Some(file), env, aliases, ..Sources::default() };
        let Loaded { config, warnings, .. } =
            load::<Config>(&sources).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.mistakes(), [], "{text}");
        assert!(config.policy.kill_switch && config.policy.allowlist.is_empty());
        config
    }

    #[test]
    fn the_file_is_valid_for_every_kind_of_project() {
        for (name, content) in [
            ("Cargo.toml", ""),
            ("go.mod", ""),
            ("package.json", r#"{"scripts": {"test": "x"}, "dependencies": {"x": "1"}}"#),
            ("pyproject.toml", "[tool.pytest.ini_options]"),
            ("Makefile", "test:"),
            ("test.sh", ""),
        ] {
            let found = found(Some((name, content)), Some("git@forge.example:you/web.git"));
            let config = loaded(&text(&found));
            let repo = &config.policy.repos[&"you/web".parse().unwrap()];
            let proposal = found.repo.unwrap().proposal.unwrap();
            assert_eq!(repo.verify, afk_core::proof::Verify::Command(proposal.verify));
            assert_eq!(repo.stages[0].command, proposal.ci);
            assert_eq!(repo.proof.build, proposal.build);
            assert_eq!(repo.proof.fetch, proposal.fetch);
            assert_eq!(repo.read, [PathBuf::from("/home/you/a \"quoted\" folder")]);
        }
    }

    #[test]
    fn what_is_not_known_is_left_to_a_person() {
        for found in [
            found(None, Some("/srv/web.git")),
            found(Some(("test.sh", "")), None),
            found(None, None),
            StarterFacts::default(),
            StarterFacts { sign_in: SignIn::Key, ..StarterFacts::default() },
            StarterFacts {
                not_told: Some("git refuses:\nkill_switch = false\n\n\tgit config".to_owned()),
                ..StarterFacts::default()
            },
        ] {
            assert!(loaded(&text(&found)).policy.repos.is_empty());
        }
        let mut unusable = found(Some(("test.sh", "")), None);
        let why = "it must not contain blanks".to_owned();
        unusable.repo.as_mut().unwrap().unusable = Some(UnusableRemote { why, instead: None });
        let told = text(&unusable);
        assert!(told.contains("origin cannot be used (it must not contain blanks)"), "{told}");
        assert!(loaded(&told).policy.repos.is_empty());
        // Uncommented, it must be a table.
        let text = text(&found(None, None));
        let from = text.find("# [repos").unwrap();
        let mut table = String::new();
        for line in text[from..].lines() {
            table.push_str(line.strip_prefix("# ").unwrap_or(&line[1..]));
            table.push('\n');
        }
        assert_eq!(loaded(&format!("{}\n{}", &text[..from], table)).policy.repos.len(), 1);
    }

    #[test]
    fn a_forges_checks_are_proposed_where_it_runs_workflows() {
        let check = |remote: &str, tracker: &str, stage: &str| {
            let config = loaded(&text(&found(Some(("Cargo.toml", "")), Some(remote))));
            let repo = &config.policy.repos[&"you/web".parse().unwrap()];
            assert_eq!((repo.tracker.as_str(), repo.stages[0].kind.as_str()), (tracker, stage));
        };
        check("git@github.com:you/web.git", "github", "checks");
        check("https://gitea.com/you/web", "gitea", "command");
        check("ssh://git@code.example:2222/you/web", "forgejo", "forgejo-status");
        check("https://codeberg.org/you/web", "forgejo", "command");
        check("/srv/web.git", "local", "command");
    }

    #[test]
    fn a_whole_file() {
        insta::assert_snapshot!(text(&found(Some(("Cargo.toml", "")), Some("/srv/web.git"))));
    }
}
