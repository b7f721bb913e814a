//! What became of keys since a line of the audit: what a restore has to know, and the backup does not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::Departure;
use jwksd_keystore::store::backup::AuditLine;
use jwksd_keystore::time::Time;
use serde::Deserialize;

use super::chain::{Hash, Link, Mark, Parsed};
use super::events::{Event, KeyEvent};
use super::rows::{self, Row};
use super::verify::{Against, verify_against};
use super::{Decision, INCIDENT, files};

/// What the audit tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Why nothing is known of the time since; what is told of keys all the same may lack some, and
    /// may be forged.
    pub unknown: Option<String>,
    /// What became of which keys.
    pub keys: BTreeMap<(KeysetName, KeyId), Fate>,
    /// Why something may be missing although the audit is whole.
    pub gaps: Vec<&'static str>,
}

/// What became of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// When it was made.
    pub created: Option<Time>,
    /// When it stopped to sign, and its secret was erased.
    pub ended: Option<Time>,
    /// Why and when it left.
    pub left: Option<(Departure, Time)>,
    /// When it was revoked, and what the admin gave as the reason.
    pub revoked: Option<(Time, Option<String>)>,
}

/// What the gate and the rotator say in a line.
#[derive(Deserialize)]
struct Said {
    line: u64,
    time: String,
    action: String,
    decision: Decision,
    keyset: Option<KeysetName>,
    reason: Option<String>,
    request_id: Option<String>,
    #[serde(default)]
    keys: Vec<KeyEvent>,
    #[serde(default)]
    keys_left_out: u64,
}

const LEFT_OUT: &str = "a line of the audit names more keys than it has room for";
const NOT_SHOWN: &str = "the last lines of the audit that name keys are not shown to be written by jwksd, \
                         and of what they say revocations alone are heeded";
const NOT_FOLLOWED: &str = "not all lines of the audit hang together (see jwksd audit verify)";
const UNRECORDED: &str = "the audit says that decisions took effect without being recorded";

/// Reads the audit at `path`, and tells what became of keys after a line of it.
///
/// # Errors
///
/// When a file cannot be read.
pub fn read(path: &Path, line: Option<&AuditLine>, against: Against<'_>) -> io::Result<Since> {
    // Reading from a pipe would wait for whoever writes to it.
    if path.try_exists()? && !path.is_file() {
        let unknown = Some(format!("the audit at {} is no file", path.display()));
        return Ok(Since { unknown, ..Since::default() });
    }
    let sought =
        line.and_then(|line| Some(Link { number: line.line, hash: Hash::parse(&line.hash)? }));
    let report = verify_against(path, Against { sought, ..against })?;
    let unknown = if report.files.is_empty() {
        Some(format!("there is no audit at {}", path.display()))
    } else if let Some(damage) = report.damage.first() {
        Some(format!("the audit was changed: {} (jwksd audit verify names all)", damage.what))
    } else if report.has_sought {
        None
    } else {
        Some(match line {
            Some(line) => {
                format!("the audit does not hold line {}, the last before the backup", line.line)
            }
            None => "the backup names no line of the audit".to_owned(),
        })
    };
    let known = sought.filter(|_| unknown.is_none());
    if let Some(line) = known {
        let (from, authentic_to) = (Some(line.number), report.authentic_to);
        let mut reader = Reader { from, authentic_to, ..Reader::default() };
        reader.all(path)?;
        if reader.link.is_some_and(|link| link.number >= authentic_to) {
            return Ok(reader.finish());
        }
    }
    let unknown = Some(unknown.unwrap_or_else(|| NOT_FOLLOWED.to_owned()));
    let mut reader = Reader { authentic_to: u64::MAX, ..Reader::default() };
    reader.all(path)?;
    Ok(Since { unknown, ..reader.finish() })
}

/// What is known after the lines that were read.
#[derive(Default)]
struct Reader {
    since: Since,
    /// The last line before the backup. Without it all rows are read, be they lines of the chain or not.
    from: Option<u64>,
    /// Up to which line nobody but jwksd can have written.
    authentic_to: u64,
    /// The last line of the chain.
    link: Option<Link>,
    /// Whether it says that jwksd stopped: then only a mark can follow.
    is_stopped: bool,
    /// What was about to be committed, by key set, where no outcome was read yet.
    open: BTreeMap<KeysetName, (Vec<KeyEvent>, Time)>,
    /// What admins gave as the reason, by request.
    reasons: BTreeMap<String, String>,
}

impl Reader {
    fn all(&mut self, audit: &Path) -> io::Result<()> {
        for path in files::all(audit)? {
            self.file(File::open(path)?)?;
        }
        Ok(())
    }

    fn file(&mut self, file: File) -> io::Result<()> {
        let (mut reader, mut text) = (BufReader::new(file), Vec::new());
        while let Some((row, _)) = rows::next(&mut reader, &mut text)? {
            let parsed = if row == Row::Whole { Parsed::of(&text) } else { None };
            let Some(parsed) = parsed else { continue };
            // Anybody can have written what jwksd passed over as the remnant of a crash.
            let is_read = self.from.is_none() || self.goes_on_with(&parsed);
            if !is_read || parsed.mark.is_some() {
                continue;
            }
            // What is not a line of this form says nothing of keys.
            match serde_json::from_slice::<Said>(&text) {
                Ok(said) if said.line > self.from.unwrap_or(0) => self.line(said),
                Ok(said) => self.line_before(said),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn goes_on_with(&mut self, parsed: &Parsed<'_>) -> bool {
        let follows = self.link.is_none_or(|link| parsed.follows(&link));
        let is_next = follows && (parsed.mark.is_some() || !self.is_stopped);
        if is_next {
            self.link = Some(parsed.link());
            self.is_stopped = parsed.mark == Some(Mark::Stop);
        }
        is_next
    }

    /// All that was done before the backup is in it. What was about to be committed may not be, nor a
    /// revocation that was in effect and not durable yet.
    fn line_before(&mut self, said: Said) {
        if said.action == INCIDENT {
            return;
        }
        let Ok(time) = said.time.parse() else { return };
        self.remember_reason(&said);
        let asked = self.reasons.get(said.request_id.as_deref().unwrap_or_default()).cloned();
        let Some(keyset) = said.keyset else { return };
        match said.decision {
            Decision::Intent => drop(self.open.insert(keyset, (said.keys, time))),
            Decision::Done => {
                self.open.remove(&keyset);
                for KeyEvent { kid, .. } in said.keys {
                    self.since.keys.remove(&(keyset.clone(), kid));
                }
            }
            Decision::Failed => {
                self.open.remove(&keyset);
                self.revoked(&keyset, said.keys, time, asked.as_ref());
            }
            Decision::Allowed | Decision::Refused => {}
        }
    }

    fn line(&mut self, said: Said) {
        if said.action == INCIDENT {
            return;
        }
        let Ok(time) = said.time.parse() else { return };
        if said.keys_left_out > 0 {
            self.gap(LEFT_OUT);
        }
        if said.action == "audit" && said.decision == Decision::Failed {
            self.gap(UNRECORDED);
        }
        self.remember_reason(&said);
        let request = said.request_id.unwrap_or_default();
        let Some(keyset) = said.keyset else { return };
        let asked = self.reasons.get(&request).cloned();
        if said.line > self.authentic_to {
            if !said.keys.is_empty() {
                self.gap(NOT_SHOWN);
            }
            return self.revoked(&keyset, said.keys, time, asked.as_ref());
        }
        match said.decision {
            Decision::Intent => {
                // A revocation holds from the moment that it was asked for.
                self.revoked(&keyset, said.keys.clone(), time, asked.as_ref());
                let before = self.open.insert(keyset.clone(), (said.keys, time));
                // Without an outcome it may have been committed.
                if let Some((keys, time)) = before {
                    self.happened(&keyset, &keys, time, None);
                }
            }
            Decision::Done | Decision::Failed => {
                self.open.remove(&keyset);
                self.happened(&keyset, &said.keys, time, asked.as_ref());
            }
            Decision::Allowed | Decision::Refused => {}
        }
    }

    fn remember_reason(&mut self, said: &Said) {
        let is_revocation = said.action.starts_with("revoke");
        if let Some(reason) = said.reason.as_ref().filter(|_| is_revocation)
            && said.decision == Decision::Allowed
        {
            let request = said.request_id.clone().unwrap_or_default();
            self.reasons.insert(request, reason.clone());
        }
    }

    /// Of what is said, revocations alone are heeded.
    fn revoked(
        &mut self,
        keyset: &KeysetName,
        mut keys: Vec<KeyEvent>,
        time: Time,
        reason: Option<&String>,
    ) {
        keys.retain(|key| key.event.is_revocation());
        self.happened(keyset, &keys, time, reason);
    }

    fn happened(
        &mut self,
        keyset: &KeysetName,
        keys: &[KeyEvent],
        time: Time,
        reason: Option<&String>,
    ) {
        for KeyEvent { kid, event } in keys {
            let fate = self.since.keys.entry((keyset.clone(), kid.clone())).or_default();
            match event {
                Event::Created => fate.created = Some(time),
                Event::Ended => fate.ended = Some(time),
                Event::Retired | Event::RetiredEarly | Event::Replaced | Event::Revoked => {
                    let departure = event.departure().map(|departure| (departure, time));
                    fate.left = fate.left.or(departure);
                }
                Event::Marked => {}
            }
            if event.is_revocation() && fate.revoked.is_none() {
                fate.revoked = Some((time, reason.cloned()));
            }
        }
    }

    fn gap(&mut self, gap: &'static str) {
        if !self.since.gaps.contains(&gap) {
            self.since.gaps.push(gap);
        }
    }

    fn finish(mut self) -> Since {
        for (keyset, (keys, time)) in std::mem::take(&mut self.open) {
            self.happened(&keyset, &keys, time, None);
        }
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Line;
    use crate::audit::tests::{NOW, Place, copy_all};

    fn set() -> KeysetName {
        "default".parse().unwrap()
    }

    fn event(kid: &str, event: Event) -> KeyEvent {
        KeyEvent { kid: kid.parse().unwrap(), event }
    }

    /// What is told after these lines were written, from the first of them on.
    fn told(lines: &[(&str, Decision, Option<&str>, &[KeyEvent])]) -> Since {
        let (place, keyset) = (Place::new(), set());
        let audit = place.open();
        let first = Line::new(NOW, "local", "store-backup", Decision::Intent);
        let (_, at) = audit.record_durably_at(&first).unwrap();
        for (action, decision, reason, keys) in lines {
            let line = Line {
                keyset: Some(&keyset),
                reason: *reason,
                keys,
                request_id: Some("1-1"),
                ..Line::new(NOW, "local", action, *decision)
            };
            audit.record_durably(&line).unwrap();
        }
        let at = at.unwrap();
        let line = AuditLine { line: at.number, hash: at.hash.to_string() };
        let against = Against { master_keys: Some(&place.keys), ..Against::default() };
        let since = read(&place.path(), Some(&line), against).unwrap();
        assert_eq!(since.unknown, None);
        since
    }

    #[test]
    fn a_revocation_that_was_about_to_be_committed_when_the_backup_was_made_is_told() {
        let (place, keyset) = (Place::new(), set());
        let audit = place.open();
        let record = |decision, reason, keys: &[KeyEvent]| {
            let line = Line {
                keyset: Some(&keyset),
                reason,
                keys,
                request_id: Some("1-1"),
                ..Line::new(NOW, "local", "revoke", decision)
            };
            audit.record_durably(&line).unwrap();
        };
        // This one is over, and in the backup.
        record(Decision::Intent, None, &[event("before", Event::Revoked)]);
        record(Decision::Done, None, &[event("before", Event::Revoked)]);
        record(Decision::Allowed, Some("lost laptop"), &[]);
        record(Decision::Intent, None, &[event("stolen", Event::Revoked)]);
        let backup = Line::new(NOW, "local", "store-backup", Decision::Intent);
        let (_, at) = audit.record_durably_at(&backup).unwrap();
        let at = at.unwrap();
        let line = AuditLine { line: at.number, hash: at.hash.to_string() };
        let told = || {
            let against = Against { master_keys: Some(&place.keys), ..Against::default() };
            read(&place.path(), Some(&line), against).unwrap()
        };
        // Then the power failed.
        assert_eq!(fate(&told(), "stolen").revoked, Some((NOW, None)));
        record(Decision::Done, None, &[event("stolen", Event::Revoked)]);
        let reason = Some("lost laptop".to_owned());
        assert_eq!(fate(&told(), "stolen").revoked, Some((NOW, reason)));
        assert_eq!(fate(&told(), "before"), Fate::default());
    }

    #[test]
    fn a_revocation_that_was_in_effect_and_not_durable_when_the_backup_was_made_is_told() {
        let (place, keyset) = (Place::new(), set());
        let audit = place.open();
        let stolen = |kid| [event(kid, Event::Revoked)];
        for (decision, reason, keys) in [
            (Decision::Allowed, "lost laptop", &[][..]),
            (Decision::Intent, "revoke", &stolen("stolen")),
            (Decision::Failed, "the disk is full", &stolen("stolen")),
            // This one became durable before the backup.
            (Decision::Failed, "the disk is full", &stolen("before")),
            (Decision::Done, "revoke", &stolen("before")),
        ] {
            let line = Line {
                keyset: Some(&keyset),
                reason: Some(reason),
                keys,
                request_id: Some("1-1"),
                ..Line::new(NOW, "local", "revoke", decision)
            };
            audit.record_durably(&line).unwrap();
        }
        let backup = Line::new(NOW, "local", "store-backup", Decision::Intent);
        let at = audit.record_durably_at(&backup).unwrap().1.unwrap();
        let line = AuditLine { line: at.number, hash: at.hash.to_string() };
        let against = Against { master_keys: Some(&place.keys), ..Against::default() };
        let since = read(&place.path(), Some(&line), against).unwrap();
        let reason = Some("lost laptop".to_owned());
        assert_eq!(fate(&since, "stolen").revoked, Some((NOW, reason)));
        assert_eq!(fate(&since, "before"), Fate::default());
    }

    /// Whoever may write the file, without the master key.
    #[test]
    fn what_was_added_to_the_audit_ends_no_key_and_hides_no_revocation() {
        let (place, keyset) = (Place::new(), set());
        let revoked = [event("stolen", Event::Revoked)];
        let about = |decision, keys| Line {
            keyset: Some(&keyset),
            keys,
            ..Line::new(NOW, "local", "revoke", decision)
        };
        let line = {
            let audit = place.open();
            let backup = Line::new(NOW, "local", "store-backup", Decision::Intent);
            let at = audit.record_durably_at(&backup).unwrap().1.unwrap();
            audit.record_durably(&about(Decision::Done, &revoked)).unwrap();
            AuditLine { line: at.number, hash: at.hash.to_string() }
        };
        let against = Against { master_keys: Some(&place.keys), ..Against::default() };
        let told = || read(&place.path(), Some(&line), against).unwrap();
        let whole = place.rows();
        // In the place of every line, and at the end.
        let ended = [event("signer", Event::Retired), event("other", Event::Ended)];
        for rows in 1..=whole.len() {
            let last = Parsed::of(whole[rows - 1].as_bytes()).unwrap().link();
            let object = about(Decision::Done, &ended).object().unwrap();
            let forged = String::from_utf8(last.chain(&object).0).unwrap();
            let forged = vec![forged.trim_end().to_owned()];
            // As after a crash: without the mark that says that jwksd stopped.
            for end in [&[][..], &whole[whole.len() - 1..]] {
                let cut = &whole[..whole.len() - end.len()];
                let at = rows.min(cut.len());
                place.put(&[&cut[..at], &forged, &cut[at..], end].concat());
                let since = told();
                let is_told = since.unknown.is_some();
                assert!(is_told || fate(&since, "signer") == Fate::default(), "{rows}: {since:?}");
                assert!(fate(&since, "stolen").revoked.is_some(), "{rows}: {since:?}");
            }
        }
    }

    #[test]
    fn lines_that_may_be_forged_are_told() {
        let (place, keyset) = (Place::new(), set());
        let line = {
            let audit = place.open();
            let backup = Line::new(NOW, "local", "store-backup", Decision::Intent);
            let at = audit.record_durably_at(&backup).unwrap().1.unwrap();
            let killed = tempfile::tempdir().unwrap();
            copy_all(place.dir.path(), killed.path());
            drop(audit);
            copy_all(killed.path(), place.dir.path());
            AuditLine { line: at.number, hash: at.hash.to_string() }
        };
        let mut rows = place.rows();
        let last = Parsed::of(rows.last().unwrap().as_bytes()).unwrap().link();
        let keys = [event("signer", Event::Retired), event("stolen", Event::Revoked)];
        let forged = Line {
            keyset: Some(&keyset),
            keys: &keys,
            ..Line::new(NOW, "jwksd", "schedule", Decision::Done)
        };
        let (text, _) = last.chain(&forged.object().unwrap());
        rows.push(String::from_utf8(text).unwrap().trim_end().to_owned());
        place.put(&rows);
        let against = Against { master_keys: Some(&place.keys), ..Against::default() };
        let since = read(&place.path(), Some(&line), against).unwrap();
        assert_eq!((&since.unknown, &since.gaps), (&None, &vec![NOT_SHOWN]));
        assert_eq!(fate(&since, "signer"), Fate::default());
        assert!(fate(&since, "stolen").revoked.is_some());
    }

    fn fate(since: &Since, kid: &str) -> Fate {
        since.keys.get(&(set(), kid.parse().unwrap())).cloned().unwrap_or_default()
    }

    #[test]
    fn what_was_done_is_told_and_what_was_not_done_is_not() {
        let [made, ended] = [event("made", Event::Created), event("old", Event::Ended)];
        let keys = [made, ended];
        let done = told(&[
            ("schedule", Decision::Intent, None, &keys),
            ("schedule", Decision::Done, None, &keys),
        ]);
        assert_eq!(fate(&done, "made").created, Some(NOW));
        assert_eq!(fate(&done, "old").ended, Some(NOW));
        let failed = told(&[
            ("schedule", Decision::Intent, None, &keys),
            ("schedule", Decision::Failed, None, &[]),
        ]);
        assert_eq!(failed.keys, BTreeMap::new());
    }

    #[test]
    fn an_intent_without_an_outcome_may_have_been_carried_out() {
        let [made, later] = [event("made", Event::Created), event("later", Event::Created)];
        let since = told(&[
            ("schedule", Decision::Intent, None, &[made]),
            ("schedule", Decision::Intent, None, std::slice::from_ref(&later)),
        ]);
        assert_eq!(fate(&since, "made").created, Some(NOW));
        assert_eq!(fate(&since, "later").created, Some(NOW));
    }

    #[test]
    fn what_a_revoked_key_had_signed_is_no_outcome_of_a_commit() {
        let since = told(&[
            ("schedule", Decision::Intent, None, &[event("made", Event::Created)]),
            (INCIDENT, Decision::Done, Some("signed 3 tokens"), &[]),
        ]);
        assert_eq!(fate(&since, "made").created, Some(NOW));
    }

    #[test]
    fn a_revocation_holds_from_its_intent_on_and_has_the_reason_of_its_request() {
        let revoked = [event("stolen", Event::Revoked), event("next", Event::Ended)];
        let since = told(&[
            ("revoke", Decision::Allowed, Some("lost laptop"), &[]),
            ("revoke", Decision::Intent, Some("stolen revoked"), &revoked),
            ("revoke", Decision::Failed, Some("stolen revoked: the disk is full"), &[]),
        ]);
        let stolen = fate(&since, "stolen");
        assert_eq!(stolen.revoked, Some((NOW, Some("lost laptop".to_owned()))));
        assert_eq!(fate(&since, "next"), Fate::default());
        let marked = told(&[("revoke", Decision::Done, None, &[event("gone", Event::Marked)])]);
        assert_eq!(fate(&marked, "gone").revoked, Some((NOW, None)));
        assert_eq!(fate(&marked, "gone").left, None);
    }

    #[test]
    fn what_may_be_missing_is_told() {
        let unrecorded = told(&[("audit", Decision::Failed, None, &[])]);
        assert_eq!(unrecorded.gaps, [UNRECORDED]);
        let many = vec![event("k", Event::Created); 4001];
        let cut = told(&[("schedule", Decision::Done, None, &many)]);
        assert_eq!(cut.gaps, [LEFT_OUT]);
    }

    #[test]
    fn an_audit_that_is_no_file_is_not_read() {
        let since = read(Path::new("/dev/null"), None, Against::default()).unwrap();
        assert_eq!(since.unknown.as_deref(), Some("the audit at /dev/null is no file"));
    }
}
