//! Members by path, through anonymous structures, arrays and bit fields, in
//! types of whatever description.
//!
//! An enumeration is read as a structure, too: each of its constants as a member
//! that lies at the offset of its value.

use super::profile::{Bits, ProfileMember};

/// Types that are passed through at most to resolve one: typedefs, qualifiers,
/// array dimensions, pointers.
pub(super) const DEPTH: usize = 32;
/// Anonymous structures within each other at most.
const NESTING: usize = 16;
/// Members that are looked at to find one. The largest structures have some
/// hundreds.
const BUDGET: usize = 1 << 14;

/// Types that refer to each other, in circles perhaps.
pub(super) trait TypeGraph {
    /// Names a type.
    type Id: Copy;

    /// The type itself, behind typedefs and qualifiers.
    fn strip(&self, id: Self::Id) -> Option<Self::Id>;

    /// The type of an array's elements; `None` where the type is no array.
    fn element(&self, array: Self::Id) -> Option<Self::Id>;

    /// The members of a structure or union in order, or the constants of an
    /// enumeration; `None` where the type is none of these. A member that cannot
    /// be read is `None`.
    fn members(&self, of: Self::Id) -> Option<impl Iterator<Item = Option<Step<'_, Self::Id>>>>;

    /// `sizeof`, in bytes; `None` for a type without a size.
    fn size_of(&self, id: Self::Id) -> Option<u64>;

    /// Whether the type is a signed integer, and its width in bits where that
    /// is not all of its bytes.
    fn integer(&self, id: Self::Id) -> (bool, u8);

    /// The type as C writes it, for people.
    fn type_name(&self, id: Self::Id) -> String;
}

/// A member, on the way to the one that is sought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a, Id> {
    /// Empty for an anonymous structure or union.
    pub(super) name: &'a [u8],
    /// Bits from the start of the outermost structure.
    pub(super) bit: u64,
    /// Bits of a bit field; 0 for any other member.
    pub(super) width: u8,
    pub(super) of: Id,
}

/// The place of a member of the structure or union `of`.
///
/// `path` names members separated by dots. Anonymous structures and unions are
/// transparent; an array stands for its first element, so that `numbers.nr` is
/// `numbers[0].nr`. Pointers are not followed.
pub(super) fn member<G: TypeGraph>(types: &G, of: G::Id, path: &str) -> Option<ProfileMember> {
    let mut at = Step { name: &[], bit: 0, width: 0, of };
    for name in path.split('.') {
        let composite = first_element(types, at.of)?;
        let found = find(types, composite, name.as_bytes(), NESTING, &mut BUDGET.clone())?;
        at = Step { bit: at.bit.checked_add(found.bit)?, ..found };
    }
    place(types, at)
}

/// Where a constant of an enumeration lies, in bits, when it is taken for a
/// member.
pub(super) fn bit_of_value(value: u64) -> Option<u64> {
    value.checked_mul(8)
}

/// The type behind typedefs, qualifiers and array dimensions.
fn first_element<G: TypeGraph>(types: &G, mut id: G::Id) -> Option<G::Id> {
    for _ in 0..DEPTH {
        id = types.strip(id)?;
        match types.element(id) {
            Some(element) => id = element,
            None => return Some(id),
        }
    }
    None
}

fn find<'a, G: TypeGraph>(
    types: &'a G,
    composite: G::Id,
    name: &[u8],
    nesting: usize,
    budget: &mut usize,
) -> Option<Step<'a, G::Id>> {
    let nesting = nesting.checked_sub(1)?;
    for step in types.members(composite)? {
        *budget = budget.checked_sub(1)?;
        let step = step?;
        if step.name.is_empty() {
            let Some(inner) = types.strip(step.of) else { continue };
            if let Some(found) = find(types, inner, name, nesting, budget) {
                return Some(Step { bit: step.bit.checked_add(found.bit)?, ..found });
            }
        } else if step.name == name {
            return Some(step);
        }
    }
    None
}

fn place<G: TypeGraph>(types: &G, at: Step<'_, G::Id>) -> Option<ProfileMember> {
    let size = types.size_of(at.of)?;
    let (signed, old_width) = types.integer(at.of);
    let (offset, size, bits) = match at.width.max(old_width) {
        0 if !at.bit.is_multiple_of(8) => return None,
        0 => (at.bit / 8, size, None),
        width => bit_field(at.bit, width, size)?,
    };
    Some(ProfileMember { offset, size, bits, type_name: types.type_name(at.of), signed })
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
