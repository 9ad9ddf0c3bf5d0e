//! `[daemon]`, `[limits]`, `[retransmission]` and `[tickets]`.

use std::net::IpAddr;
use std::time::Duration;

use ike::config::{Limits, Resumption, Retransmission};

use super::diagnostic::Findings;
use super::reader::{Item, Section, Wrong};
use super::value::{days, duration, minutes, outer_address};
use super::{DaemonSettings, Tickets};
use crate::tun;

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_interface: None,
            port: 500,
            nat_port: 4500,
            tcp_port: None,
            interface: "cygnet0".to_owned(),
            mtu: None,
            table: 5723,
            mark: 0x5723,
            fetch_crls: true,
            control_group: None,
        }
    }
}

impl Default for Tickets {
    fn default() -> Self {
        let lifetime = Resumption::default().lifetime;
        Self { lifetime, rotate: lifetime }
    }
}

pub(super) fn daemon(mut section: Section<'_>, findings: &mut Findings) -> DaemonSettings {
    let standard = DaemonSettings::default();
    let mut get = |key, read: fn(Item<'_>) -> Result<_, Wrong>| section.get(findings, key, read);
    let port = get("port", |item| item.integer(1..=u16::MAX)).unwrap_or(standard.port);
    let nat_port = get("nat_port", |item| item.integer(1..=u16::MAX)).unwrap_or(standard.nat_port);
    let tcp_port = get("tcp_port", |item| item.integer(0..=u16::MAX));
    let mtu = get("mtu", |item| item.integer(tun::MIN_MTU..=u16::MAX));
    if port == nat_port {
        let key = if section.has("nat_port") { "nat_port" } else { "port" };
        let help = "IKE on nat_port has a marker that IKE on port has not (RFC 3948)";
        findings.error(&section.place_of_value(key), "port and nat_port must differ", help);
    }
    let settings = DaemonSettings {
        listen: section.list(findings, "listen", outer_address).unwrap_or_default(),
        listen_interface: section.get(findings, "listen_interface", interface),
        port,
        nat_port,
        tcp_port,
        interface: section.get(findings, "interface", interface).unwrap_or(standard.interface),
        mtu,
        table: section.get(findings, "table", table).unwrap_or(standard.table),
        mark: section
            .get(findings, "mark", |item| item.integer(1..=u32::MAX))
            .unwrap_or(standard.mark),
        fetch_crls: section.get(findings, "fetch_crls", Item::flag).unwrap_or(standard.fetch_crls),
        control_group: section.get(findings, "control_group", group),
    };
    repeated(&section, &settings.listen, findings);
    section.finish(findings);
    settings
}

fn repeated(section: &Section<'_>, listen: &[IpAddr], findings: &mut Findings) {
    let twice = listen
        .iter()
        .enumerate()
        .find(|(n, address)| listen.iter().take(*n).any(|other| other == *address));
    if let Some((_, address)) = twice {
        let message = format!("{address} is in the list twice");
        findings.error(&section.place_of_value("listen"), message, "");
    }
}

/// What Linux takes for a name: `dev_valid_name()` and IFNAMSIZ.
fn interface(item: Item<'_>) -> Result<String, Wrong> {
    let name = item.text()?;
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || name.contains(is_bad) {
        let help = "1 to 15 characters without spaces and / : %";
        return Err(Wrong::new(format!("\"{name}\" cannot name an interface"), help));
    }
    Ok(name.to_owned())
}

/// 253, 254 and 255 are the tables `default`, `main` and `local`: our default
/// route in one of them would lead our own outer packets into the tunnel.
fn table(item: Item<'_>) -> Result<u32, Wrong> {
    match item.integer(1..=u32::MAX)? {
        table @ 253..=255 => {
            Err(Wrong::new(format!("table {table} belongs to the system"), "use another number"))
        }
        table => Ok(table),
    }
}

fn group(item: Item<'_>) -> Result<String, Wrong> {
    let name = item.text()?;
    if name.is_empty() || name.contains([':', '\n']) {
        return Err(Wrong::new(format!("\"{name}\" cannot name a group"), ""));
    }
    Ok(name.to_owned())
}

pub(super) fn limits(mut section: Section<'_>, findings: &mut Findings) -> Limits {
    let standard = Limits::default();
    let mut count = |key, standard| {
        section
            .get(findings, key, |item| item.integer(1..=1_000_000u32))
            .map_or(standard, |count| count as usize)
    };
    let limits = Limits {
        cookie_threshold: count("cookie_threshold", standard.cookie_threshold),
        half_open: count("half_open", standard.half_open),
        half_open_per_source: count("half_open_per_source", standard.half_open_per_source),
        sas: section
            .get(findings, "sas", |item| item.integer(1..=1u32 << 24))
            .map_or(standard.sas, |count| count as usize),
        sas_per_identity: section
            .get(findings, "sas_per_identity", |item| item.integer(1..=1u32 << 24))
            .map_or(standard.sas_per_identity, |count| count as usize),
        half_open_timeout: section
            .get(findings, "half_open_timeout", |item| {
                duration(item, Duration::from_secs(1)..=minutes(10))
            })
            .unwrap_or(standard.half_open_timeout),
    };
    for (key, value) in [
        ("cookie_threshold", limits.cookie_threshold),
        ("half_open_per_source", limits.half_open_per_source),
    ] {
        if value > limits.half_open {
            let message = format!("{key} is above half_open ({})", limits.half_open);
            findings.error(&section.place_of_value(key), message, "it would never be reached");
        }
    }
    section.finish(findings);
    limits
}

pub(super) fn retransmission(mut section: Section<'_>, findings: &mut Findings) -> Retransmission {
    let standard = Retransmission::default();
    let shortest = Duration::from_millis(50);
    let initial = section.get(findings, "initial", |item| duration(item, shortest..=minutes(1)));
    let max = section.get(findings, "max", |item| duration(item, shortest..=minutes(10)));
    let tries = section.get(findings, "tries", |item| item.integer(1..=20));
    let resume_tries = section.get(findings, "resume_tries", |item| item.integer(1..=20));
    let initial = initial.unwrap_or(standard.initial);
    let retransmission = Retransmission {
        initial,
        max: max.unwrap_or_else(|| standard.max.max(initial)),
        tries: tries.unwrap_or(standard.tries),
        resume_tries: resume_tries.unwrap_or(standard.resume_tries),
    };
    if retransmission.max < initial {
        let place = section.place_of_value("max");
        findings.error(&place, "max is shorter than initial", "every wait is at least initial");
    }
    section.finish(findings);
    retransmission
}

pub(super) fn tickets(mut section: Section<'_>, findings: &mut Findings) -> Tickets {
    let lifetime = section
        .get(findings, "lifetime", |item| duration(item, minutes(1)..=Resumption::MAX_LIFETIME))
        .unwrap_or(Tickets::default().lifetime);
    let rotate = section.get(findings, "rotate", |item| duration(item, minutes(1)..=days(30)));
    let tickets = Tickets { lifetime, rotate: rotate.unwrap_or(lifetime) };
    if tickets.rotate < lifetime {
        let place = section.place_of_value("rotate");
        let help = "a key must live as long as the tickets that it has sealed";
        findings.error(&place, "rotate is shorter than lifetime", help);
    }
    section.finish(findings);
    tickets
}
