//! Git servers that did not answer in time. Dispatch waits for such a server once, and not once for
//! each repo there: until the next try it does without those repos.

use std::collections::HashMap;
use std::ops::Range;

use afk_core::ids::{At, RepoName};
use afk_core::trouble::retry_at;
use jiff::SignedDuration;

use crate::ports::CheckSpan;

/// A look at a remote that takes this long to fail was not answered.
const SLOW: SignedDuration = SignedDuration::from_secs(10);

/// The servers that do not answer at the moment, by their names.
#[derive(Debug, Default)]
pub(super) struct MuteServers {
    of: HashMap<String, Mute>,
}

#[derive(Debug)]
struct Mute {
    /// Tries in a row that were not answered.
    failures: u32,
    /// From when until when the server is not tried again.
    pause: Range<At>,
    /// The repo that was not answered for, and until when it is left out. That is longer, so that
    /// the server's other repos are tried first: it may be the only one with a trouble.
    repo: RepoName,
    until: At,
}

impl MuteServers {
    /// Whether all servers answer, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether `repo` is not tried at `now` because of the server of its `remote`. A clock that was
    /// set back ends that.
    pub(super) fn waits(&self, repo: &RepoName, remote: &str, now: At) -> bool {
        self.of.get(server(remote)).is_some_and(|mute| {
            let until = if mute.repo == *repo { mute.until } else { mute.pause.end };
            (mute.pause.start..until).contains(&now)
        })
    }

    /// Records a look at the `remote` of `repo`, and whether it `failed`. Returns whether it is the
    /// first that the server did not answer.
    pub(super) fn looked(
        &mut self,
        repo: &RepoName,
        remote: &str,
        looked: CheckSpan,
        failed: bool,
    ) -> bool {
        let CheckSpan { began, answered } = looked;
        let server = server(remote);
        if !failed || answered.duration_since(began) < SLOW {
            self.of.remove(server);
            return false;
        }
        let before = self.of.get(server);
        // Looks that were made side by side count as one try.
        if before.is_some_and(|mute| mute.pause.contains(&answered)) {
            return false;
        }
        let failures = before.map_or(0, |mute| mute.failures).saturating_add(1);
        let pause = answered..retry_at(failures, None, answered);
        let twice = pause.end.checked_add(pause.end.duration_since(answered));
        let until = twice.unwrap_or(At::MAX);
        self.of.insert(server.to_owned(), Mute { failures, pause, repo: repo.clone(), until });
        failures == 1
    }
}

/// The part of a git remote that names its server; all of a path on this machine.
fn server(remote: &str) -> &str {
    let path_at = match remote.split_once("://") {
        Some(("file", _)) => None,
        Some((scheme, rest)) => rest.find('/').map(|at| scheme.len() + 3 + at),
        None => remote.find(':'),
    };
    path_at.and_then(|at| remote.get(..at)).unwrap_or(remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_names_its_server() {
        for (remote, expected) in [
            ("https://git.example/you/web.git", "https://git.example"),
            ("ssh://git@git.example:2222/you/web.git", "ssh://git@git.example:2222"),
            ("git@git.example:you/web.git", "git@git.example"),
            ("https://git.example", "https://git.example"),
            ("file:///srv/git/web.git", "file:///srv/git/web.git"),
            ("/srv/git/web.git", "/srv/git/web.git"),
            ("", ""),
        ] {
            assert_eq!(server(remote), expected);
        }
    }

    #[test]
    fn a_server_that_does_not_answer_is_tried_again_after_a_growing_pause() {
        const WEB: &str = "https://git.example/you/web.git";
        const API: &str = "https://git.example/you/api.git";
        let (web, api): (RepoName, RepoName) =
            ("you/web".parse().unwrap(), "you/api".parse().unwrap());
        let at = |second| At::from_second(second).unwrap();
        let span = |began, answered| CheckSpan { began: at(began), answered: at(answered) };
        let mut all = MuteServers::default();
        assert!(!all.looked(&web, WEB, span(0, 5), true), "it refused, and did so soon");
        assert!(all.is_empty());
        assert!(all.looked(&web, WEB, span(0, 20), true));
        assert!(!all.looked(&api, API, span(0, 21), true), "one try, side by side");
        let waits = |all: &MuteServers| [19, 20, 29, 30].map(|now| all.waits(&api, API, at(now)));
        assert_eq!(waits(&all), [false, true, true, false]);
        // The repo that was not answered for comes after the others.
        assert!(all.waits(&web, WEB, at(39)) && !all.waits(&web, WEB, at(40)));
        assert!(!all.waits(&web, "https://other.example/you/web.git", at(25)));
        assert!(!all.looked(&web, WEB, span(40, 60), true), "known already");
        assert!(all.waits(&api, API, at(79)) && !all.waits(&api, API, at(80)));
        // A slow answer is an answer.
        assert!(!all.looked(&api, API, span(80, 100), false));
        assert!(all.is_empty());
    }
}
