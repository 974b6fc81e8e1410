// SPDX-License-Identifier: GPL-3.0-or-later
//! The life of the eBPF layer: it outlives whoever attached it, goes only when its pins go, and is whole or not there.
#![cfg(test)]

use std::{
    fs,
    io::Read,
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
};

use aya::programs::links::{FdLink, PinnedLink};
use e2e::lab::firewall::{self, Firewall};
use e2e::lab::{CANARY_V4, Lab, Outcome, PORT, Where, Who};
use firewall_common::{Endpoints, Reason};
use firewall_user::ebpf::{self, Attached, BPFFS, EbpfError, spare};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether the workload reaches the outside; what it was told if not.
fn reaches(lab: &Lab, probe: &str) -> Result<(), Outcome> {
    lab.arrived();
    let outcome = lab.probe(Where::Workload, Who::User, probe, "<life>");
    if lab.arrived().iter().any(|frame| frame.carries("<life>")) {
        Ok(())
    } else {
        Err(outcome)
    }
}

#[test]
fn sigkill_to_the_loader_lets_nothing_loose() {
    let lab = Lab::new();
    let pins = firewall::pins();
    ebpf::ensure_bpffs(BPFFS.as_ref()).unwrap();
    let mut loader = Command::new(env!("CARGO_BIN_EXE_lab-helper"))
        .arg("attach")
        .args([lab.cgroup_path(), &pins])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    loader
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 9])
        .unwrap();
    assert_eq!(reaches(&lab, "tcp").unwrap_err().result, "EPERM");

    loader.kill().unwrap();
    loader.wait().unwrap();
    for probe in ["tcp", "udp-v6", "ping", "mptcp"] {
        assert_eq!(reaches(&lab, probe).unwrap_err().result, "EPERM", "{probe}");
    }

    ebpf::unpin(&pins).unwrap();
    assert!(!pins.exists());
    for probe in ["tcp", "udp-v6", "ping", "mptcp"] {
        reaches(&lab, probe).unwrap();
    }
    // Done already is done.
    ebpf::unpin(&pins).unwrap();
}

#[test]
fn what_cannot_be_pinned_is_not_attached() {
    let lab = Lab::new();
    let pins = firewall::pins();
    ebpf::ensure_bpffs(BPFFS.as_ref()).unwrap();
    fs::create_dir(&pins).unwrap();
    let error = ebpf::load(&Lab::endpoints())
        .unwrap()
        .attach(lab.cgroup(), &pins)
        .unwrap_err();
    assert!(
        matches!(error, EbpfError::PinDirectory { act: "make", .. }),
        "{error}"
    );
    fs::remove_dir(&pins).unwrap();
    reaches(&lab, "tcp").unwrap();
}

/// The id of the program that a link holds at this hook, as the kernel counts them.
fn program_id(firewall: &Attached, hook: &str) -> u32 {
    let link = PinnedLink::from_pin(firewall.pins().join(hook)).unwrap();
    FdLink::from(link).info().unwrap().program_id()
}

#[test]
fn programs_of_a_run_that_is_over_serve_the_next_one() {
    ebpf::ensure_bpffs(BPFFS.as_ref()).unwrap();
    let lab = Lab::new();
    // Nobody else has these, so that nobody else takes them.
    let endpoints = Endpoints {
        explicit: 3199,
        ..Lab::endpoints()
    };
    let begin = |pins: &Path| {
        spare::take_or_load(&endpoints, pins)
            .unwrap()
            .attach(lab.cgroup(), pins)
            .unwrap()
    };
    let end = |attached: Attached| {
        let pins = attached.pins().to_owned();
        let spare = attached.detach().unwrap();
        reaches(&lab, "tcp").unwrap();
        spare.keep().unwrap();
        assert!(!pins.exists());
    };
    let denies = |attached: &mut Attached| {
        let mut denied = 0;
        attached.events().drain(|_| denied += 1);
        assert_eq!(denied, 0, "another run's denials");
        assert_eq!(
            attached.counters().denials(Reason::TcpNotAllowed).unwrap(),
            0
        );
        assert_eq!(reaches(&lab, "tcp").unwrap_err().result, "EPERM");
        attached.events().drain(|_| denied += 1);
        assert_ne!(denied, 0);
    };

    let mut first = begin(&firewall::pins());
    denies(&mut first);
    let id = program_id(&first, "connect4");
    end(first);

    let mut second = begin(&firewall::pins());
    assert_eq!(program_id(&second, "connect4"), id, "verified again");
    denies(&mut second);
    // A set has one owner: who comes meanwhile gets another.
    let other = Lab::new();
    let pins = firewall::pins();
    let third = spare::take_or_load(&endpoints, &pins).unwrap();
    let third = third.attach(other.cgroup(), &pins).unwrap();
    assert_ne!(program_id(&third, "connect4"), id);
    drop(third.detach().unwrap());
    assert!(!pins.exists());
    end(second);

    // Whoever has not all of it has nothing.
    let kept = Path::new(BPFFS).join("keyward-spare");
    for set in fs::read_dir(&kept).unwrap() {
        fs::remove_file(set.unwrap().path().join("program_egress")).unwrap();
    }
    let mut fourth = begin(&firewall::pins());
    assert_ne!(program_id(&fourth, "connect4"), id);
    denies(&mut fourth);
    end(fourth);
    spare::clear().unwrap();
    assert!(!kept.exists());
}

#[test]
fn a_missing_link_is_noticed() {
    let lab = Lab::new();
    let firewall = Firewall::on(&lab, &Lab::endpoints());
    firewall.attached.verify(lab.cgroup()).unwrap();
    // Another cgroup has none of these programs.
    let other = Lab::new();
    let error = firewall.attached.verify(other.cgroup()).unwrap_err();
    assert!(matches!(error, EbpfError::NotAttached { .. }), "{error}");
    fs::remove_file(firewall.attached.pins().join("sendmsg6")).unwrap();
    let error = firewall.attached.verify(lab.cgroup()).unwrap_err();
    assert!(
        matches!(
            error,
            EbpfError::ReadBack {
                name: "sendmsg6",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_allow_in_a_cgroup_below_does_not_beat_a_deny_above() {
    let lab = Lab::new();
    let below = lab.cgroup_path().join("below");
    fs::create_dir(&below).unwrap();
    ebpf::ensure_bpffs(BPFFS.as_ref()).unwrap();
    // To these programs the canary is the proxy: they let connections to it proceed.
    let permissive = Endpoints {
        v4: CANARY_V4.octets(),
        explicit: PORT,
        ..Lab::endpoints()
    };
    let pins = firewall::pins();
    let allow = ebpf::load(&permissive).unwrap();
    let allow = allow
        .attach(fs::File::open(&below).unwrap(), &pins)
        .unwrap();
    let from_below = || {
        lab.arrived();
        let script = format!("echo '<below>' > /dev/tcp/{CANARY_V4}/{PORT}");
        let mut command = lab.command(Where::Workload, Who::User, &["bash", "-c", &script]);
        command.env("LAB_CGROUP", &below);
        let output = lab.on_host(move || command.output().unwrap());
        (
            output,
            lab.arrived().iter().any(|frame| frame.carries("<below>")),
        )
    };
    let (output, arrived) = from_below();
    assert!(arrived, "alone they allow it: {output:?}");

    let firewall = Firewall::on(&lab, &Lab::endpoints());
    let (output, arrived) = from_below();
    assert!(!arrived);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("Operation not permitted"), "{error}");
    assert_eq!(lab.arrived(), []);
    drop(firewall);
    allow.detach().unwrap();
}

#[test]
fn a_denial_wakes_whoever_waits_for_it() {
    let lab = Lab::new();
    let mut firewall = Firewall::on(&lab, &Lab::endpoints());
    let ready = |firewall: &mut Firewall| {
        let events = firewall
            .attached
            .events()
            .as_fd()
            .try_clone_to_owned()
            .unwrap();
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    };
    assert!(!ready(&mut firewall));
    assert_eq!(reaches(&lab, "udp").unwrap_err().result, "EPERM");
    assert!(ready(&mut firewall));
    assert_eq!(firewall.events().len(), 1);
    assert!(!ready(&mut firewall));
}

#[test]
fn a_flood_of_denials_is_counted_to_the_last() {
    const FLOOD: u64 = 5000;
    let lab = Lab::new();
    let mut firewall = Firewall::on(&lab, &Lab::endpoints());
    let script = format!(
        "import socket\ns = socket.socket()\nfor port in range({FLOOD}): s.connect_ex(('192.0.2.1', port + 1024))"
    );
    let mut command = lab.command(Where::Workload, Who::User, &["python3", "-c", &script]);
    assert!(lab.on_host(move || command.status().unwrap()).success());
    let events = u64::try_from(firewall.events().len()).unwrap();
    let counters = firewall.attached.counters();
    assert_eq!(counters.denials(Reason::TcpNotAllowed).unwrap(), FLOOD);
    assert_eq!(events + counters.lost().unwrap(), FLOOD);
    assert!(events > 1000, "{events}");
    assert!(
        counters.lost().unwrap() > 0,
        "the flood is large enough to lose some"
    );
}
