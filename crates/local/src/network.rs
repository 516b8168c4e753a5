//! What an agent's box may reach, and who holds the key of its model.
//!
//! This is used where an agent's box is built. Unless the network is open, the key stays outside
//! the box: the agent gets a key that opens nothing, and the address of the proxy in its box, which
//! has the real key if the model may be reached ([`afk_agent::egress`]).

use std::path::PathBuf;

use afk_agent::egress::{self, Credential, Egress, Header, HostRule, Hosts, NO_KEY, Upstream};
use afk_agent::sandbox::{BoxSpec, Network};
use afk_core::network::{AgentNetwork, AllowedHost, HostPattern};
use afk_engine::ports::{PortError, PortResult};
use jiff::Timestamp;
use secrecy::SecretString;

use super::invocations::sign_in_error;
use super::settings::{Claude, ModelApi};
use super::sign_in;
use super::world::Local;

/// The URL of Anthropic's API, which the Claude CLI uses.
const ANTHROPIC: &str = "https://api.anthropic.com";
/// The URL of OpenAI's API, which Codex uses with a key.
const OPENAI: &str = "https://api.openai.com/v1";
/// The host that Codex uses with a sign-in.
const CHATGPT: &str = "chatgpt.com";

/// A box's network, and the keys that the agent and its proxy get.
#[derive(Debug)]
pub(super) struct Reach {
    network: Network,
    /// The URL at which the agent calls the model's API, if that is another than its default.
    pub(super) base_url: Option<String>,
    /// The key that the agent gets; one that opens nothing if the proxy has the real one.
    pub(super) key: Option<SecretString>,
    /// The key that the proxy gets.
    pub(super) model_key: Option<SecretString>,
}

/// How the Claude CLI signs in inside its box.
pub(super) enum ClaudeEntry {
    /// With this key of the API.
    ApiKey(SecretString),
    /// With this token of a subscription.
    Token(SecretString),
    /// With the sign-in in its home.
    Home,
}

impl ModelApi {
    /// Returns the URL of the API without a `base_url`.
    pub(super) const fn url(self) -> &'static str {
        match self {
            Self::Anthropic => ANTHROPIC,
            Self::Openai => OPENAI,
        }
    }

    /// Returns the paths, below the API's URL, that an agent may call.
    const fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Anthropic => &["/v1/messages", "/v1/messages/count_tokens", "/v1/models"],
            Self::Openai => &["/responses", "/responses/compact", "/chat/completions", "/models"],
        }
    }

    const fn header(self) -> Header {
        match self {
            Self::Anthropic => Header::ApiKey,
            Self::Openai => Header::Bearer,
        }
    }

    /// Returns the variables in which programs expect the API's key and its URL.
    pub(super) const fn variables(self) -> (&'static str, &'static str) {
        match self {
            Self::Anthropic => ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
            Self::Openai => ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        }
    }

    fn upstream(self, base_url: Option<&str>, credential: Credential, header: Header) -> Upstream {
        let url = base_url.unwrap_or(self.url()).trim_end_matches('/').to_owned();
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let path = path.map_or_else(String::new, |(_, path)| format!("/{path}"));
        let paths = self.paths().iter().map(|below| format!("{path}{below}")).collect();
        Upstream { url, paths, credential, header }
    }
}

impl Reach {
    /// Returns the network of an agent that calls no model, or that gets its credentials in
    /// variables of its own.
    pub(super) fn without_model(allowed: &AgentNetwork) -> Self {
        Self { network: network(allowed, None, &[]), base_url: None, key: None, model_key: None }
    }

    /// Returns the network of an agent that calls `api` with `key`.
    pub(super) fn with_key(
        allowed: &AgentNetwork,
        api: ModelApi,
        base_url: Option<&str>,
        key: SecretString,
    ) -> Self {
        if allowed.is_open() {
            let base_url = base_url.map(str::to_owned);
            return Self { network: Network::Open, base_url, key: Some(key), model_key: None };
        }
        let upstream = api.upstream(base_url, Credential::Handed, api.header());
        Self::behind_proxy(allowed, upstream, Some(key))
    }

    /// Returns the network of Codex with a sign-in. No proxy can hold a sign-in for it: the agent
    /// has an access token, and reaches its API directly.
    pub(super) fn of_codex_sign_in(allowed: &AgentNetwork, base_url: Option<&str>) -> Self {
        let host = base_url.map_or(CHATGPT, authority);
        let hosts: Vec<AllowedHost> = host.parse().into_iter().collect();
        let base_url = base_url.map(str::to_owned);
        Self { network: network(allowed, None, &hosts), base_url, key: None, model_key: None }
    }

    fn behind_proxy(
        allowed: &AgentNetwork,
        upstream: Upstream,
        model_key: Option<SecretString>,
    ) -> Self {
        let base_url = egress::address_of_model(&upstream.url);
        Self {
            network: network(allowed, Some(upstream), &[]),
            base_url: Some(base_url),
            key: Some(NO_KEY.into()),
            // Without a way to the model, the proxy needs no key.
            model_key: model_key.filter(|_| *allowed != AgentNetwork::None),
        }
    }

    /// Gives a box this network, and the variables with which programs find the proxy.
    pub(super) fn apply(&self, spec: &mut BoxSpec) {
        spec.network = self.network.clone();
        match self.network {
            Network::Through(_) => spec.env.extend(egress::environment()),
            Network::None | Network::Open => {}
        }
    }

    /// Returns the network of the Claude CLI and how it signs in. Copies its sign-in to `home`, or
    /// removes it there, and learns the tokens for the mask.
    pub(super) async fn of_claude(
        local: &Local,
        config: &Claude,
        allowed: &AgentNetwork,
        home: PathBuf,
    ) -> PortResult<(Self, ClaudeEntry)> {
        let (api, url) = (ModelApi::Anthropic, config.base_url.as_deref());
        if let Some(source) = &config.api_key {
            let key = local.secrets.read(source).await.map_err(sign_in_error)?;
            let reach = Self::with_key(allowed, api, url, key.clone());
            let entry = reach.key.clone().unwrap_or(key);
            return Ok((reach, ClaudeEntry::ApiKey(entry)));
        }
        let from = sign_in::home(config);
        if let Some(why) = sign_in::run_out(&from, Timestamp::now()) {
            return Err(sign_in_error(why));
        }
        let open = allowed.is_open();
        let prepared = tokio::task::spawn_blocking(move || {
            let tokens = sign_in::values(&from);
            let put = if open { sign_in::copy(&from, &home) } else { sign_in::withdraw(&home) };
            put.map(|()| (sign_in::subscription(&from), sign_in::console_key(&from), tokens))
        });
        let prepared = prepared.await.map_err(PortError::transient)?;
        let (subscription, console, tokens) = prepared.map_err(PortError::transient)?;
        for token in tokens {
            local.known.learn(&token);
        }
        if open {
            let base_url = config.base_url.clone();
            let own = Self { network: Network::Open, base_url, key: None, model_key: None };
            return Ok((own, ClaudeEntry::Home));
        }
        if let Some(file) = subscription {
            let upstream = api.upstream(url, Credential::ClaudeSignIn(file), Header::Bearer);
            let token = ClaudeEntry::Token(NO_KEY.into());
            return Ok((Self::behind_proxy(allowed, upstream, None), token));
        }
        let key = console.ok_or_else(|| sign_in_error("the Claude CLI is not signed in"))?;
        let reach = Self::with_key(allowed, api, url, key);
        Ok((reach, ClaudeEntry::ApiKey(NO_KEY.into())))
    }
}

fn network(allowed: &AgentNetwork, model: Option<Upstream>, own: &[AllowedHost]) -> Network {
    let rules = |listed: &mut dyn Iterator<Item = &AllowedHost>| listed.map(rule).collect();
    Network::Through(match allowed {
        AgentNetwork::Open => return Network::Open,
        // A proxy that lets nothing out, so that attempts are reported.
        AgentNetwork::None => Egress::default(),
        AgentNetwork::Model => Egress { hosts: rules(&mut own.iter()), model },
        AgentNetwork::Hosts(hosts) => Egress { hosts: rules(&mut own.iter().chain(hosts)), model },
    })
}

fn rule(allowed: &AllowedHost) -> HostRule {
    let hosts = match &allowed.host {
        HostPattern::Name(name) => Hosts::Name(name.clone()),
        HostPattern::Below(domain) => Hosts::Below(domain.clone()),
        HostPattern::Address(address) => Hosts::Address(*address),
    };
    HostRule { hosts, ports: allowed.ports() }
}

/// Returns the host and port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn allowed(text: &str) -> AgentNetwork {
        serde_json::from_str(text).unwrap()
    }

    fn rules(reach: &Reach) -> Option<&Egress> {
        match &reach.network {
            Network::Through(rules) => Some(rules),
            Network::None | Network::Open => None,
        }
    }

    #[test]
    fn a_key_is_in_the_box_only_where_the_network_is_open() {
        let check = |text: &str, key: &str, outside: Option<&str>, url: Option<&str>| {
            let reach = Reach::with_key(&allowed(text), ModelApi::Openai, None, "canary".into());
            let shown =
                |key: &Option<SecretString>| key.as_ref().map(|key| key.expose_secret().to_owned());
            assert_eq!(shown(&reach.key).as_deref(), Some(key), "{text}");
            assert_eq!(shown(&reach.model_key).as_deref(), outside, "{text}");
            assert_eq!(reach.base_url.as_deref(), url, "{text}");
        };
        let proxy = Some("http://127.0.0.1:3128/v1");
        check("\"open\"", "canary", None, None);
        check("\"none\"", NO_KEY, None, proxy);
        check("\"model\"", NO_KEY, Some("canary"), proxy);
        check("[\"a.b\"]", NO_KEY, Some("canary"), proxy);
    }

    #[test]
    fn the_rules_are_those_of_the_list_and_the_models() {
        let url = Some("http://gateway.example:8080/anthropic/");
        let of = |text: &str| Reach::with_key(&allowed(text), ModelApi::Anthropic, url, "k".into());
        assert_eq!(rules(&of("\"open\"")), None);
        assert_eq!(rules(&of("\"none\"")), Some(&Egress::default()));
        let model = of("\"model\"");
        let Egress { hosts, model: Some(upstream) } = rules(&model).unwrap() else {
            panic!("{model:?}");
        };
        assert!(hosts.is_empty());
        assert_eq!(upstream.url, "http://gateway.example:8080/anthropic");
        assert_eq!(upstream.paths[0], "/anthropic/v1/messages");
        let listed = of("[\"*.a.b:8443\", \"10.0.0.7\"]");
        let hosts = &rules(&listed).unwrap().hosts;
        assert_eq!(hosts.len(), 2);
        let below = HostRule { hosts: Hosts::Below("a.b".to_owned()), ports: vec![8443] };
        assert!(hosts.contains(&below), "{hosts:?}");
        let codex = Reach::of_codex_sign_in(&allowed("\"model\""), None);
        let host = HostRule { hosts: Hosts::Name(CHATGPT.to_owned()), ports: vec![443, 80] };
        assert_eq!(rules(&codex).unwrap().hosts, [host]);
    }
}
