// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results as Markdown: a row a quantity, a column a contestant, medians over the rounds with their spread; then what
//! ours is in terms of each peer's, in the same way.

use std::fmt::Write;

use crate::stats::Summary;

/// A quantity, and what each contestant has of it, in the order of the columns.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Digits after the point.
    pub(crate) digits: usize,
    pub(crate) cells: Vec<Option<Summary>>,
}

/// The tables. `ours`: the columns that are keyward; the others are its peers.
pub(crate) fn markdown(columns: &[&str], ours: &[usize], rows: &[Row]) -> String {
    let mut text = String::new();
    let head = |names: &[String]| {
        let rules = "---:|".repeat(names.len());
        format!("| | {} |\n|---|{rules}\n", names.join(" | "))
    };
    let names: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    text += &head(&names);
    for row in rows {
        let cells = row
            .cells
            .iter()
            .map(|cell| format!(" {} |", shown(cell.as_ref(), row.digits)));
        // Writing to a string does not fail.
        writeln!(text, "| {} |{}", row.name, cells.collect::<String>()).ok();
    }
    let pairs: Vec<(usize, usize)> = ours
        .iter()
        .flat_map(|&our| (0..columns.len()).map(move |peer| (our, peer)))
        .filter(|(_, peer)| !ours.contains(peer))
        .collect();
    let names: Vec<String> = pairs
        .iter()
        .map(|&(our, peer)| format!("{} ÷ {}", columns[our], columns[peer]))
        .collect();
    text.push('\n');
    text += &head(&names);
    for row in rows {
        let cells = pairs
            .iter()
            .map(|&(our, peer)| format!(" {} |", ratio(row, our, peer)));
        writeln!(text, "| {} |{}", row.name, cells.collect::<String>()).ok();
    }
    text
}

fn shown(cell: Option<&Summary>, digits: usize) -> String {
    match cell {
        Some(Summary {
            median,
            min,
            max,
            samples,
            ..
        }) if samples.len() > 1 => {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
        Some(Summary { median, .. }) if median.is_finite() => format!("{median:.digits$}"),
        Some(_) | None => String::new(),
    }
}

/// Round by round, so that what the machine does to everybody in a round makes no difference between them. Differences
/// that may be nothing or less have no ratio of their own: there it is that of the medians.
fn ratio(row: &Row, our: usize, peer: usize) -> String {
    let cell = |column: usize| row.cells.get(column)?.as_ref();
    let (Some(our), Some(peer)) = (cell(our), cell(peer)) else {
        return String::new();
    };
    let paired = our.samples.len() == peer.samples.len();
    if paired && peer.samples.iter().all(|it| *it > 0.0) {
        let pairs = our.samples.iter().zip(&peer.samples);
        let ratios = Summary::new(pairs.map(|(our, peer)| our / peer).collect());
        return shown(Some(&ratios), 2);
    }
    match peer.median > 0.0 {
        true => format!("{:.2}", our.median / peer.median),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_their_spread_and_ours_in_terms_of_each_peer() {
        let rows = [Row {
            name: "things/s".to_owned(),
            digits: 1,
            cells: vec![
                Some(Summary::new(vec![2.0, 4.0, 3.0])),
                None,
                Some(Summary::new(vec![0.0, 1.0, 1.0])),
                Some(Summary::new(vec![3.0, 4.0, 9.0])),
            ],
        }];
        assert_eq!(
            markdown(&["peer", "other", "idle", "ours"], &[3], &rows),
            "| | peer | other | idle | ours |\n\
             |---|---:|---:|---:|---:|\n\
             | things/s | 3.0 (2.0–4.0) |  | 1.0 (0.0–1.0) | 4.0 (3.0–9.0) |\n\
             \n\
             | | ours ÷ peer | ours ÷ other | ours ÷ idle |\n\
             |---|---:|---:|---:|\n\
             | things/s | 1.50 (1.00–3.00) |  | 4.00 |\n"
        );
    }
}
