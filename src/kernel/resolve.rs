//! From what the kernel image holds to the profile that is read by.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::btf::{Btf, TypeId};
use super::declare::{Declarations, FieldDecl};
use super::error::KernelError;
use super::fit::BASE_STRUCTS;
use super::image::{BASE_SYMBOLS, START_KERNEL_MAP};
use super::kallsyms::Kallsyms;
use super::profile::{Profile, ProfileStruct};
use super::vmcoreinfo::VmcoreInfo;

/// Structures of one name that are compared at most; kernels have up to ten.
const NAMESAKES_MAX: usize = 16;

/// Looks up everything that `declarations` may read, under all its alternative
/// names. What is missing is left out: whether it must be there is decided by
/// [`Kernel::new`](super::Kernel::new), which says what was looked for.
///
/// # Errors
///
/// [`KernelError::Kallsyms`] where a name in the tables is none.
pub fn resolve(
    info: &VmcoreInfo,
    kallsyms: &Kallsyms<'_>,
    btf: &Btf<'_>,
    declarations: &Declarations,
) -> Result<Profile, KernelError> {
    Ok(Profile {
        release: info.release.clone(),
        build_id: info.build_id.clone().unwrap_or_default(),
        origin: "BTF and kallsyms in guest memory".to_owned(),
        symbols: symbols(kallsyms, info.kaslr_offset, declarations)?,
        structs: structs(btf, declarations),
    })
}

/// Addresses as linked of all symbols that are declared.
fn symbols(
    kallsyms: &Kallsyms<'_>,
    kaslr_offset: u64,
    declarations: &Declarations,
) -> Result<BTreeMap<String, u64>, KernelError> {
    let declared = declarations.symbols.iter().flat_map(|symbol| symbol.names);
    let names = BASE_SYMBOLS.iter().chain(declared).map(|name| (*name, None));
    let mut wanted: HashMap<&str, Option<(u64, bool)>> = names.collect();
    kallsyms.visit(|symbol| {
        if let Some(found) = wanted.get_mut(symbol.name) {
            // Static symbols of several files may share a name with the global
            // one; the first is taken where none is global.
            let global = symbol.kind.is_ascii_uppercase();
            if found.is_none_or(|(_, had_global)| global && !had_global) {
                *found = Some((symbol.addr.get(), global));
            }
        }
        ControlFlow::<()>::Continue(())
    })?;
    let linked = |addr: u64| match addr {
        START_KERNEL_MAP.. => addr.wrapping_sub(kaslr_offset),
        _ => addr,
    };
    let found = wanted.into_iter().filter_map(|(name, found)| Some((name, found?.0)));
    Ok(found.map(|(name, addr)| (name.to_owned(), linked(addr))).collect())
}

/// Layouts of all structures that are declared.
fn structs(btf: &Btf<'_>, declarations: &Declarations) -> BTreeMap<String, ProfileStruct> {
    // Several declarations may read parts of one structure.
    let mut wanted: BTreeMap<&str, Vec<&FieldDecl>> = BTreeMap::new();
    for structure in BASE_STRUCTS.iter().chain(declarations.structs) {
        wanted.entry(structure.name).or_default().extend(structure.fields);
    }
    let found = wanted.into_iter().filter_map(|(name, fields)| {
        let candidates = btf.composites(name).into_iter().take(NAMESAKES_MAX);
        let layouts = candidates.filter_map(|id| layout(btf, id, &fields));
        // Of several structures with one name, the one that has the most of
        // what is read is meant; the first of equals.
        let best = layouts
            .reduce(|best, next| if next.members.len() > best.members.len() { next } else { best });
        Some((name.to_owned(), best?))
    });
    found.collect()
}

fn layout(btf: &Btf<'_>, id: TypeId, fields: &[&FieldDecl]) -> Option<ProfileStruct> {
    let paths = fields.iter().flat_map(|field| field.paths);
    let members = paths.filter_map(|path| Some(((*path).to_owned(), btf.member(id, path)?)));
    Some(ProfileStruct { size: btf.size_of(id)?, members: members.collect() })
}
