// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON Schema of a policy file, for editors. Files are read by `file`, which is stricter; a test holds both together.

#![expect(dead_code, reason = "these types are there for their schema alone")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::Serialize;
use serde_json::Value;

/// The JSON Schema (2020-12) of a policy file.
#[must_use]
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<PolicyFile>()
}

/// Nothing may be null: what is left out is left out.
fn without_null(schema: &mut Schema) {
    let null = Value::from("null");
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|it| *it != null);
        if let [one] = kinds.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|it| !it.is_null());
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|it| it.get("type") != Some(&null));
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

/// Which hosts a workload may reach. The same in TOML, YAML and JSON.
#[derive(JsonSchema, Serialize)]
#[schemars(
    deny_unknown_fields,
    rename_all = "kebab-case",
    title = "keyward policy"
)]
struct PolicyFile {
    /// Whether denials are carried out (`enforce`) or only written down (`audit`).
    #[schemars(default, extend("default" = "enforce"))]
    mode: Option<Mode>,
    /// Policy files to read before this one, relative to it. Lists add up; of other settings this file's count more.
    #[schemars(default)]
    include: Option<OneOrMore>,
    /// What is allowed. An empty list allows nothing.
    #[schemars(default)]
    allow: Vec<Rule>,
    /// What is blocked, whatever is allowed. Without a port: at every port.
    #[schemars(default)]
    block: Vec<Rule>,
    /// Files with a rule in each line to allow, relative to this one. `#` begins a comment.
    #[schemars(default)]
    allow_files: Option<OneOrMore>,
    /// Files with a rule in each line to block, relative to this one.
    #[schemars(default)]
    block_files: Option<OneOrMore>,
    /// Ports of the host's loopback that `host.docker.internal` and `host.keyward.internal` lead to.
    #[schemars(default)]
    host_ports: Vec<PortOrRange>,
    /// Names for lists of rules, to be used as `group:NAME`.
    #[schemars(default)]
    groups: BTreeMap<String, Group>,
    /// Names.
    #[schemars(default)]
    dns: Option<Dns>,
    /// A proxy through which everything that is allowed goes.
    #[schemars(default)]
    upstream_proxy: Option<UpstreamProxy>,
    /// Model providers that the gateway serves: new ones, and changes to those that come with keyward.
    #[schemars(default)]
    provider: Option<ProviderRows>,
    /// Sizes and times of the gateway.
    #[schemars(default)]
    limits: Option<Section>,
    /// How much a run may ask for, and spend.
    #[schemars(default)]
    spend: Option<Section>,
    /// Which models may be asked for.
    #[schemars(default)]
    models: Option<Section>,
    /// What is looked for in what goes out.
    #[schemars(default)]
    scan: Option<Section>,
    /// What is changed in requests.
    #[schemars(default)]
    rewrite: Option<Section>,
    /// What is asked again.
    #[schemars(default)]
    retry: Option<Section>,
    /// Where telemetry is sent to.
    #[schemars(default)]
    telemetry: Option<Section>,
    /// How much of the machine the command may take, and what it may not do there.
    #[schemars(default)]
    sandbox: Option<Sandbox>,
    /// Which of the host's files the command sees otherwise than by default. `~` is the home; what does not begin with it or
    /// with `/` lies below the working directory.
    #[schemars(default)]
    files: Option<Files>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename_all = "kebab-case", inline, deny_unknown_fields)]
struct Files {
    /// What the command may change, too, for good.
    #[schemars(default)]
    writable: Vec<String>,
    /// What is shown at another path: `SOURCE:TARGET`, writable unless `:ro` follows.
    #[schemars(default)]
    mount: Vec<String>,
    /// What is hidden. `*` in the last part stands for any characters.
    #[schemars(default)]
    hide: Vec<String>,
    /// What is shown although it is hidden by default: credentials, a device, a socket.
    #[schemars(default)]
    expose: Vec<String>,
    /// Whether the command may use the SSH agent: it can sign with every key in it.
    #[schemars(default)]
    ssh_agent: bool,
    /// Whether the command may use the X11 display: it can read and type into every window there.
    #[schemars(default)]
    x11: bool,
    /// Whether the command may use the Wayland display.
    #[schemars(default)]
    wayland: bool,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename_all = "kebab-case", inline, deny_unknown_fields)]
struct Sandbox {
    /// Memory of all processes together: `2G`, or a number of bytes.
    #[schemars(default)]
    memory: Option<Size>,
    /// Processes and threads at the same time.
    #[schemars(default, range(min = 2))]
    pids: Option<u64>,
    /// Processors: 2, 0.5.
    #[schemars(default, range(min = 0.01))]
    cpu: Option<f64>,
    /// Whether user namespaces may be made, as browsers and other sandboxes do.
    #[schemars(default, extend("default" = true))]
    user_namespaces: Option<bool>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(untagged, inline)]
enum Size {
    Text(String),
    Bytes(u64),
}

/// Checked by the gateway.
type Section = BTreeMap<String, Value>;

/// A list of tables with a `name` each, or a table of them by name.
#[derive(JsonSchema, Serialize)]
#[schemars(untagged, inline)]
enum ProviderRows {
    List(Vec<ProviderRow>),
    ByName(BTreeMap<String, Section>),
}

#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
struct ProviderRow {
    /// What it is called in settings, logs and answers.
    name: String,
    /// The rest is checked by the gateway.
    #[serde(flatten)]
    rest: Section,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename_all = "lowercase", inline)]
enum Mode {
    Enforce,
    Audit,
}

#[derive(JsonSchema, Serialize)]
#[schemars(untagged, inline)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// `github.com` (and everything below it), `*.github.com` (everything below it), `api-*.example.com`, `example.com:8443`,
/// `tcp://db.example.com:5432-5440`, `http://…` (plain HTTP only), `https://…` (TLS only), `http://example.com/pub/*`,
/// `10.0.0.5:5432`, `10.0.0.0/8`, `group:github`, `registry:npm`.
#[derive(JsonSchema, Serialize)]
#[schemars(untagged)]
enum Rule {
    Text(String),
    Table(RuleTable),
}

#[derive(JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", inline)]
struct RuleTable {
    /// The rule.
    rule: String,
    /// For plain HTTP (`http://`): the methods that it is about.
    #[schemars(default, length(min = 1), inner(regex(pattern = r"^[A-Z0-9-]+$")))]
    methods: Vec<String>,
    /// Whether the name may lead to a private address.
    #[schemars(default)]
    private: bool,
}

#[derive(JsonSchema, Serialize)]
#[schemars(untagged, inline)]
enum PortOrRange {
    Port(#[schemars(range(min = 1, max = 65535))] u16),
    Range(#[schemars(regex(pattern = r"^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$"))] String),
}

/// Rules, perhaps with a sentence about them.
#[derive(JsonSchema, Serialize)]
#[schemars(untagged)]
enum Group {
    Rules(Vec<Rule>),
    Table(GroupTable),
}

#[derive(JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", inline)]
struct GroupTable {
    /// What it is.
    #[schemars(default)]
    description: Option<String>,
    /// Its rules.
    rules: Vec<Rule>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", inline)]
struct Dns {
    /// Which addresses the workload gets: from a pool of keyward's own (`synthetic`), or the names' own (`real`).
    #[schemars(default, extend("default" = "synthetic"))]
    answers: Option<Answers>,
    /// Whom the proxy asks: addresses, perhaps with a port, or URLs for DNS over HTTPS. What the host is set up with, if
    /// there are none.
    #[schemars(default)]
    servers: Option<OneOrMore>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename_all = "lowercase", inline)]
enum Answers {
    Synthetic,
    Real,
}

#[derive(JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", inline)]
struct UpstreamProxy {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    #[schemars(default, regex(pattern = r"^https?://"))]
    url: Option<String>,
    /// What is reached without it: domains, addresses, networks, `*`.
    #[schemars(default)]
    no_proxy: Option<OneOrMore>,
}
