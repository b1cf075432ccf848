//! What is wrong with a file: all mistakes of one run, each with its place, shown as compilers show theirs.
//! Not here: what a mistake is. The rest of the room finds them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A file that is not text at all gives a mistake in each line; nobody reads past this many.
const SHOWN: usize = 50;

/// Whether the file can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// It cannot.
    Error,
    /// It can, but its writer may have meant something else.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    pub(super) weight: Weight,
    /// The text meant; `None`: the file as a whole.
    pub(super) span: Option<Range<usize>>,
    /// As in `route[2].path`; empty where no key is meant.
    pub(super) key: String,
    /// What is wrong.
    pub(super) what: String,
    /// Under the caret.
    pub(super) label: String,
    /// Below.
    pub(super) help: Vec<String>,
    /// Another place that has to do with it.
    pub(super) also: Option<(Range<usize>, String)>,
    /// Something is missing, or does not fit something elsewhere: not to be judged in a file that
    /// could be read in part only.
    pub(super) needs_whole_file: bool,
    /// The keys of which one would do, where it is that none is there.
    pub(super) missing: Vec<&'static str>,
}

impl Mistake {
    pub(super) fn new(span: Option<Range<usize>>, key: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            weight: Weight::Error,
            span,
            key: key.into(),
            what: what.into(),
            label: String::new(),
            help: Vec::new(),
            also: None,
            needs_whole_file: false,
            missing: Vec::new(),
        }
    }

    fn title(&self) -> String {
        if self.key.is_empty() { self.what.clone() } else { format!("{}: {}", self.key, self.what) }
    }
}

/// All mistakes of one file. `Display` is [`Report::render`] without colour.
#[derive(Clone, Debug)]
pub struct Report {
    file: String,
    text: String,
    mistakes: Vec<Mistake>,
    places: BTreeMap<String, Range<usize>>,
}

impl Report {
    pub(super) fn new(file: &str, text: &str, mut mistakes: Vec<Mistake>, places: BTreeMap<String, Range<usize>>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span.as_ref().map_or(0, |span| span.start));
        // The renderer makes titles and lines of the file harmless for a terminal, and these not.
        for mistake in &mut mistakes {
            let others = mistake.help.iter_mut().chain(mistake.also.as_mut().map(|(_, text)| text));
            others.chain([&mut mistake.label]).for_each(make_printable);
        }
        Self { file: file.to_owned(), text: text.to_owned(), mistakes, places }
    }

    /// A report of one mistake that has no place: the file could not even be read.
    pub(super) fn unreadable(file: &str, mistake: Mistake) -> Self {
        Self::new(file, "", vec![mistake], BTreeMap::new())
    }

    /// Whether the file cannot be used: warnings alone are no reason.
    pub fn is_fatal(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.weight == Weight::Error)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Adds what another room found about the value of a key, as in `listen[0].certificate[1].chain`
    /// (lists count from 0): a file that cannot be read, say. The caret stands under that value.
    pub fn add_error(&mut self, key: &str, what: impl Into<String>) {
        self.add(Weight::Error, key, what.into());
    }

    /// Likewise, where the file can be used all the same.
    pub fn add_warning(&mut self, key: &str, what: impl Into<String>) {
        self.add(Weight::Warning, key, what.into());
    }

    fn add(&mut self, weight: Weight, key: &str, what: String) {
        let span = self.places.get(key).cloned();
        self.mistakes.push(Mistake { weight, ..Mistake::new(span, key, what) });
        self.mistakes.sort_by_key(|mistake| mistake.span.as_ref().map_or(0, |span| span.start));
    }

    /// The warnings, one line each, for a log: `spliceway.toml:12: backend.old: no route uses it`.
    pub fn warnings(&self) -> Vec<String> {
        self.mistakes.iter().filter(|mistake| mistake.weight == Weight::Warning).map(|mistake| self.line(mistake)).collect()
    }

    fn line(&self, mistake: &Mistake) -> String {
        let place = mistake.span.as_ref().map(|span| {
            let before = self.text.get(..span.start).unwrap_or(&self.text);
            format!(":{}", before.matches('\n').count() + 1)
        });
        format!("{}{}: {}", self.file, place.unwrap_or_default(), mistake.title())
    }

    /// Everything, for a terminal: each mistake with the line it stands in and a caret under the text.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        for mistake in self.mistakes.iter().take(SHOWN) {
            out.push_str(&renderer.render(&[self.group(mistake)]));
            out.push_str("\n\n");
        }
        out.push_str(&self.summary());
        out
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let level = if mistake.weight == Weight::Error { Level::ERROR } else { Level::WARNING };
        let title = level.primary_title(mistake.title());
        let help = mistake.help.iter().map(|text| Level::HELP.message(text));
        let Some(span) = &mistake.span else {
            return Group::with_title(title).elements(help);
        };
        let label = |text: &'a str| (!text.is_empty()).then_some(text);
        let mut snippet = Snippet::source(self.text.as_str())
            .path(self.file.as_str())
            .annotation(AnnotationKind::Primary.span(self.visible(span)).label(label(&mistake.label)));
        if let Some((other, text)) = &mistake.also {
            snippet = snippet.annotation(AnnotationKind::Context.span(self.visible(other)).label(label(text)));
        }
        title.element(snippet).elements(help)
    }

    /// The part of a span in its first line, on character borders: a caret below several lines says
    /// less than one below their beginning.
    fn visible(&self, span: &Range<usize>) -> Range<usize> {
        let border = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (border(span.start), border(span.end.max(span.start)));
        let line = self.text.get(start..end).and_then(|text| text.split(['\r', '\n']).next());
        start..start + line.map_or(0, str::len)
    }

    fn summary(&self) -> String {
        let errors = self.mistakes.iter().filter(|mistake| mistake.weight == Weight::Error).count();
        let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
        let said = match (errors, self.mistakes.len() - errors) {
            (0, 0) => "nothing wrong".to_owned(),
            (0, warnings) => count(warnings, "warning"),
            (errors, 0) => count(errors, "mistake"),
            (errors, warnings) => format!("{} and {}", count(errors, "mistake"), count(warnings, "warning")),
        };
        let rest = if self.mistakes.len() > SHOWN { format!(" (the first {SHOWN} are shown)") } else { String::new() };
        format!("{}: {said}{rest}\n", self.file)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
/// Writes control characters, but for line breaks, as escapes.
fn make_printable(text: &mut String) {
    let is_harmful = |c: char| c.is_control() && c != '\n';
    if text.contains(is_harmful) {
        let shown = |c: char| if is_harmful(c) { c.escape_default().to_string() } else { c.to_string() };
        *text = text.chars().map(shown).collect();
    }
}
