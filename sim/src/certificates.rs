//! Certificates for the machines of a world. All keys come from a seed, so that
//! a run can be repeated to the octet.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crypto::{Provider, SigningKey};
use ike::config::{Auth, LocalAuth, RemoteAuth};
use pki::issue::{self, AlternativeName, Request, Role};
use pki::{Certificate, Credential, Crl, Revocation, Trust};

/// An authority of the world. It is valid throughout.
pub struct Authority {
    provider: Provider,
    certificate: Certificate,
    key: SigningKey,
}

/// How a profile's sides prove themselves, instead of by its secrets.
#[derive(Clone)]
pub struct Certified(pub Auth);

impl std::fmt::Debug for Certified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certified")
    }
}

impl Authority {
    /// An authority whose keys come from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::named(seed, "O=Example, CN=Authority")
    }

    /// As [`Self::new`], with a name of its own.
    #[must_use]
    pub fn named(seed: u64, subject: &str) -> Self {
        let mut provider = Provider::seeded(seed);
        let key = key(&mut provider);
        let request = request(subject, Role::Authority(None));
        let certificate = issue::self_signed(&request, &key, &mut provider).unwrap();
        Self { provider, certificate, key }
    }

    /// A certificate for this domain name, valid for that long before and
    /// after the world begins, and its key.
    pub fn issue(&mut self, name: &str, valid: (Duration, Duration)) -> Credential {
        let subject = format!("O=Example, CN={name}");
        self.issue_for(&subject, vec![AlternativeName::Dns(name.into())], valid)
    }

    /// As [`Self::issue`], for this subject and these names.
    pub fn issue_for(
        &mut self,
        subject: &str,
        names: Vec<AlternativeName>,
        (before, after): (Duration, Duration),
    ) -> Credential {
        let key = key(&mut self.provider);
        let request = Request {
            names,
            validity: (beginning() - before, beginning() + after),
            ..request(subject, Role::Peer)
        };
        let by = issue::Authority { certificate: &self.certificate, key: &self.key };
        let certificate = by.issue(&request, &key, &mut self.provider).unwrap();
        Credential::new(Arc::new(key), vec![certificate]).unwrap()
    }

    /// Trust in this authority.
    #[must_use]
    pub fn trust(&self, revocation: Revocation) -> Trust {
        let mut trust = Trust::new(revocation);
        self.vouch(&mut trust);
        trust
    }

    /// Adds itself to those who are believed.
    pub fn vouch(&self, trust: &mut Trust) {
        trust.add_authority(self.certificate.clone()).unwrap();
    }

    /// A list that revokes these certificates.
    #[must_use]
    pub fn revoke(&self, revoked: &[&Certificate]) -> Crl {
        let by = issue::Authority { certificate: &self.certificate, key: &self.key };
        by.revoke(revoked, (beginning() - YEAR, beginning() + YEAR), 1).unwrap().0
    }
}

impl Certified {
    /// By a signature here, and whom `trust` believes there.
    #[must_use]
    pub fn both(credential: Credential, trust: Trust) -> Self {
        let local = LocalAuth::PublicKey(Arc::new(credential));
        Self(Auth { local, remote: RemoteAuth::PublicKey(Arc::new(trust)) })
    }
}

/// A year.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn beginning() -> SystemTime {
    crate::clock::Clock::new(Duration::ZERO).at(crate::Time::ZERO).wall
}

fn request(subject: &str, role: Role) -> Request {
    Request {
        subject: subject.parse().unwrap(),
        names: Vec::new(),
        validity: (beginning() - 10 * YEAR, beginning() + 10 * YEAR),
        role,
        extended_key_usages: Vec::new(),
        name_constraints: None,
        crl_uri: None,
    }
}

/// An Ed25519 key, whose signatures need no chance: RFC 8410 section 7 around
/// 32 octets.
fn key(provider: &mut Provider) -> SigningKey {
    const HEAD: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let seed: [u8; 32] = provider.array();
    SigningKey::from_pkcs8(&[HEAD, &seed].concat()).unwrap()
}
