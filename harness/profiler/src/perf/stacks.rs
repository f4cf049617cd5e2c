//! All stacks that were seen get names, and are divided by what they are wanted for.

use std::collections::HashMap;

use uplift_instrument::calls::{Calls, Tail};
use uplift_model::protocol::{CallStacks, TailProfile};

use super::collected::{Collected, Moment};
use crate::{
    fold::{Folded, Folder, Stack},
    interned_stacks::{self, Counted, Limits},
    off_cpu::{self, Away},
};

/// All stacks that were seen, and what names them.
pub struct Stacks {
    folder: Folder,
    by_index: Vec<Option<Stack>>,
}

/// Folded texts for a profile.
pub struct Texts {
    /// Names of frames, where the texts hold numbers.
    pub frames: Vec<String>,
    /// CPU time, in samples.
    pub on_cpu: String,
    /// Waiting, in microseconds.
    pub off_cpu: Option<String>,
    /// The slow calls apart.
    pub tail: Option<TailProfile>,
    /// Of the CPU time, stacks that were put together to fit, and samples of them.
    pub put_together: interned_stacks::Aggregated,
}

/// Stacks of some calls, and a profile of them without its texts.
struct OfCalls {
    on_cpu: Folded,
    off_cpu: Option<Folded>,
    calls: CallStacks,
}

impl Stacks {
    /// Takes the stacks out of `collected`.
    pub fn new(folder: Folder, collected: &mut Collected) -> Self {
        let stacks = std::mem::take(&mut collected.stacks);
        let mut by_index = vec![None; stacks.len()];
        for (stack, index) in stacks {
            by_index[index as usize] = Some(stack);
        }
        Self { folder, by_index }
    }

    /// Folds samples by stack.
    pub fn on_cpu(&mut self, samples: &HashMap<u32, u64>) -> Folded {
        let Self { folder, by_index } = self;
        folder.fold(samples.iter().filter_map(|(index, count)| Some((by_index[*index as usize].as_ref()?, *count))))
    }

    /// In microseconds.
    fn off_cpu(&mut self, waits: &HashMap<(u32, bool), u64>) -> Folded {
        let waits: Vec<(Stack, u64)> = waits
            .iter()
            .filter_map(|(&(index, preempted), wait_ns)| {
                Some((Stack { preempted, ..self.by_index[index as usize].clone()? }, wait_ns / 1_000))
            })
            .collect();
        self.folder.fold(waits.iter().map(|(stack, wait_us)| (stack, *wait_us)))
    }

    fn of_calls(&mut self, calls: &Calls, moments: &[Moment], away: Option<&[Away]>) -> OfCalls {
        let mut samples = HashMap::new();
        for moment in moments.iter().filter(|moment| calls.holds(moment.tid, moment.time_ns)) {
            *samples.entry(moment.stack).or_insert(0) += 1;
        }
        let within = |away: &Away| calls.overlap_ns(away.tid, away.from_ns, away.to_ns);
        OfCalls {
            on_cpu: self.on_cpu(&samples),
            off_cpu: away.map(|away| self.off_cpu(&off_cpu::waits(away, within))),
            calls: CallStacks {
                calls: calls.count(),
                service_ns: calls.service_ns(),
                folded: String::new(),
                folded_off_cpu: None,
            },
        }
    }

    /// Everything that a profile says of stacks, as text within `limits`.
    pub fn texts(
        mut self,
        on_cpu: &Folded,
        away: Option<&[Away]>,
        tail: Option<(&Tail, &[Moment])>,
        limits: Limits,
    ) -> Texts {
        let off_cpu = away.map(|away| self.off_cpu(&off_cpu::waits(away, off_cpu::whole)));
        let tail = tail.map(|(tail, moments)| {
            let (slow, all) = (self.of_calls(&tail.slow, moments, away), self.of_calls(&tail.all, moments, away));
            (tail, moments.len() as u64 - all.on_cpu.total, slow, all)
        });
        let mut counted: Vec<&Counted> = vec![&on_cpu.stacks];
        counted.extend(off_cpu.as_ref().map(|folded| &folded.stacks));
        for calls in tail.iter().flat_map(|(_, _, slow, all)| [slow, all]) {
            counted.push(&calls.on_cpu.stacks);
            counted.extend(calls.off_cpu.as_ref().map(|folded| &folded.stacks));
        }
        let written = interned_stacks::write(&self.folder.names, &counted, limits);
        let put_together = written.put_together.first().copied().unwrap_or_default();
        // In the order in which they were given.
        let mut texts = written.texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        let text = next();
        let text_off_cpu = off_cpu.map(|_| next());
        let tail = tail.map(|(tail, samples_elsewhere, slow, all)| {
            let mut stacks = |of: OfCalls| CallStacks {
                folded: next(),
                folded_off_cpu: of.off_cpu.is_some().then(&mut next),
                ..of.calls
            };
            TailProfile {
                percentile: tail.percentile,
                threshold_ns: tail.threshold_ns,
                slow: stacks(slow),
                all: stacks(all),
                calls_missed: tail.all.missed,
                samples_elsewhere,
            }
        });
        Texts { frames: written.frames, on_cpu: text, off_cpu: text_off_cpu, tail, put_together }
    }
}
