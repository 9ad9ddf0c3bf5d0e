//! What the fuzz targets do, which ordinary tests do to their corpora as well.

use std::time::{Duration, SystemTime};

use crate::{Certificate, Crl, Dn, Name, Presented, Revocation, Trust, dn, pkcs12};

/// Octets as a chain: each certificate behind two octets of length. The first
/// is that of a peer, all others are of authorities that it brings along, and
/// the last is trusted.
pub fn chain(input: &[u8]) {
    let mut certificates = Vec::new();
    let mut rest = input;
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
        let (one, others) = after.split_at(len);
        certificates.push(one);
        rest = others;
    }
    let mut trust = Trust::new(Revocation::IfUri);
    if let Some(root) = certificates.last().and_then(|der| Certificate::from_der(der).ok()) {
        let _ = trust.add_authority(root);
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let presented = Presented { certificates: &certificates, raw_key: None };
    for name in [Name::Dns("gateway.example.org"), Name::KeyId(&[1])] {
        if let Err(refused) = trust.verify(presented, &name, time) {
            let told = refused.to_string();
            assert!(!told.contains(char::is_control) && told.chars().count() < 512);
        }
    }
}

/// Octets as a certificate: what is shown of one that can be read can be read.
pub fn certificate(input: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(input) {
        distinguished(certificate.subject());
        assert!(certificate.alternative_names().len() <= input.len());
    }
}

/// Octets as a revocation list.
pub fn crl(input: &[u8]) {
    if let Ok(crl) = Crl::from_der(input) {
        assert!(crl.revoked() <= input.len());
        distinguished(crl.issuer());
    }
}

/// Octets as a PKCS #12 file, and as what is in one once its code has been
/// checked, which chance would never get right.
pub fn pkcs12(input: &[u8]) {
    for read in [pkcs12::read(input, None), pkcs12::contents(input, b"")].into_iter().flatten() {
        read.certificates.iter().for_each(|it| distinguished(it.subject()));
    }
}

/// Octets as the text of a distinguished name, and as its DER.
pub fn name(input: &[u8]) {
    if let Ok(read) = Dn::from_der(input) {
        distinguished(&read);
    }
    let text = std::str::from_utf8(input).ok();
    if let Some(read) = text.and_then(|text| text.parse::<Dn>().ok()) {
        distinguished(&read);
    }
}

/// What is shown has no control characters, and names the same if it can be
/// read back.
fn distinguished(name: &Dn) {
    let shown = name.to_string();
    assert!(!shown.contains(char::is_control));
    if let Ok(again) = shown.parse::<Dn>() {
        assert!(again.as_der().len() <= dn::MAX_DN);
    }
}
