//! Where a client resumes a stream of events: after the last event that it says it has.

use axum::http::HeaderMap;

/// The id of the last event that a client has: from the header that `EventSource` sends when it
/// reconnects by itself, or else from the query, because one that a page makes anew sends no
/// header.
pub fn last_event_id<'a>(headers: &'a HeaderMap, query: &'a str) -> Option<&'a str> {
    let by_header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    by_header.or_else(|| {
        query.split('&').find_map(|pair| {
            pair.split_once('=').filter(|(name, _)| *name == "last_event_id").map(|(_, id)| id)
        })
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_place_is_given_by_header_or_query() {
        let mut headers = HeaderMap::new();
        assert_eq!(last_event_id(&headers, ""), None);
        assert_eq!(last_event_id(&headers, "a=1&last_event_id=7"), Some("7"));
        assert_eq!(last_event_id(&headers, "last_event_id="), Some(""));
        assert_eq!(last_event_id(&headers, "xlast_event_id=7"), None);
        headers.insert("last-event-id", HeaderValue::from_static("9"));
        assert_eq!(last_event_id(&headers, "last_event_id=7"), Some("9"), "the newer of the two");
    }
}
