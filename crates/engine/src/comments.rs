//! Reads requests in trusted people's comments, and carries them out.
//!
//! A tracker is read only for repos in which a run is live or a freeze holds, or, while the loop is
//! armed, in which an issue had a run: by default for none. One call for each repo and poll lists
//! the comments since the newest one that was read. The core decides what a comment steers; this
//! file reads comments and their authors' permissions, and the store keeps the requests. A live run
//! carries out its requests by itself; requests to ended runs are carried out in [`again`].

mod again;

use std::collections::BTreeSet;

use afk_core::config::Policy;
use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::Comment;
use afk_core::request::in_comment;
use afk_core::steer::{NoEffectReason, Steer, read_from, since, steers};
use afk_core::trust::trusted;

use crate::Engine;
use crate::dispatch::TrackerAnswers;
use crate::ports::{Filter, PortErrorKind, PortResult};
use crate::switches::Brake;

/// The result of following one comment.
enum Followed {
    /// The comment need not be read again.
    Done,
    /// The same, and it lifted a freeze.
    Lifted,
    /// The comment's run is just ending: the comment must be read again later.
    TooSoon,
}

/// The result of following the comments of one repo.
#[derive(Default)]
struct FollowedAll {
    /// Whether one of them lifted a freeze.
    lifted: bool,
    /// Whether one of them could not be followed because of an error.
    failed: bool,
}

impl Engine {
    /// Reads new comments in those of `repos`, which share a home, where a comment may steer
    /// something, and carries out requests to ended runs there. Returns the repos in which
    /// something could not be done; it is tried again with the next look at them.
    pub(crate) async fn read_comments(
        &self,
        brake: &Brake,
        repos: &BTreeSet<RepoName>,
    ) -> PortResult<BTreeSet<RepoName>> {
        let (config, pickup) = self.ports.settings.current();
        let switches = brake.switches();
        let armed = !config.kill_switch
            && !config.shadow
            && pickup.is_none()
            && switches.as_ref().is_some_and(|now| now.halt.is_none() && now.pause.is_none());
        let live = self.ports.store.live().await?;
        let live = live.iter().filter(|stored| repos.contains(&stored.run.issue.repo));
        let frozen = switches.unwrap_or_default().frozen.into_iter();
        let frozen =
            frozen.filter(|(repo, _)| repos.contains(repo) && config.allowlist.contains(repo));
        let mut from = since(
            live.map(|stored| &stored.run),
            frozen.map(|(repo, freeze)| (repo, freeze.thrown.at)),
        );
        let until = self.ports.store.comments_read_until().await?;
        if armed {
            // An ended run can be steered, too: every comment since the newest one read matters.
            let enrolled = config.allowlist.iter().filter(|repo| repos.contains(*repo));
            let had_runs = enrolled.filter(|repo| until.contains_key(*repo));
            from.extend(had_runs.map(|repo| (repo.clone(), At::MIN)));
        }
        from.retain(|repo, _| config.repos.contains_key(repo));
        let now = self.ports.clock.now();
        let wanted: Vec<(RepoName, At)> = {
            let (troubles, mut read) = (self.troubles(), self.comments_read());
            read.retain(|repo| !repos.contains(repo) || from.contains_key(repo));
            let wanted = from.into_iter().filter(|(repo, _)| !troubles.waits(repo, now));
            let back = |(repo, from)| {
                let from = read_from(from, until.get(&repo).copied());
                (repo, from)
            };
            wanted.map(back).collect()
        };
        let (mut looked, mut lifted) = (TrackerAnswers::default(), false);
        let mut undone = BTreeSet::new();
        for (repo, answer) in self.trackers.comments_of(wanted).await {
            match answer {
                Ok(comments) => {
                    let read = self.follow_all(&config, &repo, comments, until.get(&repo)).await?;
                    lifted |= read.lifted;
                    if read.failed {
                        undone.insert(repo.clone());
                    }
                    looked.answered.push(repo);
                }
                Err(error) => looked.failed(&repo, &error),
            }
        }
        self.note_troubles(&looked);
        if lifted {
            // The next dispatch must see that the freeze is lifted.
            brake.read(&self.ports).await;
        }
        if armed {
            undone.extend(self.carry_out_ended(&config, repos).await?);
        }
        Ok(undone)
    }

    /// Follows the comments of one repo one by one. A comment that cannot be followed now is read
    /// again, and holds up no other.
    async fn follow_all(
        &self,
        config: &Policy,
        repo: &RepoName,
        mut comments: Vec<(IssueRef, Comment)>,
        until: Option<&At>,
    ) -> PortResult<FollowedAll> {
        let newest = comments.iter().map(|(_, comment)| comment.at).max();
        comments.retain(|(_, comment)| in_comment(&comment.body).is_some());
        let mut ids = BTreeSet::new();
        let (mut all, mut done) = (true, FollowedAll::default());
        for (issue, comment) in comments {
            if !self.comments_read().knows(repo, &comment.id) {
                match self.follow(config, &issue, &comment).await {
                    Ok(Followed::Lifted) => done.lifted = true,
                    Ok(Followed::Done) => {}
                    Ok(Followed::TooSoon) => {
                        all = false;
                        continue;
                    }
                    Err(error) => {
                        let (error, comment) = (error.chain(), &comment.id);
                        tracing::warn!(%issue, comment, error, "a comment's request was not carried out; will try again");
                        (all, done.failed) = (false, true);
                        continue;
                    }
                }
            }
            ids.insert(comment.id);
        }
        self.comments_read().note(repo, ids);
        // The mark does not move past a comment that could not be followed yet.
        if let Some(newest) = newest.filter(|newest| all && Some(newest) > until) {
            self.ports.store.note_comments_read(repo, newest).await?;
        }
        Ok(done)
    }

    /// Records the request in a comment, or lifts the freeze, if the author is trusted to.
    async fn follow(
        &self,
        config: &Policy,
        issue: &IssueRef,
        comment: &Comment,
    ) -> PortResult<Followed> {
        let own = self.ports.tracker.own_account(&issue.repo).await?;
        // Runs are read after the comment, so that every run older than the comment is seen.
        let (repo, issue_number) = (Some(issue.repo.clone()), Some(issue.number));
        let filter = Filter { repo, issue: issue_number, limit: 1, ..Filter::default() };
        let newest = self.ports.store.runs(&filter).await?.pop();
        let id = &comment.id;
        let steer = match steers(issue, comment, &own, newest.as_ref().map(|stored| &stored.run)) {
            None => return Ok(Followed::Done),
            Some(Err(NoEffectReason::Ending)) => return Ok(Followed::TooSoon),
            Some(Err(why @ NoEffectReason::Edited)) => {
                tracing::warn!(%issue, comment = id, %why, "what a comment requests now is ignored");
                return Ok(Followed::Done);
            }
            Some(Err(why)) => {
                tracing::debug!(%issue, comment = id, %why, "a comment's request has no effect");
                return Ok(Followed::Done);
            }
            Some(Ok(steer)) => steer,
        };
        let by = match &steer {
            Steer::Run { request, .. } => &request.by,
            Steer::Unfreeze { by, .. } => by,
        };
        // Accounts that are trusted by id, or never, need no permission.
        let permission = if by.bot || config.trust.allow_ids.contains(&by.id) {
            None
        } else {
            match self.ports.tracker.permission(&issue.repo, by).await {
                Ok(permission) => Some(permission),
                // Our account may not ask, which only a person can change. Reading the comment again
                // and again would keep every later one from being noted as read.
                Err(error) if error.kind == PortErrorKind::Auth => {
                    let (by, error) = (&by.login, error.chain());
                    tracing::warn!(%issue, comment = id, by, error, "a comment's request is ignored: whether its author is trusted may not be read");
                    None
                }
                Err(error) => return Err(error),
            }
        };
        if let Err(why) = trusted(by, &config.trust, &|_: &Actor| permission) {
            tracing::debug!(%issue, comment = id, by = by.login, %why, "a comment is not trusted");
            return Ok(Followed::Done);
        }
        match steer {
            Steer::Run { run, request } => {
                if self.ports.store.add_request(run, &request).await? {
                    let by = request.by.login;
                    tracing::info!(run.id = %run, %issue, comment = id, by, "requested in a comment");
                }
                Ok(Followed::Done)
            }
            Steer::Unfreeze { by, at } => {
                let lifted = self.ports.store.unfreeze(&issue.repo, &by.login, at).await?;
                if lifted {
                    let (repo, by) = (&issue.repo, by.login);
                    tracing::info!(%repo, %issue, comment = id, by, "freeze lifted by a comment");
                }
                Ok(if lifted { Followed::Lifted } else { Followed::Done })
            }
        }
    }
}
