//! What of the configuration is this crate's: where the doorbells are that it rings.
//!
//! Read off the one document beside what decides (`afk_core::config`); keys of others are
//! passed over.

use afk_core::config::{Mistake, doorbell_names};
use afk_core::ids::AdapterName;
use afk_core::secret::SecretSource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::webhook::WEBHOOK;

/// What is configured of systems that are reached over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RemoteSettings {
    /// The doorbells.
    pub notify: Vec<DoorbellTable>,
}

/// A doorbell, of whatever kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorbellTable {
    /// Its own name.
    #[serde(default)]
    #[schemars(skip)]
    pub name: Option<AdapterName>,
    /// What rings.
    #[schemars(skip)]
    pub kind: AdapterName,
    /// Where a webhook posts to.
    #[serde(default)]
    pub url: Option<String>,
    /// The key of a webhook's signature (HMAC-SHA256 of the body, `X-Afk-Signature-256`).
    #[serde(default)]
    pub secret: Option<SecretSource>,
}

impl RemoteSettings {
    /// The webhook of that name: where it posts to, and what signs it.
    pub(crate) fn webhook(&self, name: &str) -> Option<(&str, &SecretSource)> {
        let given = self.notify.iter().map(|one| (one.name.as_ref(), &one.kind));
        let nth = doorbell_names(given).iter().position(|known| known.as_str() == name)?;
        let table = self.notify.get(nth).filter(|table| table.is_webhook())?;
        table.url.as_deref().zip(table.secret.as_ref())
    }

    /// What is wrong with it beyond its shape.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let tables = self.notify.iter().enumerate();
        let found = tables.flat_map(|(n, table)| {
            let below = move |mistake: Mistake| mistake.below(&["notify", &n.to_string()]);
            table.mistakes().into_iter().map(below)
        });
        found.collect()
    }
}

impl DoorbellTable {
    fn is_webhook(&self) -> bool {
        self.kind.as_str() == WEBHOOK
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let keys = [("url", self.url.is_some()), ("secret", self.secret.is_some())];
        let wrong = keys.into_iter().filter(|(_, given)| *given != self.is_webhook());
        let told = wrong.map(|(key, given)| {
            if given {
                let what = "says something to a doorbell of kind \"webhook\" alone; leave it out";
                Mistake::at(&[key], what)
            } else {
                // The key is not there, so that the table's place is told.
                Mistake::at(&[], format!("a webhook needs a {key}; add it"))
            }
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> RemoteSettings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_webhook_is_found_by_its_name() {
        let found = settings(
            r#"{ "notify": [
                { "kind": "webhook", "url": "http://a/", "secret": { "env": "A" } },
                { "kind": "terminal" },
                { "kind": "webhook", "url": "http://b/", "secret": { "env": "B" } },
                { "kind": "webhook", "name": "ops", "url": "http://c/", "secret": { "env": "C" } }
            ] }"#,
        );
        assert_eq!(found.mistakes(), []);
        let url = |name: &str| found.webhook(name).map(|(url, _)| url.to_owned());
        let urls = ["webhook", "webhook-2", "ops", "webhook-3", "terminal"].map(url);
        let expected = [Some("http://a/"), Some("http://b/"), Some("http://c/"), None, None];
        assert_eq!(urls, expected.map(|url| url.map(str::to_owned)));
    }

    #[test]
    fn keys_that_are_missing_or_another_kinds_are_mistakes() {
        let check = |text: &str, expected: &[&str]| {
            let found = settings(&format!(r#"{{ "notify": [{text}] }}"#)).mistakes();
            let told: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(told, expected, "{text}");
        };
        check(r#"{ "kind": "terminal" }"#, &[]);
        check(
            r#"{ "kind": "webhook" }"#,
            &[
                "notify.0: a webhook needs a url; add it",
                "notify.0: a webhook needs a secret; add it",
            ],
        );
        check(
            r#"{ "kind": "terminal", "url": "http://a/" }"#,
            &["notify.0.url: says something to a doorbell of kind \"webhook\" alone; leave it out"],
        );
    }
}
