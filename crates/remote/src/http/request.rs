//! What is sent: a method, a path below the home's base, and perhaps a body.

use std::fmt;

use serde_json::Value;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Reads.
    Get,
    /// Reads by a query in the body, sent with POST, as GraphQL wants it.
    Query,
    /// Creates or starts something.
    Post,
    /// Changes the fields that are in the body.
    Patch,
    /// Removes something.
    Delete,
}

impl Method {
    /// Whether the method only reads, so that the request may be repeated.
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
    /// The segments of the path. Each is percent-encoded when sent, so that a label with a slash
    /// stays one segment.
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Body>,
    /// The name of the repo without its owner, where the path does not contain it.
    about: Option<String>,
    /// The largest answer that is read, in bytes, and advice that the error about a larger one ends
    /// with.
    pub(super) most: (usize, &'static str),
}

/// The largest answer that is read unless a request says otherwise, in bytes.
const LARGEST: usize = 16 << 20;

/// The body of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Json(Value),
    /// The fields of a form, as `application/x-www-form-urlencoded`.
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

    /// Adds a query parameter.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Sets how many bytes the answer may have; the error about a larger one ends with `helps`.
    #[must_use]
    pub(crate) fn at_most(mut self, bytes: usize, helps: &'static str) -> Self {
        self.most = (bytes, helps);
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Some(Body::Json(body));
        self
    }

    /// Sets the name of the repo, without its owner, that the request is about.
    #[must_use]
    pub(crate) fn about(mut self, repo: &str) -> Self {
        self.about = Some(repo.to_owned());
        self
    }

    /// The name without its owner of the repo that the request is about, if any: what follows
    /// `repos/<owner>` in the path, as forges have it, or what [`Self::about`] set.
    pub(crate) fn repo(&self) -> Option<&str> {
        let mut below = self.segments.iter().skip_while(|segment| *segment != "repos");
        below.nth(2).or(self.about.as_ref()).map(String::as_str)
    }

    /// Sets a body of the fields of a form.
    #[must_use]
    pub(crate) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(fields);
        self.body = Some(Body::Form(encoded.finish()));
        self
    }
}

/// The request as errors name it: the verb and the path, without parameters, which may be long.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} /{}", self.method.verb(), self.segments.join("/"))
    }
}
