//! Where structure layouts come from.

use std::fmt::Debug;

use super::btf::Btf;
use super::dwarf::Dwarf;
use super::layout::{self, TypeGraph};
use super::profile::ProfileStruct;

/// Structures of one name that are compared at most; kernels have up to ten.
const NAMESAKES_MAX: usize = 16;

/// A description of a kernel's types.
pub(super) trait Types: Debug {
    /// The structures and unions called `name`, or, where there are none, those
    /// that a typedef calls so, each with the members among `paths` that it has.
    fn layouts(&self, name: &str, paths: &[&str]) -> Vec<ProfileStruct>;
}

impl Types for Btf<'_> {
    fn layouts(&self, name: &str, paths: &[&str]) -> Vec<ProfileStruct> {
        layouts(self, self.composites(name), paths)
    }
}

impl Types for Dwarf<'_> {
    fn layouts(&self, name: &str, paths: &[&str]) -> Vec<ProfileStruct> {
        layouts(self, self.composites(name), paths)
    }
}

fn layouts<G: TypeGraph>(types: &G, namesakes: Vec<G::Id>, paths: &[&str]) -> Vec<ProfileStruct> {
    let candidates = namesakes.into_iter().take(NAMESAKES_MAX);
    let layouts = candidates.filter_map(|id| {
        let members = paths
            .iter()
            .filter_map(|path| Some(((*path).to_owned(), layout::member(types, id, path)?)));
        Some(ProfileStruct { size: types.size_of(id)?, members: members.collect() })
    });
    layouts.collect()
}
