//! Limits of time, bytes and disk space, and that secrets stay hidden.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afk_engine::ports::PortResult;
use afk_local::git::{
    Credential, Git, GitError, Limits, Login, Mirror, RemoteUrl, UploadPack, Workspaces,
    remove_tree,
};
use tokio_util::sync::CancellationToken;

use crate::fixture::{World, gits, run_id, script, write};

/// Waits until the condition holds, for a limited time.
pub(crate) async fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let since = Instant::now();
    while !seen() {
        assert!(since.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the command line of any process contains this text.
pub(crate) fn alive(needle: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(needle)
    })
}

/// Makes a git that hangs, together with a child of its own. A path in its arguments identifies it.
fn hanging(world: &World) -> UploadPack {
    let path = world.path("hang.sh");
    script(&path, "sleep 1000 & sleep 1000; : $0");
    UploadPack::boxed([path])
}

#[tokio::test]
async fn a_named_pipe_among_a_clones_files_is_not_waited_for() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let head = clone.dir.join(".git/packed-refs");
        let made = std::process::Command::new("mkfifo").arg(&head).status().unwrap();
        assert!(made.success());
        let limits = Limits { local: Duration::from_millis(500), ..Limits::default() };
        let short = Git::bounded(&world.git, limits);
        let mirror = Mirror::new(short, world.mirror.dir().into(), world.mirror.remote().clone());
        let upload = World::bare_upload_pack();
        let late = clone.advertised(&mirror, &upload).await.unwrap_err();
        assert!(matches!(late, GitError::Timeout { command: "ls-remote", .. }), "{late:?}");
    }
}

#[tokio::test]
async fn a_clone_that_never_answers_is_killed_whole() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let upload = hanging(&world);
        let needle = world.path("hang.sh").to_str().unwrap().to_owned();

        let limits = Limits { network: Duration::from_millis(300), ..Limits::default() };
        let short = Git::bounded(&world.git, limits);
        let mirror = Mirror::new(short, world.mirror.dir().into(), world.mirror.remote().clone());
        let late = clone.fetch_head(&mirror, run_id(), "1", &upload).await.unwrap_err();
        assert!(matches!(late, GitError::Timeout { command: "fetch", .. }), "{late:?}");
        until("the group is gone", || !alive(&needle)).await;

        let cancel = CancellationToken::new();
        let under = world.mirror.under(cancel.clone());
        let (cancelled, ()) = tokio::join!(clone.advertised(&under, &upload), async {
            until("it runs", || alive(&needle)).await;
            cancel.cancel();
        });
        assert!(matches!(cancelled, Err(GitError::Cancelled { .. })), "{cancelled:?}");
        until("the group is gone", || !alive(&needle)).await;

        // The future is dropped while the command runs.
        tokio::select! {
            done = clone.advertised(&world.mirror, &upload) => panic!("{done:?}"),
            () = until("it runs", || alive(&needle)) => {}
        }
        until("the group is gone", || !alive(&needle)).await;

        // Nothing of it is in the way of the next command.
        let upload = world.boxed_upload_pack(&clone);
        clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
    }
}

/// Makes a git that runs the shell command `first` before each fetch, whose arguments are in `$*`.
async fn delayed(world: &World, name: &str, first: &str, limits: Limits) -> Git {
    let (path, git) = (world.path(name), world.binary.display());
    script(&path, &format!("case \" $* \" in *' fetch '*) {first};; esac\nexec {git} \"$@\""));
    Git::open(&path, &world.path("bin"), Vec::new(), limits).await.unwrap()
}

#[tokio::test]
async fn a_first_fetch_has_more_time_than_others_and_keeps_what_it_got() {
    for git in gits() {
        let world = World::new(&git).await;
        world.must(&world.seed, &["push", "-q", "origin", "HEAD:refs/heads/other"]);
        let at =
            |git: Git| Mirror::new(git, world.mirror.dir().into(), world.mirror.remote().clone());
        let short = Duration::from_secs(5);
        // The default branch comes, and the rest does not.
        let hangs = "case \"$*\" in *refs/tags/*) sleep 1000;; esac";
        let limits = Limits { first_fetch: short, ..Limits::default() };
        let late = at(delayed(&world, "hangs", hangs, limits).await).ensure().await.unwrap_err();
        assert!(matches!(late, GitError::Timeout { command: "fetch", .. }), "{late:?}");
        assert!(!world.mirror.dir().exists());
        let making = world.mirror.dir().with_extension("git.making");
        assert_eq!(world.oid(&making, "refs/heads/main"), world.oid(&world.seed, "HEAD"));
        // A file shows that the next attempt goes on there; a killed git's lock is not in its way.
        write(&making.join("from-before"), "x");
        write(&making.join("packed-refs.lock"), "");
        let once =
            format!("test -e {0} || {{ touch {0}; sleep 6; }}", world.path("slept").display());
        let limits = Limits { network: short, ..Limits::default() };
        at(delayed(&world, "slow", &once, limits).await).ensure().await.unwrap();
        assert!(world.path("slept").exists() && world.mirror.dir().join("from-before").exists());
        let refs = world.must(world.mirror.dir(), &["for-each-ref", "--format=%(refname)"]);
        assert_eq!(refs, "refs/heads/main\nrefs/heads/other");
    }
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for n in 10_000..40_000 {
            use std::fmt::Write as _;
            writeln!(packed, "{} refs/heads/flood-{n}", clone.base).unwrap();
        }
        write(&clone.dir.join(".git/packed-refs"), &packed);
        let upload = world.boxed_upload_pack(&clone);
        let flood = clone.advertised(&world.mirror, &upload).await.unwrap_err();
        assert!(matches!(flood, GitError::TooLarge { command: "ls-remote", .. }), "{flood:?}");
        let limits = Limits { output: 100, ..Limits::default() };
        let git = Git::bounded(&world.git, limits);
        let mirror = Mirror::new(git, world.mirror.dir().into(), world.mirror.remote().clone());
        for n in 0..20 {
            world.commit(&format!("f{n}"), "x", "more");
        }
        mirror.fetch().await.unwrap();
        let head = mirror.known_head("main").await.unwrap().unwrap();
        let large = mirror.raw_diff(&clone.base, &head).await.unwrap_err();
        assert!(matches!(large, GitError::TooLarge { limit: 100, .. }), "{large:?}");
    }
}

#[tokio::test]
async fn a_huge_pack_is_cut_off_and_does_not_stay() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let mut noise = std::process::Command::new("head");
        let noise = noise.args(["-c", "3000000", "/dev/urandom"]).output().unwrap().stdout;
        std::fs::write(clone.dir.join("noise"), noise).unwrap();
        let head = world.work(&clone, "new", "x");
        let upload = world.boxed_upload_pack(&clone);
        let limits = Limits { pack: 1 << 20, ..Limits::default() };
        let git = Git::bounded(&world.git, limits);
        let mirror = Mirror::new(git, world.mirror.dir().into(), world.mirror.remote().clone());
        let large = clone.fetch_head(&mirror, run_id(), "1", &upload).await.unwrap_err();
        assert!(matches!(large, GitError::TooLarge { limit: 1_048_576, .. }), "{large:?}");
        let packs = std::fs::read_dir(mirror.objects().join("pack")).unwrap().flatten();
        let large = packs.filter(|e| e.metadata().unwrap().len() > 100_000).count();
        assert_eq!(large, 0, "the rest of it stays");
        let fetched = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();
        assert_eq!(fetched, head, "it is the bound that refused");
    }
}

#[tokio::test]
async fn many_large_messages_are_not_read_into_memory() {
    for git in gits() {
        let world = World::ready(&git).await;
        let clone = world.clone().await;
        let mut input = Vec::new();
        let message = "a".repeat(1_000_000);
        for n in 0..68 {
            input.extend(b"commit refs/heads/large\ncommitter a <a@b> 1 +0000\n");
            input.extend(format!("data {}\n{message}\n", message.len()).into_bytes());
            if n == 0 {
                input.extend(format!("from {}\n", clone.base).into_bytes());
            }
        }
        let file = world.path("stream");
        std::fs::write(&file, input).unwrap();
        let import = std::process::Command::new(&git)
            .args(["fast-import", "--quiet"])
            .current_dir(&clone.dir)
            .stdin(std::fs::File::open(&file).unwrap())
            .status();
        assert!(import.unwrap().success());
        world.must(&clone.dir, &["reset", "-q", "--hard", "large"]);
        let few = world.oid(&clone.dir, "large~60");
        let upload = world.boxed_upload_pack(&clone);
        let head = clone.fetch_head(&world.mirror, run_id(), "1", &upload).await.unwrap();

        assert_eq!(world.mirror.commits(&clone.base, &few).await.unwrap().len(), 8);
        let large = world.mirror.commits(&clone.base, &head).await.unwrap_err();
        assert!(matches!(large, GitError::TooLarge { command: "cat-file", .. }), "{large:?}");
    }
}

/// The variable with the folder of the control plane of the next test; only set for its process.
const SCENE: &str = "AFK_TEST_GIT_SCENE";

/// Not a test by itself: the control plane that is killed while its git works.
#[tokio::test]
#[ignore = "the child of another test"]
async fn a_control_plane_that_fetches() {
    let root = PathBuf::from(std::env::var_os(SCENE).unwrap());
    let env = Vec::new();
    let git = Git::open(&root.join("slow-git"), &root.join("bin-2"), env, Limits::default()).await;
    let remote = RemoteUrl::parse(root.join("origin.git").to_str().unwrap()).unwrap();
    let mirror = Workspaces::open(&root.join("work")).unwrap().mirror(&"o/r".parse().unwrap());
    Mirror::new(git.unwrap(), mirror, remote).fetch().await.unwrap();
}

#[tokio::test]
async fn a_git_that_outlives_a_killed_control_plane_keeps_the_mirrors_lock() {
    for git in gits() {
        let world = World::ready(&git).await;
        let [started, go] = ["started", "go"].map(|name| world.path(name));
        let wait = format!(
            "case \"$*\" in *' fetch '*) touch {}; until [ -e {} ]; do sleep 0.02; done ;; esac\n\
             exec {} \"$@\"",
            started.display(),
            go.display(),
            git.display(),
        );
        script(&world.path("slow-git"), &wait);
        let mut control = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "limits::a_control_plane_that_fetches", "--ignored"])
            .env(SCENE, world.path(""))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("its git works", || started.exists()).await;
        control.kill().unwrap();
        control.wait().unwrap();

        let limits = Limits { network: Duration::from_millis(300), ..Limits::default() };
        let short = Git::bounded(&world.git, limits);
        let base = world.mirror.known_head("main").await.unwrap().unwrap();
        let mirror = Mirror::new(short, world.mirror.dir().into(), world.mirror.remote().clone());
        let locked = mirror.keep(run_id(), "x", &base).await.unwrap_err();
        assert!(matches!(locked, GitError::Locked { .. }), "{locked:?}");
        std::fs::write(&go, "").unwrap();
        world.mirror.keep(run_id(), "x", &base).await.unwrap();
    }
}

/// Mounts a small file system, which needs root. Returns `None`, and says so, where that is not
/// possible.
fn small_disk(at: &Path) -> Option<impl Drop> {
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    std::fs::create_dir_all(at).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
    let output = std::process::Command::new("mount").args(mount).arg(at).output().ok()?;
    if output.status.success() {
        return Some(Mounted(at.to_owned()));
    }
    eprintln!("SKIPPED: no file system could be mounted to fill it");
    None
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing_half_made() {
    for git in gits() {
        let world = World::new(&git).await;
        let disk = world.path("disk");
        let Some(_mounted) = small_disk(&disk) else { return };
        let mut noise = std::process::Command::new("head");
        let noise = noise.args(["-c", "3000000", "/dev/urandom"]).output().unwrap().stdout;
        std::fs::write(world.seed.join("noise"), noise).unwrap();
        world.commit("more", "x", "large");
        let spaces = Workspaces::open(&disk).unwrap();
        let short = spaces.require_space(10 << 20).unwrap_err();
        assert!(matches!(short, GitError::DiskFull { .. }), "{short:?}");
        let dir = spaces.mirror(&"o/r".parse().unwrap());
        let mirror = Mirror::new(world.git.clone(), dir.clone(), world.mirror.remote().clone());
        let full = mirror.ensure().await.unwrap_err();
        assert!(matches!(full, GitError::DiskFull { .. }), "{full:?}");
        assert!(!dir.exists());
    }
}

struct Fixed(Credential);

#[async_trait::async_trait]
impl Login for Fixed {
    async fn credential(&self) -> PortResult<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

#[tokio::test]
async fn a_secret_reaches_git_and_no_message_or_command_line() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for git in gits() {
        let world = World::new(&git).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/o/r", listener.local_addr().unwrap());
        // A forge that refuses every credential, and records which it saw.
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let needle = url.clone();
        let forge = tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let mut bytes = vec![0; 8192];
                let n = peer.read(&mut bytes).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&bytes[..n]).into_owned();
                let leaked = alive("canary-secret") || !alive(&needle);
                let _ = tell.send((head, leaked));
                let answer = "HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm=\"r\"\r\n\
                    Content-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = peer.write_all(answer.as_bytes()).await;
            }
        });
        let remote = RemoteUrl::parse(&url).unwrap();
        let mirror = Mirror::new(world.git.clone(), world.path("m.git"), remote);
        let secret = "canary-secret".to_owned();
        let credential = Credential { username: "x-token".into(), secret: secret.into() };
        let opened = mirror.clone().opened_by(std::sync::Arc::new(Fixed(credential)));
        let refused = opened.ensure().await.unwrap_err();
        assert!(matches!(refused, GitError::AuthFailed { .. }), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("canary"), "{refused}");
        let anonymous = mirror.ensure().await.unwrap_err();
        assert!(matches!(anonymous, GitError::AuthFailed { .. }), "{anonymous:?}");
        forge.abort();
        let mut heads = Vec::new();
        while let Ok((head, leaked)) = told.try_recv() {
            assert!(!leaked, "the secret stands in a command line");
            heads.push(head);
        }
        // "x-token:canary-secret", as basic authentication spells it.
        let basic = "Authorization: Basic eC10b2tlbjpjYW5hcnktc2VjcmV0";
        assert_eq!(heads.iter().filter(|h| h.contains(basic)).count(), 1, "{heads:?}");
    }
}

/// Go's module cache is read-only, including its folders. Root may write there anyway, so if the
/// suite runs as root, this is done as nobody.
#[test]
fn read_only_folders_are_removed_by_their_owner() {
    if std::env::var_os("REMOVE_THIS").is_none() && rustix_is_root() {
        let exe = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let chown = ["65534:65534", folder.path().to_str().unwrap()];
        assert!(std::process::Command::new("chown").args(chown).status().unwrap().success());
        // The user nobody may not read the folder of the test binary, so a copy is run.
        let copy = folder.path().join("suite");
        std::fs::copy(exe, &copy).unwrap();
        let status = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args(["--exact", "limits::read_only_folders_are_removed_by_their_owner"])
            .env("REMOVE_THIS", folder.path())
            .output();
        let status = status.unwrap();
        let said = String::from_utf8_lossy(&status.stdout);
        assert!(status.status.success() && said.contains("1 passed"), "{said}");
        assert!(!folder.path().join("mod").exists());
        return;
    }
    let own = tempfile::tempdir().ok();
    let root = std::env::var_os("REMOVE_THIS")
        .map_or_else(|| own.as_ref().unwrap().path().to_owned(), std::path::PathBuf::from);
    let folder = root.join("mod");
    write(&folder.join("pkg@v1/sub/f.go"), "x");
    for path in ["pkg@v1/sub", "pkg@v1", ""] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if path == "pkg@v1/sub" { 0o000 } else { 0o555 };
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.join(path), permissions).unwrap();
    }
    assert!(std::fs::remove_dir_all(&folder).is_err(), "a plain removal fails");
    remove_tree(&folder).unwrap();
    assert!(!folder.exists());
}

fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
