// SPDX-License-Identifier: MIT OR Apache-2.0
//! The request log: one JSON line a request.
//!
//! A line holds what was decided and how long it took, and nothing that a request carried besides its
//! method and path: no query, no header value but the request's identifier. Lines are put together in
//! memory and written by a thread, which begins with the first of them, so that a slow disk or a full pipe
//! delays no request; when the reader is so slow that `MOST_PENDING` bytes wait, or the disk is full, lines are
//! dropped and counted, and a line says how many as soon as one can be written.

mod line;
mod record;
mod tokens;

use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

pub(crate) use self::{line::Line, record::Record};

/// Most bytes that wait to be written.
const MOST_PENDING: usize = 4 * 1024 * 1024;

/// Room that is kept for further lines: for what a busy gateway writes at once.
const MOST_KEPT: usize = 256 * 1024;

/// How long lines may wait for company. Short enough for someone who watches.
const GATHER: Duration = Duration::from_millis(50);

/// So many bytes are company enough: some hundred lines, which are in the cache still.
const ENOUGH: usize = 64 * 1024;

/// Where lines go.
#[derive(Clone, Debug)]
pub struct RequestLog(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    file: File,
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    lost: u64,
    /// Whether there is a thread.
    begun: bool,
    /// With how many bytes the thread is woken. `None`: it is awake.
    wakes_at: Option<usize>,
    /// Whether bytes were taken and not yet written.
    writing: bool,
    /// Whether someone waits for everything to be written.
    hurry: bool,
}

impl RequestLog {
    /// A log that nobody reads.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A log into `file`, written by a thread of its own.
    #[must_use]
    pub fn to(file: File) -> Self {
        Self(Some(Arc::new(Shared {
            file,
            pending: Mutex::default(),
            changed: Condvar::new(),
        })))
    }

    /// Adds one line.
    pub(crate) fn add(&self, write: impl FnOnce(&mut Line<'_>)) {
        self.add_timed("time", write);
    }

    /// Adds one line whose time is in a field of this name.
    pub(crate) fn add_timed(&self, time: &str, write: impl FnOnce(&mut Line<'_>)) {
        let Some(shared) = &self.0 else { return };
        let mut pending = shared.lock();
        if pending.bytes.len() >= MOST_PENDING {
            pending.lost += 1;
            return;
        }
        write(&mut Line::new(&mut pending.bytes, time));
        pending.bytes.extend_from_slice(b"}\n");
        shared.wake(&mut pending);
    }

    /// Counts a line that is not written.
    pub(crate) fn lose(&self) {
        let Some(shared) = &self.0 else { return };
        let mut pending = shared.lock();
        pending.lost += 1;
        shared.wake(&mut pending);
    }

    /// Waits until everything is written, but not longer than `most`.
    pub fn flush(&self, most: Duration) {
        let Some(shared) = &self.0 else { return };
        let mut pending = shared.lock();
        pending.hurry = true;
        pending.wakes_at = None;
        shared.changed.notify_all();
        let unfinished = |it: &mut Pending| it.writing || it.lost > 0 || !it.bytes.is_empty();
        // Poisoned or late: either way there is no more to wait for.
        drop(shared.changed.wait_timeout_while(pending, most, unfinished));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look at what there is.
    fn wake(self: &Arc<Self>, pending: &mut Pending) {
        if pending.wakes_at.is_some_and(|it| pending.bytes.len() >= it) {
            pending.wakes_at = None;
            self.changed.notify_all();
        }
        if !pending.begun {
            let writer = Arc::clone(self);
            let thread = thread::Builder::new().name("log".to_owned());
            match thread.spawn(move || writer.write_to(&writer.file)) {
                Ok(_detached) => pending.begun = true,
                // What waits is not lost: the next line tries again.
                Err(error) => tracing::error!(%error, "no thread to write a log"),
            }
        }
    }

    fn write_to(&self, mut file: impl Write) {
        let mut batch = Vec::new();
        // What could not be written, and whether the last of it was begun: the next line is not to follow half of one.
        let (mut failed, mut torn) = (0, false);
        loop {
            let mut pending = self.lock();
            while pending.bytes.is_empty() && pending.lost == 0 {
                pending.wakes_at = Some(0);
                pending = self
                    .changed
                    .wait(pending)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if !pending.hurry {
                pending.wakes_at = Some(ENOUGH);
                let asleep = |it: &mut Pending| it.wakes_at.is_some();
                let waited = self.changed.wait_timeout_while(pending, GATHER, asleep);
                pending = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            pending.wakes_at = None;
            if torn {
                batch.push(b'\n');
            }
            let first = batch.len();
            match batch.is_empty() {
                // Both keep their room, so that neither grows anew each time.
                true => std::mem::swap(&mut batch, &mut pending.bytes),
                false => batch.append(&mut pending.bytes),
            }
            let lost = std::mem::take(&mut pending.lost) + failed;
            let before = batch.len();
            if lost > 0 {
                let mut line = Line::new(&mut batch, "time");
                line.text("event", "lines_lost");
                line.number("lines", lost);
                batch.extend_from_slice(b"}\n");
            }
            pending.writing = true;
            drop(pending);
            let (written, error) = write_all(&mut file, &batch);
            if let Some(error) = error {
                tracing::error!(%error, lines_bytes = batch.len() - written, "log not written");
                let missing = batch.get(written.max(first)..before).unwrap_or_default();
                failed = lost + lines(missing);
                torn = match written.checked_sub(1) {
                    Some(last) => batch.get(last) != Some(&b'\n'),
                    None => torn,
                };
            } else {
                (failed, torn) = (0, false);
            }
            batch.clear();
            // A burst is no reason to keep its memory.
            batch.shrink_to(MOST_KEPT);
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }
}

/// How many lines end in these bytes.
fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Writes everything, also where the reader's end made the file non-blocking for both. Returns how much, and what kept
/// it from the rest.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|it| !it.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(GATHER),
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    /// A disk that has room for so many bytes, until somebody makes more.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*room - written.len());
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_lines_which_are_counted_when_there_is_room_again() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), 150))));
        let pending = Pending {
            begun: true,
            ..Pending::default()
        };
        let shared = Arc::new(Shared {
            file: tempfile::tempfile().unwrap(),
            pending: Mutex::new(pending),
            changed: Condvar::new(),
        });
        let log = RequestLog(Some(Arc::clone(&shared)));
        let target = disk.clone();
        thread::spawn(move || shared.write_to(target));
        for number in 0..20 {
            log.add(|line| line.number("number", number));
            log.flush(Duration::from_secs(10));
        }
        let begun = disk.text();
        let whole = lines(begun.as_bytes());
        assert!(whole > 0 && !begun.ends_with('\n'), "{begun}");
        disk.0.lock().unwrap().1 = 10_000;
        log.add(|line| line.number("number", 20));
        log.flush(Duration::from_secs(10));
        let text = disk.text();
        let parse = |line| serde_json::from_str::<serde_json::Value>(line).ok();
        let read: Vec<_> = text.lines().filter_map(parse).collect();
        // All but the one that was begun can be read, and what is missing is said.
        assert_eq!(read.len() + 1, text.lines().count(), "{text}");
        let [.., last, lost] = &read[..] else {
            panic!("{text}")
        };
        assert_eq!(last["number"], 20, "{text}");
        assert_eq!(lost["event"], "lines_lost", "{text}");
        assert_eq!(lost["lines"], 20 - whole, "{text}");
    }

    #[test]
    fn lines_are_json_and_arrive() {
        let mut file = tempfile::tempfile().unwrap();
        let log = RequestLog::to(file.try_clone().unwrap());
        for number in 0..100 {
            log.add(|line| {
                line.text("text", "a\"b\\c\n\u{1}é\u{7f}");
                line.number("number", number);
                line.milliseconds("ms", Duration::from_micros(1_234_567));
            });
        }
        log.flush(Duration::from_secs(10));
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 100);
        for (number, line) in text.lines().enumerate() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["text"], "a\"b\\c\n\u{1}é\u{7f}");
            assert_eq!(line["number"], number);
            assert_eq!(line["ms"], 1234.567);
            let time = line["time"].as_str().unwrap();
            assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        }
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_not_memory() {
        let (reader, writer) = io::pipe().unwrap();
        let log = RequestLog::to(File::from(std::os::fd::OwnedFd::from(writer)));
        let text = "x".repeat(1024);
        for _ in 0..3 * MOST_PENDING / 1024 {
            log.add(|line| line.text("text", &text));
        }
        assert!(log.0.as_ref().unwrap().lock().bytes.len() < MOST_PENDING + 2048);
        assert!(log.0.as_ref().unwrap().lock().lost > 0);
        drop(reader);
    }
}
