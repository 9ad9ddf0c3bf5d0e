//! Proposals: what is offered, what is chosen (RFC 7296 sections 2.7 and 3.3),
//! and strongSwan's spelling of them.

use std::fmt;
use std::str::FromStr;

use crypto::{
    AdditionalGroups, CbcIntegrity, EspCipher, EspSuite, Group, IkeCipher, IkeSuite, KeyLen, PrfAlg,
};

use crate::wire::{Encr, Esn, Integ, KeMethod, Prf, Transform, TransformType};

/// One proposal for an IKE SA: alternatives of each kind, the best first.
///
/// Either all its ciphers are AEAD, or none is (RFC 5282 section 8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeProposal {
    ciphers: Vec<Cipher>,
    integrity: Vec<CbcIntegrity>,
    prfs: Vec<PrfAlg>,
    groups: Vec<Group>,
    additional: Additional,
}

/// The alternatives for ADDKE1 to ADDKE7 (RFC 9370 section 2.2.1). `None` among
/// them: it may be left out.
type Additional = [Vec<Option<Group>>; AdditionalGroups::MAX];

/// One proposal for a child: alternatives of each kind, the best first.
///
/// Either all its ciphers are AEAD, or none is (RFC 7296 section 3.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspProposal {
    ciphers: Vec<Cipher>,
    integrity: Vec<CbcIntegrity>,
    /// Whether sequence numbers are extended. Never empty.
    extended: Vec<bool>,
    /// For a key exchange of the child's own; none in IKE_AUTH.
    groups: Vec<Group>,
    /// For those after it.
    additional: Additional,
}

/// The key exchanges of a child's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildGroups {
    /// In CREATE_CHILD_SA.
    pub first: Group,
    /// In IKE_FOLLOWUP_KE (RFC 9370 section 2.2.4).
    pub additional: AdditionalGroups,
    /// Those that are not made.
    pub declined: Declined,
}

impl ChildGroups {
    /// As an answer names them.
    fn transforms(self) -> impl Iterator<Item = Transform> {
        let additional = ADDITIONAL.into_iter().enumerate().filter_map(move |(i, kind)| {
            Some(additional_transform(kind, Some(self.additional.get(i)?)))
        });
        std::iter::once(Transform::ke(group_number(self.first)))
            .chain(additional)
            .chain(self.declined.transforms())
    }
}

/// The additional key exchanges that were on offer and are not made. An answer
/// says so of each (RFC 9370 section 2.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Declined([bool; AdditionalGroups::MAX]);

impl Declined {
    /// Those of `offered` that have not become one of `agreed`.
    #[must_use]
    pub fn of(offered: &[Transform], agreed: AdditionalGroups) -> Self {
        Self(std::array::from_fn(|i| {
            let kind = ADDITIONAL.get(i);
            let is_offered = offered.iter().any(|transform| Some(&transform.kind) == kind);
            is_offered && agreed.get(i).is_none()
        }))
    }

    /// NONE for each of them.
    pub fn transforms(self) -> impl Iterator<Item = Transform> {
        let kinds = ADDITIONAL.into_iter().zip(self.0).filter(|(_, declined)| *declined);
        kinds.map(|(kind, _)| additional_transform(kind, None))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cipher {
    Gcm(KeyLen),
    ChaCha20Poly1305,
    Cbc(KeyLen),
}

impl Cipher {
    const fn is_aead(self) -> bool {
        match self {
            Self::Gcm(_) | Self::ChaCha20Poly1305 => true,
            Self::Cbc(_) => false,
        }
    }

    const fn transform(self) -> Transform {
        match self {
            Self::Gcm(len) => Transform::encr(Encr::AES_GCM_16, Some(len.bits())),
            Self::ChaCha20Poly1305 => Transform::encr(Encr::CHACHA20_POLY1305, None),
            Self::Cbc(len) => Transform::encr(Encr::AES_CBC, Some(len.bits())),
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gcm(len) => write!(f, "aes{}gcm16", len.bits()),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Self::Cbc(len) => write!(f, "aes{}", len.bits()),
        }
    }
}

/// The AEAD ciphers that are offered where nothing is configured.
const AEAD: [Cipher; 3] =
    [Cipher::Gcm(KeyLen::L256), Cipher::Gcm(KeyLen::L128), Cipher::ChaCha20Poly1305];
/// The others, and what goes beside them.
const CBC: [Cipher; 2] = [Cipher::Cbc(KeyLen::L256), Cipher::Cbc(KeyLen::L128)];
const INTEGRITY: [CbcIntegrity; 3] =
    [CbcIntegrity::HmacSha256_128, CbcIntegrity::HmacSha384_192, CbcIntegrity::HmacSha512_256];

/// Whether the ciphers of a proposal are AEAD: all of them, or none.
fn are_aead(ciphers: &[Cipher]) -> Result<bool, BadProposal> {
    let first = ciphers.first().ok_or(BadProposal::Missing("encryption"))?;
    let is_aead = first.is_aead();
    let is_mixed = ciphers.iter().any(|cipher| cipher.is_aead() != is_aead);
    if is_mixed { Err(BadProposal::MixedCiphers) } else { Ok(is_aead) }
}

/// How packets and messages are protected: what IKE and ESP suites have in common.
enum Protection {
    Gcm(KeyLen),
    ChaCha20Poly1305,
    Cbc(KeyLen, CbcIntegrity),
}

/// The best of our ciphers that is on offer, and what goes beside it. An AEAD
/// cipher has no other integrity (RFC 7296 section 3.3.3).
fn choose(
    ciphers: &[Cipher],
    integrity: &[CbcIntegrity],
    offered: &[Transform],
) -> Option<Protection> {
    let cipher = *ciphers.iter().find(|cipher| offered.contains(&cipher.transform()))?;
    if cipher.is_aead() && !absent_or_none(offered, Transform::integ(Integ::NONE)) {
        return None;
    }
    Some(match cipher {
        Cipher::Gcm(len) => Protection::Gcm(len),
        Cipher::ChaCha20Poly1305 => Protection::ChaCha20Poly1305,
        Cipher::Cbc(len) => {
            let is_offered = |&&i: &&_| offered.contains(&integrity_transform(i));
            Protection::Cbc(len, *integrity.iter().find(is_offered)?)
        }
    })
}

/// Text that is not a proposal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadProposal {
    /// A keyword that stands for no algorithm here.
    #[error("unknown or unsupported algorithm '{0}'")]
    Unknown(String),
    /// AEAD and other ciphers in one proposal.
    #[error("AEAD ciphers (gcm, chacha20poly1305) and CBC ciphers need separate proposals")]
    MixedCiphers,
    /// Nothing of a kind that must be there.
    #[error("no {0} algorithm")]
    Missing(&'static str),
    /// An algorithm of a kind that has no place there.
    #[error("'{0}' has no place in this kind of proposal")]
    Misplaced(String),
}

const CIPHER_WORDS: [&str; 7] =
    ["aes128", "aes192", "aes256", "aes128gcm16", "aes192gcm16", "aes256gcm16", "chacha20poly1305"];
const INTEGRITY_WORDS: [&str; 3] = ["sha256", "sha384", "sha512"];
const PRF_WORDS: [&str; 3] = ["prfsha256", "prfsha384", "prfsha512"];
const GROUP_WORDS: [&str; 15] = [
    "x25519",
    "curve25519",
    "ecp256",
    "ecp384",
    "ecp521",
    "modp2048",
    "modp3072",
    "modp4096",
    "mlkem512",
    "mlkem768",
    "mlkem1024",
    "ke1_mlkem512",
    "ke1_mlkem768",
    "ke1_mlkem1024",
    "ke1_none",
];
const SEQUENCE_WORDS: [&str; 2] = ["esn", "noesn"];

/// Keywords of IKE proposals, for hints about typing errors.
#[must_use]
pub fn ike_keywords() -> Vec<&'static str> {
    [&CIPHER_WORDS[..], &INTEGRITY_WORDS, &PRF_WORDS, &GROUP_WORDS].concat()
}

/// Keywords of ESP proposals, for hints about typing errors.
#[must_use]
pub fn esp_keywords() -> Vec<&'static str> {
    [&CIPHER_WORDS[..], &INTEGRITY_WORDS, &GROUP_WORDS, &SEQUENCE_WORDS].concat()
}

impl IkeProposal {
    /// What is offered where nothing is configured: AEAD with ML-KEM-768 after
    /// the first key exchange, then without it, then AES-CBC. Whoever does not
    /// know additional key exchanges passes over the first (RFC 7296
    /// section 3.3.6), so it has to be a proposal of its own.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        let plain = Self {
            ciphers: AEAD.to_vec(),
            integrity: Vec::new(),
            prfs: vec![PrfAlg::HmacSha256, PrfAlg::HmacSha384, PrfAlg::HmacSha512],
            groups: vec![
                Group::X25519,
                Group::P256,
                Group::P384,
                Group::P521,
                Group::Modp3072,
                Group::Modp4096,
                Group::Modp2048,
            ],
            additional: Additional::default(),
        };
        let mut hybrid = plain.clone();
        if let Some(first) = hybrid.additional.first_mut() {
            first.push(Some(Group::MlKem768));
        }
        let cbc = Self { ciphers: CBC.to_vec(), integrity: INTEGRITY.to_vec(), ..plain.clone() };
        vec![hybrid, plain, cbc]
    }

    /// The proposal of exactly this suite.
    #[must_use]
    pub fn of(suite: IkeSuite) -> Self {
        let (cipher, integrity) = match suite.cipher {
            IkeCipher::AesGcm16(len) => (Cipher::Gcm(len), Vec::new()),
            IkeCipher::ChaCha20Poly1305 => (Cipher::ChaCha20Poly1305, Vec::new()),
            IkeCipher::AesCbc(len, integrity) => (Cipher::Cbc(len), vec![integrity]),
        };
        Self {
            ciphers: vec![cipher],
            integrity,
            prfs: vec![suite.prf],
            groups: vec![suite.group],
            additional: std::array::from_fn(|i| {
                suite.additional.get(i).map(Some).into_iter().collect()
            }),
        }
    }

    /// Whether this suite is one of its combinations.
    #[must_use]
    pub fn allows(&self, suite: IkeSuite) -> bool {
        let cipher = match suite.cipher {
            IkeCipher::AesGcm16(len) => self.ciphers.contains(&Cipher::Gcm(len)),
            IkeCipher::ChaCha20Poly1305 => self.ciphers.contains(&Cipher::ChaCha20Poly1305),
            IkeCipher::AesCbc(len, integrity) => {
                self.ciphers.contains(&Cipher::Cbc(len)) && self.integrity.contains(&integrity)
            }
        };
        let additional = self.additional.iter().enumerate().all(|(i, ours)| {
            let agreed = suite.additional.get(i);
            ours.contains(&agreed) || (ours.is_empty() && agreed.is_none())
        });
        cipher && additional && self.prfs.contains(&suite.prf) && self.groups.contains(&suite.group)
    }

    /// Whether it has key exchanges after the first, which need IKE_INTERMEDIATE.
    #[must_use]
    pub fn has_additional(&self) -> bool {
        self.additional.iter().any(|groups| !groups.is_empty())
    }

    /// The groups, the best first. Never empty.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Its transforms, in the order in which they are offered.
    pub fn transforms(&self) -> impl Iterator<Item = Transform> {
        let ciphers = self.ciphers.iter().map(|cipher| cipher.transform());
        let integrity = self.integrity.iter().map(|&i| integrity_transform(i));
        let prfs = self.prfs.iter().map(|&p| prf_transform(p));
        let groups = self.groups.iter().map(|&g| Transform::ke(group_number(g)));
        let additional = additional_transforms(&self.additional);
        ciphers.chain(prfs).chain(integrity).chain(groups).chain(additional)
    }

    /// The suite that this proposal and `offered` have in common, by our
    /// preference, but with the group `keyed` whose value the peer has already
    /// sent if both sides accept it: that saves a round trip.
    #[must_use]
    pub fn agree(&self, offered: &[Transform], keyed: Option<Group>) -> Option<IkeSuite> {
        // One with a type of transform that we do not know is not acceptable
        // (RFC 7296 section 3.3.6).
        if !offered.iter().all(|t| IKE_KINDS.contains(&t.kind) || ADDITIONAL.contains(&t.kind)) {
            return None;
        }
        let cipher = match choose(&self.ciphers, &self.integrity, offered)? {
            Protection::Gcm(len) => IkeCipher::AesGcm16(len),
            Protection::ChaCha20Poly1305 => IkeCipher::ChaCha20Poly1305,
            Protection::Cbc(len, integrity) => IkeCipher::AesCbc(len, integrity),
        };
        let prf = *self.prfs.iter().find(|&&p| offered.contains(&prf_transform(p)))?;
        let in_common = |g: Group| {
            self.groups.contains(&g) && offered.contains(&Transform::ke(group_number(g)))
        };
        let group = keyed
            .filter(|&g| in_common(g))
            .or_else(|| self.groups.iter().copied().find(|&g| in_common(g)))?;
        let additional = agree_additional(Some(&self.additional), offered, group)?;
        Some(IkeSuite { cipher, prf, group, additional })
    }
}

/// One of the alternatives for each further key exchange, or of what is offered
/// to who has no opinion. None takes place twice with one method (RFC 9370
/// section 2.2.1).
fn agree_additional(
    ours: Option<&Additional>,
    offered: &[Transform],
    first: Group,
) -> Option<AdditionalGroups> {
    let mut agreed = AdditionalGroups::NONE;
    for (i, kind) in ADDITIONAL.into_iter().enumerate() {
        let may_be_none = absent_or_none(offered, additional_transform(kind, None));
        let fits = |group: &Option<Group>| match group {
            None => may_be_none,
            Some(group) => {
                let is_new = *group != first && agreed.iter().all(|other| other != *group);
                is_new && offered.contains(&additional_transform(kind, Some(*group)))
            }
        };
        let alternatives = match ours.and_then(|ours| ours.get(i)) {
            Some(ours) if ours.is_empty() => vec![None],
            Some(ours) => ours.clone(),
            None => std::iter::once(None).chain(Group::ALL.map(Some)).collect(),
        };
        if let Some(group) = alternatives.into_iter().find(fits)? {
            agreed = agreed.with(i, group);
        }
    }
    Some(agreed)
}

fn additional_transforms(additional: &Additional) -> impl Iterator<Item = Transform> {
    ADDITIONAL.into_iter().zip(additional).flat_map(|(kind, groups)| {
        groups.iter().map(move |&group| additional_transform(kind, group))
    })
}

/// As in `ke1_mlkem768` or `ke1_none`.
fn additional_words(additional: &Additional) -> impl Iterator<Item = String> {
    (1..).zip(additional).flat_map(|(number, groups)| {
        groups.iter().map(move |group| match group {
            Some(group) => format!("ke{number}_{group}"),
            None => format!("ke{number}_none"),
        })
    })
}

impl EspProposal {
    /// What is offered where nothing is configured.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        let aead = Self {
            ciphers: AEAD.to_vec(),
            integrity: Vec::new(),
            extended: vec![false],
            groups: Vec::new(),
            additional: Additional::default(),
        };
        let cbc = Self { ciphers: CBC.to_vec(), integrity: INTEGRITY.to_vec(), ..aead.clone() };
        vec![aead, cbc]
    }

    /// The proposal of exactly this suite.
    #[must_use]
    pub fn of(suite: EspSuite) -> Self {
        let (cipher, integrity) = match suite.cipher {
            EspCipher::AesGcm16(len) => (Cipher::Gcm(len), Vec::new()),
            EspCipher::ChaCha20Poly1305 => (Cipher::ChaCha20Poly1305, Vec::new()),
            EspCipher::AesCbc(len, integrity) => (Cipher::Cbc(len), vec![integrity]),
        };
        Self {
            ciphers: vec![cipher],
            integrity,
            extended: vec![suite.extended],
            groups: Vec::new(),
            additional: Additional::default(),
        }
    }

    /// Its groups, the best first: for the key exchange of a child that is not
    /// the first of its SA. Often empty.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// As [`Self::transforms`], with the key exchanges of a child that is not the
    /// first of its SA.
    pub fn keyed_transforms(&self) -> impl Iterator<Item = Transform> {
        let groups = self.groups.iter().map(|&g| Transform::ke(group_number(g)));
        self.transforms().chain(groups).chain(additional_transforms(&self.additional))
    }

    /// As [`Self::transforms`], with exactly these key exchanges.
    pub fn transforms_with(&self, groups: Option<ChildGroups>) -> impl Iterator<Item = Transform> {
        self.transforms().chain(groups.into_iter().flat_map(ChildGroups::transforms))
    }

    /// As [`Self::agree`], of a child that may have key exchanges of its own.
    /// The group `keyed` is one that the peer has sent a value for. A peer that
    /// insists on key exchanges where we have no opinion gets them.
    #[must_use]
    pub fn agree_with_groups(
        &self,
        offered: &[Transform],
        keyed: Option<Group>,
    ) -> Option<(EspSuite, Option<ChildGroups>)> {
        let is_method = |kind| kind == TransformType::KE || ADDITIONAL.contains(&kind);
        let (methods, others): (Vec<_>, Vec<_>) =
            offered.iter().copied().partition(|t| is_method(t.kind));
        let suite = self.agree(&others)?;
        let is_offered = |g: &Group| methods.contains(&Transform::ke(group_number(*g)));
        let has_opinion = !self.groups.is_empty();
        if !has_opinion && needs_none(&methods) {
            return Some((suite, None));
        }
        let in_common = |g: &Group| is_offered(g) && (!has_opinion || self.groups.contains(g));
        let supported = || methods.iter().filter(|t| t.kind == TransformType::KE);
        let first = keyed
            .filter(in_common)
            .or_else(|| self.groups.iter().copied().find(in_common))
            .or_else(|| supported().filter_map(|t| group_of(KeMethod(t.id))).find(in_common))?;
        let ours = has_opinion.then_some(&self.additional);
        let additional = agree_additional(ours, &methods, first)?;
        let declined = Declined::of(&methods, additional);
        Some((suite, Some(ChildGroups { first, additional, declined })))
    }

    /// Its transforms, in the order in which they are offered.
    pub fn transforms(&self) -> impl Iterator<Item = Transform> {
        let ciphers = self.ciphers.iter().map(|cipher| cipher.transform());
        let integrity = self.integrity.iter().map(|&i| integrity_transform(i));
        let extended = self.extended.iter().map(|&e| Transform::esn(esn(e)));
        ciphers.chain(integrity).chain(extended)
    }

    /// The suite that this proposal and `offered` have in common, by our preference.
    #[must_use]
    pub fn agree(&self, offered: &[Transform]) -> Option<EspSuite> {
        let is_known = |kind| ESP_KINDS.contains(&kind) || ADDITIONAL.contains(&kind);
        // The first child has no key exchange of its own (RFC 7296 section 1.2).
        let acceptable = offered.iter().all(|t| is_known(t.kind)) && needs_none(offered);
        if !acceptable {
            return None;
        }
        let is_offered = |e: &&bool| offered.contains(&Transform::esn(esn(**e)));
        let extended = *self.extended.iter().find(is_offered)?;
        let cipher = match choose(&self.ciphers, &self.integrity, offered)? {
            Protection::Gcm(len) => EspCipher::AesGcm16(len),
            Protection::ChaCha20Poly1305 => EspCipher::ChaCha20Poly1305,
            Protection::Cbc(len, integrity) => EspCipher::AesCbc(len, integrity),
        };
        Some(EspSuite { cipher, extended })
    }

    fn complete(mut self) -> Result<Self, BadProposal> {
        let is_aead = are_aead(&self.ciphers)?;
        if is_aead && !self.integrity.is_empty() {
            return Err(BadProposal::Misplaced("integrity beside AEAD".to_owned()));
        }
        if !is_aead && self.integrity.is_empty() {
            return Err(BadProposal::Missing("integrity"));
        }
        if self.groups.is_empty() && self.additional.iter().any(|groups| !groups.is_empty()) {
            return Err(BadProposal::Missing("key exchange"));
        }
        if self.extended.is_empty() {
            self.extended.push(false);
        }
        Ok(self)
    }
}

const fn esn(extended: bool) -> Esn {
    if extended { Esn::ESN } else { Esn::NO_ESN }
}

const IKE_KINDS: [TransformType; 4] =
    [TransformType::ENCR, TransformType::PRF, TransformType::INTEG, TransformType::KE];
const ESP_KINDS: [TransformType; 4] =
    [TransformType::ENCR, TransformType::INTEG, TransformType::KE, TransformType::ESN];

/// The types of the additional key exchanges, in their order.
pub(crate) const ADDITIONAL: [TransformType; AdditionalGroups::MAX] = [
    TransformType::ADDKE1,
    TransformType::ADDKE2,
    TransformType::ADDKE3,
    TransformType::ADDKE4,
    TransformType::ADDKE5,
    TransformType::ADDKE6,
    TransformType::ADDKE7,
];

/// Whether there may be no key exchange at all.
fn needs_none(offered: &[Transform]) -> bool {
    absent_or_none(offered, Transform::ke(KeMethod::NONE))
        && ADDITIONAL.iter().all(|&kind| absent_or_none(offered, additional_transform(kind, None)))
}

/// Whether an optional kind of transform is left out, or "none" is on offer.
fn absent_or_none(offered: &[Transform], none: Transform) -> bool {
    offered.contains(&none) || offered.iter().all(|transform| transform.kind != none.kind)
}

const fn prf_transform(prf: PrfAlg) -> Transform {
    Transform::prf(match prf {
        PrfAlg::HmacSha256 => Prf::HMAC_SHA2_256,
        PrfAlg::HmacSha384 => Prf::HMAC_SHA2_384,
        PrfAlg::HmacSha512 => Prf::HMAC_SHA2_512,
    })
}

const fn integrity_transform(integrity: CbcIntegrity) -> Transform {
    Transform::integ(match integrity {
        CbcIntegrity::HmacSha256_128 => Integ::HMAC_SHA2_256_128,
        CbcIntegrity::HmacSha384_192 => Integ::HMAC_SHA2_384_192,
        CbcIntegrity::HmacSha512_256 => Integ::HMAC_SHA2_512_256,
    })
}

/// `None` stands for no exchange, of which the number is that of no group.
pub(crate) const fn additional_transform(kind: TransformType, group: Option<Group>) -> Transform {
    let method = match group {
        Some(group) => group_number(group),
        None => KeMethod::NONE,
    };
    Transform::new(kind, method.0)
}

/// The number of a group in proposals and Key Exchange payloads.
#[must_use]
pub const fn group_number(group: Group) -> KeMethod {
    match group {
        Group::X25519 => KeMethod::CURVE25519,
        Group::P256 => KeMethod::P256,
        Group::P384 => KeMethod::P384,
        Group::P521 => KeMethod::P521,
        Group::Modp2048 => KeMethod::MODP_2048,
        Group::Modp3072 => KeMethod::MODP_3072,
        Group::Modp4096 => KeMethod::MODP_4096,
        Group::MlKem512 => KeMethod::ML_KEM_512,
        Group::MlKem768 => KeMethod::ML_KEM_768,
        Group::MlKem1024 => KeMethod::ML_KEM_1024,
    }
}

/// The group with a number, if it is one of ours.
#[must_use]
pub const fn group_of(number: KeMethod) -> Option<Group> {
    match number {
        KeMethod::CURVE25519 => Some(Group::X25519),
        KeMethod::P256 => Some(Group::P256),
        KeMethod::P384 => Some(Group::P384),
        KeMethod::P521 => Some(Group::P521),
        KeMethod::MODP_2048 => Some(Group::Modp2048),
        KeMethod::MODP_3072 => Some(Group::Modp3072),
        KeMethod::MODP_4096 => Some(Group::Modp4096),
        KeMethod::ML_KEM_512 => Some(Group::MlKem512),
        KeMethod::ML_KEM_768 => Some(Group::MlKem768),
        KeMethod::ML_KEM_1024 => Some(Group::MlKem1024),
        _ => None,
    }
}

/// What a keyword stands for.
enum Keyword {
    Cipher(Cipher),
    Integrity(CbcIntegrity),
    Prf(PrfAlg),
    Group(Group),
    Extended(bool),
    /// An alternative for an additional key exchange, counted from zero.
    Additional(usize, Option<Group>),
}

fn keyword(text: &str) -> Option<Keyword> {
    Some(match text {
        "aes128" => Keyword::Cipher(Cipher::Cbc(KeyLen::L128)),
        "aes192" => Keyword::Cipher(Cipher::Cbc(KeyLen::L192)),
        "aes256" => Keyword::Cipher(Cipher::Cbc(KeyLen::L256)),
        "aes128gcm16" => Keyword::Cipher(Cipher::Gcm(KeyLen::L128)),
        "aes192gcm16" => Keyword::Cipher(Cipher::Gcm(KeyLen::L192)),
        "aes256gcm16" => Keyword::Cipher(Cipher::Gcm(KeyLen::L256)),
        "chacha20poly1305" => Keyword::Cipher(Cipher::ChaCha20Poly1305),
        "sha256" => Keyword::Integrity(CbcIntegrity::HmacSha256_128),
        "sha384" => Keyword::Integrity(CbcIntegrity::HmacSha384_192),
        "sha512" => Keyword::Integrity(CbcIntegrity::HmacSha512_256),
        "prfsha256" => Keyword::Prf(PrfAlg::HmacSha256),
        "prfsha384" => Keyword::Prf(PrfAlg::HmacSha384),
        "prfsha512" => Keyword::Prf(PrfAlg::HmacSha512),
        "esn" => Keyword::Extended(true),
        "noesn" => Keyword::Extended(false),
        _ => return group_keyword(text).map(Keyword::Group).or_else(|| additional_keyword(text)),
    })
}

fn group_keyword(text: &str) -> Option<Group> {
    match text {
        "curve25519" => Some(Group::X25519),
        _ => Group::ALL.into_iter().find(|group| group.to_string() == text),
    }
}

/// As in `ke1_mlkem768` or `ke1_none`.
fn additional_keyword(text: &str) -> Option<Keyword> {
    let (number, method) = text.strip_prefix("ke")?.split_once('_')?;
    let index = number.parse::<usize>().ok()?.checked_sub(1)?;
    if index >= AdditionalGroups::MAX {
        return None;
    }
    let group = if method == "none" { None } else { Some(group_keyword(method)?) };
    Some(Keyword::Additional(index, group))
}

/// As in `aes256gcm16-prfsha384-x25519-ke1_mlkem768` or `aes256-sha256-modp2048`.
/// Without an explicit PRF those of the integrity algorithms are meant.
impl FromStr for IkeProposal {
    type Err = BadProposal;

    fn from_str(text: &str) -> Result<Self, BadProposal> {
        let mut proposal = Self {
            ciphers: Vec::new(),
            integrity: Vec::new(),
            prfs: Vec::new(),
            groups: Vec::new(),
            additional: Additional::default(),
        };
        for word in text.split('-') {
            match keyword(word).ok_or_else(|| BadProposal::Unknown(word.to_owned()))? {
                Keyword::Cipher(cipher) => proposal.ciphers.push(cipher),
                Keyword::Integrity(integrity) => proposal.integrity.push(integrity),
                Keyword::Prf(prf) => proposal.prfs.push(prf),
                Keyword::Group(group) => proposal.groups.push(group),
                Keyword::Additional(index, group) => {
                    proposal.additional.iter_mut().skip(index).take(1).for_each(|a| a.push(group));
                }
                Keyword::Extended(_) => return Err(BadProposal::Misplaced(word.to_owned())),
            }
        }
        proposal.complete()
    }
}

impl IkeProposal {
    fn complete(mut self) -> Result<Self, BadProposal> {
        let aead = are_aead(&self.ciphers)?;
        if self.prfs.is_empty() {
            self.prfs = self.integrity.iter().map(|&i| prf_beside(i)).collect();
        }
        if aead {
            // strongSwan takes the hash beside an AEAD cipher for the PRF, too.
            self.integrity.clear();
        } else if self.integrity.is_empty() {
            return Err(BadProposal::Missing("integrity"));
        }
        if self.prfs.is_empty() {
            return Err(BadProposal::Missing("prf"));
        }
        if self.groups.is_empty() {
            return Err(BadProposal::Missing("key exchange"));
        }
        Ok(self)
    }
}

const fn prf_beside(integrity: CbcIntegrity) -> PrfAlg {
    match integrity {
        CbcIntegrity::HmacSha256_128 => PrfAlg::HmacSha256,
        CbcIntegrity::HmacSha384_192 => PrfAlg::HmacSha384,
        CbcIntegrity::HmacSha512_256 => PrfAlg::HmacSha512,
    }
}

/// As in `aes256gcm16`, `aes256gcm16-chacha20poly1305-esn-noesn`,
/// `aes256-sha256`, `aes256gcm16-x25519` or `aes256gcm16-x25519-ke1_mlkem768`.
impl FromStr for EspProposal {
    type Err = BadProposal;

    fn from_str(text: &str) -> Result<Self, BadProposal> {
        let (ciphers, integrity, extended, groups, additional) = Default::default();
        let mut proposal = Self { ciphers, integrity, extended, groups, additional };
        for word in text.split('-') {
            match keyword(word).ok_or_else(|| BadProposal::Unknown(word.to_owned()))? {
                Keyword::Cipher(Cipher::Gcm(len)) => {
                    proposal.ciphers.push(Cipher::Gcm(len));
                }
                Keyword::Cipher(Cipher::Cbc(len)) => {
                    proposal.ciphers.push(Cipher::Cbc(len));
                }
                Keyword::Cipher(Cipher::ChaCha20Poly1305) => {
                    proposal.ciphers.push(Cipher::ChaCha20Poly1305);
                }
                Keyword::Integrity(integrity) => proposal.integrity.push(integrity),
                Keyword::Extended(extended) => proposal.extended.push(extended),
                Keyword::Group(group) => proposal.groups.push(group),
                Keyword::Additional(index, group) => {
                    proposal.additional.iter_mut().skip(index).take(1).for_each(|a| a.push(group));
                }
                Keyword::Prf(_) => return Err(BadProposal::Misplaced(word.to_owned())),
            }
        }
        proposal.complete()
    }
}

impl fmt::Display for IkeProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ciphers = self.ciphers.iter().map(ToString::to_string);
        let integrity = self.integrity.iter().map(ToString::to_string);
        let prfs = self.prfs.iter().map(|prf| format!("prfsha{}", prf.output_len() * 8));
        let groups = self.groups.iter().map(ToString::to_string);
        let additional = additional_words(&self.additional);
        let words: Vec<_> =
            ciphers.chain(integrity).chain(prfs).chain(groups).chain(additional).collect();
        f.write_str(&words.join("-"))
    }
}

impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ciphers = self.ciphers.iter().map(ToString::to_string);
        let integrity = self.integrity.iter().map(ToString::to_string);
        // Sequence numbers of 32 bits alone are not worth a word.
        let is_usual = self.extended == [false];
        let extended = self.extended.iter().filter(|_| !is_usual);
        let extended = extended.map(|&e| if e { "esn" } else { "noesn" }.to_owned());
        let groups = self.groups.iter().map(ToString::to_string);
        let additional = additional_words(&self.additional);
        let words: Vec<_> =
            ciphers.chain(integrity).chain(groups).chain(additional).chain(extended).collect();
        f.write_str(&words.join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ike(text: &str) -> IkeProposal {
        text.parse().unwrap()
    }

    fn offered(text: &str) -> Vec<Transform> {
        ike(text).transforms().collect()
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let all = IkeProposal::defaults().into_iter().map(|p| p.to_string());
        for text in all.chain([
            "aes256gcm16-prfsha384-x25519".to_owned(),
            "aes128gcm16-chacha20poly1305-prfsha256-ecp521-ke1_mlkem768-ke1_none-ke7_mlkem1024"
                .to_owned(),
        ]) {
            assert_eq!(ike(&text).to_string(), text);
        }
        for proposal in EspProposal::defaults() {
            assert_eq!(proposal.to_string().parse(), Ok(proposal));
        }
    }

    #[test]
    fn a_prf_not_named_is_that_of_the_integrity_algorithm() {
        assert_eq!(ike("aes128-sha256-ecp256"), ike("aes128-sha256-prfsha256-ecp256"));
    }

    #[test]
    fn what_is_missing_or_misplaced_is_named() {
        let fault = |text: &str| text.parse::<IkeProposal>().err();
        assert_eq!(fault("aes256gcm16-prfsha256"), Some(BadProposal::Missing("key exchange")));
        assert_eq!(fault("aes256gcm16-x25519"), Some(BadProposal::Missing("prf")));
        assert_eq!(fault("aes256-prfsha256-x25519"), Some(BadProposal::Missing("integrity")));
        assert_eq!(fault("x25519"), Some(BadProposal::Missing("encryption")));
        assert_eq!(fault("3des-sha1-modp1024"), Some(BadProposal::Unknown("3des".into())));
        assert_eq!(fault("aes256-aes256gcm16-sha256-x25519"), Some(BadProposal::MixedCiphers));
        for unknown in ["ke0_mlkem768", "ke8_mlkem768", "ke1_mlkem", "ke_mlkem768", "ke1_sha256"] {
            let text = format!("aes256gcm16-prfsha256-x25519-{unknown}");
            assert_eq!(fault(&text), Some(BadProposal::Unknown(unknown.into())));
        }
        assert!("sha256".parse::<EspProposal>().is_err());
    }

    #[test]
    fn the_best_of_ours_that_is_on_offer_is_chosen() {
        let ours = ike("aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp256");
        let suite = ours.agree(&offered("aes128gcm16-prfsha256-ecp256"), None).unwrap();
        assert_eq!(suite.to_string(), "aes128gcm16-prfsha256-ecp256");
        let theirs = offered("aes128gcm16-aes256gcm16-prfsha256-prfsha384-ecp256-x25519");
        let suite = ours.agree(&theirs, None).unwrap();
        assert_eq!(suite.to_string(), "aes256gcm16-prfsha384-x25519");
        let suite = ours.agree(&theirs, Some(Group::P256)).unwrap();
        assert_eq!(suite.group, Group::P256);
        assert!(ours.agree(&offered("aes256-sha256-ecp256"), None).is_none());
    }

    #[test]
    fn a_proposal_with_an_unknown_kind_of_transform_is_not_chosen() {
        let ours = ike("aes256gcm16-prfsha256-x25519");
        let mut theirs = offered("aes256gcm16-prfsha256-x25519");
        theirs.push(Transform::new(TransformType(13), 36));
        assert!(ours.agree(&theirs, None).is_none());
    }

    fn esp(text: &str) -> EspProposal {
        text.parse().unwrap()
    }

    #[test]
    fn additional_key_exchanges_are_made_by_both_or_by_none() {
        let agreed = |ours: &str, theirs: &str| {
            let suite = ike(&format!("aes256gcm16-prfsha256-x25519{ours}"))
                .agree(&offered(&format!("aes256gcm16-prfsha256-x25519{theirs}")), None)?;
            Some(suite.to_string().split_off("aes256gcm16-prfsha256-x25519".len()))
        };
        let (hybrid, optional) = ("-ke1_mlkem768", "-ke1_mlkem768-ke1_none");
        assert_eq!(agreed("", hybrid), None);
        assert_eq!(agreed(hybrid, ""), None);
        assert_eq!(agreed(hybrid, "-ke2_mlkem768"), None);
        assert_eq!(agreed(hybrid, hybrid).as_deref(), Some(hybrid));
        assert_eq!(agreed(optional, hybrid).as_deref(), Some(hybrid));
        assert_eq!(agreed(hybrid, optional).as_deref(), Some(hybrid));
        assert_eq!(agreed(optional, "").as_deref(), Some(""));
        assert_eq!(agreed("", optional).as_deref(), Some(""));
        let both = "-ke1_mlkem512-ke1_mlkem768-ke2_mlkem768";
        assert_eq!(agreed(both, both).as_deref(), Some("-ke1_mlkem512-ke2_mlkem768"));
    }

    #[test]
    fn no_method_is_chosen_twice() {
        let twice = "aes256gcm16-prfsha256-x25519-ke1_x25519";
        assert!(ike(twice).agree(&offered(twice), None).is_none());
        let again = "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem768-ke2_none";
        let suite = ike(again).agree(&offered(again), None).unwrap();
        assert_eq!(suite.to_string(), "aes256gcm16-prfsha256-x25519-ke1_mlkem768");
    }

    #[test]
    fn a_suite_is_allowed_with_exactly_its_additional_key_exchanges() {
        let suite = |text: &str| ike(text).agree(&offered(text), None).unwrap();
        let (plain, hybrid) =
            ("aes256gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-x25519-ke1_mlkem768");
        assert!(!ike(hybrid).allows(suite(plain)) && !ike(plain).allows(suite(hybrid)));
        assert!(ike(hybrid).allows(suite(hybrid)));
        assert!(ike(&format!("{hybrid}-ke1_none")).allows(suite(plain)));
    }

    #[test]
    fn sequence_numbers_are_as_long_as_both_sides_want() {
        let agree = |ours: &str, theirs: &str| {
            let theirs: Vec<_> = esp(theirs).transforms().collect();
            esp(ours).agree(&theirs).map(|suite| suite.to_string())
        };
        assert_eq!(agree("aes256gcm16", "aes256gcm16").as_deref(), Some("aes256gcm16"));
        assert_eq!(agree("aes256gcm16", "aes256gcm16-esn"), None);
        let both = "aes256gcm16-esn-noesn";
        assert_eq!(agree(both, both).as_deref(), Some("aes256gcm16-esn"));
        assert_eq!(agree(both, "aes256gcm16").as_deref(), Some("aes256gcm16"));
        assert_eq!(agree("aes256gcm16-noesn-esn", both).as_deref(), Some("aes256gcm16"));
    }

    #[test]
    fn esp_integrity_goes_with_cbc_only() {
        let agree = |ours: &str, theirs: &str| {
            let theirs: Vec<_> = esp(theirs).transforms().collect();
            esp(ours).agree(&theirs).map(|suite| suite.to_string())
        };
        let suite = agree("aes256-aes128-sha512-sha256", "aes128-sha256-sha512");
        assert_eq!(suite.as_deref(), Some("aes128-sha512"));
        assert_eq!(agree("aes128-sha256", "aes128-sha384"), None);
        let fault = |text: &str| text.parse::<EspProposal>().err();
        assert_eq!(fault("aes128"), Some(BadProposal::Missing("integrity")));
        assert_eq!(fault("sha256"), Some(BadProposal::Missing("encryption")));
        assert_eq!(fault("aes128-aes128gcm16-sha256"), Some(BadProposal::MixedCiphers));
        assert_eq!(fault("aes128-prfsha256"), Some(BadProposal::Misplaced("prfsha256".into())));
        assert!(fault("aes128gcm16-sha256").is_some());
    }

    #[test]
    fn an_esp_proposal_that_is_shown_can_be_read_back() {
        for text in
            ["aes256gcm16-aes128gcm16-esn", "aes256-sha256-sha512", "chacha20poly1305-esn-noesn"]
        {
            assert_eq!(esp(text).to_string(), text);
        }
    }

    #[test]
    fn a_child_s_key_exchange_is_agreed_on_where_either_side_wants_one() {
        let with: EspProposal = "aes256gcm16-x25519-ecp256".parse().unwrap();
        let without: EspProposal = "aes256gcm16".parse().unwrap();
        assert_eq!(with.to_string(), "aes256gcm16-x25519-ecp256");
        let offer = |p: &EspProposal| p.keyed_transforms().collect::<Vec<_>>();
        let group = |ours: &EspProposal, theirs, keyed| {
            ours.agree_with_groups(theirs, keyed).map(|(_, groups)| groups.map(|g| g.first))
        };
        let (keyed, plain) = (offer(&with), offer(&without));
        assert_eq!(group(&without, &plain, None), Some(None));
        assert_eq!(group(&with, &keyed, None), Some(Some(Group::X25519)));
        assert_eq!(group(&with, &keyed, Some(Group::P256)), Some(Some(Group::P256)));
        assert_eq!(group(&without, &keyed, Some(Group::P256)), Some(Some(Group::P256)));
        assert_eq!(group(&with, &plain, None), None);
        // IKE_AUTH has no key exchange for the child.
        assert_eq!(with.transforms().collect::<Vec<_>>(), plain);
    }

    #[test]
    fn a_child_s_additional_key_exchanges_are_agreed_on_like_its_first() {
        let text = "aes256gcm16-x25519-ke1_mlkem768-ke1_none-ke2_mlkem1024";
        let with: EspProposal = text.parse().unwrap();
        assert_eq!(with.to_string(), text);
        let answer = |ours: &EspProposal, theirs: &EspProposal| {
            let offered: Vec<_> = theirs.keyed_transforms().collect();
            let (suite, groups) = ours.agree_with_groups(&offered, None)?;
            let answer: Vec<_> = EspProposal::of(suite).transforms_with(groups).collect();
            Some((groups.map(|g| g.additional.iter().collect::<Vec<_>>()), answer))
        };
        let (both, _) = answer(&with, &with).unwrap();
        assert_eq!(both, Some(vec![Group::MlKem768, Group::MlKem1024]));
        // Who has no opinion makes as few as it may.
        let (few, said) = answer(&esp("aes256gcm16"), &with).unwrap();
        assert_eq!(few, Some(vec![Group::MlKem1024]));
        assert!(said.contains(&additional_transform(TransformType::ADDKE1, None)));
        assert_eq!(answer(&with, &esp("aes256gcm16-x25519-ke1_mlkem768")), None);
        let (none, said) =
            answer(&esp("aes256gcm16-x25519"), &esp("aes256gcm16-x25519-ke1_none")).unwrap();
        assert_eq!(none, Some(Vec::new()));
        assert!(said.contains(&additional_transform(TransformType::ADDKE1, None)));
        assert_eq!(
            "aes256gcm16-ke1_mlkem768".parse::<EspProposal>(),
            Err(BadProposal::Missing("key exchange"))
        );
        // In IKE_AUTH there are none.
        assert!(esp("aes256gcm16").agree(&with.keyed_transforms().collect::<Vec<_>>()).is_none());
    }
}
