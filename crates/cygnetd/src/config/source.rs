//! A configuration file's text: lines, columns, and what of it may be shown.

use std::ops::Range;

use zeroize::Zeroizing;

/// A file. Not `Debug`: it may hold secrets.
pub(super) struct Source {
    /// How it is called in messages.
    pub(super) name: String,
    pub(super) text: Zeroizing<String>,
    /// Whether everybody on the machine can read it.
    pub(super) is_open: bool,
    /// For every line, whether it may be shown.
    visibility: Vec<Visibility>,
}

/// How much of a line may be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Visibility {
    All,
    /// What is before the first `=`.
    Key,
    None,
}

/// What a message shows of a line.
pub(super) struct Excerpt {
    /// Its number, from 1.
    pub(super) line: usize,
    /// The column of the span's first character, from 1.
    pub(super) column: usize,
    /// The line, or what may be shown of it.
    pub(super) text: String,
    /// How many characters of `text` are before the marked ones, and how many
    /// are marked.
    pub(super) mark: (usize, usize),
}

const MASK: &str = "********";

impl Source {
    pub(super) fn new(name: String, text: Zeroizing<String>, is_open: bool) -> Self {
        let visibility = visibility(&text);
        Self { name, text, is_open, visibility }
    }

    /// The line in which `span` begins.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(start..).unwrap_or_default();
        let text = rest.lines().next().unwrap_or_default();
        let offset = before.len() - start;
        let column = chars(text, ..offset) + 1;
        let visible = self.visibility.get(line - 1).copied().unwrap_or(Visibility::None);
        let (text, mark) = masked(text, visible, offset..offset + span.len());
        Excerpt { line, column, text, mark }
    }
}

/// What may be shown of a line, and where the marked octets are in it.
fn masked(line: &str, visible: Visibility, marked: Range<usize>) -> (String, (usize, usize)) {
    let shown = match visible {
        Visibility::All => line.len(),
        Visibility::Key => line.find('=').map_or(0, |equals| equals + 1),
        Visibility::None => 0,
    };
    let (head, tail) = line.split_at_checked(shown).unwrap_or((line, ""));
    // Tabs would move the carets.
    let plain = |text: &str| text.replace(char::is_control, " ");
    if tail.is_empty() {
        let before = chars(line, ..marked.start);
        return (plain(line), (before, chars(line, marked).max(1)));
    }
    let head = plain(head);
    let space = if head.is_empty() { "" } else { " " };
    let mark = if marked.end <= shown {
        (chars(line, ..marked.start), chars(line, marked).max(1))
    } else {
        (head.chars().count() + space.len(), MASK.len())
    };
    (format!("{head}{space}{MASK}"), mark)
}

fn chars(text: &str, range: impl std::ops::RangeBounds<usize>) -> usize {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let start = match range.start_bound() {
        Included(&start) | Excluded(&start) => start,
        Unbounded => 0,
    };
    let end = match range.end_bound() {
        Included(&end) | Excluded(&end) => end,
        Unbounded => text.len(),
    };
    text.char_indices().filter(|(at, _)| (start..end).contains(at)).count()
}

/// Decides line by line, without a parser: it must also hold for text that
/// cannot be parsed. What is in doubt is hidden.
fn visibility(text: &str) -> Vec<Visibility> {
    let mut in_secrets = false;
    let mut in_string = false;
    let mut result = Vec::new();
    for line in text.lines() {
        let was_in_string = in_string;
        let quotes = line.matches("\"\"\"").count() + line.matches("'''").count();
        in_string ^= quotes % 2 == 1;
        let trimmed = line.trim_start();
        let is_header = !was_in_string && is_header(trimmed);
        if is_header || top_level_secrets(trimmed) {
            in_secrets =
                trimmed.trim_start_matches(['[', ' ', '\t', '"', '\'']).starts_with("secrets");
        }
        result.push(match () {
            () if was_in_string => Visibility::None,
            () if is_header || trimmed.is_empty() || trimmed.starts_with('#') && !in_secrets => {
                Visibility::All
            }
            () if in_secrets => in_secrets_section(trimmed),
            () if mentions_secret(trimmed) => Visibility::Key,
            () => Visibility::All,
        });
    }
    result
}

/// `[name]` or `[[name]]` and at the most a comment; not an array in a value.
fn is_header(line: &str) -> bool {
    let Some((head, tail)) = line.rsplit_once(']') else { return false };
    let name = head.trim_matches(['[', ']']);
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '"' | '\'' | ' ');
    let tail = tail.trim();
    line.starts_with('[') && name.chars().all(is_name) && (tail.is_empty() || tail.starts_with('#'))
}

/// `secrets = {` or `secrets.x = {` outside of a section.
fn top_level_secrets(line: &str) -> bool {
    line.trim_start_matches(['"', '\'']).starts_with("secrets")
}

/// The values of the keys that name things may be shown; all else may be, or
/// be part of, a secret.
fn in_secrets_section(line: &str) -> Visibility {
    let Some((key, value)) = line.split_once('=') else { return Visibility::None };
    let is_harmless = matches!(key.trim(), "id" | "file" | "credential");
    if is_harmless && !mentions_secret(value) { Visibility::All } else { Visibility::Key }
}

fn mentions_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["secret", "psk =", "psk=", "passw", "passphrase"].iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let source = Source::new("f".into(), Zeroizing::new(text.to_owned()), false);
        let mut start = 0;
        let mut all = String::new();
        for line in text.split_inclusive('\n') {
            all.push_str(&source.excerpt(&(start..start)).text);
            all.push('\n');
            start += line.len();
        }
        all
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let text = "[daemon]\nport = 500\nauth = \"psk\" # shared\n[connections.a]\n";
        assert_eq!(shown(text), text);
        let text = "[secrets.a]\nid = [\"@west\"]\nfile = \"west.key\"\n";
        assert_eq!(shown(text), text);
    }

    #[test]
    fn every_spelling_of_a_secret_is_hidden() {
        for text in [
            "[secrets.a]\nsecret = \"hunter2\"\n",
            "[secrets.a]\nsecert = \"hunter2\"\n",
            "[secrets.a]\n  \"secret\" = 'hunter2'\n",
            "[secrets.a]\nsecret = \"\"\"\nhunter2\n\"\"\"\n",
            "[secrets.a]\nid = [\"@b\"]\nx = [\n \"hunter2\",\n]\n",
            "[ secrets . a ]\nx = \"hunter2\"\n",
            "[\"secrets\".a]\nx = \"hunter2\"\n",
            "[[secrets.a]]\nx = \"hunter2\"\n",
            "secrets.a.secret = \"hunter2\"\n",
            "secrets = { a = {\n x = \"hunter2\" } }\n",
            "[daemon]\npsk = \"hunter2\"\n",
            "[connections.a.local]\nPassword = hunter2\n",
            "[secrets.a]\nhunter2\n",
            "[secrets.a]\nsecret\nhunter2\n",
            "[secrets.a]\n# old = \"hunter2\"\n",
            "[secrets.a]\nid = \"@a\", secret = \"hunter2\"\n",
        ] {
            assert!(!shown(text).contains("hunter2"), "{}", shown(text));
        }
    }

    #[test]
    fn a_hidden_secret_does_not_tell_its_length() {
        let mark = |text: &str| {
            let source = Source::new("f".into(), Zeroizing::new(text.to_owned()), false);
            source.excerpt(&(21..text.len())).mark
        };
        assert_eq!(mark("[secrets.a]\nsecret = \"x\""), mark("[secrets.a]\nsecret = \"xyzxyz\""));
    }
}
