// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward report`: a run on one page, in a file that needs nothing else.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cli::ReportArgs;
use crate::commands::logs::{digest, read_no_further};
use crate::reading::find;

mod html;
mod page;
mod tables;
mod timeline;

/// Writes the page.
pub fn run(args: &ReportArgs) -> Result<()> {
    let log = find(&args.run.place.log_dir, &args.run.run)?;
    let (tally, requests) = digest::read(&log)?;
    // Nobody can have foreseen it, so nothing in the logs can name it.
    let nonce = format!(
        "{:016x}",
        getrandom::u64().context("cannot get random bytes from the kernel")?
    );
    let page = page::write(&log.id, &tally, &requests, &nonce);
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("keyward-{}.html", log.id)));
    if output == Path::new("-") {
        let mut out = io::stdout().lock();
        return read_no_further(out.write_all(page.as_bytes()).map_err(Into::into));
    }
    save(&output, &page)?;
    writeln!(io::stderr(), "keyward: wrote {}", output.display())?;
    Ok(())
}

/// Writes a file, but through no symbolic link: this runs as root, and where the file goes a workload may have been.
fn save(path: &Path, page: &str) -> Result<()> {
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    let mut file = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => bail!(
            "{} is a symbolic link\n  hint: name the file that it leads to, or write to standard output: keyward report -o - > FILE",
            path.display()
        ),
        opened => opened.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(page.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("precious");
        std::fs::write(&target, "precious").unwrap();
        let link = directory.path().join("report.html");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = save(&link, "page").unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
        // The control: without a link in the way it is written, and written over.
        save(&target, "page").unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "page");
    }
}
