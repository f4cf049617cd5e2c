//! A drawn plot, as a file of its own or as a part of a page.

use uplift_model::file_name;

use super::canvas;

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Its place in the run's folder: `plots/docdb-crud-latency.svg`.
    pub path: String,
    /// What it shows, in words with figures: for people who do not see it.
    pub description: String,
    /// Whether it stands aside, for those who ask.
    pub aside: bool,
    svg: String,
}

impl Plot {
    /// A plot of a scenario; `what` ends its name.
    pub fn new(scenario: &str, what: &str, svg: String, description: String) -> Self {
        Self::of_parts(&[scenario, what], svg, description)
    }

    /// A plot of what the parts of its name tell apart.
    pub fn of_parts(parts: &[&str], svg: String, description: String) -> Self {
        Self { path: format!("plots/{}.svg", file_name(parts)), description, aside: false, svg }
    }

    /// The same, aside.
    pub(super) fn aside(self) -> Self {
        Self { aside: true, ..self }
    }

    /// Says what the plot has no line for.
    pub(super) fn without(mut self, left_out: &[&str]) -> Self {
        if !left_out.is_empty() {
            self.description += &format!(" Without {}: more lines cannot be told apart.", left_out.join(", "));
        }
        self
    }

    /// As a file of its own.
    pub fn file(&self) -> String {
        canvas::standalone(&self.svg, &self.description)
    }

    /// As a part of a page that defines the colours.
    pub fn inline(&self) -> String {
        canvas::inline(&self.svg, &self.description)
    }
}
