//! Security Association payloads: proposals and their transforms (RFC 7296
//! section 3.3).

use super::error::ParseError;
use super::limits;
use super::reader::Reader;
use super::registry::{PayloadType, Protocol};
use super::transform::{Transform, TransformType};

/// A Security Association payload: one or more proposals, the most preferred
/// first. Its inside has been checked; iterating cannot fail.
#[derive(Clone, Copy)]
pub struct SaPayload<'a> {
    body: &'a [u8],
}

impl<'a> SaPayload<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(PayloadType::SA, body);
        if reader.is_empty() {
            return Err(ParseError::Empty(PayloadType::SA));
        }
        let mut previous: Option<u8> = None;
        for _ in 0..limits::PROPOSALS {
            let (proposal, more) = Proposal::parse(&mut reader)?;
            let ascends = previous.is_none_or(|n| n.checked_add(1) == Some(proposal.number));
            if !ascends {
                return Err(ParseError::BadProposalNumber(proposal.number));
            }
            if more == reader.is_empty() {
                return Err(ParseError::BadChain);
            }
            if !more {
                return Ok(Self { body });
            }
            previous = Some(proposal.number);
        }
        Err(ParseError::TooManyProposals)
    }

    /// The proposals in order, whatever their numbers begin with.
    #[must_use]
    pub fn proposals(&self) -> Proposals<'a> {
        Proposals(Reader::new(PayloadType::SA, self.body))
    }

    /// The proposals of a request, whose numbers begin with 1.
    ///
    /// # Errors
    /// [`ParseError::BadProposalNumber`] (RFC 7296 section 3.3.1).
    pub fn offered(&self) -> Result<Proposals<'a>, ParseError> {
        match self.proposals().next() {
            Some(first) if first.number != 1 => Err(ParseError::BadProposalNumber(first.number)),
            _ => Ok(self.proposals()),
        }
    }

    /// The one proposal of a response.
    ///
    /// # Errors
    /// [`ParseError::TooManyProposals`] when nothing was chosen (RFC 7296 section 3.3.6).
    pub fn accepted(&self) -> Result<Proposal<'a>, ParseError> {
        let mut proposals = self.proposals();
        match (proposals.next(), proposals.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(ParseError::TooManyProposals),
            (None, _) => Err(ParseError::Empty(PayloadType::SA)),
        }
    }
}

impl PartialEq for SaPayload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.proposals().eq(other.proposals())
    }
}

impl Eq for SaPayload<'_> {}

impl std::fmt::Debug for SaPayload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.proposals()).finish()
    }
}

/// One set of transforms to choose from.
#[derive(Clone, Copy)]
pub struct Proposal<'a> {
    /// Its place in the list; a response repeats the number of the chosen one.
    pub number: u8,
    /// What the SA is for.
    pub protocol: Protocol,
    /// The sender's SPI: 4 octets for AH and ESP; for IKE 8, or none in an
    /// initial exchange.
    pub spi: &'a [u8],
    transforms: &'a [u8],
}

impl<'a> Proposal<'a> {
    /// Octets before the SPI.
    const HEADER_LEN: usize = 8;

    /// The transforms in order; several of one type are alternatives.
    #[must_use]
    pub fn transforms(&self) -> Transforms<'a> {
        Transforms(Reader::new(PayloadType::SA, self.transforms))
    }

    /// The transforms of one type.
    pub fn of_type(&self, kind: TransformType) -> impl Iterator<Item = Transform> + use<'a> {
        self.transforms().filter(move |transform| transform.kind == kind)
    }

    /// One proposal, and whether it says that more follow.
    fn parse(reader: &mut Reader<'a>) -> Result<(Self, bool), ParseError> {
        let (proposal, more, count) = Self::split(reader)?;
        check_spi_size(proposal.protocol, proposal.spi)?;
        check_transforms(proposal.transforms, count)?;
        Ok((proposal, more))
    }

    fn split(reader: &mut Reader<'a>) -> Result<(Self, bool, u8), ParseError> {
        let more = more_follow(reader.u8()?, Self::MORE)?;
        let _reserved = reader.u8()?;
        let length = usize::from(reader.u16()?);
        let [number, protocol, spi_size, count] = reader.array()?;
        let mut inside = inner(reader, length, Self::HEADER_LEN)?;
        let spi = inside.octets(usize::from(spi_size))?;
        let (protocol, transforms) = (Protocol(protocol), inside.rest());
        Ok((Self { number, protocol, spi, transforms }, more, count))
    }

    /// Last Substruc where another proposal follows.
    pub(super) const MORE: u8 = 2;
}

impl PartialEq for Proposal<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.number, self.protocol, self.spi) == (other.number, other.protocol, other.spi)
            && self.transforms().eq(other.transforms())
    }
}

impl Eq for Proposal<'_> {}

impl std::fmt::Debug for Proposal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{} {} ", self.number, self.protocol)?;
        f.debug_list().entries(self.transforms()).finish()
    }
}

/// The proposals of a payload.
pub struct Proposals<'a>(Reader<'a>);

impl<'a> Iterator for Proposals<'a> {
    type Item = Proposal<'a>;

    fn next(&mut self) -> Option<Proposal<'a>> {
        Proposal::split(&mut self.0).ok().map(|(proposal, _, _)| proposal)
    }
}

/// The transforms of a proposal.
pub struct Transforms<'a>(Reader<'a>);

impl Iterator for Transforms<'_> {
    type Item = Transform;

    fn next(&mut self) -> Option<Transform> {
        parse_transform(&mut self.0).ok().map(|(transform, _)| transform)
    }
}

/// Octets of a transform before its attributes.
const TRANSFORM_HEADER_LEN: usize = 8;
/// Last Substruc where another transform follows.
pub(super) const MORE_TRANSFORMS: u8 = 3;

fn check_spi_size(protocol: Protocol, spi: &[u8]) -> Result<(), ParseError> {
    let known = match protocol {
        Protocol::IKE => matches!(spi.len(), 0 | 8),
        Protocol::AH | Protocol::ESP => spi.len() == 4,
        // Not ours to choose; the proposal is passed over.
        _ => true,
    };
    if known {
        return Ok(());
    }
    let size = u8::try_from(spi.len()).unwrap_or(u8::MAX);
    Err(ParseError::BadSpiSize { payload: PayloadType::SA, size })
}

/// The total of lengths, the count and the chain must agree (RFC 7296 section 3.3).
fn check_transforms(octets: &[u8], count: u8) -> Result<(), ParseError> {
    if usize::from(count) > limits::TRANSFORMS {
        return Err(ParseError::TooManyTransforms);
    }
    let mut reader = Reader::new(PayloadType::SA, octets);
    for left in (0..count).rev() {
        let (_, more) = parse_transform(&mut reader)?;
        if more != (left > 0) {
            return Err(ParseError::BadChain);
        }
    }
    if reader.is_empty() { Ok(()) } else { Err(ParseError::BadCount(PayloadType::SA)) }
}

/// One transform, and whether it says that more follow.
fn parse_transform(reader: &mut Reader<'_>) -> Result<(Transform, bool), ParseError> {
    let more = more_follow(reader.u8()?, MORE_TRANSFORMS)?;
    let _reserved = reader.u8()?;
    let length = usize::from(reader.u16()?);
    let [kind, _reserved] = reader.array()?;
    let id = reader.u16()?;
    let mut attributes = inner(reader, length, TRANSFORM_HEADER_LEN)?;
    let mut transform = Transform::new(TransformType(kind), id);
    while !attributes.is_empty() {
        parse_attribute(&mut attributes, &mut transform)?;
    }
    Ok((transform, more))
}

/// Attribute Format bit: the value stands where the length would.
const SHORT_FORM: u16 = 0x8000;
/// The key length, always in the short form (RFC 7296 section 3.3.5).
pub(super) const KEY_LENGTH: u16 = SHORT_FORM | 14;

fn parse_attribute(reader: &mut Reader<'_>, transform: &mut Transform) -> Result<(), ParseError> {
    let (kind, value) = (reader.u16()?, reader.u16()?);
    if kind == KEY_LENGTH {
        let earlier = transform.key_length.replace(value);
        return earlier.map_or(Ok(()), |_| Err(ParseError::DuplicateAttribute));
    }
    transform.foreign_attributes = true;
    if kind & SHORT_FORM == 0 {
        let _value = reader.octets(usize::from(value))?;
    }
    Ok(())
}

fn more_follow(octet: u8, more: u8) -> Result<bool, ParseError> {
    match octet {
        0 => Ok(false),
        octet if octet == more => Ok(true),
        _ => Err(ParseError::BadChain),
    }
}

/// The rest of a substructure of `length` octets whose header has been read.
fn inner<'a>(
    reader: &mut Reader<'a>,
    length: usize,
    header: usize,
) -> Result<Reader<'a>, ParseError> {
    let bad = ParseError::BadLength(PayloadType::SA);
    let rest = length.checked_sub(header).ok_or(bad)?;
    let octets = reader.octets(rest).map_err(|_| bad)?;
    Ok(Reader::new(PayloadType::SA, octets))
}
