//! Pure: what a route changes in a head by the operator's wish: remove, then set, then append.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes to a head, applied after our own fields, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Fields to take away.
    pub remove: Vec<HeaderName>,
    /// Fields that get exactly this value.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Lines to add beside those that are there.
    pub append: Vec<(HeaderName, HeaderValue)>,
}

impl Edits {
    /// Applies them.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.append {
            headers.append(name, value.clone());
        }
    }
}
