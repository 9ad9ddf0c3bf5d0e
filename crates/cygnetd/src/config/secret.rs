//! Secrets: where they come from, whose they are.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crypto::{Ppk, Psk};
use ike::config::{NamedPpk, PreShared, PreSharedKey};
use ike::identity::{Id, IdPattern};
use pki::pem;
use toml::de::{DeTable, DeValue};
use zeroize::{Zeroize as _, Zeroizing};

use super::diagnostic::Findings;
use super::load::Environment;
use super::reader::{Item, Section, Wrong};

/// The longest secret file that is read, in octets.
const MAX_SECRET: usize = 4096;

/// A secret below this many octets can be found by trying: whoever sits
/// between the peers, or pretends to be one, can do so at home.
const SHORT: usize = 16;

/// A PPK is to have 256 bits of chance, of which a quantum computer takes half
/// (RFC 8784 section 6).
const SHORT_PPK: usize = 32;

/// The longest name of a PPK, in octets.
const MAX_PPK_ID: usize = 128;

/// A configured secret. Not `Debug`.
pub(super) struct Secret {
    /// Who shares it; empty means everybody.
    owners: Vec<Id>,
    octets: Zeroizing<Vec<u8>>,
}

/// Reads `[secrets.NAME]` of a file that everybody can read (`is_open`) or not.
/// `None` when something is wrong with it.
pub(super) fn read(
    mut section: Section<'_>,
    is_open: bool,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Secret> {
    let owners = owners(&mut section, findings);
    let octets = octets(section, is_open, environment, SHORT, findings)?;
    Some(Secret { owners: owners?, octets })
}

/// Reads `[ppks.NAME]`, as [`read`] reads a secret.
pub(super) fn read_ppk(
    mut section: Section<'_>,
    is_open: bool,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<NamedPpk> {
    if !section.has("id") {
        let message = format!("there is no id in {}", section.title);
        findings.error(&section.place, message, "the name by which the peer knows the key");
    }
    let id = section.get(findings, "id", ppk_id);
    let octets = octets(section, is_open, environment, SHORT_PPK, findings)?;
    Some(NamedPpk { id: id?.into(), key: Ppk::new(&octets).ok()? })
}

fn ppk_id(item: Item<'_>) -> Result<&str, Wrong> {
    match item.text()? {
        "" => Err(Wrong::new("a PPK needs a name", "")),
        id if id.len() > MAX_PPK_ID => {
            Err(Wrong::new(format!("this name is longer than {MAX_PPK_ID} octets"), ""))
        }
        id => Ok(id),
    }
}

/// The octets of what a section holds, with a warning if they are less than `short`.
fn octets(
    mut section: Section<'_>,
    is_open: bool,
    environment: &Environment,
    short: usize,
    findings: &mut Findings,
) -> Option<Zeroizing<Vec<u8>>> {
    let found = [
        section.get(findings, "secret", |item| inline(item, is_open)),
        section.get(findings, "file", |item| from_file(item, environment)),
        section.get(findings, "credential", |item| credential(item, environment)),
    ];
    check_count(&section, findings);
    let key = ["secret", "file", "credential"].into_iter().find(|key| section.has(key));
    let place = key.map(|key| section.place_of(key));
    section.finish(findings);
    let loaded = found.into_iter().flatten().next()?;
    let place = place?;
    if loaded.octets.len() < short {
        let help = format!("use {short} or more random ones");
        findings.warning(&place, "this secret is so short that it can be guessed", help);
    }
    if loaded.is_open {
        findings.warning(
            &place,
            "everybody on this machine can read this secret's file",
            "chmod o-rwx",
        );
    }
    Some(loaded.octets)
}

/// Secret octets, and whether everybody can read the file they are from.
struct Loaded {
    octets: Zeroizing<Vec<u8>>,
    is_open: bool,
}

fn owners(section: &mut Section<'_>, findings: &mut Findings) -> Option<Vec<Id>> {
    if !section.has("id") {
        return Some(Vec::new());
    }
    let owners = section.list(findings, "id", Item::parsed::<Id>)?;
    if owners.is_empty() {
        let place = section.place_of_value("id");
        findings.error(&place, "this list is empty", "leave it out for everybody");
        return None;
    }
    Some(owners)
}

fn check_count(section: &Section<'_>, findings: &mut Findings) {
    let count = ["secret", "file", "credential"].iter().filter(|key| section.has(key)).count();
    if count != 1 {
        let found = if count == 0 { "no secret" } else { "more than one secret" };
        let message = format!("there is {found} in {}", section.title);
        findings.error(&section.place, message, "one of secret, file or credential");
    }
}

/// strongSwan's spelling: `0x` is hexadecimal, `0s` is base64, all else is itself.
fn inline(item: Item<'_>, is_open: bool) -> Result<Loaded, Wrong> {
    let text = item.text()?;
    let octets = if let Some(digits) = text.strip_prefix("0x") {
        hexadecimal(digits).ok_or_else(|| Wrong::new("what follows 0x is not hexadecimal", ""))?
    } else if let Some(digits) = text.strip_prefix("0s") {
        pem::base64(digits).ok_or_else(|| Wrong::new("what follows 0s is not base64", ""))?
    } else {
        Zeroizing::new(text.as_bytes().to_vec())
    };
    not_empty(Loaded { octets, is_open })
}

fn not_empty(loaded: Loaded) -> Result<Loaded, Wrong> {
    if loaded.octets.is_empty() { Err(Wrong::new("the secret is empty", "")) } else { Ok(loaded) }
}

fn hexadecimal(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut octets = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for &[high, low] in pairs {
        octets.push(digit(high)? << 4 | digit(low)?);
    }
    rest.is_empty().then_some(octets)
}

fn from_file(item: Item<'_>, environment: &Environment) -> Result<Loaded, Wrong> {
    let path = environment.directory.join(item.text()?);
    let (octets, mode) = contents(&path)?;
    not_empty(Loaded { octets, is_open: mode & 0o007 != 0 })
}

fn credential(item: Item<'_>, environment: &Environment) -> Result<Loaded, Wrong> {
    let name = item.text()?;
    if name.is_empty() || name.contains('/') || name == ".." {
        return Err(Wrong::new("this is no name of a credential", ""));
    }
    let Some(directory) = &environment.credentials else {
        let help = "start the daemon by systemd with LoadCredential= for it";
        return Err(Wrong::new("there are no credentials: CREDENTIALS_DIRECTORY is not set", help));
    };
    let (octets, _) = contents(&directory.join(name))?;
    not_empty(Loaded { octets, is_open: false })
}

/// A file without the last line's end, and its mode.
fn contents(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), Wrong> {
    let failed = |error| Wrong::new(format!("cannot read {}: {error}", path.display()), "");
    let (mut octets, mode) = read_bounded(path, MAX_SECRET).map_err(failed)?;
    for end in [b'\n', b'\r'] {
        octets.pop_if(|last| *last == end);
    }
    Ok((octets, mode))
}

/// At most `max` octets, read into memory that is wiped, and the file's mode.
pub(super) fn read_bounded(path: &Path, max: usize) -> std::io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    // Room for all of it: memory that a growing vector gives back is not wiped.
    let mut octets = Zeroizing::new(Vec::with_capacity(max + 1));
    file.take(max as u64 + 1).read_to_end(&mut octets)?;
    if octets.len() > max {
        return Err(std::io::Error::other(format!("it is longer than {max} octets")));
    }
    Ok((octets, mode))
}

/// The secrets with which `local` may prove itself to the peers of `remote`,
/// those first that are meant for just that. `None` if there is none.
pub(super) fn shared(secrets: &[Secret], local: &Id, remote: &IdPattern) -> Option<PreShared> {
    let mut ranked: Vec<_> = secrets.iter().map(|secret| (rank(secret, local), secret)).collect();
    ranked.sort_by_key(|&(rank, _)| rank);
    let keys = ranked.into_iter().filter_map(|(_, secret)| key(secret, local));
    let may_be_theirs = |key: &PreSharedKey| {
        key.owners.is_empty() || key.owners.iter().any(|owner| remote.accepts(owner))
    };
    let mut shared = PreShared { keys: keys.filter(may_be_theirs).collect() };
    if let IdPattern::Exact(_) = remote {
        // Others would never be used: if they change, this connection does not.
        shared.keys.dedup_by_key(|key| key.owners.is_empty());
    }
    let usable = match remote {
        IdPattern::Any | IdPattern::Like(_) => !shared.keys.is_empty(),
        IdPattern::Exact(peer) => shared.with(peer).is_some(),
    };
    usable.then_some(shared)
}

/// 0 for a secret between us and others by name, 1 for others by name, 2 for
/// us alone, 3 for everybody.
fn rank(secret: &Secret, local: &Id) -> u8 {
    match (secret.owners.contains(local), secret.owners.iter().any(|owner| owner != local)) {
        (true, true) => 0,
        (false, true) => 1,
        (true, false) => 2,
        (false, false) => 3,
    }
}

/// A secret that names only us is shared with every peer.
fn key(secret: &Secret, local: &Id) -> Option<PreSharedKey> {
    let owners = secret.owners.iter().filter(|owner| *owner != local).cloned().collect();
    Psk::new(&secret.octets).ok().map(|secret| PreSharedKey { owners, secret })
}

/// Wipes what the parser has copied out of the text.
pub(super) fn wipe(table: &mut DeTable<'_>) {
    for (_, value) in table.iter_mut() {
        wipe_value(value.get_mut());
    }
}

fn wipe_value(value: &mut DeValue<'_>) {
    match value {
        DeValue::String(text) => {
            if let std::borrow::Cow::Owned(text) = text {
                text.zeroize();
            }
        }
        DeValue::Array(values) => values.iter_mut().for_each(|value| wipe_value(value.get_mut())),
        DeValue::Table(table) => wipe(table),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_two_digits_an_octet() {
        let decoded = |text| hexadecimal(text).map(|octets| octets.to_vec());
        assert_eq!(decoded("00fF"), Some(vec![0, 255]));
        assert_eq!(decoded("00f"), None);
        assert_eq!(decoded("0g"), None);
    }

    fn secret(owners: &[&str], octets: &[u8]) -> Secret {
        let owners = owners.iter().map(|owner| owner.parse().unwrap()).collect();
        Secret { owners, octets: Zeroizing::new(octets.to_vec()) }
    }

    #[test]
    fn the_secret_between_both_goes_before_all_others() {
        let secrets = [
            secret(&[], b"everybody"),
            secret(&["@us"], b"us"),
            secret(&["@peer", "@other"], b"peer"),
            secret(&["@us", "@peer"], b"both"),
        ];
        let us: Id = "@us".parse().unwrap();
        let order: Vec<_> = secrets.iter().map(|secret| rank(secret, &us)).collect();
        assert_eq!(order, [3, 2, 1, 0]);
        let shared = shared(&secrets, &us, &IdPattern::Any).unwrap();
        let owners: Vec<_> = shared.keys.iter().map(|key| key.owners.len()).collect();
        assert_eq!(owners, [1, 2, 0, 0]);
    }

    #[test]
    fn a_secret_of_somebody_else_is_not_used() {
        let secrets = [secret(&["@us", "@peer"], b"both")];
        let us = "@us".parse().unwrap();
        let exact = |id: &str| IdPattern::Exact(id.parse().unwrap());
        assert!(shared(&secrets, &us, &exact("@peer")).is_some());
        assert!(shared(&secrets, &us, &exact("@stranger")).is_none());
        assert!(shared(&[], &us, &IdPattern::Any).is_none());
    }
}
