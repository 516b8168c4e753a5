//! A stage's table in the configuration: the keys that say how it is polled.
//!
//! The keys that decide are read from the same table into `afk_core::config::Stage`. The table is
//! read once for its mistakes, and again at each poll, so that a changed key takes effect with the
//! next one.

use afk_core::config::Mistake;
use afk_core::ids::{AdapterName, RepoName};
use afk_core::secret::SecretSource;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{checks, endpoint, rollout, woodpecker};

/// How one stage is polled. Its kind decides which keys apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StageTable {
    /// The stage's name.
    #[schemars(skip)]
    pub name: Option<String>,
    /// The stage's kind. If unset, it is "command".
    #[schemars(skip)]
    pub kind: Option<AdapterName>,
    /// Of "woodpecker": the address of the server. Of "rollout": the address of the cluster's API
    /// server; if unset, it is the cluster that afk itself runs in. Of "http": the address that is
    /// read; `{commit}` in it stands for the commit, and `{short}` for its first eight digits.
    pub url: Option<String>,
    /// Of "woodpecker", "rollout" and "http": the token that is sent to `url`. If unset, "http"
    /// sends none, and "rollout" uses the service account of the cluster that afk runs in.
    pub token: Option<SecretSource>,
    /// Of "checks" and "forgejo-status": the name in `forges` of the forge that is asked. If unset,
    /// it is the repo's `forge`, or else its `tracker`.
    pub forge: Option<AdapterName>,
    /// Of "checks", "forgejo-status" and "woodpecker": the repo's name on that server, as
    /// `owner/name`. If unset, it is the repo's own name, or the one that `names` has for the
    /// forge.
    pub repo: Option<RepoName>,
    /// Of "woodpecker": the events whose pipelines count. If unset, they are "push", "manual" and
    /// "deployment".
    pub events: Option<Vec<String>>,
    /// Of "woodpecker": the variable of a pipeline that has the commit which the pipeline builds or
    /// deploys. If unset, it is `IMAGE_TAG`.
    pub variable: Option<String>,
    /// Of "checks", "forgejo-status" and "woodpecker": whether a pipeline or a workflow run that
    /// failed is started once more, and only a second failure counts. If unset, true.
    pub restart: Option<bool>,
    /// Of "checks" and "forgejo-status": the names of checks that must pass, besides those that the
    /// forge itself requires. A `*` stands for any text. If neither names any, all checks must
    /// pass.
    pub required: Option<Vec<String>>,
    /// Of "checks" and "forgejo-status": if no check is required by name, the seconds without any
    /// change after which no further check is expected, at most 3600. If unset, 60.
    pub settle_seconds: Option<u64>,
    /// Of "rollout": the kind and the name of the workload that is rolled out, such as
    /// "deployment/web".
    pub workload: Option<String>,
    /// Of "rollout": the workload's namespace. If unset, it is "default".
    pub namespace: Option<String>,
    /// Of "rollout": the name of the container whose image must be of the commit. If unset, it may
    /// be any container of the workload.
    pub container: Option<String>,
    /// Of "rollout", with a `url`: the PEM file of the authorities that sign the API server's
    /// certificate. If unset, the authorities that this machine trusts are accepted.
    pub ca: Option<std::path::PathBuf>,
    /// Of "http": the text that the answer must contain, with `{commit}` and `{short}` as in `url`.
    /// If unset, it is `{short}`.
    pub expect: Option<String>,
    /// Of "http": the place in a JSON answer that must be equal to `expect`, as a JSON pointer such
    /// as "/build/commit". If unset, the text may be anywhere in the answer.
    pub pointer: Option<String>,
    /// Of "http": the HTTP statuses from 400 to 599 that mean that the commit has failed. If unset,
    /// no status means that; an answer such as 404 or 500 is waited out.
    pub failure_statuses: Option<Vec<u16>>,
}

/// The kinds of stages that are polled here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Checks,
    ForgejoStatus,
    Woodpecker,
    Rollout,
    Http,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Checks, Self::ForgejoStatus, Self::Woodpecker, Self::Rollout, Self::Http];

    const fn name(self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::ForgejoStatus => "forgejo-status",
            Self::Woodpecker => "woodpecker",
            Self::Rollout => "rollout",
            Self::Http => "http",
        }
    }
}

/// The names of the kinds of stages that are polled here.
pub const STAGES: [&str; 5] = [
    Kind::Checks.name(),
    Kind::ForgejoStatus.name(),
    Kind::Woodpecker.name(),
    Kind::Rollout.name(),
    Kind::Http.name(),
];

/// A stage's table as its kind reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Polled {
    Checks(checks::Settings),
    ForgejoStatus(checks::Settings),
    Woodpecker(woodpecker::Settings),
    Rollout(rollout::Settings),
    Http(endpoint::Settings),
}

/// A key: its name, whether it is given, and the kinds that it applies to.
type Key = (&'static str, bool, &'static [Kind]);

impl StageTable {
    fn kind(&self) -> Option<Kind> {
        let name = self.kind.as_ref()?.as_str();
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn keys(&self) -> [Key; 16] {
        use Kind::{Checks, ForgejoStatus, Http, Rollout, Woodpecker};
        [
            ("url", self.url.is_some(), &[Woodpecker, Rollout, Http]),
            ("token", self.token.is_some(), &[Woodpecker, Rollout, Http]),
            ("forge", self.forge.is_some(), &[Checks, ForgejoStatus]),
            ("repo", self.repo.is_some(), &[Checks, ForgejoStatus, Woodpecker]),
            ("events", self.events.is_some(), &[Woodpecker]),
            ("variable", self.variable.is_some(), &[Woodpecker]),
            ("restart", self.restart.is_some(), &[Checks, ForgejoStatus, Woodpecker]),
            ("required", self.required.is_some(), &[Checks, ForgejoStatus]),
            ("settle_seconds", self.settle_seconds.is_some(), &[Checks, ForgejoStatus]),
            ("workload", self.workload.is_some(), &[Rollout]),
            ("namespace", self.namespace.is_some(), &[Rollout]),
            ("container", self.container.is_some(), &[Rollout]),
            ("ca", self.ca.is_some(), &[Rollout]),
            ("expect", self.expect.is_some(), &[Http]),
            ("pointer", self.pointer.is_some(), &[Http]),
            ("failure_statuses", self.failure_statuses.is_some(), &[Http]),
        ]
    }

    /// The mistakes in the table beyond wrong types.
    pub(crate) fn mistakes(&self, repo: &RepoName) -> Vec<Mistake> {
        let kind = self.kind();
        if kind.is_none() && self.kind.as_ref().is_some_and(|kind| kind.as_str() != "command") {
            // The kind is another adapter's, or unknown, which is reported elsewhere.
            return Vec::new();
        }
        let keys = self.keys();
        let others = keys
            .iter()
            .filter(|(_, given, kinds)| *given && kind.is_none_or(|kind| !kinds.contains(&kind)));
        let mut found: Vec<_> = others
            .map(|(key, _, kinds)| {
                let kinds: Vec<_> = kinds.iter().map(|kind| format!("{:?}", kind.name())).collect();
                let what = format!("only applies to stages of kind {}; omit it", either(&kinds));
                Mistake::at(&[key], what)
            })
            .collect();
        if kind.is_some()
            && let Err(mistake) = self.polled(repo)
        {
            found.push(mistake);
        }
        found
    }

    /// Reads the table as its kind does, for the repo of that name; an error is the first mistake.
    pub(super) fn polled(&self, repo: &RepoName) -> Result<Polled, Mistake> {
        match self.kind() {
            Some(Kind::Checks) => checks::Settings::read(self).map(Polled::Checks),
            Some(Kind::ForgejoStatus) => checks::Settings::read(self).map(Polled::ForgejoStatus),
            Some(Kind::Woodpecker) => {
                woodpecker::Settings::read(self, repo).map(Polled::Woodpecker)
            }
            Some(Kind::Rollout) => rollout::Settings::read(self).map(Polled::Rollout),
            Some(Kind::Http) => endpoint::Settings::read(self).map(Polled::Http),
            None => Err(Mistake::at(&["kind"], "is not polled over HTTP")),
        }
    }

    /// Returns the value of a key that the kind needs. The mistake of a missing one is the table's.
    pub(super) fn needed<'t, T>(&self, key: &str, value: Option<&'t T>) -> Result<&'t T, Mistake> {
        value.ok_or_else(|| {
            let kind = self.kind.as_ref().map_or("", AdapterName::as_str);
            Mistake::at(&[], format!("a stage of kind {kind:?} needs a {key}; add it"))
        })
    }

    /// The key `url` as the base of an API.
    pub(super) fn base(&self) -> Result<Option<Url>, Mistake> {
        let Some(text) = &self.url else { return Ok(None) };
        let url = web(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Mistake::at(&["url"], "must end with its path: no \"?\", no \"#\""));
        }
        Ok(Some(url))
    }
}

/// Parses an address on the web; one that contains a credential is a mistake.
pub(super) fn web(text: &str) -> Result<Url, Mistake> {
    let wrong = |what: &str| Mistake::at(&["url"], what);
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| wrong("must be an address such as \"https://ci.example\""))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("contains a credential; say with token where it comes from"));
    }
    Ok(url)
}

/// Words as alternatives: "a", "b" or "c".
fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &str, expected: &[&str]) {
        let table: StageTable = serde_json::from_str(table).unwrap();
        let found = table.mistakes(&"o/r".parse().unwrap());
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{table:?}");
    }

    #[test]
    fn keys_of_another_kind_are_mistakes() {
        check(r#"{ "name": "ci" }"#, &[]);
        check(r#"{ "kind": "command", "command": ["ci"] }"#, &[]);
        check(
            r#"{ "name": "ci", "url": "https://a/" }"#,
            &[
                "url: only applies to stages of kind \"woodpecker\", \"rollout\" or \"http\"; omit it",
            ],
        );
        check(r#"{ "kind": "woodpecker", "url": "https://a/", "token": { "env": "T" } }"#, &[]);
        check(
            r#"{ "kind": "http", "url": "https://a/", "workload": "deployment/web" }"#,
            &["workload: only applies to stages of kind \"rollout\"; omit it"],
        );
        check(
            r#"{ "kind": "checks", "forge": "github", "required": ["a"], "settle_seconds": 5 }"#,
            &[],
        );
        check(
            r#"{ "kind": "checks", "required": [" "] }"#,
            &["required: contains a blank name; leave it out"],
        );
        check(
            r#"{ "kind": "forgejo-status", "settle_seconds": 86400, "url": "https://a/" }"#,
            &[
                "url: only applies to stages of kind \"woodpecker\", \"rollout\" or \"http\"; omit it",
                "settle_seconds: is more than an hour",
            ],
        );
        // The keys of other kinds are checked elsewhere.
        check(r#"{ "kind": "other", "url": "x" }"#, &[]);
    }

    #[test]
    fn keys_that_are_missing_or_wrong_are_mistakes_that_quote_no_value() {
        check(
            r#"{ "kind": "woodpecker" }"#,
            &[": a stage of kind \"woodpecker\" needs a url; add it"],
        );
        check(
            r#"{ "kind": "woodpecker", "url": "ci.example", "token": { "env": "T" } }"#,
            &["url: must be an address such as \"https://ci.example\""],
        );
        check(
            r#"{ "kind": "http", "url": "https://me:hunter2@a/" }"#,
            &["url: contains a credential; say with token where it comes from"],
        );
        check(
            r#"{ "kind": "woodpecker", "url": "https://a/?x", "token": { "env": "T" } }"#,
            &["url: must end with its path: no \"?\", no \"#\""],
        );
    }
}
