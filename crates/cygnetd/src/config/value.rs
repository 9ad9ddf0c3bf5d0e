//! Values that are spelled as text: durations, addresses, selectors.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use esp::spec::Selector;
use ike::config::Host;
use ike::inner::Domain;
use ike::pool::AddressRange;

use super::InnerAddress;
use super::reader::{Item, Wrong};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A duration of whole minutes, for bounds.
pub(super) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * MINUTE)
}

/// A duration of whole hours.
pub(super) const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * HOUR)
}

/// A duration of whole days, for bounds.
pub(super) const fn days(count: u64) -> Duration {
    Duration::from_secs(count * DAY)
}

/// A duration in `range`: `"500ms"`, `"30s"`, `"1h30m"`, `"7d"`.
pub(super) fn duration(item: Item<'_>, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    const FORM: &str = "write a duration as \"30s\", \"500ms\", \"1h30m\" or \"7d\"";
    let Ok(text) = item.text() else {
        return Err(item.expected("a duration: \"30s\", \"500ms\", \"1h30m\" or \"7d\""));
    };
    let value = parse_duration(text)
        .ok_or_else(|| Wrong::new(format!("\"{text}\" is not a duration"), FORM))?;
    if range.contains(&value) {
        return Ok(value);
    }
    let bounds = format!("from {} to {}", spelled(*range.start()), spelled(*range.end()));
    Err(Wrong::new(format!("\"{text}\" is out of range"), bounds))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit())?)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end)?;
        sum = sum.checked_add(part(digits.parse().ok()?, unit)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

fn part(count: u64, unit: &str) -> Option<Duration> {
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(count)),
        "s" => 1,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    count.checked_mul(seconds).map(Duration::from_secs)
}

/// A duration in the largest unit that needs no fraction.
fn spelled(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        _ if duration.subsec_millis() > 0 => format!("{}ms", duration.as_millis()),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
        _ if seconds.is_multiple_of(HOUR) => format!("{}h", seconds / HOUR),
        _ if seconds.is_multiple_of(MINUTE) => format!("{}m", seconds / MINUTE),
        _ => format!("{seconds}s"),
    }
}

/// An IP address without anything else.
pub(super) fn address(item: Item<'_>) -> Result<IpAddr, Wrong> {
    let text = item.text()?;
    text.parse().map_err(|_| not_an_address(text))
}

/// As [`address`], but one that a datagram can come from or go to.
pub(super) fn outer_address(item: Item<'_>) -> Result<IpAddr, Wrong> {
    let address = address(item)?;
    if address.is_unspecified() {
        return Err(Wrong::new(
            format!("{address} is no address of a host"),
            "leave it out for any",
        ));
    }
    if address.is_multicast() {
        return Err(Wrong::new(format!("{address} is a multicast address"), ""));
    }
    Ok(address)
}

/// Where a peer may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Remote {
    /// Here, and an initiator may go there.
    Host(Host),
    /// Anywhere in a range.
    Range(AddressRange),
    /// Anywhere.
    Any,
}

/// As in swanctl: `"192.0.2.1"`, `"vpn.example.org"`, `"10.0.0.0/8"`,
/// `"10.0.0.1-10.0.0.9"`, `"%any"`.
pub(super) fn remote(item: Item<'_>) -> Result<Remote, Wrong> {
    let text = item.text()?;
    if text == "%any" {
        return Ok(Remote::Any);
    }
    if let Some(name) = host_name(text) {
        return Ok(Remote::Host(Host::Name(name)));
    }
    if !text.contains(['/', '-']) {
        return outer_address(item)
            .map(|address| Remote::Host(Host::Address(address)))
            .map_err(|wrong| if text.parse::<IpAddr>().is_ok() { wrong } else { no_host(text) });
    }
    let (first, last) = address_range(text)?;
    let range = AddressRange::new(first, last);
    range.map(Remote::Range).ok_or_else(|| {
        Wrong::new("the range is empty or mixes address families", "write the lower end first")
    })
}

/// The name of a host. A last label that does not begin with a letter is that of
/// an address or a range of them (RFC 1123 section 2.1).
fn host_name(text: &str) -> Option<Domain> {
    let last = text.trim_end_matches('.').rsplit('.').next()?;
    let is_name = last.starts_with(|c: char| c.is_ascii_alphabetic()) && text != "any";
    text.parse().ok().filter(|_| is_name)
}

fn no_host(text: &str) -> Wrong {
    let help = match text {
        "any" | "*" => "did you mean \"%any\"?",
        _ => "write \"192.0.2.1\", \"2001:db8::1\" or \"vpn.example.org\"",
    };
    Wrong::new(format!("\"{text}\" is neither an IP address nor the name of a host"), help)
}

fn not_an_address(text: &str) -> Wrong {
    if text.contains('/') {
        return Wrong::new(format!("\"{text}\" is a network"), "write an address without /");
    }
    let message = format!("\"{text}\" is not an IP address");
    Wrong::new(message, "write \"192.0.2.1\" or \"2001:db8::1\"")
}

/// `"10.91.0.1/24"`, or an address alone for a network of its own.
pub(super) fn inner_address(item: Item<'_>) -> Result<InnerAddress, Wrong> {
    let text = item.text()?;
    let (host, prefix) = split_prefix(text)?;
    if host.is_unspecified() || host.is_multicast() {
        return Err(Wrong::new(format!("{host} is no address of a host"), ""));
    }
    Ok(InnerAddress { address: host, prefix })
}

/// `"10.0.0.0/8"`, `"10.0.0.1-10.0.0.9"`, `"fd00::/64"`, an address, each with
/// `[protocol]` or `[protocol/port]` behind it.
pub(super) fn selector(item: Item<'_>) -> Result<Selector, Wrong> {
    let text = item.text()?;
    if text.starts_with("dynamic") {
        let help = "write [\"dynamic\"], or the addresses";
        return Err(Wrong::new("\"dynamic\" stands alone, for the inner addresses", help));
    }
    let (range, of) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((range, of)) => (range, Some(of)),
        None => (text, None),
    };
    let (start, end) = address_range(range)?;
    let (protocol, ports) = of.map_or(Ok((0, ANY_PORT)), protocol_and_ports)?;
    Selector::new(start, end, protocol, ports)
        .map_err(|error| Wrong::new(error.to_string(), "write the lower end first"))
}

const ANY_PORT: (u16, u16) = (0, u16::MAX);

fn address_range(text: &str) -> Result<(IpAddr, IpAddr), Wrong> {
    if let Some((start, end)) = text.split_once('-') {
        let parse = |text: &str| text.trim().parse().map_err(|_| not_an_address(text.trim()));
        return Ok((parse(start)?, parse(end)?));
    }
    let (host, prefix) = split_prefix(text)?;
    let subnet = Selector::subnet(host, prefix);
    if subnet.start() != host {
        let help = format!("did you mean \"{}/{prefix}\"?", subnet.start());
        return Err(Wrong::new(format!("{host} has bits beyond /{prefix}"), help));
    }
    Ok((subnet.start(), subnet.end()))
}

fn split_prefix(text: &str) -> Result<(IpAddr, u8), Wrong> {
    let (host, prefix) = match text.split_once('/') {
        Some((host, prefix)) => (host, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = host.parse().map_err(|_| not_an_address(host))?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix else { return Ok((address, width)) };
    let length = prefix.parse().ok().filter(|length| *length <= width);
    let wrong =
        || Wrong::new(format!("\"/{prefix}\" is no prefix"), format!("from /0 to /{width}"));
    Ok((address, length.ok_or_else(wrong)?))
}

/// Names as in `/etc/protocols`, and whether the protocol has ports.
const PROTOCOLS: [(&str, u8, bool); 11] = [
    ("icmp", 1, false),
    ("ipip", 4, false),
    ("tcp", 6, true),
    ("udp", 17, true),
    ("gre", 47, false),
    ("esp", 50, false),
    ("ah", 51, false),
    ("icmpv6", 58, false),
    ("ospf", 89, false),
    ("sctp", 132, true),
    ("udplite", 136, true),
];

fn protocol_and_ports(text: &str) -> Result<(u8, (u16, u16)), Wrong> {
    let (name, ports) = match text.split_once('/') {
        Some((name, ports)) => (name, Some(ports)),
        None => (text, None),
    };
    let known = PROTOCOLS.iter().find(|(known, number, _)| {
        *known == name.to_ascii_lowercase() || number.to_string() == name
    });
    let number = known.map(|&(_, number, _)| number).or_else(|| name.parse().ok());
    let number = number.filter(|&number| number > 0).ok_or_else(|| unknown_protocol(name))?;
    let Some(ports) = ports else { return Ok((number, ANY_PORT)) };
    if !known.is_some_and(|&(_, _, has_ports)| has_ports) {
        return Err(Wrong::new(format!("protocol {name} has no ports"), "write [protocol]"));
    }
    Ok((number, port_range(ports)?))
}

fn unknown_protocol(name: &str) -> Wrong {
    let names: Vec<_> = PROTOCOLS.iter().map(|&(name, _, _)| name).collect();
    let help = super::diagnostic::one_of(name, &names);
    Wrong::new(format!("\"{name}\" is no protocol"), help)
}

fn port_range(text: &str) -> Result<(u16, u16), Wrong> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Ok((first, last)),
        _ => {
            let help = "write [tcp/443] or [udp/5000-5100]";
            Err(Wrong::new(format!("\"{text}\" is no port"), help))
        }
    }
}

/// Whether a name can be typed in a shell and read in a log without quotes.
pub(super) fn check_name(name: &str) -> Result<(), Wrong> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= 63 && name.chars().all(is_good) {
        return Ok(());
    }
    let help = "up to 63 of a-z A-Z 0-9 - _ . beginning with a letter or digit";
    Err(Wrong::new("this name cannot be used", help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_sum_of_numbers_with_units() {
        let seconds = |text| parse_duration(text).map(|it| it.as_secs_f64());
        assert_eq!(seconds("0s"), Some(0.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("2d"), Some(172_800.0));
        for bad in ["", "5", "s", "5 s", "-5s", "5x", "5s5", "1.5h", "99999999999999999999s"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        assert_eq!(seconds("18446744073709551615d"), None);
    }

    #[test]
    fn a_duration_is_shown_as_it_is_written() {
        for text in ["0s", "500ms", "30s", "1m", "5h", "7d"] {
            assert_eq!(parse_duration(text).map(spelled).as_deref(), Some(text));
        }
    }
}
