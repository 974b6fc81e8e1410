// SPDX-License-Identifier: MIT OR Apache-2.0
//! The functions of the C library by which a process has another program run. Each does what the C library's does, with
//! an environment from which the variables are taken out, unless it is the process that they belong to that executes
//! another program itself.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_char, c_int, c_void, pid_t};

use super::environment::{Hidden, table};
use super::{is_owner, names};
use crate::names::is_one;

type Strings = *const *const c_char;
type Exec = unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int;
type ExecAt = unsafe extern "C" fn(c_int, Strings, Strings) -> c_int;
type Spawn = unsafe extern "C" fn(
    *mut pid_t,
    *const c_char,
    *const c_void,
    *const c_void,
    Strings,
    Strings,
) -> c_int;
type System = unsafe extern "C" fn(*const c_char) -> c_int;
type Open = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut libc::FILE;

/// A function behind this library.
struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Self {
        let found = AtomicPtr::new(ptr::null_mut());
        Self { name, found }
    }

    fn get(&self) -> *mut c_void {
        let found = self.found.load(Ordering::Relaxed);
        if !found.is_null() {
            return found;
        }
        // SAFETY: a string with its NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

static EXECVE: Next = Next::new(c"execve");
static EXECVPE: Next = Next::new(c"execvpe");
static FEXECVE: Next = Next::new(c"fexecve");
static POSIX_SPAWN: Next = Next::new(c"posix_spawn");
static POSIX_SPAWNP: Next = Next::new(c"posix_spawnp");
static SYSTEM: Next = Next::new(c"system");
static POPEN: Next = Next::new(c"popen");

/// Looks all of them up, before there is a child of `vfork` that may not.
pub(super) fn resolve() {
    for next in [
        &EXECVE,
        &EXECVPE,
        &FEXECVE,
        &POSIX_SPAWN,
        &POSIX_SPAWNP,
        &SYSTEM,
        &POPEN,
    ] {
        next.get();
    }
}

/// Calls the next function, or fails with `ENOSYS` if there is none.
macro_rules! next {
    ($next:ident as $kind:ty, $missing:expr, $($argument:expr),*) => {{
        let found = $next.get();
        if found.is_null() {
            // SAFETY: this thread's own.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: as above.
            unsafe { *errno = libc::ENOSYS };
            $missing
        } else {
            // SAFETY: the C library's function of this name has this type.
            let function: $kind = unsafe { std::mem::transmute(found) };
            // SAFETY: the caller's arguments, but for an environment of the same form.
            unsafe { function($($argument),*) }
        }
    }};
}

/// An environment without the variables.
struct Filtered {
    few: [MaybeUninit<*const c_char>; FEW],
    many: *mut *const c_char,
    size: usize,
}

/// As many entries as fit on the stack of a child of `vfork`, which may be a thread's.
const FEW: usize = 1024;

impl Filtered {
    const fn new() -> Self {
        Self {
            few: [const { MaybeUninit::uninit() }; FEW],
            many: ptr::null_mut(),
            size: 0,
        }
    }

    /// Takes the variables out of `environment`, unless it may pass as it is. `None`: there is no memory.
    fn of(&mut self, environment: Strings, passes: bool) -> Option<Strings> {
        let Some(names) = names().filter(|_| !passes && !environment.is_null()) else {
            return Some(environment);
        };
        let mut count = 0;
        while !entry(environment, count).is_null() {
            count += 1;
        }
        let room = self.room(count + 1)?;
        let mut kept = 0;
        let mut keep = |it: *const c_char| {
            // SAFETY: there is room for all of them, and the end.
            let place = unsafe { room.add(kept) };
            // SAFETY: as above; nobody else knows of it.
            unsafe { *place = it };
            kept += 1;
        };
        for index in 0..count {
            let entry = entry(environment, index);
            // SAFETY: an entry is a string with its NUL.
            let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
            if !is_one(text, names) {
                keep(entry);
            }
        }
        keep(ptr::null());
        Some(room)
    }

    fn room(&mut self, count: usize) -> Option<*mut *const c_char> {
        if count <= FEW {
            return Some(self.few.as_mut_ptr().cast());
        }
        let size = count * size_of::<*const c_char>();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // Not by malloc: a child of `vfork` may hold its lock. (If its exec succeeds, this stays with the parent.)
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        (self.many, self.size) = (start.cast(), size);
        Some(self.many)
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        if !self.many.is_null() {
            // SAFETY: the mapping made above, which nobody else knows of.
            unsafe { libc::munmap(self.many.cast(), self.size) };
        }
    }
}

/// An entry of an environment, or the null pointer behind the last. For no index behind that.
fn entry(environment: Strings, index: usize) -> *const c_char {
    // SAFETY: at most the place of the end.
    let place = unsafe { environment.add(index) };
    // SAFETY: as above.
    unsafe { *place }
}

/// There is no memory for an environment.
fn no_memory() -> c_int {
    // SAFETY: this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { *errno = libc::ENOMEM };
    -1
}

/// `execve`, what is made of it, and `execvpe`, which searches.
fn exec(next: &Next, program: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    let mut filtered = Filtered::new();
    match filtered.of(environment, is_owner()) {
        Some(environment) => next!(next as Exec, -1, program, arguments, environment),
        None => no_memory(),
    }
}

/// `posix_spawn` and `posix_spawnp`: whoever calls them lives on, so the environment is always another process's.
fn spawn(
    next: &Next,
    pid: *mut pid_t,
    program: *const c_char,
    (actions, attributes): (*const c_void, *const c_void),
    arguments: Strings,
    environment: Strings,
) -> c_int {
    let mut filtered = Filtered::new();
    match filtered.of(environment, false) {
        Some(environment) => next!(
            next as Spawn,
            libc::ENOSYS,
            pid,
            program,
            actions,
            attributes,
            arguments,
            environment
        ),
        None => libc::ENOMEM,
    }
}

/// As the C library's, execve(2).
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn execve(
    path: *const c_char,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    exec(&EXECVE, path, arguments, environment)
}

/// As the C library's, exec(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    exec(&EXECVE, path, arguments, table().cast_const().cast())
}

/// As the C library's, exec(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn execvp(file: *const c_char, arguments: Strings) -> c_int {
    exec(&EXECVPE, file, arguments, table().cast_const().cast())
}

/// As the C library's, exec(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn execvpe(
    file: *const c_char,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    exec(&EXECVPE, file, arguments, environment)
}

/// As the C library's, fexecve(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn fexecve(file: c_int, arguments: Strings, environment: Strings) -> c_int {
    let mut filtered = Filtered::new();
    match filtered.of(environment, is_owner()) {
        Some(environment) => next!(FEXECVE as ExecAt, -1, file, arguments, environment),
        None => no_memory(),
    }
}

/// As the C library's, posix_spawn(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn posix_spawn(
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    let how = (actions, attributes);
    spawn(&POSIX_SPAWN, pid, path, how, arguments, environment)
}

/// As the C library's, posix_spawn(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn posix_spawnp(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    let how = (actions, attributes);
    spawn(&POSIX_SPAWNP, pid, file, how, arguments, environment)
}

/// As the C library's, system(3), which spawns by a way of its own.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn system(command: *const c_char) -> c_int {
    match names() {
        Some(_) if !command.is_null() => shell(command),
        // Nothing to keep back, or the question whether there is a shell.
        Some(_) | None => next!(SYSTEM as System, -1, command),
    }
}

/// POSIX.1-2024, `system`: SIGINT and SIGQUIT are ignored and SIGCHLD is blocked until the shell has ended.
fn shell(command: *const c_char) -> c_int {
    let mut ignored = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroes are a valid value; the handler is one of the two that are numbers.
    unsafe { (*ignored.as_mut_ptr()).sa_sigaction = libc::SIG_IGN };
    let mut old = [const { MaybeUninit::<libc::sigaction>::zeroed() }; 2];
    let mut defaults = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: room for a set.
    unsafe { libc::sigemptyset(defaults.as_mut_ptr()) };
    for (signal, old) in [libc::SIGINT, libc::SIGQUIT].into_iter().zip(&mut old) {
        // SAFETY: both point to structures that were zeroed.
        unsafe { libc::sigaction(signal, ignored.as_ptr(), old.as_mut_ptr()) };
        // SAFETY: filled in by the call above, or zeroes.
        if unsafe { (*old.as_ptr()).sa_sigaction } != libc::SIG_IGN {
            // SAFETY: a set that was emptied.
            unsafe { libc::sigaddset(defaults.as_mut_ptr(), signal) };
        }
    }
    let (mut blocked, mut before) = (
        MaybeUninit::<libc::sigset_t>::zeroed(),
        MaybeUninit::<libc::sigset_t>::zeroed(),
    );
    // SAFETY: room for a set.
    unsafe { libc::sigemptyset(blocked.as_mut_ptr()) };
    // SAFETY: a set that was emptied.
    unsafe { libc::sigaddset(blocked.as_mut_ptr(), libc::SIGCHLD) };
    // SAFETY: two sets.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr()) };

    let mut attributes = MaybeUninit::<libc::posix_spawnattr_t>::zeroed();
    // SAFETY: room for attributes.
    unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) };
    // SAFETY: attributes that were initialised, and a set.
    unsafe { libc::posix_spawnattr_setsigdefault(attributes.as_mut_ptr(), defaults.as_ptr()) };
    // SAFETY: as above.
    unsafe { libc::posix_spawnattr_setsigmask(attributes.as_mut_ptr(), before.as_ptr()) };
    let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
    let flags = libc::c_short::try_from(flags).unwrap_or_default();
    // SAFETY: as above.
    unsafe { libc::posix_spawnattr_setflags(attributes.as_mut_ptr(), flags) };
    let arguments = [
        c"sh".as_ptr(),
        c"-c".as_ptr(),
        c"--".as_ptr(),
        command,
        ptr::null(),
    ];
    let mut pid = 0;
    // SAFETY: our own function above; all of these live until it returns.
    let failed = unsafe {
        posix_spawn(
            &raw mut pid,
            c"/bin/sh".as_ptr(),
            ptr::null(),
            attributes.as_ptr().cast(),
            arguments.as_ptr(),
            table().cast_const().cast(),
        )
    };
    // SAFETY: attributes that were initialised.
    unsafe { libc::posix_spawnattr_destroy(attributes.as_mut_ptr()) };
    // What a shell that cannot be executed would have ended with.
    let mut status = 127 << 8;
    if failed == 0 {
        // SAFETY: a child of ours that nobody else waits for, and room for its status.
        while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
            if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
                status = -1;
                break;
            }
        }
    }
    for (signal, old) in [libc::SIGINT, libc::SIGQUIT].into_iter().zip(&old) {
        // SAFETY: what was there before.
        unsafe { libc::sigaction(signal, old.as_ptr(), ptr::null_mut()) };
    }
    // SAFETY: what was there before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    status
}

/// As the C library's, popen(3), which spawns by a way of its own and hands over `environ`.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if names().is_none() {
        return next!(POPEN as Open, ptr::null_mut(), command, mode);
    }
    let _guard = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let _hidden = Hidden::new();
    next!(POPEN as Open, ptr::null_mut(), command, mode)
}
