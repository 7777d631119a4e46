//! Who holds a port, as far as the system tells: on Linux, by way of `/proc`.

use super::ports::Transport;
use std::fmt;
use std::path::Path;

/// The state of a listening socket in `/proc/net/tcp`.
const TCP_LISTEN: &str = "0A";

/// A process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    name: String,
    pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// The process that holds a port of this machine. None if that cannot be found out, as for the
/// processes of other users.
pub(super) fn find(port: u16, transport: Transport) -> Option<Holder> {
    let tables = match transport {
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let read = |table| std::fs::read_to_string(table).unwrap_or_default();
    let inode = tables.into_iter().find_map(|table| socket_inode(&read(table), port, transport))?;
    let link = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|pid: u32| {
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        let holds = has_open(&Path::new("/proc").join(pid.to_string()).join("fd"), &link);
        holds.then(name).flatten().map(|name| Holder { name: name.trim().to_owned(), pid })
    })
}

/// Finds, in a table of the kernel's, the socket that is bound to a port and accepts what comes.
fn socket_inode(table: &str, port: u16, transport: Transport) -> Option<String> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let accepts = transport == Transport::Udp || *state == TCP_LISTEN;
        (local.ends_with(&suffix) && accepts).then(|| (*inode).to_owned())
    })
}

/// Whether one of the open files of a process is `link`.
fn has_open(files: &Path, link: &str) -> bool {
    let targets = std::fs::read_dir(files).into_iter().flatten().flatten();
    targets.filter_map(|entry| entry.path().read_link().ok()).any(|to| to == Path::new(link))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1151 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 7 1 0 20
   1: 0100007F:1151 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 8 1 0 20
";

    #[test]
    fn the_listening_socket_of_a_port_is_found_in_the_table() {
        assert_eq!(socket_inode(TABLE, 4433, Transport::Tcp).as_deref(), Some("8"));
        assert_eq!(socket_inode(TABLE, 4433, Transport::Udp).as_deref(), Some("7"));
        assert_eq!(socket_inode(TABLE, 4434, Transport::Tcp), None);
        assert_eq!(socket_inode("", 4433, Transport::Tcp), None);
        assert_eq!(socket_inode("head\nshort line\n", 4433, Transport::Tcp), None);
    }
}
