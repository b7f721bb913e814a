//! The calling thread: what it is called, that it gives way, and how late its timers may be.

use std::ffi::CStr;
use std::num::NonZero;
use std::time::Duration;

/// How nice a thread is that gives way: as nice as there is (setpriority(2)).
pub const NICENESS: i32 = 19;

/// Lowers the priority of the calling thread. Linux keeps it for each thread by itself, against POSIX.
///
/// # Errors
///
/// Where that is forbidden; the thread keeps its priority then.
pub fn give_way() -> std::io::Result<()> {
    Ok(rustix::process::setpriority_process(None, NICENESS)?)
}

/// Names the calling thread, for whoever looks at the process. At most 15 bytes are kept.
pub fn be_called(name: &CStr) {
    if let Err(error) = rustix::thread::set_name(name) {
        tracing::debug!(%error, "a thread has no name");
    }
}

/// Lets timers of the calling thread, and of threads that it starts from now on, be late by up to
/// `late`, so that the kernel can let an idle processor sleep and wake it for many at once
/// (`PR_SET_TIMERSLACK` in prctl(2)). Whatever else a thread waits for wakes it as before.
pub fn take_time(late: Duration) {
    let nanos = u64::try_from(late.as_nanos()).ok().and_then(NonZero::new);
    if let Err(error) = rustix::thread::set_current_timer_slack(nanos) {
        tracing::debug!(%error, "the timers of a thread are as punctual as they were");
    }
}

/// Does `work`, and lets timers of the threads that it starts be late by up to `late`.
pub fn in_no_hurry<T>(late: Duration, work: impl FnOnce() -> T) -> T {
    take_time(late);
    let done = work();
    take_time(Duration::ZERO);
    done
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn slack() -> u64 {
        rustix::thread::current_timer_slack().unwrap()
    }

    #[test]
    fn only_threads_that_were_started_in_no_hurry_go_on_without_it() {
        let before = slack();
        let late = Duration::from_millis(20);
        let started = in_no_hurry(late, || thread::spawn(slack)).join().unwrap();
        assert_eq!(started, 20_000_000);
        assert_eq!(slack(), before);
        assert_eq!(thread::spawn(slack).join().unwrap(), before);
    }
}
