//! What a certificate says, and whom it would convince.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use crypto::{KeyKind, PublicKey, sha256};
use pki::issue::AlternativeName;
use pki::{Certificate, Crl, Name, Presented, Revocation, Trust, pem};

use super::files::{certificates, labelled, read};
use super::make::date;
use super::{Problem, identity};
use crate::format::{plain, span, write};

/// `cygnet pki show`
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Certificates or revocation lists, in PEM or DER.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Authorities: say whether the first certificate would convince who believes them.
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Revocation lists to heed.
    #[arg(long, value_name = "FILE", requires = "ca")]
    crl: Vec<PathBuf>,
    /// Whom it must be for; without this, whomever it names first.
    #[arg(long, value_name = "ID", requires = "ca", value_parser = identity)]
    id: Option<AlternativeName>,
}

impl Look {
    /// Says what is in the file.
    ///
    /// # Errors
    /// Also when the certificate would not convince: then what there is to
    /// tell has been told.
    pub(super) fn show(&self, now: SystemTime) -> Result<String, Problem> {
        if self.is_list()? {
            return self.lists(now);
        }
        let found = certificates(&self.file)?;
        let mut text = String::new();
        for (place, certificate) in found.iter().enumerate() {
            if place > 0 {
                text.push('\n');
            }
            describe(certificate, now, &mut text);
        }
        if self.ca.is_empty() {
            return Ok(text);
        }
        match self.convinces(&found, now)? {
            Ok(id) => {
                line(&mut text, "convinces", &format!("yes, as {id}"));
                Ok(text)
            }
            Err(why) => {
                line(&mut text, "convinces", &plain(&format!("no: {why}")));
                // Lost words do not change the answer.
                let _ = write(text.as_bytes());
                Err(Problem::Unconvincing { path: self.file.clone(), why })
            }
        }
    }

    fn is_list(&self) -> Result<bool, Problem> {
        let octets = read(&self.file)?;
        if pem::is_pem(&octets) {
            return Ok(!labelled(&self.file, "X509 CRL")?.is_empty());
        }
        Ok(Crl::from_der(&octets).is_ok())
    }

    fn lists(&self, now: SystemTime) -> Result<String, Problem> {
        let mut text = String::new();
        for list in read_lists(&self.file)? {
            let (this, next) = list.updates();
            line(&mut text, "list of", &plain(&list.issuer().to_string()));
            line(&mut text, "made", &date(this));
            let next = next.map_or_else(|| "nobody knows".to_owned(), |next| ending(next, now));
            line(&mut text, "good until", &next);
            line(&mut text, "revokes", &list.revoked().to_string());
        }
        Ok(text)
    }

    /// As whom the first certificate convinces, or why it does not.
    fn convinces(
        &self,
        found: &[Certificate],
        now: SystemTime,
    ) -> Result<Result<String, pki::Refused>, Problem> {
        let mut trust = Trust::new(Revocation::Relaxed);
        for path in &self.ca {
            for authority in certificates(path)? {
                trust.add_authority(authority).map_err(|error| (path.clone(), error))?;
            }
        }
        for path in &self.crl {
            read_lists(path)?.into_iter().for_each(|list| trust.add_crl(list));
        }
        let name = match (&self.id, found.first()) {
            (Some(id), _) => wanted(id),
            (None, Some(first)) => first.first_name(),
            (None, None) => return Ok(Err(pki::Refusal::Missing.into())),
        };
        let certificates: Vec<_> = found.iter().map(Certificate::as_der).collect();
        let presented = Presented { certificates: &certificates, raw_key: None };
        Ok(trust.verify(presented, &name, now).map(|_| shown(&name)))
    }
}

fn read_lists(path: &Path) -> Result<Vec<Crl>, Problem> {
    let mut lists = Vec::new();
    for der in labelled(path, "X509 CRL")? {
        lists.push(Crl::from_der(&der).map_err(|error| (path.to_owned(), error))?);
    }
    Ok(lists)
}

fn describe(certificate: &Certificate, now: SystemTime, text: &mut String) {
    let (from, until) = certificate.validity();
    let usages = certificate.usages();
    let names = certificate.alternative_names();
    line(text, "subject", &plain(&certificate.subject().to_string()));
    let is_own = certificate.issuer() == certificate.subject();
    let issuer = if is_own { "itself".into() } else { certificate.issuer().to_string() };
    line(text, "issuer", &plain(&issuer));
    line(text, "names", &either(names, "none: it is for its subject alone"));
    line(text, "good from", &date(from));
    line(text, "good until", &ending(until, now));
    line(text, "key", &key(certificate.key()));
    let authority = if certificate.is_authority() { "yes" } else { "no" };
    line(text, "authority", authority);
    let key = usages.key.map(|words| words.into_iter().map(str::to_owned).collect());
    line(text, "key usage", &key.map_or("any".into(), |words| either(words, "none")));
    let extended = usages.extended.map_or("any".into(), |words| either(words, "none"));
    line(text, "extended", &extended);
    line(text, "CRL", &either(certificate.crl_uris().to_vec(), "none"));
    line(text, "serial", &hexadecimal(certificate.serial()));
    line(text, "SHA-256", &hexadecimal(&sha256(certificate.as_der())));
}

fn line(text: &mut String, what: &str, value: &str) {
    // Text takes whatever is written to it.
    let _ = writeln!(text, "{what:<11} {value}");
}

fn either(words: Vec<String>, none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { plain(&words.join(", ")) }
}

/// A date, and how far away it is.
fn ending(until: SystemTime, now: SystemTime) -> String {
    match until.duration_since(now) {
        Ok(left) => format!("{}, {} from now", date(until), span(left.as_secs_f64())),
        Err(past) => {
            format!("{}, which was {} ago", date(until), span(past.duration().as_secs_f64()))
        }
    }
}

fn key(key: &PublicKey) -> String {
    match key.kind() {
        KeyKind::Rsa => format!("RSA, {} bits", key.bits()),
        KeyKind::EcdsaP256 => "ECDSA on P-256".to_owned(),
        KeyKind::EcdsaP384 => "ECDSA on P-384".to_owned(),
        KeyKind::EcdsaP521 => "ECDSA on P-521".to_owned(),
        KeyKind::Ed25519 => "Ed25519".to_owned(),
    }
}

fn wanted(id: &AlternativeName) -> Name<'_> {
    match id {
        AlternativeName::Dns(name) => Name::Dns(name),
        AlternativeName::Email(address) => Name::Email(address),
        AlternativeName::Address(address) => Name::Address(*address),
    }
}

fn shown(name: &Name<'_>) -> String {
    let text = match name {
        Name::Address(address) => address.to_string(),
        Name::Dns(text) | Name::Email(text) => (*text).to_owned(),
        Name::Dn(dn) => dn.to_string(),
        Name::KeyId(octets) => hexadecimal(octets),
    };
    plain(&text)
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
