// SPDX-License-Identifier: GPL-3.0-or-later
//! What the gateway is told, put together from policy files, flags and variables. Whatever is wrong with it is told
//! with the place where it was written.

use std::collections::BTreeMap;

use keyward_policy::Sections;
use keyward_proxy::binding::Unbound;
use keyward_proxy::provider::Providers;
use keyward_proxy::settings::{RawCredential, RawSettings};
use serde_json::{Map, Value, json};

mod faults;

use crate::cli::{LimitArgs, ProviderArgs, Said, Scan};

/// Settings of the gateway as they are written, and who wrote them.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    values: Map<String, Value>,
    sections: &'a Sections,
    /// Flags and variables, by the path of what they set.
    flags: BTreeMap<String, String>,
}

impl<'a> Asked<'a> {
    /// What policy files say.
    pub fn new(sections: &'a Sections) -> Self {
        let mut values = sections.values().clone();
        // Those that are not the gateway's.
        for section in [crate::confine::SECTION, crate::files::SECTION] {
            values.remove(section);
        }
        Self {
            values,
            sections,
            flags: BTreeMap::new(),
        }
    }

    /// Sets one thing, whatever files say of it. `source` is what people know it by: a flag, a variable.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>, source: &str) {
        if let Some(place) = self.place(path) {
            *place = value.into();
            self.flags.insert(path.join("."), source.to_owned());
        }
    }

    /// Adds to a list: those of files stay.
    fn add(&mut self, path: &[&str], values: &[String], source: &str) {
        if values.is_empty() {
            return;
        }
        let joined = path.join(".");
        let Some(place) = self.place(path) else {
            return;
        };
        let new = values.iter().map(|it| Value::String(it.clone()));
        if let Value::Array(list) = place {
            list.extend(new);
        } else {
            *place = Value::Array(new.collect());
            self.flags.insert(joined, source.to_owned());
        }
    }

    /// How much may be asked, which models, and what is looked for.
    pub fn limits(&mut self, flags: &LimitArgs) {
        for (key, value, flag) in [
            (
                "requests-per-minute",
                flags.rate_limit_rpm,
                "--rate-limit-rpm",
            ),
            (
                "requests-per-hour",
                flags.rate_limit_rph,
                "--rate-limit-rph",
            ),
            (
                "bytes-per-minute",
                flags.rate_limit_bytes_pm,
                "--rate-limit-bytes-pm",
            ),
            ("runs", flags.max_runs, "--max-runs"),
            ("tokens", flags.max_tokens, "--max-tokens"),
            (
                "concurrent-requests",
                flags.max_concurrent,
                "--max-concurrent",
            ),
        ] {
            if let Some(value) = value {
                self.set(&["spend", key], value, flag);
            }
        }
        if let Some(value) = flags.max_cost {
            self.set(&["spend", "dollars"], value, "--max-cost");
        }
        self.add(&["models", "allow"], &flags.allow_model, "--allow-model");
        self.add(&["models", "deny"], &flags.deny_model, "--deny-model");
        if let Some(mode) = flags.scan.map(Scan::name) {
            self.set(&["scan", "mode"], mode, "--scan");
        }
        if let Some(url) = &flags.otlp {
            self.set(&["telemetry", "otlp"], url.clone(), "--otlp");
        }
    }

    /// Takes one thing out that files say.
    fn unset(&mut self, path: &[&str], key: &str) {
        if let Some(Value::Object(table)) = self.place(path) {
            table.remove(key);
        }
    }

    /// `None`: something on the way is no table, which is a fault already.
    fn place(&mut self, path: &[&str]) -> Option<&mut Value> {
        let (first, rest) = path.split_first()?;
        let mut value = self.values.entry(*first).or_insert_with(|| json!({}));
        for key in rest {
            let Value::Object(table) = value else {
                return None;
            };
            value = table.entry(*key).or_insert_with(|| json!({}));
        }
        Some(value)
    }

    /// Where providers are, by flags, by variables, and by what the CI service says of its own server.
    pub fn targets(&mut self, flags: &ProviderArgs, variable: impl Fn(&str) -> Option<String>) {
        for (name, elsewhere) in flags.iter() {
            let said = |it: &Option<Said>| it.clone().map(|it| (it.value, it.source));
            self.target(name, said(&elsewhere.target), said(&elsewhere.base_path));
        }
        // Those that files name; the table's own are the flags' already.
        let rows = self.values.get("provider").and_then(Value::as_object);
        let named = |row: &Value, key: &str| {
            let name = row.get(key)?.as_str()?;
            let value = variable(name).filter(|it| !it.is_empty())?;
            Some((value, name.to_owned()))
        };
        let found: Vec<_> = rows
            .into_iter()
            .flatten()
            .map(|(name, row)| {
                let target = named(row, "target-variable");
                (name.clone(), target, named(row, "base-path-variable"))
            })
            .collect();
        for (name, target, base_path) in found {
            self.target(&name, target, base_path);
        }
        self.regions(&variable);
        let copilot = "/provider/copilot/target";
        let said = Value::Object(self.values.clone())
            .pointer(copilot)
            .is_some();
        if let Some(host) = variable("GITHUB_SERVER_URL").and_then(|it| copilot_host(&it))
            && !said
        {
            let path = ["provider", "copilot", "target"];
            self.set(&path, host, "GITHUB_SERVER_URL");
        }
    }

    /// In which regions providers are, by variables that are not keyward's own: what files say counts.
    fn regions(&mut self, variable: &impl Fn(&str) -> Option<String>) {
        let table = Providers::builtin();
        let rows = self.values.get("provider").and_then(Value::as_object);
        let row = |name: &str| rows.and_then(|it| it.get(name));
        let own = rows.into_iter().flat_map(Map::keys);
        let all = own.filter(|name| table.get(name).is_none());
        let all = all
            .map(String::as_str)
            .chain(table.iter().map(|it| it.name.as_str()));
        let mut found = Vec::new();
        for name in all {
            let said = |key: &str| row(name).and_then(|it| it.get(key));
            if said("region").is_some() {
                continue;
            }
            let like = said("like").and_then(Value::as_str).unwrap_or(name);
            let names: Vec<String> = match said("region-variables") {
                Some(list) => serde_json::from_value(list.clone()).unwrap_or_default(),
                None => table
                    .get(like)
                    .map(|it| it.region_variables.clone())
                    .unwrap_or_default(),
            };
            let set = names.into_iter().find_map(|it| {
                let value = variable(&it).filter(|value| !value.is_empty())?;
                Some((it, value))
            });
            found.extend(set.map(|(variable, value)| (name.to_owned(), variable, value)));
        }
        for (name, variable, value) in found {
            self.set(&["provider", &name, "region"], value, &variable);
        }
    }

    /// Each with who says so.
    fn target(
        &mut self,
        name: &str,
        target: Option<(String, String)>,
        base_path: Option<(String, String)>,
    ) {
        if let Some((value, source)) = target {
            // Another target has a base path of its own, or none.
            self.unset(&["provider", name], "base-path");
            self.set(&["provider", name, "target"], value, &source);
        }
        if let Some((value, source)) = base_path {
            self.set(&["provider", name, "base-path"], value, &source);
        }
    }

    /// All of it in the gateway's own terms. What these do not have is a fault, and left out.
    pub fn settings(&self, faults: &mut Vec<String>) -> RawSettings {
        let mut settings = RawSettings::default();
        let mut fine = Map::new();
        for (name, value) in &self.values {
            let found = faults::in_section(name, value);
            if found.is_empty() {
                fine.insert(name.clone(), value.clone());
            }
            faults.extend(found.into_iter().map(|it| self.unread(it)));
        }
        match serde_json::from_value(Value::Object(fine)) {
            Ok(read) => settings = read,
            // Each section can be read, so together they can.
            Err(error) => faults.push(faults::without_values(&error.to_string())),
        }
        let table = Providers::builtin();
        let own = settings
            .providers
            .iter_mut()
            .filter(|it| table.get(it.0).is_none());
        for (name, row) in own {
            if row.environment.is_none() {
                let from = match &row.credential {
                    Some(RawCredential::Reference(text)) => text.strip_prefix("env:"),
                    Some(
                        RawCredential::Followed(_)
                        | RawCredential::AccessKey(_)
                        | RawCredential::Federated(_),
                    )
                    | None => None,
                };
                let listed = row.credential_variables.iter().flatten();
                let keys = row.access_key_variables.iter();
                let signing = keys.flat_map(|it| [&it.id, &it.secret]);
                let holders = listed.chain(signing).map(String::as_str).chain(from);
                let holders = holders.map(|it| (it.to_owned(), "{placeholder}".to_owned()));
                let address = (format!("{}_BASE_URL", shouted(name)), "{url}".to_owned());
                row.environment = Some(holders.chain([address]).collect());
            }
        }
        settings
    }

    /// A fault of the checked settings (`path: what`), with the place where its cause was written.
    pub fn place_fault(&self, fault: &str) -> String {
        let Some((path, what)) = fault
            .split_once(": ")
            .filter(|(path, _)| !path.contains(char::is_whitespace))
        else {
            return fault.to_owned();
        };
        if let Some(flag) = self.flags.get(path) {
            return format!("{flag}: {what}");
        }
        match self.sections.fault(path, what) {
            Some(it) => shown(path, it),
            None => fault.to_owned(),
        }
    }

    /// A credential and a target that contradict each other, with both places. `variable`: the one that holds the
    /// credential, if no file says where it is.
    pub fn contradiction(&self, fault: &Unbound, variable: Option<&str>) -> String {
        let Unbound { provider, what } = fault;
        let place = |key: &str| {
            let path = format!("provider.{provider}.{key}");
            let flag = self.flags.get(&path).cloned();
            flag.or_else(|| self.sections.origin(&path).map(ToString::to_string))
        };
        let credential = variable.map(str::to_owned).or_else(|| place("credential"));
        let credential = credential.unwrap_or_else(|| format!("provider.{provider}.credential"));
        let target = place("target").unwrap_or_else(|| "keyward's own table".to_owned());
        format!("{credential}: {what}\n  the target of {provider} is set by {target}")
    }

    fn unread(&self, fault: faults::Unread) -> String {
        let faults::Unread { path, what, hint } = fault;
        if let Some(flag) = self.flags.get(&path) {
            return format!("{flag}: {what}");
        }
        let placed = match &hint {
            Some(_) => self.sections.key_fault(&path, &what),
            None => self.sections.fault(&path, &what),
        };
        match placed {
            Some(mut it) => {
                it.hint = hint;
                shown(&path, it)
            }
            None => format!("{path}: {what}"),
        }
    }
}

/// People write keys where they do not belong: a line of a provider's row is not repeated.
fn shown(path: &str, mut fault: keyward_policy::Fault) -> String {
    if path.starts_with("provider") {
        fault.excerpt = None;
    }
    fault.to_string()
}

/// A name as variables have it.
fn shouted(name: &str) -> String {
    let plain = |it: char| match it {
        it if it.is_ascii_alphanumeric() => it.to_ascii_uppercase(),
        _ => '_',
    };
    name.chars().map(plain).collect()
}

/// Where Copilot is for a server of the code host; `None` for the public one.
fn copilot_host(server: &str) -> Option<String> {
    let host = server.split_once("://").map_or(server, |it| it.1);
    let host = host.split(['/', ':']).next()?.to_ascii_lowercase();
    match host.as_str() {
        "" | "github.com" => None,
        tenant if tenant.ends_with(".ghe.com") => Some(format!("copilot-api.{tenant}")),
        _ => Some("api.enterprise.githubcopilot.com".to_owned()),
    }
}

#[cfg(test)]
mod tests;
