//! What secrets leave behind on the stack.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;

/// Does `work`, then writes over the stack and the vector registers that it used.
///
/// What is wiped on drop was moved there, and reckoned with, and each move leaves a copy: of RSA
/// keys, half a kilobyte for each number; of what is decrypted, its last blocks.
pub(crate) fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let done = on_stack(work);
    wipe_stack();
    // Without memory for the key there is nothing to write over them with.
    let _ = wipe_registers();
    done
}

#[inline(never)]
fn on_stack<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "it is the stack that is written over")]
fn wipe_stack() {
    /// More than such work takes. A thread has at least 2 MiB.
    const USED: usize = 256 * 1024;
    black_box(&mut [0_u8; USED]);
}

/// Encrypts and decrypts zeros, since that leaves the last eight blocks in the registers where those
/// of a secret were. From there they would come to the stack where a thread starts, for which the
/// dynamic linker binds a symbol and keeps all registers meanwhile, and where a signal is handled.
fn wipe_registers() -> Result<(), Unspecified> {
    /// Some rounds of eight blocks, and its tag.
    const ZEROS: usize = 1024;
    const TAG: usize = 16;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &[0; 32])?);
    let nonce = || Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let mut bytes = [0; ZEROS + TAG];
    let (zeros, tag) = bytes.split_at_mut(ZEROS);
    let made = key.seal_in_place_separate_tag(nonce(), Aad::empty(), zeros)?;
    tag.copy_from_slice(made.as_ref());
    key.open_in_place(nonce(), Aad::empty(), &mut bytes).map(|_| ())
}
