//! The evidence of a demo that landed, shown and checked from its kept bundle.

use std::path::Path;

use serde_json::Value;

use crate::Machine;

/// `config` is the demo's, and `report` what it said.
#[track_caller]
pub(crate) fn is_shown_as_it_is(machine: &Machine, config: &Path, report: &Value) {
    let named = config.to_str().unwrap();
    let afk = |args: &[&str]| {
        let args: Vec<_> = ["--config", named].iter().chain(args).copied().collect();
        machine.good(&args)
    };
    let (issue, run) = (report["issue"].as_str().unwrap(), report["run"].as_str().unwrap());
    let prefix = run.get(..13).unwrap();
    let shown = afk(&["show", issue]);

    // The kept bundle is shown and checked as it is, whatever is configured now.
    let kept = report["evidence"].as_str().unwrap();
    assert!(shown.contains(kept), "{kept} is not in {shown}");
    let text = std::fs::read_to_string(config).unwrap();
    let renamed = text.replace("name = \"ci\"", "name = \"checks\"");
    assert_ne!(text, renamed);
    std::fs::write(config, renamed).unwrap();
    assert!(afk(&["evidence", issue]).contains("Complete: the issue may be closed on this."));
    let copy = machine.path("here/copy.json");
    std::fs::write(&copy, afk(&["evidence", issue, "--json"])).unwrap();
    for what in [copy.to_str().unwrap(), kept, issue, prefix] {
        let said = afk(&["evidence", "verify", what]);
        assert!(said.contains("sound, unless"), "{what}: {said}");
    }
    std::fs::write(config, format!("bugdet_usd = 6\n{text}")).unwrap();
    assert!(afk(&["evidence", issue]).contains("Complete: the issue may be closed on this."));
    std::fs::remove_file(kept).unwrap();
    let args = ["--config", named, "evidence", issue];
    let said = machine.afk(&args);
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("may be incomplete"), "{}", said.err);
    std::fs::write(config, text).unwrap();
    let args = ["--config", named, "evidence", "verify", issue];
    machine.refused(&args, 2, &["no kept bundle in", "when a run settles"]);
}
