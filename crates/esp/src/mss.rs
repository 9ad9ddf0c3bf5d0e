//! TCP MSS clamping: a connection through the tunnel must not begin with a
//! segment size that the tunnel cannot carry.
//!
//! Hosts behind a gateway do not see the tunnel's MTU; where ICMP "too big" is
//! filtered their connections would hang. Clamping the option of SYN segments
//! in both directions keeps them clear of that.

use std::net::IpAddr;

use crate::packet::{self, Inner};

const TCP_HEADER: usize = 20;
const FLAG_SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lowers the MSS option of a TCP SYN to what an inner packet of `mtu` octets
/// holds, and corrects the TCP checksum. `true` if the packet was changed.
///
/// `inner` is what [`packet::parse`] said of this packet.
pub fn clamp(packet: &mut [u8], inner: &Inner, mtu: u16) -> bool {
    if inner.flow.protocol != packet::TCP {
        return false;
    }
    let Some(tcp) = inner.transport.and_then(|at| packet.get_mut(at..inner.total_len)) else {
        return false;
    };
    let ip_header = match inner.flow.source {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    };
    let limit = mtu.saturating_sub(ip_header + 20);
    clamp_segment(tcp, limit).is_some()
}

fn clamp_segment(tcp: &mut [u8], limit: u16) -> Option<()> {
    let &[.., data_offset, flags, _, _, _, _, _, _] = tcp.first_chunk::<TCP_HEADER>()?;
    if flags & FLAG_SYN == 0 {
        return None;
    }
    let header_len = usize::from(data_offset >> 4) * 4;
    let at = mss_value_offset(tcp.get(TCP_HEADER..header_len)?)? + TCP_HEADER;
    let value = tcp.get_mut(at..)?.first_chunk_mut::<2>()?;
    let offered = u16::from_be_bytes(*value);
    if offered <= limit {
        return None;
    }
    *value = limit.to_be_bytes();
    let checksum = tcp.get_mut(16..)?.first_chunk_mut::<2>()?;
    *checksum = corrected(*checksum, at, offered, limit);
    Some(())
}

/// The value sits at an odd offset when an odd number of no-ops precedes the
/// option; its octets then belong to two words of the sum.
fn corrected(checksum: [u8; 2], at: usize, old: u16, new: u16) -> [u8; 2] {
    let checksum = u16::from_be_bytes(checksum);
    let updated = if at.is_multiple_of(2) {
        packet::updated_checksum(checksum, old, new)
    } else {
        packet::updated_checksum(checksum, old.swap_bytes(), new.swap_bytes())
    };
    updated.to_be_bytes()
}

fn mss_value_offset(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [OPTION_END, ..] => return None,
            [OPTION_NOP, ..] => at += 1,
            [OPTION_MSS, 4, _, _, ..] => return Some(at + 2),
            // A length below 2 would not move on.
            [_, len, ..] if *len >= 2 => at += usize::from(*len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn syn_v4(flags: u8, options: &[u8]) -> Vec<u8> {
        assert_eq!(options.len() % 4, 0);
        let tcp_len = 20 + options.len();
        let mut packet = vec![0x45, 0];
        packet.extend(u16::try_from(20 + tcp_len).unwrap().to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend([0x12, 0x34, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0]);
        packet.extend([u8::try_from(tcp_len / 4).unwrap() << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(options);
        let checksum = !tcp_sum(&packet);
        packet[36..38].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// The sum over pseudo header and segment; all ones when the checksum is right.
    fn tcp_sum(packet: &[u8]) -> u16 {
        let segment = &packet[20..];
        let mut octets = packet[12..20].to_vec();
        octets.extend([0, 6]);
        octets.extend(u16::try_from(segment.len()).unwrap().to_be_bytes());
        octets.extend(segment);
        let sum: u32 = octets
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)])))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
    }

    fn clamped(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
        let mut packet = packet.to_vec();
        let inner = packet::parse(&packet).unwrap();
        clamp(&mut packet, &inner, mtu).then_some(packet)
    }

    #[test]
    fn a_syn_that_asks_for_too_much_is_lowered() {
        let packet = clamped(&syn_v4(FLAG_SYN, &[2, 4, 0x05, 0xb4]), 1400).unwrap();
        assert_eq!(packet[42..44], 1360u16.to_be_bytes());
        assert_eq!(tcp_sum(&packet), 0xffff);
    }

    #[test]
    fn an_option_at_an_odd_offset_keeps_the_checksum_right() {
        let packet = clamped(&syn_v4(0x12, &[1, 2, 4, 0x05, 0xb4, 1, 1, 0]), 1400).unwrap();
        assert_eq!(packet[43..45], 1360u16.to_be_bytes());
        assert_eq!(tcp_sum(&packet), 0xffff);
    }

    #[test]
    fn a_modest_syn_and_other_segments_stay_as_they_are() {
        assert_eq!(clamped(&syn_v4(FLAG_SYN, &[2, 4, 0x05, 0x00]), 1400), None);
        assert_eq!(clamped(&syn_v4(0x10, &[2, 4, 0x05, 0xb4]), 1400), None);
        assert_eq!(clamped(&syn_v4(FLAG_SYN, &[]), 1400), None);
    }

    #[test]
    fn an_option_of_length_zero_ends_the_search() {
        assert_eq!(clamped(&syn_v4(FLAG_SYN, &[3, 0, 2, 4]), 1400), None);
    }

    #[test]
    fn ipv6_leaves_twenty_octets_less() {
        let v4 = syn_v4(FLAG_SYN, &[2, 4, 0x05, 0xb4]);
        let mut packet = vec![0x60, 0, 0, 0, 0, 24, 6, 64];
        packet.extend([0xfd; 32]);
        packet.extend(&v4[20..]);
        let packet = clamped(&packet, 1400).unwrap();
        assert_eq!(packet[62..64], 1340u16.to_be_bytes());
    }

    proptest! {
        #[test]
        fn any_options_are_walked_without_a_fault(options in prop::collection::vec(any::<u8>(), 40), mtu: u16) {
            if let Some(packet) = clamped(&syn_v4(FLAG_SYN, &options), mtu) {
                prop_assert_eq!(tcp_sum(&packet), 0xffff);
            }
        }
    }
}
