//! What may leave a box: the rules, and the decision about each request.
//!
//! Pure and total. The rules are made by whoever wants a job, stored in the job's spec file, and
//! applied by the process that holds the key. They contain no key.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address::is_public;

/// Maximum length of a request's host with its port, in bytes.
const HOST: usize = 255;

/// What may leave a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// The hosts that may be reached.
    pub hosts: Vec<HostRule>,
    /// The model's API, if the job uses one; the proxy adds the key.
    pub model: Option<Upstream>,
}

/// Hosts that may be reached, and at which ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRule {
    /// The hosts of this rule.
    pub hosts: Hosts,
    /// The ports at which they may be reached.
    pub ports: Vec<u16>,
}

/// Which hosts a rule names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hosts {
    /// The host of this name, in lower case. Its address must be public, or named by a rule.
    Name(String),
    /// All hosts below this domain, in lower case, without the domain itself. Their addresses must
    /// be public, or named by a rule.
    Below(String),
    /// The host at this address, whether that is public or not.
    Address(IpAddr),
}

/// The API of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The URL, such as `https://api.anthropic.com` or `https://api.openai.com/v1`. The operator
    /// chose it, so its address need not be public.
    pub url: String,
    /// The paths that may be requested, each compared as a whole.
    pub paths: Vec<String>,
    /// Where the key comes from.
    pub credential: Credential,
    /// How the key is sent.
    pub header: Header,
}

/// Where the key of a model's API comes from; never from the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// From the job's starter, together with the job's secrets.
    Handed,
    /// From the Claude CLI's sign-in in this file, which is read again for each request: the operator's
    /// own CLI renews it.
    ClaudeSignIn(PathBuf),
}

/// How a key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// `x-api-key: KEY`
    ApiKey,
    /// `authorization: Bearer KEY`
    Bearer,
}

/// The host and port that a request wants to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A name, in lower case, without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefusalReason {
    /// No rule names the host.
    Host,
    /// A rule names the host, but not this port.
    Port,
    /// The name leads to an address that is not public, and no rule names that address.
    NotPublic(IpAddr),
    /// The box has no model's API.
    NoModel,
    /// The path is not one that may be requested of the model's API.
    Path,
    /// The request names no valid host and port.
    NoAddress,
    /// The request is of a kind that the proxy does not serve.
    Method,
}

impl Target {
    /// Reads `host:port`, where the host may be an address in brackets.
    pub(super) fn of_authority(
        authority: &str,
        default_port: Option<u16>,
    ) -> Result<Self, RefusalReason> {
        // An authority with a user's name or password is refused.
        if authority.len() > HOST || authority.contains('@') {
            return Err(RefusalReason::NoAddress);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (authority, None),
        };
        let port = match port {
            Some(port) => port.parse().ok(),
            None => default_port,
        };
        let port = port.filter(|port| *port > 0).ok_or(RefusalReason::NoAddress)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self { host: Host::Address(address.to_canonical()), port });
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(RefusalReason::NoAddress);
        }
        Ok(Self { host: Host::Name(name), port })
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(out, "{name}:{}", self.port),
            Host::Address(IpAddr::V6(address)) => write!(out, "[{address}]:{}", self.port),
            Host::Address(address) => write!(out, "{address}:{}", self.port),
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => out.write_str("the host is not on the list"),
            Self::Port => out.write_str("the host is on the list, but not with this port"),
            Self::NotPublic(address) => {
                write!(out, "the name leads to {address}, which is not a public address")
            }
            Self::NoModel => out.write_str("this box has no model's API"),
            Self::Path => out.write_str("the model's API may not be asked for this"),
            Self::NoAddress => out.write_str("the address is not a host with a port"),
            Self::Method => out.write_str("the proxy does not serve such a request"),
        }
    }
}

impl HostRule {
    fn names(&self, host: &Host) -> bool {
        match (&self.hosts, host) {
            (Hosts::Name(own), Host::Name(name)) => own == name,
            (Hosts::Below(domain), Host::Name(name)) => {
                name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (Hosts::Address(own), Host::Address(address)) => own.to_canonical() == *address,
            (Hosts::Name(_) | Hosts::Below(_), Host::Address(_))
            | (Hosts::Address(_), Host::Name(_)) => false,
        }
    }
}

impl Egress {
    /// Checks that a rule names the target's host with its port.
    pub(super) fn may_reach(&self, target: &Target) -> Result<(), RefusalReason> {
        let named: Vec<&HostRule> =
            self.hosts.iter().filter(|rule| rule.names(&target.host)).collect();
        if named.is_empty() {
            Err(RefusalReason::Host)
        } else if named.iter().all(|rule| !rule.ports.contains(&target.port)) {
            Err(RefusalReason::Port)
        } else {
            Ok(())
        }
    }

    /// Returns those of the addresses `found` for a target that may be connected to; an error if
    /// there are addresses and none may. [`Egress::may_reach`] must have allowed the target itself.
    pub(super) fn addresses(
        &self,
        target: &Target,
        found: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<IpAddr>, RefusalReason> {
        let (mut fine, mut refused) = (Vec::new(), None);
        for address in found {
            let at = Target { host: Host::Address(address.to_canonical()), port: target.port };
            if is_public(address) || self.may_reach(&at).is_ok() {
                fine.push(address);
            } else {
                refused = Some(address);
            }
        }
        match refused {
            Some(address) if fine.is_empty() => Err(RefusalReason::NotPublic(address)),
            Some(_) | None => Ok(fine),
        }
    }
}

impl Upstream {
    /// The URL for a request with this path and query, if the path may be requested.
    pub(super) fn address(&self, path: &str, query: Option<&str>) -> Result<String, RefusalReason> {
        if !self.paths.iter().any(|own| own == path) {
            return Err(RefusalReason::Path);
        }
        let (scheme, rest) = self.url.split_once("://").ok_or(RefusalReason::NoModel)?;
        let authority = rest.split('/').next().unwrap_or(rest);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Ok(format!("{scheme}://{authority}{path}{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::of_authority(text, None).unwrap()
    }

    fn rules() -> Egress {
        let rule = |hosts, ports: &[u16]| HostRule { hosts, ports: ports.to_vec() };
        Egress {
            hosts: vec![
                rule(Hosts::Name("a.example".to_owned()), &[443, 80]),
                rule(Hosts::Below("b.example".to_owned()), &[443]),
                rule(Hosts::Address("10.0.0.7".parse().unwrap()), &[8080]),
                rule(Hosts::Name("inside.example".to_owned()), &[8080]),
            ],
            model: None,
        }
    }

    #[test]
    fn a_target_is_reached_if_a_rule_names_host_and_port() {
        let check = |text: &str, expected: Result<(), RefusalReason>| {
            assert_eq!(rules().may_reach(&target(text)), expected, "{text}");
        };
        check("a.example:443", Ok(()));
        check("A.Example.:80", Ok(()));
        check("a.example:22", Err(RefusalReason::Port));
        check("x.a.example:443", Err(RefusalReason::Host));
        check("b.example:443", Err(RefusalReason::Host));
        check("x.b.example:443", Ok(()));
        check("x.y.b.example:443", Ok(()));
        check("x.b.example:80", Err(RefusalReason::Port));
        check("xb.example:443", Err(RefusalReason::Host));
        check("b.example.evil.example:443", Err(RefusalReason::Host));
        check("10.0.0.7:8080", Ok(()));
        check("[::ffff:10.0.0.7]:8080", Ok(()));
        check("10.0.0.7:443", Err(RefusalReason::Port));
        check("127.0.0.1:443", Err(RefusalReason::Host));
        check("169.254.169.254:80", Err(RefusalReason::Host));
        check("[::1]:443", Err(RefusalReason::Host));
        check("1.1.1.1:443", Err(RefusalReason::Host));
        // Some resolvers read these as addresses.
        check("127.1:443", Err(RefusalReason::Host));
        check("2130706433:443", Err(RefusalReason::Host));
        assert_eq!(Egress::default().may_reach(&target("a.example:443")), Err(RefusalReason::Host));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "a.example",
            "a.example:",
            "a.example:0",
            "a.example:x",
            "a.example:99999",
            ":443",
            "user@a.example:443",
            "a example:443",
            "a.example/x:443",
            "[::1]",
            "ä:443",
            "a\0b:443",
        ] {
            assert_eq!(Target::of_authority(text, None), Err(RefusalReason::NoAddress), "{text:?}");
        }
        assert_eq!(Target::of_authority("a.example", Some(80)).unwrap(), target("a.example:80"));
        assert_eq!(Target::of_authority("[::1]", Some(80)).unwrap(), target("[::1]:80"));
        assert_eq!(Target::of_authority(&"a".repeat(300), Some(80)), Err(RefusalReason::NoAddress));
    }

    #[test]
    fn a_name_leads_to_public_or_named_addresses_alone() {
        let check = |name: &str, found: &[&str], expected: Result<&[&str], &str>| {
            let addresses = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect();
            let found: Vec<IpAddr> = addresses(found);
            let expected: Result<Vec<IpAddr>, _> = match expected {
                Ok(fine) => Ok(addresses(fine)),
                Err(address) => Err(RefusalReason::NotPublic(address.parse().unwrap())),
            };
            assert_eq!(rules().addresses(&target(name), found), expected, "{name}");
        };
        check("a.example:443", &["93.184.216.34"], Ok(&["93.184.216.34"]));
        check("a.example:443", &["127.0.0.1"], Err("127.0.0.1"));
        check("a.example:443", &["::ffff:169.254.169.254"], Err("::ffff:169.254.169.254"));
        check("a.example:443", &["10.0.0.7"], Err("10.0.0.7"));
        check("a.example:443", &["127.0.0.1", "1.1.1.1", "::1"], Ok(&["1.1.1.1"]));
        check("inside.example:8080", &["10.0.0.7"], Ok(&["10.0.0.7"]));
        check("inside.example:8080", &["10.0.0.8"], Err("10.0.0.8"));
        check("a.example:443", &[], Ok(&[]));
    }

    #[test]
    fn the_model_is_asked_for_listed_paths_at_its_own_host() {
        let upstream = Upstream {
            url: "https://api.example/base/v1".to_owned(),
            paths: vec!["/base/v1/responses".to_owned()],
            credential: Credential::Handed,
            header: Header::Bearer,
        };
        let check = |path: &str, query: Option<&str>, expected: Result<&str, RefusalReason>| {
            assert_eq!(upstream.address(path, query), expected.map(str::to_owned), "{path}");
        };
        let fine = "https://api.example/base/v1/responses";
        check("/base/v1/responses", None, Ok(fine));
        check("/base/v1/responses", Some("a=b"), Ok(&format!("{fine}?a=b")));
        for path in ["/", "/base/v1/files", "/base/v1/responses/x", "/base/v1/../v1/responses", "*"]
        {
            check(path, None, Err(RefusalReason::Path));
        }
    }
}
