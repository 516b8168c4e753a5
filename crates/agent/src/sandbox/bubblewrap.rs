//! The arguments that make bubblewrap build a box.
//!
//! Pure except for checking which system folders exist. The environment is *not* here: every
//! process of the machine can read arguments.
//!
//! What a box sees: the system's programs and libraries, a chosen part of `/etc`, its own `/proc`
//! and a minimal `/dev`, empty memory-backed `HOME`, `/tmp`, `/var/tmp` and `/run`, and the spec's
//! binds. The root itself is read-only.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::detect::Bubblewrap;
use super::init::SUBCOMMAND;
use super::launch::Scratch;
use super::spec::{Access, BoxSpec, Network};

/// The user and group id inside: never root, whoever runs bubblewrap.
pub(crate) const USER: &str = "1000";

/// `HOME` inside, if the spec names none.
pub(crate) const HOME: &str = "/home/afk";

/// The path of our own binary inside.
const INIT: &str = "/run/afk-init";

/// Folders with programs and libraries of the system; those that are links become links inside.
pub(crate) const SYSTEM: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];

/// What programs need of `/etc`. Chosen one by one, because the rest of it contains secrets: if the
/// control plane is root, the box may read all that root owns. So no `/etc/ssl/private`, no
/// `gitconfig`, `npmrc` or `pip.conf`, which may contain tokens. A box gets its own `passwd` and
/// `group`.
pub(crate) const ETC: [&str; 32] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/java-25-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/locale.conf",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/shells",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

/// The arguments for a job's box. `program` is our own binary. Of the inherited descriptors,
/// bubblewrap writes the id of the box's first process to `info`; `ready` and, if the box has a way
/// out, `door` are for our code inside.
pub(crate) fn job(
    bubblewrap: &Bubblewrap,
    spec: &BoxSpec,
    scratch: &Scratch,
    program: &Path,
    (info, ready, door): (i32, i32, Option<i32>),
) -> Vec<OsString> {
    let mut args = Args::default();
    args.isolate(bubblewrap, &spec.network);
    args.add(["--info-fd", &info.to_string()]);
    args.system();
    args.bind(Access::ReadOnly, &scratch.passwd(), Path::new("/etc/passwd"));
    args.bind(Access::ReadOnly, &scratch.group(), Path::new("/etc/group"));
    args.memory(spec.limits.scratch, spec);
    for bind in spec.binds_outermost_first() {
        args.bind(bind.access, &bind.source, &bind.target);
    }
    for path in &spec.masked {
        args.mask(spec, scratch, path);
    }
    let words: Vec<String> = ["exec".to_owned(), ready.to_string()]
        .into_iter()
        .chain(door.map(|door| door.to_string()))
        .collect();
    args.seal(program, &words.iter().map(String::as_str).collect::<Vec<_>>());
    args.0
}

/// The arguments for a box of the same kind that only shows that it can be built.
pub(crate) fn trial(bubblewrap: &Bubblewrap, program: &Path) -> Vec<OsString> {
    let mut args = Args::default();
    args.isolate(bubblewrap, &Network::None);
    args.system();
    args.memory(1 << 20, &BoxSpec::new(["probe"], "/"));
    args.seal(program, &["probe"]);
    args.0
}

/// The arguments for a box in which a command can read the system and these paths, has no network,
/// and can write to memory only. Our code inside confines it by `plan`; the command is appended.
pub(crate) fn reader(
    bubblewrap: &Bubblewrap,
    program: &Path,
    plan: &str,
    paths: &[&Path],
) -> Vec<OsString> {
    let mut args = Args::default();
    args.isolate(bubblewrap, &Network::None);
    args.add(["--clearenv"]);
    args.system();
    args.memory(1 << 20, &BoxSpec::new(["reader"], "/"));
    for path in paths {
        args.bind(Access::ReadOnly, path, path);
    }
    args.seal(program, &["read", plan]);
    args.0
}

/// Whether a bind shows this path inside.
pub(crate) fn is_bound(spec: &BoxSpec, path: &Path) -> bool {
    spec.binds.iter().any(|bind| path.starts_with(&bind.target))
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    fn on(&mut self, option: &str, path: &Path) {
        self.0.extend([option.into(), path.into()]);
    }

    fn isolate(&mut self, bubblewrap: &Bubblewrap, network: &Network) {
        self.add([
            "--unshare-user",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]);
        match network {
            Network::None | Network::Through(_) => self.add(["--unshare-net"]),
            Network::Open => {}
        }
        if bubblewrap.disable_userns {
            self.add(["--disable-userns"]);
        }
        self.add(["--uid", USER, "--gid", USER, "--hostname", "afk", "--cap-drop", "ALL"]);
        self.add(["--new-session", "--die-with-parent"]);
    }

    fn system(&mut self) {
        for path in SYSTEM {
            let Ok(metadata) = fs::symlink_metadata(path) else { continue };
            match fs::read_link(path) {
                Ok(target) if metadata.is_symlink() => {
                    self.on("--symlink", &target);
                    self.0.push(path.into());
                }
                Ok(_) | Err(_) => self.add(["--ro-bind", path, path]),
            }
        }
        for path in ETC {
            self.add(["--ro-bind-try", path, path]);
        }
        // Root's user id can write kernel settings without any capability, and bubblewrap leaves
        // them writable; so they are mounted again, read-only.
        self.add(["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]);
        self.add(["--ro-bind-try", "/proc/sysrq-trigger", "/proc/sysrq-trigger"]);
        self.add(["--dev", "/dev"]);
    }

    fn memory(&mut self, size: u64, spec: &BoxSpec) {
        let size = size.to_string();
        for path in ["/tmp", "/var/tmp", "/dev/shm"] {
            self.add(["--perms", "1777", "--size", &size, "--tmpfs", path]);
        }
        self.add(["--perms", "0755", "--size", &size, "--tmpfs", "/run"]);
        let home = spec.home.as_deref().unwrap_or(Path::new(HOME));
        if !is_bound(spec, home) {
            self.add(["--perms", "0700", "--size", &size]);
            self.on("--tmpfs", home);
        }
    }

    fn bind(&mut self, access: Access, source: &Path, target: &Path) {
        self.on(
            match access {
                Access::ReadOnly => "--ro-bind",
                Access::ReadWrite => "--bind",
            },
            source,
        );
        self.0.push(target.into());
    }

    /// Covers a path with an empty folder or file. A missing path needs no cover.
    fn mask(&mut self, spec: &BoxSpec, scratch: &Scratch, path: &Path) {
        let Ok(metadata) = fs::metadata(outside(spec, path)) else { return };
        if metadata.is_dir() {
            self.add(["--perms", "0555", "--size", "4096"]);
            self.on("--tmpfs", path);
            self.on("--remount-ro", path);
        } else {
            self.bind(Access::ReadOnly, &scratch.empty(), path);
        }
    }

    fn seal(&mut self, program: &Path, init: &[&str]) {
        self.bind(Access::ReadOnly, program, Path::new(INIT));
        self.add(["--remount-ro", "/dev", "--remount-ro", "/", "--", INIT, SUBCOMMAND]);
        self.0.extend(init.iter().map(OsString::from));
    }
}

/// The machine's path of what the box sees at `path`, by the innermost bind that shows it.
fn outside(spec: &BoxSpec, path: &Path) -> PathBuf {
    spec.binds_outermost_first()
        .iter()
        .rev()
        .find_map(|bind| Some(bind.source.join(path.strip_prefix(&bind.target).ok()?)))
        .unwrap_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(change: impl FnOnce(BoxSpec) -> BoxSpec) -> Vec<String> {
        let bubblewrap =
            Bubblewrap { path: "bwrap".into(), version: String::new(), disable_userns: true };
        let scratch = Scratch::at(Path::new("/job"));
        let spec = change(BoxSpec::new(["true"], "/"));
        let args = job(&bubblewrap, &spec, &scratch, Path::new("/bin/afk"), (7, 8, Some(9)));
        args.into_iter().map(|word| word.into_string().expect("plain words")).collect()
    }

    fn has(args: &[String], words: &[&str]) -> bool {
        args.windows(words.len()).any(|window| window == words)
    }

    #[test]
    fn no_word_of_the_environment_or_command_is_an_argument() {
        let found = args(|mut spec| {
            spec.env.insert("TOKEN".to_owned(), "canary".to_owned());
            spec.argv.push("canary".to_owned());
            spec
        });
        assert!(!found.iter().any(|word| word.contains("canary") || word.contains("TOKEN")));
    }

    #[test]
    fn the_network_is_closed_unless_opened() {
        assert!(has(&args(|spec| spec), &["--unshare-net"]));
        let through = Network::Through(crate::egress::Egress::default());
        assert!(has(&args(|spec| BoxSpec { network: through, ..spec }), &["--unshare-net"]));
        assert!(!has(&args(|spec| BoxSpec { network: Network::Open, ..spec }), &["--unshare-net"]));
    }

    #[test]
    fn a_bound_home_is_not_covered() {
        assert!(has(&args(|spec| spec), &["--tmpfs", HOME]));
        let bound = args(|spec| BoxSpec {
            home: Some("/keep".into()),
            ..spec.bind("/keep", Access::ReadWrite)
        });
        assert!(!has(&bound, &["--tmpfs", "/keep"]) && has(&bound, &["--bind", "/keep", "/keep"]));
    }

    #[test]
    fn the_root_is_sealed_last() {
        let found = args(|spec| spec.bind("/tmp", Access::ReadWrite));
        let seal = found.iter().rposition(|word| word == "--remount-ro").expect("sealed");
        assert_eq!(found[seal + 1], "/");
        assert!(!found[seal..].iter().any(|word| word.contains("bind") || word == "--tmpfs"));
    }

    #[test]
    fn nothing_secret_of_etc_is_shown() {
        for secret in [
            "/etc",
            "/etc/ssl",
            "/etc/shadow",
            "/etc/ssl/private",
            "/etc/gitconfig",
            "/etc/ssh",
            "/etc/pki",
        ] {
            assert!(!ETC.contains(&secret), "{secret}");
        }
    }
}
