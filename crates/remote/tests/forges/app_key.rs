//! The key of a GitHub App, made anew for each test's process, and the app's account at the fake,
//! which verifies signatures with a library that is not the adapter's.
//!
//! The tests of the program use it, too.

use std::sync::{Arc, LazyLock};

use afk_fakes::github::AppAccount;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

/// The app's id.
pub(crate) const ID: u64 = 4711;

/// The private key in PEM, and what verifies its signatures.
static KEY: LazyLock<(String, Vec<u8>)> = LazyLock::new(|| {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    let pem = format!("{begin}\n{}\n{end}\n", lines.join("\n"));
    (pem, key.public_key().as_ref().to_vec())
});

/// The private key, in PEM.
pub(crate) fn pem() -> &'static str {
    &KEY.0
}

/// The app's account, with these installations.
pub(crate) fn account(installations: Vec<u64>) -> AppAccount {
    AppAccount { id: ID, slug: "afk".into(), installations, verify: Arc::new(verified) }
}

fn verified(token: &str) -> Option<Value> {
    let mut validation = Validation::new(Algorithm::RS256);
    // The fake checks the times itself, by its own clock.
    validation.validate_exp = false;
    let key = DecodingKey::from_rsa_der(&KEY.1);
    jsonwebtoken::decode::<Value>(token, &key, &validation).ok().map(|data| data.claims)
}
