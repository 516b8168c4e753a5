//! The configuration of a T3 Code server: an entry of `agents` whose kind is `t3`.

use afk_core::ask::Permissions;
use afk_core::checkout::Checkout;
use afk_core::config::Mistake;
use afk_core::ids::{AdapterName, RepoName};
use afk_core::secret::SecretSource;
use afk_core::usd::Usd;
use jiff::SignedDuration;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forges::is_loopback;

/// The kind of these executors.
pub const T3: &str = "t3";

/// The default of `base`.
const BASE: &str = "/data";
/// The default of `model`.
const MODEL: &str = "claude-sonnet-4-6";
/// The default of `provider`.
const PROVIDER: &str = "claudeAgent";

/// A T3 Code server, as an agent that repos choose by the table's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct T3Table {
    /// "t3". If unset, it is the name of the table.
    #[schemars(skip)]
    pub kind: Option<AdapterName>,
    /// Of "t3": the address of the T3 Code server, such as `http://127.0.0.1:3773`.
    pub url: Option<String>,
    /// Of "t3": the bearer token for the server, with the scopes `orchestration:read` and
    /// `orchestration:operate`. `afk t3 pair` gets one.
    pub token: Option<SecretSource>,
    /// Of "t3": the folder on the server's machine that has a checkout of each repo, named
    /// `owner__name`. If unset, it is `/data`.
    pub base: Option<String>,
    /// The model. If unset, it is `claude-sonnet-4-6`.
    #[schemars(skip)]
    pub model: Option<String>,
    /// Of "t3": the name that the server gives to the agent that works. If unset, it is
    /// `claudeAgent`.
    pub provider: Option<String>,
    /// Of "t3": who puts commits on the default branch, "control-plane" (if unset) or "agent".
    pub lands: Option<T3Lands>,
    /// Of "t3", with `lands = "control-plane"`: the path on the server's machine of the folder with
    /// afk's workspaces. If unset, it is the same path as on this machine.
    pub workspaces: Option<String>,
    /// Of "t3": seconds between two reads of the server while a turn is waited for. If unset, 5, or
    /// 20 for servers of which everything has to be read at once.
    pub poll_seconds: Option<u32>,
    /// The cost of a turn that is assumed, in US dollars, where the server does not report what its
    /// agents use (protocol 2). If unset, no turn is begun on such a server; with 0, turns there
    /// have no budget.
    #[schemars(skip)]
    pub turn_usd: Option<Usd>,
    /// What the agent may do without asking a person: "full-access" (if unset) or "ask".
    #[schemars(skip)]
    pub permissions: Option<Permissions>,
}

/// Who puts the commits of an agent on T3 Code on the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum T3Lands {
    /// The agent, from its own checkout on the server's machine. Then nothing is checked before a
    /// change lands.
    Agent,
    /// afk, from the run's workspace, which the server must be able to reach.
    #[default]
    ControlPlane,
}

impl T3Table {
    /// Whether the table, which has that name, is of this kind.
    pub fn is_t3(&self, name: &AdapterName) -> bool {
        self.kind.as_ref().unwrap_or(name).as_str() == T3
    }

    /// The address of the server, with a slash at its end. An error says what is wrong with it.
    pub(crate) fn server(&self) -> Result<Url, &'static str> {
        let text = self.url.as_deref().ok_or("needs a url, such as \"http://127.0.0.1:3773\"")?;
        let mut url = Url::parse(text).map_err(|_| "is not a valid URL")?;
        match url.scheme() {
            "https" => {}
            // A token is sent in the clear to this machine only.
            "http" if is_loopback(&url) => {}
            "http" => return Err("is not https: the token could be read on its way"),
            _ => return Err("has an unknown scheme; write https://…"),
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(url)
    }

    /// The folder of the project of `repo` on the server's machine.
    pub(crate) fn root(&self, repo: &RepoName) -> String {
        let base = self.base.as_deref().unwrap_or(BASE).trim_end_matches('/');
        format!("{base}/{}", repo.as_str().replace('/', "__"))
    }

    /// The configured pause between two reads while somebody waits; none to let the protocol
    /// decide.
    pub(crate) fn poll(&self) -> Option<SignedDuration> {
        self.poll_seconds.map(|seconds| SignedDuration::from_secs(seconds.into()))
    }

    /// The model.
    pub(crate) fn model(&self) -> &str {
        self.model.as_deref().unwrap_or(MODEL)
    }

    /// The server's name of the agent.
    pub(crate) fn provider(&self) -> &str {
        self.provider.as_deref().unwrap_or(PROVIDER)
    }

    /// The server's word for what agents may do without asking.
    pub(crate) fn runtime_mode(&self) -> &'static str {
        match self.permissions.unwrap_or_default() {
            Permissions::FullAccess => "full-access",
            Permissions::Ask => "approval-required",
        }
    }

    /// Whether agents work in a checkout of their own or in our workspaces.
    pub(crate) fn checkout(&self) -> Checkout {
        match self.lands.unwrap_or_default() {
            T3Lands::Agent => Checkout::Own,
            T3Lands::ControlPlane => Checkout::Ours,
        }
    }

    /// The mistakes in the table, which has that name.
    pub(crate) fn mistakes(&self, name: &AdapterName) -> Vec<Mistake> {
        let ours = [
            ("url", self.url.is_some()),
            ("token", self.token.is_some()),
            ("base", self.base.is_some()),
            ("provider", self.provider.is_some()),
            ("lands", self.lands.is_some()),
            ("workspaces", self.workspaces.is_some()),
            ("poll_seconds", self.poll_seconds.is_some()),
        ];
        if !self.is_t3(name) {
            let given = ours.iter().filter(|(_, given)| *given);
            let what = "only applies to agents of kind \"t3\"; omit it";
            return given.map(|(key, _)| Mistake::at(&[key], what)).collect();
        }
        let mut found = Vec::new();
        if let Err(what) = self.server() {
            let key: &[&str] = if self.url.is_some() { &["url"] } else { &[] };
            found.push(Mistake::at(key, what));
        }
        if self.token.is_none() {
            let what =
                "needs a token, such as token = { env = \"T3_TOKEN\" }; `afk t3 pair` gets one";
            found.push(Mistake::at(&[], what));
        }
        let folders = [("base", &self.base), ("workspaces", &self.workspaces)];
        for (key, folder) in folders {
            if folder.as_deref().is_some_and(|folder| !folder.starts_with('/')) {
                found.push(Mistake::at(&[key], "must be the absolute path of a folder: write /…"));
            }
        }
        if self.poll_seconds == Some(0) {
            found.push(Mistake::at(&["poll_seconds"], "must be at least 1"));
        }
        if self.workspaces.is_some() && self.checkout() == Checkout::Own {
            let what =
                "is only for lands = \"control-plane\": here the agent has a checkout of its own";
            found.push(Mistake::at(&["workspaces"], what));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let table: T3Table = serde_json::from_str(text).unwrap();
        let name: AdapterName = "far".parse().unwrap();
        let told: Vec<_> = table.mistakes(&name).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), expected.len(), "{text}: {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn a_table_says_what_it_lacks() {
        let token = r#""token": { "env": "T" }"#;
        check(&format!(r#"{{ "kind": "t3", "url": "http://127.0.0.1:3773", {token} }}"#), &[]);
        check(&format!(r#"{{ "kind": "t3", "url": "https://t3.example/x", {token} }}"#), &[]);
        check(r#"{ "kind": "t3" }"#, &["needs a url", "needs a token"]);
        check(
            &format!(r#"{{ "kind": "t3", "url": "http://t3.example", {token} }}"#),
            &["not https"],
        );
        check(&format!(r#"{{ "kind": "t3", "url": "ssh://t3.example", {token} }}"#), &["scheme"]);
        check(&format!(r#"{{ "kind": "claude", {token} }}"#), &["only applies to agents of kind"]);
        check(r#"{ "kind": "claude", "model": "x" }"#, &[]);
        check(r#"{ "kind": "command", "turn_usd": 2 }"#, &[]);
        let ours = format!(r#""kind": "t3", "url": "http://localhost:1", {token}"#);
        check(&format!(r#"{{ {ours}, "base": "data" }}"#), &["base: must be the absolute path"]);
        check(
            &format!(r#"{{ {ours}, "workspaces": "/w", "lands": "agent" }}"#),
            &["only for lands"],
        );
        check(&format!(r#"{{ {ours}, "workspaces": "/w", "lands": "control-plane" }}"#), &[]);
        check(&format!(r#"{{ {ours}, "workspaces": "/w" }}"#), &[]);
        check(&format!(r#"{{ {ours}, "poll_seconds": 0 }}"#), &["at least 1"]);
    }

    #[test]
    fn projects_are_where_they_were_found_before() {
        let table: T3Table = serde_json::from_str("{}").unwrap();
        let repo: RepoName = "o/r".parse().unwrap();
        assert_eq!(table.root(&repo), "/data/o__r");
        let table = T3Table { base: Some("/srv/t3/".to_owned()), ..table };
        assert_eq!(table.root(&repo), "/srv/t3/o__r");
    }
}
