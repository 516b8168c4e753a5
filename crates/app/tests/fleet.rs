//! A configuration of many repos: included files, and settings shared by repos with matching names.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use afk_app::config::{Config, Sources, load};
use afk_app::settings::{FileSettings, problems};
use afk_core::ids::RepoName;

struct Folder {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Folder {
    /// Files by name; the first is the main one.
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Self {
            sources: Sources { file: Some(dir.path().join(files[0].0)), ..Sources::default() },
            dir,
        };
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[track_caller]
    fn good(&self) -> Config {
        let loaded = load::<Config>(&self.sources).unwrap_or_else(|errors| panic!("{errors}"));
        let problems = problems(&loaded);
        assert!(problems.is_empty(), "{problems:?}");
        loaded.config
    }

    /// Everything that is wrong, without the folder's name.
    #[track_caller]
    fn bad(&self) -> Vec<String> {
        let found = match load::<Config>(&self.sources) {
            Err(errors) => errors.problems,
            Ok(loaded) => problems(&loaded),
        };
        assert!(!found.is_empty(), "nothing is wrong");
        let folder = format!("{}/", self.dir.path().display());
        found.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }
}

fn repo(name: &str) -> RepoName {
    name.parse().unwrap()
}

/// A repo's table.
fn table(name: &str) -> String {
    format!(
        "[repos.\"{name}\"]\nremote = \"/srv/{name}\"\nverify = [\"true\"]\n\
         stages = [{{ name = \"ci\", command = [\"ci\"] }}]\n"
    )
}

const COMMON: &str = "
[repos_like.\"*/*\"]
verify = [\"make\", \"test\"]
verify_timeout_seconds = 60
stages = [{ name = \"ci\", command = [\"ci\"] }]
network = { verify = true, stages = true }
[repos_like.\"acme/*\"]
remote = \"git@forge.example:{owner}/{name}.git\"
verify_timeout_seconds = 120
network = { stages = false }
";

#[test]
fn files_of_a_folder_are_read_in_order_and_their_lists_add_up() {
    let folder = Folder::new(&[
        ("afk.toml", &format!("include_dir = 'repos.d'\nallowlist = ['o/a']\n{}", table("o/a"))),
        ("repos.d/20.toml", &format!("allowlist = ['o/c']\n{}", table("o/c"))),
        ("repos.d/10.toml", &format!("allowlist = ['o/b']\n{}", table("o/b"))),
        ("repos.d/README.md", "no file of ours"),
        ("repos.d/.hidden.toml", "neither is this"),
    ]);
    let config = folder.good();
    let listed: Vec<_> = config.policy.allowlist.iter().map(RepoName::as_str).collect();
    assert_eq!(listed, ["o/a", "o/b", "o/c"]);
    assert_eq!(config.policy.repos.len(), 3);
    assert_eq!(config.local.repos[&repo("o/b")].remote, "/srv/o/b");
}

#[test]
fn every_mistake_in_an_included_file_is_told_with_its_place() {
    let folder = Folder::new(&[
        ("afk.toml", &format!("include_dir = 'repos.d'\nallowlist = ['o/a']\n{}", table("o/a"))),
        ("repos.d/1.toml", &format!("kill_switch = false\n{}verfy = 1\n", table("o/b"))),
        ("repos.d/2.toml", &format!("# the same\n{}", table("o/a"))),
        ("repos.d/3.toml", "allowlist = ['o/b', 7]\n[repos.'o/d']\nremote = 7\n"),
        ("repos.d/4.toml", "[repos\n"),
    ]);
    assert_eq!(
        folder.bad(),
        [
            "repos.d/1.toml: kill_switch: belongs in the main file: an included one may only hold \
             allowlist, repos, repos_like",
            "repos.d/1.toml:6:1: repos.\"o/b\".verfy: is not a known key; did you mean `verify`?",
            "repos.d/2.toml:2:1: repos.\"o/a\": is also given at afk.toml:3:1; keep one of them",
            "repos.d/3.toml:1:21: allowlist.2: must be text; found a whole number",
            "repos.d/3.toml:2:1: repos.\"o/d\": lacks the key `verify`, such as [\"make\", \"test\"]",
            "repos.d/4.toml:1:7: is not TOML: unclosed table, expected `]`",
        ]
    );
    folder.write("afk.toml", "include_dir = 'nowhere'\n");
    let told = folder.bad();
    assert!(told[0].starts_with("afk.toml:1:15: include_dir: names a folder that"), "{told:?}");
}

#[test]
fn repos_with_like_names_have_what_their_own_table_leaves_out() {
    let own = "[repos.'acme/api']\nverify = ['cargo', 'test']\nnetwork = { agent = false }\n";
    let other = "[repos.'o/r']\nremote = '/srv/r'\n";
    let text = format!("allowlist = ['acme/web', 'acme/api']\n{COMMON}{own}{other}");
    let config = Folder::new(&[("afk.toml", &text)]).good();
    let names: Vec<_> = config.policy.repos.keys().map(RepoName::as_str).collect();
    assert_eq!(names, ["acme/api", "acme/web", "o/r"], "enrolled, or with a table");
    let said = |name: &str| {
        let (table, local) = (&config.policy.repos[&repo(name)], &config.local.repos[&repo(name)]);
        let network = &table.network;
        let network = (network.agent.is_open(), network.verify, network.stages);
        (table.verify_timeout_seconds, network, local.remote.clone())
    };
    let forge = |name: &str| format!("git@forge.example:acme/{name}.git");
    assert_eq!(said("acme/web"), (120, (true, true, false), forge("web")));
    assert_eq!(said("acme/api"), (120, (false, true, false), forge("api")));
    assert_eq!(said("o/r"), (60, (true, true, true), "/srv/r".to_owned()));
    assert!(config.knows(&repo("acme/new")) && config.knows(&repo("other/new")));
}

#[test]
fn what_is_wrong_with_a_pattern_is_told_once_and_there() {
    let names: Vec<_> = (0..200).map(|n| format!("\"acme/r{n}\"")).collect();
    let text = |like: &str| format!("allowlist = [{}]\n{like}", names.join(", "));
    let check = |like: &str, expected: &str| {
        assert_eq!(Folder::new(&[("afk.toml", &text(like))]).bad(), [expected]);
    };
    let whole = "[repos_like.\"acme/*\"]\nremote = '/srv/{name}'\nverify = ['true']\n";
    check(
        &format!("{whole}stages = []\n"),
        "afk.toml:5:10: repos_like.\"acme/*\".stages: there are none, so a landed commit \
         could never be green; add one, for instance { name = \"ci\", command = [\"sh\", \
         \"ci.sh\"] }",
    );
    check(
        &format!("{whole}stages = [{{ name = 'ci', command = ['ci'] }}]\nagent = 'x'\n"),
        "afk.toml:6:9: repos_like.\"acme/*\".agent: is unknown; known are claude, \
         codex, scripted",
    );
    check(
        &format!("{whole}stages = [{{ name = 'ci', command = ['ci'] }}]\nbudget_usd = true\n"),
        "afk.toml:6:14: repos_like.\"acme/*\".budget_usd: must be an amount of dollars such as \
         12.50, with at most six decimals",
    );
}

#[test]
fn ten_thousand_repos_are_a_configuration() {
    let mut files: Vec<(String, String)> =
        vec![("afk.toml".to_owned(), "include_dir = 'repos.d'\n".to_owned())];
    for file in 0..10 {
        let names: Vec<_> = (0..1000).map(|n| format!("team{file}/service-{n}")).collect();
        let mut text = format!("allowlist = {names:?}\n");
        for name in names {
            writeln!(text, "{}", table(&name)).unwrap();
        }
        files.push((format!("repos.d/{file}.toml"), text));
    }
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let folder = Folder::new(&files);
    let began = Instant::now();
    let config = folder.good();
    eprintln!("10,000 repos were loaded and checked in {:?}", began.elapsed());
    assert_eq!((config.policy.repos.len(), config.policy.allowlist.len()), (10_000, 10_000));
    // One that is as large in a single file, too.
    let all: Vec<_> = files[1..].iter().map(|(_, text)| text.split_once('\n').unwrap().1).collect();
    assert_eq!(Folder::new(&[("afk.toml", &all.concat())]).good().policy.repos.len(), 10_000);
}

/// Polls until that many repos are configured.
#[track_caller]
fn until(expected: usize, repos: impl Fn() -> usize) {
    let bound = Instant::now() + Duration::from_mins(1);
    while repos() != expected {
        assert!(Instant::now() < bound, "{} are there, not {expected}", repos());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_change_of_an_included_file_counts_once_it_rests() {
    let folder = Folder::new(&[
        ("afk.toml", &format!("include_dir = 'repos.d'\n{}", table("o/a"))),
        ("repos.d/1.toml", &table("o/b")),
    ]);
    let settings = FileSettings::open(folder.sources.clone()).unwrap();
    let repos = || settings.config().policy.repos.len();
    assert_eq!(repos(), 2);
    folder.write("repos.d/2.toml", &table("o/c"));
    until(3, repos);
    folder.write("repos.d/1.toml", &[table("o/b"), table("o/d")].concat());
    until(4, repos);
    std::fs::remove_file(Path::new(folder.dir.path()).join("repos.d/2.toml")).unwrap();
    until(3, repos);
}
