//! `[connections.NAME]`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use esp::spec::{Mode, Selector};
use ike::config::{
    Auth, ChildConfig, Childless, Children, Connection, Fragmentation, FragmentationMode, Host,
    LocalAuth, NamedPpk, PpkUse, Redirect, RemoteAuth, ResumeAuth, ResumeTrigger, Resumption,
    TcpUse, Unique,
};
use ike::identity::{Id, IdPattern};
use ike::pool::{AddressRange, PoolConfig};
use ike::proposal::{BadProposal, EspProposal, IkeProposal, esp_keywords, ike_keywords};
use ike::redirect::Gateway;
use ike::wire::is_host_name;
use pki::{Credential, Trust};

use super::credential;
use super::diagnostic::{Findings, Place, one_of};
use super::lifetime;
use super::load::Environment;
use super::mode;
use super::pool;
use super::reader::{Item, Section, Wrong};
use super::secret::{Secret, shared};
use super::value::{
    self, Remote, check_name, days, duration, inner_address, minutes, outer_address, selector,
};
use super::{Claims, ConnectionSettings, Names, Start, Tickets};

/// What connections depend on.
pub(super) struct Surroundings<'a> {
    /// `listen` of `[daemon]`; empty means all.
    pub(super) listen: &'a [IpAddr],
    pub(super) tickets: Tickets,
    pub(super) secrets: &'a [Secret],
    /// Whether all secrets could be read: if not, one may seem to be missing.
    pub(super) secrets_are_good: bool,
    /// All post-quantum pre-shared keys.
    pub(super) ppks: &'a [Arc<NamedPpk>],
    /// Whether all of them could be read.
    pub(super) ppks_are_good: bool,
    pub(super) pools: &'a [PoolConfig],
    /// Whether all pools could be read.
    pub(super) pools_are_good: bool,
    /// Where files are.
    pub(super) environment: &'a Environment,
}

/// Reads a connection. `None` when something is wrong with it.
pub(super) fn read(
    name: &str,
    mut section: Section<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Option<(Connection, ConnectionSettings)> {
    named(name, &section, findings);
    let addresses = addresses(&mut section, around, findings);
    let name: Arc<str> = name.into();
    let settings = settings(&name, &mut section, &addresses, findings);
    let resumption = resumption(&mut section, &addresses, around.tickets, findings);
    let proposals = ike_proposals(&mut section, findings);
    let liveness =
        section.get(findings, "liveness", |item| duration(item, Duration::ZERO..=days(1)));
    let (lifetime, reauth) = lifetime::of_ike(&mut section, findings);
    let force_encapsulation = section.get(findings, "encap", Item::flag).unwrap_or(true);
    let tcp = section.get(findings, "tcp", |item| item.word(&TCP_USES)).unwrap_or_default();
    let fragmentation = fragmentation(&mut section, findings);
    let mobike = section.get(findings, "mobike", Item::flag);
    let childless =
        section.get(findings, "childless", |item| item.word(&CHILDLESS)).unwrap_or_default();
    let unique = section.get(findings, "unique", |item| item.word(&UNIQUE)).unwrap_or_default();
    let redirect = redirect(&mut section, findings);
    let max_sas = section.get(findings, "max_sas", |item| item.integer(1..=1u32 << 24));
    let identities = identities(&mut section, around, findings);
    let ppk = ppk(&mut section, around, &addresses, findings);
    let vips = pool::vips(&mut section, findings);
    let pools = pools(&mut section, around, findings);
    if !vips.is_empty() {
        needs_remote(&section, "vips", &addresses, findings);
    }
    let within = Within {
        addresses: &addresses,
        vips: &any_of(vips),
        pools: &all_of(&pools),
        transport: around.environment.transport,
    };
    let children = children(&mut section, &within, findings);
    let mobike = children.as_ref().is_none_or(|all| {
        mode::check_connection(&section, all, (mobike, !vips.is_empty()), findings)
    });
    section.finish(findings);
    let (local_id, remote_id, auth) = identities?;
    let children = children?;
    let liveness = liveness.unwrap_or(Duration::from_secs(30));
    Some((
        Connection {
            name,
            local_addrs: addresses.local,
            remote_addrs: addresses.remote,
            remote_ranges: addresses.ranges,
            remote_port: addresses.port,
            remote_nat_port: addresses.nat_port,
            tcp,
            remote_tcp_port: addresses.tcp_port,
            local_id,
            remote_id,
            auth,
            ppk,
            proposals,
            children,
            childless,
            force_encapsulation,
            fragmentation,
            mobike,
            unique,
            max_sas: max_sas.map(|count| count as usize),
            liveness: (!liveness.is_zero()).then_some(liveness),
            lifetime,
            reauth,
            resumption,
            vips,
            pools: pools.iter().map(|pool| Arc::clone(&pool.name)).collect(),
            redirect,
        },
        settings,
    ))
}

const UNIQUE: [(&str, Unique); 4] = [
    ("no", Unique::No),
    ("never", Unique::Never),
    ("replace", Unique::Replace),
    ("keep", Unique::Keep),
];
const CHILDLESS: [(&str, Childless); 4] = [
    ("allow", Childless::Allow),
    ("prefer", Childless::Prefer),
    ("force", Childless::Force),
    ("never", Childless::Never),
];
const TCP_USES: [(&str, TcpUse); 3] =
    [("auto", TcpUse::Auto), ("never", TcpUse::Never), ("always", TcpUse::Always)];

/// `redirect`, `redirect_names` and `redirect_to` (RFC 5685).
fn redirect(section: &mut Section<'_>, findings: &mut Findings) -> Redirect {
    let follow = section.get(findings, "redirect", Item::flag).unwrap_or(true);
    let names = section.list(findings, "redirect_names", redirect_name).unwrap_or_default();
    let to = section.get(findings, "redirect_to", |item| {
        let text = item.text()?;
        text.parse().map_err(|error| {
            let help = "write \"192.0.2.2\", \"2001:db8::2\" or \"gw2.example.org\"";
            Wrong::new(format!("\"{text}\" is {error}"), help)
        })
    });
    if !follow && !names.is_empty() {
        let place = section.place_of("redirect_names");
        findings.warning(&place, "no redirect is followed", "redirect is false");
    }
    Redirect { follow, names, to }
}

/// `"gw2.example.org=192.0.2.2"`.
fn redirect_name(item: Item<'_>) -> Result<(Arc<str>, IpAddr), Wrong> {
    let text = item.text()?;
    let pair = text.split_once('=').and_then(|(name, address)| {
        let Gateway::Address(address) = address.trim().parse().ok()? else { return None };
        let name = name.trim();
        is_host_name(name).then(|| (Arc::from(name), address))
    });
    pair.ok_or_else(|| {
        let message = format!("\"{text}\" is not the name of a host and its address");
        Wrong::new(message, "write \"gw2.example.org=192.0.2.2\"")
    })
}

/// As in strongSwan; `fragment_size` counts the octets of the IP datagram.
fn fragmentation(section: &mut Section<'_>, findings: &mut Findings) -> Fragmentation {
    const MODES: [(&str, FragmentationMode); 3] = [
        ("yes", FragmentationMode::Yes),
        ("no", FragmentationMode::No),
        ("force", FragmentationMode::Force),
    ];
    let default = Fragmentation::default();
    let mode = section.get(findings, "fragmentation", |item| item.word(&MODES));
    let size = section.get(findings, "fragment_size", |item| item.integer(576..=u16::MAX));
    Fragmentation { mode: mode.unwrap_or(default.mode), size: size.unwrap_or(default.size) }
}

fn named(name: &str, section: &Section<'_>, findings: &mut Findings) {
    if let Err(wrong) = check_name(name) {
        wrong.report(&section.place, findings);
    }
}

struct Addresses {
    local: Vec<IpAddr>,
    remote: Vec<Host>,
    ranges: Vec<AddressRange>,
    port: u16,
    nat_port: u16,
    tcp_port: u16,
}

fn addresses(
    section: &mut Section<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Addresses {
    let local = section.list(findings, "local_addrs", |item| {
        let address = outer_address(item)?;
        if around.listen.is_empty() || around.listen.contains(&address) {
            return Ok(address);
        }
        Err(Wrong::new(
            format!("the daemon does not listen at {address}"),
            "see listen in [daemon]",
        ))
    });
    let remote = section.list(findings, "remote_addrs", value::remote);
    if remote.as_ref().is_some_and(Vec::is_empty) && findings.is_good() {
        let place = section.place_of_value("remote_addrs");
        findings.error(
            &place,
            "this list is empty",
            "leave it out for a connection that only answers",
        );
    }
    let mut places = (Vec::new(), Vec::new());
    for place in remote.unwrap_or_default() {
        match place {
            Remote::Host(host) => places.0.push(host),
            Remote::Range(range) => places.1.push(range),
            Remote::Any => places.1.extend(AddressRange::EVERYTHING),
        }
    }
    let mut port = |key| section.get(findings, key, |item| item.integer(1..=u16::MAX));
    let addresses = Addresses {
        port: port("remote_port").unwrap_or(500),
        nat_port: port("remote_nat_port").unwrap_or(4500),
        tcp_port: port("remote_tcp_port").unwrap_or(4500),
        local: local.unwrap_or_default(),
        remote: places.0,
        ranges: places.1,
    };
    same_family(section, &addresses, around.listen, findings);
    addresses
}

/// An initiator needs an address of its own of the family of one of the peer's.
fn same_family(
    section: &Section<'_>,
    addresses: &Addresses,
    listen: &[IpAddr],
    findings: &mut Findings,
) {
    let ours = if addresses.local.is_empty() { listen } else { &addresses.local };
    let may_reach = |host: &Host| match host {
        Host::Address(remote) => ours.iter().any(|local| local.is_ipv4() == remote.is_ipv4()),
        Host::Name(_) => true,
    };
    if ours.is_empty() || addresses.remote.iter().any(may_reach) {
        return;
    }
    if let Some(Host::Address(remote)) = addresses.remote.first() {
        let family = if remote.is_ipv4() { "IPv4" } else { "IPv6" };
        let place = section.place_of_value("remote_addrs");
        findings.error(&place, format!("no address of ours is {family}, as {remote} is"), "");
    }
}

fn settings(
    name: &Arc<str>,
    section: &mut Section<'_>,
    addresses: &Addresses,
    findings: &mut Findings,
) -> ConnectionSettings {
    const STARTS: [(&str, Start); 3] =
        [("manual", Start::Manual), ("on-boot", Start::OnBoot), ("on-traffic", Start::OnTraffic)];
    let start = section.get(findings, "start", |item| item.word(&STARTS)).unwrap_or(Start::Manual);
    if start != Start::Manual {
        needs_remote(section, "start", addresses, findings);
    }
    let inner_addrs = section.list(findings, "inner_addrs", inner_address).unwrap_or_default();
    let names = Names {
        enabled: section.get(findings, "dns", Item::flag).unwrap_or(true),
        claims: claims(section, findings),
    };
    ConnectionSettings { name: Arc::clone(name), inner_addrs, start, names }
}

/// `dns_domains`: names, or `"*"`.
fn claims(section: &mut Section<'_>, findings: &mut Findings) -> Claims {
    let read = |item: Item<'_>| match item.text()? {
        "*" => Ok(None),
        _ => pool::domain(item).map(Some),
    };
    let list = section.list(findings, "dns_domains", read).unwrap_or_default();
    match list.into_iter().collect() {
        Some(names) => Claims::Within(names),
        None => Claims::Any,
    }
}

/// The pools that a connection names.
fn pools<'a>(
    section: &mut Section<'_>,
    around: &Surroundings<'a>,
    findings: &mut Findings,
) -> Vec<&'a PoolConfig> {
    let read = |item: Item<'_>| {
        let name = item.text()?;
        let found = around.pools.iter().find(|pool| *pool.name == *name);
        if found.is_none() && around.pools_are_good {
            let known: Vec<_> = around.pools.iter().map(|pool| &*pool.name).collect();
            let message = format!("there is no pool \"{name}\"");
            return Err(Wrong::new(message, one_of(name, &known)));
        }
        Ok(found)
    };
    let list = section.list(findings, "pools", read).unwrap_or_default();
    list.into_iter().flatten().collect()
}

/// `ppk_id` and `ppk_required` (RFC 8784). Without the former, whoever begins may
/// use any of ours.
fn ppk(
    section: &mut Section<'_>,
    around: &Surroundings<'_>,
    addresses: &Addresses,
    findings: &mut Findings,
) -> PpkUse {
    let required = section.get(findings, "ppk_required", Item::flag).unwrap_or(false);
    let own = section.get(findings, "ppk_id", |item| {
        let id = item.text()?;
        let found = around.ppks.iter().find(|ppk| *ppk.id == *id);
        if found.is_none() && around.ppks_are_good {
            let known: Vec<_> = around.ppks.iter().map(|ppk| &*ppk.id).collect();
            return Err(Wrong::new(format!("there is no PPK \"{id}\""), one_of(id, &known)));
        }
        Ok(found.cloned())
    });
    let is_unnamed = !section.has("ppk_id");
    if required && is_unnamed && around.ppks_are_good {
        let place = section.place_of("ppk_required");
        if around.ppks.is_empty() {
            findings.error(&place, "there is no PPK", "add a section [ppks.NAME]");
        } else if !addresses.remote.is_empty() {
            findings.error(&place, "which PPK we use must be said", "ppk_id = \"..\"");
        }
    }
    let own = own.flatten();
    let keys = own.as_ref().map_or_else(|| around.ppks.to_vec(), |own| vec![Arc::clone(own)]);
    PpkUse { own, keys, required }
}

/// What a client's side of the traffic can be that asks for these.
fn any_of(vips: ike::inner::Addresses) -> Vec<Selector> {
    vips.iter().map(|address| Selector::subnet(address, 0)).collect()
}

/// What the clients' side of the traffic can be that get addresses of these.
fn all_of(pools: &[&PoolConfig]) -> Vec<Selector> {
    pools.iter().flat_map(|pool| pool::selectors(pool)).collect()
}

fn needs_remote(section: &Section<'_>, key: &str, addresses: &Addresses, findings: &mut Findings) {
    let is_silent = !section.has("remote_addrs");
    if addresses.remote.is_empty() && (is_silent || !addresses.ranges.is_empty()) {
        let title = &section.title;
        let (message, help) = if is_silent {
            (format!("{title} has no remote_addrs"), "add remote_addrs, or use \"manual\"")
        } else {
            let message = format!("nothing in remote_addrs of {title} is a single host");
            (message, "put the address or name to begin with into it, or use \"manual\"")
        };
        let message = message + ": it can only answer";
        findings.error(&section.place_of_value(key), message, help);
    }
}

fn resumption(
    section: &mut Section<'_>,
    addresses: &Addresses,
    tickets: Tickets,
    findings: &mut Findings,
) -> Resumption {
    const TRIGGERS: [(&str, ResumeTrigger); 2] =
        [("manual", ResumeTrigger::Manual), ("on-traffic", ResumeTrigger::OnTraffic)];
    const FORMS: [(&str, ResumeAuth); 3] = [
        ("auto", ResumeAuth::Auto),
        ("rfc5723", ResumeAuth::Rfc5723),
        ("libreswan", ResumeAuth::Libreswan),
    ];
    let standard = Resumption::default();
    let enabled = section.get(findings, "resumption", Item::flag);
    let trigger = section.get(findings, "resume", |item| item.word(&TRIGGERS));
    let auth = section.get(findings, "resume_auth", |item| item.word(&FORMS));
    let max_age = section.get(findings, "max_age", |item| duration(item, minutes(1)..=days(365)));
    if trigger == Some(ResumeTrigger::OnTraffic) {
        needs_remote(section, "resume", addresses, findings);
    }
    Resumption {
        enabled: enabled.unwrap_or(standard.enabled),
        trigger: trigger.unwrap_or(standard.trigger),
        auth: auth.unwrap_or(standard.auth),
        lifetime: tickets.lifetime,
        max_age: max_age.unwrap_or(standard.max_age),
    }
}

fn ike_proposals(section: &mut Section<'_>, findings: &mut Findings) -> Vec<IkeProposal> {
    let read = |item| proposal(item, ike_keywords);
    let list = section.list(findings, "proposals", read);
    not_empty(section, "proposals", list.as_deref(), findings);
    list.filter(|list| !list.is_empty()).unwrap_or_else(IkeProposal::defaults)
}

fn esp_proposals(section: &mut Section<'_>, findings: &mut Findings) -> Vec<EspProposal> {
    let read = |item| proposal(item, esp_keywords);
    let list = section.list(findings, "esp_proposals", read);
    not_empty(section, "esp_proposals", list.as_deref(), findings);
    list.filter(|list| !list.is_empty()).unwrap_or_else(EspProposal::defaults)
}

/// An empty list is an error of its own only where no element was refused.
fn not_empty<T>(section: &Section<'_>, key: &str, list: Option<&[T]>, findings: &mut Findings) {
    if list.is_some_and(<[T]>::is_empty) && findings.is_good() {
        let place = section.place_of_value(key);
        findings.error(&place, "this list is empty", "leave it out for the default");
    }
}

/// A proposal in strongSwan's spelling; a word that is wrong is marked alone.
fn proposal<T>(item: Item<'_>, keywords: fn() -> Vec<&'static str>) -> Result<T, Wrong>
where
    T: std::str::FromStr<Err = BadProposal>,
{
    let text = item.text()?;
    text.parse().map_err(|error: BadProposal| {
        let word = match &error {
            BadProposal::Unknown(word) | BadProposal::Misplaced(word) => Some(word.as_str()),
            BadProposal::MixedCiphers | BadProposal::Missing(_) => None,
        };
        let help = match &error {
            BadProposal::Unknown(word) => one_of(word, &keywords()),
            BadProposal::Misplaced(_) | BadProposal::MixedCiphers | BadProposal::Missing(_) => {
                String::new()
            }
        };
        let wrong = Wrong::new(error.to_string(), help);
        match word.and_then(|word| place_of_word(item, text, word)) {
            Some(place) => wrong.at(place),
            None => wrong,
        }
    })
}

/// Where a word of a proposal is, if the text is in the file as it is.
fn place_of_word(item: Item<'_>, text: &str, word: &str) -> Option<Place> {
    let place = item.place();
    let is_verbatim = place.end - place.start == text.len() + 2;
    let before: usize =
        text.split('-').take_while(|other| *other != word).map(|other| other.len() + 1).sum();
    let start = place.start + 1 + before;
    let is_there = is_verbatim && !word.is_empty();
    is_there.then(|| Place { file: place.file, start, end: start + word.len() })
}

fn identities(
    section: &mut Section<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Option<(Id, IdPattern, Auth)> {
    let environment = around.environment;
    let local = side(section, "local", &credential::LOCAL, findings, |section, findings| {
        credential::local(section, environment, findings)
    });
    let remote = side(section, "remote", &credential::REMOTE, findings, |section, findings| {
        credential::remote(section, environment, findings)
    });
    let (local, remote) = (local?, remote?);
    let local_id = own_id(&local, findings)?;
    if remote.is_wrong {
        return None;
    }
    let remote_id = remote.id.clone().unwrap_or(IdPattern::Any);
    raw_keys_need_an_id(&remote, findings);
    let mut keys = || {
        let keys = shared(around.secrets, &local_id, &remote_id).map(Arc::new);
        if keys.is_none() && around.secrets_are_good {
            no_secret(&remote.place, &local_id, &remote_id, findings);
        }
        keys
    };
    let local = match local.by {
        By::Secret => LocalAuth::PreShared(keys()?),
        By::Key(credential) => LocalAuth::PublicKey(credential),
    };
    let remote = match remote.by {
        By::Secret => RemoteAuth::PreShared(keys()?),
        By::Key(trust) => RemoteAuth::PublicKey(trust),
    };
    Some((local_id, remote_id, Auth { local, remote }))
}

/// Who we are: as configured, or the subject of our certificate.
fn own_id(local: &Side<Arc<Credential>>, findings: &mut Findings) -> Option<Id> {
    if local.is_wrong {
        return None;
    }
    let leaf = match &local.by {
        By::Key(credential) => credential.leaf(),
        By::Secret => None,
    };
    let subject = leaf.and_then(|leaf| Id::from_name(leaf.subject()).ok());
    match (&local.id, leaf) {
        (Some(IdPattern::Exact(id)), None) => Some(id.clone()),
        // The octets of the certificate: not every peer compares names as freely as we.
        (Some(IdPattern::Exact(id)), Some(_))
            if subject.as_ref().is_some_and(|it| it.is_same(id)) =>
        {
            subject
        }
        (Some(IdPattern::Exact(id)), Some(leaf)) => {
            if id.name().is_some_and(|name| leaf.is_for(&name)) {
                return Some(id.clone());
            }
            let names = [vec![leaf.subject().to_string()], leaf.alternative_names()].concat();
            let help = format!("it is for {}", names.join(" | "));
            findings.error(&local.place, "our certificate is not for this id", help);
            None
        }
        (Some(IdPattern::Any | IdPattern::Like(_)), _) => {
            findings.error(&local.place, "we must be somebody: this id stands for several", "");
            None
        }
        (None, _) if subject.is_some() => subject,
        (None, _) => {
            let message = format!("there is no id in {}", local.title);
            findings.error(&local.place, message, "id = \"@name\", an address or \"user@host\"");
            None
        }
    }
}

/// A raw key has no names: the configuration must say whose it is.
fn raw_keys_need_an_id(remote: &Side<Arc<Trust>>, findings: &mut Findings) {
    let By::Key(trust) = &remote.by else { return };
    if trust.has_raw_keys() && !matches!(remote.id, Some(IdPattern::Exact(_))) {
        let message = "whose public key this is must be said";
        findings.error(&remote.place, message, "id = \"@name\" of the peer");
    }
}

fn no_secret(place: &Place, local: &Id, remote: &IdPattern, findings: &mut Findings) {
    let whom = match remote {
        IdPattern::Any | IdPattern::Like(_) => "any peer".to_owned(),
        IdPattern::Exact(id) => id.to_string(),
    };
    let message = format!("there is no secret for {local} and {whom}");
    let help = "add a section [secrets.NAME], or auth = \"pubkey\" for certificates";
    findings.error(place, message, help);
}

/// `[connections.NAME.local]` or `.remote`.
struct Side<T> {
    title: String,
    /// Of the id, or of the section.
    place: Place,
    id: Option<IdPattern>,
    by: By<T>,
    is_wrong: bool,
}

/// What a side proves itself by.
enum By<T> {
    /// A pre-shared key.
    Secret,
    /// A private key; `T` is what goes with it.
    Key(T),
}

fn side<T>(
    parent: &mut Section<'_>,
    key: &'static str,
    own: &[&'static str],
    findings: &mut Findings,
    keys: impl FnOnce(&mut Section<'_>, &mut Findings) -> Option<T>,
) -> Option<Side<T>> {
    if !parent.has(key) {
        let message = format!("there is no section \"{key}\" in {}", parent.title);
        let help = format!("auth = \"psk\" and an id belong in {}", parent.subtitle(key));
        findings.error(&parent.place, message, help);
        return None;
    }
    let mut section = parent.section(findings, key)?;
    let auth = section.get(findings, "auth", |item| item.word(&[("psk", false), ("pubkey", true)]));
    let auth_is_wrong = section.has("auth") && auth.is_none();
    let id = section.get(findings, "id", Item::parsed::<IdPattern>);
    let by = if auth == Some(true) {
        keys(&mut section, findings).map(By::Key)
    } else {
        for setting in own {
            section.refuse(findings, setting, "counts only with auth = \"pubkey\"");
        }
        Some(By::Secret)
    };
    let side = by.map(|by| Side {
        title: section.title.clone(),
        place: section.place_of_value("id"),
        is_wrong: auth_is_wrong || section.has("id") && id.is_none(),
        id,
        by,
    });
    section.finish(findings);
    side
}

/// What the children of a connection depend on.
struct Within<'a> {
    addresses: &'a Addresses,
    vips: &'a [Selector],
    pools: &'a [Selector],
    /// Whether they can be in transport mode.
    transport: bool,
}

fn children(
    parent: &mut Section<'_>,
    within: &Within<'_>,
    findings: &mut Findings,
) -> Option<Children> {
    let sections = parent.sections(findings, "children");
    if sections.is_empty() && !parent.has("children") {
        let message = format!("there is no child in {}", parent.title);
        let help = format!("add {} with local_ts and remote_ts", parent.subtitle("children.net"));
        findings.error(&parent.place, message, help);
    }
    if let Some((_, one_too_many)) = sections.get(Children::MOST) {
        let message = format!("a connection can have {} children", Children::MOST);
        findings.error(&one_too_many.place, message, "one child can have many selectors");
    }
    let read = |(name, section)| child(name, section, within, findings);
    // All are read, for the sake of what is wrong with them.
    let all: Vec<_> = sections.into_iter().map(read).collect();
    let mut all = all.into_iter();
    Some(Children { first: all.next()??, further: all.collect::<Option<_>>()? })
}

fn child(
    name: &str,
    mut section: Section<'_>,
    within: &Within<'_>,
    findings: &mut Findings,
) -> Option<ChildConfig> {
    named(name, &section, findings);
    let mode = mode::read(&mut section, within.transport, findings);
    let (anywhere, Addresses { local, remote, .. }) = (mode::anywhere(), within.addresses);
    let [vips, pools] = match mode {
        Mode::Tunnel => [within.vips, within.pools],
        Mode::Transport => [&anywhere[..]; 2],
    };
    let local_ts = side_of_traffic(&mut section, "local_ts", ("vips", vips), findings);
    let remote_ts = side_of_traffic(&mut section, "remote_ts", ("pools", pools), findings);
    let proposals = esp_proposals(&mut section, findings);
    let lifetime = lifetime::of_child(&mut section, findings);
    if let (Some(ours), Some(theirs)) = (&local_ts, &remote_ts) {
        let (ours, theirs) = (&ours.selectors, &theirs.selectors);
        match mode {
            Mode::Tunnel => families(&section, ours, theirs, findings),
            Mode::Transport => {
                let peers = mode::addresses(&section, remote, findings);
                let [ours, theirs] =
                    [(&**ours, &**local, "local_addrs"), (theirs, &*peers, "remote_addrs")];
                mode::check_hosts(&section, "local_ts", ours, findings);
                mode::check_hosts(&section, "remote_ts", theirs, findings);
            }
        }
    }
    section.finish(findings);
    let (local, remote) = (local_ts?, remote_ts?);
    let is_dynamic = local.is_dynamic || remote.is_dynamic;
    Some(ChildConfig {
        name: name.into(),
        mode,
        dynamic: mode == Mode::Tunnel && is_dynamic,
        local_ts: local.selectors,
        remote_ts: remote.selectors,
        proposals,
        lifetime,
    })
}

/// One side of a child's traffic.
struct Traffic {
    selectors: Vec<Selector>,
    is_dynamic: bool,
}

/// The selectors at `key`, or those of the inner addresses that the setting
/// `source` gives: if the list is `["dynamic"]`, or is left out.
fn side_of_traffic(
    section: &mut Section<'_>,
    key: &'static str,
    (source, inner): (&str, &[Selector]),
    findings: &mut Findings,
) -> Option<Traffic> {
    let dynamic = || Some(Traffic { selectors: inner.to_vec(), is_dynamic: true });
    if !section.has(key) && !inner.is_empty() {
        return dynamic();
    }
    if !section.is_list_of(key, "dynamic") {
        let selectors = selectors(section, key, findings)?;
        return Some(Traffic { selectors, is_dynamic: false });
    }
    // The key is known.
    section.get(findings, key, |_| Ok(()));
    if inner.is_empty() {
        let message = format!("\"dynamic\" needs {source} in the connection");
        let help = "or write the addresses";
        findings.error(&section.place_of_value(key), message, help);
        return None;
    }
    dynamic()
}

/// What a Traffic Selector payload can hold (RFC 7296 section 3.13).
const MAX_SELECTORS: usize = 255;

fn selectors(
    section: &mut Section<'_>,
    key: &'static str,
    findings: &mut Findings,
) -> Option<Vec<Selector>> {
    if !section.has(key) {
        let message = format!("there is no {key} in {}", section.title);
        findings.error(&section.place, message, format!("{key} = [\"10.0.0.0/8\"]"));
    }
    let list = section.list(findings, key, selector)?;
    if list.is_empty() && findings.is_good() {
        findings.error(&section.place_of_value(key), "this list is empty", "[\"10.0.0.0/8\"]");
    }
    if list.len() > MAX_SELECTORS {
        let message = format!("these are {} selectors", list.len());
        let help = format!("a child has {MAX_SELECTORS} at the most");
        findings.error(&section.place_of_value(key), message, help);
    }
    (!list.is_empty()).then_some(list)
}

/// A packet has two addresses of one family.
fn families(
    section: &Section<'_>,
    local: &[Selector],
    remote: &[Selector],
    findings: &mut Findings,
) {
    let has = |list: &[Selector], v4| list.iter().any(|it| it.start().is_ipv4() == v4);
    for (is_v4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let (missing, present) = match (has(local, is_v4), has(remote, is_v4)) {
            (true, false) => ("remote_ts", "local_ts"),
            (false, true) => ("local_ts", "remote_ts"),
            (true, true) | (false, false) => continue,
        };
        let message = format!("{present} has {family} but {missing} has not");
        let help = "no packet could match: both need the same families";
        findings.error(&section.place_of_value(missing), message, help);
    }
}
