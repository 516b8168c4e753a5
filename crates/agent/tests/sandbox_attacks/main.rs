//! What a hostile job tries, and that it does not work: one table, run with and without a box.
//!
//! Every attack is first run without a box by the same user, and must succeed there, so that
//! its failure in the box means something. Attacks that only root could carry out are left to
//! root's turn. The attacks themselves are [`payload`], in this very binary.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod payload;
mod table;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use Partial::{Known, Stopped};
use afk_agent::host::{EndHow, JobKey, JobSpec};
use afk_agent::sandbox::{Access, BoxSpec, Capabilities, Requirement, Strength};
use common::{Bench, ended, inner, is_root, open_network, stderr, stdout};
use table::{Attack, attack, on_open_network};

/// What becomes of an attack in a weaker sandbox.
#[derive(Clone, Copy, PartialEq)]
enum Partial {
    /// Landlock alone stops it too.
    Stopped,
    /// Landlock alone is known to let it through, on kernels as old as this.
    Known,
}
/// The world around the box that the attacks are after.
struct World {
    bench: Bench,
    victim: Child,
    tcp: TcpListener,
    _sockets: Vec<UnixListener>,
    in_run: Option<PathBuf>,
    in_home: Option<PathBuf>,
    abstract_name: String,
}

impl World {
    fn new() -> Self {
        let bench = Bench::new();
        let outside = bench.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "canary").unwrap();
        fs::create_dir_all(bench.path().join("store")).unwrap();
        fs::write(bench.path().join("store/afk.db"), "canary").unwrap();
        fs::create_dir(bench.path().join("read-only")).unwrap();
        fs::write(bench.path().join("read-only/file"), "canary").unwrap();
        std::os::unix::fs::symlink(outside.join("secret"), bench.work().join("link")).unwrap();
        let abstract_name = format!("afk-{}", bench.nonce);
        let mut sockets = vec![
            UnixListener::bind(outside.join("socket")).unwrap(),
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap())
                .unwrap(),
        ];
        let mut in_run = None;
        let mut in_home = None;
        if is_root() {
            let path = PathBuf::from(format!("/run/afk-{}", bench.nonce));
            sockets.push(UnixListener::bind(&path).unwrap());
            in_run = Some(path);
            // In the real home of the user that runs the control plane, where its keys are, too.
            let path = PathBuf::from(format!("/root/.afk-{}", bench.nonce));
            fs::write(&path, "canary").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            in_home = Some(path);
        }
        let victim = Command::new("sleep").arg("1000").env("SECRET", "canary").spawn().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { bench, victim, tcp, _sockets: sockets, in_run, in_home, abstract_name }
    }

    /// Runs an attack without a box; `Ok` if it worked.
    fn unboxed(&self, attack: &Attack) -> Result<(), String> {
        let words = inner("payload::payload");
        let output = Command::new(&words[0])
            .args(&words[1..])
            .env("ATTACK", attack.words.join("\n"))
            .current_dir(self.bench.work())
            .output()
            .unwrap();
        judge(output.status.code().unwrap_or(-1), &String::from_utf8_lossy(&output.stdout))
    }

    /// Runs an attack in a box; `Ok` if it worked.
    async fn boxed(
        &self,
        attack: &Attack,
        n: usize,
        requirement: Requirement,
    ) -> Result<(), String> {
        let words = inner("payload::payload");
        let mut boxed = BoxSpec::new(words.clone(), self.bench.work())
            .bind(self.bench.work(), Access::ReadWrite)
            .bind(self.bench.path().join("read-only"), Access::ReadOnly)
            .bind(Path::new(&words[0]), Access::ReadOnly);
        boxed.requirement = requirement;
        boxed.env.insert("ATTACK".to_owned(), attack.words.join("\n"));
        if let Ok(setuid) = std::env::var("TEST_SETUID") {
            boxed = boxed.bind(Path::new(&setuid), Access::ReadOnly);
        }
        if attack.open_network {
            boxed = open_network(boxed);
        }
        let name = format!("attack-{n}-{requirement:?}");
        let spec = JobSpec::new(
            JobKey::new(format!("{}{name}", self.bench.nonce)),
            self.bench.path().join(&name),
            boxed,
        );
        let job = self.bench.hosts.ensure(&spec).await.unwrap();
        let end = ended(&job).await;
        let expected =
            if requirement == Requirement::Required { Strength::Full } else { Strength::Partial };
        assert_eq!(end.sandbox, Some(expected), "{end:?}");
        let EndHow::Exited(code) = end.how else {
            panic!("{}: {end:?} {}", attack.name, stderr(&job).await)
        };
        judge(code, &stdout(&job).await)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        for path in self.in_run.iter().chain(&self.in_home) {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_file("/usr/lib/afk-attack");
    }
}

/// Reads the payload's verdict, and panics without one: an attack that never ran proves nothing.
fn judge(code: i32, output: &str) -> Result<(), String> {
    let verdict =
        output.lines().find_map(|line| line.split_once("verdict: ").map(|(_, verdict)| verdict));
    match (code, verdict) {
        (0, Some("worked")) => Ok(()),
        (101, Some(failed)) => Err(failed.to_owned()),
        _ => panic!("the payload gave no verdict: code {code}, {output}"),
    }
}

#[tokio::test]
async fn no_attack_gets_out_of_the_box() {
    let world = World::new();
    // Descriptors that we leave open on purpose: the machine's root and a secret.
    let root = File::open("/").unwrap();
    let secret = File::open(world.bench.path().join("outside/secret")).unwrap();
    for file in [&root, &secret] {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
    }
    let (mut stopped, mut known, mut without_meaning) = (0, 0, 0);
    let mut out = Vec::new();
    for (n, attack) in world.attacks().iter().enumerate() {
        fs::write(world.bench.work().join("mine"), "").unwrap();
        fs::write(world.bench.path().join("read-only/file"), "canary").unwrap();
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        fs::write(world.bench.work().join("hostname"), name).unwrap();
        if attack.only_root && !is_root() {
            without_meaning += 1;
        } else if let Err(reason) = world.unboxed(attack) {
            out.push(format!(
                "{}: fails without a box too, so it shows nothing: {reason}",
                attack.name
            ));
        }
        fs::write(world.bench.path().join("read-only/file"), "canary").unwrap();
        for leftover in ["work/device", "outside/new", "read-only/new"] {
            let _ = fs::remove_file(world.bench.path().join(leftover));
        }
        let _ = fs::remove_file("/usr/lib/afk-attack");
        for requirement in common::BOTH {
            match (world.boxed(attack, n, requirement).await, requirement, attack.partial) {
                (Err(reason), _, _) => {
                    stopped += 1;
                    println!("stopped {requirement:?}: {}: {reason}", attack.name);
                }
                (Ok(()), Requirement::LandlockOnly, Known) => known += 1,
                (Ok(()), _, _) => out.push(format!("{}: gets out, {requirement:?}", attack.name)),
            }
        }
    }
    assert!(out.is_empty(), "{out:#?}");
    println!(
        "{stopped} attacks stopped, {known} known to pass landlock alone, {without_meaning} only root could try"
    );
    assert!(stopped > 40);
}

#[tokio::test]
async fn a_box_has_no_terminal() {
    let world = World::new();
    let attack = attack("open the terminal", Stopped, &["open-write", "/dev/tty"]);
    // Without a box, on a terminal of its own, the attack works.
    let output = Command::new("script")
        .args(["-qec", &inner("payload::payload").join(" "), "/dev/null"])
        .env("ATTACK", attack.words.join("\n"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert_eq!(judge(output.status.code().unwrap_or(-1), &text), Ok(()));
    for requirement in common::BOTH {
        assert!(world.boxed(&attack, 0, requirement).await.is_err(), "{requirement:?}");
    }
}

#[tokio::test]
async fn what_a_box_is_for_works_in_it() {
    // Otherwise a box in which nothing works at all would pass the tests of attacks.
    let world = World::new();
    fs::write(world.bench.work().join("mine-too"), "").unwrap();
    let port = world.tcp.local_addr().unwrap().port().to_string();
    let path = |name: &str| world.bench.path().join(name).to_str().unwrap().to_owned();
    let mut n = 100;
    for requirement in common::BOTH {
        for good in [
            attack(
                "write in the workspace",
                Stopped,
                &["write", &path(&format!("work/new-{requirement:?}"))],
            ),
            attack("read a read-only bind", Stopped, &["read", &path("read-only/file")]),
            attack("list the workspace", Stopped, &["list", &path("work"), "mine-too"]),
            attack("read certificates", Stopped, &["open", "/etc/ssl/openssl.cnf"]),
            attack("read users", Stopped, &["open", "/etc/passwd"]),
            attack("write to nothing", Stopped, &["open-write", "/dev/null"]),
            attack("read chance", Stopped, &["open", "/dev/urandom"]),
            attack("run a program", Stopped, &["run", "git", "--version"]),
            attack("look at memory", Stopped, &["open", "/proc/meminfo"]),
            attack("look at itself", Stopped, &["open", "/proc/self/status"]),
            attack(
                "fork a shell pipeline",
                Stopped,
                &["run", "sh", "-c", "echo canary | grep -q canary"],
            ),
            on_open_network(attack("connect on the open network", Stopped, &["tcp", &port])),
        ] {
            n += 1;
            assert_eq!(
                world.boxed(&good, n, requirement).await,
                Ok(()),
                "{}, {requirement:?}",
                good.name
            );
        }
    }
    assert_eq!(fs::read_to_string(world.bench.work().join("new-Required")).unwrap(), "canary");
}

#[test]
fn this_machine_in_words() {
    let found = Capabilities::detect(Path::new(env!("CARGO_BIN_EXE_afk-host")));
    println!("{found}");
    assert_eq!(found.strength(), Strength::Full);
    // A program without our subcommand cannot pass the trial.
    let wrong = Capabilities::detect(Path::new("/bin/false"));
    assert_eq!(wrong.strength(), Strength::Partial, "{wrong}");
}

#[test]
fn all_of_it_as_nobody() {
    let folder = tempfile::Builder::new().prefix("afk-setuid-").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("id");
    fs::copy("/usr/bin/id", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    common::all_again_as_nobody(
        "all_of_it_as_nobody",
        &[("TEST_SETUID", program.to_str().unwrap())],
    );
}
