//! Who made a browser send a request: our own page, or another site.
//!
//! The browser of somebody who is signed in at an edge proxy sends that sign-in with every request,
//! even one that another site's page makes. A route that changes something therefore checks the
//! sender first.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::{Authority, Uri};

/// Who sent a request, as its headers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A page of ours, or a person directly, as by the address bar.
    OurPage,
    /// A page of another site.
    OtherSite,
    /// Neither header is there. Every browser in use sends one of them with a request that changes
    /// something, so it is a program, which needs a token.
    Program,
}

/// Returns who sent the request with these headers. Headers that contradict each other or cannot be
/// read count as another site's.
pub fn sender(headers: &HeaderMap) -> Sender {
    let by_fetch = headers.get("sec-fetch-site").map(|site| match site.as_bytes() {
        b"same-origin" | b"none" => Sender::OurPage,
        _ => Sender::OtherSite,
    });
    let by_origin = headers.get(ORIGIN).map(|origin| {
        let told = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
        match (told, host) {
            (Some(told), Some(host)) if is_of(&told, &host) => Sender::OurPage,
            _ => Sender::OtherSite,
        }
    });
    match (by_fetch, by_origin) {
        (Some(Sender::OtherSite), _) | (_, Some(Sender::OtherSite)) => Sender::OtherSite,
        (None, None) => Sender::Program,
        _ => Sender::OurPage,
    }
}

/// Whether an origin is of this host. A missing port is the scheme's default.
fn is_of(origin: &Uri, host: &Authority) -> bool {
    let usual = match origin.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return false,
    };
    let same_name = origin.host().is_some_and(|name| name.eq_ignore_ascii_case(host.host()));
    same_name && origin.port_u16().unwrap_or(usual) == host.port_u16().unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn check(headers: &[(&'static str, &'static str)], expected: Sender) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        assert_eq!(sender(&headers), expected, "{headers:?}");
    }

    #[test]
    fn a_browser_says_whose_page_it_was() {
        let host = ("host", "box.example:8443");
        check(&[host, ("sec-fetch-site", "same-origin")], Sender::OurPage);
        check(&[host, ("sec-fetch-site", "none")], Sender::OurPage);
        check(&[host, ("sec-fetch-site", "same-site")], Sender::OtherSite);
        check(&[host, ("sec-fetch-site", "cross-site")], Sender::OtherSite);
        check(&[host, ("sec-fetch-site", "SAME-ORIGIN")], Sender::OtherSite);
        check(&[host, ("origin", "https://box.example:8443")], Sender::OurPage);
        check(&[host, ("origin", "https://BOX.example:8443")], Sender::OurPage);
        check(&[host, ("origin", "https://box.example")], Sender::OtherSite);
        check(&[host, ("origin", "https://evil.example:8443")], Sender::OtherSite);
        check(&[host, ("origin", "null")], Sender::OtherSite);
        check(&[host, ("origin", "file://box.example:8443")], Sender::OtherSite);
        check(&[("origin", "https://box.example:8443")], Sender::OtherSite);
        check(&[("host", "box.example"), ("origin", "https://box.example:443")], Sender::OurPage);
        check(&[("host", "[::1]:80"), ("origin", "http://[::1]")], Sender::OurPage);
        check(&[host], Sender::Program);
    }

    #[test]
    fn headers_that_contradict_each_other_are_not_believed() {
        let host = ("host", "box.example");
        let ours = ("origin", "https://box.example");
        check(&[host, ours, ("sec-fetch-site", "same-origin")], Sender::OurPage);
        check(&[host, ours, ("sec-fetch-site", "cross-site")], Sender::OtherSite);
        let other = ("origin", "https://evil.example");
        check(&[host, other, ("sec-fetch-site", "same-origin")], Sender::OtherSite);
    }
}
