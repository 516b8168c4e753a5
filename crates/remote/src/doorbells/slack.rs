//! The doorbells of Slack: an incoming webhook, or a bot.
//!
//! A bot threads the messages of a run: the first is the parent, and later ones are replies, which
//! the channel sees, too, where a person must act. The parent is remembered in a note; without the
//! note, the next message is a new parent. A webhook's answer does not say which message it made,
//! so its messages have no threads.
//!
//! A webhook's URL is a secret from its first path segment on: its requests have no path of their
//! own that an error could show, and the URL is masked in errors.

use std::sync::Arc;

use afk_core::config::Mistake;
use afk_core::digest::Digest;
use afk_core::doorbell::{Doorbell, DoorbellPriority};
use afk_core::ids::At;
use afk_core::secret::SecretSource;
use afk_core::text::{AT, Mask};
use afk_engine::ports::{Clock, Doorbells, Notes, PortError, PortErrorKind, PortResult, Secrets};
use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Named, missing, web_link};
use crate::http::{self, Account, Method, Request, Scheme, Spec, Token};
use crate::settings::{DoorbellTable, RemoteSettings};

/// The kind of these doorbells in the configuration.
pub const SLACK: &str = "slack";

/// Slack's API.
const API: &str = "https://slack.com/api/";
/// The kind of the notes that hold the parent of a run's thread.
const THREADS: &str = "slack-thread";
/// The shortest time between two messages: Slack allows one a second in a channel.
const BETWEEN: SignedDuration = SignedDuration::from_secs(1);
/// How long to wait after a limit that names no time.
const LIMITED: SignedDuration = SignedDuration::from_secs(30);
/// Maximum length of a channel's name or id; Slack's own bound for names is 80.
const CHANNEL: usize = 100;

/// What posts, and where to.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    /// An incoming webhook, whose URL names the channel.
    Webhook(SecretSource),
    /// A bot in a channel.
    Bot { token: SecretSource, channel: String },
}

impl Target {
    /// Reads the table; an error lists its mistakes.
    pub(super) fn read(table: &DoorbellTable) -> Result<Self, Vec<Mistake>> {
        let DoorbellTable { webhook, token, channel, .. } = table;
        let mistake = match (webhook, token, channel) {
            (Some(webhook), None, None) => return Ok(Self::Webhook(webhook.clone())),
            (Some(_), _, _) => {
                let what = "cannot be used together with token and channel; omit it or them";
                Mistake::at(&["webhook"], what)
            }
            (None, None, None) => {
                missing("slack needs a webhook, or a token and a channel; add them")
            }
            (None, None, Some(_)) => missing("a bot of slack needs a token; add it"),
            (None, Some(_), None) => missing("a bot of slack needs a channel; add it"),
            (None, Some(token), Some(channel)) if is_channel(channel) => {
                return Ok(Self::Bot { token: token.clone(), channel: channel.clone() });
            }
            (None, Some(_), Some(_)) => {
                let what = "must be the id or the name of a channel, without blanks";
                Mistake::at(&["channel"], what)
            }
        };
        Err(vec![mistake])
    }
}

fn is_channel(text: &str) -> bool {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control();
    (1..=CHANNEL).contains(&text.len()) && text.chars().all(is_part)
}

/// The doorbells that post to Slack.
pub struct SlackDoorbells {
    client: http::Client,
    secrets: Arc<dyn Secrets>,
    notes: Arc<dyn Notes>,
    clock: Arc<dyn Clock>,
    api: Url,
    named: Named<Poster>,
}

/// The state of one doorbell.
struct Poster {
    account: Account,
    /// Held while a bot posts, so that the second message of a run finds the first one's note.
    posts: tokio::sync::Mutex<()>,
}

/// The API's answer, which comes with status 200 even for a refusal.
#[derive(Deserialize)]
struct Posted {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    ts: Option<String>,
}

impl SlackDoorbells {
    /// Without any doorbell, until [`Self::configure`]. `secrets` reads webhooks and tokens;
    /// `notes` hold the parents of threads.
    pub fn new(
        secrets: Arc<dyn Secrets>,
        notes: Arc<dyn Notes>,
        clock: Arc<dyn Clock>,
    ) -> PortResult<Self> {
        let api = Url::parse(API).map_err(PortError::permanent)?;
        let (client, named) = (http::client(), Named::new(SLACK));
        Ok(Self { client, secrets, notes, clock, api, named })
    }

    /// Replaces the configuration.
    pub fn configure(&self, settings: Arc<RemoteSettings>) {
        self.named.configure(settings);
    }

    fn poster(&self, base: Url, token: Option<&SecretSource>) -> Poster {
        let token = token.cloned();
        let sign = token.map(|token| {
            Box::new(Token::new(self.secrets.clone(), token, Scheme::Bearer)) as Box<_>
        });
        let spec =
            Spec { home: "Slack".to_owned(), base, sign, headers: &[], between_writes: BETWEEN };
        let account = Account::new(self.client.clone(), self.clock.clone(), spec);
        Poster { account, posts: tokio::sync::Mutex::default() }
    }

    async fn by_webhook(
        &self,
        name: &str,
        source: &SecretSource,
        bell: &Doorbell,
    ) -> PortResult<()> {
        let secret = self.secrets.read(source).await?;
        let url = webhook_url(&secret).ok_or_else(|| {
            let why = format!(
                "the secret from {source} is not the URL of an incoming webhook: one is https://, a \
                 host and a path"
            );
            PortError::new(PortErrorKind::Auth, why)
        })?;
        let of = Digest::of(secret.expose_secret());
        let poster = self.named.kept(name, of, || self.poster(url.clone(), None));
        let request = Request::new(Method::Post, [""; 0]).json(message(bell));
        let sent = poster.account.send(&request).await;
        sent.map(drop).map_err(|error| webhook_refused(&error, &url))
    }

    async fn by_bot(
        &self,
        name: &str,
        token: &SecretSource,
        channel: &str,
        bell: &Doorbell,
    ) -> PortResult<()> {
        let of = Digest::of(json!(token).to_string());
        let poster = self.named.kept(name, of, || self.poster(self.api.clone(), Some(token)));
        let _next = poster.posts.lock().await;
        let key = bell.run.map(|run| format!("{name} {channel} {run}"));
        let known = match &key {
            Some(key) => self.notes.read(THREADS, key).await?,
            None => None,
        };
        let parent = known.as_ref().and_then(|known| known["ts"].as_str());
        if let Some(parent) = parent {
            match self.post(&poster, posted(channel, Some(parent), bell)).await? {
                Ok(_) => return Ok(()),
                // Somebody removed the parent, or locked its thread: this message is a new parent.
                Err(code) if is_about_thread(&code) => {}
                Err(code) => return Err(self.refused(&code)),
            }
        }
        let answer = self.post(&poster, posted(channel, None, bell)).await?;
        let ts = answer.map_err(|code| self.refused(&code))?;
        if let (Some(key), Some(ts)) = (key, ts) {
            let parent = json!({ "ts": ts });
            let noted = self.notes.write(THREADS, &key, &parent, self.clock.now()).await;
            // The doorbell has rung: an error would make it ring again.
            if let Err(error) = noted {
                tracing::warn!(error = error.chain(), "could not record the thread of a run");
            }
        }
        Ok(())
    }

    /// Posts a message, and returns its `ts`, or the code of Slack's refusal.
    async fn post(
        &self,
        poster: &Poster,
        body: Value,
    ) -> PortResult<Result<Option<String>, String>> {
        let request = Request::new(Method::Post, ["chat.postMessage"]).json(body);
        let Posted { ok, error, ts } = poster.account.json(&request).await?;
        Ok(if ok { Ok(ts) } else { Err(error) })
    }

    fn refused(&self, code: &str) -> PortError {
        refused(code, self.clock.now())
    }
}

#[async_trait]
impl Doorbells for SlackDoorbells {
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        match self.named.target(name, Target::read)? {
            Target::Webhook(source) => self.by_webhook(name, &source, doorbell).await,
            Target::Bot { token, channel } => self.by_bot(name, &token, &channel, doorbell).await,
        }
    }
}

/// Parses the URL of a webhook: it needs a path, and TLS unless it is on this machine.
fn webhook_url(secret: &SecretString) -> Option<Url> {
    let url = Url::parse(secret.expose_secret()).ok()?;
    let is_near = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_near);
    (is_safe && url.has_host() && url.path().len() > 1).then_some(url)
}

/// The text of `doorbell` in Slack's markup.
fn text(doorbell: &Doorbell) -> String {
    let link = web_link(doorbell.link.as_deref());
    let detail = if link.is_some() { doorbell.detail() } else { &doorbell.body };
    let mut text = format!("*{}*", inert(&doorbell.title));
    if !detail.is_empty() {
        text.push('\n');
        text.push_str(&inert(detail));
    }
    if let Some(link) = link {
        // These characters would end the address early.
        let link = link.replace('|', "%7C").replace('<', "%3C").replace('>', "%3E");
        text = format!("{text}\n<{}|Open the thread>", link.replace('&', "&amp;"));
    }
    text
}

/// Escapes `text` so that nothing in it is a link or a mention.
fn inert(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('@', AT.encode_utf8(&mut [0; 4]))
}

/// The message of a webhook.
fn message(doorbell: &Doorbell) -> Value {
    json!({
        "text": text(doorbell),
        "mrkdwn": true,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// The message of a bot: a reply if there is a parent, which the channel sees, too, if a person
/// must act.
fn posted(channel: &str, parent: Option<&str>, doorbell: &Doorbell) -> Value {
    let mut body = message(doorbell);
    body["channel"] = channel.into();
    if let Some(parent) = parent {
        body["thread_ts"] = parent.into();
        body["reply_broadcast"] = (doorbell.priority == DoorbellPriority::High).into();
    }
    body
}

/// Whether a refusal is about the thread, so that the message can be posted outside it.
fn is_about_thread(code: &str) -> bool {
    matches!(
        code,
        "thread_not_found"
            | "invalid_thread_ts"
            | "message_not_found"
            | "cannot_reply_to_message"
            | "restricted_action_thread_locked"
    )
}

/// The error for a refusal of the API, by its code.
fn refused(code: &str, now: At) -> PortError {
    let code: String =
        code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(60).collect();
    let told =
        |kind, remedy: &str| PortError::new(kind, format!("Slack answered {code}: {remedy}"));
    match code.as_str() {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => {
            let until = now.checked_add(LIMITED).unwrap_or(now);
            told(PortErrorKind::RateLimited { until }, "it limits how often this bot posts")
        }
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
            told(PortErrorKind::Auth, "the token must be a bot's that is installed (xoxb-…)")
        }
        "missing_scope" | "no_permission" | "not_allowed_token_type" => {
            told(PortErrorKind::Auth, "the bot needs the scope chat:write")
        }
        "not_in_channel" | "channel_not_found" => {
            let remedy = "the bot does not see the channel: correct it, or invite the bot to it";
            told(PortErrorKind::NotFound, remedy)
        }
        "is_archived" => told(PortErrorKind::Permanent, "the channel is archived: name another"),
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => told(PortErrorKind::Transient, "it may take it in a moment"),
        _ => told(PortErrorKind::Permanent, "it does not take the message"),
    }
}

/// The error of a webhook, with its URL masked.
fn webhook_refused(error: &PortError, url: &Url) -> PortError {
    let secret = [url.as_str(), url.path()];
    let told = Mask::new(secret).text(&error.chain()).into_owned();
    let remedy = match error.kind {
        PortErrorKind::NotFound | PortErrorKind::Auth | PortErrorKind::Permanent => {
            "; the webhook was removed, or its channel archived: make a new one in Slack"
        }
        PortErrorKind::Transient | PortErrorKind::RateLimited { .. } | PortErrorKind::Cancelled => {
            ""
        }
    };
    PortError::new(error.kind, format!("{told}{remedy}"))
}

#[cfg(test)]
mod tests {
    use afk_core::doorbell::{DoorbellKind, Ring};

    use super::*;
    use crate::stand_in::{self, MemoryNotes, Reply, SetSecrets, StandIn, StillClock};

    fn bell(run: u8, kind: DoorbellKind, detail: &str, link: Option<&str>) -> Doorbell {
        let run = format!("0199c0de-0000-7000-8000-0000000000{run:02x}").parse().unwrap();
        let issue = "o/web#7".parse().unwrap();
        Doorbell::new(&Ring { run, issue: &issue, kind, reason: None, detail, link, nth: 0 })
    }

    #[test]
    fn a_doorbell_is_a_title_a_detail_and_a_link() {
        let bell = bell(1, DoorbellKind::NeedsHuman, "CI failed.", Some("https://t/?x=1&y=a|b>c"));
        let expected = "*[NEEDS-HUMAN] o/web#7 needs a human*\nCI failed.\n\
                        <https://t/?x=1&amp;y=a%7Cb%3Ec|Open the thread>";
        assert_eq!(message(&bell)["text"], expected);
        let reply = posted("C1", Some("1.2"), &bell);
        assert_eq!((&reply["channel"], &reply["thread_ts"]), (&json!("C1"), &json!("1.2")));
        assert_eq!(reply["reply_broadcast"], true);
        let first = posted("C1", None, &bell);
        assert!(first["thread_ts"].is_null() && first["reply_broadcast"].is_null());
    }

    #[test]
    fn outside_text_pings_nobody_and_links_nowhere() {
        let worst = "<!channel> <@U1> <https://evil|here> @here &lt;!here&gt; a & b";
        let mut bell = bell(1, DoorbellKind::Done, worst, Some("javascript:<!channel>"));
        bell.title = "<!everyone> @channel".to_owned();
        let told = message(&bell);
        let text = told["text"].as_str().unwrap();
        assert!(!text.contains(['<', '>', '@']), "{text}");
        assert!(text.contains("&lt;!channel&gt;") && text.contains("&amp;lt;!here"), "{text}");
        assert_eq!((&told["parse"], &told["link_names"]), (&json!("none"), &json!(false)));
    }

    #[test]
    fn a_webhook_is_posted_to_over_tls_or_on_this_machine() {
        let check = |url: &str| webhook_url(&SecretString::from(url)).is_some();
        let good = ["https://hooks.slack.com/services/T/B/x", "http://127.0.0.1:8000/x"];
        assert!(good.into_iter().all(check));
        let bad = ["http://hooks.slack.com/services/x", "https://hooks.slack.com/", "xoxb-1", ""];
        assert!(!bad.into_iter().any(check));
    }

    #[test]
    fn each_refusal_says_what_to_fix() {
        let check = |code: &str, kind: PortErrorKind, says: &str| {
            let told = refused(code, At::UNIX_EPOCH);
            assert_eq!(told.kind, kind, "{code}");
            assert!(told.chain().contains(says), "{}", told.chain());
        };
        check("invalid_auth", PortErrorKind::Auth, "invalid_auth: the token must be a bot's");
        check("missing_scope", PortErrorKind::Auth, "chat:write");
        check("not_in_channel", PortErrorKind::NotFound, "invite the bot");
        check("is_archived", PortErrorKind::Permanent, "name another");
        check("fatal_error", PortErrorKind::Transient, "in a moment");
        check("odd\u{1b}[2J <x>", PortErrorKind::Permanent, "answered odd2Jx: ");
        let until = At::from_second(30).unwrap();
        check("ratelimited", PortErrorKind::RateLimited { until }, "limits");
    }

    /// A bot in channel C1 and a webhook, both named, at one stand-in.
    struct Stage {
        slack: SlackDoorbells,
        server: StandIn,
        clock: Arc<StillClock>,
        notes: Arc<MemoryNotes>,
        secrets: Arc<SetSecrets>,
    }

    impl Stage {
        async fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
            let (server, clock) = (StandIn::start(replies).await, StillClock::new());
            let (notes, secrets) = (Arc::<MemoryNotes>::default(), Arc::<SetSecrets>::default());
            secrets.set("TOKEN", "xoxb-1");
            secrets.set("HOOK", &format!("{}services/T0/B0/hunter2hunter2", server.url));
            let slack = Self::slack(&server, &clock, &notes, &secrets);
            Self { slack, server, clock, notes, secrets }
        }

        /// The doorbells of a process that has just started.
        fn slack(
            server: &StandIn,
            clock: &Arc<StillClock>,
            notes: &Arc<MemoryNotes>,
            secrets: &Arc<SetSecrets>,
        ) -> SlackDoorbells {
            let made = SlackDoorbells::new(secrets.clone(), notes.clone(), clock.clone());
            let slack = SlackDoorbells { api: server.url.clone(), ..made.unwrap() };
            let settings = json!({ "notify": [
                { "kind": "slack", "name": "bot", "token": { "env": "TOKEN" }, "channel": "C1" },
                { "kind": "slack", "name": "hook", "webhook": { "env": "HOOK" } },
            ] });
            slack.configure(Arc::new(serde_json::from_value(settings).unwrap()));
            slack
        }

        fn restart(&mut self) {
            self.slack = Self::slack(&self.server, &self.clock, &self.notes, &self.secrets);
        }

        async fn ring(&self, name: &str, run: u8, kind: DoorbellKind) -> PortResult<()> {
            self.slack.ring(name, &bell(run, kind, "why", None)).await
        }

        /// The parents of the messages that were posted since the last call.
        fn parents(&self) -> Vec<Value> {
            self.server.asked().iter().map(|asked| asked.body["thread_ts"].clone()).collect()
        }
    }

    fn ok(ts: &str) -> Reply {
        stand_in::json(200, json!({ "ok": true, "channel": "C1", "ts": ts }))
    }

    fn no(code: &str) -> Reply {
        stand_in::json(200, json!({ "ok": false, "error": code }))
    }

    use DoorbellKind::{Done, NeedsHuman, Question};

    #[tokio::test]
    async fn a_run_is_a_thread_that_outlives_the_process() {
        let mut stage = Stage::new([ok("1.1"), ok("1.2"), ok("2.1"), ok("1.3")]).await;
        stage.ring("bot", 1, Question).await.unwrap();
        let first = stage.server.asked().remove(0);
        assert_eq!(first.line, "POST /chat.postMessage");
        assert_eq!(first.header("authorization"), "Bearer xoxb-1");
        assert_eq!(first.body["thread_ts"], Value::Null);
        stage.ring("bot", 1, Question).await.unwrap();
        stage.ring("bot", 2, Done).await.unwrap();
        stage.restart();
        stage.ring("bot", 1, NeedsHuman).await.unwrap();
        assert_eq!(stage.parents(), [json!("1.1"), Value::Null, json!("1.1")]);
    }

    #[tokio::test]
    async fn two_messages_of_a_run_at_once_are_one_thread() {
        let stage = Stage::new([ok("1.1"), ok("1.2"), ok("1.3")]).await;
        let begun = stage.clock.now();
        let ring = || stage.ring("bot", 1, Question);
        let (a, b, c) = tokio::join!(ring(), ring(), ring());
        assert!(a.and(b).and(c).is_ok());
        assert_eq!(stage.parents(), [Value::Null, json!("1.1"), json!("1.1")]);
        let took = stage.clock.now().duration_since(begun);
        assert_eq!(took, SignedDuration::from_secs(2), "a message a second a channel");
    }

    #[tokio::test]
    async fn a_thread_that_is_gone_begins_again() {
        let replies = [ok("1.1"), no("thread_not_found"), ok("5.1"), ok("5.2")];
        let stage = Stage::new(replies).await;
        for _ in 0..3 {
            stage.ring("bot", 1, Question).await.unwrap();
        }
        let parents = [Value::Null, json!("1.1"), Value::Null, json!("5.1")];
        assert_eq!(stage.parents(), parents);
        stage.notes.0.lock().unwrap().clear();
        stage.server.answers([ok("6.1")]);
        stage.ring("bot", 1, Question).await.unwrap();
        assert_eq!(stage.parents(), [Value::Null]);
    }

    #[tokio::test]
    async fn a_limit_is_waited_out_and_a_refusal_leaves_no_thread() {
        let limit = (429, vec![("retry-after", "30".to_owned())], String::new());
        let stage = Stage::new([no("channel_not_found"), limit, ok("1.1")]).await;
        let gone = stage.ring("bot", 1, Done).await.unwrap_err();
        assert_eq!(gone.kind, PortErrorKind::NotFound, "{}", gone.chain());
        let limited = stage.ring("bot", 1, Done).await.unwrap_err();
        let until = stage.clock.now().checked_add(SignedDuration::from_secs(30)).unwrap();
        assert_eq!(limited.kind, PortErrorKind::RateLimited { until });
        let still = stage.ring("bot", 1, Done).await.unwrap_err();
        assert_eq!(still.reset(), Some(until), "nothing is sent before");
        stage.clock.pass(31);
        stage.ring("bot", 1, Done).await.unwrap();
        assert_eq!(stage.parents(), [Value::Null, Value::Null, Value::Null]);
    }

    #[tokio::test]
    async fn a_webhook_posts_to_its_url_which_no_error_shows() {
        let stage = Stage::new([(200, Vec::new(), "ok".to_owned())]).await;
        stage.ring("hook", 1, Done).await.unwrap();
        let asked = stage.server.asked().remove(0);
        assert_eq!(asked.line, "POST /services/T0/B0/hunter2hunter2");
        assert_eq!(asked.header("authorization"), "");
        let elsewhere = format!("{}services/T0/B0/hunter2hunter2?", stage.server.url);
        for (reply, kind) in [
            ((404, Vec::new(), "no_service".to_owned()), PortErrorKind::NotFound),
            ((403, Vec::new(), "invalid_token".to_owned()), PortErrorKind::Auth),
            ((302, vec![("location", elsewhere)], String::new()), PortErrorKind::Permanent),
            ((500, Vec::new(), String::new()), PortErrorKind::Transient),
        ] {
            stage.server.answers([reply]);
            let error = stage.ring("hook", 1, Done).await.unwrap_err();
            let told = format!("{} {error:?}", error.chain());
            assert_eq!(error.kind, kind, "{told}");
            assert!(!told.contains("hunter2") && !told.contains("T0"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_webhook_that_was_rotated_is_used_at_once() {
        let taken = || (200, Vec::new(), "ok".to_owned());
        let stage = Stage::new([taken(), taken()]).await;
        stage.ring("hook", 1, Done).await.unwrap();
        stage.secrets.set("HOOK", &format!("{}services/new", stage.server.url));
        stage.ring("hook", 1, Done).await.unwrap();
        let lines: Vec<_> = stage.server.asked().into_iter().map(|asked| asked.line).collect();
        assert_eq!(lines, ["POST /services/T0/B0/hunter2hunter2", "POST /services/new"]);
        stage.secrets.set("HOOK", "hunter2");
        let error = stage.ring("hook", 1, Done).await.unwrap_err();
        assert!(
            error.chain().contains("environment variable HOOK is not the URL"),
            "{}",
            error.chain()
        );
        assert!(!error.chain().contains("hunter2"));
    }
}
