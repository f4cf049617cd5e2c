//! Checks of this repository: `cargo run -p xtask -- check [NAME…]`. `cargo test -p xtask` runs the same.
//!
//! A check reads files and gives the faults that it found; each names the file, the rule and the fix. It knows the files of
//! the repository and none of its crates, and changes nothing.

mod check;
mod repository;

use std::process::ExitCode;

use repository::Repository;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some("check") {
        eprintln!("usage: cargo run -p xtask -- check [NAME…]\nchecks: {}", names().join(", "));
        return ExitCode::from(2);
    }
    let wanted: Vec<String> = args.collect();
    if let Some(unknown) = wanted.iter().find(|name| !names().contains(&name.as_str())) {
        eprintln!("there is no check `{unknown}`; there are {}", names().join(", "));
        return ExitCode::from(2);
    }
    let repository = match Repository::here() {
        Ok(repository) => repository,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(5);
        }
    };
    let mut is_clean = true;
    for (name, check) in check::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let faults = check(&repository);
        println!("{name}: {}", if faults.is_empty() { "ok".to_owned() } else { format!("{} faults", faults.len()) });
        for fault in &faults {
            println!("  {fault}");
        }
        is_clean &= faults.is_empty();
    }
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn names() -> Vec<&'static str> {
    check::ALL.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_in_order() {
        let repository = Repository::here().unwrap();
        let faults: Vec<String> = check::ALL
            .iter()
            .flat_map(|(name, check)| check(&repository).into_iter().map(move |fault| format!("{name}: {fault}")))
            .collect();
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }
}
