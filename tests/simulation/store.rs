//! A store whose faults the simulation has in hand: it fails, lies, tears, is slow, falls silent, and
//! dies with its process, before or after what was asked of it is durable.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use jwksd::clock::ManualClock;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{
    Commit, Loaded, MemoryRows, MemoryStore, Store, StoreCopy, StoreError, Tombstone,
};
use jwksd_keystore::time::Time;

/// What becomes of the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is written, and that is said.
    Fails,
    /// Nothing is written, and nobody knows.
    IsUnknown,
    /// It is written, and nobody knows.
    FailsButPersists,
    /// It is not written, since the set was changed by another: so the store says.
    Conflicts,
    /// Nothing is written, nobody knows, and from then on the store answers nothing.
    SilentBefore,
    /// It is written, nobody knows, and from then on the store answers nothing.
    SilentAfter,
    /// The process is killed before anything is written.
    CrashBefore,
    /// The process is killed when it is written.
    CrashAfter,
    /// It takes so many seconds, and is written at their end.
    Slow(u16),
    /// It is written at once, and that is said so many seconds later.
    SlowToSay(u16),
}

/// What goes wrong with the store, whichever process has it open.
pub(crate) struct Faults {
    clock: Arc<ManualClock>,
    state: Mutex<State>,
    awake: Condvar,
}

#[derive(Default)]
struct State {
    is_asleep: bool,
    next: VecDeque<Fault>,
    next_load: Load,
    is_silent: bool,
    is_dead: bool,
    commits: u64,
    hits: u64,
    watch: Option<Watch>,
}

/// What becomes of the next load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Load {
    #[default]
    IsWhole,
    IsTorn,
    Fails,
    Crashes,
}

/// Told before time passes within a commit.
type Watch = Arc<dyn Fn() + Send + Sync>;

/// The store as the daemon has it.
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    faults: Arc<Faults>,
}

impl Faults {
    pub(crate) fn new(clock: Arc<ManualClock>) -> Self {
        Self { clock, state: Mutex::default(), awake: Condvar::new() }
    }

    /// Makes a commit go wrong: the next, or the one after those that are meant already.
    pub(crate) fn add(&self, fault: Fault) {
        self.state().next.push_back(fault);
    }

    /// Makes the next load see half of a commit.
    pub(crate) fn tear_next_load(&self) {
        self.state().next_load = Load::IsTorn;
    }

    /// Makes the next load fail.
    pub(crate) fn fail_next_load(&self) {
        self.state().next_load = Load::Fails;
    }

    /// The process is killed at the next load.
    pub(crate) fn crash_at_next_load(&self) {
        self.state().next_load = Load::Crashes;
    }

    /// The store answers nothing from now on.
    pub(crate) fn fall_silent(&self) {
        self.state().is_silent = true;
    }

    /// The store is well from now on.
    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.is_silent = false;
        state.next.clear();
        state.next_load = Load::IsWhole;
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.state().is_silent
    }

    /// The process that has the store open ends at once: it reads and writes nothing more.
    pub(crate) fn kill(&self) {
        self.state().is_dead = true;
    }

    /// Whether the process was killed within a commit.
    pub(crate) fn is_killed(&self) -> bool {
        self.state().is_dead
    }

    /// Another process begins, and has the store told what passes within its commits.
    pub(crate) fn revive(&self) {
        let mut state = self.state();
        state.is_dead = false;
        state.watch = None;
    }

    /// From now on `watch` is told before time passes within a commit.
    pub(crate) fn watch(&self, watch: Watch) {
        self.state().watch = Some(watch);
    }

    /// How many commits became durable.
    pub(crate) fn commits(&self) -> u64 {
        self.state().commits
    }

    /// How many faults there were.
    pub(crate) fn hits(&self) -> u64 {
        self.state().hits
    }

    fn take(&self) -> Option<Fault> {
        let mut state = self.state();
        let fault = state.next.pop_front()?;
        state.hits += 1;
        Some(fault)
    }

    fn take_load(&self) -> Load {
        let mut state = self.state();
        let load = std::mem::take(&mut state.next_load);
        state.hits += u64::from(matches!(load, Load::Fails | Load::Crashes));
        load
    }

    /// Whoever asks the store for something gets no processor until [`Self::wake`].
    pub(crate) fn sleep(&self) {
        self.state().is_asleep = true;
    }

    pub(crate) fn wake(&self) {
        self.state().is_asleep = false;
        self.awake.notify_all();
    }

    fn available(&self) -> Result<(), StoreError> {
        let mut state = self.awake.wait_while(self.state(), |state| state.is_asleep).unwrap();
        if !state.is_silent && !state.is_dead {
            return Ok(());
        }
        state.hits += 1;
        Err(unavailable())
    }

    fn let_pass(&self, seconds: u16) {
        let watch = self.state().watch.clone();
        if let Some(watch) = watch {
            watch();
        }
        self.clock.advance(Duration::from_secs(seconds.into()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl FaultyStore {
    pub(crate) fn open(
        rows: &MemoryRows,
        master_keys: &Arc<MasterKeys>,
        faults: &Arc<Faults>,
    ) -> Result<Self, StoreError> {
        faults.available()?;
        let inner = MemoryStore::open(rows.clone(), master_keys.clone())?;
        Ok(Self { inner, faults: faults.clone() })
    }

    fn persist(&self, commits: &[Commit<'_>], seen: Time) -> Result<(), StoreError> {
        self.inner.commit_all(commits, seen)?;
        self.faults.state().commits += 1;
        Ok(())
    }
}

impl Store for FaultyStore {
    fn keysets(&self) -> Result<Vec<KeysetName>, StoreError> {
        self.faults.available()?;
        self.inner.keysets()
    }

    fn load(&self, keyset: &KeysetName) -> Result<Loaded, StoreError> {
        self.faults.available()?;
        match self.faults.take_load() {
            Load::IsWhole => {}
            Load::IsTorn => self.inner.rows().tear_next_load(),
            Load::Fails => return Err(unavailable()),
            Load::Crashes => {
                self.faults.kill();
                return Err(unavailable());
            }
        }
        self.inner.load(keyset)
    }

    fn commit_all(&self, commits: &[Commit<'_>], seen: Time) -> Result<(), StoreError> {
        self.faults.available()?;
        match self.faults.take() {
            None => self.persist(commits, seen),
            Some(Fault::Fails) => Err(unavailable()),
            Some(Fault::IsUnknown) => Err(unknown()),
            Some(Fault::FailsButPersists) => {
                self.persist(commits, seen)?;
                Err(unknown())
            }
            Some(Fault::Conflicts) => Err(StoreError::Conflict),
            Some(Fault::SilentBefore) => {
                self.faults.fall_silent();
                Err(unknown())
            }
            Some(Fault::SilentAfter) => {
                self.persist(commits, seen)?;
                self.faults.fall_silent();
                Err(unknown())
            }
            Some(Fault::CrashBefore) => {
                self.faults.kill();
                Err(unavailable())
            }
            Some(Fault::CrashAfter) => {
                self.persist(commits, seen)?;
                self.faults.kill();
                Err(unknown())
            }
            Some(Fault::Slow(seconds)) => {
                self.faults.let_pass(seconds);
                self.persist(commits, seen)
            }
            Some(Fault::SlowToSay(seconds)) => {
                self.persist(commits, seen)?;
                self.faults.let_pass(seconds);
                Ok(())
            }
        }
    }

    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Option<Tombstone>, StoreError> {
        self.faults.available()?;
        self.inner.tombstone(keyset, kid)
    }

    fn tombstones(&self, keyset: &KeysetName) -> Result<Vec<Tombstone>, StoreError> {
        self.faults.available()?;
        self.inner.tombstones(keyset)
    }

    fn seen(&self) -> Result<Time, StoreError> {
        self.faults.available()?;
        self.inner.seen()
    }

    fn record_seen(&self, now: Time) -> Result<(), StoreError> {
        self.faults.available()?;
        self.inner.record_seen(now)
    }

    fn copy(&self) -> Result<StoreCopy, StoreError> {
        self.faults.available()?;
        self.inner.copy()
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("the simulation said so".into())
}

fn unknown() -> StoreError {
    StoreError::Unknown("the simulation said so".into())
}
