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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_can_be_set_and_what_is_set_can_be_added_to() {
        let field = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        for (name, value) in
            [field("x-gone", "1"), field("x-gone", "2"), field("x-set", "1"), field("x-set", "2"), field("vary", "a")]
        {
            headers.append(name, value);
        }
        let edits = Edits {
            remove: vec![HeaderName::from_static("x-gone"), HeaderName::from_static("x-set")],
            set: vec![field("x-set", "3")],
            append: vec![field("x-set", "4"), field("vary", "b")],
        };
        edits.apply(&mut headers);
        let lines = |name: &str| headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((lines("x-gone"), lines("x-set"), lines("vary")), (vec![], vec!["3", "4"], vec!["a", "b"]));
    }
}
