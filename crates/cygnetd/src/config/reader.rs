//! Sections and values of a parsed file, read with their places.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Findings, Place, did_you_mean, one_of};

/// A value and its place.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) value: &'a Spanned<DeValue<'a>>,
    pub(super) file: usize,
}

/// What is wrong with a value, and what to do about it.
pub(super) struct Wrong {
    message: String,
    help: String,
    place: Option<Place>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), place: None }
    }

    /// The part of the value that is meant.
    pub(super) fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// Reports it at `place`, unless a part was meant.
    pub(super) fn report(self, place: &Place, findings: &mut Findings) {
        let place = self.place.as_ref().unwrap_or(place);
        findings.error(place, self.message, self.help);
    }
}

/// A table of a file.
#[derive(Clone)]
struct Table<'a> {
    /// How it is called in messages: `[connections.office]`.
    title: String,
    file: usize,
    table: &'a DeTable<'a>,
}

/// A key and its value.
type Entry<'a> = (&'a Spanned<DeString<'a>>, Item<'a>);

impl<'a> Table<'a> {
    /// Its entries in the order of the file.
    fn entries(&self) -> Vec<Entry<'a>> {
        let file = self.file;
        let entries = self.table.iter().map(|(name, value)| (name, Item { value, file }));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        entries
    }

    fn find(&self, key: &str) -> Option<Entry<'a>> {
        let (name, value) = self.table.get_key_value(key)?;
        Some((name, Item { value, file: self.file }))
    }

    /// The table `key` of this one, if it is one.
    fn inner(&self, key: &str) -> Option<Self> {
        let (_, item) = self.find(key)?;
        let table = item.value.get_ref().as_table()?;
        Some(Self { title: subtitle(&self.title, key), file: self.file, table })
    }
}

/// A table, and one that gives the settings which it does not have itself. Every
/// key that is read is remembered; those that are not are reported by
/// [`Section::finish`].
pub(super) struct Section<'a> {
    /// How it is called in messages: `[connections.office]`.
    pub(super) title: String,
    /// Its name.
    pub(super) place: Place,
    own: Table<'a>,
    template: Option<Table<'a>>,
    known: Vec<&'static str>,
    /// Any key may be there.
    is_open: bool,
}

impl<'a> Section<'a> {
    pub(super) fn new(title: String, place: Place, table: &'a DeTable<'a>) -> Self {
        let own = Table { title: title.clone(), file: place.file, table };
        Self { title, place, own, template: None, known: Vec::new(), is_open: false }
    }

    /// Takes every setting from `template` that it does not have itself, and so
    /// do its sections.
    pub(super) fn inherit(&mut self, template: &Self) {
        self.template = Some(template.own.clone());
    }

    /// The value of `key` read by `read`; `None` if it is not there or wrong.
    pub(super) fn get<T>(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        read: impl FnOnce(Item<'a>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let item = self.item(key)?;
        match read(item) {
            Ok(value) => Some(value),
            Err(wrong) => {
                item.refuse(findings, wrong);
                None
            }
        }
    }

    /// As [`Section::get`], every element of a list.
    pub(super) fn list<T>(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        read: impl Fn(Item<'a>) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let item = self.item(key)?;
        let Some(list) = item.value.get_ref().as_array() else {
            item.refuse(findings, item.expected("a list: [\"...\"]"));
            return None;
        };
        let mut values = Vec::new();
        for value in list.iter() {
            let element = Item { value, file: item.file };
            match read(element) {
                Ok(value) => values.push(value),
                Err(wrong) => element.refuse(findings, wrong),
            }
        }
        Some(values)
    }

    /// All values of a table whose keys are not ours to name, in the order of
    /// the file, with the places of their keys.
    pub(super) fn entries<T>(
        &mut self,
        findings: &mut Findings,
        read: impl Fn(Item<'a>) -> Result<T, Wrong>,
    ) -> Vec<(&'a str, Place, T)> {
        self.is_open = true;
        let mut values = Vec::new();
        for (name, item) in self.own.entries() {
            match read(item) {
                Ok(value) => {
                    values.push((&**name.get_ref(), Place::new(item.file, &name.span()), value));
                }
                Err(wrong) => item.refuse(findings, wrong),
            }
        }
        values
    }

    /// The table `key`.
    pub(super) fn section(&mut self, findings: &mut Findings, key: &'static str) -> Option<Self> {
        self.known.push(key);
        self.inner(findings, key)
    }

    /// All tables in the table `key`, in the order of the file.
    pub(super) fn sections(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
    ) -> Vec<(&'a str, Self)> {
        let Some(of) = self.section(findings, key) else { return Vec::new() };
        let inherited = of.template.iter().flat_map(Table::entries);
        let inherited = inherited.filter(|(name, _)| of.own.find(name.get_ref()).is_none());
        let mut sections = Vec::new();
        for (name, _) in of.own.entries().into_iter().chain(inherited) {
            if let Some(section) = of.inner(findings, name.get_ref()) {
                sections.push((&**name.get_ref(), section));
            }
        }
        sections
    }

    /// Whether `key` is a list with this text alone.
    pub(super) fn is_list_of(&self, key: &str, text: &str) -> bool {
        let list = self.find(key).and_then(|(_, item)| item.value.get_ref().as_array());
        let mut list = list.into_iter().flat_map(|list| list.iter());
        list.next().and_then(|it| it.get_ref().as_str()) == Some(text) && list.next().is_none()
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Takes note of a setting that has no meaning here, and says `why`.
    pub(super) fn refuse(&mut self, findings: &mut Findings, key: &'static str, why: &str) {
        if self.has(key) {
            findings.error(&self.place_of(key), format!("{key} {why}"), "");
        }
        self.known.push(key);
    }

    /// The place of `key`'s value, or of the section if there is none.
    pub(super) fn place_of_value(&self, key: &str) -> Place {
        self.find(key).map_or_else(|| self.place.clone(), |(_, item)| item.place())
    }

    /// The place of `key` itself, or of the section if it is not there.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let found = self.find(key);
        found.map_or_else(|| self.place.clone(), |(name, it)| Place::new(it.file, &name.span()))
    }

    /// Reports the keys that nobody has read, here and in the template.
    pub(super) fn finish(self, findings: &mut Findings) {
        for table in std::iter::once(&self.own).chain(&self.template) {
            for key in table.table.keys() {
                if !self.is_open && !self.known.contains(&&**key.get_ref()) {
                    let place = Place::new(table.file, &key.span());
                    let message = format!("there is no \"{}\" in {}", key.get_ref(), table.title);
                    let help = did_you_mean(key.get_ref(), self.known.iter().copied());
                    findings.error(&place, message, help.unwrap_or_default());
                }
            }
        }
    }

    /// What a section in this one is called.
    pub(super) fn subtitle(&self, key: &str) -> String {
        subtitle(&self.title, key)
    }

    fn item(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        self.find(key).map(|(_, item)| item)
    }

    fn find(&self, key: &str) -> Option<Entry<'a>> {
        self.own.find(key).or_else(|| self.template.as_ref()?.find(key))
    }

    fn inner(&self, findings: &mut Findings, key: &str) -> Option<Self> {
        let (name, item) = self.find(key)?;
        let is_own = self.own.find(key).is_some();
        let owner = if is_own { &self.own } else { self.template.as_ref()? };
        let title = subtitle(&owner.title, key);
        let mut section = section(item, Place::new(item.file, &name.span()), title, findings)?;
        if is_own {
            section.template = self.template.as_ref().and_then(|template| template.inner(key));
        }
        Some(section)
    }
}

fn subtitle(title: &str, key: &str) -> String {
    match title.strip_prefix('[').and_then(|title| title.strip_suffix(']')) {
        Some(title) => format!("[{title}.{key}]"),
        None => format!("[{key}]"),
    }
}

fn section<'a>(
    item: Item<'a>,
    place: Place,
    title: String,
    findings: &mut Findings,
) -> Option<Section<'a>> {
    match item.value.get_ref().as_table() {
        Some(table) => Some(Section::new(title, place, table)),
        None => {
            let what = format!("a section: {title}");
            item.refuse(findings, item.expected(what));
            None
        }
    }
}

impl<'a> Item<'a> {
    pub(super) fn place(self) -> Place {
        Place::new(self.file, &self.value.span())
    }

    pub(super) fn text(self) -> Result<&'a str, Wrong> {
        self.value.get_ref().as_str().ok_or_else(|| self.expected("text in quotes"))
    }

    /// The elements of a list; `None` if it is none.
    pub(super) fn elements(self) -> Option<impl Iterator<Item = Item<'a>>> {
        let list = self.value.get_ref().as_array()?;
        Some(list.iter().map(move |value| Item { value, file: self.file }))
    }

    pub(super) fn flag(self) -> Result<bool, Wrong> {
        self.value.get_ref().as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// An integer in `range`.
    pub(super) fn integer<T>(self, range: RangeInclusive<T>) -> Result<T, Wrong>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let what = || format!("a number from {} to {}", range.start(), range.end());
        let integer = self.value.get_ref().as_integer().ok_or_else(|| self.expected(what()))?;
        let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        value
            .and_then(|value| T::try_from(value).ok())
            .filter(|value| range.contains(value))
            .ok_or_else(|| Wrong::new("this number is out of range", what()))
    }

    /// Text that can be parsed, by a type whose errors are sentences.
    pub(super) fn parsed<T>(self) -> Result<T, Wrong>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        self.text()?.parse().map_err(|error: T::Err| Wrong::new(error.to_string(), ""))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(self, words: &[(&str, T)]) -> Result<T, Wrong> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|&(word, _)| word).collect();
            Wrong::new(format!("\"{text}\" is not possible here"), one_of(text, &known))
        })
    }

    pub(super) fn expected(self, what: impl fmt::Display) -> Wrong {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        Wrong::new(format!("this is {found}"), format!("must be {what}"))
    }

    pub(super) fn refuse(self, findings: &mut Findings, wrong: Wrong) {
        wrong.report(&self.place(), findings);
    }
}
