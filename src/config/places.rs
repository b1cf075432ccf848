//! What a key is called: `route[2].path`, and `route[].path` for all of its kind. Not here: what keys mean.
//!
//! A file with ten thousand routes has half a million keys that could be there, and names hardly any of them in a
//! message: so a name is a chain that is written out when somebody reads it, and a kind is a number.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ptr;
use std::rc::Rc;

/// The name of one key, as in `route[2].path`. The root's is empty.
#[derive(Clone, Default)]
pub(super) struct Key<'a>(Option<Rc<(Key<'a>, Part<'a>)>>);

enum Part<'a> {
    Name(Cow<'a, str>),
    Item(usize),
}

impl<'a> Key<'a> {
    pub(super) fn named(&self, name: Cow<'a, str>) -> Self {
        Self(Some(Rc::new((self.clone(), Part::Name(name)))))
    }

    pub(super) fn item(&self, index: usize) -> Self {
        Self(Some(Rc::new((self.clone(), Part::Item(index)))))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it is `name` at the top of the file, or anywhere below it.
    pub(super) fn is_within(&self, name: &str) -> bool {
        let Some((above, part)) = self.0.as_deref() else { return false };
        if above.is_root() { matches!(part, Part::Name(own) if own == name) } else { above.is_within(name) }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((above, part)) = self.0.as_deref() else { return Ok(()) };
        above.fmt(f)?;
        match part {
            Part::Item(index) => write!(f, "[{index}]"),
            Part::Name(name) => {
                let dot = if above.is_root() { "" } else { "." };
                if is_bare(name) { write!(f, "{dot}{name}") } else { write!(f, "{dot}{name:?}") }
            }
        }
    }
}

/// All kinds of keys that were met, each once for each place in our source that asks for it.
pub(super) struct Kinds(Vec<Kind>);

/// A kind, as its place in [`Kinds`].
#[derive(Clone, Copy)]
pub(super) struct KindId(usize);

struct Kind {
    /// As in `route[].path` and `backend.*.servers`.
    pattern: String,
    is_asked: bool,
    below: Vec<(&'static str, KindId)>,
}

impl Kinds {
    pub(super) const ROOT: KindId = KindId(0);

    /// The kind `name` below another one; `"*"` is any name, `"[]"` any item of a list.
    pub(super) fn below(&mut self, above: KindId, name: &'static str) -> KindId {
        let known = self.0.get(above.0).and_then(|kind| kind.below.iter().find(|(other, _)| ptr::eq(*other, name)));
        if let Some((_, id)) = known {
            return *id;
        }
        let pattern = match self.pattern(above) {
            list if name == "[]" => format!("{list}[]"),
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        };
        let id = KindId(self.0.len());
        self.0.push(Kind { pattern, is_asked: false, below: Vec::new() });
        if let Some(kind) = self.0.get_mut(above.0) {
            kind.below.push((name, id));
        }
        id
    }

    /// Likewise, of a key that is asked for by its name.
    pub(super) fn asked(&mut self, above: KindId, name: &'static str) -> KindId {
        let id = self.below(above, name);
        if let Some(kind) = self.0.get_mut(id.0) {
            kind.is_asked = true;
        }
        id
    }

    pub(super) fn pattern(&self, id: KindId) -> &str {
        self.0.get(id.0).map_or("", |kind| &kind.pattern)
    }

    pub(super) fn all_asked(&self) -> BTreeSet<String> {
        self.0.iter().filter(|kind| kind.is_asked).map(|kind| kind.pattern.clone()).collect()
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self(vec![Kind { pattern: String::new(), is_asked: false, below: Vec::new() }])
    }
}

/// Whether a name stands in TOML without quotes.
fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// `listen[].certificate[]` -> `listen.certificate`, as it stands in a header.
pub(super) fn header_path(pattern: &str) -> String {
    pattern.replace("[]", "").replace('*', "NAME")
}
