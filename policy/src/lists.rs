// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of rules without any format: files of `--allow-domains-file`, and flags' values.
//!
//! One rule a line, or several with commas between them. `#` begins a comment at a line's start or behind a space.

use crate::{
    Entry, Fault,
    file::{Item, item},
    rule::List,
    text::Text,
};

/// Reads such a file. Blank lines and commas at a line's end are fine.
pub(crate) fn file(text: &Text<'_>, list: List, faults: &mut Vec<Fault>) -> Vec<Item> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.text().split_inclusive('\n') {
        let rules = without_comment(line);
        let mut pieces = pieces(rules).peekable();
        let mut column = 0;
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            let blank = piece.trim().is_empty();
            // Nothing between two commas is a rule that was forgotten.
            if !(blank && last) {
                found.extend(one(text, at + column, piece, list, faults));
            }
            column += piece.len() + 1;
        }
        at += line.len();
    }
    found
}

/// Reads a flag's value.
pub(crate) fn flag(text: &Text<'_>, list: List, faults: &mut Vec<Fault>) -> Vec<Item> {
    // `--allow-domains ""` is an empty list, which allows nothing.
    if text.text().trim().is_empty() {
        return Vec::new();
    }
    let mut at = 0;
    let mut found = Vec::new();
    for piece in pieces(text.text()) {
        found.extend(one(text, at, piece, list, faults));
        at += piece.len() + 1;
    }
    found
}

fn pieces(text: &str) -> std::str::Split<'_, char> {
    text.split(',')
}

fn without_comment(line: &str) -> &str {
    let mut before = None;
    for (at, it) in line.char_indices() {
        if it == '#' && before.is_none_or(char::is_whitespace) {
            return &line[..at];
        }
        before = Some(it);
    }
    line
}

fn one(
    text: &Text<'_>,
    at: usize,
    piece: &str,
    list: List,
    faults: &mut Vec<Fault>,
) -> Option<Item> {
    let start = piece.len() - piece.trim_start().len();
    let rule = piece.trim().to_owned();
    let start = if rule.is_empty() { 0 } else { start };
    let entry = Entry {
        rule,
        ..Entry::default()
    };
    item(text, at + start, entry, list, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(items: Vec<Item>) -> Vec<String> {
        let shown = |it| match it {
            Item::Rule(Entry { rule, origin, .. }) => format!("{origin} {rule}"),
            Item::Reference(it) => format!("{} {}", it.place.origin, it.text),
        };
        items.into_iter().map(shown).collect()
    }

    #[test]
    fn a_file_has_rules_lines_and_comments() {
        let text = "# all of it\r\ngithub.com # the host\r\n\r\n  example.com, b\u{fc}cher.example,group:x,\n*.example.org#\n  # end";
        let mut faults = Vec::new();
        let found = file(&Text::file("d.txt", text), List::Allow, &mut faults);
        assert_eq!(
            rules(found),
            [
                "d.txt:2:1 github.com",
                "d.txt:4:3 example.com",
                "d.txt:4:16 b\u{fc}cher.example",
                "d.txt:4:31 group:x",
            ]
        );
        let faults: Vec<_> = faults.iter().map(|it| it.origin.to_string()).collect();
        assert_eq!(faults, ["d.txt:5:14"]);
    }

    #[test]
    fn a_flag_has_columns() {
        let mut faults = Vec::new();
        let text = Text::flag("--allow-domains", "a.test, b.test:22,,c d");
        let found = flag(&text, List::Allow, &mut faults);
        assert_eq!(rules(found).len(), 2);
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(faults.join("\n"), @r"
        --allow-domains, character 19: the rule is empty
         |
         | a.test, b.test:22,,c d
         |                   ^
         = hint: leave it out: an empty list allows nothing
        --allow-domains, character 21: a space in a rule
         |
         | a.test, b.test:22,,c d
         |                     ^
         = hint: write one name, without spaces
        ");
    }
}
