//! The attacks on the world around a run, their targets in that world, and what is planted
//! to fire later.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use afk_agent::agents::scripted::script::Step;

use crate::common::{Plan, World, git, sh, texts};

/// The name of the file that the agent leaves wherever it can write.
pub(crate) const PLANT: &str = "evil-plant";

/// One attack: shell words that end with 0 when it worked.
pub(crate) struct Attack {
    name: &'static str,
    words: String,
    /// Who can do it outside of a box.
    by: By,
    /// Whether it only reads, so that verify and stages may try it any number of times.
    pub(crate) reads: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Anybody,
    Root,
    OnlyOthers,
}

const CONNECT: &str = "perl -MIO::Socket::UNIX -e \
                       'exit(IO::Socket::UNIX->new(Peer => $ARGV[0] =~ s/^@/\\0/r) ? 0 : 1)'";

fn attacks() -> Vec<Attack> {
    let connect = |to: &str| format!("{CONNECT} {to}");
    let alternates = "\"$(cat .git/objects/info/alternates)\"";
    [
        ("read the store", "grep -q SQLite @WORLD@/data/afk.db".to_owned(), By::Anybody, true),
        (
            "read the configuration",
            "grep -q kill_switch @WORLD@/afk.toml".to_owned(),
            By::Anybody,
            true,
        ),
        (
            "read the operator's home",
            "grep -q canary @WORLD@/home/secret".to_owned(),
            By::Anybody,
            true,
        ),
        (
            "read another run",
            "grep -q canary @WORLD@/data/work/runs/other/secret".to_owned(),
            By::Anybody,
            true,
        ),
        (
            "list all runs",
            "ls @WORLD@/data/work/runs | grep -q other".to_owned(),
            By::Anybody,
            true,
        ),
        (
            "read a job's token",
            "grep -q canary @WORLD@/data/work/jobs/other/job/token".to_owned(),
            By::Anybody,
            true,
        ),
        ("read the password hashes", "head -c1 /etc/shadow | grep -q .".to_owned(), By::Root, true),
        (
            "read the environment of all processes",
            "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -q '^E2E_CANAR[Y]='"
                .to_owned(),
            By::Anybody,
            true,
        ),
        ("see a process outside", "kill -0 @VICTIM@".to_owned(), By::Anybody, true),
        ("kill a process outside", "kill -CONT @VICTIM@".to_owned(), By::Anybody, false),
        ("connect to a socket outside", connect("@WORLD@/socket"), By::Anybody, true),
        ("connect to an abstract socket", connect("@@ABSTRACT@"), By::Anybody, true),
        (
            "write beside the world",
            "touch @WORLD@/canary/file && rm @WORLD@/canary/file".to_owned(),
            By::Anybody,
            false,
        ),
        (
            "write among the mirror's objects",
            format!("touch {alternates}/evil && rm {alternates}/evil"),
            By::Anybody,
            false,
        ),
        (
            "push to the origin by its path",
            "git push -q @WORLD@/origin.git HEAD:refs/heads/evil".to_owned(),
            By::Anybody,
            false,
        ),
        (
            "push to the origin by its name",
            "git push -q origin HEAD:refs/heads/evil-too".to_owned(),
            By::Anybody,
            false,
        ),
        (
            "read by a setuid program",
            "@WORLD@/gate/setuid-cat @WORLD@/gate/of-root | grep -q canary".to_owned(),
            By::OnlyOthers,
            true,
        ),
    ]
    .into_iter()
    .map(|(name, words, by, reads)| Attack { name, words, by, reads })
    .collect()
}

/// A world with the targets of the attacks.
pub(crate) struct Scene {
    pub(crate) world: World,
    victim: Child,
    _sockets: [UnixListener; 2],
    abstract_name: String,
    user: Option<u32>,
}

impl Scene {
    pub(crate) fn new(plan: &Plan) -> Self {
        let user = plan.user;
        let world = World::new(plan);
        world.issue("It prints `Hello, !`.");
        for (path, text) in [
            ("home/secret", "canary"),
            ("data/work/runs/other/secret", "canary"),
            ("data/work/jobs/other/job/token", "canary"),
            ("canary/.keep", ""),
        ] {
            let path = world.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let id = std::process::id();
        let unique = world.path("").file_name().unwrap().to_string_lossy().into_owned();
        let abstract_name = format!("{unique}-{id}");
        let sockets = [
            UnixListener::bind(world.path("socket")).unwrap(),
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap())
                .unwrap(),
        ];
        if is_root() {
            let cat = world.path("gate/setuid-cat");
            fs::copy("/bin/cat", &cat).unwrap();
            fs::write(world.path("gate/of-root"), "canary").unwrap();
            let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
            mode(world.path("gate/of-root"), 0o600).unwrap();
            mode(cat, 0o4755).unwrap();
        }
        for folder in ["home/secret", "data", "canary", "socket"] {
            own(&world, folder, user);
        }
        let mut sleep = as_user(user, "sleep");
        let victim = sleep.arg("1000").env("E2E_CANARY", "here").spawn().unwrap();
        Self { world, victim, _sockets: sockets, abstract_name, user }
    }

    pub(crate) fn fill(&self, words: &str) -> String {
        let world = self.world.path("");
        words
            .replace("@WORLD@", world.to_string_lossy().trim_end_matches('/'))
            .replace("@ABSTRACT@", &self.abstract_name)
            .replace("@VICTIM@", &self.victim.id().to_string())
    }

    /// The attacks that work outside for the user of this world.
    pub(crate) fn attacks(&self) -> Vec<Attack> {
        let root = is_root() && self.user.is_none();
        let fits = |by| match by {
            By::Anybody => true,
            By::Root => root,
            By::OnlyOthers => is_root() && !root,
        };
        attacks().into_iter().filter(|attack| fits(attack.by)).collect()
    }

    /// Checks that each attack works outside.
    pub(crate) fn controls(&self, attacks: &[Attack]) {
        let scratch = self.world.path("scratch/clone");
        fs::create_dir_all(scratch.parent().unwrap()).unwrap();
        own(&self.world, "scratch", self.user);
        let cloned = as_user(self.user, "git")
            .args(["clone", "-q", "--shared"])
            .args([self.world.path("origin.git"), scratch.clone()])
            .env("HOME", self.world.path("home"))
            .current_dir("/")
            .status();
        assert!(cloned.unwrap().success());
        for attack in attacks {
            let output = as_user(self.user, "sh")
                .args(["-c", &self.fill(&attack.words)])
                .current_dir(&scratch)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("HOME", self.world.path("home"))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let (out, err) = texts(&output);
            assert!(output.status.success(), "{} fails outside too: {out}{err}", attack.name);
        }
        fs::remove_dir_all(self.world.path("scratch")).unwrap();
        for branch in ["evil", "evil-too"] {
            let _ = Command::new("git")
                .args(["-c", "safe.directory=*", "branch", "-q", "-D", branch])
                .current_dir(self.world.path("origin.git"))
                .output();
        }
    }

    /// Steps that try each attack and record whether it worked.
    pub(crate) fn tries(&self, attacks: &[Attack]) -> Vec<Step> {
        let step = |attack: &Attack| {
            let (name, words) = (attack.name.replace('\'', ""), self.fill(&attack.words));
            sh(&format!(
                "if ( {words} ) >/dev/null 2>&1; then v=WORKED; else v=stopped; fi\n\
                 echo '{name}: '$v | tee -a \"$HOME/verdicts\""
            ))
        };
        attacks.iter().map(step).collect()
    }

    /// Shell lines for the head of a script, which fail if an attack that only reads works.
    pub(crate) fn lines(&self, attacks: &[Attack]) -> String {
        let mut lines = String::new();
        let mut tried = 0;
        for attack in attacks.iter().filter(|attack| attack.reads) {
            let (name, words) = (attack.name.replace('\'', ""), self.fill(&attack.words));
            tried += 1;
            lines.push_str(&format!(
                "if ( {words} ) >/dev/null 2>&1; then echo 'WORKED: {name}'; exit 3; fi\n"
            ));
        }
        lines + &format!("echo '{tried} attacks in vain'\n")
    }

    /// Checks that nothing planted has fired, and that everything outside is as it was.
    pub(crate) fn unharmed(&mut self) {
        let fired: Vec<_> = fs::read_dir(self.world.path("canary"))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name != ".keep")
            .collect();
        assert!(fired.is_empty(), "fired: {fired:?}");
        let got_out = named(&self.world.path(""), PLANT);
        assert!(got_out.is_empty(), "written outside: {got_out:?}");
        assert!(self.victim.try_wait().unwrap().is_none(), "the process outside is gone");
        let origin = self.world.path("origin.git");
        let refs = git(&origin, &["-c", "safe.directory=*", "for-each-ref", "--format=%(refname)"]);
        assert_eq!(refs.trim(), "refs/heads/main");
    }

    /// Steps that plant hooks and configuration, which would leave a file in the canary folder.
    pub(crate) fn plants(&self) -> Vec<Step> {
        let canary = self.fill("@WORLD@/canary");
        let hooks = "applypatch-msg pre-commit post-commit pre-push post-receive pre-receive update \
                     reference-transaction post-checkout post-merge post-rewrite post-index-change \
                     post-update push-to-checkout proc-receive pre-auto-gc fsmonitor-watchman";
        vec![
            // In a box the folders above a bind exist and are empty; what is written to them must
            // disappear with the box.
            sh(&format!(
                "mirror=\"$(cat .git/objects/info/alternates)/..\"\n\
                 for d in .. ../.. ../../.. \"$mirror\" \"$mirror/hooks\" \"$mirror/refs/heads\" / \
                 /tmp /etc /usr/bin; do mkdir -p \"$d\" && touch \"$d/{PLANT}\" || true; done 2>/dev/null"
            )),
            sh(&format!(
                "mkdir -p .git/hooks\nfor h in {hooks}; do\n  printf '#!/bin/sh\\ntouch \
                 {canary}/hook-%s\\nexit 0\\n' $h > .git/hooks/$h\n  chmod +x .git/hooks/$h\ndone"
            )),
            sh(&format!(
                "printf '#!/bin/sh\\ntouch {canary}/tool\\nexit 1\\n' > .git/tool\nchmod +x .git/tool\n\
                 t=\"$PWD/.git/tool\"\nfor k in core.fsmonitor core.sshCommand core.pager \
                 core.alternateRefsCommand core.gitProxy core.editor core.askPass \
                 uploadpack.packObjectsHook diff.external filter.x.clean \
                 gpg.program sequence.editor; do git config $k \"$t\"; done\n\
                 git config credential.helper \"!$t\"\ngit config alias.status \"!$t\"\n\
                 git config --add remote.origin.uploadpack \"$t\"\n\
                 git config --add remote.origin.receivepack \"$t\"\n\
                 mkdir -p .git/info; echo '* filter=x' > .git/info/attributes"
            )),
        ]
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// The files of this name below `folder`.
pub(crate) fn named(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name() == name {
            found.push(entry.path());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(named(&entry.path(), name));
        }
    }
    found
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A command as the user that everything of the world runs as.
pub(crate) fn as_user(user: Option<u32>, program: &str) -> Command {
    let Some(user) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}")]);
    command.args(["--clear-groups", program]);
    command
}

fn own(world: &World, path: &str, user: Option<u32>) {
    if let Some(user) = user {
        let owner = format!("{user}:{user}");
        let done = Command::new("chown").args(["-R", &owner]).arg(world.path(path)).status();
        assert!(done.unwrap().success());
    }
}

/// Another user for these tests; none, with a visible line, unless we are root.
pub(crate) fn nobody(test: &str) -> Option<u32> {
    if is_root() {
        return Some(65_534);
    }
    eprintln!("SKIPPED {test}: only root can become another user");
    None
}
