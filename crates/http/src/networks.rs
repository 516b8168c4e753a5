//! The networks of an edge proxy: the headers of a request from there are believed when they name
//! its user.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

/// A list of networks, such as `10.0.0.0/8, ::1`. An address alone is a network of one; an empty
/// list contains nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether `peer` is in one of the networks. An IPv4 address that the socket shows as an IPv6
    /// one counts as IPv4.
    pub fn contain(&self, peer: SocketAddr) -> bool {
        let address = peer.ip().to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A network that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a network: write an address, or an address and a length, such as 10.0.0.0/8")]
pub struct NetworkError(String);

impl FromStr for Networks {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self(parts.map(network).collect::<Result<_, _>>()?))
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = NetworkError;

    fn try_from(parts: Vec<String>) -> Result<Self, NetworkError> {
        Ok(Self(parts.iter().map(|part| network(part.trim())).collect::<Result<_, _>>()?))
    }
}

fn network(text: &str) -> Result<IpNet, NetworkError> {
    let alone = text.parse::<IpAddr>().map(IpNet::from);
    alone.or_else(|_| text.parse()).map_err(|_| NetworkError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_networks_however_it_is_written() {
        let networks: Networks = "10.1.0.0/16, 192.0.2.7,fd00::/8,".parse().unwrap();
        let has = |peer: &str| networks.contain(peer.parse().unwrap());
        for inside in ["10.1.2.3:1", "192.0.2.7:80", "[fd00::1]:1", "[::ffff:10.1.2.3]:1"] {
            assert!(has(inside), "{inside}");
        }
        for outside in ["10.2.0.1:1", "192.0.2.8:80", "127.0.0.1:1", "[::1]:1"] {
            assert!(!has(outside), "{outside}");
        }
        assert!(!Networks::default().contain("127.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_named() {
        let error = "10.0.0.0/8, intranet".parse::<Networks>().unwrap_err();
        assert!(error.to_string().starts_with("`intranet` is not a network"), "{error}");
        assert!("10.0.0.0/33".parse::<Networks>().is_err());
    }
}
