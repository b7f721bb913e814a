//! The calling thread: what it is called, and that it gives way.

use std::ffi::CStr;

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
