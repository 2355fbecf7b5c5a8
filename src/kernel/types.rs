//! Where structure layouts come from.

use std::fmt::Debug;

use super::btf::Btf;
use super::profile::ProfileStruct;

/// Structures of one name that are compared at most; kernels have up to ten.
pub(super) const NAMESAKES_MAX: usize = 16;

/// A description of a kernel's types.
pub trait Types: Debug {
    /// The structures and unions called `name`, or, where there are none, those
    /// that a typedef calls so, each with the members among `paths` that it has.
    fn layouts(&self, name: &str, paths: &[&str]) -> Vec<ProfileStruct>;
}

impl Types for Btf<'_> {
    fn layouts(&self, name: &str, paths: &[&str]) -> Vec<ProfileStruct> {
        let candidates = self.composites(name).into_iter().take(NAMESAKES_MAX);
        let layouts = candidates.filter_map(|id| {
            let members =
                paths.iter().filter_map(|path| Some(((*path).to_owned(), self.member(id, path)?)));
            Some(ProfileStruct { size: self.size_of(id)?, members: members.collect() })
        });
        layouts.collect()
    }
}
