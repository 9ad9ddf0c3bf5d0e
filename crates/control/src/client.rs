//! A client of a running daemon.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zlink::Call;
use zlink::tokio::unix;

use crate::error::Error;
use crate::event::Event;
use crate::method::{
    Changes, ConnectionName, Method, MonitorReply, Nothing, RedirectOf, Redirected, RekeyOf,
    StatusOf,
};
use crate::status::Status;

/// A conversation with a running daemon: one call at a time.
#[derive(Debug)]
pub struct Client {
    connection: unix::Connection,
}

/// Why a call did not succeed. Displayed as one sentence without a full stop.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the daemon is not running (no socket at {0})")]
    NotRunning(PathBuf),
    /// The socket is not for us.
    #[error("permission denied: only root and members of the daemon's control_group may use {0}")]
    NotAllowed(PathBuf),
    /// The daemon knows us and says no.
    #[error("permission denied: only root and members of the daemon's control_group may do this")]
    PermissionDenied,
    /// The daemon refuses the call, or tried and failed.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The daemon ended the conversation before its answer.
    #[error("the daemon closed the connection: it was stopped, or has too many clients")]
    Closed,
    /// The socket failed.
    #[error("cannot talk to the daemon: {0}")]
    Io(io::Error),
    /// What came back is no answer to the call.
    #[error("the daemon does not understand, or answers with something else: {0}")]
    Protocol(String),
}

impl Client {
    /// Connects to the daemon whose socket is at `path`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::NotAllowed`] or
    /// [`ClientError::Io`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        match unix::connect(path).await {
            Ok(connection) => Ok(Self { connection }),
            Err(zlink::Error::Io(error)) => Err(not_connected(error, path)),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings a connection up, by resumption if it has a session. Returns when
    /// packets can flow.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it cannot be done; others when the daemon
    /// cannot be asked. So for every call.
    pub async fn up(&mut self, name: &str) -> Result<(), ClientError> {
        self.ask(Method::Up(named(name))).await
    }

    /// Ends a connection and forgets its session.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub async fn down(&mut self, name: &str) -> Result<(), ClientError> {
        self.ask(Method::Down(named(name))).await
    }

    /// Puts a connection to sleep: no Delete is sent, the session is kept.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub async fn suspend(&mut self, name: &str) -> Result<(), ClientError> {
        self.ask(Method::Suspend(named(name))).await
    }

    /// Brings a suspended session back. Returns when packets can flow.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub async fn resume(&mut self, name: &str) -> Result<(), ClientError> {
        self.ask(Method::Resume(named(name))).await
    }

    /// Replaces the keys of the IKE SA, or of its children. Returns when that
    /// has begun.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub async fn rekey(&mut self, name: &str, child: bool) -> Result<(), ClientError> {
        self.ask(Method::Rekey(RekeyOf { name: name.to_owned(), child })).await
    }

    /// Sends the peers of the connection `name`, or of all, to another gateway:
    /// those that are here, and those that come from now on. Without one, those
    /// that come go where the configuration says.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub async fn redirect(
        &mut self,
        name: Option<&str>,
        to: Option<&str>,
    ) -> Result<Redirected, ClientError> {
        let of = RedirectOf { name: name.map(str::to_owned), to: to.map(str::to_owned) };
        self.call::<Redirected>(Method::Redirect(of)).await
    }

    /// Has the daemon read its configuration again. Returns what that has changed.
    ///
    /// # Errors
    /// See [`Client::up`]. The configuration then stays what it was.
    pub async fn reload(&mut self) -> Result<Changes, ClientError> {
        self.call::<Changes>(Method::Reload(Nothing {})).await
    }

    /// What there is: of the connection `name`, or of all.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub async fn status(&mut self, name: Option<&str>) -> Result<Status, ClientError> {
        let of = StatusOf { name: name.map(str::to_owned) };
        self.call::<Status>(Method::Status(of)).await
    }

    /// What happens from now on.
    ///
    /// # Errors
    /// See [`Client::up`].
    pub async fn monitor(mut self) -> Result<Monitor, ClientError> {
        let call = Call::new(Method::Monitor(Nothing {})).set_more(true);
        self.connection.send_call(&call, Vec::new()).await?;
        Ok(Monitor { connection: self.connection })
    }

    async fn ask(&mut self, method: Method) -> Result<(), ClientError> {
        self.call::<Nothing>(method).await.map(|_| ())
    }

    async fn call<'a, Answer>(&'a mut self, method: Method) -> Result<Answer, ClientError>
    where
        Answer: Deserialize<'a> + std::fmt::Debug,
    {
        self.connection.send_call(&Call::new(method), Vec::new()).await?;
        receive(&mut self.connection).await
    }
}

/// The stream of events.
#[derive(Debug)]
pub struct Monitor {
    connection: unix::Connection,
}

impl Monitor {
    /// The next event. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the daemon stops; others as for
    /// [`Client::up`].
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        receive::<MonitorReply>(&mut self.connection).await.map(|reply| reply.event)
    }
}

async fn receive<'a, Answer>(connection: &'a mut unix::Connection) -> Result<Answer, ClientError>
where
    Answer: Deserialize<'a> + std::fmt::Debug,
{
    let (reply, _) = connection.receive_reply::<Answer, Error>().await?;
    reply?.into_parameters().ok_or_else(|| ClientError::Protocol("it is empty".to_owned()))
}

fn named(name: &str) -> ConnectionName {
    ConnectionName { name: name.to_owned() }
}

fn not_connected(error: io::Error, path: &Path) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.to_owned()),
        _ => ClientError::Io(error),
    }
}

impl From<zlink::Error> for ClientError {
    fn from(error: zlink::Error) -> Self {
        match error {
            zlink::Error::UnexpectedEof => Self::Closed,
            zlink::Error::Io(error) if is_hang_up(&error) => Self::Closed,
            zlink::Error::Io(error) => Self::Io(error),
            zlink::Error::VarlinkService(error) => match error.inner() {
                zlink::varlink_service::Error::PermissionDenied => Self::PermissionDenied,
                other => Self::Protocol(other.to_string()),
            },
            other => Self::Protocol(other.to_string()),
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
