//! The ids of what is made on a server, derived from the run or the repo, so that a repeated
//! command makes nothing twice.
//!
//! The server remembers a command's id for good, even if it refused the command. So the id contains
//! the number of the try, which changes only when the server has refused the one before.

use afk_core::ids::{RepoName, RunId};
use uuid::Uuid;

/// The id of a repo's project.
pub(super) fn project(repo: &RepoName) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("afk-project:{repo}").as_bytes()).to_string()
}

/// The id of a run's thread. The next generation is begun only when the one before cannot go on.
pub(super) fn thread(run: RunId, generation: u32) -> String {
    let first = run.thread().uuid();
    if generation == 0 {
        return first.to_string();
    }
    Uuid::new_v5(&first, format!("generation-{generation}").as_bytes()).to_string()
}

/// The id of a turn's message. Another try has another id: to use one again would overwrite that
/// message's text.
pub(super) fn message(run: RunId, turn: u32, tried: u32) -> String {
    of(run, &format!("message-{turn}-{tried}"))
}

/// The id of a command of this run, by what it is about.
pub(super) fn command(run: RunId, what: &str) -> String {
    of(run, &format!("command-{what}"))
}

fn of(run: RunId, what: &str) -> String {
    Uuid::new_v5(&run.uuid(), format!("t3-{what}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_each_time_and_differ_from_each_other() {
        let run: RunId = "01920000-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(thread(run, 0), run.thread().to_string());
        assert_eq!(message(run, 1, 0), message(run, 1, 0));
        let all = [
            thread(run, 0),
            thread(run, 1),
            message(run, 1, 0),
            message(run, 1, 1),
            message(run, 2, 0),
            command(run, "create-0"),
            command(run, "create-1"),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_repos_project_has_the_id_that_it_always_had() {
        let repo: RepoName = "o/r".parse().unwrap();
        assert_eq!(project(&repo), "02ccbacd-e33d-5efb-89d6-7da70c415de9");
    }
}
