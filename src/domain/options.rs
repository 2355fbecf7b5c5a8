//! QEMU's option syntax: `NAME,key=value,…` with `,,` for a comma, or a JSON
//! object (`-device` and `-object` of newer QEMU, as libvirt writes them).

use std::collections::BTreeMap;

/// The value of one QEMU option such as `-chardev` or `-device`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    keys: BTreeMap<String, String>,
}

impl Options {
    /// Parses `text`. The first part is the value of `implied` where it has no
    /// key of its own; a later part without a value is `on`.
    pub fn parse(text: &str, implied: &str) -> Self {
        if text.starts_with('{') {
            return Self::parse_json(text);
        }
        let mut keys = BTreeMap::new();
        for (index, part) in split_at_commas(text).into_iter().enumerate() {
            match part.split_once('=') {
                Some((key, value)) => keys.insert(key.to_owned(), value.to_owned()),
                None if index == 0 => keys.insert(implied.to_owned(), part),
                None => keys.insert(part, "on".to_owned()),
            };
        }
        Self { keys }
    }

    /// Keeps the plain strings, numbers and booleans of a JSON object.
    fn parse_json(text: &str) -> Self {
        let object: serde_json::Map<_, _> = serde_json::from_str(text).unwrap_or_default();
        let as_text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Self { keys: object.into_iter().map(|(key, value)| (key, as_text(value))).collect() }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }
}

/// Splits at single commas; a doubled comma is a comma of the value.
fn split_at_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        if c != ',' {
            parts[last].push(c);
        } else if chars.next_if_eq(&',').is_some() {
            parts[last].push(',');
        } else {
            parts.push(String::new());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_part_has_the_implied_key() {
        let options = Options::parse("vm1,debug-threads=on,process", "guest");
        assert_eq!(options.get("guest"), Some("vm1"));
        assert_eq!(options.get("debug-threads"), Some("on"));
        assert_eq!(options.get("process"), Some("on"));
        assert_eq!(Options::parse("guest=vm1", "guest").get("guest"), Some("vm1"));
    }

    #[test]
    fn doubled_comma_belongs_to_the_value() {
        let options = Options::parse("socket,path=/run/a,,b,server=on", "backend");
        assert_eq!(options.get("path"), Some("/run/a,b"));
        assert_eq!(options.get("server"), Some("on"));
    }

    #[test]
    fn json_objects_are_read_and_broken_ones_are_empty() {
        let options = Options::parse(r#"{"driver":"virtserialport","nr":1}"#, "driver");
        assert_eq!(options.get("driver"), Some("virtserialport"));
        assert_eq!(options.get("nr"), Some("1"));
        assert_eq!(Options::parse("{broken", "driver"), Options::default());
    }
}
