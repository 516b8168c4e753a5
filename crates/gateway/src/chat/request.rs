//! Checks a chat completion request: which fields are honoured, which are refused, and which are
//! ignored.
//!
//! Pure. The table in `docs/gateway.md` is this file in words. A field whose neglect would change
//! the meaning of the answer is refused before anything is started; one that only asks for another
//! flavour of the answer is always ignored.

use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// How many stop sequences a request may have; OpenAI's limit.
const STOPS: usize = 4;
/// How many messages a request may have.
const MESSAGES: usize = 10_000;
/// The largest schema that is accepted, in bytes. It becomes an argument of the CLI.
const SCHEMA_BYTES: usize = 64 * 1024;

/// What a caller asks for, with only the fields that are honoured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatRequest {
    /// The model's name; `None` stands for the default model.
    pub(crate) model: Option<String>,
    /// The dialogue, without messages that say nothing.
    pub(crate) messages: Vec<Message>,
    /// Whether the answer is a stream.
    pub(crate) stream: bool,
    /// Whether a stream ends with token counts.
    pub(crate) include_usage: bool,
    /// What the answer must look like.
    pub(crate) format: Format,
    /// How hard the model thinks: a level of the CLI's `--effort`.
    pub(crate) effort: Option<&'static str>,
    /// The sequences before which the answer is cut.
    pub(crate) stop: Vec<String>,
    /// The agent that answers in a checkout instead of a lean turn. Streams ignore it.
    pub(crate) agent: Option<String>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) text: String,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `system` and `developer`.
    System,
    User,
    Assistant,
    /// `tool` and `function`: what one of the caller's tools answered.
    Tool,
}

/// What the answer must look like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Format {
    Text,
    /// Any JSON object, which the prompt asks for.
    JsonObject,
    /// JSON of this schema, which the CLI's `--json-schema` enforces.
    JsonSchema(Value),
}

/// Reads and checks a body.
pub(crate) fn parse(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let fields = Fields::read(body)?;
    refuse_what_cannot_be_done(&fields)?;
    let messages = messages(&fields)?;
    Ok(ChatRequest {
        model: fields.text("model")?,
        messages,
        stream: fields.flag("stream")?,
        include_usage: include_usage(&fields)?,
        format: format(&fields)?,
        effort: effort(&fields)?,
        stop: stop(&fields)?,
        agent: fields.text("agent")?,
    })
}

/// A JSON object whose fields are read by name. A null field counts as absent.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body, which must be an object.
    pub(crate) fn read(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::invalid("", "must be a JSON object")),
            Err(error) => Err(ApiError::invalid("", &format!("is not JSON: {error}"))),
        }
    }

    /// Returns a field as it is written in a body that was read before; null if it is absent.
    pub(crate) fn verbatim(body: &[u8], name: &str) -> Box<RawValue> {
        // Fields::read would have reported a body that cannot be read.
        let fields = serde_json::from_slice::<HashMap<String, &RawValue>>(body);
        let field = fields.ok().and_then(|fields| fields.get(name).copied());
        field.unwrap_or(RawValue::NULL).to_owned()
    }

    /// Returns a field.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Returns a string, if it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ApiError::invalid(name, "must be a string")),
        }
    }

    /// Returns a string that must be there.
    pub(crate) fn needed(&self, name: &str) -> Result<String, ApiError> {
        self.text(name)?.ok_or_else(|| ApiError::invalid(name, "is missing"))
    }

    /// Returns a number that must be positive and finite; `default` if it is absent.
    pub(crate) fn amount(&self, name: &str, default: f64) -> Result<f64, ApiError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_f64() {
            Some(amount) if amount.is_finite() && amount > 0.0 => Ok(amount),
            _ => Err(ApiError::invalid(name, "must be a number above 0")),
        }
    }

    /// Returns a boolean; false if it is absent.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(_) => Err(ApiError::invalid(name, "must be true or false")),
        }
    }
}

fn refuse_what_cannot_be_done(fields: &Fields) -> Result<(), ApiError> {
    match fields.get("n") {
        None => {}
        Some(n) if n.as_f64() == Some(1.0) => {}
        Some(_) => return Err(ApiError::invalid("n", "must be 1: there is one answer")),
    }
    if fields.flag("logprobs")? {
        return Err(ApiError::invalid(
            "logprobs",
            "cannot be had: leave it out or set it to false",
        ));
    }
    match fields.get("tool_choice") {
        None => {}
        Some(Value::String(choice)) if choice == "auto" || choice == "none" => {}
        Some(_) => {
            let what = "must be \"auto\" or \"none\": tools of callers cannot be called";
            return Err(ApiError::invalid("tool_choice", what));
        }
    }
    let audio = |kinds: &Value| {
        kinds.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "audio"))
    };
    if fields.get("modalities").is_some_and(audio) {
        return Err(ApiError::invalid("modalities", "must be [\"text\"]: there is no audio"));
    }
    Ok(())
}

fn messages(fields: &Fields) -> Result<Vec<Message>, ApiError> {
    let list = match fields.get("messages") {
        None => return Err(ApiError::invalid("messages", "is missing")),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(ApiError::invalid("messages", "must be a list")),
    };
    if list.is_empty() {
        return Err(ApiError::invalid("messages", "must not be empty"));
    }
    if list.len() > MESSAGES {
        return Err(ApiError::invalid("messages", &format!("must be at most {MESSAGES}")));
    }
    let mut read = Vec::with_capacity(list.len());
    for (n, value) in list.iter().enumerate() {
        read.extend(message(value, &format!("messages[{n}]"))?);
    }
    // The system's words alone are enough: voice agents let the model greet first.
    let asks = |message: &Message| match message.role {
        Role::System | Role::User | Role::Tool => !message.text.trim().is_empty(),
        Role::Assistant => false,
    };
    if !read.iter().any(asks) {
        let what = "must contain a text of another role than \"assistant\"";
        return Err(ApiError::invalid("messages", what));
    }
    Ok(read)
}

/// Reads the message at the path `at`. `None` if it says nothing, such as tool calls alone.
fn message(value: &Value, at: &str) -> Result<Option<Message>, ApiError> {
    let Value::Object(fields) = value else {
        return Err(ApiError::invalid(at, "must be an object"));
    };
    let role = match fields.get("role") {
        None | Some(Value::Null) => {
            return Err(ApiError::invalid(&format!("{at}.role"), "is missing"));
        }
        Some(Value::String(role)) => match role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            _ => {
                let what = "must be system, developer, user, assistant, tool or function";
                return Err(ApiError::invalid(&format!("{at}.role"), what));
            }
        },
        Some(_) => return Err(ApiError::invalid(&format!("{at}.role"), "must be a string")),
    };
    let at = format!("{at}.content");
    let text = match fields.get("content") {
        None | Some(Value::Null) if role == Role::Assistant => return Ok(None),
        None | Some(Value::Null) => return Err(ApiError::invalid(&at, "is missing")),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts_of(parts, &at)?,
        Some(_) => return Err(ApiError::invalid(&at, "must be a string or a list of parts")),
    };
    Ok(Some(Message { role, text }))
}

fn parts_of(parts: &[Value], at: &str) -> Result<String, ApiError> {
    let mut text = String::new();
    for (n, part) in parts.iter().enumerate() {
        let at = format!("{at}[{n}]");
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        let field = match kind {
            "text" | "input_text" | "output_text" => "text",
            "refusal" => "refusal",
            "" => return Err(ApiError::invalid(&format!("{at}.type"), "is missing")),
            _ => {
                let what = format!("cannot be \"{kind}\": only text is understood");
                let what: String = what.chars().filter(|c| !c.is_control()).take(100).collect();
                return Err(ApiError::invalid(&format!("{at}.type"), &what));
            }
        };
        match part.get(field) {
            Some(Value::String(words)) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(words);
            }
            _ => return Err(ApiError::invalid(&format!("{at}.{field}"), "must be a string")),
        }
    }
    Ok(text)
}

fn include_usage(fields: &Fields) -> Result<bool, ApiError> {
    match fields.get("stream_options") {
        None => Ok(false),
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(_) => {
                Err(ApiError::invalid("stream_options.include_usage", "must be true or false"))
            }
        },
        Some(_) => Err(ApiError::invalid("stream_options", "must be an object")),
    }
}

fn format(fields: &Fields) -> Result<Format, ApiError> {
    let Some(format) = fields.get("response_format") else { return Ok(Format::Text) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let at = "response_format.json_schema.schema";
            match format.get("json_schema").and_then(|named| named.get("schema")) {
                // The model's API takes no other schema.
                Some(schema) if schema.get("type") != Some(&Value::from("object")) => {
                    Err(ApiError::invalid(at, "must be an object of \"type\": \"object\""))
                }
                Some(schema) if schema.to_string().len() > SCHEMA_BYTES => {
                    Err(ApiError::invalid(at, &format!("must be at most {SCHEMA_BYTES} bytes")))
                }
                Some(schema) => Ok(Format::JsonSchema(schema.clone())),
                None => Err(ApiError::invalid(at, "is missing")),
            }
        }
        _ => {
            let what = "must be text, json_object or json_schema";
            Err(ApiError::invalid("response_format.type", what))
        }
    }
}

fn effort(fields: &Fields) -> Result<Option<&'static str>, ApiError> {
    Ok(match fields.text("reasoning_effort")?.as_deref() {
        // "none" leaves the choice to the CLI, which has no such level.
        None | Some("none") => None,
        Some("minimal" | "low") => Some("low"),
        Some("medium") => Some("medium"),
        Some("high") => Some("high"),
        Some("xhigh") => Some("xhigh"),
        Some("max") => Some("max"),
        Some(_) => {
            let what = "must be none, minimal, low, medium, high, xhigh or max";
            return Err(ApiError::invalid("reasoning_effort", what));
        }
    })
}

fn stop(fields: &Fields) -> Result<Vec<String>, ApiError> {
    let what = format!("must be a string or a list of at most {STOPS} strings, none of them empty");
    let wrong = || ApiError::invalid("stop", &what);
    let stops = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|stop| stop.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    if stops.len() > STOPS || stops.iter().any(|stop| stop.is_empty() || stop.len() > 1024) {
        return Err(wrong());
    }
    Ok(stops)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Parses a good request with these additional fields.
    fn with(more: Value) -> Result<ChatRequest, ApiError> {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        parse(body.to_string().as_bytes())
    }

    #[track_caller]
    fn refused(more: Value, says: &str) {
        match with(more) {
            Err(ApiError::Invalid { message, .. }) => {
                assert!(message.contains(says), "{message}, not {says}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_that_are_honoured() {
        let plain = with(json!({})).unwrap();
        assert_eq!(plain.model, None);
        assert!(!plain.stream && !plain.include_usage && plain.stop.is_empty());
        let all = with(json!({
            "model": "opus", "stream": true, "stream_options": {"include_usage": true},
            "n": 1, "reasoning_effort": "minimal", "stop": ["a", "b"],
            "response_format": {"type": "json_object"}, "agent": "triage",
        }));
        let all = all.unwrap();
        assert_eq!(all.model.as_deref(), Some("opus"));
        assert!(all.stream && all.include_usage);
        assert_eq!((all.effort, all.stop.len()), (Some("low"), 2));
        assert_eq!((all.format, all.agent.as_deref()), (Format::JsonObject, Some("triage")));
        let schema = json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}});
        let format = with(json!({"response_format": schema})).unwrap().format;
        assert_eq!(format, Format::JsonSchema(json!({"type": "object"})));
    }

    #[test]
    fn fields_that_are_ignored() {
        let more = json!({
            "model": null, "stream": null, "n": null, "logprobs": false, "stop": null,
            "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto",
            "max_tokens": 5, "max_completion_tokens": 5, "temperature": 2, "top_p": 0.1,
            "seed": 1, "user": "u", "metadata": {}, "store": true, "service_tier": "auto",
            "prediction": {}, "unknown": [1], "modalities": ["text"],
        });
        assert_eq!(with(more).unwrap(), with(json!({})).unwrap());
    }

    #[test]
    fn fields_that_are_refused() {
        refused(json!({"n": 2}), "n must be 1");
        refused(json!({"n": "1"}), "n must be 1");
        refused(json!({"logprobs": true}), "logprobs");
        refused(json!({"logprobs": 0}), "logprobs must be true or false");
        refused(json!({"tool_choice": "required"}), "tool_choice");
        refused(json!({"tool_choice": {"type": "function"}}), "tool_choice");
        refused(json!({"modalities": ["text", "audio"]}), "modalities");
        refused(json!({"model": 3}), "model must be a string");
        refused(json!({"stream": "yes"}), "stream must be true or false");
        refused(json!({"stream_options": 1}), "stream_options");
        refused(json!({"stop": ["a", ""]}), "stop");
        refused(json!({"stop": ["a", "b", "c", "d", "e"]}), "stop");
        refused(json!({"reasoning_effort": "huge"}), "reasoning_effort");
        refused(json!({"response_format": {"type": "xml"}}), "response_format.type");
        refused(json!({"response_format": {"type": "json_schema"}}), "json_schema.schema");
        for schema in [json!({}), json!({"type": "array"}), json!([]), json!("x"), Value::Null] {
            let named = json!({"type": "json_schema", "json_schema": {"schema": schema}});
            refused(json!({"response_format": named}), "json_schema.schema must be an object");
        }
    }

    #[test]
    fn messages_are_read_as_text() {
        let read = |messages: Value| with(json!({"messages": messages})).map(|read| read.messages);
        let say = |role, text: &str| Message { role, text: text.into() };
        let messages = read(json!([
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "tool", "content": "42", "tool_call_id": "x"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "user", "content": "c", "name": "ann"},
        ]));
        assert_eq!(
            messages.unwrap(),
            [
                say(Role::System, "be kind"),
                say(Role::User, "a\nb"),
                say(Role::Tool, "42"),
                say(Role::Assistant, "no"),
                say(Role::User, "c"),
            ]
        );
    }

    #[test]
    fn any_text_but_an_assistant_s_is_enough() {
        for role in ["system", "developer", "user", "tool", "function"] {
            let messages =
                json!([{"role": "assistant", "content": "x"}, {"role": role, "content": "y"}]);
            assert!(with(json!({"messages": messages})).is_ok(), "{role}");
        }
    }

    #[test]
    fn messages_that_are_refused() {
        let refuse = |messages: Value, says: &str| refused(json!({"messages": messages}), says);
        refuse(json!([]), "messages must not be empty");
        refuse(json!("hi"), "messages must be a list");
        refuse(json!(null), "messages is missing");
        refuse(json!(["hi"]), "messages[0] must be an object");
        refuse(json!([{"content": "x"}]), "messages[0].role is missing");
        refuse(json!([{"role": "robot", "content": "x"}]), "messages[0].role must be");
        refuse(json!([{"role": "user"}]), "messages[0].content is missing");
        refuse(json!([{"role": "user", "content": 1}]), "messages[0].content must be");
        let nothing = "messages must contain a text of another role than \"assistant\"";
        refuse(json!([{"role": "user", "content": "  "}]), nothing);
        refuse(
            json!([{"role": "system", "content": ""}, {"role": "tool", "content": []}]),
            nothing,
        );
        refuse(json!([{"role": "assistant", "content": "x"}]), nothing);
        for kind in ["image_url", "input_audio", "file"] {
            let part = json!([{"role": "user", "content": [{"type": kind}]}]);
            refuse(part, "messages[0].content[0].type cannot be");
        }
        refuse(
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            "messages[0].content[0].text must be a string",
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_told_apart() {
        #[track_caller]
        fn check(body: &[u8], says: &str) {
            let Err(ApiError::Invalid { message, .. }) = parse(body) else { panic!("{body:?}") };
            assert!(message.contains(says), "{message}");
        }
        check(b"", "the body is not JSON");
        check(b"{\"messages\": ", "the body is not JSON");
        check(b"{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}", "not JSON");
        check(b"[]", "the body must be a JSON object");
        check(b"{}", "messages is missing");
    }
}
