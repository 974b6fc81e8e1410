// SPDX-License-Identifier: GPL-3.0-or-later
//! A log file line by line, also while it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};
use std::path::Path;

/// Longest line that is read. The writers' own lines are far shorter: a path is the longest part of them.
const MAX_LINE: usize = 256 * 1024;

/// The lines of a log. What has no line end yet is kept for later: writers write whole lines, so it is either about
/// to be completed or was torn off when its writer was killed.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    line: Vec<u8>,
    /// The line has been handed out.
    is_done: bool,
    is_too_long: bool,
    unreadable: u64,
}

impl Lines<BufReader<File>> {
    /// Of a file; none, if there is no such file.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self::new(BufReader::with_capacity(64 * 1024, file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of a file's last part, from the first line that begins there.
    pub fn open_end(path: &Path, bytes: u64) -> io::Result<Option<Self>> {
        let Some(mut lines) = Self::open(path)? else {
            return Ok(None);
        };
        let length = lines.source.get_ref().metadata()?.len();
        if length > bytes {
            // One byte earlier: a line that begins exactly there is whole.
            lines.source.seek(SeekFrom::Start(length - bytes - 1))?;
            lines.source.skip_until(b'\n')?;
        }
        Ok(Some(lines))
    }
}

impl<R: BufRead> Lines<R> {
    /// Of anything.
    pub fn new(source: R) -> Self {
        Self {
            source,
            line: Vec::new(),
            is_done: false,
            is_too_long: false,
            unreadable: 0,
        }
    }

    /// The next whole line, without its end; `None` if there is none for now.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        if self.is_done {
            self.line.clear();
            self.is_done = false;
        }
        loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available
                .get(..end.unwrap_or(available.len()))
                .unwrap_or_default();
            self.is_too_long |= self.line.len() + part.len() > MAX_LINE;
            if self.is_too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_none() {
                continue;
            }
            if std::mem::take(&mut self.is_too_long) {
                self.unreadable += 1;
            } else if !self.line.is_empty() {
                self.is_done = true;
                return Ok(Some(&self.line));
            }
        }
    }

    /// Calls `with` for each line that `parse` can read.
    pub fn for_each<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Option<T>,
        mut with: impl FnMut(T),
    ) -> io::Result<()> {
        while let Some(line) = self.next_line()? {
            match parse(line) {
                Some(parsed) => with(parsed),
                None => self.unreadable += 1,
            }
        }
        Ok(())
    }

    /// Lines that were passed over.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// One more line turned out not to be readable.
    pub fn pass_over(&mut self) {
        self.unreadable += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_is_whole_or_waits() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut lines = Lines::open(file.path()).unwrap().unwrap();
        assert_eq!(lines.next_line().unwrap(), None);
        file.write_all(b"one\n\ntw").unwrap();
        assert_eq!(lines.next_line().unwrap(), Some(&b"one"[..]));
        assert_eq!(lines.next_line().unwrap(), None);
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(lines.next_line().unwrap(), Some(&b"two"[..]));
        assert_eq!(lines.next_line().unwrap(), Some(&b"three"[..]));
        assert_eq!(lines.next_line().unwrap(), None);
        assert_eq!(lines.unreadable(), 0);
    }

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let mut text = vec![b'x'; 4 * MAX_LINE];
        text.extend_from_slice(b"\nshort\n");
        let mut lines = Lines::new(BufReader::new(&text[..]));
        assert_eq!(lines.next_line().unwrap(), Some(&b"short"[..]));
        assert!(lines.line.capacity() <= 2 * MAX_LINE);
        assert_eq!(lines.unreadable(), 1);
    }

    #[test]
    fn the_end_of_a_log_begins_with_a_whole_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        for (bytes, first) in [
            (6, "three"),
            (9, "three"),
            (10, "two"),
            (14, "one"),
            (99, "one"),
        ] {
            let mut lines = Lines::open_end(file.path(), bytes).unwrap().unwrap();
            assert_eq!(
                lines.next_line().unwrap(),
                Some(first.as_bytes()),
                "{bytes}"
            );
        }
    }

    #[test]
    fn a_missing_file_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(
            Lines::open(&directory.path().join("audit.jsonl"))
                .unwrap()
                .is_none()
        );
    }
}
