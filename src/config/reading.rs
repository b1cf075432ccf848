//! A walk over the tree that TOML text becomes, with its places: sections, entries, and a note of
//! every mistake and of every key that was asked for. Not here: what any key means.
//!
//! Not serde: a derived reader stops at its first error, and this one must find all of them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::places::{Key, KindId, Kinds, header_path};
use super::report::{Mistake, Weight};
use super::suggest;

/// What one run over one file notes down.
pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    pub(super) directory: &'a Path,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    mistakes: RefCell<Vec<Mistake>>,
    unknown: RefCell<Vec<Unknown>>,
    kinds: RefCell<Kinds>,
    places: RefCell<BTreeMap<String, Range<usize>>>,
}

/// What the reading leaves.
pub(super) struct Notes {
    pub(super) mistakes: Vec<Mistake>,
    /// As in `route[].path` and `backend.*.servers`.
    pub(super) asked: BTreeSet<String>,
    /// Of all keys but those of routes: nobody else has something to say of them.
    pub(super) places: BTreeMap<String, Range<usize>>,
}

/// A key that nobody asked for. Judged at the end, when it is known what is asked for elsewhere.
struct Unknown {
    span: Range<usize>,
    name: String,
    section: String,
    /// The whole name.
    key: String,
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
            kinds: RefCell::default(),
            places: RefCell::default(),
        }
    }

    pub(super) fn root(&'a self, table: &'a DeTable<'a>) -> Section<'a> {
        self.section(Key::default(), Kinds::ROOT, 0..0, Some(table))
    }

    fn section(&'a self, key: Key<'a>, kind: KindId, span: Range<usize>, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        if table.is_some() {
            self.note_place(&key, &span);
        }
        // A route, of which there can be many, has forty keys to be asked for.
        let asked = RefCell::new(Vec::with_capacity(if table.is_some() { 48 } else { 0 }));
        Section { reading: self, key, kind, span, table, asked }
    }

    fn note_place(&self, key: &Key<'_>, span: &Range<usize>) {
        if !key.is_within("route") {
            self.places.borrow_mut().insert(key.to_string(), span.clone());
        }
    }

    fn pattern(&self, kind: KindId) -> String {
        self.kinds.borrow().pattern(kind).to_owned()
    }

    pub(super) fn note(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    pub(super) fn into_notes(self) -> Notes {
        let asked = self.kinds.into_inner().all_asked();
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
        let mut mistake = Mistake::new(Some(self.span.clone()), self.key.clone(), "unknown key");
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
    pub(super) key: Key<'a>,
    kind: KindId,
    pub(super) span: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    /// In the order of asking, and again where one is asked for again.
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// Whether it is there.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The value of a key.
    pub(super) fn ask(&self, name: &'static str) -> Option<Entry<'a>> {
        let kind = self.reading.kinds.borrow_mut().asked(self.kind, name);
        let table = self.table?;
        self.asked.borrow_mut().push(name);
        let (key, value) = table.get_key_value(name)?;
        Some(self.entry(key.span(), Cow::Borrowed(name), kind, value))
    }

    fn entry(&self, name_span: Range<usize>, name: Cow<'a, str>, kind: KindId, value: &'a Spanned<DeValue<'a>>) -> Entry<'a> {
        let key = self.key.named(name.clone());
        self.reading.note_place(&key, &value.span());
        Entry { reading: self.reading, key, kind, name, name_span, value }
    }

    /// A section within: absent where the key is, or where it is no table (which is noted).
    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        let there = self.ask(name).and_then(|entry| {
            let expected = format!("a table `[{}]`", header_path(&self.reading.pattern(entry.kind)));
            entry.section(&expected)
        });
        there.unwrap_or_else(|| {
            let kind = self.reading.kinds.borrow_mut().below(self.kind, name);
            self.reading.section(self.key.named(Cow::Borrowed(name)), kind, 0..0, None)
        })
    }

    /// The sections of `[[name]]`, in the file's order.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Section<'a>> {
        let Some(entry) = self.ask(name) else { return Vec::new() };
        let double = format!("[[{}]]", header_path(&self.reading.pattern(entry.kind)));
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
        let kind = self.reading.kinds.borrow_mut().below(self.kind, "*");
        let all = self.table.into_iter().flat_map(DeTable::iter);
        let mut entries: Vec<_> =
            all.map(|(key, value)| self.entry(key.span(), Cow::Borrowed(key.get_ref()), kind, value)).collect();
        entries.sort_by_key(|entry| entry.name_span.start);
        entries
    }

    /// A mistake of the section as a whole, shown at its head.
    pub(super) fn mistake(&self, what: impl Into<String>) -> Noted<'a> {
        let span = (!self.key.is_root()).then(|| self.span.clone());
        Noted { reading: self.reading, mistake: Mistake::new(span, self.key.to_string(), what) }
    }

    /// A key that must be there is not.
    pub(super) fn missing(&self, name: &'static str, example: &str) {
        let pending = self.mistake(format!("`{name}` is missing")).label(format!("needs `{example}`"));
        pending.needs_one_of(&[name]).note();
    }

    /// Ends the reading of this section: what was not asked for is unknown.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.into_inner();
        for key in table.keys().filter(|key| !asked.contains(&&**key.get_ref())) {
            self.reading.unknown.borrow_mut().push(Unknown {
                span: key.span(),
                name: key.get_ref().to_string(),
                section: self.key.to_string(),
                key: self.key.named(Cow::Borrowed(key.get_ref())).to_string(),
                pattern: self.reading.pattern(self.kind),
                siblings: asked.iter().copied().collect(),
            });
        }
    }
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    pub(super) reading: &'a Reading<'a>,
    /// As in `route[2].path`.
    pub(super) key: Key<'a>,
    kind: KindId,
    /// The key's last part.
    pub(super) name: Cow<'a, str>,
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
        Some(self.reading.section(self.key.clone(), self.kind, self.span(), Some(table)))
    }

    /// An element of the entry's list.
    pub(super) fn item(&self, index: usize, value: &'a Spanned<DeValue<'a>>) -> Entry<'a> {
        let key = self.key.item(index);
        self.reading.note_place(&key, &value.span());
        let kind = self.reading.kinds.borrow_mut().below(self.kind, "[]");
        Entry { key, kind, name: self.name.clone(), name_span: self.name_span.clone(), value, reading: self.reading }
    }

    /// A mistake of the value.
    pub(super) fn mistake(&self, what: impl Into<String>) -> Noted<'a> {
        Noted { reading: self.reading, mistake: Mistake::new(Some(self.span()), self.key.to_string(), what) }
    }

    /// A mistake of the key, whatever its value.
    pub(super) fn mistaken_key(&self, what: impl Into<String>) -> Noted<'a> {
        Noted { reading: self.reading, mistake: Mistake::new(Some(self.name_span.clone()), self.key.to_string(), what) }
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
