//! Distinguished names: in DER as certificates and identities carry them, and
//! as text in the order of the DER (`C=CH, O=Example, CN=gateway`).

use std::fmt;
use std::str::FromStr;

use crate::der::{
    self, IA5_STRING, Malformed, OID, PRINTABLE_STRING, Reader, SEQUENCE, SET, T61_STRING,
    UTF8_STRING,
};

/// The longest name that is read, in octets of DER.
pub const MAX_DN: usize = 1024;

/// The most relative names in one.
const MAX_RDNS: usize = 32;

/// A distinguished name, in DER. Equality is that of RFC 5280 section 7.1: the
/// case of ASCII letters and the kind of string do not matter.
#[derive(Clone)]
pub struct Dn {
    der: Box<[u8]>,
    rdns: Vec<Rdn>,
}

/// A distinguished name of which a value may be `*`: any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnPattern(Dn);

/// The text or the octets are not a distinguished name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadDn {
    /// A part is not `TYPE=value`.
    #[error("a part of the name is not TYPE=value; write \\, for a comma in a value")]
    Part,
    /// A type is neither known nor an OID.
    #[error("a type in the name is neither known (C, O, OU, CN ..) nor an OID like 2.5.4.3")]
    Type,
    /// A value does not suit its type.
    #[error("a value in the name is empty or has characters that it must not have")]
    Value,
    /// The name is longer than 1024 octets, or has more than 32 parts.
    #[error("the name is too long")]
    TooLong,
    /// Not a name in DER.
    #[error("not a name in DER")]
    Der,
}

impl From<Malformed> for BadDn {
    fn from(Malformed: Malformed) -> Self {
        Self::Der
    }
}

type Rdn = Vec<Attribute>;

#[derive(Clone)]
struct Attribute {
    /// Content of the OID.
    kind: Box<[u8]>,
    tag: u8,
    value: Box<[u8]>,
}

impl Dn {
    /// The name in DER.
    ///
    /// # Errors
    /// [`BadDn::Der`] or [`BadDn::TooLong`].
    pub fn from_der(octets: &[u8]) -> Result<Self, BadDn> {
        if octets.len() > MAX_DN {
            return Err(BadDn::TooLong);
        }
        let mut outer = Reader::new(octets);
        let mut names = outer.inside(SEQUENCE)?;
        outer.finish()?;
        let mut rdns = Vec::new();
        while !names.is_empty() {
            if rdns.len() == MAX_RDNS {
                return Err(BadDn::TooLong);
            }
            rdns.push(rdn_of(names.inside(SET)?)?);
        }
        Ok(Self { der: octets.into(), rdns })
    }

    /// In DER.
    #[must_use]
    pub const fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it names nobody, as a certificate with only alternative names does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rdns.is_empty()
    }

    /// The last common name.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        let mut all = self.rdns.iter().flatten().rev();
        let found = all.find(|attribute| *attribute.kind == *COMMON_NAME)?;
        attribute_text(found)
    }

    /// Types, as numbers, and values of all attributes that are strings.
    #[cfg(feature = "issue")]
    pub(crate) fn strings(&self) -> impl Iterator<Item = (Vec<u64>, u8, String)> {
        self.rdns.iter().flatten().filter_map(|attribute| {
            let arcs = oid_to_text(&attribute.kind);
            let arcs = arcs.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
            Some((arcs, attribute.tag, attribute_text(attribute)?))
        })
    }

    /// By way of DER, which puts the attributes of a set in order.
    fn from_rdns(rdns: &[Rdn]) -> Result<Self, BadDn> {
        let encoded: Vec<u8> = rdns.iter().flat_map(|rdn| encode_rdn(rdn)).collect();
        Self::from_der(&der::element(SEQUENCE, &[&encoded]))
    }
}

impl DnPattern {
    /// Whether `name` fits: as many parts, of the same types, with values that
    /// are equal or where the pattern has `*`.
    #[must_use]
    pub fn matches(&self, name: &Dn) -> bool {
        pairwise(&self.0.rdns, &name.rdns, |pattern, rdn| {
            pairwise(pattern, rdn, |p, a| p.kind == a.kind && (p.is_any() || p == a))
        })
    }
}

fn pairwise<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

impl PartialEq for Dn {
    fn eq(&self, other: &Self) -> bool {
        self.rdns == other.rdns
    }
}

impl Eq for Dn {}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        if self.kind != other.kind {
            return false;
        }
        match (self.folded(), other.folded()) {
            (Some(a), Some(b)) => a.eq(b),
            (None, None) => self.tag == other.tag && self.value == other.value,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Attribute {
    /// Its octets without the case of ASCII, spaces at the ends and runs of
    /// spaces (RFC 4518 section 2.6); `None` for what is no simple string.
    fn folded(&self) -> Option<impl Iterator<Item = u8>> {
        if !is_string(self.tag) {
            return None;
        }
        let words = self.value.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
        let folded = words.enumerate().flat_map(|(place, word)| {
            let space = (place > 0).then_some(b' ');
            space.into_iter().chain(word.iter().map(u8::to_ascii_lowercase))
        });
        Some(folded)
    }

    fn is_any(&self) -> bool {
        is_string(self.tag) && *self.value == *b"*"
    }
}

const fn is_string(tag: u8) -> bool {
    matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING | T61_STRING)
}

fn rdn_of(mut set: Reader<'_>) -> Result<Rdn, BadDn> {
    let mut rdn = Vec::new();
    while !set.is_empty() {
        let mut pair = set.inside(SEQUENCE)?;
        let kind = pair.expect(OID)?;
        let value = pair.next()?;
        pair.finish()?;
        if rdn.len() == MAX_RDNS || kind.is_empty() {
            return Err(BadDn::Der);
        }
        rdn.push(Attribute { kind: kind.into(), tag: value.tag, value: value.content.into() });
    }
    if rdn.is_empty() { Err(BadDn::Der) } else { Ok(rdn) }
}

/// A SET OF is in ascending order of its encodings (X.690 section 11.6).
fn encode_rdn(rdn: &[Attribute]) -> Vec<u8> {
    let pair = |attribute: &Attribute| {
        let kind = der::element(OID, &[&attribute.kind]);
        let value = der::element(attribute.tag, &[&attribute.value]);
        der::element(SEQUENCE, &[&kind, &value])
    };
    let mut pairs: Vec<_> = rdn.iter().map(pair).collect();
    pairs.sort();
    der::element(SET, &[&pairs.concat()])
}

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
const DOMAIN_COMPONENT: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25];
const USER_ID: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1];

/// Types by name (RFC 4514 section 3, RFC 4519); the first of a type is shown.
const TYPES: [(&str, &[u8]); 22] = [
    ("CN", COMMON_NAME),
    ("SN", &[0x55, 4, 4]),
    ("serialNumber", &[0x55, 4, 5]),
    ("C", &[0x55, 4, 6]),
    ("L", &[0x55, 4, 7]),
    ("ST", &[0x55, 4, 8]),
    ("street", &[0x55, 4, 9]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
    ("T", &[0x55, 4, 12]),
    ("title", &[0x55, 4, 12]),
    ("postalCode", &[0x55, 4, 17]),
    ("N", &[0x55, 4, 41]),
    ("G", &[0x55, 4, 42]),
    ("GN", &[0x55, 4, 42]),
    ("I", &[0x55, 4, 43]),
    ("dnQualifier", &[0x55, 4, 46]),
    ("E", EMAIL),
    ("emailAddress", EMAIL),
    ("Email", EMAIL),
    ("DC", DOMAIN_COMPONENT),
    ("UID", USER_ID),
];

impl FromStr for Dn {
    type Err = BadDn;

    fn from_str(text: &str) -> Result<Self, BadDn> {
        if text.len() > 4 * MAX_DN {
            return Err(BadDn::TooLong);
        }
        let mut rdns: Vec<Rdn> = Vec::new();
        for part in parts(text) {
            let attribute = part.attribute()?;
            match rdns.last_mut() {
                Some(rdn) if part.joins => rdn.push(attribute),
                Some(_) | None => rdns.push(vec![attribute]),
            }
        }
        if rdns.is_empty() { Err(BadDn::Part) } else { Self::from_rdns(&rdns) }
    }
}

impl FromStr for DnPattern {
    type Err = BadDn;

    fn from_str(text: &str) -> Result<Self, BadDn> {
        text.parse().map(Self)
    }
}

/// `TYPE=value`, and whether it belongs to the relative name before it.
struct Part<'a> {
    text: &'a str,
    joins: bool,
}

/// Splits at commas, and at plus signs that another type follows. What a
/// backslash precedes does not split.
fn parts(text: &str) -> Vec<Part<'_>> {
    let (mut found, mut start, mut joins, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        let after = text.get(at + c.len_utf8()..).unwrap_or_default();
        let splits = !escaped && (c == ',' || c == '+' && begins_with_type(after));
        escaped = c == '\\' && !escaped;
        if splits {
            found.push(Part { text: text.get(start..at).unwrap_or_default(), joins });
            (start, joins) = (at + 1, c == '+');
        }
    }
    found.push(Part { text: text.get(start..).unwrap_or_default(), joins });
    found
}

fn begins_with_type(text: &str) -> bool {
    text.split_once('=').is_some_and(|(kind, _)| type_of(kind.trim()).is_some())
}

impl Part<'_> {
    fn attribute(&self) -> Result<Attribute, BadDn> {
        let (kind, value) = self.text.split_once('=').ok_or(BadDn::Part)?;
        let kind = type_of(kind.trim()).ok_or(BadDn::Type)?;
        let value = value.trim_start();
        if let Some(digits) = value.strip_prefix('#') {
            let octets = hexadecimal(digits.trim_end()).ok_or(BadDn::Value)?;
            let mut reader = Reader::new(&octets);
            let element = reader.next()?;
            reader.finish()?;
            return Ok(Attribute { kind, tag: element.tag, value: element.content.into() });
        }
        let value = unescaped(value).ok_or(BadDn::Value)?;
        let tag = string_type(&kind, &value).ok_or(BadDn::Value)?;
        Ok(Attribute { kind, tag, value: value.as_bytes().into() })
    }
}

fn type_of(text: &str) -> Option<Box<[u8]>> {
    let known = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|&(_, oid)| oid.into()).or_else(|| oid_from_text(text))
}

fn unescaped(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    // Spaces at the end do not count unless escaped.
    let mut end = 0;
    while let Some(octet) = rest.next() {
        if octet == b'\\' {
            let first = rest.next()?;
            let octet = match char::from(first).to_digit(16) {
                Some(high) => {
                    let low = char::from(rest.next()?).to_digit(16)?;
                    u8::try_from(high << 4 | low).ok()?
                }
                None => first,
            };
            octets.push(octet);
            end = octets.len();
        } else {
            octets.push(octet);
            if octet != b' ' {
                end = octets.len();
            }
        }
    }
    octets.truncate(end);
    String::from_utf8(octets).ok()
}

/// RFC 5280 appendix A, and RFC 4519 for what it does not list.
fn string_type(kind: &[u8], value: &str) -> Option<u8> {
    let is_printable =
        value.chars().all(|c| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c));
    if value.is_empty() {
        return None;
    }
    if kind == EMAIL || kind == DOMAIN_COMPONENT {
        return value.is_ascii().then_some(IA5_STRING);
    }
    Some(if is_printable { PRINTABLE_STRING } else { UTF8_STRING })
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, rdn) in self.rdns.iter().enumerate() {
            for (within, attribute) in rdn.iter().enumerate() {
                f.write_str(match (place, within) {
                    (0, 0) => "",
                    (_, 0) => ", ",
                    (_, _) => "+",
                })?;
                show(attribute, f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn show(attribute: &Attribute, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match TYPES.iter().find(|(_, oid)| **oid == *attribute.kind) {
        Some((name, _)) => f.write_str(name)?,
        None => f.write_str(&oid_to_text(&attribute.kind))?,
    }
    f.write_str("=")?;
    match attribute_text(attribute) {
        Some(text) => show_escaped(&text, f),
        None => {
            let whole = der::element(attribute.tag, &[&attribute.value]);
            f.write_str("#")?;
            whole.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
        }
    }
}

fn attribute_text(attribute: &Attribute) -> Option<String> {
    if !is_string(attribute.tag) || attribute.value.is_empty() {
        return None;
    }
    String::from_utf8(attribute.value.to_vec()).ok()
}

/// RFC 4514 section 2.4; control characters by their octets, so that a name
/// cannot write on a terminal what it likes.
fn show_escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let last = text.chars().count() - 1;
    for (place, c) in text.chars().enumerate() {
        let at_end = c == ' ' && (place == 0 || place == last) || c == '#' && place == 0;
        if c.is_control() || is_hidden(c) {
            let mut octets = [0; 4];
            c.encode_utf8(&mut octets).bytes().try_for_each(|octet| write!(f, "\\{octet:02x}"))?;
        } else if at_end || "\\,+\"<>;=".contains(c) {
            write!(f, "\\{c}")?;
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}

/// What turns the direction of text or is not seen.
const fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
}

/// Dotted numbers, as the content of an OID.
fn oid_from_text(text: &str) -> Option<Box<[u8]>> {
    let mut arcs = text.split('.').map(|arc| arc.parse::<u32>().ok());
    let (first, second) = (arcs.next()??, arcs.next()??);
    if first > 2 || first < 2 && second > 39 || second > 1000 {
        return None;
    }
    let mut octets = Vec::new();
    push_arc(first * 40 + second, &mut octets);
    for arc in arcs {
        push_arc(arc?, &mut octets);
    }
    (octets.len() <= 32).then(|| octets.into())
}

fn push_arc(arc: u32, out: &mut Vec<u8>) {
    for group in (0..5).rev() {
        let rest = arc >> (7 * group);
        if rest != 0 || group == 0 {
            let more = if group == 0 { 0 } else { 0x80 };
            out.push(more | u8::try_from(rest & 0x7f).unwrap_or(0));
        }
    }
}

fn oid_to_text(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0u64;
    for &octet in content {
        arc = arc << 7 | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let octets = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?));
    if rest.is_empty() { octets.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(text: &str) -> Dn {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_in_text_is_the_same_in_der() {
        let name = dn("C=CH, O=Example, CN=gw");
        let expected = [
            &[0x30, 0x2c, 0x31, 0x0b, 0x30, 0x09, 6, 3, 0x55, 4, 6, 0x13, 2][..],
            b"CH",
            &[0x31, 0x10, 0x30, 0x0e, 6, 3, 0x55, 4, 10, 0x13, 7],
            b"Example",
            &[0x31, 0x0b, 0x30, 0x09, 6, 3, 0x55, 4, 3, 0x13, 2],
            b"gw",
        ]
        .concat();
        assert_eq!(name.as_der(), expected);
        assert_eq!(Dn::from_der(&expected).unwrap().to_string(), "C=CH, O=Example, CN=gw");
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        for text in [
            "C=CH, O=Example, CN=gw",
            "O=Example\\, Inc., CN=a\\+b\\=c",
            "CN=\\ two spaces \\ ",
            "CN=Zürich\\07\\e2\\80\\ae",
            "DC=example, DC=org, UID=u, E=a@example.org",
            "O=x, CN=b+OU=a",
            "1.2.840.113549.1.9.2=name, CN=\\#1",
            "CN=#0403010203",
        ] {
            let name = dn(text);
            assert_eq!(name.to_string(), text);
            assert_eq!(dn(&name.to_string()).as_der(), name.as_der());
            assert_eq!(Dn::from_der(name.as_der()).unwrap(), name);
        }
    }

    #[test]
    fn case_spaces_and_kind_of_string_do_not_matter() {
        assert_eq!(dn("O=Example  Corp,CN=Gw"), dn("o = example corp, cn=gW "));
        let utf8 = dn("CN=#0c026777");
        assert_eq!(utf8, dn("CN=gw"));
        assert_ne!(utf8.as_der(), dn("CN=gw").as_der());
        assert_ne!(dn("O=x, CN=gw"), dn("CN=gw, O=x"));
        assert_ne!(dn("CN=gw"), dn("O=gw"));
        assert_ne!(dn("CN=Ö"), dn("CN=ö"));
    }

    #[test]
    fn a_pattern_has_stars_for_whole_values_only() {
        let pattern: DnPattern = "C=CH, O=Example, CN=*".parse().unwrap();
        assert!(pattern.matches(&dn("C=CH, O=example, CN=anybody")));
        for other in ["C=CH, O=Example", "C=DE, O=Example, CN=x", "C=CH, O=Example, OU=x"] {
            assert!(!pattern.matches(&dn(other)), "{other}");
        }
        let literal: DnPattern = "CN=a*".parse().unwrap();
        assert!(!literal.matches(&dn("CN=ab")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let why = |text: &str| text.parse::<Dn>().err();
        assert_eq!(why(""), Some(BadDn::Part));
        assert_eq!(why("O=Example, Inc."), Some(BadDn::Part));
        assert_eq!(why("X=y"), Some(BadDn::Type));
        assert_eq!(why("CN="), Some(BadDn::Value));
        assert_eq!(why("CN=\\"), Some(BadDn::Value));
        assert_eq!(why("DC=ü"), Some(BadDn::Value));
        assert_eq!(why("CN=#04"), Some(BadDn::Der));
        assert_eq!(why(&format!("CN={}", "x".repeat(1025))), Some(BadDn::TooLong));
        assert_eq!(Dn::from_der(&[0x30, 2, 0x31, 0]).err(), Some(BadDn::Der));
        assert!(Dn::from_der(&[0x30, 0]).unwrap().is_empty());
    }
}
