//! The commit that a tag names: the tag of an image, or the value of a pipeline's variable.

use afk_core::ids::Oid;

/// The fewest digits that name a commit.
const FEWEST: usize = 7;

/// The digits of the commit that `tag` names, in lower case: the tag itself, or what follows its
/// last separator, as in `main-1a2b3c4d`. None if it names no commit.
pub(super) fn named(tag: &str) -> Option<String> {
    let last = tag.rsplit(['-', '_', '.', '+']).next()?;
    let hex = (FEWEST..=64).contains(&last.len()) && last.bytes().all(|b| b.is_ascii_hexdigit());
    // Decimal digits alone after a separator are a date or a number, unless they make a whole id.
    let number = last.len() < 40 && last.bytes().all(|b| b.is_ascii_digit()) && last != tag;
    (hex && !number).then(|| last.to_ascii_lowercase())
}

/// Whether `tag` names `commit`, in full or short.
pub(super) fn names(tag: &str, commit: &Oid) -> bool {
    named(tag).is_some_and(|digits| commit.as_str().starts_with(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_named_in_full_or_short() {
        let commit: Oid = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678".parse().unwrap();
        let check = |tag: &str, expected: bool| assert_eq!(names(tag, &commit), expected, "{tag}");
        check(commit.as_str(), true);
        check("1a2b3c4d", true);
        check("1a2b3c4", true);
        check("1A2B3C4D", true);
        check("sha-1a2b3c4", true);
        check("main-1a2b3c4d", true);
        check("v1.2.3_1a2b3c4d", true);
        check("1a2b3c", false);
        check("1a2b3c5", false);
        check("1a2b3c4d-dirty", false);
        check("1a2b3c4d-arm64", false);
        check("latest", false);
        check("", false);
        check(&format!("{commit}0"), false);
    }

    #[test]
    fn a_date_is_no_commit() {
        let commit: Oid = "20261129aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        assert!(!names("build-20261129", &commit));
        assert!(names("20261129", &commit));
    }
}
