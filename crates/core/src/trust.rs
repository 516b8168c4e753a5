//! Whether the release of an issue can be trusted: who last added the ready label, with what
//! permission, and whether the text is still what they saw.
//!
//! Decided from the tracker's events and permissions, never from what an event says about its
//! author. Fails closed: whatever is unknown is refused.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Actor, At};
use crate::issue::{IssueChange, IssueEvent, Permission};
use crate::request::{PersonRequest, Request};

/// Which accounts may release an issue with the ready label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrustPolicy {
    /// The lowest permission on the repo with which a person's account is trusted.
    pub least: Permission,
    /// The ids that the tracker gives to accounts that are trusted whatever their permission. A bot
    /// or an app can only be trusted in this way.
    pub allow_ids: BTreeSet<String>,
}

impl Default for TrustPolicy {
    fn default() -> Self {
        Self { least: Permission::Write, allow_ids: BTreeSet::new() }
    }
}

/// Why an account is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// It has this permission on the repo.
    Permission(Permission),
    /// It is listed by id.
    Listed,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission(permission) => write!(f, "{} permission", word(*permission)),
            Self::Listed => f.write_str("listed by id"),
        }
    }
}

/// Whether somebody trusted released an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trust", rename_all = "snake_case")]
pub enum Trust {
    /// The release is trusted.
    Trusted {
        /// Who last added the ready label, or requested it.
        by: Actor,
        /// When they added or requested it.
        at: At,
        /// Why they are trusted.
        ground: Ground,
        /// The id of their request, if our own account added the label for them.
        #[serde(rename = "asked")]
        request_id: Option<String>,
    },
    /// The release is not trusted.
    Refused {
        /// Why not.
        why: ReleaseRefusal,
    },
}

/// Why a release is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum ReleaseRefusal {
    /// No event added the ready label.
    #[error(
        "nobody has released it: no event shows who added the ready label; put it on at the forge, \
         or with `afk issue label`"
    )]
    NeverLabelled,
    /// The label was removed again.
    #[error("the ready label was removed by {} at {}", name(.by.as_ref()), second(*.at))]
    LabelOff {
        /// Who removed it, if known.
        by: Option<Actor>,
        /// When it was removed.
        at: At,
    },
    /// The label is not on the issue, although no event removed it: deleting a label from its repo
    /// need not leave an event.
    #[error("the ready label is not on the issue any more, and no event shows who removed it")]
    LabelGone,
    /// The tracker does not say who added the label.
    #[error("the tracker does not say who added the ready label at {}", second(*.at))]
    Unattributed {
        /// When it was added.
        at: At,
    },
    /// Whoever added the label is not trusted.
    #[error("{} added the ready label, {why}", name(Some(.by)))]
    Labeller {
        /// Who added it.
        by: Actor,
        /// Why they are not.
        why: Distrust,
    },
    /// Whoever requested the label in a comment is no longer trusted.
    #[error("{} requested the ready label in a comment, {why}", name(Some(.by)))]
    Asker {
        /// Who requested it.
        by: Actor,
        /// Why they are not.
        why: Distrust,
    },
    /// The text was changed afterwards by somebody who is not trusted.
    #[error("the {what} was changed at {}, after the release, by {}; a trusted person must take the ready label off and put it on again", second(*.at), editor(.by.as_ref()))]
    Edited {
        /// What was changed.
        what: Part,
        /// When it was changed.
        at: At,
        /// Who changed it, and why they are not trusted; none if it is not known who it was.
        by: Option<Editor>,
    },
}

/// Somebody who changed an issue, and why they are not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Editor {
    /// Their account.
    pub by: Actor,
    /// Why they are not trusted.
    pub why: Distrust,
}

/// Why an account is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Distrust {
    /// Its permission is too low.
    #[error("who has {} permission and needs {}", word(*.has), word(*.least))]
    TooLow {
        /// What it has.
        has: Permission,
        /// What it needs.
        least: Permission,
    },
    /// It is a bot or an app that is not listed by id.
    #[error("a bot that is not listed by id")]
    Bot,
    /// Its permission could not be read. May pass later.
    #[error("whose permission could not be read")]
    Unknown,
}

/// Which part of an issue was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Its title.
    Title,
    /// Its body.
    Body,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Title => "title",
            Self::Body => "body",
        })
    }
}

impl ReleaseRefusal {
    /// The reason in words, for a label other than the ready one.
    pub fn about(&self, label: &str) -> String {
        self.to_string().replace("the ready label", &format!("the label {label}"))
    }

    /// Whether it is refused only because something could not be read: waiting may help.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Labeller { why, .. }
            | Self::Asker { why, .. }
            | Self::Edited { by: Some(Editor { why, .. }), .. } => matches!(why, Distrust::Unknown),
            Self::NeverLabelled
            | Self::LabelOff { .. }
            | Self::LabelGone
            | Self::Unattributed { .. }
            | Self::Edited { by: None, .. } => false,
        }
    }
}

/// The people for whom our own account may have added the ready label.
#[derive(Debug, Clone, Copy)]
pub struct OnBehalf<'a> {
    /// Our own account's id.
    pub own: &'a str,
    /// Requests of trusted people to the issue's runs; only [`Request::Release`] counts.
    pub asked: &'a [PersonRequest],
}

/// What the issue's events show about a request to release it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseLabel {
    /// Our account has not added the label since.
    NotYet,
    /// Our account has added the label, which is still there and counts as added by the person.
    Stands,
    /// Our account has added the label, and somebody has removed it since.
    Spent,
    /// Somebody else removed the label since: it is not added for this request any more.
    Withdrawn,
}

impl OnBehalf<'_> {
    /// Nobody: a label that our account adds counts as that of any bot.
    pub const NOBODY: OnBehalf<'static> = OnBehalf { own: "", asked: &[] };

    /// What became of the request `asked`. Only the first time that our account adds the label
    /// after it counts for the person: one comment is one release, which ends when anybody removes
    /// that label.
    pub fn release_label(
        &self,
        events: &[IssueEvent],
        label: &str,
        asked: &PersonRequest,
    ) -> ReleaseLabel {
        let mut since: Vec<_> = events
            .iter()
            .filter(|event| event.at >= asked.at)
            .filter_map(|event| Some((event, event.what.on_or_off(label)?)))
            .collect();
        since.sort_by_key(|(event, _)| event.at);
        let mut put = ReleaseLabel::NotYet;
        for (event, on) in since {
            let ours = event.actor.as_ref().is_some_and(|actor| actor.id == self.own);
            put = match (put, on, ours) {
                (ReleaseLabel::NotYet, true, true) => ReleaseLabel::Stands,
                (ReleaseLabel::NotYet, true, false) | (ReleaseLabel::NotYet, false, true) => {
                    ReleaseLabel::NotYet
                }
                (ReleaseLabel::NotYet, false, false) => ReleaseLabel::Withdrawn,
                // Adding a label that is there already changes nothing.
                (ReleaseLabel::Stands, true, _) => ReleaseLabel::Stands,
                (ReleaseLabel::Stands, false, _) => ReleaseLabel::Spent,
                (ReleaseLabel::Spent, _, _) => ReleaseLabel::Spent,
                (ReleaseLabel::Withdrawn, _, _) => ReleaseLabel::Withdrawn,
            };
        }
        put
    }

    /// The newest request for which the label stands now.
    fn stands_for(&self, events: &[IssueEvent], label: &str) -> Option<&PersonRequest> {
        let releases = self.asked.iter().filter(|asked| asked.what == Request::Release);
        let stand = releases
            .filter(|asked| self.release_label(events, label, asked) == ReleaseLabel::Stands);
        stand.max_by_key(|asked| asked.at)
    }
}

/// Decides from an issue's whole history, oldest first.
///
/// The ready label added by our own account counts for the person who requested it, from the time
/// of the request: they did not see later edits.
///
/// `permission_of` returns an account's current permission on the repo, `None` if it could not be
/// read. An edit in the same second as the label counts as after it, because trackers count in
/// seconds and the order of two events within one is not known.
pub fn trust(
    events: &[IssueEvent],
    label: &str,
    policy: &TrustPolicy,
    behalf: OnBehalf<'_>,
    permission_of: &dyn Fn(&Actor) -> Option<Permission>,
) -> Trust {
    let decided = release(events, label, policy, behalf, permission_of);
    decided.unwrap_or_else(|why| Trust::Refused { why })
}

/// Whether one account is trusted; also for the author of a comment or a command.
pub fn trusted(
    actor: &Actor,
    policy: &TrustPolicy,
    permission_of: &dyn Fn(&Actor) -> Option<Permission>,
) -> Result<Ground, Distrust> {
    if policy.allow_ids.contains(&actor.id) {
        return Ok(Ground::Listed);
    }
    if actor.bot {
        return Err(Distrust::Bot);
    }
    let has = permission_of(actor).ok_or(Distrust::Unknown)?;
    // A policy of "none" would trust every stranger: it trusts nobody by permission.
    if has < policy.least || has == Permission::None {
        return Err(Distrust::TooLow { has, least: policy.least });
    }
    Ok(Ground::Permission(has))
}

fn release(
    events: &[IssueEvent],
    label: &str,
    policy: &TrustPolicy,
    behalf: OnBehalf<'_>,
    permission_of: &dyn Fn(&Actor) -> Option<Permission>,
) -> Result<Trust, ReleaseRefusal> {
    // The latest by time; within one second the tracker's order decides.
    let last = events
        .iter()
        .enumerate()
        .filter_map(|(i, event)| event.what.on_or_off(label).map(|on| (i, event, on)))
        .min_by_key(|(i, event, _)| Reverse((event.at, *i)));
    let Some((index, event, on)) = last else { return Err(ReleaseRefusal::NeverLabelled) };
    if !on {
        return Err(ReleaseRefusal::LabelOff { by: event.actor.clone(), at: event.at });
    }
    let labeller = event.actor.clone().ok_or(ReleaseRefusal::Unattributed { at: event.at })?;
    let asked = behalf.stands_for(events, label).filter(|_| labeller.id == behalf.own);
    let (by, at) = asked.map_or((labeller, event.at), |asked| (asked.by.clone(), asked.at));
    let ground = match trusted(&by, policy, permission_of) {
        Ok(ground) => ground,
        Err(why) if asked.is_some() => return Err(ReleaseRefusal::Asker { by, why }),
        Err(why) => return Err(ReleaseRefusal::Labeller { by, why }),
    };
    for (i, edit) in events.iter().enumerate() {
        let what = match edit.what {
            IssueChange::Renamed => Part::Title,
            IssueChange::Edited => Part::Body,
            IssueChange::Labeled { .. }
            | IssueChange::Unlabeled { .. }
            | IssueChange::Closed
            | IssueChange::Reopened => continue,
        };
        // Trackers give whole seconds: within one, nobody knows which came first.
        if i < index && edit.at.as_second() < at.as_second() {
            continue;
        }
        let refused = |by| ReleaseRefusal::Edited { what, at: edit.at, by };
        let actor = edit.actor.as_ref().ok_or_else(|| refused(None))?;
        if let Err(why) = trusted(actor, policy, permission_of) {
            return Err(refused(Some(Editor { by: actor.clone(), why })));
        }
    }
    Ok(Trust::Trusted { by, at, ground, request_id: asked.map(|asked| asked.id.clone()) })
}

fn word(permission: Permission) -> &'static str {
    match permission {
        Permission::None => "no",
        Permission::Read => "read",
        Permission::Triage => "triage",
        Permission::Write => "write",
        Permission::Maintain => "maintain",
        Permission::Admin => "admin",
    }
}

fn name(actor: Option<&Actor>) -> String {
    match actor {
        Some(actor) => format!("{} (id {})", actor.login, actor.id),
        None => "an unknown account".to_owned(),
    }
}

/// A moment, to the second, in UTC.
fn second(at: At) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn editor(by: Option<&Editor>) -> String {
    match by {
        Some(Editor { by, why }) => format!("{}, {why}", name(Some(by))),
        None => "an unknown account".to_owned(),
    }
}

#[cfg(test)]
mod tests;
