//! Git, by the `git` command.
//!
//! The control plane owns one bare [`Mirror`] for each repo and never uses a work tree; each run
//! has its own [`RunClone`], in which we only run `upload-pack`, in the caller's box. Whatever a
//! repository or an agent leaves behind is data: commands started here obey none of its hooks,
//! filters, drivers or configuration.
//!
//! What may land, and when, is decided elsewhere, by the guardrails and the engine.

mod askpass;
mod clone;
mod command;
mod commits;
mod error;
mod ignored;
mod landing;
mod lock;
mod mirror;
mod patch;
mod paths;
mod process;
mod read;
mod remote;
pub mod reset;
mod status;
mod tree;
mod unsupported;
mod workspaces;

pub use clone::{Advertised, At, RunClone, UploadPack, branch_name, head_ref};
pub use command::{Git, Limits, OLDEST as OLDEST_GIT};
pub use commits::{Commit, Signature, Trailers};
pub use error::{GitError, Rejection};
pub use landing::{Identity, MergeOutcome, PushOutcome};
pub use mirror::{Mirror, RemoteHeads};
pub use paths::{remove_tree, sanitise};
pub use read::{Blob, BlobAt, BlobLimits};
pub use remote::{Credential, Login, RemoteUrl};
pub use status::status_argv;
pub use tree::{Entry, Mode};
pub use unsupported::{Unsupported, look_at};
pub use workspaces::{Caches, KeptWorkspace, Note, RunFolders, Workspaces};
