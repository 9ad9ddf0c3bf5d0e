//! The end of an SA: telling the peer, and remembering what was last said.

mod closed;
mod deleting;
mod retiring;
mod superseded;
mod withdrawing;

use std::time::Duration;

use crate::context::Context;
use crate::exchange::informational::Asked;
use crate::sa::channel::{Channel, Incoming, Refused};
use crate::sa::datagram::Datagram;
use crate::wire::{ExchangeType, NotifyType};

pub(crate) use closed::Closed;
pub(crate) use deleting::Deleting;
pub(crate) use retiring::Retiring;
pub(crate) use superseded::Superseded;
pub(crate) use withdrawing::Withdrawing;

/// How long packets still come in by a child that was replaced: those that were
/// on their way when its end was agreed on.
pub(crate) const LATE_PACKETS: Duration = Duration::from_secs(5);

/// Answers a request to an SA that is being closed; whether it was the Delete
/// of it. Nothing new is begun (RFC 7296 section 2.25.2).
fn answer_last(
    channel: &mut Channel,
    cx: &mut Context,
    datagram: &mut Datagram<'_>,
) -> Result<bool, Refused> {
    let Incoming { message, ticket } = channel.receive_request(cx, datagram)?;
    let is_informational = ticket.exchange == ExchangeType::INFORMATIONAL;
    let is_end = is_informational && Asked::of(message.payloads()).delete_ike;
    channel.answer(cx, ticket, |builder| {
        if !is_informational {
            builder.notify(NotifyType::TEMPORARY_FAILURE, &[]);
        }
    })?;
    Ok(is_end)
}
