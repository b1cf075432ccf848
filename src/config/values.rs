//! Values as the rooms want them: text with its variables in place, numbers in range, durations,
//! sizes, paths. Each notes what is wrong and then gives nothing. Not here: what any key means.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::environment::{self, Fault};
use super::reading::{Entry, Noted, Section};
use crate::base::units;

/// A string, variables in place, with where it came from.
#[derive(Clone)]
pub(super) struct Text<'a> {
    pub(super) entry: Entry<'a>,
    pub(super) value: String,
}

impl<'a> Text<'a> {
    /// A mistake of this text. Says so where the file shows something else than was judged.
    pub(super) fn mistake(&self, what: impl Into<String>) -> Noted<'a> {
        let noted = self.entry.mistake(what);
        let source = self.entry.reading.text.get(self.entry.span()).unwrap_or_default();
        let variable = source.replace("$${", "").contains("${");
        if variable { noted.help("this was judged with its variables in place") } else { noted }
    }
}

impl Text<'_> {
    /// The text within a sentence.
    pub(super) fn shown(&self) -> String {
        if self.value.is_empty() { "an empty text".to_owned() } else { format!("`{}`", self.value) }
    }
}

impl<'a> Entry<'a> {
    /// A string.
    pub(super) fn text(&self) -> Option<Text<'a>> {
        self.text_for("a string")
    }

    /// A string that stands for something else, as the message has it.
    pub(super) fn text_for(&self, expected: &str) -> Option<Text<'a>> {
        let DeValue::String(raw) = self.value.get_ref() else {
            let noted = self.wrong_type(expected);
            let source = self.reading.text.get(self.span()).unwrap_or_default();
            let bare = matches!(self.value.get_ref(), DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_));
            if bare && expected == "a string" { noted.label(format!("write `\"{source}\"`")) } else { noted }.note();
            return None;
        };
        match environment::expand(raw, self.reading.environment) {
            Ok(value) => Some(Text { entry: self.clone(), value }),
            Err(faults) => {
                for (count, fault) in faults {
                    self.faulty_variable(count, &fault);
                }
                None
            }
        }
    }

    fn faulty_variable(&self, count: usize, fault: &Fault) {
        let noted = match fault {
            Fault::Unset(name) => self
                .mistake(format!("the environment has no variable `{name}`"))
                .label("not set")
                .help(format!("set `{name}`, or write `$${{` for a plain `${{`")),
            Fault::Unclosed => self
                .mistake("`${` has no `}`")
                .label("begins here")
                .help("a variable is written `${NAME}`; `$${` stands for a plain `${`"),
            Fault::NoName(name) => self
                .mistake(if name.is_empty() {
                    "`${}` names no variable".to_owned()
                } else {
                    format!("`{name}` cannot be the name of a variable")
                })
                .label("letters, digits and `_`")
                .help("a variable is written `${NAME}`, without a default; `$${` stands for a plain `${`"),
        };
        noted.at(self.variable_span(count)).note();
    }

    /// The place of the `count`th `${` in the file; the whole string where escapes hide it.
    fn variable_span(&self, count: usize) -> Range<usize> {
        let span = self.span();
        let source = self.reading.text.get(span.clone()).unwrap_or_default();
        let Some((at, _)) = source.match_indices("${").nth(count) else { return span };
        let length = source.get(at..).and_then(|rest| rest.find('}')).map_or(2, |end| end + 1);
        span.start + at..span.start + at + length
    }

    /// A list of strings, each with its place.
    pub(super) fn texts(&self, expected: &str) -> Option<Vec<Text<'a>>> {
        let DeValue::Array(array) = self.value.get_ref() else {
            let noted = self.wrong_type(expected);
            let source = self.reading.text.get(self.span()).unwrap_or_default();
            let single = matches!(self.value.get_ref(), DeValue::String(_)) && !source.contains('\n');
            if single { noted.label(format!("write `[{source}]`")) } else { noted }.note();
            return None;
        };
        let items = array.iter().enumerate().map(|(index, value)| self.item(index, value));
        Some(items.filter_map(|item| item.text()).collect())
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        let DeValue::Boolean(value) = self.value.get_ref() else {
            let noted = self.wrong_type("`true` or `false`");
            let quoted = matches!(self.value.get_ref(), DeValue::String(text) if **text == *"true" || **text == *"false");
            if quoted { noted.label("without quotes") } else { noted }.note();
            return None;
        };
        Some(*value)
    }

    /// A whole number within a range.
    pub(super) fn number<N: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<N> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            let noted = self.wrong_type("a whole number");
            let quoted = matches!(self.value.get_ref(), DeValue::String(text) if text.parse::<i64>().is_ok());
            let label = if quoted { "without quotes".to_owned() } else { format!("{} to {}", range.start(), range.end()) };
            noted.label(label).note();
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| N::try_from(number).ok());
        if number.is_none() {
            let what = format!("{integer} is out of range");
            self.mistake(what).label(format!("{} to {}", range.start(), range.end())).note();
        }
        number
    }

    /// A duration, longer than nothing.
    pub(super) fn duration(&self) -> Option<Duration> {
        let value = self.duration_or_zero()?;
        if value.is_zero() {
            self.mistake("nothing can be done in no time").label("longer than nothing").note();
            return None;
        }
        Some(value)
    }

    /// A duration, which may be nothing.
    pub(super) fn duration_or_zero(&self) -> Option<Duration> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            _ => None,
        };
        if let Some(number) = number {
            self.wrong_type("a duration").label(format!("seconds are written `\"{number}s\"`")).note();
            return None;
        }
        let text = self.text_for("a duration such as `\"10s\"`")?;
        let value = units::duration(&text.value);
        if value.is_none() {
            text.mistake(format!("{} is not a duration", text.shown())).label(units::DURATION_FORMS).note();
        }
        value
    }

    /// A duration, or `"off"`: `Some(None)`.
    #[allow(clippy::option_option)] // the outer one is "nothing usable there", as everywhere here
    pub(super) fn duration_or_off(&self) -> Option<Option<Duration>> {
        let never = |text: &str| ["none", "never", "no", "false", "0", "0s", "unlimited"].contains(&text);
        match self.value.get_ref() {
            DeValue::Boolean(_) => {
                self.wrong_type("a duration or `\"off\"`").label("write `\"off\"`").note();
                return None;
            }
            DeValue::String(text) if never(text) => {
                self.mistake(format!("`{text}` is not a duration")).label("write `\"off\"` for no limit").note();
                return None;
            }
            _ => {}
        }
        if self.is_off() { Some(None) } else { self.duration().map(Some) }
    }

    /// Whether it is `"off"`.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(text) if **text == *"off")
    }

    /// A size within a range, in bytes.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        if let DeValue::Integer(number) = self.value.get_ref() {
            self.wrong_type("a size").label(format!("bytes are written `\"{number}B\"`")).note();
            return None;
        }
        let text = self.text_for("a size such as `\"1MiB\"`")?;
        let Some(size) = units::size(&text.value) else {
            text.mistake(format!("{} is not a size", text.shown())).label(units::SIZE_FORMS).note();
            return None;
        };
        if !range.contains(&size) {
            let label = format!("{} to {}", bytes(*range.start()), bytes(*range.end()));
            text.mistake(format!("`{}` is out of range", text.value)).label(label).note();
            return None;
        }
        Some(size)
    }

    /// A path, relative to the file's directory.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text_for("a path")?;
        if text.value.is_empty() || text.value.contains('\0') {
            text.mistake("a path is missing").note();
            return None;
        }
        Some(self.reading.directory.join(text.value))
    }

    /// The path of a unix socket, relative to the file's directory.
    pub(super) fn socket_path(&self, path: &str) -> Option<PathBuf> {
        let path = self.reading.directory.join(path);
        // sockaddr_un has 108 bytes for it, the last of them 0.
        if path.as_os_str().len() > 107 {
            let what = format!("the path of a unix socket has at most 107 bytes, this one {}", path.as_os_str().len());
            self.mistake(what).note();
            return None;
        }
        Some(path)
    }
}

impl Section<'_> {
    /// A duration longer than nothing, or the default.
    pub(super) fn duration(&self, name: &'static str, default: Duration) -> Duration {
        self.ask(name).and_then(|entry| entry.duration()).unwrap_or(default)
    }

    /// `true` or `false`, or the default.
    pub(super) fn flag(&self, name: &'static str, default: bool) -> bool {
        self.ask(name).and_then(|entry| entry.flag()).unwrap_or(default)
    }
}

fn bytes(size: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(factor, _)| size >= *factor && size.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{size}B"), |(factor, name)| format!("{}{name}", size / factor))
}
