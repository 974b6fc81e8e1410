// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of a kernel test that need a process of their own.
//!
//! `lab-helper attach CGROUP PINS` attaches the firewall, says so, and waits to be killed.
//! `lab-helper lookup KEY` looks a key up in the map that is its standard input, and prints the value; both in hex.

use std::{error::Error, fs::File, io::Write, os::fd::AsFd, path::Path};

use aya::maps::{HashMap, Map, MapData};
use e2e::lab::Lab;
use firewall_common::{FlowInfo, FlowKey};
use firewall_user::ebpf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["attach", cgroup, pins] => attach(Path::new(cgroup), Path::new(pins)),
        ["lookup", key] => lookup(key),
        _ => Err("attach CGROUP PINS, or lookup KEY".into()),
    }
}

fn attach(cgroup: &Path, pins: &Path) -> Result<(), Box<dyn Error>> {
    let attached = ebpf::load(&Lab::endpoints())?.attach(File::open(cgroup)?, pins)?;
    writeln!(std::io::stdout(), "attached")?;
    loop {
        std::thread::park();
        // Held until the end: only a signal ends this process.
        let _held = &attached;
    }
}

fn lookup(key: &str) -> Result<(), Box<dyn Error>> {
    let map = MapData::from_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let map =
        HashMap::<_, [u8; FlowKey::SIZE], [u8; FlowInfo::SIZE]>::try_from(Map::LruHashMap(map))?;
    let value = map.get(
        &unhex(key)?.try_into().map_err(|_key| "a key of 20 bytes")?,
        0,
    )?;
    for byte in value {
        write!(std::io::stdout(), "{byte:02x}")?;
    }
    Ok(())
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = |at| text.get(at..at + 2).ok_or("an odd number of digits");
    (0..text.len())
        .step_by(2)
        .map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?))
        .collect()
}
