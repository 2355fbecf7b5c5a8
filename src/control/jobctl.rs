//! Bits of signal state that the kernel keeps under `siglock`.

bitflags::bitflags! {
    /// `JOBCTL_*` in `include/linux/sched/jobctl.h`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Jobctl: u64 {
        /// The number of the signal that it stopped by last (`JOBCTL_STOP_SIGMASK`).
        const STOP_SIGNAL = 0xffff;
        /// The group stop has dequeued its signal.
        const STOP_DEQUEUED = 1 << 16;
        /// This thread is to stop for the group stop.
        const STOP_PENDING = 1 << 17;
        /// It counts towards the group stop.
        const STOP_CONSUME = 1 << 18;
        /// It is to stop for its tracer.
        const TRAP_STOP = 1 << 19;
        /// It is to notify its tracer.
        const TRAP_NOTIFY = 1 << 20;
        /// It is on its way into a trap.
        const TRAPPING = 1 << 21;
        /// It is to enter the freezer trap.
        const TRAP_FREEZE = 1 << 23;
        /// It is stopped (since 5.19).
        const STOPPED = 1 << 26;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// `SIGNAL_*` in `include/linux/sched/signal.h`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SignalFlags: u32 {
        /// The group stop is complete.
        const STOP_STOPPED = 0x1;
        /// SIGCONT has continued it since the parent last looked.
        const STOP_CONTINUED = 0x2;
        /// All threads are to die.
        const GROUP_EXIT = 0x4;
        /// The parent is to be told that it stopped.
        const CLD_STOPPED = 0x10;
        /// The parent is to be told that it continued.
        const CLD_CONTINUED = 0x20;
        /// The init of its PID namespace: signals without a handler are lost.
        const UNKILLABLE = 0x40;
        const _ = !0;
    }
}

impl SignalFlags {
    /// `SIGNAL_STOP_MASK`.
    pub const STOP_MASK: Self = Self::STOP_STOPPED
        .union(Self::STOP_CONTINUED)
        .union(Self::CLD_STOPPED)
        .union(Self::CLD_CONTINUED);
}
