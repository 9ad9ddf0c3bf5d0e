//! A conversation with one client.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use control::{Error, INTERFACE, Method, MonitorReply, Nothing, UnknownMethod};
use ike::event::{Command, RekeyWhat};
use ike::fault::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, oneshot};
use zlink::varlink_service::{self, Error as ServiceError, Info, InterfaceDescription};
use zlink::{Connection, Reply};

use super::access::Access;
use super::transport::{Bounded, hung_up};
use super::{EngineHandle, EngineRequest, Events, event, status};

/// What all conversations share.
pub(super) struct Service {
    pub(super) engine: EngineHandle,
    pub(super) events: Events,
    pub(super) access: Access,
    pub(super) monitors: Semaphore,
}

/// Speaks with a client until it hangs up or says something that is not
/// Varlink. Calls are answered in their order.
pub(super) async fn converse(stream: UnixStream, service: Arc<Service>) {
    let stream = Arc::new(stream);
    let allowed = service.access.allows(&*stream).unwrap_or(false);
    let client = Client {
        connection: Connection::new(Bounded(Arc::clone(&stream))),
        stream,
        service: &service,
    };
    let ended = if allowed { client.serve().await } else { client.turn_away().await };
    if let Err(error) = ended {
        tracing::debug!("a control client's conversation ended: {error}");
    }
}

struct Client<'a> {
    connection: Connection<Bounded>,
    stream: Arc<UnixStream>,
    service: &'a Service,
}

/// A call as it came: JSON of the right shape, nothing more.
#[derive(Debug, Deserialize)]
struct RawCall {
    method: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

/// What to answer.
enum Answer {
    Done,
    Changed(control::Changes),
    Redirected(control::Redirected),
    Status(Box<control::Status>),
    Info,
    Description(InterfaceDescription<'static>),
    Refused(Error),
    NotACall(ServiceError<'static>),
}

impl Client<'_> {
    async fn serve(mut self) -> zlink::Result<()> {
        loop {
            let call = match self.connection.receive_call::<RawCall>().await {
                Ok((call, _)) => call,
                Err(zlink::Error::UnexpectedEof) => return Ok(()),
                Err(error) => return Err(error),
            };
            let answer = match parse(call.method()) {
                Ok(Parsed::Ours(Method::Monitor(_))) if call.more() => return self.monitor().await,
                Ok(Parsed::Ours(method)) => self.carry_out(method).await,
                Ok(Parsed::Info) => Answer::Info,
                Ok(Parsed::Description(description)) => Answer::Description(description),
                Err(error) => Answer::NotACall(error),
            };
            if !call.oneway() {
                self.send(answer).await?;
            }
        }
    }

    /// Waits for the first call, so that the client reads the answer as one.
    async fn turn_away(mut self) -> zlink::Result<()> {
        let patience = Duration::from_secs(1);
        let call = self.connection.receive_call::<RawCall>();
        if let Ok(call) = tokio::time::timeout(patience, call).await {
            call?;
            self.send(Answer::NotACall(ServiceError::PermissionDenied)).await?;
        }
        Ok(())
    }

    async fn carry_out(&self, method: Method) -> Answer {
        match method {
            Method::Up(of) => self.command(Command::Up, of.name).await,
            Method::Down(of) => self.command(Command::Down, of.name).await,
            Method::Suspend(of) => self.command(Command::Suspend, of.name).await,
            Method::Resume(of) => self.command(Command::Resume, of.name).await,
            Method::Rekey(of) if of.child => self.command(rekey_children, of.name).await,
            Method::Rekey(of) => self.command(rekey_ike, of.name).await,
            Method::Redirect(of) => self.redirect(of).await,
            Method::Reload(_) => self.reload().await,
            Method::Status(of) => self.status(of.name).await,
            Method::Monitor(_) => Answer::NotACall(ServiceError::ExpectedMore),
        }
    }

    async fn command(&self, command: fn(Arc<str>) -> Command, name: String) -> Answer {
        let (reply, answer) = oneshot::channel();
        (self.service.engine)(EngineRequest::Command(command(name.as_str().into()), reply));
        match answer.await {
            Ok(Ok(())) => Answer::Done,
            Ok(Err(refusal)) => Answer::Refused(refused(refusal, name)),
            Err(_) => Answer::Refused(stopping()),
        }
    }

    async fn redirect(&self, of: control::RedirectOf) -> Answer {
        let to = match of.to.as_deref().map(|to| (to, to.parse())) {
            None => None,
            Some((_, Ok(to))) => Some(to),
            Some((text, Err(error))) => {
                let reason = format!("\"{text}\" is {error}");
                return Answer::Refused(Error::Failed { reason });
            }
        };
        let (reply, answer) = oneshot::channel();
        let name = of.name.clone();
        (self.service.engine)(EngineRequest::Redirect(of.name, to, reply));
        match answer.await {
            Ok(Ok(ike::Redirected { told, staying })) => Answer::Redirected(control::Redirected {
                told: told as u64,
                staying: staying as u64,
            }),
            Ok(Err(refusal)) => Answer::Refused(refused(refusal, name.unwrap_or_default())),
            Err(_) => Answer::Refused(stopping()),
        }
    }

    async fn reload(&self) -> Answer {
        let (reply, answer) = oneshot::channel();
        (self.service.engine)(EngineRequest::Reload(reply));
        match answer.await {
            Ok(Ok(changes)) => Answer::Changed(event::changes(&changes)),
            Ok(Err(reason)) => Answer::Refused(Error::Failed { reason }),
            Err(_) => Answer::Refused(stopping()),
        }
    }

    async fn status(&self, name: Option<String>) -> Answer {
        let (reply, answer) = oneshot::channel();
        (self.service.engine)(EngineRequest::Status(reply));
        let Ok(snapshot) = answer.await else { return Answer::Refused(stopping()) };
        match (status::tell(&snapshot, name.as_deref()), name) {
            (Some(status), _) => Answer::Status(Box::new(status)),
            (None, name) => {
                let name = name.unwrap_or_default();
                Answer::Refused(Error::NoSuchConnection { name })
            }
        }
    }

    /// The rest of the conversation: events, until the client hangs up.
    async fn monitor(mut self) -> zlink::Result<()> {
        let Ok(_place) = self.service.monitors.try_acquire() else {
            let reason = "there are too many monitors already".to_owned();
            return self.send(Answer::Refused(Error::Failed { reason })).await;
        };
        let mut events = self.service.events.subscribe();
        let stream = Arc::clone(&self.stream);
        self.send_event(event::listening()).await?;
        let mut missed = 0;
        loop {
            let next = tokio::select! {
                next = events.recv() => next,
                () = hung_up(&stream) => return Ok(()),
            };
            match next {
                Ok((time, event)) => {
                    if missed > 0 {
                        self.send_event(event::lost(time, missed)).await?;
                        missed = 0;
                    }
                    self.send_event(event::tell(time, &event)).await?;
                }
                // Told with the next event, which follows at once.
                Err(RecvError::Lagged(count)) => missed += count,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    async fn send_event(&mut self, event: control::Event) -> zlink::Result<()> {
        let reply = Reply::new(Some(MonitorReply { event })).set_continues(Some(true));
        self.connection.send_reply(&reply, Vec::new()).await
    }

    async fn send(&mut self, answer: Answer) -> zlink::Result<()> {
        match answer {
            Answer::Done => self.reply(Nothing {}).await,
            Answer::Changed(changes) => self.reply(changes).await,
            Answer::Redirected(peers) => self.reply(peers).await,
            Answer::Status(status) => self.reply(status).await,
            Answer::Info => self.reply(info()?).await,
            Answer::Description(description) => self.reply(description).await,
            Answer::Refused(error) => self.connection.send_error(&error, Vec::new()).await,
            Answer::NotACall(error) => self.connection.send_error(&error, Vec::new()).await,
        }
    }

    async fn reply(&mut self, parameters: impl Serialize + Debug) -> zlink::Result<()> {
        self.connection.send_reply(&Reply::new(Some(parameters)), Vec::new()).await
    }
}

enum Parsed {
    Ours(Method),
    Info,
    Description(InterfaceDescription<'static>),
}

fn parse(call: &RawCall) -> Result<Parsed, ServiceError<'static>> {
    let not_found = || ServiceError::MethodNotFound { method: call.method.clone().into() };
    let none = Map::new();
    let parameters = call.parameters.as_ref().unwrap_or(&none);
    let (interface, method) = call.method.rsplit_once('.').ok_or_else(not_found)?;
    match (interface, method) {
        (INTERFACE, method) => match Method::parse(method, parameters) {
            Ok(method) => Ok(Parsed::Ours(method)),
            Err(UnknownMethod::NotFound) => Err(not_found()),
            Err(UnknownMethod::InvalidParameter(parameter)) => Err(invalid(parameter)),
        },
        ("org.varlink.service", "GetInfo") => Ok(Parsed::Info),
        ("org.varlink.service", "GetInterfaceDescription") => {
            described(parameters).map(Parsed::Description)
        }
        ("org.varlink.service", _) => Err(not_found()),
        (unknown, _) => {
            Err(ServiceError::InterfaceNotFound { interface: unknown.to_owned().into() })
        }
    }
}

fn described(
    parameters: &Map<String, Value>,
) -> Result<InterfaceDescription<'static>, ServiceError<'static>> {
    match parameters.get("interface").and_then(Value::as_str) {
        Some(INTERFACE) => Ok((&control::description()).into()),
        Some("org.varlink.service") => Ok(varlink_service::DESCRIPTION.into()),
        Some(unknown) => {
            Err(ServiceError::InterfaceNotFound { interface: unknown.to_owned().into() })
        }
        None => Err(invalid("interface")),
    }
}

fn info() -> zlink::Result<Info<'static>> {
    let version = env!("CARGO_PKG_VERSION");
    Ok(Info::new("cygnet", "cygnetd", version, "", [INTERFACE, "org.varlink.service"])?)
}

fn invalid(parameter: &'static str) -> ServiceError<'static> {
    ServiceError::InvalidParameter { parameter: parameter.into() }
}

fn refused(refusal: Refusal, name: String) -> Error {
    match refusal {
        Refusal::UnknownConnection => Error::NoSuchConnection { name },
        Refusal::CannotInitiate => Error::CannotInitiate { name },
        Refusal::NotUp => Error::NotUp { name },
        Refusal::NotSuspended => Error::NotSuspended { name },
        Refusal::NoTicket => Error::NoTicket { name },
        Refusal::Busy => Error::Busy { name },
        Refusal::Unresolved(host) => Error::Unresolved { name, host: host.to_string() },
        refusal @ (Refusal::Failed(_) | Refusal::AllFailed(_)) => {
            Error::Failed { reason: refusal.to_string() }
        }
    }
}

fn stopping() -> Error {
    Error::Failed { reason: "the daemon is stopping".to_owned() }
}

const fn rekey_children(name: Arc<str>) -> Command {
    Command::Rekey(name, RekeyWhat::Children)
}

const fn rekey_ike(name: Arc<str>) -> Command {
    Command::Rekey(name, RekeyWhat::IkeSa)
}
