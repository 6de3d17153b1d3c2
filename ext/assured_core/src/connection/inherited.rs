//! Sockets in forked children. A child that does not execute another program keeps its parent's sockets open for as
//! long as it lives, so the server would not see that the parent was killed.

use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bit for each descriptor. Nothing else may be looked at in a child of a process with several threads. A descriptor
/// that finds no place stays open there.
static OPEN: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// A descriptor that children must not keep. Goes before the descriptor is closed: afterwards, its number may be
/// another's.
pub(super) struct NotInherited(RawFd);

impl NotInherited {
    pub(super) fn new(descriptor: RawFd) -> Self {
        static WATCH: Once = Once::new();
        // SAFETY: the handler calls only what is allowed after a fork.
        WATCH.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(let_go));
        });
        if let Some((word, bit)) = place(descriptor) {
            word.fetch_or(bit, Ordering::SeqCst);
        }
        Self(descriptor)
    }
}

impl Drop for NotInherited {
    fn drop(&mut self) {
        if let Some((word, bit)) = place(self.0) {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
    }
}

fn place(descriptor: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(descriptor).ok()?;
    Some((OPEN.get(number / 64)?, 1 << (number % 64)))
}

/// In the child: the numbers stay taken, by something else, since objects that hold them are still in its memory.
unsafe extern "C" fn let_go() {
    // SAFETY: these calls are safe after a fork, and the descriptors are those of this module alone.
    unsafe {
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if nothing < 0 {
            return;
        }
        for (index, word) in OPEN.iter().enumerate() {
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                let descriptor = (index * 64) as RawFd + bits.trailing_zeros() as RawFd;
                libc::dup2(nothing, descriptor);
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
                bits &= bits - 1;
            }
        }
        libc::close(nothing);
    }
}
