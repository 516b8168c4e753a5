//! What the header of a commit may not hold: it is published with the commit, and nobody reads it.
//!
//! The header is judged raw, because git decodes it by the encoding that the header itself
//! declares.

use super::breach::{Breach, HeaderField};
use crate::secrets::SecretShapes;
use crate::text::is_hidden;

/// Returns everything that is wrong with the header of a commit. `None` is a header that is not
/// UTF-8.
pub(super) fn faults(header: Option<&str>, secrets: &SecretShapes) -> Vec<Breach> {
    let Some(header) = header else { return vec![Breach::HeaderNotText] };
    let mut found = Vec::new();
    for line in header.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let field = match key {
            "author" => HeaderField::Author,
            "committer" => HeaderField::Committer,
            "encoding" => {
                if !is_utf8(value) {
                    found.push(Breach::HeaderEncoding);
                }
                HeaderField::Other
            }
            _ => HeaderField::Other,
        };
        let named = field != HeaderField::Other;
        if named && value.chars().any(|c| c.is_control() || is_hidden(c)) {
            found.push(Breach::HeaderControl { field });
        }
        if let Some(secret) = secrets.find(line.as_bytes()).first() {
            found.push(Breach::SecretInHeader { field, kind: secret.kind });
        }
    }
    // A secret may be spread over several lines, as a private key is.
    if found.is_empty()
        && let Some(secret) = secrets.find_shapes(header.as_bytes()).first()
    {
        let field = HeaderField::Other;
        found.push(Breach::SecretInHeader { field, kind: secret.kind });
    }
    found
}

fn is_utf8(encoding: &str) -> bool {
    let plain = encoding.trim();
    plain.eq_ignore_ascii_case("utf-8") || plain.eq_ignore_ascii_case("utf8")
}

/// Returns the address of the author, as the header claims it.
pub(super) fn author_address(header: &str) -> Option<&str> {
    let line = header.lines().find_map(|line| line.strip_prefix("author "))?;
    let (who, _) = line.rsplit_once('>')?;
    who.rsplit_once('<').map(|(_, address)| address.trim()).filter(|address| !address.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: Option<&str>, expected: &[&str]) {
        let found = faults(header, SecretShapes::get().unwrap());
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{header:?}");
    }

    #[test]
    fn a_header_is_text_without_secrets() {
        let plain = "tree 1\nparent 2\nauthor Ünal <u@x> 1 +0000\ncommitter C <c@x> 1 +0000";
        check(Some(plain), &[]);
        check(Some(&format!("{plain}\nencoding UTF-8")), &[]);
        check(Some(&format!("{plain}\nencoding utf8")), &[]);
        check(Some(&format!("{plain}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ=\n")), &[]);
        check(None, &["the header is not UTF-8"]);
        let latin = format!("{plain}\nencoding ISO-8859-1");
        check(Some(&latin), &["the header says that the message is not UTF-8"]);
        let token = ["gh", "p_q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12"].concat();
        let author = format!("author A {token} <a@x> 1 +0000\ncommitter C <c@x> 1 +0000");
        check(
            Some(&author),
            &["the author's name or address holds what looks like a GitHub token"],
        );
        let committer = format!("author A <a@x> 1 +0000\ncommitter C <{token}@x> 1 +0000");
        let said = "the committer's name or address holds what looks like a GitHub token";
        check(Some(&committer), &[said]);
        let hidden = "author A\u{202e}B <a@x> 1 +0000\ncommitter C\u{1} <c@x> 1 +0000";
        let said = |who| format!("the {who}'s name or address holds characters that nobody sees");
        check(Some(hidden), &[&said("author"), &said("committer")]);
        check(
            Some(&format!("{plain}\nx-note {token}")),
            &["the header holds what looks like a GitHub token"],
        );
    }

    #[test]
    fn the_author_is_known_by_the_address() {
        assert_eq!(author_address("tree 1\nauthor A <b> <a@x> 1 +0000\n"), Some("a@x"));
        assert_eq!(author_address("author A <> 1 +0000"), None);
        assert_eq!(author_address("tree 1"), None);
    }
}
