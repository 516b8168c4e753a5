//! A person's edits of the file: arm, disarm, enroll, unenroll.
//!
//! Comments and layout stay. The new text is written to a temporary file, flushed, and renamed into
//! place with the file's own mode, owner and group, so that who could read it still can; a lock
//! keeps two edits apart. A symbolic link stays, and its target is edited, if the editing user or
//! root owns the link. What adds to the file is checked first, so that no edit makes a valid
//! configuration invalid. No other code writes the configuration, so nothing arms itself.

use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use afk_core::ids::RepoName;
use tempfile::NamedTempFile;
use toml_edit::{Array, DocumentMut, Item, Value, value};

use super::places::place;
use super::problem::{ConfigErrors, Origin};
use crate::starter::text::HEADER;

/// The switch that `arm` turns off.
const KILL_SWITCH: &str = "kill_switch";
/// The list that `enroll` adds to.
const ALLOWLIST: &str = "allowlist";
/// The table that holds a table for each repo.
const REPOS: &str = "repos";
/// The table that holds a table for each forge.
const FORGES: &str = "forges";

/// Whether an edit changed the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// The file was changed.
    Changed,
    /// The file had that value already.
    Unchanged,
}

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file or its directory could not be read or written.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The configuration file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file belongs to somebody else, and what replaces it cannot be given to them.
    #[error(
        "cannot keep the owner of {path}, user {user} and group {group}: {source}: do this as \
         root, or as that user (sudo -u '#{user}')"
    )]
    Owner {
        /// The configuration file, which is unchanged.
        path: PathBuf,
        /// The user whose file it is.
        user: u32,
        /// The group whose file it is.
        group: u32,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is a link that somebody else made.
    #[error("{path} is a symbolic link that another user made: edit the file that it leads to")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Somebody else edits at this moment.
    #[error("{path} is being edited by another process: try again")]
    Busy {
        /// The configuration file.
        path: PathBuf,
    },
    /// The file is not TOML, or the key has an unexpected type.
    #[error("{origin}: {why}; correct it by hand, then try again")]
    Malformed {
        /// The configuration file and, if it is not TOML, where.
        origin: Origin,
        /// What is wrong.
        why: String,
    },
    /// The edit would make the configuration invalid.
    #[error("{path} is left as it is, because this would make it invalid:\n{problems}")]
    Invalid {
        /// The configuration file.
        path: PathBuf,
        /// What would be wrong.
        problems: ConfigErrors,
    },
}

/// Returns what is wrong with a text that is about to become the file's.
pub type Check<'a> = &'a dyn Fn(&str) -> Result<(), ConfigErrors>;

/// Turns the kill switch off.
pub fn arm(path: &Path) -> Result<Edited, EditError> {
    edit(path, &|_| Ok(()), |document| set(document, false))
}

/// Turns the kill switch on.
pub fn disarm(path: &Path) -> Result<Edited, EditError> {
    edit(path, &|_| Ok(()), |document| set(document, true))
}

/// Whether the file has `repo` on its allowlist; an unreadable file lists nothing.
pub fn lists(path: &Path, repo: &RepoName) -> bool {
    let document = std::fs::read_to_string(path).ok().and_then(|text| text.parse().ok());
    document.is_some_and(|document: DocumentMut| {
        let list = document.get(ALLOWLIST).and_then(Item::as_array);
        list.is_some_and(|list| list.iter().any(|item| item.as_str() == Some(repo.as_str())))
    })
}

/// Adds `repo` to the allowlist, unless `check` finds fault with the file as it would be then.
pub fn enroll(path: &Path, repo: &RepoName, check: Check<'_>) -> Result<Edited, EditError> {
    edit(path, check, |document| {
        let list = allowlist(document)?;
        if list.iter().any(|item| item.as_str() == Some(repo.as_str())) {
            return Ok(Edited::Unchanged);
        }
        push(list, repo.as_str());
        Ok(Edited::Changed)
    })
}

/// The tables that are added for a new repo, as TOML text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepo {
    /// The table of the repo.
    pub table: String,
    /// The name and the table of the forge that the repo is on.
    pub forge: Option<(String, String)>,
}

/// Adds `repo` to the allowlist and appends its table, and that of its forge if the file has none
/// yet, in one edit, unless `check` finds fault with the file as it would be then. An existing table
/// is left alone: a person wrote it, and may have said more.
pub fn enroll_new(
    path: &Path,
    repo: &RepoName,
    new: &NewRepo,
    check: Check<'_>,
) -> Result<Edited, EditError> {
    edit_text(path, check, |document| {
        let has = |table: &str, key: &str| match document.get(table) {
            None => Ok(false),
            Some(found) => match found.as_table_like() {
                // TOML forbids a `[table.key]` below an inline table, `table = { … }`.
                Some(inner) if found.is_table() => Ok(inner.contains_key(key)),
                Some(_) => {
                    Err(format!("{table} is an inline table, to which nothing can be added"))
                }
                None => Err(format!("{table} is not a table")),
            },
        };
        if has(REPOS, repo.as_str())? {
            return Err(format!("{repo} already has a table"));
        }
        let forge = new.forge.as_ref();
        let forge = match forge {
            Some((name, table)) if !has(FORGES, name)? => Some(table),
            Some(_) | None => None,
        };
        let list = allowlist(document)?;
        if list.iter().all(|item| item.as_str() != Some(repo.as_str())) {
            push(list, repo.as_str());
        }
        let mut text = document.to_string();
        for table in forge.into_iter().chain([&new.table]) {
            let ends = text.is_empty() || text.ends_with('\n');
            text.push_str(if ends { "\n" } else { "\n\n" });
            text.push_str(table);
        }
        // Never write a file that cannot be read again.
        text.parse::<DocumentMut>().map_err(|error| format!("would break: {}", error.message()))?;
        Ok((Edited::Changed, text))
    })
}

/// Takes `repo` off the allowlist.
pub fn unenroll(path: &Path, repo: &RepoName) -> Result<Edited, EditError> {
    edit(path, &|_| Ok(()), |document| {
        if document.get(ALLOWLIST).is_none() {
            return Ok(Edited::Unchanged);
        }
        let list = allowlist(document)?;
        let before = list.len();
        list.retain(|item| item.as_str() != Some(repo.as_str()));
        Ok(if list.len() == before { Edited::Unchanged } else { Edited::Changed })
    })
}

fn set(document: &mut DocumentMut, on: bool) -> Result<Edited, String> {
    match document.get_mut(KILL_SWITCH) {
        None => {
            document.insert(KILL_SWITCH, value(on));
            Ok(Edited::Changed)
        }
        Some(Item::Value(Value::Boolean(old))) if *old.value() == on => Ok(Edited::Unchanged),
        Some(Item::Value(Value::Boolean(old))) => {
            // The comment after the value stays.
            let decor = old.decor().clone();
            let mut new = Value::from(on);
            *new.decor_mut() = decor;
            document[KILL_SWITCH] = Item::Value(new);
            Ok(Edited::Changed)
        }
        Some(_) => Err(format!("{KILL_SWITCH} is not true or false")),
    }
}

fn allowlist(document: &mut DocumentMut) -> Result<&mut Array, String> {
    document
        .entry(ALLOWLIST)
        .or_insert_with(|| value(Array::new()))
        .as_array_mut()
        .ok_or_else(|| format!("{ALLOWLIST} is not a list"))
}

/// Adds an item in the layout of the one before it.
fn push(list: &mut Array, text: &str) {
    let prefix = list.iter().last().and_then(|item| item.decor().prefix()?.as_str());
    let Some(indent) = prefix.and_then(|prefix| Some(prefix.rsplit_once('\n')?.1.to_owned()))
    else {
        return list.push(text);
    };
    // A comment after the last item stays after it.
    let end = list.len() - 1;
    let comma = list.trailing_comma();
    let behind = if comma {
        list.trailing().as_str().unwrap_or_default().to_owned()
    } else {
        let decor = list.get_mut(end).map(Value::decor_mut);
        let suffix = decor.as_ref().and_then(|decor| decor.suffix()?.as_str());
        let suffix = suffix.unwrap_or_default().to_owned();
        if let Some(decor) = decor {
            decor.set_suffix("");
        }
        suffix
    };
    let prefix = format!("{}\n{indent}", behind.trim_end());
    list.push_formatted(Value::from(text).decorated(prefix, if comma { "" } else { "\n" }));
    if comma {
        list.set_trailing("\n");
    }
}

fn edit(
    path: &Path,
    check: Check<'_>,
    change: impl FnOnce(&mut DocumentMut) -> Result<Edited, String>,
) -> Result<Edited, EditError> {
    edit_text(path, check, |document| {
        let edited = change(document)?;
        Ok((edited, document.to_string()))
    })
}

/// Changes the file to the text that `change` makes of it, if `check` finds no fault with that.
fn edit_text(
    path: &Path,
    check: Check<'_>,
    change: impl FnOnce(&mut DocumentMut) -> Result<(Edited, String), String>,
) -> Result<Edited, EditError> {
    let path = &target(path)?;
    let failed = |doing| move |source| EditError::Io { doing, path: path.to_owned(), source };
    let directory = directory_of(path);
    std::fs::create_dir_all(directory).map_err(failed("create the folder of"))?;
    // Locks the directory, because the file itself is replaced.
    let guard = File::open(directory).map_err(failed("open the folder of"))?;
    match guard.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(EditError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
    }
    let (text, found) = match std::fs::symlink_metadata(path) {
        // `target` found no link a moment ago: somebody has just put one there.
        Ok(found) if found.is_symlink() => return Err(EditError::Link { path: path.to_owned() }),
        Ok(found) => (std::fs::read_to_string(path).map_err(failed("read"))?, Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (HEADER.to_owned(), None),
        Err(error) => return Err(failed("read")(error)),
    };
    let malformed = |at: Option<(usize, usize)>, why: String| {
        let origin = Origin::File { path: path.to_owned(), place: at };
        EditError::Malformed { origin, why }
    };
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let at = error.span().map(|span| place(&text, span.start));
        malformed(at, format!("is not TOML: {}", error.message()))
    })?;
    let (edited, text) = change(&mut document).map_err(|why| malformed(None, why))?;
    if edited == Edited::Changed {
        let invalid = |problems| EditError::Invalid { path: path.to_owned(), problems };
        check(&text).map_err(invalid)?;
        let file = written(path, &text, found.as_ref())?;
        file.persist(path).map_err(|error| failed("write")(error.error))?;
        guard.sync_all().map_err(failed("flush the folder of"))?;
    }
    Ok(edited)
}

/// Makes a new file with this text, which only its owner may read. Nothing is there if that fails,
/// or if there was a file already.
pub fn create(path: &Path, text: &str) -> Result<(), EditError> {
    let failed = |doing| move |source| EditError::Io { doing, path: path.to_owned(), source };
    let directory = directory_of(path);
    std::fs::create_dir_all(directory).map_err(failed("create the folder of"))?;
    let file = written(path, text, None)?;
    file.persist_noclobber(path).map_err(|error| failed("write")(error.error))?;
    let flushed = File::open(directory).and_then(|directory| directory.sync_all());
    flushed.map_err(failed("flush the folder of"))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The file to edit: `path`, or the target of the link there, if its owner may be trusted.
fn target(path: &Path) -> Result<PathBuf, EditError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(path.to_owned()) };
    if !found.is_symlink() {
        return Ok(path.to_owned());
    }
    if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
        return Err(EditError::Link { path: path.to_owned() });
    }
    let failed = |source| EditError::Io { doing: "follow the link", path: path.to_owned(), source };
    std::fs::canonicalize(path).map_err(failed)
}

/// A temporary file beside `path` with this text, flushed, and with the mode and the owner of the
/// file that was `found` there. A new file is for its writer alone.
fn written(path: &Path, text: &str, found: Option<&Metadata>) -> Result<NamedTempFile, EditError> {
    let failed = |source| EditError::Io { doing: "write", path: path.to_owned(), source };
    let file = tempfile::Builder::new().prefix(".afk-").tempfile_in(directory_of(path));
    let mut file = file.map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    if let Some(found) = found {
        let (user, group) = (found.uid(), found.gid());
        let refused = |source| EditError::Owner { path: path.to_owned(), user, group, source };
        give(file.as_file(), user, group).map_err(refused)?;
    }
    let mode = found.map_or(0o600, |found| found.permissions().mode() & 0o7777);
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

/// Gives the file to this user and group, if it is not theirs already.
fn give(file: &File, user: u32, group: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (user, group) {
        return Ok(());
    }
    fchown(file, Some(user), Some(group))
}
