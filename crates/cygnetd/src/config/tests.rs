//! Whole configurations, good and bad.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use esp::spec::{Mode, Selector};
use ike::config::{
    ChildLifetime, Childless, Host, Lifetime, LocalAuth, Redirect, RemoteAuth, ResumeAuth,
    ResumeTrigger, TcpUse, Unique,
};
use ike::identity::IdPattern;
use ike::redirect::Gateway;
use zeroize::Zeroizing;

use super::load::assemble;
use super::source::Source;
use super::{ConfigErrors, DaemonConfig, Environment, Start, load};

fn source(name: &str, text: &str) -> Source {
    Source::new(name.to_owned(), Zeroizing::new(text.to_owned()), false)
}

fn parse(text: &str) -> Result<DaemonConfig, ConfigErrors> {
    assemble(&[source("cygnet.toml", text)], &Environment::default())
}

fn good(text: &str) -> DaemonConfig {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> String {
    match parse(text) {
        Ok(_) => "no errors".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

/// Nothing but what must be there.
const LEAST: &str = r#"
[connections.office]
[connections.office.local]
id = "@dut"
[connections.office.remote]
[connections.office.children.net]
local_ts = ["10.91.0.0/24"]
remote_ts = ["10.92.0.0/24"]
[secrets.psk]
secret = "sixteen octets!!"
"#;

/// [`LEAST`] with `lines` at the beginning of `section`.
fn with(section: &str, lines: &str) -> String {
    let header = format!("[{section}]\n");
    if LEAST.contains(&header) {
        LEAST.replace(&header, &format!("{header}{lines}\n"))
    } else {
        format!("{header}{lines}\n{LEAST}")
    }
}

/// As on a data plane that can do transport mode.
fn parse_for_hosts(text: &str) -> Result<DaemonConfig, ConfigErrors> {
    let environment = Environment { transport: true, ..Environment::default() };
    assemble(&[source("cygnet.toml", text)], &environment)
}

/// The first error, without its file name.
fn first_error(text: &str) -> String {
    let errors = errors(text);
    errors.split("\n\n").next().unwrap().trim_start_matches("cygnet.toml:").to_owned()
}

#[test]
fn the_example_of_the_reference_is_read_as_it_is_meant() {
    let config = good(
        r#"
[daemon]
listen = ["10.77.0.1"]
port = 501
nat_port = 4501
tcp_port = 4503
interface = "vpn0"
mtu = 1400
table = 77
mark = 0x77
control_group = "wheel"
fetch_crls = false
[limits]
cookie_threshold = 10
half_open_timeout = "10s"
sas_per_identity = 3
[retransmission]
initial = "250ms"
tries = 5
[tickets]
lifetime = "8h"
rotate = "1d"
[connections.office]
local_addrs = ["10.77.0.1"]
remote_addrs = ["10.77.0.2"]
remote_port = 502
remote_nat_port = 4502
remote_tcp_port = 4504
tcp = "always"
proposals = ["aes256gcm16-prfsha384-x25519"]
inner_addrs = ["10.91.0.1/24", "fd91::1/64"]
start = "on-boot"
liveness = "0s"
encap = false
mobike = false
unique = "replace"
redirect = false
redirect_to = "gw2.example.org"
resumption = true
resume = "on-traffic"
resume_auth = "rfc5723"
max_age = "2d"
[connections.office.local]
auth = "psk"
id = "@dut"
[connections.office.remote]
auth = "psk"
id = "@peer"
[connections.office.children.net]
local_ts = ["10.91.0.0/24[tcp/443]"]
remote_ts = ["10.92.0.1-10.92.0.9", "0.0.0.0/0[udp]"]
esp_proposals = ["aes256gcm16"]
[secrets.psk1]
id = ["@dut", "@peer"]
secret = "0x000102030405060708090a0b0c0d0e0f"
"#,
    );
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.daemon.listen, ["10.77.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!((config.daemon.port, config.daemon.nat_port), (501, 4501));
    assert_eq!((config.ike.port, config.ike.nat_port), (501, 4501));
    assert_eq!((config.daemon.table, config.daemon.mark), (77, 0x77));
    assert_eq!(config.daemon.mtu, Some(1400));
    assert_eq!(config.daemon.interface, "vpn0");
    assert_eq!(config.daemon.control_group.as_deref(), Some("wheel"));
    assert!(!config.daemon.fetch_crls);
    assert_eq!(config.ike.limits.cookie_threshold, 10);
    assert_eq!(config.ike.limits.sas_per_identity, 3);
    assert_eq!(config.ike.limits.half_open_timeout, Duration::from_secs(10));
    assert_eq!(config.ike.retransmission.initial, Duration::from_millis(250));
    assert_eq!(config.ike.retransmission.tries, 5);
    assert_eq!(config.tickets.lifetime, Duration::from_secs(8 * 3600));
    assert_eq!(config.ike.ticket_key_rotation, Duration::from_secs(24 * 3600));

    let settings = &config.connections[0];
    assert_eq!(&*settings.name, "office");
    assert_eq!(settings.start, Start::OnBoot);
    let inner: Vec<_> = settings.inner_addrs.iter().map(|it| (it.address, it.prefix)).collect();
    assert_eq!(inner, [("10.91.0.1".parse().unwrap(), 24), ("fd91::1".parse().unwrap(), 64)]);

    let office = &config.ike.connections[0];
    assert_eq!((&*office.remote_addrs, office.remote_port), (&[host("10.77.0.2")][..], 502));
    assert_eq!(office.remote_nat_port, 4502);
    assert_eq!((config.daemon.tcp_port, office.remote_tcp_port), (Some(4503), 4504));
    assert_eq!(office.tcp, TcpUse::Always);
    assert_eq!(office.proposals[0].to_string(), "aes256gcm16-prfsha384-x25519");
    assert_eq!(office.liveness, None);
    assert!(!office.force_encapsulation);
    assert!(!office.mobike);
    assert_eq!(office.unique, Unique::Replace);
    assert!(!office.redirect.follow);
    assert_eq!(office.redirect.to, Some(Gateway::Name("gw2.example.org".into())));
    assert_eq!(office.local_id.to_string(), "@dut");
    assert_eq!(office.remote_id, IdPattern::Exact("@peer".parse().unwrap()));
    assert_eq!(office.resumption.trigger, ResumeTrigger::OnTraffic);
    assert_eq!(office.resumption.auth, ResumeAuth::Rfc5723);
    assert_eq!(office.resumption.lifetime, Duration::from_secs(8 * 3600));
    assert_eq!(office.resumption.max_age, Duration::from_secs(2 * 86400));
    let shown = |list: &[Selector]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&office.children.first.local_ts), ["10.91.0.0/24[6/443]"]);
    assert_eq!(shown(&office.children.first.remote_ts), ["10.92.0.1-10.92.0.9", "0.0.0.0/0[17]"]);
    assert_eq!(office.children.first.proposals[0].to_string(), "aes256gcm16");
    let LocalAuth::PreShared(keys) = &office.auth.local else { panic!("no secret") };
    assert!(keys.with(&"@peer".parse().unwrap()).is_some());
    assert!(keys.with(&"@stranger".parse().unwrap()).is_none());
}

#[test]
fn what_is_left_out_has_a_value() {
    let config = good(LEAST);
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!((config.daemon.port, config.daemon.nat_port), (500, 4500));
    assert_eq!(config.daemon.interface, "cygnet0");
    assert_eq!((config.daemon.table, config.daemon.mark), (5723, 0x5723));
    let office = &config.ike.connections[0];
    assert_eq!(office.remote_id, IdPattern::Any);
    assert_eq!(office.remote_addrs, []);
    assert_eq!(office.liveness, Some(Duration::from_secs(30)));
    assert!(office.force_encapsulation);
    assert_eq!((config.daemon.tcp_port, office.remote_tcp_port), (None, 4500));
    assert_eq!(office.tcp, TcpUse::Auto);
    assert!(office.mobike);
    assert_eq!(office.unique, Unique::No);
    assert_eq!(office.redirect, Redirect { follow: true, names: Vec::new(), to: None });
    assert!(office.resumption.enabled);
    assert!(!office.proposals.is_empty());
    assert_eq!(config.connections[0].start, Start::Manual);
}

#[test]
fn connections_keep_the_order_of_the_file() {
    let second = LEAST.split("[secrets").next().unwrap().replace("office", "alpha");
    let config = good(&format!("{LEAST}{second}"));
    let names: Vec<_> = config.ike.connections.iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names, ["office", "alpha"]);
    assert_eq!(&*config.connections[1].name, "alpha");
}

#[test]
fn several_mistakes_are_reported_at_once() {
    assert_eq!(
        errors(
            r#"[daemon]
prt = 500
mtu = "big"
[connections.office]
remote_adrs = ["10.77.0.2"]
start = "onboot"
liveness = "30"
[connections.office.local]
auth = "pks"
id = "@dut"
[connections.office.remote]
id = "@peer"
[connections.office.children.net]
local_ts = ["10.91.0.1/24"]
remote_ts = ["10.92.0.0/24"]
esp_proposals = ["aes256gmc16"]
[secrets.psk1]
secret = "sixteen octets!!"
"#
        ),
        r#"cygnet.toml:2:1: there is no "prt" in [daemon]
  |
2 | prt = 500
  | ^^^ did you mean "port"?

cygnet.toml:3:7: this is text
  |
3 | mtu = "big"
  |       ^^^^^ must be a number from 1280 to 65535

cygnet.toml:5:1: there is no "remote_adrs" in [connections.office]
  |
5 | remote_adrs = ["10.77.0.2"]
  | ^^^^^^^^^^^ did you mean "remote_addrs"?

cygnet.toml:6:9: "onboot" is not possible here
  |
6 | start = "onboot"
  |         ^^^^^^^^ did you mean "on-boot"?

cygnet.toml:7:12: "30" is not a duration
  |
7 | liveness = "30"
  |            ^^^^ write a duration as "30s", "500ms", "1h30m" or "7d"

cygnet.toml:9:8: "pks" is not possible here
  |
9 | auth = "pks"
  |        ^^^^^ did you mean "psk"?

cygnet.toml:14:13: 10.91.0.1 has bits beyond /24
   |
14 | local_ts = ["10.91.0.1/24"]
   |             ^^^^^^^^^^^^^^ did you mean "10.91.0.0/24"?

cygnet.toml:16:19: unknown or unsupported algorithm 'aes256gmc16'
   |
16 | esp_proposals = ["aes256gmc16"]
   |                   ^^^^^^^^^^^ did you mean "aes256gcm16"?"#
    );
}

#[test]
fn each_mistake_has_its_own_words() {
    let office = "connections.office";
    let child = "connections.office.children.net";
    for (section, line, error) in [
        ("daemon", "port = 4500", "port and nat_port must differ"),
        ("daemon", "port = 0", "this number is out of range"),
        (
            "daemon",
            "interface = \"much-too-long-a-name\"",
            "\"much-too-long-a-name\" cannot name an interface",
        ),
        ("daemon", "table = 254", "table 254 belongs to the system"),
        ("daemon", "mark = 0", "this number is out of range"),
        ("daemon", "listen = [\"10.0.0.1/8\"]", "\"10.0.0.1/8\" is a network"),
        ("daemon", "listen = [\"::\"]", ":: is no address of a host"),
        ("daemon", "listen = \"10.0.0.1\"", "this is text"),
        ("daemon", "listen = [\"10.0.0.1\", \"10.0.0.1\"]", "10.0.0.1 is in the list twice"),
        ("limits", "half_open = 10", "cookie_threshold is above half_open (10)"),
        ("retransmission", "initial = \"1s\"\nmax = \"500ms\"", "max is shorter than initial"),
        ("tickets", "lifetime = \"59s\"", "\"59s\" is out of range"),
        ("tickets", "lifetime = \"8d\"", "\"8d\" is out of range"),
        ("tickets", "rotate = \"1h\"", "rotate is shorter than lifetime"),
        (
            office,
            "start = \"on-boot\"",
            "[connections.office] has no remote_addrs: it can only answer",
        ),
        (
            office,
            "resume = \"on-traffic\"",
            "[connections.office] has no remote_addrs: it can only answer",
        ),
        (office, "remote_addrs = []", "this list is empty"),
        (office, "remote_addrs = [\"10.0.0.1/8\"]", "10.0.0.1 has bits beyond /8"),
        (
            office,
            "remote_addrs = [\"10.0.0.9-10.0.0.1\"]",
            "the range is empty or mixes address families",
        ),
        (
            office,
            "remote_addrs = [\"any\"]",
            "\"any\" is neither an IP address nor the name of a host",
        ),
        (
            office,
            "remote_addrs = [\"vpn.example.org:500\"]",
            "\"vpn.example.org:500\" is neither an IP address nor the name of a host",
        ),
        (
            office,
            "remote_addrs = [\"vpn..example.org\"]",
            "\"vpn..example.org\" is neither an IP address nor the name of a host",
        ),
        (
            office,
            "remote_addrs = [\"vpn example.org\"]",
            "\"vpn example.org\" is neither an IP address nor the name of a host",
        ),
        (
            office,
            "remote_addrs = [\"vpn.example.org/24\"]",
            "\"vpn.example.org\" is not an IP address",
        ),
        (
            office,
            "remote_addrs = [\"192.0.2.300\"]",
            "\"192.0.2.300\" is neither an IP address nor the name of a host",
        ),
        (
            office,
            "remote_addrs = [\"2001:db8::x\"]",
            "\"2001:db8::x\" is neither an IP address nor the name of a host",
        ),
        (
            office,
            "remote_addrs = [\"10.0.0.0/8\"]\nstart = \"on-boot\"",
            "nothing in remote_addrs of [connections.office] is a single host: it can only answer",
        ),
        ("limits", "sas_per_identity = 0", "this number is out of range"),
        ("connections.office", "max_sas = 0", "this number is out of range"),
        (office, "proposals = []", "this list is empty"),
        (
            office,
            "local_addrs = [\"10.0.0.1\"]\nremote_addrs = [\"fd00::1\"]",
            "no address of ours is IPv6, as fd00::1 is",
        ),
        (
            office,
            "local_addrs = [\"10.0.0.1\"]\nremote_addrs = [\"fd00::1\", \"fd00::2\"]",
            "no address of ours is IPv6, as fd00::1 is",
        ),
        (office, "encap = \"yes\"", "this is text"),
        (office, "tcp = true", "this is true or false"),
        (office, "tcp = \"allways\"", "\"allways\" is not possible here"),
        ("daemon", "tcp_port = 65536", "this number is out of range"),
        (office, "mobike = \"yes\"", "this is text"),
        (office, "unique = \"yes\"", "\"yes\" is not possible here"),
        (office, "redirect = \"yes\"", "this is text"),
        (
            office,
            "redirect_to = \"0.0.0.0\"",
            "\"0.0.0.0\" is neither the IP address nor the name of a host",
        ),
        (
            office,
            "redirect_names = [\"gw2.example.org\"]",
            "\"gw2.example.org\" is not the name of a host and its address",
        ),
        (office, "inner_addrs = [\"10.0.0.1/33\"]", "\"/33\" is no prefix"),
        (office, "max_age = \"10s\"", "\"10s\" is out of range"),
        (
            "connections.office.remote",
            "id = \"a*@example.org\"",
            "a star stands for a whole value of a name (CN=*), or before @ or a dot \
             (*@example.org, *.example.org)",
        ),
        ("connections.office.remote", "id = \"@\"", "the identity is empty"),
        (child, "esp_proposals = [\"aes256\"]", "no integrity algorithm"),
        (
            child,
            "esp_proposals = [\"prfsha256\"]",
            "'prfsha256' has no place in this kind of proposal",
        ),
        ("secrets.psk", "file = \"x\"", "cannot read x: No such file or directory (os error 2)"),
        ("secrets.psk", "id = []", "this list is empty"),
        ("secrets.psk", "id = [\"@stranger\"]", "there is no secret for @dut and @peer"),
        ("secrets.\"a b\"", "secret = \"sixteen octets!!\"", "this name cannot be used"),
        ("connections.office.children.second", "local_ts = []", "this list is empty"),
    ] {
        let text =
            with(section, line).replace("office.remote]\n[", "office.remote]\nid = \"@peer\"\n[");
        let first = errors(&text);
        assert!(first.contains(&format!(": {error}\n")), "{section}: {line}: {first}");
    }
}

#[test]
fn a_peer_may_have_several_addresses_and_names() {
    let lines = r#"local_addrs = ["10.0.0.1"]
        remote_addrs = ["VPN-2.Example.org.", "fd00::1", "192.0.2.1", "gw"]
        start = "on-boot""#;
    let config = good(&with("connections.office", lines));
    let office = &config.ike.connections[0];
    let hosts = ["vpn-2.example.org", "fd00::1", "192.0.2.1", "gw"].map(host);
    assert_eq!(office.remote_addrs, hosts);
    // The identity decides, not the address.
    assert!(office.serves(&between("10.0.0.1", "203.0.113.5")));
    assert!(!office.serves(&between("10.0.0.2", "203.0.113.5")));
}

fn host(text: &str) -> Host {
    text.parse().map_or_else(|_| Host::Name(text.parse().unwrap()), Host::Address)
}

/// The way of a datagram to `local` from `remote`.
fn between(local: &str, remote: &str) -> ike::event::Path {
    let end = |address: &str| SocketAddr::new(address.parse().unwrap(), 4500);
    let port = ike::event::Port::NatTraversal;
    ike::event::Path { local: end(local), remote: end(remote), port }
}

#[test]
fn a_peer_may_be_anywhere_in_a_network() {
    let config = good(&with(
        "connections.office",
        r#"remote_addrs = ["10.0.0.0/8", "192.0.2.1", "2001:db8::1-2001:db8::9"]"#,
    ));
    let office = &config.ike.connections[0];
    assert_eq!((&*office.remote_addrs, office.remote_port), (&[host("192.0.2.1")][..], 500));
    let from = |remote: &str| between("198.51.100.1", remote);
    let serves = |remote: &str| office.serves(&from(remote));
    assert!(serves("10.9.8.7") && serves("192.0.2.1") && serves("2001:db8::5"));
    assert!(!serves("11.0.0.1") && !serves("192.0.2.2") && !serves("2001:db8::a"));
    let config = good(&with("connections.office", r#"remote_addrs = ["%any"]"#));
    let office = &config.ike.connections[0];
    assert_eq!(office.remote_addrs, []);
    assert!(office.serves(&from("fd00::1")));
}

#[test]
fn gateways_that_are_named_have_addresses() {
    let lines = "redirect_names = [\"gw2.example.org=192.0.2.2\", \"gw3.example.org = ::2\"]";
    let config = good(&with("connections.office", lines));
    let names = &config.ike.connections[0].redirect.names;
    let expected: [(std::sync::Arc<str>, IpAddr); 2] = [
        ("gw2.example.org".into(), [192, 0, 2, 2].into()),
        ("gw3.example.org".into(), "::2".parse().unwrap()),
    ];
    assert_eq!(**names, expected);
    let config = good(&with("connections.office", &format!("redirect = false\n{lines}")));
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("no redirect is followed"), "{}", config.warnings[0]);
}

/// Two connections that share almost everything.
const SHARED: &str = r#"
[templates.clients]
liveness = "10s"
proposals = ["aes256gcm16-prfsha384-x25519"]
[templates.clients.local]
id = "@dut"
[templates.clients.children.net]
local_ts = ["10.91.0.0/24"]
esp_proposals = ["aes256gcm16"]
[connections.near]
template = "clients"
[connections.near.remote]
id = "@near"
[connections.near.children.net]
remote_ts = ["10.92.0.0/24"]
[connections.far]
template = "clients"
liveness = "1m"
[connections.far.remote]
id = "@far"
[connections.far.children.net]
local_ts = ["10.91.1.0/24"]
remote_ts = ["10.93.0.0/24"]
[secrets.psk]
secret = "sixteen octets!!"
"#;

#[test]
fn a_connection_takes_from_its_template_what_it_does_not_have_itself() {
    let config = good(SHARED);
    assert_eq!(config.warnings, [""; 0]);
    let [near, far] = config.ike.connections.as_slice() else { panic!("not two") };
    for connection in [near, far] {
        assert_eq!(connection.local_id.to_string(), "@dut");
        assert_eq!(connection.proposals[0].to_string(), "aes256gcm16-prfsha384-x25519");
        assert_eq!(connection.children.first.proposals[0].to_string(), "aes256gcm16");
    }
    assert_eq!(near.liveness, Some(Duration::from_secs(10)));
    assert_eq!(far.liveness, Some(Duration::from_secs(60)));
    assert_eq!(near.remote_id, IdPattern::Exact("@near".parse().unwrap()));
    assert_eq!(near.children.first.local_ts[0].to_string(), "10.91.0.0/24");
    assert_eq!(far.children.first.local_ts[0].to_string(), "10.91.1.0/24");
    // All of it may come from a template.
    let whole = SHARED.replace("[connections.near.", "[templates.near.") + "[templates.near]\n";
    let whole = whole.replace(
        "[connections.near]\ntemplate = \"clients\"",
        "[connections.near]\ntemplate = \"near\"",
    );
    assert!(errors(&whole).contains("there is no section \"local\" in [connections.near]"));
}

#[test]
fn a_mistake_in_a_template_is_reported_once_and_where_it_is() {
    assert_eq!(
        errors(&SHARED.replace("liveness = \"10s\"", "livenes = \"10s\"")),
        "cygnet.toml:3:1: there is no \"livenes\" in [templates.clients]
  |
3 | livenes = \"10s\"
  | ^^^^^^^ did you mean \"liveness\"?"
    );
    let wrong = errors(&SHARED.replace("\"10.91.0.0/24\"", "\"10.91.0.1/24\""));
    assert!(wrong.starts_with("cygnet.toml:8:13: 10.91.0.1 has bits beyond /24"), "{wrong}");
    assert_eq!(wrong.matches("cygnet.toml:").count(), 1, "{wrong}");
    let wrong = errors(&SHARED.replace(
        "template = \"clients\"\n[connections.near.r",
        "template = \"client\"\n[connections.near.r",
    ));
    assert!(wrong.contains("there is no template \"client\""), "{wrong}");
    assert!(wrong.contains("did you mean \"clients\"?"), "{wrong}");
    assert_eq!(wrong.matches("cygnet.toml:").count(), 1, "{wrong}");
    // A template has none itself.
    let nested =
        SHARED.replace("[templates.clients]\n", "[templates.clients]\ntemplate = \"clients\"\n");
    assert!(errors(&nested).contains("a template has no template"), "{}", errors(&nested));
    let unused = format!("{SHARED}[templates.spare]\n");
    assert!(good(&unused).warnings[0].contains("no connection uses [templates.spare]"));
}

#[test]
fn a_connection_has_several_children_in_the_order_of_the_file() {
    let child = |name: &str, net: u8| {
        format!(
            "[connections.office.children.{name}]\nlocal_ts = [\"10.91.0.0/24\"]\n\
             remote_ts = [\"10.{net}.0.0/24\"]\nesp_proposals = [\"aes256gcm16\"]\n"
        )
    };
    let text = format!("{LEAST}{}{}", child("zoo", 93), child("lab", 94));
    let config = good(&text);
    let names = config.ike.connections[0].children.iter().map(|(_, it)| it.name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["net", "zoo", "lab"]);

    let many: String = (0..16).map(|n| child(&format!("more{n}"), 100 + n)).collect();
    let error = errors(&format!("{LEAST}{many}"));
    assert!(error.contains(": a connection can have 16 children\n"), "{error}");

    // Each of them is read.
    let bad = child("zoo", 93).replace("10.93", "10.900") + &child("lab", 94).replace("aes", "des");
    let errors = errors(&format!("{LEAST}{bad}"));
    assert!(errors.contains("10.900") && errors.contains("des256gcm16"), "{errors}");
}

#[test]
fn a_connection_may_come_up_without_a_child() {
    let read = |lines: &str| good(&with("connections.office", lines)).ike.connections[0].childless;
    assert_eq!(read(""), Childless::Allow);
    assert_eq!(read("childless = \"prefer\""), Childless::Prefer);
    assert_eq!(read("childless = \"force\""), Childless::Force);
    assert_eq!(read("childless = \"never\""), Childless::Never);
    let error = errors(&with("connections.office", "childless = \"perhaps\""));
    assert!(error.contains("perhaps"), "{error}");
}

#[test]
fn selectors_that_select_nothing_are_refused() {
    let selector = |text: &str| {
        let error = first_error(&LEAST.replace("10.91.0.0/24", text));
        error
            .split_once(": ")
            .unwrap_or(("", "good"))
            .1
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    for (text, error) in [
        ("10.0.0.9-10.0.0.1", "the range is empty or mixes address families"),
        ("10.0.0.1-fd00::1", "the range is empty or mixes address families"),
        ("dynamic", "\"dynamic\" needs vips in the connection"),
        ("10.0.0.0/8[htp]", "\"htp\" is no protocol"),
        ("10.0.0.0/8[0]", "\"0\" is no protocol"),
        ("10.0.0.0/8[tcp/http]", "\"http\" is no port"),
        ("10.0.0.0/8[esp/1]", "protocol esp has no ports"),
        ("10.0.0.0/8[tcp/9-1]", "the range is empty or mixes address families"),
        ("10.0.0.0/8[tcp", "\"/8[tcp\" is no prefix"),
        ("everything", "\"everything\" is not an IP address"),
        ("fd00::/64", "remote_ts has IPv4 but local_ts has not"),
    ] {
        assert_eq!(selector(text), error, "{text}");
    }
}

#[test]
fn a_child_has_no_more_selectors_than_a_payload_holds() {
    let text = |count| {
        let nets: Vec<_> =
            (0..count).map(|n| format!("\"10.{}.{}.0/24\"", n / 256, n % 256)).collect();
        LEAST.replace("\"10.91.0.0/24\"", &nets.join(", "))
    };
    assert_eq!(good(&text(255)).ike.connections[0].children.first.local_ts.len(), 255);
    assert!(first_error(&text(256)).contains("these are 256 selectors"));
}

#[test]
fn what_is_missing_is_reported_where_it_belongs() {
    assert_eq!(
        errors("[daemon]\n"),
        "cygnet.toml: there is no connection\n  add a section [connections.NAME]"
    );
    assert_eq!(
        errors("[connections.a]\n"),
        r#"cygnet.toml:1:14: there is no child in [connections.a]
  |
1 | [connections.a]
  |              ^ add [connections.a.children.net] with local_ts and remote_ts

cygnet.toml:1:14: there is no section "local" in [connections.a]
  |
1 | [connections.a]
  |              ^ auth = "psk" and an id belong in [connections.a.local]

cygnet.toml:1:14: there is no section "remote" in [connections.a]
  |
1 | [connections.a]
  |              ^ auth = "psk" and an id belong in [connections.a.remote]"#
    );
    assert_eq!(
        first_error(&LEAST.replace("[secrets.psk]\nsecret = \"sixteen octets!!\"\n", "")),
        "5:21: there is no secret for @dut and any peer
  |
5 | [connections.office.remote]
  |                     ^^^^^^ add a section [secrets.NAME], or auth = \"pubkey\" for certificates"
    );
    assert_eq!(
        first_error(&LEAST.replace("id = \"@dut\"\n", "")),
        "3:21: there is no id in [connections.office.local]
  |
3 | [connections.office.local]
  |                     ^^^^^ id = \"@name\", an address or \"user@host\""
    );
}

#[test]
fn text_that_is_no_toml_is_reported_with_its_place() {
    assert_eq!(
        errors("[daemon]\nport = 500 500\n[dae mon]\n"),
        "cygnet.toml:2:8: string values must be quoted, expected literal string
  |
2 | port = 500 500
  |        ^^^^^^^

cygnet.toml:3:5: unclosed table, expected `]`
  |
3 | [dae mon]
  |     ^"
    );
}

#[test]
fn no_error_shows_a_secret() {
    for secret in [
        "secret = \"hunter2",
        "secret = hunter2",
        "secret = \"0xhunter2\"",
        "secret = \"0shunter2?\"",
        "secert = \"hunter2\"",
        "secret = [\"hunter2\"]",
        "secret = { x = \"hunter2\" }",
        "secret = \"hunter2\"\nsecret = \"hunter2\"",
        "secret = \"hunter2\" trailing",
        "secret = \"\\q hunter2\"",
        "secret = \"\"\"\nhunter2",
        "id = [\"@x\"], secret = \"hunter2\"",
        "hunter2",
    ] {
        let text = LEAST.replace("secret = \"sixteen octets!!\"", secret);
        let errors = errors(&text);
        assert!(errors != "no errors" && !errors.contains("hunter2"), "{errors}");
    }
    assert_eq!(
        first_error(&LEAST.replace("secret = \"sixteen", "secert = \"sixteen")),
        "9:10: there is no secret in [secrets.psk]
  |
9 | [secrets.psk]
  |          ^^^ one of secret, file or credential"
    );
    assert!(errors(&LEAST.replace("secret = \"sixteen", "secert = \"sixteen")).ends_with(
        "
cygnet.toml:10:1: there is no \"secert\" in [secrets.psk]
   |
10 | secert = ********
   | ^^^^^^ did you mean \"secret\"?"
    ));
    assert_eq!(
        first_error(&LEAST.replace("sixteen octets!!", "0xnot")),
        "10:10: what follows 0x is not hexadecimal
   |
10 | secret = ********
   |          ^^^^^^^^"
    );
}

#[test]
fn a_secret_that_can_be_guessed_is_warned_of() {
    let config = good(&LEAST.replace("sixteen octets!!", "hunter2"));
    assert_eq!(
        config.warnings,
        ["cygnet.toml:10:1: this secret is so short that it can be guessed
   |
10 | secret = ********
   | ^^^^^^ use 16 or more random ones"]
    );
}

/// [`LEAST`] with two PPKs.
fn with_ppks(lines: &str) -> String {
    let ppks = "
[ppks.one]
id = \"one\"
secret = \"0123456789abcdef0123456789abcdef\"
[ppks.two]
id = \"two\"
secret = \"fedcba9876543210fedcba9876543210\"
";
    with("connections.office", lines) + ppks
}

#[test]
fn a_connection_uses_its_ppk_or_lets_the_peer_choose() {
    let ppk = |text: &str| {
        let config = good(text);
        assert!(config.warnings.is_empty());
        let ppk = &config.ike.connections[0].ppk;
        let ids: Vec<_> = ppk.keys.iter().map(|ppk| ppk.id.to_string()).collect();
        (ppk.own.as_ref().map(|own| own.id.to_string()), ids.join(" "), ppk.required)
    };
    assert_eq!(ppk(LEAST), (None, String::new(), false));
    assert_eq!(ppk(&with_ppks("")), (None, "one two".into(), false));
    assert_eq!(ppk(&with_ppks("ppk_required = true")), (None, "one two".into(), true));
    let named = with_ppks("ppk_id = \"two\"\nppk_required = true");
    assert_eq!(ppk(&named), (Some("two".into()), "two".into(), true));
}

#[test]
fn mistakes_with_ppks_are_told() {
    for (text, error) in [
        (with_ppks("ppk_id = \"tow\""), "there is no PPK \"tow\""),
        (with("connections.office", "ppk_required = true"), "there is no PPK"),
        (
            with_ppks("ppk_required = true\nremote_addrs = [\"192.0.2.1\"]"),
            "which PPK we use must be said",
        ),
        (with_ppks("").replace("id = \"two\"", "id = \"one\""), "there is another PPK \"one\""),
        (with_ppks("").replace("id = \"two\"", "id = \"\""), "a PPK needs a name"),
        (with_ppks("").replace("id = \"two\"\n", ""), "there is no id in [ppks.two]"),
    ] {
        assert!(first_error(&text).contains(error), "{}", errors(&text));
    }
    let short = with_ppks("").replace("fedcba9876543210fedcba9876543210", "fedcba9876543210");
    assert_eq!(good(&short).warnings.len(), 1);
}

#[test]
fn secrets_come_from_files_and_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cygnet.toml");
    private(&dir.path().join("psk"), "sixteen octets!!\n", 0o600);
    private(&config, &LEAST.replace("secret = \"sixteen octets!!\"", "file = \"psk\""), 0o644);
    assert_eq!(load(&config).unwrap().warnings, [""; 0]);

    private(&dir.path().join("psk"), "sixteen octets!!\n", 0o644);
    let warnings = load(&config).unwrap().warnings.join("\n");
    assert!(warnings.contains("everybody on this machine can read"), "{warnings}");

    let text = LEAST.replace("secret = \"sixteen octets!!\"", "credential = \"psk\"");
    let of = |credentials| {
        let environment = Environment { credentials, ..Environment::default() };
        assemble(&[source("cygnet.toml", &text)], &environment)
    };
    assert!(of(Some(dir.path().to_owned())).is_ok());
    let error = of(None).err().unwrap().to_string();
    assert!(error.contains("CREDENTIALS_DIRECTORY is not set"), "{error}");
}

#[test]
fn a_secret_in_a_file_that_everybody_can_read_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cygnet.toml");
    private(&config, LEAST, 0o644);
    assert_eq!(load(&config).unwrap().warnings.len(), 1);
    private(&config, LEAST, 0o640);
    assert_eq!(load(&config).unwrap().warnings, [""; 0]);
}

#[test]
fn files_in_conf_d_are_joined_and_may_not_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cygnet.toml");
    let more = dir.path().join("conf.d");
    fs::create_dir(&more).unwrap();
    private(&config, LEAST, 0o600);
    let second = LEAST.split("[secrets").next().unwrap().replace("office", "alpha");
    private(&more.join("10-alpha.toml"), &second, 0o600);
    private(&more.join("notes.txt"), "not toml", 0o600);
    assert_eq!(load(&config).unwrap().ike.connections.len(), 2);

    private(&more.join("20-alpha.toml"), &second, 0o600);
    let path = more.join("20-alpha.toml");
    assert_eq!(
        load(&config).err().unwrap().to_string(),
        format!(
            "{}:2:14: [connections.alpha] is in another file already
  |
2 | [connections.alpha]
  |              ^^^^^ use another name",
            path.display()
        )
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cygnet.toml");
    let error = || load(&config).err().unwrap().to_string();
    let name = config.display().to_string();
    assert_eq!(error(), format!("{name}: cannot be read: No such file or directory (os error 2)"));
    fs::write(&config, b"[daemon]\n# \xff\n").unwrap();
    assert_eq!(error(), format!("{name}: line 2 is not UTF-8"));
    fs::write(&config, vec![b'#'; 2 << 20]).unwrap();
    assert_eq!(error(), format!("{name}: cannot be read: it is longer than 1048576 octets"));
}

#[test]
fn the_examples_are_good() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/examples");
    let dir = tempfile::tempdir().unwrap();
    for (name, key) in [("client.toml", "office.key"), ("gateway.toml", "laptop.key")] {
        private(&dir.path().join(key), &"5a".repeat(32), 0o600);
        let text = fs::read_to_string(examples.join(name)).unwrap();
        private(&dir.path().join(name), &text, 0o644);
        let config = load(&dir.path().join(name)).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.warnings, [""; 0]);
    }
}

fn private(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A gateway with a pool of both families.
const POOL: &str = r#"
[connections.office]
pools = ["clients"]
[connections.office.local]
id = "@dut"
[connections.office.remote]
[connections.office.children.net]
local_ts = ["10.92.0.0/24", "fd00:92::/64"]
[secrets.psk]
secret = "sixteen octets!!"
[pools.clients]
addrs = ["10.3.0.0/30", "fd00:3::/126"]
dns = ["10.92.0.53"]
domains = ["Corp.Example"]
subnets = ["10.92.0.0/24"]
[pools.clients.fixed]
"alice@example.org" = "10.3.0.2"
"bob" = ["10.4.0.9", "fd00:3::9"]
"#;

#[test]
fn a_pool_gives_the_addresses_that_hosts_can_have() {
    let config = good(POOL);
    let [pool] = config.ike.pools.as_slice() else { panic!("one pool") };
    let ranges: Vec<_> =
        pool.ranges.iter().map(|it| format!("{}-{}", it.first(), it.last())).collect();
    assert_eq!(ranges, ["10.3.0.1-10.3.0.2", "fd00:3::1-fd00:3::3"]);
    let fixed: Vec<_> = pool.fixed.iter().map(|(id, it)| format!("{id} {it}")).collect();
    assert_eq!(fixed, ["alice@example.org 10.3.0.2", "@bob 10.4.0.9", "@bob fd00:3::9"]);
    assert_eq!(pool.network.domains[0].as_str(), "corp.example");
    let connection = &config.ike.connections[0];
    assert_eq!(connection.pools, [std::sync::Arc::from("clients")]);
    assert!(connection.children.first.dynamic);
    let clients: Vec<_> =
        connection.children.first.remote_ts.iter().map(ToString::to_string).collect();
    let expected = ["10.3.0.1-10.3.0.2", "fd00:3::1-fd00:3::3", "10.3.0.2/32", "10.4.0.9/32"];
    assert_eq!(clients[..4], expected);
}

#[test]
fn a_client_that_asks_for_addresses_has_dynamic_traffic() {
    let text = LEAST.replace("local_ts = [\"10.91.0.0/24\"]", "");
    let lines = "remote_addrs = [\"192.0.2.1\"]\nvips = [\"0.0.0.0\"]\ndns_domains = [\"*\"]";
    let header = "[connections.office]\n";
    let config = good(&text.replace(header, &format!("{header}{lines}\n")));
    let child = &config.ike.connections[0].children.first;
    assert!(child.dynamic);
    assert_eq!(child.local_ts[0].to_string(), "0.0.0.0/0");
    let names = super::Names { enabled: true, claims: super::Claims::Any };
    assert_eq!(config.connections[0].names, names);
}

#[test]
fn mistakes_with_inner_addresses_are_told() {
    let line = |text: &str| {
        let error = first_error(text);
        error.split_once(": ").map_or("good", |it| it.1).lines().next().unwrap().to_owned()
    };
    let pool = |from: &str, to: &str| line(&POOL.replace(from, to));
    for (from, to, error) in [
        ("[\"clients\"]", "[\"client\"]", "there is no pool \"client\""),
        ("\"10.3.0.0/30\"", "\"10.3.0.0/30[tcp]\"", "a pool has no protocols"),
        ("\"10.3.0.0/30\"", "\"10.3.0.0/30\", \"10.3.0.2\"", "the ranges of this pool overlap"),
        ("10.92.0.53", "0.0.0.0", "0.0.0.0 is no address of a host"),
        ("Corp.Example", "corp example", "not a domain name"),
        ("\"10.4.0.9\"", "\"10.3.0.2\"", "10.3.0.2 is somebody else's"),
        ("[\"10.92.0.53\"]", "[]", "good"),
        (
            "[pools.clients]\n",
            "[pools.other]\naddrs = [\"10.3.0.1\"]\n[pools.clients]\n",
            "addresses of this pool are in \"other\" as well",
        ),
    ] {
        assert_eq!(pool(from, to), error, "{to}");
    }
    let vips = |list: &str| {
        let lines = format!("remote_addrs = [\"192.0.2.1\"]\nvips = {list}");
        line(&with("connections.office", &lines))
    };
    assert_eq!(vips("[\"10.0.0.1\", \"0.0.0.0\"]"), "too many addresses of a family");
    assert_eq!(vips("[\"224.0.0.1\"]"), "224.0.0.1 is no address of a host");
    let without = line(&with("connections.office", "vips = [\"0.0.0.0\"]"));
    assert_eq!(without, "[connections.office] has no remote_addrs: it can only answer");
}

/// A folder with an authority, the certificate and key of `gateway.example.org`,
/// and an empty revocation list.
fn with_certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut provider = crypto::Provider::system();
    let new_key = || crypto::SigningKey::generate(crypto::KeyKind::EcdsaP256, 0).unwrap();
    let (ca_pkcs8, pkcs8) = (new_key(), new_key());
    let ca_key = crypto::SigningKey::from_pkcs8(&ca_pkcs8).unwrap();
    let key = crypto::SigningKey::from_pkcs8(&pkcs8).unwrap();
    let time = |days: u64| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86400);
    let mut request = pki::issue::Request {
        subject: "O=Example, CN=CA".parse().unwrap(),
        names: Vec::new(),
        validity: (time(20_000), time(40_000)),
        role: pki::issue::Role::Authority(None),
        extended_key_usages: Vec::new(),
        name_constraints: None,
        crl_uri: None,
    };
    let ca = pki::issue::self_signed(&request, &ca_key, &mut provider).unwrap();
    request.subject = "O=Example, CN=gateway".parse().unwrap();
    request.names = vec![pki::issue::AlternativeName::Dns("gateway.example.org".into())];
    request.role = pki::issue::Role::Peer;
    let authority = pki::issue::Authority { certificate: &ca, key: &ca_key };
    let own = authority.issue(&request, &key, &mut provider).unwrap();
    fs::write(dir.path().join("own.p12"), P12).unwrap();
    fs::write(dir.path().join("own.passphrase"), "open-sesame\n").unwrap();
    let (_, crl) = authority.revoke(&[], (time(20_000), time(40_000)), 1).unwrap();
    let write = |name: &str, label: &str, octets: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, pki::pem::encode(label, octets).as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("ca.pem", "CERTIFICATE", ca.as_der());
    write("own.pem", "CERTIFICATE", own.as_der());
    write("own.key", "PRIVATE KEY", &pkcs8);
    write("ca.key", "PRIVATE KEY", &ca_pkcs8);
    write("own.pub", "PUBLIC KEY", own.spki());
    write("ca.crl", "X509 CRL", &crl);
    dir
}

/// Of an authority of its own, as OpenSSL has written it.
const P12: &[u8] = include_bytes!("../../../pki/tests/data/openssl3.p12");

/// A connection with certificates on both sides, with lines for each.
fn certified(local: &str, remote: &str) -> String {
    LEAST
        .replace("id = \"@dut\"", &format!("auth = \"pubkey\"\n{local}"))
        .replace(".remote]", &format!(".remote]\nauth = \"pubkey\"\n{remote}"))
}

const OWN: &str = "certs = [\"own.pem\", \"ca.pem\"]\nkey = \"own.key\"";
const TRUST: &str = "cacerts = [\"ca.pem\"]\ncrls = [\"ca.crl\"]\nrevocation = \"strict\"";

fn parse_in(directory: &Path, text: &str) -> Result<DaemonConfig, ConfigErrors> {
    let environment =
        Environment { directory: directory.to_owned(), credentials: None, transport: false };
    assemble(&[source("cygnet.toml", text)], &environment)
}

#[test]
fn certificates_are_read_and_name_us() {
    let dir = with_certificates();
    let config = parse_in(dir.path(), &certified(OWN, TRUST)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.warnings, [""; 0]);
    let office = &config.ike.connections[0];
    assert_eq!(office.local_id.to_string(), "O=Example, CN=gateway");
    assert_eq!(office.remote_id, IdPattern::Any);
    let LocalAuth::PublicKey(credential) = &office.auth.local else { panic!("no certificate") };
    assert_eq!(credential.certificates().len(), 2);
    let RemoteAuth::PublicKey(trust) = &office.auth.remote else { panic!("nobody is trusted") };
    assert_eq!(trust.authority_hashes().count(), 1);
    for id in ["gateway.example.org", "o=example, cn=GATEWAY"] {
        let text = certified(&format!("id = \"{id}\"\n{OWN}"), TRUST);
        assert!(parse_in(dir.path(), &text).is_ok(), "{id}");
    }
}

#[test]
fn key_and_certificates_may_come_in_one_file() {
    let dir = with_certificates();
    fs::set_permissions(dir.path().join("own.p12"), fs::Permissions::from_mode(0o600)).unwrap();
    let own = "pkcs12 = \"own.p12\"\npassphrase_file = \"own.passphrase\"";
    let config = parse_in(dir.path(), &certified(own, TRUST)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.warnings, [""; 0]);
    let office = &config.ike.connections[0];
    assert_eq!(office.local_id.to_string(), "O=Example, CN=gateway");
    let LocalAuth::PublicKey(credential) = &office.auth.local else { panic!("no certificate") };
    assert_eq!(credential.certificates().len(), 1);
}

#[test]
fn the_two_sides_may_prove_themselves_in_different_ways() {
    let dir = with_certificates();
    let text = LEAST.replace("id = \"@dut\"", &format!("auth = \"pubkey\"\n{OWN}"));
    let config = parse_in(dir.path(), &text).unwrap_or_else(|errors| panic!("{errors}"));
    let auth = &config.ike.connections[0].auth;
    assert!(matches!(auth.local, LocalAuth::PublicKey(_)));
    assert!(matches!(auth.remote, RemoteAuth::PreShared(_)));
}

#[test]
fn a_mistake_with_certificates_says_what_it_is() {
    let dir = with_certificates();
    let raw = "certs = [\"own.pub\"]";
    for (local, remote, expected) in [
        ("certs = [\"own.pem\"]", TRUST, "there is no key in [connections.office.local]"),
        (OWN, "", "there is nobody to believe in [connections.office.remote]"),
        (OWN, "cacerts = [\"own.pem\"]", "not the certificate of an authority"),
        (OWN, "cacerts = [\"missing.pem\"]", "cannot read"),
        (OWN, "cacerts = [\"own.key\"]", "there is no certificate in it"),
        (OWN, "cacerts = [\"ca.pem\"]\ncrls = [\"ca.pem\"]", "no revocation list in it"),
        (OWN, "cacerts = [\"ca.pem\"]\nrevocation = \"ifurl\"", "did you mean \"ifuri\"?"),
        (OWN, "cacerts = [\"ca.pem\"]\nextended_key_usage = \"tsl\"", "did you mean \"tls\"?"),
        (OWN, raw, "whose public key this is must be said"),
        ("certs = [\"own.pem\"]\nkey = \"ca.key\"", TRUST, "not that of the private key"),
        ("certs = [\"own.pem\"]\nkey = \"ca.pem\"", TRUST, "there is no private key in it"),
        (&format!("id = \"other.example\"\n{OWN}"), TRUST, "it is for O=Example, CN=gateway | gat"),
        ("pkcs12 = \"own.p12\"\nkey = \"own.key\"", TRUST, "key and pkcs12 are given"),
        ("pkcs12 = \"own.p12\"", TRUST, "passphrase_file = \"own.passphrase\""),
        ("pkcs12 = \"ca.pem\"", TRUST, "this is no PKCS #12 file"),
        (&format!("id = \"CN=*\"\n{OWN}"), TRUST, "this id stands for several"),
        ("key = \"own.key\"", TRUST, "there is no id"),
    ] {
        let found = match parse_in(dir.path(), &certified(local, remote)) {
            Ok(_) => "no errors".to_owned(),
            Err(errors) => errors.to_string(),
        };
        assert!(found.contains(expected), "{local} / {remote}: {found}");
    }
    let idle = LEAST.replace("id = \"@dut\"", "id = \"@dut\"\nkey = \"own.key\"");
    assert!(errors(&idle).contains("key counts only with auth = \"pubkey\""), "{}", errors(&idle));
}

#[test]
fn a_private_key_that_everybody_can_read_is_warned_of() {
    let dir = with_certificates();
    let key = dir.path().join("own.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    let config = parse_in(dir.path(), &certified(OWN, TRUST)).unwrap_or_else(|e| panic!("{e}"));
    assert!(config.warnings[0].contains("everybody on this machine can read this private key"));
}

#[test]
fn a_raw_public_key_and_whose_it_is_are_enough() {
    let dir = with_certificates();
    let local = "id = \"@dut\"\nkey = \"own.key\"";
    let text = certified(local, "id = \"@peer\"\ncerts = [\"own.pub\"]");
    let config = parse_in(dir.path(), &text).unwrap_or_else(|errors| panic!("{errors}"));
    let RemoteAuth::PublicKey(trust) = &config.ike.connections[0].auth.remote else {
        panic!("nobody is trusted")
    };
    assert!(trust.has_raw_keys());
}

#[test]
fn a_connection_may_have_so_many_sas() {
    let most = |lines| good(&with("connections.office", lines)).ike.connections[0].max_sas;
    assert_eq!(most(""), None);
    assert_eq!(most("max_sas = 5"), Some(5));
}

#[test]
fn an_authentication_is_good_for_as_long_as_is_said() {
    let reauth = |lines: &str| {
        let config = good(&with("connections.office", lines));
        config.ike.connections[0].reauth
    };
    let seconds = Duration::from_secs;
    assert_eq!(reauth(""), Lifetime::endless());
    assert_eq!(reauth("reauth_time = \"3h\""), Lifetime::of(seconds(3 * 3600)));
    let spoken = reauth("reauth_time = \"1h\"\nover_time = \"5m\"\nrand_time = \"1m\"");
    let said =
        Lifetime { rekey: Some(seconds(3600)), spread: seconds(60), life: Some(seconds(3900)) };
    assert_eq!(spoken, said);
    let wrong = [
        ("reauth_time = \"5s\"", "that often"),
        ("reauth_time = \"1m\"\nrand_time = \"2m\"", "rand_time leaves nothing of reauth_time"),
    ];
    for (lines, message) in wrong {
        let error = first_error(&with("connections.office", lines));
        assert!(error.contains(message), "{error}");
    }
}

fn lifetimes(text: &str) -> (Lifetime<Duration>, ChildLifetime) {
    let config = good(text);
    let connection = &config.ike.connections[0];
    (connection.lifetime, connection.children.first.lifetime)
}

#[test]
fn keys_live_for_hours_if_nothing_else_is_said() {
    let hour = Duration::from_secs(3600);
    let (ike, child) = lifetimes(LEAST);
    assert_eq!(ike, Lifetime::of(4 * hour));
    assert_eq!(child, ChildLifetime { time: Lifetime::of(hour), ..ChildLifetime::endless() });
}

fn of<T>(rekey: Option<T>, spread: T, life: Option<T>) -> Lifetime<T> {
    Lifetime { rekey, spread, life }
}

#[test]
fn keys_live_as_long_as_it_says() {
    let seconds = Duration::from_secs;
    let lines = "rekey_time = \"2h\"\nover_time = \"5m\"\nrand_time = \"1m\"";
    let (ike, _) = lifetimes(&with("connections.office", lines));
    let expected =
        Lifetime { rekey: Some(seconds(7200)), spread: seconds(60), life: Some(seconds(7500)) };
    assert_eq!(ike, expected);
    let (ike, _) = lifetimes(&with("connections.office", "rekey_time = \"0s\""));
    assert_eq!(ike, Lifetime::endless());

    let child = |lines| lifetimes(&with("connections.office.children.net", lines)).1;
    let spoken = child("rekey_time = \"30m\"\nlife_time = \"40m\"\nrand_time = \"2m\"");
    assert_eq!(spoken.time, of(Some(seconds(1800)), seconds(120), Some(seconds(2400))));
    let mute = child("rekey_time = \"0s\"\nlife_time = \"1d\"");
    assert_eq!(mute.time, of(None, Duration::ZERO, Some(seconds(86_400))));
    let volume = child("rekey_bytes = 1000000\nlife_packets = 5000\nrekey_packets = 4000");
    assert_eq!(volume.bytes, of(Some(1_000_000), 100_000, Some(1_100_000)));
    assert_eq!(volume.packets, of(Some(4000), 1000, Some(5000)));
    let volume = child("rekey_bytes = 1000\nlife_bytes = 0\nrand_bytes = 10");
    assert_eq!(volume.bytes, of(Some(1000), 10, None));
}

#[test]
fn keys_that_cannot_live_are_refused() {
    let child = |lines| first_error(&with("connections.office.children.net", lines));
    let error = child("rekey_time = \"1h\"\nlife_time = \"50m\"");
    assert!(error.contains("life_time is not longer than rekey_time"), "{error}");
    let error = child("rekey_bytes = 5000\nrand_bytes = 5000");
    assert!(error.contains("rand_bytes leaves nothing of rekey_bytes"), "{error}");
    let error = child("rekey_time = \"1s\"");
    assert!(error.contains("keys cannot be replaced that often"), "{error}");
    let error = child("rekey_packets = -1");
    assert!(error.contains("this number is out of range"), "{error}");
    let error = first_error(&with("connections.office", "rand_time = \"5h\""));
    assert!(error.contains("rand_time leaves nothing of rekey_time"), "{error}");
}

/// A child in transport mode, with `lines`, of a connection with `more`.
fn hosts(more: &str, lines: &str) -> String {
    let sides = "local_ts = [\"10.91.0.0/24\"]\nremote_ts = [\"10.92.0.0/24\"]\n";
    let child = format!("mode = \"transport\"\n{lines}\n");
    LEAST
        .replace("[connections.office]\n", &format!("[connections.office]\n{more}\n"))
        .replace(sides, &child)
}

#[test]
fn a_child_in_transport_mode_is_for_the_hosts_which_do_not_move() {
    let config = parse_for_hosts(&hosts("", "")).unwrap();
    let connection = &config.ike.connections[0];
    let child = &connection.children.first;
    assert_eq!((child.mode, child.dynamic, connection.mobike), (Mode::Transport, false, false));
    let any = ["0.0.0.0/0", "::/0"].map(str::to_owned);
    assert_eq!([&child.local_ts, &child.remote_ts].map(|ts| texts(ts)), [any.clone(), any]);

    let some = r#"local_ts = ["dynamic"]
remote_ts = ["0.0.0.0/0[tcp/443]"]"#;
    let config = parse_for_hosts(&hosts(r#"remote_addrs = ["10.77.0.2"]"#, some)).unwrap();
    let child = &config.ike.connections[0].children.first;
    assert_eq!(texts(&child.remote_ts), ["0.0.0.0/0[6/443]"]);

    let tunnel = good(&with("connections.office.children.net", r#"mode = "tunnel""#));
    let connection = &tunnel.ike.connections[0];
    assert_eq!((connection.children.first.mode, connection.mobike), (Mode::Tunnel, true));
}

fn texts(selectors: &[Selector]) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}

#[test]
fn what_does_not_go_with_transport_mode_is_refused() {
    let cases = [
        ("mobike = true", "", "a child in transport mode cannot move to other addresses"),
        (
            r#"remote_addrs = ["10.77.0.2"]
vips = ["0.0.0.0"]"#,
            "",
            "no child carries the inner addresses: all are in transport mode",
        ),
        (
            r#"remote_addrs = ["10.77.0.2"]"#,
            r#"remote_ts = ["10.92.0.0/24"]"#,
            "remote_ts has none of remote_addrs",
        ),
        (
            r#"remote_addrs = ["10.77.0.2", "vpn.example.org"]"#,
            "",
            "transport mode needs addresses, and vpn.example.org is a name",
        ),
        (
            r#"local_addrs = ["10.77.0.1"]"#,
            r#"local_ts = ["10.91.0.0/24"]"#,
            "local_ts has none of local_addrs",
        ),
    ];
    for (more, lines, expected) in cases {
        let Err(errors) = parse_for_hosts(&hosts(more, lines)) else {
            panic!("{more}, {lines} are taken")
        };
        assert!(errors.to_string().contains(expected), "{errors}");
    }
}

#[test]
fn without_a_plane_that_can_do_it_transport_mode_is_refused() {
    let error = first_error(&hosts("", ""));
    assert!(error.contains("the data plane of this daemon can do tunnel mode only"), "{error}");
    let wrong = with("connections.office.children.net", r#"mode = "transprot""#);
    assert!(first_error(&wrong).contains(r#"did you mean "transport"?"#), "{}", errors(&wrong));
}
