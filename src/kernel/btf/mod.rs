//! BTF, the kernel's description of its own types, in place
//! (Documentation/bpf/btf.rst).
//!
//! ```text
//! 0      2      3      4       8        12       16       20      24 (hdr_len)
//! +------+------+------+-------+--------+--------+--------+-------+----
//! |0xeb9f| ver 1| flags|hdr_len|type_off|type_len|str_off |str_len| ...
//! +------+------+------+-------+--------+--------+--------+-------+----
//! type: name_off, info (vlen, kind, kind_flag), size or type; then, by kind, vlen entries
//! ```
//!
//! Types refer to each other by number, and nothing keeps a hostile blob from
//! referring in circles: every descent has a depth, and every search a budget.

mod member;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;

use super::error::KernelError;
use super::layout::DEPTH;

/// Bytes of BTF at most. Debian's kernels have up to 5 MiB.
pub const BTF_MAX: u64 = 64 << 20;
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Bytes of the header's fields up to `str_len`.
const HEADER: usize = 24;
/// Bytes of a type before its entries: `struct btf_type`.
const TYPE: usize = 12;
/// Bytes of a name at most; the kernel's own limit is `KSYM_NAME_LEN`.
const NAME_MAX: usize = 512;

/// The kinds of `include/uapi/linux/btf.h`, as far as they are read.
pub(super) mod kind {
    pub const INT: u8 = 1;
    pub const PTR: u8 = 2;
    pub const ARRAY: u8 = 3;
    pub const STRUCT: u8 = 4;
    pub const UNION: u8 = 5;
    pub const ENUM: u8 = 6;
    pub const FWD: u8 = 7;
    pub const TYPEDEF: u8 = 8;
    pub const VOLATILE: u8 = 9;
    pub const CONST: u8 = 10;
    pub const RESTRICT: u8 = 11;
    pub const FUNC: u8 = 12;
    pub const FUNC_PROTO: u8 = 13;
    pub const VAR: u8 = 14;
    pub const DATASEC: u8 = 15;
    pub const FLOAT: u8 = 16;
    pub const DECL_TAG: u8 = 17;
    pub const TYPE_TAG: u8 = 18;
    pub const ENUM64: u8 = 19;
}

/// A type's number; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

/// One type, without what it refers to.
#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    kind: u8,
    /// `kind_flag`: bit fields in a structure, signed values in an enumeration.
    flag: bool,
    /// `size` or `type`, depending on the kind.
    payload: u32,
    /// What follows, depending on the kind.
    entries: &'a [u8],
}

impl Type<'_> {
    fn target(self) -> TypeId {
        TypeId(self.payload)
    }

    fn is_composite(self) -> bool {
        matches!(self.kind, kind::STRUCT | kind::UNION | kind::ENUM)
    }
}

/// The types of a kernel.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts; type 1 is the first.
    starts: Vec<u32>,
    /// Structures, unions, enumerations and typedefs by name. A name may have
    /// many.
    by_name: HashMap<&'a [u8], Vec<TypeId>>,
}

impl<'a> Btf<'a> {
    /// Indexes the types of `blob`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Btf`] where `blob` is no BTF or has types that this
    /// version does not know.
    pub fn parse(blob: &'a [u8]) -> Result<Self, KernelError> {
        let (types, strings) = sections(blob).ok_or(KernelError::Btf("no valid header"))?;
        if blob.len() as u64 > BTF_MAX || strings.first() != Some(&0) {
            return Err(KernelError::Btf("no string section"));
        }
        let mut btf = Self { types, strings, starts: Vec::new(), by_name: HashMap::new() };
        let mut at = 0;
        while at < types.len() {
            let (kind, name, len) = measure(&types[at..]).ok_or(KernelError::Btf(
                "a type is cut off or of a kind that this version does not know",
            ))?;
            btf.starts.push(at as u32);
            if matches!(kind, kind::STRUCT | kind::UNION | kind::ENUM | kind::TYPEDEF)
                && let Some(name) = btf.bytes_at(name)
                && !name.is_empty()
            {
                let id = TypeId(btf.starts.len() as u32);
                btf.by_name.entry(name).or_default().push(id);
            }
            at += len;
        }
        Ok(btf)
    }

    /// How many types there are, `void` not counted.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The structures, unions and enumerations called `name`, or, where there are
    /// none, those that a typedef calls so. Compilation units may use one name
    /// for several.
    pub fn composites(&self, name: &str) -> Vec<TypeId> {
        let ids = self.by_name.get(name.as_bytes()).map_or(&[][..], Vec::as_slice);
        let is_composite = |id: &TypeId| self.get(*id).is_some_and(Type::is_composite);
        let direct: Vec<_> = ids.iter().copied().filter(is_composite).collect();
        if !direct.is_empty() {
            return direct;
        }
        ids.iter().filter_map(|id| self.strip(*id)).filter(is_composite).collect()
    }

    /// `sizeof`, in bytes; `None` for a type without a size.
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let (mut id, mut count) = (id, 1u64);
        for _ in 0..DEPTH {
            id = self.strip(id)?;
            let found = self.get(id)?;
            let size = match found.kind {
                kind::ARRAY => {
                    let array = Array::read(found.entries)?;
                    count = count.checked_mul(u64::from(array.count))?;
                    id = array.element;
                    continue;
                }
                kind::PTR => 8,
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::FLOAT
                | kind::DATASEC
                | kind::ENUM64 => u64::from(found.payload),
                _ => return None,
            };
            return size.checked_mul(count);
        }
        None
    }

    /// The type as C writes it, for people.
    pub fn type_name(&self, id: TypeId) -> String {
        self.name_at_depth(id, DEPTH)
    }

    fn name_at_depth(&self, id: TypeId, depth: usize) -> String {
        let Some(deeper) = depth.checked_sub(1) else { return "?".to_owned() };
        if id.0 == 0 {
            return "void".to_owned();
        }
        let Some(found) = self.get(id) else { return "?".to_owned() };
        let inner = || self.name_at_depth(found.target(), deeper);
        let tagged = |tag: &str| match self.text(found.name) {
            "" => format!("{tag} {{...}}"),
            name => format!("{tag} {name}"),
        };
        match found.kind {
            kind::PTR => match inner() {
                name if name.ends_with('*') => format!("{name}*"),
                name => format!("{name} *"),
            },
            kind::ARRAY => match Array::read(found.entries) {
                Some(array) => {
                    let name = self.name_at_depth(array.element, deeper);
                    // The outermost dimension is written first.
                    let at = name.find('[').unwrap_or(name.len());
                    format!("{}[{}]{}", &name[..at], array.count, &name[at..])
                }
                None => "?".to_owned(),
            },
            kind::STRUCT => tagged("struct"),
            kind::UNION => tagged("union"),
            kind::ENUM | kind::ENUM64 => tagged("enum"),
            kind::FWD if found.flag => tagged("union"),
            kind::FWD => tagged("struct"),
            kind::VOLATILE => format!("volatile {}", inner()),
            kind::CONST => format!("const {}", inner()),
            // A pointer's property, and a mark of the kernel's own tools.
            kind::RESTRICT | kind::TYPE_TAG => inner(),
            kind::FUNC_PROTO => "function".to_owned(),
            _ => self.text(found.name).to_owned(),
        }
    }

    /// The type itself, behind typedefs and qualifiers.
    fn strip(&self, mut id: TypeId) -> Option<TypeId> {
        for _ in 0..DEPTH {
            let found = self.get(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.target();
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn get(&self, id: TypeId) -> Option<Type<'a>> {
        let index = (id.0 as usize).checked_sub(1)?;
        let bytes = self.types.get(*self.starts.get(index)? as usize..)?;
        let (kind, name, len) = measure(bytes)?;
        let info = word_at(bytes, 4)?;
        let entries = bytes.get(TYPE..len)?;
        Some(Type { name, kind, flag: info >> 31 == 1, payload: word_at(bytes, 8)?, entries })
    }

    /// A name for people: empty where it is none.
    fn text(&self, offset: u32) -> &'a str {
        let text = self.bytes_at(offset).and_then(|bytes| str::from_utf8(bytes).ok());
        text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '))
            .unwrap_or_default()
    }

    fn bytes_at(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        let end = memchr::memchr(0, &rest[..rest.len().min(NAME_MAX)])?;
        Some(&rest[..end])
    }
}

/// What follows an array type.
struct Array {
    element: TypeId,
    count: u32,
}

impl Array {
    fn read(entries: &[u8]) -> Option<Self> {
        Some(Self { element: TypeId(word_at(entries, 0)?), count: word_at(entries, 8)? })
    }
}

/// The type and the string section. Offsets count from the header's end, which
/// `hdr_len` tells: newer headers are longer.
fn sections(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let magic = u16::from_le_bytes(*blob.first_chunk()?);
    let field = |at: usize| word_at(blob, at).map(|word| word as usize);
    let header = field(4)?;
    if magic != MAGIC || *blob.get(2)? != VERSION || header < HEADER {
        return None;
    }
    let body = blob.get(header..)?;
    let section = |start: usize, len: usize| body.get(start..start.checked_add(len)?);
    Some((section(field(8)?, field(12)?)?, section(field(16)?, field(20)?)?))
}

/// Kind, name and length in bytes of the type that `bytes` starts with.
fn measure(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let name = word_at(bytes, 0)?;
    let info = word_at(bytes, 4)?;
    let count = (info & 0xffff) as usize;
    let kind = ((info >> 24) & 0x1f) as u8;
    let entries = match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
        kind::ENUM | kind::FUNC_PROTO => count * 8,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        _ => return None,
    };
    let len = TYPE + entries;
    (len <= bytes.len()).then_some((kind, name, len))
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}
