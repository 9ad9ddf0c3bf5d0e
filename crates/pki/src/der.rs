//! As much DER as names and key containers need.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const T61_STRING: u8 = 0x14;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The octets are not DER, or not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// One element.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With its header.
    pub(crate) whole: &'a [u8],
}

/// Takes elements off the front of octets.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element. One-octet tags; lengths in as few octets as DER wants,
    /// three at the most.
    pub(crate) fn next(&mut self) -> Result<Element<'a>, Malformed> {
        let (tag, header, len) = match *self.0 {
            [tag, len, ..] if len < 0x80 => (tag, 2, usize::from(len)),
            [tag, 0x81, len, ..] if len >= 0x80 => (tag, 3, usize::from(len)),
            [tag, 0x82, high, low, ..] if high > 0 => {
                (tag, 4, usize::from(u16::from_be_bytes([high, low])))
            }
            [tag, 0x83, high, middle, low, ..] if high > 0 => {
                (tag, 5, u32::from_be_bytes([0, high, middle, low]) as usize)
            }
            _ => return Err(Malformed),
        };
        let (whole, rest) = self.0.split_at_checked(header + len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Element { tag, content: whole.get(header..).ok_or(Malformed)?, whole })
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        let element = self.next()?;
        if element.tag == tag { Ok(element.content) } else { Err(Malformed) }
    }

    /// The elements inside the next one, which must have this tag.
    pub(crate) fn inside(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.expect(tag).map(Self)
    }

    /// Nothing may follow.
    pub(crate) const fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// An element with this content.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len + 6);
    out.push(tag);
    match u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes() {
        [0, 0, 0, low @ 0..=0x7f] => out.push(low),
        [0, 0, 0, low] => out.extend_from_slice(&[0x81, low]),
        [0, 0, high, low] => out.extend_from_slice(&[0x82, high, low]),
        [0, high, middle, low] => out.extend_from_slice(&[0x83, high, middle, low]),
        [a, b, c, d] => out.extend_from_slice(&[0x84, a, b, c, d]),
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_of_any_length_reads_back() {
        for len in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; len];
            let whole = element(OCTET_STRING, &[&content]);
            let mut reader = Reader::new(&whole);
            assert_eq!(reader.expect(OCTET_STRING), Ok(content.as_slice()));
            assert_eq!(reader.finish(), Ok(()));
            assert!(Reader::new(&whole[..whole.len() - 1]).next().is_err());
        }
    }

    #[test]
    fn a_length_in_more_octets_than_needed_is_no_der() {
        for octets in [&[4, 0x81, 1, 0][..], &[4, 0x82, 0, 1, 0], &[4, 0x80, 0, 0]] {
            assert!(Reader::new(octets).next().is_err());
        }
    }
}
