//! Gathers the facts from which a configuration is proposed: about this machine, and about the
//! repository in a folder. Asks git and toolchains, reads files, changes nothing.
//!
//! The questions are asked in the clone, because version managers choose a toolchain by the folder,
//! but nothing that the clone contains is run: not its Python modules, not a program that its
//! settings for git or for a version manager name.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use afk_core::ids::RepoName;
use afk_local::ask::{ask, ask_with_limit, complaint, on_path};
use afk_local::git::RemoteUrl;
use afk_local::{Claude, find_claude};
use futures_util::future::LocalBoxFuture;

use super::project::{CONTENT, Facts, Proposal, Tree, proposal};
use super::{ForgeKind, FoundRepo, SignIn, StarterFacts, UnusableRemote, forge_of, name_of};
use crate::config::Config;

/// Maximum number of the repository's files that are considered.
const FILES: usize = 50_000;
/// Maximum number of bytes read of git's list of files.
const NAMES: u64 = 16 << 20;
/// Folders in which every sandbox looks for programs.
const SHOWN: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/bin", "/sbin"];
/// A Python program that prints where Python and its packages are, the folder of a virtual
/// environment first.
const PYTHON_ROOTS: &str = "import sys; print(sys.prefix); print(sys.base_prefix)";
/// The files in which a clone chooses its toolchains. Most name a version, but each may also name
/// a folder, whose programs the version manager then runs.
const CHOICES: [&str; 7] = [
    "rust-toolchain",
    "rust-toolchain.toml",
    ".tool-versions",
    "mise.toml",
    ".mise.toml",
    "mise.local.toml",
    ".config/mise.toml",
];
/// Options under which git runs no program that the clone's own settings name, and takes no folder
/// of the clone for a bare repository with settings of its own.
const ONLY_OURS: [&str; 6] = [
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "safe.bareRepository=explicit",
];

/// Options under which git does not run the filter of Git LFS to compare a file, whatever the
/// clone's own settings name for it. The files of Git LFS then seem to be modified.
const NO_LFS: [&str; 6] =
    ["-c", "filter.lfs.clean=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"];

/// Gathers the facts for the folder `here`. `home` is the user's home, `key` whether
/// `ANTHROPIC_API_KEY` is in the environment.
pub fn gather_facts<'a>(
    here: &'a Path,
    home: &'a Path,
    key: bool,
) -> LocalBoxFuture<'a, StarterFacts> {
    Box::pin(async move {
        let repo = match top(here).await {
            Some(top) => repository(&top, home).await,
            None => None,
        };
        let sign_in = if key {
            SignIn::Key
        } else if home.join(".claude/.credentials.json").is_file() {
            SignIn::Home
        } else {
            SignIn::None
        };
        let claude = find_claude(&Claude::default()).ok();
        StarterFacts { repo, not_told: None, claude, sign_in }
    })
}

/// Names the repository whose clone the folder is in: the one in `config` with the clone's remote,
/// otherwise the name that `afk init` would choose.
pub async fn repo_here(here: &Path, config: &Config) -> Option<RepoName> {
    let top = top(here).await?;
    let remote = remote(&top).await;
    let mut configured = config.local.repos.iter();
    let by_remote = configured.find(|(_, repo)| Some(&repo.remote) == remote.as_ref());
    by_remote.map(|(name, _)| name.clone()).or_else(|| name_of(remote.as_deref(), &top))
}

/// What is only in a clone. A run would not see it, because it works on the remote's default
/// branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotPushed {
    /// Files that git neither tracks nor ignores, and tracked ones with changes that are not
    /// committed, by name.
    pub files: BTreeSet<String>,
    /// How many commits of `HEAD` its upstream branch lacks, as of the last fetch; without one, how
    /// many every branch of `origin` lacks.
    pub commits: usize,
}

/// Finds what was not pushed of the clone that the folder is in.
pub async fn not_pushed(here: &Path) -> NotPushed {
    let Some(top) = top(here).await else { return NotPushed::default() };
    let list = ["ls-files", "--others", "--exclude-standard", "-z"];
    let mut listed = vec![git(&list, &top).await];
    listed.push(git(&["diff-index", "--cached", "--name-only", "-z", "HEAD"], &top).await);
    if !has_filters(&top).await {
        let but_lfs = ["ls-files", "--modified", "-z", "--", ".", ":(exclude,attr:filter=lfs)"];
        let modified = [&NO_LFS[..], &but_lfs].concat();
        listed.push(git(&modified, &top).await);
    }
    let names = listed.iter().flatten().flat_map(|names| names.split('\0'));
    let files = names.filter(|path| !path.is_empty()).map(str::to_owned).collect();
    let mut count = git(&["rev-list", "--count", "@{upstream}..HEAD"], &top).await;
    if count.is_none() {
        let beside = ["rev-list", "--count", "HEAD", "--not", "--remotes=origin"];
        count = git(&beside, &top).await;
    }
    let commits = count.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    NotPushed { files, commits }
}

/// Whether the settings name a filter other than that of Git LFS: a program that git would run to
/// compare a file with what is committed.
async fn has_filters(top: &Path) -> bool {
    let named = git(&["config", "--name-only", "--get-regexp", r"^filter\."], top).await;
    let is_lfs =
        |key: &str| key.strip_prefix("filter.lfs.").is_some_and(|rest| !rest.contains('.'));
    named.is_some_and(|keys| keys.lines().any(|key| !is_lfs(key)))
}

/// The root folder of the clone.
async fn top(here: &Path) -> Option<PathBuf> {
    git(&["rev-parse", "--show-toplevel"], here).await.map(PathBuf::from)
}

/// Why it cannot be told whether a folder is in a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no git.
    NoGit,
    /// Git refuses to work there, for the reason that it says, such as a clone of another user.
    Says(String),
}

/// What a folder that is simply in no clone is answered with.
const IN_NO_CLONE: [&str; 3] =
    ["not a git repository", "must be run in a work tree", "cannot use bare repository"];

/// Finds out why git tells nothing about a folder; none if it works there, or would in a clone.
pub async fn refusal(here: &Path) -> Option<Refusal> {
    let asked = [&ONLY_OURS[..], &["rev-parse", "--show-toplevel"]].concat();
    match complaint("git", &asked, here).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Refusal::NoGit),
        Err(error) => Some(Refusal::Says(error.to_string())),
        Ok(said) => said
            .filter(|said| !IN_NO_CLONE.iter().any(|plain| said.contains(plain)))
            .map(Refusal::Says),
    }
}

/// What git answers in a folder; none if it fails.
async fn git(args: &[&str], dir: &Path) -> Option<String> {
    ask_with_limit("git", &[&ONLY_OURS, args].concat(), dir, NAMES).await
}

/// The URL of the clone's `origin`, as a configuration would write it.
async fn remote(top: &Path) -> Option<String> {
    let remote = git(&["config", "--get", "remote.origin.url"], top).await?;
    Some(absolute(top, remote))
}

async fn repository(top: &Path, home: &Path) -> Option<FoundRepo> {
    let found = remote(top).await;
    let name = name_of(found.as_deref(), top)?;
    // A URL with a token, or one that git cannot use, would make the file invalid.
    let (remote, unusable) = match found.as_deref().map(RemoteUrl::parse) {
        Some(Err(error)) => {
            let instead = found.as_deref().and_then(without_user);
            (None, Some(UnusableRemote { why: error.reason(), instead }))
        }
        Some(Ok(_)) | None => (found, None),
    };
    let tree = tree(top).await;
    let facts = Facts { pytest: has_pytest(top).await };
    let proposal = proposal(&tree, facts);
    let read = toolchains(proposal.as_ref(), top, home).await;
    let has = |folder: &str| {
        std::fs::read_dir(top.join(folder)).is_ok_and(|mut entries| entries.next().is_some())
    };
    let workflows = ForgeKind::FOLDERS.map(|(_, folder)| folder);
    let workflows = workflows.into_iter().filter(|folder| has(folder)).collect();
    let forge = remote.as_deref().and_then(|remote| forge_of(remote, &has));
    let named = FoundRepo::named(name);
    Some(FoundRepo { remote, unusable, proposal, read, workflows, forge, ..named })
}

/// The URL of a remote over HTTP without what may be secret in it, if that one can be used.
fn without_user(remote: &str) -> Option<String> {
    let (scheme, rest) = remote.split_once("://")?;
    let (authority, path) = rest.split_once('/')?;
    let host = authority.rsplit('@').next()?;
    let plain = format!("{scheme}://{host}/{path}");
    let usable = scheme.starts_with("http") && !path.contains(['@', '?', '#']);
    (usable && RemoteUrl::parse(&plain).is_ok()).then_some(plain)
}

/// Makes a local path absolute, because afk may run from any folder; leaves URLs as they are.
fn absolute(top: &Path, remote: String) -> String {
    if remote.contains(':') {
        return remote;
    }
    let path = top.join(&remote);
    path.canonicalize().unwrap_or(path).display().to_string()
}

/// The files that git tracks, and those that it does not ignore.
async fn tree(top: &Path) -> Tree {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let listed = git(&list, top).await.unwrap_or_default();
    let paths = listed.split('\0').filter(|path| !path.is_empty()).take(FILES).map(str::to_owned);
    Tree::of(paths, |path| beginning(&top.join(path)))
}

/// The beginning of a file of the clone, which may be a link to anything. One that cannot be read
/// counts as empty, and then tells nothing.
fn beginning(file: &Path) -> String {
    let mut bytes = Vec::new();
    if file.is_file()
        && let Ok(file) = std::fs::File::open(file)
    {
        let _ = file.take(CONTENT as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a sandbox would find pytest. `-I` leaves out the user's own packages, which are not
/// shown there, and the working folder, whose `pytest.py` would be run.
async fn has_pytest(top: &Path) -> bool {
    !names_a_folder(top)
        && ask("python3", &["-I", "-c", "import pytest; print(1)"], top).await.is_some()
}

/// Whether the clone chooses a toolchain by its folder, which may be one of the clone.
fn names_a_folder(top: &Path) -> bool {
    CHOICES.iter().any(|name| beginning(&top.join(name)).contains("path"))
}

/// The folders that must be added to `read` for the programs of a proposal.
async fn toolchains(proposal: Option<&Proposal>, top: &Path, home: &Path) -> Vec<PathBuf> {
    let mut read: Vec<PathBuf> = Vec::new();
    for program in proposal.iter().flat_map(|proposal| &proposal.programs) {
        for folder in toolchain(program, top, home).await {
            if !read.contains(&folder) {
                read.push(folder);
            }
        }
    }
    read
}

/// The folders that must be added to `read` for `program`; none if every sandbox finds it.
async fn toolchain(program: &str, top: &Path, home: &Path) -> Vec<PathBuf> {
    let Some(file) = on_path(program) else { return Vec::new() };
    let Some(folder) = file.parent() else { return Vec::new() };
    if SHOWN.iter().any(|shown| folder == Path::new(shown)) {
        return Vec::new();
    }
    // Version managers put a shim on the path, so the toolchain is asked where it really is; not
    // if the shim might run a program of the clone.
    if names_a_folder(top) {
        return Vec::new();
    }
    let roots = match program {
        "cargo" => ask("rustc", &["--print", "sysroot"], top).await,
        "go" => ask("go", &["env", "GOROOT"], top).await,
        "python3" => ask("python3", &["-I", "-c", PYTHON_ROOTS], top).await,
        "node" => ask("node", &["-p", "path.dirname(path.dirname(process.execPath))"], top).await,
        _ => folder
            .ends_with("bin")
            .then(|| folder.parent())
            .flatten()
            .map(|root| root.display().to_string()),
    };
    unfound(&roots.unwrap_or_default(), home)
}

/// The toolchain roots, of `roots` with one a line, whose programs no sandbox finds by itself. A
/// root below `/usr` is shown in any case, but its `bin` is only searched if the root is in `read`:
/// such as `/usr/local/go`.
fn unfound(roots: &str, home: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for root in roots.lines().map(PathBuf::from) {
        let searched = SHOWN.iter().any(|shown| root.join("bin") == Path::new(shown));
        // Neither the home nor a folder above it may be shown.
        let whole = home.starts_with(&root) || root.parent().is_none();
        if root.is_absolute() && !searched && !whole && !found.contains(&root) {
            found.push(root);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_that_no_sandbox_finds_is_to_be_read() {
        let check = |roots: &str, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(unfound(roots, Path::new("/home/ann")), expected, "{roots}");
        };
        check("/usr/local/go", &["/usr/local/go"]);
        check("/usr/local/rustup/toolchains/stable", &["/usr/local/rustup/toolchains/stable"]);
        check("/home/ann/.pyenv/versions/3.11\n/usr", &["/home/ann/.pyenv/versions/3.11"]);
        check("/opt/node\n/opt/node", &["/opt/node"]);
        check("/usr", &[]);
        check("/usr/local", &[]);
        check("/home/ann\n/home\n/", &[]);
        check("go1.22\n", &[]);
        check("", &[]);
    }

    #[test]
    fn a_remote_is_proposed_without_its_user_and_password() {
        let check = |remote: &str, expected: Option<&str>| {
            assert_eq!(without_user(remote).as_deref(), expected, "{remote}");
        };
        check("https://ghp_s3cret@github.com/you/x.git", Some("https://github.com/you/x.git"));
        check("https://me:s3cret@host.example:3000/x", Some("https://host.example:3000/x"));
        check("https://me:s3/cret@host.example/x", None);
        check("https://host.example/x?token=s3cret", None);
        check("/srv/with a blank/x.git", None);
    }

    /// Runs git in a folder, as the test's own user would.
    fn sh(dir: &Path, line: &str) {
        let done = std::process::Command::new("sh").args(["-ec", line]).current_dir(dir).status();
        assert!(done.unwrap().success(), "{line}");
    }

    #[tokio::test]
    async fn nothing_that_the_clone_contains_is_run() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("clone");
        let ran = folder.path().join("ran");
        std::fs::create_dir(&top).unwrap();
        let planted = format!("#!/bin/sh\necho \"$0\" >> '{}'\n", ran.display());
        std::fs::write(top.join("program"), &planted).unwrap();
        let python = format!("open({:?}, 'a').write(__name__)\n", ran.display().to_string());
        for module in ["pytest.py", "sys.py", "site.py", "encodings.py"] {
            std::fs::write(top.join(module), &python).unwrap();
        }
        // A repository whose own settings name a program for git to run, and a bare one in it.
        let planted = "chmod +x program
            git init -q .
            git config core.fsmonitor \"$PWD/program\"
            mkdir bare && git init -q --bare bare/ && cp pytest.py bare/
            git --git-dir=bare config core.fsmonitor \"$PWD/program\"
            git --git-dir=bare config core.bare false
            git --git-dir=bare config core.worktree \"$PWD/bare\"
            cp program filter
            printf '%s\\n' '*.txt filter=trap' '*.lfs filter=lfs' > .gitattributes
            echo a > a.txt && echo a > a.lfs
            git -c core.fsmonitor=false add a.txt a.lfs
            git config filter.trap.clean \"$PWD/filter\"
            git config filter.lfs.process \"$PWD/filter\"
            echo b > a.txt && echo b > a.lfs";
        sh(&top, planted);
        // The trap works: git runs what the settings of either name, to list files and to compare.
        sh(&top, "git ls-files --others >/dev/null; cd bare; git ls-files --others >/dev/null");
        let trapped = std::fs::read_to_string(&ran).unwrap();
        assert!(trapped.lines().count() >= 2, "{trapped}");
        sh(&top, "git ls-files --modified >/dev/null || true");
        let trapped = std::fs::read_to_string(&ran).unwrap();
        assert!(trapped.contains("/filter"), "{trapped}");
        std::fs::remove_file(&ran).unwrap();

        for here in [top.clone(), top.join("bare")] {
            let found = gather_facts(&here, &folder.path().join("home"), false).await;
            not_pushed(&here).await;
            let told = std::fs::read_to_string(&ran).unwrap_or_default();
            assert!(told.is_empty(), "{}: {told}", here.display());
            assert_eq!(found.repo.is_some(), here == top, "{}", here.display());
        }
        // Without a filter of another name, files are compared, but for those of Git LFS.
        sh(&top, "git config --remove-section filter.trap");
        let found = not_pushed(&top).await;
        assert!(found.files.contains("a.txt") && !found.files.contains("a.lfs"), "{found:?}");
        assert!(!ran.exists(), "{:?}", std::fs::read_to_string(&ran));
    }

    #[tokio::test]
    async fn what_was_changed_but_not_pushed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("clone");
        let begun = "git init -q --bare --initial-branch=main srv.git
            git clone -q srv.git clone 2>/dev/null; cd clone; git checkout -q -B main
            git config user.name ann; git config user.email ann@afk.invalid
            echo a > kept; echo a > changed; echo a > staged; echo no > .gitignore
            git add --all; git commit -q -m Begin; git push -q -u origin main";
        sh(folder.path(), begun);
        assert_eq!(not_pushed(&here).await, NotPushed::default());
        sh(&here, "echo b > changed; echo b > staged; git add staged; echo b > new; echo b > no");
        let found = not_pushed(&here).await;
        assert_eq!(found.files.into_iter().collect::<Vec<_>>(), ["changed", "new", "staged"]);
        assert_eq!(found.commits, 0);
        sh(&here, "git add --all; git commit -q -m More");
        let expected = NotPushed { commits: 1, ..NotPushed::default() };
        assert_eq!(not_pushed(&here).await, expected);
        // A file of Git LFS, of which git has a pointer.
        sh(&here, "echo '*.bin filter=lfs' > .gitattributes; echo pointer > a.bin
            git -c filter.lfs.clean= add --all; git commit -q --amend -m More; echo content > a.bin");
        assert_eq!(not_pushed(&here).await, expected);
        // A branch without an upstream.
        sh(&here, "git checkout -q -b aside --no-track");
        assert_eq!(not_pushed(&here).await, expected);
    }

    #[test]
    fn a_clone_that_chooses_a_folder_of_its_own_is_not_asked_for_its_toolchain() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, text: &str, expected: bool| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            assert_eq!(names_a_folder(folder.path()), expected, "{name}: {text}");
            std::fs::remove_file(file).unwrap();
        };
        check("rust-toolchain.toml", "[toolchain]\nchannel = \"1.90\"\n", false);
        check("rust-toolchain.toml", "[toolchain]\npath = \"tools/rust\"\n", true);
        check("rust-toolchain", "toolchain.path = 'tools/rust'\n", true);
        check(".tool-versions", "nodejs 22.1.0\n", false);
        check(".tool-versions", "nodejs path:./tools/node\n", true);
        check(".python-version", "3.11\n", false);
        // A link that never ends is not read.
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("mise.toml")).unwrap();
        assert!(!names_a_folder(folder.path()));
    }
}
