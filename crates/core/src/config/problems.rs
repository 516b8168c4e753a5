//! What is wrong with a configuration beyond its shape: names that clash, repos that
//! are enrolled and not there, commands that are empty, patterns that do not compile.

use super::{Config, Landing, Repo};
use crate::guardrails::Guardrails;
use crate::ids::RepoName;

impl Config {
    /// What is wrong with it beyond its shape, a line each; empty is good.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (label, key) in [
            (&self.ready_label, "ready_label"),
            (&self.in_progress_label, "in_progress_label"),
            (&self.human_label, "human_label"),
        ] {
            if label.trim().is_empty() {
                found.push(format!("{key}: is blank; name a label, or leave the key out"));
            }
        }
        if self.ready_label == self.in_progress_label || self.ready_label == self.human_label {
            found.push(format!(
                "ready_label: {:?} is also another label's name; a run would release itself again",
                self.ready_label
            ));
        }
        if self.in_progress_label == self.human_label && !self.human_label.trim().is_empty() {
            found.push(format!(
                "human_label: {:?} is also another label's name; an issue handed to a person \
                 would look like one under way",
                self.human_label
            ));
        }
        for repo in &self.allowlist {
            if !self.repos.contains_key(repo) {
                found.push(format!(
                    "allowlist: {repo} is enrolled but not configured; add a [repos.\"{repo}\"] table"
                ));
            }
        }
        let folded = |name: &RepoName| name.to_string().to_lowercase();
        for (n, name) in self.repos.keys().enumerate() {
            if let Some(other) = self.repos.keys().take(n).find(|o| folded(o) == folded(name)) {
                // A forge takes both for one repository, and two runs would work it.
                found.push(format!("repos.\"{name}\": is {other} in other letters; keep one"));
            }
        }
        for (name, repo) in &self.repos {
            found.extend(repo.problems().map(|what| format!("repos.\"{name}\".{what}")));
        }
        found
    }
}

impl Repo {
    /// What is wrong with one repo, a line each.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let mut found = Vec::new();
        if self.stages.is_empty() {
            found.push(
                "stages: none is configured, so a landed commit could never be green; \
                 add one, for instance { name = \"ci\", command = [\"sh\", \"ci.sh\"] }"
                    .to_owned(),
            );
        }
        for (n, stage) in self.stages.iter().enumerate() {
            if self.stages.iter().take(n).any(|other| other.name == stage.name) {
                found.push(format!("stages: two are named {:?}", stage.name));
            }
            if stage.name.is_empty() || stage.command.first().is_none_or(String::is_empty) {
                found.push("stages: each needs a name and a command".to_owned());
            }
        }
        let marked = self.stages.iter().find(|stage| stage.before_landing);
        match (self.landing, marked) {
            (Landing::Tested, None) => found.push(
                "landing: \"tested\" needs a stage that is asked before landing; mark one with \
                 before_landing = true"
                    .to_owned(),
            ),
            (Landing::Direct, Some(stage)) => found.push(format!(
                "stages: {:?} has before_landing = true, but \"direct\" asks no stage before \
                 landing; set landing = \"tested\", or take the mark off",
                stage.name
            )),
            (Landing::Tested, Some(_)) | (Landing::Direct, None) => {}
        }
        let hooks = &self.hooks;
        for (hook, argv) in [
            ("after_create", &hooks.after_create),
            ("before_run", &hooks.before_run),
            ("after_run", &hooks.after_run),
            ("before_remove", &hooks.before_remove),
        ] {
            if argv.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
                found.push(format!("hooks.{hook}: is an empty command; leave it out"));
            }
        }
        if let Err(error) = self.proof_policy() {
            found.push(format!("proof: {error}"));
        }
        if let Err(error) = Guardrails::compile(self.guardrails.clone()) {
            found.push(format!("guardrails: {error}"));
        }
        found.into_iter()
    }
}
