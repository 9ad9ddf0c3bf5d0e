use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use crypto::{KeyKind, Provider, SigningKey};
use pki::issue::{self, AlternativeName, Authority, Request as Paper, Role};
use pki::{Credential, Name, Presented, Refusal, Revocation};
use rustls::pki_types::PrivateKeyDer;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const PEER: Name<'static> = Name::Dns("peer.example.org");

fn now() -> SystemTime {
    clock::now().wall
}

fn new_key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate(KeyKind::EcdsaP256, 0).unwrap()).unwrap()
}

fn paper(subject: &str, role: Role) -> Paper {
    Paper {
        subject: subject.parse().unwrap(),
        names: Vec::new(),
        validity: (now() - HOUR, now() + 9 * HOUR),
        role,
        extended_key_usages: Vec::new(),
        name_constraints: None,
        crl_uri: None,
    }
}

/// An authority, and a certificate of it that names `uri` for its list.
struct Papers {
    ca: Certificate,
    key: SigningKey,
    leaf: Certificate,
    leaf_key: Arc<SigningKey>,
}

impl Papers {
    fn new(uri: &str) -> Self {
        let mut provider = Provider::system();
        let (key, leaf_key) = (new_key(), new_key());
        let ca = issue::self_signed(&paper("CN=CA", Role::Authority(None)), &key, &mut provider);
        let ca = ca.unwrap();
        let names = vec![AlternativeName::Dns("peer.example.org".into())];
        let leaf = Paper { names, crl_uri: Some(uri.to_owned()), ..paper("CN=peer", Role::Peer) };
        let by = Authority { certificate: &ca, key: &key };
        let leaf = by.issue(&leaf, &leaf_key, &mut provider).unwrap();
        Self { ca, key, leaf, leaf_key: Arc::new(leaf_key) }
    }

    /// A list in DER, good for some hours.
    fn list(&self, revoked: &[&Certificate], hours: u32) -> Vec<u8> {
        let by = Authority { certificate: &self.ca, key: &self.key };
        by.revoke(revoked, (now() - HOUR, now() + hours * HOUR), 1).unwrap().1
    }

    fn trust(&self) -> Arc<Trust> {
        let mut trust = Trust::new(Revocation::IfUri);
        trust.add_authority(self.ca.clone()).unwrap();
        Arc::new(trust)
    }

    fn verify(&self, trust: &Trust) -> Result<(), Refusal> {
        let presented = Presented { certificates: &[self.leaf.as_der()], raw_key: None };
        trust.verify(presented, &PEER, now()).map(|_| ()).map_err(|refused| refused.check)
    }
}

/// A web server on this machine, of HTTPS if it has papers for that.
struct Server {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
}

trait Talk: Read + Write {}
impl<T: Read + Write> Talk for T {}

impl Server {
    fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), tls: None }
    }

    /// With the authority that vouches for it.
    fn https() -> (Self, Certificate) {
        let pkcs8 = SigningKey::generate(KeyKind::EcdsaP256, 0).unwrap();
        let (ca_key, key) = (new_key(), SigningKey::from_pkcs8(&pkcs8).unwrap());
        let mut provider = Provider::system();
        let ca = paper("CN=Web", Role::Authority(None));
        let ca = issue::self_signed(&ca, &ca_key, &mut provider).unwrap();
        let names = vec![AlternativeName::Address([127, 0, 0, 1].into())];
        let leaf = Paper { names, ..paper("CN=server", Role::Peer) };
        let by = Authority { certificate: &ca, key: &ca_key };
        let leaf = by.issue(&leaf, &key, &mut provider).unwrap().as_der().to_vec();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![leaf.into()], PrivateKeyDer::Pkcs8(pkcs8.to_vec().into()))
                .unwrap();
        (Self { tls: Some(Arc::new(config)), ..Self::new() }, ca)
    }

    fn uri(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/ca.crl", self.listener.local_addr().unwrap())
    }

    /// Answers the next question with this body. Joined, it gives the question,
    /// or nothing if whoever came did not ask.
    fn answer(&self, body: Vec<u8>) -> JoinHandle<String> {
        let (listener, tls) = (self.listener.try_clone().unwrap(), self.tls.clone());
        thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let stream: Box<dyn Talk> = match tls {
                None => Box::new(stream),
                Some(config) => {
                    let connection = rustls::ServerConnection::new(config).unwrap();
                    Box::new(rustls::StreamOwned::new(connection, stream))
                }
            };
            converse(BufReader::new(stream), &body)
        })
    }
}

fn converse(mut stream: BufReader<Box<dyn Talk>>, body: &[u8]) -> String {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.is_empty()) {
        let mut line = String::new();
        if stream.read_line(&mut line).is_err() {
            return String::new();
        }
        lines.push(line.trim().to_owned());
    }
    let len = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all(&[head.as_bytes(), body].concat()).unwrap();
    stream.get_mut().flush().unwrap();
    lines.remove(0)
}

/// A keeper that works when it is told to, and the way by which trust asks.
fn keeper(trust: &Arc<Trust>, folder: &Path) -> (Keeper, Receiver<Request>) {
    let (sender, receiver) = sync_channel(BACKLOG);
    let secrets = ike::config::PreShared { keys: Vec::new() };
    ask(&LocalAuth::PreShared(Arc::new(secrets)), trust, &sender);
    (Keeper::new(folder.join("crls"), RootCerts::from([])), receiver)
}

fn work(keeper: &mut Keeper, requests: &Receiver<Request>) {
    requests.try_iter().for_each(|request| keeper.take(request));
    keeper.fetch_due();
}

/// How long until the next list is looked for.
fn wait(keeper: &Keeper) -> Duration {
    keeper.next_due().unwrap().since(clock::now().instant)
}

#[test]
fn the_first_contact_waits_for_nobody_and_the_second_has_the_list() {
    let (server, dir) = (Server::new(), tempfile::tempdir().unwrap());
    let papers = Papers::new(&server.uri());
    let trust = papers.trust();
    let (mut keeper, requests) = keeper(&trust, dir.path());
    assert_eq!(papers.verify(&trust), Err(Refusal::NoRevocationList));

    let question = server.answer(papers.list(&[], 2));
    work(&mut keeper, &requests);
    assert_eq!(question.join().unwrap(), "GET /ca.crl HTTP/1.1");
    assert_eq!(papers.verify(&trust), Ok(()));
    let wait = wait(&keeper);
    assert!(wait <= HOUR && wait > HOUR / 2, "half of the time that it is good: {wait:?}");
}

#[test]
fn what_our_own_certificate_names_is_fetched_before_a_peer_comes() {
    let (server, dir) = (Server::new(), tempfile::tempdir().unwrap());
    let papers = Papers::new(&server.uri());
    let trust = papers.trust();
    let (sender, requests) = sync_channel(BACKLOG);
    let own = Credential::new(papers.leaf_key.clone(), vec![papers.leaf.clone()]).unwrap();
    ask(&LocalAuth::PublicKey(Arc::new(own)), &trust, &sender);
    let mut keeper = Keeper::new(dir.path().join("crls"), RootCerts::from([]));

    let question = server.answer(papers.list(&[], 2));
    work(&mut keeper, &requests);
    question.join().unwrap();
    assert_eq!(papers.verify(&trust), Ok(()));
}

#[test]
fn a_list_that_revokes_is_heeded_when_it_is_renewed() {
    let (server, dir) = (Server::new(), tempfile::tempdir().unwrap());
    let papers = Papers::new(&server.uri());
    let trust = papers.trust();
    let (mut keeper, requests) = keeper(&trust, dir.path());
    let _ = papers.verify(&trust);
    let question = server.answer(papers.list(&[], 2));
    work(&mut keeper, &requests);
    question.join().unwrap();
    assert_eq!(papers.verify(&trust), Ok(()));

    keeper.lists.values_mut().for_each(|entry| entry.due = clock::now().instant);
    let pem = pem::encode("X509 CRL", &papers.list(&[&papers.leaf], 3));
    let question = server.answer(pem.as_bytes().to_vec());
    work(&mut keeper, &requests);
    question.join().unwrap();
    assert_eq!(papers.verify(&trust), Err(Refusal::Revoked));
}

#[test]
fn https_is_for_servers_that_the_system_believes() {
    let dir = tempfile::tempdir().unwrap();
    let (server, ca) = Server::https();
    let papers = Papers::new(&server.uri());
    let trust = papers.trust();
    let (mut stranger, requests) = keeper(&trust, dir.path());
    let _ = papers.verify(&trust);
    let question = server.answer(papers.list(&[], 2));
    work(&mut stranger, &requests);
    assert_eq!(
        question.join().unwrap(),
        "",
        "nothing is asked of a server in whom nobody believes"
    );
    assert_eq!(papers.verify(&trust), Err(Refusal::NoRevocationList));

    let roots = RootCerts::from([tls::Certificate::from_der(ca.as_der()).to_owned()]);
    let mut keeper = Keeper::new(dir.path().join("crls"), roots);
    let question = server.answer(papers.list(&[], 2));
    work(&mut keeper, &requests);
    assert_eq!(question.join().unwrap(), "GET /ca.crl HTTP/1.1");
    assert_eq!(papers.verify(&trust), Ok(()));
}

#[test]
fn a_list_survives_a_restart_and_is_there_at_once() {
    let (server, dir) = (Server::new(), tempfile::tempdir().unwrap());
    let papers = Papers::new(&server.uri());
    let trust = papers.trust();
    let (mut first, requests) = keeper(&trust, dir.path());
    let _ = papers.verify(&trust);
    let question = server.answer(papers.list(&[], 2));
    work(&mut first, &requests);
    question.join().unwrap();
    drop(server);

    let trust = papers.trust();
    let (mut second, requests) = keeper(&trust, dir.path());
    let _ = papers.verify(&trust);
    work(&mut second, &requests);
    assert_eq!(papers.verify(&trust), Ok(()));
}

#[test]
fn what_nobody_has_signed_or_what_is_old_is_not_taken() {
    let (server, dir) = (Server::new(), tempfile::tempdir().unwrap());
    let papers = Papers::new(&server.uri());
    let mut changed = papers.list(&[], 2);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let other = Papers::new(&server.uri()).list(&[], 2);
    for body in [changed, other, papers.list(&[], 0), Vec::new(), vec![0x30; 4000]] {
        let trust = papers.trust();
        let (mut keeper, requests) = keeper(&trust, dir.path());
        let _ = papers.verify(&trust);
        let question = server.answer(body);
        work(&mut keeper, &requests);
        question.join().unwrap();
        assert_eq!(papers.verify(&trust), Err(Refusal::NoRevocationList));
        assert!(wait(&keeper) <= RETRY.0, "it is tried again");
        assert!(!dir.path().join("crls").exists(), "nothing is kept");
    }
}

#[test]
fn a_stranger_has_nothing_fetched() {
    let (server, dir) = (Server::new(), tempfile::tempdir().unwrap());
    let (papers, stranger) = (Papers::new(&server.uri()), Papers::new(&server.uri()));
    let trust = papers.trust();
    let (_, requests) = keeper(&trust, dir.path());
    assert!(stranger.verify(&trust).is_err());
    assert_eq!(requests.try_iter().count(), 0);
}

#[test]
fn other_places_than_the_web_are_left_alone_and_lists_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let papers = Papers::new("ldap://ca.example.org/cn=ca");
    let trust = papers.trust();
    let (mut keeper, _) = keeper(&trust, dir.path());
    let uris = (0..100).map(|n| format!("http://192.0.2.1/{n}.crl"));
    for uri in uris.chain(["ldap://ca.example.org/".into(), "file:///etc/passwd".into()]) {
        let wanted = Wanted { uri, issuers: vec![papers.ca.clone()] };
        keeper.take(Request { wanted, trust: Arc::downgrade(&trust) });
    }
    assert_eq!(keeper.lists.len(), MAX_LISTS);
    drop(trust);
    let other = papers.trust();
    let wanted = Wanted { uri: "http://192.0.2.1/x".into(), issuers: vec![papers.ca] };
    keeper.take(Request { wanted, trust: Arc::downgrade(&other) });
    assert_eq!(keeper.lists.len(), 1, "lists of connections that are gone make room");
}
