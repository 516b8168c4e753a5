//! What is sent: a method, a path below the home's base, and perhaps a body.

use std::fmt;

use serde_json::Value;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Reads.
    Get,
    /// Reads by a query in the body, as GraphQL does.
    Query,
    /// Creates, or starts something.
    Post,
    /// Changes what is named in the body.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// Whether it only reads, so that it may be repeated.
    pub(crate) const fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Query)
    }

    pub(super) const fn verb(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Query | Self::Post => reqwest::Method::POST,
            Self::Patch => reqwest::Method::PATCH,
            Self::Delete => reqwest::Method::DELETE,
        }
    }
}

/// A request to a home.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(super) method: Method,
    /// Each is encoded, so that a label with a slash stays one segment.
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Body>,
    /// The bare name of the repo that it is about, where its path does not say.
    about: Option<String>,
    /// The largest answer that is read, in bytes, and what helps where it is larger.
    pub(super) most: (usize, &'static str),
}

/// The largest answer that is read of most requests.
const LARGEST: usize = 16 << 20;

/// What a request carries.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    /// JSON.
    Json(Value),
    /// The fields of a form, encoded.
    Form(String),
}

impl Request {
    /// A request for the path of these segments.
    pub(crate) fn new<S: Into<String>>(
        method: Method,
        segments: impl IntoIterator<Item = S>,
    ) -> Self {
        let segments = segments.into_iter().map(Into::into).collect();
        Self { method, segments, query: Vec::new(), body: None, about: None, most: (LARGEST, "") }
    }

    /// A read of the path of these segments.
    pub(crate) fn get<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self::new(Method::Get, segments)
    }

    /// The same with one more parameter.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// The same, whose answer may have so many bytes; of a larger one it is said what helps.
    #[must_use]
    pub(crate) fn at_most(mut self, bytes: usize, helps: &'static str) -> Self {
        self.most = (bytes, helps);
        self
    }

    /// The same with a body.
    #[must_use]
    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Some(Body::Json(body));
        self
    }

    /// The same, about the repo of this bare name.
    #[must_use]
    pub(crate) fn about(mut self, repo: &str) -> Self {
        self.about = Some(repo.to_owned());
        self
    }

    /// The bare name of the repo that it is about, if it is about one: what follows `repos` and its
    /// owner in the path, as forges have it.
    pub(crate) fn repo(&self) -> Option<&str> {
        let mut below = self.segments.iter().skip_while(|segment| *segment != "repos");
        below.nth(2).or(self.about.as_ref()).map(String::as_str)
    }

    /// The same with the fields of a form.
    #[must_use]
    pub(crate) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(fields);
        self.body = Some(Body::Form(encoded.finish()));
        self
    }
}

/// The request as errors name it: without parameters, which may be long.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} /{}", self.method.verb(), self.segments.join("/"))
    }
}
