//! A peer that is written line by line: it has all keys, and says what a test
//! wants it to say.

use crypto::{
    AdditionalGroups, EspCipher, Group, IkeCipher, IkeKeys, IkeSpis, IkeSuite, KeyExchange, KeyLen,
    Mac, Nonces, PrfAlg, Provider, Psk, SignedOctets, SkD, Skeyseed,
};
use ike::event::Role;
use ike::identity::Id;
use ike::proposal::{EspProposal, IkeProposal, group_number};
use ike::wire::{
    AuthMethod, ExchangeType, Flags, Header, IdType, IkeSpi, Message, MessageBuilder, NewProposal,
    NotifyType, PayloadType, Payloads, Protected, Protocol, parse_payloads,
};

/// The one suite that it speaks.
pub const SUITE: IkeSuite = IkeSuite {
    cipher: IkeCipher::AesGcm16(KeyLen::L256),
    prf: PrfAlg::HmacSha384,
    group: Group::X25519,
    additional: AdditionalGroups::NONE,
};

const NONCE: [u8; 32] = [0x4e; 32];

/// A peer that has sent its first request.
pub struct Opening {
    request: Vec<u8>,
    spi: IkeSpi,
    secret: Secret,
}

enum Secret {
    Exchange(KeyExchange),
    Session(SkD),
}

/// A peer with keys.
pub struct Scripted {
    role: Role,
    spis: (IkeSpi, IkeSpi),
    keys: IkeKeys,
    first: [Vec<u8>; 2],
    nonces: [Vec<u8>; 2],
    provider: Provider,
}

/// The payloads of a message that was opened.
pub struct Opened {
    octets: Vec<u8>,
    first: PayloadType,
    inner: std::ops::Range<usize>,
}

impl Opened {
    /// What it holds.
    #[must_use]
    pub fn payloads(&self) -> Payloads<'_> {
        parse_payloads(self.first, &self.octets[self.inner.clone()]).unwrap()
    }
}

impl Opening {
    /// IKE_SA_INIT, with more in it if the test wants so.
    #[must_use]
    pub fn fresh(more: impl FnOnce(&mut MessageBuilder)) -> Self {
        let mut provider = Provider::seeded(4711);
        let exchange = provider.key_exchange(SUITE.group).unwrap();
        let spi = IkeSpi(provider.array());
        let mut builder = first_message((spi, IkeSpi::ZERO), ExchangeType::SA_INIT, false);
        offer_ike(&mut builder);
        builder.ke(group_number(SUITE.group), exchange.public()).nonce(&NONCE);
        more(&mut builder);
        Self { request: builder.finish().unwrap(), spi, secret: Secret::Exchange(exchange) }
    }

    /// IKE_SESSION_RESUME with the SK_d of the SA before.
    #[must_use]
    pub fn resuming(sk_d: SkD, ticket: &[u8], more: impl FnOnce(&mut MessageBuilder)) -> Self {
        let spi = IkeSpi(Provider::seeded(4712).array());
        let mut builder = first_message((spi, IkeSpi::ZERO), ExchangeType::SESSION_RESUME, false);
        builder.nonce(&NONCE).notify(NotifyType::TICKET_OPAQUE, ticket);
        more(&mut builder);
        Self { request: builder.finish().unwrap(), spi, secret: Secret::Session(sk_d) }
    }

    /// What to send.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes the responder's answer.
    #[must_use]
    pub fn answered(self, response: &[u8]) -> Scripted {
        let message = Message::parse(response).unwrap();
        let nonces = [NONCE.to_vec(), message.payloads.nonce().unwrap().to_vec()];
        let spis = (self.spi, message.header.spi_r);
        let first = [self.request, response.to_vec()];
        let share = message.payloads.ke().map(|ke| ke.data);
        Scripted::new(Role::Initiator, spis, first, nonces, (self.secret, share))
    }
}

impl Scripted {
    /// Answers an IKE_SA_INIT request: the peer and what to send.
    #[must_use]
    pub fn answering(request: &[u8]) -> (Self, Vec<u8>) {
        Self::answering_with(request, |_| {})
    }

    /// As [`Self::answering`], with more in it.
    #[must_use]
    pub fn answering_with(
        request: &[u8],
        more: impl FnOnce(&mut MessageBuilder),
    ) -> (Self, Vec<u8>) {
        let message = Message::parse(request).unwrap();
        let mut provider = Provider::seeded(4713);
        let spis = (message.header.spi_i, IkeSpi(provider.array()));
        let exchange = provider.key_exchange(SUITE.group).unwrap();
        let mut builder = first_message(spis, ExchangeType::SA_INIT, true);
        offer_ike(&mut builder);
        builder.ke(group_number(SUITE.group), exchange.public()).nonce(&NONCE);
        more(&mut builder);
        let response = builder.finish().unwrap();
        let first = [request.to_vec(), response.clone()];
        let nonces = [message.payloads.nonce().unwrap().to_vec(), NONCE.to_vec()];
        let share = message.payloads.ke().map(|ke| ke.data);
        let secret = Secret::Exchange(exchange);
        (Self::new(Role::Responder, spis, first, nonces, (secret, share)), response)
    }

    /// Answers an IKE_SESSION_RESUME request: the peer and what to send.
    #[must_use]
    pub fn resumed(request: &[u8], sk_d: SkD) -> (Self, Vec<u8>) {
        let message = Message::parse(request).unwrap();
        let spis = (message.header.spi_i, IkeSpi(Provider::seeded(4714).array()));
        let mut builder = first_message(spis, ExchangeType::SESSION_RESUME, true);
        builder.nonce(&NONCE);
        let response = builder.finish().unwrap();
        let first = [request.to_vec(), response.clone()];
        let nonces = [message.payloads.nonce().unwrap().to_vec(), NONCE.to_vec()];
        (Self::new(Role::Responder, spis, first, nonces, (Secret::Session(sk_d), None)), response)
    }

    fn new(
        role: Role,
        spis: (IkeSpi, IkeSpi),
        first: [Vec<u8>; 2],
        nonces: [Vec<u8>; 2],
        (secret, share): (Secret, Option<&[u8]>),
    ) -> Self {
        let both = Nonces { initiator: &nonces[0], responder: &nonces[1] };
        let seed = match secret {
            Secret::Session(sk_d) => sk_d.resume(both),
            Secret::Exchange(exchange) => {
                let Ok(shared) = exchange.agree(share.unwrap()) else { panic!("no agreement") };
                Skeyseed::initial(SUITE.prf, both, shared)
            }
        };
        let on_wire = IkeSpis { initiator: spis.0.0, responder: spis.1.0 };
        let keys = seed.expand(SUITE, both, on_wire);
        Self { role, spis, keys, first, nonces, provider: Provider::seeded(4715) }
    }

    /// For a resumption of this SA.
    #[must_use]
    pub fn sk_d(&self) -> SkD {
        self.keys.sk_d.duplicate_for_grant()
    }

    /// Its AUTH in a full exchange.
    #[must_use]
    pub fn auth(&self, id: &Id, secret: &str) -> Mac {
        let psk = Psk::new(secret.as_bytes()).unwrap();
        self.with_octets(id, |_, octets| psk.auth(SUITE.prf, octets))
    }

    /// Its AUTH after a resume.
    #[must_use]
    pub fn resumed_auth(&self, id: &Id) -> Mac {
        self.with_octets(id, crypto::SkP::resume_auth)
    }

    fn with_octets(
        &self,
        id: &Id,
        make: impl FnOnce(&crypto::SkP, SignedOctets<'_>) -> Mac,
    ) -> Mac {
        let (message, peer_nonce, key) = match self.role {
            Role::Initiator => (&self.first[0], &self.nonces[1], &self.keys.sk_pi),
            Role::Responder => (&self.first[1], &self.nonces[0], &self.keys.sk_pr),
        };
        let maced_id = key.mac_id(&id.body());
        make(key, SignedOctets { message, peer_nonce, maced_id: &maced_id, intermediate: &[] })
    }

    /// A message, sealed.
    pub fn seal(
        &mut self,
        (exchange, id, response): (ExchangeType, u32, bool),
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Vec<u8> {
        let mut builder = self.builder(exchange, id, response);
        fill(&mut builder);
        let key = self.key();
        let (mut message, at) = builder.finish_encrypted(|len| key.sealed_len(len)).unwrap();
        let Self { keys, provider, role, .. } = self;
        our_key(keys, *role).seal(provider, &mut message, at).unwrap();
        message
    }

    /// A message whose payloads are these octets, sealed.
    pub fn seal_octets(
        &mut self,
        (exchange, id, response): (ExchangeType, u32, bool),
        (first, chain): (PayloadType, &[u8]),
    ) -> Vec<u8> {
        let builder = self.builder(exchange, id, response);
        let key = self.key();
        let (mut message, at) =
            builder.finish_with_chain(first, chain, |len| key.sealed_len(len)).unwrap();
        let Self { keys, provider, role, .. } = self;
        our_key(keys, *role).seal(provider, &mut message, at).unwrap();
        message
    }

    fn key(&self) -> &crypto::MessageKey {
        match self.role {
            Role::Initiator => &self.keys.initiator,
            Role::Responder => &self.keys.responder,
        }
    }

    fn builder(
        &self,
        exchange: ExchangeType,
        id: u32,
        response: bool,
    ) -> MessageBuilder<Protected> {
        let flags = Flags { initiator: self.role == Role::Initiator, response };
        let header = Header::new(self.spis, exchange, flags, id);
        MessageBuilder::new(Vec::new(), header).begin_encrypted()
    }

    /// Opens a message of the endpoint.
    #[must_use]
    pub fn open(&self, datagram: &[u8]) -> Opened {
        let mut octets = datagram.to_vec();
        let message = Message::parse(datagram).unwrap();
        let sealed = message.payloads.encrypted().unwrap();
        let theirs = match self.role {
            Role::Initiator => &self.keys.responder,
            Role::Responder => &self.keys.initiator,
        };
        let Ok(inner) = theirs.open(&mut octets, sealed.header_len) else {
            panic!("the endpoint's message does not open")
        };
        Opened { octets, first: sealed.first_inner, inner }
    }
}

fn our_key(keys: &mut IkeKeys, role: Role) -> &mut crypto::MessageKey {
    match role {
        Role::Initiator => &mut keys.initiator,
        Role::Responder => &mut keys.responder,
    }
}

fn first_message(spis: (IkeSpi, IkeSpi), exchange: ExchangeType, response: bool) -> MessageBuilder {
    let flags = Flags { initiator: !response, response };
    MessageBuilder::new(Vec::new(), Header::new(spis, exchange, flags, 0))
}

fn offer_ike(builder: &mut MessageBuilder) {
    let transforms: Vec<_> = IkeProposal::of(SUITE).transforms().collect();
    let proposal =
        NewProposal { number: 1, protocol: Protocol::IKE, spi: &[], transforms: &transforms };
    builder.sa(&[proposal]);
}

/// Appends one ESP proposal with AES-GCM and 256 bits.
pub fn push_esp(builder: &mut MessageBuilder<Protected>, number: u8, spi: u32) {
    let cipher = EspCipher::AesGcm16(KeyLen::L256);
    let transforms: Vec<_> = EspProposal::of(cipher.into()).transforms().collect();
    let spi = spi.to_be_bytes();
    let proposal =
        NewProposal { number, protocol: Protocol::ESP, spi: &spi, transforms: &transforms };
    builder.sa(&[proposal]);
}

/// Appends an identity and AUTH.
pub fn push_identity(builder: &mut MessageBuilder<Protected>, whose: Role, id: &Id, auth: &Mac) {
    let kind = IdType(id.kind().code());
    match whose {
        Role::Initiator => builder.id_i(kind, id.data()),
        Role::Responder => builder.id_r(kind, id.data()),
    };
    builder.auth(AuthMethod::SHARED_KEY_MIC, auth.as_bytes());
}
