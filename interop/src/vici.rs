//! What `swanctl --raw` prints: sections, lists and values of strongSwan's control protocol.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// A section: named values and named sections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    values: BTreeMap<String, String>,
    sections: BTreeMap<String, Section>,
}

impl Section {
    /// Reads one event, such as `list-sa event {dut {uniqueid=1 local-vips=[] child-sas {}}}`.
    ///
    /// # Errors
    /// When braces or names are missing.
    pub fn parse(event: &str) -> Result<Self> {
        let start = event.find('{').context("no section")?;
        let mut rest = event.get(start + 1..).unwrap_or_default();
        let section = Self::parse_body(&mut rest)?;
        Ok(section)
    }

    /// The value of this name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of this name as a number, 0 if there is none.
    pub fn number(&self, name: &str) -> u64 {
        self.value(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&Self> {
        self.sections.get(name)
    }

    /// All sections, by name.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.sections.iter().map(|(name, section)| (name.as_str(), section))
    }

    fn parse_body(rest: &mut &str) -> Result<Self> {
        let mut section = Self::default();
        loop {
            *rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                *rest = after;
                return Ok(section);
            }
            let end = rest.find(['=', '{', '}']).context("an unfinished section")?;
            let (name, after) = rest.split_at(end);
            let name = name.trim().to_owned();
            if let Some(after) = after.strip_prefix('{') {
                *rest = after;
                section.sections.insert(name, Self::parse_body(rest)?);
            } else if let Some(after) = after.strip_prefix('=') {
                *rest = after;
                section.values.insert(name, take_value(rest)?);
            } else {
                bail!("{name:?} has neither value nor section");
            }
        }
    }
}

/// A list in brackets, or all up to the next space or the end of the section.
fn take_value(rest: &mut &str) -> Result<String> {
    let list = rest.starts_with('[');
    let end = if list { rest.find(']').map(|at| at + 1) } else { rest.find([' ', '}', '\n']) };
    let (value, after) = rest.split_at(end.context("an unfinished value")?);
    *rest = after;
    Ok(value.trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_with_its_lists_and_sections() {
        let event = "list-sa event {dut {uniqueid=7 state=ESTABLISHED remote-vips=[10.0.0.1 ::1] \
                     child-sas {net-1 {bytes-in=168}}}}";
        let sas = Section::parse(event).unwrap();
        let dut = sas.section("dut").unwrap();
        assert_eq!(dut.value("state"), Some("ESTABLISHED"));
        assert_eq!(dut.value("remote-vips"), Some("10.0.0.1 ::1"));
        let (name, child) = dut.section("child-sas").unwrap().sections().next().unwrap();
        assert_eq!((name, child.number("bytes-in")), ("net-1", 168));
    }

    #[test]
    fn an_unfinished_event_is_an_error() {
        assert!(Section::parse("list-sa event {dut {uniqueid=7").is_err());
    }
}
