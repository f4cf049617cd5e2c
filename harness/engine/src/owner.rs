//! Whose a container or a folder is: the process that made it, told from every other that ever had its number.

use std::{fs, io, path::Path, process};

use procfs_core::{FromRead as _, process::Stat};
use uplift_model::fnv1a;

use crate::optional_file::read_optional;

/// The file in a data folder that names its owner.
pub const OWNER_FILE: &str = ".uplift-owner";

/// A process on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// A digest of the machine's identity.
    pub machine: String,
    /// The boot of the machine.
    pub boot: String,
    /// The namespace in which the number means something.
    pub namespace: String,
    /// The process's number.
    pub process: u32,
    /// When it began, in clock ticks since boot: numbers are given again.
    pub start_ticks: u64,
}

/// What is known about an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It has ended.
    Dead,
    /// It cannot be told from here, and why.
    Unknown(String),
}

impl Owner {
    /// The process that runs.
    pub fn current() -> Self {
        let process = process::id();
        Self { process, start_ticks: start_ticks(process).unwrap_or(0), ..Self::place() }
    }

    fn place() -> Self {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let identity = [line("/etc/machine-id"), line("/proc/sys/kernel/hostname")]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default();
        Self {
            machine: format!("{:016x}", fnv1a(format!("uplift owner {identity}").as_bytes())),
            boot: line("/proc/sys/kernel/random/boot_id"),
            namespace: fs::read_link("/proc/self/ns/pid")
                .map(|name| name.display().to_string())
                .unwrap_or_default()
                .replace(['[', ']', ':'], ""),
            process: 0,
            start_ticks: 0,
        }
    }

    /// As it stands in a label.
    pub fn label(&self) -> String {
        format!("{} {} {} {} {}", self.machine, self.boot, self.namespace, self.process, self.start_ticks)
    }

    /// From a label; `None` where it is none of ours.
    pub fn parse(label: &str) -> Option<Self> {
        let parts: Vec<&str> = label.split(' ').collect();
        let [machine, boot, namespace, process, start_ticks] = parts[..] else { return None };
        Some(Self {
            machine: machine.to_owned(),
            boot: boot.to_owned(),
            namespace: namespace.to_owned(),
            process: process.parse().ok()?,
            start_ticks: start_ticks.parse().ok()?,
        })
    }

    /// Writes it into a file, for whoever finds what this process leaves behind.
    ///
    /// # Errors
    /// What the system said.
    pub fn sign(&self, file: &Path) -> io::Result<()> {
        fs::write(file, self.label() + "\n")
    }

    /// The owner that [`Owner::sign`] wrote; `None` where there is no such file, or it names nobody.
    ///
    /// # Errors
    /// What keeps a file that is there from being read.
    pub fn of_file(file: &Path) -> io::Result<Option<Self>> {
        Ok(read_optional(file)?.and_then(|text| Self::parse(text.trim_end())))
    }

    /// Whether it still runs.
    pub fn life(&self) -> Liveness {
        let here = Self::place();
        if self.boot != here.boot {
            return if self.machine == here.machine {
                Liveness::Dead
            } else {
                Liveness::Unknown("its run was started on another machine".to_owned())
            };
        }
        if self.namespace != here.namespace {
            return Liveness::Unknown("its run was started in another process namespace".to_owned());
        }
        if start_ticks(self.process) == Some(self.start_ticks) { Liveness::Alive } else { Liveness::Dead }
    }
}

/// When a process began. `None`: it is gone or a zombie.
fn start_ticks(process: u32) -> Option<u64> {
    let stat = Stat::from_file(format!("/proc/{process}/stat")).ok()?;
    (stat.state != 'Z').then_some(stat.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_process_is_alive_and_its_label_reads_back() {
        let owner = Owner::current();
        assert_eq!(Owner::parse(&owner.label()), Some(owner.clone()));
        assert_eq!(owner.life(), Liveness::Alive);
    }

    #[test]
    fn a_signed_file_names_the_owner_and_a_torn_one_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(OWNER_FILE);
        assert_eq!(Owner::of_file(&file).unwrap(), None);
        Owner::current().sign(&file).unwrap();
        assert_eq!(Owner::of_file(&file).unwrap(), Some(Owner::current()));
        fs::write(&file, &Owner::current().label()[..9]).unwrap();
        assert_eq!(Owner::of_file(&file).unwrap(), None);
    }

    #[test]
    fn another_process_of_the_same_number_is_not_the_owner() {
        let owner = Owner { start_ticks: 1, ..Owner::current() };
        assert_eq!(owner.life(), Liveness::Dead);
    }

    #[test]
    fn a_child_that_was_waited_for_is_dead() {
        let mut child = process::Command::new("true").spawn().unwrap();
        let owner =
            Owner { process: child.id(), start_ticks: start_ticks(child.id()).unwrap_or(0), ..Owner::current() };
        child.wait().unwrap();
        assert_eq!(owner.life(), Liveness::Dead);
    }

    #[test]
    fn a_boot_that_is_over_ended_everybody_and_other_places_are_not_judged() {
        let here = Owner::current();
        assert_eq!(Owner { boot: "before".to_owned(), ..here.clone() }.life(), Liveness::Dead);
        let elsewhere = Owner { boot: "other".to_owned(), machine: "other".to_owned(), ..here.clone() };
        assert!(matches!(elsewhere.life(), Liveness::Unknown(reason) if reason.contains("another machine")));
        let inside = Owner { namespace: "pid1".to_owned(), ..here };
        assert!(matches!(inside.life(), Liveness::Unknown(reason) if reason.contains("namespace")));
    }
}
