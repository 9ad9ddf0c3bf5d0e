//! By what an initiator was authenticated: what its gateway keeps of it, to see
//! when a ticket is presented whether it would be accepted today.

use std::time::SystemTime;

use pki::{Mark, Trace, Vouched};

use super::record::{Malformed, take, take_array, time_from};
use crate::config::RemoteAuth;
use crate::identity::Id;
use crate::session::TicketIssuer;
use crate::time::unix_seconds;

/// Stands for a pre-shared key. It is made with a key of this process, so that
/// no guess can be checked against what is in a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretMark(pub(super) [u8; 8]);

/// By what an initiator was authenticated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// With this pre-shared key.
    Secret(SecretMark),
    /// With a key that was believed to be its own.
    Key {
        /// Why it was believed.
        vouched: Vouched,
        /// When its certificate expires, in whole seconds; `None` for a raw key.
        expires: Option<SystemTime>,
    },
}

impl Evidence {
    /// When it is not good any more, if that is known.
    #[must_use]
    pub const fn expires(&self) -> Option<SystemTime> {
        match self {
            Self::Secret(_) => None,
            Self::Key { expires, .. } => *expires,
        }
    }

    /// Whether a peer of this name would be let in today by what it has shown then.
    #[must_use]
    pub fn convinces(
        &self,
        remote: &RemoteAuth,
        peer: &Id,
        issuer: &TicketIssuer,
        now: SystemTime,
    ) -> bool {
        match (self, remote) {
            (Self::Secret(mark), RemoteAuth::PreShared(keys)) => {
                keys.with(peer).is_some_and(|secret| issuer.mark(secret) == *mark)
            }
            (Self::Key { vouched, .. }, RemoteAuth::PublicKey(trust)) => {
                trust.still_believes(vouched, now).is_ok()
            }
            (Self::Secret(_), RemoteAuth::PublicKey(_))
            | (Self::Key { .. }, RemoteAuth::PreShared(_)) => false,
        }
    }
}

const SECRET: u8 = 1;
const KEY: u8 = 2;
const KEY_WITH_EXPIRY: u8 = 3;

const MAY_ISSUE: u8 = 1;
const NAMES_LIST: u8 = 2;
const HAS_PLACES: u8 = 4;

/// Appends the encoding. Of what is too large for it, there is too much for a
/// ticket as well: see `encoded_len`.
pub(super) fn encode(evidence: &Evidence, out: &mut Vec<u8>) {
    match evidence {
        Evidence::Secret(SecretMark(mark)) => {
            out.push(SECRET);
            out.extend_from_slice(mark);
        }
        Evidence::Key { vouched, expires } => {
            out.push(if expires.is_some() { KEY_WITH_EXPIRY } else { KEY });
            if let Some(expires) = expires {
                out.extend_from_slice(&unix_seconds(*expires).to_be_bytes());
            }
            out.extend_from_slice(&vouched.by.0);
            out.push(len_octet(vouched.certificates.len()));
            vouched.certificates.iter().for_each(|trace| encode_trace(trace, out));
        }
    }
}

fn encode_trace(trace: &Trace, out: &mut Vec<u8>) {
    let Trace { issuer, serial, may_issue, names_list, places } = trace;
    let bit = |is_there, bit| if is_there { bit } else { 0 };
    out.push(
        bit(*may_issue, MAY_ISSUE)
            | bit(*names_list, NAMES_LIST)
            | bit(places.is_some(), HAS_PLACES),
    );
    out.extend_from_slice(&issuer.0);
    out.push(len_octet(serial.len()));
    out.extend_from_slice(serial);
    if let Some(places) = places {
        out.push(len_octet(places.len()));
        places.iter().for_each(|place| out.extend_from_slice(&place.0));
    }
}

fn len_octet(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

/// Octets of the encoding. More than a ticket may have, if a length has no room
/// in its octet: then there is none.
pub(super) fn encoded_len(evidence: &Evidence) -> usize {
    match evidence {
        Evidence::Secret(_) => 1 + 8,
        Evidence::Key { vouched, expires } => {
            let expiry = if expires.is_some() { 8 } else { 0 };
            let traces: usize = vouched.certificates.iter().map(trace_len).sum();
            1 + expiry + 16 + 1 + traces
        }
    }
}

fn trace_len(trace: &Trace) -> usize {
    let serial = counted(trace.serial.len(), 1);
    let places = trace.places.as_ref().map_or(0, |places| counted(places.len(), 16));
    1 + 16 + serial + places
}

/// A number of items of this size, with their number.
fn counted(items: usize, size: usize) -> usize {
    let too_many = if items > usize::from(u8::MAX) { super::ticket::MAX_ISSUED } else { 0 };
    1 + items * size + too_many
}

/// Takes what [`encode`] writes off the front of `input`.
pub(super) fn decode(input: &mut &[u8]) -> Result<Evidence, Malformed> {
    let &[kind] = take_array(input)?;
    let expires = match kind {
        SECRET => return Ok(Evidence::Secret(SecretMark(*take_array(input)?))),
        KEY => None,
        KEY_WITH_EXPIRY => Some(time_from(u64::from_be_bytes(*take_array(input)?))?),
        _ => return Err(Malformed),
    };
    let by = Mark(*take_array(input)?);
    let &[count] = take_array(input)?;
    let certificates = (0..count).map(|_| decode_trace(input)).collect::<Result<_, _>>()?;
    Ok(Evidence::Key { vouched: Vouched { by, certificates }, expires })
}

fn decode_trace(input: &mut &[u8]) -> Result<Trace, Malformed> {
    let &[flags] = take_array(input)?;
    if flags & !(MAY_ISSUE | NAMES_LIST | HAS_PLACES) != 0 {
        return Err(Malformed);
    }
    let issuer = Mark(*take_array(input)?);
    let &[len] = take_array(input)?;
    let serial = take(input, usize::from(len))?.into();
    let places = if flags & HAS_PLACES == 0 { None } else { Some(decode_places(input)?) };
    let (may_issue, names_list) = (flags & MAY_ISSUE != 0, flags & NAMES_LIST != 0);
    Ok(Trace { issuer, serial, may_issue, names_list, places })
}

fn decode_places(input: &mut &[u8]) -> Result<Vec<Mark>, Malformed> {
    let &[count] = take_array(input)?;
    (0..count).map(|_| Ok(Mark(*take_array(input)?))).collect()
}
