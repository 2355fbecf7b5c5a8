//! Which pages go out, and where they lie in the guest.

mod memory;
mod mm;
mod plan;

pub use memory::MemoryPages;
pub use mm::plan_pages;
pub use plan::{PageChange, PagePlan, PageRun};
