//! The thread that keeps one file as it was last told.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use jwksd_keystore::id::{KeyId, KeysetName};

use super::content::kids_in;
use super::{Content, DiskError, Means};

/// Which order a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The key set.
    pub(crate) keyset: KeysetName,
    /// Grows whenever a file is given to a set.
    pub(crate) assignment: u64,
    /// Grows with every order for it.
    pub(crate) version: u64,
}

/// What shall be.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// The file holds this.
    Content(Arc<Content>),
    /// There is no file.
    Nothing,
}

/// Says what shall be; `None` leaves the file alone from now on.
pub(crate) type Order = Option<(Ticket, Wanted)>;

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) ticket: Ticket,
    pub(crate) event: Event,
}

/// What a thread has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// What the file had before anything was done, at the first look, and where it was not what
    /// was known.
    Found(Vec<KeyId>),
    /// It looks whether all is as it was, and says so afterwards.
    Looks,
    /// All is as wanted; these keys are in the file.
    Confirmed(Vec<KeyId>),
    /// It is not, and is tried again.
    Failed(String),
}

/// The way to the thread of one file. Nothing waits for it; it ends some time after this is
/// dropped.
pub(crate) struct Keeper(Sender<Order>);

impl Keeper {
    /// Starts a thread for a file. `deliver` takes what it has to say, and is dropped when it ends.
    pub(crate) fn start(
        file: &Path,
        means: &Means,
        deliver: impl Fn(Report) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, received) = channel();
        let work = Work {
            file: file.to_owned(),
            means: means.clone(),
            orders: received,
            deliver,
            order: None,
            known: Known::NeverSeen,
            failures: 0,
        };
        thread::Builder::new().name("jwks-file".into()).spawn(move || work.run())?;
        Ok(Self(orders))
    }

    /// The newest order holds, whatever became of those before.
    pub(crate) fn order(&self, order: Order) {
        // The thread lives as long as this sender does.
        let _ = self.0.send(order);
    }
}

struct Work<D> {
    file: PathBuf,
    means: Means,
    orders: Receiver<Order>,
    deliver: D,
    order: Order,
    known: Known,
    /// How often in a row it failed.
    failures: u32,
}

/// What is known of the file.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// Nothing, for this key set.
    NeverSeen,
    /// Nothing, since a write failed halfway: it has to be written once more, whatever it holds.
    Unsure,
    /// What it held when it was read or written last.
    Holds(Option<Vec<u8>>),
}

impl<D: Fn(Report)> Work<D> {
    fn run(mut self) {
        while self.wait() {
            self.keep();
        }
    }

    /// Waits for an order, or until the file is to be looked at. Returns whether there is more to
    /// come.
    fn wait(&mut self) -> bool {
        let received = match self.pause() {
            None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(pause) => self.orders.recv_timeout(pause),
        };
        match received {
            Ok(order) => {
                let newest = self.orders.try_iter().last().unwrap_or(order);
                self.take(newest);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.order.as_ref()?;
        let pace = self.means.pace;
        if self.failures == 0 {
            return Some(pace.look_every);
        }
        let doubled = pace.retry_first.saturating_mul(1 << (self.failures - 1).min(16));
        Some(doubled.min(pace.retry_longest))
    }

    fn take(&mut self, order: Order) {
        let assignment = |order: &Order| order.as_ref().map(|(ticket, _)| ticket.assignment);
        if assignment(&order) != assignment(&self.order) {
            self.known = Known::NeverSeen;
        }
        self.order = order;
    }

    /// Looks at the file, and makes it what it shall be.
    fn keep(&mut self) {
        let Some((ticket, wanted)) = self.order.clone() else { return };
        if self.failures == 0 {
            self.report(&ticket, Event::Looks);
        }
        match self.bring_about(&ticket, &wanted) {
            Ok(()) => {
                self.failures = 0;
                self.report(&ticket, Event::Confirmed(wanted.kids()));
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let (file, retry_in) = (self.file.display(), self.pause().unwrap_or_default());
                tracing::error!(keyset = %ticket.keyset, %file, ?retry_in, "jwks_file: {error}");
                self.report(&ticket, Event::Failed(error.to_string()));
            }
        }
    }

    fn bring_about(&mut self, ticket: &Ticket, wanted: &Wanted) -> Result<(), DiskError> {
        let disk = self.means.disk.clone();
        let found = disk.read(&self.file)?;
        let is_wanted = found.as_deref() == wanted.body();
        let is_sure = self.known != Known::Unsure;
        let found = Known::Holds(found);
        if found != self.known {
            self.tell_found(ticket, wanted, &found);
            self.known = found;
        }
        if is_wanted && is_sure {
            return Ok(());
        }
        self.known = Known::Unsure;
        match wanted {
            Wanted::Content(content) => disk.replace(&self.file, &content.body)?,
            Wanted::Nothing => disk.remove(&self.file)?,
        }
        self.known = Known::Holds(wanted.body().map(<[u8]>::to_vec));
        Ok(())
    }

    fn tell_found(&mut self, ticket: &Ticket, wanted: &Wanted, found: &Known) {
        let Known::Holds(found) = found else { return };
        if let Known::Holds(_) = self.known {
            let what = if found.is_some() { "changed" } else { "removed" };
            let file = self.file.display();
            tracing::warn!(keyset = %ticket.keyset, %file, "jwks_file: somebody {what} it");
        }
        let kids = found.as_deref().map_or_else(Vec::new, |found| kids_in(found, wanted.content()));
        self.report(ticket, Event::Found(kids));
    }

    fn report(&self, ticket: &Ticket, event: Event) {
        (self.deliver)(Report { ticket: ticket.clone(), event });
    }
}

impl Wanted {
    fn content(&self) -> Option<&Content> {
        match self {
            Self::Content(content) => Some(content),
            Self::Nothing => None,
        }
    }

    fn body(&self) -> Option<&[u8]> {
        self.content().map(|content| &content.body[..])
    }

    /// The keys that are to be in the file.
    pub(crate) fn kids(&self) -> Vec<KeyId> {
        self.content().map_or_else(Vec::new, |content| content.kids.clone())
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::sink::{Disk, OnDisk, Pace};

    /// A keeper of `jwks.json` in a folder, and what it says.
    struct Fixture {
        dir: tempfile::TempDir,
        keeper: Keeper,
        said: Receiver<Event>,
    }

    impl Fixture {
        /// That looks at the file only when it is told something or something failed.
        fn on(disk: impl Disk + 'static) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let pace = Pace {
                retry_first: Duration::from_millis(1),
                retry_longest: Duration::from_millis(2),
                look_every: Duration::from_hours(1),
            };
            let means = Means { disk: Arc::new(disk), pace };
            let (say, said) = channel();
            let file = dir.path().join("site/jwks.json");
            let keeper = Keeper::start(&file, &means, move |report| {
                // The test may be over.
                let _ = say.send(report.event);
            });
            Self { dir, keeper: keeper.unwrap(), said }
        }

        fn order(&self, version: u64, kids: &[&str]) {
            let keyset = "default".parse().unwrap();
            let ticket = Ticket { keyset, assignment: 1, version };
            self.keeper.order(Some((ticket, Wanted::Content(Arc::new(content(kids))))));
        }

        /// What it says next that is one of these.
        fn next(&self, of: impl Fn(&Event) -> bool) -> Event {
            self.said.iter().find(of).unwrap()
        }

        fn had(&self, kids: &[&str]) {
            let confirmed = self.next(|event| matches!(event, Event::Confirmed(_)));
            assert_eq!(confirmed, Event::Confirmed(content(kids).kids));
        }

        fn has(&self, kids: &[&str]) {
            self.had(kids);
            let found = fs::read(self.dir.path().join("site/jwks.json")).unwrap();
            assert_eq!(found, content(kids).body);
        }

        fn make_folder(&self) {
            fs::create_dir(self.dir.path().join("site")).unwrap();
        }
    }

    fn content(kids: &[&str]) -> Content {
        let keys: Vec<_> = kids.iter().map(|kid| serde_json::json!({ "kid": kid })).collect();
        let body = serde_json::to_vec(&serde_json::json!({ "keys": keys })).unwrap();
        let kids = kids.iter().map(|kid| (*kid).to_owned().try_into().unwrap()).collect();
        Content { body, kids }
    }

    /// A disk whose writes wait for the test.
    struct Gate(Arc<(Mutex<usize>, Condvar)>);

    impl Disk for Gate {
        fn read(&self, file: &Path) -> Result<Option<Vec<u8>>, DiskError> {
            OnDisk.read(file)
        }

        fn replace(&self, file: &Path, content: &[u8]) -> Result<(), DiskError> {
            let (open, changed) = &*self.0;
            let is_shut = |open: &mut usize| *open == 0;
            *changed.wait_while(open.lock().unwrap(), is_shut).unwrap() -= 1;
            OnDisk.replace(file, content)
        }

        fn remove(&self, file: &Path) -> Result<(), DiskError> {
            OnDisk.remove(file)
        }
    }

    #[test]
    fn what_failed_is_tried_until_it_works() {
        let fixture = Fixture::on(OnDisk);
        fixture.order(1, &["a"]);
        let Event::Failed(why) = fixture.next(|event| matches!(event, Event::Failed(_))) else {
            panic!("nothing failed")
        };
        assert!(why.contains("there is no folder"), "{why}");
        fixture.make_folder();
        fixture.has(&["a"]);
    }

    #[test]
    fn what_is_there_is_told_before_it_is_replaced() {
        let fixture = Fixture::on(OnDisk);
        fixture.make_folder();
        let file = fixture.dir.path().join("site/jwks.json");
        fs::write(&file, content(&["old", "a"]).body).unwrap();
        fixture.order(1, &["a", "b"]);
        let found = fixture.next(|event| matches!(event, Event::Found(_)));
        assert_eq!(found, Event::Found(content(&["old", "a"]).kids));
        fixture.has(&["a", "b"]);
        // Only what is not known is told.
        fixture.order(2, &["b"]);
        let next = fixture.next(|event| !matches!(event, Event::Looks));
        assert_eq!(next, Event::Confirmed(content(&["b"]).kids));
    }

    #[test]
    fn what_is_as_wanted_is_not_written_again() {
        use std::os::unix::fs::MetadataExt;
        let fixture = Fixture::on(OnDisk);
        fixture.make_folder();
        let file = fixture.dir.path().join("site/jwks.json");
        fs::write(&file, content(&["a"]).body).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        fixture.order(1, &["a"]);
        fixture.has(&["a"]);
        assert_eq!(fs::metadata(&file).unwrap().ino(), before);
    }

    #[test]
    fn of_the_orders_that_come_during_a_write_only_the_newest_is_carried_out() {
        let gate = Arc::new((Mutex::new(0), Condvar::new()));
        let fixture = Fixture::on(Gate(gate.clone()));
        fixture.make_folder();
        fixture.order(1, &["a"]);
        // From here on, it waits.
        fixture.next(|event| matches!(event, Event::Found(_)));
        for (version, kid) in ["b", "c", "d"].iter().enumerate() {
            fixture.order(version as u64 + 2, &[kid]);
        }
        // Two writes may pass, and no third.
        *gate.0.lock().unwrap() = 2;
        gate.1.notify_all();
        fixture.had(&["a"]);
        fixture.has(&["d"]);
    }

    #[test]
    fn a_file_that_is_let_go_is_left_alone() {
        let fixture = Fixture::on(OnDisk);
        fixture.make_folder();
        fixture.order(1, &["a"]);
        fixture.has(&["a"]);
        fixture.keeper.order(None);
        let Fixture { dir, keeper, said } = fixture;
        fs::remove_file(dir.path().join("site/jwks.json")).unwrap();
        drop(keeper);
        // Its thread has ended.
        assert_eq!(said.iter().count(), 0);
        assert!(!dir.path().join("site/jwks.json").exists());
    }
}
