// SPDX-License-Identifier: GPL-3.0-or-later
//! Package managers with a company's mirror: a server of the tests' own, with one package. They work unchanged with
//! `registry:NAME`, which is whatever they are set up with, and fail with the line to add without.
//!
//! Which of them work with the registries of the world is in `registries.rs`.
#![cfg(test)]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e::host::{stderr, stdout, succeed};
use e2e::world::{DENIED, World, in_a_world};

/// Longest that a refused client may take.
const SOON: Duration = Duration::from_secs(30);

/// A package manager.
struct Client {
    /// What is allowed.
    rule: &'static str,
    /// Makes the package, as root, below `files`; served as `https://HOST/files/`.
    publish: &'static str,
    /// Sets the client up with the mirror at `$MIRROR`, as its user does once.
    set_up: &'static str,
    /// Fetches the package, and prints a file of it.
    fetch: &'static str,
}

const MAVEN: Client = Client {
    rule: "registry:maven",
    publish: "mkdir -p files/maven/test/parent/1 && echo '<project><modelVersion>4.0.0</modelVersion>\
        <groupId>test</groupId><artifactId>parent</artifactId><version>1</version><packaging>pom</packaging>\
        <description>it is here</description></project>' >files/maven/test/parent/1/parent-1.pom && \
        keytool -importcert -noprompt -storepass changeit -file ca.pem -keystore trusted.p12",
    set_up: "mkdir -p .m2 && echo \"<settings><mirrors><mirror><id>company</id><mirrorOf>*</mirrorOf>\
        <url>$MIRROR/maven</url></mirror></mirrors></settings>\" >.m2/settings.xml",
    fetch: "rm -rf .m2/repository && echo '<project><modelVersion>4.0.0</modelVersion><parent><groupId>test</groupId>\
        <artifactId>parent</artifactId><version>1</version><relativePath/></parent><artifactId>probe</artifactId>\
        <packaging>pom</packaging></project>' >pom.xml && \
        MAVEN_OPTS='-Djavax.net.ssl.trustStore=../trusted.p12 -Djavax.net.ssl.trustStorePassword=changeit' \
        mvn -q -B -Duser.home=$HOME validate && grep -o 'it is here' .m2/repository/test/parent/1/parent-1.pom",
};

const GO: Client = Client {
    rule: "registry:go",
    publish: "mkdir -p files/go/example.com/probe/@v && cd files/go/example.com/probe/@v && \
        echo '{\"Version\": \"v1.0.0\"}' >v1.0.0.info && echo 'module example.com/probe' >v1.0.0.mod && \
        /usr/bin/python3 -c 'import zipfile; it = zipfile.ZipFile(\"v1.0.0.zip\", \"w\"); \
        it.writestr(\"example.com/probe@v1.0.0/go.mod\", open(\"v1.0.0.mod\").read()); \
        it.writestr(\"example.com/probe@v1.0.0/said\", \"it is here\\n\"); it.close()'",
    set_up: "go env -w GOPROXY=$MIRROR/go GOSUMDB=off GOFLAGS=-modcacherw",
    fetch: "rm -rf go && go mod download example.com/probe@v1.0.0 && cat go/pkg/mod/example.com/probe@v1.0.0/said",
};

const GEM: Client = Client {
    rule: "registry:gem",
    publish: "mkdir -p files/gems/gems && cd files/gems && echo it is here >said && printf '%s\\n' \
        'Gem::Specification.new do |it|' 'it.name = \"probe\"' 'it.version = \"1.0.0\"' 'it.summary = \"A probe\"' \
        'it.author = \"e2e\"' 'it.files = [\"said\"]' end >probe.gemspec && gem build -q probe.gemspec && \
        mv probe-1.0.0.gem gems && gem generate_index -q",
    set_up: "printf ':sources:\\n- %s/gems/\\n' $MIRROR >.gemrc && printf 'source \"%s/gems\"\\ngem \"probe\"\\n' $MIRROR >Gemfile",
    // The project lies in the home, where the settings of a project would be the user's own, which are hidden.
    fetch: "rm -rf gems Gemfile.lock && BUNDLE_APP_CONFIG=settings BUNDLE_PATH=gems bundle install --quiet --retry 0 && cat gems/ruby/*/gems/probe-1.0.0/said",
};

/// There is no group for it: its repositories are in each project.
const COMPOSER: Client = Client {
    rule: "allowed.test",
    publish: "mkdir -p files/composer && cd files/composer && mkdir probe && echo it is here >probe/said && \
        echo '{\"name\": \"test/probe\"}' >probe/composer.json && tar cf probe.tar probe && \
        echo '{\"packages\": {\"test/probe\": {\"1.0.0\": {\"name\": \"test/probe\", \"version\": \"1.0.0\", \
        \"dist\": {\"type\": \"tar\", \"url\": \"https://HOST/files/composer/probe.tar\"}}}}}' >packages.json",
    set_up: "echo \"{\\\"repositories\\\": [{\\\"type\\\": \\\"composer\\\", \\\"url\\\": \\\"$MIRROR/composer\\\"}, \
        {\\\"packagist\\\": false}], \\\"require\\\": {\\\"test/probe\\\": \\\"1.0.0\\\"}}\" >composer.json",
    fetch: "rm -rf vendor composer.lock .cache .composer && composer install -q -n && cat vendor/test/probe/said",
};

#[test]
fn maven() {
    check(MAVEN);
}

#[test]
fn go() {
    check(GO);
}

#[test]
fn bundler() {
    check(GEM);
}

#[test]
fn composer() {
    check(COMPOSER);
}

fn check(client: Client) {
    in_a_world(move |world| {
        let publish = client.publish.replace("HOST", "allowed.test");
        run_as_root(world, &publish);
        set_up(world, &client, "allowed.test");
        for flags in [&[][..], &["--proxy-env"][..]] {
            let flags = [&["--allow-domains", client.rule], flags].concat();
            let output = world.inside(&flags, &at_home(client.fetch));
            assert!(says(&output), "{flags:?}: {}", all_of(&output));
            let blocked = stderr(&output).contains("blocked");
            assert!(!blocked, "{flags:?}: {}", stderr(&output));
        }

        // Another mirror, which is there, and is not allowed.
        let publish = client.publish.replace("HOST", "denied.test");
        let again = format!("rm -rf files/* trusted.p12 && {publish}");
        run_as_root(world, &again);
        set_up(world, &client, "denied.test");
        let outside = world.outside(&at_home(client.fetch));
        assert!(says(&outside), "{}", all_of(&outside));
        let before = arrived_at_denied(world);
        assert!(before > 0);
        for flags in [&[][..], &["--proxy-env"][..]] {
            let flags = [&["--allow-domains", "allowed.test"], flags].concat();
            let begun = Instant::now();
            let output = world.inside(&flags, &at_home(client.fetch));
            let took = begun.elapsed();
            let report = stderr(&output);
            let all = all_of(&output);
            assert!(!output.status.success(), "{flags:?}: {all}");
            assert!(took < SOON, "{flags:?}: took {took:?}: {all}");
            assert!(report.contains("--allow-domains denied.test"), "{report}");
        }
        assert_eq!(
            arrived_at_denied(world),
            before,
            "a denied host was reached"
        );
    });
}

/// Whether it ended well, and printed the file at the end.
fn says(output: &Output) -> bool {
    output.status.success() && stdout(output).ends_with("it is here\n")
}

fn all_of(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

fn at_home(script: &str) -> String {
    format!("cd \"$HOME\" && {script}")
}

fn set_up(world: &World<'_>, client: &Client, mirror: &str) {
    let script = client
        .set_up
        .replace("$MIRROR", &format!("https://{mirror}/files"));
    let output = world.outside(&at_home(&script));
    assert!(output.status.success(), "{}", stderr(&output));
}

fn run_as_root(world: &World<'_>, script: &str) {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .current_dir(world.host().scratch());
    succeed(&mut command);
}

fn arrived_at_denied(world: &World<'_>) -> usize {
    world
        .arrived()
        .iter()
        .filter(|it| it["at"] == DENIED)
        .count()
}
