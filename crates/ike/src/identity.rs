//! Who somebody is in IKE: the Identification payload's content (RFC 7296 section 3.5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use pki::dn::BadDn;
use pki::{Dn, DnPattern, Name};

/// The longest identity that is accepted, in octets.
///
/// Distinguished names rarely exceed 300; a bound keeps tickets and SAs small.
pub const MAX_IDENTITY: usize = 1024;

/// An identity: its type and its octets, exactly as on the wire.
///
/// Equality is that of the octets: RFC 7296 section 3.5 asks for no other, and
/// a looser one would have to be agreed upon by both ends of a ticket. Names
/// that may be written in several ways are compared by [`Id::is_same`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    kind: IdKind,
    /// Shared: an SA is filed under its peer's identity in several places.
    data: Arc<[u8]>,
}

/// The ID types of RFC 7296 section 3.5 that are supported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IdKind {
    /// `ID_IPV4_ADDR`
    Ipv4,
    /// `ID_FQDN`
    Fqdn,
    /// `ID_RFC822_ADDR`
    Email,
    /// `ID_IPV6_ADDR`
    Ipv6,
    /// `ID_DER_ASN1_DN`
    Dn,
    /// `ID_KEY_ID`
    KeyId,
}

impl IdKind {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ipv4 => 1,
            Self::Fqdn => 2,
            Self::Email => 3,
            Self::Ipv6 => 5,
            Self::Dn => 9,
            Self::KeyId => 11,
        }
    }

    /// The type of a number on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Ipv4),
            2 => Some(Self::Fqdn),
            3 => Some(Self::Email),
            5 => Some(Self::Ipv6),
            9 => Some(Self::Dn),
            11 => Some(Self::KeyId),
            _ => None,
        }
    }
}

/// An identity that cannot be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadId {
    /// No octets.
    #[error("the identity is empty")]
    Empty,
    /// More than [`MAX_IDENTITY`] octets.
    #[error("the identity is longer than {MAX_IDENTITY} octets")]
    TooLong,
    /// An address type with the wrong number of octets, text that is not UTF-8
    /// or has control characters.
    #[error("the identity's octets do not fit its type")]
    Malformed,
    /// An ID type that is not supported.
    #[error("identity type {0} is not supported")]
    UnknownKind(u8),
    /// Not a distinguished name.
    #[error(transparent)]
    Name(#[from] BadDn),
    /// A star where none can stand.
    #[error(
        "a star stands for a whole value of a name (CN=*), or before @ or a dot (*@example.org, *.example.org)"
    )]
    Pattern,
}

impl Id {
    /// The identity with this type and these octets.
    ///
    /// # Errors
    /// [`BadId`] says why there is none.
    pub fn new(kind: IdKind, data: &[u8]) -> Result<Self, BadId> {
        if data.is_empty() {
            return Err(BadId::Empty);
        }
        if data.len() > MAX_IDENTITY {
            return Err(BadId::TooLong);
        }
        let fits = match kind {
            IdKind::Ipv4 => data.len() == 4,
            IdKind::Ipv6 => data.len() == 16,
            IdKind::Fqdn | IdKind::Email => {
                std::str::from_utf8(data).is_ok_and(|s| !s.contains(char::is_control))
            }
            IdKind::Dn => {
                Dn::from_der(data)?;
                true
            }
            IdKind::KeyId => true,
        };
        if fits { Ok(Self { kind, data: data.into() }) } else { Err(BadId::Malformed) }
    }

    /// The identity in an Identification payload.
    ///
    /// # Errors
    /// [`BadId`] says what is wrong with it.
    pub fn from_wire(code: u8, data: &[u8]) -> Result<Self, BadId> {
        let kind = IdKind::from_code(code).ok_or(BadId::UnknownKind(code))?;
        Self::new(kind, data)
    }

    /// The identity that is an address.
    #[must_use]
    pub fn from_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self { kind: IdKind::Ipv4, data: a.octets().into() },
            IpAddr::V6(a) => Self { kind: IdKind::Ipv6, data: a.octets().into() },
        }
    }

    /// The identity that is a distinguished name.
    ///
    /// # Errors
    /// [`BadId::TooLong`].
    pub fn from_name(name: &Dn) -> Result<Self, BadId> {
        Self::new(IdKind::Dn, name.as_der())
    }

    /// Whether it stands for the same as `other`: distinguished names may
    /// differ in case and in kinds of strings, and domain names in case.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self == other
            || self.kind == other.kind
                && match self.kind {
                    IdKind::Dn => {
                        let name = Dn::from_der(&self.data);
                        name.is_ok() && name == Dn::from_der(&other.data)
                    }
                    IdKind::Fqdn => self.data.eq_ignore_ascii_case(&other.data),
                    IdKind::Ipv4 | IdKind::Ipv6 | IdKind::Email | IdKind::KeyId => false,
                }
    }

    /// As certificates are matched with it.
    #[must_use]
    pub fn name(&self) -> Option<Name<'_>> {
        Some(match self.kind {
            IdKind::Ipv4 => Name::Address(<[u8; 4]>::try_from(&*self.data).ok()?.into()),
            IdKind::Ipv6 => Name::Address(<[u8; 16]>::try_from(&*self.data).ok()?.into()),
            IdKind::Fqdn => Name::Dns(std::str::from_utf8(&self.data).ok()?),
            IdKind::Email => Name::Email(std::str::from_utf8(&self.data).ok()?),
            IdKind::Dn => Name::Dn(Dn::from_der(&self.data).ok()?),
            IdKind::KeyId => Name::KeyId(&self.data),
        })
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> IdKind {
        self.kind
    }

    /// Its octets.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The payload's body, `IDx'` of RFC 7296 section 2.15: type, three
    /// reserved octets, data.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + self.data.len());
        body.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        body.extend_from_slice(&self.data);
        body
    }
}

/// strongSwan's spelling: `@name` is a domain name, `@#hex` a key id, an
/// address is an address, `TYPE=value, ..` a distinguished name, `user@host` an
/// e-mail address, all else a domain name.
impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if let Some(hex) = text.strip_prefix("@#") {
            return Self::new(IdKind::KeyId, &decode_hex(hex).ok_or(BadId::Malformed)?);
        }
        if let Some(name) = text.strip_prefix('@') {
            return Self::new(IdKind::Fqdn, name.as_bytes());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from_address(address));
        }
        if text.contains('=') {
            return Self::from_name(&text.parse()?);
        }
        let kind = if text.contains('@') { IdKind::Email } else { IdKind::Fqdn };
        Self::new(kind, text.as_bytes())
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            IdKind::Ipv4 => match <[u8; 4]>::try_from(&*self.data) {
                Ok(octets) => write!(f, "{}", Ipv4Addr::from(octets)),
                Err(_) => Err(fmt::Error),
            },
            IdKind::Ipv6 => match <[u8; 16]>::try_from(&*self.data) {
                Ok(octets) => write!(f, "{}", Ipv6Addr::from(octets)),
                Err(_) => Err(fmt::Error),
            },
            IdKind::Fqdn => write!(f, "@{}", String::from_utf8_lossy(&self.data)),
            IdKind::Email => f.write_str(&String::from_utf8_lossy(&self.data)),
            IdKind::Dn => match Dn::from_der(&self.data) {
                Ok(name) => fmt::Display::fmt(&name, f),
                Err(_) => write_hex(f, "dn:", &self.data),
            },
            IdKind::KeyId => write_hex(f, "@#", &self.data),
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, prefix: &str, data: &[u8]) -> fmt::Result {
    f.write_str(prefix)?;
    data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which identities a connection accepts of its peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdPattern {
    /// Any identity that can prove itself.
    Any,
    /// This one.
    Exact(Id),
    /// Those that are like it.
    Like(Pattern),
}

/// What several identities have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Distinguished names with these values: `C=CH, O=Example, CN=*`.
    Name(DnPattern),
    /// Domain names that end so, from the dot on: `*.example.org`.
    Domain(Box<str>),
    /// E-mail addresses of this domain, from the `@` on: `*@example.org`.
    Mail(Box<str>),
}

impl Pattern {
    fn accepts(&self, id: &Id) -> bool {
        match (self, id.name()) {
            (Self::Name(pattern), Some(Name::Dn(name))) => pattern.matches(&name),
            (Self::Domain(end), Some(Name::Dns(text))) => ends_with(text, end),
            (Self::Mail(end), Some(Name::Email(text))) => ends_with(text, end),
            (Self::Name(_) | Self::Domain(_) | Self::Mail(_), _) => false,
        }
    }
}

/// Whether `text` is more than `end`, and ends so but for the case.
fn ends_with(text: &str, end: &str) -> bool {
    let start = text.len().checked_sub(end.len()).filter(|&start| start > 0);
    start.and_then(|at| text.get(at..)).is_some_and(|last| last.eq_ignore_ascii_case(end))
}

/// `%any`, an identity, or one with a star.
impl FromStr for IdPattern {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if text == "%any" {
            return Ok(Self::Any);
        }
        if !text.contains('*') {
            return text.parse().map(Self::Exact);
        }
        if text.contains('=') {
            return Ok(Self::Like(Pattern::Name(text.parse()?)));
        }
        match text.strip_prefix('*') {
            Some(end) if end.len() < 2 || end.contains('*') => Err(BadId::Pattern),
            Some(end) if end.starts_with('.') => Ok(Self::Like(Pattern::Domain(end.into()))),
            Some(end) if end.starts_with('@') => Ok(Self::Like(Pattern::Mail(end.into()))),
            Some(_) | None => Err(BadId::Pattern),
        }
    }
}

impl IdPattern {
    /// Whether `id` is accepted.
    #[must_use]
    pub fn accepts(&self, id: &Id) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(expected) => expected.is_same(id),
            Self::Like(pattern) => pattern.accepts(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_of_swanctl_is_understood() {
        let kind = |s: &str| s.parse::<Id>().map(|id| id.kind());
        assert_eq!(kind("@west"), Ok(IdKind::Fqdn));
        assert_eq!(kind("west.example.org"), Ok(IdKind::Fqdn));
        assert_eq!(kind("user@example.org"), Ok(IdKind::Email));
        assert_eq!(kind("192.0.2.1"), Ok(IdKind::Ipv4));
        assert_eq!(kind("2001:db8::1"), Ok(IdKind::Ipv6));
        assert_eq!(kind("@#0aff"), Ok(IdKind::KeyId));
        assert_eq!(kind("@#0af"), Err(BadId::Malformed));
        assert_eq!(kind("@"), Err(BadId::Empty));
        assert_eq!(kind(&"a".repeat(MAX_IDENTITY + 1)), Err(BadId::TooLong));
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        for text in [
            "@west",
            "user@example.org",
            "192.0.2.1",
            "2001:db8::1",
            "@#0aff",
            "C=CH, O=Example, CN=gateway",
        ] {
            let id: Id = text.parse().unwrap();
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn octets_that_do_not_fit_their_type_are_no_identity() {
        assert_eq!(Id::from_wire(1, &[1, 2, 3]), Err(BadId::Malformed));
        assert_eq!(Id::from_wire(2, b"a\nb"), Err(BadId::Malformed));
        assert_eq!(Id::from_wire(10, b"x"), Err(BadId::UnknownKind(10)));
        assert_eq!(Id::from_wire(9, b"CN=x"), Err(BadId::Name(BadDn::Der)));
    }

    #[test]
    fn a_pattern_accepts_what_is_like_it() {
        let accepts = |pattern: &str, id: &str| {
            pattern.parse::<IdPattern>().unwrap().accepts(&id.parse().unwrap())
        };
        assert!(accepts("%any", "@west"));
        assert!(accepts("C=CH, O=Example, CN=*", "C=ch, O=EXAMPLE, CN=west"));
        assert!(accepts("O=Example, CN=West", "O=example, CN=west"));
        assert!(accepts("*.example.org", "@a.b.EXAMPLE.org"));
        assert!(accepts("*@example.org", "user@Example.org"));
        assert!(accepts("@West", "@west"));
        assert!(!accepts("*.example.org", ".example.org"));
        assert!(!accepts("*.example.org", "user@a.example.org"));
        assert!(!accepts("*@example.org", "user@a.example.org"));
        assert!(!accepts("CN=*", "O=Example, CN=west"));
        assert!(!accepts("user@example.org", "User@example.org"));
        for bad in ["*", "a*.example.org", "**.example.org", "*example.org", "*."] {
            assert_eq!(bad.parse::<IdPattern>(), Err(BadId::Pattern), "{bad}");
        }
    }
}
