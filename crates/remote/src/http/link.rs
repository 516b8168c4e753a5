//! The next page of a list, by the `Link` header.

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

/// The address of a smaller page that begins with the same entry as the page at `url`; none if the
/// page cannot be split.
pub(super) fn smaller(url: &Url) -> Option<Url> {
    let number = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name)?.1.parse::<u64>();
        found.ok().filter(|number| *number > 0)
    };
    // Only numbered pages can be split: nobody knows what is on the others.
    let by_number =
        !url.query_pairs().any(|(key, _)| ["after", "before", "cursor"].contains(&&*key));
    let size = number("per_page").filter(|size| *size > 1 && by_number)?;
    let times = [4, 5].into_iter().find(|times| size % times == 0).unwrap_or(size);
    let page = (number("page").unwrap_or(1) - 1).checked_mul(times)? + 1;
    let mut smaller = url.clone();
    let others = url.query_pairs().filter(|(key, _)| key != "per_page" && key != "page");
    smaller
        .query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair("per_page", &(size / times).to_string())
        .append_pair("page", &page.to_string());
    Some(smaller)
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

    #[test]
    fn smaller_pages_begin_at_the_same_entry() {
        let check = |query: &str, expected: Option<&str>| {
            let url = Url::parse(&format!("https://forge.example/x?{query}")).unwrap();
            let found = smaller(&url);
            assert_eq!(found.as_ref().map(|url| url.query().unwrap()), expected, "{query}");
        };
        check("per_page=100", Some("per_page=25&page=1"));
        check("state=all&page=3&per_page=100", Some("state=all&per_page=25&page=9"));
        check("per_page=25&page=9", Some("per_page=5&page=41"));
        check("per_page=5&page=41", Some("per_page=1&page=201"));
        check("per_page=7&page=2", Some("per_page=1&page=8"));
        check("per_page=1&page=201", None);
        check("per_page=100&after=abc", None);
        check("page=2", None);
        check("per_page=0", None);
    }
}
