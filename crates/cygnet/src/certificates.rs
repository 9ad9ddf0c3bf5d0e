//! `cygnet pki`: certificates for a first set-up. No daemon is asked.

mod files;
mod make;
mod revoke;
mod show;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use crypto::{CryptoError, KeyKind};
use pki::issue::{AlternativeName, CannotIssue, ExtendedKeyUsagePurpose};
use pki::{BadCertificate, BadPrivateKey, Dn, Refused};

/// What certificates are wanted for.
#[derive(Debug, Subcommand)]
pub(crate) enum PkiCommand {
    /// Make an authority: its certificate and its private key.
    ///
    /// Whoever has the key can be anybody to those who believe the certificate: keep it away from
    /// gateways and clients.
    #[command(after_help = "Example:\n  cygnet pki ca --subject \"O=Example, CN=Example VPN\"")]
    Ca(make::NewAuthority),
    /// Make a certificate and a private key for a peer.
    #[command(after_help = "\
Examples:
  cygnet pki issue --id gateway.example.org --id 192.0.2.1
  cygnet pki issue --id alice@example.org --key-type rsa3072")]
    Issue(make::NewPeer),
    /// Revoke certificates: write the authority's revocation list anew, with these added.
    ///
    /// Without a certificate, a list that says the same for a new term.
    #[command(after_help = "Example:\n  cygnet pki revoke alice@example.org.pem")]
    Revoke(revoke::Revocation),
    /// Explain a certificate, a chain of them, or a revocation list.
    ///
    /// With --ca, also whether it would convince, and if not, why: then the exit status is 1.
    #[command(after_help = "\
Example:
  cygnet pki show gateway.example.org.pem --ca ca.pem --id gateway.example.org")]
    Show(show::Look),
}

/// An authority to sign with.
#[derive(Debug, Args)]
pub(crate) struct Signer {
    /// The authority's certificate, with those between it and the root.
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    ca: PathBuf,
    /// Its private key; without this, the file of the same name that ends with .key.
    #[arg(long, value_name = "FILE")]
    ca_key: Option<PathBuf>,
    /// A file with the passphrase of the private key.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What a new key is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KeyType {
    /// ECDSA on P-256
    P256,
    /// ECDSA on P-384
    P384,
    /// Ed25519, which not every peer knows
    Ed25519,
    /// RSA with 3072 bits
    Rsa3072,
    /// RSA with 4096 bits
    Rsa4096,
}

/// An extended key usage that other programs may want.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Flag {
    /// Windows, macOS and iOS want it of a gateway
    #[value(name = "serverAuth")]
    ServerAuth,
    /// some gateways want it of a client
    #[value(name = "clientAuth")]
    ClientAuth,
    /// macOS before 10.7.4 and Windows 7 know it
    #[value(name = "ikeIntermediate")]
    IkeIntermediate,
}

/// Why something was not made. Displayed after "cygnet: ".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{}: {error}", .path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} is there already, and is not overwritten: name another with --out", .0.display())]
    Exists(PathBuf),
    #[error("{}: {what}", .path.display())]
    Content { path: PathBuf, what: String },
    #[error(transparent)]
    Issue(#[from] CannotIssue),
    #[error("no key was made: {0}")]
    Key(#[from] CryptoError),
    #[error("{} would not convince: {why}", .path.display())]
    Unconvincing { path: PathBuf, why: Refused },
    #[error("{} was not issued by the authority in {}", .path.display(), .ca.display())]
    Stranger { path: PathBuf, ca: PathBuf },
    #[error("the authority's certificate has expired")]
    Expired,
}

/// Does it, and returns what is to be told.
pub(crate) fn run(command: &PkiCommand) -> Result<String, Problem> {
    let now = now();
    match command {
        PkiCommand::Ca(new) => new.make(now),
        PkiCommand::Issue(new) => new.make(now),
        PkiCommand::Revoke(revocation) => revocation.list(now),
        PkiCommand::Show(look) => look.show(now),
    }
}

impl KeyType {
    const fn kind(self) -> (KeyKind, usize) {
        match self {
            Self::P256 => (KeyKind::EcdsaP256, 0),
            Self::P384 => (KeyKind::EcdsaP384, 0),
            Self::Ed25519 => (KeyKind::Ed25519, 0),
            Self::Rsa3072 => (KeyKind::Rsa, 3072),
            Self::Rsa4096 => (KeyKind::Rsa, 4096),
        }
    }
}

/// ipsecIKE (RFC 4945 section 5.1.3.12).
const IPSEC_IKE: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 17];
/// What was in use before there was a standard.
const IKE_INTERMEDIATE: [u64; 9] = [1, 3, 6, 1, 5, 5, 8, 2, 2];

impl Flag {
    fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            Self::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            Self::IkeIntermediate => ExtendedKeyUsagePurpose::Other(IKE_INTERMEDIATE.to_vec()),
        }
    }

    /// RFC 4945 section 5.1.3.12 wants no extended key usages for IKE; where
    /// others need one, IKE's own must be beside it.
    fn purposes(flags: &[Self]) -> Vec<ExtendedKeyUsagePurpose> {
        let own = ExtendedKeyUsagePurpose::Other(IPSEC_IKE.to_vec());
        let own = (!flags.is_empty()).then_some(own);
        own.into_iter().chain(flags.iter().map(|flag| flag.purpose())).collect()
    }
}

/// An identity as subjectAltName has it: a domain name, an address or `user@host`.
fn identity(text: &str) -> Result<AlternativeName, String> {
    if let Ok(address) = text.parse() {
        return Ok(AlternativeName::Address(address));
    }
    let text = text.strip_prefix('@').unwrap_or(text);
    let is_name = |text: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_good)
    };
    match text.split_once('@') {
        Some((user, host)) if is_name(user) && is_name(host) => {
            Ok(AlternativeName::Email(text.to_owned()))
        }
        None if is_name(text) => Ok(AlternativeName::Dns(text.to_owned())),
        Some(_) | None => Err("neither a domain name, nor an address, nor user@host".to_owned()),
    }
}

fn subject(text: &str) -> Result<Dn, String> {
    text.parse().map_err(|error: pki::dn::BadDn| error.to_string())
}

/// Days of a life that is asked for: up to a hundred years.
fn days(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(days @ 1..=36_525) => Ok(Duration::from_secs(days * 24 * 3600)),
        Ok(_) | Err(_) => Err("not a number of days from 1 to 36525".to_owned()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a person's command begins now")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl From<(PathBuf, BadPrivateKey)> for Problem {
    fn from((path, error): (PathBuf, BadPrivateKey)) -> Self {
        Self::Content { path, what: error.to_string() }
    }
}

impl From<(PathBuf, BadCertificate)> for Problem {
    fn from((path, error): (PathBuf, BadCertificate)) -> Self {
        Self::Content { path, what: error.to_string() }
    }
}
