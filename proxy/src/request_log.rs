// SPDX-License-Identifier: MIT OR Apache-2.0
//! The request log: one JSON line a request.
//!
//! A line holds what was decided and how long it took, and nothing that a request carried besides its
//! method and path: no query, no header value but the request's identifier. Lines are put together in
//! memory and written by a thread, which begins with the first of them, so that a slow disk or a full pipe delays no request; when the
//! reader is so slow that `MOST_PENDING` bytes wait, lines are dropped and counted, and a line says
//! how many.

mod line;
mod record;
mod tokens;

use std::{
    fs::File,
    io::{self, Write as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

pub(crate) use self::{line::Line, record::Record};

/// Most bytes that wait to be written.
const MOST_PENDING: usize = 4 * 1024 * 1024;

/// How long lines may wait for company. Short enough for someone who watches, long enough that a busy
/// gateway writes hundreds at once.
const GATHER: Duration = Duration::from_millis(20);

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
    /// Whether the thread sleeps until there is something.
    asleep: bool,
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
        pending.asleep = false;
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
        if pending.asleep {
            pending.asleep = false;
            self.changed.notify_all();
        }
        if !pending.begun {
            let writer = Arc::clone(self);
            let thread = thread::Builder::new().name("log".to_owned());
            match thread.spawn(move || writer.write()) {
                Ok(_detached) => pending.begun = true,
                // What waits is not lost: the next line tries again.
                Err(error) => tracing::error!(%error, "no thread to write a log"),
            }
        }
    }

    fn write(&self) {
        let mut batch = Vec::new();
        loop {
            let mut pending = self.lock();
            while pending.bytes.is_empty() && pending.lost == 0 {
                pending.asleep = true;
                pending = self
                    .changed
                    .wait(pending)
                    .unwrap_or_else(PoisonError::into_inner);
                pending.asleep = false;
            }
            if !pending.hurry {
                drop(pending);
                thread::sleep(GATHER);
                pending = self.lock();
            }
            std::mem::swap(&mut pending.bytes, &mut batch);
            if pending.lost > 0 {
                let lost = std::mem::take(&mut pending.lost);
                let mut line = Line::new(&mut batch, "time");
                line.text("event", "lines_lost");
                line.number("lines", lost);
                batch.extend_from_slice(b"}\n");
            }
            pending.writing = true;
            drop(pending);
            if let Err(error) = write_all(&self.file, &batch) {
                tracing::error!(%error, lines_bytes = batch.len(), "request log not written");
            }
            batch.clear();
            // A burst is no reason to keep its memory.
            batch.shrink_to(64 * 1024);
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }
}

/// Writes everything, also where the reader's end made the file non-blocking for both.
fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(GATHER),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

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
