//! The part of `evidence verify` about what others verify of a bundle, in files beside it: the
//! in-toto statement, the envelope around it, and the signature by the key that is known.
//!
//! That such a file is absent proves nothing: bundles of runs that landed nothing, or that settled
//! before a key was configured, have none. But a person who gives a key demands a signature.

use std::io;
use std::path::Path;

use afk_app::Error;
use afk_app::adapters::{PublicKey, envelope_beside, statement_beside};
use afk_app::config::Config;
use afk_app::operator::evidence_key;
use afk_core::digest::Digest;
use afk_core::evidence::bundle::Bundle;
use afk_core::evidence::dsse::{DecodedEnvelope, Envelope};

use super::evidence::read;
use crate::cli::exit::Answer;
use crate::cli::render::Check;

/// The key that must have signed, as far as it is known.
pub(super) enum Key {
    /// It was given on the command line, and a signature is demanded.
    Given(PublicKey),
    /// It is the configured one, which may be younger than the bundle.
    Configured(PublicKey),
    /// The configured one cannot be read.
    Unreadable(String),
    /// No key is known.
    Unknown,
}

impl Key {
    /// Reads the key of a configuration.
    pub(super) async fn configured(config: &Config) -> Self {
        match evidence_key(config).await {
            Ok(key) => key.map_or(Self::Unknown, Self::Configured),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// Reads the public key from a file that was named on the command line.
pub(super) fn given(file: &Path) -> Answer<PublicKey> {
    let refused = |why: String| Error::invalid(format!("--key {}: {why}", file.display()));
    let pem = read(file).map_err(|error| refused(format!("cannot be read: {error}")))?;
    PublicKey::from_pem(&pem).map_err(|why| refused(why.to_string()))
}

/// Checks the statement and the envelope beside the bundle at `file`; also returns the id of the
/// key whose signature was found valid.
pub(super) fn checks(file: &Path, bundle: &Bundle, key: &Key) -> (Vec<Check>, Option<Digest>) {
    // Making it cannot fail: a bundle that was read can be serialised.
    let made = bundle.statement().ok().flatten();
    let mut checks: Vec<Check> = statement(file, made.as_deref()).into_iter().collect();
    let beside = envelope_beside(file);
    let contains = format!("{} contains the statement of this bundle", beside.display());
    match read(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            checks.extend(unsigned(made.is_some(), key));
        }
        Err(error) => {
            checks.push(Check::of(contains, Some(format!("it cannot be read: {error}"))));
        }
        Ok(bytes) => match Envelope::open(&bytes) {
            Err(why) => checks.push(Check::of(contains, Some(why.to_string()))),
            Ok(opened) => {
                let same = made.as_ref() == Some(&opened.statement);
                let other = "it contains another one, of another bundle or of an edited one";
                checks.push(Check::of(contains, (!same).then(|| other.to_owned())));
                let (signed, by) = signature(&opened, key);
                checks.push(signed);
                return (checks, by);
            }
        },
    }
    (checks, None)
}

/// Checks the file of the statement, a copy of what the bundle gives; none if there is no such
/// file.
fn statement(file: &Path, made: Option<&[u8]>) -> Option<Check> {
    let beside = statement_beside(file);
    let what = format!("{} matches", beside.display());
    match (read(&beside), made) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => None,
        (Err(error), _) => Some(Check::of(what, Some(format!("it cannot be read: {error}")))),
        (Ok(_), None) => Some(Check::of(what, Some("nothing landed to state".to_owned()))),
        (Ok(bytes), Some(made)) => {
            Some(Check::of(what, (bytes != made).then(|| "it differs".to_owned())))
        }
    }
}

/// What the absence of an envelope means, given whether the run landed anything, and the key.
fn unsigned(landed: bool, key: &Key) -> Option<Check> {
    let what = "it is signed".to_owned();
    match key {
        Key::Given(_) if landed => {
            Some(Check::of(what, Some("there is no envelope beside it".to_owned())))
        }
        Key::Given(_) => {
            let why = "it landed nothing, so that there is no statement to sign";
            Some(Check::of(what, Some(why.to_owned())))
        }
        Key::Configured(_) | Key::Unreadable(_) if landed => Some(Check::unknown(
            what,
            "there is no envelope beside it: it was kept before evidence_key was set, or somebody \
             removed it",
        )),
        Key::Configured(_) | Key::Unreadable(_) | Key::Unknown => None,
    }
}

/// Checks whether the known key has signed the envelope; also returns its id if it has.
fn signature(opened: &DecodedEnvelope, key: &Key) -> (Check, Option<Digest>) {
    let names: Vec<&str> = opened.signatures.iter().map(|(name, _)| name.as_str()).collect();
    let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let known = match key {
        Key::Given(known) | Key::Configured(known) => known,
        Key::Unreadable(why) => {
            return (Check::unknown("its signature is valid".to_owned(), why), None);
        }
        Key::Unknown => {
            let why = format!("it says that it is signed by {names}: give the public key as --key");
            return (Check::unknown("its signature is valid".to_owned(), &why), None);
        }
    };
    let what = format!("it is signed by the key {}", known.id());
    if known.signed(opened) {
        return (Check::of(what, None), Some(known.id()));
    }
    let why = match key {
        Key::Configured(_) => format!(
            "no signature is by the configured key; it names {names}; if evidence_key was changed \
             since, give the earlier public key as --key"
        ),
        Key::Given(_) | Key::Unreadable(_) | Key::Unknown => {
            format!("no signature is by the given key; it names {names}")
        }
    };
    (Check::of(what, Some(why)), None)
}
