//! Who may call what, and how everybody else is refused.

use std::time::Duration;

use afk_gateway::{GatewaySettings, Scope, TokenFile, TokenLimits};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stand::{BOUND, Stand, TOKEN, answer, cold};

const ROUTES: [(&str, &str); 11] = [
    ("POST", "/execute"),
    ("GET", "/jobs"),
    ("GET", "/jobs/0123456789ab"),
    ("DELETE", "/jobs/0123456789ab"),
    ("GET", "/jobs/0123456789ab/stream"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/sonnet"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/conversational"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
];

fn request(stand: &Stand, method: &str, path: &str) -> reqwest::RequestBuilder {
    stand.client.request(method.parse().unwrap(), stand.url(path))
}

#[tokio::test]
async fn gateway_every_route_but_the_probes_needs_a_token() {
    let stand = Stand::new(cold()).await;
    for (method, path) in ROUTES.into_iter().chain([("GET", "/nowhere")]) {
        for token in [None, Some(""), Some("wrong"), Some("canary-token-of-the-test")] {
            let mut asked = request(&stand, method, path);
            if let Some(token) = token {
                asked = asked.header("authorization", format!("Bearer {token}"));
            }
            let (status, body) = answer(asked).await;
            assert_eq!(status, 401, "{method} {path} {token:?}");
            assert_eq!(body["error"]["code"], "invalid_api_key");
            assert!(body["detail"].is_string());
        }
    }
    for path in ["/health", "/healthz", "/readyz"] {
        let probed = request(&stand, "GET", path).send().await.unwrap();
        assert_eq!(probed.status(), 200, "{path}");
        let id = probed.headers()["x-request-id"].to_str().unwrap();
        assert!(id.starts_with("req_"), "{path}");
    }
    let (_, health) = answer(request(&stand, "GET", "/health")).await;
    let idle = json!({"status": "ok", "busy": false, "active": 0, "queued": 0, "capacity": 10});
    assert_eq!(health, idle);
}

#[tokio::test]
async fn gateway_a_service_without_its_cli_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("claude");
    std::fs::copy(env!("CARGO_BIN_EXE_scripted-claude"), &program).unwrap();
    let stand = Stand::new(GatewaySettings { program: Some(program.clone()), ..cold() }).await;
    assert_eq!(stand.get("/readyz").await.0, 200);
    std::fs::remove_file(&program).unwrap();
    let (status, body) = stand.get("/readyz").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("not_ready")), "{body}");
}

#[tokio::test]
async fn gateway_a_service_without_a_token_refuses_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut start = crate::stand::start(folder.path(), cold());
    start.token = Some("".into());
    let gateway = afk_gateway::Gateway::open(start).await.unwrap();
    let routes = gateway.router();
    for header in [None, Some("Bearer "), Some("Bearer"), Some("")] {
        let mut request = axum::http::Request::get("/v1/models");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(routes.clone(), request).await.unwrap();
        assert_eq!(response.status(), 401, "{header:?}");
    }
    gateway.close().await;
}

#[tokio::test]
async fn gateway_a_token_may_do_what_its_scopes_say_and_no_more_than_its_limits() {
    let stand = Stand::new(cold()).await;
    let file = TokenFile::new(&stand.folder.path().join("state"));
    let now = jiff::Timestamp::now();
    let limits = TokenLimits { requests_per_minute: Some(2), ..TokenLimits::default() };
    let token = file.create("voice", vec![Scope::Conversations], limits, now).unwrap();
    let token = token.expose_secret();
    for (method, path) in ROUTES {
        if path == "/v1/conversational" || path == "/openapi.json" {
            continue;
        }
        let (status, body) = answer(request(&stand, method, path).bearer_auth(token)).await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("insufficient_scope")), "{path}");
    }
    let turn = |n: u32| {
        let body = json!({"session_id": "s", "message": format!("[[echo:{n}]]")}).to_string();
        request(&stand, "POST", "/v1/conversational").bearer_auth(token).body(body)
    };
    assert_eq!(answer(turn(1)).await.0, 200);
    assert_eq!(answer(turn(2)).await.0, 200);
    let limited = turn(3).send().await.unwrap();
    assert_eq!(limited.status(), 429);
    let wait: u64 = limited.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    file.revoke("voice").unwrap();
    assert_eq!(answer(turn(4)).await.0, 401);
}

#[tokio::test]
async fn gateway_bad_bodies_get_their_documented_answers() {
    let stand = Stand::new(GatewaySettings { max_body_bytes: 10_000, ..cold() }).await;
    let chat = "/v1/chat/completions";
    for (body, status, says) in [
        (b"".to_vec(), 422, "the body is not JSON"),
        (b"{\"messages\": [".to_vec(), 422, "the body is not JSON"),
        (
            b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}".to_vec(),
            422,
            "not JSON",
        ),
        (b"[1]".to_vec(), 422, "must be a JSON object"),
        (b"{\"model\":\"sonnet\"}".to_vec(), 422, "messages is missing"),
        (vec![b' '; 10_001], 413, "over 10000 bytes"),
    ] {
        let (told, answer) = answer(stand.raw(chat, body)).await;
        assert_eq!(told, status, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(says), "{answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["type"].is_string());
    }
    for (body, says) in [
        (json!({"agent": "a"}), "prompt is missing"),
        (json!({"prompt": "p"}), "agent is missing"),
        (json!({"prompt": "p", "agent": 1}), "agent must be a string"),
        (json!({"prompt": "p", "agent": "--flag"}), "agent must be the name"),
        (json!({"prompt": "p", "agent": "a", "timeout_seconds": "x"}), "timeout_seconds must be"),
        (json!({"prompt": "p", "agent": "a", "max_budget_usd": 0}), "max_budget_usd must be"),
    ] {
        let (status, answer) = answer(stand.post("/execute", &body)).await;
        assert_eq!(status, 422);
        assert!(answer["detail"].as_str().unwrap().contains(says), "{answer}");
    }
    assert!(stand.starts().is_empty());
}

/// Every response has an id, and every refusal has both an error object and a detail: some clients
/// read only the one, some only the other.
#[tokio::test]
async fn facts_every_answer_has_an_id_and_every_error_an_object() {
    let stand = Stand::new(GatewaySettings { max_body_bytes: 10_000, ..cold() }).await;
    let file = TokenFile::new(&stand.folder.path().join("state"));
    let now = jiff::Timestamp::now();
    let weak = file.create("weak", vec![Scope::Metrics], TokenLimits::default(), now).unwrap();
    let limits = TokenLimits { requests_per_minute: Some(0), ..TokenLimits::default() };
    let none = file.create("none", vec![Scope::Chat], limits, now).unwrap();
    let chat = |token: &str, body: String| {
        request(&stand, "POST", "/v1/chat/completions").bearer_auth(token).body(body)
    };
    let hi = json!({"messages": [{"role": "user", "content": "[[fail:broken]]"}]}).to_string();
    let keyed = || stand.chat("[[echo:a]][[hang]]", json!({"stream": true}));
    let mut held = keyed().header("idempotency-key", "k").send().await.unwrap();
    held.chunk().await.unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (request, status, code) in [
        (stand.chat("x", json!({"model": "gpt-4"})), 400, "model_not_found"),
        (chat("wrong", hi.clone()), 401, "invalid_api_key"),
        (chat(weak.expose_secret(), hi.clone()), 403, "insufficient_scope"),
        (
            stand.client.get(stand.url("/jobs/0123456789ab")).bearer_auth(TOKEN),
            404,
            "job_not_found",
        ),
        (stand.client.get(stand.url("/v1/nothing")).bearer_auth(TOKEN), 404, "unknown_url"),
        (stand.post("/v1/responses", &json!({})), 404, "unknown_url"),
        (
            stand.client.get(stand.url("/v1/models/gpt-4")).bearer_auth(TOKEN),
            404,
            "model_not_found",
        ),
        (stand.client.delete(stand.url("/health")), 405, "method_not_allowed"),
        (keyed().header("idempotency-key", "k"), 409, "idempotency_key_in_use"),
        (chat(TOKEN, " ".repeat(10_001)), 413, "request_too_large"),
        (chat(TOKEN, "{}".to_owned()), 422, "invalid_request"),
        (chat(none.expose_secret(), hi.clone()), 429, "limit_reached"),
        (chat(TOKEN, hi), 503, "execution_failed"),
        (request(&stand, "GET", "/health"), 200, ""),
        (stand.chat("[[echo:x]]", json!({})), 200, ""),
        (stand.chat("[[echo:x]]", json!({"stream": true})), 200, ""),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{code}");
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(id.starts_with("req_") && ids.insert(id), "{code}");
        let body = response.text().await.unwrap();
        if status == 200 {
            assert!(!body.contains("\"error\""), "{body}");
            continue;
        }
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{body}");
        assert_eq!(body["error"]["code"], code);
        assert!(
            body["error"]["message"].is_string() && body["error"]["type"].is_string(),
            "{body}"
        );
    }
}

/// A body without a `Content-Length` is counted as it comes.
#[tokio::test]
async fn gateway_a_body_in_chunks_is_bounded_too() {
    let stand = Stand::new(GatewaySettings { max_body_bytes: 10_000, ..cold() }).await;
    for path in ["/v1/chat/completions", "/v1/conversational", "/execute"] {
        let mut client = TcpStream::connect(stand.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        let chunk = format!("3e8\r\n{}\r\n", " ".repeat(1000));
        // The body never ends; the answer comes as soon as there is too much of it.
        client.write_all((head + &chunk.repeat(11)).as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        tokio::time::timeout(BOUND, read).await.expect(path).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("\"detail\":\"the body is over 10000 bytes\""), "{answer}");
    }
    assert!(stand.starts().is_empty());
}

/// The client never sends its body. The paused clock jumps ahead when nothing happens.
#[tokio::test(start_paused = true)]
async fn facts_a_body_that_does_not_come_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = afk_gateway::Gateway::open(crate::stand::start(folder.path(), cold())).await;
    let gateway = gateway.unwrap();
    let never = axum::body::Body::from_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let request = axum::http::Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(never)
        .unwrap();
    let response = tower::ServiceExt::oneshot(gateway.router(), request).await.unwrap();
    assert_eq!(response.status(), 408);
    assert!(response.headers().contains_key("x-request-id"));
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let why = "the body did not arrive in time";
    let error = json!({"message": why, "type": "invalid_request_error", "code": "timeout"});
    assert_eq!(body, json!({"detail": why, "error": error}));
    gateway.close().await;
}

#[tokio::test]
async fn gateway_a_service_that_stops_lives_and_is_not_ready() {
    let stand = Stand::new(cold()).await;
    stand.gateway.stop();
    for path in ["/health", "/healthz"] {
        assert_eq!(request(&stand, "GET", path).send().await.unwrap().status(), 200, "{path}");
    }
    let error = json!({"message": "the service is stopping", "type": "server_error",
        "code": "stopping"});
    let expected = json!({"detail": "the service is stopping", "error": error});
    let order = json!({"prompt": "p", "agent": "a"});
    for refused in [
        request(&stand, "GET", "/readyz"),
        stand.chat("x", json!({})),
        stand.post("/execute", &order),
    ] {
        let refused = refused.send().await.unwrap();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (503, &"5".parse().unwrap())
        );
        assert!(refused.headers().contains_key("x-request-id"));
        let body: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert_eq!(body, expected);
    }
    assert!(stand.starts().is_empty());
}

#[tokio::test]
async fn facts_models_are_listed_without_starting_anything() {
    let stand = Stand::new(cold()).await;
    let (status, body) = stand.get("/v1/models").await;
    assert_eq!((status, &body["object"]), (200, &json!("list")));
    for model in body["data"].as_array().unwrap() {
        for field in ["id", "object", "created", "owned_by"] {
            assert!(model.get(field).is_some(), "{model}");
        }
    }
    assert_eq!(body["data"].as_array().unwrap().len(), 6);
    assert_eq!(stand.get("/v1/models/sonnet").await.0, 200);
    assert_eq!(stand.get("/v1/models/gpt-4").await.0, 404);
    assert!(stand.starts().is_empty());
}

#[tokio::test]
async fn facts_unknown_routes_and_methods_are_told_in_the_protocol_s_shape() {
    let stand = Stand::new(cold()).await;
    let (status, body) = answer(stand.post("/v1/responses", &json!({}))).await;
    assert_eq!(status, 404);
    assert!(body["error"]["message"].as_str().unwrap().contains("/v1/chat/completions"));
    assert_eq!(stand.get("/v1/nothing").await.0, 404);
    let (status, body) = stand.get("/execute").await;
    assert_eq!((status, &body["error"]["code"]), (405, &json!("method_not_allowed")));
    for path in ["/jobs/0123456789ab", "/jobs/%ff", "/jobs/%ff/stream"] {
        let (status, body) = stand.get(path).await;
        assert_eq!((status, &body["detail"]), (404, &json!("Job not found")), "{path}");
    }
    let (status, body) = stand.get("/v1/models/%ff").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn gateway_metrics_count_requests_and_turns() {
    let stand = Stand::new(cold()).await;
    stand.stream("[[deltas:9]][[echo:\u{fffd}]]", json!({})).await;
    stand.until_load(0, 0).await;
    let (_, text) = stand.get("/metrics").await;
    let text = text.as_str().unwrap();
    for line in [
        "afk_gateway_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1",
        "afk_gateway_turns_total{outcome=\"finished\"} 1",
        "afk_gateway_deltas_total 10",
        "afk_gateway_replacement_characters_total 1\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

/// The document describes the routes that exist and no others, and its examples of errors are real.
#[tokio::test]
async fn gateway_the_openapi_document_describes_every_route() {
    let stand = Stand::new(cold()).await;
    let (status, document) = stand.get("/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|name| *name != "parameters") {
            described.push((method.to_uppercase(), path.clone()));
        }
    }
    described.sort();
    let templates =
        |path: &str| path.replace("0123456789ab", "{id}").replace("/models/sonnet", "/models/{id}");
    let probes = [("GET", "/health"), ("GET", "/healthz"), ("GET", "/readyz")];
    let mut served: Vec<(String, String)> = ROUTES
        .into_iter()
        .chain(probes)
        .map(|(method, path)| (method.to_owned(), templates(path)))
        .collect();
    served.sort();
    assert_eq!(described, served);
    for (method, path) in &served {
        let operation = &document["paths"][path][method.to_lowercase()];
        assert!(operation["summary"].is_string(), "{method} {path}");
        let closed = operation["responses"].get("401").is_some();
        assert_eq!(closed, !probes.iter().any(|(_, open)| open == path), "{method} {path}");
    }
    let _: &Value = &document["components"]["schemas"]["Error"];
}

#[tokio::test]
async fn facts_a_request_has_an_id_and_no_token_or_prompt_is_kept() {
    let stand = Stand::new(cold()).await;
    let response =
        stand.chat("[[echo:canary-answer]] canary-prompt", json!({})).send().await.unwrap();
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    response.text().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), stand.until_load(0, 0)).await.unwrap();
    let mut folders = vec![stand.folder.path().join("state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let text =
                    String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
                assert!(!text.contains("canary"), "{}", entry.path().display());
            }
        }
    }
    assert!(TOKEN.contains("canary"));
}
