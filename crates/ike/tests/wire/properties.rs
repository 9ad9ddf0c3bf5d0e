//! Emitting and parsing are inverses, for arbitrary messages; and arbitrary
//! damage to a message is found or harmless.

use std::net::IpAddr;

use esp::spec::Selector;
use ike::wire::{
    AuthMethod, CertEncoding, ConfigAttribute, ConfigAttributeType, ConfigType, Delete,
    ExchangeType, Flags, Header, IdType, IkeSpi, KeMethod, Message, MessageBuilder, NewProposal,
    Notify, NotifyType, Payload, PayloadType, Payloads, Protocol, Transform, TransformType,
    fuzzing, parse_payloads,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A payload as its owner would describe it.
#[derive(Clone, Debug)]
enum Item {
    Sa(Vec<OwnedProposal>),
    Ke(u16, Vec<u8>),
    IdI(u8, Vec<u8>),
    IdR(u8, Vec<u8>),
    Cert(u8, Vec<u8>),
    CertRequest(u8, Vec<u8>),
    Auth(u8, Vec<u8>),
    Nonce(Vec<u8>),
    Notify(u8, Vec<u8>, u16, Vec<u8>),
    DeleteIke,
    DeleteChildren(u8, Vec<u32>),
    Vendor(Vec<u8>),
    TsI(Vec<Selector>),
    TsR(Vec<Selector>),
    Config(u8, Vec<(u16, Vec<u8>)>),
    Eap(Vec<u8>),
}

#[derive(Clone, Debug)]
struct OwnedProposal {
    protocol: u8,
    spi: Vec<u8>,
    transforms: Vec<Transform>,
}

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), any::<Option<u16>>()).prop_map(|(kind, id, key_length)| Transform {
        key_length,
        ..Transform::new(TransformType(kind), id)
    })
}

fn proposal() -> impl Strategy<Value = OwnedProposal> {
    let ike = (Just(1), prop_oneof![Just(0), Just(8)]);
    let child = (prop_oneof![Just(2), Just(3)], Just(4));
    let other = (4..=255u8, 0..=255usize);
    (prop_oneof![ike, child, other], vec(transform(), 0..10)).prop_flat_map(
        |((protocol, spi_len), transforms)| {
            vec(any::<u8>(), spi_len).prop_map(move |spi| OwnedProposal {
                protocol,
                spi,
                transforms: transforms.clone(),
            })
        },
    )
}

fn selector() -> impl Strategy<Value = Selector> {
    let v4 = (any::<u32>(), any::<u32>())
        .prop_map(|(a, b)| (IpAddr::V4(a.min(b).into()), IpAddr::V4(a.max(b).into())));
    let v6 = (any::<u128>(), any::<u128>())
        .prop_map(|(a, b)| (IpAddr::V6(a.min(b).into()), IpAddr::V6(a.max(b).into())));
    (prop_oneof![v4, v6], any::<u8>(), any::<(u16, u16)>()).prop_map(
        |((start, end), protocol, (a, b))| {
            Selector::new(start, end, protocol, (a.min(b), a.max(b))).unwrap()
        },
    )
}

fn identity() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        (Just(1), vec(any::<u8>(), 4)),
        (Just(5), vec(any::<u8>(), 16)),
        (any::<u8>().prop_filter("address", |kind| !matches!(kind, 1 | 5)), octets(80)),
    ]
}

fn eap() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), any::<u8>(), vec(any::<u8>(), 1..100)).prop_map(|(code, identifier, data)| {
        let [high, low] = u16::try_from(4 + data.len()).unwrap().to_be_bytes();
        [&[code, identifier, high, low], &data[..]].concat()
    })
}

/// What occurs at most once in a message.
fn single() -> Vec<BoxedStrategy<Item>> {
    vec![
        vec(proposal(), 1..6).prop_map(Item::Sa).boxed(),
        (any::<u16>(), octets(300)).prop_map(|(g, d)| Item::Ke(g, d)).boxed(),
        identity().prop_map(|(k, d)| Item::IdI(k, d)).boxed(),
        identity().prop_map(|(k, d)| Item::IdR(k, d)).boxed(),
        (any::<u8>(), octets(100)).prop_map(|(m, d)| Item::Auth(m, d)).boxed(),
        vec(any::<u8>(), 16..=256).prop_map(Item::Nonce).boxed(),
        vec(selector(), 1..6).prop_map(Item::TsI).boxed(),
        vec(selector(), 1..6).prop_map(Item::TsR).boxed(),
        (any::<u8>(), vec((0..0x8000u16, octets(20)), 0..6))
            .prop_map(|(k, a)| Item::Config(k, a))
            .boxed(),
        eap().prop_map(Item::Eap).boxed(),
    ]
}

/// What may occur several times.
fn repeated() -> impl Strategy<Value = Item> {
    let spi = prop_oneof![Just(0), Just(4), Just(8)].prop_flat_map(|n| vec(any::<u8>(), n));
    prop_oneof![
        4 => (any::<u8>(), spi, any::<u16>(), octets(60))
            .prop_map(|(p, s, k, d)| Item::Notify(p, s, k, d)),
        1 => (any::<u8>(), octets(200)).prop_map(|(e, d)| Item::Cert(e, d)),
        1 => (any::<u8>(), octets(60)).prop_map(|(e, d)| Item::CertRequest(e, d)),
        1 => Just(Item::DeleteIke),
        1 => (2..=3u8, vec(any::<u32>(), 0..9)).prop_map(|(p, s)| Item::DeleteChildren(p, s)),
        1 => octets(40).prop_map(Item::Vendor),
    ]
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let single = proptest::sample::subsequence(single(), 0..=10).prop_flat_map(|chosen| chosen);
    let all = (single, vec(repeated(), 0..12)).prop_map(|(a, b)| [a, b].concat());
    all.prop_shuffle()
}

fn header() -> impl Strategy<Value = Header> {
    let spis = (any::<[u8; 8]>(), any::<[u8; 8]>());
    (spis, any::<u8>(), any::<(bool, bool)>(), any::<u32>()).prop_map(
        |((mut spi_i, spi_r), exchange, (initiator, response), message_id)| {
            spi_i[0] |= 1;
            Header::new(
                (IkeSpi(spi_i), IkeSpi(spi_r)),
                ExchangeType(exchange),
                Flags { initiator, response },
                message_id,
            )
        },
    )
}

fn append<State>(builder: &mut MessageBuilder<State>, item: &Item) {
    match item {
        Item::Sa(proposals) => {
            let proposals: Vec<_> = (1..).zip(proposals).map(|(n, p)| offered(n, p)).collect();
            builder.sa(&proposals)
        }
        Item::Ke(group, data) => builder.ke(KeMethod(*group), data),
        Item::IdI(kind, data) => builder.id_i(IdType(*kind), data),
        Item::IdR(kind, data) => builder.id_r(IdType(*kind), data),
        Item::Cert(encoding, data) => builder.cert(CertEncoding(*encoding), data),
        Item::CertRequest(encoding, data) => builder.cert_request(CertEncoding(*encoding), data),
        Item::Auth(method, data) => builder.auth(AuthMethod(*method), data),
        Item::Nonce(nonce) => builder.nonce(nonce),
        Item::Notify(protocol, spi, kind, data) => {
            builder.notify_about(&notify(*protocol, spi, *kind, data))
        }
        Item::DeleteIke => builder.delete_ike(),
        Item::DeleteChildren(protocol, spis) => {
            builder.delete_children(Protocol(*protocol), spis.iter().copied())
        }
        Item::Vendor(id) => builder.vendor(id),
        Item::TsI(selectors) => builder.ts_i(selectors),
        Item::TsR(selectors) => builder.ts_r(selectors),
        Item::Config(kind, attributes) => {
            builder.config(ConfigType(*kind), attributes.iter().map(attribute))
        }
        Item::Eap(message) => builder.eap(message),
    };
}

fn offered(number: u8, proposal: &OwnedProposal) -> NewProposal<'_> {
    let OwnedProposal { protocol, spi, transforms } = proposal;
    NewProposal { number, protocol: Protocol(*protocol), spi, transforms }
}

fn notify<'a>(protocol: u8, spi: &'a [u8], kind: u16, data: &'a [u8]) -> Notify<'a> {
    Notify { protocol: Protocol(protocol), spi, kind: NotifyType(kind), data }
}

fn attribute((kind, value): &(u16, Vec<u8>)) -> ConfigAttribute<'_> {
    ConfigAttribute { kind: ConfigAttributeType(*kind), value }
}

fn is(payload: &Payload<'_>, item: &Item) -> bool {
    match (payload, item) {
        (Payload::Sa(sa), Item::Sa(proposals)) => {
            sa.offered().is_ok()
                && sa.proposals().count() == proposals.len()
                && sa.proposals().zip(1..).zip(proposals).all(|((found, number), meant)| {
                    (found.number, found.protocol.0, found.spi)
                        == (number, meant.protocol, &meant.spi[..])
                        && found.transforms().eq(meant.transforms.iter().copied())
                })
        }
        (Payload::KeyExchange(ke), Item::Ke(group, data)) => {
            (ke.group.0, ke.data) == (*group, data)
        }
        (Payload::IdInitiator(id), Item::IdI(kind, data))
        | (Payload::IdResponder(id), Item::IdR(kind, data)) => {
            (id.kind.0, id.data) == (*kind, data)
        }
        (Payload::Cert(cert), Item::Cert(encoding, data)) => {
            (cert.encoding.0, cert.data) == (*encoding, data)
        }
        (Payload::CertRequest(request), Item::CertRequest(encoding, data)) => {
            (request.encoding.0, request.authorities) == (*encoding, data)
        }
        (Payload::Auth(auth), Item::Auth(method, data)) => {
            (auth.method.0, auth.data) == (*method, data)
        }
        (Payload::Nonce(found), Item::Nonce(meant))
        | (Payload::VendorId(found), Item::Vendor(meant)) => found == meant,
        (Payload::Notify(found), Item::Notify(protocol, spi, kind, data)) => {
            *found == notify(*protocol, spi, *kind, data)
        }
        (Payload::Delete(Delete::IkeSa), Item::DeleteIke) => true,
        (
            Payload::Delete(Delete::Children { protocol, spis }),
            Item::DeleteChildren(meant, list),
        ) => protocol.0 == *meant && spis.iter().eq(list.iter().copied()),
        (Payload::TsInitiator(ts), Item::TsI(selectors))
        | (Payload::TsResponder(ts), Item::TsR(selectors)) => {
            ts.iter().count() == selectors.len() && ts.selectors().eq(selectors.iter().copied())
        }
        (Payload::Config(config), Item::Config(kind, attributes)) => {
            config.kind.0 == *kind && config.attributes().eq(attributes.iter().map(attribute))
        }
        (Payload::Eap(eap), Item::Eap(message)) => eap.message == message,
        _ => false,
    }
}

fn are(payloads: &Payloads<'_>, items: &[Item]) -> Result<(), TestCaseError> {
    prop_assert_eq!(payloads.len(), items.len());
    for (payload, item) in payloads.iter().zip(items) {
        prop_assert!(is(payload, item), "{:?} is not {:?}", payload, item);
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_emitted_is_what_is_parsed(header in header(), items in items()) {
        let mut builder = MessageBuilder::new(Vec::new(), header);
        items.iter().for_each(|item| append(&mut builder, item));
        let datagram = builder.finish().unwrap();
        let message = Message::parse(&datagram).unwrap();
        let Header { next, length, .. } = message.header;
        prop_assert_eq!(message.header, Header { next, length, ..header });
        are(&message.payloads, &items)?;

        let mut again = MessageBuilder::new(Vec::new(), message.header);
        for payload in &message.payloads {
            again.payload(payload);
        }
        prop_assert_eq!(&again.finish().unwrap(), &datagram);
    }

    #[test]
    fn what_is_put_inside_is_what_is_found_inside(
        header in header(),
        outer in vec(repeated(), 0..3),
        inner in items(),
    ) {
        let mut builder = MessageBuilder::new(Vec::new(), header);
        outer.iter().for_each(|item| append(&mut builder, item));
        let mut builder = builder.begin_encrypted();
        inner.iter().for_each(|item| append(&mut builder, item));
        let (datagram, header_len) = builder.finish_encrypted(|n| n).unwrap();

        let message = Message::parse(&datagram).unwrap();
        let sealed = message.payloads.encrypted().unwrap();
        prop_assert_eq!(sealed.header_len, header_len);
        prop_assert_eq!(sealed.body, &datagram[header_len..]);
        prop_assert_eq!(message.payloads.len(), outer.len() + 1);
        are(&parse_payloads(sealed.first_inner, sealed.body).unwrap(), &inner)?;
    }

    #[test]
    fn damage_is_found_or_harmless(
        header in header(),
        items in items(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut builder = MessageBuilder::new(Vec::new(), header);
        items.iter().for_each(|item| append(&mut builder, item));
        let mut datagram = builder.finish().unwrap();
        for (place, octet) in damage {
            let place = place.index(datagram.len());
            datagram[place] = octet;
        }
        fuzzing::message(&datagram);
        fuzzing::message(&datagram[..cut.index(datagram.len())]);
    }

    #[test]
    fn any_octets_are_a_chain_or_a_fault(first in any::<u8>(), octets in octets(300)) {
        let known = parse_payloads(PayloadType(first), &octets);
        prop_assert!(known.is_ok() || known.is_err_and(|error| error.complaint().is_some()));
        fuzzing::encrypted(&octets);
    }
}
