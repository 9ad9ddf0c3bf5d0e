//! The key schedule of IKEv2, of its additional key exchanges and of its
//! resumption, as types that consume each other: a shared secret or an old SK_d
//! becomes a [`Skeyseed`], that becomes [`IkeKeys`], and their [`SkD`] becomes
//! [`ChildKeys`] or the next `Skeyseed`.

use zeroize::Zeroizing;

use crate::aead::MessageKey;
use crate::error::WrongLength;
use crate::esp::EspKey;
use crate::kex::{SharedSecret, SharedSecrets};
use crate::prf;
use crate::secret::{Mac, Ppk, PrfKey, SignedOctets};
use crate::suite::{EspSuite, IkeSuite, PrfAlg};

/// The nonces of one exchange: payload bodies, 16 to 256 octets each
/// (RFC 7296 section 2.10). The initiator is who sent the request.
#[derive(Clone, Copy)]
pub struct Nonces<'a> {
    /// Ni.
    pub initiator: &'a [u8],
    /// Nr.
    pub responder: &'a [u8],
}

/// The SPIs of the IKE SA that the keys are for.
#[derive(Clone, Copy)]
pub struct IkeSpis {
    /// SPIi.
    pub initiator: [u8; 8],
    /// SPIr.
    pub responder: [u8; 8],
}

/// Where the keys of one IKE SA come from. It is used once.
pub struct Skeyseed(PrfKey);

impl Skeyseed {
    /// Of a full exchange: prf(Ni | Nr, g^ir) (RFC 7296 section 2.14).
    #[must_use]
    pub fn initial(prf: PrfAlg, nonces: Nonces<'_>, shared: SharedSecret) -> Self {
        let key = [nonces.initiator, nonces.responder].concat();
        Self(prf::derive(prf, &key, shared.bytes()))
    }

    /// {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} =
    /// prf+(SKEYSEED, Ni | Nr | SPIi | SPIr) (RFC 7296 section 2.14; without
    /// SK_a and with a salt behind each SK_e for an AEAD, RFC 5282 section 7).
    ///
    /// The PRF is that of `suite`. After a rekey it may be another than the
    /// one that made the SKEYSEED, which belonged to the old SA (RFC 7296
    /// section 2.18); a resumed SA keeps its suite (RFC 5723 section 5).
    #[must_use]
    pub fn expand(self, suite: IkeSuite, nonces: Nonces<'_>, spis: IkeSpis) -> IkeKeys {
        let IkeSuite { cipher, prf, group: _, additional: _ } = suite;
        let seed: [&[u8]; 4] =
            [nonces.initiator, nonces.responder, &spis.initiator, &spis.responder];
        let mut buffer = Zeroizing::new([0; MAX_IKE_KEYS]);
        let (sk_e_len, sk_a_len) = (cipher.encryption_key_len(), cipher.integrity_key_len());
        let keys_len = 3 * prf.output_len() + 2 * (sk_e_len + sk_a_len);
        let keys = buffer.split_at_mut(keys_len).0;
        prf::prf_plus(prf, self.0.bytes(), &seed, keys);

        let (sk_d, rest) = PrfKey::split_from(prf, keys);
        let (sk_ai, rest) = rest.split_at(sk_a_len);
        let (sk_ar, rest) = rest.split_at(sk_a_len);
        let (sk_ei, rest) = rest.split_at(sk_e_len);
        let (sk_er, rest) = rest.split_at(sk_e_len);
        let (sk_pi, rest) = PrfKey::split_from(prf, rest);
        let (sk_pr, _) = PrfKey::split_from(prf, rest);
        IkeKeys {
            sk_d: SkD(sk_d),
            initiator: MessageKey::new(cipher, sk_ei, sk_ai),
            responder: MessageKey::new(cipher, sk_er, sk_ar),
            sk_pi: SkP(sk_pi),
            sk_pr: SkP(sk_pr),
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// SK_d, SK_p and two SK_e with a 64 octet integrity key each.
const MAX_IKE_KEYS: usize = 3 * 64 + 2 * (32 + 64);

/// The keys of one IKE SA. Initiator is who sent the exchange that made them.
pub struct IkeKeys {
    /// For children, for a rekey and for a resumption.
    pub sk_d: SkD,
    /// SK_ei and SK_ai: protects what the initiator sends.
    pub initiator: MessageKey,
    /// SK_er and SK_ar: protects what the responder sends.
    pub responder: MessageKey,
    /// Authenticates the initiator.
    pub sk_pi: SkP,
    /// Authenticates the responder.
    pub sk_pr: SkP,
}

/// SK_d: from which children, the next IKE SA and a resumed one are derived.
/// The one key that outlives its SA, in a suspended session or in a ticket.
pub struct SkD(PrfKey);

impl SkD {
    /// Of a resumption: prf(SK_d, "Resumption" | Ni | Nr), ten ASCII octets
    /// without an end mark (RFC 5723 section 5.1). Takes no public-key
    /// operation, hence has no forward secrecy until a rekey.
    #[must_use]
    pub fn resume(&self, nonces: Nonces<'_>) -> Skeyseed {
        let data = [b"Resumption", nonces.initiator, nonces.responder].concat();
        Skeyseed(self.derive(&data))
    }

    /// After an additional key exchange of the set-up: prf(SK_d, SK(n) | Ni | Nr)
    /// with the nonces of `IKE_SA_INIT` (RFC 9370 section 2.2.2). The SK_d
    /// before it is of no more use.
    #[must_use]
    pub fn strengthen(self, shared: SharedSecret, nonces: Nonces<'_>) -> Skeyseed {
        self.rekey(shared, nonces)
    }

    /// Of a rekey: prf(SK_d, g^ir | Ni | Nr), with the PRF of the SA that is
    /// being replaced (RFC 7296 section 2.18); with additional key exchanges
    /// prf(SK_d, SK(0) | Ni | Nr | SK(1) | ..) (RFC 9370 section 2.2.4).
    #[must_use]
    pub fn rekey(&self, shared: impl Into<SharedSecrets>, nonces: Nonces<'_>) -> Skeyseed {
        let nonces = [nonces.initiator, nonces.responder].concat();
        Skeyseed(self.derive(&shared.into().around(&nonces)))
    }

    /// KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr), with the nonces of the exchange
    /// that creates the child and its key exchange, if it has one. What its
    /// initiator sends with comes first (RFC 7296 section 2.17). Secrets of
    /// additional key exchanges stand behind the nonces (RFC 9370 section 2.2.4).
    #[must_use]
    pub fn child_keys(
        &self,
        suite: EspSuite,
        shared: Option<SharedSecrets>,
        nonces: Nonces<'_>,
    ) -> ChildKeys {
        let nonces = [nonces.initiator, nonces.responder].concat();
        let seed = match shared {
            None => Zeroizing::new(nonces),
            Some(shared) => shared.around(&nonces),
        };
        let mut buffer = Zeroizing::new([0; 2 * EspKey::MAX_LEN]);
        let one_way = suite.cipher.keymat_len();
        let keymat = buffer.split_at_mut(2 * one_way).0;
        prf::prf_plus(self.prf(), self.0.bytes(), &[&seed], keymat);

        let (forth, back) = keymat.split_at(one_way);
        ChildKeys {
            initiator_to_responder: EspKey::new(suite, forth),
            responder_to_initiator: EspKey::new(suite, back),
        }
    }

    /// SK_d = prf+(PPK, SK_d') (RFC 8784 section 3). The one before stays: whether
    /// the peer has the PPK may not be known yet.
    #[must_use]
    pub fn with_ppk(&self, ppk: &Ppk) -> Self {
        Self(ppk.mix(&self.0))
    }

    /// The PRF of the SA that the key belongs to.
    #[must_use]
    pub fn prf(&self) -> PrfAlg {
        self.0.prf()
    }

    /// The octets, as many as the PRF has output. They may go nowhere but into
    /// a ticket that is sealed before it leaves (RFC 5723 section 6.1), or
    /// into the record of a suspended session.
    #[must_use]
    pub fn export_to_ticket(&self) -> &[u8] {
        self.0.bytes()
    }

    /// What [`SkD::export_to_ticket`] gave.
    ///
    /// # Errors
    /// [`WrongLength`] if it is not as long as the PRF's output.
    pub fn from_ticket(prf: PrfAlg, bytes: &[u8]) -> Result<Self, WrongLength> {
        if bytes.len() != prf.output_len() {
            return Err(WrongLength { expected: prf.output_len(), got: bytes.len() });
        }
        Ok(Self(PrfKey::split_from(prf, bytes).0))
    }

    /// A second copy, for a gateway that must hold what it seals into a ticket
    /// while the SA lives on. A client has no use for it: its session takes
    /// the key out of the SA.
    #[must_use]
    pub fn duplicate_for_grant(&self) -> Self {
        Self(PrfKey::split_from(self.prf(), self.0.bytes()).0)
    }

    fn derive(&self, data: &[u8]) -> PrfKey {
        prf::derive(self.prf(), self.0.bytes(), data)
    }
}

/// SK_pi or SK_pr: with which one side shows that it knows the keys of an SA.
pub struct SkP(PrfKey);

impl SkP {
    /// prf(SK_px, IDx'), where `id_body` is the ID payload without its generic
    /// header (RFC 7296 section 2.15).
    #[must_use]
    pub fn mac_id(&self, id_body: &[u8]) -> Mac {
        self.mac(&[id_body])
    }

    /// SK_px = prf+(PPK, SK_px') (RFC 8784 section 3). See [`SkD::with_ppk`].
    #[must_use]
    pub fn with_ppk(&self, ppk: &Ppk) -> Self {
        Self(ppk.mix(&self.0))
    }

    /// AUTH of a resumed SA: prf(SK_px, octets), keyed with SK_px itself and
    /// without the key pad of a shared secret (RFC 5723 section 4.3.3).
    #[must_use]
    pub fn resume_auth(&self, octets: SignedOctets<'_>) -> Mac {
        self.mac(&octets.parts())
    }

    /// AUTH of a resumed SA as libreswan 5.2 to 5.4 computes it:
    /// prf(SK_px, message), which leaves out the nonce and the identity.
    #[must_use]
    pub fn resume_auth_message_only(&self, message: &[u8]) -> Mac {
        self.mac(&[message])
    }

    pub(crate) fn mac(&self, parts: &[&[u8]]) -> Mac {
        prf::mac(self.0.prf(), self.0.bytes(), parts)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The keys of one child. Initiator is who sent the exchange that created it,
/// which need not be the initiator of the IKE SA.
pub struct ChildKeys {
    /// For packets that the initiator sends.
    pub initiator_to_responder: EspKey,
    /// For packets that the responder sends.
    pub responder_to_initiator: EspKey,
}
