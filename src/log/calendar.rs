//! Pure: a moment as RFC 3339 writes it, in UTC.

use std::fmt::{self, Write};

const DAY: u64 = 86_400;

/// Writes the second that lies so many after 1970, up to where its fraction begins: `2026-11-26T15:52:41`.
pub(super) fn write_second(out: &mut impl Write, since_1970: u64) -> fmt::Result {
    let (day, second) = (since_1970 / DAY, since_1970 % DAY);
    let (year, month, day) = date(day);
    write!(out, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// The date of the day that lies so many after the first of 1970. Years are counted from March, so that the day which
/// leap years have more is the last; and from the year 0, so that all eras of 400 years are alike.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from the first of March of the year 0
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // months from March on have 153 days in five
    let (day, year) = (day - (153 * month + 2) / 5 + 1, era * 400 + year);
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u64) -> String {
        let mut text = String::new();
        write_second(&mut text, at).unwrap();
        text
    }

    #[test]
    fn seconds_are_those_of_the_calendar() {
        assert_eq!(second(0), "1970-01-01T00:00:00");
        assert_eq!(second(951_782_399), "2000-02-28T23:59:59");
        assert_eq!(second(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(second(1_795_708_361), "2026-11-26T15:52:41");
        assert_eq!(second(4_107_542_400), "2100-03-01T00:00:00"); // no leap year
        assert_eq!(second(253_402_300_799), "9999-12-31T23:59:59");
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_day_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for days in 0..292_194 {
            assert_eq!(date(days), expected);
            let (year, month, day) = expected;
            expected = match (day == length(year, month), month == 12) {
                (false, _) => (year, month, day + 1),
                (true, false) => (year, month + 1, 1),
                (true, true) => (year + 1, 1, 1),
            };
        }
    }
}
