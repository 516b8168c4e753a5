//! GitHub's own examples of webhooks: each wakes its repo and carries nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use afk_remote::{HookOutcome, HookRefusal};
use afk_stand_ins::tools::from_npm;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::support::OnGitHub;

const PACKAGE: &str = "@octokit/webhooks-examples@7.6.1";
const FILE: &str = "api.github.com/index.json";
const SECRET: &str = "a secret of webhooks";

fn signed(body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[tokio::test]
async fn every_example_wakes_its_repo_and_no_forged_one_does() {
    let Some(file) = from_npm("webhooks", PACKAGE, FILE) else { return };
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let home = OnGitHub::hooked(SECRET);
    let forge = "home".parse().unwrap();
    let (mut heard, mut repos) = (0, 0);
    for event in &all {
        for example in event["examples"].as_array().unwrap() {
            let body = example.to_string();
            let id = format!("delivery-{heard}");
            let hear = async |secret: &str| {
                let headers: BTreeMap<&str, String> = [
                    ("x-github-event", event["name"].as_str().unwrap().to_owned()),
                    ("x-github-delivery", id.clone()),
                    ("x-hub-signature-256", signed(body.as_bytes(), secret)),
                ]
                .into();
                let header = |name: &str| headers.get(name).cloned();
                home.forges.receive_hook(&forge, &header, body.as_bytes()).await
            };
            assert_eq!(hear("another").await, Err(HookRefusal::WrongSignature));
            let name = example["repository"]["full_name"].as_str();
            let expected =
                name.map_or(HookOutcome::NoRepo, |name| HookOutcome::Woke(name.parse().unwrap()));
            assert_eq!(hear(SECRET).await, Ok(expected), "{}", event["name"]);
            if name.is_some() {
                assert_eq!(hear(SECRET).await, Ok(HookOutcome::Repeated));
                repos += 1;
            }
            heard += 1;
        }
    }
    println!("{heard} examples of {} events, {repos} of them of repos", all.len());
    assert!(heard > 300 && repos > 250, "{heard} {repos}");
    assert_eq!(home.requests().len(), 0, "nothing is read because of a webhook alone");
}

/// Reading the secret may start a command, which a stranger must not be able to cause.
#[tokio::test]
async fn what_carries_no_signature_reads_no_secret() {
    let home = OnGitHub::hooked(SECRET);
    home.secrets.remove("HOOK");
    let forge = "home".parse().unwrap();
    let hear = async |signature: &str| {
        let header = |name: &str| (name == "x-hub-signature-256").then(|| signature.to_owned());
        home.forges.receive_hook(&forge, &header, b"{}").await
    };
    assert_eq!(hear("").await, Err(HookRefusal::Unsigned));
    assert_eq!(hear("sha256=guessed").await, Err(HookRefusal::WrongSignature));
    assert_eq!(hear(&signed(b"{}", SECRET)).await, Err(HookRefusal::NoSecret));
}

/// Anybody can send what looks like a signature.
#[tokio::test]
async fn many_wrong_signatures_read_the_secret_once_and_a_rotated_one_counts_soon() {
    let home = OnGitHub::hooked(SECRET);
    let forge = "home".parse().unwrap();
    let hear = async |secret: &str| {
        let header = |name: &str| (name == "x-hub-signature-256").then(|| signed(b"{}", secret));
        home.forges.receive_hook(&forge, &header, b"{}").await
    };
    for _ in 0..100 {
        assert_eq!(hear("guessed").await, Err(HookRefusal::WrongSignature));
    }
    assert_eq!(home.secrets.reads(), 1);
    assert_eq!(hear(SECRET).await, Ok(HookOutcome::NoRepo));
    home.secrets.set("HOOK", "a new secret");
    home.later(6);
    assert_eq!(hear("a new secret").await, Ok(HookOutcome::NoRepo));
    assert_eq!(hear(SECRET).await, Err(HookRefusal::WrongSignature));
    assert_eq!(home.secrets.reads(), 2);
}

#[tokio::test]
async fn a_webhook_wakes_the_repo_however_the_forge_spells_it() {
    let home = OnGitHub::hooked(SECRET);
    let body = br#"{"repository":{"full_name":"O/R"}}"#;
    let header = |name: &str| (name == "x-hub-signature-256").then(|| signed(body, SECRET));
    let heard = home.forges.receive_hook(&"home".parse().unwrap(), &header, body).await;
    assert_eq!(heard, Ok(HookOutcome::Woke("o/r".parse().unwrap())));
}
