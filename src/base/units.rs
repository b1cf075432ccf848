//! Durations and sizes as people write them: `"30s"`, `"1MiB"`. Text in, value out; no defaults.

use std::time::Duration;

/// What `duration` takes, for error messages.
pub const DURATION_FORMS: &str = r#"a number with a unit: "500ms", "10s", "5m", "2h", "1d""#;

/// What `size` takes, for error messages.
pub const SIZE_FORMS: &str = r#"a number with a unit: "64KiB", "1MiB", "5GiB", "10MB", or bytes: "4096B""#;

/// Reads `"500ms"`, `"10s"`, `"1.5m"`, `"2h"`, `"1d"`. `None` for anything else; no bare numbers,
/// because nobody can tell seconds from milliseconds by looking.
///
/// ```
/// use spliceway::base::units::duration;
/// assert_eq!(duration("1.5s"), Some(std::time::Duration::from_millis(1500)));
/// assert_eq!(duration("10"), None);
/// ```
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    // A century is longer than any process lives; it keeps sums of instants from overflowing.
    let total = number * seconds;
    (total <= 3.2e9).then(|| Duration::from_secs_f64(total))
}

/// Reads `"4096B"`, `"64KiB"`, `"1MiB"`, `"5GiB"`, `"10kB"`, `"10MB"`. Powers of 1024 have the `i`.
///
/// ```
/// use spliceway::base::units::size;
/// assert_eq!(size("1MiB"), Some(1 << 20));
/// assert_eq!(size("10 MB"), Some(10_000_000));
/// ```
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked against 2^53 before
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        _ => return None,
    };
    #[allow(clippy::cast_precision_loss)] // factors are far below 2^53
    let total = number * factor as f64;
    (total < 9e15).then_some(total as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_unit_or_no_number_is_refused() {
        for text in ["", "10", "s", "10 sec", "-1s", "1e3s", "1..2s", "99999999999d", "١s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "10", "MiB", "1mib", "-1MiB", "9999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
