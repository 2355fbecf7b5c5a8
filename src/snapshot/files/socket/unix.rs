//! Sockets of the Unix family.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

use super::Socket;
use crate::snapshot::{Id, KernelString, OpenFile};

/// A socket of the Unix family: `struct unix_sock`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UnixSocket {
    /// What it is bound to. A connection that was accepted has the name of the
    /// listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UnixName>,
    /// What it is connected to; `None` also where that was closed. Of a connection
    /// that was not accepted yet, the listener.
    pub peer: Option<Id<Socket>>,
    /// Who sends again what is queued, of those that are connected to a socket
    /// that is connected to none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Id<Socket>>,
    /// Of a listener, how many connections may wait; of others, the bytes of
    /// memory of what they have sent and nobody has received.
    pub backlog: u32,
    /// What waits to be received. Of a listener, what `sender` has sent before it
    /// is accepted.
    pub queue: Vec<Packet>,
}

/// The name of a socket of the Unix family: `struct unix_address`.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnixName {
    /// A name of its network namespace.
    Abstract {
        /// The bytes behind the zero that it begins with.
        #[serde_as(as = "Hex")]
        name: Vec<u8>,
    },
    /// A file.
    Path {
        /// The path, as it was bound.
        path: KernelString,
        /// Where it begins, if it is relative.
        directory: Option<KernelString>,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
        /// Its type and permissions.
        mode: u32,
        /// Whether the path leads to another file by now, to nothing, or to what
        /// another socket is bound to.
        deleted: bool,
    },
}

impl UnixName {
    /// The name as `getsockname()` gives it: an abstract one begins with a zero,
    /// and a path ends with one.
    pub fn sun_path(&self) -> Vec<u8> {
        match self {
            Self::Abstract { name } => [b"\0", &name[..]].concat(),
            Self::Path { path, .. } => [path.as_bytes(), b"\0"].concat(),
        }
    }
}

/// As `ss` shows it: abstract names begin with `@`.
impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abstract { name } => write!(f, "@{}", KernelString::from(name.as_slice())),
            Self::Path { path, .. } => path.fmt(f),
        }
    }
}

/// What was sent in one go: `struct sk_buff`.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Packet {
    /// The bytes that were not received yet.
    #[serde_as(as = "Hex")]
    pub data: Vec<u8>,
    /// Descriptors that were sent with them (`SCM_RIGHTS`).
    pub files: Vec<Id<OpenFile>>,
}
