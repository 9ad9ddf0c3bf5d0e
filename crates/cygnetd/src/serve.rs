//! The control interface: Varlink on a Unix socket, one task a client.
//!
//! zlink's service macro and `Server` handle the calls of all clients one
//! after the other, which cannot be here: `Up` is answered when the peer has
//! answered. So this module uses zlink's connections, messages and
//! descriptions, and dispatches by itself.

mod access;
mod client;
mod event;
mod socket;
mod status;
mod transport;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use esp::plane::Traffic;
use esp::spec::ChildId;
use ike::Changes;
use ike::event::{Command, Event};
use ike::fault::Refusal;
use ike::redirect::Gateway;
use ike::status::EndpointStatus;
use ike::time::Now;
use tokio::sync::{Semaphore, broadcast, oneshot};
use tokio::task::JoinSet;

pub use self::socket::{BindError, ControlSettings, ControlSocket};

/// Conversations at one time; one more is closed at once.
pub const MAX_CLIENTS: usize = 64;

/// Of these, how many may be monitors: a forgotten monitor must not keep out a
/// person with a command.
pub const MAX_MONITORS: usize = 32;

/// How many events a monitor may be behind before it loses some; the capacity
/// to give the channel of events.
pub const EVENT_BACKLOG: usize = 1024;

/// What a client asks of the engine.
#[derive(Debug)]
pub enum EngineRequest {
    /// To do something. The answer may take as long as a peer takes.
    Command(Command, oneshot::Sender<Result<(), Refusal>>),
    /// To send the peers of a connection, or of all, to another gateway, or to do
    /// so no more.
    Redirect(Option<String>, Option<Gateway>, oneshot::Sender<Result<ike::Redirected, Refusal>>),
    /// To read its configuration again.
    Reload(oneshot::Sender<Result<Changes, String>>),
    /// To tell of itself.
    Status(oneshot::Sender<StatusSnapshot>),
}

/// An engine at a moment.
#[derive(Debug)]
pub struct StatusSnapshot {
    /// What the endpoint tells.
    pub endpoint: EndpointStatus,
    /// What its children have carried.
    pub traffic: BTreeMap<ChildId, Traffic>,
    /// Packets that the plane dropped, by reason.
    pub plane_drops: Vec<(&'static str, u64)>,
    /// Public-key operations since the start.
    pub public_key_operations: u64,
    /// The moment.
    pub now: Now,
}

/// How requests reach the engine. Must not block.
pub type EngineHandle = Arc<dyn Fn(EngineRequest) + Send + Sync>;

/// Events on their way to monitors.
pub type Events = broadcast::Sender<(SystemTime, Event)>;

/// An event in the words that people read.
#[must_use]
pub fn words(event: &Event) -> control::What {
    event::words(event)
}

/// Serves clients until `shutdown` is complete, then hangs up on all of them
/// and removes the socket. To be called in a tokio runtime with IO and time.
///
/// # Errors
/// When the socket cannot be used any more.
pub async fn serve(
    socket: ControlSocket,
    engine: EngineHandle,
    events: Events,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let listener = socket.listener()?;
    let service = Arc::new(client::Service {
        engine,
        events,
        access: socket.access(),
        monitors: Semaphore::new(MAX_MONITORS),
    });
    let mut clients = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < MAX_CLIENTS => {
                    clients.spawn(client::converse(stream, Arc::clone(&service)));
                }
                Ok(_) => tracing::warn!("more than {MAX_CLIENTS} control clients: one was turned away"),
                Err(error) => socket::survive(error).await?,
            },
        }
    }
}
