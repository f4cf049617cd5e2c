//! Who listens on a port: the service that was started, or somebody else who took the port away.

use std::{collections::BTreeSet, fs};

use procfs_core::{FromRead as _, process::Stat};

/// Checks that whoever listens on `port` is one of `members`, or began after `leader`, as what a service started elsewhere did.
///
/// # Errors
/// Somebody listens there who was there before. Where the system does not tell, nothing is wrong.
pub fn belongs_to(port: u16, leader: u32, members: &[u32]) -> Result<(), String> {
    let listening = inodes(port);
    if listening.is_empty() || members.iter().any(|&pid| holds(pid, &listening)) {
        return Ok(());
    }
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let owner = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|&pid| holds(pid, &listening));
    match (owner.and_then(began), began(leader)) {
        (Some(owner), Some(leader)) if owner < leader => {
            Err(format!("port {port} was free and is now another program's: what answers there is not the service"))
        }
        _ => Ok(()),
    }
}

/// Whether a process has one of these sockets open; those of another user cannot be looked at.
fn holds(pid: u32, sockets: &BTreeSet<String>) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|link| {
            let link = link.to_string_lossy();
            let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            inode.is_some_and(|inode| sockets.contains(inode))
        })
    })
}

/// When a process began, in clock ticks since boot.
fn began(pid: u32) -> Option<u64> {
    Stat::from_file(format!("/proc/{pid}/stat")).ok().map(|stat| stat.starttime)
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
        let own = std::process::id();
        assert_eq!(belongs_to(port, own, &[own]), Ok(()));
        let mut later = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (said, other_way) = (belongs_to(port, later.id(), &[later.id()]), belongs_to(port, 1, &[1]));
        later.kill().unwrap();
        later.wait().unwrap();
        assert_eq!(other_way, Ok(()), "what began later may belong to it");
        assert!(said.unwrap_err().contains("another program's"));
    }
}
