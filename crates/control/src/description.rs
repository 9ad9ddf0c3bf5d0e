//! The interface in Varlink's own words.

use zlink::idl::{Comment, Field, Interface, Method, Type, TypeRef};
use zlink::introspect::{CustomType as _, ReplyError as _, Type as _};
use zlink::names::{FieldName, InterfaceName, TypeName};

use crate::error::Error;
use crate::event::{How, Role};
use crate::status::{Child, Connection, Counters, State, Ticket};

/// The interface's name.
pub const INTERFACE: &str = "net.cygnet.Control";

/// The interface's description; `Display` writes it in Varlink's language.
#[must_use]
pub fn description() -> Interface<'static> {
    let types = [
        State::CUSTOM_TYPE,
        How::CUSTOM_TYPE,
        Role::CUSTOM_TYPE,
        Connection::CUSTOM_TYPE,
        Child::CUSTOM_TYPE,
        Ticket::CUSTOM_TYPE,
        Counters::CUSTOM_TYPE,
    ];
    let Ok(interface) = Interface::new_owned(
        InterfaceName::from_static_str_unchecked(INTERFACE),
        methods(),
        types.into_iter().cloned().collect(),
        Error::VARIANTS.iter().map(|&error| error.clone()).collect(),
        comments(&["Controls a running cygnetd: an IKEv2 daemon with session resumption."]),
    );
    interface
}

fn methods() -> Vec<Method<'static>> {
    let name = || vec![field("name", Type::String)];
    let optional = |key| field(key, Type::Optional(TypeRef::new(&Type::String)));
    let optional_name = || vec![optional("name")];
    vec![
        method("Up", name(), vec![], UP),
        method("Down", name(), vec![], DOWN),
        method("Suspend", name(), vec![], SUSPEND),
        method("Resume", name(), vec![], RESUME),
        method(
            "Rekey",
            vec![field("name", Type::String), field("child", Type::Bool)],
            vec![],
            REKEY,
        ),
        method(
            "Redirect",
            vec![optional("name"), optional("to")],
            vec![field("told", Type::Int), field("staying", Type::Int)],
            REDIRECT,
        ),
        method("Reload", vec![], changes(), RELOAD),
        method("Status", optional_name(), status(), STATUS),
        method("Monitor", vec![], vec![field("event", Type::ForeignObject)], MONITOR),
    ]
}

const UP: &[&str] = &[
    "Brings a connection up, by resumption if it has a session.",
    "Answers when packets can flow, or when that has failed.",
];
const DOWN: &[&str] = &["Ends a connection and forgets its session."];
const SUSPEND: &[&str] = &["Puts a connection to sleep: sends no Delete, keeps the session."];
const RESUME: &[&str] = &[
    "Brings a suspended session back.",
    "Answers when packets can flow, or when that has failed.",
];
const REKEY: &[&str] = &[
    "Replaces the keys of a connection that is up: those of the IKE SA, or of its",
    "children. Answers when that has begun; events tell of the end.",
];
const REDIRECT: &[&str] = &[
    "Sends the peers of every connection, or of the one with this name, to another",
    "gateway, an address or a name: those that come from now on, and those that are",
    "here. Without 'to', those that come go where the configuration says. Answers",
    "how many SAs' peers were told to go, and how many cannot be redirected.",
];
const RELOAD: &[&str] = &[
    "Reads the configuration again, and applies it to the connections that it",
    "changes: their names are the answer. One with a mistake changes nothing.",
];
const STATUS: &[&str] = &["Tells what there is, of every connection or of the one with this name."];
const MONITOR: &[&str] = &[
    "Tells what happens, from now on: call it with 'more'. Every event has",
    "'time' (seconds since 1970, with a fraction) and 'event' (its kind);",
    "the other members depend on the kind. The first is of kind 'listening'.",
    "A monitor that reads too slowly misses events and is told how many: kind",
    "'lost', member 'count'.",
];

fn changes() -> Vec<Field<'static>> {
    ["added", "altered", "removed"].map(|name| field(name, <Vec<String>>::TYPE.clone())).into()
}

fn status() -> Vec<Field<'static>> {
    let counts = || Type::Map(TypeRef::new(&Type::Int));
    vec![
        field("version", Type::String),
        field("connections", <Vec<Connection>>::TYPE.clone()),
        field("omitted", Type::Int),
        field("drops", counts()),
        field("plane_drops", counts()),
        field("counters", Counters::TYPE.clone()),
    ]
}

fn method(
    name: &'static str,
    inputs: Vec<Field<'static>>,
    outputs: Vec<Field<'static>>,
    text: &[&'static str],
) -> Method<'static> {
    let name = TypeName::from_static_str_unchecked(name);
    let Ok(method) = Method::new_owned(name, inputs, outputs, comments(text));
    method
}

fn field(name: &'static str, ty: Type<'static>) -> Field<'static> {
    let Ok(field) = Field::new_owned(FieldName::from_static_str_unchecked(name), ty, Vec::new());
    field
}

fn comments(text: &[&'static str]) -> Vec<Comment<'static>> {
    text.iter().map(|line| Comment::new(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_that_varlink_can_say() {
        let interface = description();
        assert!(InterfaceName::try_from(interface.name().as_str().to_owned()).is_ok());
        for method in interface.methods() {
            assert!(TypeName::try_from(method.name().as_str().to_owned()).is_ok());
            for field in method.inputs().chain(method.outputs()) {
                assert!(FieldName::try_from(field.name().as_str().to_owned()).is_ok());
            }
        }
    }

    #[test]
    fn every_type_that_is_used_is_described() {
        let text = description().to_string();
        for name in ["State", "How", "Role", "Connection", "Child", "Ticket", "Counters"] {
            assert!(text.contains(&format!("type {name} (")), "{name} is not in\n{text}");
        }
    }
}
