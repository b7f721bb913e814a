//! PURE: a JSON text, read once, in which nothing stands that parsers read differently: no name twice
//! in one object, if case is not regarded, and no text that is not Unicode.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// From how many members on an object's names are looked up instead of compared one by one.
const MANY: usize = 16;

/// So much room is made ahead for the members of the outermost object. Most claims have fewer. What is
/// within has no more room than it needs: it may be thousands of objects with nothing in them.
const USUAL: usize = 8;

/// A JSON value that borrows from its text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Members<'a>),
}

/// The members of an object in their order.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// Why a text is not taken.
#[derive(Debug)]
pub(super) enum Unfit {
    /// A name stands twice in one object, or differs from another only in the case of letters.
    Duplicate(String),
    /// It is not JSON, not Unicode, or too deep.
    NotJson(serde_json::Error),
}

impl<'a> Json<'a> {
    /// Reads a text.
    pub(super) fn read(text: &'a str) -> Result<Self, Unfit> {
        let mut duplicate = None;
        let mut input = serde_json::Deserializer::from_str(text);
        let read = Reader { duplicate: &mut duplicate, room: USUAL }.deserialize(&mut input);
        read.map_err(|error| duplicate.map_or(Unfit::NotJson(error), Unfit::Duplicate))
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

impl From<&Json<'_>> for Value {
    fn from(json: &Json<'_>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(it) => Self::Bool(*it),
            Json::Number(number) => Self::Number(number.clone()),
            Json::Text(text) => Self::String(text.to_string()),
            Json::List(list) => Self::Array(list.iter().map(Self::from).collect()),
            Json::Object(members) => {
                let member = |(name, value): &(Cow<'_, str>, Json<'_>)| {
                    (name.to_string(), Self::from(value))
                };
                Self::Object(members.iter().map(member).collect())
            }
        }
    }
}

/// Whether a parser that does not regard case takes one name for the other. Two characters beyond
/// ASCII fold to ASCII letters: the long s, and the sign for kelvin, whose lower case is k.
pub(super) fn are_alike(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        one.eq_ignore_ascii_case(other)
    } else {
        folded(one).eq(folded(other))
    }
}

/// A name as a parser sees it that does not regard case.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_lowercase).map(|c| if c == 'ſ' { 's' } else { c })
}

struct Reader<'d> {
    duplicate: &'d mut Option<String>,
    /// For so many members room is made ahead.
    room: usize,
}

impl Reader<'_> {
    /// The same, for what is within.
    fn within(&mut self) -> Reader<'_> {
        Reader { duplicate: self.duplicate, room: 0 }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Json<'de>, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(it))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut seq: S) -> Result<Json<'de>, S::Error> {
        let mut list = Vec::new();
        while let Some(one) = seq.next_element_seed(self.within())? {
            list.push(one);
        }
        list.shrink_to_fit();
        Ok(Json::List(list))
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Json<'de>, M::Error> {
        let mut members = Members::with_capacity(self.room);
        let mut names = Names::default();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if !names.take(&name, &members) {
                *self.duplicate = Some(name.into_owned());
                return Err(M::Error::custom("duplicate name"));
            }
            let value = map.next_value_seed(self.within())?;
            members.push((name, value));
        }
        if self.room == 0 {
            members.shrink_to_fit();
        }
        Ok(Json::Object(members))
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The names of an object, once there are many.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// Whether the name after those of `members` is alike to none of them.
    fn take(&mut self, name: &str, members: &Members<'_>) -> bool {
        if members.len() < MANY {
            return !members.iter().any(|(before, _)| are_alike(before, name));
        }
        if members.len() == MANY {
            self.0 = members.iter().map(|(before, _)| folded(before).collect()).collect();
        }
        self.0.insert(folded(name).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// The rule as plainly as it can be said: every name is folded and remembered, and what is read is
    /// what `serde_json` reads.
    mod model {
        use super::*;

        pub(super) fn read(text: &str) -> Option<Result<Value, String>> {
            let mut duplicate = None;
            let mut input = serde_json::Deserializer::from_str(text);
            match (Walk(&mut duplicate)).deserialize(&mut input) {
                Ok(()) => Some(Ok(serde_json::from_str(text).unwrap())),
                Err(_) => duplicate.map(Err),
            }
        }

        struct Walk<'d>(&'d mut Option<String>);

        impl<'de> DeserializeSeed<'de> for Walk<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
                input.deserialize_any(self)
            }
        }

        impl<'de> Visitor<'de> for Walk<'_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<(), E> {
                Ok(())
            }

            fn visit_bool<E>(self, _: bool) -> Result<(), E> {
                Ok(())
            }

            fn visit_i64<E>(self, _: i64) -> Result<(), E> {
                Ok(())
            }

            fn visit_u64<E>(self, _: u64) -> Result<(), E> {
                Ok(())
            }

            fn visit_f64<E>(self, _: f64) -> Result<(), E> {
                Ok(())
            }

            fn visit_str<E>(self, _: &str) -> Result<(), E> {
                Ok(())
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
                while seq.next_element_seed(Walk(self.0))?.is_some() {}
                Ok(())
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(folded(&name).collect::<String>()) {
                        *self.0 = Some(name);
                        return Err(M::Error::custom("duplicate name"));
                    }
                    map.next_value_seed(Walk(self.0))?;
                }
                Ok(())
            }
        }
    }

    /// Names of few letters, so that many are alike, some by a letter beyond ASCII.
    fn name() -> impl Strategy<Value = String> {
        let letters = ["s", "S", "ſ", "k", "K", "\u{212a}", "ß", "İ", "i", "I", "é", "É", "1"];
        let written = letters.map(|letter| {
            let escaped = letter.chars().fold(String::new(), |mut text, c| {
                write!(text, "\\u{:04x}", u32::from(c)).unwrap();
                text
            });
            vec![letter.to_owned(), escaped]
        });
        let letter = prop::sample::select(written.concat());
        prop::collection::vec(letter, 0..4).prop_map(|letters| letters.concat())
    }

    const PLAIN: &[&str] = &[
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-7",
        "900.0",
        "9e2",
        "1e999",
        "18446744073709551616",
        "\"\"",
        r#""a\n\u00e9\/""#,
        r#""\ud800""#,
        r#""\ud83d\ude00""#,
        "\"ß\"",
        "[]",
        " {} ",
    ];

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(PLAIN).prop_map(str::to_owned);
        leaf.prop_recursive(4, 64, 24, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..6);
            let members = prop::collection::vec((name(), inner), 0..24);
            prop_oneof![
                list.prop_map(|list| format!("[{}]", list.join(" , "))),
                members.prop_map(|members| {
                    let member = |(name, value): &(String, String)| format!("\"{name}\" :{value}");
                    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
                }),
            ]
        })
    }

    fn read(text: &str) -> Option<Result<Value, String>> {
        match Json::read(text) {
            Ok(json) => Some(Ok(Value::from(&json))),
            Err(Unfit::Duplicate(name)) => Some(Err(name)),
            Err(Unfit::NotJson(_)) => None,
        }
    }

    proptest! {
        #[test]
        fn what_is_read_and_what_is_refused_is_as_the_model_says(text in json()) {
            prop_assert_eq!(read(&text), model::read(&text));
        }

        #[test]
        fn names_are_alike_if_they_fold_to_the_same(one in name(), other in name()) {
            let same = folded(&one).eq(folded(&other));
            prop_assert_eq!(are_alike(&one, &other), same);
        }
    }

    #[test]
    fn how_deep_a_text_may_be_is_as_in_the_model() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            for depth in 120..135 {
                let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                assert_eq!(read(&text).is_some(), model::read(&text).is_some(), "{depth}");
            }
        }
    }

    /// Whether nothing in it has more room than it needs.
    fn is_tight(json: &Json<'_>) -> bool {
        match json {
            Json::List(list) => list.capacity() == list.len() && list.iter().all(is_tight),
            Json::Object(members) => {
                members.capacity() == members.len() && members.iter().all(|(_, it)| is_tight(it))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => true,
        }
    }

    #[test]
    fn what_is_within_an_object_has_no_more_room_than_it_needs() {
        let text = r#"{"a":[{},{"b":1},[],[0],[[{}],{"c":{}}],1,2]}"#;
        let Json::Object(members) = Json::read(text).unwrap() else { panic!("no object") };
        assert!(members.iter().all(|(_, value)| is_tight(value)));
    }

    #[test]
    fn a_name_is_found_twice_however_many_there_are_between() {
        for count in [2, MANY - 1, MANY, MANY + 1, 3 * MANY] {
            let names: Vec<_> = (0..count).map(|index| format!(r#""n{index}":0"#)).collect();
            let good = format!("{{{}}}", names.join(","));
            assert!(matches!(read(&good), Some(Ok(_))), "{count}");
            for again in [0, count / 2, count - 1] {
                let bad = format!(r#"{{{},"N{again}":1}}"#, names.join(","));
                assert_eq!(read(&bad), Some(Err(format!("N{again}"))), "{count}");
            }
        }
    }
}
