use super::hex;
use crate::aead::MessageKey;
use crate::cbc;
use crate::error::{CryptoError, OpenFailed};
use crate::provider::Provider;
use crate::suite::{CbcIntegrity, IkeCipher, KeyLen};

const HEADER: [u8; 32] = *b"IKE header and SK payload header";

fn every_cipher() -> Vec<IkeCipher> {
    let mut all = vec![IkeCipher::ChaCha20Poly1305];
    for key_len in [KeyLen::L128, KeyLen::L192, KeyLen::L256] {
        all.push(IkeCipher::AesGcm16(key_len));
        for integrity in [
            CbcIntegrity::HmacSha256_128,
            CbcIntegrity::HmacSha384_192,
            CbcIntegrity::HmacSha512_256,
        ] {
            all.push(IkeCipher::AesCbc(key_len, integrity));
        }
    }
    all
}

fn key(cipher: IkeCipher) -> MessageKey {
    let sk_e = vec![7; cipher.encryption_key_len()];
    let sk_a = vec![8; cipher.integrity_key_len()];
    MessageKey::new(cipher, &sk_e, &sk_a)
}

fn sealed(key: &mut MessageKey, inner: &[u8]) -> Vec<u8> {
    let mut message = [&HEADER, inner].concat();
    key.seal(&mut Provider::seeded(1), &mut message, HEADER.len()).unwrap();
    message
}

/// Test cases 4, 10 and 16 of the specification of GCM (McGrew and Viega), as
/// if they were IKE messages: the associated data is the header. Their last
/// octet, 57, then is a Pad Length.
#[test]
fn aes_gcm_opens_the_cases_of_its_specification() {
    let header = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let (salt, iv) = ("cafebabe", "facedbaddecaf888");
    let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    let plaintext = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    for (key_len, sealed) in [
        (
            KeyLen::L128,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091
             5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            KeyLen::L192,
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c
             7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710
             2519498e80f1478f37ba55bd6d27618c",
        ),
        (
            KeyLen::L256,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662
             76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ] {
        let sk_e = [&hex(key)[..key_len.bytes()], &hex(salt)].concat();
        let key = MessageKey::new(IkeCipher::AesGcm16(key_len), &sk_e, &[]);
        let mut message = [header.clone(), hex(iv), hex(sealed)].concat();
        let range = key.open(&mut message, header.len()).unwrap();
        let start = header.len() + 8;
        assert_eq!(message[start..start + plaintext.len()], plaintext);
        assert_eq!(range, start..start + plaintext.len() - 1 - 57);
    }
}

/// RFC 7634 appendix B.
#[test]
fn chacha20_poly1305_opens_the_message_of_rfc_7634() {
    let key: Vec<u8> = (0x80..0xa0).chain(0xa0..0xa4).collect();
    let key = MessageKey::new(IkeCipher::ChaCha20Poly1305, &key, &[]);
    let header = hex("c0c1c2c3c4c5c6c7 d0d1d2d3d4d5d6d7 2e202500 00000009 00000045 29000029");
    let sealed =
        hex("1011121314151617 610394701f8d017f7c12924889 6b71bfe25236efd7cdc670669063 15b2");
    let mut message = [header.clone(), sealed].concat();
    let range = key.open(&mut message, header.len()).unwrap();
    assert_eq!(message[range], hex("0000000c 00004001 0000000a"));
}

/// RFC 3602 section 4, cases 1 to 4, and SP 800-38A F.2.3 and F.2.5.
#[test]
fn aes_cbc_gives_the_answers_of_rfc_3602_and_sp_800_38a() {
    let nist_iv = "000102030405060708090a0b0c0d0e0f";
    let nist_plaintext = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
                          30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
    let case_3: String = "This is a 48-byte message (exactly 3 AES blocks)"
        .bytes()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    let case_1: String = "Single block msg".bytes().map(|octet| format!("{octet:02x}")).collect();
    for (key_len, key, iv, plaintext, ciphertext) in [
        (
            KeyLen::L128,
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            case_1.as_str(),
            "e353779c1079aeb82708942dbe77181a",
        ),
        (
            KeyLen::L128,
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
        (
            KeyLen::L128,
            "6c3ea0477630ce21a2ce334aa746c2cd",
            "c782dc4c098c66cbd9cd27d825682c81",
            case_3.as_str(),
            "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5
             021c19216bad525c8579695d83ba2684",
        ),
        (
            KeyLen::L192,
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            nist_iv,
            nist_plaintext,
            "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a
             571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
        ),
        (
            KeyLen::L256,
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            nist_iv,
            nist_plaintext,
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d
             39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
        ),
    ] {
        let iv = hex(iv).try_into().unwrap();
        let mut text = hex(plaintext);
        cbc::encrypt(key_len, &hex(key), iv, &mut text).unwrap();
        assert_eq!(text, hex(ciphertext));
        cbc::decrypt(key_len, &hex(key), iv, &mut text).unwrap();
        assert_eq!(text, hex(plaintext));
    }
}

#[test]
fn a_sealed_message_has_the_foretold_length_and_opens_for_every_cipher() {
    for cipher in every_cipher() {
        let mut key = key(cipher);
        for len in 0..=65 {
            let inner: Vec<u8> = (0..len).collect();
            let mut message = sealed(&mut key, &inner);
            assert_eq!(message.len(), HEADER.len() + key.sealed_len(inner.len()));
            assert_eq!(message[..HEADER.len()], HEADER);
            let range = key.open(&mut message, HEADER.len()).unwrap();
            assert_eq!(message[range], inner);
        }
    }
}

#[test]
fn no_octet_of_a_message_can_be_changed_or_lost() {
    for cipher in every_cipher() {
        let mut key = key(cipher);
        let message = sealed(&mut key, b"inner payloads");
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(&mut changed, HEADER.len()), Err(OpenFailed));
            let mut shortened = message[..at].to_vec();
            assert_eq!(key.open(&mut shortened, HEADER.len()), Err(OpenFailed));
        }
        assert_eq!(key.open(&mut message.clone(), message.len() + 1), Err(OpenFailed));
        assert_eq!(key.open(&mut message.clone(), usize::MAX), Err(OpenFailed));
    }
}

/// RFC 5282 section 3.1 forbids a nonce to occur twice under one key; the IV of
/// AES-CBC must not be predicted.
#[test]
fn equal_messages_are_sealed_differently() {
    for cipher in every_cipher() {
        let mut key = key(cipher);
        let mut provider = Provider::seeded(1);
        let mut seal = || {
            let mut message = HEADER.to_vec();
            key.seal(&mut provider, &mut message, HEADER.len()).unwrap();
            message
        };
        assert_ne!(seal(), seal());
    }
}

#[test]
fn padding_longer_than_the_message_is_refused_though_authentic() {
    let cipher = IkeCipher::AesCbc(KeyLen::L128, CbcIntegrity::HmacSha256_128);
    let (sk_e, sk_a, iv) = ([7; 16], [8; 32], [9; 16]);
    let with_pad_length = |pad_length: u8| {
        let mut text = [0; 16];
        text[15] = pad_length;
        cbc::encrypt(KeyLen::L128, &sk_e, iv, &mut text).unwrap();
        let covered = [HEADER.as_slice(), &iv, &text].concat();
        let icv = cbc::icv(CbcIntegrity::HmacSha256_128, &sk_a, &covered);
        [covered.as_slice(), icv.leading(16)].concat()
    };
    let key = MessageKey::new(cipher, &sk_e, &sk_a);
    assert_eq!(key.open(&mut with_pad_length(15), 32), Ok(48..48));
    assert_eq!(key.open(&mut with_pad_length(16), 32), Err(OpenFailed));
    assert_eq!(key.open(&mut with_pad_length(255), 32), Err(OpenFailed));
}

#[test]
fn a_message_that_cannot_be_sealed_is_emptied() {
    let mut key = key(IkeCipher::AesGcm16(KeyLen::L256));
    let mut message = b"short".to_vec();
    let refused = key.seal(&mut Provider::seeded(1), &mut message, 6);
    assert_eq!((refused, message.len()), (Err(CryptoError::TooShort), 0));
}
