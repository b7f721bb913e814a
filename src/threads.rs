//! The calling thread: what it is called, that it gives way, and how late its timers may be.

use std::ffi::CStr;
use std::io;
use std::num::NonZero;
use std::time::Duration;

use thread_priority::unix::{
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// How nice a thread is that gives way: as nice as there is (setpriority(2)).
pub const NICENESS: i32 = 19;

/// Has the calling thread run only where nothing else wants to (`SCHED_IDLE`, sched(7)): whoever wakes
/// up has the core at once. A thread that is only nice goes on for a while, some milliseconds: as long
/// as a hundred signatures take. It cannot be taken back.
///
/// # Errors
///
/// Where that is forbidden; the thread is at least as nice as there is, if that is not forbidden too.
pub fn take_what_is_left() -> io::Result<()> {
    // It also resets the niceness, which may be forbidden where the policy is not.
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE);
    give_way()?;
    if is_taking_what_is_left() {
        return Ok(());
    }
    Err(io::Error::other(set.err().map_or("it had no effect".into(), |error| error.to_string())))
}

/// Whether the calling thread does.
#[must_use]
pub fn is_taking_what_is_left() -> bool {
    thread_schedule_policy().is_ok_and(|policy| policy == IDLE)
}

/// Lowers the priority of the calling thread. Linux keeps it for each thread by itself, against POSIX.
///
/// # Errors
///
/// Where that is forbidden; the thread keeps its priority then.
pub fn give_way() -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn slack() -> u64 {
        rustix::thread::current_timer_slack().unwrap()
    }

    #[test]
    fn the_timers_of_one_thread_may_be_late_and_of_no_other() {
        let before = slack();
        let late = thread::spawn(|| {
            take_time(Duration::from_millis(20));
            slack()
        });
        assert_eq!(late.join().unwrap(), 20_000_000);
        assert_eq!(slack(), before);
    }

    #[test]
    fn a_thread_that_takes_what_is_left_gives_way_alone() {
        let thread = thread::spawn(|| {
            assert!(!is_taking_what_is_left());
            take_what_is_left().unwrap();
            let niceness = rustix::process::getpriority_process(None).unwrap();
            (is_taking_what_is_left(), niceness)
        });
        assert_eq!(thread.join().unwrap(), (true, NICENESS));
        assert!(!is_taking_what_is_left());
    }
}
