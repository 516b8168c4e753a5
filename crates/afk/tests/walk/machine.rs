//! A new user's machine: an empty home, bare remotes, clones of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use afk_agent::agents::scripted::script::{Script, Step, Turn};

use crate::projects::Project;

/// Variables that say where toolchains are, with their folders in the real home: the test's is
/// empty.
const TOOLCHAINS: [(&str, &str); 2] = [("RUSTUP_HOME", ".rustup"), ("PYENV_ROOT", ".pyenv")];

pub(crate) struct Machine {
    dir: tempfile::TempDir,
    /// A folder of further programs for the path.
    tools: Option<PathBuf>,
}

pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn all(&self) -> String {
        format!("exit code {}\n{}{}", self.code, self.out, self.err)
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("afk-walk-").tempdir().unwrap();
        for folder in ["home", "srv/you", "src"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Self { dir, tools: None }
    }

    /// Creates it with a further folder of programs on the path.
    pub(crate) fn with_tools(tools: Option<PathBuf>) -> Self {
        Self { tools, ..Self::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn remote(&self, name: &str) -> PathBuf {
        self.path(&format!("srv/you/{name}.git"))
    }

    /// Makes a project's remote, and a clone of it.
    pub(crate) fn clone_of(&self, project: &Project) -> PathBuf {
        self.clone_with(project.name, project.files)
    }

    /// Makes a remote with these files, and a clone of it.
    pub(crate) fn clone_with(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let (remote, clone) = (self.remote(name), self.path("src").join(name));
        let bare = remote.to_str().unwrap();
        self.git(self.dir.path(), &["init", "-q", "--bare", "--initial-branch=main", bare]);
        self.git(&self.path("src"), &["clone", "-q", bare, name]);
        for (path, text) in files {
            put(&clone.join(path), text);
        }
        self.git(&clone, &["checkout", "-q", "-B", "main"]);
        self.git(&clone, &["add", "--all"]);
        self.git(&clone, &["commit", "-q", "--allow-empty", "-m", "Begin"]);
        self.git(&clone, &["push", "-q", "-u", "origin", "main"]);
        clone
    }

    /// Writes the agent's script for a project: the test, then the code. Returns its path.
    pub(crate) fn script(&self, project: &Project) -> PathBuf {
        let write = |(path, content): (&str, &str)| Step::Write {
            path: path.into(),
            content: content.to_owned(),
        };
        let commit = |subject: &str, path: &str| Step::Commit {
            subject: subject.to_owned(),
            body: "The issue asks for it.".to_owned(),
            paths: vec![path.into()],
        };
        let steps = vec![
            write(project.test),
            commit("Test the case that is wrong", project.test.0),
            write(project.code),
            commit("Be right in every case", project.code.0),
        ];
        let script = Script { turns: vec![Turn { steps }] };
        let path = self.path(&format!("{}.json", project.name));
        std::fs::write(&path, serde_json::to_vec(&script).unwrap()).unwrap();
        path
    }

    fn search_path(&self) -> std::ffi::OsString {
        let path = std::env::var_os("PATH").unwrap();
        let folders = self.tools.iter().cloned().chain(std::env::split_paths(&path));
        std::env::join_paths(folders).unwrap()
    }

    pub(crate) fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = Command::new(program);
        let real = std::env::home_dir().unwrap_or_default();
        command
            .env_clear()
            .envs(TOOLCHAINS.map(|(variable, folder)| {
                let there = std::env::var_os(variable).map(PathBuf::from);
                (variable, there.unwrap_or_else(|| real.join(folder)))
            }))
            .env("PATH", self.search_path())
            .env("HOME", self.path("home"))
            .env("USER", "ann")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(dir)
            .stdin(Stdio::null());
        command
    }

    /// Runs `afk` in a folder.
    pub(crate) fn afk(&self, dir: &Path, args: &[&str]) -> Said {
        self.afk_with(dir, args, &[])
    }

    /// Runs `afk` in a folder, with further variables.
    pub(crate) fn afk_with(&self, dir: &Path, args: &[&str], more: &[(&str, String)]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_afk"), dir);
        command.args(args).envs(more.iter().map(|(name, value)| (name, value)));
        said(&command.output().unwrap())
    }

    /// Makes a folder with these programs alone, to be the search path.
    pub(crate) fn only(&self, name: &str, programs: &[&str]) -> String {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        for program in programs {
            let there = on_path(program).unwrap_or_else(|| panic!("{program} is not installed"));
            std::os::unix::fs::symlink(there, folder.join(program)).unwrap();
        }
        folder.to_str().unwrap().to_owned()
    }

    /// Runs `afk`, which must succeed; returns its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, dir: &Path, args: &[&str]) -> String {
        let said = self.afk(dir, args);
        assert_eq!(said.code, 0, "afk {args:?}: {}", said.all());
        said.out
    }

    #[track_caller]
    pub(crate) fn git(&self, dir: &Path, args: &[&str]) -> String {
        let mut command = self.command("git", dir);
        command.args(["-c", "user.name=ann", "-c", "user.email=ann@afk.invalid"]);
        let said = said(&command.args(args).output().unwrap());
        assert_eq!(said.code, 0, "git {args:?}: {}", said.all());
        said.out
    }

    /// The commits of a remote's default branch, newest first.
    pub(crate) fn landed(&self, name: &str) -> Vec<String> {
        let log = self.git(&self.remote(name), &["log", "--format=%H", "main"]);
        log.lines().map(str::to_owned).collect()
    }

    pub(crate) fn landed_file(&self, name: &str, path: &str) -> String {
        self.git(&self.remote(name), &["show", &format!("main:{path}")])
    }

    /// Replaces what differs between two machines or two runs: folders, commits, seconds, versions.
    pub(crate) fn plain(&self, text: &str) -> String {
        let root = self.dir.path().canonicalize().unwrap();
        let text = text.replace(root.to_str().unwrap(), "/tmp");
        let text = text.replace(self.dir.path().to_str().unwrap(), "/tmp");
        let mut out = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let plain = |(n, word): (usize, &&str)| -> String {
                let core = word.trim_end_matches([',', ':', ';', ')']);
                let rest = &word[core.len()..];
                let seconds = words.get(n + 1).is_some_and(|next| next.starts_with('s'));
                if core.len() == 8 && core.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    format!("COMMIT{rest}")
                } else if seconds && core.parse::<f64>().is_ok() && core.contains('.') {
                    format!("N{rest}")
                } else if n > 0 && words[n - 1].ends_with("landlock") {
                    "N".to_owned()
                } else {
                    (*word).to_owned()
                }
            };
            let line: Vec<String> = words.iter().enumerate().map(plain).collect();
            out.push_str(&line.join(" "));
            out.push('\n');
        }
        out
    }
}

pub(crate) fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}
