//! The end of a text that may be long, such as a job's log.

use reqwest::Url;
use reqwest::header::{HeaderMap, LOCATION};

/// How many bytes of a text are read at most in search of its end.
const READ: usize = 64 << 20;

/// The last `most` bytes of the body. Of a body longer than [`READ`], what follows is not read.
pub(super) async fn end_of(mut sent: reqwest::Response, most: usize) -> reqwest::Result<Vec<u8>> {
    let mut end = Vec::new();
    let mut read = 0;
    while let Some(chunk) = sent.chunk().await? {
        read += chunk.len();
        end.extend_from_slice(&chunk);
        // Cut only when twice too long, so that little is moved for each chunk.
        if end.len() > 2 * most {
            end.drain(..end.len() - most);
        }
        if read >= READ {
            break;
        }
    }
    end.drain(..end.len().saturating_sub(most));
    Ok(end)
}

/// The target of a redirect; an error if it leaves TLS: only a home without TLS may name a target
/// without it.
pub(super) fn target(headers: &HeaderMap, base: &Url) -> Result<Url, String> {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
    let to = to.and_then(|to| base.join(to).ok()).ok_or("a redirect that leads nowhere")?;
    let plain = to.scheme() == "http" && base.scheme() == "http";
    if plain || to.scheme() == "https" { Ok(to) } else { Err("a redirect without TLS".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_to_tls() {
        let check = |base: &str, to: Option<&str>, expected: Option<&str>| {
            let to = to.map(|to| (LOCATION, to.parse().unwrap()));
            let headers = to.into_iter().collect();
            let found = target(&headers, &Url::parse(base).unwrap()).ok();
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{base}");
        };
        let (tls, plain) = ("https://api.example/", "http://127.0.0.1:1/");
        check(tls, Some("https://blobs.example/x?sig=1"), Some("https://blobs.example/x?sig=1"));
        check(tls, Some("/logs/1"), Some("https://api.example/logs/1"));
        check(tls, Some("http://blobs.example/x"), None);
        check(tls, Some("file:///etc/passwd"), None);
        check(plain, Some("http://127.0.0.1:2/x"), Some("http://127.0.0.1:2/x"));
        check(plain, None, None);
    }
}
