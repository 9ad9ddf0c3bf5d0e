//! Certificates for both ends of a tunnel.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use crypto::{KeyKind, Provider, SigningKey};
use pki::issue::{AlternativeName, Authority, Request, Role, self_signed};
use pki::{Certificate, pem};

use crate::tunnel::Tunnel;

/// A root, and for each end a key, its certificate, and authorities of its own between that and
/// the root.
pub struct Papers {
    root: Certificate,
    sides: [Side; 2],
}

struct Side {
    id: String,
    key: Vec<u8>,
    /// The leaf first.
    chain: Vec<Certificate>,
}

impl Papers {
    /// What opens [`Papers::pkcs12`].
    pub const PASSPHRASE: &str = "open sesame";

    /// Papers for both ends of the tunnel, with keys of this kind and so many authorities between
    /// each leaf and the root.
    ///
    /// # Errors
    /// When the keys cannot be made.
    pub fn new(tunnel: &Tunnel, kind: KeyKind, between: usize) -> Result<Self> {
        let key = new_key(kind)?;
        let key = SigningKey::from_pkcs8(&key)?;
        let request = request("root", Role::Authority(None))?;
        let root = self_signed(&request, &key, &mut Provider::system())?;
        let side = |id: &str| Side::new(id, (&root, &key), kind, between);
        let sides = [side(&tunnel.local.id)?, side(&tunnel.remote.id)?];
        Ok(Self { root, sides })
    }

    /// Writes what the end with this identity needs, as swanctl has its folders. The file of a
    /// certificate has its chain, too.
    ///
    /// # Errors
    /// When there is no such end, or the files cannot be written.
    pub fn give(&self, id: &str, dir: &Path) -> Result<()> {
        let side = self.side(id)?;
        let leaf_and_others: String = side.chain.iter().map(certificate).collect();
        put(dir, "x509/own.pem", &leaf_and_others)?;
        put(dir, "pkcs8/own.pem", &pem::encode("PRIVATE KEY", &side.key))?;
        self.give_root(dir)?;
        for (number, authority) in side.chain.iter().skip(1).enumerate() {
            put(dir, &format!("x509ca/between-{number}.pem"), &certificate(authority))?;
        }
        Ok(())
    }

    /// Writes what is needed to check either end.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn give_root(&self, dir: &Path) -> Result<()> {
        put(dir, "x509ca/root.pem", &self.root())
    }

    /// The root's certificate in PEM.
    pub fn root(&self) -> String {
        certificate(&self.root)
    }

    /// Key and chain of the end with this identity, under the name `own`. The same is in files
    /// in `dir` then.
    ///
    /// # Errors
    /// When there is no such end, or openssl fails.
    pub fn pkcs12(&self, id: &str, dir: &Path) -> Result<Vec<u8>> {
        self.give(id, dir)?;
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-export", "-name", "own"]);
        command.arg("-inkey").arg(dir.join("pkcs8/own.pem"));
        command.arg("-in").arg(dir.join("x509/own.pem"));
        command.args(["-passout", &format!("pass:{}", Self::PASSPHRASE)]);
        let made = command.output().context("openssl")?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        Ok(made.stdout)
    }

    fn side(&self, id: &str) -> Result<&Side> {
        self.sides.iter().find(|side| side.id == id).with_context(|| format!("nobody is {id}"))
    }
}

impl Side {
    fn new(
        id: &str,
        (root, root_key): (&Certificate, &SigningKey),
        kind: KeyKind,
        between: usize,
    ) -> Result<Self> {
        let (name, names) = names_of(id);
        let mut provider = Provider::system();
        let mut above: Option<SigningKey> = None;
        let mut chain: Vec<Certificate> = Vec::new();
        let mut leaf = None;
        for level in (0..=between).rev() {
            let pkcs8 = new_key(kind)?;
            let key = SigningKey::from_pkcs8(&pkcs8)?;
            let request = match level {
                0 => Request { names: names.clone(), ..request(name, Role::Peer)? },
                _ => request(&format!("authority {level} of {name}"), Role::Authority(None))?,
            };
            let by = Authority {
                certificate: chain.first().unwrap_or(root),
                key: above.as_ref().unwrap_or(root_key),
            };
            let made = by.issue(&request, &key, &mut provider)?;
            chain.insert(0, made);
            (above, leaf) = (Some(key), Some(pkcs8));
        }
        let key = leaf.context("a leaf")?;
        Ok(Self { id: id.to_owned(), key, chain })
    }
}

/// The common name in the subject, and what beside it is in the certificate for this identity,
/// which may be the subject itself.
fn names_of(id: &str) -> (&str, Vec<AlternativeName>) {
    if let Some(name) = id.strip_prefix(SUBJECT) {
        return (name, Vec::new());
    }
    let name = id.trim_start_matches('@');
    let other = match name.parse() {
        Ok(address) => AlternativeName::Address(address),
        Err(_) if name.contains('@') => AlternativeName::Email(name.into()),
        Err(_) => AlternativeName::Dns(name.into()),
    };
    (name, vec![other])
}

/// What comes before the common name.
const SUBJECT: &str = "C=CH, O=Example, CN=";

fn new_key(kind: KeyKind) -> Result<Vec<u8>> {
    Ok(SigningKey::generate(kind, 3072)?.to_vec())
}

fn certificate(certificate: &Certificate) -> String {
    pem::encode("CERTIFICATE", certificate.as_der()).to_string()
}

fn put(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(&path, text)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

#[expect(clippy::disallowed_methods, reason = "the peers have real clocks")]
fn request(name: &str, role: Role) -> Result<Request> {
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    Ok(Request {
        subject: format!("{SUBJECT}{name}").parse()?,
        names: Vec::new(),
        validity: (now - day, now + day),
        role,
        extended_key_usages: Vec::new(),
        name_constraints: None,
        crl_uri: None,
    })
}
