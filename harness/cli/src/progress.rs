//! Progress on standard error: a bar with the time left on a terminal, a line for each scenario elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use uplift_engine::{Observer, Progress};
use uplift_model::trial::TrialOutcome;
use uplift_report::printable::printable;

use crate::output::{Terminal, note};

/// Draws what the engine tells.
pub struct ProgressReporter {
    bar: ProgressBar,
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
    pub fn new(terminal: &Terminal, total: Duration) -> Self {
        let bar = ProgressBar::new(total.as_millis().max(1) as u64);
        if terminal.bars {
            let style = ProgressStyle::with_template("{bar:24} {elapsed} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━━╌");
            bar.set_style(style);
            bar.enable_steady_tick(Duration::from_millis(250));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self {
            bar,
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
        if self.terminal.bars { self.bar.println(text) } else { note(&text) }
    }

    /// Takes the bar away.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for ProgressReporter {
    fn progress(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::ScenarioStarted { index, of, name, budget } => {
                self.budget = *budget;
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
                    "{} block {}{blocks}, {done}/{of}, at most {} s left",
                    self.position,
                    block + 1,
                    left.as_secs()
                );
                self.bar.set_message(printable(&message, false));
            }
            Progress::BlockFinished { block, blocks_max, left } => {
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
            }
        }
    }
}
