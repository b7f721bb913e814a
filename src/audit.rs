//! The audit: one JSON line for each decision, written before the decision takes effect.
//!
//! A line is in the kernel's hands before the answer, so that a killed process loses none, and on
//! the disk within [`SYNC_WITHIN`]. Lines about administration are on the disk before the act.
//! The token itself is never written. Callers that nobody knows cannot fill the disk: they are
//! counted, and one line a minute says how many they were.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

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
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
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
    file: File,
    state: Mutex<State>,
    wake: Condvar,
    failing: AtomicBool,
    unknown_callers: AtomicU64,
}

#[derive(Default)]
struct State {
    unsynced: bool,
    stopping: bool,
    /// The last write stopped within a line.
    torn: bool,
    summary_due: Option<Duration>,
}

impl Audit {
    /// Opens the file to append, makes it with mode 0600 if it is not there.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let torn = ends_within_a_line(path)?;
        let shared = Arc::new(Shared {
            file,
            state: Mutex::new(State { torn, ..State::default() }),
            wake: Condvar::new(),
            failing: AtomicBool::new(false),
            unknown_callers: AtomicU64::new(0),
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
        if !state.unsynced {
            state.unsynced = true;
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Writes a line and waits until it is on the disk. Not for threads that serve requests.
    ///
    /// # Errors
    ///
    /// The line is not known to be on the disk, so what it says must not happen.
    pub fn record_durably(&self, line: &Line<'_>) -> Result<(), AuditError> {
        self.shared.write(&mut self.shared.lock(), line)?;
        self.shared.sync()
    }

    /// Counts a caller that nobody knows.
    pub fn count_unknown_caller(&self, now: Time) {
        self.shared.unknown_callers.fetch_add(1, Ordering::Relaxed);
        let now = now.since(Time::EPOCH);
        let mut state = self.shared.lock();
        let due = *state.summary_due.get_or_insert(now);
        if now < due {
            return;
        }
        state.summary_due = Some(now + SUMMARY_EVERY);
        let count = self.shared.unknown_callers.swap(0, Ordering::Relaxed);
        let reason = format!("{count} requests of unknown callers since the last such line");
        let time = Time::EPOCH + now;
        let mut line = Line::new(time, "unknown", "any", Decision::Refused);
        line.reason = Some(&reason);
        // A caller without a name is refused whether that can be recorded or not.
        if self.shared.write(&mut state, &line).is_ok() {
            state.unsynced = true;
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
        let mut bytes = Vec::with_capacity(256);
        if state.torn {
            bytes.push(b'\n');
        }
        serde_json::to_writer(&mut bytes, line).map_err(io::Error::from)?;
        bytes.push(b'\n');
        let written = (&self.file).write_all(&bytes);
        state.torn = written.is_err();
        self.note(written)
    }

    fn sync(&self) -> Result<(), AuditError> {
        self.note(self.file.sync_data())
    }

    fn note(&self, outcome: io::Result<()>) -> Result<(), AuditError> {
        self.failing.store(outcome.is_err(), Ordering::Relaxed);
        outcome.map_err(AuditError)
    }

    fn sync_until_stopped(&self) {
        let mut state = self.lock();
        loop {
            if state.unsynced {
                // Gather the lines of a moment, so that many share one sync.
                let moment = SYNC_WITHIN / 2;
                let waited = self.wake.wait_timeout_while(state, moment, |state| !state.stopping);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                state.unsynced = false;
                drop(state);
                if let Err(error) = self.sync() {
                    tracing::error!(%error, "the audit is not on the disk");
                }
                state = self.lock();
            } else if state.stopping {
                return;
            } else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn as_text<S: serde::Serializer>(time: &Time, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(time)
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
    fn unknown_callers_make_at_most_one_line_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        let start = Time::from_millis(1_795_000_000_000);
        for second in 0..180 {
            audit.count_unknown_caller(start + Duration::from_secs(second));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().contains("60 requests"), "{text}");
    }
}
