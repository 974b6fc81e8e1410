// SPDX-License-Identifier: GPL-3.0-or-later
//! Columns of text.

use std::fmt::Write as _;

/// Widest column; a longer cell pushes its row out of line rather than all of them.
const MAX_WIDTH: usize = 48;

/// Rows of cells under a heading each.
#[derive(Debug)]
pub(super) struct Table {
    /// Numbers stand to the right.
    columns: &'static [(&'static str, Align)],
    rows: Vec<Vec<String>>,
}

/// On which side cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(columns: &'static [(&'static str, Align)]) -> Self {
        let rows = Vec::new();
        Self { columns, rows }
    }

    /// Adds a row. Cells are safe to print already.
    pub(super) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The table as text.
    pub(super) fn text(&self) -> String {
        let heads: Vec<_> = self
            .columns
            .iter()
            .map(|(head, _)| (*head).to_owned())
            .collect();
        let widths: Vec<_> = (0..heads.len()).map(|at| self.width(&heads, at)).collect();
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(self.columns) {
                // Writing into memory does not fail.
                match align {
                    Align::Left => write!(line, "{cell:width$}  "),
                    Align::Right => write!(line, "{cell:>width$}  "),
                }
                .unwrap_or_default();
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn width(&self, heads: &[String], at: usize) -> usize {
        let cells = self.rows.iter().map(Vec::as_slice).chain([heads]);
        let widths = cells
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count());
        widths
            .filter(|width| *width <= MAX_WIDTH)
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let mut table = Table::new(&[("HOST", Align::Left), ("N", Align::Right)]);
        table.add(vec!["a".to_owned(), "1".to_owned()]);
        table.add(vec!["bcdef".to_owned(), "100".to_owned()]);
        table.add(vec!["x".repeat(60), "7".to_owned()]);
        let long = "x".repeat(60);
        assert_eq!(
            table.text(),
            format!("HOST     N\na        1\nbcdef  100\n{long}    7\n")
        );
    }
}
