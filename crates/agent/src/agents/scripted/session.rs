//! A turn of the scripted agent in progress: where its events go and what it has counted.

use std::io::Write;

use crate::agents::event::{AgentEvent, ModelUsage, TokenUsage};

pub(super) struct Session<W> {
    out: W,
    pub(super) prompt: String,
    pub(super) tokens: TokenUsage,
    pub(super) cost_usd: f64,
    tools: u32,
}

impl<W: Write> Session<W> {
    pub(super) fn new(prompt: String, out: W) -> Self {
        Self { out, prompt, tokens: TokenUsage::default(), cost_usd: 0.0, tools: 0 }
    }

    pub(super) fn emit(&mut self, event: &AgentEvent) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.raw(&line)
    }

    pub(super) fn say(&mut self, text: String) -> std::io::Result<()> {
        self.emit(&AgentEvent::Text { text })
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    pub(super) fn next_tool_id(&mut self) -> String {
        self.tools += 1;
        format!("scripted-{}", self.tools)
    }

    pub(super) fn model_usage(&self) -> ModelUsage {
        ModelUsage { tokens: self.tokens, cost_usd: self.cost_usd }
    }
}
