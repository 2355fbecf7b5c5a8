//! Members by path, through anonymous structures, arrays and bit fields.

use super::super::profile::{Bits, ProfileMember};
use super::{Array, Btf, DEPTH, TypeId, kind, word_at};

/// Bytes of an entry of a structure: `struct btf_member`.
const MEMBER: usize = 12;
/// Anonymous structures within each other at most.
const NESTING: usize = 16;
/// Members that are looked at to find one. The largest structures have some
/// hundreds.
const BUDGET: usize = 1 << 14;

/// A member on the way to the one that is sought.
#[derive(Clone, Copy)]
struct Step {
    /// Bits from the start of the outermost structure.
    bit: u64,
    /// Bits of a bit field; 0 for any other member.
    width: u8,
    of: TypeId,
}

impl Btf<'_> {
    /// The place of a member of the structure or union `of`.
    ///
    /// `path` names members separated by dots. Anonymous structures and unions
    /// are transparent; an array stands for its first element, so that
    /// `numbers.nr` is `numbers[0].nr`. Pointers are not followed.
    pub fn member(&self, of: TypeId, path: &str) -> Option<ProfileMember> {
        let mut at = Step { bit: 0, width: 0, of };
        for name in path.split('.') {
            let composite = self.element(at.of)?;
            let found = self.find(composite, name.as_bytes(), NESTING, &mut BUDGET.clone())?;
            at = Step { bit: at.bit.checked_add(found.bit)?, ..found };
        }
        self.place(at)
    }

    /// The type behind typedefs, qualifiers and array dimensions.
    fn element(&self, mut id: TypeId) -> Option<TypeId> {
        for _ in 0..DEPTH {
            id = self.strip(id)?;
            match self.get(id)? {
                found if found.kind == kind::ARRAY => id = Array::read(found.entries)?.element,
                _ => return Some(id),
            }
        }
        None
    }

    fn find(
        &self,
        composite: TypeId,
        name: &[u8],
        nesting: usize,
        budget: &mut usize,
    ) -> Option<Step> {
        let nesting = nesting.checked_sub(1)?;
        let found = self.get(composite).filter(|found| found.is_composite())?;
        for entry in found.entries.as_chunks::<MEMBER>().0 {
            *budget = budget.checked_sub(1)?;
            let (name_at, of, place) =
                (word_at(entry, 0)?, TypeId(word_at(entry, 4)?), word_at(entry, 8)?);
            // With `kind_flag` the upper byte is the width of a bit field.
            let (bit, width) = match found.flag {
                true => (place & 0x00ff_ffff, (place >> 24) as u8),
                false => (place, 0),
            };
            let step = Step { bit: u64::from(bit), width, of };
            match self.bytes_at(name_at)? {
                [] => {
                    let Some(inner) = self.strip(of) else { continue };
                    if let Some(found) = self.find(inner, name, nesting, budget) {
                        return Some(Step { bit: step.bit.checked_add(found.bit)?, ..found });
                    }
                }
                member if member == name => return Some(step),
                _ => {}
            }
        }
        None
    }

    fn place(&self, at: Step) -> Option<ProfileMember> {
        let size = self.size_of(at.of)?;
        let (signed, old_width) = self.integer(at.of);
        let (offset, size, bits) = match at.width.max(old_width) {
            0 if !at.bit.is_multiple_of(8) => return None,
            0 => (at.bit / 8, size, None),
            width => bit_field(at.bit, width, size)?,
        };
        Some(ProfileMember { offset, size, bits, type_name: self.type_name(at.of), signed })
    }

    /// Whether the type is a signed integer, and its width in bits where that
    /// is not all of its bytes: bit fields before there was `kind_flag`.
    fn integer(&self, id: TypeId) -> (bool, u8) {
        let found = self.strip(id).and_then(|id| self.get(id));
        match found {
            Some(found) if found.kind == kind::INT => {
                // Encoding in bits 24 to 27 (1 is signed), width in bits 0 to 7.
                let data = word_at(found.entries, 0).unwrap_or(0);
                let width = data & 0xff;
                let partial = width > 0 && width < found.payload.saturating_mul(8);
                (data >> 24 & 1 == 1, if partial { width as u8 } else { 0 })
            }
            Some(found) => (matches!(found.kind, kind::ENUM | kind::ENUM64) && found.flag, 0),
            None => (false, 0),
        }
    }
}

/// Byte offset, unit size and bits of a bit field of `width` bits at `bit`. The
/// unit is the declared type's where the field lies within one, as compilers
/// place it; in a packed structure it is the smallest that holds the field.
fn bit_field(bit: u64, width: u8, size: u64) -> Option<(u64, u64, Option<Bits>)> {
    let within = |size: u64, start: u64| bit - start * 8 + u64::from(width) <= size * 8;
    let (start, size) = match size {
        1 | 2 | 4 | 8 if within(size, bit / 8 / size * size) => (bit / 8 / size * size, size),
        _ => {
            let start = bit / 8;
            (start, [1, 2, 4, 8].into_iter().find(|size| within(*size, start))?)
        }
    };
    let first = u8::try_from(bit - start * 8).ok()?;
    Some((start, size, Some(Bits { first, count: width })))
}
