//! Regular expressions for the published schema: each describes the texts that one type's parser
//! takes.
//!
//! Used by the `JsonSchema` of those types. If a parser took a text that its expression does not
//! match, or the other way round, an editor and `afk config check` would contradict each other; the
//! tests here and those of the app try both on the same documents. Lengths are counted in characters here and in bytes
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use schemars::{JsonSchema, schema_for};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::author::Author;
    use crate::config::Hooks;
    use crate::ids::{AdapterName, RepoName};
    use crate::network::AgentNetwork;
    use crate::proof::Verify;
    use crate::secret::SecretSource;
    use crate::shared::Shared;
    use crate::usd::Usd;

    /// Checks that the schema of `T` has this name, and that schema and parser both take each of
    /// `good` and refuse each of `bad`.
    #[track_caller]
    fn check<T: JsonSchema + DeserializeOwned>(name: &str, good: &[Value], bad: &[Value]) {
        let schema = serde_json::to_value(schema_for!(T)).unwrap();
        assert_eq!(schema["title"], name);
        let is_read = |value: &Value| serde_json::from_value::<T>(value.clone()).is_ok();
        agree(&schema, is_read, good, bad);
    }

    #[track_caller]
    fn agree(schema: &Value, is_read: impl Fn(&Value) -> bool, good: &[Value], bad: &[Value]) {
        let validator = jsonschema::draft202012::new(schema).unwrap();
        let good = good.iter().map(|value| (value, true));
        for (value, expected) in good.chain(bad.iter().map(|value| (value, false))) {
            let said = (validator.is_valid(value), is_read(value));
            assert_eq!(said, (expected, expected), "schema and parser of {value}");
        }
    }

    #[test]
    fn a_schema_takes_the_texts_that_are_read() {
        let text = |all: &[&str]| all.iter().map(|text| json!(text)).collect::<Vec<_>>();
        check::<RepoName>(
            "RepoName",
            &text(&["o/r", "my-org/my.repo_2", ".a/..b"]),
            &text(&["", "r", "o/", "/r", "o/r/x", "../r", "o/..", "./r", "o/r r", "-o/r"]),
        );
        check::<AdapterName>(
            "AdapterName",
            &text(&["claude", "t3-code_2", &"x".repeat(40)]),
            &text(&["", "a b", "a.b", &"x".repeat(41)]),
        );
        check::<Author>(
            "Author",
            &text(&["afk <afk@localhost>", " The bot of ACME  < bot@acme.io > "]),
            &text(&["", "afk", "<a@b>", "afk <>", "afk <a b>", "afk <a@b> x", "., <a@b>"]),
        );
        // What is no text is refused, too.
        check::<RepoName>("RepoName", &[], &[json!(7), json!(null), json!(["o/r"])]);
    }

    #[test]
    fn a_schema_takes_the_values_that_are_read() {
        check::<Usd>(
            "Usd",
            &[json!(0), json!(12.5), json!(999_999_999), json!("12.50"), json!(" $3 ")],
            &[
                json!(-1),
                json!(1_000_000_000),
                json!("12.1234567"),
                json!("a lot"),
                json!(""),
                json!(null),
                json!([1]),
            ],
        );
        check::<Shared<Usd>>("Usd", &[json!(1)], &[json!(-1)]);
        check::<Verify>(
            "Verify",
            &[json!("none"), json!(["make"]), json!(["make", ""])],
            &[json!("make"), json!([]), json!([""]), json!([7]), json!(null), json!({})],
        );
        check::<Hooks>(
            "Hooks",
            &[json!({}), json!({ "after_create": ["make", "setup"], "before_run": ["a"] })],
            &[json!({ "after_run": "make" }), json!({ "before_remove": [7] }), json!({ "a": [] })],
        );
        check::<SecretSource>(
            "SecretSource",
            &[
                json!({ "env": "TOKEN" }),
                json!({ "file": "/run/token" }),
                json!({ "command": ["pass", "x"] }),
                json!({ "vault": "secret/afk/slack#token" }),
            ],
            &[
                json!("TOKEN"),
                json!({}),
                json!({ "env": "MY-KEY" }),
                json!({ "file": "key" }),
                json!({ "command": [] }),
                json!({ "command": [""] }),
                json!({ "vault": "secret/afk" }),
                json!({ "vault": "secret/../x#y" }),
                json!({ "env": "A", "file": "/b" }),
                json!({ "value": "a" }),
            ],
        );
        check::<AgentNetwork>(
            "AgentNetwork",
            &[
                json!(true),
                json!(false),
                json!("none"),
                json!("model"),
                json!("open"),
                json!("true"),
                json!("false"),
                json!([]),
                json!(["crates.io", "*.example.com:8443", "10.0.0.7", "::1", "[1:2::3]:65535"]),
            ],
            &[
                json!("closed"),
                json!(""),
                json!(7),
                json!(null),
                json!({}),
                json!([7]),
                json!(["a b"]),
                json!(["*."]),
                json!(["a.b:0"]),
                json!(["a.b:65536"]),
                json!(["127.1"]),
                json!(["1.2.3.4.5"]),
                json!(["0x7f.0x1"]),
                json!(["[10.0.0.1]:80"]),
            ],
        );
    }

    #[test]
    fn the_schema_of_an_address_takes_what_is_read_as_one() {
        let text = |all: &[&str]| all.iter().map(|text| json!(text)).collect::<Vec<_>>();
        let schema = json!({ "type": "string", "pattern": socket_address() });
        let is_read = |value: &Value| value.as_str().unwrap().parse::<SocketAddr>().is_ok();
        let good = [
            "127.0.0.1:8790",
            "255.249.199.9:65535",
            "0.0.0.0:0",
            "[::]:1",
            "[1::2:3]:4",
            "[1:2:3:4:5:6:7:8]:9",
            "[1:2:3:4:5:6:7::]:9",
            "[::2:3:4:5:6:7:8]:9",
            "[1:2::3:4:5:6:7]:8",
            "[1:2:3:4:5::6]:7",
            "[::1.2.3.4]:5",
            "[1:2:3:4:5:6:1.2.3.4]:7",
            "[1::2:3:4:5:1.2.3.4]:6",
            "[1:2::3:4:5:1.2.3.4]:6",
            "[1:2:3:4:5::1.2.3.4]:6",
        ];
        let bad = [
            "127.0.0.1",
            "256.0.0.1:80",
            "1.2.3.4:65536",
            "01.2.3.4:80",
            "1.2.3:80",
            ":80",
            "localhost:80",
            "::1:80",
            "[1::2::3]:4",
            "[1::2:3:4:5:6:7:8]:9",
            "[1:2:3:4:5:6:7:8:9]:1",
            "[1::2:3:4:5:6:1.2.3.4]:9",
            "[12345::]:6",
        ];
        agree(&schema, is_read, &text(&good), &text(&bad));
    }
}
