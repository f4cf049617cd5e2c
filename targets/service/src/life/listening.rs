//! Who listens on a port: the service that was started, or somebody else who took the port away.

use std::{collections::BTreeSet, fs};

/// Checks that one of `pids` has the socket that listens on `port`.
///
/// # Errors
/// Somebody else listens there. Where the system does not tell, nothing is wrong.
pub fn belongs_to(port: u16, pids: &[u32]) -> Result<(), String> {
    let listening = inodes(port);
    if listening.is_empty() || pids.is_empty() {
        return Ok(());
    }
    for pid in pids {
        // Those of another user cannot be looked at.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Ok(()) };
        for descriptor in descriptors.flatten() {
            let Ok(link) = fs::read_link(descriptor.path()) else { continue };
            let link = link.to_string_lossy();
            let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            if inode.is_some_and(|inode| listening.contains(inode)) {
                return Ok(());
            }
        }
    }
    Err(format!("port {port} was free and is now another program's: what answers there is not the service"))
}

/// The sockets that listen on a port (proc(5): state 0A is LISTEN).
fn inodes(port: u16) -> BTreeSet<String> {
    let wanted = format!(":{port:04X}");
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..]
                && local.ends_with(&wanted)
            {
                found.insert(inode.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_owner_of_a_port_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(belongs_to(port, &[std::process::id()]), Ok(()));
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let said = belongs_to(port, &[other.id()]);
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(said.unwrap_err().contains("another program's"));
    }
}
