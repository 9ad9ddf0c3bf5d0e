//! Private keys as OpenSSL 3.0 writes them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use crypto::{KeyKind, PublicKey, Signer as _, SigningKey};
use pki::{BadPrivateKey, private_key};

const PASSPHRASE: Option<&[u8]> = Some(b"open-sesame");

fn read(file: &[u8], passphrase: Option<&[u8]>) -> Result<PublicKey, BadPrivateKey> {
    private_key(file, passphrase).map(|key: SigningKey| key.public_key().clone())
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    let public = PublicKey::from_spki(include_bytes!("data/public.der")).unwrap();
    for (file, passphrase) in [
        (&include_bytes!("data/sec1.pem")[..], None),
        (include_bytes!("data/pkcs8.pem"), None),
        (include_bytes!("data/pkcs8.pem"), PASSPHRASE),
        (include_bytes!("data/pbes2-aes256.pem"), PASSPHRASE),
        (include_bytes!("data/pbes2-aes128.pem"), PASSPHRASE),
    ] {
        assert_eq!(read(file, passphrase), Ok(public.clone()));
    }
    let rsa = read(include_bytes!("data/rsa.der"), None).unwrap();
    assert_eq!(rsa.kind(), KeyKind::Rsa);
    assert_eq!(read(include_bytes!("data/pkcs1.pem"), None), Ok(rsa));
}

#[test]
fn a_passphrase_is_needed_and_must_be_right() {
    for file in
        [&include_bytes!("data/pbes2-aes256.pem")[..], include_bytes!("data/pbes2-aes128.pem")]
    {
        assert_eq!(read(file, None), Err(BadPrivateKey::NeedsPassphrase));
        assert_eq!(read(file, Some(b"guess")), Err(BadPrivateKey::WrongPassphrase));
    }
}

#[test]
fn weak_encryption_is_named_and_refused() {
    for file in [&include_bytes!("data/pbe-3des.pem")[..], include_bytes!("data/traditional.pem")] {
        assert_eq!(read(file, PASSPHRASE), Err(BadPrivateKey::Encryption));
    }
}

#[test]
fn a_file_without_a_key_says_so() {
    assert_eq!(read(b"", None), Err(BadPrivateKey::Malformed));
    let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(read(certificate, None), Err(BadPrivateKey::Missing));
    let key = include_bytes!("data/rsa.der");
    for len in (0..key.len()).step_by(11) {
        assert!(read(&key[..len], None).is_err());
    }
}
