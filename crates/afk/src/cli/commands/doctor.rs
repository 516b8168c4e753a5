//! `doctor`: checks everything, and shows what was found and how to fix it.

use std::time::Duration;

use afk_app::config::{Config, load};
use afk_app::doctor::{State, Verifying, examine};
use afk_app::operator::{configured, repo};
use afk_core::ids::RepoName;
use indicatif::{ProgressBar, ProgressStyle};

use super::Context;
use crate::cli::args::DoctorArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::interrupt::Interrupt;
use crate::cli::out::Out;
use crate::cli::render;
use crate::cli::sources::sources;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

pub(super) async fn run(context: &Context<'_>, args: DoctorArgs) -> Answer {
    let out = context.out;
    let DoctorArgs { fix, all, quick, verify } = args;
    let (report, interrupted) = if quick {
        (Box::pin(examine(sources(context.config()), fix, None)).await, false)
    } else {
        let repos = named(context, &verify.unwrap_or_default())?;
        let mut interrupt = Interrupt::new()?;
        let spinner = Spinner::new(out);
        let begins = |repo: &RepoName| spinner.begins(repo);
        let verifying = Verifying { repos, begins: &begins, cancel: interrupt.token() };
        let work = Box::pin(examine(sources(context.config()), fix, Some(&verifying)));
        let told = "Stopping the tests; press Ctrl-C again to stop at once.";
        let (report, interrupted) = interrupt.around(out, told, work).await;
        spinner.bar.finish_and_clear();
        (report, interrupted)
    };
    let all = all || context.global.verbose > 0;
    out.result(&report, |paint| render::doctor(&report, all, paint))?;
    if interrupted {
        return Ok(Exit::Interrupted);
    }
    Ok(match report.worst() {
        State::Failure if report.unusable => Exit::Usage,
        State::Failure => Exit::Missing,
        State::Ok | State::Note | State::Warning => Exit::Done,
    })
}

/// Parses the repositories as typed. An invalid configuration is left for the doctor to report.
fn named(context: &Context<'_>, names: &[String]) -> Answer<Vec<RepoName>> {
    let sources = sources(context.config());
    let config = load::<Config>(&sources).map(|loaded| loaded.config).ok();
    let (mut repos, shipped) = (Vec::new(), Config::default());
    for name in names {
        let repo = repo(name, config.as_ref().unwrap_or(&shipped))?;
        if let Some(config) = &config {
            configured(&repo, config, sources.file.as_deref())?;
        }
        repos.push(repo);
    }
    Ok(repos)
}

/// Shows which repository's `verify` runs: with a spinner on a terminal, otherwise with a line.
struct Spinner<'a> {
    out: &'a Out,
    bar: ProgressBar,
}

impl<'a> Spinner<'a> {
    fn new(out: &'a Out) -> Self {
        let bar = if out.live {
            let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}");
            let bar = out.progress.add(ProgressBar::no_length());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { out, bar }
    }

    fn begins(&self, repo: &RepoName) {
        if self.out.live {
            self.bar.set_message(format!("{repo}: verify"));
            self.bar.reset_elapsed();
            self.bar.enable_steady_tick(TICK);
        } else {
            self.out.note(format!("{repo}: verify"));
        }
    }
}
