//! One run in full: checklist, attempts, timeline.

use std::path::PathBuf;

use afk_app::views::{AskView, RunPage, cause, outcome};
use afk_core::ask::LONGEST;
use afk_core::run::{Attempt, Reset};
use afk_core::workflow::{PATH, Workflow};
use afk_engine::ports::Requested;

use super::live::{checklist, effort};
use super::phrases::{ended, network_refused, verb};
use super::timeline;
use crate::cli::style::Paint;
use crate::cli::words::{line, many, moment, printable};

/// Maximum number of lines shown of an output, from its end.
const OUTPUT_LINES: usize = 12;

/// The page of a run: what is known of it, by heading.
pub(crate) fn page(page: &RunPage, paint: Paint) -> String {
    let (run, view) = (&page.run, &page.summary);
    let mut out = vec![format!("{}  {}", paint.strong(&run.issue), line(&view.title, 120))];
    out.push(paint.faint(format!("run {}, admitted {}", run.id, moment(run.admitted_at))));
    if let Some(goes_on) = &view.goes_on {
        out.push(format!("a retry: {}", line(goes_on, 300)));
    }
    if let Some(link) = &view.thread_link {
        out.push(format!("watch it at {}", line(link, 300)));
    }
    out.push(String::new());
    out.extend(checklist(view, usize::MAX, paint));
    out.push(String::new());
    out.push(effort(view));
    if let Some(error) = &view.error {
        out.push(String::new());
        out.push(paint.strong(format!("Held up since {}:", moment(error.since))));
        out.push(indent(&printable(&error.what), "  "));
    }
    if !view.asks.is_empty() {
        out.push(String::new());
        out.push(paint.strong("The agent asks"));
        out.extend(view.asks.iter().map(|one| ask(one, paint)));
    }
    if let Some(workflow) = run.start.as_ref().and_then(|start| start.workflow.as_ref()) {
        out.push(String::new());
        out.extend(policy(workflow, paint));
    }
    if let Some(conclusion) = &run.conclusion {
        out.push(String::new());
        out.push(paint.strong(format!("{}:", outcome(conclusion.end))));
        out.push(indent(&printable(&conclusion.why), "  "));
        if let Some(next) = &view.next {
            out.push(format!("  {} {}", paint.faint("next:"), line(next, 400)));
        }
    }
    if !run.attempts.is_empty() {
        out.push(String::new());
        out.push(paint.strong("Attempts"));
        // A turn without a recorded end: the run says whether it is still at work.
        let open = if run.conclusion.is_none() { "at work" } else { "its end was not observed" };
        out.extend(run.attempts.iter().map(|tried| attempt(tried, open, paint)));
    }
    if let Some(bundle) = &page.bundle {
        out.push(String::new());
        out.push(format!("{} {}", paint.strong("Evidence bundle:"), bundle.display()));
    }
    if let Some(kept) = &page.kept {
        out.push(String::new());
        out.push(paint.strong("Kept for inspection"));
        let path = |path: &Option<PathBuf>| {
            path.as_ref().map_or_else(
                || "none: never created, or removed to make room".to_owned(),
                |p| p.display().to_string(),
            )
        };
        out.push(format!("  workspace  {}", path(&kept.workspace)));
        out.push(format!("  jobs       {}", path(&kept.jobs)));
        let mirror = kept.mirror.display();
        out.push(format!("  commits    git --git-dir {mirror} for-each-ref {}", kept.refs));
    }
    if !page.requests.is_empty() {
        out.push(String::new());
        out.push(paint.strong("Requests"));
        out.extend(page.requests.iter().map(request));
    }
    if !page.journal.is_empty() {
        out.push(String::new());
        out.push(paint.strong("Timeline"));
        out.extend(page.journal.iter().map(|row| timeline::row(row, run.admitted_at, paint)));
    }
    out.join("\n")
}

/// The repository's policy, and its keys that were ignored because they would loosen the
/// configuration.
fn policy(workflow: &Workflow, paint: Paint) -> Vec<String> {
    let digest = workflow.digest.short();
    let mut out = vec![paint.strong(format!("Repository's policy ({PATH}, {digest})"))];
    let keys = toml::to_string(&workflow.policy).unwrap_or_default();
    let keys = printable(&keys);
    out.extend(keys.lines().filter(|key| !key.is_empty()).map(|key| format!("  {key}")));
    if !workflow.template.is_empty() {
        let lines = many(workflow.template.lines().count(), "line");
        out.push(format!("  adds {lines} to the prompt"));
    }
    let ignored = workflow.ignored.iter();
    out.extend(ignored.map(|what| format!("  {} {}", paint.warn("ignored:"), line(what, 300))));
    out
}

/// An open question of the agent, with its deadline and the commands that answer it.
fn ask(ask: &AskView, paint: Paint) -> String {
    let what = if ask.question { "question" } else { "permission" };
    let mut out = vec![
        // No question is longer than this limit: a person must see all of what they allow.
        format!("  {}. {what}: {}", ask.n, line(&ask.what, LONGEST)),
        format!("     unless answered by {}, {}", moment(ask.until), ask.otherwise()),
    ];
    out.extend(ask.commands.iter().map(|command| format!("     {}", paint.strong(command))));
    out.join("\n")
}

fn request(requested: &Requested) -> String {
    let request = &requested.request;
    let by = line(&request.by.login, 40);
    let answer = match &requested.answered {
        Some((_, answer)) => line(answer, 200),
        None => "pending".to_owned(),
    };
    format!("  {by}, {}: {}: {answer}", moment(request.at), verb(&request.what))
}

fn attempt(attempt: &Attempt, open: &str, paint: Paint) -> String {
    let turns = many(attempt.turns.len(), "turn");
    let began = match &attempt.resumed {
        Some(resumed) => format!("from {}, the head of run {}", resumed.head.short(), resumed.from),
        None => cause(attempt.cause).to_owned(),
    };
    let mut out = vec![format!("  {}. {began}, {turns}", attempt.n)];
    if let Some(reset) = &attempt.reset {
        let kept = reset.leftovers.as_ref().map(|kept| {
            format!(", leftovers kept as {} ({})", Reset::name(attempt.n), kept.short())
        });
        let kept = kept.unwrap_or_default();
        out.push(format!("     workspace reset to {}{kept}", reset.onto.short()));
    }
    for turn in &attempt.turns {
        let said = turn.ended.as_ref().map_or_else(|| open.to_owned(), |e| ended(&e.how));
        out.push(format!("     {} {said}", paint.faint(format!("turn {}:", turn.n))));
        let refused = turn.ended.iter().flat_map(|end| &end.facts.refused);
        out.extend(refused.map(|what| network_refused(what, "       ", paint)));
    }
    for candidate in &attempt.candidates {
        let commit = candidate.commit.short();
        if let Some(report) = &candidate.guardrails {
            let verdict = if report.passed() {
                "none breached".to_owned()
            } else {
                format!("breached: {}", line(&report.to_string(), 300))
            };
            out.push(format!("     {} {verdict}", paint.faint("guardrails:")));
        }
        if let Some(proof) = &candidate.proof {
            out.push(format!("     {}", paint.faint("proof:")));
            out.push(indent(&printable(proof.to_string().trim_end()), "       "));
        }
        match candidate.landed_at {
            Some(at) => out.push(format!("     landed as {commit}, {}", moment(at))),
            None => out.push(format!("     candidate {commit}")),
        }
        for stage in &candidate.stages {
            let link = stage.link.as_deref().map(|link| format!(", {}", line(link, 200)));
            let link = link.unwrap_or_default();
            out.push(format!("     stage {}: {}{link}", line(&stage.name, 60), stage.answer));
            out.extend(stage.tail.as_deref().map(|tail| output(tail, paint)));
        }
    }
    if let Some(refused) = &attempt.refused {
        out.push(format!("     {} {}", paint.bad("refused:"), line(&refused.detail, 300)));
        if !refused.output.trim().is_empty() {
            out.push(output(&refused.output, paint));
        }
    }
    out.join("\n")
}

/// The last lines of an output, indented.
fn output(text: &str, paint: Paint) -> String {
    let text = printable(text.trim_end());
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(OUTPUT_LINES);
    let shown = lines.get(from..).unwrap_or_default();
    let bar = paint.faint('│');
    shown.iter().map(|text| format!("       {bar} {text}")).collect::<Vec<_>>().join("\n")
}

fn indent(text: &str, by: &str) -> String {
    text.lines().map(|text| format!("{by}{text}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use afk_app::views::{RunFiles, RunView};
    use afk_engine::ports::JournalRow;

    use super::super::samples;
    use super::*;

    #[test]
    fn a_whole_run_and_one_that_has_just_begun() {
        let run = samples::after(usize::MAX);
        let whole = RunPage {
            summary: samples::finished(),
            run,
            requests: samples::requests(),
            journal: samples::journal(),
            bundle: Some("/data/evidence/1.json".into()),
            kept: None,
        };
        let kept = RunFiles {
            workspace: Some("/data/work/runs/1/clone".into()),
            jobs: None,
            mirror: "/data/work/mirrors/o_web.git".into(),
            refs: "refs/afk/1/".to_owned(),
        };
        let run = samples::admitted();
        let summary =
            RunView::new(&run, &afk_core::config::Policy::default(), None, samples::at(1));
        let begun = RunPage {
            summary,
            run,
            requests: Vec::new(),
            journal: Vec::new(),
            bundle: None,
            kept: Some(kept),
        };
        let asks = RunPage {
            summary: samples::asking(),
            run: samples::admitted(),
            requests: Vec::new(),
            journal: Vec::new(),
            bundle: None,
            kept: None,
        };
        let shown = [whole, begun, asks].map(|one| page(&one, Paint::PLAIN));
        insta::assert_snapshot!(shown.join("\n----\n"));
    }

    #[test]
    fn a_row_of_an_unknown_kind_shows_its_kind() {
        let row = JournalRow {
            seq: 1,
            at: samples::at(5),
            kind: "teleported".to_owned(),
            body: serde_json::json!({ "transition": { "transition": "teleported" } }),
            hash: String::new(),
        };
        assert_eq!(timeline::row(&row, samples::at(0), Paint::PLAIN).trim(), "+5s  teleported");
    }
}
