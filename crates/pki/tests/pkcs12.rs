//! PKCS #12 files as OpenSSL 3.0 writes them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use crypto::{PublicKey, Signer as _};
use pki::pkcs12::{BadPkcs12, Contents, read};
use pki::{Credential, Name};

const PASSPHRASE: Option<&[u8]> = Some(b"open-sesame");

fn error(file: &[u8], passphrase: Option<&[u8]>) -> Option<BadPkcs12> {
    read(file, passphrase).err()
}

#[test]
fn key_and_certificates_come_out_and_go_together() {
    let public = PublicKey::from_spki(include_bytes!("data/public.der")).unwrap();
    for (file, passphrase) in [
        (&include_bytes!("data/openssl3.p12")[..], PASSPHRASE),
        (include_bytes!("data/aes128-sha512.p12"), PASSPHRASE),
        (include_bytes!("data/mac-sha1.p12"), PASSPHRASE),
        (include_bytes!("data/umlaut.p12"), Some("schl\u{fc}ssel".as_bytes())),
        (include_bytes!("data/plain.p12"), Some(b"")),
        (include_bytes!("data/plain.p12"), None),
    ] {
        let Contents { key, certificates } = read(file, passphrase).unwrap();
        assert_eq!(*key.public_key(), public);
        assert_eq!(certificates.len(), 1, "the root is not to be sent");
        assert!(certificates[0].is_for(&Name::Dns("gateway.example.org")));
        Credential::new(std::sync::Arc::new(key), certificates).unwrap();
    }
}

#[test]
fn a_key_may_come_without_certificates_but_not_the_reverse() {
    let contents = read(include_bytes!("data/no-certificate.p12"), PASSPHRASE).unwrap();
    assert_eq!(contents.certificates.len(), 0);
    assert_eq!(error(include_bytes!("data/no-key.p12"), PASSPHRASE), Some(BadPkcs12::Keys));
}

#[test]
fn the_passphrase_is_needed_and_must_be_right() {
    let file = include_bytes!("data/openssl3.p12");
    assert_eq!(error(file, None), Some(BadPkcs12::NeedsPassphrase));
    assert_eq!(error(file, Some(b"guess")), Some(BadPkcs12::WrongPassphrase));
    assert_eq!(error(file, Some(b"")), Some(BadPkcs12::WrongPassphrase));
    assert_eq!(error(file, Some(&[0xff, 0xfe])), Some(BadPkcs12::WrongPassphrase));
}

#[test]
fn weak_encryption_and_a_missing_code_are_refused() {
    for file in [&include_bytes!("data/legacy.p12")[..], include_bytes!("data/no-mac.p12")] {
        assert_eq!(error(file, PASSPHRASE), Some(BadPkcs12::Protection));
    }
}

#[test]
fn one_changed_octet_is_noticed_wherever_the_code_covers_it() {
    let file = include_bytes!("data/plain.p12");
    // Behind the headers of the file, its version and two containers.
    for at in (30..1290).step_by(7) {
        let mut changed = file.to_vec();
        changed[at] ^= 1;
        assert_eq!(error(&changed, Some(b"")), Some(BadPkcs12::WrongPassphrase), "octet {at}");
    }
    for len in 0..file.len() {
        assert!(read(&file[..len], Some(b"")).is_err());
    }
}

#[test]
fn another_file_is_none() {
    for file in [&b""[..], b"-----BEGIN CERTIFICATE-----", include_bytes!("data/rsa.der")] {
        assert_eq!(error(file, PASSPHRASE), Some(BadPkcs12::Malformed));
    }
    assert_eq!(error(&vec![0x30; 1024 * 1024 + 1], PASSPHRASE), Some(BadPkcs12::TooLarge));
}
