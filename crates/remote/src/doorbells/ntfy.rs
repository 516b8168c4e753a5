//! The doorbells of ntfy: JSON to the root of the server, since its headers carry no text beyond
//! ASCII.
//!
//! ntfy turns a message of more than 4,096 bytes into an attachment, and accepts a document of
//! twice that length: longer messages are shortened. Whoever knows a topic can read it, so no error
//! contains one.

use std::sync::Arc;

use afk_core::config::Mistake;
use afk_core::digest::Digest;
use afk_core::doorbell::{Doorbell, DoorbellPriority};
use afk_core::secret::SecretSource;
use afk_core::text::{Keep, bounded};
use afk_engine::ports::{Clock, Doorbells, PortResult, Secrets};
use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Named, address, missing, web_link};
use crate::http::{self, Account, Method, Request, Scheme, Sign, Spec, Token};
use crate::settings::{DoorbellTable, RemoteSettings};

/// The kind of these doorbells in the configuration.
pub const NTFY: &str = "ntfy";

/// The server if none is configured.
const SERVER: &str = "https://ntfy.sh/";
/// Lengths that a message is shortened to, in bytes, tried from the longest until the document
/// fits: escapes in JSON need room, too.
const MESSAGES: [usize; 4] = [4_000, 3_000, 2_000, 1_000];
/// Maximum length of the whole document, in bytes; a server takes 8,192.
const DOCUMENT: usize = 8_000;
/// Maximum length of a topic.
const TOPIC: usize = 64;

/// A topic at a server.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    url: Url,
    topic: String,
    token: Option<SecretSource>,
}

impl Target {
    /// Reads the table; an error lists its mistakes.
    pub(super) fn read(table: &DoorbellTable) -> Result<Self, Vec<Mistake>> {
        let url = address(table.url.as_deref().unwrap_or(SERVER));
        let topic = match &table.topic {
            None => Err(missing("ntfy needs a topic; add it")),
            Some(topic) if is_topic(topic) => Ok(topic.clone()),
            Some(_) => {
                let what = "must have 1 to 64 characters: letters, digits, - and _";
                Err(Mistake::at(&["topic"], what))
            }
        };
        match (url, topic) {
            (Ok(url), Ok(topic)) => Ok(Self { url, topic, token: table.token.clone() }),
            (url, topic) => Err(url.err().into_iter().chain(topic.err()).collect()),
        }
    }
}

fn is_topic(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=TOPIC).contains(&text.len()) && text.bytes().all(is_part)
}

/// The doorbells that publish to ntfy.
pub struct NtfyDoorbells {
    client: http::Client,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    named: Named<Account>,
}

/// The answer to a message that was published.
#[derive(Deserialize)]
struct Published {
    #[serde(rename = "id")]
    _id: String,
}

impl NtfyDoorbells {
    /// Without any doorbell, until [`Self::configure`]. `secrets` reads their tokens.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self { client: http::client(), secrets, clock, named: Named::new(NTFY) }
    }

    /// Replaces the configuration.
    pub fn configure(&self, settings: Arc<RemoteSettings>) {
        self.named.configure(settings);
    }

    fn account(&self, target: &Target) -> Account {
        let token = target.token.clone().map(|source| {
            Box::new(Token::new(self.secrets.clone(), source, Scheme::Bearer)) as Box<dyn Sign>
        });
        let spec = Spec {
            home: target.url.host_str().unwrap_or(NTFY).to_owned(),
            base: target.url.clone(),
            sign: token,
            headers: &[],
            between_writes: SignedDuration::ZERO,
        };
        Account::new(self.client.clone(), self.clock.clone(), spec)
    }
}

#[async_trait]
impl Doorbells for NtfyDoorbells {
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        let target = self.named.target(name, Target::read)?;
        let of = Digest::of(json!([target.url.as_str(), target.token]).to_string());
        let account = self.named.kept(name, of, || self.account(&target));
        let request = Request::new(Method::Post, [""; 0]).json(message(&target.topic, doorbell));
        account.json::<Published>(&request).await.map(drop)
    }
}

/// The document that publishes `doorbell`.
fn message(topic: &str, doorbell: &Doorbell) -> Value {
    let click = web_link(doorbell.link.as_deref());
    let priority = match doorbell.priority {
        DoorbellPriority::Low => 2,
        DoorbellPriority::High => 4,
    };
    let text = if click.is_some() { doorbell.detail() } else { &doorbell.body };
    // ntfy would show an empty message as "triggered".
    let text = if text.is_empty() { &doorbell.title } else { text };
    let made = |most: usize| {
        let mut document = json!({
            "topic": topic,
            "title": doorbell.title,
            "message": bounded(text, most, Keep::Head),
            "tags": doorbell.tags,
            "priority": priority,
        });
        if let Some(click) = &click {
            document["click"] = click.as_str().into();
        }
        document
    };
    let fits = |document: &Value| document.to_string().len() <= DOCUMENT;
    let [most, less @ ..] = MESSAGES;
    less.into_iter().fold(made(most), |known, most| if fits(&known) { known } else { made(most) })
}

#[cfg(test)]
mod tests {
    use afk_core::doorbell::{DoorbellKind, Ring};
    use afk_engine::ports::PortErrorKind;

    use super::*;
    use crate::stand_in::{self, SetSecrets, StandIn, StillClock};

    fn bell(kind: DoorbellKind, detail: &str, link: Option<&str>) -> Doorbell {
        let run = "0199c0de-0000-7000-8000-000000000001".parse().unwrap();
        let issue = "o/web#7".parse().unwrap();
        Doorbell::new(&Ring { run, issue: &issue, kind, reason: None, detail, link, nth: 0 })
    }

    #[test]
    fn a_doorbell_is_a_document_with_numbers_and_a_click() {
        let bell =
            bell(DoorbellKind::NeedsHuman, "CI failed – ünlucky", Some("https://t/?x=1&y=2"));
        let expected = json!({
            "topic": "builds",
            "title": "[NEEDS-HUMAN] o/web#7 needs a human",
            "message": "CI failed – ünlucky",
            "tags": ["afk", "escalation", "needs-human"],
            "priority": 4,
            "click": "https://t/?x=1&y=2",
        });
        assert_eq!(message("builds", &bell), expected);
    }

    #[test]
    fn nothing_to_say_and_a_link_that_no_browser_opens() {
        let told = message("t", &bell(DoorbellKind::Done, "", Some("javascript:alert(1)")));
        assert_eq!(told["message"], "Thread: javascript:alert(1)");
        assert_eq!((&told["click"], &told["priority"]), (&Value::Null, &json!(2)));
        let told = message("t", &bell(DoorbellKind::Done, "", None));
        assert_eq!(told["message"], "[DONE] o/web#7 landed");
    }

    #[test]
    fn a_long_message_stays_a_message() {
        for long in ["x".repeat(9_000), "\"".repeat(9_000), "\n– ü".repeat(3_000)] {
            let told = message("t", &bell(DoorbellKind::Frozen, &long, None));
            assert!(told["message"].as_str().unwrap().len() <= 4_096);
            assert!(told.to_string().len() <= DOCUMENT, "{}", told.to_string().len());
            assert!(told["message"].as_str().unwrap().contains("omitted"));
        }
    }

    /// Checks that the server takes the document, and as what it is. No package that tests could
    /// install brings the server, so this was checked against its source, version 2, as of November
    /// 2026:
    /// `publishMessage` in `server/types.go` has the fields and their types (a priority in quotes
    /// is 400); `transformBodyJSON` in `server/server.go` reads at most twice the limit of a
    /// message, wants a topic of `^[-_A-Za-z0-9]{1,64}$`, joins the tags by commas, and says
    /// "triggered" for an empty message; a message of more than 4,096 bytes becomes an attachment;
    /// what was published is answered as `message` of `types.go`, with an `id`.
    fn checked(document: &Value) {
        let fields = document.as_object().unwrap();
        let known = ["topic", "message", "title", "tags", "priority", "click"];
        assert!(fields.keys().all(|field| known.contains(&field.as_str())), "{document}");
        let text = |field: &str| fields[field].as_str().unwrap();
        assert!(is_topic(text("topic")) && !text("message").is_empty(), "{document}");
        assert!(text("message").len() <= 4_096 && document.to_string().len() <= 8_192);
        let is_one = |tag: &Value| tag.as_str().is_some_and(|tag| !tag.contains(','));
        assert!(fields["tags"].as_array().unwrap().iter().all(is_one), "{document}");
        assert!((1..=5).contains(&fields["priority"].as_i64().unwrap()), "{document}");
        assert!(fields.get("click").is_none_or(Value::is_string), "{document}");
    }

    #[tokio::test]
    async fn it_is_published_to_the_root_with_the_token() {
        let published = json!({ "id": "x", "time": 1, "event": "message", "topic": "builds" });
        let server = StandIn::start([stand_in::json(200, published)]).await;
        let secrets = Arc::<SetSecrets>::default();
        secrets.set("TOKEN", "tk_1");
        let ntfy = NtfyDoorbells::new(secrets, StillClock::new());
        let settings = json!({ "notify": [{
            "kind": "ntfy", "url": server.url.as_str(), "topic": "builds", "token": { "env": "TOKEN" },
        }] });
        ntfy.configure(Arc::new(serde_json::from_value(settings).unwrap()));
        let bell = bell(DoorbellKind::Done, &"long ".repeat(900), Some("https://t/1"));
        ntfy.ring("ntfy", &bell).await.unwrap();
        let asked = server.asked().remove(0);
        assert_eq!((asked.line.as_str(), asked.header("authorization")), ("POST /", "Bearer tk_1"));
        checked(&asked.body);

        let refusal = json!({ "code": 40301, "http": 403, "error": "forbidden" });
        server.answers([stand_in::json(403, refusal)]);
        let error = ntfy.ring("ntfy", &bell).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Auth);
        assert!(error.chain().contains("127.0.0.1 answered 403: forbidden"), "{}", error.chain());
        assert!(!error.chain().contains("builds"), "{}", error.chain());
        let page = (200, vec![("content-type", "text/html".to_owned())], "<html>".to_owned());
        server.answers([page]);
        let error = ntfy.ring("ntfy", &bell).await.unwrap_err();
        assert!(error.chain().contains("does the url name the API?"), "{}", error.chain());
        let error = ntfy.ring("other", &bell).await.unwrap_err();
        assert!(error.chain().contains("no ntfy doorbell named \"other\""), "{}", error.chain());
    }
}
