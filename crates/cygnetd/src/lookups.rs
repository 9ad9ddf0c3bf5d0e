//! The addresses of peers' names, from the system's resolver and, where that has
//! none in time, from name servers that we ask ourselves.
//!
//! The system's resolver has the first word: it knows the hosts file and what
//! else the machine is set up for. But its questions leave by the machine's
//! routes. A tunnel for all traffic that is to be set up holds them, and would
//! wait for itself. So the same name is then asked for from sockets that carry
//! the daemon's mark, as its sealed packets do.
//!
//! Both take their time, so threads of their own wait for them; the first
//! cannot even be told to stop.

mod asking;
mod message;
mod servers;

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crypto::Provider;
use ike::event::LookupId;
use ike::inner::Domain;

use self::asking::Asking;

/// Names that are looked up at once. A server that does not answer keeps one
/// for half a minute.
const AT_ONCE: usize = 4;
/// Names that wait for that; more are not found.
const BACKLOG: usize = 64;

/// How long the system's resolver is waited for alone. One that can be reached
/// answers in less, and the core waits for five seconds.
const HEAD_START: Duration = Duration::from_millis(1500);
/// How long one name server is waited for before the next is asked: all are
/// asked twice before our time is over.
const TURN: Duration = Duration::from_millis(500);
/// How long our own questions are waited for: with the head start, less than
/// the core waits.
const OWN_TIME: Duration = Duration::from_secs(3);

/// Finds the addresses of a name, and waits for them. The second are servers
/// that are not to be asked.
type Resolve = Arc<dyn Fn(&Domain, &[IpAddr]) -> io::Result<Vec<IpAddr>> + Send + Sync>;
type Tell = Arc<dyn Fn(LookupId, Vec<IpAddr>) + Send + Sync>;
type Queue = SyncSender<Arc<Question>>;

/// Whom to ask for addresses. Its threads begin with the first question.
pub struct Lookups {
    resolvers: Resolvers,
    tell: Tell,
    queues: Option<Queues>,
}

#[derive(Clone)]
struct Resolvers {
    system: Resolve,
    own: Resolve,
    head_start: Duration,
}

struct Queues {
    system: Queue,
    own: Queue,
}

impl Lookups {
    /// `tell` is called once for each question, from whatever thread: with the
    /// addresses, the preferred first, or none if there are none to be had. Own
    /// questions carry `mark`.
    #[must_use]
    pub fn new(
        mark: Option<u32>,
        tell: impl Fn(LookupId, Vec<IpAddr>) + Send + Sync + 'static,
    ) -> Self {
        let asking = Asking { mark, turn: TURN, time: OWN_TIME };
        let own = move |name: &Domain, ours: &[IpAddr]| Ok(ask(asking, name, ours));
        let system = |name: &Domain, _: &[IpAddr]| resolve(name);
        let (system, own) = (Arc::new(system), Arc::new(own));
        Self::with(Resolvers { system, own, head_start: HEAD_START }, tell)
    }

    fn with(
        resolvers: Resolvers,
        tell: impl Fn(LookupId, Vec<IpAddr>) + Send + Sync + 'static,
    ) -> Self {
        Self { resolvers, tell: Arc::new(tell), queues: None }
    }

    /// Begins to look up a name, and does not wait for it. The name servers
    /// `ours` are behind our tunnels.
    pub fn begin(&mut self, id: LookupId, name: Domain, ours: Vec<IpAddr>) {
        let question = Arc::new(Question::new((id, name), ours, Arc::clone(&self.tell)));
        let queued = self.queues().and_then(|queues| {
            let full = |_| io::Error::other("too many names are looked up already");
            queues.system.try_send(Arc::clone(&question)).map_err(full)?;
            Ok(queues.own.try_send(Arc::clone(&question)).is_ok())
        });
        match queued {
            Ok(true) => {}
            Ok(false) => question.ends(Vec::new()),
            Err(error) => {
                tracing::warn!("{} is not looked up: {error}", question.name);
                Who::ALL.iter().for_each(|_| question.ends(Vec::new()));
            }
        }
    }

    fn queues(&mut self) -> io::Result<&Queues> {
        let queues = match self.queues.take() {
            Some(queues) => queues,
            None => start(&self.resolvers)?,
        };
        Ok(self.queues.insert(queues))
    }
}

/// A name that is looked up, by both at the same time.
struct Question {
    id: LookupId,
    name: Domain,
    ours: Vec<IpAddr>,
    tell: Tell,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many have ended.
    ended: usize,
    told: bool,
}

/// Who looks up a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    System,
    Own,
}

impl Who {
    const ALL: [Self; 2] = [Self::System, Self::Own];
}

impl Question {
    fn new((id, name): (LookupId, Domain), ours: Vec<IpAddr>, tell: Tell) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { id, name, ours, tell, state, changed }
    }

    /// One of both has found this. The first addresses are told, or that there
    /// are none when nobody is left who could find any.
    fn ends(&self, found: Vec<IpAddr>) {
        let mut state = self.state();
        state.ended += 1;
        let is_last = state.ended == Who::ALL.len();
        let tells = !state.told && (is_last || !found.is_empty());
        state.told |= tells;
        drop(state);
        self.changed.notify_all();
        if tells {
            (self.tell)(self.id, found);
        }
    }

    /// Waits until the system's resolver has ended, but not longer than this:
    /// whether nothing is left to be found.
    fn is_told_within(&self, head_start: Duration) -> bool {
        let waits = |state: &mut State| state.ended == 0;
        let waited = self.changed.wait_timeout_while(self.state(), head_start, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.told
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the threads, which end with whoever may ask.
fn start(resolvers: &Resolvers) -> io::Result<Queues> {
    let [system, own] = Who::ALL.map(|who| start_for(who, resolvers));
    Ok(Queues { system: system?, own: own? })
}

fn start_for(who: Who, resolvers: &Resolvers) -> io::Result<Queue> {
    let (sender, receiver) = sync_channel(BACKLOG);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..AT_ONCE {
        let (receiver, resolvers) = (Arc::clone(&receiver), resolvers.clone());
        let thread = thread::Builder::new().name("cygnet-lookup".into());
        thread.spawn(move || answer(who, &resolvers, &receiver))?;
    }
    Ok(sender)
}

fn answer(who: Who, resolvers: &Resolvers, asked: &Mutex<Receiver<Arc<Question>>>) {
    while let Some(question) = next(asked) {
        let (name, ours) = (&question.name, question.ours.as_slice());
        let found = match who {
            Who::System => (resolvers.system)(name, ours),
            Who::Own if question.is_told_within(resolvers.head_start) => continue,
            Who::Own => (resolvers.own)(name, ours),
        };
        let found = found
            .inspect(|found| tracing::debug!("{name} has the addresses {found:?}"))
            .inspect_err(|error| tracing::debug!("{name}: {error}"));
        question.ends(found.unwrap_or_default());
    }
}

fn next(asked: &Mutex<Receiver<Arc<Question>>>) -> Option<Arc<Question>> {
    asked.lock().ok()?.recv().ok()
}

/// What name servers say that are asked past the tunnels.
fn ask(asking: Asking, name: &Domain, ours: &[IpAddr]) -> Vec<IpAddr> {
    if !is_for_name_servers(name) {
        return Vec::new();
    }
    let servers = servers::find(&servers::FILES, ours);
    tracing::debug!("{servers:?} are asked for {name}, past the tunnels");
    asking.addresses(&mut Provider::system(), name, &servers)
}

/// Names of this machine and of its link are no name server's business (RFC 6761
/// section 6.3, RFC 6762 section 3).
fn is_for_name_servers(name: &Domain) -> bool {
    !matches!(name.as_str().rsplit('.').next(), Some("local" | "localhost"))
}

/// What the fuzz target `dns` runs on each input.
#[doc(hidden)]
pub fn fuzz(octets: &[u8]) {
    message::fuzz(octets);
}

/// As `getaddrinfo` orders them (RFC 6724).
fn resolve(name: &Domain) -> io::Result<Vec<IpAddr>> {
    let addresses = (name.as_str(), 0).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::channel;

    use super::*;

    type Told = Receiver<(LookupId, Vec<IpAddr>)>;

    /// For resolvers that are not there.
    fn nothing(_: &Domain, _: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn told(
        system: impl Fn(&Domain, &[IpAddr]) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
        own: impl Fn(&Domain, &[IpAddr]) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
        head_start: Duration,
    ) -> (Lookups, Told) {
        let (sender, receiver) = channel();
        let tell = move |id, found| sender.send((id, found)).unwrap();
        let (system, own) = (Arc::new(system), Arc::new(own));
        (Lookups::with(Resolvers { system, own, head_start }, tell), receiver)
    }

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3600);

    fn v4(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn the_system_knows_this_host() {
        let system = |name: &Domain, _: &[IpAddr]| resolve(name);
        let (mut lookups, told) = told(system, nothing, LONG);
        lookups.begin(LookupId(7), name("localhost"), Vec::new());
        let (id, found) = told.recv().unwrap();
        assert_eq!(id, LookupId(7));
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[test]
    fn a_name_that_nobody_finds_has_no_addresses() {
        let (mut lookups, told) = told(nothing, nothing, LONG);
        lookups.begin(LookupId(1), name("nobody.example"), Vec::new());
        assert_eq!(told.recv().unwrap(), (LookupId(1), Vec::new()));
        assert_told_no_more(lookups, &told);
    }

    /// The threads end with who may ask, and with them whoever tells.
    fn assert_told_no_more(lookups: Lookups, told: &Told) {
        drop(lookups);
        assert_eq!(told.recv().ok(), None);
    }

    #[test]
    fn nobody_else_is_asked_what_the_system_knows() {
        let (sender, asked) = channel();
        let own = move |name: &Domain, _: &[IpAddr]| {
            sender.send(name.clone()).unwrap();
            Ok(Vec::new())
        };
        let (mut lookups, told) = told(|_, _| Ok(vec![v4(1)]), own, LONG);
        lookups.begin(LookupId(1), name("known.example"), Vec::new());
        assert_eq!(told.recv().unwrap(), (LookupId(1), vec![v4(1)]));
        assert_told_no_more(lookups, &told);
        assert_eq!(asked.recv().ok(), None);
    }

    #[test]
    fn what_the_system_does_not_know_is_asked_for_at_once_knowing_the_servers_of_ours() {
        let own = |_: &Domain, ours: &[IpAddr]| Ok(ours.to_vec());
        let (mut lookups, told) = told(nothing, own, LONG);
        lookups.begin(LookupId(1), name("own.example"), vec![v4(53)]);
        assert_eq!(told.recv().unwrap(), (LookupId(1), vec![v4(53)]));
        assert_told_no_more(lookups, &told);
    }

    #[test]
    fn a_system_that_hangs_is_not_waited_for() {
        for late in [vec![], vec![v4(1)]] {
            let (let_go, hangs) = channel::<()>();
            let hangs = Mutex::new(hangs);
            let system = move |_: &Domain, _: &[IpAddr]| {
                let _ = hangs.lock().unwrap().recv();
                Ok(late.clone())
            };
            let (mut lookups, told) = told(system, |_, _| Ok(vec![v4(2)]), Duration::ZERO);
            lookups.begin(LookupId(1), name("slow.example"), Vec::new());
            assert_eq!(told.recv().unwrap(), (LookupId(1), vec![v4(2)]));
            drop(let_go);
            assert_told_no_more(lookups, &told);
        }
    }

    #[test]
    fn a_late_answer_of_the_system_counts_where_nobody_else_has_one() {
        let (asked, own_has_ended) = channel();
        let own_has_ended = Mutex::new(own_has_ended);
        let system = move |_: &Domain, _: &[IpAddr]| {
            own_has_ended.lock().unwrap().recv().unwrap();
            Ok(vec![v4(1)])
        };
        let own = move |_: &Domain, _: &[IpAddr]| {
            asked.send(()).unwrap();
            Ok(Vec::new())
        };
        let (mut lookups, told) = told(system, own, Duration::ZERO);
        lookups.begin(LookupId(1), name("slow.example"), Vec::new());
        assert_eq!(told.recv().unwrap(), (LookupId(1), vec![v4(1)]));
        assert_told_no_more(lookups, &told);
    }

    #[test]
    fn names_of_this_machine_and_its_link_are_no_name_servers_business() {
        let is_asked = |text| is_for_name_servers(&name(text));
        assert!(is_asked("vpn.example.org") && is_asked("local.example"));
        assert!(!["printer.local", "localhost", "a.localhost"].iter().any(|it| is_asked(it)));
    }

    /// How many wait for the resolver, and whether it answers.
    static WAITING: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

    fn waits(_: &Domain, _: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
        let (state, changed) = &WAITING;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        drop(changed.wait_while(state, |(_, answers)| !*answers).unwrap());
        Ok(vec![[192, 0, 2, 1].into()])
    }

    #[test]
    fn a_resolver_that_hangs_keeps_some_threads_and_nobody_else() {
        let (mut lookups, told) = told(waits, nothing, LONG);
        let (state, changed) = &WAITING;
        for id in 0..AT_ONCE {
            lookups.begin(LookupId(id as u64), name("slow.example"), Vec::new());
        }
        drop(changed.wait_while(state.lock().unwrap(), |(count, _)| *count < AT_ONCE).unwrap());
        let (most, refused) = (AT_ONCE + BACKLOG, 3);
        for id in AT_ONCE..most + refused {
            lookups.begin(LookupId(id as u64), name("slow.example"), Vec::new());
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
