//! The doorbells that are rung over HTTP, one file for each kind.
//!
//! Each kind reads what it needs of a doorbell's table, makes its message of a doorbell by a pure
//! function, and sends it. Nothing is repeated here: the caller rings again until a doorbell has
//! rung once. The text of a doorbell may come from outside; each kind makes it inert in the markup
//! of its receiver.

mod ntfy;
mod slack;
mod webhook;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use afk_core::config::Mistake;
use afk_core::digest::Digest;
use afk_engine::ports::{PortError, PortErrorKind, PortResult};
use reqwest::Url;

use crate::settings::{DoorbellTable, RemoteSettings};

pub use ntfy::{NTFY, NtfyDoorbells};
pub use slack::{SLACK, SlackDoorbells};
pub use webhook::{WEBHOOK, Webhooks};

/// A key of a doorbell's table, and the kinds that it applies to.
struct Key {
    name: &'static str,
    is_given: fn(&DoorbellTable) -> bool,
    /// The kinds that read it.
    kinds: &'static [&'static str],
}

const KEYS: [Key; 6] = [
    Key { name: "url", is_given: |table| table.url.is_some(), kinds: &[WEBHOOK, NTFY] },
    Key { name: "secret", is_given: |table| table.secret.is_some(), kinds: &[WEBHOOK] },
    Key { name: "webhook", is_given: |table| table.webhook.is_some(), kinds: &[SLACK] },
    Key { name: "token", is_given: |table| table.token.is_some(), kinds: &[SLACK, NTFY] },
    Key { name: "channel", is_given: |table| table.channel.is_some(), kinds: &[SLACK] },
    Key { name: "topic", is_given: |table| table.topic.is_some(), kinds: &[NTFY] },
];

/// The mistakes in a doorbell's table: keys of other kinds, and what its own kind finds.
pub(crate) fn mistakes(table: &DoorbellTable) -> Vec<Mistake> {
    let kind = table.kind.as_str();
    let foreign = KEYS.iter().filter(|key| (key.is_given)(table) && !key.kinds.contains(&kind));
    let told = foreign.map(|key| {
        let kinds: Vec<_> = key.kinds.iter().map(|kind| format!("{kind:?}")).collect();
        let kinds = kinds.join(" or ");
        let what = format!("only applies to doorbells of kind {kinds}; omit it");
        Mistake::at(&[key.name], what)
    });
    let own = match kind {
        WEBHOOK => webhook::Target::read(table).err(),
        SLACK => slack::Target::read(table).err(),
        NTFY => ntfy::Target::read(table).err(),
        _ => None,
    };
    told.chain(own.into_iter().flatten()).collect()
}

/// Parses the address of a key `url`. A mistake quotes nothing of it, since it may be a secret.
fn address(text: &str) -> Result<Url, Mistake> {
    let wrong = |what: &str| Mistake::at(&["url"], what);
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(Url::has_host);
    let url =
        url.ok_or_else(|| wrong("must be an address that begins with https:// or http://"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("contains a user or a password; leave it out"));
    }
    Ok(url)
}

/// The mistake of a missing key. It is located at the table, since the key is not there.
fn missing(what: &str) -> Mistake {
    Mistake::at(&[], what)
}

/// The doorbells of one kind: the configuration, and the state `B` of each doorbell by its name.
struct Named<B> {
    kind: &'static str,
    settings: RwLock<Arc<RemoteSettings>>,
    kept: Mutex<BTreeMap<String, (Digest, Arc<B>)>>,
}

impl<B> Named<B> {
    /// Without any doorbell, until [`Self::configure`].
    fn new(kind: &'static str) -> Self {
        Self { kind, settings: RwLock::default(), kept: Mutex::default() }
    }

    /// Replaces the configuration.
    fn configure(&self, settings: Arc<RemoteSettings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Reads the target from the table of the doorbell of that name, with `read`.
    fn target<T>(
        &self,
        name: &str,
        read: impl FnOnce(&DoorbellTable) -> Result<T, Vec<Mistake>>,
    ) -> PortResult<T> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        let found = settings.doorbell(name, self.kind).and_then(|table| read(table).ok());
        found.ok_or_else(|| {
            let why = format!("no {} doorbell named {name:?} is configured any more", self.kind);
            PortError::new(PortErrorKind::NotFound, why)
        })
    }

    /// Returns the state of the doorbell; makes it anew if there is none, or if the one there was
    /// made from something of another digest than `of`.
    fn kept(&self, name: &str, of: Digest, make: impl FnOnce() -> B) -> Arc<B> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, bell)) = kept.get(name)
            && *known == of
        {
            return bell.clone();
        }
        let bell = Arc::new(make());
        kept.insert(name.to_owned(), (of, bell.clone()));
        bell
    }
}

/// The link of a doorbell, if it is http or https.
fn web_link(link: Option<&str>) -> Option<String> {
    let url = Url::parse(link?).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let settings = format!(r#"{{ "notify": [{text}] }}"#);
        let found = serde_json::from_str::<RemoteSettings>(&settings).unwrap().mistakes();
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{text}");
        assert!(!told.iter().any(|what| what.contains("hunter2")), "{told:?}");
    }

    #[test]
    fn keys_that_are_missing_or_another_kinds_are_mistakes() {
        check(r#"{ "kind": "terminal" }"#, &[]);
        check(
            r#"{ "kind": "terminal", "url": "http://a/", "token": { "env": "T" } }"#,
            &[
                "notify.0.url: only applies to doorbells of kind \"webhook\" or \"ntfy\"; omit it",
                "notify.0.token: only applies to doorbells of kind \"slack\" or \"ntfy\"; omit it",
            ],
        );
        check(
            r#"{ "kind": "webhook" }"#,
            &[
                "notify.0: a webhook needs a url; add it",
                "notify.0: a webhook needs a secret; add it",
            ],
        );
        for url in ["hunter2", "ftp://hunter2", "https://", "/hunter2"] {
            check(
                &format!(r#"{{ "kind": "ntfy", "topic": "t", "url": "{url}" }}"#),
                &["notify.0.url: must be an address that begins with https:// or http://"],
            );
        }
        check(
            r#"{ "kind": "webhook", "url": "https://u:hunter2@h/", "secret": { "env": "S" } }"#,
            &["notify.0.url: contains a user or a password; leave it out"],
        );
    }

    #[test]
    fn slack_is_a_webhook_or_a_bot_with_a_channel() {
        check(r#"{ "kind": "slack", "webhook": { "env": "W" } }"#, &[]);
        check(r#"{ "kind": "slack", "token": { "env": "T" }, "channel": "C1" }"#, &[]);
        check(
            r#"{ "kind": "slack" }"#,
            &["notify.0: slack needs a webhook, or a token and a channel; add them"],
        );
        check(
            r#"{ "kind": "slack", "token": { "env": "T" } }"#,
            &["notify.0: a bot of slack needs a channel; add it"],
        );
        check(
            r#"{ "kind": "slack", "channel": "C1" }"#,
            &["notify.0: a bot of slack needs a token; add it"],
        );
        check(
            r#"{ "kind": "slack", "token": { "env": "T" }, "channel": "two hunter2" }"#,
            &["notify.0.channel: must be the id or the name of a channel, without blanks"],
        );
        check(
            r#"{ "kind": "slack", "webhook": { "env": "W" }, "token": { "env": "T" } }"#,
            &["notify.0.webhook: cannot be used together with token and channel; omit it or them"],
        );
    }

    #[test]
    fn ntfy_needs_a_topic() {
        check(r#"{ "kind": "ntfy", "topic": "builds_1-x" }"#, &[]);
        check(r#"{ "kind": "ntfy" }"#, &["notify.0: ntfy needs a topic; add it"]);
        for topic in ["", "hunter2/x", "hunter2 x", &"x".repeat(65)] {
            check(
                &format!(r#"{{ "kind": "ntfy", "topic": "{topic}" }}"#),
                &["notify.0.topic: must have 1 to 64 characters: letters, digits, - and _"],
            );
        }
    }

    #[test]
    fn what_is_kept_lasts_as_long_as_what_it_was_made_of() {
        let named = Named::<u32>::new(SLACK);
        let kept = |of: &str, n| *named.kept("chat", Digest::of(of), || n);
        assert_eq!([kept("a", 1), kept("a", 2), kept("b", 3), kept("a", 4)], [1, 1, 3, 4]);
    }
}
