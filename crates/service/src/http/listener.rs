//! The door itself: binding it, and closing it so that nobody who came in is turned away.
//!
//! A listener that is closed resets every connection that the kernel has already taken for it:
//! those in its backlog, and those whose handshake is under way. Invariant: before it is closed new
//! handshakes are ignored and those under way come in, so the one who comes too late is told that
//! nobody listens, and never that what he sent is lost. Without the means (which are Linux's) the
//! time between the last one who comes in and the closing is short, not none.

use std::{net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel keeps until there is a place for them; `net.core.somaxconn` bounds
/// it. Over it the kernel forgets clients that believe themselves connected (SYN cookies): one that
/// sends is found again, one that only waits would wait for ever. The libraries' own 128 is soon
/// full.
const BACKLOG: u32 = 4096;

/// Handshakes under way are through by then: two ways across the network.
pub(super) const HANDSHAKE: Duration = Duration::from_millis(200);

/// Binds a listener; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be bound; the message names it.
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    listen(addr).with_context(|| format!("cannot listen on {addr}"))
}

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait for the connections of before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Ignores clients that begin to connect; they try again a second later.
pub(super) fn ignore_handshakes(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(listener).attach_filter(&filter::NO_SYN) {
        tracing::debug!(%error, "the listener closes without a filter");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

#[cfg(target_os = "linux")]
mod filter {
    use socket2::SockFilter;

    /// Where the flags lie in the header of TCP, at which a socket's filter begins to read.
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

    /// Drops what opens a connection and lets all else pass. Accepted sockets inherit it, and get
    /// no such packet.
    pub const NO_SYN: [SockFilter; 4] = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
}
