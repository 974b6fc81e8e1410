// SPDX-License-Identifier: MIT OR Apache-2.0
//! Days as people count them, and times as they write them. Pure.

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`, for days from then on).
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The way back, of days that there are.
fn day(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted = (month + 9) % 12;
    let year_of_march = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year_of_march / 400, year_of_march % 400);
    let day_of_year = ((153 * shifted + 2) / 5 + day).checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Seconds from 1970 to a time such as `2030-01-01T00:00:00Z` or `2030-01-01T02:00:00.5+02:00` (RFC 3339). The fraction is
/// left out.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let number = |from: usize, length: usize| {
        let digits = text.get(from..from + length)?;
        let plain = digits.bytes().all(|it| it.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)
    };
    let marks = [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")];
    let is_marked = |(at, any): (usize, &str)| {
        let mark = text.get(at..=at);
        mark.is_some_and(|it| any.contains(it))
    };
    let days = day(number(0, 4)?, number(5, 2)?, number(8, 2)?)?;
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    // A minute may have a leap second.
    if !marks.into_iter().all(is_marked) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days * 86_400 + hour * 3600 + minute * 60 + second;
    let mut zone = text.get(19..)?;
    if let Some(fraction) = zone.strip_prefix('.') {
        zone = fraction.trim_start_matches(|it: char| it.is_ascii_digit());
        if zone.len() == fraction.len() {
            return None;
        }
    }
    if zone.eq_ignore_ascii_case("Z") {
        return Some(local);
    }
    let at = text.len().checked_sub(6)?;
    let offset = number(at + 1, 2)? * 3600 + number(at + 4, 2)? * 60;
    match (zone.len(), zone.as_bytes()) {
        (6, [b'+', _, _, b':', ..]) => local.checked_sub(offset),
        (6, [b'-', _, _, b':', ..]) => Some(local + offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_civil() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_780, (2026, 11, 23)),
        ] {
            assert_eq!(civil(days), date);
            assert_eq!(day(date.0, date.1, date.2), Some(days));
        }
        for (year, month, of_month) in [(2023, 2, 29), (2024, 4, 31), (2024, 13, 1), (1969, 12, 31)]
        {
            assert_eq!(day(year, month, of_month), None);
        }
    }

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:34:56Z", 1_709_210_096),
            ("2024-02-29T12:34:56.789Z", 1_709_210_096),
            ("2024-02-29t14:34:56.7+02:00", 1_709_210_096),
            ("2024-02-29 05:04:56-07:30", 1_709_210_096),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "2024-02-29",
            "2024-02-29T12:34:56",
            "2024-02-30T12:34:56Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T12:34:56.Z",
            "2024-02-29T12:34:56+0200",
            "2024-02-29T12:34:56+02:00 ",
            "2024-02-29T12:34:56Zz",
            "2024-02-29T12.34:56Z",
            "+024-02-29T12:34:56Z",
            "2024-02-29T12:34:5\u{e9}Z",
            "1709210096",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
