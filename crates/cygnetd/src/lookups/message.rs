//! A question for the addresses of a name, and what answers it (RFC 1035
//! section 4, RFC 3596). Of an answer nothing is read but addresses and aliases.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ike::inner::Domain;

/// The longest answer that is asked for (RFC 6891 section 6.2.3) and read: it
/// fits into every path without fragments.
pub(super) const MAX_ANSWER: usize = 1232;

/// Aliases (CNAME) that are followed.
const MAX_ALIASES: usize = 8;
/// Addresses that are taken of a name: as many as the core takes.
pub(super) const MAX_ADDRESSES: usize = 8;
/// A name as it is sent, with its last zero (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;

const INTERNET: u16 = 1;
const ALIAS: u16 = 5;
const OPTIONS: u16 = 41;

/// The kind of address that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    V6,
    V4,
}

impl Family {
    const fn code(self) -> u16 {
        match self {
            Self::V6 => 28,
            Self::V4 => 1,
        }
    }

    fn address(self, data: &[u8]) -> Option<IpAddr> {
        Some(match self {
            Self::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into(),
            Self::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into(),
        })
    }
}

/// A name as it is sent, without pointers and in small letters.
type Name = Vec<u8>;

/// One question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    id: u16,
    name: Name,
    family: Family,
}

impl Question {
    pub(super) fn new(id: u16, name: &Domain, family: Family) -> Self {
        // A domain's labels are neither empty nor longer than 63 octets.
        let labels = name.as_str().split('.');
        let labels = labels.map(|label| (u8::try_from(label.len()).unwrap_or(0), label));
        let mut octets: Name =
            labels.flat_map(|(len, label)| [&[len], label.as_bytes()].concat()).collect();
        octets.push(0);
        Self { id, name: octets, family }
    }

    /// The message that asks it: recursion is desired, and the answer may have
    /// [`MAX_ANSWER`] octets.
    pub(super) fn message(&self) -> Vec<u8> {
        const RECURSION_DESIRED: u16 = 0x0100;
        let header = [self.id, RECURSION_DESIRED, 1, 0, 0, 1];
        let asked = [self.family.code(), INTERNET];
        // The root's name, and after type and length 32 bits of flags and no data.
        let options = [OPTIONS, MAX_ANSWER as u16, 0, 0, 0];
        let octets = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let [header, asked, options]: [Vec<u8>; 3] =
            [octets(&header), octets(&asked), octets(&options)];
        [&header, &self.name, &asked, &[0][..], &options].concat()
    }

    /// The addresses in an answer to this, none in a refusal. `None`: `octets`
    /// are no answer to it. What is broken off is good up to there.
    pub(super) fn answered(&self, octets: &[u8]) -> Option<Vec<IpAddr>> {
        const RESPONSE_AND_OPCODE: u16 = 0xf800;
        const RESPONSE: u16 = 0x8000;
        const REFUSED: u16 = 0x000f;
        let mut reader = Reader { octets, at: 0 };
        let [id, flags, questions, answers, _, _] = reader.words()?;
        if id != self.id || flags & RESPONSE_AND_OPCODE != RESPONSE || questions != 1 {
            return None;
        }
        let is_it =
            reader.name()? == self.name && reader.words()? == [self.family.code(), INTERNET];
        is_it.then(|| match flags & REFUSED {
            0 => self.found(&reader.records(answers)),
            _ => Vec::new(),
        })
    }

    fn found(&self, records: &[Record<'_>]) -> Vec<IpAddr> {
        let mut name = &self.name;
        for _ in 0..=MAX_ALIASES {
            let of_name = || records.iter().filter(|record| record.name == *name);
            let addresses = of_name().filter_map(|record| record.address(self.family));
            let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).collect();
            match of_name().find_map(|record| record.alias.as_ref()) {
                Some(alias) if addresses.is_empty() => name = alias,
                _ => return addresses,
            }
        }
        Vec::new()
    }
}

struct Record<'a> {
    name: Name,
    kind: u16,
    data: &'a [u8],
    alias: Option<Name>,
}

impl Record<'_> {
    fn address(&self, family: Family) -> Option<IpAddr> {
        (self.kind == family.code()).then(|| family.address(self.data)).flatten()
    }
}

/// Reads on through a message.
#[derive(Clone, Copy)]
struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.octets.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn words<const N: usize>(&mut self) -> Option<[u16; N]> {
        let mut words = [0; N];
        for word in &mut words {
            *word = u16::from_be_bytes(self.array()?);
        }
        Some(words)
    }

    /// A name, which may go on at an earlier place (RFC 1035 section 4.1.4), and
    /// there at a still earlier one.
    fn name(&mut self) -> Option<Name> {
        let mut name = Name::new();
        let mut part = *self;
        let mut goes_on_at = None;
        let mut start = self.at;
        loop {
            let [len] = part.array()?;
            match len {
                0 => break,
                1..=63 => {
                    name.push(len);
                    name.extend(part.take(len.into())?.to_ascii_lowercase());
                }
                64..=191 => return None,
                192..=255 => {
                    let [low] = part.array()?;
                    let place = usize::from(u16::from_be_bytes([len & 63, low]));
                    goes_on_at = goes_on_at.or(Some(part.at));
                    if place >= start {
                        return None;
                    }
                    (start, part.at) = (place, place);
                }
            }
            if name.len() >= MAX_NAME {
                return None;
            }
        }
        name.push(0);
        self.at = goes_on_at.unwrap_or(part.at);
        Some(name)
    }

    fn records(mut self, count: u16) -> Vec<Record<'a>> {
        // The octets bound them, not what is claimed.
        (0..count).map_while(|_| self.record()).flatten().collect()
    }

    /// The next record, if it is one of the internet's.
    fn record(&mut self) -> Option<Option<Record<'a>>> {
        let name = self.name()?;
        let [kind, class, _, _, len] = self.words()?;
        let mut inside = *self;
        let data = self.take(len.into())?;
        let alias = if kind == ALIAS { Some(inside.name()?) } else { None };
        Some((class == INTERNET).then_some(Record { name, kind, data, alias }))
    }
}

/// What the fuzz target `dns` runs on each input, and a test on its corpus: an
/// answer has few addresses, all of the family that was asked for.
pub(super) fn fuzz(octets: &[u8]) {
    let Ok(name) = "vpn.example.org".parse() else { return };
    for family in [Family::V4, Family::V6] {
        let question = Question::new(0x1234, &name, family);
        let Some(found) = question.answered(octets) else { continue };
        assert!(found.len() <= MAX_ADDRESSES, "more than are taken");
        assert!(found.iter().all(|it| it.is_ipv4() == (family == Family::V4)), "of the other");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ID: u16 = 0x1234;

    fn name() -> Domain {
        "vpn.example.org".parse().unwrap()
    }

    fn question(family: Family) -> Question {
        Question::new(ID, &name(), family)
    }

    /// What a server says to a question: records, each with its whole name.
    pub(in crate::lookups) fn answer(asked: &[u8], records: &[(&str, u16, Vec<u8>)]) -> Vec<u8> {
        let question_len = asked.len() - 12 - 11;
        let mut octets = asked[..12 + question_len].to_vec();
        octets[2..4].copy_from_slice(&[0x81, 0x80]);
        octets[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        octets[10..12].copy_from_slice(&[0, 0]);
        for (name, kind, data) in records {
            octets.extend(wire(name));
            octets.extend(kind.to_be_bytes());
            octets.extend([0, 1, 0, 0, 0, 60]);
            octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            octets.extend(data);
        }
        octets
    }

    pub(in crate::lookups) fn wire(name: &str) -> Vec<u8> {
        let labels = name.split('.').map(|label| (u8::try_from(label.len()).unwrap(), label));
        let labels = labels.flat_map(|(len, label)| [&[len], label.as_bytes()].concat());
        labels.chain([0]).collect()
    }

    fn found(records: &[(&str, u16, Vec<u8>)]) -> Vec<IpAddr> {
        let question = question(Family::V4);
        question.answered(&answer(&question.message(), records)).unwrap()
    }

    fn v4(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn at(name: &str, n: u8) -> (&str, u16, Vec<u8>) {
        (name, 1, vec![192, 0, 2, n])
    }

    #[test]
    fn a_question_is_what_a_server_expects() {
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\
            \x03vpn\x07example\x03org\x00\x00\x1c\x00\x01\
            \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
        assert_eq!(question(Family::V6).message(), expected);
    }

    #[test]
    fn the_addresses_of_the_name_and_of_the_family_are_taken() {
        let records = [
            at("vpn.example.org", 1),
            at("other.example.org", 9),
            ("VPN.example.ORG", 1, vec![192, 0, 2, 2]),
            ("vpn.example.org", 28, vec![1; 16]),
            ("vpn.example.org", 1, vec![1; 5]),
            ("vpn.example.org", 16, b"\x04text".to_vec()),
        ];
        assert_eq!(found(&records), [v4(1), v4(2)]);
        let question = question(Family::V6);
        let six = question.answered(&answer(&question.message(), &records)).unwrap();
        assert_eq!(six, [IpAddr::from([1; 16])]);
    }

    #[test]
    fn no_more_addresses_are_taken_than_could_be_tried() {
        let many: Vec<_> = (0..20).map(|n| at("vpn.example.org", n)).collect();
        assert_eq!(found(&many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn aliases_lead_on_in_any_order_but_not_for_ever() {
        let alias = |from, to: &str| (from, ALIAS, wire(to));
        let chain = [
            at("b.example.net", 3),
            alias("a.example.org", "b.example.net"),
            alias("vpn.example.org", "a.example.org"),
        ];
        assert_eq!(found(&chain), [v4(3)]);
        assert_eq!(found(&chain[1..]).len(), 0);
        let round =
            [alias("vpn.example.org", "a.example.org"), alias("a.example.org", "vpn.example.org")];
        assert_eq!(found(&round).len(), 0);
    }

    #[test]
    fn names_go_on_at_earlier_places_only() {
        let question = question(Family::V4);
        let mut octets = answer(&question.message(), &[]);
        octets[7] = 1;
        let with = |octets: &[u8], place: u8| {
            let record = [&[0xc0, place][..], &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]];
            question.answered(&[octets, &record.concat()].concat())
        };
        assert_eq!(with(&octets, 12), Some(vec![v4(7)]));
        let itself = u8::try_from(octets.len()).unwrap();
        assert_eq!(with(&octets, itself), Some(vec![]));
        assert_eq!(with(&octets, itself + 1), Some(vec![]));
    }

    #[test]
    fn what_is_broken_off_is_good_up_to_there() {
        let question = question(Family::V4);
        let records = [at("vpn.example.org", 1), at("vpn.example.org", 2)];
        let mut whole = answer(&question.message(), &records);
        whole[2] |= 2;
        assert_eq!(question.answered(&whole), Some(vec![v4(1), v4(2)]));
        assert_eq!(question.answered(&whole[..whole.len() - 1]), Some(vec![v4(1)]));
        for len in 0..whole.len() {
            let _ = question.answered(&whole[..len]);
        }
    }

    #[test]
    fn only_an_answer_to_the_question_is_one() {
        let asked = question(Family::V4);
        let good = answer(&asked.message(), &[at("vpn.example.org", 1)]);
        let not = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = good.clone();
            change(&mut octets);
            assert_eq!(asked.answered(&octets), None);
        };
        not(&|octets| octets[1] ^= 1);
        not(&|octets| octets[2] &= 0x7f);
        not(&|octets| octets[2] |= 0x08);
        not(&|octets| octets[5] = 2);
        not(&|octets| octets[13] = b'x');
        not(&|octets| octets[30] = 28);
        not(&|octets| octets.truncate(20));
        not(&Vec::clear);
        let mut refused = good.clone();
        refused[3] |= 3;
        assert_eq!(asked.answered(&refused), Some(vec![]));
        assert_eq!(asked.answered(&good), Some(vec![v4(1)]));
    }
}
