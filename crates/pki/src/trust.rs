//! Whom to believe: authorities, single certificates and raw keys, and what
//! has been revoked.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use crypto::{PublicKey, sha1_name};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    EndEntityCert, Error, ExpirationPolicy, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
};

use crate::certificate::Certificate;
use crate::chain::{ExtendedKeyUsage, refusal, signature_algorithms};
use crate::crl::Crl;
use crate::dn::Dn;
use crate::name::Name;
use crate::refusal::{BadCertificate, Refusal, Refused};
use crate::vouched::{Mark, Trace, Vouched};

/// The most certificates of a peer that are looked at.
pub(crate) const MAX_CERTIFICATES: usize = 8;

/// What a missing revocation list means; strongSwan's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Revocation {
    /// Every certificate of a chain needs a current list.
    Strict,
    /// A certificate that names a place for its list needs a current one.
    IfUri,
    /// Only what a list revokes is refused.
    #[default]
    Relaxed,
}

/// A revocation list that is to be had.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where.
    pub uri: String,
    /// Who may have signed it.
    pub issuers: Vec<Certificate>,
}

/// Hears of lists that certificates name, each time one is checked.
pub type Ask = Box<dyn Fn(Wanted) + Send + Sync>;

/// Lists that were fetched, by where they are from, and who is asked for more.
#[derive(Default)]
struct Fetched {
    lists: RwLock<BTreeMap<String, Arc<Crl>>>,
    ask: OnceLock<Ask>,
}

/// Whom a connection believes. Nothing of it changes but the fetched lists.
#[derive(Default)]
pub struct Trust {
    /// Certificates of authorities: what they vouch for is good.
    pub(crate) authorities: Vec<Certificate>,
    /// Certificates of peers: each is good by itself.
    peers: Vec<Certificate>,
    /// Raw public keys of peers (RFC 7670).
    keys: Vec<PublicKey>,
    /// All of these, as sessions remember them.
    roots: Vec<Root>,
    crls: Vec<Crl>,
    revocation: Revocation,
    extended_key_usage: ExtendedKeyUsage,
    fetched: Fetched,
}

/// What a proof can rest on: a key, and when it is good if a certificate says so.
struct Root {
    key: Mark,
    validity: Option<(SystemTime, SystemTime)>,
}

/// What a peer has shown, as in its CERT payloads.
#[derive(Clone, Copy, Default)]
pub struct Presented<'a> {
    /// Certificates; the first is that of the key that signed.
    pub certificates: &'a [&'a [u8]],
    /// A raw public key: a SubjectPublicKeyInfo.
    pub raw_key: Option<&'a [u8]>,
}

impl Presented<'_> {
    /// The key that the peer says is its own; `None` if it shows none. Nothing
    /// says yet that it is to be believed.
    ///
    /// # Errors
    /// [`Refused`]: what is shown is no certificate, or no key.
    #[must_use]
    pub fn key(&self) -> Option<Result<PublicKey, Refused>> {
        if let Some(leaf) = self.certificates.first() {
            return Some(read(leaf).map(|certificate| certificate.key().clone()));
        }
        self.raw_key.map(|spki| PublicKey::from_spki(spki).map_err(|_| Refusal::Key.into()))
    }
}

/// A key, and whose it is: the receipt for all checks.
#[derive(Debug)]
pub struct Verified {
    /// The key that the peer's signature must verify with.
    pub key: PublicKey,
    /// The subject of its certificate; `None` for a raw key.
    pub subject: Option<Dn>,
    /// When the certificate expires; `None` for a raw key.
    pub expires: Option<SystemTime>,
    /// Why it is believed: for [`Trust::still_believes`].
    pub vouched: Vouched,
}

/// What was fetched does not count: it is what the network gave, not what was
/// configured. Neither do the roots, which are in all else.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            authorities,
            peers,
            keys,
            roots: _,
            crls,
            revocation,
            extended_key_usage,
            fetched: _,
        } = self;
        *authorities == other.authorities
            && *peers == other.peers
            && *keys == other.keys
            && *crls == other.crls
            && *revocation == other.revocation
            && *extended_key_usage == other.extended_key_usage
    }
}

impl Trust {
    /// Nobody is believed yet.
    #[must_use]
    pub fn new(revocation: Revocation) -> Self {
        Self { revocation, ..Self::default() }
    }

    /// Says which extended key usages are good.
    #[must_use]
    pub fn with_extended_key_usage(self, extended_key_usage: ExtendedKeyUsage) -> Self {
        Self { extended_key_usage, ..self }
    }

    /// Believes whom this authority vouches for.
    ///
    /// # Errors
    /// [`BadCertificate::NotAnAuthority`].
    pub fn add_authority(&mut self, certificate: Certificate) -> Result<(), BadCertificate> {
        if !certificate.may_issue() {
            return Err(BadCertificate::NotAnAuthority);
        }
        self.roots.push(Root::of(&certificate));
        self.authorities.push(certificate);
        Ok(())
    }

    /// Believes this one certificate, whoever issued it.
    pub fn add_peer(&mut self, certificate: Certificate) {
        self.roots.push(Root::of(&certificate));
        self.peers.push(certificate);
    }

    /// Believes this raw key.
    pub fn add_key(&mut self, key: PublicKey) {
        self.roots.push(Root { key: Mark::of_key(&key.to_spki()), validity: None });
        self.keys.push(key);
    }

    /// Heeds this revocation list.
    pub fn add_crl(&mut self, crl: Crl) {
        self.crls.push(crl);
    }

    /// Heeds this list from `uri` from now on, instead of the one before. Its
    /// signature has been checked: see [`Crl::signed_by`].
    pub fn renew(&self, uri: &str, crl: Arc<Crl>) {
        let mut lists = self.fetched.lists.write().unwrap_or_else(PoisonError::into_inner);
        lists.insert(uri.to_owned(), crl);
    }

    /// Takes over what was fetched for `before`, in whose place this is, and asks
    /// for more of it; if both believe the same authorities: otherwise a list may
    /// be of somebody who is believed no more.
    pub fn succeed(&self, before: &Self) {
        if self.authorities != before.authorities {
            return;
        }
        let taken = before.fetched.lists.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (uri, crl) in taken {
            if let Some(ask) = self.fetched.ask.get() {
                let is_issuer = |it: &&Certificate| it.subject() == crl.issuer();
                let issuers = self.authorities.iter().filter(is_issuer).cloned().collect();
                ask(Wanted { uri: uri.clone(), issuers });
            }
            let mut lists = self.fetched.lists.write().unwrap_or_else(PoisonError::into_inner);
            lists.entry(uri).or_insert(crl);
        }
    }

    /// Has `ask` told of the lists that certificates of believed chains name.
    /// Only the first call counts.
    pub fn ask_for_lists(&self, ask: Ask) {
        let _ = self.fetched.ask.set(ask);
    }

    /// The lists that these certificates name which may concern peers, too:
    /// those of our authorities and of what is among the certificates.
    #[must_use]
    pub fn lists_of(&self, own: &[Certificate]) -> Vec<Wanted> {
        own.iter().flat_map(|certificate| self.wanted(certificate, own)).collect()
    }

    /// Whether nobody would be believed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.peers.is_empty() && self.keys.is_empty()
    }

    /// Whether certificates are believed.
    #[must_use]
    pub const fn has_certificates(&self) -> bool {
        !self.authorities.is_empty() || !self.peers.is_empty()
    }

    /// Whether raw keys are believed.
    #[must_use]
    pub const fn has_raw_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What a certificate request names the authorities by: SHA-1 of each
    /// SubjectPublicKeyInfo (RFC 7296 section 3.7).
    pub fn authority_hashes(&self) -> impl Iterator<Item = [u8; 20]> {
        self.authorities.iter().map(|certificate| sha1_name(certificate.spki()))
    }

    /// The key of the peer that claims to be `name`, if what it has presented
    /// can be believed at `time`. A pure function of its arguments.
    ///
    /// # Errors
    /// [`Refused`]: which check failed, and on which certificate.
    pub fn verify(
        &self,
        presented: Presented<'_>,
        name: &Name<'_>,
        time: SystemTime,
    ) -> Result<Verified, Refused> {
        match (presented.certificates.split_first(), presented.raw_key) {
            (Some((leaf, others)), _) => self.verify_certificate(leaf, others, name, time),
            (None, Some(spki)) => Ok(self.verify_raw(spki)?),
            (None, None) => self.known(name, time),
        }
    }

    /// Whether what a key was believed for would be accepted at `time`: who
    /// vouched for it is believed, and no list revokes a certificate or is
    /// missing. That costs no signature and no walk over a list.
    ///
    /// # Errors
    /// [`Refusal`]: which check failed.
    pub fn still_believes(&self, vouched: &Vouched, time: SystemTime) -> Result<(), Refusal> {
        if !self.roots.iter().any(|root| root.is_good(&vouched.by, time)) {
            return Err(Refusal::UnknownIssuer);
        }
        if vouched.certificates.iter().any(|it| self.is_revoked(it)) {
            return Err(Refusal::Revoked);
        }
        let all_have = vouched.certificates.iter().all(|it| self.has_list(it, time));
        if all_have { Ok(()) } else { Err(Refusal::NoRevocationList) }
    }

    fn verify_certificate(
        &self,
        leaf: &[u8],
        others: &[&[u8]],
        name: &Name<'_>,
        time: SystemTime,
    ) -> Result<Verified, Refused> {
        if others.len() >= MAX_CERTIFICATES {
            return Err(Refusal::TooMuch.into());
        }
        let certificate = read(leaf)?;
        // What costs least goes first.
        if !certificate.is_for(name) {
            return Err(Refused::on(Refusal::Identity, &certificate));
        }
        if !certificate.may_sign() {
            return Err(Refused::on(Refusal::KeyUsage, &certificate));
        }
        if self.peers.iter().any(|peer| peer.as_der() == leaf) {
            return Verified::configured(&certificate, time);
        }
        let vouched = self.verify_chain(&certificate, others, time)?;
        Ok(Verified::of(&certificate, vouched))
    }

    fn verify_raw(&self, spki: &[u8]) -> Result<Verified, Refusal> {
        let key = PublicKey::from_spki(spki).map_err(|_| Refusal::Key)?;
        if !self.keys.contains(&key) {
            return Err(Refusal::UnknownKey);
        }
        Ok(Verified::raw(key))
    }

    /// A peer that sends nothing must have been configured; RFC 7296
    /// section 3.6 lets it leave out what the other side knows.
    fn known(&self, name: &Name<'_>, time: SystemTime) -> Result<Verified, Refused> {
        if let Some(certificate) = self.peers.iter().find(|peer| peer.is_for(name)) {
            return Verified::configured(certificate, time);
        }
        match self.keys.as_slice() {
            [key] => Ok(Verified::raw(key.clone())),
            _ => Err(Refusal::Missing.into()),
        }
    }

    fn verify_chain(
        &self,
        certificate: &Certificate,
        others: &[&[u8]],
        time: SystemTime,
    ) -> Result<Vouched, Refused> {
        let leaf = CertificateDer::from(certificate.as_der());
        let leaf = EndEntityCert::try_from(&leaf)
            .map_err(|error| Refused::on(refusal(&error), certificate))?;
        let intermediates: Vec<_> = others.iter().map(|&der| CertificateDer::from(der)).collect();
        let authorities: Vec<_> = self
            .authorities
            .iter()
            .filter(|certificate| in_time(certificate, time).is_ok())
            .map(|certificate| CertificateDer::from(certificate.as_der()))
            .collect();
        let anchors: Vec<_> =
            authorities.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
        let fetched = self.fetched();
        let mut lists: Vec<_> = self.crls.iter().chain(fetched.iter().map(Arc::as_ref)).collect();
        // The first of an authority counts.
        lists.sort_by_key(|list| Reverse(list.updates().0));
        let lists: Vec<_> = lists.into_iter().map(Crl::list).collect();
        let last = RefCell::new(None);
        let accept = |path: &VerifiedPath<'_>| {
            let accepted = self.accept_path(path, time);
            let is_good = accepted.is_ok();
            last.replace(Some(accepted));
            if is_good { Ok(()) } else { Err(Error::UnknownIssuer) }
        };
        let verified = leaf.verify_for_usage(
            &signature_algorithms(),
            &anchors,
            &intermediates,
            unix_time(time),
            self.extended_key_usage,
            revocation_options(&lists),
            Some(&accept),
        );
        let error = verified.map(|_| ()).err();
        match (last.take(), error) {
            (Some(Ok(vouched)), None) => Ok(vouched),
            (Some(Err(refused)), _) => Err(refused),
            (_, Some(error)) => Err(self.blame(refusal(&error), certificate, others, time)),
            (None, None) => Err(Refused::on(Refusal::UnknownIssuer, certificate)),
        }
    }

    /// What the library does not check: that authorities may issue, and that
    /// there is a revocation list where the policy wants one.
    fn accept_path(&self, path: &VerifiedPath<'_>, time: SystemTime) -> Result<Vouched, Refused> {
        let mut chain = Vec::new();
        for certificate in path.intermediate_certificates() {
            let certificate = read(&certificate.der())?;
            if !certificate.may_issue() {
                return Err(Refused::on(Refusal::KeyUsage, &certificate));
            }
            chain.push(certificate);
        }
        let leaf = read(&path.end_entity().der())?;
        // Of a chain that leads to one of our authorities: nobody else has us
        // ask for anything.
        if let Some(ask) = self.fetched.ask.get() {
            let all = chain.iter().chain([&leaf]);
            all.flat_map(|it| self.wanted(it, &chain)).for_each(ask);
        }
        let with_list = |certificate: &Certificate| {
            let trace = Trace::of(certificate);
            let missing = || Refused::on(Refusal::NoRevocationList, certificate);
            self.has_list(&trace, time).then_some(trace).ok_or_else(missing)
        };
        let traces: Result<_, _> = chain.iter().chain([&leaf]).map(with_list).collect();
        Ok(Vouched::by_anchor(path, traces?))
    }

    /// The lists that a certificate names, with those who may have signed them.
    fn wanted(&self, certificate: &Certificate, chain: &[Certificate]) -> Vec<Wanted> {
        let all = self.authorities.iter().chain(chain);
        let issuers: Vec<_> =
            all.filter(|it| it.subject() == certificate.issuer()).cloned().collect();
        let wanted = |uri: &String| Wanted { uri: uri.clone(), issuers: issuers.clone() };
        certificate.crl_uris().iter().map(wanted).collect()
    }

    fn fetched(&self) -> Vec<Arc<Crl>> {
        let lists = self.fetched.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.values().cloned().collect()
    }

    /// Whether the newest list that is for it revokes a certificate; as in the
    /// library, whether or not that is out of date.
    pub(crate) fn is_revoked(&self, certificate: &Trace) -> bool {
        let fetched = self.fetched();
        let lists = self.crls.iter().chain(fetched.iter().map(Arc::as_ref));
        let newest = lists.filter(|crl| crl.is_for(certificate));
        let newest = newest.min_by_key(|crl| Reverse(crl.updates().0));
        newest.is_some_and(|crl| crl.revokes(certificate))
    }

    pub(crate) fn usage_is_good(&self, certificate: &Certificate) -> bool {
        certificate.usages().extended.is_none_or(|it| self.extended_key_usage.allows(&it))
    }

    /// Whether there is a revocation list, if the policy wants one.
    fn has_list(&self, certificate: &Trace, time: SystemTime) -> bool {
        let is_needed = match self.revocation {
            Revocation::Strict => true,
            Revocation::IfUri => certificate.names_list,
            Revocation::Relaxed => false,
        };
        let is_it = |crl: &Crl| crl.is_for(certificate) && crl.is_current(time);
        !is_needed || self.crls.iter().any(is_it) || self.fetched().iter().any(|crl| is_it(crl))
    }
}

impl Root {
    fn of(certificate: &Certificate) -> Self {
        Self { key: Mark::of_key(certificate.spki()), validity: Some(certificate.validity()) }
    }

    fn is_good(&self, key: &Mark, time: SystemTime) -> bool {
        self.key == *key && self.validity.is_none_or(|(from, to)| from <= time && time <= to)
    }
}

impl Verified {
    fn of(certificate: &Certificate, vouched: Vouched) -> Self {
        Self {
            key: certificate.key().clone(),
            subject: Some(certificate.subject().clone()),
            expires: Some(certificate.validity().1),
            vouched,
        }
    }

    /// By a certificate that is believed by itself, at this time.
    fn configured(certificate: &Certificate, time: SystemTime) -> Result<Self, Refused> {
        in_time(certificate, time).map_err(|check| Refused::on(check, certificate))?;
        Ok(Self::of(certificate, Vouched::by_itself(Mark::of_key(certificate.spki()))))
    }

    fn raw(key: PublicKey) -> Self {
        let vouched = Vouched::by_itself(Mark::of_key(&key.to_spki()));
        Self { key, subject: None, expires: None, vouched }
    }
}

/// A list that is out of date still revokes what it names; whether a current
/// one must exist is [`Trust::has_list`]'s affair.
fn revocation_options<'a>(
    lists: &'a [&'a webpki::CertRevocationList<'static>],
) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        options
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Allow)
            .with_expiration_policy(ExpirationPolicy::Ignore)
            .build(),
    )
}

fn read(der: &[u8]) -> Result<Certificate, Refused> {
    Certificate::from_der(der).map_err(|bad| Refused::on_der(bad.into(), der))
}

pub(crate) fn in_time(certificate: &Certificate, time: SystemTime) -> Result<(), Refusal> {
    let (from, to) = certificate.validity();
    if time < from {
        return Err(Refusal::NotYetValid);
    }
    if time > to { Err(Refusal::Expired) } else { Ok(()) }
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
