//! Members of BTF structures.

use super::super::layout::{self, Step, TypeGraph};
use super::super::profile::ProfileMember;
use super::{Array, Btf, TypeId, kind, word_at};

/// Bytes of an entry of a structure, `struct btf_member`, and of an enumeration,
/// `struct btf_enum`.
const MEMBER: usize = 12;
const ENUMERATOR: usize = 8;

impl Btf<'_> {
    /// The place of a member of the structure or union `of`.
    ///
    /// `path` names members separated by dots. Anonymous structures and unions
    /// are transparent; an array stands for its first element, so that
    /// `numbers.nr` is `numbers[0].nr`. Pointers are not followed.
    pub fn member(&self, of: TypeId, path: &str) -> Option<ProfileMember> {
        layout::member(self, of, path)
    }

    /// A constant of the enumeration `of`.
    fn enumerator(&self, entry: &[u8], of: TypeId) -> Option<Step<'_, TypeId>> {
        let name = self.bytes_at(word_at(entry, 0)?)?;
        Some(Step { name, bit: layout::bit_of_value(word_at(entry, 4)?.into())?, width: 0, of })
    }

    fn step(&self, entry: &[u8], has_bit_fields: bool) -> Option<Step<'_, TypeId>> {
        let (name, of, place) =
            (word_at(entry, 0)?, TypeId(word_at(entry, 4)?), word_at(entry, 8)?);
        // With `kind_flag` the upper byte is the width of a bit field.
        let (bit, width) = match has_bit_fields {
            true => (place & 0x00ff_ffff, (place >> 24) as u8),
            false => (place, 0),
        };
        Some(Step { name: self.bytes_at(name)?, bit: u64::from(bit), width, of })
    }
}

impl TypeGraph for Btf<'_> {
    type Id = TypeId;

    fn strip(&self, id: TypeId) -> Option<TypeId> {
        self.strip(id)
    }

    fn element(&self, array: TypeId) -> Option<TypeId> {
        let found = self.get(array).filter(|found| found.kind == kind::ARRAY)?;
        Some(Array::read(found.entries)?.element)
    }

    fn members(&self, of: TypeId) -> Option<impl Iterator<Item = Option<Step<'_, TypeId>>>> {
        let found = self.get(of).filter(|found| found.is_composite())?;
        let is_enumeration = found.kind == kind::ENUM;
        let entries = found.entries.chunks_exact(if is_enumeration { ENUMERATOR } else { MEMBER });
        Some(entries.map(move |entry| match is_enumeration {
            true => self.enumerator(entry, of),
            false => self.step(entry, found.flag),
        }))
    }

    fn size_of(&self, id: TypeId) -> Option<u64> {
        self.size_of(id)
    }

    fn integer(&self, id: TypeId) -> (bool, u8) {
        let found = self.strip(id).and_then(|id| self.get(id));
        match found {
            Some(found) if found.kind == kind::INT => {
                // Encoding in bits 24 to 27 (1 is signed), width in bits 0 to
                // 7: that of bit fields before there was `kind_flag`.
                let data = word_at(found.entries, 0).unwrap_or(0);
                let width = data & 0xff;
                let partial = width > 0 && width < found.payload.saturating_mul(8);
                (data >> 24 & 1 == 1, if partial { width as u8 } else { 0 })
            }
            Some(found) => (matches!(found.kind, kind::ENUM | kind::ENUM64) && found.flag, 0),
            None => (false, 0),
        }
    }

    fn type_name(&self, id: TypeId) -> String {
        self.type_name(id)
    }
}
