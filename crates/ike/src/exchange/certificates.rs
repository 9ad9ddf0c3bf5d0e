//! CERT and CERTREQ: what is shown, and what is asked for (RFC 7296 sections
//! 3.6 and 3.7, RFC 7670 for raw public keys).

use pki::{Credential, Presented};

use crate::config::RemoteAuth;
use crate::wire::{CertEncoding, MessageBuilder, Payloads};

/// The most authorities that a request names: 20 octets each.
const MAX_AUTHORITIES: usize = 50;

/// What a peer has shown.
#[derive(Default)]
pub(crate) struct Shown<'a> {
    certificates: Vec<&'a [u8]>,
    raw_key: Option<&'a [u8]>,
}

impl<'a> Shown<'a> {
    /// Of a message. What is only a reference to a certificate (hash and URL)
    /// is not looked at: we never announce to follow it.
    pub(crate) fn of(payloads: &Payloads<'a>) -> Self {
        let of = |encoding| {
            payloads.certs().filter(move |cert| cert.encoding == encoding).map(|cert| cert.data)
        };
        Self {
            certificates: of(CertEncoding::X509_SIGNATURE).collect(),
            raw_key: of(CertEncoding::RAW_PUBLIC_KEY).next(),
        }
    }

    pub(crate) fn presented(&self) -> Presented<'_> {
        Presented { certificates: &self.certificates, raw_key: self.raw_key }
    }
}

/// What a request asks for.
#[derive(Default)]
pub(crate) struct Wanted {
    /// The authorities, each by the SHA-1 of its key.
    authorities: Vec<[u8; 20]>,
    certificates: bool,
    raw_keys: bool,
}

impl Wanted {
    /// What can be verified by any of these.
    pub(crate) fn of<'a>(all: impl Iterator<Item = &'a RemoteAuth>) -> Self {
        let mut wanted = Self::default();
        for remote in all {
            if let RemoteAuth::PublicKey(trust) = remote {
                wanted.certificates |= trust.has_certificates();
                wanted.raw_keys |= trust.has_raw_keys();
                wanted.authorities.extend(trust.authority_hashes());
            }
        }
        wanted.authorities.sort_unstable();
        wanted.authorities.dedup();
        wanted.authorities.truncate(MAX_AUTHORITIES);
        wanted
    }

    /// Appends the requests; none where nothing is wanted.
    pub(crate) fn push<State>(&self, builder: &mut MessageBuilder<State>) {
        if self.certificates {
            builder.cert_request(CertEncoding::X509_SIGNATURE, self.authorities.as_flattened());
        }
        if self.raw_keys {
            builder.cert_request(CertEncoding::RAW_PUBLIC_KEY, &[]);
        }
    }
}

/// Appends what goes with the key: its certificate first, or the key itself.
pub(crate) fn push<State>(builder: &mut MessageBuilder<State>, credential: &Credential) {
    if credential.certificates().is_empty() {
        let spki = credential.key().public_key().to_spki();
        builder.cert(CertEncoding::RAW_PUBLIC_KEY, &spki);
    }
    for certificate in credential.certificates() {
        builder.cert(CertEncoding::X509_SIGNATURE, certificate.as_der());
    }
}
