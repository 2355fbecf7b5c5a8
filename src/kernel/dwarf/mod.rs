//! DWARF: what a kernel's debug package says of its types, where there is no
//! BTF (`dwarfstd.org`, version 5; as gcc and clang write it, from version 2).
//!
//! Each compilation unit describes the structures that it uses anew, so that
//! one structure is there thousands of times. Those that were declared on one
//! line and have one size are taken for the same.

// The names of the standard, in patterns.
#![allow(non_upper_case_globals)]

mod graph;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use gimli::{
    AttributeValue, DW_AT_byte_size, DW_AT_decl_line, DW_AT_declaration, DW_AT_name,
    DW_TAG_enumeration_type, DW_TAG_structure_type, DW_TAG_typedef, DW_TAG_union_type,
    DebuggingInformationEntry, DwarfSections, EndianSlice, LittleEndian, UnitHeader, UnitOffset,
};

use super::layout::TypeGraph;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;
type Unit<'a> = gimli::Unit<Slice<'a>>;

/// A debugging information entry: which unit, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Die {
    unit: usize,
    offset: UnitOffset,
}

/// An entry that gives a name, and what tells it from others of that name.
#[derive(Clone, Copy, Debug)]
struct Named {
    die: Die,
    size: Option<u64>,
    line: Option<u64>,
}

/// The types of a kernel file, by name.
pub(super) struct Dwarf<'a> {
    dwarf: gimli::Dwarf<Slice<'a>>,
    /// Ascending by offset.
    headers: Vec<UnitHeader<Slice<'a>>>,
    composites: HashMap<&'a [u8], Vec<Named>>,
    typedefs: HashMap<&'a [u8], Vec<Named>>,
    /// Units that were looked into.
    units: RefCell<HashMap<usize, Rc<Unit<'a>>>>,
}

impl<'a> Dwarf<'a> {
    /// Lists the structures, unions, enumerations and typedefs of all units.
    ///
    /// # Errors
    ///
    /// Where a unit cannot be read.
    pub(super) fn index(sections: &'a DwarfSections<Cow<'_, [u8]>>) -> gimli::Result<Self> {
        let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        while let Some(header) = units.next()? {
            headers.push(header);
        }
        let mut index = Self {
            dwarf,
            headers,
            composites: HashMap::new(),
            typedefs: HashMap::new(),
            units: RefCell::default(),
        };
        for unit in 0..index.headers.len() {
            index.list(unit)?;
        }
        Ok(index)
    }

    /// Whether no structure is described.
    pub(super) fn is_empty(&self) -> bool {
        self.composites.is_empty()
    }

    /// The structures, unions and enumerations called `name`, or, where there are
    /// none, those that a typedef calls so.
    pub(super) fn composites(&self, name: &str) -> Vec<Die> {
        let named = |index: &HashMap<&[u8], Vec<Named>>| {
            let named = index.get(name.as_bytes()).map_or(&[][..], Vec::as_slice);
            named.iter().map(|named| named.die).collect::<Vec<_>>()
        };
        let direct = named(&self.composites);
        if !direct.is_empty() {
            return direct;
        }
        named(&self.typedefs).into_iter().filter_map(|die| self.strip(die)).collect()
    }

    /// Lists what a unit declares outside of functions.
    fn list(&mut self, number: usize) -> gimli::Result<()> {
        let unit = self.dwarf.unit(self.headers[number])?;
        let mut entries = unit.entries();
        if !entries.next_entry()? || entries.current().is_none_or(|root| !root.has_children()) {
            return Ok(());
        }
        entries.next_entry()?;
        let mut next = entries.current().is_some();
        while next {
            if let Some(entry) = entries.current() {
                self.list_entry(number, &unit, entry);
            }
            next = entries.next_sibling()?.is_some();
        }
        Ok(())
    }

    fn list_entry(&mut self, number: usize, unit: &Unit<'a>, entry: &Entry<'a>) {
        let index = match entry.tag() {
            DW_TAG_structure_type | DW_TAG_union_type | DW_TAG_enumeration_type => {
                &mut self.composites
            }
            DW_TAG_typedef => &mut self.typedefs,
            _ => return,
        };
        if entry.has_attr(DW_AT_declaration) {
            return;
        }
        let Some(name) = entry.attr_value(DW_AT_name) else { return };
        let Ok(name) = self.dwarf.attr_string(unit, name) else { return };
        let named = Named {
            die: Die { unit: number, offset: entry.offset() },
            size: number_of(entry.attr_value(DW_AT_byte_size)),
            line: number_of(entry.attr_value(DW_AT_decl_line)),
        };
        let namesakes = index.entry(name.slice()).or_default();
        if !namesakes.iter().any(|known| (known.size, known.line) == (named.size, named.line)) {
            namesakes.push(named);
        }
    }

    fn unit(&self, number: usize) -> Option<Rc<Unit<'a>>> {
        if let Some(unit) = self.units.borrow().get(&number) {
            return Some(unit.clone());
        }
        let unit = Rc::new(self.dwarf.unit(*self.headers.get(number)?).ok()?);
        self.units.borrow_mut().insert(number, unit.clone());
        Some(unit)
    }

    /// What a reference in the unit `from` leads to.
    fn referred(&self, from: usize, to: AttributeValue<Slice<'a>>) -> Option<Die> {
        match to {
            AttributeValue::UnitRef(offset) => Some(Die { unit: from, offset }),
            AttributeValue::DebugInfoRef(offset) => {
                let after = self.headers.partition_point(|header| {
                    header.debug_info_offset().is_some_and(|start| start.0 <= offset.0)
                });
                let unit = after.checked_sub(1)?;
                Some(Die { unit, offset: offset.to_unit_offset(&self.headers[unit])? })
            }
            _ => None,
        }
    }
}

/// A number, in whichever way it is written.
fn number_of(value: Option<AttributeValue<Slice<'_>>>) -> Option<u64> {
    value?.udata_value()
}

impl fmt::Debug for Dwarf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dwarf").field("units", &self.headers.len()).finish_non_exhaustive()
    }
}
