//! What an agent may reach on the network, and how the settings of operator and repo combine.
//!
//! Read from the agent's own table, from a repo's table and from its `.afk/WORKFLOW.md`. Each can
//! only narrow what the others allow ([`AgentNetwork::narrowed`]). The executor enforces it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::forms;

/// The ports of a host that is listed without one.
const WEB: [u16; 2] = [443, 80];
/// Maximum length of a host's name, in bytes.
const NAME: usize = 253;
/// Maximum length of one label of a host's name, in bytes.
const LABEL: usize = 63;

/// What an agent may reach, from least to most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AgentNetwork {
    /// Nothing.
    None,
    /// The model's API alone.
    Model,
    /// The model's API and these hosts.
    Hosts(BTreeSet<AllowedHost>),
    /// Everything that this machine reaches.
    #[default]
    Open,
}

/// A host on the list: `crates.io`, `*.crates.io`, `registry.example:8443`, `10.0.0.7`, `[::1]:80`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowedHost {
    /// Which host or hosts.
    pub host: HostPattern,
    /// The port; none stands for 443 and 80.
    pub port: Option<u16>,
}

/// Which hosts are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// The host of this name, in lower case.
    Name(String),
    /// Every host below this domain, but not the domain itself.
    Below(String),
    /// The host at this address. An address that is not public is only reached by such an entry.
    Address(IpAddr),
}

impl AgentNetwork {
    /// Returns what both this and `other` allow.
    #[must_use]
    pub fn narrowed(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::Open, other) => other.clone(),
            (own, Self::Open) => own.clone(),
            (Self::Model, Self::Model | Self::Hosts(_)) | (Self::Hosts(_), Self::Model) => {
                Self::Model
            }
            (Self::Hosts(ours), Self::Hosts(theirs)) => {
                let within = |hosts: &BTreeSet<AllowedHost>, all: &BTreeSet<AllowedHost>| {
                    let covered = |host: &&AllowedHost| all.iter().any(|one| one.covers(host));
                    hosts.iter().filter(covered).cloned().collect::<BTreeSet<_>>()
                };
                let mut both = within(theirs, ours);
                both.extend(within(ours, theirs));
                Self::Hosts(both)
            }
        }
    }

    /// Whether this allows all that `other` allows.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open, _) | (_, Self::None) => true,
            (Self::None, _) | (_, Self::Open) => false,
            (Self::Model | Self::Hosts(_), Self::Model) => true,
            (Self::Model, Self::Hosts(hosts)) => hosts.is_empty(),
            (Self::Hosts(ours), Self::Hosts(theirs)) => {
                theirs.iter().all(|host| ours.iter().any(|one| one.covers(host)))
            }
        }
    }

    /// Whether nothing of ours stands between the agent and the network.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

impl AllowedHost {
    /// The ports that it allows: its own, or 443 and 80.
    pub fn ports(&self) -> Vec<u16> {
        self.port.map_or_else(|| WEB.to_vec(), |port| vec![port])
    }

    /// Whether this allows all that `other` allows.
    fn covers(&self, other: &Self) -> bool {
        let below = |name: &str, domain: &str| {
            name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        };
        let host = match (&self.host, &other.host) {
            (HostPattern::Below(domain), HostPattern::Name(name)) => below(name, domain),
            (HostPattern::Below(domain), HostPattern::Below(inner)) => {
                inner == domain || below(inner, domain)
            }
            (own, other) => own == other,
        };
        let ports = self.ports();
        host && other.ports().iter().all(|port| ports.contains(port))
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is not a host: write a name (\"crates.io\"), all names below a domain \
                 (\"*.crates.io\") or an address, with a port if it is not 443 or 80 \
                 (\"registry.example:8443\", \"[::1]:8080\")"
            )
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: HostPattern::Address(address), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                let plain = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse::<u16>().ok().filter(|port| plain && *port > 0);
                (host, Some(port.ok_or_else(refused)?))
            }
            None => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
            let whole = bare.is_some() == address.is_ipv6();
            let host = HostPattern::Address(address);
            return if whole { Ok(Self { host, port }) } else { Err(refused()) };
        }
        let lower = host.to_ascii_lowercase();
        let host = match lower.strip_prefix("*.") {
            Some(domain) if is_name(domain) => HostPattern::Below(domain.to_owned()),
            None if is_name(&lower) => HostPattern::Name(lower),
            Some(_) | None => return Err(refused()),
        };
        Ok(Self { host, port })
    }
}

/// Whether `text` is the name of a host, in lower case and without a dot at its end. Text that some
/// programs read as an address, such as `127.1`, is not a name.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL).contains(&label.len())
            && label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            })
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    text.len() <= NAME && text.split('.').all(label) && !numeric
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (HostPattern::Name(name), _) => out.write_str(name)?,
            (HostPattern::Below(domain), _) => write!(out, "*.{domain}")?,
            (HostPattern::Address(IpAddr::V6(address)), Some(_)) => write!(out, "[{address}]")?,
            (HostPattern::Address(address), _) => write!(out, "{address}")?,
        }
        self.port.map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

/// As it is written in a configuration.
impl fmt::Display for AgentNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("\"none\""),
            Self::Model => out.write_str("\"model\""),
            Self::Open => out.write_str("\"open\""),
            Self::Hosts(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
                write!(out, "[{}]", hosts.join(", "))
            }
        }
    }
}

impl Serialize for AgentNetwork {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => to.serialize_str("none"),
            Self::Model => to.serialize_str("model"),
            Self::Open => to.serialize_str("open"),
            Self::Hosts(hosts) => {
                let mut list = to.serialize_seq(Some(hosts.len()))?;
                for host in hosts {
                    list.serialize_element(&host.to_string())?;
                }
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for AgentNetwork {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = AgentNetwork;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("\"none\", \"model\", \"open\", a list of hosts, or true or false")
            }

            fn visit_bool<E: serde::de::Error>(self, open: bool) -> Result<AgentNetwork, E> {
                Ok(if open { AgentNetwork::Open } else { AgentNetwork::None })
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<AgentNetwork, E> {
                match word {
                    // An environment variable gives true and false as text.
                    "none" | "false" => Ok(AgentNetwork::None),
                    "model" => Ok(AgentNetwork::Model),
                    "open" | "true" => Ok(AgentNetwork::Open),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AgentNetwork, A::Error> {
                let mut hosts = BTreeSet::new();
                while let Some(text) = list.next_element::<String>()? {
                    hosts.insert(text.parse().map_err(A::Error::custom)?);
                }
                Ok(AgentNetwork::Hosts(hosts))
            }
        }
        from.deserialize_any(Any)
    }
}

impl JsonSchema for AgentNetwork {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AgentNetwork".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "boolean" },
                { "type": "string", "enum": ["none", "model", "open", "true", "false"] },
                { "type": "array", "items": { "type": "string", "pattern": forms::allowed_host() } },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> AgentNetwork {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for (text, again) in [
            ("true", "\"open\""),
            ("false", "\"none\""),
            ("\"model\"", "\"model\""),
            ("\"none\"", "\"none\""),
            ("\"true\"", "\"open\""),
            ("\"false\"", "\"none\""),
            ("\"open\"", "\"open\""),
            ("[]", "[]"),
            (
                r#"["crates.io", "*.Crates.IO:8443", "10.0.0.7", "[::1]:80", "::1"]"#,
                r#"["crates.io", "*.crates.io:8443", "10.0.0.7", "::1", "[::1]:80"]"#,
            ),
        ] {
            assert_eq!(network(text).to_string(), again, "{text}");
            assert_eq!(network(&serde_json::to_string(&network(text)).unwrap()), network(text));
            assert_eq!(network(text).is_open(), again == "\"open\"", "{text}");
        }
        // A host without a port is reached at those of the web.
        let ports = |text: &str| text.parse::<AllowedHost>().unwrap().ports();
        assert_eq!((ports("a.b"), ports("a.b:8443")), (vec![443, 80], vec![8443]));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            ".",
            "a..b",
            "a b",
            "https://a.b",
            "a.b/c",
            "a.b:",
            "a.b:0",
            "a.b:x",
            "a.b:+80",
            "a.b:70000",
            "127.1",
            "1.2.3.4.5",
            "0x7f.0x1",
            "[10.0.0.1]:80",
            "::1:x",
            "*.*.a",
            "user@a.b",
            "ä.example",
        ] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text:?}");
            let whole = serde_json::from_value::<AgentNetwork>(serde_json::json!([text]));
            assert!(whole.unwrap_err().to_string().contains("is not a host"), "{text:?}");
        }
        let expected = "\"none\", \"model\", \"open\", a list of hosts, or true or false";
        for text in ["\"some\"", "7", "null", "{}"] {
            let error = serde_json::from_str::<AgentNetwork>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn two_words_allow_what_both_allow() {
        let check = |ours: &str, theirs: &str, both: &str, loosens: bool| {
            let (ours, theirs) = (network(ours), network(theirs));
            assert_eq!(ours.narrowed(&theirs), network(both), "{ours} and {theirs}");
            assert_eq!(theirs.narrowed(&ours), network(both), "{theirs} and {ours}");
            assert_eq!(!ours.covers(&theirs), loosens, "{theirs} within {ours}");
        };
        check("true", "false", "false", false);
        check("false", "true", "false", true);
        check("\"open\"", "\"model\"", "\"model\"", false);
        check("\"model\"", "\"open\"", "\"model\"", true);
        check("\"model\"", r#"["a.b"]"#, "\"model\"", true);
        check("\"model\"", "[]", "\"model\"", false);
        check(r#"["a.b"]"#, "\"model\"", "\"model\"", false);
        check(r#"["a.b", "c.d"]"#, r#"["a.b"]"#, r#"["a.b"]"#, false);
        check(r#"["a.b"]"#, r#"["a.b", "c.d"]"#, r#"["a.b"]"#, true);
        check(r#"["*.b"]"#, r#"["a.b", "x.a.b", "b"]"#, r#"["a.b", "x.a.b"]"#, true);
        check(r#"["*.b"]"#, r#"["ab"]"#, "[]", true);
        check(r#"["*.a.b"]"#, r#"["*.b"]"#, r#"["*.a.b"]"#, true);
        check(r#"["a.b"]"#, r#"["a.b:443"]"#, r#"["a.b:443"]"#, false);
        check(r#"["a.b"]"#, r#"["a.b:8443"]"#, "[]", true);
        check(r#"["a.b:443"]"#, r#"["a.b"]"#, r#"["a.b:443"]"#, true);
        check(r#"["10.0.0.7"]"#, r#"["10.0.0.7"]"#, r#"["10.0.0.7"]"#, false);
    }

    fn any_network() -> impl Strategy<Value = AgentNetwork> {
        let hosts = vec!["b.c", "*.c", "*.b.c", "a.b.c", "b.c:443", "10.0.0.1", "*.c:8443"];
        let host = proptest::sample::select(hosts).prop_map(|host| host.parse().unwrap());
        prop_oneof![
            Just(AgentNetwork::None),
            Just(AgentNetwork::Model),
            Just(AgentNetwork::Open),
            proptest::collection::btree_set(host, 0..4).prop_map(AgentNetwork::Hosts),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_gained_by_being_narrowed(ours in any_network(), theirs in any_network()) {
            let both = ours.narrowed(&theirs);
            prop_assert!(ours.covers(&both) && theirs.covers(&both));
            prop_assert!(ours.narrowed(&ours).covers(&ours));
            if ours.covers(&theirs) {
                prop_assert!(both.covers(&theirs));
            }
        }
    }
}
