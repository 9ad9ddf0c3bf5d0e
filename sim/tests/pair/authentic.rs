//! Peers with all keys that do what they should not, or seldom do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crypto::{Group, Provider, SkD};
use ike::config::Childless;
use ike::event::{Command, Event, FallBack, Gone, How, RekeyWhat, RequestId, Role, SessionEnd};
use ike::fault::{Failure, Refusal};
use ike::identity::Id;
use ike::proposal::{EspProposal, IkeProposal, group_number};
use ike::status::Stage;
use ike::wire::{
    CertEncoding, ExchangeType, GatewayId, Header, Message, MessageBuilder, NewProposal, Notify,
    NotifyType, PayloadType, Protected, Protocol,
};
use sim::pair::CLIENT;
use sim::plane::Outgoing;
use sim::profile::{GATEWAY, subnet};
use sim::script::{Opened, Opening, Scripted, push_esp, push_identity};
use sim::{Arrival, Content, Datagram, Pair, Profile};

const SECOND: Duration = Duration::from_secs(1);
const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;
const AUTH: ExchangeType = ExchangeType::AUTH;

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// Sends to a machine of a pair and returns what it sends back, if it does.
pub(crate) fn tell(pair: &mut Pair, to_client: bool, octets: &[u8]) -> Option<Vec<u8>> {
    let [client, gateway] = [CLIENT, GATEWAY].map(|address| SocketAddr::new(address, 500));
    let way = if to_client { [gateway, client] } else { [client, gateway] };
    deliver(pair, way, octets)
}

/// Sends from one address to another and returns what is sent then, if anything.
fn deliver(pair: &mut Pair, [from, to]: [SocketAddr; 2], octets: &[u8]) -> Option<Vec<u8>> {
    let said = pair.world.trace.len();
    let datagram = Datagram { from, to, content: Content::Ike(octets.into()) };
    pair.world.inject(Arrival { after: Duration::ZERO, datagram });
    pair.world.drive();
    let answer = pair.world.trace.get(said)?;
    Some(answer.datagram.ike().unwrap().to_vec())
}

fn child(builder: &mut MessageBuilder<Protected>) {
    push_esp(builder, 1, 0x1000);
    builder.ts_i(&[subnet("10.1.0.2/32")]).ts_r(&[subnet("10.2.0.0/16")]);
}

/// A client whose gateway is written line by line.
pub(crate) struct Client {
    pub(crate) pair: Pair,
    pub(crate) gateway: Scripted,
    request: RequestId,
}

impl Client {
    /// Its IKE_SA_INIT is answered, and IKE_AUTH has come.
    fn new() -> (Self, Opened) {
        Self::of(Pair::with(|scene| scene.client.local_addrs = vec![CLIENT]))
    }

    pub(crate) fn of(pair: Pair) -> (Self, Opened) {
        let name = pair.name();
        Self::beginning(pair, |pair| pair.begin(Command::Up(name)))
    }

    /// As [`Self::of`], by reason of a packet that wants to leave.
    pub(crate) fn of_packet(pair: Pair, inner: &[u8]) -> (Self, Opened) {
        Self::beginning(pair, |pair| {
            let (client, name) = (pair.client, pair.name());
            pair.client_endpoint().arm(&name);
            pair.settle();
            assert_eq!(pair.world.send_inner(client, inner), Outgoing::Held);
            pair.world.drive();
            pair.begin(Command::Up(name))
        })
    }

    fn beginning(pair: Pair, begin: impl FnOnce(&mut Pair) -> RequestId) -> (Self, Opened) {
        Self::answered_with(pair, begin, |_| {})
    }

    /// The answer to its IKE_SA_INIT has this, too.
    fn answered_with(
        mut pair: Pair,
        begin: impl FnOnce(&mut Pair) -> RequestId,
        more: impl FnOnce(&mut MessageBuilder),
    ) -> (Self, Opened) {
        let gateway = pair.gateway;
        pair.world.node_mut(gateway).offline = true;
        let said = pair.world.trace.len();
        let request = begin(&mut pair);
        let first = pair.world.trace[said].datagram.ike().unwrap().clone();
        let (gateway, response) = Scripted::answering_with(&first, more);
        let mut client = Self { pair, gateway, request };
        let auth = client.hear(&response).expect("IKE_AUTH");
        let auth = client.gateway.open(&auth);
        (client, auth)
    }

    pub(crate) fn hear(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        tell(&mut self.pair, true, octets)
    }

    /// IKE_AUTH is answered by the right gateway, with this beside IDr and AUTH.
    pub(crate) fn accept(
        &mut self,
        more: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Option<Vec<u8>> {
        let who = id("gateway.example");
        let auth = self.gateway.auth(&who, "secret");
        let response = self.gateway.seal((AUTH, 1, true), |builder| {
            push_identity(builder, Role::Responder, &who, &auth);
            more(builder);
        });
        self.hear(&response)
    }

    /// It is up.
    fn up() -> Self {
        let (mut client, _) = Self::new();
        client.accept(child);
        assert_eq!(client.end(), Ok(()));
        client
    }

    pub(crate) fn end(&mut self) -> Result<(), Refusal> {
        self.pair.finish(self.request)
    }

    pub(crate) fn failure(&mut self) -> Failure {
        let Err(Refusal::Failed(why)) = self.end() else { panic!("it came up") };
        assert_ne!(self.pair.status().stage, Stage::Up);
        why
    }

    /// A request is answered with the payloads that are returned.
    pub(crate) fn asked(
        &mut self,
        (exchange, id): (ExchangeType, u32),
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Opened {
        let request = self.gateway.seal((exchange, id, false), fill);
        let response = self.hear(&request).expect("an answer");
        self.gateway.open(&response)
    }
}

pub(crate) fn has(opened: &Opened, kind: NotifyType) -> bool {
    opened.payloads().notify(kind).is_some()
}

#[test]
fn a_good_response_brings_the_client_up() {
    let (mut client, auth) = Client::new();
    let payloads = auth.payloads();
    assert_eq!(payloads.id_i().unwrap().data, b"client.example");
    assert_eq!(payloads.id_r().unwrap().data, b"gateway.example");
    assert!(has(&auth, NotifyType::TICKET_REQUEST) && has(&auth, NotifyType::INITIAL_CONTACT));
    assert_eq!(client.accept(child), None);
    assert_eq!(client.end(), Ok(()));
    assert_eq!(client.pair.status().ticket.map(|t| t.len), None);
}

#[test]
fn a_gateway_of_another_name_is_refused_and_told_so() {
    let (mut client, _) = Client::new();
    let who = id("another.example");
    let auth = client.gateway.auth(&who, "secret");
    let response = client.gateway.seal((AUTH, 1, true), |builder| {
        push_identity(builder, Role::Responder, &who, &auth);
        child(builder);
    });
    let told = client.hear(&response).expect("a word");
    let told = client.gateway.open(&told);
    assert!(has(&told, NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(client.failure(), Failure::WrongIdentity);
}

#[test]
fn a_gateway_without_the_secret_is_refused_and_told_so() {
    let (mut client, _) = Client::new();
    let who = id("gateway.example");
    let auth = client.gateway.auth(&who, "guessed");
    let response = client.gateway.seal((AUTH, 1, true), |builder| {
        push_identity(builder, Role::Responder, &who, &auth);
        child(builder);
    });
    let told = client.hear(&response).expect("a word");
    let told = client.gateway.open(&told);
    assert!(has(&told, NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(client.failure(), Failure::PeerNotAuthentic);
}

#[test]
fn selectors_that_are_wider_than_asked_for_are_narrowed_again() {
    let (mut client, _) = Client::new();
    client.accept(|builder| {
        push_esp(builder, 1, 0x1000);
        builder.ts_i(&[subnet("0.0.0.0/0")]).ts_r(&[subnet("0.0.0.0/0")]);
    });
    assert_eq!(client.end(), Ok(()));
    let child = client.pair.status().sa.unwrap().children.remove(0);
    assert_eq!(child.local_ts, [subnet("10.1.0.2/32")]);
    assert_eq!(child.remote_ts, [subnet("10.2.0.0/16")]);
}

/// What a client makes of a response whose child is not as it should be.
fn childless(more: impl FnOnce(&mut MessageBuilder<Protected>)) -> Failure {
    let (mut client, _) = Client::new();
    let told = client.accept(more).expect("a word");
    let told = client.gateway.open(&told);
    let deletes = told.payloads().deletes().any(|delete| delete == ike::wire::Delete::IkeSa);
    assert!(deletes, "the SA is of no use to the client");
    client.failure()
}

#[test]
fn a_child_that_is_not_what_was_offered_is_refused_and_the_sa_deleted() {
    assert_eq!(childless(|_| {}), Failure::NoChild);
    let elsewhere = childless(|builder| {
        push_esp(builder, 1, 0x1000);
        builder.ts_i(&[subnet("10.1.0.2/32")]).ts_r(&[subnet("10.3.0.0/16")]);
    });
    assert_eq!(elsewhere, Failure::NoTrafficSelectors);
    let unasked = childless(|builder| {
        push_esp(builder, 2, 0x1000);
        builder.ts_i(&[subnet("10.1.0.2/32")]).ts_r(&[subnet("10.2.0.0/16")]);
    });
    assert_eq!(unasked, Failure::Protocol);
    let reserved = childless(|builder| {
        push_esp(builder, 1, 255);
        builder.ts_i(&[subnet("10.1.0.2/32")]).ts_r(&[subnet("10.2.0.0/16")]);
    });
    assert_eq!(reserved, Failure::Protocol);
    let refused = childless(|builder| {
        builder.notify(NotifyType::TS_UNACCEPTABLE, &[]);
    });
    assert_eq!(refused, Failure::NoTrafficSelectors);
}

#[test]
fn an_unreadable_but_authentic_response_ends_the_attempt() {
    let (mut client, _) = Client::new();
    let response = client.gateway.seal_octets((AUTH, 1, true), (PayloadType::ID_R, &[0, 0, 0, 3]));
    client.hear(&response);
    assert_eq!(client.failure(), Failure::Protocol);
}

#[test]
fn a_gateway_that_says_later_is_asked_later() {
    let (mut client, _) = Client::new();
    client.accept(|builder| {
        child(builder);
        builder.notify(NotifyType::TICKET_ACK, &[]);
    });
    assert_eq!(client.end(), Ok(()));
    let later = |event: &Event| matches!(event, Event::TicketDenied { later: true, .. });
    assert!(client.pair.client_events().any(later));
    assert_eq!(client.pair.suspend(), Err(Refusal::NoTicket));
    for (message_id, kind) in [(2, NotifyType::TICKET_ACK), (3, NotifyType::TICKET_LT_OPAQUE)] {
        client.pair.world.run_for(60 * SECOND);
        let asked = client.pair.world.trace.last().unwrap().datagram.ike().unwrap().clone();
        assert!(has(&client.gateway.open(&asked), NotifyType::TICKET_REQUEST));
        let answer = client.gateway.seal((INFORMATIONAL, message_id, true), |builder| {
            let data = [0, 0, 0x0e, 0x10, 1, 2, 3];
            let data = if kind == NotifyType::TICKET_ACK { &[] } else { &data[..] };
            builder.notify(kind, data);
        });
        client.hear(&answer);
    }
    assert_eq!(client.pair.status().ticket.unwrap().len, 3);
    assert_eq!(client.pair.suspend(), Ok(()));
}

#[test]
fn a_ticket_that_has_no_life_or_no_octets_is_none() {
    for data in [&[0, 0, 0, 0, 1, 2, 3][..], &[0, 0, 1, 0], &[0, 0], &[]] {
        let (mut client, _) = Client::new();
        client.accept(|builder| {
            child(builder);
            builder.notify(NotifyType::TICKET_LT_OPAQUE, data);
        });
        assert_eq!(client.end(), Ok(()));
        assert_eq!(client.pair.suspend(), Err(Refusal::NoTicket));
    }
}

#[test]
fn a_ticket_of_an_exchange_that_failed_is_not_kept() {
    let (mut client, _) = Client::new();
    client.accept(|builder| {
        builder.notify(NotifyType::TICKET_LT_OPAQUE, &[0, 0, 1, 0, 1, 2, 3]);
        builder.notify(NotifyType::TS_UNACCEPTABLE, &[]);
    });
    assert_eq!(client.failure(), Failure::NoTrafficSelectors);
    assert_eq!(client.pair.resume(), Err(Refusal::NotSuspended));
}

#[test]
fn a_request_with_an_unknown_critical_payload_is_refused_and_the_sa_lives() {
    let mut client = Client::up();
    let unknown = (PayloadType(200), &[0, 0x80, 0, 4][..]);
    let request = client.gateway.seal_octets((INFORMATIONAL, 0, false), unknown);
    let response = client.hear(&request).expect("an answer");
    let opened = client.gateway.open(&response);
    let notify = opened.payloads().notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD).unwrap();
    assert_eq!(notify.data, [200]);
    assert_eq!(client.pair.status().stage, Stage::Up);
    assert!(client.asked((INFORMATIONAL, 1), |_| {}).payloads().is_empty());
}

#[test]
fn an_unreadable_but_authentic_request_ends_the_sa_on_both_sides() {
    let mut client = Client::up();
    let bad = (PayloadType::NOTIFY, &[0, 0, 0, 5, 0][..]);
    let request = client.gateway.seal_octets((INFORMATIONAL, 0, false), bad);
    let response = client.hear(&request).expect("an answer");
    assert!(has(&client.gateway.open(&response), NotifyType::INVALID_SYNTAX));
    assert_eq!(client.pair.status().stage, Stage::Down);
    assert!(client.pair.world.node(client.pair.client).plane.children().is_empty());
}

#[test]
fn a_peer_may_have_more_children_but_not_any_number() {
    let mut client = Client::up();
    let kind = |n: u32| (ExchangeType::CREATE_CHILD_SA, n);
    for n in 0..47 {
        let answer = client.asked(kind(n), |builder| {
            builder.nonce(&[u8::try_from(n).unwrap(); 32]);
            push_esp(builder, 1, 0x2000 + n);
            builder.ts_i(&[subnet("10.2.0.0/16")]).ts_r(&[subnet("10.1.0.2/32")]);
        });
        assert!(answer.payloads().sa().is_some());
    }
    assert_eq!(client.pair.world.node(client.pair.client).plane.children().len(), 48);
    let answer = client.asked(kind(47), child);
    assert!(has(&answer, NotifyType::NO_ADDITIONAL_SAS));
    assert_eq!(client.pair.status().stage, Stage::Up);
}

#[test]
fn a_request_to_rekey_what_is_not_there_is_told_so() {
    let mut client = Client::up();
    let answer = client.asked((ExchangeType::CREATE_CHILD_SA, 0), |builder| {
        let spi = 0x4711_u32.to_be_bytes();
        let (protocol, kind) = (Protocol::ESP, NotifyType::REKEY_SA);
        builder.notify_about(&Notify { protocol, spi: &spi, kind, data: &[] });
        builder.nonce(&[1; 32]);
        child(builder);
    });
    let notify = answer.payloads().notify(NotifyType::CHILD_SA_NOT_FOUND).unwrap();
    assert_eq!(notify.esp_spi(), Some(0x4711));
    assert_eq!(client.pair.status().stage, Stage::Up);
}

/// Asks for a child with an additional key exchange. The link of the answer.
fn ask_for_hybrid_child(client: &mut Client, id: u32) -> Vec<u8> {
    let esp: EspProposal = "aes256gcm16-x25519-ke1_mlkem768".parse().unwrap();
    let transforms: Vec<_> = esp.keyed_transforms().collect();
    let own = Provider::seeded(1).key_exchange(Group::X25519).unwrap();
    let answer = client.asked((ExchangeType::CREATE_CHILD_SA, id), |builder| {
        let (protocol, spi) = (Protocol::ESP, &[0, 0, 0x20, 0]);
        builder.sa(&[NewProposal { number: 1, protocol, spi, transforms: &transforms }]);
        builder.nonce(&[1; 32]).ke(group_number(Group::X25519), own.public());
        builder.ts_i(&[subnet("10.2.0.0/16")]).ts_r(&[subnet("10.1.0.2/32")]);
    });
    answer.payloads().notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).unwrap().data.to_vec()
}

/// IKE_FOLLOWUP_KE by this link with this value of ML-KEM-768.
fn follow_up(client: &mut Client, id: u32, link: &[u8], value: &[u8]) -> Opened {
    client.asked((ExchangeType::FOLLOWUP_KE, id), |builder| {
        builder.ke(group_number(Group::MlKem768), value);
        builder.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, link);
    })
}

fn ml_kem_value() -> Vec<u8> {
    Provider::seeded(2).key_exchange(Group::MlKem768).unwrap().public().to_vec()
}

/// RFC 9370 section 2.2.4.
#[test]
fn a_key_exchange_that_follows_nothing_is_told_so() {
    let (mut client, value) = (Client::up(), ml_kem_value());
    let children =
        |client: &Client| client.pair.world.node(client.pair.client).plane.children().len();
    let unknown = follow_up(&mut client, 0, b"link", &value);
    assert!(has(&unknown, NotifyType::STATE_NOT_FOUND));
    let link = ask_for_hybrid_child(&mut client, 1);
    // Another link changes nothing for the right one.
    let unknown = follow_up(&mut client, 2, b"link", &value);
    assert!(has(&unknown, NotifyType::STATE_NOT_FOUND));
    assert_eq!(children(&client), 1);
    let last = follow_up(&mut client, 3, &link, &value);
    assert!(last.payloads().ke().is_some());
    assert!(!has(&last, NotifyType::ADDITIONAL_KEY_EXCHANGE));
    assert_eq!(children(&client), 2);
    // It was the last.
    let over = follow_up(&mut client, 4, &link, &value);
    assert!(has(&over, NotifyType::STATE_NOT_FOUND));
    assert_eq!(client.pair.status().stage, Stage::Up);
}

#[test]
fn who_asks_for_another_has_given_up_what_is_unfinished() {
    let (mut client, value) = (Client::up(), ml_kem_value());
    let spis =
        |client: &Client| client.pair.world.node(client.pair.client).endpoint.holdings().spis;
    let first = ask_for_hybrid_child(&mut client, 0);
    let second = ask_for_hybrid_child(&mut client, 1);
    assert_eq!(spis(&client), 2);
    let answer = follow_up(&mut client, 2, &first, &value);
    assert!(has(&answer, NotifyType::STATE_NOT_FOUND));
    let answer = follow_up(&mut client, 3, &second, &value);
    assert!(answer.payloads().ke().is_some());
}

#[test]
fn a_follow_up_without_a_value_of_its_group_breaks_the_protocol() {
    for value in [vec![], vec![0; 1184 - 1], vec![0xff; 1184]] {
        let mut client = Client::up();
        let link = ask_for_hybrid_child(&mut client, 0);
        let answer = follow_up(&mut client, 1, &link, &value);
        assert!(has(&answer, NotifyType::INVALID_SYNTAX));
        assert_eq!(client.pair.status().stage, Stage::Down);
        client.pair.world.run_for(SECOND);
        assert_eq!(client.pair.world.node(client.pair.client).endpoint.holdings().spis, 0);
    }
}

/// RFC 7296 section 1.3: with the group that is named, and not with the same
/// one again and again.
#[test]
fn a_successor_is_asked_for_again_in_the_group_that_the_peer_names_and_only_once() {
    let (mut client, _) = Client::of(Pair::with(|scene| {
        scene.client.local_addrs = vec![CLIENT];
        scene.client.ike = vec!["aes256gcm16-prfsha384-x25519-ecp256"];
    }));
    client.accept(child);
    assert_eq!(client.end(), Ok(()));
    let said = client.pair.world.trace.len();
    let name = client.pair.name();
    client.pair.begin(Command::Rekey(name, RekeyWhat::IkeSa));
    let first = client.pair.world.trace[said].datagram.ike().unwrap().clone();
    let group = |client: &Client, octets: &[u8]| {
        client.gateway.open(octets).payloads().ke().map(|ke| ke.group)
    };
    assert_eq!(group(&client, &first), Some(group_number(Group::X25519)));
    let exchange = ExchangeType::CREATE_CHILD_SA;
    let wants = |client: &mut Client, message_id| {
        let data = group_number(Group::P256).0.to_be_bytes();
        let answer = client.gateway.seal((exchange, message_id, true), |builder| {
            builder.notify(NotifyType::INVALID_KE_PAYLOAD, &data);
        });
        client.hear(&answer)
    };
    let second = wants(&mut client, 2).expect("another request");
    assert_eq!(group(&client, &second), Some(group_number(Group::P256)));
    assert_eq!(wants(&mut client, 3), None);
    let has_failed = |event: &Event| matches!(event, Event::RekeyFailed { .. });
    assert!(client.pair.client_events().any(has_failed));
    assert_eq!(client.pair.status().stage, Stage::Up);
}

/// Asks for a successor of the IKE SA, with a value of this group.
fn ask_for_successor(client: &mut Client, id: u32, offer: &str, group: Group) -> Opened {
    let transforms: Vec<_> = offer.parse::<IkeProposal>().unwrap().transforms().collect();
    let value = Provider::seeded(3).key_exchange(group).unwrap();
    client.asked((ExchangeType::CREATE_CHILD_SA, id), |builder| {
        let (protocol, spi) = (Protocol::IKE, &[7; 8]);
        builder.sa(&[NewProposal { number: 1, protocol, spi, transforms: &transforms }]);
        builder.nonce(&[1; 32]).ke(group_number(group), value.public());
    })
}

/// Asks for a child of these networks.
fn ask_for_child(client: &mut Client, id: u32, esp: &str, [theirs, ours]: [&str; 2]) -> Opened {
    let transforms: Vec<_> = esp.parse::<EspProposal>().unwrap().transforms().collect();
    client.asked((ExchangeType::CREATE_CHILD_SA, id), |builder| {
        let (protocol, spi) = (Protocol::ESP, &[0, 0, 0x20, 0]);
        builder.sa(&[NewProposal { number: 1, protocol, spi, transforms: &transforms }]);
        builder.nonce(&[1; 32]).ts_i(&[subnet(theirs)]).ts_r(&[subnet(ours)]);
    })
}

/// RFC 7296 sections 1.3, 2.7 and 2.9.
#[test]
fn a_request_that_cannot_be_met_is_told_why_and_the_sa_stays() {
    let mut client = Client::up();
    let unknown = ask_for_successor(&mut client, 0, "aes128gcm16-prfsha512-ecp384", Group::P384);
    assert!(has(&unknown, NotifyType::NO_PROPOSAL_CHOSEN));
    let both = "aes256gcm16-prfsha384-x25519-ecp384";
    let other_group = ask_for_successor(&mut client, 1, both, Group::P384);
    let wanted = other_group.payloads().notify(NotifyType::INVALID_KE_PAYLOAD).unwrap();
    assert_eq!(wanted.data, group_number(Group::X25519).0.to_be_bytes());
    let traffic = ["10.2.0.0/16", "10.1.0.2/32"];
    let unknown = ask_for_child(&mut client, 2, "aes128-sha256", traffic);
    assert!(has(&unknown, NotifyType::NO_PROPOSAL_CHOSEN));
    let elsewhere = ask_for_child(&mut client, 3, "aes256gcm16", ["10.9.0.0/16", traffic[1]]);
    assert!(has(&elsewhere, NotifyType::TS_UNACCEPTABLE));
    let good = ask_for_child(&mut client, 4, "aes256gcm16", traffic);
    assert!(good.payloads().sa().is_some());
    assert_eq!(client.pair.status().stage, Stage::Up);
}

#[test]
fn a_request_for_a_child_without_a_nonce_breaks_the_protocol() {
    let mut client = Client::up();
    let answer = client.asked((ExchangeType::CREATE_CHILD_SA, 0), child);
    assert!(has(&answer, NotifyType::INVALID_SYNTAX));
    assert_eq!(client.pair.status().stage, Stage::Down);
}

#[test]
fn an_exchange_that_nobody_knows_breaks_the_protocol() {
    let mut client = Client::up();
    let answer = client.asked((ExchangeType(77), 0), |_| {});
    assert!(has(&answer, NotifyType::INVALID_SYNTAX));
}

#[test]
fn a_client_gives_no_tickets() {
    let mut client = Client::up();
    let answer = client.asked((INFORMATIONAL, 0), |builder| {
        builder.notify(NotifyType::TICKET_REQUEST, &[]);
    });
    assert!(answer.payloads().is_empty());
    assert_eq!(client.pair.client_counters().tickets_issued, 0);
}

#[test]
fn a_message_id_outside_the_window_is_not_answered() {
    let mut client = Client::up();
    for message_id in [1, 2, 5, u32::MAX] {
        let request = client.gateway.seal((INFORMATIONAL, message_id, false), |_| {});
        assert_eq!(client.hear(&request), None);
    }
    assert!(client.asked((INFORMATIONAL, 0), |_| {}).payloads().is_empty());
}

#[test]
fn a_child_that_the_gateway_deletes_is_gone_and_up_asks_for_another() {
    let mut client = Client::up();
    let ours = client.pair.status().sa.unwrap().children[0].spi_in;
    let answer = client.asked((INFORMATIONAL, 0), |builder| {
        builder.delete_children(Protocol::ESP, [0x1000].into_iter());
    });
    let deleted = answer.payloads().deletes().any(|delete| match delete {
        ike::wire::Delete::IkeSa => false,
        ike::wire::Delete::Children { spis, .. } => spis.iter().eq([ours.get()]),
    });
    assert!(deleted);
    assert_eq!(client.pair.status().stage, Stage::Up);
    assert!(client.pair.status().sa.unwrap().children.is_empty());
    assert_eq!(client.pair.outgoing(), Outgoing::Held);
    client.pair.forget_past();
    let up = client.pair.begin(Command::Up(client.pair.name()));
    assert_eq!(client.pair.exchanges(), [(ExchangeType::CREATE_CHILD_SA, false)]);
    assert!(!client.pair.world.node(client.pair.client).replies.contains_key(&up));
}

#[test]
fn an_sa_beside_another_one_does_not_claim_to_be_the_first() {
    let (mut client, first) = Client::of(Pair::with(|scene| {
        let client = &mut scene.client;
        client.local_addrs = vec![CLIENT];
        client.more = vec![Profile { name: "other", ..client.clone() }];
    }));
    assert!(has(&first, NotifyType::INITIAL_CONTACT));
    client.accept(child);
    assert_eq!(client.end(), Ok(()));
    let (_, auth) = Client::beginning(client.pair, |pair| pair.begin(Command::Up("other".into())));
    assert!(!has(&auth, NotifyType::INITIAL_CONTACT));
}

#[test]
fn a_child_deleted_while_it_is_installed_ends_the_set_up() {
    let (mut client, _) = Client::new();
    let node = client.pair.client;
    client.pair.world.node_mut(node).plane.delay = 5 * SECOND;
    let who = id("gateway.example");
    let auth = client.gateway.auth(&who, "secret");
    let response = client.gateway.seal((AUTH, 1, true), |builder| {
        push_identity(builder, Role::Responder, &who, &auth);
        child(builder);
    });
    let delete = client.gateway.seal((INFORMATIONAL, 0, false), |builder| {
        builder.delete_children(Protocol::ESP, [0x1000].into_iter());
    });
    let from_to = client.pair.world.trace[0].datagram.reflected();
    for octets in [response, delete] {
        let datagram = from_to.with_ike(&octets);
        client.pair.world.inject(Arrival { after: Duration::ZERO, datagram });
    }
    client.pair.world.run_for(SECOND);
    assert_eq!(client.failure(), Failure::RefusedByPeer);
    client.pair.world.run_for(60 * SECOND);
    assert!(client.pair.world.node(node).plane.children().is_empty());
}

/// A client that may move, and its IKE_AUTH; neither side does NAT traversal.
fn mobile() -> (Client, Opened) {
    let mut pair = Pair::with(|_| {});
    pair.world.roam(pair.client, &[CLIENT], None);
    Client::of(pair)
}

fn elsewhere() -> IpAddr {
    [198, 18, 0, 5].into()
}

/// It is up and moves: its UPDATE_SA_ADDRESSES.
fn moving() -> (Client, Opened) {
    let (mut client, _) = mobile();
    client.accept(|builder| {
        child(builder);
        builder.notify(NotifyType::MOBIKE_SUPPORTED, &[]);
    });
    assert_eq!(client.end(), Ok(()));
    let said = client.pair.world.trace.len();
    client.pair.world.roam(client.pair.client, &[elsewhere()], None);
    let request = client.pair.world.trace[said].datagram.ike().unwrap().clone();
    let request = client.gateway.open(&request);
    assert!(has(&request, NotifyType::UPDATE_SA_ADDRESSES));
    (client, request)
}

/// Answers the request of this id where the client is now.
fn answer_move(
    client: &mut Client,
    id: u32,
    fill: impl FnOnce(&mut MessageBuilder<Protected>),
) -> Option<Vec<u8>> {
    let response = client.gateway.seal((INFORMATIONAL, id, true), fill);
    let way = [GATEWAY, elsewhere()].map(|address| SocketAddr::new(address, 500));
    deliver(&mut client.pair, way, &response)
}

fn cookie(request: &Opened) -> Vec<u8> {
    request.payloads().notify(NotifyType::COOKIE2).unwrap().data.to_vec()
}

fn is_down(client: &Client, reason: Gone) -> bool {
    let mut events = client.pair.client_events();
    events.any(|event| matches!(event, Event::Down { why, .. } if *why == reason))
}

#[test]
fn a_move_whose_cookie_comes_back_otherwise_ends_the_sa() {
    for flip in [0x00, 0x01] {
        let (mut client, request) = moving();
        let mut shown = cookie(&request);
        shown[15] ^= flip;
        answer_move(&mut client, 2, |builder| {
            builder.notify(NotifyType::COOKIE2, &shown);
        });
        assert_eq!(client.pair.status().sa.is_some(), flip == 0);
        assert_eq!(is_down(&client, Gone::PeerFault), flip != 0);
    }
    let (mut client, _) = moving();
    answer_move(&mut client, 2, |_| {});
    assert!(is_down(&client, Gone::PeerFault), "no cookie at all");
}

/// What NO_NATS_ALLOWED says of a request from there to the gateway.
fn ends(from: IpAddr) -> Vec<u8> {
    let octets = [from, GATEWAY].map(|address| match address {
        IpAddr::V4(it) => it.octets(),
        IpAddr::V6(_) => unreachable!("the scene has IPv4"),
    });
    [octets.concat(), [500_u16.to_be_bytes(); 2].concat()].concat()
}

/// RFC 4555 section 3.9.
#[test]
fn who_forbids_nats_is_told_that_its_address_was_rewritten() {
    for (from, is_refused) in [(CLIENT, false), (elsewhere(), true)] {
        let mut gateway = Gateway::new(|_| {});
        let response = gateway.authenticate(|builder| {
            builder.notify(NotifyType::MOBIKE_SUPPORTED, &[]);
            builder.notify(NotifyType::NO_NATS_ALLOWED, &ends(from));
            child(builder);
        });
        assert_eq!(has(&response, NotifyType::UNEXPECTED_NAT_DETECTED), is_refused);
        assert_eq!(gateway.pair.served().len(), usize::from(!is_refused));
    }
}

#[test]
fn without_nat_traversal_nats_are_forbidden_wherever_addresses_are_told() {
    let forbidden = |opened: &Opened| {
        opened.payloads().notify(NotifyType::NO_NATS_ALLOWED).map(|notify| notify.data.to_vec())
    };
    let (_, auth) = mobile();
    assert_eq!(forbidden(&auth), Some(ends(CLIENT)));
    let (_, update) = moving();
    assert_eq!(forbidden(&update), Some(ends(elsewhere())));
}

#[test]
fn a_move_through_a_forbidden_nat_is_asked_for_three_times_more() {
    let (mut client, mut request) = moving();
    for id in 2..=5 {
        assert!(!is_down(&client, Gone::Moved));
        assert!(has(&request, NotifyType::UPDATE_SA_ADDRESSES));
        let shown = cookie(&request);
        let next = answer_move(&mut client, id, |builder| {
            builder.notify(NotifyType::UNEXPECTED_NAT_DETECTED, &[]);
            builder.notify(NotifyType::COOKIE2, &shown);
        });
        let next = next.expect("another request, or another set-up");
        if id < 5 {
            request = client.gateway.open(&next);
        }
    }
    assert!(is_down(&client, Gone::Moved));
}

/// IKE_AUTH is refused since addresses were rewritten; what the client says then.
fn find_a_nat(pair: &mut Pair, gateway: &mut Scripted, auth: &Opened) -> Option<Vec<u8>> {
    assert!(has(auth, NotifyType::NO_NATS_ALLOWED));
    let refusal = gateway.seal((AUTH, 1, true), |builder| {
        builder.notify(NotifyType::UNEXPECTED_NAT_DETECTED, &[]);
    });
    tell(pair, true, &refusal)
}

#[test]
fn a_set_up_through_a_forbidden_nat_begins_anew_twice_and_then_fails() {
    let (mut client, mut auth) = mobile();
    for _ in 0..2 {
        let again = find_a_nat(&mut client.pair, &mut client.gateway, &auth);
        let (gateway, response) = Scripted::answering(&again.expect("another IKE_SA_INIT"));
        client.gateway = gateway;
        let request = client.hear(&response).expect("another IKE_AUTH");
        auth = client.gateway.open(&request);
    }
    assert_eq!(find_a_nat(&mut client.pair, &mut client.gateway, &auth), None);
    let why = Failure::Notify(NotifyType::UNEXPECTED_NAT_DETECTED.0);
    assert_eq!(client.failure(), why);
}

#[test]
fn a_nat_that_was_there_only_once_does_not_keep_a_client_from_coming_up() {
    let (mut client, auth) = mobile();
    let first = client.pair.world.trace[0].datagram.header().unwrap();
    let again = find_a_nat(&mut client.pair, &mut client.gateway, &auth).unwrap();
    let header = Header::parse(&again).unwrap().0;
    assert_eq!((header.exchange, header.message_id), (ExchangeType::SA_INIT, 0));
    assert_ne!(header.spi_i, first.spi_i);
    let (gateway, response) = Scripted::answering(&again);
    client.gateway = gateway;
    client.hear(&response).expect("another IKE_AUTH");
    assert_eq!(client.accept(child), None);
    assert_eq!(client.end(), Ok(()));
}

#[test]
fn a_resumption_through_a_forbidden_nat_shows_its_ticket_again() {
    let (mut pair, sk_d) = suspended();
    pair.world.roam(pair.client, &[CLIENT], None);
    pair.begin(Command::Resume(pair.name()));
    let first = pair.world.trace.last().unwrap().datagram.ike().unwrap().clone();
    let (mut gateway, response) = Scripted::resumed(&first, sk_d);
    let auth = tell(&mut pair, true, &response).expect("IKE_AUTH");
    let auth = gateway.open(&auth);
    let again = find_a_nat(&mut pair, &mut gateway, &auth).expect("another request");
    let ticket = |octets: &[u8]| {
        let message = Message::parse(octets).unwrap();
        assert_eq!(message.header.exchange, ExchangeType::SESSION_RESUME);
        message.payloads.notify(NotifyType::TICKET_OPAQUE).unwrap().data.to_vec()
    };
    assert_eq!(ticket(&again), ticket(&first));
}

#[test]
fn only_a_gateway_that_has_proved_who_it_is_redirects_in_ike_auth() {
    let to = GatewayId::Address([198, 51, 100, 2].into()).emit(&[]);
    for (secret, is_followed) in [("secret", true), ("another", false)] {
        let (mut client, _) = Client::new();
        let who = id("gateway.example");
        let auth = client.gateway.auth(&who, secret);
        let response = client.gateway.seal((AUTH, 1, true), |builder| {
            push_identity(builder, Role::Responder, &who, &auth);
            builder.notify(NotifyType::REDIRECT, &to);
        });
        client.hear(&response);
        let has_gone = |event: &Event| matches!(event, Event::Redirected { .. });
        assert_eq!(client.pair.client_events().any(has_gone), is_followed);
    }
    // Without a proof it is not even read.
    let (mut client, _) = Client::new();
    let response = client.gateway.seal((AUTH, 1, true), |builder| {
        builder.notify(NotifyType::REDIRECT, &to);
    });
    client.hear(&response);
    assert_eq!(client.failure(), Failure::Protocol);
}

/// A suspended client whose session came from a gateway written line by line,
/// and the SK_d that both have kept.
fn suspended() -> (Pair, SkD) {
    let (mut client, _) = Client::new();
    client.accept(|builder| {
        child(builder);
        builder.notify(NotifyType::TICKET_LT_OPAQUE, &[0, 0, 0x0e, 0x10, 1, 2, 3]);
    });
    assert_eq!(client.end(), Ok(()));
    client.pair.suspend().unwrap();
    client.pair.forget_past();
    (client.pair, client.gateway.sk_d())
}

/// The gateway answers the resumption with this beside IDr and AUTH; what the
/// client says then.
fn resumed_with(
    who: &str,
    more: impl FnOnce(&mut MessageBuilder<Protected>),
) -> (Pair, RequestId, Vec<u8>) {
    let (mut pair, sk_d) = suspended();
    let request = pair.begin(Command::Resume(pair.name()));
    let first = pair.world.trace.last().unwrap().datagram.ike().unwrap().clone();
    let (mut gateway, response) = Scripted::resumed(&first, sk_d);
    let auth_request = tell(&mut pair, true, &response).expect("IKE_AUTH");
    let opened = gateway.open(&auth_request);
    assert!(opened.payloads().certs().next().is_none());
    assert!(!has(&opened, NotifyType::INITIAL_CONTACT));
    let auth = gateway.resumed_auth(&id(who));
    let response = gateway.seal((AUTH, 1, true), |builder| {
        push_identity(builder, Role::Responder, &id(who), &auth);
        more(builder);
        child(builder);
    });
    let said = tell(&mut pair, true, &response).unwrap_or_default();
    (pair, request, said)
}

#[test]
fn a_resumption_needs_the_gateway_of_the_ticket_and_no_certificate() {
    let (mut pair, request, said) = resumed_with("gateway.example", |_| {});
    assert!(said.is_empty());
    assert_eq!(pair.finish(request), Ok(()));
    assert_eq!(pair.set_up().how, How::Resumed);
    for (who, with_cert) in [("another.example", false), ("gateway.example", true)] {
        let (pair, _, said) = resumed_with(who, |builder| {
            if with_cert {
                builder.cert(CertEncoding(4), b"certificate");
            }
        });
        // It is told so, and a full exchange begins at once.
        assert!(!said.is_empty());
        let ends: Vec<_> = pair
            .client_events()
            .filter(|event| match event {
                Event::SessionLost { why, .. } => *why == SessionEnd::Refused,
                Event::FellBack { why, .. } => *why == FallBack::AuthenticationFailed,
                Event::Started { how, .. } => *how == How::Full,
                _ => false,
            })
            .collect();
        assert_eq!(ends.len(), 3);
    }
}

/// A gateway whose client is written line by line.
struct Gateway {
    pair: Pair,
    client: Scripted,
}

impl Gateway {
    fn new(more: impl FnOnce(&mut MessageBuilder)) -> Self {
        Self::of(Pair::with(|_| {}), more)
    }

    fn of(mut pair: Pair, more: impl FnOnce(&mut MessageBuilder)) -> Self {
        let node = pair.client;
        pair.world.node_mut(node).offline = true;
        let opening = Opening::fresh(more);
        let response = tell(&mut pair, false, opening.request()).expect("an answer");
        Self { pair, client: opening.answered(&response) }
    }

    fn hear(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        tell(&mut self.pair, false, octets)
    }

    /// IKE_AUTH with this beside IDi and AUTH; what the gateway answers.
    fn authenticate(&mut self, more: impl FnOnce(&mut MessageBuilder<Protected>)) -> Opened {
        let who = id("client.example");
        let auth = self.client.auth(&who, "secret");
        let request = self.client.seal((AUTH, 1, false), |builder| {
            push_identity(builder, Role::Initiator, &who, &auth);
            more(builder);
        });
        let response = self.hear(&request).expect("an answer");
        self.client.open(&response)
    }

    fn ask(
        &mut self,
        (exchange, id): (ExchangeType, u32),
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Opened {
        let request = self.client.seal((exchange, id, false), fill);
        let response = self.hear(&request).expect("an answer");
        self.client.open(&response)
    }

    fn failures(&self) -> Vec<Failure> {
        let why = |event: &Event| match event {
            Event::Failed { why, .. } => Some(why.clone()),
            _ => None,
        };
        self.pair.gateway_events().filter_map(why).collect()
    }
}

#[test]
fn a_gateway_answers_tickets_only_when_asked() {
    let mut gateway = Gateway::new(|_| {});
    let response = gateway.authenticate(child);
    let payloads = response.payloads();
    assert!(payloads.auth().is_some() && payloads.sa().is_some() && payloads.ts_i().is_some());
    let kinds = [NotifyType::TICKET_LT_OPAQUE, NotifyType::TICKET_NACK, NotifyType::TICKET_ACK];
    assert!(kinds.iter().all(|&kind| !has(&response, kind)));
    let answer = gateway.ask((INFORMATIONAL, 2), |builder| {
        builder.notify(NotifyType::TICKET_REQUEST, &[]);
    });
    let payloads = answer.payloads();
    let ticket = payloads.notify(NotifyType::TICKET_LT_OPAQUE).unwrap();
    assert_eq!((ticket.protocol, ticket.spi), (Protocol::NONE, &[][..]));
    assert_eq!(ticket.ticket_with_lifetime().unwrap().0, 24 * 3600);
}

#[test]
fn a_request_without_a_child_is_refused_where_there_must_be_one() {
    for (childless, is_refused) in [(Childless::Never, true), (Childless::Allow, false)] {
        let pair = Pair::with(|scene| scene.gateway.childless = childless);
        let mut gateway = Gateway::of(pair, |_| {});
        let offered = gateway.pair.world.trace.iter().any(|sent| {
            let octets = sent.datagram.ike().unwrap();
            let message = Message::parse(octets).unwrap();
            message.payloads.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED).is_some()
        });
        assert_eq!(offered, !is_refused);
        let response = gateway.authenticate(|_| {});
        assert!(response.payloads().auth().is_some() && response.payloads().sa().is_none());
        assert_eq!(has(&response, NotifyType::INVALID_SYNTAX), is_refused);
    }
}

/// RFC 8784 section 3: who has said USE_PPK names one, and answers with
/// PPK_IDENTITY if it is mixed in.
#[test]
fn who_says_that_it_uses_a_ppk_and_then_names_none_is_refused() {
    const PPK: (&str, &str) = ("one", "0123456789abcdef0123456789abcdef");
    for required in [true, false] {
        let pair = Pair::with(|scene| {
            scene.gateway.ppks = vec![PPK];
            scene.gateway.ppk_required = required;
        });
        let mut gateway = Gateway::of(pair, |builder| {
            builder.notify(NotifyType::USE_PPK, &[]);
        });
        let response = gateway.authenticate(child);
        assert!(has(&response, NotifyType::AUTHENTICATION_FAILED));
        assert_eq!(gateway.failures(), [Failure::NoPpk]);
    }
    for required in [true, false] {
        let pair = Pair::with(|scene| {
            scene.client.local_addrs = vec![CLIENT];
            (scene.client.ppks, scene.client.ppk_id) = (vec![PPK], Some(PPK.0));
            scene.client.ppk_required = required;
        });
        let name = pair.name();
        let (mut client, auth) = Client::answered_with(
            pair,
            |pair| pair.begin(Command::Up(name)),
            |builder| {
                builder.notify(NotifyType::USE_PPK, &[]);
            },
        );
        assert!(has(&auth, NotifyType::PPK_IDENTITY));
        assert_eq!(has(&auth, NotifyType::NO_PPK_AUTH), !required);
        let said = client.accept(child);
        if required {
            let told = client.gateway.open(&said.expect("a word"));
            assert!(has(&told, NotifyType::AUTHENTICATION_FAILED));
            assert_eq!(client.failure(), Failure::NoPpk);
        } else {
            assert_eq!((said, client.end()), (None, Ok(())));
        }
    }
}

#[test]
fn an_initiator_without_identity_or_proof_is_refused() {
    let mut gateway = Gateway::new(|_| {});
    let response = gateway.ask((AUTH, 1), child);
    assert!(has(&response, NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(gateway.failures(), [Failure::Protocol]);
    assert!(gateway.pair.served().is_empty());
}

#[test]
fn a_refusal_that_was_lost_is_repeated() {
    let mut gateway = Gateway::new(|_| {});
    let request = gateway.client.seal((AUTH, 1, false), child);
    let first = gateway.hear(&request).expect("an answer");
    assert_eq!(gateway.hear(&request), Some(first));
    assert_eq!(gateway.failures().len(), 1);
    // Then the SA is forgotten, and its token is all that is said.
    gateway.pair.world.run_for(31 * SECOND);
    let last = gateway.hear(&request).expect("an answer");
    let Ok(message) = Message::parse(&last) else { panic!("it is in clear") };
    assert!(message.payloads.notify(NotifyType::INVALID_IKE_SPI).is_some());
}

#[test]
fn a_half_open_sa_takes_nothing_but_ike_auth() {
    let mut gateway = Gateway::new(|_| {});
    for (exchange, id) in [(INFORMATIONAL, 1), (AUTH, 0), (AUTH, 2), (INFORMATIONAL, 2)] {
        let request = gateway.client.seal((exchange, id, false), child);
        assert_eq!(gateway.hear(&request), None);
    }
    gateway.authenticate(child);
    assert_eq!(gateway.pair.served().len(), 1);
}

#[test]
fn an_initiator_that_wants_somebody_else_is_refused() {
    let mut gateway = Gateway::new(|_| {});
    let response = gateway.authenticate(|builder| {
        let other = id("another.example");
        builder.id_r(ike::wire::IdType(other.kind().code()), other.data());
        child(builder);
    });
    assert!(has(&response, NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(gateway.failures(), [Failure::WrongIdentity]);
}

#[test]
fn a_first_request_with_an_unknown_critical_payload_is_answered_in_clear() {
    let mut pair = Pair::with(|_| {});
    let node = pair.client;
    pair.world.node_mut(node).offline = true;
    let opening = Opening::fresh(|_| {});
    let mut octets = opening.request().to_vec();
    // One more payload in front of the others.
    let first = std::mem::replace(&mut octets[16], 200);
    octets.splice(28..28, [first, 0x80, 0, 4]);
    let len = u32::try_from(octets.len()).unwrap();
    octets[24..28].copy_from_slice(&len.to_be_bytes());
    let answer = tell(&mut pair, false, &octets).expect("an answer");
    let message = Message::parse(&answer).unwrap();
    let notify = message.payloads.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD).unwrap();
    assert_eq!((notify.data, message.payloads.len()), (&[200][..], 1));
    assert_eq!(pair.world.node(pair.gateway).endpoint.status().half_open, 0);
}

/// A gateway that has issued a ticket, its SK_d and the ticket.
fn ticketed() -> (Gateway, SkD, Vec<u8>) {
    let mut gateway = Gateway::new(|_| {});
    let response = gateway.authenticate(|builder| {
        builder.notify(NotifyType::TICKET_REQUEST, &[]);
        child(builder);
    });
    let payloads = response.payloads();
    let notify = payloads.notify(NotifyType::TICKET_LT_OPAQUE).unwrap();
    let ticket = notify.ticket_with_lifetime().unwrap().1.to_vec();
    let sk_d = gateway.client.sk_d();
    gateway.pair.forget_past();
    (gateway, sk_d, ticket)
}

/// Presents the ticket and authenticates with this; what the gateway answers.
fn resume(
    gateway: &mut Gateway,
    (sk_d, ticket): (SkD, &[u8]),
    who: &str,
    more: impl FnOnce(&mut MessageBuilder<Protected>),
) -> Opened {
    let opening = Opening::resuming(sk_d, ticket, |_| {});
    let response = gateway.hear(opening.request()).expect("an answer");
    gateway.client = opening.answered(&response);
    let auth = gateway.client.resumed_auth(&id(who));
    gateway.ask((AUTH, 1), |builder| {
        push_identity(builder, Role::Initiator, &id(who), &auth);
        more(builder);
        child(builder);
    })
}

#[test]
fn a_client_that_does_no_nat_detection_on_resume_gets_a_nonce_alone_and_plain_esp() {
    let (mut gateway, sk_d, ticket) = ticketed();
    let opening = Opening::resuming(sk_d.duplicate_for_grant(), &ticket, |_| {});
    let response = gateway.hear(opening.request()).expect("an answer");
    let message = Message::parse(&response).unwrap();
    assert_eq!(message.payloads.len(), 1);
    assert_eq!(message.payloads.nonce().map(<[u8]>::len), Some(32));
    let response = resume(&mut gateway, (sk_d, &ticket), "client.example", |_| {});
    assert!(response.payloads().auth().is_some());
    let sa = gateway.pair.served().remove(0).sa.unwrap();
    assert!(!sa.children[0].udp);
    assert_eq!(sa.set_up.unwrap().how, How::Resumed);
    let gone = |event: &Event| matches!(event, Event::Down { why: Gone::Replaced, .. });
    assert!(gateway.pair.gateway_events().any(gone));
}

#[test]
fn a_ticket_is_of_no_use_under_another_name_with_a_certificate_or_for_another_gateway() {
    type More = fn(&mut MessageBuilder<Protected>);
    let attempts: [(&str, More); 3] = [
        ("another.example", |_| {}),
        ("client.example", |builder| {
            builder.cert(CertEncoding(4), b"certificate");
        }),
        ("client.example", |builder| {
            let other = id("another.example");
            builder.id_r(ike::wire::IdType(other.kind().code()), other.data());
        }),
    ];
    let (mut gateway, sk_d, ticket) = ticketed();
    for (who, more) in attempts {
        let sk_d = sk_d.duplicate_for_grant();
        let response = resume(&mut gateway, (sk_d, &ticket), who, more);
        assert!(has(&response, NotifyType::AUTHENTICATION_FAILED));
        assert_eq!(response.payloads().len(), 1);
        gateway.pair.world.run_for(31 * SECOND);
    }
    // None of them has used it up, nor the SA from which it came.
    assert_eq!(gateway.pair.served().len(), 1);
    let response = resume(&mut gateway, (sk_d, &ticket), "client.example", |_| {});
    assert!(response.payloads().auth().is_some());
}

#[test]
fn a_ticket_without_its_session_key_is_of_no_use() {
    let (mut gateway, _, ticket) = ticketed();
    let guessed = SkD::from_ticket(crypto::PrfAlg::HmacSha384, &[7; 48]).unwrap();
    let opening = Opening::resuming(guessed, &ticket, |_| {});
    let response = gateway.hear(opening.request()).expect("an answer");
    gateway.client = opening.answered(&response);
    let auth = gateway.client.resumed_auth(&id("client.example"));
    let request = gateway.client.seal((AUTH, 1, false), |builder| {
        push_identity(builder, Role::Initiator, &id("client.example"), &auth);
        child(builder);
    });
    assert_eq!(gateway.hear(&request), None);
    assert_eq!(gateway.pair.gateway_counters().resumed, 0);
}
