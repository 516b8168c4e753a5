//! Equal requests: retries, idempotency keys, and who gets whose answer.

use std::time::{Duration, Instant};

use afk_gateway::{Scope, TokenFile, TokenLimits};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::faults::{chat, read_until, socket};
use crate::stand::{BOUND, Stand, answer, cold};

/// Returns the same question for every route that answers with the agent's words.
fn questions(prompt: &str) -> [(&'static str, Value); 3] {
    [
        ("/v1/chat/completions", chat(prompt, false)),
        ("/v1/conversational", json!({"session_id": "s", "message": prompt})),
        ("/v1/chat/completions", chat(prompt, true)),
    ]
}

#[tokio::test]
async fn facts_a_retry_with_the_same_body_joins_the_run() {
    let stand = Stand::new(cold()).await;
    for (path, body) in questions("[[sleep:700]][[echo:once]]") {
        let before = stand.starts().len();
        let first = socket(&stand, path, &body).await;
        stand.until_load(1, 0).await;
        drop(first);
        let retry = stand.post(path, &body).header("x-stainless-retry-count", "1");
        let response = retry.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.text().await.unwrap().contains("once"));
        assert_eq!(stand.starts().len() - before, 1, "{path}");
        stand.until_load(0, 0).await;
    }
    // The answer was heard, so the same request begins a new run.
    let (status, _) =
        answer(stand.chat("[[sleep:700]][[echo:once]]", json!({"stream": false}))).await;
    assert_eq!((status, stand.starts().len()), (200, 4));
}

/// A retry may come long after its client went and after the run has ended.
#[tokio::test]
async fn facts_an_answer_that_came_unheard_is_kept_for_a_retry() {
    let stand = Stand::new(cold()).await;
    let questions = questions("[[sleep:3000]][[echo:once]]");
    let ask = |(path, body): &(&'static str, Value)| stand.post(path, body);
    let mut clients = Vec::new();
    for question in &questions {
        // A run whose client has often retried before goes on alone for 8.5 s, so that these runs
        // end. They are long enough for every client to go before.
        let client = ask(question).header("x-stainless-retry-count", "4").send();
        clients.push(tokio::spawn(client));
    }
    stand.until_starts(3).await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    stand.until_load(0, 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for question in &questions {
        let (status, told) = answer(ask(question)).await;
        assert!(status == 200 && told.to_string().contains("once"), "{status} {told}");
    }
    assert_eq!(stand.starts().len(), 3);
    // The answers are heard now, so the same requests begin new runs.
    let again = questions.iter().map(|question| answer(ask(question)));
    let again = futures_util::future::join_all(again).await;
    assert!(again.iter().all(|(status, _)| *status == 200), "{again:?}");
    assert_eq!(stand.starts().len(), 6);
}

/// Neither equal bodies nor equal keys share a run, even if a request says that it is a retry.
#[tokio::test]
async fn faults_callers_with_two_tokens_share_nothing() {
    let stand = Stand::new(cold()).await;
    let tokens = TokenFile::new(&stand.folder.path().join("state"));
    let [one, other] = ["one", "other"].map(|name| {
        let scopes = vec![Scope::Chat, Scope::Conversations];
        tokens.create(name, scopes, TokenLimits::default(), jiff::Timestamp::now()).unwrap()
    });
    for (n, (path, body)) in questions("[[sleep:1000]][[argv]]").into_iter().enumerate() {
        let ask = |token: &secrecy::SecretString| {
            let asked = stand.client.post(stand.url(path)).bearer_auth(token.expose_secret());
            // A run whose client has often retried goes on alone until it ends.
            let asked = asked.header("idempotency-key", "k").header("x-stainless-retry-count", "4");
            asked.body(body.to_string())
        };
        let id = |told: &Value| {
            let text = told.to_string();
            let at = text.find("chatcmpl-").unwrap_or_default();
            text[at..].chars().take(33).collect::<String>()
        };
        let gone = tokio::spawn(ask(&one).send());
        stand.until_starts(2 * n + 1).await;
        gone.abort();
        let (status, theirs) = answer(ask(&other)).await;
        assert_eq!((status, stand.starts().len()), (200, 2 * n + 2), "{path} {theirs}");
        // The first caller's run is still there for the first caller.
        let (status, ours) = answer(ask(&one)).await;
        assert_eq!((status, stand.starts().len()), (200, 2 * n + 2), "{path} {ours}");
        if path == "/v1/chat/completions" {
            assert_ne!(id(&ours), id(&theirs));
        }
    }
}

#[tokio::test]
async fn facts_two_clients_that_ask_the_same_at_once_each_have_a_run() {
    let stand = Stand::new(cold()).await;
    for stream in [true, false] {
        let before = stand.starts().len();
        let body = chat("[[sleep:400]][[echo:mine]]", stream);
        let first = stand.post("/v1/chat/completions", &body);
        let second = stand.post("/v1/chat/completions", &body);
        let told = tokio::join!(first.send(), second.send());
        let told = [told.0.unwrap().text().await.unwrap(), told.1.unwrap().text().await.unwrap()];
        let id = |text: &str| {
            let rest = text.split_once("\"id\":\"").unwrap().1;
            rest.split_once('"').unwrap().0.to_owned()
        };
        assert!(told.iter().all(|text| text.contains("mine")), "{told:?}");
        assert_ne!(id(&told[0]), id(&told[1]));
        assert_eq!(stand.starts().len() - before, 2);
    }
    // A client that says that it retries takes nothing from another one that still reads.
    let body = chat("[[sleep:1500]][[echo:mine]]", true);
    let mut listens = socket(&stand, "/v1/chat/completions", &body).await;
    stand.until_load(1, 0).await;
    let retry = stand.post("/v1/chat/completions", &body).header("x-stainless-retry-count", "1");
    let (retry, heard) = tokio::join!(retry.send(), read_until(&mut listens, "[DONE]"));
    assert!(heard.contains("mine"));
    assert!(retry.unwrap().text().await.unwrap().contains("mine"));
}

#[tokio::test]
async fn facts_the_key_of_a_stream_that_somebody_reads_starts_no_second_one() {
    let stand = Stand::new(cold()).await;
    let ask = |text: &str, key: &str| {
        let asked = stand.chat(text, json!({"stream": true}));
        asked.header("idempotency-key", key.to_owned()).send()
    };
    let mut first = ask("[[echo:a]][[sleep:500]][[echo:b]]", "k1").await.unwrap();
    let mut heard = String::from_utf8_lossy(&first.chunk().await.unwrap().unwrap()).into_owned();
    let second = async |n: u32| {
        let told = ask("[[echo:a]][[sleep:500]][[echo:b]]", "k1").await.unwrap();
        assert_eq!(told.status(), 409, "{n}");
        assert_eq!(told.headers()["x-should-retry"], "false");
        let body: Value = serde_json::from_str(&told.text().await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "idempotency_key_in_use");
    };
    second(1).await;
    heard += &first.text().await.unwrap();
    assert!(heard.ends_with("data: [DONE]\n\n"), "{heard}");
    stand.until_load(0, 0).await;
    second(2).await;
    assert_eq!(stand.starts().len(), 1);
    let other = ask("[[echo:c]]", "k2").await.unwrap().text().await.unwrap();
    assert!(other.contains("\"content\":\"c\""), "{other}");
}

/// A stream that ended before anybody read anything of it gives its key back.
#[tokio::test]
async fn facts_the_key_of_a_stream_that_nobody_read_can_be_used_again() {
    let stand = Stand::new(cold()).await;
    let gone = stand.chat("[[hang]]", json!({"stream": true})).header("idempotency-key", "k");
    let gone = tokio::spawn(gone.send());
    stand.until_load(1, 0).await;
    gone.abort();
    stand.until_load(0, 0).await;
    stand.until_no_processes().await;
    let deadline = Instant::now() + BOUND;
    loop {
        let again = stand.chat("[[echo:x]]", json!({"stream": true}));
        let again = again.header("idempotency-key", "k").send().await.unwrap();
        // The stream's place is free a moment before its key is.
        if again.status() != 409 {
            assert!(again.text().await.unwrap().contains("\"content\":\"x\""));
            return;
        }
        assert!(Instant::now() < deadline, "the key was never given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn facts_an_idempotency_key_is_honoured() {
    let stand = Stand::new(cold()).await;
    let ask = |text: &str, key: &str| {
        answer(stand.chat(text, json!({})).header("idempotency-key", key.to_owned()))
    };
    let (_, first) = ask("[[echo:a]]", "k1").await;
    let (_, again) = ask("[[echo:a]] ", "k1").await;
    assert_eq!(first["id"], again["id"]);
    let (_, other) = ask("[[echo:a]]", "k2").await;
    assert_ne!(first["id"], other["id"]);
    assert_eq!(stand.starts().len(), 2);
    // Two requests with one key share a run even if they come together.
    for n in 0..10 {
        let key = format!("together {n}");
        let (one, two) = tokio::join!(ask("[[echo:a]]", &key), ask("[[echo:a]]", &key));
        assert_eq!((one.0, &one.1["id"]), (200, &two.1["id"]), "{one:?} {two:?}");
    }
    assert_eq!(stand.starts().len(), 12);
}
