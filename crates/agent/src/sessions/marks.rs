//! Where some of a log's events begin, so that a reader need not start at the first byte.
//!
//! [`super::log`] uses it. However long a log grows, at most [`MOST`] offsets are kept: when there
//! are more, every other one is dropped.

/// The largest number of offsets that are kept.
const MOST: usize = 1024;

/// The offsets of every `stride`-th event.
#[derive(Debug)]
pub(super) struct Marks {
    places: Vec<u64>,
    stride: u64,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), stride: 1 }
    }

    /// Notes that `event` begins at `offset`. To be called for every event, in order.
    pub(super) fn note(&mut self, event: u64, offset: u64) {
        if !event.is_multiple_of(self.stride) {
            return;
        }
        self.places.push(offset);
        if self.places.len() > MOST {
            let mut keep = false;
            self.places.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// The last known event at or before `event`, and its offset; `(0, 0)` for an empty log.
    pub(super) fn before(&self, event: u64) -> (u64, u64) {
        let Some(last) = self.places.len().checked_sub(1) else { return (0, 0) };
        let index = usize::try_from(event / self.stride).unwrap_or(last).min(last);
        (index as u64 * self.stride, self.places[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_right_and_few_however_long_the_log() {
        let mut marks = Marks::new();
        assert_eq!(marks.before(7), (0, 0));
        for event in 0..1_000_000_u64 {
            marks.note(event, event * 10);
            assert!(marks.places.len() <= MOST);
        }
        for asked in [0, 1, 1023, 1024, 1025, 77_777, 999_999, 5_000_000, u64::MAX] {
            let (event, offset) = marks.before(asked);
            assert!(event <= asked, "{event} is not after {asked}");
            assert_eq!(offset, event * 10, "the place of {event}");
            assert!(asked.min(999_999) - event < 2 * marks.stride, "{event} is near {asked}");
        }
    }
}
