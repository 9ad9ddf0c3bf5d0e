//! The addresses of peers' names, from the system's resolver. That may take its
//! time and cannot be told to stop, so threads of their own wait for it.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use ike::event::LookupId;
use ike::inner::Domain;

/// Names that are looked up at once. A server that does not answer keeps one
/// for half a minute.
const AT_ONCE: usize = 4;
/// Names that wait for that; more are not found.
const BACKLOG: usize = 64;

type Resolve = fn(&Domain) -> io::Result<Vec<IpAddr>>;
type Tell = Arc<dyn Fn(LookupId, Vec<IpAddr>) + Send + Sync>;
type Asked = (LookupId, Domain);

/// Whom to ask for addresses. Its threads begin with the first question.
pub struct Lookups {
    resolve: Resolve,
    tell: Tell,
    queue: Option<SyncSender<Asked>>,
}

impl Lookups {
    /// `tell` is called once for each question, from whatever thread: with the
    /// addresses, the preferred first, or none if there are none to be had.
    #[must_use]
    pub fn new(tell: impl Fn(LookupId, Vec<IpAddr>) + Send + Sync + 'static) -> Self {
        Self::with(resolve, tell)
    }

    fn with(
        resolve: Resolve,
        tell: impl Fn(LookupId, Vec<IpAddr>) + Send + Sync + 'static,
    ) -> Self {
        Self { resolve, tell: Arc::new(tell), queue: None }
    }

    /// Begins to look up a name, and does not wait for it.
    pub fn begin(&mut self, id: LookupId, name: Domain) {
        let queued = self.queue().and_then(|queue| {
            let full = |_| io::Error::other("too many names are looked up already");
            queue.try_send((id, name.clone())).map_err(full)
        });
        if let Err(error) = queued {
            tracing::warn!("{name} is not looked up: {error}");
            (self.tell)(id, Vec::new());
        }
    }

    fn queue(&mut self) -> io::Result<&SyncSender<Asked>> {
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => start(self.resolve, &self.tell)?,
        };
        Ok(self.queue.insert(queue))
    }
}

/// Starts the threads, which end with whoever may ask.
fn start(resolve: Resolve, tell: &Tell) -> io::Result<SyncSender<Asked>> {
    let (sender, receiver) = sync_channel(BACKLOG);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..AT_ONCE {
        let (receiver, tell) = (Arc::clone(&receiver), Arc::clone(tell));
        let thread = thread::Builder::new().name("cygnet-names".into());
        thread.spawn(move || answer(resolve, &tell, &receiver))?;
    }
    Ok(sender)
}

fn answer(resolve: Resolve, tell: &Tell, asked: &Mutex<Receiver<Asked>>) {
    while let Some((id, name)) = next(asked) {
        let found = resolve(&name)
            .inspect(|found| tracing::debug!("{name} has the addresses {found:?}"))
            .inspect_err(|error| tracing::debug!("{name}: {error}"));
        tell(id, found.unwrap_or_default());
    }
}

fn next(asked: &Mutex<Receiver<Asked>>) -> Option<Asked> {
    asked.lock().ok()?.recv().ok()
}

/// As `getaddrinfo` orders them (RFC 6724).
fn resolve(name: &Domain) -> io::Result<Vec<IpAddr>> {
    let addresses = (name.as_str(), 0).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Condvar;
    use std::sync::mpsc::channel;

    use super::*;

    fn told(resolve: Resolve) -> (Lookups, Receiver<(LookupId, Vec<IpAddr>)>) {
        let (sender, receiver) = channel();
        let tell = move |id, found| sender.send((id, found)).unwrap();
        (Lookups::with(resolve, tell), receiver)
    }

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn the_system_knows_this_host() {
        let (mut lookups, told) = told(resolve);
        lookups.begin(LookupId(7), name("localhost"));
        let (id, found) = told.recv().unwrap();
        assert_eq!(id, LookupId(7));
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[test]
    fn a_name_that_is_not_found_has_no_addresses() {
        let (mut lookups, told) = told(|_| Err(io::ErrorKind::NotFound.into()));
        lookups.begin(LookupId(1), name("nobody.example"));
        assert_eq!(told.recv().unwrap(), (LookupId(1), Vec::new()));
    }

    /// How many wait for the resolver, and whether it answers.
    static WAITING: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

    fn waits(_: &Domain) -> io::Result<Vec<IpAddr>> {
        let (state, changed) = &WAITING;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        drop(changed.wait_while(state, |(_, answers)| !*answers).unwrap());
        Ok(vec![[192, 0, 2, 1].into()])
    }

    #[test]
    fn a_resolver_that_hangs_keeps_some_threads_and_nobody_else() {
        let (mut lookups, told) = told(waits);
        let (state, changed) = &WAITING;
        for id in 0..AT_ONCE {
            lookups.begin(LookupId(id as u64), name("slow.example"));
        }
        drop(changed.wait_while(state.lock().unwrap(), |(count, _)| *count < AT_ONCE).unwrap());
        let (most, refused) = (AT_ONCE + BACKLOG, 3);
        for id in AT_ONCE..most + refused {
            lookups.begin(LookupId(id as u64), name("slow.example"));
        }
        // Those for which there is no room are answered at once.
        let at_once: Vec<_> = told.try_iter().collect();
        assert!(at_once.iter().map(|(id, _)| id.0 as usize).eq(most..most + refused));
        assert!(at_once.iter().all(|(_, found)| found.is_empty()));
        assert_eq!(state.lock().unwrap().0, AT_ONCE);

        state.lock().unwrap().1 = true;
        changed.notify_all();
        let rest: BTreeMap<_, _> = told.iter().take(most).collect();
        assert_eq!(rest.len(), most);
        assert!(rest.values().all(|found| found.len() == 1));
    }
}
