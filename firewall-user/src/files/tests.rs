// SPDX-License-Identifier: GPL-3.0-or-later
use std::collections::BTreeMap;

use keyward_policy::{Builder, Input, NoCommands, Sources};

use super::*;

/// The sections of a policy file.
fn sections(text: &str) -> Sections {
    let environment = BTreeMap::new();
    let mut builder = Builder::new(Sources {
        root: Path::new("/nonexistent"),
        home: None,
        directory: Path::new("/nonexistent"),
        environment: &environment,
        commands: &NoCommands,
    });
    builder.config(&Input::Text {
        name: "keyward.toml".to_owned(),
        text: text.to_owned(),
    });
    let sections = builder.gateway().clone();
    builder.finish().unwrap();
    sections
}

fn resolve(flags: &FileArgs, text: &str) -> (Files, Vec<String>) {
    let mut faults = Vec::new();
    let home = Some(Path::new("/home/ada"));
    let files = Files::resolve(flags, &sections(text), home, &mut faults);
    (files, faults)
}

/// Each path, and who asks for it.
fn told(list: &[Wish<PathBuf>]) -> Vec<String> {
    let told = |it: &Wish<PathBuf>| format!("{} by {}", it.what.display(), it.by);
    list.iter().map(told).collect()
}

#[test]
fn files_and_flags_add_up_and_each_knows_its_place() {
    let flags = FileArgs {
        hide: vec!["secrets".into()],
        mount: vec![cli::mount("/a:/b").unwrap()],
        x11: true,
        ..FileArgs::default()
    };
    let text = "[files]\nwritable = [\"~/.cache\", \"~\", \"~x\", \"out\"]\nhide = [\".env*\"]\n\
                mount = [\"~/data:/data:ro\"]\nexpose = [\"/dev/kvm\"]\nssh-agent = true\nx11 = true\nwayland = false\n";
    let (files, faults) = resolve(&flags, text);
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        told(&files.writable),
        [
            "/home/ada/.cache by keyward.toml:2:14",
            "/home/ada by keyward.toml:2:26",
            "~x by keyward.toml:2:31",
            "out by keyward.toml:2:37"
        ]
    );
    let hide = [".env* by keyward.toml:3:10", "secrets by --hide"];
    assert_eq!(told(&files.hide), hide);
    assert_eq!(told(&files.expose), ["/dev/kvm by keyward.toml:5:12"]);
    let mounts: Vec<_> = files.mounts.iter().map(|it| &it.what).collect();
    let of_file = Mount {
        source: "/home/ada/data".into(),
        target: "/data".into(),
        writable: false,
    };
    assert_eq!(mounts, [&of_file, &flags.mount[0]]);
    let by = files.ssh_agent.map(|it| it.to_string());
    assert_eq!(by.as_deref(), Some("keyward.toml:6:13"));
    assert_eq!((files.x11, files.wayland), (Some(By::Flag("--x11")), None));
}

#[test]
fn nothing_said_is_nothing_asked_for() {
    for text in ["", "[files]\n", "[files]\nhide = []\nx11 = false\n"] {
        let (files, faults) = resolve(&FileArgs::default(), text);
        assert_eq!((files, faults), (Files::default(), Vec::new()), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_at_its_place() {
    for (line, told) in [
        (
            "hide = \".env\"",
            "keyward.toml:2:9: this is a list of strings, in brackets",
        ),
        ("hide = [1]", "keyward.toml:2:9: this is a string"),
        (
            "expose = [\"/x\", \"\"]",
            "keyward.toml:2:18: this is a path, and is empty",
        ),
        (
            "mount = [\"/a\"]",
            "keyward.toml:2:11: it is SOURCE:TARGET, or SOURCE:TARGET:ro",
        ),
        (
            "mount = [\"/a:b\"]",
            "keyward.toml:2:11: the target \"b\" is not a path below /",
        ),
        ("x11 = \"yes\"", "keyward.toml:2:8: this is true or false"),
        ("hidden = []", "keyward.toml:2:1: this key is not known"),
    ] {
        let (files, faults) = resolve(&FileArgs::default(), &format!("[files]\n{line}\n"));
        assert!(files.hide.is_empty() && files.mounts.is_empty(), "{line}");
        assert_eq!(faults.len(), 1, "{line}: {faults:?}");
        assert!(faults[0].starts_with(told), "{line}: {}", faults[0]);
    }
    let (_, faults) = resolve(&FileArgs::default(), "[files]\nhidden = []\n");
    let hint = "hint: there are writable, mount, hide, expose, ssh-agent, x11, wayland";
    assert!(faults[0].contains(hint), "{}", faults[0]);
}
