//! What a pair goes through while somebody meddles, and what must come of it.

use std::sync::Arc;
use std::time::Duration;

use ike::event::{Command, Event, How};
use ike::fault::Refusal;
use ike::status::Stage;
use sim::world::Meddler;
use sim::{Pair, Scene};

use crate::addresses::dynamic;

/// Something that a pair goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scenario {
    SetUp,
    SetUpWithAnotherGroup,
    SetUpWithCookie,
    SetUpWithAddress,
    Resume,
    ResumeWithAddress,
    SetUpInFragments,
    SetUpPostQuantum,
    SetUpWithPpk,
    ResumeInFragments,
    EndInFragments,
    SuspendAndResume,
    ResumeInTheOtherForm,
    Fallback,
    Renewal,
    Liveness,
    RestartedGateway,
    DownByClient,
    DownByGateway,
}

pub(crate) const ALL: [Scenario; 19] = [
    Scenario::SetUp,
    Scenario::SetUpWithAnotherGroup,
    Scenario::SetUpWithCookie,
    Scenario::SetUpWithAddress,
    Scenario::Resume,
    Scenario::ResumeWithAddress,
    Scenario::SetUpInFragments,
    Scenario::SetUpPostQuantum,
    Scenario::SetUpWithPpk,
    Scenario::ResumeInFragments,
    Scenario::EndInFragments,
    Scenario::SuspendAndResume,
    Scenario::ResumeInTheOtherForm,
    Scenario::Fallback,
    Scenario::Renewal,
    Scenario::Liveness,
    Scenario::RestartedGateway,
    Scenario::DownByClient,
    Scenario::DownByGateway,
];

/// How a scenario ended.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub(crate) reply: Result<(), Refusal>,
    pub(crate) stage: Stage,
    pub(crate) how: Option<How>,
    pub(crate) round_trips: Option<u32>,
    /// The names of all events of client and gateway.
    pub(crate) story: [Vec<String>; 2],
}

impl Scenario {
    /// A pair that is about to go through it.
    pub(crate) fn before(self) -> Pair {
        match self {
            Self::SetUp => Pair::with(|_| {}),
            Self::SetUpWithAnotherGroup => Pair::with(|scene| {
                scene.client.ike = vec!["aes256gcm16-prfsha384-ecp256-x25519"];
            }),
            Self::SetUpWithCookie => Pair::with(|scene| scene.gateway.limits.cookie_threshold = 0),
            Self::SetUpWithAddress => Pair::with(dynamic),
            Self::Resume => Pair::suspended(|_| {}),
            Self::ResumeWithAddress => Pair::suspended(dynamic),
            Self::SetUpInFragments => Pair::with(|scene| in_fragments_of(scene, 260)),
            Self::ResumeInFragments => Pair::suspended(|scene| in_fragments_of(scene, 260)),
            Self::SetUpPostQuantum => Pair::with(|scene| {
                for profile in [&mut scene.client, &mut scene.gateway] {
                    profile.ike = vec!["aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke2_mlkem512"];
                }
            }),
            Self::SetUpWithPpk => Pair::with(crate::ppk::optional),
            // So small that a Delete needs two.
            Self::EndInFragments => Pair::joined(|scene| in_fragments_of(scene, 52 + 66)),
            Self::ResumeInTheOtherForm => Pair::suspended(|scene| {
                scene.gateway.resumption.auth = ike::config::ResumeAuth::Libreswan;
            }),
            Self::Fallback => {
                let mut pair = Pair::suspended(|_| {});
                pair.restart_gateway();
                pair.forget_past();
                pair
            }
            Self::Renewal => Pair::joined(|scene| {
                scene.gateway.resumption.lifetime = Duration::from_secs(20);
            }),
            Self::Liveness => Pair::joined(|scene| {
                scene.client.liveness = Some(Duration::from_secs(10));
                scene.gateway.liveness = Some(Duration::from_secs(15));
            }),
            // It shows the token of the SA that it has lost (RFC 6290).
            Self::RestartedGateway => {
                let mut pair =
                    Pair::joined(|scene| scene.client.liveness = Some(Duration::from_secs(10)));
                pair.restart_gateway();
                pair.forget_past();
                pair
            }
            Self::SuspendAndResume | Self::DownByClient | Self::DownByGateway => {
                Pair::joined(|_| {})
            }
        }
    }

    /// Goes through it.
    pub(crate) fn run(self, pair: &mut Pair, meddler: Option<Meddler>) -> End {
        pair.world.meddler = meddler;
        let reply = self.act(pair);
        pair.world.run_for(Duration::from_secs(1));
        let status = pair.status();
        let set_up = status.sa.as_ref().and_then(|sa| sa.set_up);
        End {
            reply,
            stage: status.stage,
            how: set_up.map(|set_up| set_up.how),
            round_trips: set_up.map(|set_up| set_up.round_trips),
            story: [story(pair.client_events()), story(pair.gateway_events())],
        }
    }

    fn act(self, pair: &mut Pair) -> Result<(), Refusal> {
        match self {
            Self::SetUp
            | Self::SetUpWithAnotherGroup
            | Self::SetUpWithCookie
            | Self::SetUpWithAddress
            | Self::SetUpInFragments
            | Self::SetUpPostQuantum
            | Self::SetUpWithPpk => pair.up(),
            Self::Resume
            | Self::ResumeWithAddress
            | Self::ResumeInFragments
            | Self::ResumeInTheOtherForm
            | Self::Fallback => pair.resume(),
            Self::SuspendAndResume => pair.suspend().and_then(|()| pair.resume()),
            Self::Renewal | Self::Liveness | Self::RestartedGateway => {
                pair.world.run_for(Duration::from_secs(16));
                Ok(())
            }
            Self::DownByClient | Self::EndInFragments => pair.down(),
            Self::DownByGateway => {
                let name: Arc<str> = "clients".into();
                let gateway = pair.gateway;
                let request = pair.world.command(gateway, Command::Down(name));
                pair.world.run_for(Duration::from_secs(30));
                pair.world.node(gateway).replies[&request].clone()
            }
        }
    }

    /// Whether there is a tunnel in the end.
    pub(crate) fn ends_joined(self) -> bool {
        !matches!(self, Self::DownByClient | Self::DownByGateway | Self::EndInFragments)
    }

    /// How many datagrams it takes when nobody meddles.
    pub(crate) fn datagrams(self) -> usize {
        let mut pair = self.before();
        self.run(&mut pair, Some(Box::new(sim::meddle::untouched)));
        pair.exchanges().len()
    }

    /// The end when nobody meddles.
    pub(crate) fn undisturbed(self) -> End {
        let mut pair = self.before();
        let end = self.run(&mut pair, None);
        self.check(&mut pair);
        end
    }

    /// Both sides agree, packets flow if they should, and in the end nothing is left.
    pub(crate) fn check(self, pair: &mut Pair) {
        pair.world.meddler = None;
        pair.world.run_for(Duration::from_secs(40));
        if self.ends_joined() {
            pair.assert_joined();
            assert_eq!(pair.down(), Ok(()));
        }
        pair.world.run_for(Duration::from_secs(40));
        pair.assert_apart();
        pair.assert_empty();
    }
}

/// Datagrams of that many octets at the most, on both sides.
fn in_fragments_of(scene: &mut Scene, size: u16) {
    for profile in [&mut scene.client, &mut scene.gateway] {
        profile.fragmentation.size = size;
    }
}

/// The names of events. A ticket is refused without memory, so as often as
/// somebody shows it, and a stranger that did not go on is not part of the story.
fn story<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<String> {
    let is_told = |event: &&Event| {
        let is_stranger = matches!(event, Event::Failed { connection: None, .. });
        !is_stranger && !matches!(event, Event::TicketRefused { .. })
    };
    let name = |event: &Event| {
        let text = format!("{event:?}");
        text.split(' ').next().unwrap().to_owned()
    };
    events.filter(is_told).map(name).collect()
}
