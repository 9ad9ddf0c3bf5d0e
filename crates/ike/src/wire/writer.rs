//! Emits messages: payloads are appended to one buffer, next-payload types and
//! lengths are filled in on the way.

mod payloads;

use std::marker::PhantomData;

use super::encrypted::EncryptedFragment;
use super::header::Header;
use super::limits;
use super::payload::Raw;
use super::registry::{PayloadType, Protocol};
use super::transform::Transform;

/// A length field has no room for what was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("message too long for its length fields")]
pub struct TooLong;

/// A builder whose payloads go out in the clear.
pub enum Clear {}

/// A builder whose payloads go into an Encrypted payload.
pub enum Protected {}

/// A proposal to send.
#[derive(Clone, Copy, Debug)]
pub struct NewProposal<'a> {
    /// 1 and ascending in a request; in a response, that of the chosen one.
    pub number: u8,
    /// What the SA is for.
    pub protocol: Protocol,
    /// Our SPI: 4 octets for AH and ESP; for IKE 8, or none in an initial exchange.
    pub spi: &'a [u8],
    /// The transforms, the preferred of each type first.
    pub transforms: &'a [Transform],
}

/// Builds one message in a buffer that can be used again.
///
/// ```
/// use ike::wire::{ExchangeType, Flags, Header, IkeSpi, Message, MessageBuilder};
///
/// let spis = (IkeSpi([1; 8]), IkeSpi::ZERO);
/// let flags = Flags { initiator: true, response: false };
/// let header = Header::new(spis, ExchangeType::SA_INIT, flags, 0);
/// let mut builder = MessageBuilder::new(Vec::new(), header);
/// builder.nonce(&[7; 32]);
/// let datagram = builder.finish()?;
/// assert_eq!(Message::parse(&datagram)?.payloads.nonce(), Some(&[7; 32][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What does not fit a length field is reported by the finishing call. The
/// values themselves are the caller's affair: a nonce of three octets is
/// emitted as it is told.
pub struct MessageBuilder<State = Clear> {
    out: Vec<u8>,
    /// Where the type of the next payload has to be written.
    next_at: usize,
    /// Where the payload that will be sealed begins, if there is one.
    sealed_at: usize,
    /// Where the payloads inside it begin.
    inner_at: usize,
    too_long: bool,
    state: PhantomData<State>,
}

/// Where the header has its Next Payload and Length fields.
const HEADER_NEXT_AT: usize = 16;
const HEADER_LENGTH_AT: usize = 24;

impl MessageBuilder<Clear> {
    /// Begins a message; next payload and length of `header` are not looked at.
    /// `buffer` is emptied; its room is used again.
    #[must_use]
    pub fn new(mut buffer: Vec<u8>, header: Header) -> Self {
        buffer.clear();
        Header { next: PayloadType::NONE, length: 0, ..header }.emit(&mut buffer);
        Self {
            out: buffer,
            next_at: HEADER_NEXT_AT,
            sealed_at: 0,
            inner_at: 0,
            too_long: false,
            state: PhantomData,
        }
    }

    /// The message, its length filled in.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn finish(mut self) -> Result<Vec<u8>, TooLong> {
        let length = self.out.len();
        self.patch_message_length(length);
        if self.too_long { Err(TooLong) } else { Ok(self.out) }
    }

    /// Begins an Encrypted payload: what is appended from here on goes into it.
    #[must_use]
    pub fn begin_encrypted(self) -> MessageBuilder<Protected> {
        self.begin_sealed(PayloadType::SK, &[])
    }

    /// Begins an Encrypted Fragment payload, to be finished with the part of
    /// the plaintext that it carries ([`MessageBuilder::finish_with_chain`]).
    #[must_use]
    pub fn begin_fragment(self, number: u16, total: u16) -> MessageBuilder<Protected> {
        let [a, b] = number.to_be_bytes();
        let [c, d] = total.to_be_bytes();
        let numbers: [u8; EncryptedFragment::NUMBERS_LEN] = [a, b, c, d];
        self.begin_sealed(PayloadType::SKF, &numbers)
    }

    fn begin_sealed(mut self, kind: PayloadType, numbers: &[u8]) -> MessageBuilder<Protected> {
        let sealed_at = self.begin_payload(kind);
        self.out.extend_from_slice(numbers);
        MessageBuilder {
            inner_at: self.out.len(),
            out: self.out,
            next_at: self.next_at,
            sealed_at,
            too_long: self.too_long,
            state: PhantomData,
        }
    }
}

impl MessageBuilder<Protected> {
    /// The message ready to be sealed, and where the payloads to seal begin in
    /// it. The lengths in front of that are final: they count the
    /// `sealed_body_len(n)` octets that sealing makes of `n` octets of payloads.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn finish_encrypted(
        mut self,
        sealed_body_len: impl FnOnce(usize) -> usize,
    ) -> Result<(Vec<u8>, usize), TooLong> {
        let plaintext = self.out.len() - self.inner_at;
        let end = self.inner_at.saturating_add(sealed_body_len(plaintext));
        self.patch_payload_length(self.sealed_at, end - self.sealed_at);
        self.patch_message_length(end);
        if self.too_long { Err(TooLong) } else { Ok((self.out, self.inner_at)) }
    }

    /// As [`Self::finish_encrypted`], after `chain`: payloads already encoded,
    /// of which the first is of type `first`. Fragments are made of such parts,
    /// all but the first with [`PayloadType::NONE`] (RFC 7383 section 2.5).
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn finish_with_chain(
        mut self,
        first: PayloadType,
        chain: &[u8],
        sealed_body_len: impl FnOnce(usize) -> usize,
    ) -> Result<(Vec<u8>, usize), TooLong> {
        self.patch(self.next_at, &[first.0]);
        self.out.extend_from_slice(chain);
        self.finish_encrypted(sealed_body_len)
    }
}

/// The chain and its length fields.
impl<State> MessageBuilder<State> {
    /// One payload: `body` appends what follows the generic header.
    fn payload_of(&mut self, kind: PayloadType, body: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.begin_payload(kind);
        body(self);
        let length = self.out.len() - start;
        self.patch_payload_length(start, length);
        self
    }

    /// Links a payload into the chain and appends its generic header.
    fn begin_payload(&mut self, kind: PayloadType) -> usize {
        let start = self.out.len();
        self.patch(self.next_at, &[kind.0]);
        self.out.extend_from_slice(&[0; Raw::HEADER_LEN]);
        self.next_at = start;
        start
    }

    fn patch_payload_length(&mut self, start: usize, length: usize) {
        self.patch_length(start + 2, length);
    }

    fn patch_message_length(&mut self, length: usize) {
        self.too_long |= length > limits::MESSAGE;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.patch(HEADER_LENGTH_AT, &length.to_be_bytes());
    }

    fn patch_length(&mut self, at: usize, length: usize) {
        let length = self.narrow16(length);
        self.patch(at, &length.to_be_bytes());
    }

    fn patch(&mut self, at: usize, octets: &[u8]) {
        if let Some(place) = self.out.get_mut(at..at + octets.len()) {
            place.copy_from_slice(octets);
        }
    }

    /// A value for a field of one octet; remembers when it does not fit.
    fn narrow(&mut self, value: usize) -> u8 {
        u8::try_from(value).unwrap_or_else(|_| {
            self.too_long = true;
            u8::MAX
        })
    }

    /// A value for a field of two octets; remembers when it does not fit.
    fn narrow16(&mut self, value: usize) -> u16 {
        u16::try_from(value).unwrap_or_else(|_| {
            self.too_long = true;
            u16::MAX
        })
    }
}
