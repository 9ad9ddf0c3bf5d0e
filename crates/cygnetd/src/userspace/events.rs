//! What the plane tells the engine.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use esp::plane::PlaneEvent;

use crate::wake::Wake;

/// Events that the network can cause wait in this number at most. Those that
/// answer a command or are raised once a child or hold have their own bound.
const MAX_FROM_NETWORK: usize = 4096;

pub(super) struct Events {
    queue: Mutex<VecDeque<PlaneEvent>>,
    ready: Wake,
}

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { queue: Mutex::default(), ready: Wake::new()? })
    }

    pub(super) fn push(&self, event: PlaneEvent) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let is_from_network = match event {
            PlaneEvent::MappingChanged(..) => true,
            PlaneEvent::Completed(..) | PlaneEvent::Acquire(_) | PlaneEvent::Expired(..) => false,
        };
        if is_from_network && queue.len() >= MAX_FROM_NETWORK {
            return;
        }
        queue.push_back(event);
        if queue.len() == 1 {
            self.ready.raise();
        }
    }

    pub(super) fn pop(&self) -> Option<PlaneEvent> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let event = queue.pop_front();
        if event.is_none() {
            self.ready.lower();
        }
        event
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}
