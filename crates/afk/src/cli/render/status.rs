//! The page of `afk status`.

use std::collections::BTreeSet;

use afk_app::views::{RunView, Status, UnreadableRepo};
use afk_core::gates::{Gate, GateVerdict};
use afk_core::ids::RepoName;
use afk_engine::ports::SwitchState;

use super::explain::refused_by;
use crate::cli::style::{Mark, Paint};
use crate::cli::words::{ago, columns_within, count, duration, line, moment};

/// The switches, the live runs, the issues that wait, and where everything is. Without a `valid`
/// configuration its kill switch and its allowlist are not known.
pub(crate) fn status(now: &Status, valid: bool, paint: Paint) -> String {
    let mut out = Vec::new();
    switches(now, valid, paint, &mut out);
    out.push(String::new());
    runs(&now.runs, paint, &mut out);
    out.push(String::new());
    handed_back(now, paint, &mut out);
    ready(now, paint, &mut out);
    silent_doorbells(now, paint, &mut out);
    forges(now, paint, &mut out);
    out.push(String::new());
    let serving = now.serving.as_ref().map(|holder| line(&holder.to_string(), 160));
    let serving =
        serving.unwrap_or_else(|| "no; start `afk serve` or run `afk tick --poll`".to_owned());
    out.push(format!("Serving  {serving}"));
    let looked = now.looked_at.map_or_else(|| "never".to_owned(), |at| ago(at, now.at));
    out.push(format!("Looked   {looked}"));
    out.push(format!("Sandbox  {}", line(&now.sandbox, 160)));
    let config = now.config.as_ref().map(|path| path.display().to_string());
    let config = config.unwrap_or_else(|| "none; `afk init`, in a clone, creates one".to_owned());
    out.push(format!("Config   {config}"));
    out.push(format!("Data     {}", now.data_dir.display()));
    out.join("\n")
}

fn switches(now: &Status, valid: bool, paint: Paint, out: &mut Vec<String>) {
    let mut say = |mark, text: String| out.push(format!("{} {text}", paint.mark(mark)));
    match (now.kill_switch, now.allowlist.as_slice()) {
        _ if !valid => say(
            Mark::No,
            "configuration invalid: nothing new is dispatched (`afk config check`)".to_owned(),
        ),
        (true, _) => say(Mark::No, "kill switch on: nothing is dispatched (`afk arm`)".to_owned()),
        (false, []) => say(Mark::No, "armed, but no repository is enrolled".to_owned()),
        (false, repos) => {
            let names: Vec<_> = repos.iter().map(RepoName::as_str).collect();
            say(Mark::Yes, format!("armed for {}", names.join(", ")));
        }
    }
    if now.shadow {
        say(
            Mark::No,
            "shadow mode: nothing is done, and live runs stand still (`shadow = false`)".to_owned(),
        );
    }
    let thrown = |what: &str, remedy: &str, state: &SwitchState| {
        let why = if state.why.trim().is_empty() {
            String::new()
        } else {
            format!(": {}", line(&state.why, 120))
        };
        let (by, when) = (line(&state.by, 40), ago(state.at, now.at));
        format!("{what} by {by}, {when}{why} ({remedy})")
    };
    if let Some(halt) = &now.switches.halt {
        say(Mark::No, thrown("halted", "`afk resume`", halt));
    }
    if let Some(pause) = &now.switches.pause {
        say(Mark::No, thrown("paused", "`afk resume`", pause));
    }
    for (repo, freeze) in &now.switches.frozen {
        let remedy = match freeze.paging.as_ref().map(|paging| &paging.acknowledged) {
            None => format!("`afk unfreeze {repo}`"),
            Some(None) => format!("rings until `afk ack {repo}`; `afk unfreeze {repo}`"),
            Some(Some(acknowledged)) => {
                let (by, when) = (line(&acknowledged.by, 40), ago(acknowledged.at, now.at));
                format!("acknowledged by {by}, {when}; `afk unfreeze {repo}`")
            }
        };
        say(Mark::No, thrown(&format!("{repo} frozen"), &remedy, &freeze.thrown));
    }
}

fn runs(runs: &[RunView], paint: Paint, out: &mut Vec<String>) {
    if runs.is_empty() {
        out.push(paint.faint("no live runs"));
        return;
    }
    let heading = ["RUNS", "WAITS FOR", "TIME", "TOKENS", "COST", "ATTEMPT", "TITLE"];
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            [
                run.issue.to_string(),
                line(&run.waits_for, 40),
                duration(run.elapsed()),
                format!("{}/{}", count(run.tokens_in), count(run.tokens_out)),
                run.cost_usd.to_string(),
                format!("{}.{}", run.attempts, run.turns),
                line(&run.title, 50),
            ]
        })
        .collect();
    out.extend(columns_within(paint.width(), &[1, 6], Some(heading), &rows));
    for (run, link) in runs.iter().filter_map(|run| Some((run, run.thread_link.as_ref()?))) {
        out.push(format!("  {} can be watched at {}", run.issue, line(link, 200)));
    }
    for (run, error) in runs.iter().filter_map(|run| Some((run, run.error.as_ref()?))) {
        let (what, since) = (line(&error.what, 300), moment(error.since));
        out.push(format!(
            "{} {} is held up since {since}: {what}",
            paint.mark(Mark::No),
            run.issue
        ));
    }
    for (run, ask) in runs.iter().flat_map(|run| run.asks.iter().map(move |ask| (run, ask))) {
        let (what, until) = (line(&ask.what, 160), moment(ask.until));
        out.push(format!("{} {} asks: {what}", paint.mark(Mark::Now), run.issue));
        let commands = ask.commands.iter().map(|one| format!("`{one}`"));
        let commands = commands.collect::<Vec<_>>().join(" or ");
        out.push(format!("  {commands}; at {until} {}", ask.otherwise()));
    }
}

fn silent_doorbells(now: &Status, paint: Paint, out: &mut Vec<String>) {
    for silent in &now.silent_doorbells {
        let (mark, name) = (paint.mark(Mark::No), line(&silent.name, 40));
        let (n, since) = (silent.given_up, moment(silent.since));
        let rings = if n == 1 { "a ring was" } else { "rings were" };
        let many = if n == 1 { String::new() } else { format!("{n} ") };
        let error = line(&silent.error, 200);
        out.push(format!("{mark} doorbell {name}: {many}{rings} given up since {since}: {error}"));
        out.push(format!("  {}", silent.remedy));
    }
}

fn forges(now: &Status, paint: Paint, out: &mut Vec<String>) {
    for forge in &now.forges {
        let name = &forge.name;
        if let Some(until) = forge.until {
            let (mark, until) = (paint.mark(Mark::No), moment(until));
            out.push(format!("{mark} {name} limits its account: it is asked again at {until}"));
        } else if let Some((left, of, reset)) = forge.left {
            let of = if of == 0 { String::new() } else { format!(" of {of}") };
            out.push(format!("{name}: {left}{of} requests left until {}", moment(reset)));
        }
    }
}

fn handed_back(now: &Status, paint: Paint, out: &mut Vec<String>) {
    let rows: Vec<_> = now
        .handed_back
        .iter()
        .map(|back| {
            let (why, title) = (line(&back.why, 60), line(&back.title, 50));
            [back.issue.to_string(), ago(back.at, now.at), why, title]
        })
        .collect();
    if !rows.is_empty() {
        let heading = ["NEEDS A HUMAN", "SINCE", "WHY", "TITLE"];
        out.extend(columns_within(paint.width(), &[2, 3], Some(heading), &rows));
        out.push(
            "`afk show ISSUE` shows the details; run `afk retry ISSUE` once the cause is fixed"
                .to_owned(),
        );
        out.push(String::new());
    }
}

fn ready(now: &Status, paint: Paint, out: &mut Vec<String>) {
    if now.ready.is_empty() && now.unreadable.is_empty() {
        out.push(paint.faint("no ready issues in enrolled repositories"));
        return;
    }
    let rows: Vec<_> = now
        .ready
        .iter()
        .map(|ready| {
            let why = match (&ready.gates, &ready.error) {
                (Some(said), _) => refused_by(said),
                (None, Some(error)) => line(error, 100),
                (None, None) => "not queried: too many are ready".to_owned(),
            };
            [ready.issue.to_string(), why, line(&ready.title, 60)]
        })
        .collect();
    if !rows.is_empty() {
        let heading = ["READY", "WHY", "TITLE"];
        out.extend(columns_within(paint.width(), &[1, 2], Some(heading), &rows));
    }
    for why in missing(now) {
        out.push(format!("{} {}", paint.mark(Mark::No), line(why, 300)));
    }
    for UnreadableRepo { repo, why } in &now.unreadable {
        out.push(format!("{} {repo}: {}", paint.mark(Mark::Unknown), line(why, 160)));
    }
}

/// What this machine lacks for the ready issues, each lack once, however many issues wait for it.
fn missing(now: &Status) -> BTreeSet<&str> {
    let gates = now.ready.iter().filter_map(|ready| ready.gates.as_ref());
    let gates = gates.flat_map(|said| &said.gates);
    let missing =
        gates.filter(|one| one.gate == Gate::Machine && one.verdict == GateVerdict::Failed);
    missing.map(|one| one.why.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use afk_core::freeze::{Acknowledgement, Paging};
    use afk_core::gates::{Explanation, GateResult};

    use afk_app::adapters::Holder;
    use afk_app::views::{ForgeLimits, HandedOver, ReadyIssue, SilentDoorbell};
    use afk_engine::ports::{Freeze, Switches};

    use super::super::samples;
    use super::*;

    fn quiet() -> Status {
        Status {
            at: samples::at(600),
            takes_issues: false,
            kill_switch: true,
            shadow: false,
            allowlist: Vec::new(),
            switches: Switches::default(),
            runs: Vec::new(),
            handed_back: Vec::new(),
            ready: Vec::new(),
            unreadable: Vec::new(),
            forges: Vec::new(),
            silent_doorbells: Vec::new(),
            serving: None,
            looked_at: None,
            sandbox: "full: bubblewrap 0.8.0 + landlock 7".to_owned(),
            config: None,
            data_dir: "/var/lib/afk".into(),
        }
    }

    fn busy() -> Status {
        let repo = |name: &str| name.parse::<RepoName>().unwrap();
        let frozen = |name: &str, acknowledged: Option<Acknowledgement>| {
            let paging =
                Paging { acknowledged, ..Paging::begun(samples::admitted().id, samples::at(480)) };
            let thrown = SwitchState {
                by: "afk".to_owned(),
                at: samples::at(480),
                why: "run 7 froze it".to_owned(),
            };
            (repo(name), Freeze { thrown, paging: Some(paging) })
        };
        let acknowledged = Acknowledgement { by: "ann".to_owned(), at: samples::at(540) };
        let by_hand = Freeze {
            thrown: SwitchState { by: "bob".to_owned(), at: samples::at(300), why: String::new() },
            paging: None,
        };
        let thrown = |by: &str, why: &str| SwitchState {
            by: by.to_owned(),
            at: samples::at(480),
            why: why.to_owned(),
        };
        let gate = |gate, verdict| GateResult { gate, verdict, why: "because".to_owned() };
        let said = |failed: &[Gate]| Explanation {
            issue: "o/web#8".parse().unwrap(),
            open: true,
            priority: None,
            gates: failed.iter().map(|g| gate(*g, GateVerdict::Failed)).collect(),
            dropped: Vec::new(),
            goes_on: None,
        };
        let ready = |n: u64, gates: Result<Explanation, &str>| ReadyIssue {
            issue: format!("o/web#{n}").parse().unwrap(),
            title: "Paint the door".to_owned(),
            error: gates.as_ref().err().map(|why| (*why).to_owned()),
            gates: gates.ok(),
        };
        Status {
            kill_switch: false,
            shadow: true,
            takes_issues: true,
            allowlist: vec![repo("o/web"), repo("o/api")],
            switches: Switches {
                halt: Some(thrown("ann", "it eats the disk")),
                pause: Some(thrown("bob", "")),
                frozen: vec![
                    frozen("o/api", None),
                    frozen("o/cli", Some(acknowledged)),
                    (repo("o/doc"), by_hand),
                ],
            },
            runs: vec![samples::working(), samples::asking()],
            handed_back: vec![HandedOver {
                issue: "o/web#6".parse().unwrap(),
                title: "Move the door".to_owned(),
                run: samples::admitted().id,
                at: samples::at(300),
                why: "three attempts were refused".to_owned(),
            }],
            ready: vec![
                ready(8, Ok(said(&[Gate::RepoLock, Gate::Trust]))),
                ready(9, Ok(said(&[Gate::Machine]))),
                ready(10, Ok(said(&[Gate::Machine]))),
                ready(11, Ok(said(&[]))),
                ready(12, Err("the tracker did not answer")),
            ],
            unreadable: vec![UnreadableRepo {
                repo: repo("o/api"),
                why: "no such host".to_owned(),
            }],
            forges: vec![
                ForgeLimits {
                    name: "ghe".parse().unwrap(),
                    left: Some((0, 5000, samples::at(900))),
                    until: Some(samples::at(900)),
                },
                ForgeLimits {
                    name: "github".parse().unwrap(),
                    left: Some((4312, 5000, samples::at(1200))),
                    until: None,
                },
            ],
            silent_doorbells: [("ops", 3), ("webhook", 1)]
                .map(|(name, given_up)| SilentDoorbell {
                    name: name.to_owned(),
                    given_up,
                    since: samples::at(60),
                    last: samples::at(300),
                    error: "the webhook answered 404 Not Found".to_owned(),
                    remedy: "correct its entry in `notify`".to_owned(),
                })
                .into(),
            serving: Some(Holder { pid: 71, host: "mill".to_owned(), since: samples::at(60) }),
            looked_at: Some(samples::at(590)),
            config: Some("/etc/afk.toml".into()),
            ..quiet()
        }
    }

    #[test]
    fn quiet_armed_busy_and_invalid() {
        let armed = Status { kill_switch: false, ..quiet() };
        let shown = [(quiet(), true), (armed, true), (busy(), true), (quiet(), false)]
            .map(|(now, valid)| status(&now, valid, Paint::PLAIN));
        insta::assert_snapshot!(shown.join("\n----\n"));
    }
}
