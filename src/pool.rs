//! The pool: threads of low priority that carry out batches, a few items of each batch in turn.
//!
//! Whatever serves one request at a time wins over it, and a short batch does not wait for a long
//! one. How many items a turn has, the batch says: more of them share what a turn costs, and keep
//! other batches waiting for longer. It knows nothing of tokens.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::threads;

/// How many batches may wait. They are what the pool holds of memory, so this bounds it.
pub const MOST_WAITING: usize = 16;

/// A batch: items that any thread can carry out in any order.
pub trait Work: Send + Sync + 'static {
    /// What comes of the items of a turn.
    type Done: Send;
    /// What comes of them all.
    type Answer: Send;

    /// How many items there are.
    fn count(&self) -> usize;

    /// How many items a turn has at most. Asked once.
    fn turn(&self) -> NonZero<usize>;

    /// Carries out the items of a turn. Must not wait for a disk or a network, nor for long.
    fn items(&self, items: Range<usize>) -> Self::Done;

    /// What comes of the items of a turn that are not carried out any more, since the pool stops.
    fn refusal(&self, items: Range<usize>) -> Self::Done;

    /// What comes of all items, given turn by turn in their order.
    fn answer(&self, done: Vec<Self::Done>) -> Self::Answer;
}

/// Takes batches.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

/// Receives one message for each thread of a pool that ended, and then the end of the channel.
pub type Ends = mpsc::UnboundedReceiver<()>;

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// As many are waiting as may.
    #[error("{MOST_WAITING} batches are waiting already; try again in a moment")]
    Full,
    /// The pool stops.
    #[error("nothing of the batch was begun")]
    Stopping,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub fn start(threads: NonZero<usize>) -> io::Result<(Self, Ends)> {
        let state = State { waiting: VecDeque::new(), phase: Phase::Working };
        let pool = Self(Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() }));
        let (ended, ends) = mpsc::unbounded_channel();
        for number in 0..threads.get() {
            let (shared, end) = (pool.0.clone(), End(ended.clone()));
            let thread = thread::Builder::new().name(format!("batches-{number}"));
            let started = thread.spawn(move || {
                let _end = end;
                give_way();
                shared.carry_out_until_stopped();
            });
            started.inspect_err(|_| pool.stop())?;
        }
        Ok((pool, ends))
    }

    /// Takes a batch. When the receiver is dropped, nobody waits any more, and what is not begun is
    /// left. It is closed without an answer where an item panicked.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; nothing of it will be carried out.
    pub fn take<W: Work>(&self, work: W) -> Result<oneshot::Receiver<W::Answer>, NotTaken> {
        let (answer, receiver) = oneshot::channel();
        let count = work.count();
        if count == 0 {
            // The receiver is right here.
            let _ = answer.send(work.answer(Vec::new()));
            return Ok(receiver);
        }
        let turns = count.div_ceil(work.turn().get());
        let done = (0..turns).map(|_| None).collect();
        let progress = Mutex::new(Progress { done, missing: turns, answer: Some(answer) });
        let batch = Arc::new(Batch { work, progress });
        self.0.queue(Waiting { batch, turns: Turns { next: 0, all: turns, items: count } })?;
        Ok(receiver)
    }

    /// From now on refuses batches, and the items that are not begun.
    pub fn refuse(&self) {
        self.0.enter(Phase::Refusing);
    }

    /// Refuses as [`Pool::refuse`] does, and ends the threads.
    pub fn stop(&self) {
        self.0.enter(Phase::Ending);
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    /// In the order of their turns.
    waiting: VecDeque<Waiting>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Working,
    Refusing,
    Ending,
}

/// A batch with items that are not begun.
struct Waiting {
    batch: Arc<dyn Batched>,
    turns: Turns,
}

/// The items of a batch as turns, all of about the same length.
#[derive(Clone, Copy)]
struct Turns {
    next: usize,
    all: usize,
    items: usize,
}

impl Turns {
    /// The next turn and its items; none when all had theirs.
    fn take(&mut self) -> Option<(usize, Range<usize>)> {
        let Self { next: turn, all, items } = *self;
        let begins = |turn: usize| turn * items / all;
        self.next += 1;
        (turn < all).then(|| (turn, begins(turn)..begins(turn + 1)))
    }

    const fn is_over(&self) -> bool {
        self.next >= self.all
    }
}

/// Items to be carried out, or to be refused.
struct Turn {
    batch: Arc<dyn Batched>,
    number: usize,
    items: Range<usize>,
    phase: Phase,
}

impl Shared {
    fn queue(&self, batch: Waiting) -> Result<(), NotTaken> {
        let mut state = self.lock();
        if state.phase != Phase::Working {
            return Err(NotTaken::Stopping);
        }
        state.waiting.retain(|waiting| waiting.batch.is_awaited());
        if state.waiting.len() >= MOST_WAITING {
            return Err(NotTaken::Full);
        }
        state.waiting.push_back(batch);
        drop(state);
        self.wake.notify_all();
        Ok(())
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = state.phase.max(phase);
        drop(state);
        self.wake.notify_all();
    }

    fn carry_out_until_stopped(&self) {
        while let Some(turn) = self.next_turn() {
            turn.batch.take_turn(turn.number, turn.items, turn.phase);
        }
    }

    /// The next items of the batch whose turn it is; that batch then goes to the end.
    fn next_turn(&self) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            if let Some(mut first) = state.waiting.pop_front() {
                if !first.batch.is_awaited() {
                    continue;
                }
                let Some((number, items)) = first.turns.take() else { continue };
                let turn = Turn { batch: first.batch.clone(), number, items, phase: state.phase };
                if !first.turns.is_over() {
                    state.waiting.push_back(first);
                }
                return Some(turn);
            }
            if state.phase == Phase::Ending {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch, whatever comes of it.
trait Batched: Send + Sync {
    fn is_awaited(&self) -> bool;
    fn take_turn(&self, number: usize, items: Range<usize>, phase: Phase);
}

struct Batch<W: Work> {
    work: W,
    progress: Mutex<Progress<W>>,
}

struct Progress<W: Work> {
    /// By turns.
    done: Vec<Option<W::Done>>,
    missing: usize,
    /// Gone when the answer was sent, or when there will be none.
    answer: Option<oneshot::Sender<W::Answer>>,
}

impl<W: Work> Batched for Batch<W> {
    fn is_awaited(&self) -> bool {
        self.lock().answer.as_ref().is_some_and(|answer| !answer.is_closed())
    }

    fn take_turn(&self, number: usize, items: Range<usize>, phase: Phase) {
        let _abandoned = AbandonedByPanic(self);
        let done = match phase {
            Phase::Working => self.work.items(items),
            Phase::Refusing | Phase::Ending => self.work.refusal(items),
        };
        let complete = self.lock().complete(number, done);
        if let Some(Complete { done, answer }) = complete {
            // That nobody waits any more is no error.
            let _ = answer.send(self.work.answer(done));
        }
    }
}

impl<W: Work> Batch<W> {
    fn lock(&self) -> MutexGuard<'_, Progress<W>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of all turns, and where the answer goes.
struct Complete<W: Work> {
    done: Vec<W::Done>,
    answer: oneshot::Sender<W::Answer>,
}

impl<W: Work> Progress<W> {
    /// Keeps what came of a turn; returns all of it with the last.
    fn complete(&mut self, number: usize, done: W::Done) -> Option<Complete<W>> {
        *self.done.get_mut(number)? = Some(done);
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        let done = std::mem::take(&mut self.done).into_iter().flatten().collect();
        Some(Complete { done, answer: self.answer.take()? })
    }
}

/// Where panics unwind, whoever waits for the batch must hear of it.
struct AbandonedByPanic<'a, W: Work>(&'a Batch<W>);

impl<W: Work> Drop for AbandonedByPanic<'_, W> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().answer = None;
        }
    }
}

/// Tells that a thread ended, however it did.
struct End(mpsc::UnboundedSender<()>);

impl Drop for End {
    fn drop(&mut self) {
        // Nobody may be watching.
        let _ = self.0.send(());
    }
}

/// Lowers the priority of the calling thread.
fn give_way() {
    if let Err(error) = threads::take_what_is_left() {
        tracing::warn!(%error, "a thread for batches does not give way enough: single requests may wait");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A batch that notes each item in a log, and answers with what became of them.
    struct Noted {
        name: &'static str,
        count: usize,
        turn: usize,
        log: Log,
        each: Box<dyn Fn(usize) + Send + Sync>,
    }

    type Log = Arc<Mutex<Vec<String>>>;

    impl Work for Noted {
        type Done = Vec<String>;
        type Answer = Vec<String>;

        fn count(&self) -> usize {
            self.count
        }

        fn turn(&self) -> NonZero<usize> {
            NonZero::new(self.turn).unwrap()
        }

        fn items(&self, items: Range<usize>) -> Vec<String> {
            let item = |index| {
                let item = format!("{}{index}", self.name);
                self.log.lock().unwrap().push(item.clone());
                (self.each)(index);
                item
            };
            items.map(item).collect()
        }

        fn refusal(&self, items: Range<usize>) -> Vec<String> {
            items.map(|index| format!("not {}{index}", self.name)).collect()
        }

        fn answer(&self, done: Vec<Vec<String>>) -> Vec<String> {
            done.concat()
        }
    }

    fn noted(name: &'static str, count: usize, log: &Log) -> Noted {
        Noted { name, count, turn: 1, log: log.clone(), each: Box::new(|_| ()) }
    }

    fn pool(threads: usize) -> (Pool, Ends) {
        Pool::start(NonZero::new(threads).unwrap()).unwrap()
    }

    /// Holds the only thread of a pool at item `at` of a batch, until it is let go.
    struct Held {
        reached: Receiver<()>,
        go: Sender<()>,
    }

    fn held(name: &'static str, count: usize, at: usize, log: &Log) -> (Noted, Held) {
        let (arrive, reached) = channel();
        let (go, gone) = channel();
        let gone = Mutex::new(gone);
        let each = move |index| {
            if index == at {
                arrive.send(()).unwrap();
                gone.lock().unwrap().recv().unwrap();
            }
        };
        (Noted { each: Box::new(each), ..noted(name, count, log) }, Held { reached, go })
    }

    #[test]
    fn what_came_of_the_items_is_in_their_order() {
        let (pool, _ends) = pool(4);
        let answer = pool.take(noted("a", 1000, &Log::default())).unwrap().blocking_recv().unwrap();
        let expected: Vec<String> = (0..1000).map(|index| format!("a{index}")).collect();
        assert_eq!(answer, expected);
        pool.stop();
    }

    #[test]
    fn a_batch_of_nothing_is_answered_at_once() {
        let (pool, _ends) = pool(1);
        let empty = Vec::<String>::new();
        assert_eq!(pool.take(noted("a", 0, &Log::default())).unwrap().blocking_recv(), Ok(empty));
        pool.stop();
    }

    #[test]
    fn batches_take_turns_so_that_a_short_one_does_not_wait_for_a_long_one() {
        let (pool, _ends) = pool(1);
        let log = Log::default();
        let (first, held) = held("first", 1, 0, &log);
        let _first = pool.take(first).unwrap();
        held.reached.recv().unwrap();
        let many = pool.take(noted("many", 6, &log)).unwrap();
        let few = pool.take(noted("few", 2, &log)).unwrap();
        held.go.send(()).unwrap();
        few.blocking_recv().unwrap();
        many.blocking_recv().unwrap();
        let expected =
            ["first0", "many0", "few0", "many1", "few1", "many2", "many3", "many4", "many5"];
        assert_eq!(*log.lock().unwrap(), expected);
        pool.stop();
    }

    #[test]
    fn a_turn_has_as_many_items_as_the_batch_says_at_most_and_all_about_as_many() {
        let (pool, _ends) = pool(1);
        let log = Log::default();
        let (first, held) = held("first", 1, 0, &log);
        let _first = pool.take(first).unwrap();
        held.reached.recv().unwrap();
        let many = pool.take(Noted { turn: 3, ..noted("many", 7, &log) }).unwrap();
        let few = pool.take(Noted { turn: 10, ..noted("few", 2, &log) }).unwrap();
        held.go.send(()).unwrap();
        assert_eq!(many.blocking_recv().unwrap().len(), 7);
        few.blocking_recv().unwrap();
        let expected = [
            "first0", "many0", "many1", "few0", "few1", "many2", "many3", "many4", "many5", "many6",
        ];
        assert_eq!(*log.lock().unwrap(), expected);
        pool.stop();
    }

    #[test]
    fn nothing_more_is_begun_for_who_hung_up() {
        let (pool, _ends) = pool(1);
        let log = Log::default();
        let (left, held) = held("left", 1000, 2, &log);
        let answer = pool.take(left).unwrap();
        held.reached.recv().unwrap();
        drop(answer);
        held.go.send(()).unwrap();
        pool.take(noted("next", 2, &log)).unwrap().blocking_recv().unwrap();
        assert_eq!(*log.lock().unwrap(), ["left0", "left1", "left2", "next0", "next1"]);
        pool.stop();
    }

    #[test]
    fn a_full_pool_refuses_until_somebody_has_hung_up() {
        let (pool, _ends) = pool(1);
        let log = Log::default();
        let (first, held) = held("first", 1, 0, &log);
        let _first = pool.take(first).unwrap();
        held.reached.recv().unwrap();
        let mut waiting: Vec<_> =
            (0..MOST_WAITING).map(|_| pool.take(noted("a", 1, &log)).unwrap()).collect();
        assert_eq!(pool.take(noted("b", 1, &log)).err(), Some(NotTaken::Full));
        waiting.pop();
        let last = pool.take(noted("b", 1, &log)).unwrap();
        held.go.send(()).unwrap();
        last.blocking_recv().unwrap();
        assert_eq!(log.lock().unwrap().len(), 1 + MOST_WAITING);
        pool.stop();
    }

    #[test]
    fn at_the_end_what_is_begun_finishes_and_the_rest_is_refused() {
        let (pool, mut ends) = pool(1);
        let log = Log::default();
        let (begun, held) = held("a", 3, 1, &log);
        let answer = pool.take(begun).unwrap();
        held.reached.recv().unwrap();
        pool.refuse();
        assert_eq!(pool.take(noted("b", 1, &log)).err(), Some(NotTaken::Stopping));
        held.go.send(()).unwrap();
        assert_eq!(answer.blocking_recv().unwrap(), ["a0", "a1", "not a2"]);
        pool.stop();
        assert_eq!(ends.blocking_recv(), Some(()));
        assert_eq!(ends.blocking_recv(), None);
    }

    #[test]
    fn a_panic_leaves_nobody_waiting_and_the_end_of_its_thread_is_told() {
        let (pool, mut ends) = pool(1);
        let each = |index| assert_ne!(index, 1, "as the test wants it");
        let work = Noted { each: Box::new(each), ..noted("a", 3, &Log::default()) };
        assert!(pool.take(work).unwrap().blocking_recv().is_err());
        assert_eq!(ends.blocking_recv(), Some(()));
        pool.stop();
    }

    #[test]
    fn its_threads_give_way_and_no_other_does() {
        let own = || {
            let niceness = rustix::process::getpriority_process(None).unwrap();
            (niceness, threads::is_taking_what_is_left())
        };
        let before = own();
        let (pool, _ends) = pool(1);
        let (tell, told) = channel();
        let each = move |_| tell.send(own()).unwrap();
        let work = Noted { each: Box::new(each), ..noted("a", 1, &Log::default()) };
        pool.take(work).unwrap().blocking_recv().unwrap();
        assert_eq!(told.recv().unwrap(), (threads::NICENESS, true));
        assert_eq!(own(), before);
        pool.stop();
    }
}
