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
    queue: Mutex<Queue>,
    ready: Wake,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<PlaneEvent>,
    /// Whether `ready` is raised: raising and lowering cost a system call each.
    is_raised: bool,
}

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { queue: Mutex::default(), ready: Wake::new()? })
    }

    pub(super) fn push(&self, event: PlaneEvent) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let is_from_network = match event {
            PlaneEvent::MappingChanged(..) | PlaneEvent::StreamChanged(..) => true,
            PlaneEvent::Completed(..) | PlaneEvent::Acquire(..) | PlaneEvent::Expired(..) => false,
        };
        if is_from_network && queue.events.len() >= MAX_FROM_NETWORK {
            return;
        }
        queue.events.push_back(event);
        if !std::mem::replace(&mut queue.is_raised, true) {
            self.ready.raise();
        }
    }

    pub(super) fn pop(&self) -> Option<PlaneEvent> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let event = queue.events.pop_front();
        if event.is_none() && std::mem::take(&mut queue.is_raised) {
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
