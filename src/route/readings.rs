//! Pure: what lenient backends make of a path: the signs they differ about, and every combination of
//! choices about them. What is done about a difference is the table's.

use super::PathError;
use super::path::{hex, resolve};

/// Bytes that all readings of one path may come to. Seldom more than two signs of [`Signs`] meet in a
/// path, so 256 KiB is far above what is sent in earnest and a millisecond or two of work.
const READINGS_BUDGET: usize = 256 << 10;

/// A set of signs in a path that backends differ about; or of choices made about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signs(u8);

impl Signs {
    pub(super) const NONE: Self = Self(0);
    const ESCAPED_SLASH: Self = Self(1);
    const ESCAPED_BACKSLASH: Self = Self(1 << 1);
    const BACKSLASH: Self = Self(1 << 2);
    const PARAMETERS: Self = Self(1 << 3);
    const DOUBLE_SLASH: Self = Self(1 << 4);
    const ESCAPED_DELIMITER: Self = Self(1 << 5);
    /// Only a choice: parameters are cut after escapes were decoded too, that of `;` among them.
    const PARAMETERS_LAST: Self = Self(1 << 6);
    const SLASHES: Self = Self(0b111);

    /// The signs of a path whose escapes are in upper case.
    pub(super) fn of(path: &str) -> Self {
        let mut signs = Self::NONE;
        let mut bytes = path.as_bytes();
        while let [byte, rest @ ..] = bytes {
            signs.0 |= match (byte, rest) {
                (b'\\', _) => Self::BACKSLASH.0,
                (b';', _) => Self::PARAMETERS.0,
                (b'/', [b'/', ..]) => Self::DOUBLE_SLASH.0,
                (b'%', [b'2', b'F', ..]) => Self::ESCAPED_SLASH.0,
                (b'%', [b'5', b'C', ..]) => Self::ESCAPED_BACKSLASH.0,
                (b'%', [b'3', b'B', ..]) => Self::ESCAPED_DELIMITER.0 | Self::PARAMETERS.0,
                (b'%', [high, low, ..]) if escaped_delimiter(*high, *low).is_some() => Self::ESCAPED_DELIMITER.0,
                _ => 0,
            };
            bytes = rest;
        }
        signs
    }

    /// Every reading but the strict one, see [`super::Normal::readings`].
    pub(super) fn readings(self, decoded: &str) -> impl Iterator<Item = Result<String, PathError>> {
        let choices = self.choices();
        let affordable = choices.count().saturating_mul(decoded.len()) <= READINGS_BUDGET;
        let refusal = (!affordable).then_some(Err(PathError::Ambiguous));
        let readings = affordable.then(|| choices.subsets().map(|choice| choice.read(decoded)));
        refusal.into_iter().chain(readings.into_iter().flatten())
    }

    fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What can be chosen about these signs.
    fn choices(mut self) -> Self {
        if self != Self::NONE && self != Self::ESCAPED_DELIMITER {
            // Each of the others can leave two slashes side by side.
            self.0 |= Self::DOUBLE_SLASH.0;
        }
        if self.has_any(Self(Self::SLASHES.0 | Self::ESCAPED_DELIMITER.0)) && self.has_any(Self::PARAMETERS) {
            self.0 |= Self::PARAMETERS_LAST.0;
        }
        self
    }

    fn count(self) -> usize {
        (1 << self.0.count_ones()) - 1
    }

    /// All subsets but the empty one, which is the strict reading.
    fn subsets(self) -> impl Iterator<Item = Self> {
        let smaller = move |chosen: &Self| Some(Self(chosen.0.wrapping_sub(1) & self.0));
        std::iter::successors(Some(self), smaller).take_while(|chosen| *chosen != Self::NONE)
    }

    /// The path as a backend that makes these choices reads it.
    fn read(self, decoded: &str) -> Result<String, PathError> {
        let mut path = decoded.to_owned();
        if self.has_any(Self::PARAMETERS) {
            path = without_parameters(&path);
        }
        for (choice, spelling) in [(Self::ESCAPED_SLASH, "%2F"), (Self::ESCAPED_BACKSLASH, "%5C"), (Self::BACKSLASH, "\\")] {
            if self.has_any(choice) {
                path = path.replace(spelling, "/");
            }
        }
        if self.has_any(Self::ESCAPED_DELIMITER) {
            path = with_delimiters(&path);
        }
        if self.has_any(Self::PARAMETERS_LAST) {
            path = without_parameters(&path);
        }
        if self.has_any(Self::DOUBLE_SLASH) {
            path = with_single_slashes(&path);
        }
        Ok(resolve(&path)?.unwrap_or(path))
    }
}

fn without_parameters(path: &str) -> String {
    let mut inside = false;
    let mut cut = path.to_owned();
    cut.retain(|c| {
        inside = c == ';' || (inside && c != '/');
        !inside
    });
    cut
}

fn with_single_slashes(path: &str) -> String {
    let mut before = None;
    let mut merged = path.to_owned();
    merged.retain(|c| before.replace(c) != Some('/') || c != '/');
    merged
}

fn with_delimiters(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let delimiter = match piece.as_bytes() {
            [high, low, ..] => escaped_delimiter(*high, *low),
            _ => None,
        };
        if let Some((delimiter, rest)) = delimiter.zip(piece.get(2..)) {
            result.push(delimiter);
            result.push_str(rest);
        } else {
            result.push('%');
            result.push_str(piece);
        }
    }
    result
}

/// The delimiters that stand in a path as they are (RFC 3986 3.3): servers decode them before they look.
fn escaped_delimiter(high: u8, low: u8) -> Option<char> {
    let byte = hex(std::str::from_utf8(&[high, low]).ok()?)?;
    b"!$&'()*+,;=:@".contains(&byte).then(|| char::from(byte))
}
