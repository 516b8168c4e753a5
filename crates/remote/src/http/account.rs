//! One credential at one home.

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

use super::answer::{Answer, moved, refused, said, words};
use super::limits::{Quota, limited};
use super::request::Body;
use super::{Client, Request, Sign, Signature, link, tail};

/// How many requests of one account are under way at once.
const AT_ONCE: usize = 8;
/// How many pages are read at most: a list that is longer is an error, never cut short.
const PAGES: usize = 200;
/// How often a read is repeated whose answer is missing.
const REPEATS: usize = 2;

/// What an account is made of.
pub(crate) struct Spec {
    /// The home as people know it, such as `github.com`; for errors.
    pub(crate) home: String,
    /// What paths are below of.
    pub(crate) base: Url,
    /// What authenticates; nothing is sent without if it is given.
    pub(crate) sign: Option<Box<dyn Sign>>,
    /// Headers of every request.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// How long to wait at least between two writes.
    pub(crate) between_writes: SignedDuration,
}

/// One credential at one home, with that account's limits.
pub(crate) struct Account {
    client: Client,
    clock: Arc<dyn Clock>,
    spec: Spec,
    state: Mutex<State>,
    at_once: Semaphore,
    /// When the last write ended.
    wrote: tokio::sync::Mutex<Option<At>>,
    heeds: OnceLock<Arc<dyn Heeds>>,
}

#[derive(Default)]
struct State {
    /// Until when nothing is sent.
    until: Option<At>,
    /// Limits met in a row.
    strikes: u32,
    quota: Option<Quota>,
    answers: AnswerCounts,
    /// How far the home's clock is ahead of ours, as its last answer said.
    ahead: SignedDuration,
}

/// What is known of an account's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// What is left of the quota.
    pub(crate) quota: Option<Quota>,
    /// Until when nothing is sent.
    pub(crate) until: Option<At>,
}

/// Who is told at once of a limit, for other processes with the same account.
#[async_trait]
pub(crate) trait Heeds: Send + Sync {
    /// The account is limited.
    async fn limited(&self, limits: Limits);
}

/// How a home answered the requests of this process so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerCounts {
    /// With a whole answer.
    pub whole: u64,
    /// That nothing has changed, which most homes do not charge for.
    pub unchanged: u64,
    /// That it limits how often it is asked.
    pub limited: u64,
    /// With any other no.
    pub refused: u64,
    /// Not at all, or not to the end.
    pub missing: u64,
}

/// By what a home can tell that an answer has not changed, and by what we can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validator {
    etag: Option<String>,
    /// Of the credential: a tag given to one is unknown to the home for another.
    credential: Digest,
    body: Digest,
}

/// The result of a conditional read.
#[derive(Debug)]
pub(crate) enum Changed {
    /// The same as when the validator was made; a new one where the home gave a whole answer.
    No(Option<Validator>),
    /// A different answer.
    Yes(Answer, Validator),
}

/// An answer that says no, or none at all.
#[derive(Debug)]
pub(crate) struct No {
    /// The answer's, if there was one.
    pub(crate) status: Option<u16>,
    /// What its body says, for whoever knows the home's words.
    pub(crate) said: String,
    /// Where it says that things are now, if it is a redirect.
    pub(crate) moved: Option<String>,
    /// Whether the answer is larger than any that is read.
    pub(crate) large: bool,
    /// What the loop does about it.
    pub(crate) error: PortError,
}

impl From<PortError> for No {
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
            heeds: OnceLock::new(),
        }
    }

    /// Sends it; an answer that says no is an error.
    pub(crate) async fn send(&self, request: &Request) -> PortResult<Answer> {
        self.exchange(request, &self.url(request)?, None).await.map(|(answer, _)| answer)
    }

    /// The same; an answer that says no is told with its status and its word.
    pub(crate) async fn send_or_no(&self, request: &Request) -> Result<Answer, No> {
        let answer = self.exchange_failing(request, &self.url(request)?, None).await;
        answer.map(|(answer, _)| answer).map_err(No::from)
    }

    /// Opens a `WebSocket` at that address; what is behind it is for whoever speaks over it. Its time
    /// is the caller's to limit.
    pub(crate) async fn upgrade(&self, request: &Request) -> Result<reqwest::Upgraded, No> {
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
            let (said, moved) = (said(&body), moved(status, &headers));
            return Err(No { status: Some(status.as_u16()), said, moved, large: false, error });
        }
        let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
        if accepted != Some(derive_accept_key(key.as_bytes()).as_str()) {
            let home = &self.spec.home;
            let why = format!("{request}: {home} does not speak over a WebSocket as it should");
            return Err(PortError::transient(why).into());
        }
        sent.upgrade().await.map_err(|error| self.unanswered(request, error).into())
    }

    /// Sends it, and reads the answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: &Request) -> PortResult<T> {
        self.send(request).await?.json()
    }

    /// Reads what is at `url`, an address of this home. An answer that says no is an error, with its
    /// status.
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

    /// The same for a list that is part of each page, from where `list` takes it.
    pub(crate) async fn pages_of<P: DeserializeOwned, T>(
        &self,
        request: &Request,
        list: impl Fn(P) -> Vec<T>,
    ) -> PortResult<Vec<T>> {
        self.pages_or_no(request, list).await.map_err(|no| no.error)
    }

    /// The same; an answer that says no is told with its status and its word.
    pub(crate) async fn pages_or_no<P: DeserializeOwned, T>(
        &self,
        request: &Request,
        list: impl Fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, No> {
        let mut all = Vec::new();
        for answer in self.answers_or_no(request).await? {
            all.extend(list(answer.json()?));
        }
        Ok(all)
    }

    /// Every page of a list, as the answers' links name them. A page that is too large is asked for in
    /// smaller ones: whoever writes long texts makes nothing unreadable.
    pub(crate) async fn answers(&self, request: &Request) -> PortResult<Vec<Answer>> {
        self.answers_or_no(request).await.map_err(|no| no.error)
    }

    async fn answers_or_no(&self, request: &Request) -> Result<Vec<Answer>, No> {
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
                Err(failed) => match link::smaller(&url).filter(|_| failed.large) {
                    Some(smaller) => url = smaller,
                    None => return Err(failed.into()),
                },
            }
        }
        let why = format!("{request}: the list has more than {PAGES} pages");
        Err(PortError::permanent(why).into())
    }

    /// Reads unless nothing has changed since `known`.
    pub(crate) async fn changed(
        &self,
        request: &Request,
        known: Option<&Validator>,
    ) -> PortResult<Changed> {
        let (answer, credential) = self.exchange(request, &self.url(request)?, known).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(Changed::No(None));
        }
        let etag = answer.header("etag").map(str::to_owned);
        let validator = Validator { etag, credential, body: Digest::of(&answer.body) };
        // A new credential gets a whole answer, which may be the one that is known.
        Ok(if known.is_some_and(|known| known.body == validator.body) {
            Changed::No(Some(validator))
        } else {
            Changed::Yes(answer, validator)
        })
    }

    /// What the answers so far said about limits.
    pub(crate) fn limits(&self) -> Limits {
        let state = self.state();
        Limits { quota: state.quota, until: state.until }
    }

    /// How requests were answered so far.
    pub(crate) fn answer_counts(&self) -> AnswerCounts {
        self.state().answers
    }

    /// The time by the home's own clock, in which it dates things, as far as it has told it.
    pub(crate) fn time_there(&self) -> At {
        let ahead = self.state().ahead;
        later(self.clock.now(), ahead)
    }

    /// The end of a long text, of at most `most` bytes.
    ///
    /// The home may answer with a redirect to where the text is kept. That one is followed, once
    /// and without the credential: the address itself is what permits to read it.
    pub(crate) async fn tail(&self, request: &Request, most: usize) -> PortResult<Vec<u8>> {
        let _permit = self.permit().await?;
        let failed = |failed: Failed| failed.error;
        let (building, _) =
            self.building(request, &self.url(request)?, None).await.map_err(failed)?;
        let sent = building.send().await;
        let sent = sent.map_err(|error| self.unanswered(request, error).error)?;
        let (status, headers) = (sent.status(), sent.headers().clone());
        if status.is_success() || status.is_redirection() {
            // The redirect is the answer.
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

    /// Takes in what another process with the same account was told.
    pub(crate) fn was_told(&self, limits: Limits) {
        let mut state = self.state();
        let until = limits.until.filter(|until| *until > self.clock.now());
        state.until = state.until.max(until);
        state.quota = state.quota.or(limits.quota);
    }

    /// `heeds` is told of limits from now on.
    pub(crate) fn tells(&self, heeds: Arc<dyn Heeds>) {
        // Whoever was first is told already.
        let _ = self.heeds.set(heeds);
    }

    /// What paths are below of.
    pub(crate) fn base(&self) -> &Url {
        &self.spec.base
    }

    /// The host, with its port if the address has one.
    pub(crate) fn host(&self) -> String {
        let host = self.spec.base.host_str().unwrap_or_default();
        self.spec.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The home, for errors.
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

    /// One exchange, within the account's limits; a credential that may be accepted in a moment is
    /// tried once more.
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
            // A clock that was set back does not hold writes up.
            if self.clock.now() >= at && self.clock.now() < next {
                self.clock.sleep_until(next).await;
            }
        }
        // Not before: a write that waits for its turn holds up no read.
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
                // Whoever signs knows that another attempt may help.
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
            said: words(&body),
            moved: moved(status, &headers),
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

    /// An error while a limit is waited out.
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

    /// Notes what an answer says about limits, and tells of one that begins; an error if the answer is
    /// nothing but a limit.
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
            && let Some(heeds) = self.heeds.get()
        {
            heeds.limited(limits).await;
        }
        error
    }

    /// Notes what an answer says about limits; an error if it is nothing but a limit.
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
        // The last request of a quota was answered all the same.
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
                return Err(Failed { large: true, ..PortError::permanent(why).into() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unanswered(&self, request: &Request, error: reqwest::Error) -> Failed {
        self.state().answers.missing += 1;
        let home = &self.spec.home;
        // A time limit is not repeated: the caller has one of its own.
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
    /// Counts an answer that is no limit.
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
    /// The answer's, if there was one.
    status: Option<u16>,
    /// What its body says.
    said: String,
    /// Where it redirects to.
    moved: Option<String>,
    /// Whether the answer was larger than any that is read.
    large: bool,
    /// Whether there was no answer, or none of the home's own.
    missing: bool,
    /// Whether the credential was refused and may be accepted in a moment.
    refused: bool,
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        let (status, said, moved) = (None, String::new(), None);
        Self { error, status, said, moved, large: false, missing: false, refused: false }
    }
}

impl From<Failed> for No {
    fn from(failed: Failed) -> Self {
        let Failed { error, status, said, moved, large, .. } = failed;
        Self { status, said, moved, large, error }
    }
}

/// What the pauses of different requests differ by. One request pauses alike each time, so that what a
/// test tells can be told again.
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

    /// A clock at which nobody ever wakes.
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
