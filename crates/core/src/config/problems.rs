//! What is wrong with a configuration beyond its shape: names that clash, repos that
//! are enrolled and not there, commands that are empty, patterns that do not compile.

use std::collections::BTreeMap;

use super::{AgentName, Config, Landing, Repo};
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
        let mut folded: BTreeMap<String, &RepoName> = BTreeMap::new();
        for name in self.repos.keys() {
            if let Some(other) = folded.insert(name.to_string().to_lowercase(), name) {
                // A forge takes both for one repository, and two runs would work it.
                found.push(format!("repos.\"{name}\": is {other} in other letters; keep one"));
            }
        }
        let mut patterns = Patterns::default();
        for (name, repo) in &self.repos {
            if repo.agent == AgentName::Scripted && self.agents.scripted.script.is_none() {
                found.push(format!(
                    "repos.\"{name}\".agent: the scripted agent follows the file that \
                     agents.scripted.script names, and none is named; \"claude\" needs no script"
                ));
            }
            let wrong = repo.problems_with(&mut patterns);
            found.extend(wrong.into_iter().map(|what| format!("repos.\"{name}\".{what}")));
        }
        found
    }
}

/// What was found of patterns that were compiled already. That costs milliseconds, and the
/// repos of a large fleet say the same.
#[derive(Default)]
struct Patterns<'a> {
    proofs: Vec<(&'a Repo, Option<String>)>,
    guardrails: Vec<(&'a Repo, Option<String>)>,
}

impl<'a> Patterns<'a> {
    fn problems(&mut self, repo: &'a Repo) -> impl Iterator<Item = String> {
        let alike = |other: &Repo| {
            let commands = |repo: &'a Repo| repo.stages.iter().map(|stage| &stage.command);
            (&other.proof, &other.verify) == (&repo.proof, &repo.verify)
                && other.stages.iter().map(|stage| &stage.command).eq(commands(repo))
        };
        let proof = ask(&mut self.proofs, repo, alike, || {
            repo.proof_policy().err().map(|error| format!("proof: {error}"))
        });
        let alike = |other: &Repo| other.guardrails == repo.guardrails;
        let guardrails = ask(&mut self.guardrails, repo, alike, || {
            let compiled = Guardrails::compile(repo.guardrails.clone());
            compiled.err().map(|error| format!("guardrails: {error}"))
        });
        proof.into_iter().chain(guardrails)
    }
}

/// What is known of a repo `alike`, else what `find` finds, which is kept.
fn ask<'a>(
    known: &mut Vec<(&'a Repo, Option<String>)>,
    repo: &'a Repo,
    alike: impl Fn(&Repo) -> bool,
    find: impl FnOnce() -> Option<String>,
) -> Option<String> {
    if let Some((_, found)) = known.iter().find(|(other, _)| alike(other)) {
        return found.clone();
    }
    let found = find();
    known.push((repo, found.clone()));
    found
}

impl Repo {
    /// What is wrong with one repo, a line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems_with(&mut Patterns::default())
    }

    fn problems_with<'a>(&'a self, patterns: &mut Patterns<'a>) -> Vec<String> {
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
            if !stage.is_run() {
                found.push(format!(
                    "stages: {:?} is of kind {:?}, and nothing here polls that; only \"command\" \
                     is there",
                    stage.name, stage.kind
                ));
            } else if stage.name.is_empty() || stage.command.first().is_none_or(String::is_empty) {
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
        found.extend(patterns.problems(self));
        found
    }
}
