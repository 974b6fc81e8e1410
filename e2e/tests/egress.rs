// SPDX-License-Identifier: GPL-3.0-or-later
//! Egress by host name: what is allowed works as it does without the firewall, and what is not allowed is reached by
//! none of the ways that an attacker would try.
#![cfg(test)]

use std::fs;
use std::process::Command;

use e2e::host::{Running, eventually, stderr, stdout, succeed};
use e2e::world::{World, in_a_world};
use keyward_escape::round::KIT;

const ALLOWED: &str = "203.0.113.10";
const DENIED: &str = "203.0.113.20";
const PRIVATE: &str = "10.11.12.13";

/// Names that a policy may well allow, and that lead where nobody meant to let the workload.
const REBINDING: [&str; 2] = [
    "--allow-domains",
    "allowed.test,private.test,metadata.test,loopback.test",
];

/// Puts the probes where both users find them, and returns their names.
fn probes(world: &World<'_>) -> Vec<String> {
    let copy = world.host().scratch().join("probes.py");
    let script = [KIT, include_str!("egress/probes.py")].join("\n\n");
    fs::write(&copy, script).expect("the probes");
    let list = succeed(Command::new("/usr/bin/python3").arg(&copy).arg("list"));
    list.lines().map(str::to_owned).collect()
}

/// How many attempts are made at once: all of them would be too slow for their own patience.
const AT_ONCE: usize = 32;

/// A script that makes all attempts, each with a mark of its own.
fn all(probes: &[String], mark: &str) -> String {
    let each = |name: &String| {
        format!("/usr/bin/python3 probes.py {name} {mark}-{name}-x 2>&1 | sed 's/^/{name}: /' &\n")
    };
    let some = |names: &[String]| names.iter().map(each).collect::<String>() + "wait\n";
    probes.chunks(AT_ONCE).map(some).collect()
}

#[test]
fn nothing_reaches_what_is_not_allowed() {
    in_a_world(|world| {
        let probes = probes(world);
        assert!(probes.len() > 150, "{probes:?}");
        let said = stdout(&world.outside(&all(&probes, "outside")));
        let reached = |mark: &str| -> Vec<String> {
            // The page that redirects is an allowed one, and is told the mark.
            let elsewhere = |it: &serde_json::Value| !it.to_string().contains("/redirect?to=");
            let arrived = world.arrived().into_iter().filter(elsewhere);
            let arrived: Vec<String> = arrived.map(|it| it.to_string()).collect();
            let fits = |name: &&String| {
                let mark = format!("{mark}-{name}-x");
                arrived.iter().any(|it| it.contains(&mark))
            };
            probes.iter().filter(fits).cloned().collect()
        };
        let without = reached("outside");
        let missing: Vec<_> = probes.iter().filter(|it| !without.contains(it)).collect();
        assert!(
            missing.is_empty(),
            "not even without the firewall: {missing:?}\n{said}"
        );
        let output = world.inside(&REBINDING, &all(&probes, "inside"));
        let with = reached("inside");
        assert!(
            with.is_empty(),
            "got out: {with:?}\n{}{}",
            stdout(&output),
            stderr(&output)
        );
        // The run itself worked: what it began with got through.
        let first = |it: &serde_json::Value| it["path"] == "/first" && it["at"] == ALLOWED;
        let began = world.arrived().into_iter().filter(first).count();
        assert!(began >= 4, "{began} first requests\n{}", stdout(&output));
    });
}

/// What everybody does, by each door, with the words of `curl`.
#[test]
fn what_is_allowed_works_unchanged() {
    in_a_world(|world| {
        let allow = [
            "--allow-domains",
            "allowed.test,allowed.test:2222,203.0.113.30",
        ];
        let proxied = [
            "--allow-domains",
            "allowed.test,203.0.113.30",
            "--proxy-env",
        ];
        for (script, words) in [
            ("curl -sS https://allowed.test/", "hello from 203.0.113.10"),
            ("curl -sS http://allowed.test/", "hello from 203.0.113.10"),
            (
                "curl -sS https://www.allowed.test/",
                "hello from 203.0.113.11",
            ),
            ("curl -sS https://ALLOWED.test./", "hello from 203.0.113.10"),
            ("curl -sS http://203.0.113.30/", "hello from 203.0.113.30"),
            ("curl -sS https://203.0.113.30/", "hello from 203.0.113.30"),
            ("curl -sS https://allowed.test/large | wc -c", "4194304"),
            ("curl -sS http://allowed.test/large | wc -c", "4194304"),
            (
                "head -c 3000000 /dev/zero > /tmp/f; curl -sS -T /tmp/f https://allowed.test/up",
                "hello",
            ),
            (
                "curl -sS http://allowed.test/a http://allowed.test/b",
                "hello",
            ),
        ] {
            // With the proxy's variables, plain HTTP of `curl` goes by either door, as its own is set or not.
            for (flags, told) in [
                (&allow[..], ""),
                (&proxied[..], ""),
                (&proxied[..], "export http_proxy=$HTTP_PROXY; "),
            ] {
                let output = world.inside(flags, &format!("{told}{script}"));
                let said = stdout(&output);
                assert!(
                    said.contains(words),
                    "{script} {flags:?}: {said}{}",
                    stderr(&output)
                );
                // Nothing was blocked, so nothing is said.
                assert_eq!(stderr(&output), "", "{script} {flags:?}");
            }
        }
        // A protocol of its own, in which the server speaks first.
        let output = world.inside(
            &allow,
            "/usr/bin/python3 -c 'import socket; s = socket.create_connection((\"allowed.test\", 2222)); \
             print(s.recv(99), s.getpeername()[1]); s.sendall(b\"x\"); print(s.recv(9))'",
        );
        assert_eq!(
            stdout(&output),
            "b'hello from 203.0.113.10\\n' 2222\nb'x'\n",
            "{}",
            stderr(&output)
        );
    });
}

#[test]
fn a_denial_is_quick_and_says_what_to_add() {
    in_a_world(|world| {
        for flags in [&["--allow-domains", "allowed.test"][..], &[]] {
            let output = world.inside(flags, "curl -sS -m5 https://denied.test/x");
            assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
            let report = stderr(&output);
            for words in ["denied.test", "curl", "--allow-domains denied.test"] {
                assert!(report.contains(words), "{words} is missing:\n{report}");
            }
        }
        let output = world.inside(
            &["--allow-domains", "allowed.test", "--proxy-env"],
            "export http_proxy=$HTTP_PROXY; curl -sS -m5 http://denied.test/x; curl -sS -m5 -H 'Accept: application/json' http://denied.test/y; \
             curl -sSv -m5 https://denied.test/z",
        );
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(said.contains("--allow-domains denied.test"), "{said}");
        assert!(said.contains("host_not_allowed"), "{said}");
        assert!(said.contains("403"), "{said}");
        assert!(!world.arrived().iter().any(|it| it["at"] == DENIED));
        // The same, allowed.
        let output = world.inside(
            &["--allow-domains", "allowed.test,denied.test", "--proxy-env"],
            "export http_proxy=$HTTP_PROXY; curl -sS -m5 http://denied.test/x",
        );
        assert_eq!(stdout(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(world.has_arrived(DENIED, "/x"));
    });
}

#[test]
fn blocks_win_and_ports_and_schemes_count() {
    in_a_world(|world| {
        let flags = [
            "--allow-domains",
            "allowed.test,https://other.test,denied.test:8080",
            "--block-domains",
            "www.allowed.test",
        ];
        for (url, passes) in [
            ("https://allowed.test/", true),
            ("https://www.allowed.test/", false),
            ("http://allowed.test:8080/", false),
            ("https://other.test/", true),
            ("http://other.test/", false),
            ("http://denied.test:8080/", true),
            ("http://denied.test/", false),
            ("https://denied.test:8443/", false),
        ] {
            let without = world.outside(&format!("curl -sS -m5 {url}"));
            assert!(without.status.success(), "{url}: {}", stderr(&without));
            let with = world.inside(&flags, &format!("curl -sSf -m5 {url}"));
            assert_eq!(with.status.success(), passes, "{url}: {}", stderr(&with));
        }
        // Also where anything else may be spoken.
        let anything = "other.test:80,other.test:443,other.test:8080,other.test:8443";
        let ports = ["--allow-domains", anything];
        let blocked = [
            &ports[..],
            &["--block-domains", "http://other.test,https://other.test"],
        ]
        .concat();
        for url in [
            "https://other.test/",
            "https://other.test:8443/",
            "http://other.test/",
            "http://other.test:8080/",
        ] {
            for through in ["", "--proxytunnel -x http://172.30.0.30:3128"] {
                let script = format!("curl -sSf -m5 {through} {url}");
                let with = world.inside(&blocked, &script);
                assert!(!with.status.success(), "{script}: {}", stdout(&with));
                let without = world.inside(&ports, &script);
                assert!(without.status.success(), "{script}: {}", stderr(&without));
            }
        }
    });
}

#[test]
fn private_networks_are_dialled_where_a_rule_names_them() {
    in_a_world(|world| {
        let script = "curl -sS -m5 http://private.test/MARK";
        let denied = world.inside(
            &["--allow-domains", "private.test"],
            &script.replace("MARK", "a"),
        );
        assert!(!stdout(&denied).contains("hello"), "{}", stdout(&denied));
        assert!(!world.has_arrived(PRIVATE, "/a"));
        let line = world.audit(|it| it["reason"] == "private_address");
        assert!(!line.is_empty(), "{}", stderr(&denied));
        let named = ["--allow-domains", "private.test,10.0.0.0/8"];
        let allowed = world.inside(&named, &script.replace("MARK", "b"));
        assert!(stdout(&allowed).contains("hello"), "{}", stderr(&allowed));
        assert!(world.has_arrived(PRIVATE, "/b"));
    });
}

#[test]
fn audit_mode_lets_names_through_and_writes_them_down() {
    in_a_world(|world| {
        let output = world.inside(&["--mode", "audit"], "curl -sS -m5 https://denied.test/x");
        assert!(stdout(&output).contains("hello"), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("AUDIT MODE"),
            "{}",
            stderr(&output)
        );
        let lines = world.audit(|it| it["host"] == "denied.test" && it["door"] == "transparent");
        assert_eq!(lines[0]["audited"], "host_not_allowed", "{lines:?}");
        assert_eq!(lines[0]["remedy"], "denied.test", "{lines:?}");
    });
}

/// That every name is let through is no reason to let the workload into the host's own network.
#[test]
fn audit_mode_leads_to_no_address() {
    in_a_world(|world| {
        let proxy = "-x http://172.30.0.30:3128";
        for (number, (host, address, through)) in [
            ("169.254.169.254", "169.254.169.254", ""),
            ("10.11.12.13", PRIVATE, ""),
            ("10.11.12.13", PRIVATE, proxy),
            ("private.test", PRIVATE, proxy),
            ("127.0.0.1", "127.0.0.1", proxy),
            (
                "127.0.0.1",
                "127.0.0.1",
                "--proxytunnel -x http://172.30.0.30:3128",
            ),
            (
                "metadata.test",
                "169.254.169.254",
                "--proxytunnel -x http://172.30.0.30:3128",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let script = |mark: &str| {
                format!("curl -sS -m5 --noproxy '' {through} http://{host}/{mark}{number}x")
            };
            let audit = world.inside(&["--mode", "audit"], &script("closed"));
            assert!(!stdout(&audit).contains("hello"), "{host} {through}");
            assert!(!world.has_arrived(address, &format!("/closed{number}x")));
            let door = if through.is_empty() {
                "transparent"
            } else {
                "explicit"
            };
            let fits = |it: &serde_json::Value| it["host"] == host && it["door"] == door;
            let denied = |it: &serde_json::Value| fits(it) && it["verdict"] == "deny";
            let lines = world.audit(denied);
            assert!(!lines.is_empty(), "{host} {through}: {}", stderr(&audit));
            let named = ["--mode", "audit", "--allow-domains", address];
            let listed = world.inside(&named, &script("open"));
            assert!(stdout(&listed).contains("hello"), "{}", stderr(&listed));
            assert!(world.has_arrived(address, &format!("/open{number}x")));
        }
    });
}

/// The host's own ports: exactly those that were asked for, by either name.
#[test]
fn ports_of_the_host_are_reached_by_its_names() {
    in_a_world(|world| {
        let flags = ["--allow-host-service-ports", "5555,8080"];
        for name in ["host.docker.internal", "host.keyward.internal"] {
            let output = world.inside(&flags, &format!("curl -sS -m5 http://{name}:8080/MARK"));
            assert!(
                stdout(&output).contains("hello from 127.0.0.1"),
                "{}",
                stderr(&output)
            );
            let other = world.inside(&flags, &format!("curl -sS -m5 http://{name}/MARK"));
            assert!(!stdout(&other).contains("hello"), "{}", stdout(&other));
        }
        let without = world.outside("curl -sS -m5 http://127.0.0.1/MARK");
        assert!(stdout(&without).contains("hello"), "the port was there");
        for mode in ["enforce", "audit"] {
            for through in ["", "-x http://172.30.0.30:3128"] {
                let script = format!("curl -sS -m5 {through} http://host.docker.internal:8080/");
                let closed = world.inside(&["--mode", mode], &script);
                assert!(!stdout(&closed).contains("hello"), "{mode} {through}");
                let blocked = ["--mode", mode, "--block-domains", "host.docker.internal"];
                let blocked = world.inside(&blocked, &script);
                assert!(!stdout(&blocked).contains("hello"), "{mode} {through}");
                let open = ["--mode", mode, "--allow-host-service-ports", "8080"];
                let open = world.inside(&open, &script);
                assert!(stdout(&open).contains("hello"), "{}", stderr(&open));
            }
        }
    });
}

/// For tools that look at addresses: the connection is matched by address and name.
#[test]
fn real_addresses_are_answered_where_they_are_asked_for() {
    in_a_world(|world| {
        let flags = ["--dns", "real", "--allow-domains", "allowed.test"];
        let output = world.inside(
            &flags,
            "getent ahostsv4 allowed.test; curl -sS https://allowed.test/",
        );
        let said = stdout(&output);
        assert!(said.contains("203.0.113.10 "), "{said}{}", stderr(&output));
        assert!(
            said.contains("hello from 203.0.113.10"),
            "{said}{}",
            stderr(&output)
        );
        // Neither another host's address, nor another name at this one.
        for script in [
            "curl -sSm5 --resolve denied.test:443:203.0.113.20 https://denied.test/MARK",
            "curl -sSm5 --resolve allowed.test:443:203.0.113.20 https://allowed.test/MARK",
            "getent hosts allowed.test; curl -sSm5 --resolve denied.test:443:203.0.113.10 https://denied.test/MARK",
        ] {
            let without = world.outside(&script.replace("MARK", "without"));
            assert!(
                stdout(&without).contains("hello"),
                "{script}: {}",
                stderr(&without)
            );
            let with = world.inside(&flags, &script.replace("MARK", "with"));
            assert!(
                !stdout(&with).contains("hello"),
                "{script}: {}",
                stdout(&with)
            );
        }
    });
}

/// A company's proxy: what is allowed goes through it, by each door, and what is denied does not reach it.
#[test]
fn an_upstream_proxy_gets_what_is_allowed() {
    in_a_world(|world| {
        let flags = [
            "--allow-domains",
            "allowed.test,allowed.test:2222",
            "--upstream-proxy",
            "http://203.0.113.99:3128",
            "--proxy-env",
        ];
        let script = "export http_proxy=$HTTP_PROXY; \
            curl -sS https://allowed.test/a; curl -sS http://allowed.test/b; \
            unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy; \
            curl -sS https://allowed.test/c; curl -sS http://allowed.test/d; \
            /usr/bin/python3 -c 'import socket; print(socket.create_connection((\"allowed.test\", 2222)).recv(99).decode())'; curl -sSm5 https://denied.test/";
        let output = world.inside(&flags, script);
        let said = stdout(&output);
        assert_eq!(
            said.matches("hello from 203.0.113.10").count(),
            5,
            "{said}{}",
            stderr(&output)
        );
        let forwarded = world.arrived();
        let forwarded: Vec<_> = forwarded
            .iter()
            .filter(|it| it["what"] == "forwarded")
            .filter_map(|it| it["target"].as_str())
            .collect();
        assert_eq!(forwarded.len(), 5, "{forwarded:?}");
        assert!(
            forwarded.iter().all(|it| it.contains("allowed.test")),
            "{forwarded:?}"
        );
    });
}

/// An open tunnel that a new policy denies is ended; one that stays allowed goes on; a bad file changes nothing.
#[test]
fn a_policy_is_reloaded_under_a_running_command() {
    in_a_world(|world| {
        let policy = world.host().scratch().join("keyward.toml");
        let write = |text: &str| fs::write(&policy, text).expect("a policy");
        write("allow = [\"allowed.test:2222\", \"other.test:2222\"]\n");
        let script = "import socket, sys, time\n\
            stays = socket.create_connection(('allowed.test', 2222))\n\
            goes = socket.create_connection(('other.test', 2222))\n\
            for s in (stays, goes): s.recv(99)\n\
            print('open', flush=True)\n\
            goes.settimeout(20)\n\
            try: gone = goes.recv(9) == b''\n\
            except ConnectionResetError: gone = True\n\
            stays.sendall(b'still'); print('gone' if gone else 'not gone', stays.recv(9), flush=True)\n\
            new = socket.create_connection(('denied.test', 2222)); print(new.recv(99), flush=True)\n";
        fs::write(world.host().scratch().join("talk.py"), script).expect("a script");
        let out = world.host().scratch().join("out");
        let mut command = world.keyward(&["--config", "keyward.toml"]);
        command
            .args(["--", "/usr/bin/python3", "talk.py"])
            .stdout(fs::File::create(&out).expect("a file"));
        let mut running = Running::new(&mut command);
        let said = || fs::read_to_string(&out).unwrap_or_default();
        eventually("both tunnels are open", || said().contains("open"));

        write("allow = [\"allowed.test:2222\", \"bad host\"]\n");
        let run = fs::read_dir(world.host().log_dir())
            .expect("logs")
            .flatten()
            .next()
            .expect("a run")
            .file_name();
        let reload = || {
            let mut reload = Command::new(e2e::host::binary("keyward"));
            reload.arg("reload").arg(&run).output().expect("keyward")
        };
        let bad = reload();
        assert!(!bad.status.success());
        assert!(stderr(&bad).contains("keyward.toml:1:"), "{}", stderr(&bad));
        assert_eq!(said(), "open\n", "a bad policy changed something");

        write("allow = [\"allowed.test:2222\", \"denied.test:2222\"]\n");
        let good = reload();
        assert!(good.status.success(), "{}", stderr(&good));
        assert!(running.wait().success(), "{}", said());
        assert_eq!(
            said(),
            "open\ngone b'still'\nb'hello from 203.0.113.20\\n'\n"
        );
        let lines = world.audit(|it| it["reason"] == "policy_changed");
        assert_eq!(lines.len(), 1, "{lines:?}");
    });
}
