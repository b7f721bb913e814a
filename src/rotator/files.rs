//! What the files of JWK Sets mean for the keys: a key that another place where the set is served
//! lacks, does not begin to sign by itself, and waits from the moment at which that place has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{Intent, Keyset, Number, State};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::store::{Loaded, Record};
use jwksd_keystore::time::Time;

use super::LATE;
use crate::config::Config;
use crate::sink::{
    Content, Event, Held, Keeper, Means, Report, Standing, Standings, Ticket, Wanted,
};

/// For how long a stop waits for the threads of the files.
const FINISH: Duration = Duration::from_secs(1);

/// Takes what the threads of the files have to say.
type Deliver = Arc<dyn Fn(Report) + Send + Sync>;

/// The files of all key sets.
pub(super) struct Files {
    means: Means,
    standings: Arc<Standings>,
    deliver: Deliver,
    /// One for each file that ever was, by its absolute path: a file that is taken back must not
    /// have two, of which one is still at something.
    keepers: HashMap<PathBuf, Keeper>,
    of_sets: BTreeMap<KeysetName, FileOf>,
    assignments: u64,
    /// What each thread has a clone of, and the other end.
    alive: Option<Sender<()>>,
    ended: Receiver<()>,
}

/// The file of one key set.
struct FileOf {
    assignment: u64,
    version: u64,
    /// What was ordered last.
    wanted: Option<Wanted>,
    /// Whether anything is known of the file.
    looked: bool,
    /// The keys that it is known to hold.
    holds: BTreeSet<KeyId>,
    standing: Standing,
}

/// Where each key set of a configuration has its file.
pub(super) fn files_of(config: &Config) -> BTreeMap<KeysetName, PathBuf> {
    let file = |(name, keyset): (&KeysetName, &crate::config::Keyset)| {
        Some((name.clone(), keyset.jwks_file.clone()?))
    };
    config.keysets.iter().filter_map(file).collect()
}

impl Files {
    pub(super) fn new(means: Means, standings: Arc<Standings>, deliver: Deliver) -> Self {
        let (alive, ended) = channel();
        Self {
            means,
            standings,
            deliver,
            keepers: HashMap::new(),
            of_sets: BTreeMap::new(),
            assignments: 0,
            alive: Some(alive),
            ended,
        }
    }

    /// Before the process ends: what the threads were told last gets a moment, so that no file
    /// publishes a revoked key until the next start. One that hangs is not waited for.
    pub(super) fn finish(&mut self) {
        self.keepers.clear();
        self.alive = None;
        // An error means that all have ended, or that the moment is over.
        let _ = self.ended.recv_timeout(FINISH);
    }

    /// Gives the key sets their files, and returns those that have another than before, or none
    /// any more. What a former file holds is left as it is.
    pub(super) fn assign(&mut self, wanted: &BTreeMap<KeysetName, PathBuf>) -> Vec<KeysetName> {
        let current =
            |keyset: &KeysetName| self.of_sets.get(keyset).map(|file| &file.standing.file);
        let names: BTreeSet<&KeysetName> = self.of_sets.keys().chain(wanted.keys()).collect();
        let differs = |name: &&&KeysetName| current(name) != wanted.get(**name);
        let changed: Vec<KeysetName> = names.iter().filter(differs).copied().cloned().collect();
        // All are let go before any is taken: two sets may have changed places.
        for keyset in &changed {
            self.let_go(keyset);
        }
        for keyset in &changed {
            if let Some(file) = wanted.get(keyset) {
                self.take_on(keyset, file);
            }
        }
        changed
    }

    fn let_go(&mut self, keyset: &KeysetName) {
        let Some(FileOf { standing, .. }) = self.of_sets.remove(keyset) else { return };
        if let Some(keeper) = self.keepers.get(&absolute(&standing.file)) {
            keeper.order(None);
        }
        self.standings.tell(keyset, None);
        let file = standing.file.display();
        tracing::info!(%keyset, %file, "jwks_file: no longer kept; the file is left as it is");
    }

    fn take_on(&mut self, keyset: &KeysetName, path: &Path) {
        self.assignments += 1;
        let mut standing = Standing::of(path.to_owned());
        let place = absolute(path);
        if !self.keepers.contains_key(&place) {
            let (deliver, alive) = (self.deliver.clone(), self.alive.clone());
            let deliver = move |report| {
                let _alive = &alive;
                deliver(report);
            };
            match Keeper::start(path, &self.means, deliver) {
                Ok(keeper) => drop(self.keepers.insert(place, keeper)),
                Err(error) => standing.problem = Some(format!("cannot start a thread: {error}")),
            }
        }
        let file = FileOf {
            assignment: self.assignments,
            version: 0,
            wanted: None,
            looked: false,
            holds: BTreeSet::new(),
            standing,
        };
        self.standings.tell(keyset, Some(&file.standing));
        self.of_sets.insert(keyset.clone(), file);
    }

    /// Notes which keys the file has to be confirmed to have before they sign: those that are
    /// pending at `from` and not known to be in it.
    pub(super) fn note(&mut self, keyset: &KeysetName, loaded: &Loaded, from: Time, now: Time) {
        let Some(file) = self.of_sets.get_mut(keyset) else { return };
        let set = loaded.keyset();
        let signs_meanwhile = set.signer_at(from).is_some();
        let waits = |number: Number| {
            let life = set.life(number);
            life.is_some_and(|life| life.ended.is_none() && life.planned_by.waits())
        };
        file.standing.held.retain(|number, _| waits(*number));
        for record in &loaded.records {
            let (life, kid) = (&record.life, &record.kid);
            let is_pending = waits(life.number) && life.state_at(from) == State::Pending;
            if planted::is_planted(Fault::HeldKeySigns) {
                continue;
            }
            if is_pending && signs_meanwhile && !file.holds.contains(kid) {
                let (kid, served_from) = (kid.clone(), life.served_from);
                let held = Held { kid, since: now, served_from, confirmed: None };
                file.standing.held.entry(life.number).or_insert(held);
            }
            if let Some(held) = file.standing.held.get_mut(&life.number) {
                held.served_from = life.served_from;
            }
        }
        self.standings.tell(keyset, Some(&file.standing));
    }

    /// The set as it counts at `now`.
    pub(super) fn hold_set(&self, keyset: &KeysetName, mut set: Keyset, now: Time) -> Keyset {
        if let Some(file) = self.of_sets.get(keyset) {
            for life in &mut set.lives {
                file.standing.hold(life, now);
            }
        }
        set
    }

    /// The records of the set as they count at `now`.
    pub(super) fn hold_records(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        now: Time,
    ) -> Vec<Record> {
        let mut records = loaded.records.clone();
        if let Some(file) = self.of_sets.get(keyset) {
            for record in &mut records {
                file.standing.hold(&mut record.life, now);
            }
        }
        records
    }

    /// Orders that the file holds what is served, `None` while that is nothing; `loaded` is what it
    /// was made of.
    pub(super) fn order(
        &mut self,
        keyset: &KeysetName,
        body: Option<&[u8]>,
        loaded: &Loaded,
        now: Time,
    ) {
        let Some(file) = self.of_sets.get_mut(keyset) else { return };
        let kids = || loaded.records.iter().map(|record| record.kid.clone()).collect();
        let wanted = match body {
            Some(body) if file.is_wanted(body) => return,
            Some(body) => Wanted::Content(Arc::new(Content { body: body.to_vec(), kids: kids() })),
            // What is there was not ours, as long as there was no key.
            None if loaded.head.next_number == Number::default() => return,
            // All keys were revoked, and must not be trusted until the next is there.
            None if matches!(file.wanted, Some(Wanted::Nothing)) => return,
            None => Wanted::Nothing,
        };
        file.version += 1;
        file.wanted = Some(wanted.clone());
        file.standing.kept = true;
        file.standing.asked.get_or_insert(now);
        file.count_stale();
        let ticket =
            Ticket { keyset: keyset.clone(), assignment: file.assignment, version: file.version };
        if let Some(keeper) = self.keepers.get(&absolute(&file.standing.file)) {
            keeper.order(Some((ticket, wanted)));
        }
        self.standings.tell(keyset, Some(&file.standing));
    }

    /// Takes what a thread has to say. Returns whether what is published may have to change.
    pub(super) fn take(&mut self, report: Report, now: Time) -> bool {
        let Report { ticket: Ticket { keyset, assignment, version }, event } = report;
        let file = self.of_sets.get_mut(&keyset).filter(|file| file.assignment == assignment);
        let Some(file) = file else { return false };
        let before = (file.standing.held.clone(), file.holds.clone());
        let is_last_word = version == file.version;
        match event {
            Event::Looks => file.standing.looking = Some(now),
            Event::Found(kids) => {
                file.standing.asked.get_or_insert(now);
                file.found(kids.into_iter().collect());
            }
            Event::Confirmed(kids) => {
                file.standing.problem = None;
                file.confirmed(kids.into_iter().collect(), now);
                file.standing.looking = None;
                file.standing.asked.take_if(|_| is_last_word);
            }
            Event::Failed(why) => {
                file.standing.problem = Some(why);
                file.standing.looking = None;
                file.standing.asked.take_if(|_| is_last_word);
            }
        }
        file.count_stale();
        self.standings.tell(&keyset, Some(&file.standing));
        before != (file.standing.held.clone(), file.holds.clone())
    }

    /// The keys that left the set and may be in the file still, but those known to be revoked.
    pub(super) fn stale(&self, keyset: &KeysetName) -> Vec<KeyId> {
        let standing = self.of_sets.get(keyset).map(|file| &file.standing);
        let stale = standing.map(|standing| standing.stale.difference(&standing.revoked).cloned());
        stale.into_iter().flatten().collect()
    }

    /// These of them were revoked.
    pub(super) fn note_revoked(&mut self, keyset: &KeysetName, kids: Vec<KeyId>) {
        if let Some(file) = self.of_sets.get_mut(keyset) {
            file.standing.revoked.extend(kids);
            self.standings.tell(keyset, Some(&file.standing));
        }
    }

    /// What has to be reckoned with before keys that the file has now may sign.
    pub(super) fn confirmed(&self, keyset: &KeysetName) -> Option<Intent> {
        let held = &self.of_sets.get(keyset)?.standing.held;
        let confirmed = |(number, held): (&Number, &Held)| Some((*number, held.confirmed?));
        let keys: Vec<(Number, Time)> = held.iter().filter_map(confirmed).collect();
        let from = keys.iter().map(|(_, at)| *at).max()?;
        Some(Intent::ServedFrom {
            keys: keys.into_iter().map(|(number, _)| number).collect(),
            from,
        })
    }

    /// These keys are held back no more.
    pub(super) fn release(&mut self, keyset: &KeysetName, keys: &[Number]) {
        if let Some(file) = self.of_sets.get_mut(keyset) {
            file.standing.held.retain(|number, _| !keys.contains(number));
            self.standings.tell(keyset, Some(&file.standing));
        }
    }

    /// The keys that were held back for longer than a moment at `now`.
    pub(super) fn held_for_long(&self, now: Time) -> Vec<(KeysetName, Vec<Number>)> {
        let long = |(keyset, file): (&KeysetName, &FileOf)| {
            let held = file.standing.held.iter();
            let keys = held.filter(|(_, held)| now.since(held.since) > LATE);
            (keyset.clone(), keys.map(|(number, _)| *number).collect())
        };
        self.of_sets.iter().map(long).filter(|(_, keys): &(_, Vec<_>)| !keys.is_empty()).collect()
    }

    /// It is stored that these keys were not served until `now`.
    pub(super) fn made_up_for(&mut self, keyset: &KeysetName, keys: &[Number], now: Time) {
        if let Some(file) = self.of_sets.get_mut(keyset) {
            let held = file.standing.held.iter_mut().filter(|(number, _)| keys.contains(number));
            held.for_each(|(_, held)| held.since = now);
            self.standings.tell(keyset, Some(&file.standing));
        }
    }

    /// Since when keys are published that a file may lack.
    pub(super) fn unserved_since(&self) -> Option<Time> {
        let held = self.of_sets.values().flat_map(|file| file.standing.held.values());
        held.map(|held| held.since).min()
    }
}

/// However the configuration writes it.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

impl FileOf {
    fn is_wanted(&self, body: &[u8]) -> bool {
        matches!(&self.wanted, Some(Wanted::Content(content)) if content.body == body)
    }

    /// What the first look finds, was there all the time: a key of it is held back no more. What a
    /// later one does not find, is not there any more.
    fn found(&mut self, kids: BTreeSet<KeyId>) {
        if self.looked {
            self.holds.retain(|kid| kids.contains(kid));
        } else {
            self.looked = true;
            self.standing.held.retain(|_, held| !kids.contains(&held.kid));
            self.holds = kids;
        }
        let holds = &self.holds;
        let lost = self.standing.held.values_mut().filter(|held| !holds.contains(&held.kid));
        lost.for_each(|held| held.confirmed = None);
    }

    /// A key that has just been published has missed nothing.
    fn confirmed(&mut self, kids: BTreeSet<KeyId>, now: Time) {
        let is_in_time =
            |held: &Held| kids.contains(&held.kid) && now.since(held.served_from) <= LATE;
        self.standing.held.retain(|_, held| !is_in_time(held));
        for held in self.standing.held.values_mut().filter(|held| kids.contains(&held.kid)) {
            held.confirmed.get_or_insert(now);
        }
        self.holds = kids;
    }

    /// The keys that left the set, and that the file is not known to be without.
    fn stale(&self) -> BTreeSet<KeyId> {
        let wanted = self.wanted.as_ref().map_or_else(Vec::new, Wanted::kids);
        self.holds.iter().filter(|kid| !wanted.contains(kid)).cloned().collect()
    }

    fn count_stale(&mut self) {
        self.standing.stale = self.stale();
        let stale = &self.standing.stale;
        self.standing.revoked.retain(|kid| stale.contains(kid));
    }
}
