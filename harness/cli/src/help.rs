//! Two levels of help: `-h` has one line for each thing, `--help` adds what a command does and examples of it.
//!
//! Groups and examples are written here and nowhere else; what an option means stands beside it in `args`.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// A command's place in the list, what it does, and examples of it.
struct Page {
    name: &'static str,
    does: &'static str,
    examples: &'static str,
}

const GROUPS: &[(&str, &[Page])] = &[
    (
        "Measure",
        &[
            Page {
                name: "compare",
                does: "Runs both variants in interleaved trials within a time budget, then prints for each metric the \
                       change, its interval and a verdict. The run with its report is kept in the results folder.",
                examples: "uplift compare baseline optimized                         # all scenarios that have both\n\
                           uplift compare baseline fast docdb/crud --budget 5m\n\
                           uplift compare baseline fast docdb/crud --screen          # did anything move? 20 s\n\
                           uplift compare baseline baseline steady --baseline-bin /tmp/before   # two builds",
            },
            Page {
                name: "run",
                does: "Measures variants and prints their metrics. With --ledger the steps of the scenario's sprint are \
                       measured, each against the step before it and against the first.",
                examples: "uplift run docdb/crud --variant fast --variant redb\n\
                           uplift run orchestration/ledger --ledger",
            },
            Page {
                name: "sweep",
                does: "Measures every combination of the parameters in random order, and prints a table, a plot and the \
                       best point with its interval.",
                examples: "uplift sweep docdb/crud --param load.clients=1,4,16 --variant fast\n\
                           uplift sweep orchestration/fanout-2x2 --param worker_concurrency=1,2,4 --metric cpu_per_op",
            },
            Page {
                name: "crossover",
                does: "Bisects one parameter and prints the interval in which the better of two variants changes.",
                examples: "uplift crossover docdb/crud --between sqlite fast --over disk.sync=50us..20ms\n\
                           uplift crossover docdb/crud --between baseline fast --over load.clients=1..64",
            },
            Page {
                name: "saturate",
                does: "Raises the rate of an open load until response times grow with time, then narrows down the \
                       highest rate at which they do not. With --slo it looks for the highest rate that holds an \
                       objective, with --clients it sweeps the clients of a closed load and fits the Universal \
                       Scalability Law.",
                examples: "uplift saturate dataflow/vote-writes --variant optimized\n\
                           uplift saturate dataflow/vote-writes --variant optimized --slo 'response_p99 < 50ms, success_rate > 99.9%'\n\
                           uplift saturate docdb/crud --variant fast --clients 1..64\n\
                           uplift saturate dataflow/vote-writes --variant optimized --from 10000 --precision 5",
            },
            Page {
                name: "profile",
                does: "Samples every thread, kernel frames included, in trials of their own: flame graphs, shares by \
                       category and function, files for pprof and the Firefox Profiler.",
                examples: "uplift profile docdb/crud --variant optimized\n\
                           uplift profile docdb/crud --variant optimized --against baseline\n\
                           uplift profile docdb/crud --variant optimized --tail p99\n\
                           uplift profile docdb/crud --variant optimized --against baseline --allocations\n\
                           uplift profile --cmd './old --x' --cmd './new --x'      # any program, and what moved",
            },
            Page {
                name: "crash",
                does: "Loads a variant, kills it or cuts the power of its disk at points drawn by the seed, opens what is left \
                       with a fresh agent, and checks it against what was acknowledged. Exits with 5 where a variant does not \
                       hold what it declares.",
                examples: "uplift crash docdb/crud --variant fast --cuts 100\n\
                           uplift crash docdb/crud --variant fast --mode power --every-sync 200 --cuts 500\n\
                           uplift crash docdb/crud --variant fast --fault eio@sync:7",
            },
            Page {
                name: "calibrate",
                does: "Compares a variant with itself. The noise floor of each metric is kept for later comparisons on \
                       this machine, which take their margins from it.",
                examples: "uplift calibrate docdb/crud --variant baseline --budget 10m",
            },
        ],
    ),
    (
        "Look",
        &[
            Page {
                name: "list",
                does: "Lists the scenarios with their variants, or what each target accepts.",
                examples: "uplift list docdb\n\
                           uplift list --targets\n\
                           uplift list --schema > schema.json",
            },
            Page {
                name: "show",
                does: "Prints the verdicts of a stored run again, from its records.",
                examples: "uplift show latest\n\
                           uplift show latest --format markdown --all-metrics",
            },
            Page {
                name: "report",
                does: "Rebuilds report.md, report.html, plots and verdicts.json from the records, byte for byte.",
                examples: "uplift report latest\n\
                           uplift report results/reference/*/* --replication docs/REPLICATION.md",
            },
            Page {
                name: "diff",
                does: "Puts two stored runs side by side. Runs of different work, or times of different machines, are \
                       not compared.",
                examples: "uplift diff results/runs/before results/runs/after",
            },
            Page {
                name: "history",
                does: "Prints a metric of a scenario over all runs and marks where its level changed.",
                examples: "uplift history docdb/crud --metric syncs_per_op\n\
                           uplift history docdb/crud --variant fast --plots plots",
            },
            Page {
                name: "site",
                does: "Makes plain pages of all runs below a folder: the latest verdict of each scenario, its history \
                       with changes of level, each machine, links to the reports. They need no server.",
                examples: "uplift site results/runs --out site\n\
                           uplift site results --out public --copy         # with the reports, for a host of pages",
            },
        ],
    ),
    (
        "Integrate",
        &[
            Page {
                name: "gate",
                does: "Compares, checks the [gate] tables of the scenarios and scenarios/gate.toml, writes comment.md, \
                       junit.xml and gate.json, and exits with 0 (passed), 1 (regression) or, with --strict, 3 \
                       (inconclusive).",
                examples: "uplift gate --base-ref main                  # this checkout against the branch main\n\
                           uplift gate --base-ref main --build make --cmd './bin/app' --rule 'run_time <= +3%'\n\
                           uplift gate baseline optimized docdb --strict",
            },
            Page {
                name: "export",
                does: "Prints a stored run in the format of another tool.",
                examples: "uplift export latest --to csv > trials.csv\n\
                           uplift export latest --to benchfmt | benchstat -col /variant -",
            },
            Page {
                name: "import",
                does: "Reads hyperfine's --export-json, the output of `go test -bench`, and criterion's folder or lines, and \
                       stores them as a run, for `show`, `report` and `diff`. Nothing in them was interleaved, and the \
                       run says so.",
                examples: "uplift import hyperfine.json\n\
                           uplift import new.txt                            # of `go test -bench . -count 10 > new.txt`",
            },
            Page {
                name: "new",
                does: "Writes a crate with a target, a scenario and a CI workflow. It builds and runs as it is, and depends \
                       on the SDK only.",
                examples: "uplift new my-bench\n\
                           uplift new benches/kv --sdk ../uplift",
            },
            Page {
                name: "agent-check",
                does: "Goes through the conversation of a trial with a program in any language, right and wrong requests, \
                       and says which rules of the protocol its answers break.",
                examples: "uplift agent-check docs/agents/appender.py\n\
                           uplift agent-check target/debug/my-bench --set sync=false",
            },
            Page {
                name: "init",
                does: "Writes the scenarios of this binary into a folder. Without one, they are used from the binary.",
                examples: "uplift init\n\
                           uplift init bench/scenarios",
            },
            Page {
                name: "man",
                does: "Writes a manual page for uplift and one for each command.",
                examples: "uplift man ~/.local/share/man/man1",
            },
            Page {
                name: "completions",
                does: "Prints a completion script for a shell.",
                examples: "uplift completions bash > ~/.local/share/bash-completion/completions/uplift",
            },
        ],
    ),
    (
        "Maintain",
        &[
            Page {
                name: "doctor",
                does: "Checks clocks, permissions, disk, CPUs and the Docker engine, and prints a fix for each thing \
                       that this machine cannot measure.",
                examples: "uplift doctor\n\
                           uplift doctor --data-dir /mnt/nvme\n\
                           uplift doctor --fix\n\
                           uplift doctor --restore",
            },
            Page {
                name: "verify",
                does: "Runs every variant of every scenario once, checks that it is correct, and judges nothing.",
                examples: "uplift verify\n\
                           uplift verify docdb/crud --launch docker",
            },
            Page {
                name: "prune",
                does: "Removes the data of runs that were killed, and checkouts that gate --base-ref left. What belongs \
                       to a run that is alive stays. For containers: uplift docker prune.",
                examples: "uplift prune --dry-run\n\
                           uplift prune --data-dir /mnt/nvme",
            },
            Page {
                name: "docker",
                does: "Finds what killed runs left on a Docker engine.",
                examples: "uplift docker prune --dry-run\n\
                           uplift docker prune",
            },
        ],
    ),
];

/// Options that several commands share, under the heading that they have in all of them. Every other option is the
/// command's own and comes before these.
const SHARED: &[(&str, &[&str])] = &[
    ("Scenarios", &["scenario_dir", "overrides"]),
    ("Trials", &["budget", "quick", "blocks", "seed", "data_dir", "disk", "memory_max", "allow_debug"]),
    ("Launch", &["agent", "launch", "swarm_labels", "docker_base", "cpus", "memory", "docker_args"]),
    ("Profiles", &["frequency", "window", "repeats", "tail"]),
    ("Output", &["format", "all_metrics", "out", "color", "quiet", "verbose"]),
];

/// What commands do, without colours: for pages that have styles of their own.
pub fn dress_plain(mut command: Command) -> Command {
    for page in GROUPS.iter().flat_map(|(_, pages)| *pages) {
        command = command.mut_subcommand(page.name, |sub| {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            sub.long_about(format!("{about}. {}", page.does)).after_long_help(format!("Examples:\n{}", page.examples))
        });
    }
    command
}

/// The command line with its commands in groups, headings over shared options, and the longer help.
pub fn dress(command: Command) -> Command {
    let list = list(&command);
    let mut command = command
        .help_template(format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}\n\x1b[1m\x1b[4mOptions:\x1b[0m\n{{options}}{{after-help}}"))
        .mut_args(under_heading);
    for page in GROUPS.iter().flat_map(|(_, pages)| *pages) {
        command = command.mut_subcommand(page.name, |sub| {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let mut examples = String::from("\x1b[1m\x1b[4mExamples:\x1b[0m\n");
            for line in page.examples.lines() {
                let _ = writeln!(examples, "  {line}");
            }
            sub.long_about(format!("{about}\n\n{}", page.does)).after_long_help(examples).mut_args(under_heading)
        });
    }
    command
}

/// The commands in groups, as the top of the help shows them.
fn list(command: &Command) -> String {
    let mut list = String::new();
    for (title, pages) in GROUPS {
        let _ = writeln!(list, "\x1b[1m\x1b[4m{title}:\x1b[0m");
        for page in *pages {
            let about = command.find_subcommand(page.name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(list, "  \x1b[1m{:<11}\x1b[0m  {about}", page.name);
        }
        list.push('\n');
    }
    list.pop();
    list
}

fn under_heading(arg: Arg) -> Arg {
    let heading = SHARED.iter().find(|(_, ids)| ids.contains(&arg.get_id().as_str())).map(|(heading, _)| *heading);
    arg.help_heading(heading)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    /// A command that is added to `args` gets a group and an example in the same change.
    #[test]
    fn every_command_is_in_one_group_with_an_example() {
        let mut known: Vec<String> = Cli::command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        let mut listed: Vec<String> =
            GROUPS.iter().flat_map(|(_, pages)| *pages).map(|page| page.name.to_owned()).collect();
        known.sort();
        listed.sort();
        assert_eq!(known, listed);
    }

    /// A renamed option would silently lose its heading.
    #[test]
    fn every_shared_option_exists() {
        let command = Cli::command();
        for id in SHARED.iter().flat_map(|(_, ids)| *ids) {
            let has = |command: &Command| command.get_arguments().any(|arg| arg.get_id() == id);
            assert!(has(&command) || command.get_subcommands().any(has), "no command has `{id}`");
        }
    }

    /// The words of an example as a shell reads them, up to a comment, a pipe, a redirection or the next command.
    fn typed(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for letter in line.chars() {
            match (letter, quoted) {
                ('\'', _) => quoted = !quoted,
                ('#' | '|' | '>' | ';', false) => break,
                (' ', false) => words.push(String::new()),
                _ => words.last_mut().expect("there is one").push(letter),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    /// The examples parse: what help shows can be typed.
    #[test]
    fn every_example_is_accepted() {
        for line in GROUPS.iter().flat_map(|(_, pages)| *pages).flat_map(|page| page.examples.lines()) {
            let parsed = dress(Cli::command()).try_get_matches_from(typed(line));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }

    /// One line for each option and command at 100 columns: what needs more words has them in `--help`.
    #[test]
    fn short_help_has_one_line_for_each_thing() {
        let mut command = dress(Cli::command());
        command.build();
        let mut long = Vec::new();
        for sub in command.get_subcommands() {
            let args = sub.get_arguments().filter_map(|arg| Some((arg.get_id().to_string(), arg.get_help()?, 72)));
            let about = sub.get_about().map(|about| ("about".to_owned(), about, 80));
            for (id, help, most) in args.chain(about) {
                let help = help.to_string();
                if help.len() > most {
                    long.push(format!("{} {id}: {help}", sub.get_name()));
                }
            }
        }
        assert!(long.is_empty(), "{}", long.join("\n"));
    }
}
