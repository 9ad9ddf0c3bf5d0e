use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use crypto::{KeyKind, Provider, SigningKey};
use pki::issue::{self, AlternativeName, Authority, Request as Paper, Role};
use pki::{Credential, Name, Presented, Refusal, Revocation};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const PEER: Name<'static> = Name::Dns("peer.example.org");

fn now() -> SystemTime {
    clock::now().wall
}

fn new_key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate(KeyKind::EcdsaP256, 0).unwrap()).unwrap()
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
        let paper = |subject: &str, role| Paper {
            subject: subject.parse().unwrap(),
            names: Vec::new(),
            validity: (now() - HOUR, now() + 9 * HOUR),
            role,
            extended_key_usages: Vec::new(),
            name_constraints: None,
            crl_uri: None,
        };
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
        trust.verify(presented, &PEER, now()).map(|_| ())
    }
}

/// A web server on this machine.
struct Server(TcpListener);

impl Server {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn uri(&self) -> String {
        format!("http://{}/ca.crl", self.0.local_addr().unwrap())
    }

    /// Answers the next question with this body. Joined, it gives the question.
    fn answer(&self, body: Vec<u8>) -> JoinHandle<String> {
        let listener = self.0.try_clone().unwrap();
        thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut lines = Vec::new();
            while lines.last().is_none_or(|line: &String| !line.is_empty()) {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                lines.push(line.trim().to_owned());
            }
            let len = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all(&[head.as_bytes(), &body].concat()).unwrap();
            lines.remove(0)
        })
    }
}

/// A keeper that works when it is told to, and the way by which trust asks.
fn keeper(trust: &Arc<Trust>, folder: &Path) -> (Keeper, Receiver<Request>) {
    let (sender, receiver) = sync_channel(BACKLOG);
    let secrets = ike::config::PreShared { keys: Vec::new() };
    ask(&LocalAuth::PreShared(Arc::new(secrets)), trust, &sender);
    (Keeper::new(folder.join("crls")), receiver)
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
    let mut keeper = Keeper::new(dir.path().join("crls"));

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
