//! Commands of the QEMU Machine Protocol, by whichever way they go.

use serde_json::{Value, json};

use super::error::{DomainError, Result};

/// A QMP command and its arguments.
pub type Command<'a> = (&'a str, Value);

/// The QMP command that runs a line of the human monitor.
pub(super) fn human(line: &str) -> Command<'static> {
    ("human-monitor-command", json!({ "command-line": line }))
}

/// What a command of the human monitor printed.
pub(super) fn text(command: &str, answer: &Value) -> Result<String> {
    let text = answer.as_str().map(str::to_owned);
    text.ok_or_else(|| DomainError::protocol("QMP", format!("{command} returned no text")))
}

/// What a command returned, from QEMU's answer to it.
pub(super) fn outcome(command: &str, mut answer: Value) -> Result<Value> {
    if let Some(value) = answer.get_mut("return") {
        return Ok(value.take());
    }
    let reason = answer["error"]["desc"].as_str().unwrap_or("no reason given").to_owned();
    Err(DomainError::Refused { command: command.to_owned(), reason })
}
