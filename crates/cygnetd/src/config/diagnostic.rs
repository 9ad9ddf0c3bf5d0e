//! What is wrong, where, and what was probably meant.

use std::fmt;
use std::ops::Range;

use super::source::Source;

/// A place in one of the files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    /// Index into the list of files.
    pub(super) file: usize,
    /// First octet in it, and the one after the last.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Place {
    pub(super) const fn new(file: usize, span: &Range<usize>) -> Self {
        Self { file, start: span.start, end: span.end }
    }
}

/// One finding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Diagnostic {
    /// Where; `None` when it is about what is not there.
    pub(super) place: Option<Place>,
    /// One sentence without a full stop.
    pub(super) message: String,
    /// What to do about it, for beside the carets.
    pub(super) help: String,
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Findings {
    pub(super) fn error(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors.push(diagnostic(Some(place.clone()), message, help));
    }

    pub(super) fn warning(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.warnings.push(diagnostic(Some(place.clone()), message, help));
    }

    /// An error of the files as a whole.
    pub(super) fn missing(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(diagnostic(None, message, help));
    }

    pub(super) fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    /// The errors, in the order of the files.
    pub(super) fn into_errors(mut self, sources: &[Source]) -> ConfigErrors {
        self.errors.sort();
        self.errors.dedup();
        ConfigErrors { rendered: self.errors.iter().map(|it| it.render(sources)).collect() }
    }

    /// The warnings, in the order of the files.
    pub(super) fn into_warnings(mut self, sources: &[Source]) -> Vec<String> {
        self.warnings.sort();
        self.warnings.iter().map(|it| it.render(sources)).collect()
    }
}

fn diagnostic(
    place: Option<Place>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Diagnostic {
    Diagnostic { place, message: message.into(), help: help.into() }
}

impl Diagnostic {
    fn render(&self, sources: &[Source]) -> String {
        let place = self.place.as_ref().and_then(|it| Some((sources.get(it.file)?, it)));
        match place {
            Some((source, place)) => self.render_at(source, place),
            None => self.render_alone(sources),
        }
    }

    fn render_at(&self, source: &Source, place: &Place) -> String {
        let excerpt = source.excerpt(&(place.start..place.end));
        let number = excerpt.line.to_string();
        let margin = " ".repeat(number.len());
        let (before, marked) = excerpt.mark;
        let carets = format!("{}{}", " ".repeat(before), "^".repeat(marked));
        format!(
            "{}:{number}:{}: {}\n{margin} |\n{number} | {}\n{margin} | {}",
            source.name,
            excerpt.column,
            self.message,
            excerpt.text,
            format!("{carets} {}", self.help).trim_end(),
        )
    }

    fn render_alone(&self, sources: &[Source]) -> String {
        let name = sources.first().map_or("configuration", |source| &source.name);
        let help = if self.help.is_empty() { String::new() } else { format!("\n  {}", self.help) };
        format!("{name}: {}{help}", self.message)
    }
}

/// A configuration that cannot be used: everything that is wrong with it.
///
/// `Display` shows all of it; no secret is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    rendered: Vec<String>,
}

impl ConfigErrors {
    /// The errors, each in several lines without the last line's end.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.rendered.iter().map(String::as_str)
    }

    pub(super) fn about_file(name: &str, what: impl fmt::Display) -> Self {
        Self { rendered: vec![format!("{name}: {what}")] }
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered.join("\n\n"))
    }
}

/// "did you mean ...?" for a word that is not one of `known`, if one is near.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // One typing error for three characters, so that "a" is not taken for "id".
    let near = |known: &&str| {
        strsim::damerau_levenshtein(&word.to_lowercase(), known) <= word.chars().count().div_ceil(3)
    };
    let nearest = known
        .into_iter()
        .filter(near)
        .min_by_key(|known| strsim::damerau_levenshtein(&word.to_lowercase(), known))?;
    Some(format!("did you mean \"{nearest}\"?"))
}

/// What to say about a word that is not one of `known`: the nearest, or all.
pub(super) fn one_of(word: &str, known: &[&str]) -> String {
    did_you_mean(word, known.iter().copied()).unwrap_or_else(|| format!("one of {}", quoted(known)))
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
