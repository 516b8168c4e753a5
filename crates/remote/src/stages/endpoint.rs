//! The stage `http`: an address that answers with the commit, or the version, that runs there.
//!
//! While the answer names another commit, the verdict is pending: what runs there is being
//! replaced. So it is while the service answers with 404 or a status from 500, as when it restarts.
//! A commit fails only by a status that the table names.

use afk_core::config::Mistake;
use afk_core::ids::Oid;
use afk_core::secret::SecretSource;
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{PortError, PortResult, StageQuery, StageReport};
use serde_json::Value;

use super::homes::Homes;
use super::nothing_there;
use super::table::{StageTable, web};
use super::tail;
use crate::http::Scheme;

/// What the answer must contain if the table does not say.
const EXPECT: &str = "{short}";

/// The address that is read, and what its answer must contain once the commit is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// May contain `{commit}` and `{short}`.
    url: String,
    token: Option<SecretSource>,
    /// May contain `{commit}` and `{short}`.
    expect: String,
    pointer: Option<String>,
    failure_statuses: Vec<u16>,
}

impl Settings {
    /// Reads a stage's table.
    pub(super) fn read(table: &StageTable) -> Result<Self, Mistake> {
        let url = table.needed("url", table.url.as_ref())?;
        web(&with_commit(url, &"0".repeat(40)))?;
        let expect = table.expect.clone().unwrap_or_else(|| EXPECT.to_owned());
        if !expect.contains("{commit}") && !expect.contains("{short}") && !names_commit(url) {
            let what = "neither this nor the url contains {commit} or {short}, so that every commit \
                        would pass; add one of them";
            return Err(Mistake::at(&["expect"], what));
        }
        let pointer = table.pointer.clone();
        if pointer.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            return Err(Mistake::at(&["pointer"], "must begin with a \"/\", as in \"/commit\""));
        }
        let failure_statuses = table.failure_statuses.clone().unwrap_or_default();
        if failure_statuses.iter().any(|status| !(400..=599).contains(status)) {
            return Err(Mistake::at(&["failure_statuses"], "must be statuses from 400 to 599"));
        }
        let token = table.token.clone();
        Ok(Self { url: url.clone(), token, expect, pointer, failure_statuses })
    }
}

fn names_commit(text: &str) -> bool {
    text.contains("{commit}") || text.contains("{short}")
}

/// Replaces `{commit}` by the commit, and `{short}` by its first eight digits.
fn with_commit(text: &str, commit: &str) -> String {
    let short = commit.get(..8).unwrap_or(commit);
    text.replace("{commit}", commit).replace("{short}", short)
}

/// Whether the answer shows that the commit is there. An error says why it cannot be read.
fn is_there(settings: &Settings, commit: &Oid, body: &[u8]) -> Result<bool, String> {
    let expected = with_commit(&settings.expect, commit.as_str());
    let Some(pointer) = &settings.pointer else {
        return Ok(String::from_utf8_lossy(body).contains(&expected));
    };
    let whole: Value =
        serde_json::from_slice(body).map_err(|_| "the answer is not JSON".to_owned())?;
    Ok(match whole.pointer(pointer) {
        Some(Value::String(text)) => match settings.expect.as_str() {
            // A commit may be written in full or short.
            "{short}" | "{commit}" => super::commit::names(text, commit),
            _ => *text == expected,
        },
        Some(Value::Number(number)) => number.to_string() == expected,
        Some(Value::Bool(value)) => value.to_string() == expected,
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
    })
}

/// Reads the address, and says how the commit stands there.
pub(super) async fn poll(
    homes: &Homes,
    settings: &Settings,
    query: &StageQuery,
) -> PortResult<StageReport> {
    let address = with_commit(&settings.url, query.commit.as_str());
    let url = web(&address).map_err(|mistake| PortError::permanent(mistake.to_string()))?;
    // What follows the path is not shown: it may contain a key.
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let mut base = shown.clone();
    base.set_path("");
    let token = settings.token.as_ref().map(|token| (token, Scheme::Bearer));
    let account = homes.account(&base, token)?;
    let link = Some(shown.to_string());
    match account.read(&url).await {
        Ok(answer) => {
            let is_there = is_there(settings, &query.commit, &answer.body);
            let is_there =
                is_there.map_err(|why| PortError::transient(format!("{shown}: {why}")))?;
            let answer = if is_there { StageAnswer::Success } else { StageAnswer::Pending };
            Ok(StageReport { answer, link, ..nothing_there() })
        }
        Err((Some(status), error)) if settings.failure_statuses.contains(&status) => {
            let (answer, tail) = (StageAnswer::Failure, tail::kept(error.chain().as_bytes()));
            Ok(StageReport { answer, link, tail, ..nothing_there() })
        }
        Err((Some(404 | 500..=599), _)) => {
            Ok(StageReport { answer: StageAnswer::Pending, link, ..nothing_there() })
        }
        Err((_, error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stages::testing::{COMMIT, Home, HomeAnswer, Stage, TOKEN};

    #[test]
    fn the_commit_is_there_once_the_answer_says_so() {
        let check = |expect: Option<&str>, pointer: Option<&str>, body: &str, expected| {
            let settings = Settings {
                url: String::new(),
                token: None,
                expect: expect.unwrap_or(EXPECT).to_owned(),
                pointer: pointer.map(str::to_owned),
                failure_statuses: Vec::new(),
            };
            let found = is_there(&settings, &COMMIT.parse().unwrap(), body.as_bytes());
            assert_eq!(found.ok(), expected, "{expect:?} {pointer:?} {body}");
        };
        check(None, None, "build 1a2b3c4d of today", Some(true));
        check(None, None, "build 1a2b3c4e of today", Some(false));
        check(Some("{commit}"), None, "1a2b3c4d", Some(false));
        check(Some("v-{short}"), None, "<p>v-1a2b3c4d</p>", Some(true));
        let json = json!({ "build": { "commit": COMMIT, "tag": "1a2b3c4" }, "n": 7 }).to_string();
        check(None, Some("/build/commit"), &json, Some(true));
        check(Some("{commit}"), Some("/build/tag"), &json, Some(true));
        check(Some("v-{short}"), Some("/build/tag"), &json, Some(false));
        check(Some("7"), Some("/n"), &json, Some(true));
        check(None, Some("/build"), &json, Some(false));
        check(None, Some("/none"), &json, Some(false));
        check(None, Some("/n"), "<html>", None);
        check(None, None, "", Some(false));
    }

    #[tokio::test]
    async fn another_version_and_no_answer_are_pending() {
        let home = Home::open().await;
        let url = format!("{}/version/?of={{short}}", home.url);
        let stage = Stage::new(json!({
            "kind": "http", "url": url, "token": { "env": "T" }, "failure_statuses": [418],
        }));
        let check = async |says: HomeAnswer, expected: StageAnswer| {
            home.says("GET /version/", [says]);
            let said = stage.says(0).await;
            assert_eq!(said.answer, expected);
            assert_eq!(said.link, Some(format!("{}/version/", home.url)));
            said.tail
        };
        check(HomeAnswer::text(200, "1a2b3c4d"), StageAnswer::Success).await;
        check(HomeAnswer::text(200, "ffffffff"), StageAnswer::Pending).await;
        check(HomeAnswer::text(404, "1a2b3c4d"), StageAnswer::Pending).await;
        check(HomeAnswer::text(500, "1a2b3c4d"), StageAnswer::Pending).await;
        check(HomeAnswer::text(502, ""), StageAnswer::Pending).await;
        let tail =
            check(HomeAnswer::text(418, "{\"message\":\"wrong\"}"), StageAnswer::Failure).await;
        assert!(tail.unwrap().contains("answered 418: wrong"));
        let asked = home.asked_with();
        assert_eq!(asked[0].0, "GET /version/?of=1a2b3c4d");
        assert!(asked.iter().all(|(_, with)| with.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    }

    #[tokio::test]
    async fn what_a_person_must_fix_is_an_error() {
        let home = Home::open().await;
        let stage = Stage::new(json!({ "kind": "http", "url": format!("{}/v", home.url) }));
        let elsewhere = Home::open().await;
        for (says, expected) in [
            (HomeAnswer::text(401, ""), "wrong or has expired"),
            (HomeAnswer::text(302, "").with("location", &elsewhere.url), "has moved to"),
        ] {
            home.says("GET /v", [says]);
            let told = stage.fails().await;
            assert!(told.contains(expected), "{told}");
        }
        assert!(elsewhere.asked().is_empty() && home.asked_with().iter().all(|a| a.1.is_none()));
    }

    #[test]
    fn a_table_that_every_commit_passes_is_a_mistake() {
        let check = |table: serde_json::Value, expected: Option<&str>| {
            let table: StageTable = serde_json::from_value(table).unwrap();
            let key = Settings::read(&table).err().map(|mistake| mistake.key.join("."));
            assert_eq!(key.as_deref(), expected);
        };
        check(json!({ "kind": "http", "url": "https://a/" }), None);
        check(json!({ "kind": "http", "url": "https://a/{commit}", "expect": "ok" }), None);
        check(json!({ "kind": "http", "url": "https://a/", "expect": "ok" }), Some("expect"));
        check(json!({ "kind": "http", "url": "{commit}" }), Some("url"));
        check(json!({ "kind": "http", "url": "https://a/", "pointer": "x" }), Some("pointer"));
        let statuses = json!({ "kind": "http", "url": "https://a/", "failure_statuses": [200] });
        check(statuses, Some("failure_statuses"));
    }
}
