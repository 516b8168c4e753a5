//! Signatures of evidence, with an Ed25519 key of the operator's in PEM (PKCS#8), and the public
//! key that belongs to it.
//!
//! The library is the one that TLS already needs. Nothing is read here: the caller reads the key's
//! text from its source, and the envelope from its file. A key's name is the SHA-256 of its public
//! key (`SubjectPublicKeyInfo`, DER), as other signing programs compute it.

use afk_core::digest::Digest;
use afk_core::evidence::dsse::{DecodedEnvelope, Envelope, PAYLOAD_TYPE, pae};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use secrecy::{ExposeSecret as _, SecretString};

/// The prefix of the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The length of an Ed25519 public key, in bytes.
const LENGTH: usize = 32;

/// Why a key cannot be used. Never quotes the key's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is no private key in PKCS#8.
    #[error(
        "is not a private key in PEM (PKCS#8, \"BEGIN PRIVATE KEY\"); make one with `openssl \
         genpkey -algorithm ed25519`"
    )]
    NotPrivate,
    /// The key is of another kind.
    #[error("is not an Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")]
    NotEd25519,
    /// The text is no public key.
    #[error(
        "is not a public key in PEM (\"BEGIN PUBLIC KEY\"); `openssl pkey -in KEY.pem -pubout` \
         prints the one of a private key"
    )]
    NotPublic,
    /// Signing failed.
    #[error("could not sign")]
    Unable,
}

/// The operator's private key.
pub struct SigningKey(Ed25519KeyPair);

/// A public key, with which signatures are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; LENGTH]);

impl SigningKey {
    /// Reads the private key in `pem`.
    pub fn from_pem(pem: &SecretString) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes())
            .map_err(|_| KeyError::NotPrivate)?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der());
        pair.map(Self).map_err(|_| KeyError::NotEd25519)
    }

    /// Returns the public key that belongs to it.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        let raw = self.0.public_key().as_ref().try_into();
        raw.map(PublicKey).map_err(|_| KeyError::NotEd25519)
    }

    /// Signs a statement's bytes. Equal bytes give an equal envelope.
    pub fn seal(&self, statement: &[u8]) -> Result<Envelope, KeyError> {
        let signature = self.0.try_sign(&pae(PAYLOAD_TYPE, statement));
        let signature = signature.map_err(|_| KeyError::Unable)?;
        Ok(Envelope::new(statement, &self.public()?.id(), signature.as_ref()))
    }
}

impl PublicKey {
    /// Reads the public key in `pem`.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NotPublic)?;
        let raw = der.as_ref().strip_prefix(SPKI.as_slice()).ok_or(KeyError::NotEd25519)?;
        raw.try_into().map(Self).map_err(|_| KeyError::NotEd25519)
    }

    /// Returns the key's name.
    pub fn id(&self) -> Digest {
        Digest::of([SPKI.as_slice(), self.0.as_slice()].concat())
    }

    /// Whether one of the signatures is by this key. The key names in the envelope are ignored.
    pub fn signed(&self, opened: &DecodedEnvelope) -> bool {
        let (key, message) = (UnparsedPublicKey::new(&ED25519, self.0), opened.signed());
        opened.signatures.iter().any(|(_, signature)| key.verify(&message, signature).is_ok())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The example of RFC 8410, which is no secret.
    pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    /// A key on P-256.
    const OTHER_KIND: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n\
        q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n\
        -----END PUBLIC KEY-----\n";

    fn key() -> SigningKey {
        SigningKey::from_pem(&SecretString::from(PRIVATE)).unwrap()
    }

    #[test]
    fn what_was_signed_is_recognised_by_the_public_key_alone() {
        let public = PublicKey::from_pem(PUBLIC.as_bytes()).unwrap();
        assert_eq!(key().public(), Ok(public.clone()));
        let bytes = key().seal(b"{}").unwrap().to_bytes().unwrap();
        assert_eq!(bytes, key().seal(b"{}").unwrap().to_bytes().unwrap());
        let opened = Envelope::open(&bytes).unwrap();
        assert_eq!(opened.signatures[0].0, public.id().to_string());
        assert!(public.signed(&opened));

        let check = |change: &dyn Fn(&mut DecodedEnvelope)| {
            let mut opened = opened.clone();
            change(&mut opened);
            public.signed(&opened)
        };
        assert!(!check(&|o| o.statement = b"{ }".to_vec()));
        assert!(!check(&|o| o.signatures.clear()));
        assert!(!check(&|o| o.signatures[0].1[0] ^= 1));
        assert!(!check(&|o| o.signatures[0].1.truncate(63)));
        // A key's name decides nothing, and other people's signatures do no harm.
        assert!(check(&|o| o.signatures[0].0.clear()));
        assert!(check(&|o| o.signatures.insert(0, ("x".to_owned(), vec![1]))));
        assert!(!PublicKey([7; LENGTH]).signed(&opened));
    }

    #[test]
    fn another_text_is_refused_and_never_quoted() {
        let private = |text: &str| SigningKey::from_pem(&SecretString::from(text)).err();
        for text in ["", "hunter2", PUBLIC, &PRIVATE.replace("PRIVATE", "RSA PRIVATE")] {
            assert_eq!(private(text), Some(KeyError::NotPrivate), "{text}");
        }
        let damaged = PRIVATE.replace("MC4CAQAw", "MC4CAQBw");
        assert_eq!(private(&damaged), Some(KeyError::NotEd25519));
        let public = |text: &str| PublicKey::from_pem(text.as_bytes()).err();
        for text in ["", "hunter2", PRIVATE] {
            assert_eq!(public(text), Some(KeyError::NotPublic), "{text}");
        }
        assert_eq!(public(OTHER_KIND), Some(KeyError::NotEd25519));
    }
}
