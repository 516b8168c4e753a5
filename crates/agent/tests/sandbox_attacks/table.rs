//! The attacks: each tried with and without a box.

use std::path::Path;

use crate::Partial::{Known, Stopped};
use crate::{Partial, World};

/// One attack: its name, its words for [`payload`], and who can carry it out without a box.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) words: Vec<String>,
    pub(crate) only_root: bool,
    pub(crate) open_network: bool,
    pub(crate) partial: Partial,
}

pub(crate) fn attack(name: &'static str, partial: Partial, words: &[&str]) -> Attack {
    Attack {
        name,
        words: words.iter().map(|&word| word.to_owned()).collect(),
        only_root: false,
        open_network: false,
        partial,
    }
}

fn by_root(attack: Attack) -> Attack {
    Attack { only_root: true, ..attack }
}

pub(crate) fn on_open_network(attack: Attack) -> Attack {
    Attack { open_network: true, ..attack }
}

impl World {
    pub(crate) fn attacks(&self) -> Vec<Attack> {
        let path = |name: &str| self.bench.path().join(name).to_str().unwrap().to_owned();
        let pid = self.victim.id().to_string();
        let port = self.tcp.local_addr().unwrap().port().to_string();
        let of = |name: &str| format!("/proc/{pid}/{name}");
        let mut attacks = vec![
            attack("read a file beside the workspace", Stopped, &["read", &path("outside/secret")]),
            attack(
                "read it through a symlink in the workspace",
                Stopped,
                &["read", &path("work/link")],
            ),
            attack("read the store", Stopped, &["read", &path("store/afk.db")]),
            attack("list the folder of all runs", Stopped, &["list", &path(""), "store"]),
            attack("write beside the workspace", Stopped, &["write", &path("outside/new")]),
            attack("write to a read-only bind", Stopped, &["write", &path("read-only/new")]),
            attack(
                "change a file in a read-only bind",
                Stopped,
                &["append", &path("read-only/file")],
            ),
            attack(
                "delete from a read-only bind",
                Stopped,
                &["rename", &path("read-only/file"), &path("read-only/gone")],
            ),
            attack(
                "connect to a socket in the machine's /tmp",
                Known,
                &["connect", &path("outside/socket")],
            ),
            attack("connect to an abstract socket", Stopped, &["abstract", &self.abstract_name]),
            on_open_network(attack(
                "the same on the open network",
                Stopped,
                &["abstract", &self.abstract_name],
            )),
            attack("connect to a loopback port", Stopped, &["tcp", &port]),
            attack("signal a process outside", Stopped, &["signal", &pid]),
            attack("see a process outside", Known, &["exists", &of("")]),
            attack("read another process's environment", Stopped, &["read", &of("environ")]),
            attack("read another process's memory", Stopped, &["open", &of("mem")]),
            attack(
                "read files by any process's root",
                Stopped,
                &["any-root", &path("outside/secret")],
            ),
            attack("look through descriptors that were left open", Stopped, &["descriptors"]),
            attack(
                "make namespaces and mount",
                Stopped,
                &["run", "unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"],
            ),
        ];
        if let (Some(run), Some(home)) = (&self.in_run, &self.in_home) {
            attacks.push(by_root(attack(
                "connect to a socket in /run",
                Known,
                &["connect", run.to_str().unwrap()],
            )));
            attacks.push(by_root(attack(
                "read the real home",
                Stopped,
                &["read", home.to_str().unwrap()],
            )));
        }
        attacks.extend(
            [
                attack("read the password hashes", Stopped, &["open", "/etc/shadow"]),
                attack(
                    "write a kernel setting",
                    Stopped,
                    &["open-write", "/proc/sys/kernel/core_pattern"],
                ),
                attack("write to sysfs", Stopped, &["open-write", "/sys/kernel/profiling"]),
                attack("write to a cgroup", Stopped, &["open-write", &cgroup_file()]),
                attack("write to a system folder", Stopped, &["write", "/usr/lib/afk-attack"]),
                attack(
                    "make a device node",
                    Stopped,
                    &["run", "mknod", &path("work/device"), "c", "1", "3"],
                ),
                attack("change an owner", Stopped, &["run", "chown", "12345", &path("work/mine")]),
                attack(
                    "set the host name",
                    Stopped,
                    &["run", "hostname", "-F", &path("work/hostname")],
                ),
            ]
            .map(by_root),
        );
        if let Ok(setuid) = std::env::var("TEST_SETUID") {
            attacks.push(attack("gain root by a setuid program", Stopped, &["setuid", &setuid]));
        }
        attacks
    }
}

/// A file by which processes are moved between cgroups, for the version that this machine has.
pub(crate) fn cgroup_file() -> String {
    [
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/pids/cgroup.procs",
        "/sys/fs/cgroup/unified/cgroup.procs",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists())
    .unwrap()
    .to_owned()
}
