//! JSON objects that are written member by member: most texts that the daemon writes need no escape,
//! and are copied as they are.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

/// An object that is being written at the end of a text. What is no JSON yet is made so.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    begins: usize,
}

impl<'o> Object<'o> {
    /// Begins at the end of `out`.
    #[must_use]
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        let begins = out.len();
        Self { out, begins }
    }

    /// A member that is a text.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        text(self.out, value);
    }

    /// A member that is a text which needs no escape, such as an instant.
    pub fn plain(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "\"{value}\"");
    }

    /// A member that is a whole number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// A member that is a list of texts.
    pub fn texts<'t>(&mut self, name: &'static str, values: impl Iterator<Item = &'t str>) {
        self.name(name);
        self.out.push(b'[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            text(self.out, value);
        }
        self.out.push(b']');
    }

    /// A member that is anything.
    ///
    /// # Errors
    ///
    /// It cannot be JSON, such as a map whose keys are no texts; the object cannot be used then.
    pub fn json<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> serde_json::Result<()> {
        self.next();
        text(self.out, name);
        self.out.push(b':');
        serde_json::to_writer(&mut *self.out, value)
    }

    /// Members that are JSON already.
    pub fn members(&mut self, members: &str) {
        if !members.is_empty() {
            self.next();
            self.out.extend_from_slice(members.as_bytes());
        }
    }

    /// Ends the object.
    pub fn end(mut self) {
        if self.out.len() == self.begins {
            self.next();
        }
        self.out.push(b'}');
    }

    /// A name that stands in our source, and so needs no escape.
    fn name(&mut self, name: &'static str) {
        debug_assert!(!needs_escape(name), "{name:?}");
        self.next();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn next(&mut self) {
        self.out.push(if self.out.len() == self.begins { b'{' } else { b',' });
    }
}

/// Writes a text as `serde_json` does.
fn text(out: &mut Vec<u8>, text: &str) {
    if needs_escape(text) {
        // Writing a text to a Vec cannot fail.
        let _ = serde_json::to_writer(out, text);
    } else {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// Whether a character must not stand in a JSON text as it is (RFC 8259, section 7).
fn needs_escape(text: &str) -> bool {
    // Looks at all of them and never jumps, so that the compiler can look at many at once.
    let special =
        |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    text.bytes().fold(0, |any, byte| any | special(byte)) != 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn an_object_is_written_as_serde_json_writes_it(
            members in prop::collection::btree_map(any::<String>(), any::<String>(), 0..5),
            text: String,
            list: Vec<String>,
            number: u64,
        ) {
            let mut written = b"before".to_vec();
            let mut object = Object::begin(&mut written);
            for (name, value) in &members {
                object.json(name, value).unwrap();
            }
            object.end();
            let model = serde_json::to_vec(&members).unwrap();
            prop_assert_eq!(&written[b"before".len()..], model);

            let mut written = Vec::new();
            let mut object = Object::begin(&mut written);
            object.text("text", &text);
            object.texts("list", list.iter().map(String::as_str));
            object.number("number", number);
            object.json("members", &members).unwrap();
            object.end();
            let model = json!({ "text": text, "list": list, "number": number, "members": members });
            let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
            prop_assert_eq!(read, model);
        }
    }

    #[test]
    fn every_byte_that_is_escaped_is_escaped_wherever_it_stands() {
        for byte in 0..=0x7f_u8 {
            for before in 0..40 {
                let value = format!("{}{}é", "a".repeat(before), char::from(byte));
                let mut written = Vec::new();
                text(&mut written, &value);
                assert_eq!(written, serde_json::to_vec(&value).unwrap(), "{byte} after {before}");
            }
        }
    }

    #[test]
    fn what_is_json_already_stays_as_it_is() {
        let mut written = Vec::new();
        let mut object = Object::begin(&mut written);
        object.plain("at", 7);
        object.members(r#""a" : 1, "b":2"#);
        object.members("");
        object.end();
        assert_eq!(written, br#"{"at":"7","a" : 1, "b":2}"#);
        let mut written = Vec::new();
        Object::begin(&mut written).end();
        assert_eq!(written, serde_json::to_vec(&BTreeMap::<String, u8>::new()).unwrap());
    }
}
