//! A workspace root, an origin and plain git, for the tests of this suite.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use afk_core::ids::{Oid, RunId};
use afk_local::git::{
    Git, Identity, Limits, Mirror, RemoteUrl, RunClone, UploadPack, Workspaces, branch_name,
};

/// What every test of the suite needs.
pub(crate) struct World {
    pub(crate) binary: PathBuf,
    pub(crate) git: Git,
    pub(crate) mirror: Mirror,
    pub(crate) spaces: Workspaces,
    pub(crate) origin: PathBuf,
    pub(crate) seed: PathBuf,
    /// The file that an attack writes if it succeeds.
    pub(crate) canary: PathBuf,
    root: tempfile::TempDir,
}

/// Returns the gits to test with: one of each version that is found.
pub(crate) fn gits() -> Vec<PathBuf> {
    let paths = std::env::var("GITS").unwrap_or("/usr/local/bin/git:/usr/bin/git".to_owned());
    let mut seen = Vec::new();
    let mut gits = Vec::new();
    for path in paths.split(':').map(PathBuf::from).filter(|p| p.exists()) {
        let version = Command::new(&path).arg("version").output().unwrap().stdout;
        if !seen.contains(&version) {
            seen.push(version);
            gits.push(path);
        }
    }
    assert!(!gits.is_empty(), "no git at {paths}");
    gits
}

/// The run that most tests work on.
pub(crate) fn run_id() -> RunId {
    "0198c0de-0000-7000-8000-0000000000aa".parse().unwrap()
}

pub(crate) fn agent() -> Identity {
    Identity::new("agent", "agent@example.org")
}

/// Runs plain git as a careless control plane would.
pub(crate) fn plain(binary: &Path, dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(binary)
        .args(["-c", "user.name=dev", "-c", "user.email=dev@example.org"])
        .args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.push_str(String::from_utf8_lossy(&output.stderr).trim());
    (output.status.success(), text)
}

/// Runs plain git, which must succeed, and returns its standard output.
pub(crate) fn must(binary: &Path, dir: &Path, args: &[&str]) -> String {
    let (ok, text) = plain(binary, dir, args);
    assert!(ok, "git {args:?}: {text}");
    text
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(crate) fn script(path: &Path, text: &str) {
    write(path, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl World {
    /// Creates an origin with one commit on `main`, and nothing else yet.
    pub(crate) async fn new(binary: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let (origin, seed) = (at("origin.git"), at("seed"));
        std::fs::create_dir(&seed).unwrap();
        must(binary, root.path(), &["init", "-q", "--bare", origin.to_str().unwrap()]);
        must(binary, &seed, &["init", "-q"]);
        must(binary, &seed, &["remote", "add", "origin", origin.to_str().unwrap()]);
        let spaces = Workspaces::open(&at("work")).unwrap();
        let limits = Limits::default();
        let git = Git::open(binary, &at("bin"), Vec::new(), limits).await.unwrap();
        let remote = RemoteUrl::parse(origin.to_str().unwrap()).unwrap();
        let repo = "o/r".parse().unwrap();
        let mirror = Mirror::new(git.clone(), spaces.mirror(&repo), remote);
        let canary = at("canary");
        let binary = binary.to_owned();
        let world = Self { binary, git, mirror, spaces, origin, seed, canary, root };
        world.commit("README", "one\n", "first");
        world
    }

    /// Creates a world whose mirror is made.
    pub(crate) async fn ready(binary: &Path) -> Self {
        let world = Self::new(binary).await;
        world.mirror.ensure().await.unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn must(&self, dir: &Path, args: &[&str]) -> String {
        must(&self.binary, dir, args)
    }

    /// Commits to the origin's default branch, as somebody else.
    pub(crate) fn commit(&self, path: &str, text: &str, message: &str) -> Oid {
        write(&self.seed.join(path), text);
        self.must(&self.seed, &["add", "-A", "-f"]);
        self.must(&self.seed, &["commit", "-q", "-m", message]);
        self.must(&self.seed, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
        self.oid(&self.seed, "HEAD")
    }

    pub(crate) fn oid(&self, dir: &Path, text: &str) -> Oid {
        self.must(dir, &["rev-parse", text]).parse().unwrap()
    }

    /// Creates the run's clone at the mirror's `main`.
    pub(crate) async fn clone(&self) -> RunClone {
        let base = self.mirror.known_head("main").await.unwrap().unwrap();
        let folders = self.spaces.prepare(run_id()).unwrap();
        let branch = branch_name(7, run_id());
        let (run, agent) = (run_id(), agent());
        let made = RunClone::create(&self.mirror, run, &folders.clone, &base, &branch, &agent);
        made.await.unwrap()
    }

    /// Commits in the clone, as the agent.
    pub(crate) fn work(&self, clone: &RunClone, path: &str, text: &str) -> Oid {
        write(&clone.dir.join(path), text);
        self.must(&clone.dir, &["add", "-A", "-f"]);
        self.must(&clone.dir, &["commit", "-q", "-m", "work"]);
        self.oid(&clone.dir, "HEAD")
    }

    /// Returns `upload-pack` without a box, to show that the box is what protects.
    pub(crate) fn bare_upload_pack() -> UploadPack {
        UploadPack::boxed(Vec::<String>::new())
    }

    /// Returns `upload-pack` in the box.
    pub(crate) fn boxed_upload_pack(&self, clone: &RunClone) -> UploadPack {
        UploadPack::boxed(self.in_box(clone))
    }

    /// Returns bubblewrap's command line as the sandbox builds it, up to the command: it shows the
    /// system, the clone, which is the working directory, and the mirror's objects.
    pub(crate) fn in_box(&self, clone: &RunClone) -> Vec<String> {
        let objects = self.mirror.objects().to_str().unwrap().to_owned();
        let dir = clone.dir.to_str().unwrap().to_owned();
        let mut argv: Vec<String> = ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv"]
            .map(String::from)
            .to_vec();
        for path in ["/usr", "/bin", "/lib", "/lib64", "/etc"] {
            argv.extend(["--ro-bind-try".into(), path.into(), path.into()]);
        }
        argv.extend(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"].map(String::from));
        argv.extend(["--setenv".into(), "PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()]);
        argv.extend(["--ro-bind".into(), objects.clone(), objects]);
        argv.extend(["--bind".into(), dir.clone(), dir.clone()]);
        argv.extend(["--chdir".into(), dir, "--".into()]);
        argv
    }

    /// Whether the attack's canary fired; clears it for the next attack.
    pub(crate) fn fired(&self) -> bool {
        std::fs::remove_file(&self.canary).is_ok()
    }

    /// Returns a shell line that fires the canary.
    pub(crate) fn fire(&self) -> String {
        format!("touch {}", self.canary.display())
    }
}
