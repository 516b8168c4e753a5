//! `config check`, `config schema`, `config path`.

use afk_app::Error;
use afk_app::config::{Compose as _, Config, Loaded, Origin, Problem, default_file, load};
use afk_app::settings::problems;
use serde::Serialize;
use serde_json::json;

use super::Context;
use crate::cli::args::ConfigCommand;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{current_dir, sources};

/// One problem or warning, as JSON.
#[derive(Debug, Serialize)]
struct ProblemJson {
    /// The file that the key is in, if it is in one.
    file: Option<String>,
    /// The line in the file, counted from 1.
    line: Option<usize>,
    /// The column in the line, in characters, counted from 1.
    column: Option<usize>,
    /// The environment variable that gave the key, if one did.
    variable: Option<String>,
    /// The dotted key.
    key: String,
    /// What is wrong, and how to fix it.
    what: String,
}

impl From<&Problem> for ProblemJson {
    fn from(problem: &Problem) -> Self {
        let (key, what) = (problem.key.clone(), problem.what.clone());
        let none = Self { file: None, line: None, column: None, variable: None, key, what };
        match &problem.origin {
            Origin::File { path, place } => Self {
                file: Some(path.display().to_string()),
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                ..none
            },
            Origin::Mounted { path } => Self { file: Some(path.display().to_string()), ..none },
            Origin::Variable { name } => Self { variable: Some(name.clone()), ..none },
            Origin::Default => none,
        }
    }
}

pub(super) fn run(context: &Context<'_>, command: ConfigCommand) -> Answer {
    match command {
        ConfigCommand::Check => check(context),
        ConfigCommand::Schema => {
            let schema = Config::schema();
            context.out.say(serde_json::to_string_pretty(&schema)?);
            Ok(Exit::Done)
        }
        ConfigCommand::Path => path(context),
    }
}

fn path(context: &Context<'_>) -> Answer {
    let found = sources(context.config()).file;
    let env = |name: &str| std::env::var_os(name);
    let made = default_file(context.config(), env, &current_dir());
    let exists = found.as_ref().is_some_and(|path| path.exists());
    let shown = found.unwrap_or(made);
    let document = json!({ "path": shown.display().to_string(), "exists": exists });
    context.out.result(&document, |_| shown.display().to_string())?;
    if !exists {
        context.out.note("this file does not exist yet: `afk init`, in a clone, creates it");
    }
    Ok(Exit::Done)
}

fn check(context: &Context<'_>) -> Answer {
    let out = context.out;
    let sources = sources(context.config());
    let file = sources.file.as_ref().map(|path| path.display().to_string());
    let (problems, warnings, config) = match load::<Config>(&sources) {
        Err(errors) => (errors.problems, Vec::new(), None),
        Ok(loaded) => {
            let problems = problems(&loaded);
            let Loaded { config, warnings, .. } = loaded;
            (problems, warnings, Some(config))
        }
    };
    let told = |list: &[Problem]| list.iter().map(ProblemJson::from).collect::<Vec<_>>();
    let good = problems.is_empty();
    let document = json!({
        "ok": good,
        "file": file,
        "problems": told(&problems),
        "warnings": told(&warnings),
    });
    if !good && !out.json {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        return Err(Error::invalid(lines.join("\n")));
    }
    for warning in &warnings {
        out.note(format!("{} {warning}", out.paint_err.warn("warning:")));
    }
    out.result(&document, |paint| {
        let file = file.as_deref().unwrap_or("no file, using the defaults");
        let state = config.as_ref().map_or_else(String::new, |config| {
            let armed = if config.policy.kill_switch { "kill switch on" } else { "armed" };
            let (repos, listed) = (config.policy.repos.len(), config.policy.allowlist.len());
            let what = if repos == 1 { "repository" } else { "repositories" };
            format!(": {armed}, {repos} {what} configured, {listed} enrolled")
        });
        format!("{} {file}{state}", paint.good("ok"))
    })?;
    Ok(if good { Exit::Done } else { Exit::Usage })
}
