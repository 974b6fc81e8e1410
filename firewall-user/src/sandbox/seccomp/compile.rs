// SPDX-License-Identifier: GPL-3.0-or-later
//! From rules to a program of the kernel's classic BPF.
//!
//! The calls' numbers are cut into segments with one verdict each, and a binary search leads to a call's segment:
//! every call takes some eight comparisons, and the kernel, which runs the program once for each number when it is
//! installed (to remember which calls are always allowed), is done with it soon.

use anyhow::{Context as _, Result, ensure};
use libc::sock_filter;

use super::rules::{Answer, Condition, Rule, Test};

/// Instructions: include/uapi/linux/bpf_common.h.
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`: include/uapi/linux/seccomp.h.
const CALL_NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `__X32_SYSCALL_BIT`: arch/x86/include/uapi/asm/unistd.h.
const X32: u32 = 0x4000_0000;

/// The one architecture whose call numbers the rules have: include/uapi/linux/audit.h.
const NATIVE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};
const _: () = assert!(
    cfg!(all(
        target_endian = "little",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    "the seccomp filter knows no other architecture"
);

/// From a number on, up to the next segment's.
struct Segment {
    first: u32,
    code: Vec<sock_filter>,
}

/// Compiles rules, of which each is for another call.
pub(super) fn compile(rules: &[Rule]) -> Result<Vec<sock_filter>> {
    let mut rules = rules.to_vec();
    rules.sort_by_key(|rule| rule.call);
    let mut segments = vec![Segment {
        first: 0,
        code: vec![allow()],
    }];
    for rule in &rules {
        let number = u32::try_from(rule.call).context("a call's number is negative")?;
        let last = segments.last_mut().context("internal error: no segment")?;
        ensure!(
            last.first <= number && number < X32,
            "internal error: two rules for call {number}"
        );
        let code = body(rule)?;
        if last.first == number {
            // The segment between this call and the one before it is empty.
            last.code = code;
        } else {
            segments.push(Segment {
                first: number,
                code,
            });
        }
        segments.push(Segment {
            first: number + 1,
            code: vec![allow()],
        });
    }
    if cfg!(target_arch = "x86_64") {
        // The x32 ABI has the same architecture and other numbers, and would pass by every rule. Few kernels have it.
        let code = vec![answer(Answer::Error(EPERM))];
        segments.push(Segment { first: X32, code });
    }
    segments.dedup_by(|later, earlier| is_same(&later.code, &earlier.code));
    let mut program = vec![
        load(ARCHITECTURE),
        jump(JUMP_IF_EQUAL, NATIVE, 1, 0)?,
        // A program of another architecture (i386) has no call left: there is nothing that it could do with an error.
        ret(libc::SECCOMP_RET_KILL_PROCESS),
        load(CALL_NUMBER),
    ];
    program.extend(search(&segments)?);
    Ok(program)
}

const EPERM: u16 = 1;

/// The same program for where nobody can be asked.
pub(super) fn without_asking(program: &[sock_filter]) -> Vec<sock_filter> {
    let ask = answer(Answer::Ask);
    let refuse = answer(Answer::Error(EPERM));
    let refused = |it: &sock_filter| {
        let asks = is_same(std::slice::from_ref(it), std::slice::from_ref(&ask));
        if asks { refuse } else { *it }
    };
    program.iter().map(refused).collect()
}

/// A tree: at each node, segments before the middle one are skipped by calls that come after them.
fn search(segments: &[Segment]) -> Result<Vec<sock_filter>> {
    if let [only] = segments {
        return Ok(only.code.clone());
    }
    let (before, after) = segments.split_at(segments.len() / 2);
    let middle = after.first().context("internal error: no segments")?.first;
    let before = search(before)?;
    let mut code = vec![jump(JUMP_IF_AT_LEAST, middle, before.len(), 0)?];
    code.extend(before);
    code.extend(search(after)?);
    Ok(code)
}

fn is_same(one: &[sock_filter], other: &[sock_filter]) -> bool {
    let fields = |it: &sock_filter| (it.code, it.jt, it.jf, it.k);
    one.iter().map(fields).eq(other.iter().map(fields))
}

/// What becomes of one call.
fn body(rule: &Rule) -> Result<Vec<sock_filter>> {
    let refuse = answer(rule.answer);
    let (lists, if_one_holds, otherwise) = match rule.condition {
        Condition::Always => return Ok(vec![refuse]),
        Condition::When(lists) => (lists, refuse, allow()),
        Condition::Unless(lists) => (lists, allow(), refuse),
    };
    let mut code = Vec::new();
    for list in lists {
        // From its end: a test that fails jumps over what comes after it.
        let mut rest = vec![if_one_holds];
        for test in list.iter().rev() {
            let mut tested = test_code(test, rest.len())?;
            tested.append(&mut rest);
            rest = tested;
        }
        code.append(&mut rest);
    }
    code.push(otherwise);
    Ok(code)
}

/// Goes on behind itself if the test holds, and `skip` instructions later if not.
fn test_code(test: &Test, skip: usize) -> Result<Vec<sock_filter>> {
    let mut code = vec![load(ARGUMENTS + 8 * u32::from(test.argument))];
    if test.mask != u32::MAX {
        code.push(sock_filter {
            code: AND,
            jt: 0,
            jf: 0,
            k: test.mask,
        });
    }
    for (index, value) in test.values.iter().enumerate() {
        let left = test.values.len() - 1 - index;
        let otherwise = if left == 0 { skip } else { 0 };
        code.push(jump(JUMP_IF_EQUAL, *value, left, otherwise)?);
    }
    Ok(code)
}

fn answer(answer: Answer) -> sock_filter {
    match answer {
        Answer::Error(number) => ret(libc::SECCOMP_RET_ERRNO | u32::from(number)),
        Answer::Ask => ret(libc::SECCOMP_RET_USER_NOTIF),
    }
}

fn allow() -> sock_filter {
    ret(libc::SECCOMP_RET_ALLOW)
}

fn ret(value: u32) -> sock_filter {
    sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: value,
    }
}

fn load(offset: u32) -> sock_filter {
    sock_filter {
        code: LOAD_WORD,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

/// A jump reaches 255 instructions at most.
fn jump(code: u16, value: u32, if_so: usize, if_not: usize) -> Result<sock_filter> {
    let distance = |it: usize| u8::try_from(it).context("internal error: a jump is too far");
    Ok(sock_filter {
        code,
        jt: distance(if_so)?,
        jf: distance(if_not)?,
        k: value,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::rules::RULES;
    use super::*;

    /// What the kernel does with a program.
    pub(in super::super) fn run(
        program: &[sock_filter],
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> u32 {
        let word = |offset: u32| match offset {
            CALL_NUMBER => number,
            ARCHITECTURE => architecture,
            offset => {
                let index = usize::try_from((offset - ARGUMENTS) / 8).unwrap();
                u32::try_from(arguments[index] & 0xffff_ffff).unwrap()
            }
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let mut branch = |condition: bool| {
                at += usize::from(if condition {
                    instruction.jt
                } else {
                    instruction.jf
                });
            };
            match instruction.code {
                LOAD_WORD => accumulator = word(instruction.k),
                AND => accumulator &= instruction.k,
                JUMP_IF_EQUAL => branch(accumulator == instruction.k),
                JUMP_IF_AT_LEAST => branch(accumulator >= instruction.k),
                RETURN => return instruction.k,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    /// What the rules say, read one by one.
    fn meant(number: u32, arguments: [u64; 6]) -> u32 {
        let Some(rule) = RULES.iter().find(|rule| rule.call == i64::from(number)) else {
            return libc::SECCOMP_RET_ALLOW;
        };
        let holds = |lists: &[&[Test]]| {
            let test = |test: &Test| {
                let argument = arguments[usize::from(test.argument)] & u64::from(test.mask);
                test.values.iter().any(|it| u64::from(*it) == argument)
            };
            lists.iter().any(|list| list.iter().all(test))
        };
        let refused = match rule.condition {
            Condition::Always => true,
            Condition::When(lists) => holds(lists),
            Condition::Unless(lists) => !holds(lists),
        };
        match (refused, rule.answer) {
            (false, _) => libc::SECCOMP_RET_ALLOW,
            (true, Answer::Ask) => libc::SECCOMP_RET_USER_NOTIF,
            (true, Answer::Error(errno)) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        }
    }

    #[test]
    fn the_program_does_what_the_rules_say() {
        let program = compile(RULES).unwrap();
        assert!(program.len() < 300, "{} instructions", program.len());
        // Every value that a rule mentions and its neighbours, at every argument that matters.
        let values = [
            0,
            1,
            2,
            3,
            4,
            5,
            6,
            8,
            9,
            10,
            16,
            17,
            40,
            132,
            136,
            262,
            0x801,
            0x5412,
            0x541c,
            0x5423,
            0x20000,
            0x40000,
            0x40_0000,
            0x1000_0000,
            0x1002_0000,
            0xffff_ffff,
            0xdead_0000_0002,
        ];
        for number in 0..600 {
            for first in values {
                for second in values {
                    for third in [0, 1, 4, 6, 15, 17, 136, 262] {
                        let arguments = [first, second, third, 0, 0, 0];
                        let found = run(&program, NATIVE, number, arguments);
                        assert_eq!(found, meant(number, arguments), "{number} {arguments:x?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_other_abi_gets_past_the_rules() {
        let program = compile(RULES).unwrap();
        let i386 = 0x4000_0003;
        assert_eq!(
            run(&program, i386, 4, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
        if cfg!(target_arch = "x86_64") {
            let refused = libc::SECCOMP_RET_ERRNO | u32::from(EPERM);
            for number in [X32, X32 + 41, u32::MAX] {
                assert_eq!(run(&program, NATIVE, number, [0; 6]), refused, "{number}");
            }
        }
    }

    #[test]
    fn two_rules_for_one_call_are_a_fault() {
        let twice = [RULES[0], RULES[0]];
        assert!(compile(&twice).is_err());
    }
}
