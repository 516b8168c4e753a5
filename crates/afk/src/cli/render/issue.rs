//! Issues of the local tracker.

use afk_core::ids::{Actor, At};
use afk_core::issue::{Comment, Issue, IssueChange, IssueEvent};

use crate::cli::style::Paint;
use crate::cli::words::{ago, columns_within, line, moment, printable};

/// A table of issues, a line each; `closed` says whether closed ones were looked for, too.
pub(crate) fn issues(all: &[Issue], closed: bool, paint: Paint) -> String {
    if all.is_empty() {
        return paint.faint(if closed {
            "no issues"
        } else {
            "no open issues; `--all` includes closed ones"
        });
    }
    let rows: Vec<_> = all
        .iter()
        .map(|issue| {
            let state = if issue.open { "open" } else { "closed" };
            [issue.issue.to_string(), state.to_owned(), labels(issue), line(&issue.title, 72)]
        })
        .collect();
    let heading = ["ISSUE", "STATE", "LABELS", "TITLE"];
    columns_within(paint.width(), &[2, 3], Some(heading), &rows).join("\n")
}

/// One issue with its events and comments.
pub(crate) fn issue(
    issue: &Issue,
    events: &[IssueEvent],
    comments: &[Comment],
    now: At,
    paint: Paint,
) -> String {
    let state = if issue.open { paint.good("open") } else { paint.faint("closed") };
    let mut out = vec![format!("{}  {}", paint.strong(&issue.issue), line(&issue.title, 200))];
    out.push(format!("{state}  {}", labels(issue)));
    if !issue.body.trim().is_empty() {
        out.push(String::new());
        out.push(printable(issue.body.trim_end()));
    }
    if !events.is_empty() {
        out.push(String::new());
        for event in events {
            let (what, who) = (change(&event.what), who(event.actor.as_ref()));
            out.push(format!("{} {who} {what}", paint.faint(ago(event.at, now))));
        }
    }
    for comment in comments {
        out.push(String::new());
        let who = who(comment.author.as_ref());
        out.push(paint.faint(format!("── {who}, {}, comment {}", moment(comment.at), comment.id)));
        out.push(printable(comment.body.trim_end()));
    }
    out.join("\n")
}

fn labels(issue: &Issue) -> String {
    let labels: Vec<_> = issue.labels.iter().map(|label| line(label, 40)).collect();
    if labels.is_empty() { "-".to_owned() } else { labels.join(", ") }
}

fn who(actor: Option<&Actor>) -> String {
    actor.map_or_else(|| "somebody".to_owned(), |actor| line(&actor.login, 40))
}

fn change(what: &IssueChange) -> String {
    match what {
        IssueChange::Labeled { label } => format!("put on {}", line(label, 100)),
        IssueChange::Unlabeled { label } => format!("took off {}", line(label, 100)),
        IssueChange::Renamed => "changed the title".to_owned(),
        IssueChange::Edited => "changed the body".to_owned(),
        IssueChange::Closed => "closed it".to_owned(),
        IssueChange::Reopened => "opened it again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::at;
    use super::*;

    fn sample(open: bool) -> Issue {
        Issue {
            issue: "o/web#7".parse().unwrap(),
            title: "Add a \u{1b}[31mdoor".to_owned(),
            body: "It opens inwards.\n\n/not a command @here\n".to_owned(),
            labels: if open { vec!["ready-for-agent".to_owned()] } else { Vec::new() },
            open,
        }
    }

    #[test]
    fn an_issue_and_a_list() {
        let ann = Actor { id: "user:ann".to_owned(), login: "ann".to_owned(), bot: false };
        let event = |second, actor, what| IssueEvent { at: at(second), actor, what };
        let events = [
            event(0, Some(ann.clone()), IssueChange::Labeled { label: "ready-for-agent".into() }),
            event(30, None, IssueChange::Edited),
            event(90, Some(ann.clone()), IssueChange::Closed),
        ];
        let comment = Comment {
            id: "3".to_owned(),
            author: Some(ann),
            at: at(40),
            body: "Which side?\u{7}\n".to_owned(),
            edited: false,
        };
        let shown = issue(&sample(true), &events, &[comment], at(100), Paint::PLAIN);
        let list = issues(&[sample(true), sample(false)], true, Paint::PLAIN);
        let [none, none_open] = [true, false].map(|closed| issues(&[], closed, Paint::PLAIN));
        insta::assert_snapshot!([shown, list, none, none_open].join("\n----\n"));
    }
}
