//! A kernel build's symbols and structure layouts, as far as they are read.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_with::{DeserializeAs, SerializeAs, serde_as};

/// What is known of one kernel build. Addresses are as linked, before KASLR.
#[serde_as]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// `uname -r`.
    pub release: String,
    /// The GNU build ID of `vmlinux`, in hexadecimal.
    pub build_id: String,
    /// Where all that comes from.
    pub origin: Origin,
    /// The declared symbols that this kernel has, under the kernel's own
    /// names. Addresses below the kernel image are per-CPU offsets and are not
    /// moved by KASLR.
    #[serde_as(as = "BTreeMap<_, Hexadecimal>")]
    pub symbols: BTreeMap<String, u64>,
    /// The declared structures that this kernel has.
    pub structs: BTreeMap<String, ProfileStruct>,
}

/// Where a profile comes from, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Where the layouts come from, for example `BTF in guest memory`.
    pub types: String,
    /// Where the symbols come from, for example `kallsyms in guest memory`.
    pub symbols: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.types, self.symbols)
    }
}

/// Addresses as people read them: `"0xffffffff82a1aa40"`.
struct Hexadecimal;

impl SerializeAs<u64> for Hexadecimal {
    fn serialize_as<S: Serializer>(addr: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{addr:#x}"))
    }
}

impl<'de> DeserializeAs<'de, u64> for Hexadecimal {
    fn deserialize_as<D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
        let wrong = || serde::de::Error::custom(format_args!("{text:?} is no address"));
        digits.and_then(Result::ok).ok_or_else(wrong)
    }
}

/// The layout of a structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileStruct {
    /// `sizeof`, in bytes.
    pub size: u64,
    /// Members by path, for each path that a declaration tries and this kernel
    /// has.
    pub members: BTreeMap<String, ProfileMember>,
}

/// The place of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileMember {
    /// Bytes from the start of the structure.
    pub offset: u64,
    /// Bytes of the member, or of one unit of the bit field.
    pub size: u64,
    /// The bits of a bit field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Bits>,
    /// The member's type as C writes it, for people.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether the value is a signed integer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
}

/// The bits of a bit field within its unit, counted from the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bits {
    /// The lowest bit.
    pub first: u8,
    /// How many.
    pub count: u8,
}

/// A table for people; [`serde`] gives the same to programs.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "release   {}", self.release)?;
        writeln!(f, "build ID  {}", self.build_id)?;
        writeln!(f, "origin    {}", self.origin)?;
        writeln!(f, "\nsymbols, as linked")?;
        for (name, addr) in &self.symbols {
            writeln!(f, "  {addr:016x}  {name}")?;
        }
        for (name, structure) in &self.structs {
            writeln!(f, "\n{name}, {} bytes", structure.size)?;
            writeln!(f, "  {:>6} {:>6} {:>6}  member", "offset", "size", "bits")?;
            for (path, member) in by_offset(structure) {
                let bits = member.bits.map_or(String::new(), |bits| bits.to_string());
                let (offset, size, of) = (member.offset, member.size, &member.type_name);
                writeln!(f, "  {offset:>6} {size:>6} {bits:>6}  {path}: {of}")?;
            }
        }
        Ok(())
    }
}

fn by_offset(structure: &ProfileStruct) -> Vec<(&String, &ProfileMember)> {
    let mut members: Vec<_> = structure.members.iter().collect();
    members.sort_by_key(|(_, member)| (member.offset, member.bits.map(|bits| bits.first)));
    members
}

/// `first:count`.
impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.first, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_members_by_their_place() {
        let member = |offset, bits, type_name: &str| ProfileMember {
            offset,
            size: 4,
            bits,
            type_name: type_name.to_owned(),
            signed: false,
        };
        let bits = Some(Bits { first: 3, count: 1 });
        let members = [
            ("in_iowait", member(2344, bits, "unsigned int")),
            ("flags", member(44, None, "unsigned int")),
        ];
        let members = members.map(|(path, member)| (path.to_owned(), member)).into();
        let profile = Profile {
            release: "6.1.0".to_owned(),
            build_id: "bb603a".to_owned(),
            origin: Origin { types: "a test".to_owned(), symbols: "another".to_owned() },
            symbols: [("init_task".to_owned(), 0xffff_ffff_82a1_aa40)].into(),
            structs: [("task_struct".to_owned(), ProfileStruct { size: 9728, members })].into(),
        };
        let table = profile.to_string();
        let lines: Vec<_> = table.lines().collect();
        assert!(lines.contains(&"  ffffffff82a1aa40  init_task"));
        let members = &lines[lines.len() - 2..];
        assert_eq!(members[0], "      44      4         flags: unsigned int");
        assert_eq!(members[1], "    2344      4    3:1  in_iowait: unsigned int");
        let read: Profile =
            serde_json::from_str(&serde_json::to_string(&profile).unwrap()).unwrap();
        assert_eq!(read, profile);
    }
}
