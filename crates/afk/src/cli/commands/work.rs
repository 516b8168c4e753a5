//! `run`, `tick`, `demo`: commands that let the engine work in the foreground.

use afk_agent::sandbox::Strength;
use afk_app::App;
use afk_app::config::Config;
use afk_app::operations;
use afk_app::operator::{configured, issue};
use afk_app::views::{RunView, is_halted};
use afk_app::{Error, ErrorKind};
use afk_core::ids::{IssueRef, RepoName, RunId};
use afk_engine::dispatch::NotAdmitted;
use afk_engine::driver::{Drive, TickReport, Until};
use afk_engine::outbox::RingCounts;
use afk_engine::ports::{AdmitRefusal, Filter, PortError};
use serde_json::json;

use super::{Context, called};
use crate::cli::args::DemoArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::interrupt::{Interrupt, RUNS_GO_ON};
use crate::cli::live::{EngineWatch, beside};
use crate::cli::render;
use crate::cli::sources::sources;
use crate::cli::words::{as_typed, many, printable};
use crate::demo::{Demo, DemoAgent, DemoOptions};

/// What the first Ctrl-C of the demo is answered with.
const DEMO_STOPS: &str = "Stopping the demo and its agents; press Ctrl-C again to stop at once.";

pub(super) async fn run(context: &Context<'_>, text: &str) -> Answer {
    let out = context.out;
    let app = App::open(sources(context.config())).await?;
    let issue = issue(text, &app.config)?;
    configured(&issue.repo, &app.config, app.config_path.as_deref())?;
    if app.config.policy.shadow {
        return Err(in_shadow(&issue));
    }
    let live = live_on(&app, &issue).await?;
    if live.is_none() {
        // A mistyped number is reported before anything that this machine lacks.
        app.engine.ports().tracker.issue(&issue).await?;
    }
    equipped(&app, &issue.repo).await?;
    let mut interrupt = Interrupt::new()?;
    let run = match live {
        Some(run) => {
            out.note(format!("{issue} has a live run; continuing it"));
            run
        }
        None => match admit(context, &app, &issue).await? {
            Ok(run) => run,
            Err(refused) => return Ok(refused),
        },
    };
    let token = interrupt.token();
    let mut watch = EngineWatch::new(app.engine.clone(), Some(run), context.afk());
    let drive = Drive { dispatch: false, until: Until::Settled(run) };
    let work = beside(out, &mut watch, app.engine.drive(drive, &token));
    let (driven, interrupted) = interrupt.around(out, RUNS_GO_ON, work).await;
    driven?;
    let stored = app.engine.ports().store.load(run).await?;
    let stored = stored.ok_or_else(|| Error::failed(format!("run {run} is gone")))?;
    let view = RunView::read(&app.engine, &stored.run, is_halted(&app.engine).await).await;
    out.result(&view, |paint| {
        let why = view.why.as_deref().unwrap_or_default();
        let afk = context.afk();
        let board = render::board(std::slice::from_ref(&view), 100, &afk, paint);
        let next = view.next.as_ref().map(|next| as_typed(next, &afk));
        let next = next.map(|next| format!("\n\nnext: {next}"));
        let why = printable(why);
        format!("{board}\n\n{}{}", why.trim_end(), next.unwrap_or_default()).trim_end().to_owned()
    })?;
    match view.outcome {
        Some(end) if view.settled => {
            let afk = context.afk();
            out.note(format!(
                "more: {afk} show {issue}, {afk} diff {issue}, {afk} evidence {issue}"
            ));
            Ok(end.into())
        }
        _ if interrupted => Ok(Exit::Interrupted),
        _ => Err(Error::failed(format!("run {run} stopped before its end"))),
    }
}

/// Refuses early if this machine lacks what jobs or the repo's agent need.
async fn equipped(app: &App, repo: &RepoName) -> Answer<()> {
    let missing = |error: PortError| Error::new(ErrorKind::Missing, error.chain());
    let ports = app.engine.ports();
    ports.jobs.ready().await.map_err(missing)?;
    ports.executor.ready(repo).await.map_err(missing)
}

/// The run on the issue that has not settled, whether left over or worked by another process.
async fn live_on(app: &App, issue: &IssueRef) -> Answer<Option<RunId>> {
    let filter = Filter {
        repo: Some(issue.repo.clone()),
        issue: Some(issue.number),
        limit: 1,
        ..Filter::default()
    };
    let newest = app.engine.ports().store.runs(&filter).await?.into_iter().next();
    Ok(newest.filter(|stored| stored.run.settled_at.is_none()).map(|stored| stored.run.id))
}

/// Admits the issue. If a gate refuses, prints the gates and returns the exit code.
async fn admit(context: &Context<'_>, app: &App, issue: &IssueRef) -> Answer<Result<RunId, Exit>> {
    let out = context.out;
    match app.engine.dispatch_by_hand(issue, &app.brake().await).await? {
        Ok(run) => Ok(Ok(run)),
        Err(NotAdmitted::Gates(said)) => {
            let view = app.engine.ports().tracker.issue(issue).await?;
            let document = json!({ "issue": issue, "admitted": false, "gates": said.gates });
            let title = &view.issue.title;
            out.result(&document, |paint| render::explanation(&said, title, paint))?;
            Ok(Err(Exit::Waiting))
        }
        Err(NotAdmitted::Shadow) => Err(in_shadow(issue)),
        Err(NotAdmitted::Revoked(why)) => Err(Error::waiting(format!(
            "{issue} was not admitted: its release was revoked meanwhile: {why}"
        ))),
        Err(NotAdmitted::Refused(why)) => {
            Err(Error::waiting(format!("{issue} was not admitted: {why}; {}", remedy(why))))
        }
    }
}

fn in_shadow(issue: &IssueRef) -> Error {
    Error::waiting(format!(
        "shadow mode is on, in which nothing is done, so {issue} is not worked: set `shadow = false` \
         in the configuration, or remove the key"
    ))
}

fn remedy(why: AdmitRefusal) -> &'static str {
    match why {
        AdmitRefusal::Locked => "`afk status` shows it",
        AdmitRefusal::Frozen => "`afk unfreeze` lifts it",
        AdmitRefusal::Stopped => "`afk resume` lifts it",
        AdmitRefusal::Full => "wait, or raise max_concurrent_runs",
        AdmitRefusal::Spent => "wait for the next day, or raise the cap",
    }
}

pub(super) async fn tick(context: &Context<'_>, poll: bool, watch: bool) -> Answer {
    let out = context.out;
    let app = App::open(sources(context.config())).await?;
    if let Some(how) = disarmed(&app.config) {
        out.note(format!("disarmed: nothing new is dispatched; {how}"));
    }
    let mut interrupt = Interrupt::new()?;
    let token = interrupt.token();
    if !watch {
        let work = async {
            let ticked = app.engine.tick(poll, &token).await;
            app.engine.do_due_chores(&token).await;
            ticked
        };
        let (ticked, interrupted) = interrupt.around(out, RUNS_GO_ON, work).await;
        let ticked = ticked?;
        out.result(&document(&ticked), |_| summary(&ticked))?;
        let failed = !ticked.failed.is_empty() || ticked.not_dispatched.is_some();
        return Ok(match (interrupted, failed) {
            (true, _) => Exit::Interrupted,
            (false, true) => Exit::Failure,
            (false, false) => Exit::Done,
        });
    }
    let mut view = EngineWatch::new(app.engine.clone(), None, context.afk());
    let drive = Drive { dispatch: poll, until: Until::Idle };
    let work = async {
        let driven = app.engine.drive(drive, &token).await;
        app.engine.do_due_chores(&token).await;
        driven
    };
    let (driven, interrupted) =
        interrupt.around(out, RUNS_GO_ON, beside(out, &mut view, work)).await;
    driven?;
    let live = app.engine.ports().store.live().await?;
    let halted = is_halted(&app.engine).await;
    let mut left = Vec::new();
    for stored in &live {
        left.push(RunView::read(&app.engine, &stored.run, halted).await);
    }
    out.result(&json!({ "live": left }), |_| match left.len() {
        0 => "nothing left to do".to_owned(),
        n => format!("{} left", many(n, "live run")),
    })?;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Done })
}

/// Why the configuration prevents any dispatch, and how to change that.
pub(super) fn disarmed(config: &Config) -> Option<String> {
    let enroll = "the allowlist is empty (`afk enroll` in a clone)";
    let arm = "the kill switch is on (`afk arm`)";
    match (config.policy.kill_switch, config.policy.allowlist.is_empty()) {
        (true, true) => Some(format!("{arm}, and {enroll}")),
        (true, false) => Some(arm.to_owned()),
        (false, true) => Some(enroll.to_owned()),
        (false, false) => None,
    }
}

fn document(ticked: &TickReport) -> serde_json::Value {
    let failed: Vec<_> =
        ticked.failed.iter().map(|(run, error)| json!({ "run": run, "error": error })).collect();
    json!({
        "admitted": ticked.admitted,
        "would_be_admitted": ticked.would_admit,
        "passed": ticked.passed,
        "elsewhere": ticked.elsewhere,
        "failed": failed,
        "not_dispatched": ticked.not_dispatched,
        "rung": ticked.doorbells.rung,
        "not_rung": ticked.doorbells.not_rung,
        "given_up": ticked.doorbells.given_up,
    })
}

/// What a tick did, in words, without counts of zero.
fn summary(ticked: &TickReport) -> String {
    let counts = [
        (ticked.admitted.len(), "issue", "admitted"),
        (ticked.passed.len(), "live run", "continued"),
        (ticked.elsewhere.len(), "live run", "worked by another process"),
        (ticked.doorbells.rung as usize, "doorbell", "rung"),
    ];
    let done = counts.into_iter().filter(|(n, ..)| *n > 0);
    let done: Vec<_> = done.map(|(n, what, how)| format!("{} {how}", many(n, what))).collect();
    let done = if done.is_empty() { "nothing to do".to_owned() } else { done.join(", ") };
    let mut lines = vec![done];
    let RingCounts { not_rung, given_up, .. } = ticked.doorbells;
    if not_rung > 0 {
        lines.push(format!(
            "{} could not be rung and will be retried",
            many(not_rung as usize, "doorbell")
        ));
    }
    if given_up > 0 {
        let given_up = many(given_up as usize, "doorbell");
        lines.push(format!("{given_up} given up after about a day of trying; the log says why"));
    }
    lines.extend(ticked.not_dispatched.iter().map(|why| format!("not all dispatched: {why}")));
    lines.extend(
        ticked.would_admit.iter().map(|issue| format!("shadow: {issue} would be admitted")),
    );
    lines.extend(ticked.failed.iter().map(|(run, error)| format!("run {run}: {error}")));
    lines.join("\n")
}

pub(super) async fn demo(context: &Context<'_>, args: DemoArgs) -> Answer {
    let out = context.out;
    if context.global.config.is_some() {
        return Err(Error::invalid("the demo uses its own configuration: omit --config"));
    }
    let mut interrupt = Interrupt::new()?;
    let DemoArgs { scenario, agent, forge, keep } = args;
    let scripted = agent == DemoAgent::Scripted;
    let options = DemoOptions { scenario, agent, forge, keep };
    let set_up = Box::pin(Demo::set_up(&options));
    let (demo, interrupted) = interrupt.around(out, DEMO_STOPS, set_up).await;
    if interrupted {
        // Ctrl-C also ends the git commands that make the sample, which fail then.
        if let Ok(demo) = demo {
            demo.discard();
        }
        return Err(stopped("the demo was stopped before it began"));
    }
    let demo = demo?;
    if demo.app.capabilities.strength() != Strength::Full {
        out.note(format!(
            "the sandbox here is {}: the demo makes do with that, but your own repositories need a \
             full one; `afk doctor` says what is missing",
            demo.app.capabilities
        ));
    }
    out.note(format!(
        "a sample repository and an issue, {}, in {}",
        demo.issue,
        demo.folder.display()
    ));
    if let Some(forge) = &demo.forge {
        let (title, url) = (forge.kind.title(), forge.url());
        out.note(format!(
            "the issue is on a fake {title}, which is a part of this program, at {url}: nothing is \
             sent to the real one"
        ));
    }
    if scripted {
        out.note("the agent is a script with fixed steps; no model is called");
    }
    if demo.forge.is_some() && scripted {
        out.note("nothing leaves this machine");
    }
    // Checked first: the agent's turn would only wait for what is missing on this machine.
    equipped(&demo.app, &demo.issue.repo).await?;
    let token = interrupt.token();
    let afk = called(Some(&demo.folder.join("afk.toml")));
    let mut watch = EngineWatch::new(demo.app.engine.clone(), None, afk);
    let tell = |what: String| out.note(what);
    let work = beside(out, &mut watch, Box::pin(demo.run(&token, &tell)));
    let (report, interrupted) = interrupt.around(out, DEMO_STOPS, work).await;
    if interrupted {
        // Nobody would look for them under a configuration in a temporary folder.
        operations::stop_hosts(&demo.app.data_dir, None).await?;
    }
    let report = match report {
        Err(_) if interrupted => return Err(stopped("the demo was stopped before its end")),
        report => report?,
    };
    if out.json {
        // A single line, so that the last line of the output is the whole report.
        out.say(serde_json::to_string(&report)?);
    } else {
        out.say(render::demo(&report, interrupted, out.paint));
    }
    Ok(match (report.as_expected, interrupted) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Interrupted,
        (false, false) => Exit::Failure,
    })
}

fn stopped(what: &str) -> Error {
    Error::new(ErrorKind::Interrupted, what)
}
