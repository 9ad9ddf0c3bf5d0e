//! `mode` of a child, and what goes with transport mode.

use std::net::IpAddr;

use esp::spec::{Mode, Selector};
use ike::config::{Children, Host};

use super::diagnostic::Findings;
use super::reader::Section;

const MODES: [(&str, Mode); 2] = [("tunnel", Mode::Tunnel), ("transport", Mode::Transport)];

/// Reads `mode`. Transport mode is possible only where the data plane can do it.
pub(super) fn read(section: &mut Section<'_>, possible: bool, findings: &mut Findings) -> Mode {
    let mode = section.get(findings, "mode", |item| item.word(&MODES)).unwrap_or_default();
    if mode == Mode::Transport && !possible {
        let message = "the data plane of this daemon can do tunnel mode only";
        let help = "mode = \"tunnel\", with the addresses of both hosts in local_ts and remote_ts";
        findings.error(&section.place_of_value("mode"), message, help);
    }
    mode
}

/// Both sides of the traffic in transport mode, as long as the hosts are not known.
pub(super) fn anywhere() -> [Selector; 2] {
    [IpAddr::from([0; 4]), IpAddr::from([0; 16])].map(|any| Selector::subnet(any, 0))
}

/// The peer's addresses. In transport mode they must be configured: what must not
/// leave in clear text is traffic with just them, also before anybody is asked
/// for the addresses of a name.
pub(super) fn addresses(
    section: &Section<'_>,
    remote: &[Host],
    findings: &mut Findings,
) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for host in remote {
        match host {
            Host::Address(address) => addresses.push(*address),
            Host::Name(name) => {
                let message = format!("transport mode needs addresses, and {name} is a name");
                let help = "write the peer's addresses into remote_addrs, or use tunnel mode";
                findings.error(&section.place_of_value("mode"), message, help);
            }
        }
    }
    addresses
}

/// In transport mode the two hosts themselves must be among the traffic. If
/// `hosts` is empty, they are not known.
pub(super) fn check_hosts(
    section: &Section<'_>,
    key: &'static str,
    (selectors, hosts, setting): (&[Selector], &[IpAddr], &str),
    findings: &mut Findings,
) {
    let has = |host: &IpAddr| selectors.iter().any(|it| it.start() <= *host && *host <= it.end());
    if !hosts.is_empty() && !hosts.iter().any(has) {
        let message = format!("{key} has none of {setting}");
        let help = "in transport mode traffic is between the two hosts: leave it out, or write \
                    \"0.0.0.0/0[tcp/443]\" for some of it";
        findings.error(&section.place_of_value(key), message, help);
    }
}

/// What a connection cannot have together with transport mode. Whether it has
/// MOBIKE, of which `mobike` says what is written.
pub(super) fn check_connection(
    section: &Section<'_>,
    children: &Children,
    (mobike, has_vips): (Option<bool>, bool),
    findings: &mut Findings,
) -> bool {
    let is_bound = children.iter().any(|(_, child)| child.mode == Mode::Transport);
    if is_bound && mobike == Some(true) {
        let message = "a child in transport mode cannot move to other addresses";
        findings.error(&section.place_of_value("mobike"), message, "leave mobike out");
    }
    if has_vips && children.iter().all(|(_, child)| child.mode == Mode::Transport) {
        let message = "no child carries the inner addresses: all are in transport mode";
        findings.error(&section.place_of_value("vips"), message, "leave vips out");
    }
    mobike.unwrap_or(!is_bound)
}
