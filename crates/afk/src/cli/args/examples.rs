//! The examples under the help of each command.

use super::super::exit;

/// The first steps, under the help of `afk` itself.
const START: &str = "\
Start here:
  afk demo                               see the whole loop work, from nothing
  afk init                               in a clone: a first configuration for it
  afk issue new 'Add a door' --ready     an issue of that repository
  afk run 1                              land it now
  afk status                             what runs, what waits and why

`afk help COMMAND` tells more.";

/// Under `afk -h`.
pub(super) fn short() -> String {
    format!("{START} Exit codes and files: `afk --help`.")
}

/// Under `afk --help`.
pub(super) fn long() -> String {
    format!(
        "{START}\n\nExit codes:\n{}\n\n\
         Files:\n  \
         ./afk.toml, else ~/.config/afk/config.toml    the configuration; --config and AFK_CONFIG name\n  \
         {:46}another; in a git clone ./afk.toml is not read\n  \
         ~/.local/share/afk                            store, mirrors, workspaces; `data_dir` names another\n\n\
         Every key of the configuration is also a variable: AFK_KILL_SWITCH, AFK_ALLOWLIST, AFK_BUDGET_USD …",
        exit::table(),
        "",
    )
}

pub(super) const DEMO: &str = "\
Examples:
  afk demo                                  the way to green
  afk demo --scenario ci-red                red after landing, fixed forward
  afk demo --scenario guardrail             a change that must not land
  afk demo --forge github                   the issue on a fake GitHub, on this machine
  afk demo --keep /tmp/afk-demo             and look around afterwards
  afk demo --agent claude                   a real agent instead of a script";

pub(super) const DOORBELL_TEST: &str = "\
Examples:
  afk doorbell test                         all of them
  afk doorbell test slack-2 --json          one, and the result as JSON";

pub(super) const T3_CHECK: &str = "\
Examples:
  afk t3 check you/web                      the server that works on you/web";

pub(super) const T3_PAIR: &str = "\
Examples:
  afk t3 pair far < credential              a token for [agents.far]";

pub(super) const RUN: &str = "\
Examples:
  afk run o/web#7
  afk run o/web#7 --json                    the outcome as JSON, nothing else
  afk explain o/web#7 && afk run o/web#7";

pub(super) const SERVE: &str = "\
Examples:
  afk serve                                 as systemd or a container starts it
  afk serve --only gateway                  the agent as a service, without the loop
  afk serve --log-format json | jq 'select(.repo == \"o/web\")'
  systemctl reload afk                      SIGHUP: read the configuration again";

pub(super) const TOKEN_NEW: &str = "\
Examples:
  afk token new voice --scope chat --scope conversations
  afk token new nightly --scope jobs --concurrency 2 --usd-per-day 20";

pub(super) const PRESENCE: &str = "\
Examples:
  afk presence
  afk presence claim repo:o/web --purpose 'bisecting by hand' --ttl 2h
  afk presence release repo:o/web";

pub(super) const PRESENCE_CLAIM: &str = "\
Examples:
  afk presence claim repo:o/web --purpose 'bisecting by hand'
  afk presence claim host:mill --purpose 'new disk' --ttl 2h";

pub(super) const BACKUP: &str = "\
Examples:
  afk backup /var/backups/afk-$(date +%F).db
  afk backup ~/afk.db --force               in place of the one before";

pub(super) const TICK: &str = "\
Examples:
  afk tick --poll                           what a scheduler calls each minute
  afk tick --poll --watch                   work until nothing is left to do";

pub(super) const STATUS: &str = "\
Examples:
  afk status
  afk status --watch                        again every two seconds
  afk status --json | jq '.runs[].phase'";

pub(super) const DIFF: &str = "\
Examples:
  afk diff o/web#7                          the newest run on the issue
  afk diff 0199d3c2 --stat                  which files, and how much
  afk diff o/web#7 | git apply              the same change here";

pub(super) const SHOW: &str = "\
Examples:
  afk show o/web#7                          the newest run on the issue
  afk show 0199d3c2                         the run whose id begins so";

pub(super) const LOGS: &str = "\
Examples:
  afk logs o/web#7                          the newest run on the issue
  afk logs o/web#7 -f                       until the run is settled
  afk logs 0199d3c2 --turn 2 --json | jq -r .type";

pub(super) const RUNS: &str = "\
Examples:
  afk runs
  afk runs --repo o/web --limit 100
  afk runs --json | jq '.runs[] | select(.outcome == \"needs-human\") | .issue'";

pub(super) const STOP: &str = "\
Examples:
  afk stop o/web#7                          the live run on the issue
  afk stop 0199d3c2                         the run whose id begins so";

pub(super) const RETRY: &str = "\
Examples:
  afk retry o/web#7                         after you fixed what it stopped at
  afk retry 0199d3c2                        do not wait for the usage limit";

pub(super) const RELEASE: &str = "\
Examples:
  afk explain o/web#8                       repo-lock names the issue that is locked
  afk release o/web#7
  afk release o/web#7 --json | jq .released";

pub(super) const SAY: &str = "\
Examples:
  afk say o/web#7 'The door opens inwards.'
  afk say o/web#7 - < notes.md";

pub(super) const ANSWER: &str = "\
Examples:
  afk answer o/web#7 'The first one.'
  afk answer o/web#7 --ask 2 - < answer.md";

pub(super) const ALLOW: &str = "\
Examples:
  afk show o/web#7                          what is asked, by when, and its number
  afk allow o/web#7
  afk allow o/web#7 --ask 2";

pub(super) const DENY: &str = "\
Examples:
  afk deny o/web#7
  afk deny o/web#7 'Use what is there.' --ask 2";

pub(super) const BUDGET: &str = "\
Examples:
  afk budget o/web#7 20
  afk show o/web#7                          what was asked, and what came of it";

pub(super) const EXPLAIN: &str = "\
Examples:
  afk explain o/web#7
  afk explain o/web#7 --json | jq '.gates[] | select(.verdict != \"passed\")'";

pub(super) const EVIDENCE: &str = "\
Examples:
  afk evidence o/web#7 > evidence.md
  afk evidence o/web#7 --json | jq .proof
  afk evidence o/web#7 --format dsse > web-7.intoto.dsse.json
  afk evidence verify o/web#7               that it was not edited";

pub(super) const EVIDENCE_VERIFY: &str = "\
Examples:
  afk evidence verify o/web#7               the file that the data folder has
  afk evidence verify bundle.json           one that lies anywhere
  afk evidence verify bundle.json --head 5d057f88…
  afk evidence verify bundle.json --key evidence.pub.pem
  afk evidence verify bundle.json --json | jq -r '.flaws[].flaw'";

pub(super) const DOCTOR: &str = "\
Examples:
  afk doctor                                what is wrong, or one line
  afk doctor --quick                        without running tests
  afk doctor --verify o/web                 with the tests of one repository
  afk doctor --all                          what is in order, too
  afk doctor --json | jq '.findings[] | select(.state == \"failure\")'";

pub(super) const INIT: &str = "\
Examples:
  cd ~/src/web && afk init
  afk init --agent codex                    another agent than the Claude CLI
  afk init --script steps.json              the scripted agent, for a trial
  afk init --print                          look first
  afk --config ./afk.toml init              a file of this folder";

pub(super) const REPLAY: &str = "\
Examples:
  afk replay o/web#7
  afk replay 0199d3c2 --json | jq .differences";

pub(super) const ISSUE: &str = "\
Examples:
  afk issue new o/web 'Add a door' --body 'It must open inwards.' --ready
  afk issue list o/web
  afk issue show o/web#1
  afk issue label o/web#1 --as eve          a label that nobody trusts";

pub(super) const ISSUE_NEW: &str = "\
Examples:
  afk issue new 'Add a door' --ready        in a clone of the repository
  afk issue new                             written in your editor
  afk issue new o/web 'Paint it' --body 'Blocked by #1' --label priority:2
  afk issue new o/web 'Long story' --body - < story.md";

pub(super) const ISSUE_LABEL: &str = "\
Examples:
  afk issue label o/web#1                   releases it: the ready label
  afk issue label o/web#1 priority:0";

pub(super) const ARM: &str = "\
Examples:
  afk arm
  afk disarm                                the way back";

pub(super) const ENROLL: &str = "\
Examples:
  cd ~/src/web && afk enroll                            what is found in this clone
  afk enroll --agent codex --read ~/.nvm/versions/node/v22.11.0
  afk enroll o/web                                      a repository with a table
  afk enroll o/web --remote git@host:o/web.git --verify 'cargo test'     one without
  afk enroll o/web --remote git@host:o/web.git --verify '[\"make\", \"check all\"]' --ci 'sh ci.sh'";

pub(super) const PAUSE: &str = "\
Examples:
  afk pause --why 'release day'
  afk resume";

pub(super) const HALT: &str = "\
Examples:
  afk halt --why 'it eats the disk'
  afk resume";

pub(super) const ACK: &str = "\
Examples:
  afk ack o/web
  afk status                                says who has acknowledged what";

pub(super) const COMPLETIONS: &str = "\
Examples:
  afk completions bash > ~/.local/share/bash-completion/completions/afk
  afk completions zsh > ~/.zfunc/_afk
  afk completions fish > ~/.config/fish/completions/afk.fish";

pub(super) const MAN: &str = "\
Examples:
  afk man | man -l -
  afk man ~/.local/share/man/man1";

pub(super) const CONFIG_CHECK: &str = "\
Examples:
  afk config check
  afk --config ./new.toml config check --json";

pub(super) const SCHEMA_OUTPUT: &str = "\
Examples:
  afk schema output status
  afk schema output issue list
  afk schema output > afk.output.json       of every command";

pub(super) const CONFIG_SCHEMA: &str = "\
Examples:
  afk config schema > afk.schema.json";
