//! Who sends a request, and whether they may.
//!
//! Called for every request under `/api`. [`decide`] is a total function of what is configured and
//! what the request carries; if nothing is configured, nobody may. The security of this program
//! rests on the order of its rules:
//!
//! 1. A token in the address is refused, whether it is right or not: addresses are logged and
//!    shared.
//! 2. A bearer token is right or wrong; no user header makes up for a wrong one.
//! 3. The edge proxy's user header counts only from the configured networks. From elsewhere it is
//!    refused and logged, so that a proxy which nobody configured is noticed at once.
//! 4. What changes something must come from our own page, or from a program with a token: a
//!    browser sends the edge's sign-in with requests of other sites' pages, too.

use std::net::SocketAddr;

use afk_http::{Networks, Sender, TokenHash};
use axum::http::StatusCode;

use super::answers::ApiError;

/// Who may use the console.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The hash of the token, if there is one.
    pub token: Option<TokenHash>,
    /// The header in which the edge proxy names the user.
    pub user_header: String,
    /// The networks from which the edge proxy's user header is believed.
    pub proxies: Networks,
}

/// What a request carries, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The query of the address; empty if there is none.
    pub query: &'a str,
    /// Whether there is an `Authorization` header, readable or not.
    pub has_authorization: bool,
    /// The token of the `Authorization` header, if that is a bearer token.
    pub bearer: Option<&'a str>,
    /// The value of the user header; `None` unless it is there exactly once and readable.
    pub user: Option<&'a str>,
    /// Whether the user header is there at all.
    pub has_user: bool,
    /// The address of the socket's other end.
    pub peer: SocketAddr,
    /// Whether our page, another site's page or a program sent the request.
    pub sender: Sender,
    /// Whether the request may change something: any method but GET and HEAD.
    pub changes: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// The address has a token in its query.
    TokenInAddress,
    /// There is neither a token nor a usable user header.
    NobodySaid,
    /// The token is wrong, unreadable, or no token is configured.
    WrongToken,
    /// The user header came from an address that is not in [`Access::proxies`].
    UserFromStranger,
    /// The request changes something, and another site's page sent it.
    OtherSite,
    /// The request changes something, has no token, and nothing shows that our page sent it.
    NoPage,
}

/// Returns who sends a request, `token` for whoever has the token, if they may.
pub fn decide(access: &Access, request: &Credentials<'_>) -> Result<String, AccessRefusal> {
    if has_token(request.query) {
        return Err(AccessRefusal::TokenInAddress);
    }
    let (who, by_token) = if request.has_authorization {
        let right = match (&access.token, request.bearer) {
            (Some(hash), Some(token)) => hash.matches(token),
            (None, _) | (_, None) => false,
        };
        if !right {
            return Err(AccessRefusal::WrongToken);
        }
        ("token".to_owned(), true)
    } else if request.has_user {
        if !access.proxies.contain(request.peer) {
            return Err(AccessRefusal::UserFromStranger);
        }
        let user = request.user.map(str::trim).filter(|user| is_user(user));
        (user.ok_or(AccessRefusal::NobodySaid)?.to_owned(), false)
    } else {
        return Err(AccessRefusal::NobodySaid);
    };
    match (request.changes, request.sender, by_token) {
        (true, Sender::OtherSite, _) => Err(AccessRefusal::OtherSite),
        (true, Sender::Program, false) => Err(AccessRefusal::NoPage),
        (true, Sender::Program, true) | (true, Sender::OurPage, _) | (false, _, _) => Ok(who),
    }
}

impl From<AccessRefusal> for ApiError {
    fn from(refusal: AccessRefusal) -> Self {
        let (status, detail) = match refusal {
            AccessRefusal::TokenInAddress => (
                StatusCode::UNAUTHORIZED,
                "a token in the address is never accepted: send it as `Authorization: Bearer …`, \
                 and replace this one, because addresses are logged",
            ),
            AccessRefusal::NobodySaid => {
                (StatusCode::UNAUTHORIZED, "sign in at the edge proxy, or send a bearer token")
            }
            AccessRefusal::WrongToken => {
                (StatusCode::UNAUTHORIZED, "the bearer token is not the right one")
            }
            AccessRefusal::UserFromStranger => (
                StatusCode::UNAUTHORIZED,
                "a user header is believed from the configured proxies alone: set \
                 BREAKGLASS_PROXIES if this came through one of yours",
            ),
            AccessRefusal::OtherSite => {
                (StatusCode::FORBIDDEN, "another site's page sent this request")
            }
            AccessRefusal::NoPage => (
                StatusCode::FORBIDDEN,
                "nothing shows that our own page sent this request: a program needs a bearer token",
            ),
        };
        Self::new(status, detail)
    }
}

/// Whether a query carries what looks like a token.
pub fn has_token(query: &str) -> bool {
    const NAMES: [&str; 6] =
        ["token", "access_token", "bearer", "auth", "authorization", "api_key"];
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

/// A name that can be recorded and shown.
fn is_user(user: &str) -> bool {
    (1..=128).contains(&user.len()) && !user.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.7:4000";
    const STRANGER: &str = "192.0.2.1:4000";

    fn access() -> Access {
        Access {
            token: Some(TokenHash::of("right")),
            user_header: "x-user".into(),
            proxies: "10.0.0.0/8".parse().unwrap(),
        }
    }

    fn request() -> Credentials<'static> {
        Credentials {
            query: "",
            has_authorization: false,
            bearer: None,
            user: None,
            has_user: false,
            peer: STRANGER.parse().unwrap(),
            sender: Sender::OurPage,
            changes: false,
        }
    }

    fn token(token: &str) -> Credentials<'_> {
        Credentials { has_authorization: true, bearer: Some(token), ..request() }
    }

    fn user<'a>(user: &'a str, peer: &str) -> Credentials<'a> {
        let peer = peer.parse().unwrap();
        Credentials { has_user: true, user: Some(user), peer, ..request() }
    }

    #[test]
    fn who_may_ask() {
        let check = |request: Credentials<'_>, expected: Result<&str, AccessRefusal>| {
            let decided = decide(&access(), &request);
            assert_eq!(decided.as_deref().map_err(|refusal| *refusal), expected, "{request:?}");
        };
        check(request(), Err(AccessRefusal::NobodySaid));
        check(token("right"), Ok("token"));
        check(token("wrong"), Err(AccessRefusal::WrongToken));
        check(token(""), Err(AccessRefusal::WrongToken));
        check(Credentials { bearer: None, ..token("") }, Err(AccessRefusal::WrongToken));
        check(user("anna", PROXY), Ok("anna"));
        check(user("anna", "[::ffff:10.0.0.7]:1"), Ok("anna"));
        check(user("anna", STRANGER), Err(AccessRefusal::UserFromStranger));
        check(user(" ", PROXY), Err(AccessRefusal::NobodySaid));
        check(user("a\u{1b}b", PROXY), Err(AccessRefusal::NobodySaid));
        check(Credentials { user: None, ..user("", PROXY) }, Err(AccessRefusal::NobodySaid));
        // A user header does not make up for a wrong token.
        let both = Credentials { has_authorization: true, bearer: Some("x"), ..user("a", PROXY) };
        check(both, Err(AccessRefusal::WrongToken));
    }

    #[test]
    fn a_token_in_the_address_is_refused_even_beside_a_right_one() {
        for query in ["token=right", "a=1&token=x", "access_token=x", "TOKEN=x", "token", "auth=x"]
        {
            let request = Credentials { query, ..token("right") };
            assert_eq!(decide(&access(), &request), Err(AccessRefusal::TokenInAddress), "{query}");
        }
        for query in ["last_event_id=3", "tokens=1", "a=token"] {
            let request = Credentials { query, ..token("right") };
            assert_eq!(decide(&access(), &request).as_deref(), Ok("token"), "{query}");
        }
    }

    #[test]
    fn what_changes_something_comes_from_our_page_or_a_program_with_a_token() {
        let check = |who: Credentials<'_>, sender, expected: Result<(), AccessRefusal>| {
            let request = Credentials { sender, changes: true, ..who };
            assert_eq!(decide(&access(), &request).map(drop), expected, "{request:?}");
        };
        check(user("anna", PROXY), Sender::OurPage, Ok(()));
        check(user("anna", PROXY), Sender::OtherSite, Err(AccessRefusal::OtherSite));
        check(user("anna", PROXY), Sender::Program, Err(AccessRefusal::NoPage));
        check(token("right"), Sender::OurPage, Ok(()));
        check(token("right"), Sender::OtherSite, Err(AccessRefusal::OtherSite));
        check(token("right"), Sender::Program, Ok(()));
        // Requests that only read may come from anywhere: another site cannot see the answer.
        let reads = Credentials { sender: Sender::OtherSite, ..user("anna", PROXY) };
        assert_eq!(decide(&access(), &reads).as_deref(), Ok("anna"));
    }

    #[test]
    fn nothing_configured_means_nobody() {
        for request in
            [token("right"), token(""), user("anna", PROXY), user("anna", "127.0.0.1:1"), request()]
        {
            assert!(decide(&Access::default(), &request).is_err(), "{request:?}");
        }
    }
}
