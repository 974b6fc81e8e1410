// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the real credentials come from. They are read here, by the supervisor, and never stand in the proxy's settings.

use keyward_proxy::credential::Credentials;
use keyward_proxy::credential::follow::{self, Followed};
use keyward_proxy::provider::{Provider, Providers};
use keyward_proxy::settings::RawSettings;
use zeroize::Zeroizing;

use crate::rotation;
use crate::user::Identity;

/// Takes the references out of the settings, and has the variables that they name withheld from the workload.
///
/// `variable` looks into keyward's own environment. What is wrong with a reference is added to the faults, as
/// `provider.NAME.credential: what`.
pub fn references(
    settings: &mut RawSettings,
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
    faults: &mut Vec<String>,
) -> Vec<Followed> {
    let table = Providers::builtin();
    let mut found = follow::take(&mut settings.providers, &variable, faults);
    found.extend(follow::take_telemetry(
        &mut settings.telemetry,
        &variable,
        faults,
    ));
    for followed in &found {
        let named = followed.reference.variables();
        if named.is_empty() {
            continue;
        }
        // A federated credential has more slots than one: `NAME.client-secret`.
        let is_its = |name: &str| {
            let rest = followed.slot.strip_prefix(name);
            rest.is_some_and(|it| it.is_empty() || it.starts_with('.'))
        };
        for (name, row) in settings.providers.iter_mut().filter(|it| is_its(it.0)) {
            let usual = || table.get(name).map(|it| it.withheld_variables.clone());
            let withheld = row
                .withheld_variables
                .get_or_insert_with(|| usual().unwrap_or_default());
            withheld.extend(named.iter().map(ToString::to_string));
        }
    }
    found
}

/// The variable that holds the credential of a provider, if no reference says where it is.
pub fn holder<'p>(
    provider: &'p Provider,
    references: &[Followed],
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Option<&'p str> {
    if references.iter().any(|it| it.slot == provider.name) {
        return None;
    }
    let key = provider.access_key_variables.iter().map(|it| &it.secret);
    let mut all = provider.credential_variables.iter().chain(key);
    let set = |it: &&String| variable(it).is_some_and(|it| !it.trim_ascii().is_empty());
    all.find(set).map(String::as_str)
}

/// Reads every credential: what references lead to, and the variables of providers without one.
///
/// # Errors
///
/// Every fault, as `provider.NAME.credential: what` or `VARIABLE: what`; none quotes a credential.
pub fn read(
    references: &mut [Followed],
    providers: &Providers,
    identity: &Identity,
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Credentials, Vec<String>> {
    let mut faults = Vec::new();
    let mut found = Credentials::from_variables(providers, &variable).unwrap_or_else(|wrong| {
        let wrong = wrong.into_iter();
        faults.extend(wrong.map(|(name, fault)| format!("{name}: {fault}")));
        Credentials::new()
    });
    for it in references {
        match it.credential(providers, |it| rotation::read(it, identity, &variable)) {
            Ok(credential) => found.insert(&it.slot, credential),
            Err(fault) => faults.push(format!("{}: {fault}", it.setting)),
        }
    }
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use keyward_proxy::settings::{RawCredential, RawProvider, Settings};

    use super::*;

    #[test]
    fn references_are_followed_and_their_variables_withheld() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sk-file\n").unwrap();
        let mut settings = RawSettings::default();
        let path = file.path().display();
        for (name, text) in [
            ("openai", "env:MY_KEY".to_owned()),
            ("gemini", format!("file:{path}")),
            ("anthropic", "cmd:/bin/echo sk-said".to_owned()),
        ] {
            let row = RawProvider {
                credential: Some(RawCredential::Reference(text)),
                ..RawProvider::default()
            };
            settings.providers.insert(name.to_owned(), row);
        }
        let mut faults = Vec::new();
        let mut references = references(&mut settings, |_| None, &mut faults);
        assert_eq!(faults, Vec::<String>::new());
        let mut rows = settings.providers.values();
        assert!(rows.all(|it| it.credential.is_none()));
        let providers = Settings::try_from(settings).unwrap().providers;
        let withheld: Vec<_> = providers.secret_variables().collect();
        for name in ["MY_KEY", "OPENAI_API_KEY", "CODEX_ACCESS_TOKEN"] {
            assert!(withheld.contains(&name), "{name}: {withheld:?}");
        }
        let identity = Identity::resolve(Some("65534:65534"), None).unwrap();
        let mut read = |key: &'static str| {
            let variable = move |name: &str| {
                let known = name == "MY_KEY" && !key.is_empty();
                known.then(|| Zeroizing::new(key.as_bytes().to_vec()))
            };
            read(&mut references, &providers, &identity, variable)
        };
        let found = read("sk-mine").unwrap();
        assert!(found.get("openai").unwrap().matches(b"sk-mine"));
        assert!(found.get("gemini").unwrap().matches(b"sk-file"));
        assert!(found.get("anthropic").unwrap().matches(b"sk-said"));
        let faults = read("").unwrap_err();
        assert_eq!(faults, ["provider.openai.credential: MY_KEY is not set"]);
    }
}
