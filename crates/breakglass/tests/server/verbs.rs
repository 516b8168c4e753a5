//! Power verbs over a real sshd, with the shipped script and a stand-in for `qm` behind it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use afk_breakglass::demo::machines::{Machines, sshd};
use afk_breakglass::supervisor::Supervisor;
use afk_stand_ins::tools::{found_or_skipped, skip};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::contract::works;
use crate::support::{BOUND, Place, SOON, answer, until, verified};

/// A place with stand-ins for both machines.
pub(crate) struct Scene {
    pub(crate) place: Place,
    machines: Machines,
}

impl Scene {
    /// `None`, with a visible line, where there is no sshd. Verbs may take `bound` seconds.
    pub(crate) async fn new(test: &str, bound: &str) -> Option<Self> {
        let found = sshd().ok_or_else(|| skip("install openssh-server"));
        found_or_skipped(test, "sshd", "CI", found)?;
        let place = Place::new();
        let binary = env!("CARGO_BIN_EXE_breakglass");
        let supervisor = Supervisor::new(binary, format!("scene:{}", place.path().display()));
        let folder = place.path().join("machines");
        let machines = Machines::start(&folder, &supervisor).await.expect("they start");
        let port = machines.pve_port().to_string();
        let key = machines.key();
        let place = place.with(&[
            "--pve-host",
            "127.0.0.1",
            "--pve-port",
            &port,
            "--pve-user",
            machines.user(),
            "--devvm-host",
            "127.0.0.1",
            "--devvm-port",
            &machines.devvm_port().to_string(),
            "--devvm-user",
            machines.user(),
            "--key-path",
            key.to_str().unwrap(),
            "--pve-verb-timeout-seconds",
            bound,
        ]);
        Some(Self { place, machines })
    }

    fn vm(&self, file: &str) -> String {
        std::fs::read_to_string(self.machines.vm().join(file)).unwrap_or_default()
    }

    fn set(&self, file: &str, text: &str) {
        std::fs::write(self.machines.vm().join(file), text).unwrap();
    }

    /// Lets a `qm stop` that is held go on.
    fn release(&self) {
        std::fs::remove_file(self.machines.vm().join("holds")).unwrap();
    }

    /// Returns the calls of `qm` that change the VM.
    fn changes(&self) -> Vec<String> {
        let calls = self.vm("calls");
        let calls = calls.lines().filter(|call| {
            ["qm start", "qm stop", "qm reset"].iter().any(|verb| call.starts_with(verb))
        });
        calls.map(str::to_owned).collect()
    }

    /// Returns the texts of the files with this ending that the hypervisor keeps.
    fn kept(&self, ending: &str) -> Vec<String> {
        records(&self.machines.kept(), ending)
    }

    /// Returns an `ssh` command as an attacker with the key would use it.
    fn ssh(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .arg("-i")
            .arg(self.machines.key())
            .args(["-p", &self.machines.pve_port().to_string()])
            .args(args)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn target(&self) -> String {
        format!("{}@127.0.0.1", self.machines.user())
    }
}

/// Returns the texts of the files in a folder that have this ending.
fn records(folder: &Path, ending: &str) -> Vec<String> {
    let listed = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<String> = listed
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    found.sort();
    found
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_does_what_it_says_and_forensics_come_first() {
    let Some(scene) = Scene::new("each_verb_does_what_it_says", "60").await else { return };
    let server = scene.place.serve();
    let listed = answer(server.get("/api/pve/verbs")).await;
    let verbs = ["cycle", "forensics", "reset", "start", "status", "stop"];
    let mutating = ["cycle", "reset", "start", "stop"];
    assert_eq!(listed, (StatusCode::OK, json!({"verbs": verbs, "mutating": mutating})));

    let (status, body) = server.verb("status").await;
    assert_eq!(
        (status, &body["exit_code"], &body["rejected"]),
        (StatusCode::OK, &json!(0), &json!(false))
    );
    assert_eq!(text(&body, "stdout"), "status: running\nQEMU answers: running\n");
    let (status, body) = server.verb("forensics").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    for part in [
        "qm pending",
        "new memory: 49152",
        r#""io-status": "ok""#,
        "threads of QEMU",
        "S (sleeping), waits in",
        "a stand-in has no stack",
        "kernel log",
    ] {
        assert!(text(&body, "stdout").contains(part), "{part} is not in {body}");
    }
    assert_eq!(text(&body, "stdout").matches("wr_operations").count(), 2, "two samples");
    assert_eq!(scene.changes(), Vec::<String>::new());
    assert_eq!(scene.kept("forensics").len(), 1);

    std::fs::remove_file(scene.machines.vm().join("calls")).unwrap();
    let (status, body) = server.verb("cycle").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(scene.changes(), ["qm stop 102", "qm start 102"]);
    let calls = scene.vm("calls");
    let stop = calls.find("qm stop").unwrap();
    for first in
        ["qm status 102 --verbose", "qm config", "qm pending", "qm guest cmd 102 ping", "qmp"]
    {
        assert!(
            calls.find(first).is_some_and(|at| at < stop),
            "{first} before any change:\n{calls}"
        );
    }
    assert_eq!(scene.kept("forensics").len(), 2);
    assert_eq!(scene.vm("state"), "running\n");
    for (verb, state) in [("stop", "stopped\n"), ("start", "running\n"), ("reset", "running\n")] {
        let (status, body) = server.verb(verb).await;
        assert_eq!((status, scene.vm("state").as_str()), (StatusCode::OK, state), "{verb}: {body}");
    }
    let (status, body) = server.verb("start").await;
    assert_eq!((status, &body["exit_code"]), (StatusCode::BAD_GATEWAY, &json!(255)), "{body}");
    assert!(text(&body, "stdout").contains("VM 102 already running"), "{body}");
    assert_eq!(scene.kept("forensics").len(), 6, "before each of them");
    // Records of this VM go after 90 days; those of other VMs are not this key's to delete.
    let old = [("102", 92, false), ("102", 89, true), ("1020", 92, true), ("103", 92, true)].map(
        |(vm, days, stays)| {
            let name = format!("20200101T000000Z-{vm}-cycle-{days}.forensics");
            let path = scene.machines.kept().join(name);
            let file = std::fs::File::create_new(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_hours(24 * days)).unwrap();
            (path, stays)
        },
    );
    assert_eq!(server.verb("forensics").await.0, StatusCode::OK);
    assert!(old.iter().all(|(path, _)| path.exists()), "what only looks deletes nothing");
    assert_eq!(server.verb("reset").await.0, StatusCode::OK);
    for (path, stays) in old {
        assert_eq!(path.exists(), stays, "{}", path.display());
    }
    drop(server);
    let (whole, said) = verified(&scene.place.audit());
    assert!(whole, "{said}");
    let audit = std::fs::read_to_string(scene.place.audit()).unwrap();
    assert!(
        audit.contains(r#""act":"verb","verb":"cycle""#)
            && audit.contains(r#""outcome":"exit 255""#)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_outside_the_list_is_refused_without_ssh() {
    let Some(scene) = Scene::new("a_verb_outside_the_list", "60").await else { return };
    let server = scene.place.serve();
    for (sent, shown) in [
        ("shutdown", "shutdown"),
        ("Status", "Status"),
        ("status;%20rm%20-rf%20x", "status; rm -rf x"),
        ("status%0Astop", "status stop"),
        ("-oProxyCommand=x", "-oProxyCommand=x"),
        ("cycle%20--skiplock", "cycle --skiplock"),
        ("status%00", "status"),
    ] {
        let refused = server.verb(sent).await;
        let detail = json!({"detail": format!("unknown verb '{shown}'")});
        assert_eq!(refused, (StatusCode::BAD_REQUEST, detail));
    }
    assert_eq!(scene.vm("calls"), "", "nothing reached the hypervisor");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_opens_nothing_but_the_verbs() {
    let Some(scene) = Scene::new("the_key_opens_nothing_but_the_verbs", "60").await else { return };
    let target = scene.target();
    let marker = scene.place.path().join("marker");
    let touch = format!("touch {}", marker.display());
    let also = format!("status; {touch}");
    let lines = format!("status\n{touch}");
    let inside = format!("$({touch})");
    let commands = [
        "",
        "sh",
        "bash -i",
        "status ",
        " status",
        "Status",
        &also,
        &lines,
        &inside,
        "status 103",
        "stop 103",
        "cycle --skiplock --force",
        "qm stop 102",
        "monitor",
        "scp -t /tmp",
        "/usr/lib/openssh/sftp-server",
        "status\tstop",
        "forensics > /tmp/x",
    ];
    // All commands at once, since the key exchange takes most of the time.
    let tried: Vec<_> = commands
        .iter()
        .map(|&command| {
            let mut ssh = scene.ssh(&[&target]);
            ssh.args(Some(command).filter(|command| !command.is_empty()));
            (command, ssh.spawn().unwrap())
        })
        .collect();
    for (command, ssh) in tried {
        let output = ssh.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{command:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{command:?}: {output:?}");
    }
    // Subsystems, terminals, forwards and variables are not for this key either.
    for args in [
        &["-s", &target, "sftp"][..],
        &["-tt", &target],
        &["-o", "SetEnv=POWER_VERBS_PATH=/tmp SSH_ORIGINAL_COMMAND=status", &target, "x"],
    ] {
        let output = scene.ssh(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}: {output:?}");
    }
    let forward = scene
        .ssh(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "-N", &target])
        .output()
        .unwrap();
    assert_eq!(forward.status.code(), Some(255), "{forward:?}");
    assert!(!marker.exists());
    assert_eq!(scene.vm("calls"), "", "no command of the hypervisor was run");
    let works = scene.ssh(&[&target, "status"]).output().unwrap();
    assert!(works.status.success(), "{works:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_that_hangs_is_bounded_and_goes_on_there() {
    let Some(scene) = Scene::new("a_verb_that_hangs_is_bounded", "6").await else { return };
    scene.set("holds", "");
    let server = scene.place.serve();
    let ((status, body), ()) = tokio::join!(
        server.verb("cycle"),
        until("it has begun", || scene.changes() == ["qm stop 102"])
    );
    assert_eq!((status, &body["exit_code"]), (StatusCode::BAD_GATEWAY, &Value::Null), "{body}");
    assert!(
        text(&body, "stderr").contains("within 6 s: if it has begun it goes on there"),
        "{body}"
    );
    // The two processes that are left are ssh-agent and its supervisor.
    until("no SSH is left", || scene.place.alive() == 2).await;
    scene.release();
    until("it was stopped and started", || scene.changes().len() == 2).await;
    until("it is told as ended", || scene.kept("exit") == ["0\n"]).await;
    let (_, body) = server.verb("status").await;
    let told = text(&body, "stdout");
    assert!(
        told.contains("-102-cycle-") && told.contains("exit: 0") && told.contains("+ qm start"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_presses_at_once_one_runs_and_the_other_is_told() {
    let Some(scene) = Scene::new("of_two_presses_at_once", "60").await else { return };
    scene.set("holds", "");
    let server = scene.place.serve();
    let (first, second) = tokio::join!(server.verb("cycle"), async {
        until("the first is under way", || scene.changes() == ["qm stop 102"]).await;
        // From another console with the same key, the hypervisor itself refuses.
        let other = scene.ssh(&[&scene.target(), "stop"]).output().unwrap();
        assert_eq!(other.status.code(), Some(75), "{other:?}");
        assert!(String::from_utf8_lossy(&other.stdout).contains("another verb is under way"));
        // Verbs that only read are answered meanwhile.
        assert_eq!(server.verb("status").await.0, StatusCode::OK);
        let refused = server.verb("reset").await;
        scene.release();
        refused
    });
    assert_eq!(first.0, StatusCode::OK, "{}", first.1);
    let told = "`cycle` is under way: wait until it is done, and ask for `status` meanwhile";
    assert_eq!(second, (StatusCode::CONFLICT, json!({"detail": told})));
    assert_eq!(scene.changes(), ["qm stop 102", "qm start 102"]);
    assert_eq!(server.verb("reset").await.0, StatusCode::OK, "and then it is free again");
    let audit = std::fs::read_to_string(scene.place.audit()).unwrap();
    assert!(audit.contains("refused: `cycle` is under way"), "the second is on record: {audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_between_stop_and_start_leaves_the_vm_started() {
    let Some(scene) = Scene::new("a_connection_that_breaks", "60").await else { return };
    scene.set("holds", "");
    let mut ssh = scene.ssh(&[&scene.target(), "cycle"]).spawn().unwrap();
    until("it is being stopped", || scene.changes() == ["qm stop 102"]).await;
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    scene.release();
    until("it was started", || scene.changes() == ["qm stop 102", "qm start 102"]).await;
    until("its end is kept", || scene.kept("exit") == ["0\n"]).await;
    assert_eq!(scene.vm("state"), "running\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_mid_verb_leaves_no_ssh_and_the_verb_is_carried_out_and_told() {
    let Some(scene) = Scene::new("kill_9_in_mid_verb", "60").await else { return };
    scene.set("holds", "");
    let server = scene.place.serve();
    let request = server.post("/api/pve/cycle");
    let pressed = tokio::spawn(async move { request.send().await.is_ok() });
    until("it is being stopped", || scene.changes() == ["qm stop 102"]).await;
    server.kill();
    assert!(!pressed.await.unwrap(), "the answer is lost with the server");
    until("no process of the server is left", || scene.place.alive() == 0).await;
    scene.release();
    until("it was started", || scene.changes().len() == 2).await;
    drop(scene.place.serve());
    let (whole, said) = verified(&scene.place.audit());
    assert!(whole && !said.contains("has no end"), "{said}");
    let audit = std::fs::read_to_string(scene.place.audit()).unwrap();
    assert!(audit.contains("unknown: the server died before it ended"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_mid_verb_is_told_at_once_and_the_verb_is_carried_out() {
    let Some(scene) = Scene::new("sigterm_in_mid_verb", "60").await else { return };
    scene.set("holds", "");
    let server = scene.place.serve();
    let request = server.post("/api/pve/cycle");
    let pressed = tokio::spawn(answer(request));
    until("it is being stopped", || scene.changes() == ["qm stop 102"]).await;
    assert!(server.stop() < SOON);
    let (status, body) = pressed.await.unwrap();
    assert_eq!((status, &body["exit_code"]), (StatusCode::BAD_GATEWAY, &Value::Null), "{body}");
    let told = "the server was stopped before the hypervisor answered: `status` tells";
    assert!(text(&body, "stderr").contains(told), "{body}");
    assert_eq!(scene.place.alive(), 0, "no process of the server is left");
    scene.release();
    until("it was started", || scene.changes().len() == 2).await;
    until("its end is kept", || scene.kept("exit") == ["0\n"]).await;
    let (whole, said) = verified(&scene.place.audit());
    assert!(whole && !said.contains("has no end"), "{said}");
    let audit = std::fs::read_to_string(scene.place.audit()).unwrap();
    assert!(audit.contains("unknown: the server was stopped before"), "{audit}");
    let (_, body) = scene.place.serve().verb("status").await;
    assert!(text(&body, "stdout").contains("exit: 0"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_cannot_be_recorded_is_carried_out_and_told() {
    let Some(mut scene) = Scene::new("an_act_that_cannot_be_recorded", "60").await else { return };
    // With SIGXFSZ ignored, a write over the limit of a file's size is an error, not a signal.
    let launcher = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
    scene.place = scene.place.through(&launcher);
    let server = scene.place.serve();
    assert_eq!(server.verb("status").await.0, StatusCode::OK);
    let written = || std::fs::metadata(scene.place.audit()).unwrap().len();
    let before = written();
    let limit = |bytes| {
        let pid = rustix::process::Pid::from_raw(server.pid());
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    };
    // Like a disk with room for only half a record.
    limit(Some(before + 100));
    let (status, body) = server.verb("cycle").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(scene.changes(), ["qm stop 102", "qm start 102"]);
    until("it is told in the server's log", || {
        let log = server.log();
        let told = log.lines().find(|line| line.contains("audit record not written"));
        told.is_some_and(|line| line.contains("ERROR") && line.contains("cycle"))
    })
    .await;
    assert_eq!(written(), before, "and no half of it is left");
    limit(None);
    assert_eq!(server.verb("reset").await.0, StatusCode::OK);
    drop(server);
    let (whole, said) = verified(&scene.place.audit());
    assert!(whole && !said.contains("has no end") && !said.contains("cut it off"), "{said}");
    let audit = std::fs::read_to_string(scene.place.audit()).unwrap();
    assert!(audit.contains(r#""verb":"reset""#) && !audit.contains("cycle"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_told_and_skipped_by_a_second_confirmation_alone() {
    let Some(scene) = Scene::new("a_lock_is_told", "60").await else { return };
    scene.set("lock", "backup");
    let server = scene.place.serve();
    let skip = |verb: &str| {
        let body = json!({"skiplock": true}).to_string();
        answer(server.post(&format!("/api/pve/{verb}")).body(body))
    };
    let (status, body) = skip("stop").await;
    assert_eq!(status, StatusCode::CONFLICT, "nobody was told of the lock: {body}");
    let (status, body) = server.verb("stop").await;
    assert_eq!((status, &body["exit_code"]), (StatusCode::BAD_GATEWAY, &json!(77)), "{body}");
    assert_eq!((&body["locked"], &body["rejected"]), (&json!(true), &json!(false)));
    assert!(text(&body, "stdout").contains("VM 102 is locked (backup)"), "{body}");
    assert_eq!(scene.changes(), Vec::<String>::new());
    assert!(text(&server.verb("status").await.1, "stdout").contains("locked: backup"));
    assert_eq!(skip("cycle").await.0, StatusCode::CONFLICT, "it was another verb");
    // The confirmation holds for the lock that was told, not for another one that came since.
    scene.set("lock", "migrate");
    let (_, body) = skip("stop").await;
    assert_eq!((&body["exit_code"], &body["locked"]), (&json!(77), &json!(true)), "{body}");
    assert!(text(&body, "stdout").contains("VM 102 is locked (migrate)"), "{body}");
    assert_eq!(scene.changes(), Vec::<String>::new());
    let (status, body) = skip("stop").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(scene.changes(), ["qm stop 102 --skiplock"]);

    // The same rules hold for whoever uses the key without the console, as an agent could.
    let keyed = |verb: &str| {
        let output = scene.ssh(&[&scene.target(), verb]).output().unwrap();
        output.status.code()
    };
    let told = scene.machines.run().join("102.told");
    assert_eq!(keyed("start --skiplock"), Some(77), "nobody was told");
    assert_eq!(keyed("cycle --skiplock"), Some(77), "it was another verb");
    let file = std::fs::File::options().write(true).open(&told).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_mins(11)).unwrap();
    assert_eq!(keyed("cycle --skiplock"), Some(77), "it was too long ago");
    assert_eq!(scene.changes().len(), 1, "nothing was changed by any of them");
    assert_eq!(keyed("cycle --skiplock"), Some(0));
    assert!(!told.exists(), "and each time counts once");
    // Without a lock `--skiplock` is dropped, so that one which comes meanwhile counts.
    std::fs::remove_file(scene.machines.vm().join("lock")).unwrap();
    assert_eq!(keyed("reset --skiplock"), Some(0));
    assert_eq!(scene.changes().last().unwrap(), "qm reset 102");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_a_qemu_that_hangs_fails_and_names_cycle() {
    let Some(scene) = Scene::new("a_reset_of_a_qemu_that_hangs", "60").await else { return };
    scene.machines.hang().unwrap();
    let server = scene.place.serve();
    let (status, body) = server.verb("reset").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{body}");
    assert!(text(&body, "stdout").contains("use cycle"), "{body}");
    assert!(text(&server.verb("status").await.1, "stdout").contains("QEMU answers: no"));
    assert_eq!(server.verb("cycle").await.0, StatusCode::OK);
    assert!(text(&server.verb("status").await.1, "stdout").contains("QEMU answers: running"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_fails_for_another_reason_does_not_name_cycle() {
    let Some(scene) = Scene::new("a_reset_that_fails_for_another_reason", "60").await else {
        return;
    };
    scene.set("state", "stopped\n");
    let server = scene.place.serve();
    let (status, body) = server.verb("reset").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{body}");
    let told = text(&body, "stdout");
    assert!(told.contains("the VM is stopped: use start") && !told.contains("cycle"), "{told}");
    let (_, body) = server.verb("status").await;
    assert!(text(&body, "stdout").contains("QEMU answers: no, as the VM is stopped"), "{body}");
}

/// QEMU's monitor serves one client at a time; waiting for it must not be taken for a hung QEMU.
#[tokio::test(flavor = "multi_thread")]
async fn a_qemu_that_serves_somebody_else_is_not_wedged() {
    let Some(scene) = Scene::new("a_qemu_that_serves_somebody_else", "60").await else { return };
    let server = scene.place.serve();
    scene.set("slow", "1.5");
    let (forensics, status) = tokio::join!(server.verb("forensics"), async {
        until("forensics have QMP", || scene.vm("calls").contains("qmp")).await;
        server.verb("status").await
    });
    assert_eq!(forensics.0, StatusCode::OK, "{}", forensics.1);
    assert!(text(&status.1, "stdout").contains("QEMU answers: running"), "{}", status.1);
    std::fs::remove_file(scene.machines.vm().join("slow")).unwrap();

    // A client that is no verb delays the two samples, which are still taken apart from each other.
    std::fs::remove_file(scene.machines.vm().join("samples")).unwrap();
    let monitor = scene.machines.vm().join("monitor");
    let mut other = Command::new("flock").arg(monitor).args(["sleep", "0.6"]).spawn().unwrap();
    assert_eq!(server.verb("forensics").await.0, StatusCode::OK);
    assert!(other.wait().unwrap().success());
    let samples: Vec<u64> = scene.vm("samples").lines().map(|time| time.parse().unwrap()).collect();
    let [first, second] = samples[..] else { panic!("two samples: {samples:?}") };
    assert!(second - first >= 100_000_000, "{samples:?}");

    // A verb that cannot ask QEMU says why, and does not recommend `cycle`.
    let turn = scene.machines.run().join("102.qmp");
    let mut other = Command::new("flock").arg(&turn).args(["sleep", "30"]).spawn().unwrap();
    until("it has the lock", || {
        !Command::new("flock").arg("-n").arg(&turn).arg("true").status().unwrap().success()
    })
    .await;
    let (_, body) = server.verb("status").await;
    let told = text(&body, "stdout");
    assert!(told.contains("QEMU was not asked: another verb has QMP"), "{told}");
    assert!(!told.contains("cycle"), "{told}");
    other.kill().unwrap();
    other.wait().unwrap();
    if ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .all(|folder| !Path::new(folder).join("socat").exists())
    {
        std::fs::remove_file(scene.machines.bin().join("socat")).unwrap();
        let (_, body) = server.verb("status").await;
        let told = text(&body, "stdout");
        assert!(told.contains("QEMU was not asked: socat is missing"), "{told}");
        assert!(!told.contains("cycle"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_starts_the_vm_even_if_status_fails_after_the_stop() {
    let Some(scene) = Scene::new("a_cycle_starts_the_vm", "60").await else { return };
    scene.set("mute", "");
    let server = scene.place.serve();
    assert_eq!(server.verb("status").await.1["exit_code"], json!(255), "`qm status` does fail");
    let (status, body) = server.verb("cycle").await;
    assert_eq!((status, &body["exit_code"]), (StatusCode::OK, &json!(0)), "{body}");
    assert_eq!(scene.changes(), ["qm stop 102", "qm start 102"]);
    assert_eq!(scene.vm("state"), "running\n");
    // A verb that fails by itself still says so.
    let (_, body) = server.verb("start").await;
    assert_eq!(body["exit_code"], json!(255), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_no_verb() {
    let Some(scene) = Scene::new("a_log_that_cannot_be_written", "60").await else { return };
    let (kept, run) = (scene.machines.kept(), scene.machines.run());
    let server = scene.place.serve();
    let cycled = async |how: &str, times: usize| {
        let (status, body) = server.verb("cycle").await;
        assert_eq!(status, StatusCode::OK, "{how}: {body}");
        assert!(text(&body, "stderr").contains("records go to"), "{how}: {body}");
        assert_eq!(scene.changes().len(), 2 * times, "{how}: stopped and started");
        assert_eq!(records(&run, "exit"), vec!["0\n"; times], "{how}: its end is kept");
    };
    // The script fills its probe of the disk with `head`, which fails here as on a full disk.
    let head = scene.machines.bin().join("head");
    std::fs::write(&head, "#!/bin/sh\necho 'head: No space left on device' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&head, std::fs::Permissions::from_mode(0o755)).unwrap();
    cycled("full", 1).await;
    std::fs::remove_file(head).unwrap();
    let names = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name());
    let probes = names.filter(|name| name.to_string_lossy().starts_with("probe-")).count();
    assert_eq!(probes, 0, "nothing of the probe is left");
    // `/proc` cannot be written to, not even by root.
    std::fs::remove_dir_all(&kept).unwrap();
    symlink("/proc", &kept).unwrap();
    cycled("read-only", 2).await;
    std::fs::remove_file(&kept).unwrap();
    std::fs::write(&kept, "").unwrap();
    cycled("no folder", 3).await;
    let (status, body) = server.verb("status").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let told = text(&body, "stdout");
    assert!(told.contains("-102-cycle-") && told.contains("exit: 0"), "{told}");
    // Once the folder can be written to again, it is used again.
    std::fs::remove_file(&kept).unwrap();
    let (status, body) = server.verb("cycle").await;
    assert_eq!((status, text(&body, "stderr")), (StatusCode::OK, ""), "{body}");
    assert_eq!((scene.kept("exit").len(), records(&run, "exit").len()), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_in_memory_alone_however_it_was_pasted() {
    let Some(scene) = Scene::new("the_key_is_in_memory_alone", "60").await else { return };
    let key = std::fs::read_to_string(scene.machines.key()).unwrap();
    // As when it is pasted into a form: carriage returns, and no line feed at the end.
    std::fs::write(scene.machines.key(), key.trim_end().replace('\n', "\r\n")).unwrap();
    let runtime = scene.place.runtime();
    let server = scene.place.serve();
    assert!(!server.log().contains("NO SSH KEY"), "{}", server.log());
    std::fs::remove_file(scene.machines.key()).unwrap();
    assert_eq!(server.verb("status").await.0, StatusCode::OK, "it is not needed any more");
    let secret = key.lines().nth(2).unwrap();
    for folder in [scene.place.path(), &runtime] {
        let found = Command::new("grep").args(["-rlF", secret]).arg(folder).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "no copy of the key");
    }
    assert!(server.stop() < SOON);
    assert_eq!(std::fs::read_dir(&runtime).unwrap().count(), 0, "and nothing stays in memory");
}

/// Docker mounts `/dev/shm` like this. A shell passes over programs there without a word.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_reaches_machines_by_name_where_memory_runs_no_programs() {
    const TEST: &str = "the_agent_reaches_machines_by_name";
    let Some(mut scene) = Scene::new(TEST, "60").await else { return };
    let (memory, folder) = (scene.place.runtime(), scene.place.path().to_owned());
    let runtime = memory.to_str().unwrap();
    let mount = "mkdir -p \"$0\" && mount -t tmpfs -o noexec tmpfs \"$0\" && exec \"$@\"";
    let launcher = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, runtime];
    if !works(TEST, "a mount namespace", &launcher) {
        return;
    }
    scene.place = scene.place.through(&launcher).with_env("TMPDIR", folder.to_str().unwrap());
    let server = scene.place.serve();
    assert!(!server.log().contains("no program can be run"), "{}", server.log());
    let session = server.session().await;
    server.started(&session, "whether it reaches the hypervisor").await;
    let events = server.transcript(&session).await;
    let answers = |event: &Value| event["text"].as_str().is_some_and(|it| it.contains("running"));
    assert!(events.iter().any(answers), "{events:?}");
    assert!(server.stop() < SOON);
    let left = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("breakglass-")).collect();
    assert!(left.is_empty(), "{left:?}");
    // Where no other folder runs programs either, that is said.
    let sessions = format!("{runtime}/sessions");
    scene.place = scene.place.with_env("TMPDIR", runtime);
    scene.place = scene.place.with_env("BREAKGLASS_SESSIONS_DIR", &sessions);
    let server = scene.place.serve();
    let told = format!("no program can be run from {runtime}/");
    assert!(server.log().contains(&told), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_agent_that_dies_is_replaced_and_has_the_key_again() {
    let Some(scene) = Scene::new("an_ssh_agent_that_dies", "60").await else { return };
    let server = scene.place.serve();
    std::fs::remove_file(scene.machines.key()).unwrap();
    for _ in 0..2 {
        let [agent] = scene.place.running("ssh-agent")[..] else { panic!("one ssh-agent") };
        agent.signal(rustix::process::Signal::KILL);
        let deadline = Instant::now() + BOUND;
        let is_back = || scene.place.running("ssh-agent").iter().any(|other| *other != agent);
        while !is_back() || server.verb("status").await.0 != StatusCode::OK {
            assert!(Instant::now() < deadline, "{}", server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(server.log().contains("the ssh-agent died"), "{}", server.log());
}
