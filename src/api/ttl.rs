//! Lifetimes as callers write them.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Up to here every whole number is a number of JSON (RFC 8259, section 6).
const EXACT: u64 = 1 << 53;

/// A lifetime: seconds as a number, or text such as `15m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Ttl {
    /// Whole seconds.
    Seconds(u64),
    /// Text such as `15m`.
    Text(String),
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(NumberOrText)
    }
}

/// The whole number that a number of JSON is: 900.0 and 9e2 are 900.
pub(super) fn whole(number: f64) -> Option<u64> {
    number.to_string().parse().ok()
}

struct NumberOrText;

impl<'de> Visitor<'de> for NumberOrText {
    type Value = Ttl;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whole seconds, or text such as \"15m\"")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Ttl, E> {
        #[expect(clippy::cast_precision_loss, reason = "so other parsers of JSON read it too")]
        if number <= EXACT { Ok(Ttl::Seconds(number)) } else { self.visit_f64(number as f64) }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Ttl, E> {
        whole(number).map(Ttl::Seconds).ok_or_else(neither)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Ttl, E> {
        Ok(Ttl::Text(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Ttl, E> {
        Err(neither())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Ttl, E> {
        Err(neither())
    }

    fn visit_unit<E: Error>(self) -> Result<Ttl, E> {
        Err(neither())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, _: S) -> Result<Ttl, S::Error> {
        Err(neither())
    }

    fn visit_map<M: MapAccess<'de>>(self, _: M) -> Result<Ttl, M::Error> {
        Err(neither())
    }
}

fn neither<E: Error>() -> E {
    E::custom("ttl is neither whole seconds nor text such as \"15m\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same as serde reads it, which keeps a copy of the value and of why it is no number.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Model {
        Seconds(#[serde(deserialize_with = "super::super::whole_number")] u64),
        Text(String),
    }

    impl From<Model> for Ttl {
        fn from(model: Model) -> Self {
            match model {
                Model::Seconds(seconds) => Self::Seconds(seconds),
                Model::Text(text) => Self::Text(text),
            }
        }
    }

    fn model(json: &str) -> Option<Ttl> {
        serde_json::from_str::<Model>(json).ok().map(Ttl::from)
    }

    fn read(json: &str) -> Option<Ttl> {
        serde_json::from_str(json).ok()
    }

    proptest! {
        #[test]
        fn every_number_is_read_as_the_model_reads_it(json in "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?") {
            prop_assert_eq!(read(&json), model(&json));
        }

        #[test]
        fn every_text_is_read_as_it_is(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(read(&json), Some(Ttl::Text(text)));
        }
    }

    #[test]
    fn whole_seconds_may_be_written_in_every_way_of_json() {
        for json in ["900", "900.0", "9e2", "9E+2", "90000e-2"] {
            assert_eq!(read(json), Some(Ttl::Seconds(900)), "{json}");
        }
        let long = [EXACT - 1, EXACT, EXACT + 1, EXACT + 2, u64::MAX].map(|long| long.to_string());
        for json in long {
            assert_eq!(read(&json), model(&json), "{json}");
        }
    }

    #[test]
    fn what_is_neither_is_told_so() {
        for json in ["-1", "1.5", "-0", "true", "null", "[900]", r#"{"s":900}"#, "1e300"] {
            assert_eq!(model(json), None, "{json}");
            let error = serde_json::from_str::<Ttl>(json).unwrap_err().to_string();
            assert!(error.starts_with("ttl is neither whole seconds nor text"), "{json}: {error}");
        }
    }
}
