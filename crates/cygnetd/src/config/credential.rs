//! Certificates and keys: what a side proves itself with, and whom it believes.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto::{PublicKey, SigningKey};
use pki::{
    Certificate, Credential, Crl, ExtendedKeyUsage, Revocation, Trust, pem, pkcs12, private_key,
};
use zeroize::Zeroizing;

use super::diagnostic::Findings;
use super::load::Environment;
use super::reader::{Item, Section, Wrong};
use super::secret::read_bounded;

/// The largest file of certificates that is read, in octets.
const MAX_CERTIFICATES: usize = 1024 * 1024;
/// The largest file of a revocation list.
const MAX_CRL: usize = 16 * 1024 * 1024;
/// The largest file of a key or a passphrase.
const MAX_KEY: usize = 64 * 1024;

/// Settings of `local` that count with `auth = "pubkey"` only.
pub(super) const LOCAL: [&str; 4] = ["certs", "key", "pkcs12", "passphrase_file"];
/// Settings of `remote` that count with `auth = "pubkey"` only.
pub(super) const REMOTE: [&str; 5] =
    ["cacerts", "certs", "crls", "revocation", "extended_key_usage"];

/// What we prove ourselves with. `None` when something is wrong with it.
pub(super) fn local(
    section: &mut Section<'_>,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Arc<Credential>> {
    let passphrase = section.get(findings, "passphrase_file", |item| passphrase(item, environment));
    if section.has("passphrase_file") && passphrase.is_none() {
        return None;
    }
    let passphrase = passphrase.as_ref();
    let (key, certificates) = if section.has("pkcs12") {
        bundle(section, environment, findings, passphrase)?
    } else {
        pair(section, environment, findings, passphrase)?
    };
    match Credential::new(Arc::new(key), certificates) {
        Ok(credential) => Some(Arc::new(credential)),
        Err(error) => {
            let file = if section.has("pkcs12") { "pkcs12" } else { "certs" };
            findings.error(&section.place_of_value(file), error.to_string(), "");
            None
        }
    }
}

type Passphrase = Zeroizing<Vec<u8>>;

/// A key and its certificates, each in files of their own.
fn pair(
    section: &mut Section<'_>,
    environment: &Environment,
    findings: &mut Findings,
    passphrase: Option<&Passphrase>,
) -> Option<(SigningKey, Vec<Certificate>)> {
    if !section.has("key") {
        let message = format!("there is no key in {}", section.title);
        let help = "key = \"own.key\", a file with the private key, or pkcs12 = \"own.p12\"";
        findings.error(&section.place, message, help);
    }
    let key = section.get(findings, "key", |item| key(item, environment, passphrase));
    let has_certificates = section.has("certs");
    let certificates = section.list(findings, "certs", |item| certificates(item, environment));
    if has_certificates && certificates.is_none() {
        return None;
    }
    let (key, is_open) = key?;
    if is_open {
        warn_of_open_key(section, "key", findings);
    }
    Some((key, certificates.unwrap_or_default().into_iter().flatten().collect()))
}

/// Both in one file.
fn bundle(
    section: &mut Section<'_>,
    environment: &Environment,
    findings: &mut Findings,
    passphrase: Option<&Passphrase>,
) -> Option<(SigningKey, Vec<Certificate>)> {
    if let Some(other) = ["key", "certs"].into_iter().find(|other| section.has(other)) {
        let message = format!("{other} and pkcs12 are given");
        findings.error(&section.place_of(other), message, "leave one of them out");
        return None;
    }
    let read = |item: Item<'_>| pkcs12_file(item, environment, passphrase);
    let (contents, is_open) = section.get(findings, "pkcs12", read)?;
    if is_open {
        warn_of_open_key(section, "pkcs12", findings);
    }
    Some((contents.key, contents.certificates))
}

fn warn_of_open_key(section: &Section<'_>, key: &str, findings: &mut Findings) {
    let message = "everybody on this machine can read this private key";
    findings.warning(&section.place_of_value(key), message, "chmod o-rwx");
}

/// Whom we believe. `None` when something is wrong with it.
pub(super) fn remote(
    section: &mut Section<'_>,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Arc<Trust>> {
    let words = [
        ("strict", Revocation::Strict),
        ("ifuri", Revocation::IfUri),
        ("relaxed", Revocation::Relaxed),
    ];
    let revocation = section.get(findings, "revocation", |item| item.word(&words));
    let usages = [("ike", ExtendedKeyUsage::Ike), ("tls", ExtendedKeyUsage::Tls)];
    let usage = section.get(findings, "extended_key_usage", |item| item.word(&usages));
    let given: Vec<_> = REMOTE.into_iter().filter(|key| section.has(key)).collect();
    let authorities = section.list(findings, "cacerts", |item| authorities(item, environment));
    let peers = section.list(findings, "certs", |item| peers(item, environment));
    let crls = section.list(findings, "crls", |item| crl(item, environment));
    if !given.contains(&"cacerts") && !given.contains(&"certs") {
        let message = format!("there is nobody to believe in {}", section.title);
        let help = "cacerts = [\"ca.pem\"], or certs = [\"peer.pem\"] of the peer itself";
        findings.error(&section.place, message, help);
        return None;
    }
    let mut trust = Trust::new(revocation.unwrap_or_default())
        .with_extended_key_usage(usage.unwrap_or_default());
    for certificate in authorities.unwrap_or_default().into_iter().flatten() {
        // That it is one was seen when it was read.
        let _ = trust.add_authority(certificate);
    }
    for peer in peers.unwrap_or_default().into_iter().flatten() {
        match peer {
            Peer::Certificate(certificate) => trust.add_peer(*certificate),
            Peer::Key(key) => trust.add_key(key),
        }
    }
    crls.unwrap_or_default().into_iter().flatten().for_each(|crl| trust.add_crl(crl));
    (!trust.is_empty()).then(|| Arc::new(trust))
}

fn passphrase(item: Item<'_>, environment: &Environment) -> Result<Passphrase, Wrong> {
    let (mut octets, _) = contents(item, environment, MAX_KEY)?;
    for end in [b'\n', b'\r'] {
        octets.pop_if(|last| *last == end);
    }
    Ok(octets)
}

/// The key, and whether everybody can read its file.
fn key(
    item: Item<'_>,
    environment: &Environment,
    passphrase: Option<&Passphrase>,
) -> Result<(SigningKey, bool), Wrong> {
    let (octets, mode) = contents(item, environment, MAX_KEY)?;
    let passphrase = passphrase.map(|octets| octets.as_slice());
    let key = private_key(&octets, passphrase).map_err(|error| {
        let help = match error {
            pki::BadPrivateKey::NeedsPassphrase => "passphrase_file = \"own.passphrase\"",
            _ => "",
        };
        about(item, error, help)
    })?;
    Ok((key, mode & 0o007 != 0))
}

/// What the file holds, and whether everybody can read it.
fn pkcs12_file(
    item: Item<'_>,
    environment: &Environment,
    passphrase: Option<&Passphrase>,
) -> Result<(pkcs12::Contents, bool), Wrong> {
    let (octets, mode) = contents(item, environment, pkcs12::MAX_FILE)?;
    let passphrase = passphrase.map(|octets| octets.as_slice());
    let read = pkcs12::read(&octets, passphrase).map_err(|error| {
        let help = match error {
            pkcs12::BadPkcs12::NeedsPassphrase => "passphrase_file = \"own.passphrase\"",
            _ => "",
        };
        about(item, error, help)
    })?;
    Ok((read, mode & 0o007 != 0))
}

fn certificates(item: Item<'_>, environment: &Environment) -> Result<Vec<Certificate>, Wrong> {
    let found = sections(item, environment, MAX_CERTIFICATES, "CERTIFICATE")?;
    let read = found.iter().filter(|(label, _)| label == "CERTIFICATE");
    let read: Result<Vec<_>, _> = read.map(|(_, der)| Certificate::from_der(der)).collect();
    let read = read.map_err(|error| about(item, error, ""))?;
    if read.is_empty() { Err(about(item, "there is no certificate in it", "")) } else { Ok(read) }
}

fn authorities(item: Item<'_>, environment: &Environment) -> Result<Vec<Certificate>, Wrong> {
    let found = certificates(item, environment)?;
    if found.iter().all(Certificate::may_issue) {
        return Ok(found);
    }
    let help = "a peer's own certificate belongs in certs";
    Err(about(item, pki::BadCertificate::NotAnAuthority, help))
}

enum Peer {
    Certificate(Box<Certificate>),
    Key(PublicKey),
}

/// Certificates, or raw public keys (RFC 7670).
fn peers(item: Item<'_>, environment: &Environment) -> Result<Vec<Peer>, Wrong> {
    let found = sections(item, environment, MAX_CERTIFICATES, "CERTIFICATE")?;
    let mut peers = Vec::new();
    for (label, der) in &found {
        match label.as_str() {
            "CERTIFICATE" => {
                let certificate = Certificate::from_der(der);
                let certificate = certificate.map_err(|error| about(item, error, ""))?;
                peers.push(Peer::Certificate(Box::new(certificate)));
            }
            "PUBLIC KEY" => {
                let key = PublicKey::from_spki(der).map_err(|error| about(item, error, ""))?;
                peers.push(Peer::Key(key));
            }
            _ => {}
        }
    }
    if peers.is_empty() {
        return Err(about(item, "there is neither a certificate nor a public key in it", ""));
    }
    Ok(peers)
}

fn crl(item: Item<'_>, environment: &Environment) -> Result<Vec<Crl>, Wrong> {
    let found = sections(item, environment, MAX_CRL, "X509 CRL")?;
    let lists = found.iter().filter(|(label, _)| label == "X509 CRL");
    let lists: Result<Vec<_>, _> = lists.map(|(_, der)| Crl::from_der(der)).collect();
    let lists = lists.map_err(|error| about(item, error, ""))?;
    if lists.is_empty() {
        Err(about(item, "there is no revocation list in it", ""))
    } else {
        Ok(lists)
    }
}

type Labelled = (String, Zeroizing<Vec<u8>>);

/// What a PEM file holds; one in DER holds what is expected.
fn sections(
    item: Item<'_>,
    environment: &Environment,
    max: usize,
    expected: &str,
) -> Result<Vec<Labelled>, Wrong> {
    let (octets, _) = contents(item, environment, max)?;
    if !pem::is_pem(&octets) {
        return Ok(vec![(expected.to_owned(), octets)]);
    }
    let text = std::str::from_utf8(&octets).map_err(|_| about(item, pem::BadPem, ""))?;
    let found = pem::sections(text).map_err(|error| about(item, error, ""))?;
    Ok(found.into_iter().map(|section| (section.label, section.octets)).collect())
}

fn contents(
    item: Item<'_>,
    environment: &Environment,
    max: usize,
) -> Result<(Zeroizing<Vec<u8>>, u32), Wrong> {
    let path = path(item, environment)?;
    read_bounded(&path, max)
        .map_err(|error| Wrong::new(format!("cannot read {}: {error}", path.display()), ""))
}

fn path(item: Item<'_>, environment: &Environment) -> Result<PathBuf, Wrong> {
    let path = Path::new(item.text()?);
    if path.as_os_str().as_bytes().is_empty() {
        return Err(Wrong::new("this is no file's name", ""));
    }
    Ok(environment.directory.join(path))
}

fn about(item: Item<'_>, what: impl std::fmt::Display, help: &str) -> Wrong {
    let name = item.text().unwrap_or_default();
    Wrong::new(format!("{name}: {what}"), help)
}
