//! Revocation lists from where certificates say they are (RFC 5280
//! section 4.2.1.13): fetched by HTTP or HTTPS in a thread of its own, kept in
//! the state directory, and renewed before they run out.
//!
//! Nobody waits for a list: a set-up decides by those that are here. So the
//! lists that our own certificates name are fetched when the daemon starts,
//! and those of a peer's chain when it is first seen; a peer that is refused
//! for want of one is let in when it comes again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use crypto::sha256;
use ike::config::{Connection, LocalAuth, RemoteAuth};
use ike::time::Instant;
use pki::{Certificate, Crl, Trust, Wanted, pem};
use rustls::crypto::aws_lc_rs;
use ureq::tls::{self, RootCerts, TlsConfig};

use crate::clock;
use crate::state::State;

/// The most lists that are kept up to date.
const MAX_LISTS: usize = 64;
/// The largest list that is fetched, in octets.
const MAX_LEN: u64 = 16 * 1024 * 1024;
/// How long a server has for one.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts, at the least and at the most.
const RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// A list is looked for again after half of the time that it is good, and
/// within these bounds.
const RENEW: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
/// Requests that wait; more are forgotten, and made again by the next peer.
const BACKLOG: usize = 64;

/// Who is to get a list.
struct Request {
    wanted: Wanted,
    trust: Weak<Trust>,
}

/// Whom to ask for lists. Its thread begins with the first connection that
/// needs one, and ends with the last of those who may ask.
pub struct Fetcher {
    folder: PathBuf,
    requests: Option<SyncSender<Request>>,
}

impl Fetcher {
    /// Keeps lists in the state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("crls"), requests: None }
    }

    /// Begins to fetch the lists that these connections need, as long as they
    /// are in use.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn attend(&mut self, connections: &[Arc<Connection>]) -> io::Result<()> {
        for connection in connections {
            let RemoteAuth::PublicKey(trust) = &connection.auth.remote else { continue };
            let sender = match &self.requests {
                Some(sender) => sender,
                None => self.requests.insert(begin(self.folder.clone())?),
            };
            ask(&connection.auth.local, trust, sender);
        }
        Ok(())
    }
}

fn begin(folder: PathBuf) -> io::Result<SyncSender<Request>> {
    let (sender, receiver) = sync_channel(BACKLOG);
    let thread = thread::Builder::new().name("cygnet-crl".into());
    thread.spawn(move || Keeper::new(folder, system_roots()).run(&receiver))?;
    Ok(sender)
}

/// Whom the system believes about web servers: a file or a folder of
/// `SSL_CERT_FILE` and `SSL_CERT_DIR`, or what OpenSSL takes here.
fn system_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    found.errors.iter().for_each(|error| tracing::warn!("certificates of the system: {error}"));
    RootCerts::from(found.certs.iter().map(|der| tls::Certificate::from_der(der).to_owned()))
}

/// Asks for what our own certificates name, and for what peers will show.
fn ask(local: &LocalAuth, trust: &Arc<Trust>, sender: &SyncSender<Request>) {
    let (to, weak) = (sender.clone(), Arc::downgrade(trust));
    let ask = move |wanted| {
        // A full queue is no reason to keep the engine waiting.
        let _ = to.try_send(Request { wanted, trust: Weak::clone(&weak) });
    };
    if let LocalAuth::PublicKey(credential) = local {
        trust.lists_of(credential.certificates()).into_iter().for_each(&ask);
    }
    trust.ask_for_lists(Box::new(ask));
}

/// Who keeps the lists.
struct Keeper {
    folder: PathBuf,
    agent: ureq::Agent,
    lists: BTreeMap<String, Entry>,
}

/// A list, those who want it, and when to look for it again.
struct Entry {
    issuers: Vec<Certificate>,
    trusts: Vec<Weak<Trust>>,
    list: Option<Arc<Crl>>,
    due: Instant,
    wait: Duration,
}

impl Keeper {
    /// Servers of HTTPS are believed on the word of these authorities.
    fn new(folder: PathBuf, roots: RootCerts) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(3)
            .user_agent("cygnet")
            .tls_config(tls)
            .build();
        Self { folder, agent: config.into(), lists: BTreeMap::new() }
    }

    /// Until nobody can ask any more.
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let wait = self.next_due().map(|due| due.since(clock::now().instant));
            let request = match wait {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => requests.recv_timeout(wait),
            };
            match request {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.fetch_due();
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.lists.values().map(|entry| entry.due).min()
    }

    /// A list that is here serves at once; else the one on the disk, until the
    /// next is fetched.
    fn take(&mut self, Request { wanted: Wanted { uri, issuers }, trust }: Request) {
        if let Some(entry) = self.lists.get_mut(&uri) {
            entry.join(&uri, trust);
            return;
        }
        if !is_web(&uri) || issuers.is_empty() {
            return;
        }
        self.lists.retain(|_, entry| entry.trusts.iter().any(|it| it.strong_count() > 0));
        if self.lists.len() >= MAX_LISTS {
            tracing::warn!("too many revocation lists: {uri} is not fetched");
            return;
        }
        let now = clock::now();
        let list = stored(&self.folder, &uri, &issuers, now.wall).map(Arc::new);
        let due = list.as_ref().map_or(now.instant, |list| now.instant + renewal(list, now.wall));
        let mut entry = Entry { issuers, trusts: Vec::new(), list, due, wait: RETRY.0 };
        entry.join(&uri, trust);
        self.lists.insert(uri, entry);
    }

    /// Looks for one list whose time has come.
    fn fetch_due(&mut self) {
        let now = clock::now();
        let due = self.lists.iter_mut().find(|(_, entry)| entry.due <= now.instant);
        let Some((uri, entry)) = due else { return };
        match fetch(&self.agent, uri, &entry.issuers, now.wall) {
            Ok((list, der)) => {
                tracing::debug!("revocation list from {uri}: revokes {}", list.revoked());
                entry.due = now.instant + renewal(&list, now.wall);
                entry.wait = RETRY.0;
                let list = entry.list.insert(Arc::new(list));
                for trust in entry.trusts.iter().filter_map(Weak::upgrade) {
                    trust.renew(uri, Arc::clone(list));
                }
                if let Err(error) = keep(&self.folder, uri, &der) {
                    tracing::warn!("{}: {error}", self.folder.display());
                }
            }
            Err(why) => {
                tracing::warn!("no revocation list from {uri}: {why}");
                entry.due = now.instant + entry.wait;
                entry.wait = (entry.wait * 2).min(RETRY.1);
            }
        }
    }
}

impl Entry {
    fn join(&mut self, uri: &str, trust: Weak<Trust>) {
        self.trusts.retain(|it| it.strong_count() > 0);
        if self.trusts.iter().any(|it| it.ptr_eq(&trust)) {
            return;
        }
        if let (Some(list), Some(trust)) = (&self.list, trust.upgrade()) {
            trust.renew(uri, Arc::clone(list));
        }
        self.trusts.push(trust);
    }
}

fn stored(folder: &Path, uri: &str, issuers: &[Certificate], time: SystemTime) -> Option<Crl> {
    let der = fs::read(folder.join(name(uri))).ok()?;
    usable(&der, issuers, time).ok()
}

fn keep(folder: &Path, uri: &str, der: &[u8]) -> io::Result<()> {
    State::open(folder)?.write(&name(uri), der)
}

fn is_web(uri: &str) -> bool {
    let begins = |scheme: &str| {
        uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins("http://") || begins("https://")
}

/// The list, in DER or PEM, from its server.
fn fetch(
    agent: &ureq::Agent,
    uri: &str,
    issuers: &[Certificate],
    time: SystemTime,
) -> Result<(Crl, Vec<u8>), String> {
    let mut answer = agent.get(uri).call().map_err(|error| error.to_string())?;
    let body = answer.body_mut().with_config().limit(MAX_LEN).read_to_vec();
    let body = body.map_err(|error| error.to_string())?;
    let der = der(body).ok_or("it is not PEM")?;
    Ok((usable(&der, issuers, time)?, der))
}

fn der(body: Vec<u8>) -> Option<Vec<u8>> {
    if !pem::is_pem(&body) {
        return Some(body);
    }
    let sections = pem::sections(std::str::from_utf8(&body).ok()?).ok()?;
    sections.into_iter().find(|it| it.label == "X509 CRL").map(|it| it.octets.to_vec())
}

/// Anybody can be on the way of HTTP, and HTTPS says only whose server it is: only what an issuer has signed counts,
/// and only while it is good.
fn usable(der: &[u8], issuers: &[Certificate], time: SystemTime) -> Result<Crl, String> {
    let list = Crl::signed_by(der, issuers).map_err(|_| "its authority has not signed it")?;
    match list.updates() {
        (this, Some(next)) if this <= time && time < next => Ok(list),
        _ => Err("it is out of date".to_owned()),
    }
}

fn renewal(list: &Crl, time: SystemTime) -> Duration {
    let left = list.updates().1.and_then(|next| next.duration_since(time).ok());
    (left.unwrap_or_default() / 2).clamp(RENEW.0, RENEW.1)
}

/// A file's name for an address, whatever characters that has.
fn name(uri: &str) -> String {
    sha256(uri.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests;
