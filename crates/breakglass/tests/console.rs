//! Checks the console: its types, its modules, and itself in a real Chromium.
//!
//! What the console must do is in `tests/console`: `modules.test.mjs` runs without a browser,
//! `console.spec.mjs` and `looks.mjs` in one. This file gets the tools, and starts the server with
//! a scripted agent and a stand-in for `ssh`. Pictures of the page are left in `target/console`.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use afk_stand_ins::tools::{Skip, found_or_skipped, from_npm, run, skip};

const NODE: &str = "node@24.21.0";
const TYPESCRIPT: &str = "typescript@5.9.3";
const PLAYWRIGHT: &str = "playwright-core@1.65.1";
const AXE: &str = "axe-core@4.14.1";
/// Names a Chromium to test with.
const CHROMIUM_VARIABLE: &str = "AFK_TEST_CHROMIUM";
const TOKEN: &str = "console-test-token";
/// How long a program or a wait may take before the test fails.
const BOUND: Duration = Duration::from_mins(4);

#[test]
fn the_modules_are_sound_by_their_types() {
    let test = "the console's types";
    let Some(node) = from_npm(test, NODE, "bin/node") else { return };
    let Some(tsc) = from_npm(test, TYPESCRIPT, "bin/tsc") else { return };
    let check = |project: &Path| {
        let mut command = Command::new(&node);
        command.arg(&tsc).arg("--project").arg(project);
        finished(command)
    };
    let (ok, said) = check(&here().join("tests/console"));
    assert!(ok, "{said}");

    // A file with a mistake shows that the check can fail.
    let bad = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(here().join("tests/console/tsconfig.json")).unwrap();
    std::fs::write(bad.path().join("tsconfig.json"), config.replace("../../assets/", "./"))
        .unwrap();
    std::fs::write(bad.path().join("bad.js"), "export const one = (1).length;\n").unwrap();
    let (ok, said) = check(bad.path());
    assert!(!ok && said.contains("bad.js") && said.contains("length"), "{said}");
}

#[test]
fn the_modules_decide_well() {
    let Some(node) = from_npm("the console's modules", NODE, "bin/node") else { return };
    let mut command = Command::new(node);
    command.args(["--test", "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON"]);
    command.arg(here().join("tests/console/modules.test.mjs"));
    let (ok, said) = finished(command);
    assert!(ok, "{said}");
}

#[test]
fn the_page_in_chromium() {
    let test = "the console in Chromium";
    let found = found_or_skipped(test, "Chromium", CHROMIUM_VARIABLE, chromium());
    let Some(chromium) = found else { return };
    let Some(node) = from_npm(test, NODE, "bin/node") else { return };
    let Some(playwright) = from_npm(test, PLAYWRIGHT, "package.json") else { return };
    let Some(axe) = from_npm(test, AXE, "axe.min.js") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &node);

    let mut command = Command::new(&node);
    command.args(["--test", "--test-reporter=spec"]);
    command.arg("--disable-warning=MODULE_TYPELESS_PACKAGE_JSON");
    command.arg(here().join("tests/console/console.spec.mjs"));
    command
        .env("CONSOLE_SERVER", format!("http://{}", server.address))
        .env("CONSOLE_TOKEN", TOKEN)
        .env("CONSOLE_GATES", folder.path().join("gates"))
        .env("CONSOLE_AGENT", folder.path().join("agent"))
        .env("CONSOLE_SHOTS", target_folder().join("console"))
        .env("CONSOLE_PLAYWRIGHT", playwright)
        .env("CONSOLE_AXE", axe)
        .env("CONSOLE_CHROMIUM", chromium);
    let (ok, said) = finished(command);
    assert!(ok, "{said}\nthe server's log:\n{}", server.log());
}

/// The real server, killed when it is dropped.
struct Server {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Server {
    fn start(folder: &Path, node: &Path) -> Self {
        let gates = folder.join("gates");
        let path = folder.join("bin");
        for made in [&gates, &path] {
            std::fs::create_dir(made).unwrap();
        }
        let script = here().join("tests/console/agent.mjs");
        let agent = format!(
            "#!/bin/sh\nexec '{}' '{}' '{}' \"$@\"\n",
            node.display(),
            script.display(),
            gates.display()
        );
        program(&folder.join("agent"), &agent);
        program(&path.join("ssh"), &SSH.replace("GATES", &gates.to_string_lossy()));

        let log = folder.join("log");
        let rest = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakglass"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--proxies", "127.0.0.0/8"])
            .args(["--pve-host", "192.0.2.1", "--devvm-host", "192.0.2.2"])
            .args(["--sse-keepalive-seconds", "1"])
            .arg("--claude")
            .arg(folder.join("agent"))
            .arg("--sessions-dir")
            .arg(folder.join("sessions"))
            .env("API_BEARER_TOKEN", TOKEN)
            .env("PATH", format!("{}:{rest}", path.display()))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (found, address) = mpsc::channel();
        let mut kept = std::fs::File::create(&log).unwrap();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words = line.split_whitespace();
                for word in words.filter_map(|word| word.strip_prefix("address=")) {
                    let _ = found.send(word.to_owned());
                }
                let _ = writeln!(kept, "{line}");
            }
        });
        let address = address.recv_timeout(Duration::from_secs(20));
        let mut server = Self { child, address: String::new(), log };
        server.address = address.unwrap_or_else(|_| panic!("it does not listen: {}", server.log()));
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A script that stands in for `ssh` to the hypervisor; its last argument is the verb.
const SSH: &str = r#"#!/bin/sh
for verb; do :; done
case "$verb" in
status)
    printf 'status: running\nqmp: answers\nuptime: 2 d 3 h\nblock statistics: scsi0 unchanged for 2 s\n' ;;
forensics)
    printf 'vm status: running\nvm config: kept\nqmp query-block: kept\n'
    echo 'cannot write to /var/lib/power-verbs: no space left on device' >&2
    exit 3 ;;
cycle)
    printf 'forensics: kept in /var/lib/power-verbs/2026-11-29T02-14-07Z\n'
    tries=0
    while [ ! -e 'GATES/cycle' ] && [ "$tries" -lt 400 ]; do tries=$((tries + 1)); sleep 0.05; done
    printf 'stopped\nstarted in a new QEMU process, pid 48213\n' ;;
reset)
    echo 'QMP does not answer, so that a reset cannot work: use cycle' >&2
    exit 5 ;;
stop)
    echo 'VM 102 is locked (backup)' >&2
    exit 77 ;;
'stop --skiplock')
    echo 'stopped in spite of its lock' ;;
start)
    printf '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script> \033[31mred\033[0m\n'
    printf '</pre><svg onload="window.hit = 1"> \342\200\256gnp.exe\n' >&2 ;;
*)
    echo "refused: $verb" >&2
    exit 64 ;;
esac
"#;

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns a Chromium of this machine, preferably the headless shell, which is quicker.
fn chromium() -> Result<PathBuf, Skip> {
    let named = std::env::var_os(CHROMIUM_VARIABLE).map(PathBuf::from);
    let usual = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let installed = usual
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file());
    let path = named
        .or(installed)
        .ok_or_else(|| skip(format!("none is installed, and {CHROMIUM_VARIABLE} names none")))?;
    let mut version = Command::new(&path);
    version.args(["--headless", "--no-sandbox", "--version"]);
    run(version, Duration::from_secs(30)).map(|_| path)
}

/// Runs a program to its end within [`BOUND`]. Returns whether it succeeded, and what it printed.
fn finished(mut command: Command) -> (bool, String) {
    let mut output = tempfile::tempfile().unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output.try_clone().unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + BOUND;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    std::io::Seek::rewind(&mut output).unwrap();
    std::io::Read::read_to_string(&mut output, &mut said).unwrap();
    if status.is_none() {
        said.push_str("\nnot done in time");
    }
    (status.is_some_and(|status| status.success()), said)
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here().join("../../target"), PathBuf::from)
}
