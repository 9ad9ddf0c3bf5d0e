//! The name server that every machine asks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ike::inner::Domain;

use crate::clock::Time;
use crate::node::NodeId;

/// What it knows, and how it answers.
#[derive(Default)]
pub struct Names {
    /// How long an answer takes.
    pub delay: Time,
    /// It never answers.
    pub is_silent: bool,
    /// Who has asked for what, and when.
    pub asked: Vec<(Time, NodeId, Domain)>,
    entries: BTreeMap<String, Vec<IpAddr>>,
}

impl Names {
    /// It knows nothing yet.
    pub(crate) fn answering_in(delay: Time) -> Self {
        Self { delay, ..Self::default() }
    }

    /// From now on a name has these addresses; none: there is no such name.
    pub fn set(&mut self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.entries.insert(name.to_owned(), addresses);
    }

    /// The answer, if there is one.
    pub(crate) fn ask(&mut self, at: Time, by: NodeId, name: Domain) -> Option<Vec<IpAddr>> {
        let addresses = self.entries.get(name.as_str()).cloned().unwrap_or_default();
        self.asked.push((at, by, name));
        (!self.is_silent).then_some(addresses)
    }
}
