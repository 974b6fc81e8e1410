// SPDX-License-Identifier: GPL-3.0-or-later
//! The demonstration in words. Colour says nothing that the words do not.

use std::fmt::Write as _;

use serde_json::Value;

use super::Show;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    coloured: bool,
}

impl Palette {
    /// With colours or without.
    #[must_use]
    pub fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn title(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn quiet(self, text: &str) -> String {
        self.paint("2", text)
    }
}

impl Show {
    /// The whole of it.
    #[must_use]
    pub fn render(&self, palette: &Palette) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        self.sections(*palette, &mut out).ok();
        out
    }

    fn sections(&self, palette: Palette, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n{}\n", palette.title("1  What the agent sees"))?;
        for (name, value) in self.sights() {
            writeln!(out, "   {name:<16} {value}")?;
        }
        writeln!(out, "\n{}\n", palette.title("2  It asks its model"))?;
        let field = |key: &str| self.asked[key].as_str().unwrap_or_default().to_owned();
        writeln!(out, "   {:<16} POST {}", "the agent sends", field("asked"))?;
        writeln!(out, "   {:<16} Authorization: {}", "", field("sent"))?;
        for header in &self.received {
            let header = palette.good(&format!("Authorization: {header}"));
            writeln!(out, "   {:<16} {header}", "OpenAI receives")?;
        }
        writeln!(out, "   {:<16} \"{}\"", "the agent hears", field("answer"))?;
        writeln!(
            out,
            "\n{}\n",
            palette.title("3  It tries to get something out")
        )?;
        let head = format!("   {:<46} {:<16} {}", "", "without keyward", "with keyward");
        writeln!(out, "{}", palette.quiet(&head))?;
        for attempt in &self.attempts {
            let without = match attempt.got_out_without {
                Some(true) => palette.bad(&format!("{:<16}", "gets out")),
                Some(false) => format!("{:<16}", "fails"),
                None => palette.quiet(&format!("{:<16}", "-")),
            };
            let (told, milliseconds) = (&attempt.told, attempt.milliseconds);
            let with = if attempt.got_out_with {
                palette.bad("GOT OUT")
            } else {
                palette.good(&format!("blocked after {milliseconds} ms: {told}"))
            };
            let reason = palette.quiet(&format!("({})", attempt.reason));
            writeln!(out, "   {:<46} {without} {with} {reason}", attempt.words)?;
        }
        writeln!(
            out,
            "\n{}\n",
            palette.title("4  What keyward says at the end")
        )?;
        for line in self.report.lines() {
            writeln!(out, "   {line}")?;
        }
        let verdict = if self.went_well() {
            palette.good("The provider got the real key, the agent never did, and nothing else got anywhere.")
        } else {
            palette.bad("Something went wrong: this is not how it should look.")
        };
        writeln!(out, "\n   {verdict}\n")
    }

    fn sights(&self) -> Vec<(String, String)> {
        let list = |key: &str| {
            let Some(items) = self.saw[key].as_array() else {
                return plain(&self.saw[key]);
            };
            let items: Vec<_> = items.iter().map(plain).collect();
            if items.is_empty() {
                "none".to_owned()
            } else {
                items.join(", ")
            }
        };
        let mut sights = vec![
            ("user".to_owned(), list("user")),
            ("capabilities".to_owned(), list("capabilities")),
            ("interfaces".to_owned(), list("interfaces")),
            ("routes".to_owned(), list("routes")),
            (
                "processes".to_owned(),
                format!("{} (its own)", list("processes")),
            ),
        ];
        for (name, value) in self.saw["environment"].as_object().into_iter().flatten() {
            sights.push((name.clone(), plain(value)));
        }
        sights
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
