//! Every call that the loop makes of its ports, by the name under which the fakes write
//! it down, and whether it changes anything. The crash sweep takes its sites from here:
//! one before each call, and one after each that changes something.
//!
//! Its tests compare it with the traits' own source: a call that is new there and not
//! here fails them.

/// What a port call does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It looks: dying after it is dying before the next call.
    Reads,
    /// It changes something.
    Writes,
    /// No pass makes it, or nothing can fail in it. The text says which.
    Unswept(&'static str),
}

use Effect::{Reads, Unswept, Writes};

/// Every port call.
pub const CALLS: &[(&str, Effect)] = &[
    ("archive.keep", Writes),
    ("archive.prune", Unswept("housekeeping of the daemon, which has tests of its own")),
    ("clock.now", Unswept("asks no port outside the process")),
    ("clock.sleep_until", Unswept("asks no port outside the process")),
    ("doorbells.ring", Writes),
    ("executor.answer", Writes),
    ("executor.changed", Unswept("a wait, which only wakes")),
    ("executor.interrupt", Writes),
    ("executor.observe", Reads),
    ("executor.ready", Reads),
    ("executor.start", Writes),
    ("executor.transcript", Unswept("a look, which the command line takes")),
    ("git.blobs", Reads),
    ("git.clean", Writes),
    ("git.commit", Writes),
    ("git.commits", Reads),
    ("git.compose", Writes),
    ("git.default_head", Reads),
    ("git.descendants", Reads),
    ("git.fetch_head", Writes),
    ("git.file_at", Reads),
    ("git.head", Reads),
    ("git.keep", Writes),
    ("git.keep_head", Writes),
    ("git.landed", Reads),
    ("git.merge", Writes),
    ("git.message", Reads),
    ("git.prepare", Writes),
    ("git.push", Writes),
    ("git.raw_diff", Reads),
    ("git.release", Writes),
    ("git.remote", Unswept("asks no port outside the process")),
    ("git.remote_head", Reads),
    ("git.remove_branch", Writes),
    ("git.tidy", Unswept("housekeeping of the daemon, which has tests of its own")),
    ("git.tree", Reads),
    ("ids.run", Unswept("asks no port outside the process")),
    ("jobs.alive", Reads),
    ("jobs.changed", Unswept("a wait, which only wakes")),
    ("jobs.forget", Writes),
    ("jobs.left", Reads),
    ("jobs.observe", Reads),
    ("jobs.ready", Reads),
    ("jobs.renew", Writes),
    ("jobs.start", Writes),
    ("jobs.stop", Writes),
    ("jobs.sweep", Unswept("housekeeping of the daemon, which has tests of its own")),
    ("journals.chain", Unswept("a look, which the command line takes")),
    ("pullrequests.close", Writes),
    ("pullrequests.look", Reads),
    ("pullrequests.open", Writes),
    ("secrets.read", Unswept("adapters make it, and no pass")),
    ("settings.current", Unswept("asks no port outside the process")),
    ("stages.poll", Reads),
    ("store.acknowledge", Unswept("a person's verb, one transaction")),
    ("store.admit", Writes),
    ("store.answer", Writes),
    ("store.ask", Writes),
    ("store.beat", Writes),
    ("store.claim", Writes),
    ("store.commit", Writes),
    ("store.heard", Reads),
    ("store.hold", Writes),
    ("store.holds", Reads),
    ("store.journal", Unswept("a look, which the command line takes")),
    ("store.lease", Writes),
    ("store.live", Reads),
    ("store.live_runs", Unswept("the daemon's, which has tests of its own")),
    ("store.load", Reads),
    ("store.not_rung", Writes),
    ("store.note_heard", Writes),
    ("store.open_requests", Reads),
    ("store.page", Writes),
    ("store.recall", Reads),
    ("store.remember", Writes),
    ("store.requests", Reads),
    ("store.requests_on", Reads),
    ("store.rung", Writes),
    ("store.runs", Reads),
    ("store.spent", Reads),
    ("store.switch", Unswept("a person's verb, one transaction")),
    ("store.switches", Reads),
    ("store.unfreeze", Writes),
    ("store.unhold", Writes),
    ("store.unlease", Writes),
    ("tracker.blocker", Reads),
    ("tracker.close", Writes),
    ("tracker.comment", Writes),
    ("tracker.comments", Reads),
    (
        "tracker.comments_everywhere",
        Unswept("comments_since of many repos in one, here by its default"),
    ),
    ("tracker.comments_since", Reads),
    ("tracker.edit_comment", Writes),
    ("tracker.home", Unswept("asks no port outside the process")),
    ("tracker.issue", Reads),
    ("tracker.label", Writes),
    ("tracker.labelled", Reads),
    ("tracker.own_account", Reads),
    ("tracker.permission", Reads),
    ("tracker.ready", Reads),
    ("tracker.ready_everywhere", Unswept("ready of many repos in one, here by its default")),
    ("tracker.reopen", Writes),
];

/// What the call `name` does; none where it is not known.
pub fn effect(name: &str) -> Option<Effect> {
    CALLS.iter().find(|(call, _)| *call == name).map(|(_, effect)| *effect)
}
