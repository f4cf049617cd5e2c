//! The store behind a socket, and the connections to it.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use docdb_engine::{
    DocumentStore,
    wire::{RemoteStore, Server, Transport as Socket},
};
use uplift_sdk::{TargetError, TargetErrorKind};

use crate::{
    open::engine_error,
    settings::{Settings, Transport, Workload},
};

pub type Served = (Option<Listening>, Vec<Vec<Arc<RemoteStore>>>);

/// A server, and the directory that the name of its socket goes through.
pub type Listening = (Server, Option<File>);

/// A place for a Unix socket in a directory however deep: its name may have 107 bytes, and that of a run's folder has
/// more. The name goes through the open directory instead, which must stay open as long as the name is used.
fn socket_in(data_dir: &Path) -> std::io::Result<(File, PathBuf)> {
    let directory = File::open(data_dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/socket", directory.as_raw_fd()));
    Ok((directory, path))
}

/// Serves the store on a socket and connects to it, where the transport is one.
pub fn serve(
    workload: &Workload,
    settings: &Settings,
    store: &Arc<dyn DocumentStore>,
    data_dir: &Path,
    clients: usize,
) -> Result<Served, TargetError> {
    let (directory, socket) = match settings.transport {
        Transport::InProcess => return Ok((None, Vec::new())),
        Transport::Unix => {
            let (directory, path) = socket_in(data_dir)
                .map_err(|error| TargetError::new("opening the data directory", TargetErrorKind::Io(error)))?;
            (Some(directory), Socket::Unix(path))
        }
        Transport::Tcp => (None, Socket::Tcp),
    };
    let server = Server::start(Arc::clone(store), &socket).map_err(|error| engine_error("serving the store", error))?;
    let mut connections = Vec::new();
    for database in 0..usize::from(workload.databases) {
        let here = (clients + usize::from(workload.databases) - 1 - database) / usize::from(workload.databases);
        let count = match settings.connections_per_db as usize {
            0 => here,
            some => some.min(here),
        };
        let connect = |_| {
            RemoteStore::connect(server.address())
                .map(Arc::new)
                .map_err(|error| engine_error("connecting to the store", error))
        };
        connections.push((0..count).map(connect).collect::<Result<Vec<_>, _>>()?);
    }
    Ok((Some((server, directory)), connections))
}
