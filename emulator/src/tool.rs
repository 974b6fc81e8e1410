// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tool that the "model" calls before it answers, so that clients go round their loop once.

use serde_json::Value;

use crate::Behaviour;

/// Names the call, whoever makes it: a conversation that holds this name holds the call's result.
pub(crate) const CALL: &str = "call_of_the_emulator";

/// Where Google's API puts a result; calls have no names there.
const GOOGLE_RESULT: &str = "\"functionResponse\"";

/// A tool, and what it is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// As the client calls it.
    pub name: String,
    /// In the form that the client's schema asks for.
    pub arguments: Value,
}

/// The tool to be called now: if the client offers it, and has not brought its result yet.
pub(crate) fn due<'a>(behaviour: &'a Behaviour, request: &Value) -> Option<&'a Tool> {
    let tool = behaviour.tool.as_ref()?;
    let name = Value::from(tool.name.as_str()).to_string();
    let offered = request["tools"].to_string().contains(&name);
    let whole = request.to_string();
    let answered = whole.contains(CALL) || whole.contains(GOOGLE_RESULT);
    (offered && !answered).then_some(tool)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_called_once_and_only_if_it_is_there() {
        let behaviour = Behaviour {
            tool: Some(Tool {
                name: "bash".to_owned(),
                arguments: json!({}),
            }),
            ..Behaviour::default()
        };
        let google = json!([{"functionDeclarations": [{"name": "bash"}]}]);
        for (request, expected) in [
            (json!({}), false),
            (json!({"tools": [{"name": "bashful"}]}), false),
            (json!({"tools": [{"name": "bash"}]}), true),
            (json!({"tools": google}), true),
            (
                json!({"tools": [{"name": "bash"}], "input": [{"call_id": CALL}]}),
                false,
            ),
            (
                json!({"tools": google, "contents": [{"functionResponse": {}}]}),
                false,
            ),
        ] {
            assert_eq!(due(&behaviour, &request).is_some(), expected, "{request}");
        }
        assert!(due(&Behaviour::default(), &json!({"tools": google})).is_none());
    }
}
