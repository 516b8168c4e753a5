//! What trusted people ask in comments, heard and done.
//!
//! A tracker is asked only about repos where a run is live or a freeze holds: as
//! shipped, none. The core decides what a comment steers; here it is fetched, its
//! author's permission is asked live, and the store is told. A run takes up what is
//! asked of it by itself.

use std::collections::BTreeSet;

use afk_core::config::Config;
use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::Comment;
use afk_core::request::in_comment;
use afk_core::steer::{Steer, since, steers};
use afk_core::trust::trusted;

use crate::Engine;
use crate::dispatch::Looked;
use crate::ports::{PortResult, StoredRun};
use crate::switches::Brake;

impl Engine {
    /// Hears what was written since the last time, where it may steer something.
    pub(crate) async fn hear(&self, brake: &Brake) -> PortResult<()> {
        let (config, _) = self.ports.settings.current();
        let live = self.ports.store.live().await?;
        let frozen = brake.switches().unwrap_or_default().frozen.into_iter();
        let frozen = frozen.filter(|(repo, _)| config.allowlist.contains(repo));
        let mut from = since(
            live.iter().map(|stored| &stored.run),
            frozen.map(|(repo, freeze)| (repo, freeze.thrown.at)),
        );
        from.retain(|repo, _| config.repos.contains_key(repo));
        let now = self.ports.clock.now();
        let asked: Vec<(RepoName, At)> = {
            let (troubles, mut heard) = (self.troubles(), self.heard());
            heard.retain(|repo| from.contains_key(repo));
            let asked = from.into_iter().filter(|(repo, _)| !troubles.waits(repo, now));
            let from = |(repo, from)| {
                let from = heard.ask_from(&repo, from);
                (repo, from)
            };
            asked.map(from).collect()
        };
        let (mut looked, mut lifted) = (Looked::default(), false);
        for (repo, answer) in self.ports.tracker.comments_everywhere(&asked).await {
            match answer {
                Ok(comments) => {
                    lifted |= self.follow(&config, &repo, comments, now).await;
                    looked.answered.push(repo);
                }
                Err(error) => looked.failed(&repo, &error),
            }
        }
        self.note_troubles(&looked);
        if lifted {
            // What is dispatched next need not wait for the next reading.
            brake.read(&*self.ports.store).await;
        }
        Ok(())
    }

    /// Does what comments of one repo ask, each by itself: one that cannot be followed
    /// now holds up no other, and is heard again. Whether a freeze was lifted.
    async fn follow(
        &self,
        config: &Config,
        repo: &RepoName,
        mut comments: Vec<(IssueRef, Comment)>,
        now: At,
    ) -> bool {
        comments.retain(|(_, comment)| in_comment(&comment.body).is_some());
        let mut ids = BTreeSet::new();
        let (mut all, mut lifted) = (true, false);
        for (issue, comment) in comments {
            if !self.heard().knows(repo, &comment.id) {
                match self.obey(config, &issue, &comment).await {
                    Ok(freeze) => lifted |= freeze,
                    Err(error) => {
                        let (error, comment) = (error.chain(), &comment.id);
                        tracing::warn!(%issue, comment, error, "comment not followed, will try again");
                        all = false;
                        continue;
                    }
                }
            }
            ids.insert(comment.id);
        }
        self.heard().note(repo, ids, all.then_some(now));
        lifted
    }

    /// Does what one comment asks, where its author may. Whether that lifted a freeze.
    async fn obey(&self, config: &Config, issue: &IssueRef, comment: &Comment) -> PortResult<bool> {
        let own = self.ports.tracker.own_account(&issue.repo).await?;
        // Read after the comment was: a run that it is younger than is among them.
        let live: Vec<StoredRun> = self.ports.store.live().await?;
        let runs = live.iter().map(|stored| &stored.run);
        let id = &comment.id;
        let steer = match steers(issue, comment, &own, runs) {
            None => return Ok(false),
            Some(Err(why)) => {
                tracing::debug!(%issue, comment = id, %why, "a comment steers nothing");
                return Ok(false);
            }
            Some(Ok(steer)) => steer,
        };
        let by = match &steer {
            Steer::Run { asked, .. } => &asked.by,
            Steer::Unfreeze { by, .. } => by,
        };
        // Accounts whose permission would not count are not asked about.
        let permission = if by.bot || config.trust.allow_ids.contains(&by.id) {
            None
        } else {
            Some(self.ports.tracker.permission(&issue.repo, by).await?)
        };
        if let Err(why) = trusted(by, &config.trust, &|_: &Actor| permission) {
            tracing::debug!(%issue, comment = id, by = by.login, %why, "a comment is not trusted");
            return Ok(false);
        }
        match steer {
            Steer::Run { run, asked } => {
                if self.ports.store.ask(run, &asked).await? {
                    let by = asked.by.login;
                    tracing::info!(run.id = %run, %issue, comment = id, by, "asked in a comment");
                }
                Ok(false)
            }
            Steer::Unfreeze { by, at } => {
                let lifted = self.ports.store.unfreeze(&issue.repo, &by.login, at).await?;
                if lifted {
                    let (repo, by) = (&issue.repo, by.login);
                    tracing::info!(%repo, %issue, comment = id, by, "freeze lifted by a comment");
                }
                Ok(lifted)
            }
        }
    }
}
