//! New keys and certificates.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use crypto::{Provider, SigningKey};
use pki::issue::{self, AlternativeName, Request, Role};
use pki::{Certificate, Dn};

use super::files::{Authority, write_pair};
use super::{Flag, KeyType, Problem, Signer, days, identity, subject};
use crate::format::{plain, timestamp};

/// Certificates begin before they are made: the clocks of peers differ.
const HEAD_START: Duration = Duration::from_secs(3600);

/// `cygnet pki ca`
#[derive(Debug, Args)]
pub(crate) struct NewAuthority {
    /// Its name.
    #[arg(long, value_name = "DN", default_value = "CN=cygnet CA", value_parser = subject)]
    subject: Dn,
    /// Days that it is good.
    #[arg(long, value_name = "DAYS", default_value = "3652", value_parser = days)]
    lifetime: Duration,
    /// The kind of its key.
    #[arg(long, value_enum, default_value = "p256")]
    key_type: KeyType,
    /// The authority that vouches for it; without this, it vouches for itself.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The private key of that authority; without this, the file that ends with .key.
    #[arg(long, value_name = "FILE", requires = "ca")]
    ca_key: Option<PathBuf>,
    /// A file with the passphrase of that key.
    #[arg(long, value_name = "FILE", requires = "ca")]
    passphrase_file: Option<PathBuf>,
    /// Where its files go: OUT.pem and OUT.key.
    #[arg(long, value_name = "OUT", default_value = "ca")]
    out: PathBuf,
}

/// `cygnet pki issue`
#[derive(Debug, Args)]
pub(crate) struct NewPeer {
    /// Whom it is for: a domain name, an address or user@host. May be repeated.
    #[arg(long, value_name = "ID", required = true, value_parser = identity)]
    id: Vec<AlternativeName>,
    /// Its subject; without this, CN and the first ID.
    #[arg(long, value_name = "DN", value_parser = subject)]
    subject: Option<Dn>,
    /// Days that it is good, at most as long as its authority.
    #[arg(long, value_name = "DAYS", default_value = "825", value_parser = days)]
    lifetime: Duration,
    /// The kind of its key.
    #[arg(long, value_enum, default_value = "p256")]
    key_type: KeyType,
    /// An extended key usage for peers that want one. May be repeated.
    #[arg(long, value_enum, value_name = "USAGE")]
    flag: Vec<Flag>,
    /// Where the authority's revocation list can be had: an http or https URL.
    #[arg(long, value_name = "URL")]
    crl: Option<String>,
    #[command(flatten)]
    by: Signer,
    /// Where its files go, OUT.pem and OUT.key; without this, named after the first ID.
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
}

impl NewAuthority {
    /// Makes it, and says where it is.
    pub(super) fn make(&self, now: SystemTime) -> Result<String, Problem> {
        let by = self.signer().map(|signer| signer.read()).transpose()?;
        let request = Request {
            subject: self.subject.clone(),
            names: Vec::new(),
            validity: validity(now, self.lifetime, by.as_ref())?,
            role: Role::Authority(None),
            extended_key_usages: Vec::new(),
            name_constraints: None,
            crl_uri: None,
        };
        let made = Made::new(&request, self.key_type, by)?;
        let (certificate, key) = write_pair(&self.out, &made.key, &made.to_send())?;
        Ok(format!(
            "{}: the certificate of {}, good until {}\n\
             {}: its private key, not encrypted; keep it where no peer can read it\n",
            certificate.display(),
            plain(&self.subject.to_string()),
            made.until(),
            key.display(),
        ))
    }

    fn signer(&self) -> Option<Signer> {
        Some(Signer {
            ca: self.ca.clone()?,
            ca_key: self.ca_key.clone(),
            passphrase_file: self.passphrase_file.clone(),
        })
    }
}

impl NewPeer {
    /// Makes it, and says where it is.
    pub(super) fn make(&self, now: SystemTime) -> Result<String, Problem> {
        let by = self.by.read()?;
        let names: Vec<_> = self.id.iter().map(text).collect();
        let first = names.first().cloned().unwrap_or_default();
        let subject = match &self.subject {
            Some(subject) => subject.clone(),
            None => subject(&format!("CN={first}"))
                .map_err(|what| Problem::Content { path: first.clone().into(), what })?,
        };
        let request = Request {
            subject,
            names: self.id.clone(),
            validity: validity(now, self.lifetime, Some(&by))?,
            role: Role::Peer,
            extended_key_usages: Flag::purposes(&self.flag),
            name_constraints: None,
            crl_uri: self.crl.clone(),
        };
        let made = Made::new(&request, self.key_type, Some(by))?;
        let out = self.out.clone().unwrap_or_else(|| first.into());
        let (certificate, key) = write_pair(&out, &made.key, &made.to_send())?;
        Ok(format!(
            "{}: a certificate for {}, good until {}\n{}: its private key\n",
            certificate.display(),
            names.join(", "),
            made.until(),
            key.display(),
        ))
    }
}

/// A new key in PKCS #8, its certificate, and who has signed that.
struct Made {
    key: zeroize::Zeroizing<Vec<u8>>,
    certificate: Certificate,
    by: Option<Authority>,
}

impl Made {
    fn new(request: &Request, kind: KeyType, by: Option<Authority>) -> Result<Self, Problem> {
        let mut provider = Provider::system();
        let (kind, bits) = kind.kind();
        let pkcs8 = SigningKey::generate(kind, bits)?;
        let key = SigningKey::from_pkcs8(&pkcs8).map_err(|_| crypto::CryptoError::Module)?;
        let certificate = match &by {
            None => issue::self_signed(request, &key, &mut provider)?,
            Some(Authority { certificate, key: own, .. }) => {
                issue::Authority { certificate, key: own }.issue(request, &key, &mut provider)?
            }
        };
        Ok(Self { key: pkcs8, certificate, by })
    }

    /// The certificate and those between it and the root, which peers have.
    fn to_send(&self) -> Vec<&Certificate> {
        let above = self.by.iter().flat_map(|by| &by.certificates);
        let above = above.filter(|it| it.subject() != it.issuer());
        std::iter::once(&self.certificate).chain(above).collect()
    }

    fn until(&self) -> String {
        date(self.certificate.validity().1)
    }
}

/// From an hour ago, and never longer than the authority's.
fn validity(
    now: SystemTime,
    lifetime: Duration,
    by: Option<&Authority>,
) -> Result<(SystemTime, SystemTime), Problem> {
    let end = now + lifetime;
    let end = match by.map(|by| by.certificate.validity().1) {
        Some(last) if last <= now => return Err(Problem::Expired),
        Some(last) => end.min(last),
        None => end,
    };
    Ok((now - HEAD_START, end))
}

/// A point in time as people read it, to the second.
pub(super) fn date(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "exact for a quarter of a million years")]
    let text = timestamp(since.as_secs() as f64);
    text.replace(".000Z", "Z")
}

fn text(name: &AlternativeName) -> String {
    match name {
        AlternativeName::Dns(text) | AlternativeName::Email(text) => text.clone(),
        AlternativeName::Address(address) => address.to_string(),
    }
}
