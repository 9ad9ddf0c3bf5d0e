//! IKE_AUTH (RFC 7296 section 1.2, RFC 5723 section 4.3.3).
//!
//! ```text
//! HDR, SK { IDi, [CERT+], [CERTREQ+], [IDr], AUTH, [N(INITIAL_CONTACT)],
//!           [N(TICKET_REQUEST)], SAi2, TSi, TSr } -->
//!      <-- HDR, SK { IDr, [CERT+], AUTH, [N(TICKET_LT_OPAQUE) | N(TICKET_NACK)],
//!                    SAr2, TSi, TSr }
//! ```
//! Each side proves itself in its own way: by a shared key or by a signature.
//! After a resume it differs in how AUTH is made, and in nothing else: an
//! [`Expectation`] says so once, and no code below asks again.

use std::sync::Arc;
use std::time::SystemTime;

use crypto::{Mac, PrfAlg, Psk, PublicKey, SignedOctets, SkP};
use pki::{Credential, Trust, Verified};

use crate::config::{Auth, Connection, LocalAuth, PreShared, RemoteAuth};
use crate::event::Role;
use crate::exchange::certificates::{Shown, Wanted};
use crate::exchange::signature::{self, Announced, Signature};
use crate::exchange::{Shape, Transcript};
use crate::fault::Failure;
use crate::identity::{Id, IdKind, IdPattern};
use crate::session::{self, AuthForm, Evidence, TicketIssuer};
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

/// The most demands that one AUTH payload is held against.
const MAX_DEMANDS: usize = 16;

/// The most chains of certificates that are followed to an authority of the
/// name that they end in, and that do not convince.
const MAX_CHAINS: usize = 4;

/// How one side proves who it is.
#[derive(Clone, Copy)]
pub(crate) enum Proof<'a> {
    /// By a shared key (RFC 7296 section 2.15).
    PreShared(&'a Psk),
    /// By a signature.
    Signed(&'a Credential),
    /// By the keys that only the holder of the old SK_d has (B16).
    Resumed(AuthForm),
}

impl Proof<'_> {
    /// The AUTH of `signer`.
    pub(crate) fn make(
        self,
        (prf, sk_p): (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
        id_body: &[u8],
    ) -> Result<AuthData, Failure> {
        let (message, peer_nonce) = transcript.signed_by(signer);
        let maced_id = sk_p.mac_id(id_body);
        let octets = SignedOctets {
            message,
            peer_nonce,
            maced_id: &maced_id,
            intermediate: &transcript.intermediate,
        };
        let code = match self {
            Self::PreShared(psk) => psk.auth(prf, octets),
            Self::Resumed(AuthForm::Rfc5723) => sk_p.resume_auth(octets),
            Self::Resumed(AuthForm::MessageOnly) => sk_p.resume_auth_message_only(message),
            Self::Signed(credential) => {
                let announced = Announced::by(signer.other(), transcript);
                let octets = octets.parts().concat();
                return Signature::make(credential, &announced, &octets).map(AuthData::Signature);
            }
        };
        Ok(AuthData::Code(code))
    }
}

/// What an AUTH payload is to hold.
pub(crate) enum AuthData {
    Code(Mac),
    Signature(Signature),
}

/// What the other side must prove itself by.
#[derive(Clone, Copy)]
pub(crate) enum Demand<'a> {
    /// This key, which is shared with it.
    PreShared(&'a Psk),
    /// A signature by a key that is believed to be its own at this time.
    Signed(&'a Trust, SystemTime),
    /// The keys that only the holder of the old SK_d has, in one of these forms.
    Resumed(&'a [AuthForm]),
}

impl<'a> Demand<'a> {
    /// In a full exchange; `None` if there is no secret for `peer`.
    pub(crate) fn of(remote: &'a RemoteAuth, peer: &Id, time: SystemTime) -> Option<Self> {
        match remote {
            RemoteAuth::PublicKey(trust) => Some(Self::Signed(trust, time)),
            RemoteAuth::PreShared(keys) => shared(keys, Some(peer)).map(Self::PreShared),
        }
    }
}

/// The receipt for a verified AUTH: nothing else makes one, and no SA is
/// established without it.
pub(crate) struct PeerAuthenticated {
    id: Id,
    form: Option<AuthForm>,
    /// What a signature has shown.
    evidence: Option<Evidence>,
}

impl PeerAuthenticated {
    /// Checks the peer's AUTH payload.
    pub(crate) fn verify(
        with: (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
        claim: Claim<'_>,
        demand: Demand<'_>,
    ) -> Result<Self, Failure> {
        let demands = std::iter::once(((), demand));
        Self::verify_first(with, transcript, signer, claim, demands).map(|((), peer)| peer)
    }

    /// Checks the peer's AUTH payload against several demands, and says which
    /// it meets first. It costs no more than [`MAX_DEMANDS`] codes, or a
    /// signature and [`MAX_CHAINS`] chains to authorities of the right names.
    pub(crate) fn verify_first<'d, T>(
        with: (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
        claim: Claim<'_>,
        demands: impl Iterator<Item = (T, Demand<'d>)>,
    ) -> Result<(T, Self), Failure> {
        let mut signatures = Signatures::default();
        let mut why = None;
        let mut chains = 0;
        for (which, demand) in demands.take(MAX_DEMANDS) {
            let refused = match claim.meets(with, transcript, signer, demand, &mut signatures) {
                Ok((form, evidence)) => return Ok((which, Self { id: claim.id, form, evidence })),
                Err(refused) => refused,
            };
            let is_stranger = is_stranger(&refused);
            chains += usize::from(!is_stranger && matches!(refused, Failure::Certificate(_)));
            // Who knows the peer's authority says best what is wrong.
            if why.is_none() || !is_stranger {
                why = Some(refused);
            }
            if chains >= MAX_CHAINS {
                break;
            }
        }
        Err(why.unwrap_or(Failure::NoSecret))
    }

    /// Who the peer is.
    pub(crate) const fn id(&self) -> &Id {
        &self.id
    }

    /// What a ticket keeps of a full authentication.
    pub(crate) fn evidence(&self, remote: &RemoteAuth, issuer: &TicketIssuer) -> Option<Evidence> {
        match remote {
            RemoteAuth::PublicKey(_) => self.evidence.clone(),
            RemoteAuth::PreShared(keys) => {
                shared(keys, Some(&self.id)).map(|psk| Evidence::Secret(issuer.mark(psk)))
            }
        }
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
    pub(crate) shown: Shown<'a>,
}

impl<'a> Claim<'a> {
    /// The claim of `claimant`. `None` if a payload is missing or the identity
    /// is of a kind that we cannot compare.
    pub(crate) fn of(payloads: &Payloads<'a>, claimant: Role) -> Option<Self> {
        let id = match claimant {
            Role::Initiator => payloads.id_i()?,
            Role::Responder => payloads.id_r()?,
        };
        let shown = Shown::of(payloads);
        Some(Self { id: identity(&id)?, id_body: id.body, auth: payloads.auth()?, shown })
    }

    /// The kind of proof that it brings.
    pub(crate) const fn method(&self) -> session::AuthMethod {
        match self.auth.method {
            AuthMethod::SHARED_KEY_MIC => session::AuthMethod::PreShared,
            _ => session::AuthMethod::Signature,
        }
    }

    /// Whether it is proven as demanded: after a resume in which form, and by a
    /// signature why its key is believed.
    fn meets(
        &self,
        with: (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
        demand: Demand<'_>,
        signatures: &mut Signatures,
    ) -> Result<(Option<AuthForm>, Option<Evidence>), Failure> {
        match demand {
            Demand::Signed(trust, time) => {
                let octets = || self.signed_octets(with, transcript, signer);
                let evidence = self.verify_signature(octets, (trust, time), signatures)?;
                Ok((None, Some(evidence)))
            }
            Demand::PreShared(psk) => {
                let proof = Proof::PreShared(psk);
                self.verify_code(with, transcript, signer, proof).map(|()| (None, None))
            }
            Demand::Resumed(forms) => {
                let fits = |&&form: &&AuthForm| {
                    self.verify_code(with, transcript, signer, Proof::Resumed(form)).is_ok()
                };
                let form = *forms.iter().find(fits).ok_or(Failure::PeerNotAuthentic)?;
                Ok((Some(form), None))
            }
        }
    }

    fn verify_code(
        &self,
        with: (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
        proof: Proof<'_>,
    ) -> Result<(), Failure> {
        if self.auth.method != AuthMethod::SHARED_KEY_MIC {
            return Err(Failure::OtherMethod);
        }
        match proof.make(with, transcript, signer, self.id_body)? {
            AuthData::Code(code) => {
                code.verify(self.auth.data).map_err(|_| Failure::PeerNotAuthentic)
            }
            AuthData::Signature(_) => Err(Failure::PeerNotAuthentic),
        }
    }

    /// First whether it has signed with the key that it shows: without that,
    /// no chain is looked at. Then whose key it is, and why.
    fn verify_signature(
        &self,
        octets: impl Fn() -> Vec<u8>,
        (trust, time): (&Trust, SystemTime),
        signatures: &mut Signatures,
    ) -> Result<Evidence, Failure> {
        if self.auth.method == AuthMethod::SHARED_KEY_MIC {
            return Err(Failure::OtherMethod);
        }
        let name = self.id.name().ok_or(Failure::WrongIdentity)?;
        let presented = self.shown.presented();
        if let Some(key) = presented.key().transpose().map_err(Failure::Certificate)? {
            signatures.check(self.auth, key, &octets)?;
        }
        let verified = trust.verify(presented, &name, time);
        let Verified { key, vouched, expires, .. } = verified.map_err(Failure::Certificate)?;
        signatures.check(self.auth, key, &octets)?;
        Ok(Evidence::Key { vouched, expires })
    }

    fn signed_octets(
        &self,
        (_, sk_p): (PrfAlg, &SkP),
        transcript: &Transcript,
        signer: Role,
    ) -> Vec<u8> {
        let (message, peer_nonce) = transcript.signed_by(signer);
        let maced_id = sk_p.mac_id(self.id_body);
        let intermediate = &transcript.intermediate;
        SignedOctets { message, peer_nonce, maced_id: &maced_id, intermediate }.parts().concat()
    }
}

/// The signature in AUTH under the key that was asked about last: it is not
/// checked again for every connection.
#[derive(Default)]
struct Signatures(Option<(PublicKey, Result<(), Failure>)>);

impl Signatures {
    fn check(
        &mut self,
        auth: wire::Auth<'_>,
        key: PublicKey,
        octets: &impl Fn() -> Vec<u8>,
    ) -> Result<(), Failure> {
        if let Some((last, result)) = &self.0
            && *last == key
        {
            return result.clone();
        }
        let result = signature::verify(auth, &key, &octets());
        self.0 = Some((key, result.clone()));
        result
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

    /// Our proof for `peer`; `None` if there is no secret for it.
    pub(crate) fn proof(&self, peer: Option<&Id>) -> Option<Proof<'_>> {
        match &self.basis {
            Basis::Session(form) => Some(Proof::Resumed(*form)),
            Basis::Credentials(Auth { local: LocalAuth::PublicKey(credential), .. }) => {
                Some(Proof::Signed(credential))
            }
            Basis::Credentials(Auth { local: LocalAuth::PreShared(keys), .. }) => {
                shared(keys, peer).map(Proof::PreShared)
            }
        }
    }

    /// What `peer` must prove itself by; `None` if there is no secret for it.
    pub(crate) fn demand(&self, peer: &Id, time: SystemTime) -> Option<Demand<'_>> {
        match &self.basis {
            Basis::Session(form) => Some(Demand::Resumed(std::slice::from_ref(form))),
            Basis::Credentials(auth) => Demand::of(&auth.remote, peer, time),
        }
    }

    /// The certificates that go with our proof.
    pub(crate) fn credential(&self) -> Option<&Arc<Credential>> {
        match &self.basis {
            Basis::Credentials(Auth { local: LocalAuth::PublicKey(it), .. }) => Some(it),
            Basis::Credentials(Auth { local: LocalAuth::PreShared(_), .. }) | Basis::Session(_) => {
                None
            }
        }
    }

    /// What certificates of the peer are to be asked for.
    pub(crate) fn wanted(&self) -> Wanted {
        match &self.basis {
            Basis::Credentials(auth) => Wanted::of(std::iter::once(&auth.remote)),
            Basis::Session(_) => Wanted::default(),
        }
    }

    /// The identity to ask for, if it is a single one.
    pub(crate) const fn expected_id(&self) -> Option<&Id> {
        match &self.peer {
            IdPattern::Any | IdPattern::Like(_) => None,
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
pub(crate) fn push_auth(builder: &mut MessageBuilder<Protected>, auth: &AuthData) {
    match auth {
        AuthData::Code(mac) => builder.auth(AuthMethod::SHARED_KEY_MIC, mac.as_bytes()),
        AuthData::Signature(signature) => builder.auth(signature.method, &signature.data),
    };
}

/// Whether no authority that is believed is of a name that the peer's chain ends in.
fn is_stranger(why: &Failure) -> bool {
    matches!(why, Failure::Certificate(refused) if refused.check == pki::Refusal::UnknownIssuer)
}

fn shared<'a>(keys: &'a PreShared, peer: Option<&Id>) -> Option<&'a Psk> {
    match peer {
        Some(peer) => keys.with(peer),
        None => keys.for_anybody(),
    }
}
