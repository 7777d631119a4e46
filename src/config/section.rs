//! Walks a TOML table and collects every problem in it.
//!
//! A derived deserializer stops at the first problem, and an operator would have to start a router
//! once for each. So each key is asked for by hand: a [`Section`] hands out values of the right
//! kind with the line they stand on, reports the others, and at the end ([`Section::finish`]) every
//! key that nobody asked for.

use super::document::Document;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Elements of a list, at the most. Lists are of servers, and each worker dials every one of them.
const MAX_LIST: usize = 256;
/// How many letters may differ for an unknown key to be taken for a misspelt one: one in three of
/// the known key, and so many at the most.
const MAX_MISSPELT: usize = 2;

/// A value and the line it stands on; no line for a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) line: Option<usize>,
}

/// One table of a document.
pub(super) struct Section<'a> {
    pub(super) document: &'a Document<'a>,
    /// Its name in messages; empty for the whole file.
    path: String,
    /// Where it starts; none for the whole file.
    pub(super) line: Option<usize>,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// A table that messages call `path`, and that starts on `line`.
    pub(super) fn new(
        document: &'a Document<'a>,
        path: String,
        table: &'a DeTable<'a>,
        line: Option<usize>,
    ) -> Self {
        Self { document, path, line, table, asked: RefCell::default() }
    }

    /// How messages name a key of this section.
    pub(super) fn name_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the file has the key, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the file has the key, with a list of nothing.
    pub(super) fn has_empty_list(&self, key: &str) -> bool {
        let list = self.table.get(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// The line of a key's value.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let value = self.table.get(key)?;
        Some(self.document.line_of(value.span().start))
    }

    /// Reports that a required key is missing; `example` shows how to add it.
    pub(super) fn missing(&self, key: &str, example: &str) {
        if !self.has(key) {
            let what = format!("{} is missing", self.name_of(key));
            self.document.problem(self.line, what, format!("add {example}"));
        }
    }

    fn ask(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Reports that a value is of the wrong kind.
    fn wrong_kind(&self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let line = self.document.line_of(value.span().start);
        let article = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Array(_) => "an",
            _ => "a",
        };
        let what = format!("{name} is {article} {}", value.get_ref().type_str());
        self.document.problem(Some(line), what, format!("make it {wanted}"));
    }

    fn read<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Located<T>> {
        let found = self.ask(key)?;
        let line = Some(self.document.line_of(found.span().start));
        let value = read(found.get_ref());
        if value.is_none() {
            self.wrong_kind(&self.name_of(key), found, wanted);
        }
        Some(Located { value: value?, line })
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<Located<String>> {
        self.read(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// Yes or no.
    pub(super) fn boolean(&self, key: &'static str) -> Option<Located<bool>> {
        self.read(key, "true or false", DeValue::as_bool)
    }

    /// A text that means something: `parse` says what, or why it does not.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        fix: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let Located { value: text, line } = self.text(key)?;
        match parse(&text) {
            Ok(value) => Some(Located { value, line }),
            Err(why) => {
                let what = format!("{} is {text:?}: {why}", self.name_of(key));
                self.document.problem(line, what, fix);
                None
            }
        }
    }

    /// A whole number in `range`; `default` where there is none, or none that can be used.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Located<u64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let found = self.read(key, &wanted, |value| value.as_integer().map(integer));
        self.within(key, found, &range, &wanted, default)
    }

    /// A number of bytes in `range`: a whole number, or a text as `"64MiB"`; otherwise `default`.
    pub(super) fn bytes(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Located<u64> {
        let (least, most) =
            (super::values::size_text(*range.start()), super::values::size_text(*range.end()));
        let wanted = format!("a number of bytes from {least} to {most}, such as \"64MiB\"");
        let found = self.read(key, &wanted, |value| match value {
            DeValue::String(text) => {
                Some(super::values::parse_size(text).ok_or_else(|| format!("{text:?}")))
            }
            other => other.as_integer().map(integer),
        });
        self.within(key, found, &range, &wanted, default)
    }

    fn within(
        &self,
        key: &str,
        found: Option<Located<Result<u64, String>>>,
        range: &RangeInclusive<u64>,
        wanted: &str,
        default: u64,
    ) -> Located<u64> {
        let shown = match found {
            None => return Located { value: default, line: None },
            Some(Located { value: Ok(value), line }) if range.contains(&value) => {
                return Located { value, line };
            }
            Some(Located { value: Ok(value), line }) => (value.to_string(), line),
            Some(Located { value: Err(text), line }) => (text, line),
        };
        let what = format!("{} is {}", self.name_of(key), shown.0);
        self.document.problem(shown.1, what, format!("make it {wanted}"));
        Located { value: default, line: None }
    }

    /// A list of texts; empty where there is none.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Located<String>> {
        let wanted = "a list of texts, such as [\"a\", \"b\"]";
        let Some(list) = self.read(key, wanted, DeValue::as_array) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (place, element) in list.value.iter().enumerate().take(MAX_LIST) {
            let line = Some(self.document.line_of(element.span().start));
            match element.get_ref().as_str() {
                Some(text) => texts.push(Located { value: text.to_owned(), line }),
                None => {
                    let name = format!("{}[{place}]", self.name_of(key));
                    self.wrong_kind(&name, element, "a text in quotes");
                }
            }
        }
        if list.value.len() > MAX_LIST {
            let what = format!("{} has {} elements", self.name_of(key), list.value.len());
            self.document.problem(list.line, what, format!("leave at most {MAX_LIST}"));
        }
        texts
    }

    /// A table in this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let table = self.read(key, "a table", DeValue::as_table)?;
        Some(Section::new(self.document, self.name_of(key), table.value, table.line))
    }

    /// All of a list of tables, `[[key]]`, of which there may be `most`.
    pub(super) fn sections(&self, key: &'static str, most: usize) -> Vec<Section<'a>> {
        let wanted = format!("a list of tables: [[{key}]]");
        let Some(list) = self.read(key, &wanted, DeValue::as_array) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for element in list.value.iter().take(most) {
            let line = Some(self.document.line_of(element.span().start));
            if let DeValue::Table(table) = element.get_ref() {
                sections.push(Section::new(self.document, self.name_of(key), table, line));
            }
        }
        if sections.len() < list.value.len().clamp(1, most) {
            let what = match sections.is_empty() {
                true => format!("{} has no table in it", self.name_of(key)),
                false => format!("{} has more than tables in it", self.name_of(key)),
            };
            self.document.problem(list.line, what, format!("write it as [[{key}]]"));
            return Vec::new();
        }
        if let Some(beyond) = list.value.get(most) {
            let line = Some(self.document.line_of(beyond.span().start));
            let most = if most == 1 { "one".to_owned() } else { most.to_string() };
            let what = format!("there can be no more than {most} [[{key}]] here");
            self.document.problem(line, what, format!("leave only {most}"));
        }
        sections
    }

    /// Reports the keys that nobody asked for; `foreign` says where a known one belongs instead.
    pub(super) fn finish(&self, foreign: impl Fn(&str) -> Option<&'static str>) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let text: &str = key.get_ref();
            if asked.contains(&text) {
                continue;
            }
            let line = Some(self.document.line_of(key.span().start));
            let nearest = asked.iter().map(|known| (distance(known, text), known)).min();
            let fix = match (foreign(text), nearest) {
                (Some(place), _) => format!("it belongs in {place}; remove it here"),
                (None, Some((misspelt, known)))
                    if misspelt <= MAX_MISSPELT.min(known.len() / 3) =>
                {
                    format!("did you mean {known}?")
                }
                _ => format!("remove it; known here are {}", asked.join(", ")),
            };
            self.document.problem(line, format!("{} is unknown", self.name_of(text)), fix);
        }
    }
}

/// The number, or its text where it is negative or too large.
fn integer(number: &toml::de::DeInteger<'_>) -> Result<u64, String> {
    u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| number.to_string())
}

/// How many letters must be changed, added or removed to make one text of the other.
fn distance(known: &str, text: &str) -> usize {
    if text.len() > known.len() + MAX_MISSPELT {
        return MAX_MISSPELT + 1;
    }
    let mut row: Vec<usize> = (0..=text.len()).collect();
    for (above, ours) in known.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (place, theirs) in text.bytes().enumerate() {
            let replaced = diagonal + usize::from(ours != theirs);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys_are_near_the_right_ones() {
        assert_eq!(distance("threshold", "threshold"), 0);
        assert_eq!(distance("threshold", "treshold"), 1);
        assert_eq!(distance("threshold", "threshhold"), 1);
        assert_eq!(distance("seeds", "seed"), 1);
        assert!(distance("listen", "capacity") > MAX_MISSPELT);
        assert!(distance("name", &"n".repeat(1_000)) > MAX_MISSPELT);
    }
}
