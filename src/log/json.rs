//! A line as JSON: the moment, the level, the fields in their order, and where it comes from. Not here: the fields.
//!
//! Ours, since the formatter of `tracing-subscriber` takes longer for the line about a request than all else about the
//! request does (benches/README.md). It writes what that one wrote, name for name.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::calendar;
use super::sink::Sink;
use crate::base::eight::{below, equal};

/// Makes a line of each event.
#[derive(Debug)]
pub(super) struct Lines(Sink);

impl Lines {
    pub(super) fn to(sink: Sink) -> Self {
        Self(sink)
    }
}

/// What a thread keeps from one line to the next.
#[derive(Default)]
struct Kept {
    line: String,
    second: u64,
    /// That second, as it is written.
    written: String,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        KEPT.with(|kept| match kept.try_borrow_mut() {
            Ok(mut kept) => kept.write(event, &self.0),
            Err(_) => Kept::default().write(event, &self.0), // an event within the text of another
        });
    }
}

impl Kept {
    fn write(&mut self, event: &Event<'_>, sink: &Sink) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if now.as_secs() != self.second || self.written.is_empty() {
            self.second = now.as_secs();
            self.written.clear();
            calendar::write_second(&mut self.written, self.second).ok();
        }
        let Self { line, written, .. } = self;
        line.clear();
        line.push_str("{\"timestamp\":\"");
        line.push_str(written);
        line.push('.');
        digits::<6>(line, now.subsec_micros());
        line.push_str("Z\",\"level\":\"");
        line.push_str(event.metadata().level().as_str());
        line.push('"');
        let mut fields = Fields { line, target: None };
        event.record(&mut fields);
        let target = fields.target.take();
        line.push_str(",\"target\":\"");
        escape(line, target.as_deref().unwrap_or_else(|| event.metadata().target()));
        line.push_str("\"}\n");
        sink.put(line.as_bytes());
        line.shrink_to(4096); // a long line is not kept
    }
}

/// A number of so many digits at most, with zeros in front of it.
fn digits<const N: u32>(line: &mut String, number: u32) {
    let marked = u64::from(number) + 10_u64.pow(N); // a one in front of all of them
    line.push_str(itoa::Buffer::new().format(marked).get(1..).unwrap_or_default());
}

/// A number below a billion, to nine places: nothing that is measured has more.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // asked of the caller
fn billionths(line: &mut String, number: f64) {
    let all = (number * 1e9 + 0.5) as u64;
    let (whole, part) = (all / 1_000_000_000, all % 1_000_000_000);
    line.push_str(itoa::Buffer::new().format(whole));
    line.push('.'); // always: who guesses a field's type by its first value must not find a whole number
    digits::<9>(line, u32::try_from(part).unwrap_or(0));
    line.truncate(line.trim_end_matches('0').len());
    if part == 0 {
        line.push('0');
    }
}

/// The fields of an event, behind one another.
struct Fields<'a> {
    line: &'a mut String,
    /// Of an event that came by the `log` crate: there the target is a field.
    target: Option<String>,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.line.push_str(",\"");
        self.line.push_str(field.name()); // an identifier
        self.line.push_str("\":");
    }

    fn number(&mut self, field: &Field, number: impl fmt::Display) {
        self.name(field);
        write!(self.line, "{number}").ok(); // a String takes everything
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name().starts_with("log.") {
            self.target = if field.name() == "log.target" { Some(text.to_owned()) } else { self.target.take() };
            return;
        }
        self.name(field);
        self.line.push('"');
        escape(self.line, text);
        self.line.push('"');
    }

    fn record_u64(&mut self, field: &Field, number: u64) {
        if !field.name().starts_with("log.") {
            self.name(field);
            self.line.push_str(itoa::Buffer::new().format(number));
        }
    }

    fn record_i64(&mut self, field: &Field, number: i64) {
        self.number(field, number);
    }

    fn record_u128(&mut self, field: &Field, number: u128) {
        self.number(field, number);
    }

    fn record_i128(&mut self, field: &Field, number: i128) {
        self.number(field, number);
    }

    fn record_bool(&mut self, field: &Field, truth: bool) {
        self.number(field, truth);
    }

    fn record_f64(&mut self, field: &Field, number: f64) {
        if (0.0..1e9).contains(&number) {
            self.name(field);
            billionths(self.line, number);
        } else if number.is_finite() {
            self.number(field, format_args!("{number:?}")); // `1e300`, as JSON has it too
        } else {
            self.number(field, "null"); // JSON has no word for it
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.name(field);
        self.line.push('"');
        write!(Escaping(self.line), "{value:?}").ok();
        self.line.push('"');
    }
}

/// Takes text and writes it as the inside of a JSON string.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// RFC 8259 section 7.
fn escape(line: &mut String, text: &str) {
    if !needs_escapes(text.as_bytes()) {
        return line.push_str(text);
    }
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| is_escaped(*byte)) {
        line.push_str(text.get(from..at).unwrap_or_default());
        from = at + 1; // such a byte is a whole character
        match byte {
            b'"' => line.push_str("\\\""),
            b'\\' => line.push_str("\\\\"),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            _ => {
                write!(line, "\\u{byte:04x}").ok(); // a String takes everything
            }
        }
    }
    line.push_str(text.get(from..).unwrap_or_default());
}

/// Whether any byte is to be escaped: eight are looked at together.
fn needs_escapes(text: &[u8]) -> bool {
    let any = |eight: &[u8; 8]| {
        let bytes = u64::from_le_bytes(*eight);
        below(bytes, b' ') | equal(bytes, b'"') | equal(bytes, b'\\') != 0
    };
    let Some(last) = text.last_chunk() else { return text.iter().any(|byte| is_escaped(*byte)) };
    text.chunks_exact(8).filter_map(|eight| eight.first_chunk()).any(any) || any(last)
}

fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::*;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(does: impl FnOnce()) -> String {
        let out = Out::default();
        let (sink, flush) = Sink::to(out.clone());
        tracing::subscriber::with_default(registry().with(Lines::to(sink)), does);
        drop(flush);
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_is_an_object_with_its_fields_in_order() {
        let lines = logged(|| {
            let (none, some) = (None::<&str>, Some("x"));
            tracing::info!(target: "a::b", text = "\u{1}\"\\\n\u{e9}", n = 7u64, below = -1, f = 0.25, tiny = 0.000_135_203, whole = 20.0, huge = 1e300, no = f64::NAN, yes = true, none, some, shown = %1.5f32, "hi {}", 2);
        });
        let line = lines.strip_suffix('\n').unwrap();
        let (head, rest) = line.split_at(r#"{"timestamp":""#.len());
        let (moment, rest) = rest.split_at("2026-11-26T15:52:41.064339Z".len());
        assert_eq!(head, r#"{"timestamp":""#);
        assert!(moment.ends_with('Z') && moment.as_bytes()[19] == b'.', "{moment}");
        let expected = r#"","level":"INFO","message":"hi 2","text":"\u0001\"\\\n"#.to_owned()
            + "\u{e9}"
            + r#"","n":7,"below":-1,"f":0.25,"tiny":0.000135203,"whole":20.0,"huge":1e300,"no":null,"yes":true,"some":"x","shown":"1.5","target":"a::b"}"#;
        assert_eq!(rest, expected);
    }

    #[test]
    fn an_event_within_the_text_of_another_is_a_line_too() {
        let lines = logged(|| {
            KEPT.with(|kept| {
                let _writing = kept.borrow_mut();
                tracing::info!("inner");
            });
        });
        assert!(lines.contains("\"inner\"") && lines.ends_with("}\n"), "{lines}");
    }

    #[test]
    fn of_all_bytes_those_are_escaped_that_have_to_be() {
        for byte in 0..=u8::MAX {
            for (length, place) in (1..20).flat_map(|length| (0..length).map(move |place| (length, place))) {
                let mut text = vec![b'a'; length];
                text[place] = byte;
                assert_eq!(needs_escapes(&text), is_escaped(byte), "{byte} at {place} of {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_it_was(text in any::<String>()) {
            let mut line = "\"".to_owned();
            escape(&mut line, &text);
            line.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
