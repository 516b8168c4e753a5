//! What trees need from outside: how it is fetched, kept, and shown to the runs that judge.
//!
//! A fetch works on a checkout in which all files but a few are empty. What it brings is of two
//! kinds. Package managers fill folders of their own (`CARGO_HOME`, `GOMODCACHE`), of which only
//! the parts that hold packages are kept: a `config.toml` or a `bin` there would run in every later
//! proof. And they write beside the files of the tree (`node_modules`, `vendor`, `.venv`): whatever
//! is in the tree afterwards and was not before is kept. Both are stored under the digest of what
//! the fetch could read, and are later bound read-only, at the same paths as when they were
//! fetched. Tools that insist on writing to certain folders in `node_modules` get empty ones there,
//! of which every run has its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use afk_agent::sandbox::{Access, Bind, BoxSpec};
use afk_core::change::TreePath;

use super::git::remove_tree;

/// Where the folders of package managers are in a box.
const INSIDE: &str = "/afk/fetched";
/// How long what was fetched is kept without being used.
const UNUSED: Duration = Duration::from_hours(30 * 24);

/// A folder that a package manager fills, outside the tree.
struct Part {
    /// The environment variable that names it.
    variable: &'static str,
    /// Its name in our folders and below [`INSIDE`].
    name: &'static str,
    /// The parts of it that hold packages and are kept; `None` if all of it does.
    kept: Option<&'static [&'static str]>,
}

const PARTS: [Part; 2] = [
    Part { variable: "CARGO_HOME", name: "cargo", kept: Some(&["git", "registry"]) },
    Part { variable: "GOMODCACHE", name: "go", kept: None },
];

/// Folders in `node_modules` that tools write to: Vite and Vitest do not start where they cannot
/// write the first, and many tools use the last as a cache.
const WRITTEN: [&str; 3] = [".vite-temp", ".vite", ".cache"];

/// Settings under which package managers run no code of packages while they fetch.
const NO_SCRIPTS: [(&str, &str); 2] =
    [("npm_config_ignore_scripts", "true"), ("YARN_ENABLE_SCRIPTS", "false")];
/// Settings under which package managers use what was fetched, and ask no network.
const OFFLINE: [(&str, &str); 2] = [("CARGO_NET_OFFLINE", "true"), ("GOPROXY", "off")];

/// The folder that a fetch works in.
pub(super) struct FetchFolder(PathBuf);

impl FetchFolder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Returns where the tree is to be checked out.
    pub(super) fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    fn parts(&self) -> PathBuf {
        self.0.join("parts")
    }

    /// Returns the folder in which what is to be kept is collected.
    fn kept(&self) -> PathBuf {
        self.0.join("kept")
    }

    fn before(&self) -> PathBuf {
        self.0.join("before")
    }

    /// Prepares a checkout: empties all its files but those in `reads`, makes only those executable
    /// that may be run, and records which paths there are.
    pub(super) fn prepare(&self, reads: &BTreeMap<TreePath, bool>) -> io::Result<()> {
        for part in &PARTS {
            std::fs::create_dir_all(self.parts().join(part.name))?;
        }
        if self.before().exists() {
            return Ok(());
        }
        let mut before = Vec::new();
        let tree = self.tree();
        walk(&tree, &mut |path, is_folder| {
            before.extend_from_slice(path.as_os_str().as_bytes());
            before.push(0);
            if !is_folder {
                let known = TreePath::new(path.as_os_str().as_bytes());
                match known.and_then(|path| reads.get(&path)) {
                    None => empty(&tree.join(path))?,
                    Some(false) => not_to_be_run(&tree.join(path))?,
                    Some(true) => {}
                }
            }
            Ok(is_folder)
        })?;
        // Written last, so that a preparation that was interrupted is repeated.
        std::fs::write(self.before(), before)
    }

    /// Adds to a box the tree at `inside` and the folders of package managers.
    pub(super) fn mount_tree(&self, mut spec: BoxSpec, inside: PathBuf) -> BoxSpec {
        let access = Access::ReadWrite;
        spec.binds.push(Bind { source: self.tree(), target: inside, access });
        for part in &PARTS {
            let target = Path::new(INSIDE).join(part.name);
            set(&mut spec, part.variable, &target.to_string_lossy());
            spec.binds.push(Bind { source: self.parts().join(part.name), target, access });
        }
        for (variable, value) in NO_SCRIPTS {
            set(&mut spec, variable, value);
        }
        spec
    }

    /// Moves what the fetch brought to `target`; false if the fetch's folder is gone. Safe to
    /// repeat after an interruption at any point.
    pub(super) fn keep(&self, target: &Path) -> io::Result<bool> {
        if target.is_dir() {
            return Ok(true);
        }
        if !self.kept().join(INDEX).exists() {
            if !self.before().exists() {
                return Ok(false);
            }
            self.note_brought()?;
        }
        self.collect()?;
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match std::fs::rename(self.kept(), target) {
            // Another process was faster.
            Err(_) if target.is_dir() => Ok(true),
            moved => moved.map(|()| true),
        }
    }

    /// Records the topmost paths in the tree that were not there before.
    fn note_brought(&self) -> io::Result<()> {
        let before = std::fs::read(self.before())?;
        let before: BTreeSet<&[u8]> = before.split(|byte| *byte == 0).collect();
        let mut brought = Vec::new();
        walk(&self.tree(), &mut |path, is_folder| {
            let bytes = path.as_os_str().as_bytes();
            if before.contains(bytes) {
                return Ok(is_folder);
            }
            // A link could lead anywhere.
            if !self.tree().join(path).symlink_metadata()?.is_symlink() {
                brought.extend_from_slice(bytes);
                brought.push(0);
            }
            Ok(false)
        })?;
        std::fs::create_dir_all(self.kept())?;
        let making = self.kept().join("making");
        std::fs::write(&making, brought)?;
        std::fs::rename(making, self.kept().join(INDEX))
    }

    /// Moves the recorded paths, and the parts of the package managers' folders, to where they are
    /// kept. What is missing was moved before.
    fn collect(&self) -> io::Result<()> {
        let kept = self.kept();
        for (n, path) in index(&kept)?.into_iter().enumerate() {
            let to = kept.join(n.to_string());
            move_to(&self.tree().join(&path), &to)?;
            if is_node_modules(&path) && to.is_dir() {
                make_written(&to)?;
            }
        }
        for part in &PARTS {
            let (from, to) = (self.parts().join(part.name), kept.join(part.name));
            match part.kept {
                None => move_to(&from, &to)?,
                Some(inner) => {
                    std::fs::create_dir_all(&to)?;
                    for name in inner {
                        move_to(&from.join(name), &to.join(name))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The file with the paths of what was brought beside the tree's files, each ended by a NUL; the
/// nth is kept under the name `n`, from 0.
const INDEX: &str = "brought";

fn index(kept: &Path) -> io::Result<Vec<PathBuf>> {
    let text = std::fs::read(kept.join(INDEX))?;
    let paths = text.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| std::ffi::OsString::from_vec(path.to_vec()).into()).collect())
}

fn is_node_modules(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new("node_modules"))
}

/// Makes the folders [`WRITTEN`], on which a run's own are later bound, unless they exist.
fn make_written(node_modules: &Path) -> io::Result<()> {
    for name in WRITTEN {
        match std::fs::create_dir(node_modules.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

/// Returns where a run on the tree in `checkout` has the folders that it alone writes to.
pub(super) fn written(checkout: &Path) -> PathBuf {
    let mut path = checkout.as_os_str().to_owned();
    path.push(".written");
    path.into()
}

/// Adds to a box what is kept in `kept`, read-only; `checkout` is the tree's folder, which the box
/// sees at `inside`. What the tree has at the same paths is covered. Nothing that the box writes
/// gets into `kept`, where later runs would find it.
pub(super) fn mount_fetched(
    mut spec: BoxSpec,
    kept: &Path,
    checkout: &Path,
    inside: &Path,
) -> io::Result<BoxSpec> {
    // The sweep goes by this time.
    std::fs::File::open(kept)?.set_modified(SystemTime::now())?;
    let access = Access::ReadOnly;
    let written = written(checkout);
    remove_tree(&written).map_err(io::Error::other)?;
    for (n, path) in index(kept)?.into_iter().enumerate() {
        let source = kept.join(n.to_string());
        let Ok(found) = source.symlink_metadata() else { continue };
        make_place(checkout, &path, found.is_dir())?;
        let target = inside.join(&path);
        if is_node_modules(&path) {
            for name in WRITTEN {
                // What was fetched with such a folder stays as it is.
                if is_empty_folder(&source.join(name))? {
                    let source = written.join(n.to_string()).join(name);
                    std::fs::create_dir_all(&source)?;
                    let (target, access) = (target.join(name), Access::ReadWrite);
                    spec.binds.push(Bind { source, target, access });
                }
            }
        }
        spec.binds.push(Bind { source, target, access });
    }
    for part in &PARTS {
        let (source, target) = (kept.join(part.name), Path::new(INSIDE).join(part.name));
        if source.is_dir() {
            set(&mut spec, part.variable, &target.to_string_lossy());
            spec.binds.push(Bind { source, target, access });
        }
    }
    for (variable, value) in OFFLINE {
        set(&mut spec, variable, value);
    }
    Ok(spec)
}

/// Removes what is kept in `folder` and was not used for [`UNUSED`]. If some cannot be removed, the
/// error is that of the first.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let mut failed = None;
    for entry in entries {
        let entry = entry?;
        let used = entry.metadata()?.modified()?;
        if used.elapsed().is_ok_and(|since| since >= UNUSED)
            && let Err(error) = remove_tree(&entry.path())
        {
            failed.get_or_insert(io::Error::other(error));
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Whether there is a folder at `path`, no link, and nothing in it.
fn is_empty_folder(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => Ok(std::fs::read_dir(path)?.next().is_none()),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn set(spec: &mut BoxSpec, variable: &str, value: &str) {
    spec.env.insert(variable.to_owned(), value.to_owned());
}

/// Calls `visit` with every path below `root`, relative to it, and whether it is a folder; enters
/// the paths for which `visit` returns true. Follows no link.
fn walk(root: &Path, visit: &mut dyn FnMut(&Path, bool) -> io::Result<bool>) -> io::Result<()> {
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if visit(&path, entry.file_type()?.is_dir())? {
                open.push(path);
            }
        }
    }
    Ok(())
}

/// Empties a file; removes a link.
fn empty(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_symlink() {
        return std::fs::remove_file(path);
    }
    not_to_be_run(path)?;
    std::fs::OpenOptions::new().write(true).truncate(true).open(path).map(drop)
}

/// Makes a file not executable. A link is left alone: what it leads to in the tree is not
/// executable or is empty.
fn not_to_be_run(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_symlink() {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

/// Moves a file or folder; does nothing if it does not exist or is a link.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match from.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        // A link could lead anywhere, so it must not be bound later.
        Ok(found) if found.is_symlink() => return Ok(()),
        Ok(_) => {}
    }
    // A folder cannot be moved if its owner may not write to it.
    if from.is_dir() {
        std::fs::set_permissions(from, std::fs::Permissions::from_mode(0o755))?;
    }
    std::fs::rename(from, to)
}

/// Makes the mount point in a checkout for something that is to be bound: the folders on the way to
/// it, and a file or folder. A link or file in the way is removed, because it could lead out of the
/// checkout.
fn make_place(checkout: &Path, path: &Path, folder: bool) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut at = openat(CWD, checkout, flags, Mode::empty())?;
    let names: Vec<&OsStr> = path.iter().collect();
    for (n, name) in names.iter().enumerate() {
        let last = n + 1 == names.len();
        if last && !folder {
            match unlinkat(&at, *name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(&at, *name, create, Mode::from_raw_mode(0o644))?;
            return Ok(());
        }
        at = match openat(&at, *name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(error) => {
                if error != rustix::io::Errno::NOENT {
                    unlinkat(&at, *name, AtFlags::empty())?;
                }
                mkdirat(&at, *name, Mode::from_raw_mode(0o755))?;
                openat(&at, *name, flags, Mode::empty())?
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The path of a file that is the operator's own, and may be run.
    fn own() -> TreePath {
        TreePath::new(b"ci/fetch.sh").unwrap()
    }

    fn prepared(dir: &Path, reads: &[&str]) -> FetchFolder {
        let folder = FetchFolder::new(dir.join("job"));
        write(&folder.tree().join("package.json"), "{}");
        write(&folder.tree().join("src/a.js"), "run()");
        write(&folder.tree().join("web/package.json"), "{ }");
        write(&folder.tree().join("ci/fetch.sh"), "fetch");
        for runs in ["package.json", "ci/fetch.sh"] {
            let all = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder.tree().join(runs), all).unwrap();
        }
        symlink("/etc/passwd", folder.tree().join("src/link")).unwrap();
        let reads = reads.iter().map(|path| TreePath::new(path.as_bytes()).unwrap());
        let reads = reads.map(|path| (path, false)).chain([(own(), true)]).collect();
        folder.prepare(&reads).unwrap();
        folder
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_fetch_sees_manifests_and_no_code() {
        let dir = tempfile::tempdir().unwrap();
        let folder = prepared(dir.path(), &["package.json", "web/package.json"]);
        let tree = folder.tree();
        assert_eq!(read(&tree.join("package.json")), "{}");
        assert_eq!(read(&tree.join("web/package.json")), "{ }");
        assert_eq!(read(&tree.join("src/a.js")), "");
        assert!(tree.join("src/link").symlink_metadata().is_err());
        let runs = |path: &str| tree.join(path).metadata().unwrap().permissions().mode() & 0o111;
        assert_eq!((runs("package.json"), runs("ci/fetch.sh")), (0, 0o111));
    }

    #[test]
    fn what_it_brought_is_kept_but_nothing_that_a_cache_would_run() {
        let dir = tempfile::tempdir().unwrap();
        let folder = prepared(dir.path(), &["package.json", "web/package.json"]);
        write(&folder.tree().join("node_modules/x/index.js"), "x");
        write(&folder.tree().join("web/node_modules/y/index.js"), "y");
        write(&folder.tree().join(".pnp.cjs"), "pnp");
        write(&folder.tree().join("src/a.js"), "changed");
        symlink("/etc", folder.tree().join("vendor")).unwrap();
        write(&folder.parts().join("cargo/registry/a.crate"), "a");
        write(&folder.parts().join("cargo/config.toml"), "[build]\nrustc = \"evil\"");
        write(&folder.parts().join("cargo/bin/cargo-x"), "evil");
        write(&folder.parts().join("go/cache/m.zip"), "m");
        let target = dir.path().join("caches/fetched/key");
        assert!(folder.keep(&target).unwrap());
        assert!(folder.keep(&target).unwrap(), "again");
        let mut names: Vec<_> =
            index(&target).unwrap().into_iter().map(|p| p.to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, [".pnp.cjs", "node_modules", "web/node_modules"]);
        assert_eq!(read(&target.join("cargo/registry/a.crate")), "a");
        assert_eq!(read(&target.join("go/cache/m.zip")), "m");
        assert!(!target.join("cargo/config.toml").exists());
        assert!(!target.join("cargo/bin").exists());
        // With both the fetch's folder and the result gone, it has to be fetched anew.
        remove_tree(&target).unwrap();
        assert!(!FetchFolder::new(dir.path().join("none")).keep(&target).unwrap());
    }

    #[test]
    fn a_keeping_that_was_cut_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let folder = prepared(dir.path(), &["package.json"]);
        write(&folder.tree().join("a/x"), "x");
        write(&folder.tree().join("b/y"), "y");
        folder.note_brought().unwrap();
        let first = index(&folder.kept()).unwrap()[0].clone();
        move_to(&folder.tree().join(&first), &folder.kept().join("0")).unwrap();
        let target = dir.path().join("key");
        assert!(folder.keep(&target).unwrap());
        assert_eq!(index(&target).unwrap().len(), 2);
        assert!(target.join("0").is_dir() && target.join("1").is_dir());
    }

    #[test]
    fn it_is_laid_over_what_the_tree_has_there_and_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = prepared(dir.path(), &["package.json"]);
        write(&folder.tree().join("node_modules/x/index.js"), "x");
        write(&folder.tree().join("web/node_modules/y/index.js"), "y");
        write(&folder.tree().join("lib.lock"), "l");
        let kept = dir.path().join("key");
        folder.keep(&kept).unwrap();
        // A tree with links in the way.
        let (checkout, outside) = (dir.path().join("checkout"), dir.path().join("outside"));
        fs::create_dir_all(&checkout).unwrap();
        fs::create_dir_all(&outside).unwrap();
        symlink(&outside, checkout.join("web")).unwrap();
        symlink(&outside, checkout.join("node_modules")).unwrap();
        write(&outside.join("file"), "theirs");
        symlink(outside.join("file"), checkout.join("lib.lock")).unwrap();
        let inside = Path::new("/afk/tree");
        let spec = mount_fetched(BoxSpec::new(["true"], inside), &kept, &checkout, inside).unwrap();
        assert!(checkout.join("web/node_modules").is_dir());
        assert!(!checkout.join("web").is_symlink() && !checkout.join("lib.lock").is_symlink());
        assert!(!outside.join("node_modules").exists());
        assert_eq!(read(&outside.join("file")), "theirs");
        let read = spec.binds.iter().filter(|bind| bind.access == Access::ReadOnly);
        let mut targets: Vec<_> = read.map(|bind| bind.target.clone()).collect();
        targets.sort();
        let expected = [
            "/afk/fetched/cargo",
            "/afk/tree/lib.lock",
            "/afk/tree/node_modules",
            "/afk/tree/web/node_modules",
        ];
        let go = PathBuf::from("/afk/fetched/go");
        targets.retain(|target| *target != go);
        assert_eq!(targets, expected.map(PathBuf::from));
    }

    #[test]
    fn what_a_run_writes_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let folder = prepared(dir.path(), &["package.json"]);
        let tree = folder.tree();
        write(&tree.join("node_modules/x/index.js"), "x");
        write(&tree.join("web/node_modules/.cache/engine"), "fetched");
        symlink("/etc", tree.join("web/node_modules/.vite")).unwrap();
        write(&tree.join("vendor/y"), "y");
        let kept = dir.path().join("key");
        folder.keep(&kept).unwrap();
        let checkout = dir.path().join("checkouts/job");
        fs::create_dir_all(&checkout).unwrap();
        let inside = Path::new("/afk/tree");
        let lay =
            || mount_fetched(BoxSpec::new(["true"], inside), &kept, &checkout, inside).unwrap();
        let own = |spec: &BoxSpec| -> Vec<Bind> {
            let mut own: Vec<_> = spec.binds.clone();
            own.retain(|bind| bind.access == Access::ReadWrite);
            own.sort_by(|a, b| a.target.cmp(&b.target));
            own
        };
        let first = own(&lay());
        let targets: Vec<_> = first.iter().map(|bind| bind.target.as_path()).collect();
        let expected = [
            "/afk/tree/node_modules/.cache",
            "/afk/tree/node_modules/.vite",
            "/afk/tree/node_modules/.vite-temp",
            "/afk/tree/web/node_modules/.vite-temp",
        ];
        assert_eq!(targets, expected.map(Path::new));
        // A bind needs a folder to be bound on, and leads to where nothing is kept.
        for bind in &first {
            assert!(bind.source.starts_with(written(&checkout)), "{}", bind.source.display());
            assert!(fs::read_dir(&bind.source).unwrap().next().is_none());
            fs::write(bind.source.join("config.mjs"), "planted").unwrap();
        }
        let mut found = Vec::new();
        walk(&kept, &mut |path, is_folder| {
            found.push(path.file_name().unwrap().to_owned());
            Ok(is_folder)
        })
        .unwrap();
        assert_eq!(found.iter().filter(|name| *name == ".vite-temp").count(), 2);
        assert!(found.iter().all(|name| name != "config.mjs"));
        // Another start of the job finds nothing of it.
        for bind in own(&lay()) {
            assert!(fs::read_dir(&bind.source).unwrap().next().is_none());
        }
        // What an earlier version kept has no folders to bind on.
        for name in WRITTEN {
            let _ = fs::remove_dir(kept.join("0").join(name));
            let _ = fs::remove_dir(kept.join("1").join(name));
            let _ = fs::remove_dir(kept.join("2").join(name));
        }
        assert_eq!(own(&lay()).len(), 0);
    }

    #[test]
    fn what_nobody_uses_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        write(&old.join("brought"), "");
        write(&new.join("brought"), "");
        let long_ago = SystemTime::now() - UNUSED;
        fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
        sweep(dir.path()).unwrap();
        assert!(!old.exists() && new.exists());
        sweep(&dir.path().join("none")).unwrap();
    }
}
