//! What the TOML parser could not read, in the words of the rest. The parser goes on after an error,
//! so that one run shows several; what follows from an earlier one is left out here.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::report::Mistake;
use super::suggest;

/// Mistakes of form, and from where on the text can no longer be judged.
pub(super) struct Syntax {
    pub(super) mistakes: Vec<Mistake>,
    /// A bracket that was never closed takes all lines after it.
    pub(super) lost_from: Option<usize>,
}

/// Puts the parser's errors into words.
pub(super) fn judge(text: &str, table: &DeTable<'_>, errors: &[Error]) -> Syntax {
    let mut errors: Vec<_> = errors.iter().map(|error| (place(text, error), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let unclosed = |message: &str| message.starts_with("unclosed");
    let inside = |message: &str| message.contains("array") || message.contains("inline table") || message.contains("key-value");
    let first_lost = errors.iter().position(|(_, message)| unclosed(message)).map(|end| {
        let cause = errors.iter().take(end).position(|(_, message)| inside(message));
        cause.unwrap_or(end)
    });
    let lost_from = first_lost.and_then(|index| errors.get(index)).map(|(span, _)| line_start(text, span.start));
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut last_line = None;
    for (index, (span, message)) in errors.iter().enumerate() {
        let line = line_start(text, span.start);
        if last_line == Some(line) || first_lost.is_some_and(|first| index > first) {
            continue;
        }
        last_line = Some(line);
        let mut mistake = worded(text, table, span, message);
        if first_lost == Some(index) && !unclosed(message) {
            mistake.help.push("a list or table above this line may lack its `]` or `}`".to_owned());
        }
        mistakes.push(mistake);
    }
    Syntax { mistakes, lost_from }
}

/// The error's place; at the end of its line's text where it points behind it.
fn place(text: &str, error: &Error) -> Range<usize> {
    let span = error.span().unwrap_or(0..0);
    let at_end = span.is_empty() && text.get(span.start..).is_some_and(|rest| rest.trim().is_empty());
    if at_end {
        let end = text.trim_end().len();
        return end..end;
    }
    span
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// How the parser's message begins, what we say, and what stands under the caret.
const WORDS: &[(&str, &str, &str)] = &[
    ("key with no value", "a key without a value", "`=` and a value are missing"),
    ("unclosed array table", "a header that begins with `[[` has no end", "`]]` is missing"),
    ("unclosed table", "a header that begins with `[` has no end", "`]` is missing"),
    ("unclosed array", "a list was never closed", "`]` is missing"),
    ("unclosed inline table", "a table was never closed", "`}` is missing"),
    ("missing comma between array", "a comma is missing in a list", "before this"),
    ("missing comma between key", "a comma is missing in a table", "before this"),
    ("invalid basic string, expected", "a text was never closed", "its quote is missing"),
    ("invalid literal string, expected", "a text was never closed", "its quote is missing"),
];

fn worded(text: &str, table: &DeTable<'_>, span: &Range<usize>, message: &str) -> Mistake {
    let found = text.get(span.clone()).unwrap_or_default();
    let words = WORDS.iter().find(|(start, ..)| message.starts_with(start));
    let mut mistake = Mistake::new(Some(span.clone()), "", words.map_or(message, |(_, what, _)| *what));
    mistake.label = words.map_or_else(String::new, |(.., label)| (*label).to_owned());
    if message.starts_with("string values must be quoted") || message.starts_with("invalid boolean") {
        (mistake.what, mistake.label) = unquoted(found);
    } else if message.starts_with("duplicate key") {
        mistake.what = format!("`{found}` is given twice");
        mistake.label.push_str("again here");
        mistake.also = earlier(table, found, span.start).map(|first| (first, "first here".to_owned()));
        if text.get(..span.start).is_some_and(|before| before.ends_with('[')) {
            let help = "a section can be there once; where there can be several, each begins with `[[`";
            mistake.help.push(help.to_owned());
        }
    }
    mistake
}

/// Something that is neither a number nor a switch, without quotes.
fn unquoted(found: &str) -> (String, String) {
    if found.is_empty() {
        return ("a value is missing".to_owned(), "after the `=`".to_owned());
    }
    let label = match suggest::closest(found, ["true", "false"]) {
        Some(word) => format!("did you mean `{word}`?"),
        None if ["yes", "on"].contains(&found) => format!("write `\"{found}\"`, or `true` for a switch"),
        None if ["no", "off"].contains(&found) => format!("write `\"{found}\"`, or `false` for a switch"),
        None => format!("write `\"{found}\"`"),
    };
    ("a text needs quotes".to_owned(), label)
}

/// The nearest key of this name before a place.
fn earlier(table: &DeTable<'_>, name: &str, before: usize) -> Option<Range<usize>> {
    let of_key = table.keys().filter(|key| key.get_ref() == name).map(toml::Spanned::span);
    let within = table.values().filter_map(|value| earlier_within(value.get_ref(), name, before));
    of_key.chain(within).filter(|span| span.start < before).max_by_key(|span| span.start)
}

fn earlier_within(value: &DeValue<'_>, name: &str, before: usize) -> Option<Range<usize>> {
    match value {
        DeValue::Table(table) => earlier(table, name, before),
        DeValue::Array(array) => {
            array.iter().filter_map(|item| earlier_within(item.get_ref(), name, before)).max_by_key(|span| span.start)
        }
        _ => None,
    }
}
