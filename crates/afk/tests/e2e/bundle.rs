//! A real run's kept bundle, checked by `afk evidence verify` with nothing else at hand: as it is,
//! and after somebody tampered with it.

use std::path::{Path, PathBuf};

use afk_core::evidence::bundle::{Bundle, NotABundle};
use afk_core::proof::{ProofOutcome, Strength};
use serde_json::Value;

use crate::support::{Said, afk, finish};
use crate::world::{Ended, World, honest};

/// A bundle in a data folder of its own, and a home without a configuration.
struct Kept {
    root: tempfile::TempDir,
    bytes: Vec<u8>,
    run: String,
}

impl Kept {
    /// Keeps the bundle of a run whose first attempt was refused.
    fn new() -> Self {
        let world = World::new();
        let ended = world.run_refused_once();
        let run = ended.view["run"].as_str().unwrap().to_owned();
        let root = tempfile::tempdir().unwrap();
        for folder in ["home", "data"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        for folder in ["evidence", "transcripts"] {
            let from = world.path("data").join(folder);
            std::fs::rename(from, root.path().join("data").join(folder)).unwrap();
        }
        let file = root.path().join("data/evidence").join(format!("{run}.json"));
        Self { bytes: std::fs::read(file).unwrap(), root, run }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.root.path().join("data/evidence").join(format!("{}.{ending}", self.run))
    }

    #[track_caller]
    fn verify(&self, file: &Path, more: &[&str]) -> Said {
        let mut args = vec!["evidence", "verify", file.to_str().unwrap()];
        args.extend(more);
        let said = finish(afk(&self.root.path().join("home"), &args));
        let home = std::fs::read_dir(self.root.path().join("home")).unwrap();
        assert_eq!(home.count(), 0, "something was made");
        said
    }

    /// Verifies these bytes as a file in a folder without other files.
    #[track_caller]
    fn alone(&self, bytes: &[u8], code: i32) -> Said {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.json");
        std::fs::write(&file, bytes).unwrap();
        self.verify(&file, &[]).ended(code)
    }

    /// Verifies the bundle after `change`, serialised as usual; returns the output.
    #[track_caller]
    fn after(&self, change: impl FnOnce(&mut Bundle)) -> String {
        let mut bundle = Bundle::read(&self.bytes).unwrap();
        change(&mut bundle);
        self.alone(&bundle.to_bytes().unwrap(), 1).out
    }
}

#[test]
fn a_kept_bundle_is_sound_and_each_change_of_it_is_named() {
    let kept = Kept::new();
    let said = kept.verify(&kept.file("json"), &[]).ended(0).out;
    for told in
        ["✓ its statements follow", "✓ the transcript of turn 1", "✓ the transcript of turn 2"]
    {
        assert!(said.contains(told), "no {told:?}: {said}");
    }
    let said = kept.alone(&kept.bytes, 0).out;
    assert!(said.contains("? the transcript of turn 1"), "{said}");
    assert!(said.contains("sound, unless somebody rewrote the whole bundle"), "{said}");

    let whole = Bundle::read(&kept.bytes).unwrap();
    let rows = whole.journal.as_ref().unwrap().rows.clone();
    let of = |kind: &str| rows.iter().position(|row| row.kind == kind).unwrap();
    let (proved, landed) = (of("proved"), of("landed"));
    let named = |said: &str, told: &str| assert!(said.contains(told), "no {told:?}: {said}");
    let edit = |change: &dyn Fn(&mut Vec<afk_core::chain::Link>)| {
        kept.after(|bundle| change(&mut bundle.journal.as_mut().unwrap().rows))
    };
    let said = edit(&|rows| rows[landed].body = rows[landed].body.replacen('a', "b", 1));
    named(&said, &format!("row {} was edited", landed + 1));
    let said = edit(&|rows| rows[landed].at += 1);
    named(&said, &format!("row {} was edited", landed + 1));
    let said = edit(&|rows| drop(rows.remove(proved)));
    named(&said, &format!("row {} is missing", proved + 1));
    let said = edit(&|rows| drop(rows.pop()));
    named(&said, &format!("row {} is missing", rows.len()));
    let said = edit(&|rows| rows.swap(proved, landed));
    named(&said, &format!("row {} is in the place of row {}", landed + 1, proved + 1));
    let weak = ProofOutcome::Accepted(Strength::NoRed);
    let said = kept.after(|one| one.evidence.proof.as_mut().unwrap().outcome = weak);
    named(&said, "/proof/outcome/accepted: stated \"no_red\", but the rows give \"proven\"");
    let said = kept.after(|one| one.evidence.stages_configured.clear());
    named(&said, "/stages_configured: stated [], but the rows give [\"ci\"]");
    let said = kept.after(|one| one.journal = None);
    named(&said, "it contains no journal");

    // A truncated file is reported as truncated, wherever it ends.
    for end in (0..kept.bytes.len() - 1).step_by(kept.bytes.len() / 150) {
        let torn = Err(NotABundle::Torn { bytes: end });
        assert_eq!(Bundle::read(&kept.bytes[..end]), torn, "{end}");
    }
    kept.alone(&kept.bytes[..kept.bytes.len() / 2], 2).complains(&["the file is truncated"]);
    kept.alone(b"", 2).complains(&["the file is truncated"]);
    kept.alone(b"PK\x03", 2).complains(&["not an evidence bundle"]);
    kept.verify(Path::new("/nowhere/x.json"), &[]).ended(2).complains(&["is neither a file"]);
}

#[test]
fn verify_checks_the_files_beside_a_bundle_and_a_known_head() {
    let kept = Kept::new();
    let json = kept.file("json");
    let head = Bundle::read(&kept.bytes).unwrap().journal.unwrap().head;
    kept.verify(&json, &["--head", &head]).ended(0);

    // Rewritten as a whole, the bundle is consistent in itself; only the known hash shows it.
    let mut other = Bundle::read(&kept.bytes).unwrap();
    rewritten(&mut other);
    std::fs::write(&json, other.to_bytes().unwrap()).unwrap();
    std::fs::write(kept.file("md"), other.evidence.to_markdown()).unwrap();
    std::fs::write(kept.file("intoto.json"), other.statement().unwrap().unwrap()).unwrap();
    kept.verify(&json, &[]).ended(0);
    let said = kept.verify(&json, &["--head", &head]).ended(1).out;
    assert!(said.contains("✗ its last hash is the given one"), "{said}");

    std::fs::write(&json, &kept.bytes).unwrap();
    let said = kept.verify(&json, &[]).ended(1).out;
    assert!(said.contains("it differs"), "{said}");
    std::fs::remove_file(kept.file("md")).unwrap();
    let said = kept.verify(&json, &[]).ended(1).out;
    assert!(said.contains("intoto.json matches"), "{said}");
    std::fs::remove_file(kept.file("intoto.json")).unwrap();
    kept.verify(&json, &[]).ended(0);

    let transcript = kept.root.path().join("data/transcripts").join(&kept.run);
    let turns = ["turn-1.jsonl.gz", "turn-2.jsonl.gz"].map(|name| transcript.join(name));
    std::fs::copy(&turns[0], &turns[1]).unwrap();
    let said = kept.verify(&json, &["--json"]).ended(1).json();
    let broken: Vec<&Value> =
        said["checks"].as_array().unwrap().iter().filter(|one| one["state"] == "broken").collect();
    assert_eq!(broken.len(), 1, "{said:#}");
    let told = broken[0].to_string();
    assert!(
        told.contains("transcript of turn 2") && told.contains("is not what was kept"),
        "{told}"
    );
    assert_eq!((&said["sound"], &said["flaws"]), (&false.into(), &Value::Array(vec![])));
}

/// Rewrites a bundle as a whole: each row a second later, with its hashes and the statements.
pub(crate) fn rewritten(bundle: &mut Bundle) {
    let run = bundle.evidence.run.to_string();
    let journal = bundle.journal.as_mut().unwrap();
    let mut prev = String::new();
    for row in &mut journal.rows {
        row.at += 1_000_000;
        row.prev_hash.clone_from(&prev);
        let (at, kind, body) = (row.at, &row.kind, &row.body);
        row.hash = afk_core::chain::hash(&run, row.seq, at, kind, body, &row.prev_hash);
        prev.clone_from(&row.hash);
    }
    journal.head = prev;
    // The rows' times are in the statements, too.
    let checked = bundle.check(&bundle.to_bytes().unwrap());
    bundle.evidence = checked.run.unwrap().evidence(stages(bundle).as_ref());
}

#[test]
fn what_was_put_in_its_place_or_behind_its_end_is_told() {
    let world = World::new();
    world.script(&[&honest()]);
    let (first, second) = (world.run(0), world.run_next());
    let file = |ended: &Ended, ending: &str| {
        let run = ended.view["run"].as_str().unwrap();
        world.path("data/evidence").join(format!("{run}.{ending}"))
    };
    let by_issue = |code| world.afk(&["evidence", "verify", &second.issue]).ended(code).out;
    let named = |said: &str, told: &str| assert!(said.contains(told), "no {told:?}: {said}");
    named(&by_issue(0), "✓ its rows are those of the store's journal");

    // The first run's bundle, under the name of the second's.
    let (json, md) = (file(&second, "json"), file(&second, "md"));
    let own = [&json, &md].map(|file| std::fs::read(file).unwrap());
    std::fs::copy(file(&first, "json"), &json).unwrap();
    std::fs::copy(file(&first, "md"), &md).unwrap();
    let said = by_issue(1);
    named(&said, &format!("it is of run {}, not of run", first.view["run"].as_str().unwrap()));
    named(&said, &format!("it is of issue {}, not of {}", first.issue, second.issue));
    let said = world.afk(&["evidence", "verify", json.to_str().unwrap()]).ended(1).out;
    named(&said, "✗ it is of the run that its file is named after");
    let refused = world.afk(&["evidence", &second.issue]).ended(1);
    refused.complains(&["another bundle was put in its place"]);
    // If the names in it are replaced, its hashes do not match.
    let text = String::from_utf8(std::fs::read(&json).unwrap()).unwrap();
    let run = |ended: &Ended| ended.view["run"].as_str().unwrap().to_owned();
    let text = text.replace(&run(&first), &run(&second)).replace(&first.issue, &second.issue);
    std::fs::write(&json, text).unwrap();
    named(&by_issue(1), "row 1 was edited");
    for (file, bytes) in [&json, &md].into_iter().zip(own) {
        std::fs::write(file, bytes).unwrap();
    }
    by_issue(0);

    // Bytes after the end of a kept transcript: programs that read it may show them or not.
    let turn = world.path("data/transcripts").join(run(&second)).join("turn-1.jsonl.gz");
    let whole = std::fs::read(&turn).unwrap();
    let told = "goes on behind its end";
    for behind in [b"x".as_slice(), &[0], &whole] {
        std::fs::write(&turn, [whole.as_slice(), behind].concat()).unwrap();
        named(&by_issue(1), told);
    }
    std::fs::remove_file(&turn).unwrap();
    named(&by_issue(1), "✗ the transcript of turn 1");
    std::fs::write(&turn, &whole).unwrap();
    by_issue(0);
}

/// The stages that a bundle says were configured.
fn stages(bundle: &Bundle) -> Option<afk_core::verdict::StageNames> {
    afk_core::verdict::StageNames::new(bundle.evidence.stages_configured.clone()).ok()
}
