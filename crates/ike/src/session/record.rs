//! The state "from the ticket" of RFC 5723 section 5, and its one encoding.
//!
//! The gateway's ticket and the client's record hold the same [`Resumable`], so
//! both ends agree by construction on what a resumed SA starts from.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crypto::{AdditionalGroups, CbcIntegrity, Group, IkeCipher, IkeSuite, KeyLen, PrfAlg, SkD};
use zeroize::Zeroizing;

use super::evidence::{self, Evidence};
use crate::identity::Id;
use crate::inner::Addresses;
use crate::time::unix_seconds;

/// How the peer was authenticated when the session was set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMethod {
    /// With a pre-shared key.
    PreShared,
    /// With a signature: by a certificate or a raw public key.
    Signature,
}

/// What a resumed SA takes over from the one before it.
pub struct Resumable {
    /// IDi, which the resumed `IKE_AUTH` must repeat (B17).
    pub initiator: Id,
    /// IDr, likewise (B19).
    pub responder: Id,
    /// The initiator's authenticated identity, when it is not IDi (C2: EAP).
    pub authenticated: Option<Id>,
    /// How the initiator was authenticated.
    pub method: AuthMethod,
    /// When that was, in whole seconds: renewing tickets does not renew it.
    pub authenticated_at: SystemTime,
    /// By what it was. Known to the responder only, which gives no ticket for
    /// longer than that is good, and takes none of which it would not be.
    pub evidence: Option<Evidence>,
    /// The PPK_ID of the PPK that SK_d rests on (RFC 8784), up to 65535 octets.
    pub ppk: Option<Arc<str>>,
    /// The IKE algorithms.
    pub suite: IkeSuite,
    /// The inner addresses that the initiator had, to ask for and to give again (C5).
    pub inner: Addresses,
    /// SK_d of the SA before, from which the next one's keys come (C7).
    pub sk_d: SkD,
}

impl Resumable {
    /// Who the initiator is, by whichever proof it gave.
    #[must_use]
    pub fn peer_of_responder(&self) -> &Id {
        self.authenticated.as_ref().unwrap_or(&self.initiator)
    }
}

/// The octets are not an encoded [`Resumable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a session record")]
pub struct Malformed;

/// Appends the canonical encoding.
pub fn encode(state: &Resumable, out: &mut Vec<u8>) {
    out.extend_from_slice(&[
        cipher_code(state.suite.cipher),
        prf_code(state.suite.prf),
        group_code(state.suite.group),
        method_code(state.method),
        presence(state),
    ]);
    encode_additional(state.suite.additional, out);
    out.extend_from_slice(&unix_seconds(state.authenticated_at).to_be_bytes());
    out.extend_from_slice(state.sk_d.export_to_ticket());
    encode_id(&state.initiator, out);
    encode_id(&state.responder, out);
    if let Some(id) = &state.authenticated {
        encode_id(id, out);
    }
    if let Some(address) = state.inner.v4 {
        out.extend_from_slice(&address.octets());
    }
    if let Some(address) = state.inner.v6 {
        out.extend_from_slice(&address.octets());
    }
    if let Some(evidence) = &state.evidence {
        evidence::encode(evidence, out);
    }
    if let Some(id) = &state.ppk {
        encode_text(id, out);
    }
}

/// Which optional parts follow.
const HAS_AUTHENTICATED: u8 = 1;
const HAS_V4: u8 = 2;
const HAS_V6: u8 = 4;
const HAS_EVIDENCE: u8 = 8;
const HAS_PPK: u8 = 16;
/// All of them.
const PARTS: u8 = HAS_AUTHENTICATED | HAS_V4 | HAS_V6 | HAS_EVIDENCE | HAS_PPK;

fn presence(state: &Resumable) -> u8 {
    let bit = |is_there, bit| if is_there { bit } else { 0 };
    bit(state.authenticated.is_some(), HAS_AUTHENTICATED)
        | bit(state.inner.v4.is_some(), HAS_V4)
        | bit(state.inner.v6.is_some(), HAS_V6)
        | bit(state.evidence.is_some(), HAS_EVIDENCE)
        | bit(state.ppk.is_some(), HAS_PPK)
}

/// Octets of the encoding.
#[must_use]
pub fn encoded_len(state: &Resumable) -> usize {
    let id_len = |id: &Id| 3 + id.data().len();
    let authenticated = state.authenticated.as_ref().map_or(0, id_len);
    let ids = id_len(&state.initiator) + id_len(&state.responder) + authenticated;
    let inner: usize = state.inner.iter().map(|a| if a.is_ipv4() { 4 } else { 16 }).sum();
    let evidence = state.evidence.as_ref().map_or(0, evidence::encoded_len);
    let ppk = state.ppk.as_ref().map_or(0, |id| 2 + id.len());
    let suite = 5 + (1 + state.suite.additional.len());
    suite + 8 + state.suite.prf.output_len() + ids + inner + evidence + ppk
}

fn encode_id(id: &Id, out: &mut Vec<u8>) {
    // An identity has at most MAX_IDENTITY octets, so the length fits.
    let len = u16::try_from(id.data().len()).unwrap_or(u16::MAX);
    out.push(id.kind().code());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(id.data());
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Room for the encoding, so that no secret is left behind by a growing buffer.
#[must_use]
pub fn buffer(capacity: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(capacity))
}

/// Takes one encoded state off the front of `input`.
///
/// # Errors
/// [`Malformed`] when the octets are not what [`encode`] writes.
pub fn decode(input: &mut &[u8]) -> Result<Resumable, Malformed> {
    let &[cipher, prf, group, method, presence] = take_array(input)?;
    let additional = decode_additional(input)?;
    let suite = IkeSuite {
        additional,
        cipher: cipher_from(cipher).ok_or(Malformed)?,
        prf: prf_from(prf).ok_or(Malformed)?,
        group: group_from(group).ok_or(Malformed)?,
    };
    let method = method_from(method).ok_or(Malformed)?;
    let authenticated_at = time_from(u64::from_be_bytes(*take_array(input)?))?;
    let sk_d =
        SkD::from_ticket(suite.prf, take(input, suite.prf.output_len())?).map_err(|_| Malformed)?;
    let initiator = decode_id(input)?;
    let responder = decode_id(input)?;
    if presence & !PARTS != 0 {
        return Err(Malformed);
    }
    let has = |bit| presence & bit != 0;
    let authenticated = if has(HAS_AUTHENTICATED) { Some(decode_id(input)?) } else { None };
    let v4 = if has(HAS_V4) { Some(take_array::<4>(input)?) } else { None };
    let v6 = if has(HAS_V6) { Some(take_array::<16>(input)?) } else { None };
    let inner = Addresses { v4: v4.copied().map(Into::into), v6: v6.copied().map(Into::into) };
    let evidence = if has(HAS_EVIDENCE) { Some(evidence::decode(input)?) } else { None };
    let ppk = if has(HAS_PPK) { Some(decode_text(input)?.into()) } else { None };
    Ok(Resumable {
        initiator,
        responder,
        authenticated,
        method,
        authenticated_at,
        evidence,
        ppk,
        suite,
        inner,
        sk_d,
    })
}

/// Which there are, one bit each, and then their groups.
fn encode_additional(additional: AdditionalGroups, out: &mut Vec<u8>) {
    let present = |i: &usize| additional.get(*i).is_some();
    out.push((0..AdditionalGroups::MAX).filter(present).fold(0, |mask, i| mask | 1 << i));
    out.extend(additional.iter().map(group_code));
}

fn decode_additional(input: &mut &[u8]) -> Result<AdditionalGroups, Malformed> {
    let &[mask] = take_array(input)?;
    if mask >> AdditionalGroups::MAX != 0 {
        return Err(Malformed);
    }
    (0..AdditionalGroups::MAX).filter(|i| mask & 1 << i != 0).try_fold(
        AdditionalGroups::NONE,
        |groups, i| {
            let &[code] = take_array(input)?;
            Ok(groups.with(i, group_from(code).ok_or(Malformed)?))
        },
    )
}

fn decode_id(input: &mut &[u8]) -> Result<Id, Malformed> {
    let &[kind] = take_array(input)?;
    let len = usize::from(u16::from_be_bytes(*take_array(input)?));
    Id::from_wire(kind, take(input, len)?).map_err(|_| Malformed)
}

fn decode_text<'a>(input: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let len = usize::from(u16::from_be_bytes(*take_array(input)?));
    std::str::from_utf8(take(input, len)?).map_err(|_| Malformed)
}

/// The time `seconds` after 1970, if the clock can show it.
pub(super) fn time_from(seconds: u64) -> Result<SystemTime, Malformed> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(Malformed)
}

pub(super) fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = input.split_at_checked(len).ok_or(Malformed)?;
    *input = rest;
    Ok(taken)
}

pub(super) fn take_array<'a, const N: usize>(
    input: &mut &'a [u8],
) -> Result<&'a [u8; N], Malformed> {
    let (taken, rest) = input.split_first_chunk::<N>().ok_or(Malformed)?;
    *input = rest;
    Ok(taken)
}

// The codes below are this encoding's own, and are never given another meaning.

const KEY_LENGTHS: [KeyLen; 3] = [KeyLen::L128, KeyLen::L192, KeyLen::L256];
const INTEGRITIES: [CbcIntegrity; 3] =
    [CbcIntegrity::HmacSha256_128, CbcIntegrity::HmacSha384_192, CbcIntegrity::HmacSha512_256];

const fn key_code(len: KeyLen) -> u8 {
    match len {
        KeyLen::L128 => 0,
        KeyLen::L192 => 1,
        KeyLen::L256 => 2,
    }
}

const fn integrity_code(integrity: CbcIntegrity) -> u8 {
    match integrity {
        CbcIntegrity::HmacSha256_128 => 0,
        CbcIntegrity::HmacSha384_192 => 1,
        CbcIntegrity::HmacSha512_256 => 2,
    }
}

/// High nibble: the construction; low nibble: the key length.
const fn cipher_code(cipher: IkeCipher) -> u8 {
    match cipher {
        IkeCipher::AesGcm16(len) => 0x10 | key_code(len),
        IkeCipher::AesCbc(len, integrity) => {
            (0x20 + 0x10 * integrity_code(integrity)) | key_code(len)
        }
        IkeCipher::ChaCha20Poly1305 => 0x50 | key_code(KeyLen::L256),
    }
}

fn cipher_from(code: u8) -> Option<IkeCipher> {
    let len = *KEY_LENGTHS.get(usize::from(code & 0x0f))?;
    match code >> 4 {
        0 => None,
        1 => Some(IkeCipher::AesGcm16(len)),
        5 => (len == KeyLen::L256).then_some(IkeCipher::ChaCha20Poly1305),
        kind => Some(IkeCipher::AesCbc(len, *INTEGRITIES.get(usize::from(kind - 2))?)),
    }
}

const fn prf_code(prf: PrfAlg) -> u8 {
    match prf {
        PrfAlg::HmacSha256 => 1,
        PrfAlg::HmacSha384 => 2,
        PrfAlg::HmacSha512 => 3,
    }
}

const fn prf_from(code: u8) -> Option<PrfAlg> {
    match code {
        1 => Some(PrfAlg::HmacSha256),
        2 => Some(PrfAlg::HmacSha384),
        3 => Some(PrfAlg::HmacSha512),
        _ => None,
    }
}

const fn group_code(group: Group) -> u8 {
    match group {
        Group::X25519 => 1,
        Group::P256 => 2,
        Group::P384 => 3,
        Group::Modp2048 => 4,
        Group::P521 => 5,
        Group::Modp3072 => 6,
        Group::Modp4096 => 7,
        Group::MlKem512 => 8,
        Group::MlKem768 => 9,
        Group::MlKem1024 => 10,
    }
}

const fn group_from(code: u8) -> Option<Group> {
    match code {
        1 => Some(Group::X25519),
        2 => Some(Group::P256),
        3 => Some(Group::P384),
        4 => Some(Group::Modp2048),
        5 => Some(Group::P521),
        6 => Some(Group::Modp3072),
        7 => Some(Group::Modp4096),
        8 => Some(Group::MlKem512),
        9 => Some(Group::MlKem768),
        10 => Some(Group::MlKem1024),
        _ => None,
    }
}

const fn method_code(method: AuthMethod) -> u8 {
    match method {
        AuthMethod::PreShared => 1,
        AuthMethod::Signature => 2,
    }
}

const fn method_from(code: u8) -> Option<AuthMethod> {
    match code {
        1 => Some(AuthMethod::PreShared),
        2 => Some(AuthMethod::Signature),
        _ => None,
    }
}
