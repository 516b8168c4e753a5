//! How many files and sockets a process that serves may have open at once.
//!
//! Whoever can connect to it, with a token or without, takes one of them for each connection. Agents,
//! git and the store need some as well, so the commands that serve raise the limit and leave
//! connections only a share of it.

use afk_http::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for all connections and agents that there may be. Not more, since everything that is
/// started inherits the limit, and some programs close every number below it one by one.
const ENOUGH: u64 = 65_536;
/// The connections at one address get one in so many of the files.
const SHARE: u64 = 4;

/// Raises the soft limit on open files as far as the hard one allows and it is useful. Returns how
/// many there may be now.
pub(crate) fn raise() -> u64 {
    let found = getrlimit(Resource::Nofile);
    let soft = found.current.unwrap_or(u64::MAX);
    let wanted = found.maximum.map_or(ENOUGH, |hard| hard.min(ENOUGH));
    if soft >= wanted {
        return soft;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..found }) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, soft, wanted, "the limit on open files cannot be raised");
            soft
        }
    }
}

/// Returns `limits` with so few connections that most of `files` are left for everything else.
pub(crate) fn within(limits: Limits, files: u64) -> Limits {
    let most = usize::try_from(files / SHARE).unwrap_or(usize::MAX).max(1);
    if limits.connections <= most {
        return limits;
    }
    tracing::warn!(
        files,
        connections = most,
        usual = limits.connections,
        "fewer connections are accepted at once, because so few files may be open: raise the hard \
         limit on open files (LimitNOFILE of a systemd unit, ulimit -Hn in a shell)"
    );
    Limits { connections: most, ..limits }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn connections_get_a_quarter_of_the_files_at_most() {
        for (files, wanted, expected) in [
            (65_536, 4096, 4096),
            (u64::MAX, 4096, 4096),
            (16_384, 4096, 4096),
            (1024, 4096, 256),
            (1024, 256, 256),
            (256, 256, 64),
            (0, 256, 1),
        ] {
            let limits = Limits {
                connections: wanted,
                headers: Duration::ZERO,
                connection: None,
                drain: Duration::ZERO,
            };
            assert_eq!(within(limits, files).connections, expected, "{wanted} of {files}");
        }
    }
}
