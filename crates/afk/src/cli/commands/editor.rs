//! Lets a person write an issue in their own editor, as `git commit` does for a message.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};

use afk_app::Error;
use afk_core::ids::RepoName;

use crate::cli::exit::Answer;

/// The line at which the file's remarks begin.
const SCISSORS: &str = "# ------------------------ >8 ------------------------";
/// Maximum size of the written file, in bytes.
const MOST: u64 = 2 * 1024 * 1024;

/// Opens an editor on a file with `body`, and returns the title and body of an issue of `repo` that
/// were written. A blank first line is an error: no issue is wanted.
pub(super) async fn write(repo: &RepoName, body: Option<&str>) -> Answer<(String, String)> {
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let editor = variable("VISUAL").or_else(|| variable("EDITOR"));
    let editor = editor.filter(|_| std::io::stdin().is_terminal());
    let Some(editor) = editor else {
        return Err(Error::invalid(
            "the issue has no title: give it, as in `afk issue new \"What is wanted\"`, or set EDITOR \
             and write it on a terminal",
        ));
    };
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Error::failed(format!("{what} {}: {error}", editor.display()))
    };
    let mut file = tempfile::Builder::new()
        .prefix("afk-issue-")
        .suffix(".md")
        .tempfile()
        .map_err(|error| failed("cannot make a file for", &error))?;
    write!(file, "{}", template(repo, body))
        .map_err(|error| failed("cannot write the file for", &error))?;
    // The editor's command is split at blanks, as in `code --wait`, and not run by a shell.
    let text = editor.to_string_lossy().into_owned();
    let mut words = text.split_whitespace();
    let mut command = tokio::process::Command::new(words.next().unwrap_or_default());
    let status = command.args(words).arg(file.path()).status().await;
    let status = status.map_err(|error| failed("cannot start", &error))?;
    if !status.success() {
        return Err(Error::failed(format!("{text} ended with {status}: no issue was made")));
    }
    let size = std::fs::metadata(file.path()).map_or(0, |found| found.len());
    if size > MOST {
        return Err(Error::invalid(format!("the text is over {MOST} bytes: no issue was made")));
    }
    // Read by its path, because editors may replace the file.
    let written = std::fs::read_to_string(file.path())
        .map_err(|error| failed("cannot read what was written in", &error))?;
    let (title, body) = split(&written);
    if title.is_empty() {
        return Err(Error::invalid(
            "the first line is blank, so there is no title: no issue was made",
        ));
    }
    Ok((title, body))
}

/// The file that the editor opens.
fn template(repo: &RepoName, body: Option<&str>) -> String {
    let body = body.unwrap_or_default();
    format!(
        "\n\n{body}\n{SCISSORS}\n# An issue of {repo}: its title in the first line, its body below. \
         Leave the\n# first line blank to make none. This line and what follows is not kept.\n"
    )
}

/// The title and the body in the written text.
fn split(text: &str) -> (String, String) {
    let text = text.split(SCISSORS).next().unwrap_or_default();
    let (title, body) = text.split_once('\n').unwrap_or((text, ""));
    (title.trim().to_owned(), body.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_title_and_remarks_go() {
        let repo: RepoName = "o/web".parse().unwrap();
        let began = template(&repo, Some("# A heading\nwith text"));
        assert_eq!(split(&began), (String::new(), "# A heading\nwith text".to_owned()));
        let written = format!("Add a door {began}");
        assert_eq!(split(&written), ("Add a door".to_owned(), "# A heading\nwith text".to_owned()));
        assert_eq!(split("Only this"), ("Only this".to_owned(), String::new()));
    }
}
