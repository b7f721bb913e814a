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
            let to_do = self.to_do(&state);
            match to_do.first(pace.ripe(), state.life) {
                Job::BeginNext => {
                    drop(state);
                    if let Err(error) = self.begin_next() {
                        pace.begin_next_failed();
                        tracing::error!(%error, "the audit file is full, and a new one cannot be begun");
                    }
                    state = self.lock();
                }
                Job::Mend => {
                    drop(state);
                    // The error was told when it began.
                    let _ = self.try_again();
                    pace.tried();
                    state = self.lock();
                }
                Job::EndTheMinute => {
                    pace.minute_begins();
                    self.end_the_minute(&mut state);
                }
                Job::Sync => {
                    // Gather the lines of a moment, so that many share one sync.
                    state = self.wait(state, SYNC_WITHIN / 2);
                    state = self.sync_gathered(state);
                }
                Job::End => {
                    if to_do.to_mend {
                        drop(state);
                        let _ = self.try_again();
                        state = self.lock();
                    }
                    return self.end(state);
                }
                Job::Wait => state = self.wait(state, pace.due(to_do)),
            }
        }
    }

    /// Waits for a while, or until there is something else to do, or the end.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, span: Duration) -> MutexGuard<'a, State> {
        let before = self.to_do(&state);
        let is_quiet = |state: &mut State| state.life == Life::Open && self.to_do(state) == before;
        let waited = self.wake.wait_timeout_while(state, span, is_quiet);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// What the thread has to do, now or when its time comes.
    pub(super) fn to_do(&self, state: &State) -> ToDo {
        ToDo {
            to_sync: state.unsynced,
            to_mark: state.unmarked,
            to_sum_up: state.refusals.has_counted(),
            to_begin_next: self.wants_next(state),
            to_mend: self.is_failing(),
        }
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
    fn wants_next(&self, state: &State) -> bool {
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

/// What there is to do for the thread. Where it changes, the thread is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not by itself")]
pub(super) struct ToDo {
    to_begin_next: bool,
    to_mend: bool,
    to_mark: bool,
    to_sum_up: bool,
    to_sync: bool,
}

/// What of that is not too early.
#[derive(Clone, Copy)]
struct Ripe {
    to_begin_next: bool,
    to_mend: bool,
    to_end_the_minute: bool,
}

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    BeginNext,
    Mend,
    EndTheMinute,
    Sync,
    End,
    Wait,
}

impl ToDo {
    pub(super) const fn has_for_the_minute(self) -> bool {
        self.to_mark || self.to_sum_up
    }

    /// A file that fails is not continued before it is mended.
    const fn has_to_begin_next(self) -> bool {
        self.to_begin_next && !self.to_mend
    }

    /// What comes first. Lines to sync do not: where many are written, there are always some.
    fn first(self, ripe: Ripe, life: Life) -> Job {
        if self.to_mend && ripe.to_mend {
            Job::Mend
        } else if self.has_to_begin_next() && ripe.to_begin_next {
            Job::BeginNext
        } else if self.has_for_the_minute() && ripe.to_end_the_minute {
            Job::EndTheMinute
        } else if self.to_sync {
            Job::Sync
        } else if life == Life::Stopping {
            Job::End
        } else {
            Job::Wait
        }
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

    fn until_next(&self) -> Duration {
        let rest = |failed: Instant| EVERY_MINUTE.saturating_sub(failed.elapsed());
        self.begin_next_failed.map_or(Duration::ZERO, rest)
    }

    fn until_try(&self) -> Duration {
        TRY_EVERY.saturating_sub(self.tried.elapsed())
    }

    fn until_minute(&self) -> Duration {
        EVERY_MINUTE.saturating_sub(self.minute.elapsed())
    }

    fn ripe(&self) -> Ripe {
        Ripe {
            to_begin_next: self.until_next().is_zero(),
            to_mend: self.until_try().is_zero(),
            to_end_the_minute: self.until_minute().is_zero(),
        }
    }

    /// In which time anything is due.
    fn due(&self, to_do: ToDo) -> Duration {
        let next = to_do.has_to_begin_next().then(|| self.until_next());
        let to_try = to_do.to_mend.then(|| self.until_try());
        let minute = to_do.has_for_the_minute().then(|| self.until_minute());
        [next, to_try, minute].into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    fn tried(&mut self) {
        self.tried = Instant::now();
    }

    fn minute_begins(&mut self) {
        self.minute = Instant::now();
    }

    fn begin_next_failed(&mut self) {
        self.begin_next_failed = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: ToDo =
        ToDo { to_begin_next: true, to_mend: true, to_mark: true, to_sum_up: true, to_sync: true };
    const RIPE: Ripe = Ripe { to_begin_next: true, to_mend: true, to_end_the_minute: true };
    const TOO_EARLY: Ripe = Ripe { to_begin_next: false, to_mend: false, to_end_the_minute: false };

    #[test]
    fn what_is_due_now_and_then_is_not_put_off_by_lines_that_never_cease() {
        let first = |to_do: ToDo| to_do.first(RIPE, Life::Open);
        assert_eq!(first(ALL), Job::Mend);
        let failing = Ripe { to_mend: false, ..RIPE };
        assert_eq!(ALL.first(failing, Life::Open), Job::EndTheMinute);
        let well = ToDo { to_mend: false, ..ALL };
        assert_eq!(first(well), Job::BeginNext);
        let room = ToDo { to_begin_next: false, ..well };
        assert_eq!(first(ToDo { to_mark: false, ..room }), Job::EndTheMinute);
        assert_eq!(first(ToDo { to_sum_up: false, ..room }), Job::EndTheMinute);
        let lines = ToDo { to_mark: false, to_sum_up: false, ..room };
        assert_eq!(first(lines), Job::Sync);
        assert_eq!(first(ToDo { to_sync: false, ..lines }), Job::Wait);
    }

    #[test]
    fn lines_are_synced_while_all_else_is_too_early_and_before_the_end() {
        assert_eq!(ALL.first(TOO_EARLY, Life::Open), Job::Sync);
        assert_eq!(ALL.first(TOO_EARLY, Life::Stopping), Job::Sync);
        let synced = ToDo { to_sync: false, ..ALL };
        assert_eq!(synced.first(TOO_EARLY, Life::Open), Job::Wait);
        assert_eq!(synced.first(TOO_EARLY, Life::Stopping), Job::End);
    }
}
