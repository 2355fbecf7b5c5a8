//! Profiles as files that a person can read and compare: JSON with a line for
//! each symbol and each member, in alphabetical order.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter};

use super::profile::Profile;

/// To be raised when files are written in another way than before.
const FORMAT: u32 = 1;
/// What is nested deeper than a member stands in the member's line: file,
/// structures, a structure, its members.
const DEPTH: usize = 4;

/// The file: the profile, and how to read it.
#[derive(Serialize, Deserialize)]
struct ProfileFile<P> {
    format: u32,
    #[serde(flatten)]
    profile: P,
}

impl Profile {
    /// The text of a profile's file.
    pub fn to_file(&self) -> String {
        let mut text = Vec::new();
        let file = ProfileFile { format: FORMAT, profile: self };
        let lines = Lines { pretty: PrettyFormatter::with_indent(b" "), depth: 0 };
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, lines);
        // Text keys and numbers into memory: nothing in it can fail.
        let written = file.serialize(&mut serializer);
        debug_assert!(written.is_ok(), "{written:?}");
        text.push(b'\n');
        String::from_utf8(text).unwrap_or_default()
    }

    /// Reads what [`to_file`](Self::to_file) wrote.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] where it is no profile, or one of another
    /// format.
    pub fn from_file(text: &[u8]) -> io::Result<Self> {
        let file: ProfileFile<Self> = serde_json::from_slice(text)?;
        if file.format != FORMAT {
            let why = format!("it has format {}, this version reads {FORMAT}", file.format);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(file.profile)
    }
}

/// Writes objects over several lines down to [`DEPTH`], and in one below.
struct Lines {
    pretty: PrettyFormatter<'static>,
    depth: usize,
}

impl Lines {
    fn is_inline(&self) -> bool {
        self.depth > DEPTH
    }
}

impl Formatter for Lines {
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.is_inline() { writer.write_all(b"{") } else { self.pretty.begin_object(writer) }
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let inline = self.is_inline();
        self.depth = self.depth.saturating_sub(1);
        if inline { writer.write_all(b"}") } else { self.pretty.end_object(writer) }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        match (self.is_inline(), first) {
            (true, true) => Ok(()),
            (true, false) => writer.write_all(b", "),
            (false, _) => self.pretty.begin_object_key(writer, first),
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_inline() { Ok(()) } else { self.pretty.end_object_value(writer) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Bits, Origin, ProfileMember, ProfileStruct};
    use super::*;

    fn profile() -> Profile {
        let member = |bits| ProfileMember {
            offset: 2344,
            size: 4,
            bits,
            type_name: "unsigned int".to_owned(),
            signed: false,
        };
        let bits = Some(Bits { first: 3, count: 1 });
        let members =
            [("flags".to_owned(), member(None)), ("in_iowait".to_owned(), member(bits))].into();
        Profile {
            release: "6.1.0".to_owned(),
            build_id: "bb603a".to_owned(),
            origin: Origin { types: "BTF".to_owned(), symbols: "kallsyms".to_owned() },
            symbols: [("init_task".to_owned(), 0xffff_ffff_82a1_aa40)].into(),
            structs: [("task_struct".to_owned(), ProfileStruct { size: 9728, members })].into(),
        }
    }

    #[test]
    fn a_member_is_a_line() {
        let text = profile().to_file();
        for line in [
            r#" "format": 1,"#,
            r#"  "init_task": "0xffffffff82a1aa40""#,
            r#"    "flags": {"offset": 2344, "size": 4, "type": "unsigned int"},"#,
            r#"    "in_iowait": {"offset": 2344, "size": 4, "bits": {"first": 3, "count": 1}, "type": "unsigned int"}"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
        assert_eq!(Profile::from_file(text.as_bytes()).unwrap(), profile());
    }

    #[test]
    fn files_of_another_format_are_refused() {
        let text = profile().to_file().replace("\"format\": 1", "\"format\": 7");
        let error = Profile::from_file(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("format 7"), "{error}");
        assert!(Profile::from_file(b"{}").is_err());
    }
}
