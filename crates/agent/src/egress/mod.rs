//! The one way out of a box whose network is neither closed nor open.
//!
//! The box has a network namespace of its own with nothing in it but loopback. Before the job begins,
//! our code in the box ([`handover`]) listens at [`ADDRESS`] and hands the listening socket to a
//! process outside of the box, `afk egress` ([`main`]), which the job's host started. That process
//! knows the rules ([`Egress`]), resolves names, connects, and holds the key of the model's API. So
//! the box contains neither the rules nor the key, nor a process or a socket file of ours.
//!
//! - A proxy request (`CONNECT`, or one with an absolute URL) reaches a listed host, or is refused.
//! - Any other request is for the model's API: it gets the real key and goes to the one upstream.
//! - What tries to leave past the proxy finds no route in the namespace. The kernel counts that.
//!
//! Each refusal is a line in `refused.jsonl` in the job's folder ([`Refusal`]).

mod address;
mod attempts;
pub(crate) mod handover;
mod log;
mod program;
mod proxy;
mod rules;
mod upstream;

pub use log::Refusal;
pub(crate) use log::read as read_refusals;
pub(crate) use program::Task;
pub use program::{SUBCOMMAND, main};
pub use rules::{Credential, Egress, Header, HostRule, Hosts, Upstream};

use std::net::{Ipv4Addr, SocketAddr};

/// The address of the proxy inside the box. The namespace is new, so the port is free.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);

/// A placeholder for programs that demand a key, where the real one stays outside.
pub const NO_KEY: &str = "the-key-stays-outside-of-the-box";

/// The environment variables by which programs in the box find the proxy. Loopback addresses bypass
/// it, because they are the box's own.
pub fn environment() -> Vec<(String, String)> {
    let proxy = format!("http://{ADDRESS}");
    let own = "localhost,127.0.0.1,::1";
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in [("HTTPS_PROXY", &*proxy), ("HTTP_PROXY", &*proxy), ("NO_PROXY", own)] {
        all.push((name.to_owned(), value.to_owned()));
        all.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    // Without this variable Node's `fetch` ignores the others.
    all.push(("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned()));
    all
}

/// The address inside the box that stands for the model's API at `url`: the same path, at the proxy.
pub fn address_of_model(url: &str) -> String {
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    let path = path.map_or("", |(_, path)| path.trim_end_matches('/'));
    if path.is_empty() { format!("http://{ADDRESS}") } else { format!("http://{ADDRESS}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_address_in_the_box_keeps_its_path() {
        for (url, expected) in [
            ("https://api.anthropic.com", "http://127.0.0.1:3128"),
            ("https://api.anthropic.com/", "http://127.0.0.1:3128"),
            ("https://api.openai.com/v1", "http://127.0.0.1:3128/v1"),
            ("http://gateway.example:8080/a/v1/", "http://127.0.0.1:3128/a/v1"),
        ] {
            assert_eq!(address_of_model(url), expected);
        }
    }
}
