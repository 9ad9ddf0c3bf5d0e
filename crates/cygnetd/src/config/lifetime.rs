//! How long keys are used, and an authentication is good: `rekey_time`,
//! `reauth_time` and the like, as in swanctl.conf.

use std::time::Duration;

use ike::config::{ChildLifetime, Lifetime};

use super::diagnostic::Findings;
use super::reader::{Item, Section, Wrong};
use super::value::{days, duration, hours};

/// Keys that live shorter would be replaced all the time.
const SHORTEST: Duration = Duration::from_secs(10);

/// The most octets or packets that can be said.
const MOST: u64 = 1 << 60;

/// The settings of one measure.
#[derive(Clone, Copy)]
struct Keys {
    rekey: &'static str,
    life: &'static str,
    rand: &'static str,
}

const TIME: Keys = Keys { rekey: "rekey_time", life: "life_time", rand: "rand_time" };
const REAUTH: Keys = Keys { rekey: "reauth_time", ..TIME };
const BYTES: Keys = Keys { rekey: "rekey_bytes", life: "life_bytes", rand: "rand_bytes" };
const PACKETS: Keys = Keys { rekey: "rekey_packets", life: "life_packets", rand: "rand_packets" };

/// Of an IKE SA: its keys are replaced every four hours, and over a tenth later.
/// Then of its authentication, which is good for ever if nothing else is said.
pub(super) fn of_ike(
    section: &mut Section<'_>,
    findings: &mut Findings,
) -> (Lifetime<Duration>, Lifetime<Duration>) {
    let rekey = section.get(findings, TIME.rekey, rekeying).unwrap_or(millis(hours(4)));
    let over =
        section.get(findings, "over_time", |item| duration(item, SHORTEST..=days(365)).map(millis));
    let reauth = section.get(findings, REAUTH.rekey, rekeying).unwrap_or_default();
    let spread = section.get(findings, TIME.rand, time);
    let mut of = |keys, time: u64| {
        let life = time + over.unwrap_or(time / 10);
        let lifetime = complete(Some(time), Some(life).filter(|_| time > 0), spread);
        check(section, keys, &lifetime, findings);
        in_time(&lifetime)
    };
    (of(TIME, rekey), of(REAUTH, reauth))
}

/// Of a child: replaced every hour, over a tenth later; without limits of what
/// it carries.
pub(super) fn of_child(section: &mut Section<'_>, findings: &mut Findings) -> ChildLifetime {
    let rekey = section.get(findings, TIME.rekey, rekeying).unwrap_or(millis(hours(1)));
    let life = section.get(findings, TIME.life, rekeying);
    let spread = section.get(findings, TIME.rand, time);
    let lifetime = complete(Some(rekey), life, spread);
    check(section, TIME, &lifetime, findings);
    ChildLifetime {
        time: in_time(&lifetime),
        bytes: of_volume(section, BYTES, findings),
        packets: of_volume(section, PACKETS, findings),
    }
}

fn of_volume(section: &mut Section<'_>, keys: Keys, findings: &mut Findings) -> Lifetime<u64> {
    let mut read = |key| section.get(findings, key, |item| item.integer(0..=MOST));
    let lifetime = complete(read(keys.rekey), read(keys.life), read(keys.rand));
    check(section, keys, &lifetime, findings);
    lifetime
}

/// What is not said: the end a tenth after the replacement, and what is between
/// both as spread. Zero means never.
fn complete(rekey: Option<u64>, life: Option<u64>, spread: Option<u64>) -> Lifetime<u64> {
    let rekey = rekey.filter(|rekey| *rekey > 0);
    let life = match life {
        Some(life) => Some(life).filter(|life| *life > 0),
        None => rekey.map(|rekey| rekey + rekey / 10),
    };
    let between = rekey.zip(life).map(|(rekey, life)| life.saturating_sub(rekey));
    Lifetime { rekey, spread: spread.or(between).unwrap_or_default(), life }
}

/// Keys are replaced after they were made and before they are over.
fn check(section: &Section<'_>, keys: Keys, lifetime: &Lifetime<u64>, findings: &mut Findings) {
    let Lifetime { rekey: Some(rekey), spread, life } = *lifetime else { return };
    let Keys { rekey: replaced, life: over, rand } = keys;
    if life.is_some_and(|life| life <= rekey) {
        let message = format!("{over} is not longer than {replaced}");
        let help = "the time between both is there for the replacement";
        findings.error(&section.place_of_value(over), message, help);
    } else if spread >= rekey {
        let message = format!("{rand} leaves nothing of {replaced}");
        let help = format!("{replaced} is reduced by up to that much, by chance");
        findings.error(&section.place_of_value(rand), message, help);
    }
}

/// A time after which something is done, or zero for never.
fn rekeying(item: Item<'_>) -> Result<u64, Wrong> {
    let value = time(item)?;
    if value == 0 || value >= millis(SHORTEST) {
        return Ok(value);
    }
    Err(Wrong::new("keys cannot be replaced that often", "from \"10s\", or \"0s\" for never"))
}

fn time(item: Item<'_>) -> Result<u64, Wrong> {
    duration(item, Duration::ZERO..=days(365)).map(millis)
}

/// At most a year.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn in_time(millis: &Lifetime<u64>) -> Lifetime<Duration> {
    let Lifetime { rekey, spread, life } = *millis;
    let time = Duration::from_millis;
    Lifetime { rekey: rekey.map(time), spread: time(spread), life: life.map(time) }
}
