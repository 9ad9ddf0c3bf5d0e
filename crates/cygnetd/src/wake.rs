//! Waking a thread that waits in `poll`, through an eventfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// A level that other threads can raise: readable from [`Wake::raise`] until
/// [`Wake::lower`]. Can be handed to `poll`, `epoll` or tokio's `AsyncFd`.
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// A lowered one.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes it readable. A write to an eventfd fails only when its counter is
    /// full, and then it is readable already.
    pub fn raise(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes the readiness back. Call it before looking at what it announces,
    /// so that nothing announced meanwhile is missed.
    pub fn lower(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
