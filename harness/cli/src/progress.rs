//! Progress on standard error: on a terminal a bar with the time left and, below it, what the scenario shows so far;
//! elsewhere a line for each scenario.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use uplift_engine::{Observer, Progress};
use uplift_model::{Trial, run::Run, trial::TrialOutcome};
use uplift_report::printable::printable;

use crate::{
    live::{self, SoFar},
    output::{Terminal, note},
};

/// Draws what the engine tells.
pub struct ProgressReporter {
    screen: MultiProgress,
    bar: ProgressBar,
    /// What the scenario shows so far.
    so_far: ProgressBar,
    first: Option<SoFar>,
    run: Run,
    index: usize,
    terminal: Terminal,
    begun: Instant,
    total: Duration,
    before: Duration,
    budget: Duration,
    position: String,
    /// What could not be removed, for the run's record.
    pub left: Vec<String>,
}

impl ProgressReporter {
    /// For a run with this budget.
    pub fn new(terminal: &Terminal, run: &Run, total: Duration) -> Self {
        let target = if terminal.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let screen = MultiProgress::with_draw_target(target);
        // A line that is wider than the terminal would be broken, and then not be taken away.
        let style = |template| {
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            style.progress_chars("━━╌")
        };
        let bar = screen.add(ProgressBar::new(total.as_millis().max(1) as u64));
        bar.set_style(style("{bar:24} {elapsed} {wide_msg}"));
        let so_far = screen.add(ProgressBar::new(0));
        so_far.set_style(style("{wide_msg}"));
        if terminal.bars {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self {
            screen,
            bar,
            so_far,
            first: None,
            run: run.clone(),
            index: 0,
            terminal: terminal.clone(),
            begun: Instant::now(),
            total,
            before: Duration::ZERO,
            budget: Duration::ZERO,
            position: String::new(),
            left: Vec::new(),
        }
    }

    fn line(&self, text: &str) {
        if self.terminal.quiet {
            return;
        }
        let text = printable(text, self.terminal.colour_errors);
        // A terminal that is gone is no reason to end a run.
        if self.terminal.bars { drop(self.screen.println(text)) } else { note(&text) }
    }

    /// Says what the scenario shows so far.
    fn show(&mut self, trials: &[Trial]) {
        if !self.terminal.bars {
            return;
        }
        let Some(planned) = self.run.scenarios.get(self.index) else { return };
        if let Some(line) = live::line(planned, &self.run.intent, trials, &mut self.first) {
            self.so_far.set_message(printable(&format!("  {line}"), false));
        }
    }

    /// Takes the bar away.
    pub fn done(&self) {
        self.so_far.finish_and_clear();
        self.bar.finish_and_clear();
    }
}

impl Observer for ProgressReporter {
    fn progress(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::ScenarioStarted { index, of, name, budget } => {
                self.budget = *budget;
                self.index = *index;
                self.first = None;
                self.so_far.set_message("");
                self.before = self.begun.elapsed();
                self.position = format!("[{}/{of}] {name}", index + 1);
                if !self.terminal.bars {
                    self.line(&format!("{}: up to {:.0} s", self.position, budget.as_secs_f64()));
                }
            }
            Progress::BlockProgress { block, blocks_max, done, of } => {
                let elapsed = self.begun.elapsed();
                let left = self.total.saturating_sub(elapsed);
                self.bar.set_position(elapsed.min(self.total).as_millis() as u64);
                let blocks = blocks_max.map_or_else(String::new, |blocks| format!(" of up to {blocks}"));
                let message = format!(
                    "at most {} s left {} block {}{blocks}, {done}/{of}",
                    left.as_secs(),
                    self.position,
                    block + 1
                );
                self.bar.set_message(printable(&message, false));
            }
            Progress::BlockFinished { block, blocks_max, left, trials } => {
                self.show(trials);
                if self.terminal.verbose > 0 {
                    self.line(&format!(
                        "{} block {} of up to {blocks_max} done, {:.0} s left of its budget",
                        self.position,
                        block + 1,
                        left.as_secs_f64()
                    ));
                }
            }
            Progress::ProfilingStarted { name, plan } => {
                let what = match plan.sampling {
                    sampling if sampling.allocations => "for what is allocated".to_owned(),
                    sampling => format!("at {} Hz", sampling.frequency_hz),
                };
                self.line(&format!(
                    "{name}: {} profile trials of each variant, {:.0} s each {what}",
                    plan.repeats,
                    plan.window.as_secs_f64(),
                ));
            }
            Progress::TrialFailed(trial) => {
                if let TrialOutcome::Failed(failure) = &trial.outcome {
                    self.line(&format!(
                        "{}: `{}` failed at {}: {}",
                        self.position, trial.variant, failure.phase, failure.message
                    ));
                    if self.terminal.verbose > 0 && !failure.stderr_tail.is_empty() {
                        self.line(&failure.stderr_tail);
                    }
                }
            }
            Progress::DataLeft(message) => {
                self.line(&format!("warning: {message}"));
                self.left.push((*message).to_owned());
            }
            Progress::ScenarioFinished { stopped, .. } => {
                // What a scenario did not use is time that will not be needed.
                let used = self.begun.elapsed().saturating_sub(self.before);
                self.total = self.total.saturating_sub(self.budget.saturating_sub(used));
                self.bar.set_length(self.total.as_millis().max(1) as u64);
                self.line(&format!("{}: {stopped}", self.position));
                let shown = self.so_far.message();
                if !shown.is_empty() {
                    self.line(&shown);
                    self.so_far.set_message("");
                }
            }
        }
    }
}
