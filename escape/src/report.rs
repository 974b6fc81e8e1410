// SPDX-License-Identifier: GPL-3.0-or-later
//! The results, for a terminal and for the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::catalogue::{Attempt, Claims, Layer, Mode};
use crate::round::Way;
use crate::suite::{Results, Row};

/// The ways, as columns.
fn columns() -> Vec<Way> {
    let modes = Mode::ALL.into_iter().map(Way::Keyward);
    modes
        .chain(Layer::ALL.into_iter().map(Way::Alone))
        .collect()
}

/// One line a group, and one for each thing that is wrong.
#[must_use]
pub fn text(results: &Results) -> String {
    let mut text = format!("{:<14}{:>9}{:>10}", "group", "attempts", "controls");
    for way in columns() {
        text += &format!("{:>13}", way.name());
    }
    text.push('\n');
    for (name, rows) in by_group(&results.rows) {
        line(&mut text, name, &rows);
    }
    let all: Vec<_> = results.rows.iter().collect();
    line(&mut text, "all", &all);
    for row in &results.rows {
        for wrong in row.wrong() {
            text += &format!("{}: {}: {wrong}\n", row.attempt.id, row.attempt.tries);
        }
    }
    for place in &results.leaked {
        text += &format!("a secret arrived: {place}\n");
    }
    for process in &results.left {
        text += &format!("it outlived keyward: {process}\n");
    }
    let missing: Vec<_> = all
        .iter()
        .filter(|it| proves_nothing(it))
        .map(|it| &*it.attempt.id)
        .collect();
    if !missing.is_empty() {
        text += &format!(
            "this host cannot show what these do without the firewall: {}\n",
            missing.join(" ")
        );
    }
    text
}

fn proves_nothing(row: &Row) -> bool {
    let no_success = |it: &crate::suite::Outcome| it.success.is_none();
    row.attempt.depends.is_some() && row.control.as_ref().is_some_and(no_success)
}

/// Of those that were made this way: how many ended as they should.
fn line(text: &mut String, name: &str, rows: &[&Row]) {
    let controls: Vec<_> = rows.iter().filter_map(|it| it.control.as_ref()).collect();
    let good = controls.iter().filter(|it| it.success.is_some()).count();
    *text += &format!(
        "{name:<14}{:>9}{:>10}",
        rows.len(),
        format!("{good}/{}", controls.len())
    );
    for way in columns() {
        let made: Vec<_> = rows
            .iter()
            .filter(|it| it.ways.contains_key(&way))
            .collect();
        let stopped = made.iter().filter(|it| is_as_claimed(it, way)).count();
        let cell = if made.is_empty() {
            "-".to_owned()
        } else {
            format!("{stopped}/{}", made.len())
        };
        *text += &format!("{cell:>13}");
    }
    text.push('\n');
}

fn is_as_claimed(row: &Row, way: Way) -> bool {
    row.ways.get(&way).is_some_and(|it| {
        it.success.is_some() == row.attempt.residual.is_some() && it.faults.is_empty()
    })
}

fn by_group(rows: &[Row]) -> Vec<(&str, Vec<&Row>)> {
    let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match groups.last_mut() {
            Some((name, rows)) if *name == row.group.0 => rows.push(row),
            Some(_) | None => groups.push((&row.group.0, vec![row])),
        }
    }
    groups
}

/// A page of the documentation.
#[must_use]
pub fn markdown(results: &Results, kernel: &str) -> String {
    let mut page = String::from(
        "# Ways out, tried\n\n\
         `cargo xtask escape --write-docs` made this page from a run; `sudo keyward selftest` makes the same attempts on an\n\
         installed host. What each attempt is, and its program, is in `escape/attempts/`. An attempt counts as stopped\n\
         when nothing of it arrived on the wire, at a server outside, at a daemon of the host or in a file of the host's, and it\n\
         learned none of the secrets that lay about; what its program says does not count. Its control is the same program,\n\
         in the same place, by the same user, without keyward: there it must succeed. What it is told are words that it\n\
         printed (`made`: all seemed well to it), and what the logs say are all the reasons for which something of it was denied.\n\n",
    );
    let of = |way: Way| {
        results
            .rows
            .iter()
            .filter(|it| it.ways.contains_key(&way))
            .count()
    };
    let residual = results
        .rows
        .iter()
        .filter(|it| it.attempt.residual.is_some())
        .count();
    let controls = results.rows.iter().filter_map(|it| it.control.as_ref());
    let good = controls.filter(|it| it.success.is_some()).count();
    page += &format!(
        "{} attempts on Linux {kernel}; {good} with a control that succeeded. {} are not stopped, and are in\n\
         [SECURITY.md](../SECURITY.md) with what an attacker gains; none of the others got out:\n\n",
        results.rows.len(),
        residual,
    );
    page += "| how | attempts |\n|---|---|\n";
    for way in columns() {
        let how = match way {
            Way::Keyward(Mode::User) => "as an ordinary user, with a policy",
            Way::Keyward(Mode::Root) => "as root inside (`--user root`)",
            Way::Keyward(Mode::Closed) => "without a policy",
            Way::Alone(Layer::Ebpf) => "the eBPF programs alone, everything else off",
            Way::Alone(Layer::Nftables) => "nftables alone",
            Way::Alone(Layer::Namespace) => "a network namespace alone",
            Way::Alone(Layer::Pids) => "a pid namespace alone",
            Way::Alone(Layer::Ipc) => "an ipc namespace alone",
            Way::Alone(Layer::Capabilities) => {
                "no capability alone (as root, where it takes root without)"
            }
            Way::Control(_) => continue,
        };
        page += &format!("| {how} | {} |\n", of(way));
    }
    for (_, rows) in by_group(&results.rows) {
        page += &format!(
            "\n## {}\n\n| | tries | without keyward | stopped by | alone, too, by | is told | the logs say |\n|---|---|---|---|---|---|---|\n",
            rows[0].group.1
        );
        for row in rows {
            page += &cells(row);
        }
    }
    page
}

fn cells(row: &Row) -> String {
    let attempt = &row.attempt;
    let control = match (&attempt.no_control, &row.control, &attempt.depends) {
        (Some(why), ..) => why.clone(),
        (None, Some(control), _) if control.success.is_some() => "succeeds".to_owned(),
        (None, _, Some(on)) => format!("needs {on}"),
        (None, ..) => "not tried".to_owned(),
    };
    let stopped = match &attempt.residual {
        Some(gain) => format!("**not stopped.** {gain}"),
        None => attempt.stopped_by.clone(),
    };
    let alone: Vec<_> = attempt.alone.iter().map(|it| it.name()).collect();
    let mut line = format!("| {} ", attempt.id);
    for cell in [
        &attempt.tries,
        &control,
        &stopped,
        &alone.join(", "),
        &each_mode(attempt, |it| it.told),
        &each_mode(attempt, |it| it.logged),
    ] {
        // Writing to a string cannot fail.
        write!(line, "| {} ", cell.replace('|', "\\|")).ok();
    }
    line + "|\n"
}

/// What is claimed in the first mode, and in others, where that is something else.
fn each_mode(attempt: &Attempt, of: fn(Claims) -> Vec<String>) -> String {
    let mut cell = String::new();
    let mut first = None;
    for mode in &attempt.modes {
        let claimed = of(attempt.claims(*mode)).join(", ");
        match &first {
            None => cell.push_str(first.insert(claimed)),
            Some(first) if *first == claimed => {}
            Some(_) if claimed.is_empty() => cell += &format!("; {}: nothing", mode.name()),
            Some(_) => cell += &format!("; {}: {claimed}", mode.name()),
        }
    }
    cell
}

/// Everything that is wrong, by id; empty if nothing is.
#[must_use]
pub fn wrong(results: &Results) -> BTreeMap<String, Vec<String>> {
    let rows = results
        .rows
        .iter()
        .map(|it| (it.attempt.id.clone(), it.wrong()));
    let mut wrong: BTreeMap<_, _> = rows.filter(|(_, it)| !it.is_empty()).collect();
    if !results.leaked.is_empty() {
        wrong.insert("secrets".to_owned(), results.leaked.clone());
    }
    if !results.left.is_empty() {
        wrong.insert("processes".to_owned(), results.left.clone());
    }
    wrong
}
