//! The configuration of an account at a forge.

use afk_core::config::Mistake;
use afk_core::ids::AdapterName;
use afk_core::secret::SecretSource;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of forges.
pub const FORGES: [&str; 3] = [GITHUB, FORGEJO, GITEA];
/// GitHub, or GitHub Enterprise.
pub(crate) const GITHUB: &str = "github";
/// Forgejo.
pub(crate) const FORGEJO: &str = "forgejo";
/// Gitea, which has the same API.
pub(crate) const GITEA: &str = "gitea";

/// One account at one forge. Repos name it as their tracker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForgeTable {
    /// The kind of forge: "github", "forgejo" or "gitea". If unset, it is the name of the table.
    pub kind: Option<AdapterName>,
    /// Of "forgejo" and "gitea": the address of the server, such as `https://code.example`. Of
    /// "github": the address of the API, such as `https://ghe.example/api/v3` for GitHub
    /// Enterprise; if unset, it is that of github.com.
    pub url: Option<String>,
    /// The token of the account that afk uses on the forge. Needed unless there is an `app`.
    pub token: Option<SecretSource>,
    /// Of "github": the App that afk uses in place of a token.
    pub app: Option<AppLogin>,
    /// The secret with which the forge signs its webhooks. If unset, webhooks from this forge are
    /// refused, and it is only polled.
    pub webhook_secret: Option<SecretSource>,
}

/// A GitHub App, as which afk acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppLogin {
    /// The App's id.
    pub id: u64,
    /// The App's private key, as GitHub gave it (RSA, in PEM).
    pub key: SecretSource,
    /// The id of the App's installation that is used. Only needed if the App has several.
    #[serde(default)]
    pub installation: Option<u64>,
}

/// What authenticates at a forge.
pub(crate) enum Login<'a> {
    /// A token.
    Token(&'a SecretSource),
    /// An app.
    App(&'a AppLogin),
}

impl ForgeTable {
    /// The kind of forge; `name` is the table's name, which says it where the table does not.
    pub(crate) fn kind<'a>(&'a self, name: &'a AdapterName) -> &'a str {
        self.kind.as_ref().unwrap_or(name).as_str()
    }

    /// What authenticates; a valid table has exactly one login.
    pub(crate) fn login(&self) -> Option<Login<'_>> {
        let app = self.app.as_ref().map(Login::App);
        app.or(self.token.as_ref().map(Login::Token))
    }

    /// The address of the API: `url`, or else `public`. An error says what is wrong with it.
    pub(crate) fn api_url(&self, public: &str) -> Result<Url, String> {
        let text = self.url.as_deref().unwrap_or(public);
        let url = Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"))?;
        match url.scheme() {
            "https" => Ok(url),
            // A token is sent in the clear to this machine only.
            "http" if is_loopback(&url) => Ok(url),
            "http" => Err("is not https: the token could be read on its way".to_owned()),
            other => Err(format!("has the scheme {other}; write https://…")),
        }
    }

    /// What is wrong with the table of that name.
    pub(crate) fn mistakes(&self, name: &AdapterName) -> Vec<Mistake> {
        let mut found = Vec::new();
        let kind = self.kind(name);
        if !FORGES.contains(&kind) {
            let key: &[&str] = if self.kind.is_some() { &["kind"] } else { &[] };
            let what = format!("has an unknown kind; set kind to one of {}", FORGES.join(", "));
            found.push(Mistake::at(key, what));
        }
        match (&self.token, &self.app) {
            (Some(_), None) | (None, Some(_)) => {}
            (None, None) => {
                let what = "needs a token, such as token = { env = \"GITHUB_TOKEN\" }, or an app";
                found.push(Mistake::at(&[], what));
            }
            (Some(_), Some(_)) => {
                found.push(Mistake::at(
                    &["token"],
                    "cannot be used together with app; omit one of them",
                ));
            }
        }
        if [FORGEJO, GITEA].contains(&kind) {
            if self.app.is_some() {
                let what = format!("is only for forges of kind \"{GITHUB}\"; use a token");
                found.push(Mistake::at(&["app"], what));
            }
            if self.url.is_none() {
                let what = "needs the url of the server, such as url = \"https://code.example\"";
                found.push(Mistake::at(&[], what));
            }
        }
        if let Some(Err(what)) = self.url.is_some().then(|| self.api_url("")) {
            found.push(Mistake::at(&["url"], what));
        }
        found
    }
}

/// Whether the address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}
