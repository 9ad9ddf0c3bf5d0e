//! A real resumption between two libreswan 5.2, from its first request to the
//! keys of its child, through what this crate makes of it on either side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crypto::{
    AdditionalGroups, EspCipher, EspKey, Group, IkeCipher, IkeSpis, IkeSuite, KeyLen, PrfAlg, SkD,
};
use esp::limits::Limits;
use esp::spec::{ChildId, Encapsulation, GroupId, Mode, OuterPath, Selector};
use serde_json::Value;

use super::auth::{Claim, Demand, PeerAuthenticated, RESUMED_REQUEST, RESUMED_RESPONSE};
use super::child::{self, Child, KeySource, Scope, Terms};
use super::{Transcript, informational, session_resume};
use crate::config::{ChildConfig, ChildLifetime, Children};
use crate::event::{Path, Port, Role};
use crate::fault::Failure;
use crate::inner::Addresses;
use crate::sa::datagram::Datagram;
use crate::sa::protection::{Keys, Spis};
use crate::session::AuthForm;
use crate::time::{Instant, Now};
use crate::wire::{Header, IkeSpi, Message, NotifyType};

const SUITE: IkeSuite = IkeSuite {
    cipher: IkeCipher::AesGcm16(KeyLen::L256),
    prf: PrfAlg::HmacSha512,
    group: Group::P256,
    additional: AdditionalGroups::NONE,
};

/// As a gateway takes them: the form of the RFC first.
const FORMS: [AuthForm; 2] = [AuthForm::Rfc5723, AuthForm::MessageOnly];

/// Nothing here depends on the way a message came.
const PATH: Path = Path { local: ANYWHERE, remote: ANYWHERE, port: Port::NatTraversal };
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

struct Capture(Value);

impl Capture {
    fn read() -> Self {
        let text = include_str!("../../tests/data/libreswan-5.2-resume.json");
        Self(serde_json::from_str(text).unwrap())
    }

    fn octets(&self, name: &str) -> Vec<u8> {
        let digits = self.0[name].as_str().unwrap().as_bytes().chunks(2);
        let octet = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.map(octet).collect()
    }

    fn spis(&self) -> Spis {
        let spi = |name| IkeSpi(self.octets(name).try_into().unwrap());
        Spis { initiator: spi("spii"), responder: spi("spir") }
    }

    fn transcript(&self) -> Transcript {
        let (ni, nr) = (self.octets("ni"), self.octets("nr"));
        let [request, response] = ["resume_request", "resume_response"].map(|n| self.octets(n));
        Transcript::new((request.into(), &ni), (response.into(), &nr))
    }

    fn keys(&self, role: Role) -> Keys {
        let (spis, transcript) = (self.spis(), self.transcript());
        let sk_d = SkD::from_ticket(SUITE.prf, &self.octets("sk_d_old")).unwrap();
        let on_wire = IkeSpis { initiator: spis.initiator.0, responder: spis.responder.0 };
        let keys = sk_d.resume(transcript.nonces()).expand(SUITE, transcript.nonces(), on_wire);
        Keys::new(role, spis, keys, None)
    }

    /// The keys of the child for one side: what it receives and sends with.
    fn child_keys(&self, role: Role, terms: Terms) -> [Vec<u8>; 2] {
        let any = "0.0.0.0:0".parse().unwrap();
        let path = OuterPath { local: any, remote: any, encapsulation: Encapsulation::Plain };
        let spi_in = terms.spi_out;
        let child = Child { id: ChildId(1), group: GroupId(1), spi_in, terms };
        let transcript = self.transcript();
        let source = KeySource { role, nonces: transcript.nonces(), shared: None };
        let spec = child.spec(&self.keys(role).sk_d, source, (path, Limits::NONE), false);
        let octets = |key: &EspKey| key.for_kernel(<[u8]>::to_vec);
        [octets(&spec.inbound.key), octets(&spec.outbound.key)]
    }
}

/// One side's child: between the two nets, as libreswan was configured.
fn child_of(local: &str, remote: &str) -> Children {
    let net = |text: &str| Selector::subnet(text.parse().unwrap(), 24);
    Children::one(ChildConfig {
        name: "net".into(),
        mode: Mode::Tunnel,
        local_ts: vec![net(local)],
        remote_ts: vec![net(remote)],
        proposals: vec!["aes256gcm16".parse().unwrap()],
        dynamic: false,
        lifetime: ChildLifetime::endless(),
    })
}

const WEST: &str = "10.91.0.0";
const EAST: &str = "10.92.0.0";

#[test]
fn the_first_exchange_has_the_shape_of_a_resumption() {
    let capture = Capture::read();
    let request = capture.octets("resume_request");
    let message = Message::parse(&request).unwrap();
    assert!(session_resume::REQUEST.check(&message.payloads).is_ok());
    let ticket = message.payloads.notify(NotifyType::TICKET_OPAQUE).unwrap().data;
    assert_eq!(ticket, capture.octets("ticket"));
    let response = capture.octets("resume_response");
    let message = Message::parse(&response).unwrap();
    assert!(session_resume::RESPONSE.check(&message.payloads).is_ok());
}

#[test]
fn a_gateway_accepts_the_client_in_its_short_form_and_chooses_its_child() {
    let capture = Capture::read();
    let mut keys = capture.keys(Role::Responder);
    let mut request = capture.octets("ike_auth_request");
    let (header, _) = Header::parse(&request).unwrap();
    let mut datagram = Datagram::new(&mut request, header, PATH, Instant::default());
    let message = keys.protection.open(&mut datagram).ok().unwrap();
    let payloads = message.payloads();
    assert!(RESUMED_REQUEST.check(payloads).is_ok());

    let claim = Claim::of(payloads, Role::Initiator).unwrap();
    let with = (SUITE.prf, &keys.their_p);
    let transcript = capture.transcript();
    let peer = PeerAuthenticated::verify(
        with,
        &transcript,
        Role::Initiator,
        claim,
        Demand::Resumed(&FORMS),
    );
    let peer = peer.ok().unwrap();
    assert_eq!(peer.id().to_string(), "@west");
    assert_eq!(peer.form(), Some(AuthForm::MessageOnly));

    let config = child_of(EAST, WEST);
    let scope = Scope { role: Role::Responder, inner: Addresses::NONE, ends: None };
    let terms = child::choose(&config, scope, payloads).unwrap();
    assert_eq!(terms.suite, EspCipher::AesGcm16(KeyLen::L256).into());
    let net = &config.first;
    assert_eq!((&*terms.local_ts, &*terms.remote_ts), (&*net.local_ts, &*net.remote_ts));
    let forth = capture.octets("child_keymat_i2r");
    let back = capture.octets("child_keymat_r2i");
    let ours = capture.child_keys(Role::Responder, terms.clone());
    assert_eq!(ours, [forth.clone(), back.clone()]);
    assert_eq!(capture.child_keys(Role::Initiator, terms), [back, forth]);
}

#[test]
fn a_client_accepts_the_gateway_and_its_next_ticket_but_no_child_that_it_never_offered() {
    let capture = Capture::read();
    let mut keys = capture.keys(Role::Initiator);
    let mut response = capture.octets("ike_auth_response");
    let (header, _) = Header::parse(&response).unwrap();
    let mut datagram = Datagram::new(&mut response, header, PATH, Instant::default());
    let message = keys.protection.open(&mut datagram).ok().unwrap();
    let payloads = message.payloads();
    assert!(RESUMED_RESPONSE.check(payloads).is_ok());

    let claim = Claim::of(payloads, Role::Responder).unwrap();
    let with = (SUITE.prf, &keys.their_p);
    let transcript = capture.transcript();
    let peer = PeerAuthenticated::verify(
        with,
        &transcript,
        Role::Responder,
        claim,
        Demand::Resumed(&FORMS),
    );
    let peer = peer.ok().unwrap();
    assert_eq!(peer.id().to_string(), "@east");
    assert_eq!(peer.form(), Some(AuthForm::MessageOnly));

    let wall = std::time::SystemTime::UNIX_EPOCH;
    let now = Now { instant: Instant::from_nanos(0), wall };
    let grant = informational::grant(payloads, now).unwrap();
    assert_eq!((grant.ticket.octets().len(), grant.lifetime.as_secs()), (856, 3600));

    // Between themselves they took extended sequence numbers, which we never offer.
    let refused = child::accept(&child_of(WEST, EAST), (Addresses::NONE, None), payloads).err();
    assert_eq!(refused, Some(Failure::NoEspProposal));
}
