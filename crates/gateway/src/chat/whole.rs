//! A chat completion in one piece: on the lean path, or by a configured agent in a checkout.

use super::chunks::{Finish, completion};
use super::head;
use super::request::{ChatRequest, Format};
use super::stop::Cutter;
use crate::error::ApiError;
use crate::run::{RunResources, WholeAnswer};
use crate::service::{CountedRun, Service, finish, text_of};
use crate::turn::command::{Input, TurnKind, TurnSpec};
use crate::turn::transcript::{Accepts, Verdict};

/// A request that is answered in one piece.
pub(crate) struct Completion {
    pub(crate) request: ChatRequest,
    pub(crate) prompt: String,
    pub(crate) model: String,
}

impl WholeAnswer for Completion {
    async fn work(
        self,
        service: &Service,
        counted: &CountedRun,
        held: &mut RunResources,
    ) -> Result<String, ApiError> {
        let agent = self.request.agent.as_ref().or(service.settings.chat_agent.as_ref());
        let verdict = match agent {
            Some(agent) => self.by_agent(service, agent, counted, held).await?,
            None => self.lean(service, counted, held).await?,
        };
        service.account(counted, &verdict).await;
        let text = text_of(&verdict)?;
        let mut cutter = Cutter::new(self.request.stop);
        let shown = cutter.push(&text);
        let text = shown + &cutter.finish();
        let finish = if cutter.is_done() { Finish::Stop } else { verdict.finish };
        Ok(completion(&head(self.model), &text, finish, verdict.tokens).to_string())
    }
}

impl Completion {
    async fn lean(
        &self,
        service: &Service,
        counted: &CountedRun,
        held: &mut RunResources,
    ) -> Result<Verdict, ApiError> {
        let limit = service.settings.chat_timeout();
        let kind = lean(&self.request, false, counted.small_budget_usd());
        if let Some(warm) = service.warm(counted, &kind, &self.model, &self.prompt) {
            return finish(held.live.insert(warm), limit, Accepts::Result).await;
        }
        let spec = TurnSpec { model: Some(self.model.clone()), kind };
        let (ours, folder) = ((service, counted), &service.cli.scratch);
        held.turn(ours, &spec, &self.prompt, folder, limit, Accepts::Plain).await
    }

    async fn by_agent(
        &self,
        service: &Service,
        agent: &str,
        counted: &CountedRun,
        held: &mut RunResources,
    ) -> Result<Verdict, ApiError> {
        let settings = &service.settings;
        let made = service.jobs.checkout(service).await;
        let made = made.map_err(|error| ApiError::failed(&error.to_string()))?;
        let checkout = held.checkout.insert(made);
        let folder = checkout.path().to_owned();
        let kind = TurnKind::Job {
            home: checkout.home().to_owned(),
            agent: Some(agent.to_owned()),
            budget_usd: counted.budget_usd().unwrap_or(settings.chat_budget_usd),
            // Callers may name any agent; permissions are skipped for the configured one alone, and
            // only if the settings say so.
            skip_permissions: settings.chat_skip_permissions
                && settings.chat_agent.as_deref() == Some(agent),
            effort: self.request.effort,
            schema: schema(&self.request),
        };
        let spec = TurnSpec { model: Some(self.model.clone()), kind };
        let limit = settings.chat_timeout();
        let ours = (service, counted);
        held.turn(ours, &spec, &self.prompt, &folder, limit, Accepts::Plain).await
    }
}

/// Returns the kind of turn for a request that needs no checkout.
pub(super) fn lean(request: &ChatRequest, streamed: bool, budget_usd: Option<f64>) -> TurnKind {
    let (effort, schema) = (request.effort, schema(request));
    TurnKind::Lean { input: Input::Text, streamed, effort, schema, budget_usd }
}

fn schema(request: &ChatRequest) -> Option<serde_json::Value> {
    match &request.format {
        Format::JsonSchema(schema) => Some(schema.clone()),
        Format::Text | Format::JsonObject => None,
    }
}
