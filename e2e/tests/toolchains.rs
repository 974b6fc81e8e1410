// SPDX-License-Identifier: GPL-3.0-or-later
//! The host's tools, inside as outside: the same versions, and projects of each ecosystem built and tested in their
//! working directory, unchanged, with the same outcome. Nothing is fetched; that they fetch is shown in `registries.rs`
//! and `mirrors.rs`.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::host::{Host, on_a_host, stderr, stdout, succeed};

/// What prints a version.
const VERSIONS: &str = "for tool in 'python3 -VV' 'node --version' 'npm --version' 'go version' 'java --version' \
    'mvn --version' 'git --version' 'cc --version' 'make --version' 'cmake --version' '/mnt/bin/cargo --version' \
    '/mnt/bin/rustc --version'; do echo \"$tool:\"; $tool || echo missing; done 2>&1";

/// Paths and texts.
type Files = &'static [(&'static str, &'static str)];

/// Name of a project, its files, and what builds and tests it. What tools have to say about it goes to standard error;
/// standard output has what came of it, and ends with a line that only the built thing prints.
const PROJECTS: &[(&str, Files, &str)] = &[
    (
        "npm",
        &[
            (
                "part/package.json",
                r#"{"name":"part","version":"1.0.0","main":"i.js"}"#,
            ),
            ("part/i.js", "exports.add = (a, b) => a + b"),
            (
                "package.json",
                r#"{"name":"whole","version":"1.0.0","dependencies":{"part":"file:part"},"scripts":{"test":"node --test"}}"#,
            ),
            (
                "whole.test.js",
                "require('node:test')('adds', () => require('node:assert').equal(require('part').add(1, 2), 3))",
            ),
        ],
        "{ npm install --offline --no-audit --no-fund && npm test; } >&2 && node -p \"'sum ' + require('part').add(19, 23)\"",
    ),
    (
        "pip",
        &[
            (
                "setup.py",
                "from setuptools import setup\nsetup(name='whole', version='1.0', py_modules=['whole'])\n",
            ),
            ("whole.py", "def add(a, b):\n    return a + b\n"),
            (
                "test_whole.py",
                "import unittest, whole\nclass T(unittest.TestCase):\n    def test_add(self):\n        self.assertEqual(whole.add(1, 2), 3)\n",
            ),
        ],
        "{ /usr/bin/python3 -m unittest -q && /usr/bin/python3 -m pip install -q --no-build-isolation --no-index \
         --no-deps --target built .; } >&2 && cd / && PYTHONPATH=$OLDPWD/built /usr/bin/python3 -c 'import whole; print(\"sum\", whole.add(19, 23))'",
    ),
    (
        "cargo",
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"whole\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\npart = { path = \"part\" }\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"sum {}\", part::add(19, 23)) }\n#[test]\nfn adds() { assert_eq!(part::add(1, 2), 3) }\n",
            ),
            (
                "part/Cargo.toml",
                "[package]\nname = \"part\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
            ),
            (
                "part/src/lib.rs",
                "pub fn add(a: i32, b: i32) -> i32 { a + b }\n",
            ),
        ],
        "export PATH=/mnt/bin:$PATH CARGO_INCREMENTAL=0; cargo test -q --offline >&2 && cargo run -q --offline",
    ),
    (
        "go",
        &[
            ("go.mod", "module whole\n\ngo 1.18\n"),
            (
                "main.go",
                "package main\n\nimport \"fmt\"\n\nfunc add(a, b int) int { return a + b }\n\nfunc main() { fmt.Println(\"sum\", add(19, 23)) }\n",
            ),
            (
                "main_test.go",
                "package main\n\nimport \"testing\"\n\nfunc TestAdd(t *testing.T) {\n\tif add(1, 2) != 3 {\n\t\tt.Fatal()\n\t}\n}\n",
            ),
        ],
        "export GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0; go test ./... >&2 && go run .",
    ),
    (
        "make",
        &[
            (
                "Makefile",
                "sum: main.o add.o\n\tcc -o $@ $^\ntest: sum\n\ttest \"$$(./sum)\" = 'sum 42'\n",
            ),
            ("add.c", "int add(int a, int b) { return a + b; }\n"),
            (
                "main.c",
                "#include <stdio.h>\nint add(int, int);\nint main(void) { printf(\"sum %d\\n\", add(19, 23)); return 0; }\n",
            ),
        ],
        "make -j2 test >&2 && ./sum",
    ),
    (
        "cmake",
        &[
            (
                "CMakeLists.txt",
                "cmake_minimum_required(VERSION 3.10)\nproject(whole C)\nenable_testing()\nadd_library(part SHARED add.c)\n\
                 add_executable(sum main.c)\ntarget_link_libraries(sum part)\nadd_test(NAME sum COMMAND sum)\n",
            ),
            ("add.c", "int add(int a, int b) { return a + b; }\n"),
            (
                "main.c",
                "#include <stdio.h>\nint add(int, int);\nint main(void) { printf(\"sum %d\\n\", add(19, 23)); return 0; }\n",
            ),
        ],
        "{ cmake -B build && cmake --build build && ctest --test-dir build; } >&2 && build/sum",
    ),
    (
        "java",
        &[
            (
                "src/Whole.java",
                "class Whole { static int add(int a, int b) { return a + b; } }\n",
            ),
            (
                "src/Main.java",
                "class Main { public static void main(String[] a) { System.out.println(\"sum \" + Whole.add(19, 23)); } }\n",
            ),
        ],
        "javac -d out src/*.java && jar -cfe whole.jar Main -C out . && jar -tf whole.jar && java -jar whole.jar",
    ),
    (
        "maven",
        &[
            (
                "pom.xml",
                "<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>whole</artifactId>\
                 <version>1.0</version><properties><maven.compiler.release>11</maven.compiler.release>\
                 <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>\
                 <dependencies><dependency><groupId>junit</groupId><artifactId>junit</artifactId>\
                 <version>4.x</version><scope>test</scope></dependency></dependencies></project>",
            ),
            ("src/main/resources/word", "sum\n"),
            (
                "src/main/java/whole/Whole.java",
                "package whole;\nimport java.io.*;\npublic class Whole {\n\
                 public static int add(int a, int b) { return a + b; }\n\
                 public static String word() throws IOException {\n\
                 try (var in = new BufferedReader(new InputStreamReader(Whole.class.getResourceAsStream(\"/word\")))) {\n\
                 return in.readLine(); } }\n\
                 public static void main(String[] a) throws IOException {\n\
                 System.out.println(word() + \" \" + add(19, 23)); } }\n",
            ),
            (
                "src/test/java/whole/WholeTest.java",
                "package whole;\nimport static org.junit.Assert.assertEquals;\nimport org.junit.Test;\n\
                 public class WholeTest {\n\
                 @Test public void adds() { assertEquals(3, Whole.add(1, 2)); }\n\
                 @Test public void findsTheWord() throws Exception { assertEquals(\"sum\", Whole.word()); } }\n",
            ),
        ],
        // Debian's repository of artifacts, where it is: it can be read by everybody and written to by root alone.
        "mvn -o -B -q -Dmaven.repo.local=/usr/share/maven-repo verify >&2 && jar -tf target/whole-1.0.jar && \
         grep -o 'tests=.*' target/surefire-reports/TEST-whole.WholeTest.xml && \
         java -cp target/whole-1.0.jar whole.Whole",
    ),
];

/// A user with a home, and in it each project as its authors left it.
fn lay_out(host: &Host) {
    let home = host.scratch().join("home");
    let projects = home.join("projects");
    if projects.exists() {
        fs::remove_dir_all(&projects).unwrap();
    }
    for (name, files, _) in PROJECTS {
        for (file, text) in *files {
            let path = projects.join(name).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    succeed(Command::new("chown").args(["-R", "12345:12345"]).arg(&home));
}

fn prepare(host: &Host) {
    lay_out(host);
    // The toolchain may be where only root can look.
    let toolchain = Path::new(env!("CARGO")).parent().and_then(Path::parent);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    succeed(Command::new("mount").args(["--make-rprivate", "/"]));
    succeed(
        Command::new("mount")
            .args(["--bind", "-o", "ro"])
            .args([toolchain.unwrap(), Path::new("/mnt")]),
    );
}

const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

fn inside(host: &Host, directory: &Path, script: &str) -> Output {
    let home = host.scratch().join("home");
    let mut command = host.run();
    command.current_dir(directory).arg("--env");
    command.arg(format!("HOME={}", home.display()));
    command.args(["--", "sh", "-c", script]);
    command.output().unwrap()
}

fn outside(host: &Host, directory: &Path, script: &str) -> Output {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=12345", "--regid=12345", "--clear-groups"])
        .args(["sh", "-c", script])
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", host.scratch().join("home"))
        .current_dir(directory)
        .stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn versions_agree() {
    on_a_host(|host| {
        prepare(host);
        let directory = host.scratch().join("home/projects/npm");
        let expected = stdout(&outside(host, &directory, VERSIONS));
        assert!(!expected.contains("missing"), "{expected}");
        let output = inside(host, &directory, VERSIONS);
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    });
}

/// The files below a directory, by their names. What Maven's test runner has to note of its own fork, when the machine is
/// busy, is in a file that is named after the time.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut find = Command::new("find");
    find.args([".", "!", "-name", "*-jvmRun1.dump"]);
    let list = succeed(find.current_dir(directory));
    list.lines().map(str::to_owned).collect()
}

/// Builds and tests each project, and returns what was printed and what files there are then.
fn build(
    host: &Host,
    on: fn(&Host, &Path, &str) -> Output,
) -> Vec<(&'static str, String, BTreeSet<String>)> {
    lay_out(host);
    let build = |(name, _, script): &(&'static str, Files, &str)| {
        let directory = host.scratch().join("home/projects").join(name);
        let output = on(host, &directory, script);
        let said = stdout(&output);
        assert!(
            output.status.success() && said.ends_with("sum 42\n"),
            "{name}: {said}{}",
            stderr(&output)
        );
        (*name, said, files(&directory))
    };
    PROJECTS.iter().map(build).collect()
}

#[test]
fn projects_are_built_and_tested() {
    on_a_host(|host| {
        prepare(host);
        // In the same place, one after the other: paths find their way into what is built.
        let (outside, inside) = (build(host, outside), build(host, inside));
        for (outside, inside) in outside.iter().zip(&inside) {
            assert_eq!(outside, inside);
        }
    });
}
