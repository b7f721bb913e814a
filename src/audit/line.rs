//! What a line says, before it is put into the chain.

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::Time;
use serde::{Deserialize, Serialize, Serializer};

use super::events::KeyEvent;

/// What callers send is cut, so that nobody fills the disk with a few requests.
const LONGEST_TEXT: usize = 1000;
const LONGEST_LIST: usize = 16;

/// So many bytes a line about a token has, most of the time.
pub(super) const USUAL: usize = 512;

/// More keys than any set has at once; a line of so many is still one that is read back.
const MOST_KEYS: usize = 4000;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Allowed: it is about to happen.
    Allowed,
    /// Refused: it does not happen.
    Refused,
    /// About to be committed.
    Intent,
    /// Committed.
    Done,
    /// Not committed, or not known to be.
    Failed,
}

/// One line. It never holds a token.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'a> {
    /// When, in UTC.
    #[serde(serialize_with = "as_text")]
    pub time: Time,
    /// Who: a caller's name, or `jwksd` for what time or the configuration asked.
    pub caller: &'a str,
    /// What.
    pub action: &'a str,
    /// Decided how.
    pub decision: Decision,
    /// In which key set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyset: Option<&'a KeysetName>,
    /// With or about which key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<&'a KeyId>,
    /// The token's `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<&'a str>,
    /// The token's `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<&'a str>,
    /// The token's audiences.
    #[serde(skip_serializing_if = "<[String]>::is_empty", serialize_with = "short_list")]
    pub aud: &'a [String],
    /// The token's `exp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// Why, or what exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// What becomes of which keys.
    #[serde(skip_serializing_if = "<[KeyEvent]>::is_empty")]
    pub keys: &'a [KeyEvent],
    /// How many more there would be in `keys`. The audit says so itself.
    #[serde(skip_serializing_if = "is_none")]
    pub keys_left_out: usize,
}

impl<'a> Line<'a> {
    /// A line without details.
    #[must_use]
    pub fn new(time: Time, caller: &'a str, action: &'a str, decision: Decision) -> Self {
        Self {
            time,
            caller,
            action,
            decision,
            keyset: None,
            kid: None,
            jti: None,
            sub: None,
            aud: &[],
            exp: None,
            reason: None,
            request_id: None,
            keys: &[],
            keys_left_out: 0,
        }
    }

    /// The line as a JSON object, long texts and lists cut.
    pub(super) fn object(&self) -> serde_json::Result<Vec<u8>> {
        let mut object = Vec::with_capacity(USUAL);
        self.object_onto(&mut object)?;
        Ok(object)
    }

    /// The same at the end of `objects`.
    pub(super) fn object_onto(&self, objects: &mut Vec<u8>) -> serde_json::Result<()> {
        let keys = &self.keys[..self.keys.len().min(MOST_KEYS)];
        serde_json::to_writer(
            objects,
            &Line {
                keys,
                keys_left_out: self.keys.len() - keys.len(),
                caller: cut(self.caller),
                sub: self.sub.map(cut),
                reason: self.reason.map(cut),
                ..self.clone()
            },
        )
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) fn as_text<S: Serializer>(time: &Time, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(time)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST_TEXT).map_or(text, |(end, _)| &text[..end])
}

fn short_list<S: Serializer>(list: &[String], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(list.iter().take(LONGEST_LIST).map(|text| cut(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::events::Event;

    #[test]
    fn what_callers_send_is_cut() {
        let (long, many) = ("ü".repeat(60_000), vec!["x".repeat(5000); 100]);
        let line = Line {
            sub: Some(&long),
            reason: Some(&long),
            aud: &many,
            ..Line::new(Time::EPOCH, &long, "sign-token", Decision::Allowed)
        };
        assert!(line.object().unwrap().len() < 25_000);
    }

    #[test]
    fn a_list_of_keys_that_is_too_long_for_a_line_is_cut_and_says_so() {
        let kid: KeyId = "k".repeat(128).parse().unwrap();
        let keys = |count| vec![KeyEvent { kid: kid.clone(), event: Event::RetiredEarly }; count];
        let line = Line::new(Time::EPOCH, "jwksd", "schedule", Decision::Done);
        let whole = Line { keys: &keys(MOST_KEYS), ..line.clone() }.object().unwrap();
        assert!(!String::from_utf8(whole).unwrap().contains("keys_left_out"));
        let cut = Line { keys: &keys(MOST_KEYS + 5), ..line }.object().unwrap();
        assert!((cut.len() as u64) < super::super::rows::LONGEST - 1000);
        assert!(String::from_utf8(cut).unwrap().ends_with(r#"],"keys_left_out":5}"#));
    }
}
