//! Sockets over IPv4 and IPv6.

use super::{check_shutdown, options};
use crate::criu::findings::ImageFindings;
use crate::criu::proto::InetSkEntry;
use crate::snapshot::{SocketKind, SocketState};

const IPPROTO_ICMP: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_ICMPV6: u32 = 58;
const MAX_PROTOCOL: u32 = 255;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const MAX_PORT: u32 = 0xffff;

/// Restore makes it, binds it, and has it listen or, of UDP, connects it.
pub fn check(id: u32, inet: &InetSkEntry, found: &mut ImageFindings<'_>) {
    found.require(inet.id == id, "isk.id", || format!("of file {id} is {}", inet.id));
    let words = match inet.family {
        AF_INET => 1,
        AF_INET6 => 4,
        family => return found.add("isk.family", format!("of file {id} is {family}")),
    };
    for (field, address) in [("isk.src_addr", &inet.src_addr), ("isk.dst_addr", &inet.dst_addr)] {
        let length = address.len();
        found.require(length == words, field, || format!("of file {id} has {length} words"));
    }
    for (field, port) in [("isk.src_port", inet.src_port), ("isk.dst_port", inet.dst_port)] {
        found.require(port <= MAX_PORT, field, || format!("of file {id} is {port}"));
    }
    let is_tcp = inet.r#type == u32::from(SocketKind::STREAM) && inet.proto == IPPROTO_TCP;
    let is_udp = inet.r#type == u32::from(SocketKind::DGRAM) && inet.proto == IPPROTO_UDP;
    let is_raw = inet.r#type == u32::from(SocketKind::RAW) && inet.proto <= MAX_PROTOCOL;
    found.require(is_tcp || is_udp || is_raw, "isk.proto", || {
        format!("of file {id} is {}, its type {}", inet.proto, inet.r#type)
    });
    check_raw(id, inet, is_raw, found);
    // Restore refuses connections that it is not told to take.
    found.require(!is_tcp || inet.dst_port == 0, "isk.dst_port", || {
        format!("of file {id} is {}: it is a TCP connection", inet.dst_port)
    });
    let states: &[u8] = match is_tcp {
        true => &[SocketState::CLOSE, SocketState::LISTEN],
        false => &[SocketState::CLOSE, SocketState::ESTABLISHED],
    };
    let is_state = states.iter().any(|state| u32::from(*state) == inet.state);
    found.require(is_state, "isk.state", || format!("of file {id} is {}", inet.state));
    check_shutdown(id, "isk.shutdown", inet.shutdown, found);
    options::check(id, &inet.opts, found);
}

/// What a raw socket has, and no other.
fn check_raw(id: u32, inet: &InetSkEntry, is_raw: bool, found: &mut ImageFindings<'_>) {
    let raw = inet.ip_opts.as_ref().and_then(|options| options.raw.as_ref());
    found.require(raw.is_some() == is_raw, "isk.ip_opts.raw", || {
        format!("of file {id} is {}there", if is_raw { "not " } else { "" })
    });
    let words = raw.map_or(0, |raw| raw.icmpv_filter.len());
    let expected = match (is_raw, inet.family, inet.proto) {
        (true, AF_INET, IPPROTO_ICMP) => 1,
        (true, AF_INET6, IPPROTO_ICMPV6) => 8,
        _ => 0,
    };
    found.require(words == expected, "isk.ip_opts.raw.icmpv_filter", || {
        format!("of file {id} has {words} words")
    });
    // It is a connection then, which restore is not told to take.
    let is_connected = is_raw && inet.proto == IPPROTO_TCP && inet.dst_port != 0;
    found.require(!is_connected, "isk.dst_port", || format!("of file {id} is {}", inet.dst_port));
}
