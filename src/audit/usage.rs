//! PURE but for [`read`]: what the audit says that keys signed, for whom, and until when it is good.
//!
//! Lines are counted from the newest back, so that what is known of a long audit after a short time is
//! what matters most. A line says that a token was allowed, and is written before the signature: a count
//! may be too high by what a crash or a failure kept from being signed. Whether lines are as jwksd wrote
//! them, [`super::verify`] tells, not this.

mod names;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::Time;
use memchr::{memchr, memmem};
use serde::Deserialize;

pub use self::names::{Names, Tally};
use super::events::{Event, KeyEvent};
use super::newest::Newest;
use super::rows::Row;

/// How many exports are named one by one, the newest first.
const MOST_EXPORTS: usize = 20;

/// After how many rows it is asked whether to go on.
const PAUSE: u64 = 512;

/// The latest `exp` that is an instant: the end of the year 9999.
const LATEST: u64 = 253_402_300_799;

/// How many audiences a line names at most.
const AUDIENCES_OF_A_LINE: usize = 16;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Of which key set.
    pub keyset: &'a KeysetName,
    /// Of which keys.
    pub keys: &'a [Asked],
    /// At which time, by the wall clock.
    pub now: Time,
}

/// A key that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its kid.
    pub kid: KeyId,
    /// Whether its kid cannot have been another's before.
    pub birth: Birth,
}

/// Whether the line about the making of a key is the first that can be about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// It is: the key was made here, and nothing of it was before.
    Here,
    /// The key came from elsewhere, and may have been here before, in a store that was lost.
    Elsewhere,
}

/// What the audit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What it says of each key.
    pub keys: BTreeMap<KeyId, OfKey>,
    /// How much of it was read.
    pub read: Read,
}

/// What the audit says of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfKey {
    /// How many tokens it was allowed to sign.
    pub tokens: Tally,
    /// How many of them have not expired.
    pub unexpired: u64,
    /// The same for each caller.
    pub callers: Names,
    /// The same for each audience; a token may have several, or none.
    pub audiences: Names,
    /// How many tokens may have more audiences than their lines name.
    pub shortened: u64,
    /// How often it, or the whole JWK Set, was exported.
    pub exported: u64,
    /// The newest of these exports.
    pub exports: Vec<Exported>,
    /// Whether its making was read: nothing before is about it.
    pub is_from_birth: bool,
}

/// A public key that was given to someone who holds it himself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// When.
    pub time: Time,
    /// To which caller.
    pub caller: String,
    /// In which form.
    pub form: String,
}

/// How much was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// How many lines.
    pub lines: u64,
    /// The number and the time of the oldest of them.
    pub oldest: Option<(u64, Time)>,
    /// How many rows are no lines.
    pub unreadable: u64,
    /// How many numbers of lines are missing between the newest and the oldest.
    pub missing: u64,
    /// How many decisions of any kind, by the audit's own word, took effect without a line.
    pub unrecorded: u64,
    /// How many backups of the store were made.
    pub backups: u64,
    /// When the newest of them was made.
    pub last_backup: Option<Time>,
    /// Why no more was read.
    pub end: End,
}

/// Why no more was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// There is no more.
    #[default]
    Beginning,
    /// Nothing before is about the keys.
    Birth,
    /// There was no time for more.
    Interrupted,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Said<'a> {
    time: &'a str,
    #[serde(borrow)]
    caller: Cow<'a, str>,
    action: &'a str,
    decision: &'a str,
    keyset: Option<&'a str>,
    kid: Option<&'a str>,
    #[serde(borrow, default)]
    aud: Vec<Text<'a>>,
    exp: Option<u64>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(default)]
    keys: Vec<KeyEvent>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the audit at `path` from its end back, until all is known or `may_go_on` says no.
///
/// # Errors
///
/// When a file cannot be read.
pub fn read(
    path: &Path,
    question: Question<'_>,
    mut may_go_on: impl FnMut() -> bool,
) -> io::Result<Usage> {
    let (mut newest, mut counter) = (Newest::of(path)?, Counter::new(question));
    let mut rows = 0_u64;
    loop {
        if rows.is_multiple_of(PAUSE) && !may_go_on() {
            return Ok(counter.finish(End::Interrupted));
        }
        let Some(row) = newest.next()? else { return Ok(counter.finish(End::Beginning)) };
        match row {
            Row::Whole => counter.row(newest.text()),
            Row::TooLong => counter.unreadable(),
            // It is being written.
            Row::Unfinished => {}
        }
        if counter.knows_all() {
            return Ok(counter.finish(End::Birth));
        }
        rows += 1;
    }
}

/// What is known after the rows that were counted, the newest first.
pub struct Counter<'a> {
    question: Question<'a>,
    of_keyset: memmem::Finder<'static>,
    unrecorded: memmem::Finder<'static>,
    backups: memmem::Finder<'static>,
    usage: Usage,
    /// The number of the oldest line, and how its time is written.
    oldest: Option<(u64, Vec<u8>)>,
}

impl<'a> Counter<'a> {
    /// Nothing is known.
    #[must_use]
    pub fn new(question: Question<'a>) -> Self {
        let keys = question.keys.iter().map(|key| (key.kid.clone(), OfKey::default())).collect();
        // Quotes within texts are escaped: so it is a member, wherever it stands.
        let finder = |text: &str| memmem::Finder::new(text.as_bytes()).into_owned();
        Self {
            of_keyset: finder(&format!(r#","keyset":"{}","#, question.keyset)),
            unrecorded: finder(r#","action":"audit","decision":"failed","#),
            backups: finder(r#","action":"store-backup","decision":"done","#),
            question,
            usage: Usage { keys, read: Read::default() },
            oldest: None,
        }
    }

    /// Counts a row that is older than all before, given without its end.
    pub fn row(&mut self, row: &[u8]) {
        let Some((number, time)) = head(row) else { return self.unreadable() };
        self.at(number, time);
        if self.of_keyset.find(row).is_some() {
            if self.is_about_keys(row) {
                self.parsed(row, |counter, said| counter.of_keyset(&said));
            }
        } else if self.unrecorded.find(row).is_some() {
            self.parsed(row, |counter, said| counter.unrecorded(&said));
        } else if self.backups.find(row).is_some() {
            self.parsed(row, |counter, said| counter.backup(&said));
        }
    }

    /// Counts a row that is no line.
    pub fn unreadable(&mut self) {
        self.usage.read.unreadable += 1;
    }

    /// Whether nothing older is about the keys.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        self.usage.keys.values().all(|key| key.is_from_birth)
    }

    /// What is known.
    #[must_use]
    pub fn finish(mut self, end: End) -> Usage {
        let time = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        self.usage.read.oldest =
            self.oldest.and_then(|(number, text)| Some((number, time(&text)?)));
        self.usage.read.end = end;
        self.usage
    }

    /// The line's place: numbers that are passed over are missing. After a crash, numbers may come
    /// twice.
    fn at(&mut self, number: u64, time: &[u8]) {
        self.usage.read.lines += 1;
        let (oldest, text) = self.oldest.get_or_insert_with(|| (number, Vec::new()));
        if number < *oldest {
            self.usage.read.missing += *oldest - number - 1;
        }
        *oldest = number.min(*oldest);
        text.clear();
        text.extend_from_slice(time);
    }

    /// Whether a line of the key set can be about one of the keys, or about all.
    fn is_about_keys(&self, row: &[u8]) -> bool {
        const KID: &[u8] = br#""kid":""#;
        let rest = self.of_keyset.find(row).map_or(row, |at| &row[at..]);
        let rest = &rest[self.of_keyset.needle().len().min(rest.len())..];
        let Some(kid) = rest.strip_prefix(KID) else { return true };
        let kid = memchr(b'"', kid).map_or(kid, |end| &kid[..end]);
        self.question.keys.iter().any(|key| key.kid.as_str().as_bytes() == kid)
    }

    fn parsed(&mut self, row: &[u8], then: impl FnOnce(&mut Self, Said<'_>)) {
        match serde_json::from_slice(row) {
            Ok(said) => then(self, said),
            Err(_) => self.unreadable(),
        }
    }

    fn of_keyset(&mut self, said: &Said<'_>) {
        if said.keyset != Some(self.question.keyset.as_str()) {
            return;
        }
        let Ok(time) = said.time.parse() else { return self.unreadable() };
        match (said.action, said.decision) {
            ("sign-token", "allowed") => self.signed(said, time),
            ("export", "allowed") => self.exported(said, time),
            (_, "intent" | "done") => self.made(&said.keys),
            _ => {}
        }
    }

    fn signed(&mut self, said: &Said<'_>, time: Time) {
        let Some(exp) = said.exp.filter(|exp| *exp <= LATEST) else { return self.unreadable() };
        let Some(key) = of(&mut self.usage.keys, said.kid) else { return };
        let expires = Time::from_millis(exp * 1000);
        key.tokens.count(time, expires);
        key.unexpired += u64::from(expires > self.question.now);
        key.callers.count(Some(&said.caller), time, expires);
        let mut audiences: Vec<&str> = said.aud.iter().map(|Text(name)| name.as_ref()).collect();
        key.shortened += u64::from(audiences.len() >= AUDIENCES_OF_A_LINE);
        audiences.sort_unstable();
        audiences.dedup();
        if audiences.is_empty() {
            key.audiences.count(None, time, expires);
        }
        for audience in audiences {
            key.audiences.count(Some(audience), time, expires);
        }
    }

    /// An export of one key, or of the whole JWK Set.
    fn exported(&mut self, said: &Said<'_>, time: Time) {
        let form = said.reason.as_deref().unwrap_or_default();
        let form = form.strip_prefix("as ").unwrap_or(form).to_owned();
        let export = Exported { time, caller: said.caller.clone().into_owned(), form };
        let is_meant = |kid: &KeyId| said.kid.is_none_or(|meant| kid.as_str() == meant);
        for (_, key) in self.usage.keys.iter_mut().filter(|(kid, _)| is_meant(kid)) {
            key.exported += 1;
            if key.exports.len() < MOST_EXPORTS {
                key.exports.push(export.clone());
            }
        }
    }

    fn made(&mut self, keys: &[KeyEvent]) {
        for KeyEvent { kid, .. } in keys.iter().filter(|key| key.event == Event::Created) {
            let is_born = |key: &&Asked| key.kid == *kid && key.birth == Birth::Here;
            if self.question.keys.iter().any(|key| is_born(&key))
                && let Some(key) = self.usage.keys.get_mut(kid)
            {
                key.is_from_birth = true;
            }
        }
    }

    fn unrecorded(&mut self, said: &Said<'_>) {
        let reason = said.reason.as_deref().unwrap_or_default();
        let count = reason.split(' ').next().and_then(|count| count.parse().ok());
        self.usage.read.unrecorded = self.usage.read.unrecorded.saturating_add(count.unwrap_or(1));
    }

    fn backup(&mut self, said: &Said<'_>) {
        let read = &mut self.usage.read;
        read.backups += 1;
        read.last_backup = read.last_backup.max(said.time.parse().ok());
    }
}

fn of<'k>(keys: &'k mut BTreeMap<KeyId, OfKey>, kid: Option<&str>) -> Option<&'k mut OfKey> {
    let kid = KeyId::try_from(kid?.to_owned()).ok()?;
    keys.get_mut(&kid)
}

/// The number and the time of a line, which every line has at its beginning; nothing of another row.
fn head(row: &[u8]) -> Option<(u64, &[u8])> {
    const HASH: usize = 43;
    let rest = row.strip_prefix(br#"{"line":"#)?;
    let (number, rest) = rest.split_at(memchr(b',', rest)?);
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    let rest = rest.strip_prefix(br#","previous":""#)?.get(HASH..)?;
    let rest = rest.strip_prefix(br#"","time":""#)?;
    let time = &rest[..memchr(b'"', rest)?];
    row.ends_with(b"}").then_some((number, time))
}

#[cfg(test)]
mod tests;
