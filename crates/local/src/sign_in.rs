//! Puts the operator's sign-in to the model into a run's own home.
//!
//! This happens before a process of the Claude CLI or of Codex starts. The agent may write to that
//! home, so no link in it is followed. The agent can also read everything there, so only the
//! sign-in is copied: the Claude CLI keeps tokens of other servers and histories of other projects
//! in the same files.

use std::fs::File;
use std::io::{Result, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::settings::Claude;

/// The Claude CLI's own folder in a home.
const FOLDER: &str = ".claude";
/// Where the sign-in of a subscription is: the file in [`FOLDER`], and the key in its JSON.
const SUBSCRIPTION: [&str; 2] = [".credentials.json", "claudeAiOauth"];
/// Where a key of the console is: the file beside [`FOLDER`], and the key in its JSON.
const CONSOLE: [&str; 2] = [".claude.json", "primaryApiKey"];

/// The file of Codex's sign-in, in Codex's own folder.
const CODEX: &str = "auth.json";

/// Minimum length of a text that counts as a token, in bytes.
const TOKEN: usize = 20;

/// Copies the sign-in of the Claude CLI in the home `from` to `home`, readable by nobody else. If
/// `from` has none, nothing is copied, and the CLI reports that it is not signed in.
pub(super) fn copy(from: &Path, home: &Path) -> Result<()> {
    let root = openat(CWD, home, FOLDER_ONLY, Mode::empty())?;
    let folder = real_folder(root.as_fd(), FOLDER)?;
    let [file, key] = SUBSCRIPTION;
    if let Some(kept) = only(&from.join(FOLDER).join(file), key) {
        put(folder.as_fd(), file, &without_refresh(&kept))?;
    }
    let [file, key] = CONSOLE;
    if let Some(kept) = only(&from.join(file), key) {
        put(root.as_fd(), file, &kept)?;
    }
    Ok(())
}

/// Removes the sign-in that an earlier turn had in its home, because the key stays outside the box
/// from now on.
pub(super) fn withdraw(home: &Path) -> Result<()> {
    let root = openat(CWD, home, FOLDER_ONLY, Mode::empty())?;
    let folder = real_folder(root.as_fd(), FOLDER)?;
    for (folder, file) in [(folder.as_fd(), SUBSCRIPTION[0]), (root.as_fd(), CONSOLE[0])] {
        match unlinkat(folder, file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns the file with the sign-in of a subscription in the home `from`, if there is one.
pub(super) fn subscription(from: &Path) -> Option<PathBuf> {
    let [file, key] = SUBSCRIPTION;
    let file = from.join(FOLDER).join(file);
    only(&file, key).map(|_| file)
}

/// Returns the key of the console in the home `from`, if there is one.
pub(super) fn console_key(from: &Path) -> Option<SecretString> {
    let [file, key] = CONSOLE;
    let kept: Value = serde_json::from_str(&only(&from.join(file), key)?).ok()?;
    kept[key].as_str().map(SecretString::from)
}

/// Returns the error for people if the sign-in of a subscription in the home `from` has run out. A
/// run cannot renew it, because it only gets the access token: a refresh token can be spent once,
/// and a run that spent it would sign the operator out.
pub(super) fn run_out(from: &Path, now: Timestamp) -> Option<String> {
    let file = subscription(from)?;
    let kept: Value = serde_json::from_str(&only(&file, SUBSCRIPTION[1])?).ok()?;
    let until = kept[SUBSCRIPTION[1]]["expiresAt"].as_i64().filter(|until| *until > 0)?;
    (until <= now.as_millisecond()).then(|| {
        format!(
            "the Claude CLI's sign-in in {} has run out: run `claude` once as the user who signed in, \
             which renews it, or set agents.claude.api_key",
            file.display()
        )
    })
}

fn without_refresh(sign_in: &str) -> String {
    let mut kept: Value = serde_json::from_str(sign_in).unwrap_or_default();
    if let Some(kept) = kept.get_mut(SUBSCRIPTION[1]).and_then(Value::as_object_mut) {
        kept.remove("refreshToken");
    }
    kept.to_string()
}

/// Returns the home whose sign-in agents get.
pub(super) fn home(config: &Claude) -> PathBuf {
    config.home.clone().or_else(std::env::home_dir).unwrap_or_default()
}

/// Returns the tokens of the Claude CLI's sign-in in the home `from`, which must be masked.
pub(super) fn values(from: &Path) -> Vec<SecretString> {
    let mut found = Vec::new();
    let [file, key] = SUBSCRIPTION;
    let [other, other_key] = CONSOLE;
    for (file, key) in [(from.join(FOLDER).join(file), key), (from.join(other), other_key)] {
        let kept = only(&file, key).and_then(|kept| serde_json::from_str(&kept).ok());
        collect(&kept.unwrap_or_default(), &mut found);
    }
    found
}

/// Returns the folder of Codex's sign-in: the configured one, or that of whoever runs afk.
pub(super) fn codex_home(config: Option<&Path>) -> PathBuf {
    let default = || std::env::home_dir().unwrap_or_default().join(".codex");
    config.map_or_else(default, Path::to_owned)
}

/// Whether the folder `from` has a sign-in that [`prepare_codex`] would find.
pub(super) fn has_codex(from: &Path) -> bool {
    codex_sign_in(from).is_some()
}

/// Makes Codex's folder `to` in a run's home, with the sign-in of the folder `from` if one is
/// given, and without a sign-in otherwise. Returns the tokens, which must be masked.
pub(super) fn prepare_codex(from: Option<&Path>, to: &Path) -> Result<Vec<SecretString>> {
    let (Some(home), Some(name)) = (to.parent(), to.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(Vec::new());
    };
    let root = openat(CWD, home, FOLDER_ONLY, Mode::empty())?;
    let folder = real_folder(root.as_fd(), name)?;
    let kept = from.and_then(codex_sign_in);
    match &kept {
        Some(kept) => put(folder.as_fd(), CODEX, &kept.to_string())?,
        // An earlier turn may have had a sign-in, before a key was configured.
        None => match unlinkat(folder.as_fd(), CODEX, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        },
    }
    let mut found = Vec::new();
    collect(&kept.unwrap_or_default(), &mut found);
    Ok(found)
}

/// Returns the tokens of Codex's sign-in in the folder `from`, which must be masked.
pub(super) fn codex_values(from: &Path) -> Vec<SecretString> {
    let mut found = Vec::new();
    collect(&codex_sign_in(from).unwrap_or_default(), &mut found);
    found
}

/// Returns Codex's sign-in in the folder `from` without its refresh token. That token can be spent
/// once, and a box that spent it would sign the operator out; so only the operator's own Codex
/// renews the sign-in, and a run takes what there is.
fn codex_sign_in(from: &Path) -> Option<Value> {
    let mut found: Value = serde_json::from_slice(&std::fs::read(from.join(CODEX)).ok()?).ok()?;
    let has = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    if !has(found.get("OPENAI_API_KEY")) && !has(found.pointer("/tokens/access_token")) {
        return None;
    }
    if let Some(token) = found.pointer_mut("/tokens/refresh_token") {
        *token = Value::from("");
    }
    Some(found)
}

/// Collects all texts that are long enough to be a token; other values of a sign-in are shorter.
fn collect(value: &Value, found: &mut Vec<SecretString>) {
    match value {
        Value::String(text) if text.len() >= TOKEN => found.push(SecretString::from(text.as_str())),
        Value::Array(all) => {
            for one in all {
                collect(one, found);
            }
        }
        Value::Object(all) => {
            for one in all.values() {
                collect(one, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether the home `from` has a sign-in that [`copy`] would find.
pub(super) fn is_there(from: &Path) -> bool {
    let [file, key] = SUBSCRIPTION;
    let subscription = from.join(FOLDER).join(file);
    only(&subscription, key).is_some() || only(&from.join(CONSOLE[0]), CONSOLE[1]).is_some()
}

/// Flags to open a folder, but not through a link.
const FOLDER_ONLY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the folder `name` in `root`, or creates it; anything else of that name is removed.
fn real_folder(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let open = || openat(root, name, FOLDER_ONLY, Mode::empty());
    let folder = match open() {
        Ok(folder) => folder,
        Err(Errno::NOENT) => {
            mkdirat(root, name, Mode::RWXU)?;
            open()?
        }
        Err(Errno::LOOP | Errno::NOTDIR) => {
            unlinkat(root, name, AtFlags::empty())?;
            mkdirat(root, name, Mode::RWXU)?;
            open()?
        }
        Err(error) => return Err(error.into()),
    };
    fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

/// Returns the text of a JSON file that has only one `key` of the given file; `None` if that is
/// missing.
fn only(file: &Path, key: &str) -> Option<String> {
    let mut found: Map<String, Value> = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let kept = found.remove(key)?;
    Some(Value::from(Map::from_iter([(key.to_owned(), kept)])).to_string())
}

/// Creates the file `name` in `folder`, replacing an existing one.
fn put(folder: BorrowedFd<'_>, name: &str, content: &str) -> Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // Exclusive creation makes the file here, and not where a link leads.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    File::from(file).write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const CREDENTIALS: &str = r#"{"claudeAiOauth": {"accessToken": "a", "refreshToken": "CANARY"}, "mcpOAuth": {"s": {"token": "CANARY"}}}"#;
    const SETTINGS: &str = r#"{"primaryApiKey": "k", "oauthAccount": {"emailAddress": "CANARY"},
        "mcpServers": {"s": {"env": {"TOKEN": "CANARY"}, "headers": {"Authorization": "CANARY"}}},
        "projects": {"/other": {"history": ["CANARY"]}}}"#;

    /// Creates the operator's home and a run's, in one folder.
    fn homes(credentials: &str, settings: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (from, home) = (dir.path().join("operator"), dir.path().join("home"));
        fs::create_dir_all(from.join(".claude")).unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(from.join(".claude/.credentials.json"), credentials).unwrap();
        fs::write(from.join(".claude.json"), settings).unwrap();
        (dir, from, home)
    }

    #[test]
    fn only_what_signs_in_is_copied() {
        let (_dir, from, home) = homes(CREDENTIALS, SETTINGS);
        assert!(is_there(&from));
        copy(&from, &home).unwrap();
        copy(&from, &home).unwrap();
        for (file, expected) in [
            (".claude/.credentials.json", r#"{"claudeAiOauth":{"accessToken":"a"}}"#),
            (".claude.json", r#"{"primaryApiKey":"k"}"#),
        ] {
            assert_eq!(fs::read_to_string(home.join(file)).unwrap(), expected);
            let mode = fs::metadata(home.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_sign_in_is_taken_back_and_one_that_has_run_out_is_told() {
        let (_dir, from, home) = homes(CREDENTIALS, SETTINGS);
        copy(&from, &home).unwrap();
        withdraw(&home).unwrap();
        withdraw(&home).unwrap();
        assert!(!home.join(".claude/.credentials.json").exists());
        assert!(!home.join(".claude.json").exists());
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(run_out(&from, now), None, "it does not say until when it lasts");
        for (until, out) in [(999_999, true), (1_000_000, true), (1_000_001, false), (0, false)] {
            let text =
                format!(r#"{{"claudeAiOauth": {{"accessToken": "a", "expiresAt": {until}}}}}"#);
            let (_dir, from, _) = homes(&text, "{}");
            let told = run_out(&from, now);
            assert_eq!(told.is_some(), out, "{until}");
            assert!(told.is_none_or(|told| told.contains("run `claude` once")));
        }
    }

    #[test]
    fn the_tokens_of_a_sign_in_are_told_from_what_stands_beside_them() {
        use secrecy::ExposeSecret as _;
        let token = "one-token-of-the-subscription";
        let credentials = format!(
            r#"{{"claudeAiOauth": {{"accessToken": "{token}", "expiresAt": 1, "scopes": ["user:inference"],
                "subscriptionType": "max"}}, "mcpOAuth": {{"s": {{"token": "another-servers-own-token"}}}}}}"#
        );
        let (_dir, from, _) = homes(&credentials, r#"{"primaryApiKey": "one-key-of-the-console"}"#);
        let found: Vec<_> =
            values(&from).iter().map(|value| value.expose_secret().to_owned()).collect();
        assert_eq!(found, [token, "one-key-of-the-console"]);
        assert!(values(Path::new("/nowhere")).is_empty());
    }

    /// Fault 10 of other bots: two processes that refresh one sign-in spend its refresh token
    /// twice, and sign the operator out.
    #[test]
    fn runs_that_share_a_sign_in_cannot_race_for_its_refresh() {
        let (_dir, from, _) = homes(CREDENTIALS, "{}");
        let auth = r#"{"tokens": {"access_token": "the-access-token-of-somebody",
            "account_id": "a", "refresh_token": "CANARY-of-a-refresh-token"}}"#;
        fs::write(from.join("auth.json"), auth).unwrap();
        let run = |n: usize| {
            let home = from.join(format!("run-{n}"));
            fs::create_dir(&home).unwrap();
            copy(&from, &home).unwrap();
            prepare_codex(Some(&from), &home.join(".codex")).unwrap();
            let read = |file: &str| fs::read_to_string(home.join(file)).unwrap();
            [read(".claude/.credentials.json"), read(".codex/auth.json")]
        };
        let runs: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|n| scope.spawn(move || run(n))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for [claude, codex] in &runs {
            assert!(claude.contains("accessToken") && codex.contains("access_token"));
            assert!(!claude.contains("CANARY") && !codex.contains("CANARY"), "{claude} {codex}");
        }
        // The shared sign-in is unchanged.
        assert_eq!(fs::read_to_string(from.join("auth.json")).unwrap(), auth);
        let kept = fs::read_to_string(from.join(".claude/.credentials.json")).unwrap();
        assert_eq!(kept, CREDENTIALS);
    }

    #[test]
    fn a_run_cannot_spend_the_refresh_token_of_codex() {
        let dir = tempfile::tempdir().unwrap();
        let (from, home) = (dir.path().join("from"), dir.path().join("home"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&home).unwrap();
        let to = home.join(".codex");
        let auth = |text: &str| fs::write(from.join("auth.json"), text).unwrap();
        assert!(!has_codex(&from));
        auth(r#"{"OPENAI_API_KEY": null, "tokens": null}"#);
        assert!(!has_codex(&from));
        auth(
            r#"{"OPENAI_API_KEY": null, "last_refresh": "2026-11-01T00:00:00Z",
                "tokens": {"access_token": "the-access-token-of-somebody", "account_id": "a",
                "refresh_token": "CANARY-of-a-refresh-token"}}"#,
        );
        assert!(has_codex(&from));
        let tokens = prepare_codex(Some(&from), &to).unwrap();
        let written = fs::read_to_string(to.join("auth.json")).unwrap();
        assert!(written.contains("the-access-token-of-somebody") && !written.contains("CANARY"));
        assert!(!tokens.is_empty() && tokens.len() == codex_values(&from).len());
        let mode = fs::metadata(to.join("auth.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // With a configured key, the run has no sign-in.
        assert!(prepare_codex(None, &to).unwrap().is_empty());
        assert!(!to.join("auth.json").exists());
    }

    #[test]
    fn what_is_no_json_or_has_no_sign_in_is_not_copied() {
        for (credentials, settings) in
            [("CANARY", "CANARY"), ("[\"CANARY\"]", "{\"x\": \"CANARY\"}"), ("", "")]
        {
            let (_dir, from, home) = homes(credentials, settings);
            assert!(!is_there(&from), "{credentials}");
            copy(&from, &home).unwrap();
            assert!(!home.join(".claude/.credentials.json").exists(), "{credentials}");
            assert!(!home.join(".claude.json").exists(), "{settings}");
        }
    }

    #[test]
    fn nothing_that_the_agent_planted_is_followed() {
        let (dir, from, home) = homes(CREDENTIALS, SETTINGS);
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).unwrap();
        for file in [".credentials.json", ".claude.json"] {
            fs::write(victim.join(file), "mine").unwrap();
        }
        symlink(&victim, home.join(".claude")).unwrap();
        symlink(victim.join(".claude.json"), home.join(".claude.json")).unwrap();
        copy(&from, &home).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&victim).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".claude.json", ".credentials.json"]);
        for name in names {
            assert_eq!(fs::read_to_string(victim.join(name)).unwrap(), "mine");
        }
        let folder = fs::symlink_metadata(home.join(".claude")).unwrap();
        assert!(folder.is_dir());
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
        assert!(home.join(".claude/.credentials.json").is_file());

        // A home that is itself a link is refused.
        let linked = dir.path().join("linked");
        symlink(&victim, &linked).unwrap();
        copy(&from, &linked).unwrap_err();
    }
}
