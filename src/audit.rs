//! The audit: one JSON line for each decision, written before the decision takes effect.
//!
//! A line is in the kernel's hands before the answer, so that a killed process loses none, and on
//! the disk within [`SYNC_WITHIN`]. Lines about administration are on the disk before the act.
//! Each line holds the hash of the one before ([`chain`]); what was on the disk last is known by
//! the checkpoint beside the file; [`verify`] tells whether anything was changed since. A full file
//! is renamed, and the next goes on ([`files`]). The token itself is never written.

pub mod chain;
mod checkpoint;
mod file;
pub mod files;
mod line;
mod recovery;
mod refusals;
pub mod verify;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::time::Time;
use serde::{Deserialize, Serialize};

use self::chain::Mark;
use self::checkpoint::{Checkpoint, Held};
use self::file::{AuditFile, Kind};
pub use self::line::{Decision, Line};
use self::refusals::{Count, Fate, Refusals};
use crate::clock::Clock;

/// Within which time a line is on the disk.
pub const SYNC_WITHIN: Duration = Duration::from_millis(100);

/// How often what was only counted is summed up, how often lines are marked as ours, and how often
/// a full file that could not be closed is tried again.
const EVERY_MINUTE: Duration = Duration::from_mins(1);

/// How often a failing audit is tried, so that it is well again before anyone asks.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What the audit shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// What becomes of a decision that cannot be recorded.
    pub on_failure: OnFailure,
    /// From which size in bytes on a file is full.
    pub full_size: u64,
}

/// What becomes of a decision that cannot be recorded. A revocation goes ahead in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Nothing is signed or done.
    Refuse,
    /// It goes ahead; a line says later how many were not recorded.
    Continue,
}

/// Whether the audit has a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It has.
    Yes,
    /// It failed, and what was decided must not wait for it.
    No,
}

/// A line could not be written: what it says must not happen.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit: {0}")]
pub struct AuditError(#[from] io::Error);

/// The audit and the thread that syncs it.
pub struct Audit {
    shared: Arc<Shared>,
    syncer: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Shared {
    settings: Settings,
    master_keys: Arc<MasterKeys>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Who syncs holds it. Taken before `state` where both are. Absent for a stream, and when closed.
    checkpoint: Mutex<Option<Checkpoint>>,
    wake: Condvar,
    failing: AtomicBool,
}

struct State {
    file: AuditFile,
    /// How often the file was opened anew because it was not to be trusted.
    distrusted: u64,
    unsynced: bool,
    /// Whether lines were written since the last mark.
    unmarked: bool,
    stopping: bool,
    refusals: Refusals,
    /// How many decisions took effect without a line.
    unrecorded: u64,
}

/// A line that was written, and what makes it durable.
struct Written {
    to_sync: Option<Arc<File>>,
    last: Option<checkpoint::Position>,
    distrusted: u64,
}

impl Audit {
    /// Opens the audit to go on after its last line, makes the file with mode 0600 if it is not
    /// there. Marks are made under the first of `master_keys`.
    ///
    /// # Errors
    ///
    /// When the file or the checkpoint beside it cannot be opened.
    pub fn open(
        settings: Settings,
        master_keys: Arc<MasterKeys>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuditError> {
        let (checkpoint, held) = open_checkpoint(&settings.path, &master_keys)?;
        let file = AuditFile::open(&settings.path, master_keys.clone(), held)?;
        let state = State {
            file,
            distrusted: 0,
            unsynced: false,
            unmarked: false,
            stopping: false,
            refusals: Refusals::default(),
            unrecorded: 0,
        };
        let shared = Arc::new(Shared {
            settings,
            master_keys,
            clock,
            state: Mutex::new(state),
            checkpoint: Mutex::new(checkpoint),
            wake: Condvar::new(),
            failing: AtomicBool::new(false),
        });
        let for_thread = shared.clone();
        let syncer = thread::Builder::new()
            .name("audit-sync".into())
            .spawn(move || for_thread.sync_until_stopped())?;
        Ok(Self { shared, syncer: Mutex::new(Some(syncer)) })
    }

    /// Hands a line to the kernel. It is on the disk within [`SYNC_WITHIN`]. Of the refusals of one
    /// caller, those beyond a number in a minute are counted, and written as one line.
    ///
    /// # Errors
    ///
    /// The line was not written, so what it says must not happen.
    pub fn record(&self, line: &Line<'_>) -> Result<Recorded, AuditError> {
        let object = object_of(line)?;
        let mut state = self.shared.lock();
        if line.decision == Decision::Refused && self.shared.only_counts(&mut state, line) {
            return Ok(Recorded::Yes);
        }
        let written = self.shared.write(&mut state, &object, line.time).map(|_| ());
        if written.is_ok() {
            self.shared.sync_soon(&mut state);
        }
        self.shared.settle(state, written)
    }

    /// Writes a line and waits until it is on the disk. Not for threads that serve requests.
    ///
    /// # Errors
    ///
    /// The line is not known to be on the disk, so what it says must not happen.
    pub fn record_durably(&self, line: &Line<'_>) -> Result<Recorded, AuditError> {
        let object = object_of(line)?;
        let written = {
            let mut state = self.shared.lock();
            self.shared.write(&mut state, &object, line.time)
        };
        let synced = written.and_then(|written| self.shared.sync(&written));
        self.shared.settle(self.shared.lock(), synced)
    }

    /// Counts a request of a caller that nobody knows.
    pub fn count_unknown_caller(&self, now: Time) {
        let mut state = self.shared.lock();
        if !state.refusals.has_counted() {
            self.shared.wake.notify_one();
        }
        state.refusals.of_unknown(now);
    }

    /// Writes what is still owed, syncs, and lets others open the audit. Nothing may be recorded
    /// from here on.
    pub fn close(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        let syncer = self.syncer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(syncer) = syncer {
            // A syncer that panicked has aborted the process already.
            let _ = syncer.join();
        }
        *self.shared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the last attempt to write or sync failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.is_failing()
    }

    /// What becomes of decisions while the audit is failing.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        self.shared.settings.on_failure
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Whether a refusal is only counted.
    fn only_counts(&self, state: &mut State, line: &Line<'_>) -> bool {
        let had_counted = state.refusals.has_counted();
        let is_counted = state.refusals.of_known(line.caller, line.time) == Fate::Counted;
        if is_counted && !had_counted {
            self.wake.notify_one();
        }
        is_counted
    }

    /// Hands a line to the kernel, after the lines that are owed.
    fn write(&self, state: &mut State, object: &[u8], now: Time) -> Result<Written, AuditError> {
        let written = state.say_unrecorded(now).and_then(|()| state.file.append(object, now));
        self.note(written)?;
        state.unmarked = true;
        Ok(state.written())
    }

    /// Syncs what was written. One at a time: the kernel tells of a failure only once, and everyone
    /// whose lines it took must hear of it.
    fn sync(&self, written: &Written) -> Result<(), AuditError> {
        let mut checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &written.to_sync else { return Ok(()) };
        let synced = file.sync_data();
        self.note(self.trust(written, synced))?;
        let (Some(checkpoint), Some(last)) = (checkpoint.as_mut(), written.last) else {
            return Ok(());
        };
        self.note(checkpoint.raise(last, &self.master_keys))
    }

    fn trust(&self, written: &Written, synced: io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        if synced.is_err() {
            state.distrusted += 1;
            state.file.distrust();
        } else if state.distrusted != written.distrusted {
            return Err(io::Error::other("an earlier sync failed"));
        }
        synced
    }

    /// What an outcome means for what was to be recorded.
    fn settle(
        &self,
        mut state: MutexGuard<'_, State>,
        outcome: Result<(), AuditError>,
    ) -> Result<Recorded, AuditError> {
        match (outcome, self.settings.on_failure) {
            (Ok(()), _) => Ok(Recorded::Yes),
            (Err(error), OnFailure::Refuse) => Err(error),
            (Err(error), OnFailure::Continue) => {
                if state.unrecorded == 0 {
                    tracing::error!(%error, "decisions take effect without being recorded");
                }
                state.unrecorded += 1;
                Ok(Recorded::No)
            }
        }
    }

    fn sync_soon(&self, state: &mut State) {
        if !state.unsynced {
            state.unsynced = true;
            self.wake.notify_one();
        }
    }

    fn note(&self, outcome: io::Result<()>) -> Result<(), AuditError> {
        let was_failing = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        if outcome.is_err() && !was_failing {
            // The thread tries until it is well again.
            self.wake.notify_one();
        }
        outcome.map_err(AuditError)
    }

    fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    fn sync_until_stopped(&self) {
        let mut pace = Pace::now();
        let mut state = self.lock();
        loop {
            let due = pace.due(&state, self.is_failing());
            if state.unsynced {
                // Gather the lines of a moment, so that many share one sync.
                state = self.wait(state, SYNC_WITHIN / 2);
                state = self.sync_gathered(state);
                state = self.begin_next_if_full(state, &mut pace);
            } else if due.is_zero() || state.stopping {
                let is_last = state.stopping;
                self.do_what_is_due(&mut state, &mut pace);
                if is_last && !state.unsynced {
                    return;
                }
            } else {
                state = self.wait(state, due);
            }
        }
    }

    /// Waits for a while, or until a line is to be synced, or the audit fails, or the end.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, span: Duration) -> MutexGuard<'a, State> {
        let before = (state.unsynced, state.refusals.has_counted(), self.is_failing());
        let is_quiet = |state: &mut State| {
            let now = (state.unsynced, state.refusals.has_counted(), self.is_failing());
            !state.stopping && now == before
        };
        let waited = self.wake.wait_timeout_while(state, span, is_quiet);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn sync_gathered<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.unsynced = false;
        let written = state.written();
        drop(state);
        if let Err(error) = self.sync(&written) {
            tracing::error!(%error, "the audit is not on the disk");
        }
        self.lock()
    }

    /// What is done now and then: sums up, marks, and tries a failing audit.
    fn do_what_is_due(&self, state: &mut State, pace: &mut Pace) {
        let is_last = state.stopping;
        if self.is_failing() && !is_last {
            pace.tried();
            let mended = state.file.mend(self.clock.wall());
            state.unsynced = self.note(mended).is_ok();
        }
        if is_last || pace.is_minute_over() {
            pace.minute_begins();
            self.sum_up(state);
            if state.unmarked && !self.is_failing() {
                let reason = if is_last { "stopped" } else { "a minute with lines is over" };
                let marked = state.file.mark(Mark::Checkpoint, reason, self.clock.wall());
                if self.note(marked).is_ok() {
                    (state.unmarked, state.unsynced) = (false, true);
                }
            }
        }
    }

    /// One line for each caller whose refusals were only counted.
    fn sum_up(&self, state: &mut State) {
        let now = state.refusals.last();
        for count in state.refusals.take_counts() {
            let reason = match &count.caller {
                None => format!("{} requests of unknown callers", count.refusals),
                Some(_) => format!("{} refusals more", count.refusals),
            };
            let caller = count.caller.as_deref().unwrap_or("unknown");
            let line =
                Line { reason: Some(&reason), ..Line::new(now, caller, "any", Decision::Refused) };
            // What was refused stays refused, whether that can be recorded or not.
            let written = object_of(&line).and_then(|object| self.write(state, &object, now));
            match written {
                Ok(_) => state.unsynced = true,
                Err(_) => state.refusals.put_back(Count { ..count }),
            }
        }
    }

    /// Begins a new file when this one is full. Everything of the old one, and the names of both,
    /// are on the disk before any line of the new one counts as synced.
    fn begin_next_if_full<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        pace: &mut Pace,
    ) -> MutexGuard<'a, State> {
        let is_full =
            state.file.kind() == Kind::Regular && state.file.size() >= self.settings.full_size;
        if !is_full || !pace.may_begin_next() {
            return state;
        }
        drop(state);
        if let Err(error) = self.begin_next() {
            pace.begin_next_failed();
            tracing::error!(%error, "the audit file is full, and a new one cannot be begun");
        }
        self.lock()
    }

    fn begin_next(&self) -> Result<(), AuditError> {
        let mut checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, written) = {
            let mut state = self.lock();
            (state.file.begin_next(self.clock.wall())?, state.written())
        };
        let synced = old.sync_all().and_then(|()| {
            written.to_sync.as_ref().map_or(Ok(()), |file| file.sync_all())?;
            file::sync_folder(&self.settings.path)
        });
        self.note(self.trust(&written, synced))?;
        if let (Some(checkpoint), Some(last)) = (checkpoint.as_mut(), written.last) {
            self.note(checkpoint.raise(last, &self.master_keys))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn written(&self) -> Written {
        Written {
            to_sync: self.file.to_sync(),
            last: self.file.last(),
            distrusted: self.distrusted,
        }
    }

    /// Says how many decisions took effect without a line, before the next line.
    fn say_unrecorded(&mut self, now: Time) -> io::Result<()> {
        if self.unrecorded == 0 {
            return Ok(());
        }
        let reason = format!("{} decisions took effect unrecorded before this", self.unrecorded);
        let line =
            Line { reason: Some(&reason), ..Line::new(now, "jwksd", "audit", Decision::Failed) };
        self.file.append(&line.object()?, now)?;
        self.unrecorded = 0;
        Ok(())
    }
}

/// The checkpoint beside a file, and what it held; none beside a stream.
fn open_checkpoint(audit: &Path, keys: &MasterKeys) -> io::Result<(Option<Checkpoint>, Held)> {
    if file::kind_of(audit)? == Kind::Stream {
        return Ok((None, Held::Nothing));
    }
    let path = checkpoint::path_of(audit);
    let was_there = path.try_exists()?;
    if !was_there {
        Checkpoint::create(&path, keys)?;
    }
    let (checkpoint, held) = Checkpoint::open(&path, keys)?;
    let held = if was_there { held } else { Held::Nothing };
    if held == Held::Damaged {
        let path = path.display();
        tracing::error!("{path} was not written under this master key, or is damaged");
    }
    Ok((Some(checkpoint), held))
}

fn object_of(line: &Line<'_>) -> Result<Vec<u8>, AuditError> {
    line.object().map_err(|error| AuditError(error.into()))
}

/// When the thread did last what it does now and then. Nothing is decided by it.
struct Pace {
    minute: Instant,
    tried: Instant,
    begin_next_failed: Option<Instant>,
}

#[expect(clippy::disallowed_methods, reason = "paces the thread; nothing is decided by it")]
impl Pace {
    fn now() -> Self {
        let now = Instant::now();
        Self { minute: now, tried: now, begin_next_failed: None }
    }

    /// In which time anything is due.
    fn due(&self, state: &State, is_failing: bool) -> Duration {
        let in_minute = (state.unmarked || state.refusals.has_counted())
            .then(|| EVERY_MINUTE.saturating_sub(self.minute.elapsed()));
        let to_try = is_failing.then(|| TRY_EVERY.saturating_sub(self.tried.elapsed()));
        in_minute.into_iter().chain(to_try).min().unwrap_or(Duration::MAX)
    }

    fn is_minute_over(&self) -> bool {
        self.minute.elapsed() >= EVERY_MINUTE
    }

    fn minute_begins(&mut self) {
        self.minute = Instant::now();
    }

    fn tried(&mut self) {
        self.tried = Instant::now();
    }

    fn may_begin_next(&self) -> bool {
        self.begin_next_failed.is_none_or(|failed| failed.elapsed() >= EVERY_MINUTE)
    }

    fn begin_next_failed(&mut self) {
        self.begin_next_failed = Some(Instant::now());
    }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
