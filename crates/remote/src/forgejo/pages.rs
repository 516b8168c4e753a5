//! Where the next page of a list begins, and how large it is. Pure.
//!
//! A page that is too large to be read is read in smaller ones, so that nobody can make a list
//! unreadable by writing long texts. These servers find a page by its number alone, so a page of
//! another size must begin at a multiple of its size, or entries would be lost.

/// Entries per page: by default, servers give no more.
const PAGE: usize = 50;
/// The sizes of pages, the largest first. Some servers give fewer entries than the first, but none
/// gives fewer than the others.
const SIZES: [usize; 4] = [PAGE, 10, 2, 1];

/// What is done about an entry that is too large to be read by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLarge {
    /// The list is an error: what it would lack may matter.
    Fails,
    /// It is left out.
    LeftOut,
}

/// The next page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextPage {
    /// How many entries it may have.
    pub(super) size: usize,
    /// Its number, among pages of that size.
    pub(super) number: usize,
    /// How many entries come before it.
    pub(super) before: usize,
    /// Whether the server has given as many entries as the largest page may have.
    given_all: bool,
}

impl NextPage {
    /// The first page.
    pub(super) const FIRST: Self = Self { size: PAGE, number: 1, before: 0, given_all: false };

    /// The page after this one, which had so many entries.
    pub(super) fn after(self, entries: usize) -> Self {
        let given_all = self.given_all || entries == PAGE;
        let next = Self { before: self.before + entries, given_all, ..self };
        if self.size == PAGE { Self { number: self.number + 1, ..next } } else { next.sized(PAGE) }
    }

    /// A smaller page that begins with the same entry; none if this one cannot be split.
    pub(super) fn smaller(self) -> Option<Self> {
        (self.size > 1).then(|| self.sized(self.size - 1))
    }

    /// The largest page that begins at the same entry and has no more than `most` entries.
    fn sized(self, most: usize) -> Self {
        let fits = |size: &usize| {
            let is_given = *size < PAGE || self.given_all;
            *size <= most && is_given && self.before.is_multiple_of(*size)
        };
        let size = SIZES.into_iter().find(fits).unwrap_or(1);
        Self { size, number: self.before / size + 1, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages by which a list of `entries` is read, as sizes and numbers, from a server that
    /// gives `most` entries a page and no page with an entry in `large`. Each entry must come once.
    #[track_caller]
    fn check(entries: usize, most: usize, large: &[usize], expected: &[(usize, usize)]) {
        let (mut page, mut pages, mut read) = (NextPage::FIRST, Vec::new(), Vec::new());
        loop {
            pages.push((page.size, page.number));
            let size = page.size.min(most);
            let first = (page.number - 1) * size;
            let here: Vec<usize> = (first..entries.min(first + size)).collect();
            if here.iter().any(|entry| large.contains(entry)) {
                page = page.smaller().unwrap_or_else(|| page.after(1));
                continue;
            }
            if here.is_empty() {
                break;
            }
            page = page.after(here.len());
            read.extend(here);
        }
        let all: Vec<usize> = (0..entries).filter(|entry| !large.contains(entry)).collect();
        assert_eq!((read, pages), (all, expected.to_vec()));
    }

    #[test]
    fn a_page_that_is_too_large_is_read_in_smaller_ones() {
        check(0, 50, &[], &[(50, 1)]);
        check(70, 50, &[], &[(50, 1), (50, 2), (50, 3)]);
        check(30, 20, &[], &[(50, 1), (50, 2), (50, 3)]);
        // The fourth entry alone is too large.
        let split = [(50, 1), (10, 1), (2, 1), (2, 2), (1, 3), (1, 4), (2, 3)];
        check(6, 50, &[3], &[&split[..], &[(2, 4)]].concat());
        // After it, pages grow again.
        let grown = [(2, 4), (2, 5), (10, 2), (10, 3)];
        check(20, 50, &[3], &[&split[..], &grown[..]].concat());
        // Up to the largest, if the server is known to give it.
        let tens = [(10, 6), (2, 26), (1, 51), (1, 52), (2, 27), (2, 28), (2, 29), (2, 30)];
        let on = [(10, 7), (10, 8), (10, 9), (10, 10), (50, 3)];
        check(100, 50, &[50], &[&[(50, 1), (50, 2)], &tens[..], &on[..]].concat());
        // The server gives twenty at most, and the third page is too large.
        let few = [(50, 1), (50, 2), (50, 3), (10, 5), (2, 21), (1, 41), (1, 42), (2, 22)];
        let rest = [(2, 23), (2, 24), (2, 25), (10, 6)];
        check(50, 20, &[40], &[&few[..], &rest[..]].concat());
    }
}
