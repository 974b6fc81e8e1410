// SPDX-License-Identifier: MIT OR Apache-2.0
//! The power goes while runs go on, again and again, on one disk; after each time the guest looks at what is left.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::machine::Machine;
use super::results::{Outcome, count, doctor};
use super::suite::Suite;

/// Longest from a start to the runs, under KVM.
const START: Duration = Duration::from_mins(2);

/// The longest that runs go on before the power goes: twentieths of a second, by the guest's clock.
const RUNS: f64 = 50.0;

/// Resets the machine `resets` times at moments that are spread over what runs do, and returns what the guest found
/// after each.
pub(super) fn run(mut machine: Machine, resets: u32) -> Result<Outcome> {
    let mut said = Vec::new();
    let mut starts = 0;
    let mut ticks = 0;
    let mut found = 0;
    loop {
        let deadline = Instant::now() + START * machine.slowness();
        let Some(line) = machine.line(deadline)? else {
            break;
        };
        match line.as_str() {
            "== running" => ticks = 0,
            "== tick" => {
                ticks += 1;
                if f64::from(ticks) > RUNS * fraction(starts) {
                    machine.reset()?;
                    println!(
                        "  power failure {starts} after {ticks} twentieths of a second of runs"
                    );
                    // What it still said before that is not to count.
                    ticks = i32::MIN;
                }
            }
            _ if line.starts_with("== found ") => {
                println!("  {line}");
                found += u32::from(!line.starts_with("== found 0 logs, 0 "));
            }
            _ if line.starts_with("== start ") => starts += 1,
            _ if line.ends_with("FAILED") => println!("  {line}"),
            _ => {}
        }
        said.push(line);
    }
    ensure!(
        starts == resets + 1,
        "the guest started {starts} times, and not once more than the power went"
    );
    ensure!(
        found > 0,
        "nothing that runs wrote was ever on the disk: the power did not go in the middle of any"
    );
    let (passed, failed) = count(Suite::Power, &said);
    Ok(Outcome {
        suite: Suite::Power,
        passed,
        failed,
        in_software: machine.is_in_software(),
        doctor: doctor(&said),
    })
}

/// A number from 0 to 1. The sequence of them has a low discrepancy: every part of a run is hit, and a failure can be
/// repeated.
fn fraction(number: u32) -> f64 {
    const GOLDEN_RATIO: f64 = 0.618_033_988_75;
    (f64::from(number) * GOLDEN_RATIO).fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spread() {
        let mut moments: Vec<f64> = (1..=20).map(fraction).collect();
        moments.sort_by(f64::total_cmp);
        let widest = moments
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .fold(0.0, f64::max);
        assert!(widest < 0.1, "{widest}");
    }
}
