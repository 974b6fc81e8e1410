// SPDX-License-Identifier: GPL-3.0-or-later
//! Numbers as people read them.

/// `980 B`, `1.2 kB`, `34 MB`.
pub fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let mut units = ["kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    // Two digits are shown, and an f64 has fifteen.
    let (mut unit, mut value) = (units.next().unwrap_or_default(), count as f64 / 1000.0);
    for next in units {
        // What would be written as 1000 goes to the next unit.
        if value < 999.5 {
            break;
        }
        (unit, value) = (next, value / 1000.0);
    }
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// `0.3 ms`, `812 ms`, `3.0 s`, `4 min 10 s`, `2 h 5 min`.
pub fn milliseconds(span: f64) -> String {
    if span < 10.0 {
        format!("{span:.1} ms")
    } else if span < 999.5 {
        format!("{span:.0} ms")
    } else if span < 59_950.0 {
        format!("{:.1} s", span / 1000.0)
    } else {
        let seconds = (span / 1000.0).round();
        let (hours, minutes) = (
            (seconds / 3600.0).floor(),
            (seconds % 3600.0 / 60.0).floor(),
        );
        if hours >= 1.0 {
            format!("{hours} h {minutes} min")
        } else {
            format!("{minutes} min {} s", seconds % 60.0)
        }
    }
}

/// `1 host`, `2 hosts`, `2 processes`.
pub fn counted(count: u64, one: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else if one.ends_with('s') {
        format!("{count} {one}es")
    } else {
        format!("{count} {one}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1234, "1.2 kB"),
            (34_567, "35 kB"),
            (9_940, "9.9 kB"),
            (9_960, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (18_446_744_073_709_551_615, "18 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (span, text) in [
            (0.31, "0.3 ms"),
            (812.4, "812 ms"),
            (3001.2, "3.0 s"),
            (59_990.0, "1 min 0 s"),
            (250_000.0, "4 min 10 s"),
            (7_500_000.0, "2 h 5 min"),
        ] {
            assert_eq!(milliseconds(span), text);
        }
        assert_eq!(
            (counted(1, "host"), counted(2, "host")),
            ("1 host".into(), "2 hosts".into())
        );
    }
}
