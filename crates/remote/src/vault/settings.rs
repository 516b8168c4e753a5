//! The configuration of Vault.

use std::path::PathBuf;

use afk_core::config::Mistake;
use afk_core::secret::SecretSource;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file of a pod with the token of its service account.
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How Vault or `OpenBao` is reached. Only needed for secrets whose source is `vault`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// The address of the server, such as `https://vault.example:8200`.
    pub url: String,
    /// The namespace in Vault of the secrets and of the login. If unset, it is the root namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The token for Vault. It is read at each use, and renewed as long as Vault renews it. Needed
    /// unless there is a `kubernetes`.
    #[serde(default)]
    pub token: Option<SecretSource>,
    /// The login with the service account of the Kubernetes pod that afk runs in, in place of a
    /// token.
    #[serde(default)]
    pub kubernetes: Option<KubernetesLogin>,
}

/// The login with the service account of the Kubernetes pod that afk runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesLogin {
    /// The role in Vault that the login asks for.
    pub role: String,
    /// The path in Vault at which the Kubernetes auth method is mounted.
    #[serde(default = "mount")]
    pub mount: String,
    /// The absolute path of the file with the service account's token. It is read at each login.
    #[serde(default = "token_file")]
    pub token_file: PathBuf,
}

fn mount() -> String {
    "kubernetes".to_owned()
}

fn token_file() -> PathBuf {
    TOKEN_FILE.into()
}

impl VaultSettings {
    /// The address; none if it is not a valid one.
    pub(super) fn address(&self) -> Option<Url> {
        let url = Url::parse(&self.url).ok()?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        (matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain).then_some(url)
    }

    /// The mistakes in it beyond wrong types.
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        if self.address().is_none() {
            let what = "must be https:// or http:// and a host, without a user";
            found.push(Mistake::at(&["url"], what));
        }
        match (&self.token, &self.kubernetes) {
            (Some(SecretSource::Vault(_)), None) => {
                let what = "cannot come from Vault itself; name a file, a variable or a command";
                found.push(Mistake::at(&["token"], what));
            }
            (Some(_), None) => {}
            (None, Some(login)) => found.extend(login.mistakes()),
            (None, None) => {
                found.push(Mistake::at(&[], "needs a token, or kubernetes with a role; add one"));
            }
            (Some(_), Some(_)) => {
                let what = "cannot be used together with kubernetes; omit one of them";
                found.push(Mistake::at(&["token"], what));
            }
        }
        found
    }
}

impl KubernetesLogin {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut wrong = |key, what: &str| found.push(Mistake::at(&["kubernetes", key], what));
        if self.role.trim().is_empty() {
            wrong("role", "is empty; name the role in Vault");
        }
        if self.mount.trim_matches('/').is_empty() {
            wrong("mount", "is empty; leave it out, or name where the auth method is mounted");
        }
        if !self.token_file.is_absolute() {
            wrong("token_file", "must be the absolute path of a file");
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let settings: VaultSettings = serde_json::from_str(text).unwrap();
        let told: Vec<_> = settings.mistakes().iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{text}");
        assert!(!told.iter().any(|what| what.contains("hunter2")), "{told:?}");
    }

    #[test]
    fn one_way_in_is_named() {
        check(r#"{ "url": "https://v:8200", "token": { "file": "/t" } }"#, &[]);
        check(r#"{ "url": "http://v:8200", "kubernetes": { "role": "afk" } }"#, &[]);
        check(
            r#"{ "url": "https://v" }"#,
            &[": needs a token, or kubernetes with a role; add one"],
        );
        check(
            r#"{ "url": "hunter2", "token": { "vault": "secret/hunter2#t" } }"#,
            &[
                "url: must be https:// or http:// and a host, without a user",
                "token: cannot come from Vault itself; name a file, a variable or a command",
            ],
        );
        check(
            r#"{ "url": "https://v", "token": { "env": "T" }, "kubernetes": { "role": "afk" } }"#,
            &["token: cannot be used together with kubernetes; omit one of them"],
        );
        check(
            r#"{ "url": "https://u:hunter2@v",
                "kubernetes": { "role": "", "mount": "/", "token_file": "hunter2" } }"#,
            &[
                "url: must be https:// or http:// and a host, without a user",
                "kubernetes.role: is empty; name the role in Vault",
                "kubernetes.mount: is empty; leave it out, or name where the auth method is mounted",
                "kubernetes.token_file: must be the absolute path of a file",
            ],
        );
    }

    #[test]
    fn a_pod_needs_to_name_its_role_only() {
        let text = r#"{ "url": "https://v", "kubernetes": { "role": "afk" } }"#;
        let login = serde_json::from_str::<VaultSettings>(text).unwrap().kubernetes.unwrap();
        assert_eq!((login.mount.as_str(), login.token_file), ("kubernetes", TOKEN_FILE.into()));
    }
}
