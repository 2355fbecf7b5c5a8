//! Descriptors that tell of events.

use serde::{Deserialize, Serialize};

use super::super::{Id, IntervalTimer};
use super::{FilePath, OpenFile};

/// A timer of `timerfd_create()`: `struct timerfd_ctx`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Timerfd {
    /// `CLOCK_*`.
    pub clock: i32,
    /// How often it has fired without having been read.
    pub ticks: u64,
    /// `TFD_TIMER_*` that it was set with.
    pub settime_flags: u32,
    /// Time left and interval.
    pub setting: IntervalTimer,
    /// What the clock showed then, in nanoseconds.
    pub now: u64,
}

impl Timerfd {
    /// `TFD_TIMER_ABSTIME` of `settime_flags`: it fires at a time of its clock.
    pub const ABSTIME: u32 = 1;
    /// `TFD_TIMER_CANCEL_ON_SET`: it is told when its clock is set.
    pub const CANCEL_ON_SET: u32 = 2;
}

/// What an instance of epoll watches: `struct epitem`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpollTarget {
    /// The descriptor that it was named by.
    pub fd: u32,
    /// The open file that it refers to.
    pub file: Id<OpenFile>,
    /// `EPOLL*`.
    pub events: u32,
    /// What the program is told with them.
    pub data: u64,
}

/// How a group of fanotify was made: `fanotify_init()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FanotifyGroup {
    /// `FAN_*`.
    pub flags: u32,
    /// `O_*` of the files that events come with.
    pub event_flags: u32,
}

/// A mark of fanotify: `struct fsnotify_mark`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FanotifyMark {
    /// Whether all of the mount is watched that the path leads to the root of.
    pub is_mount: bool,
    /// `FAN_MARK_IGNORED_SURV_MODIFY`, or 0.
    pub flags: u32,
    /// `FAN_*`: the events.
    pub mask: u32,
    /// Those that are not told of.
    pub ignored: u32,
    /// What is watched.
    pub path: Id<FilePath>,
}

/// A watch of inotify: `struct inotify_inode_mark`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InotifyWatch {
    /// Its number.
    pub wd: u32,
    /// `IN_*`: the events.
    pub mask: u32,
    /// What is watched.
    pub path: Id<FilePath>,
}
