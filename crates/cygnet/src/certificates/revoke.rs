//! Revocation lists.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use pki::issue::{self, Revoked};
use pki::{Crl, pem};

use super::files::{Authority, certificates, labelled, replace};
use super::make::date;
use super::{Problem, Signer, days};

/// `cygnet pki revoke`
#[derive(Debug, Args)]
pub(crate) struct Revocation {
    /// The certificates to revoke; of a chain, the first.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The revocation list; without this, the authority's file with the ending .crl.
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Days until there must be another list.
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = days)]
    lifetime: Duration,
    #[command(flatten)]
    by: Signer,
}

impl Revocation {
    /// Writes the list that follows the one that is there.
    pub(super) fn list(&self, now: SystemTime) -> Result<String, Problem> {
        let by = self.by.read()?;
        let path = self.crl.clone().unwrap_or_else(|| self.by.ca.with_extension("crl"));
        let (mut revoked, number) = before(&path, &by, &self.by.ca)?;
        for file in &self.files {
            let serial = serial(file, &by, &self.by.ca)?;
            if revoked.iter().all(|known| known.serial != serial) {
                revoked.push(Revoked { serial, since: now });
            }
        }
        let Authority { certificate, key, .. } = &by;
        let authority = issue::Authority { certificate, key };
        let until = now + self.lifetime;
        let (_, der) = authority.list(&revoked, (now, until), number.saturating_add(1))?;
        replace(&path, pem::encode("X509 CRL", &der).as_bytes())?;
        let (count, plural) = (revoked.len(), if revoked.len() == 1 { "" } else { "s" });
        let (path, until) = (path.display(), date(until));
        Ok(format!("{path}: a list of {count} revoked certificate{plural}, good until {until}\n"))
    }
}

/// What the list says that is there, if there is one.
fn before(path: &Path, by: &Authority, ca: &Path) -> Result<(Vec<Revoked>, u64), Problem> {
    if !path.exists() {
        return Ok((Vec::new(), 0));
    }
    let found = labelled(path, "X509 CRL")?;
    let [der] = found.as_slice() else {
        let what = "there is not one revocation list in it".to_owned();
        return Err(Problem::Content { path: path.to_owned(), what });
    };
    let list = Crl::from_der(der).map_err(|error| (path.to_owned(), error))?;
    if list.issuer() != by.certificate.subject() {
        return Err(Problem::Stranger { path: path.to_owned(), ca: ca.to_owned() });
    }
    Ok(issue::entries(der).map_err(|error| (path.to_owned(), error))?)
}

fn serial(file: &Path, by: &Authority, ca: &Path) -> Result<Vec<u8>, Problem> {
    let found = certificates(file)?;
    match found.first() {
        Some(it) if it.issuer() == by.certificate.subject() => Ok(it.serial().to_vec()),
        Some(_) | None => Err(Problem::Stranger { path: file.to_owned(), ca: ca.to_owned() }),
    }
}
