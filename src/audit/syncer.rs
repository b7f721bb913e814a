//! What the thread `audit-sync` does: it syncs what was gathered, begins new files, sums up what was
//! only counted, marks what was written, and tries a failing audit again.

use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chain::Mark;
use super::{AuditError, Decision, Entry, Life, Line, SYNC_WITHIN, Shared, State, file, files};

/// How often what was only counted is summed up, how often lines are marked as ours, and how often
/// a full file that could not be closed is tried again.
const EVERY_MINUTE: Duration = Duration::from_mins(1);

/// How often a failing audit is tried, so that it is well again before anyone asks.
const TRY_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    pub(super) fn sync_until_stopped(&self) {
        let mut pace = Pace::now();
        let mut state = self.lock();
        loop {
            if state.unsynced {
                // Gather the lines of a moment, so that many share one sync.
                state = self.wait(state, SYNC_WITHIN / 2);
                state = self.sync_gathered(state);
            } else if self.wants_next(&state) && pace.may_begin_next() {
                drop(state);
                if let Err(error) = self.begin_next() {
                    pace.begin_next_failed();
                    tracing::error!(%error, "the audit file is full, and a new one cannot be begun");
                }
                state = self.lock();
            } else if state.life == Life::Stopping {
                if self.is_failing() {
                    drop(state);
                    let _ = self.try_again();
                    state = self.lock();
                }
                return self.end(state);
            } else if pace.is_to_try(self.is_failing()) {
                drop(state);
                // The error was told when it began.
                let _ = self.try_again();
                pace.tried();
                state = self.lock();
            } else if pace.is_minute_over(&state) {
                pace.minute_begins();
                self.end_the_minute(&mut state);
            } else {
                let due = pace.due(&state, self.is_failing());
                state = self.wait(state, due);
            }
        }
    }

    /// Waits for a while, or until a line is to be synced, or the audit fails, or the end.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, span: Duration) -> MutexGuard<'a, State> {
        let look = |state: &State| {
            let has_counted = state.refusals.has_counted();
            let wants_next = self.wants_next(state);
            (state.unsynced, state.unmarked, wants_next, has_counted, self.is_failing())
        };
        let before = look(&state);
        let is_quiet = |state: &mut State| state.life == Life::Open && look(state) == before;
        let waited = self.wake.wait_timeout_while(state, span, is_quiet);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn sync_gathered<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        state.unsynced = false;
        let written = state.written();
        drop(state);
        if let Err(error) = self.sync(&written) {
            tracing::error!(%error, "the audit is not on the disk");
        }
        self.lock()
    }

    /// Sums up what was counted, and marks the lines of the minute as ours.
    pub(super) fn end_the_minute(&self, state: &mut State) {
        self.sum_up(state);
        if state.unmarked && !self.is_failing() {
            let reason = "a minute with lines is over";
            match state.file.mark(Mark::Checkpoint, reason, self.clock.wall()) {
                Ok(()) => (state.unmarked, state.unsynced) = (false, true),
                Err(_) => self.fail(state),
            }
        }
    }

    /// The last lines, and a mark that nothing follows.
    fn end(&self, mut state: MutexGuard<'_, State>) {
        self.sum_up(&mut state);
        state.life = Life::Closed;
        let now = self.clock.wall();
        let ended =
            state.say_unrecorded(now).and_then(|()| state.file.mark(Mark::Stop, "stopped", now));
        let written = state.written();
        drop(state);
        if let Err(error) = ended.map_err(AuditError).and_then(|()| self.sync(&written)) {
            tracing::error!(%error, "the end of the audit is not on the disk");
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
            let written = Entry::of(&line).and_then(|entry| self.write(state, &entry));
            match written {
                Ok(()) => state.unsynced = true,
                Err(_) => state.refusals.put_back(count),
            }
        }
    }

    /// Whether the file is full, or the next one has no name yet.
    pub(super) fn wants_next(&self, state: &State) -> bool {
        state.file.is_full(self.settings.full_size) || state.file.unnamed().is_some()
    }

    /// Begins a new file. Everything of the old one, and the names of both, are on the disk before
    /// any line of the new one counts as synced.
    pub(super) fn begin_next(&self) -> Result<(), AuditError> {
        // Nobody's line counts as synced before the names are.
        let mut checkpoint = self.lock_checkpoint();
        if self.lock().file.unnamed().is_none() {
            self.go_on_in_next()?;
        }
        let written = self.lock().written();
        if let Some(file) = &written.to_sync {
            self.trust(&written, file.sync_all())?;
        }
        let unnamed = self.lock().file.unnamed();
        if let Some(first) = unnamed {
            files::name(&self.settings.path, first)?;
            self.lock().file.named();
        }
        self.raise(&mut checkpoint, &written)
    }

    /// Lines go to the next file from now on; those of this one are synced.
    pub(super) fn go_on_in_next(&self) -> Result<(), AuditError> {
        let place = files::unnamed(&self.settings.path);
        match std::fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let next = file::open_anew(&place)?;
        let (old, written) = {
            let mut state = self.lock();
            let old = state.file.go_on_in(next, self.clock.wall());
            (old.inspect_err(|_| self.fail(&mut state))?, state.written())
        };
        self.trust(&written, old.sync_all())
    }
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
        let in_minute =
            state.has_for_the_minute().then(|| EVERY_MINUTE.saturating_sub(self.minute.elapsed()));
        let to_try = is_failing.then(|| TRY_EVERY.saturating_sub(self.tried.elapsed()));
        in_minute.into_iter().chain(to_try).min().unwrap_or(Duration::MAX)
    }

    fn is_to_try(&self, is_failing: bool) -> bool {
        is_failing && self.tried.elapsed() >= TRY_EVERY
    }

    fn is_minute_over(&self, state: &State) -> bool {
        state.has_for_the_minute() && self.minute.elapsed() >= EVERY_MINUTE
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
