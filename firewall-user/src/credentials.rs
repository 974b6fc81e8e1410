// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the real credentials come from. They are read here, by the supervisor, and never stand in the proxy's settings.

use keyward_proxy::credential::Credentials;
use keyward_proxy::provider::Providers;
use keyward_proxy::settings::RawSettings;
use keyward_proxy::standalone;
use zeroize::Zeroizing;

/// Where a provider's credential is: `env:NAME`, `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The provider's name.
    pub provider: String,
    /// As it is written.
    pub text: String,
}

/// Takes the references out of the settings, and has the variables that they name withheld from the workload.
pub fn references(settings: &mut RawSettings) -> Vec<Reference> {
    let table = Providers::builtin();
    let mut found = Vec::new();
    for (name, row) in &mut settings.providers {
        let Some(text) = row.credential.take() else {
            continue;
        };
        let reference = Reference {
            provider: name.clone(),
            text,
        };
        if let Some(variable) = reference.variable() {
            let usual = || table.get(name).map(|it| it.withheld_variables.clone());
            let withheld = row
                .withheld_variables
                .get_or_insert_with(|| usual().unwrap_or_default());
            withheld.push(variable.to_owned());
        }
        found.push(reference);
    }
    found
}

impl Reference {
    /// The variable that it names.
    pub fn variable(&self) -> Option<&str> {
        self.text.strip_prefix("env:")
    }
}

/// Reads every credential: what references lead to, and the variables of providers without one.
///
/// # Errors
///
/// Every fault, as `provider.NAME.credential: what` or `VARIABLE: what`; none quotes a credential.
pub fn read(
    references: &[Reference],
    providers: &Providers,
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Credentials, Vec<String>> {
    let pairs: Vec<_> = references
        .iter()
        .map(|it| (it.provider.clone(), it.text.clone()))
        .collect();
    standalone::credentials(&pairs, providers, variable).map_err(|found| found.0)
}

#[cfg(test)]
mod tests {
    use keyward_proxy::settings::{RawProvider, Settings};

    use super::*;

    #[test]
    fn references_are_followed_and_their_variables_withheld() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sk-file\n").unwrap();
        let row = |credential: String| RawProvider {
            credential: Some(credential),
            ..RawProvider::default()
        };
        let mut settings = RawSettings::default();
        let path = file.path().display();
        settings
            .providers
            .insert("openai".to_owned(), row("env:MY_KEY".to_owned()));
        settings
            .providers
            .insert("gemini".to_owned(), row(format!("file:{path}")));
        let references = references(&mut settings);
        assert!(
            settings
                .providers
                .values()
                .all(|it| it.credential.is_none())
        );
        let providers = Settings::try_from(settings).unwrap().providers;
        let withheld: Vec<_> = providers.secret_variables().collect();
        for name in ["MY_KEY", "OPENAI_API_KEY", "CODEX_ACCESS_TOKEN"] {
            assert!(withheld.contains(&name), "{name}: {withheld:?}");
        }
        let read = |key: &'static str| {
            let variable = move |name: &str| {
                let known = name == "MY_KEY" && !key.is_empty();
                known.then(|| Zeroizing::new(key.as_bytes().to_vec()))
            };
            read(&references, &providers, variable)
        };
        let found = read("sk-mine").unwrap();
        assert!(found.get("openai").unwrap().matches(b"sk-mine"));
        assert!(found.get("gemini").unwrap().matches(b"sk-file"));
        let faults = read("").unwrap_err();
        assert_eq!(faults, ["provider.openai.credential: MY_KEY is not set"]);
    }
}
