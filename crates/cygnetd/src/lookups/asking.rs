//! Asks name servers ourselves, from sockets whose packets go past our tunnels.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crypto::Provider;
use ike::inner::Domain;
use ike::time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Protocol, Socket, Type};

use super::message::{Family, MAX_ADDRESSES, MAX_ANSWER, Question};
use crate::clock;

/// How often each server is asked.
const TRANSMISSIONS: usize = 2;

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    /// `SO_MARK` of the questions, by which they go past our own routes.
    pub(super) mark: Option<u32>,
    /// How long a server is waited for before the next is asked, or it again.
    pub(super) turn: Duration,
    /// How long all answers together are waited for.
    pub(super) time: Duration,
}

impl Asking {
    /// The addresses of a name; none if nobody knows any, or answers in time.
    ///
    /// One server after the other is asked, and then again; who was asked before
    /// may still answer. When one family is known, the other has the rest of a
    /// turn.
    pub(super) fn addresses(
        self,
        provider: &mut Provider,
        name: &Domain,
        servers: &[SocketAddr],
    ) -> Vec<IpAddr> {
        let end = clock::now().instant + self.time;
        let mut queries = self.open(provider, name, servers);
        for server in (0..servers.len()).cycle().take(TRANSMISSIONS * servers.len()) {
            queries.send(server);
            queries.wait(clock::now().instant + self.turn, |it| it.has_answered(server));
            if queries.have_addresses() {
                break;
            }
        }
        queries.wait(end, Queries::have_addresses);
        queries.addresses()
    }

    fn open(self, provider: &mut Provider, name: &Domain, servers: &[SocketAddr]) -> Queries {
        let families = [Family::V6, Family::V4];
        let each = servers.iter().enumerate();
        let each = each.flat_map(|(n, server)| families.map(|family| (n, server, family)));
        let open = |(server, &at, family)| {
            let socket = socket(at, self.mark)
                .inspect_err(|error| tracing::debug!("{at} is not asked for {name}: {error}"))
                .ok()?;
            let question = Question::new(u16::from_be_bytes(provider.array()), name, family);
            Some(Query { server, question, socket, found: None })
        };
        Queries(each.filter_map(open).collect())
    }
}

/// A socket for one question: the system chooses its port by chance, and gives
/// it nothing but what comes from that server.
fn socket(server: SocketAddr, mark: Option<u32>) -> io::Result<UdpSocket> {
    let family = socket2::Domain::for_address(server);
    let socket = Socket::new(family, Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    socket.set_nonblocking(true)?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// One question to one server.
struct Query {
    server: usize,
    question: Question,
    socket: UdpSocket,
    /// What it has answered, or nothing where it cannot be reached.
    found: Option<Vec<IpAddr>>,
}

impl Query {
    fn send(&mut self) {
        if self.found.is_none() && self.socket.send(&self.question.message()).is_err() {
            self.found = Some(Vec::new());
        }
    }

    fn receive(&mut self) {
        let mut octets = [0; MAX_ANSWER];
        let answered = match self.socket.recv(&mut octets) {
            Ok(len) => octets.get(..len).and_then(|octets| self.question.answered(octets)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(Vec::new()),
        };
        self.found = self.found.take().or(answered);
    }
}

/// All that is asked.
struct Queries(Vec<Query>);

impl Queries {
    fn send(&mut self, server: usize) {
        self.0.iter_mut().filter(|query| query.server == server).for_each(Query::send);
    }

    /// Until all is told, or `is_over`, or the time is.
    fn wait(&mut self, until: Instant, is_over: impl Fn(&Self) -> bool) {
        while !self.is_all_told() && !is_over(self) && self.receive(until) {}
    }

    fn is_all_told(&self) -> bool {
        let told =
            |it: &Query| self.has_answered(it.server) && !self.found_by(it.server).is_empty();
        self.0.iter().any(told) || self.0.iter().all(|query| query.found.is_some())
    }

    fn has_answered(&self, server: usize) -> bool {
        self.of(server).all(|query| query.found.is_some())
    }

    fn have_addresses(&self) -> bool {
        self.0.iter().any(|query| query.found.as_ref().is_some_and(|found| !found.is_empty()))
    }

    fn of(&self, server: usize) -> impl Iterator<Item = &Query> {
        self.0.iter().filter(move |query| query.server == server)
    }

    fn found_by(&self, server: usize) -> Vec<IpAddr> {
        self.of(server).flat_map(|query| query.found.iter().flatten().copied()).collect()
    }

    /// Those of the first server that has told some. Both families by turns, so
    /// that neither keeps the other out (RFC 8305 section 4).
    fn addresses(&self) -> Vec<IpAddr> {
        let of_each = self.0.iter().map(|query| self.found_by(query.server));
        let found = of_each.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(|it| it.is_ipv4());
        let (v4, v6) = (v4.into_iter().enumerate(), v6.into_iter().enumerate());
        let mut all: Vec<_> = v6.chain(v4).collect();
        all.sort_by_key(|(n, _)| *n);
        all.into_iter().map(|(_, address)| address).take(MAX_ADDRESSES).collect()
    }

    /// Takes what comes first; `false` when the time is over.
    fn receive(&mut self, until: Instant) -> bool {
        let left = until.since(clock::now().instant);
        let Ok(timeout) = Timespec::try_from(left) else { return false };
        let mut fds: Vec<_> =
            self.0.iter().map(|query| PollFd::new(&query.socket, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let ready = self.0.iter_mut().zip(ready).filter(|(_, ready)| *ready);
        ready.for_each(|(query, _)| query.receive());
        !left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, JoinHandle};

    use super::super::message::tests::{answer, wire};
    use super::*;

    const A: u16 = 1;
    const AAAA: u16 = 28;
    const NAME: &str = "vpn.example.org";

    type Record = (&'static str, u16, Vec<u8>);

    /// A name server that answers each question, whose number among all it is
    /// told, with any datagrams.
    struct Server {
        at: SocketAddr,
        stop: UdpSocket,
        thread: Option<JoinHandle<usize>>,
    }

    impl Server {
        fn new(mut says: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let at = socket.local_addr().unwrap();
            let run = move || {
                let mut octets = [0; 512];
                for n in 0.. {
                    let (len, from) = socket.recv_from(&mut octets).unwrap();
                    if len == 0 {
                        return n;
                    }
                    for datagram in says(n, &octets[..len]) {
                        socket.send_to(&datagram, from).unwrap();
                    }
                }
                0
            };
            let stop = UdpSocket::bind("127.0.0.1:0").unwrap();
            Self { at, stop, thread: Some(thread::spawn(run)) }
        }

        /// One that knows these.
        fn knowing(records: Vec<Record>) -> Self {
            Self::new(move |_, asked| vec![told(asked, &records)])
        }

        fn silent() -> Self {
            Self::new(|_, _| Vec::new())
        }

        /// How many questions it had.
        fn asked(mut self) -> usize {
            self.stop.send_to(&[], self.at).unwrap();
            self.thread.take().unwrap().join().unwrap()
        }
    }

    /// The records of the kind that is asked for, and aliases.
    fn told(asked: &[u8], records: &[Record]) -> Vec<u8> {
        let kind = kind(asked);
        let records = records.iter().filter(|record| [kind, 5].contains(&record.1));
        answer(asked, &records.cloned().collect::<Vec<_>>())
    }

    fn kind(asked: &[u8]) -> u16 {
        let at = asked.len() - 11 - 4;
        u16::from_be_bytes([asked[at], asked[at + 1]])
    }

    fn v4(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn v6(n: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into()
    }

    fn at(n: u8) -> Record {
        (NAME, A, vec![192, 0, 2, n])
    }

    fn at_six(n: u16) -> Record {
        (NAME, AAAA, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).octets().to_vec())
    }

    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3600);

    /// Waits for whoever was asked, and asks nobody else.
    const PATIENT: Asking = Asking { mark: None, turn: LONG, time: LONG };
    /// Asks all as often as they are asked, and then waits.
    const HASTY: Asking = Asking { mark: None, turn: Duration::ZERO, time: LONG };
    /// Waits for nobody.
    const IMPATIENT: Asking = Asking { mark: None, turn: Duration::ZERO, time: Duration::ZERO };

    fn ask(asking: Asking, servers: &[&Server]) -> Vec<IpAddr> {
        let servers: Vec<_> = servers.iter().map(|server| server.at).collect();
        asking.addresses(&mut Provider::seeded(1), &NAME.parse().unwrap(), &servers)
    }

    fn nothing() -> Vec<IpAddr> {
        Vec::new()
    }

    #[test]
    fn both_families_are_asked_for_and_told_by_turns() {
        let server = Server::knowing(vec![at(1), at(2), at_six(1), at(3)]);
        assert_eq!(ask(PATIENT, &[&server]), [v6(1), v4(1), v4(2), v4(3)]);
        assert_eq!(server.asked(), 2);
        let many: Vec<_> = (0..8).map(at).chain((0..8).map(at_six)).collect();
        let found = ask(PATIENT, &[&Server::knowing(many)]);
        assert_eq!(found.iter().filter(|it| it.is_ipv4()).count(), 4);
        assert_eq!(found.len(), MAX_ADDRESSES);
    }

    #[test]
    fn aliases_are_followed() {
        let alias = (NAME, 5, wire("gw.example.net"));
        let server = Server::knowing(vec![alias, ("gw.example.net", A, vec![192, 0, 2, 4])]);
        assert_eq!(ask(PATIENT, &[&server]), [v4(4)]);
    }

    #[test]
    fn ids_differ_and_what_is_no_answer_is_passed_over() {
        let (sender, ids) = channel();
        let server = Server::new(move |_, asked| {
            send_id(&sender, asked);
            let forged = told(asked, &[at(66), at_six(66)]);
            let with = |n: usize| {
                let mut octets = forged.clone();
                octets[n] ^= 1;
                octets
            };
            let (wrong_id, wrong_name) = (with(0), with(14));
            let garbage = vec![0xc0; 2000];
            vec![vec![], wrong_id, wrong_name, garbage, asked.to_vec(), told(asked, &[at(1)])]
        });
        assert_eq!(ask(PATIENT, &[&server]), [v4(1)]);
        assert_eq!(server.asked(), 2);
        let ids: Vec<_> = ids.iter().collect();
        assert_ne!(ids[0], ids[1]);
    }

    fn send_id(to: &Sender<[u8; 2]>, asked: &[u8]) {
        to.send([asked[0], asked[1]]).unwrap();
    }

    #[test]
    fn a_truncated_answer_is_used_as_far_as_it_goes() {
        let server = Server::new(|_, asked| {
            let mut octets = told(asked, &[at(1), at(2)]);
            octets[2] |= 2;
            if kind(asked) == A {
                octets.truncate(octets.len() - 3);
            }
            vec![octets]
        });
        assert_eq!(ask(PATIENT, &[&server]), [v4(1)]);
    }

    #[test]
    fn a_question_that_is_lost_is_asked_again() {
        let server = Server::new(|n, asked| match n {
            0 | 1 => vec![],
            _ => vec![told(asked, &[at(1)])],
        });
        assert_eq!(ask(HASTY, &[&server]), [v4(1)]);
        assert_eq!(server.asked(), 4);
    }

    #[test]
    fn who_knows_nothing_gives_way_to_the_next_at_once() {
        let servers = [Server::knowing(vec![]), Server::knowing(vec![at(1)])];
        assert_eq!(ask(PATIENT, &[&servers[0], &servers[1]]), [v4(1)]);
        assert_eq!(servers.map(Server::asked), [2, 2]);
    }

    #[test]
    fn who_does_not_answer_gives_way_to_the_next() {
        let servers = [Server::silent(), Server::knowing(vec![at(1)])];
        assert_eq!(ask(HASTY, &[&servers[0], &servers[1]]), [v4(1)]);
    }

    #[test]
    fn who_was_given_up_may_still_answer() {
        let (sender, second_is_asked) = channel();
        let second = Server::new(move |_, _| {
            let _ = sender.send(());
            vec![]
        });
        let first = Server::new(move |_, asked| {
            let _ = second_is_asked.recv();
            vec![told(asked, &[at(2)])]
        });
        assert_eq!(ask(HASTY, &[&first, &second]), [v4(2)]);
    }

    #[test]
    fn nobody_is_asked_more_than_twice_for_each_family() {
        let servers = [Server::silent(), Server::silent()];
        assert_eq!(ask(IMPATIENT, &[&servers[0], &servers[1]]), nothing());
        assert_eq!(servers.map(Server::asked), [2 * TRANSMISSIONS; 2]);
    }

    #[test]
    fn where_nobody_is_or_knows_anything_it_is_over_at_once() {
        assert_eq!(ask(PATIENT, &[]), nothing());
        assert_eq!(ask(PATIENT, &[&Server::knowing(vec![])]), nothing());
        let nobody = Server::silent();
        let at = nobody.at;
        nobody.asked();
        let name = NAME.parse().unwrap();
        assert_eq!(PATIENT.addresses(&mut Provider::seeded(1), &name, &[at]), nothing());
    }
}
