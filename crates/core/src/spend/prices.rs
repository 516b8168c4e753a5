//! List prices, for turns that end without reporting what they cost.
//!
//! An estimate must not be low: a model that no name matches is priced as the most expensive.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::usd::Usd;

/// Tokens that a turn used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens, not cached.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Input tokens read from the cache.
    pub cache_read: u64,
    /// Input tokens written to the cache.
    pub cache_write: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
    }
}

/// The price of a million tokens of each kind, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input tokens that are not cached.
    pub input: Usd,
    /// Output tokens.
    pub output: Usd,
    /// Input tokens read from the cache.
    pub cache_read: Usd,
    /// Input tokens written to the cache.
    pub cache_write: Usd,
}

impl Price {
    /// The usual ratios: reading from the cache costs a tenth, writing to it double.
    const fn usual(input: u64, output: u64) -> Self {
        Self {
            input: Usd::dollars(input),
            output: Usd::dollars(output),
            cache_read: Usd::micros(input * 100_000),
            cache_write: Usd::dollars(input * 2),
        }
    }

    /// The price of `usage`.
    pub fn of(&self, usage: &Usage) -> Usd {
        self.input.per_million(usage.input)
            + self.output.per_million(usage.output)
            + self.cache_read.per_million(usage.cache_read)
            + self.cache_write.per_million(usage.cache_write)
    }
}

/// Prices of models by a part of their ids, such as "opus". Of several parts that a model's id
/// contains, the longest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PriceTable(pub BTreeMap<String, Price>);

impl Default for PriceTable {
    /// The families of the Claude CLI, each at the price of its most expensive generation.
    fn default() -> Self {
        let prices = [("haiku", 1, 5), ("sonnet", 3, 15), ("opus", 15, 75)];
        let price = |(name, input, output): (&str, u64, u64)| {
            (name.to_owned(), Price::usual(input, output))
        };
        Self(prices.into_iter().map(price).collect())
    }
}

impl PriceTable {
    /// The list price of `usage` of `model`; the highest in the table if no name matches.
    pub fn estimate(&self, model: &str, usage: &Usage) -> Usd {
        let named = self.0.iter().filter(|(name, _)| model.contains(name.as_str()));
        match named.max_by_key(|(name, _)| name.len()) {
            Some((_, price)) => price.of(usage),
            None => self
                .0
                .values()
                .map(|price| price.of(usage))
                .max()
                .unwrap_or_else(|| Price::usual(15, 75).of(usage)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_adds_up_part_by_part() {
        let mut sum = Usage { input: 1, output: 2, cache_read: 3, cache_write: u64::MAX };
        sum += Usage { input: 10, output: 20, cache_read: 30, cache_write: 40 };
        let all = Usage { input: 11, output: 22, cache_read: 33, cache_write: u64::MAX };
        assert_eq!(sum, all);
    }

    #[test]
    fn a_model_that_is_not_known_costs_the_dearest() {
        let usage =
            Usage { input: 1_000_000, output: 100_000, cache_read: 1_000_000, cache_write: 0 };
        let check = |table: &PriceTable, model: &str, shown: &str| {
            assert_eq!(table.estimate(model, &usage).to_string(), shown, "{model}");
        };
        let table = PriceTable::default();
        check(&table, "claude-haiku-4-5-20251001", "$1.60");
        check(&table, "claude-sonnet-4-5", "$4.80");
        check(&table, "claude-opus-4-1", "$24.00");
        check(&table, "another", "$24.00");
        check(&PriceTable(BTreeMap::new()), "another", "$24.00");
        // Writing to the cache costs double.
        let written = Usage { cache_write: 1_000_000, ..Usage::default() };
        assert_eq!(table.estimate("claude-sonnet-4-5", &written), Usd::dollars(6));
        let mut own = table;
        own.0.insert("opus-5".to_owned(), Price::usual(5, 25));
        check(&own, "claude-opus-5-5", "$8.00");
    }
}
