//! Stacks of addresses to counted stacks of names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    interned_stacks::{Counted, Names, OTHER_STACKS},
    symbol::{Function, KernelSymbols, UserSymbols},
    unwind::FRAMES_MAX,
};

/// A smaller share of whole and named stacks is complained about.
const NAMED_SHARE_MIN: f64 = 0.95;
/// Stands between a thread's name and its frames where the stack does not reach the beginning of the thread.
pub const CUT: &str = "[cut]";
/// The innermost frame of a thread that was taken from its CPU though it could have gone on.
pub const PREEMPTED: &str = "[preempted]_[k]";

/// Where std says that a thread's own code begins; what lies below says nothing about the program.
const THREAD_BEGINS: &str = "__rust_begin_short_backtrace";
/// How std calls a closure and catches its panics: inlined steps between two functions, of interest to nobody.
const PLUMBING: &[&str] = &["call_once<", "catch_unwind<", "do_call<"];
/// The first functions of threads and processes that are not Rust's.
const FIRST_FUNCTIONS: &[&str] = &[
    "clone3",
    "__clone3",
    "clone",
    "__clone",
    "start_thread",
    "_start",
    "__libc_start_main",
    "__libc_start_call_main",
];
/// Where Go begins its threads and every goroutine: there is no frame below, whatever stands on the stack.
const GO_BEGINS: &[&str] =
    &["runtime.goexit", "runtime.mstart", "runtime.mstart0", "runtime.mstart1", "runtime.rt0_go", "_rt0_amd64"];

/// Numbers of threads from here on are those of groups: of a process and its threads of one name. No thread of the kernel
/// has such a number.
pub const GROUPS_FROM: u32 = 1 << 31;

/// One stack, as it was sampled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// The thread, or its group.
    pub tid: u32,
    /// Kernel addresses, innermost first.
    pub kernel: Vec<u64>,
    /// User addresses, innermost first: the instruction itself, then the instructions that calls return to.
    pub user: Vec<u64>,
    /// Whether the thread left its CPU though it could have gone on.
    pub preempted: bool,
    /// Whether it stands for stacks of the thread that were too many to be kept; it then has no addresses.
    pub other: bool,
}

/// Folded stacks, and how good they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    /// Each stack once.
    pub stacks: Counted,
    /// Sum of all counts.
    pub total: u64,
    /// Of these, counts of stacks that are whole and whose every frame has a name.
    pub named: u64,
    /// Of these, counts of stacks that do not reach the beginning of their thread.
    pub cut: u64,
    /// Of these, counts of stacks that were too many to be kept.
    pub other: u64,
    /// Counts of stacks with a frame that has no name, by the file that it is in.
    pub nameless: BTreeMap<String, u64>,
}

impl Folded {
    /// Share of the counts whose stacks are whole and named, after so many counts of them were put together; 1 where there
    /// are none.
    pub fn named_share(&self, put_together: u64) -> f64 {
        if self.total == 0 { 1.0 } else { self.named.saturating_sub(put_together) as f64 / self.total as f64 }
    }

    /// What to say where stacks were not kept, or were put together afterwards; `None` where all are told apart.
    pub fn complaint_of_others(&self, put_together: u64) -> Option<String> {
        let others = self.other + put_together;
        (others > 0).then(|| {
            format!(
                "{others} of {} samples ({:.1} %) are of stacks too many and too rare to be told apart, and stand as \
                 {OTHER_STACKS}; sample for less time or less often (--sampling-window, --sampling-frequency)",
                self.total,
                others as f64 / self.total as f64 * 100.0
            )
        })
    }

    /// What to say where many stacks have frames without a name; `None` where few do.
    pub fn complaint(&self) -> Option<String> {
        if self.total == 0 || self.named_share(0) >= NAMED_SHARE_MIN {
            return None;
        }
        let mut files: Vec<(&String, &u64)> = self.nameless.iter().collect();
        files.sort_by_key(|(file, count)| (std::cmp::Reverse(**count), (*file).clone()));
        let files: Vec<String> = files
            .into_iter()
            .take(3)
            .map(|(file, count)| format!("{file} in {:.0} %", *count as f64 / self.total as f64 * 100.0))
            .collect();
        let remedy = if self.nameless.keys().any(|file| !file.starts_with("[kernel]")) {
            "; build without `strip`, and install the debug symbols of the libraries (Debian: libc6-dbg)"
        } else {
            ""
        };
        Some(format!(
            "only {:.1} % of the stacks are whole and named; without names: {}{remedy}",
            self.named_share(0) * 100.0,
            if files.is_empty() { "nothing, the rest is cut or not told apart".to_owned() } else { files.join(", ") },
        ))
    }

    /// Adds a stack: the thread's group, [`CUT`] unless it is whole, the frames.
    fn add<'a>(
        &mut self,
        names: &mut Names,
        group: &'a str,
        whole: bool,
        frames: impl Iterator<Item = &'a str>,
        count: u64,
    ) {
        let cut = (!whole).then_some(CUT);
        let stack = [group].into_iter().chain(cut).chain(frames).map(|name| names.number(name)).collect();
        *self.stacks.entry(stack).or_insert(0) += count;
    }
}

/// Names what is needed to fold stacks.
pub struct Folder {
    /// User functions.
    pub user: UserSymbols,
    /// Kernel functions; `None` where they are not available.
    pub kernel: Option<KernelSymbols>,
    /// Names of threads, and of their groups.
    pub threads: HashMap<u32, String>,
    /// The names of all frames that were folded.
    pub names: Names,
}

/// One frame with a name.
struct Frame {
    text: String,
    named: bool,
}

impl Folder {
    /// Folds stacks with their counts.
    pub fn fold<'a>(&mut self, stacks: impl IntoIterator<Item = (&'a Stack, u64)>) -> Folded {
        let mut folded = Folded::default();
        for (stack, count) in stacks {
            if count == 0 {
                continue;
            }
            folded.total += count;
            let name = self.threads.get(&stack.tid).map_or("", String::as_str);
            let group = if stack.tid < GROUPS_FROM { thread_group(name) } else { clean(name) };
            if stack.other {
                folded.other += count;
                folded.add(&mut self.names, &group, true, [OTHER_STACKS].into_iter(), count);
                continue;
            }
            let (frames, whole) = self.frames(stack);
            if !whole {
                folded.cut += count;
            } else if frames.iter().all(|frame| frame.named) {
                folded.named += count;
            }
            let nameless: BTreeSet<&str> =
                frames.iter().filter(|frame| !frame.named).map(|frame| frame.text.as_str()).collect();
            for file in nameless {
                *folded.nameless.entry(file.to_owned()).or_insert(0) += count;
            }
            folded.add(&mut self.names, &group, whole, frames.iter().map(|frame| frame.text.as_str()), count);
        }
        folded
    }

    /// The frames, outermost first, and whether they reach the beginning of the thread.
    fn frames(&mut self, stack: &Stack) -> (Vec<Frame>, bool) {
        let mut functions: Vec<Function> = Vec::new();
        for (depth, &address) in stack.user.iter().enumerate() {
            // A call's return address may be the first byte of the next function.
            let probe = if depth == 0 { address } else { address.wrapping_sub(1) };
            functions.extend_from_slice(self.user.functions(probe));
        }
        functions.retain(|function| !(function.inlined && PLUMBING.iter().any(|name| function.name.starts_with(name))));
        functions.reverse();
        // A process that ends has no user stack any more: there is nothing that could be cut.
        let no_user = stack.user.is_empty() && !stack.kernel.is_empty();
        let whole = (strip_beginning(&mut functions) || no_user) && stack.user.len() < FRAMES_MAX;
        let mut frames: Vec<Frame> = functions
            .into_iter()
            .map(|function| Frame {
                text: format!("{}{}", clean(&function.name), if function.inlined { "_[i]" } else { "" }),
                named: function.named,
            })
            .collect();
        for &address in stack.kernel.iter().rev() {
            let name = self.kernel.as_ref().and_then(|kernel| kernel.name(address));
            frames.push(Frame { text: format!("{}_[k]", name.unwrap_or("[kernel]")), named: name.is_some() });
        }
        if stack.preempted {
            frames.push(Frame { text: PREEMPTED.to_owned(), named: true });
        }
        // Many frames without a name in a row say no more than one.
        frames.dedup_by(|next, before| !next.named && !before.named && next.text == before.text);
        (frames, whole)
    }
}

/// Takes away what lies below a thread's own code. False where that is not found: the stack is cut.
fn strip_beginning(functions: &mut Vec<Function>) -> bool {
    if let Some(begin) = functions.iter().position(|function| function.name.contains(THREAD_BEGINS)) {
        functions.drain(..=begin);
        return true;
    }
    let goes = |function: &Function| GO_BEGINS.contains(&function.name.trim_end_matches(".abi0"));
    if let Some(begin) = functions.iter().rposition(goes) {
        functions.drain(..=begin);
        return true;
    }
    let first = functions
        .iter()
        .take_while(|function| {
            // The C library's first function is not exported: without its debug file it has no name.
            FIRST_FUNCTIONS.contains(&function.name.as_str()) || (!function.named && function.name.contains("libc"))
        })
        .count();
    functions.drain(..first);
    first > 0
}

/// The name of a thread's group: without the number that tells equals apart.
pub fn thread_group(name: &str) -> String {
    let group = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let group = if group.len() < name.len() { group.trim_end_matches(['-', '_', ':', '#', '/', ' ']) } else { group };
    clean(if group.is_empty() { "thread" } else { group })
}

/// A name that cannot be mistaken for a separator.
pub fn clean(name: &str) -> String {
    name.replace(';', ":").replace(['\n', '\r'], " ")
}

/// Folds stacks whose frames are names already: group of the thread and frames, outermost first.
pub fn fold_named(names: &mut Names, stacks: impl IntoIterator<Item = (String, Vec<String>, u64)>) -> Folded {
    let mut folded = Folded::default();
    for (thread, frames, count) in stacks {
        let mut functions: Vec<Function> = frames
            .into_iter()
            .map(|name| Function { named: !name.is_empty() && name != "Unknown", inlined: false, name })
            .collect();
        let whole = strip_beginning(&mut functions);
        folded.total += count;
        if !whole {
            folded.cut += count;
        } else if functions.iter().all(|function| function.named) {
            folded.named += count;
        }
        let frames: Vec<String> = functions
            .iter()
            .map(|function| if function.named { clean(&function.name) } else { "[unknown]".to_owned() })
            .collect();
        folded.add(names, &thread_group(&thread), whole, frames.iter().map(String::as_str), count);
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interned_stacks::plain;

    fn folder() -> Folder {
        Folder {
            user: UserSymbols::new(Vec::new()),
            kernel: Some(KernelSymbols::parse(
                "ffffffff81000000 T do_syscall_64\nffffffff81001000 T vfs_write\n".to_owned(),
            )),
            threads: HashMap::from([(1, "client-0".to_owned()), (2, "client-1".to_owned()), (3, "7".to_owned())]),
            names: Names::default(),
        }
    }

    fn stack(tid: u32) -> Stack {
        Stack {
            tid,
            kernel: vec![0xffff_ffff_8100_1008, 0xffff_ffff_8100_0010],
            user: vec![0x10, 0x20],
            preempted: false,
            other: false,
        }
    }

    #[test]
    fn equal_threads_fall_together_and_kernel_frames_come_last() {
        let (one, two) = (stack(1), stack(2));
        let mut folder = folder();
        let folded = folder.fold([(&one, 2), (&two, 3)]);
        assert_eq!(plain(&folder.names, &folded.stacks), "client;[cut];[unknown];do_syscall_64_[k];vfs_write_[k] 5\n");
        assert_eq!((folded.total, folded.named, folded.cut), (5, 0, 5));
        let complaint = folded.complaint().unwrap();
        assert!(complaint.contains("0.0 %") && complaint.contains("[unknown] in 100 %"), "{complaint}");
    }

    #[test]
    fn a_preempted_thread_says_so_and_a_nameless_one_has_a_group() {
        let stack = Stack { preempted: true, kernel: Vec::new(), ..stack(3) };
        let mut folder = folder();
        let folded = folder.fold([(&stack, 1)]);
        assert_eq!(plain(&folder.names, &folded.stacks), "thread;[cut];[unknown];[preempted]_[k] 1\n");
    }

    #[test]
    fn what_was_not_kept_is_counted_and_has_no_name() {
        let other = Stack { tid: 2, kernel: Vec::new(), user: Vec::new(), preempted: false, other: true };
        let mut folder = folder();
        let folded = folder.fold([(&other, 7)]);
        assert_eq!(plain(&folder.names, &folded.stacks), "client;[other stacks] 7\n");
        assert_eq!((folded.total, folded.named, folded.cut, folded.other), (7, 0, 0, 7));
    }

    /// Recorded stacks (thread, frames from the outermost, samples) and what they must fold to, line for line.
    #[test]
    fn recorded_stacks_fold_as_they_did() {
        let stacks = include_str!("../tests/data/stacks.txt").lines().map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let frames = fields[1].split(',').map(|frame| frame.replace("\\n", "\n")).collect();
            (fields[0].to_owned(), frames, fields[2].parse().unwrap())
        });
        let mut names = Names::default();
        let folded = fold_named(&mut names, stacks);
        assert_eq!(plain(&names, &folded.stacks), include_str!("../tests/data/stacks.folded"));
        assert_eq!((folded.total, folded.named, folded.cut), (61, 49, 12));
    }

    #[test]
    fn what_lies_below_a_thread_is_taken_away() {
        let named = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
        let mut names = Names::default();
        let stacks = [
            (
                "client-3".to_owned(),
                named(&["clone3", "std::sys::backtrace::__rust_begin_short_backtrace", "a;b", "c"]),
                4,
            ),
            ("main".to_owned(), named(&["_start", "main", "work"]), 2),
            ("main".to_owned(), named(&["work"]), 1),
        ];
        let folded = fold_named(&mut names, stacks);
        assert_eq!(plain(&names, &folded.stacks), "client;a:b;c 4\nmain;[cut];work 1\nmain;main;work 2\n");
        assert_eq!((folded.total, folded.named, folded.cut), (7, 6, 1));
        assert!(folded.complaint().is_some() && Folded::default().complaint().is_none());
    }
}
