//! The audit: one JSON line for each decision, written before the decision takes effect.
//!
//! A line is in the kernel's hands before the answer, so that a killed process loses none, and on
//! the disk within [`SYNC_WITHIN`]. Lines about administration are on the disk before the act.
//! Each line holds the hash of the one before ([`chain`]); what was on the disk last is known by
//! the checkpoint beside the file; [`verify`] tells whether anything was changed since. A full file
//! is renamed, and the next goes on ([`files`]). The token itself is never written.

mod backwards;
pub mod chain;
mod checkpoint;
pub mod events;
mod figures;
mod file;
pub mod files;
mod format;
pub mod handover;
mod line;
mod lines;
pub mod newest;
mod recovery;
mod refusals;
pub mod report;
mod rows;
mod scribe;
pub mod since;
mod syncer;
pub mod usage;
pub mod verify;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::time::Time;
use serde::{Deserialize, Serialize};

pub use self::chain::Link;
use self::checkpoint::{Checkpoint, Held};
pub use self::figures::Figures;
use self::file::{AuditFile, Kind};
pub use self::format::check as check_format;
pub use self::line::{Decision, Line};
pub use self::lines::Lines;
use self::recovery::OnDisk;
use self::refusals::{Fate, Refusals};
use self::scribe::Scribe;
use crate::clock::Clock;
use crate::folder;

/// Within which time a line is on the disk.
pub const SYNC_WITHIN: Duration = Duration::from_millis(100);

/// The caller of what the daemon does by itself. No caller has the name.
pub const DAEMON: &str = "jwksd";

/// What the line is called that says what a revoked key had signed. It is about no commit.
pub const INCIDENT: &str = "incident";

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

/// Which thread records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorder {
    /// One that serves requests.
    Worker,
    /// One that gives way to others, and may stand still at any moment.
    GivesWay,
}

/// A line could not be written: what it says must not happen.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit: {0}")]
pub struct AuditError(#[from] io::Error);

impl AuditError {
    /// The same once more, for another whose line it was.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(io::Error::new(self.0.kind(), self.0.to_string()))
    }
}

/// The audit and the thread that syncs it.
pub struct Audit {
    shared: Arc<Shared>,
    syncer: Mutex<Option<thread::JoinHandle<()>>>,
    scribe: Scribe,
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
    figures: Figures,
}

struct State {
    file: AuditFile,
    /// How often the file was opened anew because it was not to be trusted.
    distrusted: u64,
    /// How often a write or a sync failed.
    failures: u64,
    unsynced: bool,
    /// Whether lines were written since the last mark.
    unmarked: bool,
    life: Life,
    refusals: Refusals,
    /// How many decisions took effect without a line.
    unrecorded: u64,
}

/// A line as it will be written, but for its place in the chain.
struct Entry {
    object: Vec<u8>,
    time: Time,
    /// The caller, where it is a refusal.
    refused: Option<String>,
}

/// Whether the audit is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// It ends: what is owed is still written.
    Stopping,
    /// Nothing is written any more.
    Closed,
}

/// A line that was written, and what makes it durable.
struct Written {
    to_sync: Option<Arc<File>>,
    last: Option<checkpoint::Position>,
    distrusted: u64,
}

impl Audit {
    /// Opens the audit to go on after its last line, makes the file with mode 0600 if it is not
    /// there, and says that it starts. Marks are made under the first of `master_keys`. Where that
    /// cannot be written, the audit is failing from the start.
    ///
    /// # Errors
    ///
    /// When the file or the checkpoint beside it cannot be opened, another process has it open, or a
    /// newer version of jwksd wrote to it.
    pub fn open(
        settings: Settings,
        master_keys: Arc<MasterKeys>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuditError> {
        check_format(&settings.path)?;
        let (checkpoint, on_disk) = open_checkpoint(&settings.path, &master_keys)?;
        let file = AuditFile::open(&settings.path, master_keys.clone(), &on_disk)?;
        let handover = on_disk.handover.map(|_| settings.path.clone());
        let state = State {
            file,
            distrusted: 0,
            failures: 0,
            unsynced: false,
            unmarked: false,
            life: Life::Open,
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
            figures: Figures::default(),
        });
        match (shared.try_again(), handover) {
            (Err(error), _) => tracing::error!(%error, "the audit cannot be written"),
            // With it, the end of what the new key wrote could be cut off unseen.
            (Ok(()), Some(audit)) => handover::remove(&audit),
            (Ok(()), None) => {}
        }
        let for_thread = shared.clone();
        let syncer = thread::Builder::new()
            .name("audit-sync".into())
            .spawn(move || for_thread.sync_until_stopped())?;
        let scribe = Scribe::start(shared.clone())?;
        Ok(Self { shared, syncer: Mutex::new(Some(syncer)), scribe })
    }

    /// Hands a line to the kernel. It is on the disk within [`SYNC_WITHIN`]. Of the refusals of one
    /// caller, those beyond a number in a minute are counted, and written as one line.
    ///
    /// # Errors
    ///
    /// The line was not written, so what it says must not happen.
    pub fn record(&self, line: &Line<'_>, recorder: Recorder) -> Result<Recorded, AuditError> {
        match recorder {
            Recorder::Worker => self.shared.record(&Entry::of(line)?),
            Recorder::GivesWay => {
                let mut lines = Lines::with_room(1);
                lines.push(line)?;
                self.scribe.record_all(lines, line.time)
            }
        }
    }

    /// Hands lines to the kernel, as [`Audit::record`] does with each, with one write. `now` is when
    /// they were decided.
    ///
    /// # Errors
    ///
    /// Not all were written, so nothing of what they say must happen.
    pub fn record_all(
        &self,
        lines: Lines,
        recorder: Recorder,
        now: Time,
    ) -> Result<Recorded, AuditError> {
        match recorder {
            Recorder::Worker => self.shared.record_all(&lines, now),
            Recorder::GivesWay => self.scribe.record_all(lines, now),
        }
    }

    /// Writes a line and waits until it is on the disk. Not for threads that serve requests.
    ///
    /// # Errors
    ///
    /// The line is not known to be on the disk, so what it says must not happen.
    pub fn record_durably(&self, line: &Line<'_>) -> Result<Recorded, AuditError> {
        self.record_durably_at(line).map(|(recorded, _)| recorded)
    }

    /// The same, and tells which line it became; nothing where it was not recorded, or where the
    /// audit is no file that could be read again.
    ///
    /// # Errors
    ///
    /// As [`Audit::record_durably`].
    pub fn record_durably_at(
        &self,
        line: &Line<'_>,
    ) -> Result<(Recorded, Option<Link>), AuditError> {
        let synced = self.shared.write_and_sync(&[Entry::of(line)?]);
        let at = synced.as_ref().ok().copied().flatten();
        let recorded = self.shared.settle(self.shared.lock(), synced.map(|_| ()), 1)?;
        Ok((recorded, at))
    }

    /// Writes lines, in their order, and waits until all of them are on the disk, which costs what it
    /// costs for one.
    ///
    /// # Errors
    ///
    /// As [`Audit::record_durably`], about any of them.
    pub fn record_all_durably(&self, lines: &[Line<'_>]) -> Result<Recorded, AuditError> {
        let entries = lines.iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
        let synced = self.shared.write_and_sync(&entries);
        self.shared.settle(self.shared.lock(), synced.map(|_| ()), lines.len() as u64)
    }

    /// Counts a request of a caller that nobody knows.
    pub fn count_unknown_caller(&self, now: Time) {
        let mut state = self.shared.lock();
        self.shared.change(&mut state, |state| state.refusals.of_unknown(now));
    }

    /// Writes what is still owed, syncs, and lets others open the audit. Nothing can be recorded
    /// from here on.
    pub fn close(&self) {
        let syncer = self.syncer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(syncer) = syncer else { return };
        self.scribe.end();
        self.shared.lock().life = Life::Stopping;
        self.shared.wake.notify_one();
        // A syncer that panicked has aborted the process already.
        let _ = syncer.join();
        *self.shared.lock_checkpoint() = None;
    }

    /// Counts what took effect although it could not be recorded.
    pub fn count_unrecorded(&self) {
        self.shared.lock().unrecorded += 1;
        self.shared.figures.count_unrecorded(1);
    }

    /// How often and how fast it was written.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// Whether a write or a sync failed, and none succeeded since.
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

impl Entry {
    fn of(line: &Line<'_>) -> Result<Self, AuditError> {
        let object = line.object().map_err(|error| AuditError(error.into()))?;
        let refused = (line.decision == Decision::Refused).then(|| line.caller.to_owned());
        Ok(Self { object, time: line.time, refused })
    }
}

impl Shared {
    fn record(&self, entry: &Entry) -> Result<Recorded, AuditError> {
        let mut state = self.lock();
        if let Some(caller) = &entry.refused
            && self.only_counts(&mut state, caller, entry.time)
        {
            return Ok(Recorded::Yes);
        }
        let written = self.write(&mut state, entry);
        if written.is_ok() {
            self.change(&mut state, |state| state.unsynced = true);
        }
        self.settle(state, written, 1)
    }

    fn record_all(&self, lines: &Lines, now: Time) -> Result<Recorded, AuditError> {
        let mut state = self.lock();
        let mut kept = Vec::new();
        for (row, object) in lines.each() {
            let is_counted = row.refused.as_ref();
            let is_counted = is_counted
                .is_some_and(|(caller, time)| self.only_counts(&mut state, caller, *time));
            if !is_counted {
                kept.push(object);
            }
        }
        if kept.is_empty() {
            return Ok(Recorded::Yes);
        }
        let (count, written) = self.write_all(&mut state, &kept, now);
        if count > 0 {
            self.change(&mut state, |state| state.unsynced = true);
        }
        self.settle(state, written, (kept.len() - count) as u64)
    }

    /// Whether a refusal is only counted.
    fn only_counts(&self, state: &mut State, caller: &str, now: Time) -> bool {
        self.change(state, |state| state.refusals.of_known(caller, now) == Fate::Counted)
    }

    /// Hands a line to the kernel, after the lines that are owed.
    fn write(&self, state: &mut State, entry: &Entry) -> Result<(), AuditError> {
        self.write_all(state, &[&entry.object], entry.time).1
    }

    /// The same with several lines. Returns how many are in the kernel's hands, which after an error
    /// may be some.
    fn write_all(
        &self,
        state: &mut State,
        objects: &[&[u8]],
        now: Time,
    ) -> (usize, Result<(), AuditError>) {
        if state.life == Life::Closed {
            return (0, Err(io::Error::other("the audit is closed").into()));
        }
        let (count, written) = self.change(state, |state| {
            let (count, written) = self.figures.write(|| match state.say_unrecorded(now) {
                Ok(()) => state.file.append_all(objects, now),
                Err(error) => (0, Err(error)),
            });
            state.unmarked |= count > 0;
            (count, written)
        });
        if written.is_err() {
            self.fail(state);
        }
        (count, written.map_err(AuditError))
    }

    /// Writes lines and waits until they are on the disk. Tells which one the last of them became;
    /// nothing where the audit is no file that could be read again.
    fn write_and_sync(&self, entries: &[Entry]) -> Result<Option<Link>, AuditError> {
        let distrusted = self.lock().distrusted;
        for entry in entries {
            // Others write in between: who signs does not wait for all of them.
            self.write(&mut self.lock(), entry)?;
        }
        // What was distrusted meanwhile may be the file that the first of them is in.
        let written = Written { distrusted, ..self.lock().written() };
        self.sync(&written)?;
        Ok(written.last.filter(|_| written.to_sync.is_some()).map(|last| last.link))
    }

    /// Syncs what was written. One at a time: the kernel tells of a failure only once, and everyone
    /// whose lines it took must hear of it.
    fn sync(&self, written: &Written) -> Result<(), AuditError> {
        let mut checkpoint = self.lock_checkpoint();
        let Some(file) = &written.to_sync else { return Ok(()) };
        self.trust(written, self.figures.sync(|| file.sync_data()))?;
        self.raise(&mut checkpoint, written)
    }

    fn trust(&self, written: &Written, synced: io::Result<()>) -> Result<(), AuditError> {
        let mut state = self.lock();
        if let Err(error) = synced {
            state.distrusted += 1;
            state.file.distrust();
            self.fail(&mut state);
            return Err(error.into());
        }
        if state.distrusted != written.distrusted || state.file.is_distrusted() {
            return Err(io::Error::other("an earlier sync failed").into());
        }
        Ok(())
    }

    fn raise(
        &self,
        checkpoint: &mut Option<Checkpoint>,
        written: &Written,
    ) -> Result<(), AuditError> {
        let (Some(checkpoint), Some(last)) = (checkpoint, written.last) else { return Ok(()) };
        let raised = checkpoint.raise(last, &self.master_keys);
        raised.inspect_err(|_| self.fail(&mut self.lock()))?;
        Ok(())
    }

    /// Notes a failure. The thread tries until all is well again.
    fn fail(&self, state: &mut State) {
        state.failures += 1;
        self.change(state, |_| self.failing.store(true, Ordering::Relaxed));
    }

    /// Writes and syncs what is owed. After a failed sync the file is opened anew before, which no
    /// one waits for.
    fn try_again(&self) -> Result<(), AuditError> {
        let mut checkpoint = self.lock_checkpoint();
        let (distrusted, place, failures) = {
            let state = self.lock();
            (state.file.is_distrusted(), state.file.place(), state.failures)
        };
        let fresh = if distrusted { Some(file::open_anew(&place)?) } else { None };
        let written = {
            let mut state = self.lock();
            if let Some(fresh) = fresh {
                state.file.go_on_with(fresh);
            }
            let now = self.clock.wall();
            let mended = state.file.mend(now).and_then(|()| state.say_unrecorded(now));
            mended.inspect_err(|_| self.fail(&mut state))?;
            state.written()
        };
        if let Some(file) = &written.to_sync {
            self.trust(&written, self.figures.sync(|| file.sync_data()))?;
        }
        self.raise(&mut checkpoint, &written)?;
        let state = self.lock();
        if state.failures == failures {
            self.failing.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What an outcome means for what was to be recorded: where it is an error, so many decisions are
    /// not.
    fn settle(
        &self,
        mut state: MutexGuard<'_, State>,
        outcome: Result<(), AuditError>,
        missing: u64,
    ) -> Result<Recorded, AuditError> {
        match (outcome, self.settings.on_failure) {
            (Ok(()), _) => Ok(Recorded::Yes),
            (Err(error), OnFailure::Refuse) => Err(error),
            (Err(error), OnFailure::Continue) => {
                if state.unrecorded == 0 {
                    tracing::error!(%error, "decisions take effect without being recorded");
                }
                state.unrecorded += missing;
                self.figures.count_unrecorded(missing);
                Ok(Recorded::No)
            }
        }
    }

    /// Changes the state, and wakes the thread where it has something else to do then: to wake it costs
    /// more than to write a line.
    fn change<T>(&self, state: &mut State, change: impl FnOnce(&mut State) -> T) -> T {
        let before = self.to_do(state);
        let outcome = change(state);
        if self.to_do(state) != before {
            self.wake.notify_one();
        }
        outcome
    }

    fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    fn lock_checkpoint(&self) -> MutexGuard<'_, Option<Checkpoint>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
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
            Line { reason: Some(&reason), ..Line::new(now, DAEMON, "audit", Decision::Failed) };
        self.file.append(&line.object()?, now)?;
        self.unrecorded = 0;
        Ok(())
    }
}

/// Whether a process has the audit at `path` open.
///
/// # Errors
///
/// When that cannot be told.
pub fn is_in_use(path: &Path) -> io::Result<bool> {
    checkpoint::is_locked(&checkpoint::path_of(path))
}

/// The checkpoint beside a file, and what is known to be on the disk; none beside a stream.
fn open_checkpoint(audit: &Path, keys: &MasterKeys) -> io::Result<(Option<Checkpoint>, OnDisk)> {
    let path = checkpoint::path_of(audit);
    let was_there = path.try_exists()?;
    if file::kind_of(audit)? == Kind::Stream {
        if was_there {
            let message = "it is not a file, and the checkpoint beside it says that it was one";
            return Err(io::Error::other(message));
        }
        return Ok((None, OnDisk { held: Held::Nothing, handover: None }));
    }
    if !was_there && files::are_empty(audit)? {
        Checkpoint::create(&path, keys)?;
    }
    let (mut checkpoint, held) = Checkpoint::open(&path, keys)?;
    let on_disk = with_handover(audit, &mut checkpoint, held, keys)?;
    if on_disk.held == Held::Nothing
        && let Some(id) = checkpoint.other_key(keys)?
    {
        return Err(not_handed_over(&id));
    }
    recovery::name_files(audit, on_disk.held, keys)?;
    folder::sync_of(&path)?;
    if on_disk.held == Held::Nothing {
        let path = path.display();
        tracing::error!("{path} was missing or damaged");
    }
    Ok((Some(checkpoint), on_disk))
}

/// Going on would be what a thief of a former key does: what is recorded under it is believed by nobody.
fn not_handed_over(id: &str) -> io::Error {
    io::Error::other(format!(
        "the audit is written under the master key {id}, and was not handed over to the one given. \
         After `jwksd store rekey`, only the new store and the new key go together with it. To begin \
         another audit with this key, move the files of this one away, its checkpoint too"
    ))
}

/// Takes over what was handed over to these keys, if none of their lines is on the disk yet.
fn with_handover(
    audit: &Path,
    checkpoint: &mut Checkpoint,
    held: Held,
    keys: &MasterKeys,
) -> io::Result<OnDisk> {
    let Some(handover) = handover::read(audit, keys)? else {
        return Ok(OnDisk { held, handover: None });
    };
    let position = handover.position;
    if held.position().is_some_and(|held| held.link.number > position.link.number) {
        handover::remove(audit);
        return Ok(OnDisk { held, handover: None });
    }
    recovery::check_handover(audit, &handover, keys)?;
    checkpoint.take_over(position, keys)?;
    Ok(OnDisk { held: Held::Position(position), handover: Some(handover) })
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod rekeyed;
#[cfg(test)]
mod tests;
