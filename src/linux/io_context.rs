//! How a thread's block I/O is treated: `struct io_context`.

kernel_struct! {
    /// What threads have that did block I/O or set its priority.
    pub struct IoContext: "io_context" {
        /// What `ioprio_get()` returns; 0 where none was set.
        priority: u16 = ["ioprio"],
    }
}
