//! What happens in a run, as values that can be printed, shrunk and kept.

use proptest::prelude::*;

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What the pair is made of.
    pub(crate) making: Making,
    /// What happens, one after the other. After each all is quiet for a while.
    pub(crate) rounds: Vec<Round>,
}

/// What a pair is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making {
    /// Chooses all chance.
    pub(crate) seed: u64,
    /// The client is behind a NAT.
    pub(crate) nat: bool,
    /// Packets bring a sleeping session back.
    pub(crate) on_traffic: bool,
    /// The client's connection comes back by itself.
    pub(crate) kept: bool,
    /// The client's inner address is the gateway's to give.
    pub(crate) dynamic: bool,
    /// After how many seconds the client proves again who it is.
    pub(crate) reauth: Option<u16>,
}

/// Things that happen in one kind of weather.
#[derive(Clone, Debug)]
pub(crate) enum Round {
    /// One after the other, each at its end before the next.
    Orderly(Mild, Vec<Act>),
    /// One on the heels of the other: so many milliseconds between them.
    Hasty(Mild, Vec<(Act, u16)>),
    /// Some seconds apart, while the network is bad.
    Stormy(Storm, Vec<(Act, u16)>),
}

/// Weather in which everything must succeed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mild {
    /// Chooses whom it hits.
    pub(crate) seed: u64,
    /// Datagrams that are lost during the round.
    pub(crate) losses: u8,
    /// How many in a thousand arrive twice.
    pub(crate) duplication: u32,
    /// How much later one can be than another, in milliseconds.
    pub(crate) jitter: u16,
}

/// Weather in which everything may fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    /// Chooses whom it hits.
    pub(crate) seed: u64,
    /// How many of a thousand datagrams are lost, of the client and of the
    /// gateway; 1000 is a partition.
    pub(crate) losses: [u32; 2],
    /// How many in a thousand arrive twice.
    pub(crate) duplication: u32,
    /// How many in a thousand have a bit altered.
    pub(crate) corruption: u32,
    /// How much later one can be than another, in milliseconds.
    pub(crate) jitter: u16,
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    /// Who begins.
    Client,
    /// Who answers.
    Gateway,
}

impl Side {
    /// The peer.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Gateway,
            Self::Gateway => Self::Client,
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Up,
    Resume,
    Suspend,
    Down(Side),
    RekeyChild(Side),
    RekeyIke(Side),
    /// The client has another address, with this last octet.
    Move(u8),
    /// The NAT has forgotten the client.
    Rebind,
    /// The side loses everything, and stays away.
    Kill(Side),
    /// The side loses everything, or has lost it, and is back.
    Restart(Side),
    /// No ticket of the gateway is good any more.
    VoidTickets,
    /// Somebody sets the side's wall clock, by so many seconds.
    Clock(Side, i32),
    /// An inner packet wants to leave.
    Packet(Side),
    /// Somebody sends a datagram again, perhaps with a bit altered.
    Replay(u16, Option<u16>),
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Gateway)]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => Just(Act::Up),
        6 => Just(Act::Resume),
        8 => Just(Act::Suspend),
        4 => Just(Act::Down(Side::Client)),
        2 => Just(Act::Down(Side::Gateway)),
        5 => side().prop_map(Act::RekeyChild),
        5 => side().prop_map(Act::RekeyIke),
        2 => (20u8..30).prop_map(Act::Move),
        2 => Just(Act::Rebind),
        1 => side().prop_map(Act::Kill),
        3 => side().prop_map(Act::Restart),
        1 => Just(Act::VoidTickets),
        2 => (side(), -200_000i32..200_000).prop_map(|(side, by)| Act::Clock(side, by)),
        4 => side().prop_map(Act::Packet),
        2 => (any::<u16>(), any::<Option<u16>>()).prop_map(|(which, flip)| Act::Replay(which, flip)),
    ]
}

fn mild() -> impl Strategy<Value = Mild> {
    let some = (any::<u64>(), 0u8..4, 0u32..300, 0u16..300)
        .prop_map(|(seed, losses, duplication, jitter)| Mild { seed, losses, duplication, jitter });
    let fair = Mild { seed: 0, losses: 0, duplication: 0, jitter: 0 };
    prop_oneof![Just(fair), some]
}

fn storm() -> impl Strategy<Value = Storm> {
    let loss = || prop_oneof![0u32..400, Just(0), Just(1000)];
    (any::<u64>(), [loss(), loss()], 0u32..300, 0u32..200, 0u16..2000).prop_map(
        |(seed, losses, duplication, corruption, jitter)| Storm {
            seed,
            losses,
            duplication,
            corruption,
            jitter,
        },
    )
}

fn round() -> impl Strategy<Value = Round> {
    let some = || prop::collection::vec(act(), 1..6);
    let apart = |pauses: std::ops::Range<u16>| prop::collection::vec((act(), pauses), 1..8);
    prop_oneof![
        4 => (mild(), some()).prop_map(|(mild, acts)| Round::Orderly(mild, acts)),
        3 => (mild(), apart(0..120)).prop_map(|(mild, acts)| Round::Hasty(mild, acts)),
        2 => (storm(), apart(0..60)).prop_map(|(storm, acts)| Round::Stormy(storm, acts)),
    ]
}

fn making() -> impl Strategy<Value = Making> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let reauth = prop_oneof![2 => Just(None), 1 => (10u16..60).prop_map(Some)];
    (0u64..1 << 40, flags, reauth).prop_map(|(seed, (nat, on_traffic, kept, dynamic), reauth)| {
        Making { seed, nat, on_traffic, kept, dynamic, reauth }
    })
}

/// Any run.
pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    (making(), prop::collection::vec(round(), 1..6))
        .prop_map(|(making, rounds)| Case { making, rounds })
}
