//! The next page, as the `Link` header names it.

use reqwest::Url;
use reqwest::header::HeaderMap;

/// The address of the next page, if there is one. An address elsewhere than `base` is an error:
/// the credential does not go there.
pub(super) fn next(headers: &HeaderMap, base: &Url) -> Result<Option<Url>, String> {
    let links = headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    let next = links.flat_map(|text| text.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let mut relations = parameters.split(';').filter_map(|one| one.trim().strip_prefix("rel="));
        relations
            .any(|rel| rel.trim_matches('"').split(' ').any(|one| one == "next"))
            .then_some(target)
    });
    let Some(target) = next else { return Ok(None) };
    let url =
        base.join(target).map_err(|_| format!("the next page is at {target:?}, no address"))?;
    if url.origin() != base.origin() || !url.path().starts_with(base.path().trim_end_matches('/')) {
        return Err(format!(
            "the next page is elsewhere, at {}",
            url.origin().ascii_serialization()
        ));
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: Result<Option<&str>, ()>) {
        let base = Url::parse("https://forge.example/api/v3/").unwrap();
        let headers = [(reqwest::header::LINK, header.parse().unwrap())].into_iter().collect();
        let found = next(&headers, &base).map_err(drop);
        assert_eq!(
            found.map(|url| url.map(String::from)),
            expected.map(|url| url.map(str::to_owned))
        );
    }

    #[test]
    fn only_a_next_page_of_the_same_home_is_followed() {
        let second = "https://forge.example/api/v3/x?page=2";
        check(&format!("<{second}>; rel=\"next\""), Ok(Some(second)));
        check(
            &format!("<https://forge.example/a>; rel=\"last\", <{second}>; rel=next"),
            Ok(Some(second)),
        );
        check("<https://forge.example/api/v3/x?page=1>; rel=\"prev\"", Ok(None));
        check("", Ok(None));
        check("</api/v3/x?page=2>; rel=\"next\"", Ok(Some(second)));
        check("<https://evil.example/api/v3/x>; rel=\"next\"", Err(()));
        check("<https://forge.example/other>; rel=\"next\"", Err(()));
        check("<http://forge.example/api/v3/x>; rel=\"next\"", Err(()));
    }
}
