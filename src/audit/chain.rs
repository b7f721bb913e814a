//! PURE: how lines are chained, and how marks are made that nobody can make without the master key.
//!
//! Every line begins with its number and the SHA-256 of the line before, so that a line cannot be
//! taken out, changed or moved without the next one telling. Whoever may write the file could
//! write all that follows anew; so now and then there is a **mark**: a line with a tag over all of
//! itself, and by the hash in it over all before, under a key derived from the master key.

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd_keystore::crypto;
use jwksd_keystore::seal::{MasterKeys, SealError};
use jwksd_keystore::time::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::format::FORMAT;
use super::line::as_text;

/// No audit has so many lines; a larger number is not one of ours.
const HIGHEST: u64 = 1 << 53;

/// More bytes than stand before what a line says.
const LONGEST_BEGINNING: usize = 160;

/// How a tag stands at the end of a line. Within a JSON text the quotes would be escaped.
const TAG: &[u8] = br#","tag":""#;

/// The SHA-256 of a line without its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

/// The last line of a chain: what the next one hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number; the first line has 1.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A line that only a holder of the master key can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The first line of a file.
    #[serde(rename = "audit-begins")]
    Begin,
    /// The last line of a file that another one continues.
    #[serde(rename = "audit-ends")]
    End,
    /// All before is what was written.
    #[serde(rename = "audit-checkpoint")]
    Checkpoint,
    /// The daemon started.
    #[serde(rename = "audit-starts")]
    Start,
    /// The daemon stopped in order: it wrote nothing after this before its next start.
    #[serde(rename = "audit-stops")]
    Stop,
    /// Written on after a crash or a failed write: what did not hang together was never on the disk.
    #[serde(rename = "audit-resumes")]
    Resume,
    /// Written on although lines that were on the disk are missing, or may be; also as the first line
    /// of a file.
    #[serde(rename = "audit-breaks")]
    Break,
    /// The first line under a new master key; it names the keys that all before was written under.
    #[serde(rename = "audit-rekeyed")]
    Rekey,
}

/// A line that was read.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    text: &'a [u8],
    /// Its number.
    pub(super) number: u64,
    /// The hash of the line before.
    pub(super) previous: Hash,
    /// Whether it is a mark; not yet whether its tag is right.
    pub(super) mark: Option<Mark>,
    /// Its format, where it is the first of a file.
    pub(super) format: Option<u64>,
    /// Why it is there, where it is a mark.
    pub(super) reason: Option<String>,
    /// The ids of the master keys before, where it is a mark about that.
    pub(super) formerly: Vec<String>,
}

impl Mark {
    /// Whether it can be the first line of a file.
    pub(super) const fn may_begin_a_file(self) -> bool {
        match self {
            Self::Begin | Self::Break | Self::Resume | Self::Rekey => true,
            Self::End | Self::Checkpoint | Self::Start | Self::Stop => false,
        }
    }
}

impl Link {
    /// Before the first line of all.
    pub(super) const START: Self = Self { number: 0, hash: Hash([0; 32]) };

    /// A line after this one: `{"line":…,"previous":…,` and what `object`, a JSON object, holds.
    #[cfg(test)]
    pub(super) fn chain(&self, object: &[u8]) -> (Vec<u8>, Self) {
        let mut text = Vec::with_capacity(object.len() + LONGEST_BEGINNING);
        let link = self.chain_onto(&mut text, object);
        (text, link)
    }

    /// The same at the end of `text`, which holds lines before it.
    pub(super) fn chain_onto(&self, text: &mut Vec<u8>, object: &[u8]) -> Self {
        let start = text.len();
        self.begin(text);
        text.extend_from_slice(object.get(1..).unwrap_or_default());
        self.finish(text, start)
    }

    /// A mark after this line.
    pub(super) fn mark(
        &self,
        mark: Mark,
        reason: &str,
        now: Time,
        master_keys: &MasterKeys,
    ) -> (Vec<u8>, Self) {
        self.mark_after(mark, reason, &[], now, master_keys)
    }

    /// A mark after this line that names the master keys before, by their ids.
    pub(super) fn mark_after(
        &self,
        mark: Mark,
        reason: &str,
        formerly: &[String],
        now: Time,
        master_keys: &MasterKeys,
    ) -> (Vec<u8>, Self) {
        #[derive(Serialize)]
        struct Object<'a> {
            #[serde(serialize_with = "as_text")]
            time: Time,
            caller: &'a str,
            action: Mark,
            decision: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            format: Option<u64>,
            reason: &'a str,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            formerly: &'a [String],
        }
        let format = mark.may_begin_a_file().then_some(FORMAT);
        let (caller, decision) = (super::DAEMON, "done");
        let object = Object { time: now, caller, action: mark, decision, format, reason, formerly };
        // An object of texts and numbers is always JSON.
        let object = serde_json::to_vec(&object).unwrap_or_default();
        let mut text = Vec::with_capacity(object.len() + LONGEST_BEGINNING);
        self.begin(&mut text);
        text.extend_from_slice(object.get(1..object.len().saturating_sub(1)).unwrap_or_default());
        let mut text = tagged(text, master_keys);
        let link = self.finish(&mut text, 0);
        (text, link)
    }

    fn begin(&self, text: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = write!(text, r#"{{"line":{},"previous":"{}","#, self.number + 1, self.hash);
    }

    /// Ends the line that begins at `start`.
    fn finish(&self, text: &mut Vec<u8>, start: usize) -> Self {
        let hash = Hash::of(text.get(start..).unwrap_or_default());
        let link = Self { number: self.number + 1, hash };
        text.push(b'\n');
        link
    }
}

impl Hash {
    fn of(text: &[u8]) -> Self {
        Self(crypto::sha256(text))
    }

    /// Reads a hash as it is written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text.as_bytes(), &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }
}

impl<'a> Parsed<'a> {
    /// Reads a line, given without its end.
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Members {
            line: u64,
            previous: Hash,
            action: serde_json::Value,
            format: Option<u64>,
            reason: Option<String>,
            #[serde(default)]
            formerly: Vec<String>,
        }
        let members: Members = serde_json::from_slice(text).ok()?;
        if !(1..=HIGHEST).contains(&members.line) {
            return None;
        }
        let mark = Mark::deserialize(members.action).ok();
        Some(Self {
            text,
            number: members.line,
            previous: members.previous,
            mark,
            format: members.format,
            reason: members.reason.filter(|_| mark.is_some()),
            formerly: if mark == Some(Mark::Rekey) { members.formerly } else { Vec::new() },
        })
    }

    /// The line as what the next hangs on.
    pub(super) fn link(&self) -> Link {
        Link { number: self.number, hash: Hash::of(self.text) }
    }

    /// Whether it is the line after `link`.
    pub(super) fn follows(&self, link: &Link) -> bool {
        self.number == link.number + 1 && self.previous == link.hash
    }

    /// The id of the master key that a mark says it was made under.
    pub(super) fn tag_id(&self) -> Option<String> {
        let (_, tag) = split_tag(self.text).ok()?;
        MasterKeys::id_of_audit_tag(tag)
    }

    /// Whether a mark is one of ours.
    pub(super) fn check_tag(&self, master_keys: &MasterKeys) -> Result<(), SealError> {
        check_tag(self.text, master_keys)
    }
}

/// Closes a JSON object, given without its last brace, with a tag over all of it.
pub(super) fn tagged(mut text: Vec<u8>, master_keys: &MasterKeys) -> Vec<u8> {
    let tag = master_keys.tag_audit(&text);
    text.extend_from_slice(TAG);
    text.extend_from_slice(tag.as_bytes());
    text.extend_from_slice(br#""}"#);
    text
}

/// Checks the tag of what [`tagged`] made.
pub(super) fn check_tag(text: &[u8], master_keys: &MasterKeys) -> Result<(), SealError> {
    let (body, tag) = split_tag(text)?;
    master_keys.check_audit(body, tag)
}

/// What was tagged, and the tag.
fn split_tag(text: &[u8]) -> Result<(&[u8], &str), SealError> {
    let place = text.windows(TAG.len()).rposition(|window| window == TAG);
    let (body, tag) = text.split_at(place.ok_or(SealError::Damaged)?);
    let tag = tag[TAG.len()..].strip_suffix(br#""}"#).ok_or(SealError::Damaged)?;
    Ok((body, std::str::from_utf8(tag).map_err(|_| SealError::Damaged)?))
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 43];
        // 32 bytes are 43 characters of base64url.
        let length = BASE64_URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).unwrap_or(0);
        f.write_str(std::str::from_utf8(&text[..length]).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = std::borrow::Cow::<str>::deserialize(input)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a hash"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::audit) fn master_keys() -> MasterKeys {
        MasterKeys::parse(&MasterKeys::generate_file().unwrap()).unwrap()
    }

    fn without_end(line: &[u8]) -> &[u8] {
        line.strip_suffix(b"\n").unwrap()
    }

    #[test]
    fn a_line_follows_the_one_that_it_was_chained_to_and_no_other() {
        let (first, link) = Link::START.chain(br#"{"action":"sign-token"}"#);
        let (second, last) = link.chain(br#"{"action":"read"}"#);
        let first = Parsed::of(without_end(&first)).unwrap();
        let second = Parsed::of(without_end(&second)).unwrap();
        assert!(first.follows(&Link::START));
        assert!(second.follows(&link));
        assert!(!second.follows(&Link::START));
        assert!(!first.follows(&link));
        for line in ["0", "18446744073709551615", "-1", "1.5"] {
            let text = format!(r#"{{"line":{line},"previous":"{}","action":"read"}}"#, link.hash);
            assert!(Parsed::of(text.as_bytes()).is_none(), "{line}");
        }
        assert_eq!((first.link(), second.link()), (link, last));
    }

    #[test]
    fn a_changed_line_has_another_hash() {
        let (text, link) = Link::START.chain(br#"{"action":"sign-token","sub":"alice"}"#);
        let changed = String::from_utf8(text).unwrap().replace("alice", "mallo");
        let changed = Parsed::of(changed.trim_end().as_bytes()).unwrap();
        assert_eq!(changed.link().number, link.number);
        assert_ne!(changed.link().hash, link.hash);
    }

    #[test]
    fn a_mark_cannot_be_changed_or_made_without_the_master_key() {
        let keys = master_keys();
        let (line, _) = Link::START.mark(Mark::Begin, "why", Time::EPOCH, &keys);
        let line = without_end(&line);
        let parsed = Parsed::of(line).unwrap();
        assert_eq!((parsed.mark, parsed.format), (Some(Mark::Begin), Some(FORMAT)));
        assert_eq!(parsed.reason.as_deref(), Some("why"));
        assert_eq!(parsed.check_tag(&keys), Ok(()));
        assert!(matches!(parsed.check_tag(&master_keys()), Err(SealError::OtherMasterKey { .. })));
        for index in 0..line.len() {
            let mut changed = line.to_vec();
            changed[index] ^= 1;
            assert!(check_tag(&changed, &keys).is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_caller_cannot_smuggle_a_tag_into_a_line() {
        let keys = master_keys();
        let (real, _) = Link::START.mark(Mark::Checkpoint, "why", Time::EPOCH, &keys);
        let real = String::from_utf8(real).unwrap();
        let object = serde_json::json!({"action": "sign-token", "sub": real});
        let (line, _) = Link::START.chain(&serde_json::to_vec(&object).unwrap());
        let parsed = Parsed::of(without_end(&line)).unwrap();
        assert_eq!(parsed.mark, None);
        assert!(parsed.check_tag(&keys).is_err());
    }
}
