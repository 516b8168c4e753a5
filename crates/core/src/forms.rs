//! Regular expressions for the published schema: each describes the texts that one type's parser
//! takes.
//!
//! Used by the `JsonSchema` of those types. If a parser took a text that its expression does not
//! match, or the other way round, an editor and `afk config check` would contradict each other; the
//! app's tests try both on the same documents. Lengths are counted in characters here and in bytes
//! by the parsers, which only makes a difference for long texts outside of ASCII.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The schema of a type that is written as text of one form.
macro_rules! text_schema {
    ($type:ident, $about:literal, $pattern:expr) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": $about,
                    "type": "string",
                    "pattern": $pattern,
                })
            }
        }
    };
}

pub(crate) use text_schema;

/// A repository, `owner/name`.
pub(crate) fn repo_name() -> String {
    // Neither `.` nor `..`, and no dash in front.
    let part = "(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}|\\.[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}\
                |\\.\\.[A-Za-z0-9_.-]{1,98})";
    format!("^{part}/{part}$")
}

/// The name of an adapter.
pub(crate) const ADAPTER_NAME: &str = "^[A-Za-z0-9_-]{1,40}$";

/// A text that is not blank.
pub const NOT_BLANK: &str = "\\S";

/// The name of an environment variable.
pub const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// An amount of dollars as text.
pub(crate) const DOLLARS: &str = "^\\s*\\$?0*[0-9]{1,13}(?:\\.[0-9]{1,6})?\\s*$";

/// An author, `Name <address>`.
pub(crate) fn author() -> String {
    // Characters that are invisible, and those that git drops at both ends.
    let hidden = "<>\\x00-\\x1f\\x7f-\\x9f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\
                  \\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\u2800\\u3164\
                  \\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb";
    let dropped = "\\s.,:;\"\\\\'";
    let name = format!("[^{hidden}{dropped}](?:[^{hidden}]{{0,198}}[^{hidden}{dropped}])?");
    let address = format!("[^{hidden}{dropped}](?:[^{hidden}\\s]{{0,198}}[^{hidden}{dropped}])?");
    format!("^\\s*{name}\\s*<\\s*{address}\\s*>\\s*$")
}

/// A field of a secret in Vault, `mount/path#field`.
pub(crate) fn vault_place() -> String {
    let seen = "[^\\s\\x00-\\x1f\\x7f-\\x9f#?%\\\\/]";
    let field = "[^\\s\\x00-\\x1f\\x7f-\\x9f#?%\\\\]";
    let part = format!("(?!\\.{{1,2}}[/#]){seen}+");
    format!("^(?=.{{1,512}}$){part}(?:/{part})+#(?!\\.{{1,2}}$){field}+$")
}

/// A host that an agent may reach, with or without a port.
pub(crate) fn allowed_host() -> String {
    let port = format!(":(?!0+$){}", port());
    let label = "[A-Za-z0-9_-]{1,63}";
    // A last label of digits, or one that begins with 0x, is read as an address by some programs.
    let name = format!(
        "(?:\\*\\.)?(?=[A-Za-z0-9_.-]{{1,253}}(?::|$))(?:{label}\\.)*\
         (?![0-9]+(?::|$))(?!0[xX]){label}"
    );
    let (four, six) = (ipv4(), ipv6());
    format!("^(?:{six}|\\[{six}\\]{port}|(?:{four}|{name})(?:{port})?)$")
}

/// An address and a port to listen on, such as `127.0.0.1:8790` or `[::1]:8790`.
pub fn socket_address() -> String {
    format!("^(?:{}|\\[{}(?:%[0-9]{{1,9}})?\\]):{}$", ipv4(), ipv6(), port())
}

fn port() -> &'static str {
    "0*(?:[1-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
}

fn ipv4() -> String {
    let byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    format!("{byte}(?:\\.{byte}){{3}}")
}

fn ipv6() -> String {
    let word = "[0-9A-Fa-f]{1,4}";
    let mut forms = vec![
        format!("(?:{word}:){{7}}{word}"),
        format!("(?:{word}:){{1,7}}:"),
        format!(":(?::{word}){{1,7}}"),
    ];
    forms.extend((1..=6).map(|n| format!("(?:{word}:){{1,{n}}}(?::{word}){{1,{}}}", 7 - n)));
    forms.push("::".to_owned());
    // The last two words as an IPv4 address.
    let four = ipv4();
    forms.push(format!("(?:{word}:){{6}}{four}"));
    forms.push(format!("::(?:{word}:){{0,5}}{four}"));
    forms.extend((1..=4).map(|n| format!("(?:{word}:){{1,{n}}}:(?:{word}:){{0,{}}}{four}", 5 - n)));
    forms.push(format!("(?:{word}:){{1,5}}:{four}"));
    format!("(?:{})", forms.join("|"))
}

/// The schema of a command (argv): a program, and its arguments.
pub fn command_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string" },
        "minItems": 1,
        "prefixItems": [{ "type": "string", "minLength": 1 }],
    })
}
