//! IKE_AUTH (RFC 7296 section 1.2, RFC 5723 section 4.3.3).
//!
//! ```text
//! HDR, SK { IDi, [IDr], AUTH, [N(INITIAL_CONTACT)], [N(TICKET_REQUEST)], SAi2, TSi, TSr } -->
//!      <-- HDR, SK { IDr, AUTH, [N(TICKET_LT_OPAQUE) | N(TICKET_NACK)], SAr2, TSi, TSr }
//! ```
//! After a resume it differs in how AUTH is made, and in nothing else: an
//! [`Expectation`] says so once, and no code below asks again.

use crypto::{Mac, PrfAlg, Psk, SignedOctets, SkP};

use crate::config::{Auth, Connection};
use crate::event::Role;
use crate::exchange::{Shape, Transcript};
use crate::fault::Failure;
use crate::identity::{Id, IdKind, IdPattern};
use crate::session::AuthForm;
use crate::wire::{self, AuthMethod, IdType, MessageBuilder, PayloadType, Payloads, Protected};

/// What a request must hold.
pub(crate) const REQUEST: Shape =
    Shape { required: &[PayloadType::ID_I, PayloadType::AUTH], forbidden: &[] };

/// A request after a resume has no certificate (B18).
pub(crate) const RESUMED_REQUEST: Shape =
    Shape { required: &[PayloadType::ID_I, PayloadType::AUTH], forbidden: &[PayloadType::CERT] };

/// What a response must hold that accepts the initiator.
pub(crate) const RESPONSE: Shape =
    Shape { required: &[PayloadType::ID_R, PayloadType::AUTH], forbidden: &[] };

/// A response after a resume has no certificate (B18).
pub(crate) const RESUMED_RESPONSE: Shape =
    Shape { required: &[PayloadType::ID_R, PayloadType::AUTH], forbidden: &[PayloadType::CERT] };

/// How one side proves who it is.
#[derive(Clone, Copy)]
pub(crate) enum Proof<'a> {
    /// By a shared key (RFC 7296 section 2.15).
    PreShared(&'a Psk),
    /// By the keys that only the holder of the old SK_d has (B16).
    Resumed(AuthForm),
}

impl Proof<'_> {
    /// The data of the AUTH payload of `signer`.
    pub(crate) fn mac(
        self,
        (prf, sk_p): (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
        id_body: &[u8],
    ) -> Mac {
        let (message, peer_nonce) = transcript.signed_by(signer);
        let maced_id = sk_p.mac_id(id_body);
        let octets = SignedOctets {
            message,
            peer_nonce,
            maced_id: &maced_id,
            intermediate: &transcript.intermediate,
        };
        match self {
            Self::PreShared(psk) => psk.auth(prf, octets),
            Self::Resumed(AuthForm::Rfc5723) => sk_p.resume_auth(octets),
            Self::Resumed(AuthForm::MessageOnly) => sk_p.resume_auth_message_only(message),
        }
    }
}

/// The receipt for a verified AUTH: nothing else makes one, and no SA is
/// established without it.
pub(crate) struct PeerAuthenticated {
    id: Id,
    form: Option<AuthForm>,
}

impl PeerAuthenticated {
    /// Checks the peer's AUTH payload against each acceptable proof in turn.
    pub(crate) fn verify(
        (prf, sk_p): (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
        claim: Claim<'_>,
        acceptable: &[Proof<'_>],
    ) -> Result<Self, Failure> {
        let Claim { id, id_body, auth } = claim;
        if auth.method != AuthMethod::SHARED_KEY_MIC {
            return Err(Failure::PeerNotAuthentic);
        }
        for proof in acceptable {
            let expected = proof.mac((prf, sk_p), transcript, signer, id_body);
            if expected.verify(auth.data).is_ok() {
                let form = match proof {
                    Proof::PreShared(_) => None,
                    Proof::Resumed(form) => Some(*form),
                };
                return Ok(Self { id, form });
            }
        }
        Err(Failure::PeerNotAuthentic)
    }

    /// Who the peer is.
    pub(crate) const fn id(&self) -> &Id {
        &self.id
    }

    /// The form of AUTH that was verified after a resume.
    pub(crate) const fn form(&self) -> Option<AuthForm> {
        self.form
    }
}

/// Who the peer says it is, and how it proves it.
pub(crate) struct Claim<'a> {
    pub(crate) id: Id,
    /// As received, reserved octets and all: AUTH covers it so.
    pub(crate) id_body: &'a [u8],
    pub(crate) auth: wire::Auth<'a>,
}

impl<'a> Claim<'a> {
    /// The claim of `claimant`. `None` if a payload is missing or the identity
    /// is of a kind that we cannot compare.
    pub(crate) fn of(payloads: &Payloads<'a>, claimant: Role) -> Option<Self> {
        let id = match claimant {
            Role::Initiator => payloads.id_i()?,
            Role::Responder => payloads.id_r()?,
        };
        Some(Self { id: identity(&id)?, id_body: id.body, auth: payloads.auth()? })
    }
}

/// The identity in a payload.
pub(crate) fn identity(id: &wire::Id<'_>) -> Option<Id> {
    Id::from_wire(id.kind.0, id.data).ok()
}

/// Whom an initiator expects and how both sides prove themselves, decided by
/// how the SA began.
pub(crate) struct Expectation {
    pub(crate) our_id: Id,
    pub(crate) peer: IdPattern,
    pub(crate) basis: Basis,
}

/// What an authentication rests on.
pub(crate) enum Basis {
    /// The connection's credentials.
    Credentials(Auth),
    /// The keys of the session before.
    Session(AuthForm),
}

impl Expectation {
    /// In a full exchange: what the connection says.
    pub(crate) fn configured(connection: &Connection) -> Self {
        Self {
            our_id: connection.local_id.clone(),
            peer: connection.remote_id.clone(),
            basis: Basis::Credentials(connection.auth.clone()),
        }
    }

    /// The proof for and from `peer`; `None` if there is no secret for it.
    pub(crate) fn proof(&self, peer: Option<&Id>) -> Option<Proof<'_>> {
        match &self.basis {
            Basis::Session(form) => Some(Proof::Resumed(*form)),
            Basis::Credentials(Auth::PreShared(keys)) => {
                let key = match peer {
                    Some(peer) => keys.with(peer),
                    None => keys.for_anybody(),
                };
                key.map(Proof::PreShared)
            }
        }
    }

    /// The identity to ask for, if it is a single one.
    pub(crate) const fn expected_id(&self) -> Option<&Id> {
        match &self.peer {
            IdPattern::Any => None,
            IdPattern::Exact(id) => Some(id),
        }
    }

    /// The shape of the response.
    pub(crate) const fn response(&self) -> &'static Shape {
        match self.basis {
            Basis::Credentials(_) => &RESPONSE,
            Basis::Session(_) => &RESUMED_RESPONSE,
        }
    }
}

/// Appends the sender's identity.
pub(crate) fn push_id(builder: &mut MessageBuilder<Protected>, whose: Role, id: &Id) {
    let kind = IdType(IdKind::code(id.kind()));
    match whose {
        Role::Initiator => builder.id_i(kind, id.data()),
        Role::Responder => builder.id_r(kind, id.data()),
    };
}

/// Appends AUTH.
pub(crate) fn push_auth(builder: &mut MessageBuilder<Protected>, mac: &Mac) {
    builder.auth(AuthMethod::SHARED_KEY_MIC, mac.as_bytes());
}
