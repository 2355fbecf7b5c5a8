//! `seccomp.img`: seccomp filters.
//!
//! A thread names the filter that is installed first, and a filter as its `prev`
//! the one that is installed after it: the image holds each chain from its end
//! (`dump_seccomp_filters()`, `criu/seccomp.c`). Restore goes along it and installs
//! one after the other.

use std::collections::{BTreeMap, HashSet};

use super::container::{ImageKind, ImageWriter};
use super::{EncodeError, proto};
use crate::snapshot::{Id, Process, Seccomp, SeccompFilter, Snapshot};

/// `SECCOMP_FILTER_FLAG_*` (`include/uapi/linux/seccomp.h`).
const TSYNC: u32 = 1 << 0;
const LOG: u32 = 1 << 1;

/// Filters that differ from each other by what ends them and by whether all
/// threads of a process share them.
type Chain = (Id<SeccompFilter>, bool);

/// The filters of a set of images.
#[derive(Default)]
pub struct Filters {
    entry: proto::SeccompEntry,
    /// The first filter to be installed of each chain.
    first: BTreeMap<Chain, u32>,
}

impl Filters {
    /// Those of all threads.
    pub fn of(snapshot: &Snapshot) -> Result<Self, EncodeError> {
        let mut filters = Self::default();
        for process in &snapshot.processes {
            for thread in &process.threads {
                if let Some(chain) = chain(process, thread.seccomp) {
                    filters.add(snapshot, chain)?;
                }
            }
        }
        Ok(filters)
    }

    fn add(&mut self, snapshot: &Snapshot, chain: Chain) -> Result<(), EncodeError> {
        if self.first.contains_key(&chain) {
            return Ok(());
        }
        let (last, is_shared) = chain;
        let (mut next, mut seen) = (Some(last), HashSet::new());
        while let Some(id) = next {
            let filter = snapshot.seccomp_filters.get(id);
            // One that comes again would come for ever.
            let filter = filter.filter(|_| seen.insert(id));
            let filter = filter.ok_or(EncodeError::Dangling("seccomp filter"))?;
            let number = self.entry.seccomp_filters.len() as u32;
            let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
            self.entry.seccomp_filters.push(proto::SeccompFilter {
                filter: filter.instructions.clone(),
                prev: (id != last).then(|| number - 1),
                flags: Some(flag(filter.log, LOG) | flag(is_shared, TSYNC)),
            });
            self.first.insert(chain, number);
            next = filter.prev;
        }
        Ok(())
    }

    /// What the core of a thread says: its mode and its filter. Where all threads of
    /// a process share their filters, the first one installs them for all, so that
    /// it can do so with others later (`try_use_tsync()`).
    pub fn of_thread(
        &self,
        process: &Process,
        seccomp: Seccomp,
        is_leader: bool,
    ) -> (Option<i32>, Option<u32>) {
        match (seccomp, chain(process, seccomp)) {
            (Seccomp::Strict, _) => (Some(proto::SeccompMode::Strict as i32), None),
            (Seccomp::Filter(_), Some(chain)) if is_leader || !chain.1 => {
                (Some(proto::SeccompMode::Filter as i32), self.first.get(&chain).copied())
            }
            _ => (None, None),
        }
    }

    /// `seccomp.img`
    pub fn image(&self) -> Result<Vec<u8>, EncodeError> {
        let mut image = ImageWriter::new(ImageKind::Seccomp);
        image.record(&self.entry)?;
        Ok(image.finish())
    }
}

/// The filters of a thread of a process; `None` where it has none.
fn chain(process: &Process, seccomp: Seccomp) -> Option<Chain> {
    let Seccomp::Filter(last) = seccomp else { return None };
    Some((last, process.threads.iter().all(|thread| thread.seccomp == seccomp)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::sample;

    /// Instructions, the next one and flags of each filter.
    type Told = (usize, Option<u32>, Option<u32>);

    fn told(snapshot: &Snapshot) -> (Vec<Told>, Filters) {
        let filters = Filters::of(snapshot).expect("filters");
        let told = filters.entry.seccomp_filters.iter();
        (told.map(|filter| (filter.filter.len() / 8, filter.prev, filter.flags)).collect(), filters)
    }

    #[test]
    fn a_thread_names_its_oldest_filter_and_filters_those_that_came_after() {
        let snapshot = sample::snapshot();
        let (entries, filters) = told(&snapshot);
        assert_eq!(entries, [(3, None, Some(0)), (1, Some(0), Some(LOG))]);
        let process = &snapshot.processes[0];
        let of = |thread: usize| {
            filters.of_thread(process, process.threads[thread].seccomp, thread == 0)
        };
        assert_eq!(of(0), (None, None));
        assert_eq!(of(1), (Some(proto::SeccompMode::Filter as i32), Some(1)));
    }

    #[test]
    fn what_all_threads_share_the_first_one_installs() {
        let mut snapshot = sample::snapshot();
        let process = &mut snapshot.processes[0];
        process.threads[0].seccomp = process.threads[1].seccomp;
        let (entries, filters) = told(&snapshot);
        assert_eq!(entries, [(3, None, Some(TSYNC)), (1, Some(0), Some(LOG | TSYNC))]);
        let process = &snapshot.processes[0];
        let of = |is_leader| filters.of_thread(process, process.threads[0].seccomp, is_leader);
        assert_eq!(of(true), (Some(proto::SeccompMode::Filter as i32), Some(1)));
        assert_eq!(of(false), (None, None));
    }

    #[test]
    fn a_chain_without_end_is_an_error() {
        let mut snapshot = sample::snapshot();
        let (last, first) = (Id::new(1), Id::new(0));
        snapshot.seccomp_filters.get_mut(first).expect("a filter").prev = Some(last);
        assert!(Filters::of(&snapshot).is_err());
    }
}
