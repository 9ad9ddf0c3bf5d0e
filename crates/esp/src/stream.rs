//! IKE and ESP in one stream of octets (RFC 9329 sections 3 and 4).
//!
//! ```text
//! "IKETCP"                         once, from whoever has opened the stream
//! length | 0 0 0 0 | IKE message
//! length | ESP packet
//! length | 0xff                    a NAT keepalive
//! ```
//! A length counts itself. What comes is cut out of the octets where they are:
//! only a message that a read has cut in two is copied.

use std::ops::Range;

/// What a stream begins with (RFC 9329 section 4).
pub const PREFIX: [u8; 6] = *b"IKETCP";

/// Octets of the length before each message.
pub const LENGTH_LEN: usize = 2;

/// Before IKE, as on the UDP port that it shares with ESP (RFC 3948 section 2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// A NAT keepalive (RFC 3948 section 2.3).
const KEEPALIVE: [u8; 1] = [0xff];

/// A buffer for a message in parts is given back when it is larger.
const KEPT_CAPACITY: usize = 4096;

/// What a stream carries.
#[derive(PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// An IKE message, without the marker.
    Ike(&'a mut [u8]),
    /// ESP packets of the same size in a row: in every `stride` octets first a
    /// length, which has [`LENGTH_LEN`] octets, and then the packet.
    Esp {
        /// Lengths and packets.
        frames: &'a mut [u8],
        /// Octets from one length to the next.
        stride: usize,
    },
    /// A NAT keepalive; nothing is wrong with it (RFC 9329 section 6.6).
    Keepalive,
    /// Something too short for anything.
    Runt,
}

/// The stream is not what RFC 9329 describes: it is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Corrupt {
    /// It begins with something else (section 4).
    #[error("the stream does not begin with IKETCP")]
    Prefix,
    /// A length does not even count itself (section 3.1).
    #[error("a length of 0 or 1")]
    Length,
}

/// A message is longer than a length can say: 65,533 octets with its marker
/// (RFC 9329 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message is too long for a stream")]
pub struct TooLong;

/// What goes before a message or packet of so many octets.
///
/// # Errors
/// [`TooLong`].
pub fn length(octets: usize) -> Result<[u8; LENGTH_LEN], TooLong> {
    let length = octets.checked_add(LENGTH_LEN).and_then(|all| u16::try_from(all).ok());
    length.map(u16::to_be_bytes).ok_or(TooLong)
}

/// What goes before an IKE message of so many octets: the length and the marker.
///
/// # Errors
/// [`TooLong`].
pub fn ike_head(octets: usize) -> Result<[u8; LENGTH_LEN + NON_ESP_MARKER.len()], TooLong> {
    let [high, low] = length(octets.saturating_add(NON_ESP_MARKER.len()))?;
    Ok([high, low, 0, 0, 0, 0])
}

/// Takes a stream apart, however its octets come.
#[derive(Debug)]
pub struct Decoder {
    /// What of the prefix is still to come.
    prefix: Range<usize>,
    /// The beginning of a message, at most as long as a length can say.
    partial: Vec<u8>,
}

impl Decoder {
    /// For a stream that the peer has opened: it begins with the prefix.
    #[must_use]
    pub const fn accepted() -> Self {
        Self { prefix: 0..PREFIX.len(), partial: Vec::new() }
    }

    /// For a stream that we have opened.
    #[must_use]
    pub const fn opened() -> Self {
        Self { prefix: 0..0, partial: Vec::new() }
    }

    /// Hands out what is complete with these octets, in its order. Messages
    /// without content are passed over (RFC 9329 section 3).
    ///
    /// # Errors
    /// [`Corrupt`]: what came before was handed out, and nothing that comes
    /// after has a meaning.
    pub fn feed(
        &mut self,
        mut octets: &mut [u8],
        mut each: impl FnMut(Content<'_>),
    ) -> Result<(), Corrupt> {
        self.take_prefix(&mut octets)?;
        self.complete_partial(&mut octets, &mut each)?;
        while let Some(len) = frame_len(octets)?
            && let Some(frame) = octets.get(..len)
        {
            let is_esp = is_esp(frame);
            let row = if is_esp { row_of_esp(octets, len) } else { 1 };
            let frames = octets.split_off_mut(..row * len).unwrap_or_default();
            hand_out(frames, len, is_esp, &mut each);
        }
        self.partial.extend_from_slice(octets);
        Ok(())
    }

    fn take_prefix(&mut self, octets: &mut &mut [u8]) -> Result<(), Corrupt> {
        let count = self.prefix.len().min(octets.len());
        let came = octets.split_off_mut(..count).unwrap_or_default();
        let expected = self.prefix.start..self.prefix.start + count;
        if PREFIX.get(expected) != Some(came) {
            return Err(Corrupt::Prefix);
        }
        self.prefix.start += count;
        Ok(())
    }

    /// Goes on with the message that was cut in two, if there is one.
    fn complete_partial(
        &mut self,
        octets: &mut &mut [u8],
        each: &mut impl FnMut(Content<'_>),
    ) -> Result<(), Corrupt> {
        while !self.partial.is_empty() {
            let wanted = frame_len(&self.partial)?.unwrap_or(LENGTH_LEN);
            let missing = wanted.saturating_sub(self.partial.len());
            if missing == 0 {
                let is_esp = is_esp(&self.partial);
                hand_out(&mut self.partial, wanted, is_esp, each);
                self.partial.clear();
                self.partial.shrink_to(KEPT_CAPACITY);
            } else if octets.is_empty() {
                break;
            } else {
                let more = octets.split_off_mut(..missing.min(octets.len())).unwrap_or_default();
                self.partial.extend_from_slice(more);
            }
        }
        Ok(())
    }
}

/// Octets of the first message with its length, once that is there.
fn frame_len(octets: &[u8]) -> Result<Option<usize>, Corrupt> {
    let Some(&length) = octets.first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    match usize::from(u16::from_be_bytes(length)) {
        0 | 1 => Err(Corrupt::Length),
        length => Ok(Some(length)),
    }
}

fn is_esp(frame: &[u8]) -> bool {
    let message = frame.get(LENGTH_LEN..).unwrap_or_default();
    message.first_chunk().is_some_and(|first| *first != NON_ESP_MARKER)
}

/// How many messages of this length, beginning with the first, are ESP.
fn row_of_esp(octets: &[u8], len: usize) -> usize {
    let is_alike = |frame: &&[u8]| frame_len(frame) == Ok(Some(len)) && is_esp(frame);
    octets.chunks_exact(len).take_while(is_alike).count().max(1)
}

fn hand_out(frames: &mut [u8], stride: usize, is_esp: bool, each: &mut impl FnMut(Content<'_>)) {
    if is_esp {
        return each(Content::Esp { frames, stride });
    }
    let message = frames.get_mut(LENGTH_LEN..).unwrap_or_default();
    if message.is_empty() {
        return;
    }
    if *message == KEEPALIVE {
        return each(Content::Keepalive);
    }
    match message.split_first_chunk_mut::<4>() {
        Some((_, message)) => each(Content::Ike(message)),
        None => each(Content::Runt),
    }
}

#[cfg(test)]
mod tests;
