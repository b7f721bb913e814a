//! The scribe: a thread that records for threads which give way to others.
//!
//! A thread of low priority may stand still at any moment, for as long as others have work, and so
//! must not hold the lock that everyone who records waits for. It hands its line over, and waits.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use jwksd_keystore::time::Time;

use super::{AuditError, Lines, Recorded, Shared};

type Outcome = Result<Recorded, AuditError>;

enum Job {
    Record(Lines, Time, SyncSender<Outcome>),
    End,
}

pub(super) struct Scribe {
    jobs: Sender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Scribe {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (jobs, received) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("audit-scribe".into())
            .spawn(move || record_until_the_end(&shared, &received))?;
        Ok(Self { jobs, thread: Mutex::new(Some(thread)) })
    }

    /// Costs two switches of threads, however many lines there are.
    pub(super) fn record_all(&self, lines: Lines, now: Time) -> Outcome {
        let (reply, answer) = mpsc::sync_channel(1);
        let closed = || AuditError(io::Error::other("the audit is closed"));
        self.jobs.send(Job::Record(lines, now, reply)).map_err(|_| closed())?;
        answer.recv().map_err(|_| closed())?
    }

    /// What was handed over before is still recorded.
    pub(super) fn end(&self) {
        // An error means that it has ended already.
        let _ = self.jobs.send(Job::End);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that panicked has aborted the process already.
            let _ = thread.join();
        }
    }
}

fn record_until_the_end(shared: &Shared, jobs: &Receiver<Job>) {
    while let Ok(Job::Record(lines, now, reply)) = jobs.recv() {
        // Whoever asked waits for the answer, or is gone.
        let _ = reply.send(shared.record_all(&lines, now));
    }
}
