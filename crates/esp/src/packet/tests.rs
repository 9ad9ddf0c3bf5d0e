use proptest::prelude::*;

use super::*;

/// An IPv4 packet with a correct header checksum.
fn v4(protocol: u8, flags_and_offset: u16, tos: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, tos];
    packet.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(flags_and_offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !ones_complement_sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn v6(next_header: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(body);
    packet
}

fn ones_complement_sum(octets: &[u8]) -> u16 {
    let sum: u32 = octets
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

#[test]
fn a_udp_packet_shows_addresses_and_ports() {
    let inner = parse(&v4(17, 0, 0, &[0, 53, 0x12, 0x34, 0, 8, 0, 0])).unwrap();
    assert_eq!(inner.flow.source, IpAddr::from([10, 0, 0, 1]));
    assert_eq!(inner.flow.destination, IpAddr::from([10, 0, 0, 2]));
    assert_eq!(inner.flow.ports, Some((53, 0x1234)));
    assert_eq!(inner.total_len, 28);
}

#[test]
fn only_the_first_fragment_shows_ports() {
    let first = parse(&v4(17, 0x2000, 0, &[0, 53, 0, 54, 0, 8, 0, 0])).unwrap();
    let later = parse(&v4(17, 0x2001, 0, &[0, 53, 0, 54, 0, 8, 0, 0])).unwrap();
    assert_eq!(first.flow.ports, Some((53, 54)));
    assert_eq!(later.flow.ports, None);
    assert_eq!(later.flow.protocol, 17);
}

#[test]
fn icmp_type_and_code_stand_for_the_port() {
    let inner = parse(&v4(1, 0, 0, &[3, 4, 0, 0])).unwrap();
    assert_eq!(inner.flow.ports, Some((0x0304, 0x0304)));
}

#[test]
fn the_selectors_of_a_packet_have_just_what_it_shows() {
    let udp = [0, 53, 0x12, 0x34, 0, 8, 0, 0];
    for (packet, source, destination) in [
        (v4(17, 0x2000, 0, &udp), "10.0.0.1/32[17/53]", "10.0.0.2/32[17/4660]"),
        (v4(17, 0x2001, 0, &udp), "10.0.0.1/32[17]", "10.0.0.2/32[17]"),
        (v4(17, 0, 0, &[0, 53]), "10.0.0.1/32[17]", "10.0.0.2/32[17]"),
        (v4(47, 0, 0, &udp), "10.0.0.1/32[47]", "10.0.0.2/32[47]"),
        (v4(1, 0, 0, &[8, 0, 0, 0]), "10.0.0.1/32[1/2048]", "10.0.0.2/32[1/2048]"),
        (v6(58, &[128, 0, 0, 0]), "fd00::1/128[58/32768]", "fd00::2/128[58/32768]"),
        (v6(44, &[6, 0, 0, 8, 0, 0, 0, 0]), "fd00::1/128[6]", "fd00::2/128[6]"),
        (v6(59, &[]), "fd00::1/128[59]", "fd00::2/128[59]"),
    ] {
        let flow = parse(&packet).unwrap().flow;
        let selectors = flow.selectors();
        assert_eq!(selectors.map(|it| it.to_string()), [source, destination]);
        let [from, to] = selectors;
        assert!(from.contains(flow.source, flow.protocol, flow.source_port()));
        assert!(to.contains(flow.destination, flow.protocol, flow.destination_port()));
    }
}

#[test]
fn extension_headers_are_skipped() {
    // Hop-by-hop of 8 octets, destination options of 16, then TCP.
    let mut body = vec![60, 0, 0, 0, 0, 0, 0, 0];
    body.extend([6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend([0, 80, 1, 0]);
    let inner = parse(&v6(0, &body)).unwrap();
    assert_eq!((inner.flow.protocol, inner.flow.ports), (6, Some((80, 256))));
    assert_eq!(inner.transport, Some(64));
}

#[test]
fn a_later_ipv6_fragment_shows_its_protocol_and_no_ports() {
    let inner = parse(&v6(44, &[17, 0, 0, 8, 0, 0, 0, 1, 0, 53, 0, 53])).unwrap();
    assert_eq!((inner.flow.protocol, inner.flow.ports), (17, None));
}

#[test]
fn an_endless_chain_of_extension_headers_is_given_up() {
    let body = [60u8, 0, 0, 0, 0, 0, 0, 0].repeat(64);
    let inner = parse(&v6(60, &body)).unwrap();
    assert_eq!((inner.flow.protocol, inner.transport), (60, None));
}

#[test]
fn a_packet_may_not_claim_more_than_there_is() {
    let mut packet = v4(17, 0, 0, &[0; 8]);
    packet.pop();
    assert_eq!(parse(&packet), Err(Malformed));
    let mut packet = v6(17, &[0; 8]);
    packet.pop();
    assert_eq!(parse(&packet), Err(Malformed));
}

#[test]
fn octets_behind_the_packet_do_not_count() {
    let mut packet = v4(17, 0, 0, &[0; 8]);
    packet.extend([0xff; 100]);
    assert_eq!(parse(&packet).unwrap().total_len, 28);
}

#[test]
fn multicast_and_broadcast_of_the_link_have_link_scope() {
    let scope = |destination: &str| {
        Flow {
            source: "10.0.0.1".parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 17,
            ports: None,
        }
        .is_link_scope()
    };
    for link in ["224.0.0.22", "255.255.255.255", "169.254.1.1", "ff02::16", "ff11::1", "fe80::1"] {
        assert!(scope(link), "{link}");
    }
    for wide in ["224.0.1.1", "239.1.1.1", "10.0.0.255", "ff05::2", "ff0e::1", "fd00::1"] {
        assert!(!scope(wide), "{wide}");
    }
}

#[test]
fn congestion_outside_marks_only_ecn_capable_packets() {
    for (before, after) in [(0, 0), (1, 3), (2, 3), (3, 3)] {
        let mut packet = v4(17, 0, 0xb8 | before, &[0; 8]);
        set_congestion_experienced(&mut packet);
        assert_eq!(packet[1], 0xb8 | after);
        assert_eq!(ones_complement_sum(&packet[..20]), 0xffff, "header checksum holds");

        let mut packet = v6(17, &[0; 8]);
        packet[1] = before << 4;
        set_congestion_experienced(&mut packet);
        assert_eq!(parse(&packet).unwrap().ecn, after);
    }
}

proptest! {
    #[test]
    fn any_octets_are_parsed_without_a_fault(octets: Vec<u8>, version in prop_oneof![Just(0x45u8), Just(0x60), Just(0x4f)]) {
        let mut octets = octets;
        if let Some(first) = octets.first_mut() { *first = version; }
        if let Ok(inner) = parse(&octets) {
            prop_assert!(inner.total_len <= octets.len());
        }
    }

    #[test]
    fn an_updated_checksum_equals_a_new_one(words in prop::collection::vec(any::<u16>(), 2..20), at in 0usize..20, new: u16) {
        let at = at % words.len();
        let sum = |words: &[u16]| !ones_complement_sum(&words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>());
        let mut changed = words.clone();
        changed[at] = new;
        let updated = updated_checksum(sum(&words), words[at], new);
        // Both zeros of ones' complement arithmetic are right.
        let fresh = sum(&changed);
        prop_assert!(updated == fresh || (updated ^ fresh == 0xffff && (updated == 0 || fresh == 0)));
    }
}
