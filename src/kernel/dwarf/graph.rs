//! Types as DWARF's entries describe them.

use gimli::{
    AttributeValue, DW_AT_bit_offset, DW_AT_bit_size, DW_AT_byte_size, DW_AT_const_value,
    DW_AT_count, DW_AT_data_bit_offset, DW_AT_data_member_location, DW_AT_encoding, DW_AT_name,
    DW_AT_type, DW_AT_upper_bound, DW_ATE_signed, DW_ATE_signed_char, DW_TAG_array_type,
    DW_TAG_atomic_type, DW_TAG_base_type, DW_TAG_const_type, DW_TAG_enumeration_type,
    DW_TAG_enumerator, DW_TAG_member, DW_TAG_pointer_type, DW_TAG_restrict_type,
    DW_TAG_structure_type, DW_TAG_subrange_type, DW_TAG_subroutine_type, DW_TAG_typedef,
    DW_TAG_union_type, DW_TAG_volatile_type, DwTag,
};

use super::super::layout::{self, DEPTH, Step, TypeGraph};
use super::{Die, Dwarf, Entry, number_of};

impl<'a> Dwarf<'a> {
    fn entry(&self, die: Die) -> Option<Entry<'a>> {
        self.unit(die.unit)?.entry(die.offset).ok()
    }

    /// The entries directly below one.
    fn children(&self, die: Die) -> Option<Vec<Entry<'a>>> {
        let unit = self.unit(die.unit)?;
        let mut entries = unit.entries_at_offset(die.offset).ok()?;
        entries.next_entry().ok()?;
        let mut children = Vec::new();
        if !entries.current()?.has_children() {
            return Some(children);
        }
        entries.next_entry().ok()?;
        while let Some(entry) = entries.current() {
            children.push(entry.clone());
            if entries.next_sibling().ok()?.is_none() {
                break;
            }
        }
        Some(children)
    }

    /// The type that an entry refers to; `None` for `void`.
    fn target(&self, die: Die, entry: &Entry<'a>) -> Option<Die> {
        self.referred(die.unit, entry.attr_value(DW_AT_type)?)
    }

    fn name_of(&self, die: Die, entry: &Entry<'a>) -> Option<&'a [u8]> {
        let unit = self.unit(die.unit)?;
        let name = self.dwarf.attr_string(&unit, entry.attr_value(DW_AT_name)?).ok()?;
        Some(name.slice())
    }

    fn text(&self, die: Die, entry: &Entry<'a>) -> String {
        self.name_of(die, entry).map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    }

    /// The number of elements of an array of as many dimensions as it has.
    fn count(&self, array: Die) -> Option<u64> {
        let mut count = 1u64;
        for entry in self.children(array)? {
            if entry.tag() == DW_TAG_subrange_type {
                let dimension = number_of(entry.attr_value(DW_AT_count))
                    .or_else(|| number_of(entry.attr_value(DW_AT_upper_bound))?.checked_add(1));
                // A flexible array has none.
                count = count.checked_mul(dimension.unwrap_or(0))?;
            }
        }
        Some(count)
    }

    /// A constant of an enumeration.
    fn enumerator(&self, of: Die, entry: &Entry<'a>) -> Option<Step<'_, Die>> {
        let value = number_of(entry.attr_value(DW_AT_const_value))?;
        let name = self.name_of(of, entry)?;
        Some(Step { name, bit: layout::bit_of_value(value)?, width: 0, of })
    }

    fn step(&self, composite: Die, entry: &Entry<'a>) -> Option<Step<'_, Die>> {
        let width = number_of(entry.attr_value(DW_AT_bit_size)).unwrap_or(0);
        let of = self.target(composite, entry)?;
        let byte = number_of(entry.attr_value(DW_AT_data_member_location)).unwrap_or(0);
        let bit = if let Some(bit) = number_of(entry.attr_value(DW_AT_data_bit_offset)) {
            bit
        } else if let Some(from_top) = entry.attr_value(DW_AT_bit_offset) {
            // Before version 4: from the highest bit of the storage unit.
            let unit = number_of(entry.attr_value(DW_AT_byte_size)).or_else(|| self.size_of(of))?;
            let used = number_of(Some(from_top))?.checked_add(width)?;
            byte.checked_add(unit)?.checked_mul(8)?.checked_sub(used)?
        } else {
            byte.checked_mul(8)?
        };
        let name = self.name_of(composite, entry).unwrap_or_default();
        Some(Step { name, bit, width: u8::try_from(width).ok()?, of })
    }

    /// An enumeration is signed if one of its values is negative, as BTF has it.
    fn has_negative_value(&self, enumeration: Die) -> bool {
        let values = self.children(enumeration).unwrap_or_default();
        values.iter().any(|value| {
            value.tag() == DW_TAG_enumerator
                && matches!(value.attr_value(DW_AT_const_value), Some(AttributeValue::Sdata(..0)))
        })
    }

    fn name_at_depth(&self, die: Option<Die>, depth: usize) -> String {
        let Some(deeper) = depth.checked_sub(1) else { return "?".to_owned() };
        let Some(die) = die else { return "void".to_owned() };
        let Some(entry) = self.entry(die) else { return "?".to_owned() };
        let inner = || self.name_at_depth(self.target(die, &entry), deeper);
        let tagged = |tag: &str| match self.text(die, &entry) {
            name if name.is_empty() => format!("{tag} {{...}}"),
            name => format!("{tag} {name}"),
        };
        match entry.tag() {
            DW_TAG_pointer_type => match inner() {
                name if name.ends_with('*') => format!("{name}*"),
                name => format!("{name} *"),
            },
            DW_TAG_array_type => {
                let name = inner();
                // The outermost dimension is written first.
                let at = name.find('[').unwrap_or(name.len());
                let count = self.count(die).unwrap_or(0);
                format!("{}[{count}]{}", &name[..at], &name[at..])
            }
            DW_TAG_structure_type => tagged("struct"),
            DW_TAG_union_type => tagged("union"),
            DW_TAG_enumeration_type => tagged("enum"),
            DW_TAG_volatile_type => format!("volatile {}", inner()),
            DW_TAG_const_type => format!("const {}", inner()),
            DW_TAG_restrict_type | DW_TAG_atomic_type => inner(),
            DW_TAG_subroutine_type => "function".to_owned(),
            _ => self.text(die, &entry),
        }
    }
}

fn is_transparent(tag: DwTag) -> bool {
    matches!(
        tag,
        DW_TAG_typedef
            | DW_TAG_const_type
            | DW_TAG_volatile_type
            | DW_TAG_restrict_type
            | DW_TAG_atomic_type
    )
}

impl TypeGraph for Dwarf<'_> {
    type Id = Die;

    fn strip(&self, mut die: Die) -> Option<Die> {
        for _ in 0..DEPTH {
            let entry = self.entry(die)?;
            if !is_transparent(entry.tag()) {
                return Some(die);
            }
            die = self.target(die, &entry)?;
        }
        None
    }

    fn element(&self, array: Die) -> Option<Die> {
        let entry = self.entry(array).filter(|entry| entry.tag() == DW_TAG_array_type)?;
        self.target(array, &entry)
    }

    fn members(&self, of: Die) -> Option<impl Iterator<Item = Option<Step<'_, Die>>>> {
        let wanted = match self.entry(of)?.tag() {
            DW_TAG_structure_type | DW_TAG_union_type => DW_TAG_member,
            DW_TAG_enumeration_type => DW_TAG_enumerator,
            _ => return None,
        };
        let entries = self.children(of)?.into_iter().filter(move |entry| entry.tag() == wanted);
        Some(entries.map(move |entry| match wanted {
            DW_TAG_enumerator => self.enumerator(of, &entry),
            _ => self.step(of, &entry),
        }))
    }

    fn size_of(&self, mut die: Die) -> Option<u64> {
        let mut count = 1u64;
        for _ in 0..DEPTH {
            die = self.strip(die)?;
            let entry = self.entry(die)?;
            let size = match entry.tag() {
                DW_TAG_array_type => {
                    count = count.checked_mul(self.count(die)?)?;
                    die = self.target(die, &entry)?;
                    continue;
                }
                DW_TAG_pointer_type => 8,
                _ => number_of(entry.attr_value(DW_AT_byte_size))?,
            };
            return size.checked_mul(count);
        }
        None
    }

    fn integer(&self, die: Die) -> (bool, u8) {
        let Some(die) = self.strip(die) else { return (false, 0) };
        let signed = match self.entry(die) {
            Some(entry) if entry.tag() == DW_TAG_base_type => matches!(
                entry.attr_value(DW_AT_encoding),
                Some(AttributeValue::Encoding(DW_ATE_signed | DW_ATE_signed_char))
            ),
            Some(entry) if entry.tag() == DW_TAG_enumeration_type => self.has_negative_value(die),
            _ => false,
        };
        (signed, 0)
    }

    fn type_name(&self, die: Die) -> String {
        self.name_at_depth(Some(die), DEPTH)
    }
}
