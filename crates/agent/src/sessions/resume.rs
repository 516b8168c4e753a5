//! Where a client that comes back resumes.

/// The number of the first event that a client has not seen, in a log that has `events` so far.
///
/// `last` is what the client gives as the last event that it has (`Last-Event-ID`): `0` means that
/// it has event 0. Whatever cannot be right (no number, an event that does not exist) replays
/// everything, because a client that sees events again can drop them by their numbers, while one
/// that misses some cannot know.
pub fn first_after(last: Option<&str>, events: u64) -> u64 {
    let last = last.map(str::trim).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match last.and_then(|text| text.parse::<u64>().ok()) {
        Some(last) if last < events => last + 1,
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_client_goes_on() {
        for (last, events, first) in [
            (None, 5, 0),
            (Some("0"), 5, 1),
            (Some("3"), 5, 4),
            (Some(" 3 "), 5, 4),
            (Some("4"), 5, 5),
            (Some("5"), 5, 0),
            (Some("0"), 0, 0),
            (Some("99999999999999999999"), 5, 0),
            (Some("-1"), 5, 0),
            (Some("+1"), 5, 0),
            (Some("1.0"), 5, 0),
            (Some("x"), 5, 0),
            (Some(""), 5, 0),
        ] {
            assert_eq!(first_after(last, events), first, "{last:?} of {events}");
        }
    }
}
