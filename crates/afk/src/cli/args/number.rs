//! Numbers as options take them, refused in our own words.

/// The most that is listed at once.
const MOST: u32 = 10_000;

/// A whole number from 1 up.
pub(super) fn count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "give a whole number from 1 up".to_owned())
}

/// How many are listed.
pub(super) fn limit(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("give a whole number from 1 to {MOST}"))
}

/// An amount of US dollars.
pub(super) fn dollars(text: &str) -> Result<f64, String> {
    let amount = text.parse().ok().filter(|amount: &f64| amount.is_finite() && *amount >= 0.0);
    amount.ok_or_else(|| "give an amount in US dollars, such as 20 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_refused_in_our_words() {
        assert_eq!((count("1"), limit("10000")), (Ok(1), Ok(10_000)));
        assert_eq!(dollars("0.5"), Ok(0.5));
        for text in ["0", "-1", "two", "1.5", "99999999999", ""] {
            assert!(count(text).unwrap_err().starts_with("give a whole"), "{text}");
            assert!(limit(text).unwrap_err().starts_with("give a whole"), "{text}");
        }
        assert!(limit("10001").is_err());
        for text in ["-1", "much", "NaN", "inf", "$5"] {
            assert!(dollars(text).unwrap_err().contains("US dollars"), "{text}");
        }
    }
}
