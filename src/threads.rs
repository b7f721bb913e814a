//! What the calling thread is called.

use std::ffi::CStr;

/// Names the calling thread, for whoever looks at the process. At most 15 bytes are kept.
pub fn be_called(name: &CStr) {
    if let Err(error) = rustix::thread::set_name(name) {
        tracing::debug!(%error, "a thread has no name");
    }
}
