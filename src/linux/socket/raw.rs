//! Raw sockets of the Internet: `struct raw_sock` and `struct raw6_sock`.

kernel_struct! {
    /// A raw socket over IPv4, which begins with its [`Sock`](super::Sock):
    /// `struct raw_sock`.
    pub struct RawSock: "raw_sock" {
        /// `ICMP_FILTER`: types that are not taken, a bit each.
        filter: u32 = ["filter.data"],
    }
}

kernel_struct! {
    /// A raw socket over IPv6, likewise: `struct raw6_sock`.
    pub struct Raw6Sock: "raw6_sock" {
        /// Whether checksums are put into what is sent (`IPV6_CHECKSUM`).
        checksum: u32 = ["checksum"],
        /// `ICMPV6_FILTER`: types that are not taken, a bit each.
        filter: [u8; 32] = ["filter.data"],
    }
}
