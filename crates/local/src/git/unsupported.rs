//! What keeps a repository from being worked in a workspace, such as git LFS. It is refused by name
//! before anything is spent: at enrolment, by `doctor`, and before the first turn.

use std::fmt;
use std::path::{Path, PathBuf};

use afk_core::ids::Oid;

use super::command::Git;
use super::error::GitError;
use super::mirror::Mirror;
use super::read::{Blob, BlobLimits};
use super::remote::RemoteUrl;

/// Why a repository cannot be worked by an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsupported {
    /// Files go through git-crypt, and would stay encrypted in a workspace.
    GitCrypt {
        /// The `.gitattributes` file that says so.
        file: String,
    },
    /// Files are in git LFS: a workspace would have pointers instead of them, and a file that an
    /// agent adds would land without its content.
    Lfs {
        /// The `.gitattributes` file that says so.
        file: String,
    },
    /// The repository has a submodule, whose files a workspace would not have.
    Submodule {
        /// The path of the submodule, or `.gitmodules`.
        path: String,
    },
    /// The remote is a work tree with the default branch checked out, and refuses pushes to it.
    CheckedOut {
        /// The work tree.
        folder: PathBuf,
    },
    /// The remote is a shallow clone, which lacks the beginning of its history.
    Shallow {
        /// The remote's folder.
        folder: PathBuf,
    },
}

impl Unsupported {
    /// Returns a short name of the reason, for people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GitCrypt { .. } => "git-crypt",
            Self::Lfs { .. } => "git LFS",
            Self::Submodule { .. } => "submodules",
            Self::CheckedOut { .. } => "checked-out branch",
            Self::Shallow { .. } => "shallow remote",
        }
    }

    /// Says what to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::GitCrypt { .. } => {
                "choose an executor that has the key, or leave this repository to people".to_owned()
            }
            Self::Lfs { .. } => {
                "move the files out of LFS (git lfs migrate export), or leave this repository to \
                 people"
                    .to_owned()
            }
            Self::Submodule { .. } => {
                "vendor what the submodule brings, or leave this repository to people".to_owned()
            }
            Self::CheckedOut { folder } => {
                let folder = folder.display();
                format!(
                    "use a bare repository as the remote (git clone --bare {folder} NAME.git), or \
                     let the work tree follow pushes (git -C {folder} config \
                     receive.denyCurrentBranch updateInstead)"
                )
            }
            Self::Shallow { folder } => format!(
                "bring the rest of its history (git -C {} fetch --unshallow), or name the \
                 repository that it was cloned from",
                folder.display()
            ),
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitCrypt { file } => write!(
                f,
                "{file} sends files through git-crypt, which stay encrypted in a workspace"
            ),
            Self::Lfs { file } => write!(
                f,
                "{file} keeps files in git LFS, of which a workspace would only have pointers"
            ),
            Self::Submodule { path } if path == ".gitmodules" => {
                write!(f, "{path} lists submodules, of which a workspace would have no files")
            }
            Self::Submodule { path } => {
                write!(f, "{path} is a submodule, of which a workspace would have no files")
            }
            Self::CheckedOut { folder } => write!(
                f,
                "{} is a work tree that has the default branch checked out, and refuses pushes to \
                 it",
                folder.display()
            ),
            Self::Shallow { folder } => write!(
                f,
                "{} is a shallow clone, which lacks the beginning of its history",
                folder.display()
            ),
        }
    }
}

/// Finds why a repository cannot be worked, from its remote alone; `None` if it can. The newest
/// commit is fetched for that, without its history, into `folder`.
pub async fn look_at(
    git: &Git,
    remote: RemoteUrl,
    folder: &Path,
) -> Result<Option<Unsupported>, GitError> {
    let mirror = Mirror::new(git.clone(), folder.join("look.git"), remote);
    if let Some(why) = mirror.unsupported_there().await? {
        return Ok(Some(why));
    }
    let head = mirror.fetch_newest().await?;
    mirror.unsupported(&head).await
}

impl Mirror {
    /// Finds why the remote itself, if it is a folder on this machine, cannot be worked.
    pub async fn unsupported_there(&self) -> Result<Option<Unsupported>, GitError> {
        if let Some(folder) = self.checked_out().await? {
            return Ok(Some(Unsupported::CheckedOut { folder }));
        }
        let folder = self.remote().folder();
        let is_shallow =
            |dir: &PathBuf| dir.join("shallow").exists() || dir.join(".git/shallow").exists();
        Ok(folder.filter(is_shallow).map(|folder| Unsupported::Shallow { folder }))
    }

    /// Finds why the repository cannot be worked as it is at `commit`; `None` if it can.
    pub async fn unsupported(&self, commit: &Oid) -> Result<Option<Unsupported>, GitError> {
        if let Some(why) = self.unsupported_there().await? {
            return Ok(Some(why));
        }
        let call = self.call("ls-tree").args(["-r", "-z", "--full-tree"]);
        let listing = call.arg(commit.as_str()).output(256 << 20).ok().await?;
        let mut files = Vec::new();
        for entry in listing.split(|b| *b == 0) {
            let text = String::from_utf8_lossy(entry);
            let Some((meta, path)) = text.split_once('\t') else { continue };
            let name = path.rsplit('/').next().unwrap_or(path);
            if meta.starts_with("160000 ") || path == ".gitmodules" {
                return Ok(Some(Unsupported::Submodule { path: path.to_owned() }));
            }
            if name == ".gitattributes"
                && let Some(Ok(id)) = meta.split(' ').nth(2).map(str::parse::<Oid>)
            {
                files.push((path.to_owned(), id));
            }
        }
        let ids: Vec<Oid> = files.iter().map(|(_, id)| id.clone()).collect();
        let limits = BlobLimits { each: 1 << 20, total: 16 << 20 };
        let blobs = self.blobs(&ids, limits).await?;
        let mut all = files.into_iter().zip(blobs);
        Ok(all.find_map(|((file, _), blob)| {
            if filters(&blob, "git-crypt") {
                Some(Unsupported::GitCrypt { file })
            } else if filters(&blob, "lfs") {
                Some(Unsupported::Lfs { file })
            } else {
                None
            }
        }))
    }
}

/// Whether a line of this `.gitattributes` file sends files through a filter whose name begins with
/// `filter`.
fn filters(blob: &Blob, filter: &str) -> bool {
    match blob {
        Blob::Bytes(bytes) => String::from_utf8_lossy(bytes)
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(str::split_whitespace)
            .filter_map(|word| word.strip_prefix("filter="))
            .any(|name| name.starts_with(filter)),
        Blob::TooLarge { .. } | Blob::NotABlob | Blob::Missing => false,
    }
}
