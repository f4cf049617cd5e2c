//! Counted stacks of names, and the text they become, which never outgrows a message.
//!
//! A name is long and a stack has many: the compilers inside some systems have stacks of thirty kilobytes of text, no two
//! alike. So stacks are held as numbers of names. Where their plain text would be large they leave as numbers too, beside
//! the table of names, which loses nothing. Only where that is too large as well are the rarest of them put together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// The innermost frame of what stands for stacks that were too many to be told apart.
pub use uplift_model::protocol::OTHER_STACKS;

/// Threads that are named where stacks are put together; those of all others have a group of their own.
const GROUPS_MAX: usize = 256;
/// The group of all other threads.
const OTHER_THREADS: &str = "[other threads]";

/// Names by number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    /// The number of a name.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The name of a number that [`Self::number`] gave.
    pub fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }
}

/// Counts by stack: the number of the thread's group, then those of the frames, outermost first.
pub type Counted = HashMap<Box<[u32]>, u64>;

/// How much text is allowed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All texts together with names in them; beyond it they hold numbers.
    pub plain_bytes: usize,
    /// All texts with numbers in them, and the table of names, as JSON.
    pub message_bytes: usize,
    /// Each text with the names put in again: who reads it must hold it.
    pub expanded_bytes: usize,
}

impl Limits {
    /// Those of a message to the harness.
    pub const MESSAGE: Self = Self { plain_bytes: 4 << 20, message_bytes: 48 << 20, expanded_bytes: 256 << 20 };
}

/// Some texts, and the table of names that they need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The names; empty: the texts hold names themselves.
    pub frames: Vec<String>,
    /// A text for each of what was counted, in their order; its lines are sorted where they hold names.
    pub texts: Vec<String>,
    /// For each of them the stacks and counts that were put together.
    pub put_together: Vec<Aggregated>,
}

/// Stacks that are told apart no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aggregated {
    /// How many.
    pub stacks: u64,
    /// The sum of their counts.
    pub count: u64,
}

/// The plain text of one.
pub fn plain(names: &Names, counted: &Counted) -> String {
    let mut lines: Vec<String> = counted.iter().map(|(stack, count)| line(names, stack, *count)).collect();
    lines.sort_unstable();
    lines.concat()
}

fn line(names: &Names, stack: &[u32], count: u64) -> String {
    let mut line = String::new();
    for (depth, &number) in stack.iter().enumerate() {
        if depth > 0 {
            line.push(';');
        }
        line.push_str(names.name(number));
    }
    line + &format!(" {count}\n")
}

/// Writes within the limits. Of stacks that do not fit the rarest are put together, for each group of threads under
/// [`OTHER_STACKS`]; which of equally rare ones stay is decided by chance (a hash), so that what stays speaks for all.
pub fn write(names: &Names, counted: &[&Counted], limits: Limits) -> Written {
    let plain_bytes = |counted: &&Counted| counted.iter().map(|(stack, count)| plain_len(names, stack, *count)).sum();
    let sizes: Vec<usize> = counted.iter().map(plain_bytes).collect();
    if sizes.iter().sum::<usize>() <= limits.plain_bytes {
        return Written {
            frames: Vec::new(),
            texts: counted.iter().map(|counted| plain(names, counted)).collect(),
            put_together: vec![Aggregated::default(); counted.len()],
        };
    }
    let needs: Vec<usize> = counted.iter().map(|counted| message_need(names, counted)).collect();
    let mut coder = Coder { names, frames: Vec::new(), numbers: HashMap::new() };
    let (mut texts, mut put_together) = (Vec::new(), Vec::new());
    for (counted, share_bytes) in counted.iter().zip(shares(&needs, limits.message_bytes)) {
        let (text, rest) = coder.write(counted, share_bytes, limits.expanded_bytes);
        texts.push(text);
        put_together.push(rest);
    }
    Written { frames: coder.frames, texts, put_together }
}

/// Divides `total` so that who needs less than an equal part leaves the rest to the others.
fn shares(needs: &[usize], total: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|&index| needs[index]);
    let mut shares = vec![0; needs.len()];
    let (mut left, mut takers) = (total, needs.len());
    for index in order {
        shares[index] = needs[index].min(left / takers);
        left -= shares[index];
        takers -= 1;
    }
    shares
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

fn plain_len(names: &Names, stack: &[u32], count: u64) -> usize {
    // Separators and the end of the line are one byte each.
    stack.iter().map(|&number| names.name(number).len() + 1).sum::<usize>() + digits(count) + 1
}

/// Bytes of a line of numbers; the end of the line is two in JSON. At most: numbers of the message are no larger than
/// those of all names.
fn coded_len(stack: &[u32], count: u64, largest: u64) -> usize {
    stack.len() * (digits(largest) + 1) + digits(count) + 2
}

/// Bytes of a name in the table, as JSON with its quotes and comma.
fn name_len(name: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    name.bytes().map(escaped).sum::<usize>() + 3
}

fn message_need(names: &Names, counted: &Counted) -> usize {
    let mut used = vec![false; names.names.len()];
    for &number in counted.keys().flatten() {
        used[number as usize] = true;
    }
    let used = names.names.iter().zip(used).filter(|(_, used)| *used);
    let largest = names.names.len() as u64;
    counted.iter().map(|(stack, count)| coded_len(stack, *count, largest)).sum::<usize>()
        + used.map(|(name, _)| name_len(name)).sum::<usize>()
        + OVERHEAD_BYTES
}

/// Room for the lines of [`OTHER_STACKS`] of one text and their names.
const OVERHEAD_BYTES: usize = GROUPS_MAX * 64;

/// Writes texts of numbers.
struct Coder<'a> {
    names: &'a Names,
    /// The names in the message.
    frames: Vec<String>,
    /// Number of a name here → in the message.
    numbers: HashMap<u32, u32>,
}

impl Coder<'_> {
    fn write(&mut self, counted: &Counted, share_bytes: usize, expanded_bytes: usize) -> (String, Aggregated) {
        let chance = |stack: &[u32]| {
            let mut hasher = DefaultHasher::new();
            stack.hash(&mut hasher);
            hasher.finish()
        };
        let mut stacks: Vec<(&[u32], u64)> = counted.iter().map(|(stack, count)| (&**stack, *count)).collect();
        stacks.sort_by_cached_key(|(stack, count)| (std::cmp::Reverse(*count), chance(stack)));
        let largest = self.names.names.len() as u64;
        let (mut left, mut expanded_left) = (share_bytes.saturating_sub(OVERHEAD_BYTES), expanded_bytes);
        let mut text = String::new();
        let mut rest: BTreeMap<u32, u64> = BTreeMap::new();
        let mut put_together = Aggregated::default();
        let mut full = false;
        for (stack, count) in stacks {
            if !full {
                let new: BTreeSet<u32> =
                    stack.iter().copied().filter(|number| !self.numbers.contains_key(number)).collect();
                let needed = coded_len(stack, count, largest)
                    + new.iter().map(|&number| name_len(self.names.name(number))).sum::<usize>();
                let expanded = plain_len(self.names, stack, count);
                if needed <= left && expanded <= expanded_left {
                    left -= needed;
                    expanded_left -= expanded;
                    self.line(stack, count, &mut text);
                    continue;
                }
                // The rarer ones stay out too: which stay must not depend on how long they are.
                full = true;
            }
            put_together.stacks += 1;
            put_together.count += count;
            *rest.entry(stack.first().copied().unwrap_or(u32::MAX)).or_insert(0) += count;
        }
        self.others(rest, &mut text);
        (text, put_together)
    }

    fn line(&mut self, stack: &[u32], count: u64, text: &mut String) {
        for (depth, &number) in stack.iter().enumerate() {
            let next = self.frames.len() as u32;
            let coded = *self.numbers.entry(number).or_insert_with(|| {
                self.frames.push(self.names.name(number).to_owned());
                next
            });
            if depth > 0 {
                text.push(';');
            }
            text.push_str(&coded.to_string());
        }
        text.push_str(&format!(" {count}\n"));
    }

    /// A line for each of the largest groups and one for all others.
    fn others(&mut self, rest: BTreeMap<u32, u64>, text: &mut String) {
        let mut groups: Vec<(u32, u64)> = rest.into_iter().collect();
        groups.sort_by_key(|(group, count)| (std::cmp::Reverse(*count), *group));
        let mut names = BTreeMap::new();
        for (index, (group, count)) in groups.into_iter().enumerate() {
            let known = self.names.names.get(group as usize).filter(|name| index < GROUPS_MAX && name.len() <= 32);
            *names.entry(known.map_or(OTHER_THREADS, String::as_str)).or_insert(0) += count;
        }
        for (group, count) in names {
            let numbers = [group, OTHER_STACKS].map(|name| self.frame(name).to_string());
            text.push_str(&format!("{} {count}\n", numbers.join(";")));
        }
    }

    /// The number in the message of a name that need not be of any stack.
    fn frame(&mut self, name: &str) -> u32 {
        if let Some(known) = self.names.numbers.get(name).and_then(|number| self.numbers.get(number)) {
            return *known;
        }
        if let Some(known) = self.frames.iter().rposition(|frame| frame == name) {
            return known as u32;
        }
        let number = self.frames.len() as u32;
        self.frames.push(name.to_owned());
        if let Some(own) = self.names.numbers.get(name) {
            self.numbers.insert(*own, number);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use uplift_analysis::profile::{Profile, folded};
    use uplift_model::protocol::{LINE_BYTES_MAX, Profiled, Reply};

    use super::*;

    fn counted(names: &mut Names, lines: &str) -> Counted {
        lines
            .lines()
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(stack, count)| (stack.split(';').map(|name| names.number(name)).collect(), count.parse().unwrap()))
            .collect()
    }

    fn profiled(written: Written) -> Profiled {
        let mut texts = written.texts.into_iter();
        Profiled {
            sampler: "test".to_owned(),
            frequency_hz: 1,
            sample_ns: 1.0,
            frames: written.frames,
            folded: texts.next().unwrap(),
            folded_off_cpu: texts.next(),
            lost: Some(0),
            symbolised_share: 1.0,
            kernel_frames: true,
            duration_ns: 1,
            operations: 1,
            warnings: Vec::new(),
            tail: None,
            not_sampled: None,
            allocations: None,
        }
    }

    const CPU: &str = "client;\"quoted\";d 2\nclient;a b<u8, [u8: 3]>;c_[k] 7\nflusher;c_[k] 1\n";
    const WAITS: &str = "client;a b<u8, [u8: 3]>;futex_[k] 100\n";

    /// Numbers stand for names only where the names would be too long, and nothing is lost by it.
    #[test]
    fn texts_are_the_same_with_names_and_with_numbers() {
        let mut names = Names::default();
        let (cpu, waits) = (counted(&mut names, CPU), counted(&mut names, WAITS));
        let small = write(&names, &[&cpu, &waits], Limits::MESSAGE);
        assert_eq!((small.frames.len(), small.texts.as_slice()), (0, [CPU.to_owned(), WAITS.to_owned()].as_slice()));

        let large = write(&names, &[&cpu, &waits], Limits { plain_bytes: 0, ..Limits::MESSAGE });
        assert_eq!(large.frames.len(), 7);
        assert_eq!(large.put_together, [Aggregated::default(); 2]);
        assert!(large.texts.iter().all(|text| !text.contains("client")), "{large:?}");
        let (small, large) = (profiled(small), profiled(large));
        let same = |of: fn(&Profiled) -> &str| {
            let stacks = |one: &Profiled| folded::merge([&*one.plain(of(one))]).unwrap();
            assert_eq!(stacks(&small), stacks(&large));
        };
        same(|one| &one.folded);
        same(|one| one.folded_off_cpu.as_deref().unwrap());
    }

    #[test]
    fn who_needs_little_leaves_the_rest_to_the_others() {
        assert_eq!(shares(&[10, 500, 80, 90], 200), [10, 64, 63, 63]);
        assert_eq!(shares(&[10, 20], 200), [10, 20]);
        assert_eq!(shares(&[], 200), [0; 0]);
    }

    #[test]
    fn the_rarest_are_put_together_by_thread() {
        let mut names = Names::default();
        let mut lines = "client;often 1000\nflusher;often 500\n".to_owned();
        for number in 0..20_000 {
            lines.push_str(&format!("client;rare {number} 1\nflusher;rare {number} 2\n"));
        }
        let cpu = counted(&mut names, &lines);
        let limits = Limits { plain_bytes: 100_000, message_bytes: 300_000, expanded_bytes: 1 << 20 };
        let written = write(&names, &[&cpu], limits);
        let rest = written.put_together[0];
        let size = serde_json::to_string(&written.texts[0]).unwrap().len()
            + serde_json::to_string(&written.frames).unwrap().len();
        assert!(size <= limits.message_bytes && size > limits.message_bytes / 2, "{size}");
        let profile = Profile::on_cpu(&[&profiled(written)]).unwrap();
        assert_eq!(profile.samples, 1_500 + 60_000, "every sample is still counted");
        let of = |line: &str| profile.stacks.iter().find(|stack| stack.line() == line).map_or(0, |stack| stack.count);
        assert_eq!((of("client;often"), of("flusher;often")), (1_000, 500));
        assert_eq!(of("client;[other stacks]"), 20_000, "the rarest go first");
        assert_eq!(of("client;[other stacks]") + of("flusher;[other stacks]"), rest.count);
        assert_eq!(profile.other_stacks().samples, rest.count);
        assert_eq!(profile.stacks.len() as u64, 2 + 40_000 - rest.stacks + 2);
    }

    /// Chance decides between equals: what is kept of two kinds of stacks is as large a part of the one as of the other.
    #[test]
    fn what_is_kept_speaks_for_all() {
        let mut names = Names::default();
        let lines: String = (0..20_000).map(|number| format!("t;kind {};{number} 1\n", number % 4)).collect();
        let cpu = counted(&mut names, &lines);
        let limits = Limits { plain_bytes: 0, message_bytes: 200_000, ..Limits::MESSAGE };
        let profile = Profile::on_cpu(&[&profiled(write(&names, &[&cpu], limits))]).unwrap();
        let kept = profile.samples - profile.other_stacks().samples;
        assert!((2_000..18_000).contains(&kept), "{kept}");
        let first = profile.stacks.iter().filter(|stack| stack.frames[1] == "kind 0").count();
        let share = first as f64 / kept as f64;
        assert!((share - 0.25).abs() < 4.0 * (0.25f64 * 0.75 / kept as f64).sqrt(), "{share} of {kept}");
    }

    /// Two million stacks, no two alike, of names as long as compilers make them: sixteen gigabytes of plain text.
    #[test]
    fn millions_of_stacks_fit_a_line_of_the_protocol() {
        const STACKS: u32 = 2_000_000;
        let mut names = Names::default();
        let long: Vec<u32> = (0..1_000).map(|number| names.number(&format!("{}{number}", "x::".repeat(130)))).collect();
        let groups = ["client", "flusher"].map(|name| names.number(name));
        let mut cpu = Counted::new();
        for number in 0..STACKS {
            let mut stack = vec![groups[number as usize % 2]];
            stack.extend((0..20u32).map(|depth| {
                let digit = number.wrapping_mul(2_654_435_761).rotate_left(depth) ^ number;
                long[digit as usize % long.len()]
            }));
            stack.push(long[number as usize % 1_000]);
            stack.push(long[number as usize / 1_000 % 1_000]);
            stack.push(long[number as usize / 1_000_000]);
            *cpu.entry(stack.into()).or_insert(0) += 1 + u64::from(number % 1_000 == 0);
        }
        assert_eq!(cpu.len(), STACKS as usize);
        let total: u64 = cpu.values().sum();
        let written = write(&names, &[&cpu], Limits::MESSAGE);
        let rest = written.put_together[0];
        drop(cpu);
        let profiled = profiled(written);
        let line = serde_json::to_string(&Reply::Profiled(Box::new(profiled.clone()))).unwrap();
        assert!(line.len() < LINE_BYTES_MAX, "{} bytes", line.len());
        let profile = Profile::on_cpu(&[&profiled]).unwrap();
        assert_eq!(profile.samples, total);
        assert_eq!(profile.other_stacks().samples, rest.count);
        assert_eq!(profile.stacks.len() as u64, u64::from(STACKS) - rest.stacks + 2);
        assert!(profile.stacks.iter().filter(|stack| stack.count == 2).count() >= 2_000, "the most frequent stay");
    }
}
