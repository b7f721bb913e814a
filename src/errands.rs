//! Errands: what may wait for a disk or for the rotator, and so is not for threads that serve requests.
//!
//! A thread that is there from the start does them; where it is at one, the next has a thread of its own.
//! Where the system gives none, since memory or the number of tasks is limited, it waits for its turn: so a
//! key can be revoked there too.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Has errands done.
pub struct Errands {
    lasting: Sender<Job>,
    /// How many the lasting thread has.
    waiting: Arc<AtomicUsize>,
}

/// An errand that was taken.
pub struct Taken<T> {
    /// Receives what comes of it; closed where its thread panicked.
    pub done: oneshot::Receiver<T>,
    /// Why it has to wait, where no thread could be had for it.
    pub no_thread: Option<io::Error>,
}

impl Errands {
    /// Starts the thread that is there in any case. It ends when this is dropped.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (lasting, jobs) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let done = waiting.clone();
        thread::Builder::new().name("errands".into()).spawn(move || carry_out_all(jobs, &done))?;
        Ok(Self { lasting, waiting })
    }

    /// Takes an errand.
    pub fn take<T: Send + 'static>(&self, errand: impl FnOnce() -> T + Send + 'static) -> Taken<T> {
        let (tell, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            // An error means that nobody waits any more.
            let _ = tell.send(errand());
        });
        Taken { done, no_thread: self.hand_over(job, in_new_thread).err() }
    }

    /// Gives a job to the lasting thread if it has none, else to a new thread, or to the lasting one all the
    /// same where `start` fails. The error is that of `start`.
    fn hand_over(
        &self,
        job: Job,
        start: impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.waiting.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.have_wait(job);
            return Ok(());
        }
        // What is given to a thread that does not start is gone, so both find it here.
        let job = Arc::new(Mutex::new(Some(job)));
        let for_thread = job.clone();
        start(Box::new(move || carry_out(&for_thread))).inspect_err(|_| {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.have_wait(Box::new(move || carry_out(&job)));
        })
    }

    fn have_wait(&self, job: Job) {
        // The thread lives as long as this.
        let _ = self.lasting.send(job);
    }
}

fn in_new_thread(work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().name("errand".into()).spawn(work).map(drop)
}

fn carry_out_all(jobs: Receiver<Job>, waiting: &AtomicUsize) {
    for job in jobs {
        job();
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn carry_out(job: &Mutex<Option<Job>>) {
    let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(job) = job {
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(fails: bool) -> impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<()> {
        move |work| if fails { Err(io::ErrorKind::WouldBlock.into()) } else { in_new_thread(work) }
    }

    #[test]
    fn an_errand_is_done_once_also_where_no_thread_is_to_be_had() {
        let errands = Errands::start().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let first = move || assert!(held.recv().is_err());
        errands.hand_over(Box::new(first), |_| panic!("a thread is there")).unwrap();
        let (tell, told) = mpsc::channel();
        let job = || {
            let tell = tell.clone();
            let name = move || tell.send(thread::current().name().map(str::to_owned)).unwrap();
            Box::new(name)
        };
        errands.hand_over(job(), start(false)).unwrap();
        assert_eq!(told.recv().unwrap().as_deref(), Some("errand"));
        let error = errands.hand_over(job(), start(true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(told.try_recv().is_err());
        drop(release);
        assert_eq!(told.recv().unwrap().as_deref(), Some("errands"));
        drop(tell);
        assert!(told.recv().is_err());
    }
}
