//! One credential at one home: requests, their repetition, and the account's rate limits.
//!
//! The adapters of forges, CI, T3 Code and Vault send their requests through an [`Account`].
//!
//! - While a limit lasts nothing is sent: a call fails at once and says until when.
//! - At most [`AT_ONCE`] requests are under way. Writes go one by one, with a pause between two,
//!   and do not hold up reads while they wait for their turn.
//! - A read to which no answer came is repeated a few times, unless it is of the end of a log. A
//!   write is not repeated, because it may have arrived. But if the credential was refused, nothing
//!   was done: then either is sent once more if the signer says that this may help.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use afk_core::digest::Digest;
use afk_core::ids::At;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult};
use async_trait::async_trait;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use jiff::SignedDuration;
use reqwest::header::{
    ACCEPT, CONNECTION, HeaderMap, HeaderValue, IF_NONE_MATCH, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::answer::{Answer, raw_refusal_text, redirect_target, refusal_text, refused};
use super::limits::{Quota, limited};
use super::request::Body;
use super::{Client, Request, Sign, Signature, link, tail};

/// How many requests of one account are under way at once.
const AT_ONCE: usize = 8;
/// How many pages are read at most: a list that is longer is an error, never cut short.
const PAGES: usize = 200;
/// How often a read is repeated to which no answer came.
const REPEATS: usize = 2;

/// What an account is made of.
pub(crate) struct Spec {
    /// The home as people know it, such as `github.com`; for errors.
    pub(crate) home: String,
    /// The address that the paths of requests are below.
    pub(crate) base: Url,
    /// What authenticates requests. If it is given, no request is sent without a credential.
    pub(crate) sign: Option<Box<dyn Sign>>,
    /// Headers of every request, as names and values.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// The shortest time between two writes.
    pub(crate) between_writes: SignedDuration,
}

/// One credential at one home, with that account's rate limits.
pub(crate) struct Account {
    client: Client,
    clock: Arc<dyn Clock>,
    spec: Spec,
    state: Mutex<State>,
    at_once: Semaphore,
    /// When the last write ended. Locked during a write, so that writes go one by one.
    wrote: tokio::sync::Mutex<Option<At>>,
    limit_observer: OnceLock<Arc<dyn LimitObserver>>,
}

#[derive(Default)]
struct State {
    /// Until when nothing is sent because of a limit.
    until: Option<At>,
    /// How many limits were met in a row.
    strikes: u32,
    quota: Option<Quota>,
    answers: AnswerCounts,
    /// How far the home's clock is ahead of ours, by the `date` of its last answer.
    ahead: SignedDuration,
}

/// What is known of an account's rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// The quota as of the last answer that named it.
    pub(crate) quota: Option<Quota>,
    /// Until when nothing is sent, by our clock.
    pub(crate) until: Option<At>,
}

/// Is told at once when a limit begins, so that other processes with the same account learn of it.
#[async_trait]
pub(crate) trait LimitObserver: Send + Sync {
    /// The account is limited until `limits.until`.
    async fn limited(&self, limits: Limits);
}

/// How many requests of this process a home answered in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerCounts {
    /// Answered in full, with a status of success or a redirect that was wanted.
    pub whole: u64,
    /// Answered that nothing has changed (304), which most homes do not count against the quota.
    pub unchanged: u64,
    /// Answered with nothing but a rate limit.
    pub limited: u64,
    /// Refused with any other status.
    pub refused: u64,
    /// Not answered at all, or not to the end.
    pub missing: u64,
}

/// What tells whether an answer has changed: the home's own tag, and the digest of the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validator {
    etag: Option<String>,
    /// The digest of the credential that asked: the home knows the tag for that one alone.
    credential: Digest,
    body: Digest,
}

/// The result of a conditional read.
#[derive(Debug)]
pub(crate) enum Changed {
    /// The answer is the same as when the validator was made. With a new validator if the home gave
    /// a whole answer nevertheless.
    No(Option<Validator>),
    /// A different answer, and its validator.
    Yes(Answer, Validator),
}

/// A refused or unanswered request.
#[derive(Debug)]
pub(crate) struct RequestFailure {
    /// The status of the answer, if there was one.
    pub(crate) status: Option<u16>,
    /// The text of the answer's body, for callers that know the home's wording. Empty without one.
    pub(crate) text: String,
    /// The target of the redirect, if the answer is one.
    pub(crate) redirect: Option<String>,
    /// Whether the answer was larger than the request allows.
    pub(crate) too_large: bool,
    /// The error for the loop.
    pub(crate) error: PortError,
}

impl From<PortError> for RequestFailure {
    fn from(error: PortError) -> Self {
        Failed::from(error).into()
    }
}

impl Account {
    pub(crate) fn new(client: Client, clock: Arc<dyn Clock>, spec: Spec) -> Self {
        Self {
            client,
            clock,
            spec,
            state: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
            wrote: tokio::sync::Mutex::default(),
            limit_observer: OnceLock::new(),
        }
    }

    /// Sends the request; a refusal is an error.
    pub(crate) async fn send(&self, request: &Request) -> PortResult<Answer> {
        self.exchange(request, &self.url(request)?, None).await.map(|(answer, _)| answer)
    }

    /// The same; a refusal comes with its status and its text.
    pub(crate) async fn try_send(&self, request: &Request) -> Result<Answer, RequestFailure> {
        let answer = self.exchange_failing(request, &self.url(request)?, None).await;
        answer.map(|(answer, _)| answer).map_err(RequestFailure::from)
    }

    /// Opens a `WebSocket` at the request's address, and returns the raw connection. The caller
    /// limits how long that may take.
    pub(crate) async fn upgrade(
        &self,
        request: &Request,
    ) -> Result<reqwest::Upgraded, RequestFailure> {
        let _permit = self.permit().await?;
        let url = self.url(request)?;
        let (building, _) = self.building(request, &url, None).await?;
        let key = generate_key();
        let building = building
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let sent = building.send().await.map_err(|error| self.unanswered(request, error))?;
        let (status, headers) = (sent.status(), sent.headers().clone());
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = self.body(request, sent).await?;
            let limit = self.heed(request, status, &headers, &body).await;
            let home = &self.spec.home;
            let error = limit
                .unwrap_or_else(|| refused(&request.to_string(), home, status, &headers, &body));
            let (text, redirect) = (refusal_text(&body), redirect_target(status, &headers));
            return Err(RequestFailure {
                status: Some(status.as_u16()),
                text,
                redirect,
                too_large: false,
                error,
            });
        }
        let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
        if accepted != Some(derive_accept_key(key.as_bytes()).as_str()) {
            let home = &self.spec.home;
            let why = format!("{request}: {home} does not speak over a WebSocket as it should");
            return Err(PortError::transient(why).into());
        }
        sent.upgrade().await.map_err(|error| self.unanswered(request, error).into())
    }

    /// Sends the request, and reads the answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: &Request) -> PortResult<T> {
        self.send(request).await?.json()
    }

    /// Reads what is at `url`, an address of this home. A refusal is an error, with its status.
    pub(crate) async fn read(&self, url: &Url) -> Result<Answer, (Option<u16>, PortError)> {
        let request = Request::get(url.path_segments().into_iter().flatten());
        if url.origin() != self.spec.base.origin() {
            let why = format!("{request}: the address is not at {}", self.spec.home);
            return Err((None, PortError::permanent(why)));
        }
        let answer = self.exchange_failing(&request, url, None).await;
        answer.map(|(answer, _)| answer).map_err(|failed| (failed.status, failed.error))
    }

    /// Every entry of a list, to its last page.
    pub(crate) async fn pages<T: DeserializeOwned>(&self, request: &Request) -> PortResult<Vec<T>> {
        self.pages_of(request, |page: Vec<T>| page).await
    }

    /// The same where each page is an object that contains the list, which `list` takes out.
    pub(crate) async fn pages_of<P: DeserializeOwned, T>(
        &self,
        request: &Request,
        list: impl Fn(P) -> Vec<T>,
    ) -> PortResult<Vec<T>> {
        self.try_pages(request, list).await.map_err(|failure| failure.error)
    }

    /// The same; a refusal comes with its status and its text.
    pub(crate) async fn try_pages<P: DeserializeOwned, T>(
        &self,
        request: &Request,
        list: impl Fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, RequestFailure> {
        let mut all = Vec::new();
        for answer in self.try_answers(request).await? {
            all.extend(list(answer.json()?));
        }
        Ok(all)
    }

    /// Every page of a list, followed by the answers' `Link` headers. A page that is too large is
    /// asked for in smaller ones, so that nobody can make a list unreadable by writing long texts.
    pub(crate) async fn answers(&self, request: &Request) -> PortResult<Vec<Answer>> {
        self.try_answers(request).await.map_err(|failure| failure.error)
    }

    async fn try_answers(&self, request: &Request) -> Result<Vec<Answer>, RequestFailure> {
        let mut url = self.url(request)?;
        let mut all = Vec::new();
        while all.len() < PAGES {
            match self.exchange_failing(request, &url, None).await {
                Ok((answer, _)) => {
                    let next = self.next(&answer)?;
                    all.push(answer);
                    match next {
                        Some(next) => url = next,
                        None => return Ok(all),
                    }
                }
                Err(failed) => match link::smaller(&url).filter(|_| failed.too_large) {
                    Some(smaller) => url = smaller,
                    None => return Err(failed.into()),
                },
            }
        }
        let why = format!("{request}: the list has more than {PAGES} pages");
        Err(PortError::permanent(why).into())
    }

    /// Reads with `If-None-Match`, and compares the answer with `known`.
    pub(crate) async fn changed(
        &self,
        request: &Request,
        known: Option<&Validator>,
    ) -> PortResult<Changed> {
        self.try_changed(request, known).await.map_err(|failure| failure.error)
    }

    /// The same; a refusal comes with its status and its text.
    pub(crate) async fn try_changed(
        &self,
        request: &Request,
        known: Option<&Validator>,
    ) -> Result<Changed, RequestFailure> {
        let (answer, credential) =
            self.exchange_failing(request, &self.url(request)?, known).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(Changed::No(None));
        }
        let etag = answer.header("etag").map(str::to_owned);
        let validator = Validator { etag, credential, body: Digest::of(&answer.body) };
        // Without a tag of this credential the answer is a whole one, but may be the known one.
        Ok(if known.is_some_and(|known| known.body == validator.body) {
            Changed::No(Some(validator))
        } else {
            Changed::Yes(answer, validator)
        })
    }

    /// The rate limits, as far as answers so far have told.
    pub(crate) fn limits(&self) -> Limits {
        let state = self.state();
        Limits { quota: state.quota, until: state.until }
    }

    /// Counts of how requests were answered so far.
    pub(crate) fn answer_counts(&self) -> AnswerCounts {
        self.state().answers
    }

    /// The time by the home's own clock, by which it dates things, as estimated from its last
    /// answer.
    pub(crate) fn server_time(&self) -> At {
        let ahead = self.state().ahead;
        later(self.clock.now(), ahead)
    }

    /// Reads the end of a long text, such as a log: at most `most` bytes.
    ///
    /// The home may redirect to where the text is kept. That redirect is followed, once and without
    /// the credential: such an address carries the permission to read.
    pub(crate) async fn tail(&self, request: &Request, most: usize) -> PortResult<Vec<u8>> {
        let _permit = self.permit().await?;
        let failed = |failed: Failed| failed.error;
        let (building, _) =
            self.building(request, &self.url(request)?, None).await.map_err(failed)?;
        let sent = building.send().await;
        let sent = sent.map_err(|error| self.unanswered(request, error).error)?;
        let (status, headers) = (sent.status(), sent.headers().clone());
        if status.is_success() || status.is_redirection() {
            // A redirect counts as the home's answer.
            self.state().answers.whole += 1;
        }
        if status.is_success() {
            return tail::end_of(sent, most).await.map_err(|e| self.unanswered(request, e).error);
        }
        if status.is_redirection() {
            let elsewhere = tail::target(&headers, &self.spec.base)
                .map_err(|why| PortError::permanent(format!("{request}: {why}")))?;
            let sent = self
                .client
                .get()?
                .get(elsewhere)
                .send()
                .await
                .and_then(reqwest::Response::error_for_status);
            let sent = sent.map_err(|error| self.unanswered(request, error).error)?;
            return tail::end_of(sent, most).await.map_err(|e| self.unanswered(request, e).error);
        }
        let body = self.body(request, sent).await.map_err(failed)?;
        let limit = self.heed(request, status, &headers, &body).await;
        Err(limit.unwrap_or_else(|| {
            refused(&request.to_string(), &self.spec.home, status, &headers, &body)
        }))
    }

    /// Takes in the limits that another process with the same account was told.
    pub(crate) fn learn_limits(&self, limits: Limits) {
        let mut state = self.state();
        let until = limits.until.filter(|until| *until > self.clock.now());
        state.until = state.until.max(until);
        state.quota = state.quota.or(limits.quota);
    }

    /// Tells `limit_observer` of limits from now on; only the first call has an effect.
    pub(crate) fn set_limit_observer(&self, limit_observer: Arc<dyn LimitObserver>) {
        // The first one stays.
        let _ = self.limit_observer.set(limit_observer);
    }

    /// The address that the paths of requests are below.
    pub(crate) fn base(&self) -> &Url {
        &self.spec.base
    }

    /// The host, with its port if the address has one.
    pub(crate) fn host(&self) -> String {
        let host = self.spec.base.host_str().unwrap_or_default();
        self.spec.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The home as people know it, for errors.
    pub(crate) fn home(&self) -> &str {
        &self.spec.home
    }

    fn url(&self, request: &Request) -> PortResult<Url> {
        let mut url = self.spec.base.clone();
        {
            let segments = url.path_segments_mut();
            let mut segments =
                segments.map_err(|()| PortError::permanent("the url of the API has no path"))?;
            segments.pop_if_empty().extend(&request.segments);
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok(url)
    }

    fn next(&self, answer: &Answer) -> PortResult<Option<Url>> {
        link::next(&answer.headers, &self.spec.base)
            .map_err(|why| PortError::permanent(format!("{}: {why}", answer.request)))
    }

    /// One request and its answer, within the account's limits. Reads without an answer are
    /// repeated; so is, once, a request whose credential was refused but may be accepted in a
    /// moment.
    async fn exchange(
        &self,
        request: &Request,
        url: &Url,
        known: Option<&Validator>,
    ) -> PortResult<(Answer, Digest)> {
        self.exchange_failing(request, url, known).await.map_err(|failed| failed.error)
    }

    async fn exchange_failing(
        &self,
        request: &Request,
        url: &Url,
        known: Option<&Validator>,
    ) -> Result<(Answer, Digest), Failed> {
        if request.method.reads() {
            let _permit = self.permit().await?;
            let mut pauses = ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(200))
                .with_max_times(REPEATS)
                .with_jitter()
                .with_jitter_seed(spread(request))
                .build();
            loop {
                let answer = self.once(request, url, known).await;
                let missing = answer.as_ref().is_err_and(|failed| failed.missing);
                let Some(pause) = pauses.next().filter(|_| missing) else { return answer };
                let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
                self.clock.sleep_until(later(self.clock.now(), pause)).await;
            }
        }
        let mut wrote = self.wrote.lock().await;
        if let Some(at) = *wrote {
            let next = at.checked_add(self.spec.between_writes).unwrap_or(at);
            // After the clock was set back, writes do not wait for it to catch up.
            if self.clock.now() >= at && self.clock.now() < next {
                self.clock.sleep_until(next).await;
            }
        }
        // Only now, so that writes that wait for their turn hold up no read.
        let _permit = self.permit().await?;
        let answer = self.once(request, url, known).await;
        *wrote = Some(self.clock.now());
        answer
    }

    async fn permit(&self) -> PortResult<SemaphorePermit<'_>> {
        self.at_once.acquire().await.map_err(PortError::permanent)
    }

    async fn once(
        &self,
        request: &Request,
        url: &Url,
        known: Option<&Validator>,
    ) -> Result<(Answer, Digest), Failed> {
        match self.try_once(request, url, known).await {
            Err(Failed { refused: true, .. }) => {
                // The signer says that another attempt may help.
                self.clock.sleep_until(later(self.clock.now(), SignedDuration::from_secs(1))).await;
                self.try_once(request, url, known).await
            }
            answer => answer,
        }
    }

    async fn try_once(
        &self,
        request: &Request,
        url: &Url,
        known: Option<&Validator>,
    ) -> Result<(Answer, Digest), Failed> {
        let (mut building, signature) = self.building(request, url, known).await?;
        let credential = signature.as_ref().map_or_else(|| Digest::of(""), |s| s.digest.clone());
        if !self.spec.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(ACCEPT.as_str())) {
            building = building.header(ACCEPT, "application/json");
        }
        let sent = building.send().await.map_err(|error| self.unanswered(request, error))?;
        let (status, headers) = (sent.status(), sent.headers().clone());
        let body = self.body(request, sent).await?;
        if let Some(error) = self.heed(request, status, &headers, &body).await {
            return Err(error.into());
        }
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            let answer = Answer { request: request.to_string(), status, headers, body };
            return Ok((answer, credential));
        }
        let error = refused(&request.to_string(), &self.spec.home, status, &headers, &body);
        let again = match (&self.spec.sign, &signature) {
            (Some(sign), Some(signature)) if status == StatusCode::UNAUTHORIZED => {
                sign.refused(request, signature).await
            }
            _ => false,
        };
        let missing = matches!(status.as_u16(), 502..=504);
        Err(Failed {
            status: Some(status.as_u16()),
            text: raw_refusal_text(&body),
            redirect: redirect_target(status, &headers),
            missing,
            refused: again,
            ..error.into()
        })
    }

    /// The request with its credential, once limits allow it.
    async fn building(
        &self,
        request: &Request,
        url: &Url,
        known: Option<&Validator>,
    ) -> Result<(reqwest::RequestBuilder, Option<Signature>), Failed> {
        self.may_send(request)?;
        let signature = match &self.spec.sign {
            Some(sign) => Some(sign.sign(request).await?),
            None => None,
        };
        let credential = signature.as_ref().map_or_else(|| Digest::of(""), |s| s.digest.clone());
        let client = self.client.get()?;
        let mut building = client.request(request.method.verb(), url.clone());
        for (name, value) in self.spec.headers {
            building = building.header(*name, *value);
        }
        if let Some(signature) = &signature {
            building = building.header(&signature.name, &signature.value);
        }
        let tag = known.filter(|known| known.credential == credential);
        let tag = tag.and_then(|known| HeaderValue::from_str(known.etag.as_ref()?).ok());
        if let Some(tag) = tag {
            building = building.header(IF_NONE_MATCH, tag);
        }
        match &request.body {
            None => {}
            Some(Body::Json(body)) => {
                building =
                    building.header("content-type", "application/json").body(body.to_string());
            }
            Some(Body::Form(body)) => {
                building = building
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body.clone());
            }
        }
        Ok((building, signature))
    }

    /// Fails while a limit lasts.
    fn may_send(&self, request: &Request) -> PortResult<()> {
        let mut state = self.state();
        let Some(until) = state.until else { return Ok(()) };
        let now = self.clock.now();
        if now >= until {
            state.until = None;
            return Ok(());
        }
        Err(self.wait(request, until))
    }

    fn wait(&self, request: &Request, until: At) -> PortError {
        let home = &self.spec.home;
        let why = format!("{request}: {home} limits how often this account asks: again at {until}");
        PortError::new(PortErrorKind::RateLimited { until }, why)
    }

    /// Takes in what an answer says about limits, and tells [`LimitObserver`] of one that begins. Returns
    /// an error if the answer is nothing but a limit.
    async fn heed(
        &self,
        request: &Request,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<PortError> {
        let before = self.limits().until;
        let error = self.note(request, status, headers, body, self.clock.now());
        let limits = self.limits();
        if limits.until > before
            && let Some(limit_observer) = self.limit_observer.get()
        {
            limit_observer.limited(limits).await;
        }
        error
    }

    /// Takes in what an answer says about limits. Returns an error if it is nothing but a limit.
    fn note(
        &self,
        request: &Request,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: At,
    ) -> Option<PortError> {
        let mut state = self.state();
        if let Some(date) = Answer::date(headers) {
            state.ahead = date.duration_since(now);
        }
        if let Some(quota) = Quota::of(headers, now) {
            state.quota = Some(quota);
        }
        let Some(until) = limited(status, headers, body, state.strikes, now) else {
            state.strikes = 0;
            state.answers.count(status);
            return None;
        };
        state.until = Some(until);
        // The last request of a quota is still answered: only the next one has to wait.
        let answered = status == StatusCode::NOT_MODIFIED
            || (status.is_success() && state.quota.is_some_and(|quota| quota.remaining == 0));
        if answered {
            state.answers.count(status);
            return None;
        }
        state.answers.limited += 1;
        state.strikes += 1;
        Some(self.wait(request, until))
    }

    async fn body(
        &self,
        request: &Request,
        mut sent: reqwest::Response,
    ) -> Result<Vec<u8>, Failed> {
        let mut body = Vec::new();
        while let Some(chunk) = sent.chunk().await.map_err(|e| self.unanswered(request, e))? {
            let (most, helps) = request.most;
            if body.len() + chunk.len() > most {
                let mib = most >> 20;
                let why = format!("{request}: the answer is larger than {mib} MiB{helps}");
                return Err(Failed { too_large: true, ..PortError::permanent(why).into() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unanswered(&self, request: &Request, error: reqwest::Error) -> Failed {
        self.state().answers.missing += 1;
        let home = &self.spec.home;
        // After a time limit the request is not repeated: the caller has a limit of its own.
        let missing = !error.is_timeout();
        let error = error.without_url();
        let why = if error.is_timeout() {
            format!("{request}: {home} did not answer in time")
        } else {
            format!("{request}: {home} did not answer: {}", PortError::transient(error).chain())
        };
        Failed { missing, ..PortError::transient(why).into() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnswerCounts {
    /// Counts an answer that is not a rate limit.
    fn count(&mut self, status: StatusCode) {
        let of = match status {
            StatusCode::NOT_MODIFIED => &mut self.unchanged,
            status if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS => {
                &mut self.whole
            }
            _ => &mut self.refused,
        };
        *of += 1;
    }
}

/// A failed exchange.
struct Failed {
    error: PortError,
    /// The status of the answer, if there was one.
    status: Option<u16>,
    /// The text of its body.
    text: String,
    /// Where it redirects to.
    redirect: Option<String>,
    /// Whether the answer was larger than the request allows.
    too_large: bool,
    /// Whether no answer came, or only one of a proxy before the home (502 to 504).
    missing: bool,
    /// Whether the credential was refused and may be accepted in a moment.
    refused: bool,
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        let (status, text, redirect) = (None, String::new(), None);
        Self { error, status, text, redirect, too_large: false, missing: false, refused: false }
    }
}

impl From<Failed> for RequestFailure {
    fn from(failed: Failed) -> Self {
        let Failed { error, status, text, redirect, too_large, .. } = failed;
        Self { status, text, redirect, too_large, error }
    }
}

/// The seed of the jitter of a request's pauses. The same request always pauses alike, so that
/// tests are reproducible.
fn spread(request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.to_string().hash(&mut hasher);
    hasher.finish()
}

fn later(now: At, by: SignedDuration) -> At {
    now.checked_add(by).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Method, client};
    use super::*;
    use crate::stages::testing::Home;

    /// A clock that stands still, so that sleeping never ends.
    struct Still;

    #[async_trait]
    impl Clock for Still {
        fn now(&self) -> At {
            At::UNIX_EPOCH
        }
        async fn sleep_until(&self, _at: At) {
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test]
    async fn writes_that_wait_for_their_turn_hold_up_no_read() {
        let home = Home::open().await;
        home.gives("GET /x", &json!({}));
        home.gives("POST /x", &json!({}));
        let spec = Spec {
            home: "home".to_owned(),
            base: home.url.parse().unwrap(),
            sign: None,
            headers: &[],
            between_writes: SignedDuration::from_secs(1),
        };
        let account = Arc::new(Account::new(client(), Arc::new(Still), spec));
        let write = Request::new(Method::Post, ["x"]);
        account.send(&write).await.unwrap();
        for _ in 0..AT_ONCE {
            let (account, write) = (account.clone(), write.clone());
            tokio::spawn(async move { account.send(&write).await });
        }
        tokio::task::yield_now().await;
        let read = Request::get(["x"]);
        let read = tokio::time::timeout(Duration::from_secs(10), account.send(&read));
        read.await.expect("it waits for the writes").unwrap();
    }
}
