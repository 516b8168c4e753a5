//! A real run's evidence for others: the statement about what landed, the envelope that the
//! operator's key has signed, and what a verifier that is not ours says of both.

use std::path::{Path, PathBuf};
use std::process::Command;

use afk_core::evidence::bundle::Bundle;
use serde_json::{Value, json};

use crate::support::{Said, afk, clean, finish, git};
use crate::world::{Ended, World, honest};

/// The example key of RFC 8410, which is no secret.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";
/// The public key of the first test of RFC 8032: somebody else's.
const STRANGER: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";

/// A Python program that verifies an envelope with DSSE's and in-toto's own libraries. Its
/// arguments: the envelope, the public key, the key's id.
const VERIFIER: &str = r#"
import json, sys
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

envelope = Envelope.from_dict(json.load(open(sys.argv[1])))
pem = open(sys.argv[2], "rb").read()
key = SSlibKey.from_crypto(load_pem_public_key(pem), keyid=sys.argv[3])
accepted = envelope.verify([key], 1)
assert envelope.payload_type == "application/vnd.in-toto+json", envelope.payload_type
read = json_format.Parse(envelope.payload, statement_pb2.Statement())
Statement.copy_from_pb(read).validate()
subjects = [[one.name, dict(one.digest)] for one in read.subject]
print(json.dumps({
    "by": list(accepted), "type": read.predicate_type, "subjects": subjects,
    "complete": read.predicate["complete"], "run": read.predicate["run"],
}))
"#;

/// A world whose evidence is signed.
fn signing() -> World {
    let mut world = World::new();
    let key = world.path("evidence.pem");
    std::fs::write(&key, PRIVATE).unwrap();
    std::fs::write(world.path("public.pem"), PUBLIC).unwrap();
    std::fs::write(world.path("stranger.pem"), STRANGER).unwrap();
    world.set("evidence_key.file", key.to_str().unwrap());
    world.script(&[&honest()]);
    world
}

fn kept(world: &World, ended: &Ended, ending: &str) -> PathBuf {
    let run = ended.view["run"].as_str().unwrap();
    world.path("data/evidence").join(format!("{run}.{ending}"))
}

/// Runs `afk evidence verify` on a bundle's file, without a configuration.
fn verify(world: &World, file: &Path, more: &[&str]) -> Said {
    let mut args = vec!["evidence", "verify", file.to_str().unwrap()];
    args.extend(more);
    finish(afk(&world.path("home"), &args))
}

fn named(said: &str, told: &str) {
    assert!(said.contains(told), "no {told:?}: {said}");
}

#[test]
fn what_landed_is_stated_signed_and_verified_by_others() {
    let world = signing();
    let ended = world.run(0);
    world.landed(&ended);
    let (intoto, dsse) =
        (kept(&world, &ended, "intoto.json"), kept(&world, &ended, "intoto.dsse.json"));
    let printed = |format| world.afk(&["evidence", &ended.issue, "--format", format]).ended(0).out;
    assert_eq!(printed("intoto"), std::fs::read_to_string(&intoto).unwrap());
    assert_eq!(printed("dsse"), std::fs::read_to_string(&dsse).unwrap());

    let statement: Value = serde_json::from_str(&printed("intoto")).unwrap();
    let tree = git(&world.origin(), &["rev-parse", "main^{tree}"]);
    let subject = json!([
        { "name": "o/calc", "digest": { "gitCommit": world.head() } },
        { "name": "o/calc^{tree}", "digest": { "gitTree": tree } },
    ]);
    assert_eq!(
        (&statement["subject"], &statement["predicate"]["complete"]),
        (&subject, &true.into())
    );
    let bundle = Bundle::read(&std::fs::read(kept(&world, &ended, "json")).unwrap()).unwrap();
    let journal = bundle.journal.unwrap();
    let end = json!({ "count": journal.count, "head": journal.head });
    assert_eq!(statement["predicate"]["journal"], end);

    let said = world.afk(&["evidence", "verify", &ended.issue]).ended(0).out;
    named(&said, "✓ its rows are those of the store's journal");
    named(&said, "intoto.dsse.json contains the statement of this bundle");
    named(&said, "sound, and signed by the key ");
    let json = world.json(&["evidence", "verify", &ended.issue]);
    let key = json["signed_by"].as_str().unwrap();
    named(&world.afk(&["doctor", "--all", "--quick"]).out, &format!("Ed25519, key id {key}"));

    let Some(python) =
        afk_stand_ins::verifier::for_test("what_landed_is_stated_signed_and_verified")
    else {
        return;
    };
    let others = |envelope: &Path, public: &str| {
        let mut command = clean(python.to_str().unwrap(), &world.path("home"));
        command.args(["-B", "-c", VERIFIER]).arg(envelope).arg(world.path(public)).arg(key);
        finish(command)
    };
    let said = others(&dsse, "public.pem").ended(0).json();
    let expected = json!({
        "by": [key],
        "type": "https://afk.dev/evidence/v1",
        "subjects": [["o/calc", { "gitCommit": world.head() }], ["o/calc^{tree}", { "gitTree": tree }]],
        "complete": true,
        "run": ended.view["run"],
    });
    assert_eq!(said, expected);
    others(&dsse, "stranger.pem").ended(1).complains(&["VerificationError"]);

    // Somebody puts another statement into the envelope.
    let mut envelope: Value = serde_json::from_str(&printed("dsse")).unwrap();
    let forged = world.path("forged.json");
    let encoded = base64(&world, &printed("intoto").replace("\"removed\": 0", "\"removed\": 1"));
    assert_ne!(envelope["payload"], encoded.as_str());
    envelope["payload"] = encoded.into();
    std::fs::write(&forged, envelope.to_string()).unwrap();
    others(&forged, "public.pem").ended(1).complains(&["VerificationError"]);
}

/// The text in base64, by the program `base64`.
fn base64(world: &World, text: &str) -> String {
    let file = world.path("plain");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("base64");
    command.arg("-w0").arg(&file);
    finish(command).ended(0).out
}

#[test]
fn a_bundle_that_was_rewritten_as_a_whole_is_told_by_its_signature() {
    let world = signing();
    let ended = world.run(0);
    let (json, dsse) = (kept(&world, &ended, "json"), kept(&world, &ended, "intoto.dsse.json"));
    let (public, stranger) = (world.path("public.pem"), world.path("stranger.pem"));
    let by = |key: &Path| ["--key".to_owned(), key.to_str().unwrap().to_owned()];
    let with = |key: &Path, code| {
        let key = by(key);
        verify(&world, &json, &[&key[0], &key[1]]).ended(code).out
    };
    named(&with(&public, 0), "sound, and signed by the key ");
    named(&with(&stranger, 1), "no signature is by the given key");
    let said = verify(&world, &json, &[]).ended(0).out;
    named(&said, "? its signature is valid (not checked)");
    named(&said, "sound, unless somebody rewrote");
    let refused = verify(&world, &json, &["--key", world.path("afk.toml").to_str().unwrap()]);
    refused.ended(2).complains(&["is not a public key in PEM"]);

    // Rows, hashes, statements and the files beside the bundle made anew; all but the signature.
    let kept_bytes = std::fs::read(&json).unwrap();
    let others = ["md", "intoto.json"].map(|ending| kept(&world, &ended, ending));
    let kept_others = others.each_ref().map(|file| std::fs::read(file).unwrap());
    let forged = forged(&kept_bytes);
    std::fs::write(&json, forged.to_bytes().unwrap()).unwrap();
    std::fs::write(&others[0], forged.evidence.to_markdown()).unwrap();
    std::fs::write(&others[1], forged.statement().unwrap().unwrap()).unwrap();
    named(&with(&public, 1), "it contains another one");
    let said = world.afk(&["evidence", "verify", &ended.issue]).ended(1).out;
    named(&said, "row 1 is another one in the store's journal");
    named(&said, "it contains another one");
    let refused = world.afk(&["evidence", &ended.issue, "--format", "dsse"]).ended(1);
    refused.complains(&["another statement than the bundle gives"]);
    let envelope = std::fs::read(&dsse).unwrap();
    std::fs::remove_file(&dsse).unwrap();
    named(&with(&public, 1), "there is no envelope beside it");
    std::fs::write(&json, kept_bytes).unwrap();
    for (file, bytes) in others.iter().zip(kept_others) {
        std::fs::write(file, bytes).unwrap();
    }
    let said = world.afk(&["evidence", "verify", &ended.issue]).ended(0).out;
    named(&said, "? it is signed (not checked)");

    // The envelope of another run, and files that are no envelope.
    let next = world.run_next();
    std::fs::copy(kept(&world, &next, "intoto.dsse.json"), &dsse).unwrap();
    named(&with(&public, 1), "it contains another one");
    std::fs::write(&dsse, "{}").unwrap();
    named(&with(&public, 1), "it is not a DSSE envelope");
    std::fs::write(&dsse, envelope).unwrap();
    named(&with(&public, 0), "sound, and signed by the key ");
    std::fs::write(&others[1], "{}").unwrap();
    named(&with(&public, 1), "intoto.json matches");
}

/// The bundle with every row a second later, and everything that follows from the rows made anew.
fn forged(bytes: &[u8]) -> Bundle {
    let mut bundle = Bundle::read(bytes).unwrap();
    crate::bundle::rewritten(&mut bundle);
    bundle
}

#[test]
fn without_a_key_nothing_is_signed_and_with_a_bad_one_nothing_settles() {
    let mut world = World::new();
    world.script(&[&honest()]);
    let ended = world.run(0);
    assert!(kept(&world, &ended, "intoto.json").is_file());
    assert!(!kept(&world, &ended, "intoto.dsse.json").exists());
    let refused = world.afk(&["evidence", &ended.issue, "--format", "dsse"]).ended(2);
    refused.complains(&["is not signed: no evidence_key was configured"]);
    named(&world.afk(&["doctor", "--all", "--quick"]).out, "none: evidence is kept unsigned");

    let key = world.path("evidence.pem");
    world.set("evidence_key.file", key.to_str().unwrap());
    for (content, told) in
        [(None, "cannot be read"), (Some("hunter2"), "is not a private key in PEM")]
    {
        if let Some(content) = content {
            std::fs::write(&key, content).unwrap();
        }
        let doctor = world.afk(&["doctor"]);
        assert_ne!(doctor.code, Some(0));
        named(&doctor.out, told);
        assert!(!doctor.out.contains("hunter2"));
    }
}

#[test]
fn what_landed_nothing_has_no_statement() {
    let world = World::new();
    let ended = world.run(4);
    assert!(!kept(&world, &ended, "intoto.json").exists());
    let refused = world.afk(&["evidence", &ended.issue, "--format", "intoto"]).ended(2);
    refused.complains(&["landed nothing"]);
    world.afk(&["evidence", "verify", &ended.issue]).ended(0);
}
