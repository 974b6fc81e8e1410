// SPDX-License-Identifier: GPL-3.0-or-later
//! Loading: the maps are made and the verifier reads the programs. Nothing is enforced yet.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    error::Error,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use aya::maps::MapData;
use aya_obj::{
    EbpfSectionKind, Object,
    btf::BtfFeatures,
    generated::{
        bpf_insn,
        bpf_map_type::{BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_SK_STORAGE},
    },
};
use firewall_common::Endpoints;

use super::{
    Attached, Counters, EbpfError, Events, Flows, Set,
    log::{self, LOGS},
    object::{self, COUNTERS, EVENTS, FLOWS},
    programs::PROGRAMS,
    spare,
};
use crate::sys::bpf::{self, MapSpec, ProgramSpec, Types};

/// Room for what the verifier says of a program that it refuses.
const LOG_SIZE: usize = 1 << 20;

/// How much of that is shown: the end of it names the fault.
const LOG_LINES: usize = 12;

/// The programs and their maps, in the kernel, attached to nothing. Dropping it removes them.
#[derive(Debug)]
pub struct Loaded(pub(super) Set);

/// Loads the programs with `endpoints` as their frozen idea of where the proxy is.
///
/// # Errors
///
/// The kernel refuses: too old, no privilege, no memory.
pub fn load(endpoints: &Endpoints) -> Result<Loaded, EbpfError> {
    let mut object = object::parse(endpoints).map_err(failed("read"))?;
    let mut maps = create_maps(&mut object)?;
    let text = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect::<HashSet<_>>();
    object
        .relocate_maps(
            maps.iter()
                .map(|(name, (fd, map))| (name.as_str(), fd.as_raw_fd(), map)),
            &text,
        )
        .map_err(failed("link"))?;
    object.relocate_calls(&text).map_err(failed("link"))?;
    let programs = load_programs(&object)?;
    let mut take = |name| {
        let (fd, _) = maps.remove(name).ok_or(EbpfError::Missing { name })?;
        MapData::from_fd(fd).map_err(|source| EbpfError::Map {
            name,
            source: Box::new(source),
        })
    };
    Ok(Loaded(Set {
        key: spare::key(endpoints),
        events: Events::new(take(EVENTS)?)?,
        counters: Counters::new(take(COUNTERS)?)?,
        flows: Flows::new(take(FLOWS)?)?,
        programs,
        pinned: false,
    }))
}

impl Loaded {
    /// Attaches every program to `cgroup`, pins every link in the directory `pins` (which is made, and
    /// must not exist, unless these programs were taken there), and reads back that the kernel shows all
    /// of them on that cgroup.
    ///
    /// # Errors
    ///
    /// One link is missing. What was attached before is detached again.
    pub fn attach(self, cgroup: impl AsFd, pins: &Path) -> Result<Attached, EbpfError> {
        Attached::attach(self.0, cgroup.as_fd(), pins)
    }
}

/// Makes every map of the object.
fn create_maps(object: &mut Object) -> Result<HashMap<String, (OwnedFd, aya_obj::Map)>, EbpfError> {
    // Every kernel that has the helpers which the programs call has these, too.
    let features = BtfFeatures::new(true, true, true, true, true, true, true, true);
    let btf = object
        .fixup_and_sanitize_btf(&features)
        .map_err(failed("read"))?
        .ok_or(EbpfError::Missing { name: ".BTF" })?
        .to_bytes();
    let btf = load_types(&btf)?;
    let mut maps = HashMap::new();
    for (name, map) in object.maps.drain() {
        let kind = map.map_type();
        let types = match &map {
            // Only what lives in a socket must have types; some kinds must have none.
            aya_obj::Map::Btf(map) if kind == BPF_MAP_TYPE_SK_STORAGE as u32 => Some(Types {
                btf: btf.as_fd(),
                key: map.def.btf_key_type_id,
                value: map.def.btf_value_type_id,
            }),
            aya_obj::Map::Btf(_) | aya_obj::Map::Legacy(_) => None,
        };
        // A ring buffer has a size and no values; the object says what its records are.
        let ring = kind == BPF_MAP_TYPE_RINGBUF as u32;
        let spec = MapSpec {
            kind,
            key_size: map.key_size(),
            value_size: if ring { 0 } else { map.value_size() },
            // Where nothing is said, it only has to be there.
            max_entries: match name == LOGS && log::level() == 0 {
                true => page_size(),
                false => map.max_entries(),
            },
            flags: map.map_flags(),
            types,
        };
        let fd = bpf::map_create(&name, &spec).map_err(failed("make a map of"))?;
        if map.section_kind() == EbpfSectionKind::Rodata {
            bpf::map_write_first(fd.as_fd(), map.data())
                .map_err(failed("fill the constants of"))?;
            // Before the programs are loaded: the verifier takes what it reads here for constants.
            bpf::map_freeze(fd.as_fd()).map_err(failed("freeze the constants of"))?;
        }
        maps.insert(name, (fd, map));
    }
    Ok(maps)
}

/// The least that a ring buffer may have, in bytes.
fn page_size() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(64 * 1024)
}

/// Loads what the object says of its types. As with a program, the kernel is asked for its reasons when it refuses.
fn load_types(btf: &[u8]) -> Result<OwnedFd, EbpfError> {
    bpf::btf_load(btf, &mut []).or_else(|_refused| {
        let mut log = vec![0; LOG_SIZE];
        bpf::btf_load(btf, &mut log).map_err(|source| EbpfError::Types {
            log: tail(&log),
            source,
        })
    })
}

/// Loads every program, on as many threads as there are processors: the verifier takes most of the
/// time that starting the firewall takes, and reads several programs at once.
fn load_programs(object: &Object) -> Result<Vec<OwnedFd>, EbpfError> {
    let mut specs = Vec::with_capacity(PROGRAMS.len());
    for spec in PROGRAMS {
        let name = spec.name;
        let missing = EbpfError::Missing { name };
        let program = object.programs.get(name).ok_or(missing)?;
        let function = object
            .functions
            .get(&program.function_key())
            .ok_or(EbpfError::Missing { name })?;
        let instructions: &[bpf_insn] = &function.instructions;
        let license = program.license.as_c_str();
        specs.push(ProgramSpec {
            name,
            kind: spec.kind,
            hook: spec.hook,
            instructions,
            license,
        });
    }
    // The longest first, so that no thread is left alone with a long one at the end.
    let mut order: Vec<_> = (0..specs.len()).collect();
    order.sort_by_key(|at| Reverse(specs[*at].instructions.len()));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            match order.get(next.fetch_add(1, Ordering::Relaxed)) {
                Some(&at) => done.push((at, load_program(&specs[at]))),
                None => return done,
            }
        }
    };
    let helpers = thread::available_parallelism()
        .map_or(0, |n| n.get() - 1)
        .min(3);
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            // A helper that panicked leaves a gap, which is found below.
            done.extend(helper.join().unwrap_or_default());
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    let programs = done
        .into_iter()
        .map(|(_, program)| program)
        .collect::<Result<Vec<_>, _>>()?;
    if programs.len() == PROGRAMS.len() {
        Ok(programs)
    } else {
        Err(failed("load")(io::Error::other(
            "a thread of the loader panicked",
        )))
    }
}

/// Loads one program. The verifier is quiet at first: writing its log costs more than the verifying.
/// When it refuses it is asked again for its reasons.
fn load_program(spec: &ProgramSpec<'_>) -> Result<OwnedFd, EbpfError> {
    bpf::program_load(spec, &mut []).or_else(|_refused| {
        let mut log = vec![0; LOG_SIZE];
        bpf::program_load(spec, &mut log).map_err(|source| EbpfError::Program {
            name: spec.name,
            log: tail(&log),
            source,
        })
    })
}

/// The last lines of a log that ends at the first NUL.
fn tail(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

fn failed<E: Error + Send + Sync + 'static>(act: &'static str) -> impl FnOnce(E) -> EbpfError {
    move |source| EbpfError::Object {
        act,
        source: Box::new(source),
    }
}
