//! INFORMATIONAL (RFC 7296 section 1.4): deletes, liveness, tickets on request.

use std::time::Duration;

use esp::spec::Spi;

use crate::session::{Grant, Ticket};
use crate::time::Now;
use crate::wire::{Delete, NotifyType, Payloads, Protocol};

/// What a request asks for. One that asks for nothing is a liveness check.
#[derive(Default)]
pub(crate) struct Asked {
    /// The IKE SA is over.
    pub(crate) delete_ike: bool,
    /// A ticket (A1).
    pub(crate) ticket: bool,
    /// The peer could not verify our AUTH (RFC 7296 section 2.21.2).
    pub(crate) rejected: bool,
}

impl Asked {
    pub(crate) fn of(payloads: &Payloads<'_>) -> Self {
        Self {
            delete_ike: payloads.deletes().any(|delete| matches!(delete, Delete::IkeSa)),
            ticket: payloads.notify(NotifyType::TICKET_REQUEST).is_some(),
            rejected: payloads.notify(NotifyType::AUTHENTICATION_FAILED).is_some(),
        }
    }
}

/// Whether a child is deleted, named by the SPI of packets to the peer.
pub(crate) fn deletes_child(payloads: &Payloads<'_>, spi_out: Spi) -> bool {
    payloads.deletes().any(|delete| match delete {
        Delete::IkeSa => false,
        Delete::Children { protocol, spis } => {
            protocol == Protocol::ESP && spis.iter().any(|spi| spi == spi_out.get())
        }
    })
}

/// The ticket in a response, if there is one and it lives for a while
/// (RFC 5723 section 7.1). Its expiry is ours to count from now.
pub(crate) fn grant(payloads: &Payloads<'_>, now: Now) -> Option<Grant> {
    let notify = payloads.notify(NotifyType::TICKET_LT_OPAQUE)?;
    let (seconds, octets) = notify.ticket_with_lifetime()?;
    let ticket = Ticket::new(octets)?;
    let lifetime = Duration::from_secs(u64::from(seconds));
    let expires = now.wall.checked_add(lifetime)?;
    (seconds > 0).then_some(Grant { ticket, expires, lifetime })
}

/// Whether the gateway asked to be asked again later (A4).
pub(crate) fn ticket_later(payloads: &Payloads<'_>) -> bool {
    payloads.notify(NotifyType::TICKET_ACK).is_some()
}
