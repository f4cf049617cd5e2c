//! The CPUs of this machine in two halves, for two variants that run at the same time.

use std::{collections::BTreeMap, fs, io};

/// Two halves of the CPUs that the harness may use, as many in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// The CPUs of either half.
    pub halves: [Vec<u32>; 2],
    /// Whether CPUs of both halves are threads of the same core.
    pub share_cores: bool,
}

/// What names the core of a CPU: the threads that it has.
fn core_of(cpu: u32) -> String {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    fs::read_to_string(path).map_or_else(|_| format!("cpu {cpu}"), |text| text.trim().to_owned())
}

impl Sides {
    /// These halves.
    pub fn between(halves: [Vec<u32>; 2]) -> Self {
        let first: Vec<String> = halves[0].iter().map(|cpu| core_of(*cpu)).collect();
        let share_cores = halves[1].iter().any(|cpu| first.contains(&core_of(*cpu)));
        Self { halves, share_cores }
    }

    /// What the reader of a run on these sides must know.
    pub fn warning(&self) -> Option<String> {
        self.share_cores.then(|| {
            "the two sides are threads of one core: what one variant computes, the other waits for, so that the screen sees less; cores of their own are needed to see more".to_owned()
        })
    }

    /// The halves of the CPUs that this process may use.
    ///
    /// # Errors
    /// A sentence, where they cannot be told or are too few.
    pub fn of_this_process() -> Result<Self, String> {
        let allowed = allowed().map_err(|error| format!("the CPUs that may be used cannot be read: {error}"))?;
        Self::of(&allowed.into_iter().map(|cpu| (cpu, core_of(cpu))).collect::<Vec<_>>())
    }

    /// The halves of these CPUs, each with what names its core.
    fn of(cpus: &[(u32, String)]) -> Result<Self, String> {
        if cpus.len() < 2 {
            return Err(format!(
                "it needs a CPU for each variant, and {} may be used here; compare in turns instead",
                if cpus.is_empty() { "none".to_owned() } else { format!("only CPU {}", cpus[0].0) }
            ));
        }
        let mut cores: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (cpu, core) in cpus {
            cores.entry(core).or_default().push(*cpu);
        }
        let mut cores: Vec<Vec<u32>> = cores.into_values().collect();
        cores.sort();
        // Threads of one core stay together where there is more than one core.
        let share_cores = cores.len() < 2;
        if share_cores {
            cores = cores.concat().into_iter().map(|cpu| vec![cpu]).collect();
        }
        let each = cores.len() / 2;
        let [mut first, mut second] = [cores[..each].concat(), cores[each..2 * each].concat()];
        let size = first.len().min(second.len());
        first.truncate(size);
        second.truncate(size);
        Ok(Self { halves: [first, second], share_cores })
    }
}

/// The CPUs that this process may use.
fn allowed() -> io::Result<Vec<u32>> {
    // SAFETY: a zeroed set is a valid one, and the call fills as much as it is told there is.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        set
    };
    // SAFETY: every index is below the size of the set.
    Ok((0..libc::CPU_SETSIZE as u32).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu as usize, &set) }).collect())
}

/// Keeps a thread on these CPUs. One that has ended needs none.
///
/// # Errors
/// What the system said.
pub(crate) fn keep(thread: u32, cpus: &[u32]) -> io::Result<()> {
    // SAFETY: a zeroed set is a valid one, and every index is below its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as u32) {
            libc::CPU_SET(cpu as usize, &mut set);
        }
        set
    };
    // SAFETY: the set outlives the call, which takes as much of it as there is.
    match unsafe { libc::sched_setaffinity(thread as libc::pid_t, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            gone if gone.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(cpus: &[(u32, &str)]) -> Result<([Vec<u32>; 2], bool), String> {
        let named: Vec<(u32, String)> = cpus.iter().map(|(cpu, core)| (*cpu, (*core).to_owned())).collect();
        Sides::of(&named).map(|sides| (sides.halves, sides.share_cores))
    }

    #[test]
    fn each_side_has_cores_of_its_own_and_as_many() {
        assert_eq!(sides(&[(0, "0"), (1, "1")]), Ok(([vec![0], vec![1]], false)));
        // Four CPUs on two cores: CPU 0 and 2 are threads of one.
        assert_eq!(sides(&[(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")]), Ok(([vec![0, 2], vec![1, 3]], false)));
        // The odd one out serves neither.
        assert_eq!(sides(&[(0, "0"), (1, "1"), (5, "5")]), Ok(([vec![0], vec![1]], false)));
        // Only one thread of the second core may be used.
        assert_eq!(sides(&[(0, "0,2"), (1, "1,3"), (2, "0,2")]), Ok(([vec![0], vec![1]], false)));
        assert_eq!(sides(&[(0, "0-1"), (1, "0-1")]), Ok(([vec![0], vec![1]], true)));
    }

    #[test]
    fn one_cpu_is_too_few() {
        assert!(sides(&[(3, "3")]).unwrap_err().contains("only CPU 3"));
        assert!(sides(&[]).unwrap_err().contains("none"));
    }

    #[test]
    fn a_thread_stays_where_it_is_kept() {
        let all = allowed().unwrap();
        std::thread::spawn(move || {
            // SAFETY: gettid has no preconditions.
            let own = unsafe { libc::gettid() } as u32;
            keep(own, &all[..1]).unwrap();
            assert_eq!(allowed().unwrap(), all[..1]);
            assert!(keep(own, &[]).is_err(), "no CPU is none to run on");
        })
        .join()
        .unwrap();
    }
}
