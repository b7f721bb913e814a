//! What a line says, before it is put into the chain.

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::Time;
use serde::{Deserialize, Serialize, Serializer};

use super::events::KeyEvent;
use crate::json::Object;

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

impl Decision {
    /// Its name in a line.
    const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Intent => "intent",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// One line. It never holds a token.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// When, in UTC.
    pub time: Time,
    /// Who: a caller's name, or `jwksd` for what time or the configuration asked.
    pub caller: &'a str,
    /// What.
    pub action: &'a str,
    /// Decided how.
    pub decision: Decision,
    /// In which key set.
    pub keyset: Option<&'a KeysetName>,
    /// With or about which key.
    pub kid: Option<&'a KeyId>,
    /// The token's `jti`.
    pub jti: Option<&'a str>,
    /// The token's `sub`.
    pub sub: Option<&'a str>,
    /// The token's audiences.
    pub aud: &'a [String],
    /// The token's `exp`.
    pub exp: Option<u64>,
    /// Why, or what exactly.
    pub reason: Option<&'a str>,
    /// The request.
    pub request_id: Option<&'a str>,
    /// What becomes of which keys. A line says how many more there would be.
    pub keys: &'a [KeyEvent],
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
        let mut object = Object::begin(objects);
        object.plain("time", self.time);
        object.text("caller", cut(self.caller));
        object.text("action", self.action);
        object.text("decision", self.decision.name());
        let ids =
            [("keyset", self.keyset.map(KeysetName::as_str)), ("kid", self.kid.map(KeyId::as_str))];
        let texts = [("jti", self.jti), ("sub", self.sub.map(cut))];
        for (name, text) in ids.into_iter().chain(texts) {
            if let Some(text) = text {
                object.text(name, text);
            }
        }
        if !self.aud.is_empty() {
            object.texts("aud", self.aud.iter().take(LONGEST_LIST).map(|text| cut(text)));
        }
        if let Some(exp) = self.exp {
            object.number("exp", exp);
        }
        for (name, text) in [("reason", self.reason.map(cut)), ("request_id", self.request_id)] {
            if let Some(text) = text {
                object.text(name, text);
            }
        }
        let (keys, left_out) = self.keys.split_at(self.keys.len().min(MOST_KEYS));
        if !keys.is_empty() {
            object.json("keys", keys)?;
        }
        if !left_out.is_empty() {
            object.number("keys_left_out", left_out.len() as u64);
        }
        object.end();
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) fn as_text<S: Serializer>(time: &Time, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(time)
}

fn cut(text: &str) -> &str {
    // It has no more characters than bytes.
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    text.char_indices().nth(LONGEST_TEXT).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::events::Event;

    /// What a line says, as serde writes it.
    #[derive(Serialize)]
    struct Model<'a> {
        #[serde(serialize_with = "as_text")]
        time: Time,
        caller: String,
        action: &'a str,
        decision: Decision,
        #[serde(skip_serializing_if = "Option::is_none")]
        keyset: Option<&'a KeysetName>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kid: Option<&'a KeyId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        jti: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        aud: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        exp: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
        #[serde(skip_serializing_if = "<[KeyEvent]>::is_empty")]
        keys: &'a [KeyEvent],
    }

    fn model(line: &Line<'_>) -> Vec<u8> {
        let short = |text: &str| text.chars().take(LONGEST_TEXT).collect::<String>();
        let model = Model {
            time: line.time,
            caller: short(line.caller),
            action: line.action,
            decision: line.decision,
            keyset: line.keyset,
            kid: line.kid,
            jti: line.jti,
            sub: line.sub.map(short),
            aud: line.aud.iter().take(LONGEST_LIST).map(|text| short(text)).collect(),
            exp: line.exp,
            reason: line.reason.map(short),
            request_id: line.request_id,
            keys: line.keys,
        };
        serde_json::to_vec(&model).unwrap()
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a\"\\\\ü\n]{990,1010}"]
    }

    proptest! {
        #[test]
        fn a_line_says_what_it_would_say_by_serde(
            (millis, exp) in (0..253_402_300_000_000_u64, any::<Option<u64>>()),
            (caller, sub, reason) in (text(), prop::option::of(text()), prop::option::of(text())),
            aud in prop::collection::vec(text(), 0..20),
            (jti, request_id) in (any::<Option<String>>(), any::<Option<String>>()),
            has_ids: bool,
            decision in prop::sample::select(vec![
                Decision::Allowed, Decision::Refused, Decision::Intent, Decision::Done, Decision::Failed,
            ]),
            count in 0..3_usize,
        ) {
            let (keyset, kid) = ("default".parse().unwrap(), "k._~-1".parse::<KeyId>().unwrap());
            let keys = vec![KeyEvent { kid: kid.clone(), event: Event::Created }; count];
            let line = Line {
                keyset: has_ids.then_some(&keyset),
                kid: has_ids.then_some(&kid),
                jti: jti.as_deref(),
                sub: sub.as_deref(),
                aud: &aud,
                exp,
                reason: reason.as_deref(),
                request_id: request_id.as_deref(),
                keys: &keys,
                ..Line::new(Time::from_millis(millis), &caller, "sign-token", decision)
            };
            let (written, model) = (line.object().unwrap(), model(&line));
            prop_assert_eq!(String::from_utf8(written), String::from_utf8(model));
        }
    }

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
