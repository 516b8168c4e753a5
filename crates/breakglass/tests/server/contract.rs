//! Routes, bodies, statuses and headers, and who may ask.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use afk_stand_ins::tools::{found_or_skipped, skip};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::support::{Place, SOON, TOKEN, answer, kinds, until, verified};

fn detail(text: &str) -> Value {
    json!({"detail": text})
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_the_console_need_no_sign_in_and_everything_else_does() {
    let place = Place::new();
    let server = place.serve();
    let health = answer(server.bare(Method::GET, "/health")).await;
    assert_eq!(health, (StatusCode::OK, json!({"status": "ok", "service": "claude-breakglass"})));
    let page = server.bare(Method::GET, "/").send().await.unwrap();
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert_eq!(
        policy,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    for (method, path) in [
        (Method::POST, "/api/session"),
        (Method::GET, "/api/session/x/stream"),
        (Method::POST, "/api/session/x/prompt"),
        (Method::POST, "/api/session/x/cancel"),
        (Method::GET, "/api/pve/verbs"),
        (Method::POST, "/api/pve/status"),
        (Method::GET, "/api/nothing"),
    ] {
        let (status, body) = answer(server.bare(method, path)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(body, detail("sign in at the edge proxy, or send a bearer token"), "{path}");
    }
    assert_eq!(answer(server.bare(Method::GET, "/no.such")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        answer(server.bare(Method::GET, "/assets/../Cargo.toml")).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(answer(server.get("/api/session")).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!server.log().contains(TOKEN), "the token is in no log");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_detail() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    let prompt = format!("/api/session/{session}/prompt");
    let large = "x".repeat(1 << 20);
    let much = "the body has more than 528384 bytes, the most that is read";
    for (method, path, body, status, told) in [
        (Method::POST, "/api/session/%ff/prompt", r#"{"prompt":"x"}"#, 404, "session not found"),
        (Method::GET, "/api/session/%ff/stream", "", 404, "session not found"),
        (Method::POST, "/api/session/%ff/cancel", "", 404, "session not found"),
        (Method::POST, &prompt, &large, 413, much),
        (Method::POST, "/api/pve/%ff", "", 400, "unknown verb '%ff'"),
        (Method::POST, "/api/pve/a%fe%ff", "", 400, "unknown verb 'a%fe%ff'"),
        (Method::POST, "/api/pve/status", &large, 413, much),
        (Method::GET, "/api/%ff", "", 404, "not found"),
        (Method::GET, "/%ff", "", 404, "not found"),
        (Method::GET, "/assets/%ff", "", 404, "not found"),
        (Method::GET, "/assets/no-such.js", "", 404, "not found"),
        (Method::GET, "/a/b", "", 404, "not found"),
        (Method::GET, "/api/session", "", 405, "method not allowed"),
        (Method::DELETE, "/api/pve/verbs", "", 405, "method not allowed"),
        (Method::POST, "/health", "", 405, "method not allowed"),
        (Method::PUT, "/assets/main.js", "", 405, "method not allowed"),
    ] {
        let of = format!("{method} {path}");
        let asked = server.bare(method, path).bearer_auth(TOKEN).body(body.to_owned());
        let (found, body) = answer(asked).await;
        assert_eq!((found.as_u16(), body), (status, detail(told)), "{of}");
    }
    // If a body is not read to its end, the connection is closed, so that no other request is lost.
    let asked = server.post(&prompt).body(large).send().await.unwrap();
    assert_eq!(asked.headers()[header::CONNECTION], "close");
    // A client that is not signed in does not learn which routes exist, not even by a wrong method.
    for (method, path) in [
        (Method::GET, "/api/session"),
        (Method::DELETE, "/api/pve/verbs"),
        (Method::GET, "/api/session/x/prompt"),
        (Method::PUT, "/api/pve/%ff"),
        (Method::GET, "/api/%ff"),
    ] {
        let of = format!("{method} {path}");
        let (found, body) = answer(server.bare(method, path)).await;
        let told = detail("sign in at the edge proxy, or send a bearer token");
        assert_eq!((found.as_u16(), body), (401, told), "{of}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_prompts() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    let gone = (StatusCode::NOT_FOUND, detail("session not found"));
    for id in ["0191", "..%2f..%2fetc", "%00", "a%20b", &"x".repeat(3000)] {
        assert_eq!(server.prompt(id, "x").await, gone, "{id}");
        assert_eq!(answer(server.get(&format!("/api/session/{id}/stream"))).await, gone, "{id}");
        assert_eq!(answer(server.post(&format!("/api/session/{id}/cancel"))).await, gone, "{id}");
    }
    let path = format!("/api/session/{session}/prompt");
    for (body, status) in [
        (r#"{"prompt":""}"#.to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        (r#"{"prompt":" \n\t"}"#.to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        (r#"{"text":"x"}"#.to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        ("x".to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        (String::new(), StatusCode::UNPROCESSABLE_ENTITY),
        (r#"{"prompt":"x","model":"--help"}"#.to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"prompt": "x".repeat(300_000)}).to_string(), StatusCode::PAYLOAD_TOO_LARGE),
        (json!({"prompt": "x".repeat(3_000_000)}).to_string(), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let start: String = body.chars().take(40).collect();
        assert_eq!(answer(server.post(&path).body(body)).await.0, status, "{start}");
    }
    assert_eq!(place.calls(), "", "none of them started the agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_as_clients_see_it() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "/var looks odd").await;
    let events = server.transcript(&session).await;
    assert_eq!(
        events,
        [
            json!({"id": 0, "kind": "user", "text": "/var looks odd"}),
            json!({"id": 1, "kind": "session", "session_id": session}),
            json!({"id": 2, "kind": "tool", "name": "Bash", "input": {"command": "ssh devvm uptime"}}),
            json!({"id": 3, "kind": "text", "text": "done"}),
            json!({"id": 4, "kind": "result", "is_error": false, "result": "done", "duration_ms": 7}),
            json!({"id": 5, "kind": "turn_end"}),
        ]
    );
    let flags = "-p --agent breakglass --dangerously-skip-permissions --output-format stream-json \
                 --verbose --model";
    assert_eq!(place.calls(), format!("{flags} sonnet --session-id {session}\n"));
    let body = json!({"prompt": "again", "model": "opus"}).to_string();
    answer(server.post(&format!("/api/session/{session}/prompt")).body(body)).await;
    until("the second turn", || place.calls().lines().count() == 2).await;
    assert!(place.calls().ends_with(&format!("{flags} opus --resume {session}\n")));
    let definition = place.sessions().join(&session).join("work/.claude/agents/breakglass.md");
    assert!(std::fs::read_to_string(definition).unwrap().starts_with("---\nname: breakglass\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_prompt_is_refused_while_a_turn_runs_and_cancel_stops_it() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    let cancel = format!("/api/session/{session}/cancel");
    let cancelled = |was| (StatusCode::OK, json!({"cancelled": was}));
    assert_eq!(answer(server.post(&cancel)).await, cancelled(false));
    server.started(&session, "please hang").await;
    let mut stream = server.attach(&session).await;
    stream.until_text("I hang").await;
    let refused = server.prompt(&session, "another").await;
    assert_eq!(refused, (StatusCode::CONFLICT, detail("a turn is already running")));
    assert_eq!(answer(server.post(&cancel)).await, cancelled(true));
    assert_eq!(kinds(&stream.until_turn_end().await), ["cancelled", "turn_end"]);
    // Also those processes are gone that ignore signals and have a session of their own.
    until("nothing of the agent is left", || place.alive() == 0).await;
    // The end was read, so the next prompt is never refused.
    server.started(&session, "go on").await;
    assert_eq!(kinds(&stream.until_turn_end().await).last(), Some(&"turn_end"));
    drop(server);
    let (whole, said) = verified(&place.audit());
    assert!(whole, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_believed_from_the_proxy_alone() {
    let user = |server: &crate::support::Server| {
        server.bare(Method::GET, "/api/pve/verbs").header("X-authentik-username", "anna")
    };
    let place = Place::new().with(&["--proxies", "10.0.0.0/8"]);
    let server = place.serve();
    assert_eq!(answer(user(&server)).await.0, StatusCode::UNAUTHORIZED);
    until("it is told loudly", || server.log().contains("not a configured proxy")).await;
    drop(server);
    let place = Place::new().with(&["--proxies", "127.0.0.0/8"]);
    let server = place.serve();
    assert_eq!(answer(user(&server)).await.0, StatusCode::OK);
    let named = |name: &[u8]| {
        let request = server.bare(Method::GET, "/api/pve/verbs");
        answer(
            request.header("X-authentik-username", header::HeaderValue::from_bytes(name).unwrap()),
        )
    };
    assert_eq!(named("калоян".as_bytes()).await.0, StatusCode::OK);
    assert_eq!(named(b"kal\xffoyan").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer(user(&server).header("X-authentik-username", "b")).await.0,
        StatusCode::UNAUTHORIZED
    );
    let wrong = user(&server).bearer_auth("wrong");
    assert_eq!(answer(wrong).await.0, StatusCode::UNAUTHORIZED);
    // Requests that another site's page forges in a browser that is signed in at the edge.
    let forged =
        |path: &str| server.bare(Method::POST, path).header("X-authentik-username", "anna");
    for path in ["/api/session", "/api/pve/cycle"] {
        assert_eq!(answer(forged(path)).await.0, StatusCode::FORBIDDEN, "no page said so");
        for (name, value) in [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
        ] {
            let (status, _) = answer(forged(path).header(name, value)).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {name}: {value}");
        }
    }
    let ours = forged("/api/session").header("Sec-Fetch-Site", "same-origin");
    assert_eq!(answer(ours).await.0, StatusCode::OK);
    let ours = forged("/api/session").header("Origin", format!("http://{}", server.address));
    assert_eq!(answer(ours).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_with_a_header_of_its_own_names_who_is_recorded() {
    let place = Place::new()
        .with(&["--proxies", "127.0.0.0/8"])
        .with_env("BREAKGLASS_USER_HEADER", "Remote-User");
    let server = place.serve();
    let session = server.session().await;
    let prompt = |header: &str, user: &str| {
        let path = format!("/api/session/{session}/prompt");
        let body = json!({"prompt": "hello"}).to_string();
        let request = server.bare(Method::POST, &path).header("Sec-Fetch-Site", "same-origin");
        answer(request.header(header.to_owned(), user.to_owned()).body(body))
    };
    assert_eq!(prompt("X-authentik-username", "otto").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(prompt("remote-user", "anna").await.0, StatusCode::OK);
    server.transcript(&session).await;
    // If somebody signs in by the token, the audit log says `token`.
    server.started(&session, "hello again").await;
    let mut stream = server.attach(&session).await;
    stream.until_turn_end().await;
    stream.until_turn_end().await;
    let audit = std::fs::read_to_string(place.audit()).unwrap();
    let records = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let prompts: Vec<Value> = records.filter(|record| record["act"] == "prompt").collect();
    let who: Vec<&Value> = prompts.iter().map(|record| &record["actor"]).collect();
    let from = |who: &str| json!({"who": who, "peer": "127.0.0.1"});
    assert_eq!(who, [&from("anna"), &from("token")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_address_is_refused() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    for query in [format!("token={TOKEN}"), format!("access_token={TOKEN}"), "token=".to_owned()] {
        let path = format!("/api/session/{session}/stream?{query}");
        assert_eq!(answer(server.bare(Method::GET, &path)).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(answer(server.get(&path)).await.0, StatusCode::UNAUTHORIZED, "even beside it");
        // The page is not served either, and a browser leaves the address at once.
        let page = format!("/?{query}");
        for request in [server.bare(Method::GET, &page), server.get(&page)] {
            let refused = request.send().await.unwrap();
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(refused.headers()[header::REFRESH], "0; url=/");
            assert_eq!(refused.headers()[header::CACHE_CONTROL], "no-store");
            assert_eq!(refused.headers()[header::REFERRER_POLICY], "no-referrer");
            let body = refused.text().await.unwrap();
            assert!(body.starts_with(r#"{"detail":"a token in the address is never"#), "{body}");
        }
    }
    let other = server.bare(Method::GET, "/?from=home-screen").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    assert!(!other.headers().contains_key(header::REFRESH));
    assert!(!server.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variables_of_the_program_that_came_before_do_what_they_did() {
    let place = Place::new();
    // A stand-in for SSH that prints its arguments, and hangs for `forensics`.
    let bin = place.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let ssh = bin.join("ssh");
    std::fs::write(&ssh, "#!/bin/sh\necho \"$@\"\ncase $* in *forensics) exec sleep 600 ;; esac\n")
        .unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let key = place.path().join("no-such-key");
    let place = place
        .with_env("PATH", &path)
        .with_env("BREAKGLASS_DEVVM_HOST", "192.0.2.5")
        .with_env("BREAKGLASS_DEVVM_USER", "anna")
        .with_env("BREAKGLASS_PVE_HOST", "192.0.2.2")
        .with_env("BREAKGLASS_PVE_USER", "power")
        .with_env("BREAKGLASS_AGENT", "of-our-own")
        .with_env("BREAKGLASS_MODEL", "opus")
        .with_env("BREAKGLASS_MAX_CONCURRENT_TURNS", "1")
        .with_env("BREAKGLASS_TURN_TIMEOUT_SECONDS", "3")
        .with_env("BREAKGLASS_PVE_VERB_TIMEOUT_SECONDS", "3")
        .with_env("BREAKGLASS_SSE_KEEPALIVE_SECONDS", "1")
        .with_env("BREAKGLASS_KEY_PATH", key.to_str().unwrap());
    let server = place.serve();
    let told = format!("NO SSH KEY: the key {} cannot be read: No such file", key.display());
    assert!(server.log().contains(&told), "{}", server.log());
    // One turn at a time, stopped after three seconds.
    let (first, second) = (server.session().await, server.session().await);
    server.started(&first, "please hang").await;
    server.started(&second, "hello").await;
    let mut waits = server.attach(&second).await;
    let queued = waits.until(|event| event["kind"] == "queued").await;
    assert!(queued[1]["text"].as_str().unwrap().starts_with("Another turn is running"));
    let ended = server.transcript(&first).await;
    let error = ended[ended.len() - 2]["error"].as_str().unwrap();
    assert!(error.starts_with("the turn was stopped after 3 s"), "{error}");
    waits.until_turn_end().await;
    let call = place.calls().lines().next().unwrap().to_owned();
    assert!(
        call.starts_with("-p --agent of-our-own ") && call.contains(" --model opus "),
        "{call}"
    );
    assert!(place.sessions().join(&first).join("events.jsonl").is_file());
    // A sign of life each second.
    while waits.next().await.expect("the stream goes on").event.as_deref() != Some("ping") {}
    // The hypervisor is asked as the configured user, and within the configured time.
    let (_, status) = server.verb("status").await;
    let asked = status["stdout"].as_str().unwrap();
    assert!(asked.ends_with(" power@192.0.2.2 status\n"), "{status}");
    let (_, late) = server.verb("forensics").await;
    assert!(late["stderr"].as_str().unwrap().contains("within 3 s"), "{late}");
    // The aliases by which the agent reaches both machines.
    let own = std::fs::read_dir(place.runtime()).unwrap().next().unwrap().unwrap().path();
    let aliases = std::fs::read_to_string(own.join("ssh_config")).unwrap();
    for alias in [
        "Host devvm\n  HostName 192.0.2.5\n  User anna\n",
        "Host pve\n  HostName 192.0.2.2\n  User power\n",
    ] {
        assert!(aliases.contains(alias), "{aliases}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_configured_means_nobody() {
    let place = Place::new().with_env("API_BEARER_TOKEN", "");
    let server = place.serve();
    assert!(server.log().contains("nobody can sign in"), "{}", server.log());
    for token in ["", "x", TOKEN] {
        let request = server.bare(Method::GET, "/api/pve/verbs").bearer_auth(token);
        assert_eq!(answer(request).await.0, StatusCode::UNAUTHORIZED, "{token:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hammers_is_told_to_wait() {
    let place = Place::new();
    let server = place.serve();
    let session = server.session().await;
    let path = format!("/api/session/{session}/cancel");
    let mut refused = None;
    for _ in 0..200 {
        let response = server.post(&path).send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("refused at some time");
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(answer(server.get("/api/pve/verbs")).await.0, StatusCode::OK, "reading goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_a_key_or_an_agent_and_says_what_is_missing() {
    let place = Place::new()
        .with_agent("/no/such/claude".as_ref())
        .with_env("BREAKGLASS_SSE_KEEPALIVE_SECONDS", "60");
    let server = place.serve();
    let log = server.log();
    assert!(log.contains("BREAKGLASS_SSE_KEEPALIVE_SECONDS is 60, but 20 are used"), "{log}");
    assert!(log.contains("NO SSH KEY: BREAKGLASS_KEY_PATH is not set"), "{log}");
    assert!(log.contains("BREAKGLASS_PVE_HOST is not set"), "{log}");
    let session = server.session().await;
    server.started(&session, "hello").await;
    let events = server.transcript(&session).await;
    assert_eq!(kinds(&events), ["user", "error", "turn_end"]);
    let error = events[1]["error"].as_str().unwrap();
    assert!(error.starts_with("the agent did not start: check BREAKGLASS_CLAUDE"), "{error}");
    assert!(error.contains("cannot start /no/such/claude"), "{error}");
    // The power panel answers although the agent cannot be started.
    let (status, body) = server.verb("status").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert!(server.stop() < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_the_same_user_does_not_read_the_token_from_the_server() {
    // Not as root, who may read everything.
    let launcher = ["unshare", "--user", "--map-user=1000"];
    if !works("an_agent_of_the_same_user", "a user namespace", &launcher) {
        return;
    }
    let place = Place::new().through(&launcher).with_env("CLAUDE_CODE_OAUTH_TOKEN", "of-the-model");
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "it spies").await;
    let events = server.transcript(&session).await;
    let found = events[2]["text"].as_str().unwrap();
    // The agent does look, since it finds its own credential.
    assert!(found.contains("CLAUDE_CODE_OAUTH_TOKEN=of-the-model"), "{found}");
    assert!(!found.contains(TOKEN), "{found}");
}

/// Whether programs can be started through `launcher` on this machine.
pub(crate) fn works(test: &str, what: &str, launcher: &[&str]) -> bool {
    let tried = Command::new(launcher[0]).args(&launcher[1..]).arg("true").output();
    let found = match tried {
        Ok(output) if output.status.success() => Ok(PathBuf::from(launcher[0])),
        Ok(output) => Err(skip(String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(skip(error.to_string())),
    };
    found_or_skipped(test, what, "CI", found).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_within_a_second_with_its_network_cut_and_warns_of_names() {
    let cut = ["unshare", "--map-root-user", "--net"];
    if !works("it_starts_with_its_network_cut", "a network namespace", &cut) {
        return;
    }
    let place = Place::new()
        .through(&cut)
        .with(&["--devvm-host", "devvm.example", "--pve-host", "pve.example"])
        .with(&["--proxies", "10.0.0.0/8"])
        .with(&["--key-path", "/no/such/key"]);
    let mut quickest = Duration::MAX;
    // A busy machine may be slow now and then, but not every time.
    for _ in 0..5 {
        let begun = Instant::now();
        let server = place.serve_at("0.0.0.0:0");
        quickest = quickest.min(begun.elapsed());
        let of = |who: &str, file: &str| PathBuf::from(format!("/proc/{who}/{file}"));
        let pid = server.pid().to_string();
        let network = |who: &str| std::fs::read_link(of(who, "ns/net")).unwrap();
        assert_ne!(network(&pid), network("self"), "a network of its own");
        let routes = std::fs::read_to_string(of(&pid, "net/route")).unwrap();
        assert_eq!(routes.lines().skip(1).count(), 0, "which leads nowhere: {routes}");
        let log = server.log();
        for told in [
            "BREAKGLASS_DEVVM_HOST is a name: use an IP address",
            "BREAKGLASS_PVE_HOST is a name: use an IP address",
            "NO SSH KEY: the key /no/such/key cannot be read",
        ] {
            assert!(log.contains(told), "{told} is not in {log}");
        }
        if quickest < Duration::from_secs(1) {
            println!("started in {quickest:?}");
            return;
        }
    }
    panic!("{quickest:?} at best");
}
