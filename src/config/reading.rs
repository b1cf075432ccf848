//! A walk over the tree that TOML text becomes, with its places: sections, entries, and a note of
//! every mistake and of every key that was asked for. Not here: what any key means.
//!
//! Not serde: a derived reader stops at its first error, and this one must find all of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Mistake, Weight};
use super::suggest;

/// What one run over one file notes down.
pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    pub(super) directory: &'a Path,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    mistakes: RefCell<Vec<Mistake>>,
    unknown: RefCell<Vec<Unknown>>,
    asked: RefCell<BTreeSet<String>>,
    places: RefCell<BTreeMap<String, Range<usize>>>,
}

/// What the reading leaves.
pub(super) struct Notes {
    pub(super) mistakes: Vec<Mistake>,
    /// As in `route[].path` and `backend.*.servers`.
    pub(super) asked: BTreeSet<String>,
    pub(super) places: BTreeMap<String, Range<usize>>,
}

/// A key that nobody asked for. Judged at the end, when it is known what is asked for elsewhere.
struct Unknown {
    span: Range<usize>,
    name: String,
    section: String,
    pattern: String,
    siblings: BTreeSet<&'static str>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str, directory: &'a Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            text,
            directory,
            environment,
            mistakes: RefCell::default(),
            unknown: RefCell::default(),
            asked: RefCell::default(),
            places: RefCell::default(),
        }
    }

    pub(super) fn root(&'a self, table: &'a DeTable<'a>) -> Section<'a> {
        self.section(String::new(), String::new(), 0..0, Some(table))
    }

    fn section(&'a self, key: String, pattern: String, span: Range<usize>, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        if table.is_some() {
            self.places.borrow_mut().insert(key.clone(), span.clone());
        }
        Section { reading: self, key, pattern, span, table, asked: RefCell::default() }
    }

    pub(super) fn note(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    pub(super) fn into_notes(self) -> Notes {
        let asked = self.asked.into_inner();
        let mut mistakes = self.mistakes.into_inner();
        for unknown in self.unknown.into_inner() {
            let (mistake, meant) = unknown.judge(&asked);
            // A key that is there under a wrong name is not missing as well.
            mistakes.retain(|other| other.key != unknown.section || !meant.is_some_and(|word| other.missing.contains(&word)));
            mistakes.push(mistake);
        }
        Notes { mistakes, asked, places: self.places.into_inner() }
    }

    /// How many mistakes there are so far: to see whether a part was read without any.
    pub(super) fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }
}

impl Unknown {
    /// The mistake, and the key of this section that was meant.
    fn judge(&self, asked: &BTreeSet<String>) -> (Mistake, Option<&'static str>) {
        let mut mistake = Mistake::new(Some(self.span.clone()), joined(&self.section, &self.name), "unknown key");
        let siblings = || self.siblings.iter().copied();
        let translation = suggest::translation(&self.name, siblings());
        let home = suggest::home(&self.name, &self.pattern, asked).filter(|_| translation.is_none());
        let closest = suggest::closest(&self.name, siblings()).filter(|_| home.is_none());
        mistake.label = match (translation, home, closest) {
            (Some(word), ..) => format!("this is called `{word}` here"),
            (_, Some(home), _) => format!("`{}` belongs {home}", self.name),
            (.., Some(word)) => format!("did you mean `{word}`?"),
            _ => "not known here".to_owned(),
        };
        let meant = translation.or(closest);
        if mistake.label != "not known here" {
            return (mistake, meant);
        }
        let names: Vec<_> = siblings().map(|name| format!("`{name}`")).collect();
        let place = if self.section.is_empty() { "at the top of the file".to_owned() } else { format!("in `{}`", self.section) };
        mistake.help.push(format!("known {place}: {}", names.join(", ")));
        (mistake, None)
    }
}

/// A table, or the place where one could be: asking an absent section for a key gives nothing.
pub(super) struct Section<'a> {
    pub(super) reading: &'a Reading<'a>,
    pub(super) key: String,
    pattern: String,
    pub(super) span: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// Whether it is there.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The value of a key.
    pub(super) fn ask(&self, name: &'static str) -> Option<Entry<'a>> {
        let pattern = joined(&self.pattern, name);
        self.reading.asked.borrow_mut().insert(pattern.clone());
        self.asked.borrow_mut().insert(name);
        let (key, value) = self.table?.get_key_value(name)?;
        Some(self.entry(key.span(), name, pattern, value))
    }

    fn entry(&self, name_span: Range<usize>, name: &str, pattern: String, value: &'a Spanned<DeValue<'a>>) -> Entry<'a> {
        let key = joined(&self.key, name);
        self.reading.places.borrow_mut().insert(key.clone(), value.span());
        Entry { reading: self.reading, key, pattern, name: name.to_owned(), name_span, value }
    }

    /// A section within: absent where the key is, or where it is no table (which is noted).
    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        let absent = || self.reading.section(joined(&self.key, name), joined(&self.pattern, name), 0..0, None);
        let expected = format!("a table `[{}]`", header_path(&joined(&self.pattern, name)));
        self.ask(name).and_then(|entry| entry.section(&expected)).unwrap_or_else(absent)
    }

    /// The sections of `[[name]]`, in the file's order.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Section<'a>> {
        let Some(entry) = self.ask(name) else { return Vec::new() };
        let double = format!("[[{}]]", header_path(&entry.pattern));
        match entry.value.get_ref() {
            DeValue::Array(array) => {
                let items = array.iter().enumerate().map(|(index, value)| entry.item(index, value));
                items.filter_map(|item| item.section("a table")).collect()
            }
            DeValue::Table(_) => {
                entry.mistake(format!("there can be several, so each begins with `{double}`")).label("double brackets").note();
                Vec::new()
            }
            _ => {
                entry.wrong_type(&format!("tables that begin with `{double}`")).note();
                Vec::new()
            }
        }
    }

    /// Every entry, whatever its name, in the file's order: for tables whose keys are the operator's.
    pub(super) fn entries(&self) -> Vec<Entry<'a>> {
        let pattern = joined(&self.pattern, "*");
        let all = self.table.into_iter().flat_map(DeTable::iter);
        let mut entries: Vec<_> = all.map(|(key, value)| self.entry(key.span(), key.get_ref(), pattern.clone(), value)).collect();
        entries.sort_by_key(|entry| entry.name_span.start);
        entries
    }

    /// A mistake of the section as a whole, shown at its head.
    pub(super) fn mistake(&self, what: impl Into<String>) -> Noted<'a> {
        let span = (!self.key.is_empty()).then(|| self.span.clone());
        Noted { reading: self.reading, mistake: Mistake::new(span, self.key.clone(), what) }
    }

    /// A key that must be there is not.
    pub(super) fn missing(&self, name: &'static str, example: &str) {
        let pending = self.mistake(format!("`{name}` is missing")).label(format!("needs `{example}`"));
        pending.needs_one_of(&[name]).note();
    }

    /// Ends the reading of this section: what was not asked for is unknown.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let siblings = self.asked.into_inner();
        for key in table.keys().filter(|key| !siblings.contains(&**key.get_ref())) {
            self.reading.unknown.borrow_mut().push(Unknown {
                span: key.span(),
                name: key.get_ref().to_string(),
                section: self.key.clone(),
                pattern: self.pattern.clone(),
                siblings: siblings.clone(),
            });
        }
    }
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    pub(super) reading: &'a Reading<'a>,
    /// As in `route[2].path`.
    pub(super) key: String,
    pattern: String,
    /// The key's last part.
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Entry<'a> {
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// The entry's table, or a note that it is none.
    pub(super) fn section(&self, expected: &str) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            let noted = self.wrong_type(expected);
            let source = self.reading.text.get(self.span()).unwrap_or_default();
            if source.starts_with("[[") { noted.label("single brackets") } else { noted }.note();
            return None;
        };
        Some(self.reading.section(self.key.clone(), self.pattern.clone(), self.span(), Some(table)))
    }

    /// An element of the entry's list.
    pub(super) fn item(&self, index: usize, value: &'a Spanned<DeValue<'a>>) -> Entry<'a> {
        let key = format!("{}[{index}]", self.key);
        self.reading.places.borrow_mut().insert(key.clone(), value.span());
        let pattern = format!("{}[]", self.pattern);
        Entry { key, pattern, name: self.name.clone(), name_span: self.name_span.clone(), value, reading: self.reading }
    }

    /// A mistake of the value.
    pub(super) fn mistake(&self, what: impl Into<String>) -> Noted<'a> {
        Noted { reading: self.reading, mistake: Mistake::new(Some(self.span()), self.key.clone(), what) }
    }

    /// A mistake of the key, whatever its value.
    pub(super) fn mistaken_key(&self, what: impl Into<String>) -> Noted<'a> {
        Noted { reading: self.reading, mistake: Mistake::new(Some(self.name_span.clone()), self.key.clone(), what) }
    }

    pub(super) fn wrong_type(&self, expected: &str) -> Noted<'a> {
        self.mistake(format!("expected {expected}, found {}", self.found()))
    }

    fn found(&self) -> &'static str {
        match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(true) => "`true`",
            DeValue::Boolean(false) => "`false`",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// A mistake about to be noted.
#[must_use]
pub(super) struct Noted<'a> {
    reading: &'a Reading<'a>,
    mistake: Mistake,
}

impl Noted<'_> {
    /// What stands under the caret.
    pub(super) fn label(mut self, text: impl Into<String>) -> Self {
        self.mistake.label = text.into();
        self
    }

    /// A line below.
    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.mistake.help.push(text.into());
        self
    }

    /// The other place that has to do with it.
    pub(super) fn also(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.mistake.also = Some((span, text.into()));
        self
    }

    /// A narrower place.
    pub(super) fn at(mut self, span: Range<usize>) -> Self {
        self.mistake.span = Some(span);
        self
    }

    /// The file can be used all the same.
    pub(super) fn only_a_warning(mut self) -> Self {
        self.mistake.weight = Weight::Warning;
        self
    }

    /// Something is missing, or does not fit something elsewhere.
    pub(super) fn needs_whole_file(mut self) -> Self {
        self.mistake.needs_whole_file = true;
        self
    }

    /// None of these keys is there.
    pub(super) fn needs_one_of(mut self, keys: &[&'static str]) -> Self {
        self.mistake.missing = keys.to_vec();
        self.needs_whole_file()
    }

    pub(super) fn note(self) {
        self.reading.note(self.mistake);
    }
}

/// `route[]` + `path` -> `route[].path`, with quotes where TOML wants them.
fn joined(section: &str, name: &str) -> String {
    let bare = name == "*" || !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if section.is_empty() { name } else { format!("{section}.{name}") }
}

/// `listen[].certificate[]` -> `listen.certificate`, as it stands in a header.
pub(super) fn header_path(pattern: &str) -> String {
    pattern.replace("[]", "").replace('*', "NAME")
}
