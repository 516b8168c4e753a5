//! A value with many holders that is rarely changed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum number of different values that are compared in search of equal ones.
const ALIKE: usize = 64;

/// A value that is cheap to clone, and copied when one of its clones is changed.
///
/// For parts of the configuration: every pass holds them all, and a fleet has thousands.
#[derive(Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self::from)
    }
}

/// Reads a map and keeps equal values once: most repos of a fleet are configured alike. Each value
/// is compared as soon as it is read, so that copies are never all in memory.
pub fn alike<'de, D, K, T, M>(from: D) -> Result<M, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    T: Deserialize<'de> + PartialEq,
    M: From<BTreeMap<K, Shared<T>>>,
{
    from.deserialize_map(Alike(PhantomData)).map(M::from)
}

struct Alike<K, T>(PhantomData<(K, T)>);

impl<'de, K, T> Visitor<'de> for Alike<K, T>
where
    K: Deserialize<'de> + Ord,
    T: Deserialize<'de> + PartialEq,
{
    type Value = BTreeMap<K, Shared<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut map, mut known) = (BTreeMap::new(), Vec::<Shared<T>>::new());
        while let Some((key, value)) = entries.next_entry::<K, T>()? {
            let shared = match known.iter().find(|other| ***other == value) {
                Some(other) => other.clone(),
                None => Shared::from(value),
            };
            if known.len() < ALIKE && Arc::strong_count(&shared.0) == 1 {
                known.push(shared.clone());
            }
            map.insert(key, shared);
        }
        Ok(map)
    }
}

impl<T: JsonSchema> JsonSchema for Shared<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_held_once() {
        #[derive(Deserialize)]
        struct Held {
            #[serde(deserialize_with = "alike")]
            of: Shared<BTreeMap<String, Shared<Vec<u8>>>>,
        }
        let Held { of } =
            serde_json::from_str(r#"{"of": {"a": [1], "b": [2], "c": [1]}}"#).unwrap();
        let holds = |one: &str, other: &str| Arc::ptr_eq(&of[one].0, &of[other].0);
        assert_eq!(of["c"].as_slice(), [1]);
        assert!(holds("a", "c") && !holds("a", "b"));
        assert!(serde_json::from_str::<Held>(r#"{"of": {"a": [1], "b": 7}}"#).is_err());
        let error = serde_json::from_str::<Held>(r#"{"of": [1]}"#).err().unwrap().to_string();
        assert!(error.contains("expected a map"), "{error}");
    }

    #[test]
    fn a_change_is_seen_by_whoever_made_it_alone() {
        let before = Shared::from(vec![1]);
        let mut after = before.clone();
        assert_eq!(before, after);
        after.push(2);
        assert_eq!((before.as_slice(), after.as_slice()), (&[1][..], &[1, 2][..]));
        assert_ne!(before, after);
    }

    #[test]
    fn its_schema_is_that_of_its_value() {
        type Values = Vec<crate::usd::Usd>;
        type Held = Shared<Values>;
        assert_eq!(Held::schema_name(), Values::schema_name());
        assert_eq!(Held::schema_id(), Values::schema_id());
        assert!(Held::inline_schema() && !Shared::<crate::usd::Usd>::inline_schema());
    }
}
