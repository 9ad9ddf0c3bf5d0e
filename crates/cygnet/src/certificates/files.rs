//! Reading certificates and keys, and writing them without harm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crypto::SigningKey;
use pki::{Certificate, pem, private_key};
use zeroize::Zeroizing;

use super::{Problem, Signer};

/// The largest file that is read, in octets: as large a revocation list as is heeded.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// An authority that can sign.
pub(super) struct Authority {
    /// Its own certificate first, then those between it and the root.
    pub(super) certificates: Vec<Certificate>,
    pub(super) certificate: Certificate,
    pub(super) key: SigningKey,
}

impl Signer {
    /// Reads certificate and key, which must go together.
    pub(super) fn read(&self) -> Result<Authority, Problem> {
        let certificates = certificates(&self.ca)?;
        let certificate = first(&self.ca, &certificates)?;
        let wrong = |what: &str| Problem::Content { path: self.ca.clone(), what: what.to_owned() };
        if !certificate.may_issue() {
            return Err((self.ca.clone(), pki::BadCertificate::NotAnAuthority).into());
        }
        let path = self.ca_key.clone().unwrap_or_else(|| self.ca.with_extension("key"));
        let passphrase = self.passphrase_file.as_deref().map(passphrase).transpose()?;
        let passphrase = passphrase.as_ref().map(|octets| octets.as_slice());
        let key = private_key(&read(&path)?, passphrase).map_err(|error| (path.clone(), error))?;
        if crypto::Signer::public_key(&key) != certificate.key() {
            return Err(wrong(&format!("it is not the certificate of the key {}", path.display())));
        }
        Ok(Authority { certificates, certificate, key })
    }
}

/// The certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<Certificate>, Problem> {
    let mut found = Vec::new();
    for der in labelled(path, "CERTIFICATE")? {
        found.push(Certificate::from_der(&der).map_err(|error| (path.to_owned(), error))?);
    }
    first(path, &found)?;
    Ok(found)
}

/// What a PEM file has under a label; a file in DER is that itself.
pub(super) fn labelled(path: &Path, label: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Problem> {
    let octets = read(path)?;
    if !pem::is_pem(&octets) {
        return Ok(vec![octets]);
    }
    let wrong = |what: pem::BadPem| Problem::Content { path: path.into(), what: what.to_string() };
    let text = std::str::from_utf8(&octets).map_err(|_| wrong(pem::BadPem))?;
    let sections = pem::sections(text).map_err(wrong)?;
    let chosen = sections.into_iter().filter(|section| section.label == label);
    Ok(chosen.map(|section| section.octets).collect())
}

/// A private key and its certificates, in files that are not there yet: both or none.
pub(super) fn write_pair(
    base: &Path,
    key: &[u8],
    certificates: &[&Certificate],
) -> Result<(PathBuf, PathBuf), Problem> {
    let (key_path, path) = (with_ending(base, "key"), with_ending(base, "pem"));
    let text: String =
        certificates.iter().map(|it| pem::encode("CERTIFICATE", it.as_der()).to_string()).collect();
    create(&key_path, 0o600, pem::encode("PRIVATE KEY", key).as_bytes())?;
    if let Err(problem) = create(&path, 0o644, text.as_bytes()) {
        // One that we have just made and nobody has used.
        let _ = fs::remove_file(&key_path);
        return Err(problem);
    }
    Ok((path, key_path))
}

/// Puts a file in the place of another, at once.
pub(super) fn replace(path: &Path, octets: &[u8]) -> Result<(), Problem> {
    let beside = with_ending(path, "new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(about(&beside, error)),
        Err(_) | Ok(()) => {}
    }
    create(&beside, 0o644, octets)?;
    fs::rename(&beside, path).map_err(|error| about(path, error))
}

pub(super) fn about(path: &Path, error: io::Error) -> Problem {
    Problem::File { path: path.to_owned(), error }
}

pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let file = File::open(path).map_err(|error| about(path, error))?;
    let len = file.metadata().map_err(|error| about(path, error))?.len();
    // Room for all of it: memory that a growing vector gives back is not wiped.
    let room = usize::try_from(len).unwrap_or(MAX_FILE).min(MAX_FILE) + 1;
    let mut octets = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut octets).map_err(|error| about(path, error))?;
    if octets.len() > MAX_FILE {
        return Err(about(path, io::Error::other("it is too long")));
    }
    Ok(octets)
}

fn passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut octets = read(path)?;
    for end in [b'\n', b'\r'] {
        octets.pop_if(|last| *last == end);
    }
    Ok(octets)
}

fn first(path: &Path, certificates: &[Certificate]) -> Result<Certificate, Problem> {
    let what = "there is no certificate in it".to_owned();
    certificates.first().cloned().ok_or(Problem::Content { path: path.to_owned(), what })
}

/// A file that was not there before.
fn create(path: &Path, mode: u32, octets: &[u8]) -> Result<(), Problem> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Problem::Exists(path.to_owned()),
        _ => about(path, error),
    })?;
    let written = file.write_all(octets).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        about(path, error)
    })
}

/// Names of hosts have dots, which are no endings.
fn with_ending(base: &Path, ending: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}
