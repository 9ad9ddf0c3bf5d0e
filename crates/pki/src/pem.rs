//! Textual encodings (RFC 7468).

use zeroize::Zeroizing;

/// One section of a PEM file: its label and its octets, which may be secret.
pub struct Section {
    /// `CERTIFICATE`, `PRIVATE KEY` ..
    pub label: String,
    /// What the base64 stands for.
    pub octets: Zeroizing<Vec<u8>>,
    /// Whether it has headers, as the old way of encrypting keys wants.
    pub has_headers: bool,
}

/// The text is not PEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not PEM: a section has no end, or is not base64")]
pub struct BadPem;

/// Every section. Text around them is skipped, as RFC 7468 section 2 asks.
///
/// # Errors
/// [`BadPem`].
pub fn sections(text: &str) -> Result<Vec<Section>, BadPem> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, "-----BEGIN ") else { continue };
        let mut digits = Zeroizing::new(String::with_capacity(text.len()));
        let mut has_headers = false;
        loop {
            let line = lines.next().ok_or(BadPem)?;
            if boundary(line, "-----END ") == Some(label) {
                break;
            }
            if line.contains(':') {
                has_headers = true;
            } else {
                digits.push_str(line);
            }
        }
        let octets = if has_headers { Some(Zeroizing::default()) } else { base64(&digits) };
        found.push(Section { label: label.to_owned(), octets: octets.ok_or(BadPem)?, has_headers });
    }
    Ok(found)
}

/// Whether a file looks like PEM rather than DER.
#[must_use]
pub fn is_pem(octets: &[u8]) -> bool {
    const MARK: &[u8] = b"-----BEGIN ";
    octets.windows(MARK.len()).any(|window| window == MARK)
}

/// A section, in lines of 64 digits.
#[must_use]
pub fn encode(label: &str, octets: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(octets.len() * 3 / 2 + 100));
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in octets.chunks(48) {
        for group in line.chunks(3) {
            push_group(group, &mut out);
        }
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn boundary<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    line.strip_prefix(prefix)?.strip_suffix("-----")
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn push_group(group: &[u8], out: &mut String) {
    let octet = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
    let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
    for place in 0..4 {
        let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize);
        out.push(match digit {
            Some(&digit) if place <= group.len() => char::from(digit),
            Some(_) | None => '=',
        });
    }
}

/// The octets of a text in base64 (RFC 4648 section 4), with or without padding.
#[must_use]
pub fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len()));
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            let value = DIGITS.iter().position(|known| known == digit)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, first, second, third] = bits.to_be_bytes();
        // One digit alone is less than an octet.
        let len = group.len().checked_sub(1).filter(|&len| len > 0)?;
        octets.extend([first, second, third].iter().take(len));
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back() {
        for len in [0, 1, 2, 3, 47, 48, 49, 200] {
            let octets: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let text = format!("before\n{}after\n", *encode("X Y", &octets));
            let found = sections(&text).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].label.as_str(), &*found[0].octets), ("X Y", &octets));
        }
    }

    #[test]
    fn a_section_without_end_or_with_strange_digits_is_refused() {
        assert!(sections("-----BEGIN A-----\nAAAA\n").is_err());
        assert!(sections("-----BEGIN A-----\nAA*A\n-----END A-----\n").is_err());
        assert!(sections("-----BEGIN A-----\nAAAA\n-----END B-----\n").is_err());
        assert!(sections("nothing").unwrap().is_empty());
    }

    #[test]
    fn base64_is_that_of_rfc_4648_section_10() {
        let decoded = |text| base64(text).map(|octets| octets.to_vec());
        for (text, octets) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zm9vYmE", "fooba"),
        ] {
            assert_eq!(decoded(text), Some(octets.as_bytes().to_vec()), "{text}");
        }
        for bad in ["Z", "Zm9vY", "Zm 9v", "Zm9-"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
