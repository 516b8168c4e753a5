//! The envelope that a statement is signed in: [DSSE](https://github.com/secure-systems-lab/dsse),
//! version 1.
//!
//! The signature is not over the payload alone but over its encoding together with its type
//! ([`pae`]), so that no payload can be taken for one of another type. Nothing is signed or
//! verified here: keys are for the adapters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The type of a payload that is an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Returns the bytes to sign for a payload of a type (DSSE's pre-authentication encoding): both
/// with their lengths.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (kind, length) = (payload_type.len(), payload.len());
    let mut bytes = format!("DSSEv1 {kind} {payload_type} {length} ").into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A payload with its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The payload, in base64.
    payload: String,
    /// The type of the payload.
    #[serde(rename = "payloadType")]
    payload_type: String,
    /// The signatures; others may have added theirs.
    signatures: Vec<Signature>,
}

/// A signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    /// The name of the key that made it; a hint, on which nothing is decided.
    #[serde(default)]
    keyid: String,
    /// The signature, in base64.
    sig: String,
}

/// Bytes that are not an envelope around a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEnvelope {
    /// The bytes are something else, or damaged.
    #[error("it is not a DSSE envelope, or is damaged: {0}")]
    Malformed(String),
    /// The payload is of another type than [`PAYLOAD_TYPE`].
    #[error("its payload is of the type {0:?}, not {PAYLOAD_TYPE:?}")]
    Type(String),
    /// The payload or a signature, as named, is not in base64.
    #[error("its {0} is not in base64")]
    Encoding(&'static str),
}

/// What an envelope contains, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedEnvelope {
    /// The statement's bytes.
    pub statement: Vec<u8>,
    /// The signatures, each with the name of its key.
    pub signatures: Vec<(String, Vec<u8>)>,
}

impl DecodedEnvelope {
    /// Returns the bytes that each signature must be over.
    pub fn signed(&self) -> Vec<u8> {
        pae(PAYLOAD_TYPE, &self.statement)
    }
}

impl Envelope {
    /// Returns the envelope around a statement's bytes, with the signature of [`pae`] by the key
    /// `key`.
    pub fn new(statement: &[u8], key: &Digest, signature: &[u8]) -> Self {
        let signature = Signature { keyid: key.to_string(), sig: STANDARD.encode(signature) };
        Self {
            payload: STANDARD.encode(statement),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![signature],
        }
    }

    /// Returns the bytes to store: JSON in one line.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads and decodes an envelope. No signature is verified.
    pub fn open(bytes: &[u8]) -> Result<DecodedEnvelope, NotAnEnvelope> {
        let envelope: Self =
            serde_json::from_slice(bytes).map_err(|e| NotAnEnvelope::Malformed(e.to_string()))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(NotAnEnvelope::Type(envelope.payload_type));
        }
        let decoded =
            |text: &str, what| STANDARD.decode(text).map_err(|_| NotAnEnvelope::Encoding(what));
        let statement = decoded(&envelope.payload, "payload")?;
        let signature = |one: Signature| Ok((one.keyid, decoded(&one.sig, "signature")?));
        let signatures = envelope.signatures.into_iter().map(signature);
        Ok(DecodedEnvelope {
            statement,
            signatures: signatures.collect::<Result<_, NotAnEnvelope>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_the_payload_with_its_type() {
        // The protocol's own example.
        let signed = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(signed, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
        assert_ne!(pae("a", b"b c"), pae("a b", b"c"));
    }

    #[test]
    fn what_was_sealed_is_opened_and_nothing_else_is() {
        let key = Digest::of("key");
        let bytes = Envelope::new(b"{}", &key, &[1, 2, 3]).to_bytes().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let expected = format!(
            "{{\"payload\":\"e30=\",\"payloadType\":\"application/vnd.in-toto+json\",\
             \"signatures\":[{{\"keyid\":\"{key}\",\"sig\":\"AQID\"}}]}}\n"
        );
        assert_eq!(text, expected);
        let opened = Envelope::open(&bytes).unwrap();
        let signatures = vec![(key.to_string(), vec![1, 2, 3])];
        assert_eq!(opened, DecodedEnvelope { statement: b"{}".to_vec(), signatures });
        assert_eq!(opened.signed(), b"DSSEv1 28 application/vnd.in-toto+json 2 {}");

        let refused = |from: &str, to: &str| {
            Envelope::open(text.replace(from, to).as_bytes()).unwrap_err().to_string()
        };
        assert!(refused("vnd.in-toto+", "").starts_with("its payload is of the type"));
        assert_eq!(refused("e30=", "e3=0"), "its payload is not in base64");
        assert_eq!(refused("AQID", "AQI"), "its signature is not in base64");
        assert!(refused("]}", "]").starts_with("it is not a DSSE envelope"));
        let behind = [bytes.as_slice(), b"x"].concat();
        assert!(matches!(Envelope::open(&behind), Err(NotAnEnvelope::Malformed(_))));
    }
}
