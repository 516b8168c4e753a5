//! Money: US dollars in whole millionths, so that sums are exact.
//!
//! Written as text with a `$` for people, as a plain decimal for machines; read
//! from either and from numbers. Never negative; sums stop at the largest value.

use std::borrow::Cow;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::forms;

const MICROS: u64 = 1_000_000;
/// The largest amount that a person can write as a number, in whole dollars.
const MOST: u32 = 999_999_999;

/// An amount of US dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(u64);

/// Text or a number that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount of dollars such as 12.50, with at most six decimals")]
pub struct NotAnAmount(String);

impl Usd {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// An amount of whole dollars.
    pub const fn dollars(dollars: u64) -> Self {
        Self(dollars.saturating_mul(MICROS))
    }

    /// An amount of millionths of a dollar.
    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The amount in millionths of a dollar.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The amount that a program reported as a floating-point number, to the nearest millionth;
    /// `None` if it is not an amount (negative, not finite, or absurdly large).
    pub fn from_f64(dollars: f64) -> Option<Self> {
        let micros = (dollars * 1e6).round();
        (0.0..1e15).contains(&micros).then_some(Self(micros as u64))
    }

    /// What is left after `spent`; zero once it is used up.
    #[must_use]
    pub const fn saturating_sub(self, spent: Self) -> Self {
        Self(self.0.saturating_sub(spent.0))
    }

    /// The price of `tokens` at this amount for a million tokens, rounded up.
    #[must_use]
    pub fn per_million(self, tokens: u64) -> Self {
        let micros = (u128::from(self.0) * u128::from(tokens)).div_ceil(u128::from(MICROS));
        Self(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The exact amount in dollars, without a sign: `12.5`, `0.000001`.
    pub fn to_decimal(self) -> String {
        let (dollars, micros) = (self.0 / MICROS, self.0 % MICROS);
        let text = format!("{dollars}.{micros:06}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl fmt::Display for Usd {
    /// Dollars and cents, to the nearest cent; an amount above zero shows as at least a cent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0.saturating_add(5_000) / 10_000;
        let cents = if self.0 > 0 { cents.max(1) } else { 0 };
        write!(f, "${}.{:02}", cents / 100, cents % 100)
    }
}

impl fmt::Debug for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.to_decimal())
    }
}

impl FromStr for Usd {
    type Err = NotAnAmount;
    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let wrong = || NotAnAmount(text.chars().take(40).collect());
        let plain = text.trim();
        let plain = plain.strip_prefix('$').unwrap_or(plain);
        let (dollars, decimals) = plain.split_once('.').unwrap_or((plain, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(dollars) || !digits(decimals) || decimals.len() > 6 {
            return Err(wrong());
        }
        let dollars: u64 = dollars.parse().map_err(|_| wrong())?;
        let micros: u64 = format!("{decimals:0<6}").parse().map_err(|_| wrong())?;
        dollars.checked_mul(MICROS).and_then(|d| d.checked_add(micros)).map(Self).ok_or_else(wrong)
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_decimal())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Amount {
            Whole(u64),
            Float(f64),
            Text(String),
        }
        // The text is left out: in a configuration it may be a misplaced secret.
        let wrong = || {
            let expected = "an amount of dollars such as 12.50, with at most six decimals";
            D::Error::invalid_value(Unexpected::Other("something else"), &expected)
        };
        let amount = match Amount::deserialize(from).map_err(|_| wrong())? {
            Amount::Whole(dollars) if dollars <= u64::from(MOST) => Some(Self(dollars * MICROS)),
            Amount::Float(dollars) if dollars <= f64::from(MOST) => Self::from_f64(dollars),
            Amount::Whole(_) | Amount::Float(_) => None,
            Amount::Text(text) => text.parse().ok(),
        };
        amount.ok_or_else(wrong)
    }
}

impl JsonSchema for Usd {
    fn schema_name() -> Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An amount of US dollars: a number, or text such as \"12.50\".",
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": MOST },
                { "type": "string", "pattern": forms::DOLLARS }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_and_shown() {
        let check = |text: &str, micros, shown: &str| {
            let amount: Usd = text.parse().unwrap();
            assert_eq!((amount.as_micros(), amount.to_string().as_str()), (micros, shown));
        };
        check("1.23", 1_230_000, "$1.23");
        check("$100", 100_000_000, "$100.00");
        check("0", 0, "$0.00");
        check("0.000001", 1, "$0.01");
        check("0.994999", 994_999, "$0.99");
        check("0.995", 995_000, "$1.00");
        for bad in ["", "$", "-1", "1.", ".5", "1.2345678", "1e3", "1,5", "99999999999999999"] {
            assert!(bad.parse::<Usd>().is_err(), "{bad:?}");
        }
        let read = |json: &str| serde_json::from_str::<Usd>(json).ok().map(Usd::as_micros);
        assert_eq!(read("100"), Some(100_000_000));
        assert_eq!(read("0.005"), Some(5_000));
        assert_eq!(read("\"2.5\""), Some(2_500_000));
        assert_eq!((read("-1"), read("-0.5"), read("null")), (None, None, None));
        assert_eq!((Usd::from_f64(f64::NAN), Usd::from_f64(1e300)), (None, None));
        assert_eq!(Usd::dollars(15).per_million(1), Usd::micros(15));
        assert_eq!(Usd::micros(1).per_million(1), Usd::micros(1));
        assert_eq!(format!("{:?}", Usd::micros(1_230_001)), "$1.230001");
    }

    #[test]
    fn amounts_add_up_and_stop_at_the_largest() {
        let mut sum = Usd::dollars(1);
        sum += Usd::micros(5);
        assert_eq!(sum, Usd::micros(1_000_005));
        sum += Usd::micros(u64::MAX);
        assert_eq!(sum, Usd::micros(u64::MAX));
    }

    #[test]
    fn a_schema_takes_numbers_and_text() {
        let schema = serde_json::to_value(schemars::schema_for!(Usd)).unwrap();
        assert_eq!(schema["title"], "Usd");
        assert_eq!(schema["anyOf"][0]["type"], "number");
        assert_eq!(schema["anyOf"][1]["type"], "string");
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(micros in any::<u64>()) {
            let json = serde_json::to_string(&Usd::micros(micros)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Usd>(&json).unwrap(), Usd::micros(micros));
        }
    }
}
