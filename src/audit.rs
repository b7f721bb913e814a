//! The audit: one JSON line for each decision, written before the decision takes effect.
//!
//! A line is in the kernel's hands before the answer, so that a killed process loses none, and on
//! the disk within [`SYNC_WITHIN`]. Lines about administration are on the disk before the act.
//! The token itself is never written. Callers that nobody knows cannot fill the disk: they are
//! counted, and one line a minute says how many they were.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::Time;
use serde::Serialize;

/// Within which time a line is on the disk.
pub const SYNC_WITHIN: Duration = Duration::from_millis(100);

/// How often unknown callers are summed up.
const SUMMARY_EVERY: Duration = Duration::from_mins(1);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// One line.
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
        }
    }
}

/// A line could not be written: what it says must not happen.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit: {0}")]
pub struct AuditError(#[from] io::Error);

/// The audit file and the thread that syncs it.
pub struct Audit {
    shared: Arc<Shared>,
    syncer: Option<thread::JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    /// Taken before `state` where both are.
    syncing: Mutex<()>,
    wake: Condvar,
    failing: AtomicBool,
}

struct State {
    file: Arc<File>,
    unsynced: bool,
    stopping: bool,
    end: End,
    /// How many requests of unknown callers are not summed up yet, and when the last came.
    unknown_callers: u64,
    last_unknown: Time,
}

/// What is known of the end of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is that of a line.
    Whole,
    /// The last write stopped within a line.
    Torn,
    /// The kernel may have dropped lines and report success next time: the file is opened anew, and
    /// says so, before anything else is written.
    Distrusted,
}

impl Audit {
    /// Opens the file to append, makes it with mode 0600 if it is not there.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let file = Arc::new(open_to_append(path)?);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            state: Mutex::new(State {
                file,
                unsynced: false,
                stopping: false,
                end: end_of(path)?,
                unknown_callers: 0,
                last_unknown: Time::EPOCH,
            }),
            syncing: Mutex::new(()),
            wake: Condvar::new(),
            failing: AtomicBool::new(false),
        });
        let for_thread = shared.clone();
        let syncer = thread::Builder::new()
            .name("audit-sync".into())
            .spawn(move || for_thread.sync_until_stopped())?;
        Ok(Self { shared, syncer: Some(syncer) })
    }

    /// Hands a line to the kernel. It is on the disk within [`SYNC_WITHIN`].
    ///
    /// # Errors
    ///
    /// The line was not written, so what it says must not happen.
    pub fn record(&self, line: &Line<'_>) -> Result<(), AuditError> {
        let mut state = self.shared.lock();
        self.shared.write(&mut state, line)?;
        self.shared.sync_soon(&mut state);
        Ok(())
    }

    /// Writes a line and waits until it is on the disk. Not for threads that serve requests.
    ///
    /// # Errors
    ///
    /// The line is not known to be on the disk, so what it says must not happen.
    pub fn record_durably(&self, line: &Line<'_>) -> Result<(), AuditError> {
        let file = {
            let mut state = self.shared.lock();
            self.shared.write(&mut state, line)?;
            state.file.clone()
        };
        self.shared.sync(&file)
    }

    /// Counts a request of a caller that nobody knows.
    pub fn count_unknown_caller(&self, now: Time) {
        let mut state = self.shared.lock();
        state.unknown_callers += 1;
        state.last_unknown = now;
        if state.unknown_callers == 1 {
            self.shared.wake.notify_one();
        }
    }

    /// Whether the last attempt to write or sync failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        if let Some(syncer) = self.syncer.take() {
            // A syncer that panicked has aborted the process already.
            let _ = syncer.join();
        }
    }
}

impl Shared {
    fn write(&self, state: &mut State, line: &Line<'_>) -> Result<(), AuditError> {
        let written = self.trust_again(state, line.time).and_then(|()| append(state, line));
        self.note(written)
    }

    /// Opens the file anew after a failed sync, and leaves a line about it.
    fn trust_again(&self, state: &mut State, now: Time) -> io::Result<()> {
        if state.end != End::Distrusted {
            return Ok(());
        }
        let file = open_to_append(&self.path)?;
        file.sync_all()?;
        let end = end_of(&self.path)?;
        state.file = Arc::new(file);
        state.end = end;
        let mut gap = Line::new(now, "jwksd", "audit", Decision::Failed);
        gap.reason = Some("a sync failed here: lines before this one may be missing");
        append(state, &gap).inspect_err(|_| state.end = End::Distrusted)
    }

    /// Syncs what was written to `file`. One at a time: the kernel tells of a failure only once, and
    /// everyone whose lines it took must hear of it.
    fn sync(&self, file: &Arc<File>) -> Result<(), AuditError> {
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut synced = file.sync_data();
        let mut state = self.lock();
        if synced.is_err() {
            state.end = End::Distrusted;
        } else if state.end == End::Distrusted || !Arc::ptr_eq(&state.file, file) {
            synced = Err(io::Error::other("an earlier sync failed"));
        }
        self.note(synced)
    }

    fn sync_soon(&self, state: &mut State) {
        if !state.unsynced {
            state.unsynced = true;
            self.wake.notify_one();
        }
    }

    fn note(&self, outcome: io::Result<()>) -> Result<(), AuditError> {
        self.failing.store(outcome.is_err(), Ordering::Relaxed);
        outcome.map_err(AuditError)
    }

    #[expect(clippy::disallowed_methods, reason = "paces a summary; nothing is decided by it")]
    fn sync_until_stopped(&self) {
        let mut summed_up = Instant::now();
        let mut state = self.lock();
        loop {
            if state.unsynced {
                // Gather the lines of a moment, so that many share one sync.
                state = self.wait(state, SYNC_WITHIN / 2);
                state.unsynced = false;
                let file = state.file.clone();
                drop(state);
                if let Err(error) = self.sync(&file) {
                    tracing::error!(%error, "the audit is not on the disk");
                }
                state = self.lock();
            } else if state.unknown_callers > 0 {
                let waited = summed_up.elapsed();
                if waited >= SUMMARY_EVERY || state.stopping {
                    self.sum_up(&mut state);
                    summed_up = Instant::now();
                } else {
                    state = self.wait(state, SUMMARY_EVERY.saturating_sub(waited));
                }
            } else if state.stopping {
                return;
            } else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits for a while, or until a line is to be synced, or the end.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, span: Duration) -> MutexGuard<'a, State> {
        let is_syncing = state.unsynced;
        let quiet = |state: &mut State| !state.stopping && state.unsynced == is_syncing;
        let waited = self.wake.wait_timeout_while(state, span, quiet);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// One line for all unknown callers of a while.
    fn sum_up(&self, state: &mut State) {
        let count = std::mem::take(&mut state.unknown_callers);
        let reason = format!("{count} requests of unknown callers");
        let mut line = Line::new(state.last_unknown, "unknown", "any", Decision::Refused);
        line.reason = Some(&reason);
        // A caller without a name is refused whether that can be recorded or not.
        if self.write(state, &line).is_ok() {
            state.unsynced = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(state: &mut State, line: &Line<'_>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(256);
    if state.end == End::Torn {
        bytes.push(b'\n');
    }
    let line = Line { sub: line.sub.map(cut), reason: line.reason.map(cut), ..line.clone() };
    serde_json::to_writer(&mut bytes, &line)?;
    bytes.push(b'\n');
    let written = state.file.as_ref().write_all(&bytes);
    state.end = if written.is_ok() { End::Whole } else { End::Torn };
    written
}

fn open_to_append(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if is_new {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

fn end_of(path: &Path) -> io::Result<End> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(End::Whole);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(if last == *b"\n" { End::Whole } else { End::Torn })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn as_text<S: serde::Serializer>(time: &Time, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(time)
}

/// What callers send is cut, so that nobody fills the disk with a few requests.
const LONGEST_TEXT: usize = 1000;
const LONGEST_LIST: usize = 16;

fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST_TEXT).map_or(text, |(end, _)| &text[..end])
}

fn short_list<S: serde::Serializer>(list: &[String], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(list.iter().take(LONGEST_LIST).map(|text| cut(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(caller: &str) -> Line<'_> {
        Line::new(Time::from_millis(1_795_000_000_000), caller, "sign-token", Decision::Allowed)
    }

    #[test]
    fn a_line_is_in_the_file_when_record_returns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        audit.record(&line("shop")).unwrap();
        audit.record_durably(&line("a\"\nb")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["caller"], "shop");
        assert_eq!(lines[0]["time"], "2026-11-18T11:06:40Z");
        assert_eq!(lines[1]["caller"], "a\"\nb");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_file_that_ends_within_a_line_is_continued_on_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, "{\"torn\":").unwrap();
        Audit::open(&path).unwrap().record(&line("shop")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("{\"torn\":"));
        assert!(serde_json::from_str::<serde_json::Value>(text.lines().nth(1).unwrap()).is_ok());
    }

    #[test]
    fn the_file_is_for_the_daemon_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let _audit = Audit::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_is_an_error_and_shows() {
        let audit = Audit::open(Path::new("/dev/full")).unwrap();
        assert!(audit.record(&line("shop")).is_err());
        assert!(audit.is_failing());
    }

    #[test]
    fn unknown_callers_are_all_counted_in_one_line_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        for _ in 0..50 {
            audit.count_unknown_caller(Time::from_millis(1_795_000_000_000));
        }
        // The minute is cut short by the end of the process.
        drop(audit);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\"50 requests of unknown callers\""), "{text}");
    }

    #[test]
    fn after_a_failed_sync_the_file_is_opened_anew_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        audit.record(&line("before")).unwrap();
        audit.shared.lock().end = End::Distrusted;
        audit.record_durably(&line("after")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("lines before this one may be missing"), "{text}");
    }

    #[test]
    fn what_callers_send_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let (long, many) = ("ü".repeat(60_000), vec!["x".repeat(5000); 100]);
        let line = Line { sub: Some(&long), reason: Some(&long), aud: &many, ..line("shop") };
        Audit::open(&path).unwrap().record(&line).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 25_000);
    }
}
