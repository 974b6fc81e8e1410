// SPDX-License-Identifier: GPL-3.0-or-later
//! `--env-file`: one `NAME=VALUE` a line, `#` for comments, as container engines read it.
//!
//! There is no quoting: what stands after the first `=` is the value, to the end of the line. A name alone takes its
//! value from the host.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::Variables;

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct EnvFileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it. Never shows the value.
    pub reason: &'static str,
}

/// Reads the text of a file. A name alone that the host does not have is left out.
pub fn parse(text: &[u8], host: &Variables) -> Result<Vec<(OsString, OsString)>, EnvFileError> {
    let mut entries = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        let fault = |reason| EnvFileError {
            line: index + 1,
            reason,
        };
        let (name, value) = match line.iter().position(|&byte| byte == b'=') {
            Some(equals) => (&line[..equals], Some(&line[equals + 1..])),
            None => (line, None),
        };
        check_name(name).map_err(fault)?;
        let name = OsString::from_vec(name.to_vec());
        let value = match value {
            Some(value) if value.contains(&0) => return Err(fault("the value holds a NUL byte")),
            Some(value) => OsString::from_vec(value.to_vec()),
            None => match host.get(&name) {
                Some(value) => value.clone(),
                None => continue,
            },
        };
        entries.push((name, value));
    }
    Ok(entries)
}

/// A name that the environment can carry and that is not a slip of the pen.
pub(crate) fn check_name(name: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("there is no name in front of the \"=\"");
    }
    if name.iter().any(|byte| byte.is_ascii_whitespace()) {
        return Err("the name holds white space");
    }
    if name.contains(&0) {
        return Err("the name holds a NUL byte");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Variables {
        Variables::from([("FROM_HOST".into(), "1".into())])
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let text = b"# comment\n\nA=1\r\nB=\"quoted\" # kept\nC=\nFROM_HOST\nNOT_THERE\nD=a=b";
        let pairs = parse(text, &host()).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "\"quoted\" # kept"),
            ("C", ""),
            ("FROM_HOST", "1"),
            ("D", "a=b"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, reason) in [
            (&b"A=1\n=2"[..], 2, "there is no name in front of the \"=\""),
            (b"export A=1", 1, "the name holds white space"),
            (b"\n\nA=\0", 3, "the value holds a NUL byte"),
            (b"A\0B=1", 1, "the name holds a NUL byte"),
        ] {
            assert_eq!(parse(text, &host()), Err(EnvFileError { line, reason }));
        }
    }
}
