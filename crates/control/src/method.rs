//! The calls and the parameters of their replies.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::Event;

/// A call of [`INTERFACE`](crate::INTERFACE).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "method", content = "parameters")]
pub enum Method {
    /// Bring a connection up, by resumption if there is a session.
    #[serde(rename = "net.cygnet.Control.Up")]
    Up(ConnectionName),
    /// End a connection and forget its session.
    #[serde(rename = "net.cygnet.Control.Down")]
    Down(ConnectionName),
    /// Put a connection to sleep.
    #[serde(rename = "net.cygnet.Control.Suspend")]
    Suspend(ConnectionName),
    /// Resume a suspended session.
    #[serde(rename = "net.cygnet.Control.Resume")]
    Resume(ConnectionName),
    /// Replace the keys of a connection, or of its children.
    #[serde(rename = "net.cygnet.Control.Rekey")]
    Rekey(RekeyOf),
    /// Send peers to another gateway, or do so no more.
    #[serde(rename = "net.cygnet.Control.Redirect")]
    Redirect(RedirectOf),
    /// Read the configuration again.
    #[serde(rename = "net.cygnet.Control.Reload")]
    Reload(Nothing),
    /// What there is.
    #[serde(rename = "net.cygnet.Control.Status")]
    Status(StatusOf),
    /// What happens, from now on. To be called with `more`.
    #[serde(rename = "net.cygnet.Control.Monitor")]
    Monitor(Nothing),
}

/// The parameter of `Up`, `Down`, `Suspend` and `Resume`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionName {
    /// The connection's configured name.
    pub name: String,
}

/// The parameters of `Rekey`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RekeyOf {
    /// The connection's configured name.
    pub name: String,
    /// Whether the keys of the children are meant, and not those of the IKE SA.
    pub child: bool,
}

/// The parameters of `Redirect`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedirectOf {
    /// Only the peers of the connection of this name; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The other gateway, an address or a name; without it, peers go from now
    /// on where the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What has come of `Redirect`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Redirected {
    /// The SAs whose peers were told to go.
    pub told: u64,
    /// Those whose peers cannot be redirected: they stay.
    pub staying: u64,
}

/// The parameter of `Status`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusOf {
    /// Only the connection of this name; without it, every connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// No parameters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// What a configuration has changed: names of connections. The reply of
/// `Reload`. Displayed as part of a sentence.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Changes {
    /// Those that were not there before.
    pub added: Vec<String>,
    /// Those that were different before. SAs that are up stay what they are.
    pub altered: Vec<String>,
    /// Those that are not there any more, and were taken down.
    pub removed: Vec<String>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [("added", &self.added), ("altered", &self.altered), ("removed", &self.removed)];
        let some = all.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<_> =
            some.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
        if parts.is_empty() {
            return f.write_str("no connection has changed");
        }
        f.write_str(&parts.join("; "))
    }
}

/// Each of the replies of `Monitor`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MonitorReply {
    /// What happened.
    pub event: Event,
}

/// Why a call is no call of this interface. Each is an error of
/// `org.varlink.service`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnknownMethod {
    /// The interface has no such method.
    NotFound,
    /// A parameter is missing, unknown or of the wrong type.
    InvalidParameter(&'static str),
}

impl Method {
    /// The call of `method`, a name without its interface, with `parameters`.
    ///
    /// # Errors
    /// [`UnknownMethod`] for a method that the interface does not have, and for
    /// parameters that it does not take.
    pub fn parse(method: &str, parameters: &Map<String, Value>) -> Result<Self, UnknownMethod> {
        match method {
            "Up" => Ok(Self::Up(name(parameters)?)),
            "Down" => Ok(Self::Down(name(parameters)?)),
            "Suspend" => Ok(Self::Suspend(name(parameters)?)),
            "Resume" => Ok(Self::Resume(name(parameters)?)),
            "Rekey" => Ok(Self::Rekey(rekey_of(parameters)?)),
            "Redirect" => Ok(Self::Redirect(redirect_of(parameters)?)),
            "Reload" => Ok(Self::Reload(nothing(parameters)?)),
            "Status" => Ok(Self::Status(status_of(parameters)?)),
            "Monitor" => Ok(Self::Monitor(nothing(parameters)?)),
            _ => Err(UnknownMethod::NotFound),
        }
    }
}

fn name(parameters: &Map<String, Value>) -> Result<ConnectionName, UnknownMethod> {
    let name = status_of(parameters)?.name.ok_or(UnknownMethod::InvalidParameter("name"))?;
    Ok(ConnectionName { name })
}

fn status_of(parameters: &Map<String, Value>) -> Result<StatusOf, UnknownMethod> {
    let name = optional(parameters, "name")?;
    only(parameters, &["name"])?;
    Ok(StatusOf { name })
}

fn redirect_of(parameters: &Map<String, Value>) -> Result<RedirectOf, UnknownMethod> {
    let (name, to) = (optional(parameters, "name")?, optional(parameters, "to")?);
    only(parameters, &["name", "to"])?;
    Ok(RedirectOf { name, to })
}

fn optional(
    parameters: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<String>, UnknownMethod> {
    match parameters.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(UnknownMethod::InvalidParameter(key)),
    }
}

fn rekey_of(parameters: &Map<String, Value>) -> Result<RekeyOf, UnknownMethod> {
    let Some(Value::String(name)) = parameters.get("name") else {
        return Err(UnknownMethod::InvalidParameter("name"));
    };
    let Some(Value::Bool(child)) = parameters.get("child") else {
        return Err(UnknownMethod::InvalidParameter("child"));
    };
    only(parameters, &["name", "child"])?;
    Ok(RekeyOf { name: name.clone(), child: *child })
}

fn nothing(parameters: &Map<String, Value>) -> Result<Nothing, UnknownMethod> {
    only(parameters, &[])?;
    Ok(Nothing {})
}

/// Refuses parameters that nobody asked for, without repeating their names.
fn only(parameters: &Map<String, Value>, known: &[&str]) -> Result<(), UnknownMethod> {
    let stranger = parameters.keys().any(|key| !known.contains(&key.as_str()));
    if stranger { Err(UnknownMethod::InvalidParameter("parameters")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_sent_is_what_is_parsed() {
        let office = || ConnectionName { name: "office".to_owned() };
        for method in [
            Method::Up(office()),
            Method::Down(office()),
            Method::Suspend(office()),
            Method::Resume(office()),
            Method::Rekey(RekeyOf { name: "office".to_owned(), child: true }),
            Method::Redirect(RedirectOf::default()),
            Method::Redirect(RedirectOf {
                name: Some("office".to_owned()),
                to: Some("192.0.2.2".to_owned()),
            }),
            Method::Reload(Nothing {}),
            Method::Status(StatusOf::default()),
            Method::Status(StatusOf { name: Some("office".to_owned()) }),
            Method::Monitor(Nothing {}),
        ] {
            let sent = serde_json::to_value(&method).unwrap();
            let (interface, name) = sent["method"].as_str().unwrap().rsplit_once('.').unwrap();
            assert_eq!(interface, crate::INTERFACE);
            let parameters = sent["parameters"].as_object().unwrap();
            assert_eq!(Method::parse(name, parameters), Ok(method));
        }
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        let parse = |name, parameters: Value| Method::parse(name, parameters.as_object().unwrap());
        assert_eq!(parse("up", json!({"name": "a"})), Err(UnknownMethod::NotFound));
        let invalid = |parameter| Err(UnknownMethod::InvalidParameter(parameter));
        assert_eq!(parse("Up", json!({})), invalid("name"));
        assert_eq!(parse("Up", json!({"name": null})), invalid("name"));
        assert_eq!(parse("Up", json!({"name": ["a"]})), invalid("name"));
        assert_eq!(parse("Up", json!({"name": "a", "force": true})), invalid("parameters"));
        assert_eq!(parse("Redirect", json!({"to": 7})), invalid("to"));
        assert_eq!(parse("Monitor", json!({"name": "a"})), invalid("parameters"));
    }
}
