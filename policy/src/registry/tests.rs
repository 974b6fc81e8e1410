// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each client's configuration in a directory of our own, and programs that say what they are told to.

use std::{collections::BTreeMap, fs};

use tempfile::TempDir;

use super::*;
use crate::Commands;

/// A host: files below a root, a home in it, an environment, programs.
struct Fake {
    root: TempDir,
    environment: BTreeMap<String, String>,
    programs: BTreeMap<String, String>,
}

impl Commands for Fake {
    fn run(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let line = [&[program], arguments].concat().join(" ");
        let said = self
            .programs
            .iter()
            .find(|it| line.starts_with(it.0.as_str()));
        said.map(|it| {
            it.1.replace("ROOT", &self.root.path().display().to_string())
        })
    }
}

impl Fake {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self {
            root,
            environment: BTreeMap::new(),
            programs: BTreeMap::new(),
        }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn program(mut self, line: &str, says: &str) -> Self {
        self.programs.insert(line.to_owned(), says.to_owned());
        self
    }

    /// `RULE < SOURCE:LINE`, and notes.
    fn rules(&self, client: &str) -> Vec<String> {
        let root = self.root.path();
        let home = root.join("home");
        let mut reader = Reader::new(Sources {
            root,
            home: Some(&home),
            directory: root,
            environment: &self.environment,
            commands: self,
        });
        let short = |text: String| text.replace(&format!("{}/", root.display()), "");
        let mut found = match reader.rules(Client::named(client).unwrap()) {
            Ok(entries) => entries
                .into_iter()
                .map(|it| {
                    assert!(it.private);
                    assert_eq!(
                        it.origin.group.as_deref(),
                        Some(&*format!("registry:{client}"))
                    );
                    let line = if it.origin.line > 0 {
                        format!(":{}", it.origin.line)
                    } else {
                        String::new()
                    };
                    short(format!("{} < {}{line}", it.rule, it.origin.source))
                })
                .collect(),
            Err(wrong) => vec![wrong.to_string()],
        };
        let (_, notes) = reader.finish();
        found.extend(notes.into_iter().map(short));
        assert!(found.iter().all(|it| !it.contains("SECRET")), "{found:?}");
        found
    }
}

#[test]
fn npm() {
    let plain = Fake::new(&[]).program("npm config get registry", "https://npm.default.test/\n");
    assert_eq!(
        plain.rules("npm"),
        ["https://npm.default.test < `npm config get registry`"]
    );

    let npmrc = "; mine\nregistry = https://npm.corp.test:8443/x/\n@team:registry=http://team.corp.test/\n\
         //npm.corp.test/:_authToken=SECRET\nproxy=http://SECRET@proxy.test\n";
    let own = Fake::new(&[
        ("home/.npmrc", npmrc),
        (
            "etc/npmrc",
            "registry=https://not-this.test/\n@sys:registry=\"https://sys.corp.test/\"\n",
        ),
        // A project's file could open hosts.
        (".npmrc", "registry=https://evil.test/\n"),
    ]);
    assert_eq!(
        own.rules("npm"),
        [
            "https://npm.corp.test:8443 < home/.npmrc:2",
            "http://team.corp.test < home/.npmrc:3",
            "https://sys.corp.test < etc/npmrc:2",
        ]
    );

    let variable = Fake::new(&[(
        "home/.npmrc",
        "registry=https://not-this.test\n@a:registry=https://${HOST}/\n",
    )])
    .variable("NPM_CONFIG_REGISTRY", "https://user:SECRET@env.corp.test/")
    .variable("HOST", "a.corp.test");
    assert_eq!(
        variable.rules("npm"),
        [
            "https://env.corp.test < $NPM_CONFIG_REGISTRY",
            "https://a.corp.test < home/.npmrc:2"
        ]
    );

    let broken = Fake::new(&[("home/.npmrc", "registry=SECRET\n")]);
    assert_eq!(
        broken.rules("npm"),
        [
            "nothing on this host says where npm fetches from (install or configure npm, or write the host in place of `registry:npm`)",
            "registry:npm: home/.npmrc:1 names no host that can be allowed",
        ]
    );
}

#[test]
fn pip() {
    let plain = Fake::new(&[]).program(
        "python3 -I -c ",
        "https://index.default.test/simple https://files.default.test\n",
    );
    assert_eq!(
        plain.rules("pip"),
        [
            "https://index.default.test < `python3 -I -c …`",
            "https://files.default.test < `python3 -I -c …`",
        ]
    );

    let conf = "[global]\nindex-url = https://u:SECRET@pip.corp.test/simple\nextra-index-url =\n    http://a.corp.test/x\n    \
         https://b.corp.test/x\n[install]\nfind_links = /srv/wheels https://c.corp.test/\ntrusted-host = not-this.test\n";
    let own = Fake::new(&[
        ("home/.config/pip/pip.conf", conf),
        ("etc/pip.conf", "[global]\ntimeout = 5\n"),
    ])
    .variable("UV_INDEX", "name=https://uv.corp.test/simple");
    assert_eq!(
        own.rules("pip"),
        [
            "https://uv.corp.test < $UV_INDEX",
            "https://pip.corp.test < home/.config/pip/pip.conf:2",
            "http://a.corp.test < home/.config/pip/pip.conf:3",
            "https://b.corp.test < home/.config/pip/pip.conf:3",
            "https://c.corp.test < home/.config/pip/pip.conf:7",
        ]
    );
}

#[test]
fn cargo() {
    let used = Fake::new(&[(
        "home/.cargo/registry/index/index.default.test-0123456789abcdef/config.json",
        "{\n  \"dl\": \"https://files.default.test/crates\",\n  \"api\": \"https://default.test\"\n}",
    )]);
    let config = "home/.cargo/registry/index/index.default.test-0123456789abcdef/config.json";
    assert_eq!(
        used.rules("cargo"),
        [
            format!("https://index.default.test < {config}"),
            format!("https://files.default.test < {config}:2"),
        ]
    );

    let fresh = Fake::new(&[(
        "toolchain/bin/cargo",
        "\0sparse+https://\0sparse+https://index.default.test/https://other.test/\0",
    )])
    .program("rustc --print sysroot", "ROOT/toolchain\n");
    let found = fresh.rules("cargo");
    assert_eq!(found[0], "https://index.default.test < toolchain/bin/cargo");
    assert!(
        found[1].contains("not known before cargo was used once"),
        "{found:?}"
    );

    let replaced = Fake::new(&[
        (
            "home/.cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"corp\"\n[source.corp]\nregistry = \"sparse+https://cargo.corp.test/index/\"\n\
             [registries.more]\nindex = \"https://more.corp.test/git\"\ntoken = \"SECRET\"\n",
        ),
        (
            "home/.cargo/registry/index/index.default.test-0123456789abcdef/config.json",
            "{\"dl\": \"https://files.default.test/crates\"}",
        ),
        (
            "home/.cargo/registry/index/cargo.corp.test-0123456789abcdef/config.json",
            "{\"dl\": \"https://dl.corp.test/crates\"}",
        ),
    ]);
    assert_eq!(
        replaced.rules("cargo"),
        [
            "https://more.corp.test < home/.cargo/config.toml:6",
            "https://cargo.corp.test < home/.cargo/config.toml:4",
            "https://dl.corp.test < home/.cargo/registry/index/cargo.corp.test-0123456789abcdef/config.json:1",
        ]
    );
}

#[test]
fn apt() {
    let host = Fake::new(&[
        (
            "etc/apt/sources.list",
            "# deb http://not-this.test/\ndeb [arch=amd64 signed-by=/x] http://a.mirror.test/debian stable main\n\
             deb-src https://b.mirror.test:8443/debian stable main # x\ndeb file:///srv/x ./\ndeb cdrom:[x]/ stable main\n",
        ),
        (
            "etc/apt/sources.list.d/x.list",
            "deb http://c.mirror.test/x stable main\n",
        ),
        (
            "etc/apt/sources.list.d/x.list.off",
            "deb http://not-this.test/x stable main\n",
        ),
        (
            "etc/apt/sources.list.d/y.sources",
            "# x\nTypes: deb\nURIs: http://d.mirror.test/x\n https://e.mirror.test/x\nSuites: stable\n\n\
             Types: deb\nEnabled: no\nURIs: http://not-this.test/\n\nTypes: deb\nURIs: mirror+http://f.mirror.test/list\n",
        ),
        (
            "etc/apt/apt.conf.d/proxy",
            "// Acquire::http::Proxy \"http://not-this.test\";\nAcquire::http::Proxy \"http://u:SECRET@proxy.test:3142\";\n",
        ),
    ]);
    assert_eq!(
        host.rules("apt"),
        [
            "http://a.mirror.test < etc/apt/sources.list:2",
            "https://b.mirror.test:8443 < etc/apt/sources.list:3",
            "http://c.mirror.test < etc/apt/sources.list.d/x.list:1",
            "http://d.mirror.test < etc/apt/sources.list.d/y.sources:3",
            "https://e.mirror.test < etc/apt/sources.list.d/y.sources:4",
            "http://f.mirror.test < etc/apt/sources.list.d/y.sources:12",
            "http://proxy.test:3142 < etc/apt/apt.conf.d/proxy:2",
        ]
    );
}

#[test]
fn go() {
    let plain = Fake::new(&[])
        .program("go env GOPROXY", "https://mod.default.test,direct\n")
        .program("go env GOSUMDB", "sum.default.test\n");
    assert_eq!(
        plain.rules("go"),
        [
            "https://mod.default.test < `go env GOPROXY`",
            "https://sum.default.test < `go env GOSUMDB`",
        ]
    );
    let own = Fake::new(&[(
        "home/.config/go/env",
        "GOSUMDB=sum.corp.test+abc+SECRET https://sum-mirror.corp.test\n",
    )])
    .variable("GOPROXY", "https://a.corp.test/x|http://b.corp.test,off");
    assert_eq!(
        own.rules("go"),
        [
            "https://a.corp.test < $GOPROXY",
            "http://b.corp.test < $GOPROXY",
            "https://sum.corp.test < home/.config/go/env:1",
            "https://sum-mirror.corp.test < home/.config/go/env:1",
        ]
    );
    let off = Fake::new(&[])
        .variable("GOPROXY", "off")
        .variable("GOSUMDB", "off");
    assert_eq!(off.rules("go").len(), 1);
}

#[test]
fn maven() {
    let model = "<?xml version=\"1.0\"?><!-- <url>https://not-this.test</url> --><project>\n<repositories><repository>\n\
         <id>central</id><url>https://central.default.test/maven2</url></repository></repositories></project>";
    let plain = Fake::new(&[("usr/share/maven/lib/maven-model-builder-3.9.jar", "")])
        .program("unzip -p ", model);
    let jar = "usr/share/maven/lib/maven-model-builder-3.9.jar";
    assert_eq!(
        plain.rules("maven"),
        [format!("https://central.default.test < {jar}")]
    );

    let settings = "<settings>\n<servers><server><password>SECRET</password></server></servers>\n<mirrors>\n<mirror>\n\
         <id>corp</id>\n<url>https://maven.corp.test/all?a&amp;b</url>\n<mirrorOf>*,!local</mirrorOf></mirror></mirrors>\n\
         <profiles><profile><repositories><repository><url>http://more.corp.test</url></repository></repositories>\n\
         </profile></profiles></settings>";
    let own =
        Fake::new(&[(jar, ""), ("home/.m2/settings.xml", settings)]).program("unzip -p ", model);
    assert_eq!(
        own.rules("maven"),
        [
            "https://maven.corp.test < home/.m2/settings.xml:6",
            "http://more.corp.test < home/.m2/settings.xml:8",
        ]
    );
}

#[test]
fn gem_and_nuget() {
    let plain = Fake::new(&[]).program(
        "gem sources --list",
        "*** CURRENT SOURCES ***\n\nhttps://gems.default.test/\n",
    );
    assert_eq!(
        plain.rules("gem"),
        ["https://gems.default.test < `gem sources --list`"]
    );
    let own = Fake::new(&[
        (
            "home/.gemrc",
            "---\n:backtrace: true\n:sources:\n- https://u:SECRET@gems.corp.test/\n:verbose: true\n- https://not-this.test\n",
        ),
        (
            "home/.bundle/config",
            "---\nBUNDLE_MIRROR__HTTPS://DEFAULT__TEST/: \"https://mirror.corp.test\"\n",
        ),
    ]);
    assert_eq!(
        own.rules("gem"),
        [
            "https://gems.corp.test < home/.gemrc:4",
            "https://mirror.corp.test < home/.bundle/config:2"
        ]
    );

    let config = "<?xml version=\"1.0\"?>\n<configuration>\n  <packageSources>\n    <add key=\"a\" value=\"https://nuget.corp.test/v3/index.json\" />\n\
         <add key=\"b\" value=\"/srv/packages\" />\n  </packageSources>\n<packageSourceCredentials><a><add key=\"x\" value=\"https://SECRET.test\"/></a></packageSourceCredentials></configuration>";
    let own = Fake::new(&[("home/.nuget/NuGet/NuGet.Config", config)]);
    assert_eq!(
        own.rules("nuget"),
        ["https://nuget.corp.test < home/.nuget/NuGet/NuGet.Config:4"]
    );
    assert!(Fake::new(&[]).rules("nuget")[0].starts_with("nothing on this host"));
}

#[test]
fn hostile_files_are_only_left_out() {
    let many = "<a>".repeat(100_000);
    for text in [
        "<",
        "<a",
        "<!--",
        "</a>",
        "<a></b><url>x</url>",
        "\u{0}<a b='",
        many.as_str(),
    ] {
        xml::read(text);
    }
    let host = Fake::new(&[(
        "home/.npmrc",
        "registry=https://[::1\n[\n=\nregistry\n@:registry=://\n",
    )]);
    assert_eq!(host.rules("npm").len(), 3);
}
